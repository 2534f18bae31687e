//! The settings of the server: what each is, how it is written, its default. The one list of them:
//! flags, variables, keys of tms.toml, `--help` and the table in docs/configuration.md follow from it.

use std::{
    collections::BTreeMap,
    fs, io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    str::FromStr,
    thread,
    time::Duration,
};

use clap::Args;
use serde::Deserialize;

use super::{
    ConfigError, ModelSettings, Process, StopServer,
    limits::LimitSettings,
    read,
    values::{self, Count, Listener, Mode, Named, Size, SocketFile, Time, WebOrigin},
};
use crate::machine;

/// The operator's file, read where it is there and `--config` names no other.
const DEFAULT_FILE: &str = "tms.toml";

/// A number of threads: each takes memory, and a typing error could take all of it.
pub type Threads = Count<1, 1024>;

/// A port of this machine.
pub type Port = Count<0, { u16::MAX as u64 }>;

/// What HTTP/2 allows of a window.
type Window = Size<{ 64 << 10 }, { 1 << 30 }>;

/// Less is not enough to serve anything.
pub type Memory = Size<{ 128 << 20 }, MOST_MEMORY>;

/// Bytes: 1 PiB.
pub const MOST_MEMORY: u64 = 1 << 50;

/// None serves nobody.
pub type Connections = Count<1, 100_000_000>;

/// What HTTP/2 allows is more; each takes memory.
type Streams = Count<1, 1_000_000>;

/// A rate.
type Frames = Count<1, 1_000_000>;

/// Every instance that runs has one.
type Stack = Size<{ 64 << 10 }, { 64 << 20 }>;

