//! Fails to start: the server must keep it out of service and serve the others.

use tms_guest::prelude::*;

struct Broken;

impl Model for Broken {
    fn init() -> Result<Self> {
        warn!("about to fail");
        Err(Error::model("no weights today"))
    }

    fn describe(&self) -> Description {
        Description::text()
    }

    fn run(&mut self, _input: Input, _args: &Args) -> Result<Output> {
        Output::json("never")
    }
}

tms_guest::export!(Broken);
