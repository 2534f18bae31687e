//! A request, headers and framed message, into the services that `tms serve` puts behind HTTP/2:
//! half of the inputs are a message's bytes as they are, half are read as a structure.
//!
//! - [`case`]: from an input to a request
//! - [`messages`]: structured messages
//! - [`server`]: the services, with real components and a graph
//! - [`judge`]: what every answer must hold to

mod case;
mod judge;
mod messages;
mod server;

use arbitrary::Unstructured;

/// One input.
pub fn run(input: &[u8]) -> bool {
    let Ok(case) = case::Case::read(&mut Unstructured::new(input)) else {
        return false;
    };
    let answer = server::Server::get().call(&case);
    judge::judge(input, &case, answer);
    true
}
