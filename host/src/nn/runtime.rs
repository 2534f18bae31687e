//! Loads graphs where the operator wants their sessions: in children, or in this process.

use std::{
    path::Path,
    sync::{Arc, Mutex, OnceLock, PoisonError, mpsc},
};

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::{
    Gain, Graph, GraphOptions, LibraryError, LoadError, Options, Process,
    check::{describe, unusable},
    dispatch::Dispatch,
    files,
    library::{About, Libraries, ReadGraph},
    local::{LocalGraph, LocalRunner},
    process::{First, GraphKeeper, Homes, Link, NativeStats, places_of},
    queue::Queue,
    runner::RunnerSource,
};
use crate::child::Nursery;

/// The inference libraries of this server, wherever they are.
#[derive(Clone)]
pub struct Runtime(Arc<Inner>);

struct Inner {
    options: Options,
    nursery: Arc<Nursery>,
    /// Loaded into this process when the first graph wants that.
    here: OnceLock<Result<Arc<Libraries>, LibraryError>>,
    /// Children, where there are any.
    homes: OnceLock<Result<Homes, LibraryError>>,
    /// A child that was started to see whether the libraries are there, until all graphs are loaded.
    first: Mutex<Option<Arc<Link>>>,
}

impl Runtime {
    /// Finds the libraries. Fails where one was asked for and cannot be used. Blocks.
    pub fn start(options: &Options) -> Result<Runtime, LibraryError> {
        let nursery = match &options.nursery {
            Some(nursery) => nursery.clone(),
            None => {
                let started = Nursery::start();
                Arc::new(started.map_err(|e| LibraryError(format!("no thread for children: {e}")))?)
            }
        };
        let (here, homes, first) = (OnceLock::new(), OnceLock::new(), Mutex::default());
        let inner = Inner { options: options.clone(), nursery, here, homes, first };
        let runtime = Self(Arc::new(inner));
        match options.process {
            Process::None => drop(runtime.here()?),
            Process::Own | Process::Shared => {
                // Here: it reads files, which the thread of children must not wait for.
                runtime.homes()?;
                let there = runtime.clone();
                let started = runtime.wait(async move { there.homes()?.try_libraries().await });
                let link =
                    started.unwrap_or_else(|| Err(LibraryError("the server ends".into())))?;
                *runtime.0.first.lock().unwrap_or_else(PoisonError::into_inner) = Some(link);
            }
        }
        Ok(runtime)
    }

