//! Operators of ONNX that tract reads, but computes otherwise than ONNX Runtime for some values: ours in
//! place of them. docs/tract.md lists what was compared.

use tract_onnx::{
    Onnx,
    model::ParsingContext,
    pb::{AttributeProto, GraphProto, NodeProto, TensorProto},
    tensor::load_tensor,
    tract_core::ops::{
        cast::cast,
        nn::{Reduce, Reducer},
    },
    tract_hir::{
        internal::*,
        ops::{
            activations,
            logic::wire_with_rank_broadcast,
            math::{add, exp, ln, sub},
        },
    },
};

use super::functions::Function;

type Built = TractResult<(Box<dyn InferenceOp>, Vec<String>)>;

/// tract's own builders stay under this prefix where ours use them.
const OWN: &str = "tract.";

/// Puts ours in place of tract's.
pub fn register(onnx: &mut Onnx) {
    let operators = &mut onnx.op_register;
    for name in ["Clip", "Gelu", "QuantizeLinear", "ReduceLogSumExp"] {
        if let Some(own) = operators.0.remove(name) {
            operators.0.insert(format!("{OWN}{name}"), own);
        }
    }
    operators.insert("Asinh", |_, _| function(Function::Asinh));
    operators.insert("Acosh", |_, _| function(Function::Acosh));
    operators.insert("Celu", |_, node| function(Function::Celu(float(node, "alpha", 1.0)?)));
    operators.insert("Clip", clip);
    operators.insert("FastGelu", |_, _| replaced(TanhGelu));
    operators.insert("Gelu", |context, node| match node.get_attr_opt::<&str>("approximate")? {
        Some("tanh") => function(Function::TanhGelu),
        _ => built_by_tract(context, node),
    });
    operators.insert("HardSigmoid", |_, node| {
        function(Function::HardSigmoid(float(node, "alpha", 0.2)?, float(node, "beta", 0.5)?))
    });
    operators.insert("HardSwish", |_, _| function(Function::HardSwish));
    operators.insert("LogSoftmax", log_softmax);
    operators.insert("Mish", |_, _| function(Function::Mish));
    operators
        .insert("QuantizeLinear", |context, node| replaced(Quantize { own: own(context, node)? }));
    operators.insert("QuickGelu", |_, node| {
        function(Function::SigmoidGelu(float(node, "alpha", 1.702)?))
    });
    operators.insert("ReduceLogSumExp", log_sum_exp);
    operators.insert("Relu", |_, _| replaced(Relu));
    operators.insert("Softplus", |_, _| function(Function::Softplus));
}

/// Changes nodes that tract reads wrongly.
pub fn prepare(graph: &mut GraphProto) {
    for node in &mut graph.node {
        // With a value, tract pads with that, whatever the mode.
        let by_itself = |a: &AttributeProto| a.name == "mode" && a.s != b"constant";
        if node.op_type == "Pad" && node.attribute.iter().any(by_itself) {
            node.input.iter_mut().skip(2).take(1).for_each(String::clear);
        }
        node.attribute.iter_mut().filter_map(|a| a.g.as_mut()).for_each(prepare);
    }
}

/// What a node asks of its operator that tract does otherwise.
pub fn differs(
    onnx: &Onnx,
    graph: &GraphProto,
    node: &NodeProto,
) -> TractResult<Option<&'static str>> {
    let text = |name| node.get_attr_opt::<&str>(name);
    Ok(match node.op_type.as_str() {
        "GlobalLpPool" => Some("GlobalLpPool"),
        "MeanVarianceNormalization" => Some("MeanVarianceNormalization"),
        "ArgMax" | "ArgMin" if node.get_attr_opt::<i64>("select_last_index")?.unwrap_or(0) != 0 => {
            Some("select_last_index")
        }
        "Resize" if text("coordinate_transformation_mode")? == Some("align_corners") => {
            // From the size before it is rounded.
            let scales = node.input.get(2).filter(|name| !name.is_empty());
            let whole = |name: &String| -> TractResult<bool> {
                let Some(scales) = constant(graph, name) else { return Ok(false) };
                let scales = load_tensor(&*onnx.provider, scales, None)?;
                let scales = scales.try_as_plain_ram()?.as_slice::<f32>()?;
                Ok(scales.iter().all(|scale| scale.fract() == 0.0))
            };
            let wrong = !scales.map_or(Ok(true), whole)?;
            wrong.then_some("Resize to aligned corners by a fraction")
        }
        _ => None,
    })
}

