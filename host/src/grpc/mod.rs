//! The main listener: gRPC in and out. tonic's services and hyper's server are named only here.
//!
//! - [`sockets`]: addresses to listen on, connections and their home workers
//! - [`unix_socket`]: the file of one of them
//! - [`tls`]: certificates, and those who are let in by theirs
//! - [`origin`]: where a connection comes from
//! - [`connections`]: all of them: how many there may be, how each ended
//! - [`serve`]: the task of one: HTTP/2, its calls, its times
//! - [`web`]: the same for curl and browsers: HTTP/1.1, gRPC-Web
//! - [`connect`]: a call with JSON
//! - [`json`]: messages as JSON, and back
//! - [`connection`]: its bytes, and a close that loses none
//! - [`frames`]: the frames that its caller sends, metered
//! - [`authority`]: what calls name as the server, mended where the library would refuse it
//! - [`peer`]: what its parts know of it
//! - [`listener`]: all services on one port, until told to stop; then the drain
//! - [`layer`]: what every call passes: deadline, text of errors, calls in flight
//! - [`receive`]: the request half of that
//! - [`inbox`]: a request's message as it comes in
//! - [`inflate`]: one that is compressed
//! - [`zstd`]: one way to be so, whose messages name the memory that they want
//! - [`count`]: what it becomes in memory, before it does
//! - [`decode`]: its structs, made here or on a thread of their own
//! - [`data_calls`]: the calls with data, answered without tonic's server
//! - [`encode`]: their replies' messages, in pieces
//! - [`deflate`]: replies that are compressed
//! - [`reply`]: replies on their way out, in pieces
//! - [`app`]: what the services share
//! - [`load`]: calls counted, and the load reports that go with their answers
//! - [`orca`]: these reports by themselves
//! - [`context`]: one call: who calls, and until when an answer is of use
//! - [`original`]: the nine calls of the original Tiny Model Server, and ours beside them
//! - [`runs`]: those that run a model
//! - [`open_inference`]: the Open Inference Protocol's
//! - [`streams`]: of both, those whose results come in parts
//! - [`health`]: what serves by now
//! - [`images`], [`tensors`]: their data as tensors, and back
//! - [`status`]: errors as gRPC statuses
//! - [`error_text`]: their texts, bounded
//! - [`error_details`]: what they tell programs
//! - [`codec`]: messages in buffers that fit
//! - [`proto`]: generated from proto/

pub mod app;
mod authority;
pub mod codec;
mod connect;
mod connection;
pub mod connections;
pub mod context;
mod count;
mod data_calls;
mod decode;
mod deflate;
mod encode;
mod error_details;
mod error_text;
mod frames;
pub mod health;
mod images;
mod inbox;
mod inflate;
mod json;
pub mod layer;
pub mod listener;
pub mod load;
mod open_inference;
mod orca;
pub mod origin;
mod original;
pub mod peer;
pub mod proto;
mod receive;
pub mod reply;
mod runs;
mod serve;
pub mod sockets;
mod status;
mod streams;
mod tensors;
pub mod tls;
pub mod unix_socket;
pub mod web;
mod zstd;
