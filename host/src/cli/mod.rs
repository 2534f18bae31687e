//! The command line: one verb a file.
//!
//! - [`serve`], [`build`], [`check`], [`call`]

pub mod build;
pub mod call;
pub mod check;
pub mod serve;

use std::{error::Error, io::Write};

use clap::{Parser, Subcommand};

use crate::config::ServeArgs;

use self::{build::BuildArgs, call::CallArgs, check::CheckArgs};

/// Tiny Model Server: serves models whose pre- and post-processing is a WebAssembly component.
#[derive(Parser)]
#[command(version, about)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve a folder of models over gRPC
    Serve(ServeArgs),
    /// Build the components of models that come as source
    Build(BuildArgs),
    /// Check models' folders, and whether calls of their graphs can be batched
    Check(CheckArgs),
    /// Call a model of a running server and print its answer
    Call(CallArgs),
}

impl Cli {
    /// Does what was asked for. What to print of a failure is the error's text.
    pub fn run(self) -> Result<(), Box<dyn Error>> {
        match self.command {
            Command::Serve(args) => serve::serve(args),
            Command::Build(args) => Ok(build::build(&args)?),
            Command::Check(args) => {
                // The report has the reasons, at the model that they belong to.
                crate::logging::start("warn,tms::not_served=off")?;
                Ok(check::check(&args)?)
            }
            Command::Call(args) => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                let answer = runtime.block_on(call::call(args))?;
                Ok(writeln!(std::io::stdout(), "{answer}")?)
            }
        }
    }
}
