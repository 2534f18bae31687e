//! ONNX Runtime, loaded at run time: the backend of choice where its library is there.

use std::{
    borrow::Cow,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use half::{bf16, f16};
use ort::{
    environment::{Environment, GlobalThreadPoolOptions},
    ep::{CUDA, TensorRT},
    logging::LogLevel,
    session::{
        HasSelectedOutputs, OutputSelector, RunOptions, SessionInputValue,
        builder::{GraphOptimizationLevel, SessionBuilder},
    },
    value::{DynValue, Outlet, PrimitiveTensorElementType, Tensor as OrtTensor, TensorElementType, TensorRef, ValueType},
};

use super::{Backend, Loaded, Model, Session, library};
use crate::nn::{
    DType, Device, GraphOptions, LoadError, NnError, Options, StartError, Tensor, TensorInfo,
    check::Signature,
    queue::{Cancel, Stop},
};

/// The library and its environment. A process can have only one, and it must outlive every session,
/// so it is kept here for good.
static LOADED: Mutex<Option<OnnxRuntime>> = Mutex::new(None);

/// ONNX Runtime's library, loaded.
#[derive(Clone)]
pub struct OnnxRuntime {
    library: PathBuf,
    environment: Environment,
}

impl OnnxRuntime {
    /// Loads the library. `Ok(Err(reason))` where there is none and none was asked for.
    pub fn start(options: &Options) -> Result<Result<OnnxRuntime, String>, StartError> {
        let candidates = library::candidates(options.onnxruntime.as_deref())?;
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = &*loaded {
            return match candidates.first().filter(|c| c.asked_by.is_some() && c.path != running.library) {
                Some(other) => Err(StartError(format!(
                    "ONNX Runtime cannot be used: {} is not the library that this process has loaded already",
                    other.describe()
                ))),
                None => Ok(Ok(running.clone())),
            };
        }
        for candidate in &candidates {
            match open(&candidate.path, options.threads) {
                Ok(environment) => {
                    tracing::info!("ONNX Runtime from {}", candidate.describe());
                    let found = OnnxRuntime { library: candidate.path.clone(), environment };
                    *loaded = Some(found.clone());
                    return Ok(Ok(found));
                }
                Err(reason) if candidate.asked_by.is_some() => {
                    return Err(StartError(format!("ONNX Runtime cannot be used: {} {reason}", candidate.describe())));
                }
                // A bare name that the dynamic linker does not find is no news.
                Err(_) if candidate.path.is_relative() => {}
                Err(reason) => tracing::warn!("ONNX Runtime at {} is passed over: it {reason}", candidate.describe()),
            }
        }
        Ok(Err("no libonnxruntime.so was found (TMS_ONNXRUNTIME names one)".into()))
    }

    /// Makes a session, or says at which step it failed.
    fn session(&self, path: &Path, device: Device) -> Result<ort::session::Session, Failure> {
        let graph = |e: &dyn std::fmt::Display| Failure::Graph(e.to_string());
        let builder = ort::session::Session::builder(&self.environment).map_err(|e| graph(&e))?;
        let builder = builder.with_optimization_level(GraphOptimizationLevel::All).map_err(|e| graph(&e))?;
        // Without this, int8 sums overflow on processors before VNNI: the same graph would give other
        // answers there, at 1.3 times the speed.
        let builder = builder.with_precise_qmm().map_err(|e| graph(&e))?;
        let mut builder = self.on_device(builder, device).map_err(Failure::Device)?;
        builder.commit_from_file(path).map_err(|e| graph(&e))
    }

    fn on_device(&self, builder: SessionBuilder, device: Device) -> Result<SessionBuilder, String> {
        let cuda = |index| CUDA::default().with_device_id(index).build().error_on_failure();
        let tensorrt = |index| TensorRT::default().with_device_id(index).build().error_on_failure();
        let providers = match device {
            Device::Cpu => return Ok(builder),
            Device::Cuda(index) => vec![cuda(index.into())],
            // What TensorRT cannot run goes to CUDA rather than to the CPU.
            Device::TensorRt(index) => vec![tensorrt(index.into()), cuda(index.into())],
        };
        builder.with_execution_providers(providers).map_err(|e| e.to_string())
    }
}

enum Failure {
    /// The device cannot be used.
    Device(String),
    /// The graph cannot be read, or not on this device.
    Graph(String),
}

/// Loads a library and makes the process's environment; the error completes "the library …".
fn open(path: &Path, threads: Option<usize>) -> Result<Environment, String> {
    let builder = ort::init_from(path).map_err(|e| match e {
        ort::LoadDynamicError::Dlopen { error, .. } => format!("cannot be loaded: {error}"),
        ort::LoadDynamicError::BadVersion { version_str, .. } => {
            format!("is ONNX Runtime {version_str}, too old: 1.{} or newer is needed", ort::MINOR_VERSION)
        }
        _ => "is a shared library, but not ONNX Runtime".to_string(),
    })?;
    let make = || -> ort::Result<Environment> {
        // One pool for all sessions keeps the number of threads flat. Spinning would take the cores
        // from everything else in the server.
        let pool = GlobalThreadPoolOptions::default().with_intra_threads(threads.unwrap_or(0))?.with_spin_control(false)?;
        let builder = builder.with_name("tms").with_telemetry(false).with_global_thread_pool(pool);
        let environment = builder.with_logger(Arc::new(log)).build()?;
        environment.set_log_level(LogLevel::Error);
        Ok(environment)
    };
    make().map_err(|e| format!("cannot start: {e}"))
}

/// ONNX Runtime's own messages. Warnings are for developers of graphs, and some repeat for each run
/// at a caller's will, so they are hidden by default.
fn log(level: LogLevel, _category: &str, _id: &str, _location: &str, message: &str) {
    match level {
        LogLevel::Error | LogLevel::Fatal => tracing::warn!(target: "onnxruntime", "{message}"),
        _ => tracing::debug!(target: "onnxruntime", "{message}"),
    }
}

impl Backend for OnnxRuntime {
    fn name(&self) -> &'static str {
        "ONNX Runtime"
    }

    fn load(&self, path: &Path, options: &GraphOptions) -> Result<Loaded, LoadError> {
        let (device, first) = match (self.session(path, options.device), options.device) {
            (Ok(session), device) => (device, session),
            (Err(Failure::Graph(reason)), Device::Cpu) => return Err(unreadable(path, &reason)),
            (Err(Failure::Device(reason) | Failure::Graph(reason)), device) => {
                let reason = reason.replace('\n', " ");
                if !options.fallback_cpu {
                    let library = self.library.display();
                    return Err(LoadError(format!("device {device} cannot be used with `{library}`: {reason}")));
                }
                let cpu = self.session(path, Device::Cpu);
                let (Failure::Device(still) | Failure::Graph(still)) = match cpu {
                    Ok(session) => {
                        let file = path.display();
                        tracing::warn!("`{file}` runs on the CPU, NOT on {device}, which cannot be used: {reason}");
                        return self.loaded(path, Device::Cpu, session);
                    }
                    Err(failure) => failure,
                };
                return Err(unreadable(path, &still));
            }
        };
        self.loaded(path, device, first)
    }
}

