//! What tract's operators lose of a value is kept: that it is not a number, has no end, or takes more
//! than 32 bits. They are replaced in a model before it is optimised.

use tract_onnx::{
    tract_core::ops::{
        binary::{BinMiniOp, TypedBinOp},
        cast::Cast,
        element_wise::ElementWiseOp,
        logic::IfThenElse,
        math::{Div, Max, Min, Mul, Sqrt, Tanh},
        nn::{Reduce, Reducer, Sigmoid},
    },
    tract_hir::internal::*,
};

use super::functions::Function;

/// Replaces the operators of a model that lose something. Those inside of recurrent operators stay: as
/// they are, tract runs all steps of one at once.
pub fn keep(model: &mut TypedModel) -> TractResult<()> {
    for id in 0..model.nodes.len() {
        if let Some(branches) = model.nodes[id].op_as_mut::<IfThenElse>() {
            keep(&mut branches.then_body)?;
            keep(&mut branches.else_body)?;
        } else if let Some(op) = replacement(model, &model.nodes[id])? {
            model.nodes[id].op = op;
        }
    }
    Ok(())
}

fn replacement(model: &TypedModel, node: &TypedNode) -> TractResult<Option<Box<dyn TypedOp>>> {
    let Some(first) = node.inputs.first() else { return Ok(None) };
    let kind = model.outlet_fact(*first)?.datum_type;
    if let Some(Cast { to }) = node.op_as::<Cast>() {
        // What ONNX calls i64 is a dimension to tract, which it makes of 32 bits.
        let dimensions = *to == TDim::datum_type() && kind.is_number();
        return Ok(dimensions.then(|| ElementWiseOp(Box::new(Dimensions), None).into()));
    }
    if !matches!(kind, DatumType::F16 | DatumType::F32 | DatumType::F64) {
        return Ok(None);
    }
    if let Some(Reduce { axes, reducer: reducer @ (Reducer::Max | Reducer::Min) }) = node.op_as() {
        let larger = *reducer == Reducer::Max;
        return Ok(Some(Box::new(Extremes { axes: axes.clone(), larger })));
    }
    if let Some(TypedBinOp(op, result)) = node.op_as::<TypedBinOp>() {
        let ours = |pair| Ok(Some(TypedBinOp(Box::new(pair), *result).into()));
        let any = |problem: fn(f64) -> bool| has_constant(model, node, problem);
        return match op {
            op if op.is::<Max>() => ours(Pair::Larger),
            op if op.is::<Min>() => ours(Pair::Smaller),
            // tract takes them for 0, whatever they are multiplied with.
            op if op.is::<Mul>() && any(|x| x == 0.0)? => ours(Pair::Product),
            // It multiplies with one by them, which may have no end or be 0.
            op if op.is::<Div>() && any(|x| !(x as f32).recip().is_normal())? => {
                ours(Pair::Quotient)
            }
            _ => Ok(None),
        };
    }
    if let Some(ElementWiseOp(op, result)) = node.op_as::<ElementWiseOp>() {
        if op.is::<Tanh>() || op.is::<Sigmoid>() {
            return Ok(Some(ElementWiseOp(Box::new(Kept(op.clone())), *result).into()));
        }
        // tract takes the square of a root for the number itself, also of one below 0.
        if op.is::<Sqrt>() && kind != DatumType::F64 {
            return Ok(Some(Function::Sqrt.op().into()));
        }
    }
    Ok(None)
}

