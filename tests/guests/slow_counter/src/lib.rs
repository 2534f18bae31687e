//! Counts its calls in its own memory, and sleeps for `{"ms": n}` before it answers: a test sees
//! which instances are at work at the same time.

use tms_guest::prelude::*;

struct SlowCounter(u64);

impl Model for SlowCounter {
    fn init() -> Result<Self> {
        Ok(Self(0))
    }

    fn describe(&self) -> Description {
        Description::text()
    }

    fn run(&mut self, _input: Input, args: &Args) -> Result<Output> {
        self.0 += 1;
        let ms = args.field("ms")?.unwrap_or(0);
        std::thread::sleep(std::time::Duration::from_millis(ms));
        Output::json(&self.0)
    }
}

tms_guest::export!(SlowCounter);