impl OnnxRuntime {
    fn loaded(&self, path: &Path, device: Device, session: ort::session::Session) -> Result<Loaded, LoadError> {
        let signature = signature(&session)?;
        let names = signature.inputs.iter().chain(&signature.optional).map(|info| info.name.clone()).collect();
        let outputs = signature.outputs.iter().map(|info| info.name.clone()).collect();
        let model = OrtModel {
            runtime: self.clone(),
            path: path.to_path_buf(),
            device,
            first: Mutex::new(Some(session)),
            inputs: names,
            outputs,
        };
        Ok(Loaded { signature, device: device.to_string(), model: Box::new(model) })
    }
}

fn unreadable(path: &Path, reason: &str) -> LoadError {
    let reason = reason.lines().next().unwrap_or_default();
    LoadError(format!("`{}` is not a graph that ONNX Runtime can read: {reason}", path.display()))
}

/// What the graph takes and gives.
fn signature(session: &ort::session::Session) -> Result<Signature, LoadError> {
    let mut signature = Signature::default();
    for input in session.inputs() {
        match info(input.name(), input.dtype()) {
            Ok(info) => signature.inputs.push(info),
            Err(kind) => {
                return Err(LoadError(format!("input `{}` is a {kind}: only tensors can be sent", input.name())));
            }
        }
    }
    // A default value of a type that cannot be sent simply stays in use.
    let defaults = session.overridable_initializers();
    signature.optional = defaults.iter().filter_map(|input| info(input.name(), input.dtype()).ok()).collect();
    for output in session.outputs().iter().map(|output: &Outlet| (output.name(), output.dtype())) {
        match info(output.0, output.1) {
            Ok(info) => signature.outputs.push(info),
            Err(kind) => signature.unusable.push((output.0.to_string(), kind)),
        }
    }
    Ok(signature)
}

