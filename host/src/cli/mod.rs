//! The command line: one verb a file.
//!
//! - [`serve`], [`build`], [`check`], [`call`]
//! - [`sizing`]: what memory models want, for [`check`]
//! - [`child`]: the server's own children

pub mod build;
pub mod call;
pub mod check;
pub mod child;
pub mod serve;
mod sizing;

use std::{env, error::Error, io::Write};

use clap::{
    Arg, CommandFactory, Parser, Subcommand,
    error::{ContextKind, ContextValue},
};

use crate::config::ServeArgs;

use self::{build::BuildArgs, call::CallArgs, check::CheckArgs, child::ChildArgs};

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
    #[command(after_help = SETTINGS)]
    Serve(ServeArgs),
    /// Build the components of models that come as source
    Build(BuildArgs),
    /// Check models' folders, and whether calls of their graphs can be batched
    #[command(mut_args(CheckArgs::shown))]
    Check(CheckArgs),
    /// Call a model of a running server and print its answer
    Call(CallArgs),
    #[command(hide = true)]
    Child(ChildArgs),
}

/// What `tms serve --help` ends with.
const SETTINGS: &str = "\
Each option is also a key of tms.toml, which says more of single models: docs/configuration.md.
TMS_LOG sets what is logged to stderr: error, warn, info (the default) or debug.";

impl Cli {
    /// What this process was started with. Ends it, with a message, where that makes no sense.
    pub fn from_process() -> Self {
        Self::try_parse().unwrap_or_else(|error| naming_the_variable(error).exit())
    }

    /// Does what was asked for. What to print of a failure is the error's text.
    pub fn run(self) -> Result<(), Box<dyn Error>> {
        match self.command {
            Command::Serve(args) => serve::serve(args),
            Command::Child(args) => child::work(&args),
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

/// A bad value's error names the flag, also where the value stood in the variable: then it names that.
fn naming_the_variable(mut error: clap::Error) -> clap::Error {
    let Some(ContextValue::String(named)) = error.get(ContextKind::InvalidArg) else {
        return error;
    };
    let mut command = Cli::command();
    // Before it is built, an argument cannot tell its name.
    command.build();
    let mut args = command.get_subcommands().flat_map(|verb| verb.get_arguments());
    let variable = args
        .find(|arg| arg.to_string() == *named && !is_given(arg))
        .and_then(|arg| Some(arg.get_env()?.to_string_lossy().into_owned()));
    if let Some(variable) = variable {
        error.insert(ContextKind::InvalidArg, ContextValue::String(variable));
    }
    error
}

/// Whether this process's command line has the flag.
fn is_given(arg: &Arg) -> bool {
    let Some(flag) = arg.get_long() else { return false };
    env::args_os().any(|given| {
        let given = given.to_string_lossy();
        let rest = given.strip_prefix("--").and_then(|given| given.strip_prefix(flag));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    })
}
