//! Counts its calls in its own memory: a test sees by the counts how many instances there are and
//! that none is shared.

use tms_guest::prelude::*;

struct Counter(u64);

impl Model for Counter {
    fn init() -> Result<Self> {
        Ok(Self(0))
    }

    fn describe(&self) -> Description {
        Description::text().and_image().and_tensors(vec![], vec![])
    }

    fn run(&mut self, _input: Input, _args: &Args) -> Result<Output> {
        self.0 += 1;
        Output::json(&self.0)
    }
}

tms_guest::export!(Counter);
