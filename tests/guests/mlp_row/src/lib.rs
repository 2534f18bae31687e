//! One row through a small network. The code knows nothing of batches: the benches measure what it
//! gains when the server runs the rows of many callers together. The network is made by
//! benches/network.py.
//!
//! A row is the tensor `input`, answered with the tensor `output`; or an image of one line of floats,
//! answered with JSON, which callers of server.proto can send.

use tms_guest::prelude::*;

struct Row {
    graph: Graph,
}

impl Model for Row {
    fn init() -> Result<Self> {
        Ok(Self { graph: Graph::load("model")? })
    }

    fn describe(&self) -> Description {
        Description::image().and_tensors(self.graph.inputs(), self.graph.outputs())
    }

    fn run(&mut self, input: Input, _args: &Args) -> Result<Output> {
        match input {
            Input::Tensors(tensors) => {
                let row = tensors.get("input")?.share();
                Ok(Output::tensors(self.graph.compute([("input", row)])?))
            }
            other => {
                let row = other.image()?.into_tensor();
                let outputs = self.graph.compute([("input", row)])?;
                Output::json(&outputs.get("output")?.to_vec::<f32>()?)
            }
        }
    }
}

tms_guest::export!(Row);