    /// All graphs are loaded: a child that serves none of them is not needed.
    pub fn settle(&self) {
        drop(self.0.first.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// What goes on in children.
    pub fn native(&self) -> NativeStats {
        let homes = self.0.homes.get().and_then(|homes| homes.as_ref().ok());
        homes.map(Homes::stats).unwrap_or_default()
    }

    /// Reads a graph and starts its sessions. Blocks; `name` is for logs and messages.
    pub fn load(
        &self,
        name: &str,
        path: &Path,
        options: &GraphOptions,
    ) -> Result<Graph, LoadError> {
        if !path.is_file() {
            return Err(LoadError::Graph(format!("there is no file `{}`", path.display())));
        }
        for named in files::external(path).unwrap_or_default() {
            let problem = match named.metadata() {
                Ok(metadata) if metadata.is_file() => continue,
                Ok(_) => "is no file".to_owned(),
                Err(e) => format!("cannot be read: {e}"),
            };
            let (file, named) = (path.display(), named.display());
            return Err(LoadError::Graph(format!(
                "`{file}` keeps weights in `{named}`, which {problem}"
            )));
        }
        let process = options.process.unwrap_or(self.0.options.process);
        let graph = match process {
            Process::None => self.load_here(name, path, options)?,
            Process::Own | Process::Shared => self.load_there(name, path, options)?,
        };
        tell(name, graph.about(), process);
        Ok(graph)
    }

    /// Whether calls of a graph could be batched, and how long runs of 1, 2, 4, … up to `rows` rows
    /// take. Blocks; fails where the graph cannot be read.
    pub fn try_batches(
        &self,
        path: &Path,
        options: &GraphOptions,
        rows: usize,
    ) -> Result<Result<Vec<Gain>, String>, LoadError> {
        if self.0.options.process == Process::None {
            return self.here()?.try_batches(path, options, rows);
        }
        let home = self.homes()?.home("", &places_of(path), options);
        let (path, options) = (path.to_owned(), options.clone());
        let measured = self.wait(async move { home.measure(path, &options, rows).await });
        measured.unwrap_or_else(|| Err(ends()))
    }

    /// A graph whose sessions are threads of this process.
    fn load_here(
        &self,
        name: &str,
        path: &Path,
        options: &GraphOptions,
    ) -> Result<Graph, LoadError> {
        let ReadGraph { about, first, factory } = self.here()?.read(name, path, options)?;
        let wide = LocalRunner::new(name, first, &self.0.options.ledger)?;
        let source = Arc::new(LocalGraph {
            name: name.to_owned(),
            factory,
            ledger: self.0.options.ledger.clone(),
        });
        let dispatch = dispatch(name, &about, options, source);
        dispatch.open(Box::new(wide), self.handle());
        Ok(Graph::new(about, options.max_elements, dispatch, None))
    }

    /// A graph whose sessions are in a child.
    fn load_there(
        &self,
        name: &str,
        path: &Path,
        options: &GraphOptions,
    ) -> Result<Graph, LoadError> {
        let (homes, reads) = (self.homes()?, places_of(path));
        let (home, common) = (homes.home(name, &reads, options), homes.common.clone());
        let (name, path, options) = (name.to_owned(), path.to_owned(), options.clone());
        let loaded = self.wait(async move {
            let loaded = GraphKeeper::load(home, common, &name, path, reads, options.clone()).await;
            let First { kept, about, wide } = loaded?;
            let dispatch = dispatch(&name, &about, &options, kept.clone());
            let end = CancellationToken::new();
            kept.keep(&dispatch, wide, end.clone());
            Ok(Graph::new(about, options.max_elements, dispatch, Some(end.drop_guard())))
        });
        loaded.unwrap_or_else(|| Err(ends()))
    }

    fn here(&self) -> Result<Arc<Libraries>, LibraryError> {
        let start = || Libraries::start(&self.0.options).map(Arc::new);
        self.0.here.get_or_init(start).clone()
    }

    fn homes(&self) -> Result<&Homes, LibraryError> {
        let make = || Homes::new(&self.0.options, self.0.nursery.clone());
        self.0.homes.get_or_init(make).as_ref().map_err(Clone::clone)
    }

    fn handle(&self) -> &Handle {
        self.0.nursery.handle()
    }

    /// Waits for what goes on at the nursery. None where that ends first.
    fn wait<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Option<T> {
        let (tell, result) = mpsc::channel();
        self.0.nursery.spawn(async move {
            // Whoever waits cannot leave.
            let _ = tell.send(work.await);
        });
        result.recv().ok()
    }
}

fn ends() -> LoadError {
    LoadError::Graph("the server ends".into())
}

fn dispatch(
    name: &str,
    about: &About,
    options: &GraphOptions,
    source: Arc<dyn RunnerSource>,
) -> Arc<Dispatch> {
    let queue = Queue::new(options.queue, about.sessions, about.batching);
    Arc::new(Dispatch { name: name.to_owned(), queue, source, threads: about.threads })
}

/// Says in the log how a graph is served.
fn tell(name: &str, about: &About, process: Process) {
    let batches = match about.batching.rows {
        1 => String::new(),
        rows => format!("; batches: up to {rows} rows"),
    };
    let place = match process {
        Process::None => "; in the server's own process",
        Process::Own | Process::Shared => "",
    };
    let About { signature, device, backend, why, sessions, .. } = about;
    tracing::info!(
        graph = name,
        "{backend} serves it on {device} ({why}; sessions: {sessions}{batches}{place}); takes {}; \
         gives {}",
        describe(&signature.inputs),
        describe(&signature.outputs),
    );
    for (output, kind) in &signature.unusable {
        tracing::warn!(graph = name, "{}", unusable(output, kind));
    }
}
