//! What the operator sets. Every setting is a flag, a `TMS_…` variable and a key of `tms.toml`; the
//! order is flag, variable, file, default.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use bytesize::ByteSize;
use clap::{Args, ValueEnum};
use serde::Deserialize;

use crate::config::limits::LimitSettings;

use super::{ConfigError, Reuse, manifest::GraphSettings};

/// The operator's file, read where it is there and `--config` names no other.
const DEFAULT_FILE: &str = "tms.toml";

/// `tms serve`
#[derive(Args, Clone, Debug, Default)]
pub struct ServeArgs {
    /// The folder of models, one folder a model [default: models]
    #[arg(long, env = "TMS_MODELS")]
    pub models: Option<PathBuf>,

    /// The port; 0 takes a free one [default: 50000]
    #[arg(long, env = "TMS_PORT")]
    pub port: Option<u16>,

    /// An address to listen on, such as 0.0.0.0; repeatable [default: 127.0.0.1 and ::1]
    #[arg(long, env = "TMS_HOST", value_delimiter = ',')]
    pub host: Vec<IpAddr>,

    /// Workers: each has instances of its own, connections are spread over them [default: cores]
    #[arg(long, env = "TMS_WORKERS")]
    pub workers: Option<usize>,

    /// The operator's file [default: tms.toml where it is there]
    #[arg(long, env = "TMS_CONFIG")]
    pub config: Option<PathBuf>,

    /// The largest message to take or give, such as 64MiB or 1GB [default: 64MiB]
    #[arg(long, env = "TMS_MAX_MESSAGE")]
    pub max_message: Option<ByteSize>,

    /// Bytes of a call that its caller may send ahead [default: 256KiB]
    #[arg(long, env = "TMS_WINDOW")]
    pub window: Option<ByteSize>,

    /// How long calls in flight may take when the server stops [default: 4s]
    #[arg(long, env = "TMS_DRAIN_TIMEOUT", value_parser = humantime::parse_duration)]
    pub drain_timeout: Option<Duration>,

    /// Who may stop the server with StopServer [default: local; never where it listens beyond this machine]
    #[arg(long, value_enum, env = "TMS_STOP_SERVER")]
    pub stop_server: Option<StopServer>,

    /// Old: `--stop-server anyone`
    #[arg(long, hide = true, env = "TMS_ALLOW_REMOTE_STOP", num_args = 0..=1, default_missing_value = "true")]
    pub allow_remote_stop: Option<bool>,

    /// Folder for compiled code, closed to other users [default: tms in the user's cache folder]
    #[arg(long, env = "TMS_CACHE")]
    pub cache: Option<PathBuf>,

    /// ONNX Runtime's library, or its folder [default: looked for, see docs]
    #[arg(long, env = "TMS_ONNXRUNTIME")]
    pub onnxruntime: Option<PathBuf>,

    /// Threads of native inference, shared by all graphs [default: cores]
    #[arg(long, env = "TMS_THREADS")]
    pub threads: Option<usize>,

    /// Stack of a guest's code [default: 1MiB]
    #[arg(long, env = "TMS_STACK")]
    pub stack: Option<ByteSize>,

    /// Address of the metrics page, such as 127.0.0.1:9090; port 0 takes a free one [default: none]
    #[arg(long, env = "TMS_METRICS")]
    pub metrics: Option<SocketAddr>,
}

/// `tms.toml`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    models: Option<PathBuf>,
    port: Option<u16>,
    #[serde(default)]
    host: Vec<IpAddr>,
    workers: Option<usize>,
    max_message: Option<ByteSize>,
    window: Option<ByteSize>,
    #[serde(default, with = "humantime_serde::option")]
    drain_timeout: Option<Duration>,
    stop_server: Option<StopServer>,
    allow_remote_stop: Option<bool>,
    cache: Option<PathBuf>,
    onnxruntime: Option<PathBuf>,
    threads: Option<usize>,
    stack: Option<ByteSize>,
    metrics: Option<SocketAddr>,
    /// For all models.
    #[serde(default)]
    limits: LimitSettings,
    /// For one model, by name.
    #[serde(default)]
    model: BTreeMap<String, ModelSettings>,
}

