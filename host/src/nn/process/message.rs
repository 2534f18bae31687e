//! What the server and a child tell each other. Orders about graphs go over the child's first socket;
//! each session has one of its own, for its runs.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{
    child::Confinement,
    nn::{
        BackendChoice, DType, Gain, GraphOptions, LibraryError, LoadError, NnError,
        backend::onnxruntime::Candidate, library::About,
    },
};

/// The first message to a child.
#[derive(Serialize, Deserialize)]
pub struct Begin {
    /// Of the server: a child of another version would not understand it.
    pub version: String,
    pub confinement: Confinement,
    /// The libraries of ONNX Runtime to try, best first: a child may not look for them.
    pub candidates: Vec<Candidate>,
    pub backend: BackendChoice,
    pub threads: usize,
    /// What it logs, where the operator does not say.
    pub log: String,
}

/// What a child is to do. Answers come with the order's number, in any sequence.
#[derive(Serialize, Deserialize)]
pub enum Order {
    Load {
        number: u64,
        graph: u32,
        name: String,
        path: PathBuf,
        options: Box<GraphOptions>,
    },
    /// Makes a session, with threads of its own or the first one. Its socket comes along.
    Session {
        number: u64,
        graph: u32,
        session: u32,
        threads: Option<usize>,
    },
    /// Measures what batches would gain.
    Measure {
        number: u64,
        path: PathBuf,
        options: Box<GraphOptions>,
        rows: usize,
    },
    /// Nobody wants a session's run any more.
    Stop {
        session: u32,
        run: u64,
    },
    /// The graph is not used any more.
    Unload {
        graph: u32,
    },
    /// A region for kept tensors that are fetched comes along, under a number.
    Region {
        region: u32,
    },
    /// It is not used any more.
    DropRegion {
        region: u32,
    },
    /// Copies a kept tensor into a region.
    Fetch {
        number: u64,
        kept: u64,
        region: u32,
    },
    /// Nobody will ask for a kept tensor any more.
    Forget {
        kept: u64,
    },
}

/// What a child reports.
#[derive(Serialize, Deserialize)]
pub enum Report {
    /// It is confined and has its libraries. What the kernel lacks for the former.
    Began(Result<Vec<String>, LibraryError>),
    Answer {
        number: u64,
        answer: Answer,
    },
}

/// What an order came to.
#[derive(Serialize, Deserialize)]
pub enum Answer {
    Loaded(Result<About, LoadError>),
    Session(Result<(), LoadError>),
    Measured(Result<Result<Vec<Gain>, String>, LoadError>),
    /// The number of bytes; None where the tensor is not there or has no room.
    Fetched(Option<u64>),
}

/// What a session is told. Regions come along as descriptors.
#[derive(Serialize, Deserialize)]
pub enum ToSession {
    /// Inputs lie in this region from now on; in none, where there is none any more.
    Inputs { here: bool },
    /// Outputs go into this region from now on; into none, where there is none any more.
    Outputs { here: bool },
    /// Computes the outputs at these positions.
    Run {
        run: u64,
        inputs: Vec<Input>,
        outputs: Vec<u32>,
        /// Large ones may stay with the child.
        may_stay: bool,
    },
    /// Puts the outputs of the last run into the region, which is large enough now.
    Again,
    /// Forgets the outputs of the last run.
    Forget,
}

/// A tensor that is not in the message.
#[derive(Clone, Serialize, Deserialize)]
pub struct Placed {
    pub dtype: DType,
    pub shape: Vec<u64>,
    /// Bytes.
    pub length: u64,
    pub place: Place,
}

/// Where a tensor's bytes are.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub enum Place {
    /// In the session's region for inputs or outputs.
    Region { offset: u64 },
    /// With the child, under a number.
    Kept { number: u64 },
}

/// Outputs of fewer bytes never stay with the child: to fetch one takes a message each way.
pub const STAYS: usize = 256 << 10;

#[derive(Serialize, Deserialize)]
pub struct Input {
    pub position: u32,
    pub tensor: Placed,
}

/// How a session's run ended.
#[derive(Serialize, Deserialize)]
pub enum FromSession {
    /// The outputs are in the region.
    Outputs(Vec<Placed>),
    /// They need a larger one, of at least `bytes`.
    TooLarge {
        bytes: u64,
    },
    Failed(NnError),
}

/// What goes on in children, for metrics.
#[derive(Clone, Debug, Default)]
pub struct NativeStats {
    /// Children now, and the memory that is their own, in bytes.
    pub children: usize,
    pub memory: u64,
    /// How many have ended though they were needed, by cause.
    pub deaths: Vec<(&'static str, u64)>,
    /// Started in the place of one that ended.
    pub restarts: u64,
    /// Runs that were run again, as their child ended.
    pub reruns: u64,
    /// Bytes of memory shared with children.
    pub regions: u64,
    /// Bytes of outputs that stayed with children.
    pub kept: u64,
}