/// One input or output; for those that are no tensors of our types, what they are instead.
fn info(name: &str, kind: &ValueType) -> Result<TensorInfo, String> {
    match kind {
        ValueType::Tensor { ty, shape, .. } => match dtype(ty) {
            Some(dtype) => Ok(TensorInfo { name: name.to_string(), dtype, shape: shape.to_vec() }),
            None => Err(format!("tensor of {ty}")),
        },
        ValueType::Sequence(of) if of.is_map() => Err("sequence of maps".into()),
        ValueType::Sequence(_) => Err("sequence of tensors".into()),
        ValueType::Map { .. } => Err("map".into()),
        ValueType::Optional(_) => Err("value that may be absent".into()),
    }
}

fn dtype(kind: &TensorElementType) -> Option<DType> {
    Some(match kind {
        TensorElementType::Bool => DType::Bool,
        TensorElementType::Uint8 => DType::U8,
        TensorElementType::Uint16 => DType::U16,
        TensorElementType::Uint32 => DType::U32,
        TensorElementType::Uint64 => DType::U64,
        TensorElementType::Int8 => DType::I8,
        TensorElementType::Int16 => DType::I16,
        TensorElementType::Int32 => DType::I32,
        TensorElementType::Int64 => DType::I64,
        TensorElementType::Float16 => DType::F16,
        TensorElementType::Bfloat16 => DType::BF16,
        TensorElementType::Float32 => DType::F32,
        TensorElementType::Float64 => DType::F64,
        TensorElementType::String => DType::Bytes,
        _ => return None,
    })
}

struct OrtModel {
    runtime: OnnxRuntime,
    path: PathBuf,
    device: Device,
    /// Made to read the signature, and given out as the first session.
    first: Mutex<Option<ort::session::Session>>,
    inputs: Arc<[String]>,
    outputs: Arc<[String]>,
}

impl Model for OrtModel {
    fn session(&self) -> Result<Box<dyn Session>, LoadError> {
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).take();
        let session = match first.map(Ok).unwrap_or_else(|| self.runtime.session(&self.path, self.device)) {
            Ok(session) => session,
            Err(Failure::Device(reason) | Failure::Graph(reason)) => return Err(unreadable(&self.path, &reason)),
        };
        let all = (0..self.outputs.len()).collect();
        let selection = Selection::new(all, &self.outputs).map_err(|e| LoadError(e.to_string()))?;
        Ok(Box::new(OrtSession { session, inputs: self.inputs.clone(), outputs: self.outputs.clone(), selection }))
    }
}

struct OrtSession {
    session: ort::session::Session,
    inputs: Arc<[String]>,
    outputs: Arc<[String]>,
    /// The outputs of the last run: mostly those of the next as well.
    selection: Selection,
}

