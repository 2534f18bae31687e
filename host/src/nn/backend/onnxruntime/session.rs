//! Sessions of ONNX Runtime: one run after another, each of which can be stopped from outside.

use std::{
    borrow::Cow,
    ops::Range,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use ort::session::{HasSelectedOutputs, OutputSelector, RunOptions};

use super::{
    Failure, OnnxRuntime,
    int8::Int8Sums,
    unreadable,
    values::{failed, tensor, value},
};
use crate::nn::{
    Device, LoadError, NnError, Tensor,
    backend::{Session, SessionFactory},
    cancel::{Cancel, Stop},
    files,
};

/// A graph on a device.
pub struct OrtGraph {
    pub runtime: OnnxRuntime,
    pub path: PathBuf,
    /// Of the file, when it was first read.
    pub stamp: Option<files::Stamp>,
    pub device: Device,
    /// As the first session makes them.
    pub int8: Int8Sums,
    /// Made to read the signature, and given out as the first session.
    pub first: Mutex<Option<ort::session::Session>>,
    /// The names of the inputs, those with a default value last.
    pub inputs: Arc<[String]>,
    pub outputs: Arc<[String]>,
}

impl SessionFactory for OrtGraph {
    fn session(&self, threads: Option<usize>) -> Result<Box<dyn Session>, LoadError> {
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).take();
        if first.is_none() && files::stamp(&self.path) != self.stamp {
            return Err(LoadError::Graph("the graph's file has changed since the start".into()));
        }
        let again = || self.runtime.session(&self.path, self.device, self.int8, threads);
        let session = match first.map(Ok).unwrap_or_else(again) {
            Ok(session) => session,
            Err(Failure::Device(reason) | Failure::Graph(reason)) => {
                return Err(unreadable(&self.path, &reason));
            }
        };
        let all = (0..self.outputs.len()).collect();
        let selection =
            Selection::new(all, &self.outputs).map_err(|e| LoadError::Graph(e.to_string()))?;
        Ok(Box::new(OrtSession {
            session,
            inputs: self.inputs.clone(),
            outputs: self.outputs.clone(),
            selection,
        }))
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
    options: Arc<StoppableOptions>,
    stop: Stop,
}

struct StoppableOptions(RunOptions<HasSelectedOutputs>);

// SAFETY: the session's thread reads the options during a run; other threads only set the
// termination flag, which ONNX Runtime allows at any time. `ort` withholds `Sync` on account of
// preallocated outputs, and there are none here.
#[allow(unsafe_code)]
unsafe impl Sync for StoppableOptions {}

impl Selection {
    fn new(outputs: Vec<usize>, names: &[String]) -> ort::Result<Selection> {
        let wanted = outputs.iter().filter_map(|&i| names.get(i));
        let selector =
            wanted.fold(OutputSelector::no_default(), |selector, name| selector.with(name));
        let options = Arc::new(StoppableOptions(RunOptions::new()?.with_outputs(selector)));
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
    fn run(
        &mut self,
        inputs: &[(usize, Tensor)],
        outputs: &[usize],
        cancel: &Cancel,
    ) -> Result<Vec<Tensor>, NnError> {
        if self.selection.outputs != outputs {
            self.selection =
                Selection::new(outputs.to_vec(), &self.outputs).map_err(|e| failed(&e))?;
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
            Ok(outputs) => {
                let given = inputs.iter().map(|(_, tensor)| tensor.data().as_ptr_range());
                let copied = copies.iter().map(|copy| {
                    let Range { start, end } = copy.as_ptr_range();
                    start.cast::<u8>()..end.cast::<u8>()
                });
                let lent: Vec<_> = given.chain(copied).collect();
                let outputs = outputs.into_iter();
                outputs.map(|(_, output)| tensor(output, &lent)).collect()
            }
            Err(_) if cancel.is_cancelled() => Err(NnError::Cancelled),
            Err(e) => Err(failed(&e)),
        }
    }
}
