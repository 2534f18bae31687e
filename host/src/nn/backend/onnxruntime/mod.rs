//! ONNX Runtime, loaded at run time: the backend of choice where its library is there.
//!
//! - [`library`] finds the library.
//! - [`signature`] reads what a graph takes and gives.
//! - [`session`] runs it.
//! - [`values`] turns tensors into values and back, [`strings`] those of strings.

mod library;
mod session;
mod signature;
mod strings;
mod values;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use ort::{
    environment::{Environment, GlobalThreadPoolOptions},
    ep::{CPU, CUDA, TensorRT},
    logging::LogLevel,
    session::builder::{GraphOptimizationLevel, SessionBuilder},
};

pub use self::library::places;
use self::{session::OrtGraph, signature::signature};
use super::{Backend, LoadedGraph};
use crate::{
    nn::{
        Device, GraphOptions, LibraryError, LoadError, Options, error::first_line, files,
        thread::LOADING,
    },
    text::bounded,
};

/// The library and its environment. A process can have only one, and it must outlive every session,
/// so it is kept here for good.
static LOADED: Mutex<Option<OnnxRuntime>> = Mutex::new(None);

/// ONNX Runtime's library, loaded.
#[derive(Clone)]
pub struct OnnxRuntime {
    library: PathBuf,
    environment: Environment,
    /// Without its own store of memory: see [`Options::lean`].
    lean: bool,
}

impl OnnxRuntime {
    /// Loads the library. `Ok(Err(reason))` where there is none and none was asked for.
    pub fn start(options: &Options) -> Result<Result<OnnxRuntime, String>, LibraryError> {
        let candidates = library::candidates(options.onnxruntime.as_deref())?;
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = &*loaded {
            return match candidates
                .first()
                .filter(|c| c.asked_by.is_some() && c.path != running.library)
            {
                Some(other) => Err(LibraryError(format!(
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
                    let found = OnnxRuntime {
                        library: candidate.path.clone(),
                        environment,
                        lean: options.lean,
                    };
                    *loaded = Some(found.clone());
                    return Ok(Ok(found));
                }
                Err(reason) if candidate.asked_by.is_some() => {
                    return Err(LibraryError(format!(
                        "ONNX Runtime cannot be used: {} {reason}",
                        candidate.describe()
                    )));
                }
                // A bare name that the dynamic linker does not find is no news.
                Err(_) if candidate.path.is_relative() => {}
                Err(reason) => tracing::warn!(
                    "ONNX Runtime at {} is passed over: it {reason}",
                    candidate.describe()
                ),
            }
        }
        Ok(Err("no libonnxruntime.so was found (TMS_ONNXRUNTIME names one)".into()))
    }

    /// Makes a session, with so many threads of its own or on the pool of all sessions, or says at
    /// which step it failed.
    fn session(
        &self,
        path: &Path,
        device: Device,
        threads: Option<usize>,
    ) -> Result<ort::session::Session, Failure> {
        let graph = |e: &dyn std::fmt::Display| Failure::Graph(e.to_string());
        let builder = ort::session::Session::builder(&self.environment).map_err(|e| graph(&e))?;
        let builder =
            builder.with_optimization_level(GraphOptimizationLevel::All).map_err(|e| graph(&e))?;
        // Without this, int8 sums overflow on processors before VNNI: the same graph would give other
        // answers there, at 1.3 times the speed.
        let builder = builder.with_precise_qmm().map_err(|e| graph(&e))?;
        let builder = match threads {
            None => builder,
            Some(threads) => {
                let builder = builder.with_independent_thread_pool().map_err(|e| graph(&e))?;
                let builder = builder.with_intra_threads(threads).map_err(|e| graph(&e))?;
                builder.with_intra_op_spinning(false).map_err(|e| graph(&e))?
            }
        };
        let mut builder = self.on_device(builder, device).map_err(Failure::Device)?;
        builder.commit_from_file(path).map_err(|e| graph(&e))
    }

    fn on_device(&self, builder: SessionBuilder, device: Device) -> Result<SessionBuilder, String> {
        let cuda = |index| CUDA::default().with_device_id(index).build().error_on_failure();
        let tensorrt = |index| TensorRT::default().with_device_id(index).build().error_on_failure();
        let providers = match device {
            Device::Cpu if self.lean => vec![CPU::default().with_arena_allocator(false).build()],
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
            format!(
                "is ONNX Runtime {version_str}, too old: 1.{} or newer is needed",
                ort::MINOR_VERSION
            )
        }
        _ => "is a shared library, but not ONNX Runtime".to_string(),
    })?;
    let make = || -> ort::Result<Environment> {
        // One pool for all sessions keeps the number of threads flat. Spinning would take the cores
        // from everything else in the server.
        let pool = GlobalThreadPoolOptions::default()
            .with_intra_threads(threads.unwrap_or(0))?
            .with_spin_control(false)?;
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
    // While a graph is loaded and tried, what fails comes back as an error to whoever tries.
    let tries = std::thread::current().name() == Some(LOADING);
    let message = bounded(message, 1000);
    match level {
        LogLevel::Error | LogLevel::Fatal if !tries => {
            tracing::warn!(target: "onnxruntime", "{message}")
        }
        _ => tracing::debug!(target: "onnxruntime", "{message}"),
    }
}

impl Backend for OnnxRuntime {
    fn name(&self) -> &'static str {
        "ONNX Runtime"
    }

    fn load(&self, path: &Path, options: &GraphOptions) -> Result<LoadedGraph, LoadError> {
        let (device, first) = match (self.session(path, options.device, None), options.device) {
            (Ok(session), device) => (device, session),
            (Err(Failure::Graph(reason)), Device::Cpu) => return Err(unreadable(path, &reason)),
            (Err(Failure::Device(reason) | Failure::Graph(reason)), device) => {
                let reason = bounded(&reason.replace('\n', " "), 1000).into_owned();
                // Whose fault it is, the CPU tells: a file that is not a graph is none there either.
                let cpu = match self.session(path, Device::Cpu, None) {
                    Ok(session) => session,
                    Err(Failure::Device(still) | Failure::Graph(still)) => {
                        return Err(unreadable(path, &still));
                    }
                };
                if !options.fallback_cpu {
                    let library = self.library.display();
                    return Err(LoadError::Device(format!(
                        "device {device} cannot be used with `{library}`: {reason}"
                    )));
                }
                tracing::warn!(
                    "`{}` runs on the CPU, NOT on {device}, which cannot be used: {reason}",
                    path.display()
                );
                (Device::Cpu, cpu)
            }
        };
        self.loaded(path, device, first)
    }
}

impl OnnxRuntime {
    fn loaded(
        &self,
        path: &Path,
        device: Device,
        session: ort::session::Session,
    ) -> Result<LoadedGraph, LoadError> {
        let signature = signature(&session)?;
        let names = signature
            .inputs
            .iter()
            .chain(&signature.optional)
            .map(|info| info.name.clone())
            .collect();
        let outputs = signature.outputs.iter().map(|info| info.name.clone()).collect();
        let graph = OrtGraph {
            runtime: self.clone(),
            path: path.to_path_buf(),
            stamp: files::stamp(path),
            device,
            first: Mutex::new(Some(session)),
            inputs: names,
            outputs,
        };
        Ok(LoadedGraph { signature, device: device.to_string(), factory: Arc::new(graph) })
    }
}

fn unreadable(path: &Path, reason: &str) -> LoadError {
    let reason = first_line(reason);
    LoadError::Graph(format!(
        "`{}` is not a graph that ONNX Runtime can read: {reason}",
        path.display()
    ))
}
