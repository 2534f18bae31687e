//! How long a server takes from its start to its first answer, and the memory it then has.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use bytes::Bytes;
use serde_json::json;

use crate::client::{Call, connect_all};

/// How long a server may take.
const PATIENCE: Duration = Duration::from_secs(300);

#[derive(clap::Args)]
pub struct Args {
    /// Where to post, such as http://127.0.0.1:15000/server.Server/RunText
    url: http::Uri,

    /// The file of the request
    frame: PathBuf,

    /// The command that starts the server
    #[arg(required = true, last = true)]
    server: Vec<String>,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let frame = Bytes::from(fs::read(&args.frame)?);
    let call = Call { uri: args.url, frame, socket: None };
    let (program, arguments) = args.server.split_first().context("no command")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let started = Instant::now();
    let server = Command::new(program)
        .args(arguments)
        .stdout(Stdio::null())
        .spawn()
        .with_context(|| format!("{program} does not start"))?;
    let mut server = Server(server);
    runtime.block_on(async {
        answered(&call, started, &mut server).await?;
        let ms = started.elapsed().as_secs_f64() * 1e3;
        println!("{}", json!({"ms": ms, "rss_kib": server.rss_kib()?}));
        Ok(())
    })
}

/// Until the server answers.
async fn answered(call: &Call, started: Instant, server: &mut Server) -> anyhow::Result<()> {
    loop {
        // Refused until its port is open.
        if let Ok(connections) = connect_all(call, 1, None).await {
            let [mut connection] = <[_; 1]>::try_from(connections).ok().context("one")?;
            call.post(&mut connection).await?.await?;
            return Ok(());
        }
        if let Some(status) = server.0.try_wait()? {
            bail!("the server ended with {status}");
        }
        if started.elapsed() > PATIENCE {
            bail!("no answer in {PATIENCE:?}");
        }
        tokio::time::sleep(Duration::from_micros(500)).await;
    }
}

/// Ends with this program.
struct Server(Child);

impl Server {
    fn rss_kib(&self) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next()).context("no VmRSS")?;
        Ok(number.parse()?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Whatever becomes of it, this program is done.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