/// Makes, of a list of settings, the flags and variables ([`ServeArgs`]), the file ([`File`]) and what
/// both come to ([`Settings`]). A setting is written as
///
/// ```text
/// /// What it is: the text of --help and of the documents
/// key ("VARIABLE"): type as written as type inside = "default as the documents write it" => the default,
/// ```
///
/// The type inside is left out where it is the same. So is the default where its text is one that
/// could be given. It may use the settings above it.
macro_rules! settings {
    ($(
        $(#[doc = $doc:literal])+
        $(#[arg($($arg:tt)*)])?
        $(#[serde($($serde:tt)*)])?
        $key:ident ($variable:literal): $written:ty $(as $inside:ty)? = $shown:literal $(=> $default:expr)?,
    )*) => {
        /// The flags and variables of `tms serve`.
        #[derive(Args, Clone, Debug, Default)]
        pub struct ServeArgs {
            $(
                #[arg(long, env = $variable, value_name = <$written as Named>::NAME)]
                #[arg(help = help(&[$($doc),+], $shown) $(, $($arg)*)?)]
                pub $key: Option<$written>,
            )*

            /// The operator's file [default: tms.toml where it is there]
            #[arg(long, env = "TMS_CONFIG", value_name = "PATH")]
            pub config: Option<PathBuf>,

            /// The old way to say `--stop-server anyone`
            #[arg(long, hide = true, env = "TMS_ALLOW_REMOTE_STOP")]
            #[arg(num_args = 0..=1, default_missing_value = "true")]
            pub allow_remote_stop: Option<bool>,
        }

        /// `tms.toml`
        #[derive(Clone, Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub(super) struct File {
            $($(#[serde($($serde)*)])? $key: Option<$written>,)*
            /// The old way to say `stop_server = "anyone"`.
            allow_remote_stop: Option<bool>,
            /// For all models.
            limits: LimitSettings,
            /// For one model, by name.
            model: BTreeMap<String, ModelSettings>,
        }

        /// All settings, decided.
        #[derive(Clone, Debug)]
        pub struct Settings {
            $($(#[doc = $doc])+ pub $key: inside!($written $(, $inside)?),)*
            /// Whether to listen on a port: there may be Unix sockets instead.
            pub tcp: bool,
            /// Limits of all models.
            pub limits: LimitSettings,
            /// What the operator says of single models, by name.
            pub model: BTreeMap<String, ModelSettings>,
            /// What the server starts as its children: this very program. Whoever runs the server inside
            /// of another one says where it is.
            pub program: PathBuf,
        }

        impl Settings {
            /// Flags and variables first (clap has merged them), then the file, then the defaults.
            fn merge(args: ServeArgs, file: File) -> Result<Self, ConfigError> {
                let tcp = (args.listen.is_none() && file.listen.is_none())
                    || args.host.is_some()
                    || args.port.is_some()
                    || file.host.is_some()
                    || file.port.is_some();
                $(
                    let $key: inside!($written $(, $inside)?) = match args.$key.or(file.$key) {
                        Some(given) => given.into(),
                        None => default!($written, $shown $(, $default)?),
                    };
                )*
                let program = PathBuf::from("/proc/self/exe");
                Ok(Self { $($key,)* tcp, limits: file.limits, model: file.model, program })
            }
        }

        /// The settings, for the documents.
        #[cfg(test)]
        pub(super) fn rows() -> Vec<Row> {
            vec![$(Row {
                key: stringify!($key),
                variable: $variable,
                default: $shown,
                what: text(&[$($doc),+]),
            },)*]
        }
    };
}

macro_rules! inside {
    ($written:ty) => {
        $written
    };
    ($written:ty, $inside:ty) => {
        $inside
    };
}

macro_rules! default {
    ($written:ty, $shown:literal) => {
        parsed::<$written>($shown)?.into()
    };
    ($written:ty, $shown:literal, $default:expr) => {
        $default
    };
}

settings! {
    /// Folder of models: each folder in it is a model
    models ("TMS_MODELS"): PathBuf = "models",
    /// Port to listen on; 0 takes a free one
    port ("TMS_PORT"): Port as u16 = "50000",
    /// Address to listen on, such as 0.0.0.0; repeatable, or with commas; a list in tms.toml
    #[arg(value_delimiter = ',')]
    #[serde(deserialize_with = "values::several")]
    host ("TMS_HOST"): Vec<IpAddr> = "127.0.0.1 and ::1" => Vec::new(),
    /// Unix socket to listen on, such as unix:/run/tms.sock, instead of a port unless host or port is set, too
    #[arg(value_delimiter = ',')]
    #[serde(deserialize_with = "values::several")]
    listen ("TMS_LISTEN"): Vec<SocketFile> = "none" => Vec::new(),
    /// Who may connect to a Unix socket, as chmod writes it
    socket_mode ("TMS_SOCKET_MODE"): Mode as u32 = "600",
    /// File with the server's certificate, in PEM, and those between it and its authority: TLS on all addresses
    tls_cert ("TMS_TLS_CERT"): PathBuf as Option<PathBuf> = "none" => None,
    /// File with its private key, in PEM
    tls_key ("TMS_TLS_KEY"): PathBuf as Option<PathBuf> = "none" => None,
    /// File with the authorities of callers' certificates, in PEM: nobody else is let in
    tls_client_ca ("TMS_TLS_CLIENT_CA"): PathBuf as Option<PathBuf> = "none" => None,
    /// Threads that run components: each has instances of its own, connections are spread over them
    workers ("TMS_WORKERS"): Threads as usize = "one for each core" => cores(),
    /// Largest request or reply
    max_message ("TMS_MAX_MESSAGE"): Size as usize = "64 MiB",
    /// How much of a request its caller may send before the server takes it (HTTP/2's window)
    window ("TMS_WINDOW"): Window as u32 = "256 KiB",
    /// How long a request's message may take to bring its end, or 64 KiB more of it
    message_timeout ("TMS_MESSAGE_TIMEOUT"): Time as Duration = "20s",
    /// How long a caller may take nothing of its reply, before it is given up
    reply_timeout ("TMS_REPLY_TIMEOUT"): Time as Duration = "30s",
    /// How long a connection's first bytes, and the headers of a call, may take to arrive
    handshake_timeout ("TMS_HANDSHAKE_TIMEOUT"): Time as Duration = "10s",
    /// How long any other frame of HTTP/2 may take to arrive
    frame_timeout ("TMS_FRAME_TIMEOUT"): Time as Duration = "1m",
    /// How long a connection without calls stays open
    idle_timeout ("TMS_IDLE_TIMEOUT"): Time as Duration = "1h",
    /// After how long a silent caller is asked whether it is there
    keepalive ("TMS_KEEPALIVE"): Time as Duration = "2m",
    /// How long it may take to answer that
    keepalive_timeout ("TMS_KEEPALIVE_TIMEOUT"): Time as Duration = "20s",
    /// Connections at a time
    max_connections ("TMS_MAX_CONNECTIONS"): Connections as usize
        = "three quarters of the files that the process may open" => connections(),
    /// Connections of one address at a time; a network of IPv6 (/64) counts as one
    max_address_connections ("TMS_MAX_ADDRESS_CONNECTIONS"): Connections as Option<Connections>
        = "as many as there may be" => None,
    /// Calls of one connection at a time
    max_streams ("TMS_MAX_STREAMS"): Streams as u32 = "1000",
    /// Frames a second, and ten times as many at once, that a connection may send beside its calls
    max_control_frames ("TMS_MAX_CONTROL_FRAMES"): Frames as u32 = "1000",
    /// Calls a second, and ten times as many at once, that a connection may cancel beside those answered
    max_resets ("TMS_MAX_RESETS"): Frames as u32 = "200",
    /// How long calls in flight may take when the server stops
    drain_timeout ("TMS_DRAIN_TIMEOUT"): Time as Duration = "4s",
    /// Who may stop the server by calling StopServer
    #[arg(value_enum)]
    stop_server ("TMS_STOP_SERVER"): StopServer
        = "local; never where it listens beyond this machine" => StopServer::default_for(&host),
    /// Folder for compiled components, closed to other users
    cache ("TMS_CACHE"): PathBuf as Option<PathBuf>
        = "tms in the user's cache folder" => default_cache(),
    /// ONNX Runtime's library, or its folder
    onnxruntime ("TMS_ONNXRUNTIME"): PathBuf as Option<PathBuf> = "searched for" => None,
    /// Threads of native inference, shared by all graphs
    threads ("TMS_THREADS"): Threads as usize = "one for each core" => cores(),
    /// Where graphs run: in a process of each model's own, in one that all share, or in the server
    #[arg(value_enum)]
    process ("TMS_PROCESS"): Process = "shared" => Process::default(),
    /// Memory of the server itself: messages, components, tensors, replies; beyond it work is refused
    memory ("TMS_MEMORY"): Memory as Option<Memory>
        = "what native_memory leaves of the machine's or the container's" => None,
    /// Memory that native code may take, all its processes together
    native_memory ("TMS_NATIVE_MEMORY"): Size as Option<Size>
        = "three quarters of the machine's or the container's" => None,
    /// Stack of a component's code
    stack ("TMS_STACK"): Stack as usize = "1 MiB",
    /// Address and port for curl and browsers, such as 127.0.0.1:8080: JSON and gRPC-Web by HTTP/1.1; port 0 takes
    /// a free one
    http ("TMS_HTTP"): Listener as Option<SocketAddr> = "none" => None,
    /// Origin whose pages may call there, such as https://app.example, or *; repeatable, or with commas; a list in
    /// tms.toml
    #[arg(value_delimiter = ',')]
    #[serde(deserialize_with = "values::several")]
    cors ("TMS_CORS"): Vec<WebOrigin> = "none" => Vec::new(),
    /// Whether callers are told how busy the server is, for their balancers (ORCA)
    load_reports ("TMS_LOAD_REPORTS"): bool = "true",
    /// Address and port of the metrics page, such as 127.0.0.1:9090; port 0 takes a free one
    metrics ("TMS_METRICS"): Listener as Option<SocketAddr> = "none" => None,
}

impl Settings {
    /// What the arguments and the operator's file come to.
    pub fn resolve(mut args: ServeArgs) -> Result<Self, ConfigError> {
        let file: File = match &args.config {
            Some(path) => read(path)?,
            None if is_there(Path::new(DEFAULT_FILE)) => read(Path::new(DEFAULT_FILE))?,
            None => File::default(),
        };
        // The old switch where the new setting says nothing. Off as a flag, it is off in the file.
        // The old switch counts only where nobody uses the new setting: it opens what that may close.
        if args.stop_server.is_none() && file.stop_server.is_none() {
            let old = args.allow_remote_stop.or(file.allow_remote_stop);
            args.stop_server = StopServer::of_old_switch(old);
        }
        Self::merge(args, file)
    }
}

impl Settings {
    /// Bytes of memory for the server itself.
    pub fn memory(&self) -> u64 {
        let native = self.native_memory.map(|size| usize::from(size) as u64);
        let native = native.unwrap_or_else(machine::native_memory);
        let given = self.memory.map(|size| usize::from(size) as u64);
        given.unwrap_or_else(|| machine::server_memory(native))
    }

    /// The part of it that can be accounted for.
    pub fn accounted(&self) -> usize {
        usize::try_from(machine::accounted(self.memory())).unwrap_or(usize::MAX)
    }
}

/// A file that is there and cannot be read is no file that is not there: its settings may matter.
fn is_there(file: &Path) -> bool {
    !fs::symlink_metadata(file).is_err_and(|e| e.kind() == io::ErrorKind::NotFound)
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, |n| n.get())
}

/// Each takes an open file; models, children and the metrics page take the others.
fn connections() -> usize {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let files = files.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX));
    (files - files / 4).max(1)
}

/// None where the user has no home: then nothing is cached.
fn default_cache() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let base = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))?;
    Some(base.join("tms"))
}

