//! ONNX Runtime, loaded at run time: the backend of choice where its library is there.
//!
//! - [`library`] finds the library.
//! - [`signature`] reads what a graph takes and gives.
//! - [`session`] runs it; [`int8`] says how it adds int8 products.
//! - [`values`] turns tensors into values and back, [`strings`] those of strings.

mod int8;
mod library;
mod session;
mod signature;
mod strings;
mod values;

use std::{
    error::Error,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use ort::{
    environment::{Environment, GlobalThreadPoolOptions},
    ep::{CPU, CUDA, TensorRT},
    logging::LogLevel,
    session::builder::{GraphOptimizationLevel, SessionBuilder},
};

pub use self::library::{Candidate, candidates};
use self::{int8::Int8Sums, session::OrtGraph, signature::signature};
use super::{Backend, LoadedGraph};
use crate::{
    nn::{
        Device, GraphOptions, LibraryError, LoadError, Options,
        error::{first_line, said},
        files,
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
        let candidates = match &options.candidates {
            Some(candidates) => candidates.clone(),
            None => candidates(options.onnxruntime.as_deref())?,
        };
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
        int8: Int8Sums,
        threads: Option<usize>,
    ) -> Result<ort::session::Session, Failure> {
        let graph = |e: &dyn std::fmt::Display| Failure::Graph(e.to_string());
        let builder = ort::session::Session::builder(&self.environment).map_err(|e| graph(&e))?;
        let builder =
            builder.with_optimization_level(GraphOptimizationLevel::All).map_err(|e| graph(&e))?;
        let builder = int8.set(builder).map_err(Failure::Graph)?;
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

    /// The first session of a graph: with exact int8 sums, or as nearly so as it can be loaded.
    fn first(&self, path: &Path, device: Device) -> Result<First, Failure> {
        let mut failed: Option<String> = None;
        for int8 in Int8Sums::ALL {
            match (self.session(path, device, int8, None), &failed) {
                (Ok(session), failed) => {
                    if let (Some(reason), Some(meaning)) = (failed, int8.warning()) {
                        let (path, reason) = (path.display(), said(reason));
                        tracing::warn!(
                            "`{path}` cannot be loaded with exact int8 sums: {meaning} ({reason})"
                        );
                    }
                    return Ok(First { session, device, int8 });
                }
                (Err(Failure::Graph(reason)), None) => failed = Some(reason),
                // What it said first is about the graph itself.
                (Err(Failure::Graph(_)), Some(_)) => {}
                (Err(device), _) => return Err(device),
            }
        }
        Err(Failure::Graph(failed.unwrap_or_default()))
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

/// A graph's first session, and how the later ones are to be made.
struct First {
    session: ort::session::Session,
    device: Device,
    int8: Int8Sums,
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
        ort::LoadDynamicError::Dlopen { error, .. } => {
            // The error itself says only that it failed.
            let reason = error.source().map_or_else(|| error.to_string(), ToString::to_string);
            format!("cannot be loaded: {reason}")
        }
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
        let first = match (self.first(path, options.device), options.device) {
            (Ok(first), _) => first,
            (Err(Failure::Graph(reason)), Device::Cpu) => return Err(unreadable(path, &reason)),
            (Err(Failure::Device(reason) | Failure::Graph(reason)), device) => {
                let reason = bounded(&reason.replace('\n', " "), 1000).into_owned();
                // Whose fault it is, the CPU tells: a file that is not a graph is none there either.
                let cpu = match self.first(path, Device::Cpu) {
                    Ok(first) => first,
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
                cpu
            }
        };
        self.loaded(path, first)
    }
}

impl OnnxRuntime {
    fn loaded(&self, path: &Path, first: First) -> Result<LoadedGraph, LoadError> {
        let First { session, device, int8 } = first;
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
            int8,
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
