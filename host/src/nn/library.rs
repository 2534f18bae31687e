//! Finds the inference libraries, and reads graphs with the one that fits: in a child, or in the server
//! for graphs that the operator trusts with it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{
    BackendChoice, Device, GraphOptions, LibraryError, LoadError, Options, TensorInfo,
    backend::{Backend, LoadedGraph, Session, SessionFactory, onnxruntime::OnnxRuntime},
    batch::Batching,
    check::{Signature, quoted},
    files,
    probe::{Batchable, Gain},
    thread::on_native_thread,
};

/// A library, or why it is not there.
type Found = Result<Arc<dyn Backend>, String>;

/// The inference libraries of this process.
pub struct Libraries {
    /// In order of preference, each with why it is there or not.
    backends: Vec<(BackendChoice, Found)>,
    preferred: BackendChoice,
    /// Threads that share the work of all runs.
    threads: usize,
}

/// What is known of a graph that was read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct About {
    pub signature: Signature,
    /// The device that runs it, which differs from the one asked for after a fallback.
    pub device: String,
    /// The library that runs it, and why it is this one.
    pub backend: String,
    pub why: String,
    /// Runs at the same time, and threads of each session beside the first.
    pub sessions: usize,
    pub threads: usize,
    pub batching: Batching,
}

/// A graph that was read, its first session, and what makes others.
pub struct ReadGraph {
    pub about: About,
    pub first: Box<dyn Session>,
    pub factory: Arc<dyn SessionFactory>,
}

impl Libraries {
    /// Finds the libraries. Fails where one was asked for and cannot be used.
    pub fn start(options: &Options) -> Result<Self, LibraryError> {
        let onnxruntime = match options.backend {
            BackendChoice::Tract => Err("it is switched off".to_string()),
            _ => match OnnxRuntime::start(options)? {
                Ok(found) => Ok(Arc::new(found) as Arc<dyn Backend>),
                Err(reason) if options.backend == BackendChoice::OnnxRuntime => {
                    return Err(LibraryError(reason));
                }
                Err(reason) => Err(reason),
            },
        };
        #[cfg(feature = "tract")]
        let tract = Ok(Arc::new(super::backend::tract::Tract) as Arc<dyn Backend>);
        #[cfg(not(feature = "tract"))]
        let tract = Err("this binary was built without it".to_string());
        if let (Err(reason), Ok(_)) = (&onnxruntime, &tract) {
            tracing::info!("tract serves the graphs, not ONNX Runtime: {reason}");
        }
        let backends =
            vec![(BackendChoice::OnnxRuntime, onnxruntime), (BackendChoice::Tract, tract)];
        Ok(Self { backends, preferred: options.backend, threads: options.threads() })
    }

    /// Reads a graph and makes its first session. Blocks; `name` is for logs and messages.
    pub fn read(
        &self,
        name: &str,
        path: &Path,
        options: &GraphOptions,
    ) -> Result<ReadGraph, LoadError> {
        let (backend, why) = self.choose(options)?;
        let library = backend.name().to_owned();
        let (loaded, first, batching) = read(name, backend, path, options)?;
        let sessions = self.sessions(path, options, &loaded, batching);
        let LoadedGraph { signature, device, factory } = loaded;
        let why = match options.device.to_string() {
            asked if asked == device => why,
            asked => format!("in place of {asked}, as its fallback"),
        };
        let threads = (self.threads / sessions).max(1);
        let about = About { signature, device, backend: library, why, sessions, threads, batching };
        Ok(ReadGraph { about, first, factory })
    }

    /// Whether calls of a graph could be batched, and how long runs of 1, 2, 4, … up to `rows` rows
    /// take. Blocks; fails where the graph cannot be read.
    pub fn try_batches(
        &self,
        path: &Path,
        options: &GraphOptions,
        rows: usize,
    ) -> Result<Result<Vec<Gain>, String>, LoadError> {
        let (backend, _) = self.choose(options)?;
        let (path, options) = (path.to_path_buf(), GraphOptions { batch: None, ..options.clone() });
        on_native_thread(move || {
            let loaded = backend.load(&path, &options)?;
            let (mut session, signature) = (loaded.factory.session(None)?, &loaded.signature);
            let session = session.as_mut();
            let powers = powers_of_two(rows);
            Ok(batchable(&*backend, &path, &options, &loaded, session).and_then(|batchable| {
                powers.map(|rows| batchable.measure(session, signature, rows)).collect()
            }))
        })
    }

    /// Runs of a graph at the same time.
    fn sessions(
        &self,
        path: &Path,
        options: &GraphOptions,
        loaded: &LoadedGraph,
        batching: Batching,
    ) -> usize {
        /// For the copies of a graph's weights that nobody asked for, in bytes.
        const COPIES: u64 = 1 << 30;
        const MOST: usize = 64;
        let size = |file: &PathBuf| file.metadata().map_or(COPIES, |file| file.len());
        let weights = files::weights(path)
            .map_or(COPIES, |files| files.iter().map(size).fold(0, u64::saturating_add).max(1));
        let alone = batching.rows > 1 || loaded.device != Device::Cpu.to_string();
        let default = match alone {
            // A batch, like a device, is one run for many.
            true => 1,
            false => self.threads.min(MOST).min((COPIES / weights) as usize).max(1),
        };
        // Threads are the operator's: a model's author takes no more of them than there are.
        let asked = options.asked_sessions.map(|asked| asked.min(self.threads));
        options.sessions.or(asked).unwrap_or(default).max(1)
    }