/// A value of a graph that is always the same.
fn constant<'g>(graph: &'g GraphProto, name: &str) -> Option<&'g TensorProto> {
    let node = || {
        let node = graph.node.iter().find(|node| node.output.iter().any(|output| output == name));
        node.filter(|node| node.op_type == "Constant")?.attribute.iter().find_map(|a| a.t.as_ref())
    };
    graph.initializer.iter().find(|tensor| tensor.name == name).or_else(node)
}

/// Operators that answer as ONNX Runtime does but for these values, of those that may matter.
pub const EXCEPT: [(&str, &str); 4] =
    [("BitShift", "shifts by all bits or more"), ("GRU", "NaN"), ("LSTM", "NaN"), ("RNN", "NaN")];

fn float(node: &NodeProto, name: &str, default: f32) -> TractResult<f32> {
    Ok(node.get_attr_opt(name)?.unwrap_or(default))
}

fn replaced(operator: impl Expansion) -> Built {
    Ok((expand(operator), vec![]))
}

fn function(function: Function) -> Built {
    replaced(Elementwise(function))
}

fn built_by_tract(context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    let build = context.framework.op_register.0.get(&format!("{OWN}{}", node.op_type));
    build.context("an operator is missing")?(context, node)
}

/// tract's own operator for a node.
fn own(context: &ParsingContext<'_>, node: &NodeProto) -> TractResult<Box<dyn Expansion>> {
    expansion(built_by_tract(context, node)?)
}

fn expansion(built: (Box<dyn InferenceOp>, Vec<String>)) -> TractResult<Box<dyn Expansion>> {
    built
        .0
        .as_op()
        .downcast_ref::<Box<dyn Expansion>>()
        .cloned()
        .context("an operator of another kind")
}

/// The rules of operators whose output is like their first input.
fn like_the_first<'r, 'p: 'r>(
    solver: &mut Solver<'r>,
    inputs: &'p [TensorProxy],
    outputs: &'p [TensorProxy],
) -> InferenceResult {
    check_output_arity(outputs, 1)?;
    solver.equals(&inputs[0].datum_type, &outputs[0].datum_type)?;
    solver.equals(&inputs[0].shape, &outputs[0].shape)
}

/// An operator as `$name`, with these rules, that is wired by a function of itself.
macro_rules! operator {
    ($name:ident, $rules:expr, $wire:expr) => {
        impl Expansion for $name {
            fn name(&self) -> StaticName {
                stringify!($name).into()
            }

            fn rules<'r, 'p: 'r, 's: 'r>(
                &'s self,
                solver: &mut Solver<'r>,
                inputs: &'p [TensorProxy],
                outputs: &'p [TensorProxy],
            ) -> InferenceResult {
                let rules: fn(
                    &'s $name,
                    &mut Solver<'r>,
                    &'p [TensorProxy],
                    &'p [TensorProxy],
                ) -> InferenceResult = $rules;
                rules(self, solver, inputs, outputs)
            }

            fn wire(
                &self,
                name: &str,
                model: &mut TypedModel,
                inputs: &[OutletId],
            ) -> TractResult<TVec<OutletId>> {
                let wire: fn(&$name, Wiring<'_>) -> TractResult<TVec<OutletId>> = $wire;
                wire(self, Wiring { name, model, inputs })
            }
        }
    };
}

/// Where an operator is put together.
struct Wiring<'w> {
    name: &'w str,
    model: &'w mut TypedModel,
    inputs: &'w [OutletId],
}

