//! tract, in pure Rust: serves graphs where ONNX Runtime is not installed.
//!
//! It wants to know every shape before it optimises a graph, so a graph is compiled for each
//! combination of input shapes, and the last few are kept.
//!
//! For some values, some of its operators give other numbers than ONNX Runtime does:
//!
//! - [`operators`] puts ours in place of them, [`functions`] are those of one number.
//! - [`exact`] replaces tract's own that lose something of a value.

mod exact;
mod functions;
mod operators;

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tract_onnx::{Onnx, pb, prelude::*, tract_hir::internal::TractErrorContext};

use super::{Backend, LoadedGraph, Session, SessionFactory};
use crate::{
    nn::{
        DType, Device, GraphOptions, LoadError, NnError, Tensor, TensorInfo,
        cancel::Cancel,
        check::{Signature, quoted},
        error::said,
        thread::panic_message,
    },
    text::bounded,
};

/// Compilations kept for each graph.
const KEPT: usize = 8;

pub struct Tract;

impl Backend for Tract {
    fn name(&self) -> &'static str {
        "tract"
    }

    fn prepares_shapes(&self) -> bool {
        true
    }

    fn load(&self, path: &Path, options: &GraphOptions) -> Result<LoadedGraph, LoadError> {
        let file = path.display();
        if options.device != Device::Cpu {
            let problem =
                format!("device {} cannot be used: tract has only the CPU", options.device);
            if !options.fallback_cpu {
                return Err(LoadError::Device(problem));
            }
            tracing::warn!("`{file}` runs on the CPU, NOT on {}: {problem}", options.device);
        }
        let unreadable = |e: TractError| {
            LoadError::Graph(format!(
                "`{file}` is not a graph that tract can read: {}",
                one_line(&e)
            ))
        };
        // The shapes that exporters note inside of a graph keep the names of open dimensions, which
        // then clash with the sizes that we put in.
        let mut onnx = tract_onnx::onnx().with_ignore_value_info(true);
        operators::register(&mut onnx);
        let mut proto = onnx.proto_model_for_path(path).map_err(unreadable)?;
        proto.graph.iter_mut().for_each(operators::prepare);
        let proto_graph = proto
            .graph
            .as_ref()
            .ok_or_else(|| LoadError::Graph(format!("`{file}` is not an ONNX graph")))?;
        let signature = signature(proto_graph)?;
        let lacking: Vec<_> = lacking(&onnx, proto_graph).into_iter().collect();
        if !lacking.is_empty() {
            return Err(LoadError::Graph(format!(
                "`{file}` needs ONNX Runtime (TMS_ONNXRUNTIME): tract lacks {}",
                bounded(&lacking.join(", "), 500)
            )));
        }
        let parsed =
            onnx.parse(&proto, path.parent().and_then(Path::to_str)).map_err(unreadable)?;
        if !parsed.unresolved_inputs.is_empty() {
            return Err(LoadError::Graph(format!("`{file}` uses values that it does not define")));
        }
        let graph = Arc::new(TractGraph {
            parsed: parsed.model,
            inputs: signature.inputs.iter().map(|info| info.dtype).collect(),
            outputs: proto_graph
                .output
                .iter()
                .map(|output| output_position(&signature, &output.name))
                .collect(),
            dtypes: signature.outputs.iter().map(|info| info.dtype).collect(),
            kept: Mutex::default(),
        });
        try_out(&graph, &signature, proto_graph.input.iter().any(any_rank), path).map_err(|e| {
            LoadError::Graph(format!(
                "`{file}` needs ONNX Runtime (TMS_ONNXRUNTIME): tract cannot compile it for any size \
                 that was tried: {}",
                one_line(&e)
            ))
        })?;
        for (operator, values) in operators::EXCEPT {
            if proto_graph.node.iter().any(|node| node.op_type == operator) {
                tracing::info!(
                    "tract does not answer as ONNX Runtime does where its {operator} of `{file}` meets {values}"
                );
            }
        }
        let factory = Arc::new(TractSessions(graph));
        Ok(LoadedGraph { signature, device: Device::Cpu.to_string(), factory })
    }
}

