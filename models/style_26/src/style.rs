//! The styles that a caller asks for, as the weights that the network takes.

use tms_guest::ndarray::Array1;
use tms_guest::serde::Deserialize;
use tms_guest::{Result, bail_caller};

/// How many styles the network knows. They have numbers only: it came without names.
pub const STYLES: usize = 26;

/// The arguments of a request. One that is misspelt is refused: the picture would look as if it had
/// been left out.
#[derive(Debug, Default, Deserialize)]
#[serde(crate = "tms_guest::serde", default, deny_unknown_fields)]
pub struct Style {
    /// One style by its number.
    style: Option<i64>,
    /// A weight for each.
    styles: Option<Vec<f64>>,
}

impl Style {
    /// A weight for each style; their sum is 1.
    pub fn weights(&self) -> Result<Array1<f32>> {
        match (self.style, &self.styles) {
            (Some(_), Some(_)) => bail_caller!("args: either style or styles, not both"),
            (number, None) => one(number.unwrap_or(0)),
            (None, Some(weights)) => blend(weights),
        }
    }
}

fn one(number: i64) -> Result<Array1<f32>> {
    let mut weights = Array1::zeros(STYLES);
    match usize::try_from(number).ok().and_then(|number| weights.get_mut(number)) {
        Some(weight) => *weight = 1.0,
        None => bail_caller!("args: style is 0 to {}, not {number}", STYLES - 1),
    }
    Ok(weights)
}

fn blend(weights: &[f64]) -> Result<Array1<f32>> {
    if weights.len() != STYLES {
        bail_caller!("args: styles are {STYLES} weights, not {}", weights.len());
    }
    if let Some(weight) = weights.iter().find(|weight| **weight < 0.0) {
        bail_caller!("args: a weight of styles is at least 0, not {weight}");
    }
    let sum: f64 = weights.iter().sum();
    // A sum that is not finite would make each of them 0.
    if !(sum > 0.0 && sum.is_finite()) {
        bail_caller!("args: the weights of styles have the sum {sum}, which cannot be divided");
    }
    Ok(weights.iter().map(|weight| (weight / sum) as f32).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tms_guest::{Args, Fault};

    fn weights(args: &str) -> Result<Vec<f32>> {
        Ok(Args::new(args).get::<Style>()?.weights()?.to_vec())
    }

    #[track_caller]
    fn assert_refused(args: &str, message: &str) {
        let error = weights(args).unwrap_err();
        assert_eq!((error.fault(), error.message()), (Fault::Caller, message));
    }

    #[test]
    fn one_style() {
        let first = weights("{}").unwrap();
        assert_eq!((first.len(), first[0], first.iter().sum::<f32>()), (26, 1.0, 1.0));
        let last = weights(r#"{"style": 25, "styles": null}"#).unwrap();
        assert_eq!((last[25], last.iter().sum::<f32>()), (1.0, 1.0));
    }

    #[test]
    fn a_blend_has_the_sum_one() {
        let mut given = vec![0; 26];
        (given[3], given[12]) = (1, 3);
        let blend = weights(&format!(r#"{{"styles": {given:?}}}"#)).unwrap();
        assert_eq!((blend[3], blend[12], blend.iter().sum::<f32>()), (0.25, 0.75, 1.0));
    }

    #[test]
    fn what_names_no_style_is_the_callers_fault() {
        let some = |weight: &str| format!(r#"{{"styles": [{}]}}"#, [weight; 26].join(","));
        assert_refused(r#"{"style": 26}"#, "args: style is 0 to 25, not 26");
        assert_refused(r#"{"style": -1}"#, "args: style is 0 to 25, not -1");
        assert_refused(r#"{"styles": [1, 2]}"#, "args: styles are 26 weights, not 2");
        assert_refused(&some("-2"), "args: a weight of styles is at least 0, not -2");
        let no_parts = "args: the weights of styles have the sum";
        assert_refused(&some("0"), &format!("{no_parts} 0, which cannot be divided"));
        assert_refused(&some("1e308"), &format!("{no_parts} inf, which cannot be divided"));
        let both = format!(r#"{{"style": 1, {}"#, &some("1")[1..]);
        assert_refused(&both, "args: either style or styles, not both");
        for args in [r#"{"style": "van gogh"}"#, r#"{"stlye": 3}"#, r#"{"style": 1.5}"#, "7"] {
            assert!(weights(args).is_err_and(|error| error.fault() == Fault::Caller), "{args}");
        }
    }
}
