//! End-to-end tests: the real `tms` on a free port, temporary folders of models, guests built from
//! source, ordinary gRPC clients. One line a theme; shared parts are in `harness`.

// A test may stop at the first surprise.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// A gRPC status is large, and tests hand many around.
#![allow(clippy::result_large_err)]

#[macro_use]
mod harness;

// What callers get.
mod batching; // calls that become one native run
mod calls; // the nine calls of the original's protocol, those without data
mod classifier; // a real network on real pictures, on both backends, by many callers
mod composed; // models composed of several components
mod context; // what a model knows of a call
mod files; // files and images in and out
mod g2p; // two networks in a loop: sounds in parts
mod graphs; // bare graphs: reference values, misfits
mod health; // grpc.health.v1 and reflection
mod image; // images in and out, one and many
mod inference; // the Open Inference Protocol
mod mtcnn; // a cascade of three networks: faces
mod older; // components built for the version before
mod optical_flow; // two frames in, every pixel's movement out: work in the sandbox
mod other_models; // models that call models
mod sentence_embedding; // a tokenizer in the sandbox; one run for a batch
mod sequences; // calls that meet the same instance
mod silero_vad; // a network that remembers: sequences, sessions, files
mod stream_infer; // streams of the Open Inference Protocol
mod streams; // results in parts
mod style_26; // a picture painted, of any size
mod tensors; // every datatype, raw and typed; malformed tensors
mod text; // texts, arguments, unicode
mod workers; // workers, their memories, connections

// What keeps the server up.
mod connections; // slow, silent, flooding and too many callers
mod fairness; // models that share a worker
mod folders; // what may lie in the folder of models
mod graph_limits; // a graph's queue and deadlines
mod hostile; // attacks, one a file, each beside a neighbour who must not notice
mod instances; // how long an instance lives; snapshots
mod kept; // outputs that stay with the child until somebody reads them
mod limits; // each limit, exceeded
mod load_reports; // how busy the server is, as callers hear it
mod memory; // the server's memory: the sum over models, workers and callers
mod messages; // what comes in: its memory, its time, slow callers, compression
mod native; // native code that crashes, hangs or grows, in processes of its own
mod native_hostile; // a library that attacks as soon as it is loaded
mod replies; // replies that nobody takes
mod sessions; // how many runs of a graph go on at once
mod shared_graph; // a graph that several models use
mod stop; // signals, StopServer, the drain
mod stop_remote; // StopServer, and who may call it
mod tls; // who is let in; certificates that are replaced
mod traps; // guests that fail, and what callers and the log hear of it
mod unix_socket; // calls through a Unix socket, and its file
mod web; // JSON and gRPC-Web by HTTP/1.1, and pages that may call

// What the operator sees.
mod bounds; // docs/bounds.md says what bounds each thing that others write
mod cache; // compiled code on disk
mod command; // `tms call` and `tms build`
mod compiling; // components are compiled in processes of their own
mod config; // flags, variables, tms.toml, model.toml
mod loading; // models that do not load
mod logging; // a log that nobody reads
mod metrics; // every metric, moved by what its help says
mod mistakes; // first mistakes, and what the server says
