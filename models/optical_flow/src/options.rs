//! The arguments of a request: OpenCV's names for them, and the values of its documentation's example.

use std::fmt::Display;
use std::ops::RangeInclusive;

use tms_guest::serde::Deserialize;
use tms_guest::{Result, bail_caller};

/// How to look for movements. An argument that is misspelt is refused: the flow would look as if it had
/// been left out.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(crate = "tms_guest::serde", default, deny_unknown_fields)]
pub struct Options {
    /// The size of each level of the pyramid, as a part of the one below.
    pub pyramid_scale: f64,
    /// How many levels there are above the frames themselves, where they are large enough.
    pub levels: usize,
    /// The side of the square of pixels that move alike: a large one finds fast movements, a small one sharp edges.
    pub window: usize,
    /// How often each level is gone through.
    pub iterations: usize,
    /// A pixel's surroundings, in which a polynomial is fitted, reach so far.
    pub poly_n: usize,
    /// How fast its neighbours count less with their distance.
    pub poly_sigma: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            pyramid_scale: 0.5,
            levels: 3,
            window: 15,
            iterations: 3,
            poly_n: 5,
            poly_sigma: 1.2,
        }
    }
}

impl Options {
    /// Refuses what means nothing, and what would take long for nothing.
    pub fn check(&self) -> Result<()> {
        within("pyramid_scale", self.pyramid_scale, 0.1..=0.95)?;
        within("levels", self.levels, 0..=20)?;
        within("window", self.window, 2..=255)?;
        within("iterations", self.iterations, 1..=100)?;
        within("poly_n", self.poly_n, 2..=20)?;
        within("poly_sigma", self.poly_sigma, 0.3..=10.0)
    }
}

fn within<T: PartialOrd + Display>(name: &str, value: T, range: RangeInclusive<T>) -> Result<()> {
    if !range.contains(&value) {
        bail_caller!("args: {name} is {} to {}, not {value}", range.start(), range.end());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tms_guest::{Args, Fault};

    #[test]
    fn what_is_left_out_has_a_default() {
        let options: Options = Args::new(r#"{"window": 21}"#).get().unwrap();
        assert_eq!(options, Options { window: 21, ..Options::default() });
        options.check().unwrap();
    }

    #[test]
    fn what_makes_no_sense_is_the_callers_fault() {
        let check = |args: &str| Args::new(args).get::<Options>()?.check();
        let refused = check(r#"{"pyramid_scale": 1}"#).unwrap_err();
        assert_eq!(refused.message(), "args: pyramid_scale is 0.1 to 0.95, not 1");
        for args in [
            r#"{"levels": -1}"#,
            r#"{"levels": 21}"#,
            r#"{"window": 1}"#,
            r#"{"iterations": 101}"#,
            r#"{"poly_n": 1}"#,
            r#"{"poly_sigma": 0}"#,
            r#"{"winsize": 15}"#,
            "[]3",
        ] {
            let refused = check(args).unwrap_err();
            assert_eq!(refused.fault(), Fault::Caller, "{args}");
        }
    }
}
