//! `tms child`: a part of the server's work, in a process that the server starts. Nobody types it.

use std::error::Error;

use clap::Subcommand;

use crate::sandbox::compile;

#[derive(Subcommand, Clone, Copy, Debug)]
pub enum Work {
    /// Compile one component
    Compile,
}

pub fn run(work: Work) -> Result<(), Box<dyn Error>> {
    match work {
        Work::Compile => compile::child::run(),
    }
}
