//! Sums the elements of named tensors of every type, in several ways that must agree: the whole,
//! row by row through views, reshaped through a second handle, and byte by byte.
//!
//! Tensors in: `{name}_sum` out for each, an f64 scalar. Byte strings sum their lengths. JSON
//! beside them says each tensor's type and shape.

use tms_guest::prelude::*;
use tms_guest::serde_json::{Map, Value, json};

struct TensorSum;

impl Model for TensorSum {
    fn init() -> Result<Self> {
        Ok(Self)
    }

    fn describe(&self) -> Description {
        Description::tensors(vec![], vec![])
    }

    fn run(&mut self, input: Input, _args: &Args) -> Result<Output> {
        let tensors = input.tensors()?;
        let mut seen = Map::<String, Value>::new();
        let mut output = Output::default();
        for (name, tensor) in tensors.iter() {
            let total = agreed_sum(tensor).map_err(|error| error.context(name))?;
            let total = Tensor::new(&[], &[total])?;
            output = output.with_tensor(format!("{name}_sum"), total);
            let shape = tensor.shape();
            seen.insert(name.into(), json!({"dtype": tensor.dtype().to_string(), "shape": shape}));
        }
        output.with_json(&seen)
    }
}

/// The sum, after all ways to it have been compared.
fn agreed_sum(tensor: &Tensor) -> Result<f64> {
    let shape = tensor.shape();
    let whole = sum(tensor)?;
    let flat = tensor.share().reshape(&[shape.iter().product()])?;
    let mut ways = vec![("reshaped", sum(&flat)?)];
    // An empty tensor may say that it has 2^40 rows.
    if let Some(&rows) = shape.first().filter(|_| tensor.byte_length() > 0) {
        let by_row = (0..rows).map(|row| sum(&tensor.rows(row..row + 1)?));
        ways.push(("by row", by_row.sum::<Result<f64>>()?));
        let middle = rows / 2;
        let halves = sum(&tensor.rows(0..middle)?)? + sum(&tensor.rows(middle..rows)?)?;
        ways.push(("by halves", halves));
    }
    let length = tensor.byte_length();
    let parts = [tensor.read(0..length / 3)?, tensor.read(length / 3..length)?].concat();
    if parts != tensor.read(0..length)? {
        return Err(Error::model("the parts are not the whole"));
    }
    for (way, total) in ways {
        // Sums of floats depend on their order.
        let close = (total - whole).abs() <= 1e-9 * whole.abs().max(1.0);
        let same = close || total == whole || (total.is_nan() && whole.is_nan());
        if !same {
            return Err(Error::model(format!("{way} the sum is {total}, not {whole}")));
        }
    }
    Ok(whole)
}

fn sum(tensor: &Tensor) -> Result<f64> {
    match tensor.dtype() {
        DType::Bytes => {
            let lengths = tensor.to_vec::<Vec<u8>>()?.into_iter().map(|item| item.len() as f64);
            Ok(lengths.sum())
        }
        _ => Ok(tensor.to_f64()?.sum()),
    }
}

tms_guest::export!(TensorSum);

#[cfg(test)]
mod tests {
    use super::*;
    use tms_guest::ndarray::array;

    #[test]
    fn all_ways_agree_natively() {
        let grid = Tensor::from(array![[1i8, 2], [3, -4]]);
        assert_eq!(agreed_sum(&grid).unwrap(), 2.0);
        let scalar = Tensor::new(&[], &[1.5f32]).unwrap();
        assert_eq!(agreed_sum(&scalar).unwrap(), 1.5);
        let words = Tensor::new(&[2], &["ab".to_owned(), "ü".to_owned()]).unwrap();
        assert_eq!(agreed_sum(&words).unwrap(), 4.0);
        let empty = Tensor::new::<u8>(&[0, 3], &[]).unwrap();
        assert_eq!(agreed_sum(&empty).unwrap(), 0.0);
    }
}
