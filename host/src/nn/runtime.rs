//! Finds the inference libraries at start, and loads graphs with the one that fits.

use std::{path::Path, sync::Arc};

use super::{
    BackendChoice, Graph, GraphOptions, LoadError, Options, StartError,
    backend::{Backend, Loaded, Session, onnxruntime::OnnxRuntime},
    check::{describe, unusable},
    queue::Queue,
    session::{native_thread, panic_message, serve},
};

/// A library, or why it is not there.
type Found = Result<Arc<dyn Backend>, String>;

/// The inference libraries of this server.
#[derive(Clone)]
pub struct Runtime {
    /// In order of preference, each with why it is there or not.
    backends: Vec<(BackendChoice, Found)>,
    preferred: BackendChoice,
}

impl Runtime {
    /// Finds the libraries. Fails where one was asked for and cannot be used.
    pub fn start(options: &Options) -> Result<Runtime, StartError> {
        let onnxruntime = match options.backend {
            BackendChoice::Tract => Err("it is switched off".to_string()),
            _ => match OnnxRuntime::start(options)? {
                Ok(found) => Ok(Arc::new(found) as Arc<dyn Backend>),
                Err(reason) if options.backend == BackendChoice::OnnxRuntime => {
                    return Err(StartError(reason));
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
        Ok(Runtime { backends, preferred: options.backend })
    }

    /// Reads a graph and starts its sessions. Blocks; `name` is for logs and messages.
    pub fn load(
        &self,
        name: &str,
        path: &Path,
        options: &GraphOptions,
    ) -> Result<Graph, LoadError> {
        if !path.is_file() {
            return Err(LoadError(format!("there is no file `{}`", path.display())));
        }
        let (backend, why) = self.choose(options)?;
        let (loaded, sessions) = read(backend.clone(), path, options)?;
        let (signature, device) = (loaded.signature.clone(), loaded.device.clone());

        let queue = Arc::new(Queue::new(options.queue));
        // Made before the threads, so that an early return ends those that have started.
        let graph = Graph::new(name, loaded, backend.name(), options.max_elements, queue.clone());
        let count = sessions.len();
        for session in sessions {
            serve(name, session, queue.clone())
                .map_err(|e| LoadError(format!("a session thread cannot start: {e}")))?;
        }
        tracing::info!(
            graph = name,
            "{} serves it on {device} ({why}; sessions: {count}); takes {}; gives {}",
            backend.name(),
            describe(&signature.inputs),
            describe(&signature.outputs),
        );
        for (output, kind) in &signature.unusable {
            tracing::warn!(graph = name, "{}", unusable(output, kind));
        }
        Ok(graph)
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
                    return Ok((backend.clone(), "the default".into()));
                }
                Ok(backend) => {
                    return Ok((backend.clone(), format!("in place of {}", reasons.join(" and "))));
                }
                Err(reason) => reasons.push(format!("{kind:?}, as {reason}")),
            }
        }
        Err(LoadError(format!("there is no backend for it: {}", reasons.join("; "))))
    }
}

/// Reads a graph and makes its sessions on a thread fit for native code.
fn read(
    backend: Arc<dyn Backend>,
    path: &Path,
    options: &GraphOptions,
) -> Result<(Loaded, Vec<Box<dyn Session>>), LoadError> {
    let (path, options) = (path.to_path_buf(), options.clone());
    let work = move || {
        let loaded = backend.load(&path, &options)?;
        let sessions: Result<_, LoadError> =
            (0..options.sessions.max(1)).map(|_| loaded.model.session()).collect();
        Ok((loaded, sessions?))
    };
    let thread = native_thread("nn-load", work)
        .map_err(|e| LoadError(format!("a thread cannot start: {e}")))?;
    thread.join().unwrap_or_else(|panic| {
        Err(LoadError(format!("the graph cannot be read: {}", panic_message(panic.as_ref()))))
    })
}