/// Run options for a choice of outputs, and how to stop a run that uses them.
struct Selection {
    outputs: Vec<usize>,
    options: Arc<Shared>,
    stop: Stop,
}

struct Shared(RunOptions<HasSelectedOutputs>);

// SAFETY: the session's thread reads the options during a run; other threads only set the
// termination flag, which ONNX Runtime allows at any time. `ort` withholds `Sync` on account of
// preallocated outputs, and there are none here.
unsafe impl Sync for Shared {}

impl Selection {
    fn new(outputs: Vec<usize>, names: &[String]) -> ort::Result<Selection> {
        let wanted = outputs.iter().filter_map(|&i| names.get(i));
        let selector = wanted.fold(OutputSelector::no_default(), |selector, name| selector.with(name));
        let options = Arc::new(Shared(RunOptions::new()?.with_outputs(selector)));
        let shared = options.clone();
        let stop: Stop = Arc::new(move || {
            if let Err(e) = shared.0.terminate() {
                tracing::warn!("a run cannot be stopped: {e}");
            }
        });
        Ok(Selection { outputs, options, stop })
    }
}

impl Session for OrtSession {
    fn run(&mut self, inputs: &[(usize, Tensor)], outputs: &[usize], cancel: &Cancel) -> Result<Vec<Tensor>, NnError> {
        if self.selection.outputs != outputs {
            self.selection = Selection::new(outputs.to_vec(), &self.outputs).map_err(|e| failed(&e))?;
        }
        let mut copies: Vec<Vec<u64>> = vec![Vec::new(); inputs.len()];
        let mut values = Vec::with_capacity(inputs.len());
        for ((position, tensor), copy) in inputs.iter().zip(&mut copies) {
            let name = self.inputs.get(*position).map(String::as_str).unwrap_or_default();
            values.push((Cow::Borrowed(name), value(name, tensor, copy)?));
        }
        let options = &self.selection.options.0;
        options.unterminate().map_err(|e| failed(&e))?;
        let running = cancel.running(&self.selection.stop)?;
        let result = self.session.run_with_options(values, options);
        drop(running);
        match result {
            Ok(outputs) => outputs.into_iter().map(|(_, output)| tensor(output)).collect(),
            Err(_) if cancel.is_cancelled() => Err(NnError::Cancelled),
            Err(e) => Err(failed(&e)),
        }
    }
}

/// A failed run as its caller sees it: without source positions and paths.
fn failed(error: &ort::Error) -> NnError {
    tracing::debug!("ONNX Runtime: {error}");
    let words = error.message().split_whitespace().filter(|word| !word.contains('/'));
    let text = words.collect::<Vec<_>>().join(" ");
    NnError::Runtime(format!("the graph failed: {}", text.chars().take(500).collect::<String>()))
}

/// A tensor as a value of ONNX Runtime over the same bytes, or over `copy` if they are not aligned.
fn value<'v>(name: &str, tensor: &'v Tensor, copy: &'v mut Vec<u64>) -> Result<SessionInputValue<'v>, NnError> {
    // Dimensions over i64::MAX do not exist in a `Tensor`.
    let shape: Vec<i64> = tensor.shape().iter().map(|&d| d as i64).collect();
    fn view<'v, T: PrimitiveTensorElementType + std::fmt::Debug + Clone + 'static>(
        (shape, data, copy): (Vec<i64>, &'v Bytes, &'v mut Vec<u64>),
    ) -> ort::Result<SessionInputValue<'v>> {
        Ok(TensorRef::from_array_view((shape, elements::<T>(data, copy)))?.into())
    }
    let parts = (shape, tensor.data(), copy);
    let result = match tensor.dtype() {
        DType::Bool => view::<bool>(parts),
        DType::U8 => view::<u8>(parts),
        DType::U16 => view::<u16>(parts),
        DType::U32 => view::<u32>(parts),
        DType::U64 => view::<u64>(parts),
        DType::I8 => view::<i8>(parts),
        DType::I16 => view::<i16>(parts),
        DType::I32 => view::<i32>(parts),
        DType::I64 => view::<i64>(parts),
        DType::F16 => view::<f16>(parts),
        DType::BF16 => view::<bf16>(parts),
        DType::F32 => view::<f32>(parts),
        DType::F64 => view::<f64>(parts),
        DType::Bytes => {
            let strings = tensor.bytes_elements().map(|s| std::str::from_utf8(s).map(str::to_string));
            let strings: Result<Vec<String>, _> = strings.collect();
            let strings = strings.ok().filter(|strings| !strings.iter().any(|s| s.contains('\0')));
            let Some(strings) = strings else {
                let reason = "holds a string that is not UTF-8 or contains a zero byte";
                return Err(NnError::InvalidInput(format!("input `{name}` {reason}")));
            };
            OrtTensor::from_string_array((parts.0, &*strings)).map(Into::into)
        }
    };
    result.map_err(|e| failed(&e))
}