/// A default, read as if it had been given.
fn parsed<W: FromStr>(default: &str) -> Result<W, ConfigError> {
    default.parse().map_err(|_| ConfigError {
        file: "the defaults".to_owned(),
        problem: format!("`{default}` is none"),
    })
}

/// A setting, for the documents.
#[cfg(test)]
pub(super) struct Row {
    pub key: &'static str,
    pub variable: &'static str,
    pub default: &'static str,
    pub what: String,
}

/// The lines of a comment as one.
pub(super) fn text(doc: &[&str]) -> String {
    doc.concat().trim().to_owned()
}

/// What `--help` says of a setting.
fn help(doc: &[&str], default: &str) -> String {
    format!("{} [default: {default}]", text(doc))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What these arguments and a file with this text come to.
    fn resolved(args: ServeArgs, file: &str) -> Settings {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tms.toml");
        fs::write(&path, file).unwrap();
        Settings::resolve(ServeArgs { config: Some(path), ..args }).unwrap()
    }

    fn stop_server(args: ServeArgs, file: &str) -> StopServer {
        resolved(args, file).stop_server
    }

    #[test]
    fn defaults_are_what_the_list_says() {
        let settings = resolved(ServeArgs::default(), "");
        assert_eq!(settings.models, Path::new("models"));
        assert_eq!((settings.port, settings.host.len()), (50000, 0));
        assert_eq!((settings.max_message, settings.window), (64 << 20, 256 << 10));
        assert_eq!((settings.drain_timeout, settings.stack), (Duration::from_secs(4), 1 << 20));
        assert_eq!((settings.workers, settings.threads), (cores(), cores()));
        assert_eq!((settings.onnxruntime, settings.metrics), (None, None));
    }

    #[test]
    fn arguments_come_before_the_file() {
        let file = "workers = 5\nhost = '127.0.0.2'\nmetrics = '127.0.0.1:0'\nstack = '2 MiB'";
        let args = ServeArgs { workers: Threads::new(3), ..ServeArgs::default() };
        let settings = resolved(args, file);
        assert_eq!((settings.workers, settings.stack), (3, 2 << 20));
        assert_eq!(
            settings.host,
            ["127.0.0.2".parse::<IpAddr>().unwrap()],
            "one needs no brackets"
        );
        assert_eq!(settings.metrics, "127.0.0.1:0".parse().ok());
    }

    #[test]
    fn who_may_stop_the_server_follows_from_where_it_listens() {
        let listening = |host: &[&str]| {
            let host = host.iter().map(|address| address.parse().unwrap()).collect();
            stop_server(ServeArgs { host: Some(host), ..ServeArgs::default() }, "")
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
        assert_eq!(stop_server(old(Some(true)), both), StopServer::Never, "the new one wins");
    }
}
