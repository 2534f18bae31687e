//! Functions of one number that tract computes so that the largest or the smallest values, or what is no
//! number, come out wrong. These are right for every value, for a little more time.

use tract_onnx::tract_hir::internal::*;

/// A function of each element. Halves are computed as floats.
#[derive(Clone, Debug, PartialEq)]
pub enum Function {
    /// At least the first and at most the second.
    Clip(f32, f32),
    Sqrt,
    Asinh,
    Acosh,
    Softplus,
    Mish,
    HardSwish,
    Celu(f32),
    /// A factor, and what is added.
    HardSigmoid(f32, f32),
    /// Of the GELU by the hyperbolic tangent.
    TanhGelu,
    /// Of the GELU by the sigmoid of the number times this factor.
    SigmoidGelu(f32),
    /// 0 for what has no end.
    FiniteOrZero,
}

// None of them has a NaN among its parameters, but a graph's author may write one: then they differ, which
// costs an optimisation.
impl Eq for Function {}

impl Function {
    pub fn op(self) -> tract_core::ops::element_wise::ElementWiseOp {
        tract_core::ops::element_wise::ElementWiseOp(Box::new(self), None)
    }

    fn apply(&self, numbers: &mut [f32]) {
        use Function::*;
        fn each(numbers: &mut [f32], f: impl Fn(f32) -> f32) {
            numbers.iter_mut().for_each(|x| *x = f(*x));
        }
        fn softplus(x: f32) -> f32 {
            // In this form nothing overflows; `max` would drop NaN, so it is not used.
            let above = if x < 0.0 { 0.0 } else { x };
            above + (-x.abs()).exp().ln_1p()
        }
        match *self {
            Clip(low, high) => each(numbers, |x| clip(x, low, high)),
            Sqrt => each(numbers, f32::sqrt),
            // Their squares overflow halfway.
            Asinh => each(numbers, |x| f64::from(x).asinh() as f32),
            Acosh => each(numbers, |x| f64::from(x).acosh() as f32),
            Softplus => each(numbers, softplus),
            Mish => each(numbers, |x| x * softplus(x).tanh()),
            HardSwish => each(numbers, |x| x * clip(x / 6.0 + 0.5, 0.0, 1.0)),
            Celu(alpha) => {
                each(numbers, |x| if x > 0.0 { x } else { alpha * (x / alpha).exp_m1() })
            }
            HardSigmoid(alpha, beta) => each(numbers, |x| clip(alpha * x + beta, 0.0, 1.0)),
            TanhGelu => {
                let twice_root = 2.0 * (2.0 / std::f32::consts::PI).sqrt();
                each(numbers, |x| x / (1.0 + (-twice_root * (x + 0.044715 * x * x * x)).exp()));
            }
            SigmoidGelu(alpha) => each(numbers, |x| x / (1.0 + (-alpha * x).exp())),
            FiniteOrZero => each(numbers, |x| if x.is_finite() { x } else { 0.0 }),
        }
    }
}

/// NaN stays what it is, as with `clamp`, but crossed or missing bounds are no panic.
fn clip(x: f32, low: f32, high: f32) -> f32 {
    let x = if x < low { low } else { x };
    if x > high { high } else { x }
}

impl ElementWiseMiniOp for Function {
    fn name(&self) -> String {
        format!("{self:?}")
    }

    fn eval_in_place(&self, tensor: &mut Tensor, _: Option<DatumType>) -> TractResult<()> {
        /// Elements that are converted at once: they stay in the nearest cache.
        const SOME: usize = 1024;
        let kind = tensor.datum_type();
        let mut plain = tensor.try_as_plain_ram_mut()?;
        match kind {
            DatumType::F32 => self.apply(plain.as_slice_mut()?),
            DatumType::F16 => {
                let mut floats = [0.0; SOME];
                for halves in plain.as_slice_mut::<f16>()?.chunks_mut(SOME) {
                    let floats = &mut floats[..halves.len()];
                    floats
                        .iter_mut()
                        .zip(&*halves)
                        .for_each(|(float, half)| *float = half.to_f32());
                    self.apply(floats);
                    halves.iter_mut().zip(&*floats).for_each(|(half, f)| *half = f16::from_f32(*f));
                }
            }
            other => bail!("{} does not support {other:?}", self.name()),
        }
        Ok(())
    }
}
