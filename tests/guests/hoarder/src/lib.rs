//! Keeps a tensor from its start on: a handle, which no snapshot can hold.

use tms_guest::prelude::*;

struct Hoarder(Tensor);

impl Model for Hoarder {
    fn init() -> Result<Self> {
        Ok(Self(Tensor::new(&[3], &[1.0f32, 2.0, 3.0])?))
    }

    fn describe(&self) -> Description {
        Description::text()
    }

    /// How many elements it keeps.
    fn run(&mut self, _input: Input, _args: &Args) -> Result<Output> {
        Output::json(&self.0.to_vec::<f32>()?.len())
    }
}

tms_guest::export!(Hoarder);
