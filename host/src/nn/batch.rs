//! Several calls as one native run: which calls go together, their inputs joined, the outputs split.

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::{NnError, Tensor, job::Job};
use crate::text::Shape;

/// How calls of a graph are put together.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Batching {
    /// Rows of one run, over all calls in it.
    pub rows: usize,
    /// Bytes of all inputs of one run.
    pub bytes: usize,
    /// Elements of all inputs of one run.
    pub elements: usize,
    /// Inputs that every call gives. A call that gives others too, those with a default, runs alone:
    /// whether their rows mix was not tried.
    pub inputs: usize,
    /// Only 1, 2, 4, … rows: the backend prepares itself for each number.
    pub powers: bool,
}

impl Batching {
    /// Every call runs alone.
    pub const NONE: Self = Self { rows: 1, bytes: 0, elements: 0, inputs: 0, powers: false };

    /// Which of these calls, in the order in which they are to run, run together: the first, and what fits it. The
    /// others wait for the next run.
    pub fn choose<'a, K>(&self, mut jobs: impl Iterator<Item = (K, &'a Job)>) -> Vec<K> {
        let Some((key, first)) = jobs.next() else { return Vec::new() };
        let mut chosen = vec![key];
        let Some(rows) = self.rows_of(first).filter(|rows| *rows < self.rows) else {
            return chosen;
        };
        let mut totals = vec![rows];
        let (mut total, mut size) = (rows, Size::of(first));
        for (key, job) in jobs {
            if total >= self.rows {
                break;
            }
            let Some(rows) = self.rows_of(job) else { continue };
            let larger = size.plus(Size::of(job));
            let fits = total + rows <= self.rows
                && larger.bytes <= self.bytes
                && larger.elements <= self.elements;
            if fits && alike(first, job) {
                (total, size) = (total + rows, larger);
                chosen.push(key);
                totals.push(total);
            }
        }
        if self.powers {
            let whole = totals.iter().rposition(|total| total.is_power_of_two()).unwrap_or(0);
            chosen.truncate(whole + 1);
        }
        chosen
    }

    /// The rows of a call that may go with others.
    fn rows_of(&self, job: &Job) -> Option<usize> {
        let tried = job.inputs.iter().all(|(position, _)| *position < self.inputs);
        rows(job).filter(|_| tried)
    }
}

/// What the inputs of calls hold.
#[derive(Clone, Copy)]
struct Size {
    bytes: usize,
    elements: usize,
}

impl Size {
    fn of(job: &Job) -> Self {
        let none = Self { bytes: 0, elements: 0 };
        job.inputs.iter().fold(none, |sum, (_, tensor)| {
            sum.plus(Self { bytes: tensor.byte_length(), elements: tensor.elements() })
        })
    }

    fn plus(self, more: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(more.bytes),
            elements: self.elements.saturating_add(more.elements),
        }
    }
}

/// The first dimension of a call's inputs, if they all have the same, and some rows.
pub fn rows(job: &Job) -> Option<usize> {
    let mut rows = job.inputs.iter().map(|(_, tensor)| tensor.shape().first());
    let first = *rows.next()??;
    let same = rows.all(|rows| rows == Some(&first));
    usize::try_from(first).ok().filter(|rows| same && *rows > 0)
}

/// Whether two calls differ in their number of rows only. Inputs are in the order of their positions.
fn alike(one: &Job, other: &Job) -> bool {
    let inner = |tensor: &Tensor| (tensor.dtype(), tensor.shape().get(1..).map(<[u64]>::to_vec));
    one.outputs == other.outputs
        && one.inputs.len() == other.inputs.len()
        && one
            .inputs
            .iter()
            .zip(&other.inputs)
            .all(|((p, a), (q, b))| p == q && inner(a) == inner(b))
}

/// The inputs of calls that go together, one below the other.
pub fn join(jobs: &[Job]) -> Result<Vec<(usize, Tensor)>, NnError> {
    let Some(first) = jobs.first() else { return Ok(Vec::new()) };
    let column = |(at, (position, like)): (usize, &(usize, Tensor))| {
        let members = || jobs.iter().filter_map(|job| job.inputs.get(at)).map(|(_, t)| t);
        let rows = members().filter_map(|t| t.shape().first()).sum();
        let shape: Vec<u64> =
            std::iter::once(rows).chain(like.shape().iter().skip(1).copied()).collect();
        let mut data = BytesMut::with_capacity(members().map(Tensor::byte_length).sum());
        members().for_each(|tensor| data.extend_from_slice(tensor.data()));
        let tensor = Tensor::new(like.dtype(), shape, data.freeze());
        Ok((*position, tensor.map_err(|e| NnError::Runtime(e.to_string()))?))
    };
    first.inputs.iter().enumerate().map(column).collect()
}

/// The outputs of each of the calls. They are copied: a caller that keeps its part must not keep the
/// others' in memory.
pub fn split(outputs: &[Tensor], jobs: &[Job]) -> Result<Vec<Vec<Tensor>>, NnError> {
    let total: usize = jobs.iter().filter_map(rows).sum();
    let mut start = 0;
    let part = |job: &Job| {
        let count = rows(job).unwrap_or_default() as u64;
        let of = |output: &Tensor| {
            if output.shape().first() != Some(&(total as u64)) {
                let shape = Shape(output.shape());
                return Err(NnError::Runtime(format!(
                    "the graph gave an output of shape {shape} for {total} rows"
                )));
            }
            let view = output.rows(start, count).map_err(|e| NnError::Runtime(e.to_string()))?;
            let data = Bytes::copy_from_slice(view.data());
            Tensor::new(view.dtype(), view.shape(), data)
                .map_err(|e| NnError::Runtime(e.to_string()))
        };
        let parts = outputs.iter().map(of).collect();
        start += count;
        parts
    };
    jobs.iter().map(part).collect()
}

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;