/// Sizes that open dimensions may want to be: of pictures, texts, sounds.
const SIZES: [usize; 20] = [
    16, 32, 64, 96, 128, 160, 192, 224, 256, 299, 300, 320, 384, 416, 448, 512, 640, 768, 1024,
    16_000,
];

/// Compiles the graph for some sizes of its open dimensions, while there is somebody to read the message:
/// 1 first, the likeliest batch. A graph that cannot be compiled for any of them could answer no call.
fn try_out(
    graph: &TractGraph,
    signature: &Signature,
    any_rank: bool,
    path: &Path,
) -> TractResult<()> {
    let failed = match graph.compiled(sample_shapes(signature, |_| 1)) {
        Ok(_) => return Ok(()),
        Err(failed) => failed,
    };
    if any_rank {
        // There is no end of what could be tried.
        let (path, failed) = (path.display(), one_line(&failed));
        tracing::warn!("tract may not be able to run `{path}`: for sizes of 1, {failed}");
        return Ok(());
    }
    let mut last = failed;
    for size in SIZES {
        let innermost = sample_shapes(signature, |from_the_end| match from_the_end {
            0 => size,
            _ => 1,
        });
        // Pictures have two of them.
        let inner =
            sample_shapes(signature, |from_the_end| if from_the_end < 2 { size } else { 1 });
        for shapes in [innermost, inner] {
            match graph.compiled(shapes) {
                Ok(_) => return Ok(()),
                Err(failed) => last = failed,
            }
        }
    }
    Err(last)
}

/// Whether an input leaves open how many dimensions it has. A [`TensorInfo`] has none then, as that of a
/// scalar.
fn any_rank(input: &pb::ValueInfoProto) -> bool {
    let kind = input.r#type.as_ref().and_then(|kind| kind.value.as_ref());
    matches!(kind, Some(pb::type_proto::Value::TensorType(tensor)) if tensor.shape.is_none())
}

/// Shapes of all inputs, where open dimensions have a size by their place, counted from the end. The
/// outermost one is a batch of 1.
fn sample_shapes(signature: &Signature, size: impl Fn(usize) -> usize) -> Shapes {
    let shape = |info: &TensorInfo| {
        let rank = info.shape.len();
        let dimension = |(at, wanted): (usize, &i64)| match usize::try_from(*wanted) {
            Ok(fixed) => fixed,
            Err(_) if at == 0 => 1,
            Err(_) => size(rank - 1 - at),
        };
        info.shape.iter().enumerate().map(dimension).collect()
    };
    signature.inputs.iter().map(shape).collect()
}

/// What the graph and its subgraphs need that tract does not have.
fn lacking(onnx: &Onnx, graph: &pb::GraphProto) -> BTreeSet<String> {
    let uses = |operator: &str| graph.node.iter().any(|node| node.op_type == operator);
    let mut lacking = BTreeSet::new();
    // tract has both, but together they give wrong answers without an error: all ones.
    if uses("Softmax") && uses("QuantizeLinear") {
        lacking.insert("Softmax of quantised values".to_string());
    }
    for node in &graph.node {
        if !onnx.op_register.0.contains_key(&node.op_type) {
            lacking.insert(node.op_type.clone());
        }
        // It has these too, and gives other numbers than ONNX Runtime for ordinary values.
        if let Ok(Some(wrong)) = operators::differs(onnx, graph, node) {
            lacking.insert(wrong.to_string());
        }
        let subgraphs = node.attribute.iter().filter_map(|a| a.g.as_ref());
        lacking.extend(subgraphs.flat_map(|subgraph| self::lacking(onnx, subgraph)));
    }
    lacking
}

/// What the graph takes and gives.
fn signature(graph: &pb::GraphProto) -> Result<Signature, LoadError> {
    let mut signature = Signature::default();
    for input in &graph.input {
        // An input with a default value is a constant for tract.
        if graph.initializer.iter().any(|default| default.name == input.name) {
            continue;
        }
        let info = info(input).map_err(|kind| {
            LoadError::Graph(format!(
                "input {} is a {kind}: only tensors of known types can be sent",
                quoted(&input.name)
            ))
        })?;
        signature.inputs.push(info);
    }
    for output in &graph.output {
        match info(output) {
            Ok(info) => signature.outputs.push(info),
            Err(kind) => signature.unusable.push((output.name.clone(), kind)),
        }
    }
    Ok(signature)
}

