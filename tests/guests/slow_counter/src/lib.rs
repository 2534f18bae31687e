//! Counts its calls in its own memory, and sleeps for `{"ms": n}` before it answers: a test sees
//! which instances are at work at the same time. Where `INIT_MS` is set, its `init` sleeps so long.

use tms_guest::prelude::*;

struct SlowCounter(u64);

impl Model for SlowCounter {
    fn init() -> Result<Self> {
        if let Some(ms) = std::env::var("INIT_MS").ok().and_then(|ms| ms.parse().ok()) {
            std::thread::sleep(std::time::Duration::from_millis(ms));
        }
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