/// The bytes of a tensor as elements, copied only if they are not aligned for `T`.
fn elements<'v, T>(data: &'v Bytes, copy: &'v mut Vec<u64>) -> &'v [T] {
    let count = data.len() / size_of::<T>();
    let mut start = data.as_ptr();
    if !start.cast::<T>().is_aligned() {
        copy.resize(data.len().div_ceil(8), 0);
        // SAFETY: `copy` is at least `data.len()` bytes long, and a new allocation overlaps nothing.
        unsafe { std::ptr::copy_nonoverlapping(start, copy.as_mut_ptr().cast(), data.len()) };
        start = copy.as_ptr().cast();
    }
    // SAFETY: `start` is aligned for T (checked, or the start of u64s, the widest type here), and the
    // bytes there live and stay unchanged for 'v. Every bit pattern is valid for the number types;
    // for `bool`, `Tensor` has checked that each byte is 0 or 1.
    unsafe { std::slice::from_raw_parts(start.cast(), count) }
}

/// An output as a tensor over the same bytes.
fn tensor(output: DynValue) -> Result<Tensor, NnError> {
    let broken = |what: &str| NnError::Runtime(format!("the graph gave {what}"));
    let ValueType::Tensor { ty, shape, .. } = output.dtype() else {
        return Err(broken("something that is no tensor"));
    };
    let dtype = dtype(ty).ok_or_else(|| broken("a tensor of an unknown type"))?;
    let shape: Vec<u64> = shape.iter().map(|&d| d.max(0) as u64).collect();
    if dtype == DType::Bytes {
        let (_, strings) = output.try_extract_strings().map_err(|_| broken("a string that is not UTF-8"))?;
        return Tensor::from_bytes_elements(shape, strings).map_err(|e| broken(&e.to_string()));
    }
    let count = shape.iter().product::<u64>() as usize;
    let bytes = count * dtype.size().unwrap_or_default();
    let data = if bytes == 0 { Bytes::new() } else { Bytes::from_owner(Output { value: as_tensor(output)?, bytes }) };
    Tensor::new(dtype, shape, data).map_err(|e| broken(&e.to_string()))
}

fn as_tensor(output: DynValue) -> Result<ort::value::DynTensor, NnError> {
    let tensor: ort::value::DynTensor = output.downcast().map_err(|e| failed(&e))?;
    if !tensor.memory_info().is_cpu_accessible() || tensor.data_ptr().is_null() {
        return Err(NnError::Runtime("the graph gave a tensor that is not in the CPU's memory".into()));
    }
    Ok(tensor)
}

/// The bytes of an output, which ONNX Runtime owns.
struct Output {
    value: ort::value::DynTensor,
    bytes: usize,
}

impl AsRef<[u8]> for Output {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the value is a tensor of numbers in the CPU's memory (`as_tensor`) with this many
        // bytes by its own shape and type. It owns them, and nothing changes them after the run.
        unsafe { std::slice::from_raw_parts(self.value.data_ptr().cast(), self.bytes) }
    }
}