impl Wiring<'_> {
    fn kind(&self, input: usize) -> TractResult<DatumType> {
        Ok(self.model.outlet_fact(self.inputs[input])?.datum_type)
    }

    fn add(
        &mut self,
        part: &str,
        op: impl Into<Box<dyn TypedOp>>,
        inputs: &[OutletId],
    ) -> TractResult<OutletId> {
        Ok(self.model.wire_node(format!("{}.{part}", self.name), op, inputs)?[0])
    }

    /// An input that is one constant number.
    fn constant(&self, input: usize) -> TractResult<Option<f32>> {
        match &self.model.outlet_fact(self.inputs[input])?.konst {
            Some(value) if value.len() == 1 => Ok(Some(value.cast_to_scalar::<f32>()?)),
            _ => Ok(None),
        }
    }
}

#[derive(Clone, Debug)]
struct Elementwise(Function);

operator!(
    Elementwise,
    |_, solver, inputs, outputs| like_the_first(solver, inputs, outputs),
    |op, w| { w.model.wire_node(w.name, op.0.clone().op(), w.inputs) }
);

/// Of floats in one step. Of whole numbers, which have no NaN, as tract does it.
#[derive(Clone, Debug)]
struct Relu;

operator!(Relu, |_, solver, inputs, outputs| like_the_first(solver, inputs, outputs), |_, w| {
    match w.kind(0)? {
        DatumType::F16 | DatumType::F32 => {
            w.model.wire_node(w.name, Function::Clip(0.0, f32::INFINITY).op(), w.inputs)
        }
        _ => activations::Clip::new(Some(0.0), None).wire(w.name, w.model, w.inputs),
    }
});

/// The GELU of the first input and what is added to it.
#[derive(Clone, Debug)]
struct TanhGelu;

operator!(
    TanhGelu,
    |_, solver, inputs, outputs| like_the_first(solver, inputs, outputs),
    |_, w| {
        let sum = match w.inputs.len() {
            1 => w.inputs.into(),
            _ => wire_with_rank_broadcast(format!("{}.bias", w.name), w.model, add(), w.inputs)?,
        };
        w.model.wire_node(w.name, Function::TanhGelu.op(), &sum)
    }
);

fn clip(context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    if context.onnx_operator_set_version < 11 {
        let (low, high) = (float(node, "min", f32::MIN)?, float(node, "max", f32::MAX)?);
        return function(Function::Clip(low, high));
    }
    let given = |at: usize| node.input.get(at).is_some_and(|name| !name.is_empty());
    let low = given(1).then_some(1);
    let high = given(2).then_some(1 + usize::from(given(1)));
    replaced(Clip { low, high, own: own(context, node)? })
}

/// Between two bounds, if given. In one step where they are constants.
#[derive(Clone, Debug)]
struct Clip {
    low: Option<usize>,
    high: Option<usize>,
    own: Box<dyn Expansion>,
}

operator!(Clip, |op, solver, inputs, outputs| op.own.rules(solver, inputs, outputs), |op, w| {
    let end = match w.kind(0)? {
        DatumType::F16 => f16::MAX.to_f32(),
        DatumType::F32 => f32::MAX,
        _ => return op.own.wire(w.name, w.model, w.inputs),
    };
    let bound = |input: Option<usize>, end: f32| match input {
        Some(input) => w.constant(input),
        None => Ok(Some(end)),
    };
    match (bound(op.low, -end)?, bound(op.high, end)?) {
        (Some(low), Some(high)) => {
            w.model.wire_node(w.name, Function::Clip(low, high).op(), &w.inputs[..1])
        }
        _ => op.own.wire(w.name, w.model, w.inputs),
    }
});

/// tract adds the zero point to 32 bits that may be full.
#[derive(Clone, Debug)]
struct Quantize {
    own: Box<dyn Expansion>,
}

