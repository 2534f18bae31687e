//! Inference in child processes: a crash of native code takes one run along, not the server.
//!
//! - [`message`]: what the server and a child tell each other
//! - [`serve`]: the child's side; [`crew`]: its threads
//! - [`link`]: the server's side of one child: orders and their answers
//! - [`session`]: a session in a child, as the graph's dispatch sees it
//! - [`answer`]: what a child answers, checked
//! - [`home`]: which child serves which graphs
//! - [`keeper`]: what sees to one graph: it is loaded, and loaded again where its child ends
//! - [`kept`]: an output that stays in a child

pub mod answer;
mod crew;
mod home;
mod keeper;
mod kept;
mod link;
mod message;
mod serve;
mod session;

pub use home::{Homes, places_of};
pub use keeper::{First, GraphKeeper};
pub use link::Link;
pub use message::NativeStats;
pub use serve::serve;