/// Whether an input is a constant that holds such a number.
fn has_constant(model: &TypedModel, node: &TypedNode, is: fn(f64) -> bool) -> TractResult<bool> {
    for input in &node.inputs {
        if let Some(constant) = &model.outlet_fact(*input)?.konst {
            let constant = constant.cast_to::<f64>()?;
            if constant.try_as_plain_ram()?.as_slice::<f64>()?.iter().any(|x| is(*x)) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Whole numbers as dimensions.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Dimensions;

impl ElementWiseMiniOp for Dimensions {
    fn name(&self) -> String {
        "Dimensions".into()
    }

    fn output_type(&self, _: DatumType) -> Option<DatumType> {
        Some(TDim::datum_type())
    }

    fn eval_out_of_place(&self, tensor: &Tensor, _: Option<DatumType>) -> TractResult<Tensor> {
        let whole = tensor.cast_to::<i64>()?;
        let whole = whole.to_plain_array_view::<i64>()?;
        Ok(whole.mapv(TDim::from).into_tensor())
    }
}

/// The hyperbolic tangent or the sigmoid as tract computes them, but for what those spoil.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept(Box<dyn ElementWiseMiniOp>);

impl Kept {
    /// Changes the results of those that are `spoiled` to what they ought to be.
    fn repair<T: Datum + Copy>(
        &self,
        tensor: &mut Tensor,
        kind: Option<DatumType>,
        spoiled: impl Fn(T) -> bool,
        right: impl Fn(T) -> T,
    ) -> TractResult<()> {
        let plain = tensor.try_as_plain_ram()?;
        let before = plain.as_slice::<T>()?;
        // Mostly there are none, which this sees in vectors.
        let some = before.iter().fold(false, |some, x| some | spoiled(*x));
        let numbers = before.iter().copied().enumerate();
        let repaired: Vec<_> = match some {
            true => numbers.filter(|(_, x)| spoiled(*x)).map(|(at, x)| (at, right(x))).collect(),
            false => Vec::new(),
        };
        self.0.eval_in_place(tensor, kind)?;
        let mut plain = tensor.try_as_plain_ram_mut()?;
        let after = plain.as_slice_mut::<T>()?;
        repaired.into_iter().for_each(|(at, x)| after[at] = x);
        Ok(())
    }
}

impl ElementWiseMiniOp for Kept {
    fn name(&self) -> String {
        format!("Kept{}", self.0.name())
    }

    fn eval_in_place(&self, tensor: &mut Tensor, kind: Option<DatumType>) -> TractResult<()> {
        // tract's sigmoid of something far below 0 is small but too large, by much where it is multiplied
        // by that something.
        let sigmoid = |x: f32| x.exp() / (1.0 + x.exp());
        match (tensor.datum_type(), self.0.is::<Sigmoid>()) {
            (DatumType::F16, true) => {
                let low = f16::from_f32(-5.0);
                let right = |x: f16| f16::from_f32(sigmoid(x.to_f32()));
                self.repair(tensor, kind, |x: f16| x.is_nan() || x < low, right)
            }
            (DatumType::F32, true) => {
                self.repair(tensor, kind, |x: f32| x.is_nan() || x < -15.0, sigmoid)
            }
            (DatumType::F16, false) => self.repair(tensor, kind, f16::is_nan, |nan| nan),
            (DatumType::F32, false) => self.repair(tensor, kind, f32::is_nan, |nan| nan),
            _ => self.0.eval_in_place(tensor, kind),
        }
    }
}

/// A number that may be none.
trait Float:
    Datum + Copy + PartialOrd + std::ops::Mul<Output = Self> + std::ops::Div<Output = Self>
{
}
impl Float for f16 {}
impl Float for f32 {}
impl Float for f64 {}

/// Of two numbers; NaN where one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pair {
    Larger,
    Smaller,
    Product,
    Quotient,
}

#[allow(clippy::eq_op)] // What is not itself is not a number.
fn larger<T: PartialOrd>(a: T, b: T) -> T {
    if a > b || a != a { a } else { b }
}

#[allow(clippy::eq_op)]
fn smaller<T: PartialOrd>(a: T, b: T) -> T {
    if a < b || a != a { a } else { b }
}

impl Pair {
    fn of<T: Float>(self, c: &mut Tensor, a: &Tensor, b: &Tensor) -> TractResult<()> {
        fn each<T: Float>(
            c: &mut Tensor,
            a: &Tensor,
            b: &Tensor,
            f: impl Fn(T, T) -> T,
        ) -> TractResult<()> {
            let (a, b) = (a.to_plain_array_view::<T>()?, b.to_plain_array_view::<T>()?);
            let mut c = c.try_as_plain_ram_mut()?;
            tract_ndarray::Zip::from(c.to_array_view_mut::<T>()?)
                .and_broadcast(a)
                .and_broadcast(b)
                .for_each(|c, a, b| *c = f(*a, *b));
            Ok(())
        }
        match self {
            Pair::Larger => each::<T>(c, a, b, larger),
            Pair::Smaller => each::<T>(c, a, b, smaller),
            Pair::Product => each::<T>(c, a, b, |a, b| a * b),
            Pair::Quotient => each::<T>(c, a, b, |a, b| a / b),
        }
    }
}

impl BinMiniOp for Pair {
    fn name(&self) -> &'static str {
        match self {
            Pair::Larger => "Larger",
            Pair::Smaller => "Smaller",
            Pair::Product => "Product",
            Pair::Quotient => "Quotient",
        }
    }

    fn is_commutative(&self) -> bool {
        *self != Pair::Quotient
    }

    fn result_datum_type(&self, a: DatumType, b: DatumType) -> TractResult<DatumType> {
        self.operating_datum_type(a, b)
    }

    fn eval_in_a(&self, a: &mut Tensor, b: &Tensor) -> TractResult<()> {
        let first = a.clone();
        self.eval_out_of_place(a, &first, b)
    }

    fn eval_out_of_place(&self, c: &mut Tensor, a: &Tensor, b: &Tensor) -> TractResult<()> {
        match a.datum_type() {
            DatumType::F16 => self.of::<f16>(c, a, b),
            DatumType::F32 => self.of::<f32>(c, a, b),
            DatumType::F64 => self.of::<f64>(c, a, b),
            other => bail!("{} does not support {other:?}", self.name()),
        }
    }
}

/// The largest or smallest along axes, which stay as dimensions of 1; NaN where one is. tract starts from
/// the last number before infinity.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Extremes {
    axes: TVec<usize>,
    larger: bool,
}

impl Extremes {
    fn of<T: Float>(&self, tensor: &Tensor, infinity: T, lowest: T) -> TractResult<Tensor> {
        let mut array = tensor.to_plain_array_view::<T>()?.to_owned();
        let (start, choose): (T, fn(T, T) -> T) =
            if self.larger { (lowest, larger) } else { (infinity, smaller) };
        for axis in &self.axes {
            let axis = tract_ndarray::Axis(*axis);
            array = array.fold_axis(axis, start, |a, b| choose(*a, *b)).insert_axis(axis);
        }
        Ok(array.into_tensor())
    }
}

impl Op for Extremes {
    fn name(&self) -> StaticName {
        "Extremes".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Extremes {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext<'_>, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let tensor = args_1!(inputs);
        let result = match tensor.datum_type() {
            DatumType::F16 => self.of(&tensor, f16::INFINITY, f16::NEG_INFINITY),
            DatumType::F32 => self.of(&tensor, f32::INFINITY, f32::NEG_INFINITY),
            _ => self.of(&tensor, f64::INFINITY, f64::NEG_INFINITY),
        };
        Ok(tvec![result?.into_tvalue()])
    }
}

impl TypedOp for Extremes {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let mut shape = inputs[0].shape.to_tvec();
        self.axes.iter().for_each(|axis| shape[*axis] = 1.to_dim());
        Ok(tvec![inputs[0].datum_type.fact(shape)])
    }

    as_op!();
}