operator!(
    Quantize,
    |op, solver, inputs, outputs| op.own.rules(solver, inputs, outputs),
    |op, mut w| {
        let scale = w.constant(1)?.map(|scale| scale.abs()).filter(|scale| scale.is_finite());
        let float = matches!(w.kind(0)?, DatumType::F16 | DatumType::F32);
        let Some(scale) = scale.filter(|_| float) else {
            return op.own.wire(w.name, w.model, w.inputs);
        };
        // More than twice of what 8 bits hold, wherever zero is.
        let end = 1024.0 * scale;
        let within = w.add("within", Function::Clip(-end, end).op(), &w.inputs[..1])?;
        let inputs: TVec<_> = [&[within], &w.inputs[1..]].concat().into();
        op.own.wire(w.name, w.model, &inputs)
    }
);

fn log_softmax(context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    let axis = node.get_attr_opt::<i64>("axis")?;
    // Until opset 12, it was of all dimensions from the axis on.
    let flat = context.onnx_operator_set_version < 13;
    replaced(LogSoftmax { axis: axis.unwrap_or(if flat { 1 } else { -1 }), flat })
}

/// In a form that has no logarithm of 0.
#[derive(Clone, Debug)]
struct LogSoftmax {
    axis: i64,
    flat: bool,
}

operator!(
    LogSoftmax,
    |_, solver, inputs, outputs| like_the_first(solver, inputs, outputs),
    |op, mut w| {
        let fact = w.model.outlet_fact(w.inputs[0])?;
        let (rank, kind) = (fact.rank(), fact.datum_type);
        let axis = if op.axis < 0 { op.axis + rank as i64 } else { op.axis } as usize;
        let axes: TVec<usize> = if op.flat { (axis..rank).collect() } else { tvec![axis] };
        let mut x = w.inputs[0];
        // The sum of many halves would lose its last digits.
        if kind == f16::datum_type() {
            x = w.add("floats", cast(f32::datum_type()), &[x])?;
        }
        let largest = w.add("largest", Reduce::new(axes.clone(), Reducer::Max), &[x])?;
        let below = w.add("below", sub(), &[x, largest])?;
        let exp = w.add("exp", exp(), &[below])?;
        let sum = w.add("sum", Reduce::new(axes, Reducer::Sum), &[exp])?;
        let ln = w.add("ln", ln(), &[sum])?;
        let result = w.add("result", sub(), &[below, ln])?;
        Ok(tvec![if kind == f16::datum_type() {
            w.add("halves", cast(kind), &[result])?
        } else {
            result
        }])
    }
);

fn log_sum_exp(context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    let largest = |kept: bool| {
        let mut node = NodeProto { op_type: "ReduceMax".into(), ..node.clone() };
        node.attribute.retain(|attribute| attribute.name != "keepdims" || !kept);
        let build = context.framework.op_register.0.get("ReduceMax");
        expansion(build.context("an operator is missing")?(context, &node)?)
    };
    let (kept, largest) = (largest(true)?, largest(false)?);
    replaced(LogSumExp { own: own(context, node)?, kept, largest })
}

/// Less the largest, which is added again: no exponent is too large.
#[derive(Clone, Debug)]
struct LogSumExp {
    own: Box<dyn Expansion>,
    /// The largest, with all dimensions.
    kept: Box<dyn Expansion>,
    /// The largest, in the shape of the result.
    largest: Box<dyn Expansion>,
}

operator!(
    LogSumExp,
    |op, solver, inputs, outputs| op.own.rules(solver, inputs, outputs),
    |op, mut w| {
        let kept = op.kept.wire(&format!("{}.kept", w.name), w.model, w.inputs)?;
        let kept = w.add("kept_finite", Function::FiniteOrZero.op(), &kept)?;
        let below = w.add("below", sub(), &[w.inputs[0], kept])?;
        let inputs: TVec<_> = [&[below], &w.inputs[1..]].concat().into();
        let rest = op.own.wire(&format!("{}.rest", w.name), w.model, &inputs)?[0];
        let largest = op.largest.wire(&format!("{}.largest", w.name), w.model, w.inputs)?;
        let largest = w.add("largest_finite", Function::FiniteOrZero.op(), &largest)?;
        w.model.wire_node(w.name, add(), &[rest, largest])
    }
);
