//! Processes of this very program that do what may crash, hang or take memory: native inference, and
//! compiling. What they do is somebody else's; here is what they have in common. Imports no ring.
//!
//! - [`nursery`]: the thread that starts them, and what it knows of each
//! - [`channel`]: messages between the server and a child
//! - [`region`]: memory that both share
//! - [`confine`](mod@confine): what a child may do
//! - [`output`]: what a child says on stderr, in the server's log

pub mod channel;
pub mod confine;
pub mod nursery;
pub mod output;
pub mod region;

pub use confine::Confinement;
pub use nursery::{Child, Ended, Launch, Nursery};
