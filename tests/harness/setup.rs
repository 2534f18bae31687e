//! A temporary folder with models and settings, from which a server is started.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use super::{guests, repository, server::Server, skip};

/// What a server finds: `models/`, `tms.toml`, arguments and variables. The server's working folder
/// is the temporary one.
pub struct Setup {
    pub folder: TempDir,
    toml: String,
    args: Vec<String>,
    env: Vec<(String, String)>,
    /// False where something is missing that the test needs.
    complete: bool,
}

impl Setup {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("models")).unwrap();
        Self { folder, toml: String::new(), args: Vec::new(), env: Vec::new(), complete: true }
    }

    /// A folder or file below `models`.
    pub fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join("models").join(path)
    }

    /// A guest of tests/guests under its own name.
    pub fn guest(self, name: &str) -> Self {
        self.guest_as(name, name)
    }

    /// A guest of tests/guests under another name.
    pub fn guest_as(self, guest: &str, name: &str) -> Self {
        self.component(&format!("tests/guests/{guest}"), name)
    }

    /// The component of a folder of the repository.
    pub fn component(mut self, folder: &str, name: &str) -> Self {
        self.complete &= guests::built();
        self.link(&repository().join(folder).join("model.wasm"), name);
        self
    }

    /// A model of models/, with its component and its graphs.
    pub fn example(mut self, name: &str) -> Self {
        self.complete &= guests::built();
        for entry in fs::read_dir(repository().join("models").join(name)).unwrap() {
            let file = entry.unwrap().path();
            if file.extension().is_some_and(|e| e == "wasm" || e == "onnx") {
                self.link(&file, name);
            }
        }
        self
    }

    /// A graph of tests/data/graphs, as the graph `model` of a model.
    pub fn graph(self, graph: &str, model: &str) -> Self {
        let file = repository().join(format!("tests/data/graphs/{graph}.onnx"));
        let to = self.path(model);
        fs::create_dir_all(&to).unwrap();
        symlink(file, to.join("model.onnx")).unwrap();
        self
    }

    fn link(&self, file: &Path, model: &str) {
        let folder = self.path(model);
        fs::create_dir_all(&folder).unwrap();
        symlink(file, folder.join(file.file_name().unwrap())).unwrap();
    }

    /// A file below `models`, such as `echo/model.toml`.
    pub fn file(self, path: &str, contents: impl AsRef<[u8]>) -> Self {
        let file = self.path(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, contents).unwrap();
        self
    }

    /// Lines of `tms.toml`.
    pub fn config(mut self, toml: &str) -> Self {
        self.toml += toml;
        self.toml += "\n";
        self
    }

    pub fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.into());
        self
    }

    /// A folder for compiled code, in place of the one that all tests share.
    pub fn cache(self, folder: &Path) -> Self {
        // A flag beats the variable.
        self.arg("--cache").arg(folder.to_str().unwrap())
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// With metrics on a free port.
    pub fn metrics(self) -> Self {
        self.arg("--metrics").arg("127.0.0.1:0")
    }

    pub fn workers(self, count: usize) -> Self {
        self.arg("--workers").arg(&count.to_string())
    }

    /// Says that the test needs ONNX Runtime.
    pub fn onnxruntime(mut self) -> Self {
        match onnxruntime() {
            Some(library) => self.env("TMS_ONNXRUNTIME", library.to_str().unwrap()),
            None => {
                skip("ONNX Runtime: neither TMS_ONNXRUNTIME nor .onnxruntime names it");
                self.complete = false;
                self
            }
        }
    }

    /// The server, once it is ready.
    pub async fn start(self) -> Option<Server> {
        if !self.complete {
            return None;
        }
        let command = self.command();
        Some(Server::start(command, self.folder).await)
    }

    /// The server, once it is ready, started by a command made of the usual one.
    pub async fn start_by(self, change: impl FnOnce(Command) -> Command) -> Option<Server> {
        if !self.complete {
            return None;
        }
        let command = change(self.command());
        Some(Server::start(command, self.folder).await)
    }

    /// The server, once it takes calls: some models may still load.
    pub async fn begin(self) -> Option<Server> {
        if !self.complete {
            return None;
        }
        let command = self.command();
        Some(Server::begin(command, self.folder).await)
    }

    /// The server's process, with these streams in place of the files that are read elsewhere, and
    /// its folder.
    pub fn spawn(self, stdout: Stdio, stderr: Stdio) -> Option<(Child, TempDir)> {
        if !self.complete {
            return None;
        }
        let mut command = self.command();
        let child = command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).spawn().unwrap();
        Some((child, self.folder))
    }

    /// What a server that refuses to start says last; the folder's own path reads `DIR`.
    pub fn refused(&self) -> Option<String> {
        if !self.complete {
            return None;
        }
        let output = self.command().stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "it did not refuse:\n{said}");
        assert!(output.stdout.is_empty(), "it said that it was ready");
        let folder = self.folder.path().to_str().unwrap();
        // The log comes first; the reason may have several lines.
        let reason = said.find("tms: ").map(|start| &said[start..]);
        Some(reason.unwrap_or(&said).trim_end().replace(folder, "DIR"))
    }

    /// `tms serve` on a free port, with nothing of this process's settings.
    fn command(&self) -> Command {
        fs::write(self.folder.path().join("tms.toml"), &self.toml).unwrap();
        let mut command = tms();
        command
            .arg("serve")
            .args(&self.args)
            .current_dir(self.folder.path())
            // Code compiled for one test, or by an earlier run, serves the others.
            .env("TMS_CACHE", Path::new(env!("CARGO_TARGET_TMPDIR")).join("code"))
            .envs(self.env.iter().map(|(name, value)| (name, value)));
        let has_port = self.args.iter().any(|arg| arg == "--port" || arg == "--listen")
            || self.toml.contains("port =");
        if !has_port {
            command.args(["--port", "0"]);
        }
        command
    }
}

/// The binary, with none of the variables that would set it up.
pub fn tms() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tms"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TMS_") {
            command.env_remove(name);
        }
    }
    command
}

/// ONNX Runtime's library: the environment's, or the one in the repository.
pub fn onnxruntime() -> Option<PathBuf> {
    let named = std::env::var_os("TMS_ONNXRUNTIME").map(PathBuf::from);
    let ours = repository().join(".onnxruntime");
    named.or_else(|| ours.is_dir().then_some(ours))
}