/// One input or output; for those that are no tensors of our types, what they are instead.
fn info(value: &pb::ValueInfoProto) -> Result<TensorInfo, String> {
    use pb::{tensor_proto::DataType, tensor_shape_proto::dimension::Value, type_proto};
    let Some(type_proto::Value::TensorType(tensor)) =
        value.r#type.as_ref().and_then(|t| t.value.as_ref())
    else {
        return Err("sequence or map".into());
    };
    let datum = DataType::try_from(tensor.elem_type).map(DatumType::try_from);
    let known =
        DType::all().find(|&dtype| matches!(&datum, Ok(Ok(d)) if self::datum(dtype) == Some(*d)));
    let dtype = known.ok_or("tensor of a type that tract lacks")?;
    let dims = tensor.shape.iter().flat_map(|shape| &shape.dim);
    let size = |dim: &pb::tensor_shape_proto::Dimension| match dim.value {
        Some(Value::DimValue(n)) if n >= 0 => n,
        _ => -1,
    };
    Ok(TensorInfo { name: value.name.clone(), dtype, shape: dims.map(size).collect() })
}

fn output_position(signature: &Signature, name: &str) -> Option<usize> {
    signature.outputs.iter().position(|info| info.name == name)
}

/// The graph, optimised for certain input shapes.
type Compiled = Arc<TypedRunnableModel>;
type Shapes = Vec<Vec<usize>>;

/// A graph as its sessions share it.
struct TractGraph {
    /// As it was read; compiled for each combination of input shapes.
    parsed: InferenceModel,
    inputs: Vec<DType>,
    /// For each output of the graph its position among those that can be given.
    outputs: Vec<Option<usize>>,
    dtypes: Vec<DType>,
    /// The last few; used last at the end.
    kept: Mutex<Vec<(Shapes, Compiled)>>,
}

impl TractGraph {
    /// The graph compiled for these input shapes.
    fn compiled(&self, shapes: Shapes) -> TractResult<Compiled> {
        let known = {
            let mut kept = self.kept();
            let found = kept.iter().position(|(key, _)| *key == shapes);
            found.map(|at| kept.remove(at)).inspect(|known| kept.push(known.clone()))
        };
        if let Some((_, compiled)) = known {
            return Ok(compiled);
        }
        // Some sizes make its analysis panic.
        let attempt = catch_unwind(AssertUnwindSafe(|| self.compile(&shapes)));
        let compiled =
            attempt.unwrap_or_else(|panic| Err(TractError::msg(panic_message(panic.as_ref()))))?;
        let mut kept = self.kept();
        if kept.len() == KEPT {
            kept.remove(0);
        }
        kept.push((shapes, compiled.clone()));
        Ok(compiled)
    }

    fn kept(&self) -> MutexGuard<'_, Vec<(Shapes, Compiled)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn compile(&self, shapes: &Shapes) -> TractResult<Compiled> {
        let mut model = self.parsed.clone();
        for (i, (dtype, shape)) in self.inputs.iter().zip(shapes).enumerate() {
            let datum = datum(*dtype).context("an element type that tract lacks")?;
            model.set_input_fact(i, InferenceFact::dt_shape(datum, shape))?;
        }
        let mut model = model.into_typed()?;
        exact::keep(&mut model)?;
        model.into_optimized()?.into_runnable()
    }

    fn run(&self, inputs: &[(usize, Tensor)], wanted: &[usize]) -> TractResult<Vec<Tensor>> {
        let mut inputs: Vec<_> = inputs.iter().collect();
        inputs.sort_by_key(|(position, _)| *position);
        let shapes = inputs.iter().map(|(_, tensor)| dims(tensor)).collect();
        let values = inputs.iter().map(|(_, tensor)| value(tensor)).collect::<TractResult<_>>()?;
        let outputs = self.compiled(shapes)?.run(values)?;
        let find = |want: &usize| {
            let i = self.outputs.iter().position(|position| position.as_ref() == Some(want));
            let output = i.and_then(|i| outputs.get(i)).context("an output is missing")?;
            tensor(output.clone(), *self.dtypes.get(*want).context("an output is unknown")?)
        };
        wanted.iter().map(find).collect()
    }
}

