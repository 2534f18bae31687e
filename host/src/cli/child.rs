//! `tms child`: what the server starts for itself. Nobody else does.

use std::os::fd::AsFd;

use clap::{Args, ValueEnum};

use crate::{nn, sandbox::compile};

#[derive(Args)]
pub struct ChildArgs {
    /// What it is to do
    #[arg(value_enum)]
    work: Work,
}

#[derive(Clone, Copy, ValueEnum)]
enum Work {
    /// Runs graphs
    Native,
    /// Compiles a component
    Compile,
}

/// Works until the server closes the socket, which is the standard input.
pub fn work(args: &ChildArgs) -> Result<(), Box<dyn std::error::Error>> {
    let socket = std::io::stdin().as_fd().try_clone_to_owned()?;
    match args.work {
        Work::Native => Ok(nn::process::serve(socket)?),
        Work::Compile => compile::child::run(socket),
    }
}