/// `[model.NAME]` in `tms.toml`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSettings {
    #[serde(default)]
    pub limits: LimitSettings,
    // Both override the model's own word.
    pub reuse: Option<Reuse>,
    pub snapshot: Option<bool>,
    /// What the model gets of what it asks for.
    #[serde(default)]
    pub grants: Grants,
    /// Graphs of other models that this one may open, as "model/graph".
    #[serde(default)]
    pub graphs: Vec<String>,
    /// Its share of the CPU beside other models, when there is not enough [default: 1].
    pub weight: Option<u32>,
    /// How this model's graphs are served; overrides its model.toml.
    #[serde(default)]
    pub graph: GraphSettings,
}

/// `[model.NAME.grants]`: the way out of the sandbox, as far as the operator lets it go.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Grants {
    /// The guest's path of a folder, and the folder: to be read, never written.
    pub folders: BTreeMap<String, PathBuf>,
    /// Variables of the server's own environment.
    pub env: Vec<String>,
    /// Hosts to connect to over TCP, as "name:port".
    pub hosts: Vec<String>,
}

/// Who may stop the server by calling StopServer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StopServer {
    /// Nobody; signals stop it
    Never,
    /// Callers on this machine; behind a proxy on this machine, that is every caller
    Local,
    /// Every caller
    Anyone,
}

impl StopServer {
    /// Where nothing is set. Beyond this machine a caller that seems to be local may be a proxy, which
    /// passes strangers on.
    fn default_for(host: &[IpAddr]) -> Self {
        let local = host.iter().all(|address| address.to_canonical().is_loopback());
        if local { Self::Local } else { Self::Never }
    }

    /// What the old switch said. `false` said nothing that the default does not say better.
    fn of_old(allow_remote_stop: Option<bool>) -> Option<Self> {
        (allow_remote_stop == Some(true)).then_some(Self::Anyone)
    }
}

/// All settings, decided.
#[derive(Clone, Debug)]
pub struct Settings {
    pub models: PathBuf,
    pub port: u16,
    pub host: Vec<IpAddr>,
    pub workers: usize,
    pub max_message: usize,
    pub window: u32,
    pub drain_timeout: Duration,
    pub stop_server: StopServer,
    pub allow_remote_stop: bool,
    pub cache: Option<PathBuf>,
    pub onnxruntime: Option<PathBuf>,
    pub threads: usize,
    pub stack: usize,
    pub metrics: Option<SocketAddr>,
    pub limits: LimitSettings,
    pub model: BTreeMap<String, ModelSettings>,
}

impl Settings {
    /// Flags and variables first (clap has merged them), then the file, then the defaults.
    pub fn resolve(args: ServeArgs) -> Result<Self, ConfigError> {
        let file = match &args.config {
            Some(path) => super::read(path)?,
            None if Path::new(DEFAULT_FILE).exists() => super::read(Path::new(DEFAULT_FILE))?,
            None => File::default(),
        };
        let cores = thread::available_parallelism().map_or(1, |n| n.get());
        let host =
            [args.host, file.host].into_iter().find(|host| !host.is_empty()).unwrap_or_default();
        // An old switch that the command line turns off is off, whatever the file says of it.
        let old = file.allow_remote_stop.filter(|_| args.allow_remote_stop.is_none());
        let stop_server = args
            .stop_server
            .or(StopServer::of_old(args.allow_remote_stop))
            .or(file.stop_server)
            .or(StopServer::of_old(old))
            .unwrap_or(StopServer::default_for(&host));
        Ok(Self {
            models: args.models.or(file.models).unwrap_or("models".into()),
            port: args.port.or(file.port).unwrap_or(50000),
            host,
            workers: within("workers", args.workers.or(file.workers).unwrap_or(cores))?,
            max_message: bytes(args.max_message.or(file.max_message), 64 << 20),
            window: window(bytes(args.window.or(file.window), 256 << 10))?,
            drain_timeout: args
                .drain_timeout
                .or(file.drain_timeout)
                .unwrap_or(Duration::from_secs(4)),
            stop_server,
            allow_remote_stop: stop_server == StopServer::Anyone,
            cache: args.cache.or(file.cache).or_else(default_cache),
            onnxruntime: args.onnxruntime.or(file.onnxruntime),
            threads: within("threads", args.threads.or(file.threads).unwrap_or(cores))?,
            stack: stack(bytes(args.stack.or(file.stack), 1 << 20))?,
            metrics: args.metrics.or(file.metrics),
            limits: file.limits,
            model: file.model,
        })
    }
}