struct TractSessions(Arc<TractGraph>);

impl SessionFactory for TractSessions {
    /// Its runs have one thread each.
    fn session(&self, _: Option<usize>) -> Result<Box<dyn Session>, LoadError> {
        Ok(Box::new(TractSession(self.0.clone())))
    }
}

struct TractSession(Arc<TractGraph>);

impl Session for TractSession {
    /// tract cannot be interrupted: a run whose caller has left goes on to its end.
    fn run(
        &mut self,
        inputs: &[(usize, Tensor)],
        outputs: &[usize],
        _: &Cancel,
    ) -> Result<Vec<Tensor>, NnError> {
        // It panics where an index is out of range. It is safe Rust, and a run's state is its own, so
        // nothing is left half changed.
        let run = catch_unwind(AssertUnwindSafe(|| self.0.run(inputs, outputs)));
        let run = run.unwrap_or_else(|panic| Err(TractError::msg(panic_message(panic.as_ref()))));
        run.map_err(|e| NnError::Runtime(format!("the graph failed: {}", one_line(&e))))
    }
}

fn datum(dtype: DType) -> Option<DatumType> {
    Some(match dtype {
        DType::Bool => DatumType::Bool,
        DType::U8 => DatumType::U8,
        DType::U16 => DatumType::U16,
        DType::U32 => DatumType::U32,
        DType::U64 => DatumType::U64,
        DType::I8 => DatumType::I8,
        DType::I16 => DatumType::I16,
        DType::I32 => DatumType::I32,
        DType::I64 => DatumType::I64,
        DType::F16 => DatumType::F16,
        DType::F32 => DatumType::F32,
        DType::F64 => DatumType::F64,
        DType::Bytes => DatumType::String,
        DType::BF16 => return None,
    })
}

fn dims(tensor: &Tensor) -> Vec<usize> {
    tensor.shape().iter().map(|&d| d as usize).collect()
}

/// A tensor as a value of tract, which copies the bytes to align them.
fn value(tensor: &Tensor) -> TractResult<TValue> {
    let shape = dims(tensor);
    if tensor.dtype() == DType::Bytes {
        let strings: Result<Vec<String>, _> = tensor
            .bytes_elements()
            .map(|element| std::str::from_utf8(element).map(str::to_string))
            .collect();
        let array = tract_ndarray::ArrayD::from_shape_vec(shape, strings?)?;
        return Ok(array.into_tvalue());
    }
    let datum = datum(tensor.dtype()).context("an element type that tract lacks")?;
    // SAFETY: tract checks the length against the shape. Every bit pattern is valid for the number
    // types; for `bool`, `Tensor` has checked that each byte is 0 or 1. Strings went above.
    #[allow(unsafe_code)]
    let value = unsafe { tract_onnx::prelude::Tensor::from_raw_dt(datum, &shape, tensor.data()) }?;
    Ok(value.into_tvalue())
}

/// An output as a tensor over the same bytes, in the type that the graph declares: tract has types
/// of its own, for dimensions for instance.
fn tensor(output: TValue, dtype: DType) -> TractResult<Tensor> {
    let shape: Vec<u64> = output.shape().iter().map(|&d| d as u64).collect();
    let datum = datum(dtype).context("an element type that tract lacks")?;
    if dtype == DType::Bytes {
        let strings = output.to_plain_array_view::<String>()?;
        return Ok(Tensor::from_bytes_elements(shape, strings.iter())?);
    }
    let output = if output.datum_type() == datum {
        output
    } else {
        output.cast_to_dt(datum)?.into_owned().into_tvalue()
    };
    output.try_as_plain_ram()?;
    let data =
        if output.len() == 0 { Bytes::new() } else { Bytes::from_owner(OutputBytes(output)) };
    Ok(Tensor::new(dtype, shape, data)?)
}

/// The bytes of an output, which tract owns.
struct OutputBytes(TValue);

impl AsRef<[u8]> for OutputBytes {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// An error and its causes in one line, without what tract quotes of the file system.
fn one_line(error: &TractError) -> String {
    said(&format!("{error:#}"))
}
