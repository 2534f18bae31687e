//! Where graphs run.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// Where a graph's sessions are.
// The help text has no room for the values' own texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Process {
    /// In a child of its model's own.
    #[value(help = None::<&str>)]
    Own,
    /// In a child that serves all graphs of this kind.
    #[value(help = None::<&str>)]
    #[default]
    Shared,
    /// In the server: a crash of native code ends all of it.
    #[value(help = None::<&str>)]
    None,
}