fn bytes(size: Option<ByteSize>, default: usize) -> usize {
    size.map_or(default, |size| usize::try_from(size.as_u64()).unwrap_or(usize::MAX))
}

/// As HTTP/2 has it.
fn window(size: usize) -> Result<u32, ConfigError> {
    match u32::try_from(size) {
        Ok(size) if (64 << 10..=1 << 30).contains(&size) => Ok(size),
        _ => {
            let problem = format!("{size} bytes are not between 64 KiB and 1 GiB");
            Err(ConfigError { file: "window".to_owned(), problem })
        }
    }
}

/// Every instance that runs has one.
fn stack(size: usize) -> Result<usize, ConfigError> {
    if (64 << 10..=64 << 20).contains(&size) {
        return Ok(size);
    }
    let problem = format!("{size} bytes are not between 64 KiB and 64 MiB");
    Err(ConfigError { file: "stack".to_owned(), problem })
}

/// A number of threads: each takes memory, and a typing error could take all of it.
fn within(key: &str, number: usize) -> Result<usize, ConfigError> {
    const MOST: usize = 1024;
    if (1..=MOST).contains(&number) {
        return Ok(number);
    }
    Err(ConfigError {
        file: key.to_owned(),
        problem: format!("{number} is not between 1 and {MOST}"),
    })
}

/// None where the user has no home: then nothing is cached.
fn default_cache() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let base = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))?;
    Some(base.join("tms"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a flag, the old flag and a file with this text come to.
    fn stop_server(args: ServeArgs, file: &str) -> StopServer {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tms.toml");
        std::fs::write(&path, file).unwrap();
        Settings::resolve(ServeArgs { config: Some(path), ..args }).unwrap().stop_server
    }

    #[test]
    fn who_may_stop_the_server_follows_from_where_it_listens() {
        let listening = |host: &[&str]| {
            let host = host.iter().map(|address| address.parse().unwrap()).collect();
            stop_server(ServeArgs { host, ..ServeArgs::default() }, "")
        };
        assert_eq!(listening(&[]), StopServer::Local);
        assert_eq!(listening(&["127.0.0.1", "127.1.2.3", "::1"]), StopServer::Local);
        assert_eq!(listening(&["::ffff:127.0.0.1"]), StopServer::Local);
        assert_eq!(listening(&["0.0.0.0"]), StopServer::Never);
        assert_eq!(listening(&["127.0.0.1", "192.0.2.1"]), StopServer::Never);
        assert_eq!(listening(&["::"]), StopServer::Never);
        assert_eq!(stop_server(ServeArgs::default(), "host = ['0.0.0.0']"), StopServer::Never);
    }

    #[test]
    fn the_old_switch_means_anyone() {
        let old = |allow| ServeArgs { allow_remote_stop: allow, ..ServeArgs::default() };
        let new = |stop| ServeArgs { stop_server: Some(stop), ..ServeArgs::default() };
        let (none, on) = ("", "allow_remote_stop = true");
        assert_eq!(stop_server(old(Some(true)), none), StopServer::Anyone);
        assert_eq!(stop_server(old(None), on), StopServer::Anyone);
        assert_eq!(stop_server(old(Some(false)), none), StopServer::Local);
        assert_eq!(stop_server(old(None), "allow_remote_stop = false"), StopServer::Local);
        assert_eq!(stop_server(old(Some(false)), on), StopServer::Local, "the flag wins");
        assert_eq!(stop_server(new(StopServer::Never), on), StopServer::Never, "the new one wins");
        assert_eq!(stop_server(old(None), "stop_server = 'never'"), StopServer::Never);
        let both = "stop_server = 'never'\nallow_remote_stop = true";
        assert_eq!(stop_server(old(None), both), StopServer::Never);
        assert_eq!(stop_server(old(Some(true)), both), StopServer::Anyone, "a flag beats the file");
    }
}