    /// The backend for a graph, and why it is this one.
    fn choose(&self, options: &GraphOptions) -> Result<(Arc<dyn Backend>, String), LoadError> {
        let asked = match options.backend {
            BackendChoice::Auto => self.preferred,
            choice => choice,
        };
        let mut reasons = Vec::new();
        for (kind, backend) in &self.backends {
            if asked != BackendChoice::Auto && asked != *kind {
                continue;
            }
            match backend {
                Ok(backend) if asked == *kind => {
                    return Ok((backend.clone(), "as configured".into()));
                }
                Ok(backend) if reasons.is_empty() => {
                    return Ok((backend.clone(), "the default backend".into()));
                }
                Ok(backend) => {
                    return Ok((backend.clone(), format!("in place of {}", reasons.join(" and "))));
                }
                Err(reason) => reasons.push(format!("{kind:?}, as {reason}")),
            }
        }
        let problem = format!("there is no backend for it: {}", reasons.join("; "));
        match options.device {
            Device::Cpu => Err(LoadError::Graph(problem)),
            _ => Err(LoadError::Device(problem)),
        }
    }
}

/// A graph as its library read it, its first session, and how its calls are put together.
type Read = (LoadedGraph, Box<dyn Session>, Batching);

/// Reads a graph, makes its first session, and sees whether it can be batched where it is to be.
fn read(
    name: &str,
    backend: Arc<dyn Backend>,
    path: &Path,
    options: &GraphOptions,
) -> Result<Read, LoadError> {
    let (name, path, options) = (name.to_owned(), path.to_path_buf(), options.clone());
    on_native_thread(move || {
        let loaded = backend.load(&path, &options)?;
        let mut session = loaded.factory.session(None)?;
        gives_something(&loaded.signature)?;
        let Some(batch) = options.batch else {
            return Ok((loaded, session, Batching::NONE));
        };
        let (signature, powers) = (&loaded.signature, backend.prepares_shapes());
        let open = |info: &TensorInfo| info.shape.iter().skip(1).any(|dim| *dim < 0);
        if powers && signature.inputs.iter().any(open) {
            tracing::warn!(
                graph = name,
                "its calls are not batched: {} prepares itself for every shape, and this graph has \
                 many",
                backend.name()
            );
            return Ok((loaded, session, Batching::NONE));
        }
        let unfit =
            |e| LoadError::Graph(format!("its calls cannot be batched (batch = true): {e}"));
        let tried = session.as_mut();
        let batchable = batchable(&*backend, &path, &options, &loaded, tried).map_err(unfit)?;
        for rows in powers_of_two(batch.rows).filter(|_| powers) {
            batchable.warm(tried, signature, rows).map_err(unfit)?;
        }
        let batching = Batching {
            rows: batch.rows,
            bytes: batch.memory,
            elements: options.max_elements,
            inputs: signature.inputs.len(),
            powers,
        };
        Ok((loaded, session, batching))
    })
}

/// Whether the calls of a graph can be batched, and with which inputs that was seen. That rows leave each
/// other alone is a matter of the graph, so one on a device is tried on the CPU: a device rounds more
/// coarsely, and otherwise for each number of rows, than the influence is that is looked for.
fn batchable(
    backend: &dyn Backend,
    path: &Path,
    options: &GraphOptions,
    loaded: &LoadedGraph,
    session: &mut dyn Session,
) -> Result<Batchable, String> {
    /// Shows that the device, too, takes more than one.
    const ROWS: usize = 2;
    if loaded.device == Device::Cpu.to_string() {
        return Batchable::verify(session, &loaded.signature);
    }
    let options = GraphOptions { device: Device::Cpu, ..options.clone() };
    let on_cpu = |e: LoadError| format!("it is tried on the CPU first, which fails: {e}");
    let there = backend.load(path, &options).map_err(on_cpu)?;
    let mut tried = there.factory.session(None).map_err(on_cpu)?;
    let batchable = Batchable::verify(tried.as_mut(), &there.signature)?;
    batchable.warm(session, &loaded.signature, ROWS)?;
    Ok(batchable)
}

/// Fails where every output is of a kind that cannot be given: no call could be answered.
fn gives_something(signature: &Signature) -> Result<(), LoadError> {
    match signature.unusable.first() {
        Some((name, kind)) if signature.outputs.is_empty() => Err(LoadError::Graph(format!(
            "it gives nothing that can be served: output {} is a {kind}",
            quoted(name)
        ))),
        None if signature.outputs.is_empty() => Err(LoadError::Graph("it has no outputs".into())),
        _ => Ok(()),
    }
}

/// 1, 2, 4, … up to `most`.
fn powers_of_two(most: usize) -> impl Iterator<Item = usize> {
    (0..usize::BITS).map(|n| 1 << n).take_while(move |n| *n <= most)
}
