//! A bare tonic server, on one runtime a worker as the host, or on one for all.

use std::{
    io::Write,
    net::{Ipv4Addr, TcpStream},
    thread,
};

use clap::{Args, ValueEnum};
use tms::grpc::proto::server::server_server::ServerServer;
use tokio::{
    net::TcpListener,
    runtime::Builder,
    sync::mpsc::{self, UnboundedReceiver, UnboundedSender},
};
use tokio_stream::{StreamExt, wrappers::UnboundedReceiverStream};
use tonic::transport::Server;

use crate::service::{Service, Work};

const MAX_MESSAGE: usize = 64 << 20;

#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    /// 0 takes a free one; the line printed when the server is ready names it
    #[arg(long, default_value_t = 0)]
    pub port: u16,

    #[arg(long, default_value = "per-worker")]
    pub runtime: Kind,

    /// Threads of the shared runtime, or runtimes
    #[arg(long, default_value_t = thread::available_parallelism().map_or(1, |n| n.get()))]
    pub workers: usize,

    /// Bytes that a stream, and a connection, may have under way: no large message waits. The host has
    /// 256 KiB for a stream
    #[arg(long, default_value_t = 16 << 20)]
    pub window: u32,
}

/// Where connections and their calls run.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Kind {
    /// A current-thread runtime for each worker, which gets every n-th connection, as in the host.
    PerWorker,
    /// One multi-threaded runtime for all.
    Shared,
}

/// Serves until the process is killed. `work` makes the work of each runtime.
pub fn serve<W: Work>(args: &ServeArgs, work: impl Fn() -> W) -> anyhow::Result<()> {
    let runtimes = match args.runtime {
        Kind::Shared => {
            let mut builder = Builder::new_multi_thread();
            vec![builder.worker_threads(args.workers).enable_all().build()?]
        }
        Kind::PerWorker => (0..args.workers)
            .map(|_| Builder::new_current_thread().enable_all().build())
            .collect::<Result<_, _>>()?,
    };
    let mut senders = Vec::new();
    for runtime in runtimes {
        let (to_server, connections) = mpsc::unbounded_channel();
        senders.push(to_server);
        let serving = serve_on(connections, work(), args.window);
        // On a task: that is where a runtime of several threads runs things fast.
        thread::spawn(move || runtime.block_on(async { tokio::spawn(serving).await }));
    }
    let acceptor = Builder::new_current_thread().enable_all().build()?;
    acceptor.block_on(accept(args.port, senders))
}

/// Hands connections to the runtimes in turn.
async fn accept(port: u16, runtimes: Vec<UnboundedSender<TcpStream>>) -> anyhow::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    writeln!(std::io::stdout(), "ready: grpc://{}", listener.local_addr()?)?;
    for runtime in runtimes.iter().cycle() {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        runtime.send(stream.into_std()?)?;
    }
    Ok(())
}

async fn serve_on<W: Work>(connections: UnboundedReceiver<TcpStream>, work: W, window: u32) {
    let connections =
        UnboundedReceiverStream::new(connections).map(tokio::net::TcpStream::from_std);
    let service = ServerServer::new(Service(work))
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE);
    let served = Server::builder()
        .tcp_nodelay(true)
        .initial_stream_window_size(window)
        .initial_connection_window_size(window.max(16 << 20))
        .add_service(service)
        .serve_with_incoming(connections)
        .await;
    if let Err(e) = served {
        eprintln!("the server ended: {e}");
    }
}
