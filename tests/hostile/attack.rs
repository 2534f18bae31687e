//! The frame of every attack: a server with the attacker and a neighbour; while it is attacked the
//! neighbour's caller must notice nothing, and afterwards nothing of it may be left.

use std::time::Duration;

use serde_json::{Value, json};
use tms::grpc::proto::server::TextArgs;
use tonic::{Code, Request};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};

use super::{
    calm,
    neighbour::{self, Neighbour},
};
use crate::harness::{Server, Setup, client::Answer, until};

/// The model that attacks.
pub const HOSTILE: &str = "hostile";

/// The usual attack: a call of the hostile guest, which a limit stops on one server and which does
/// its work on another. Where no limit can make it legitimate, the call on the second server is what
/// comes nearest to it.
pub struct Attack {
    /// The file's name, which is the attack's.
    pub name: &'static str,
    /// The arguments of each call on the first server.
    pub tries: Vec<Value>,
    /// Lines of the model's `[limits]` on the first server: lower than the defaults only where these
    /// would be a wait.
    pub limits: &'static str,
    /// How each try ends: the status, and words of its message.
    pub status: (Code, &'static str),
    /// Lines of the model's `[limits]` on the second server.
    pub raised: &'static str,
    /// The arguments of the call on the second server, where they are not those of the first try.
    pub legitimate: Option<Value>,
    /// What both servers have besides.
    pub with: fn(Setup) -> Setup,
    /// What the second server has besides.
    pub raised_with: fn(Setup) -> Setup,
}

impl Default for Attack {
    fn default() -> Self {
        Self {
            name: "",
            tries: vec![json!({})],
            limits: "",
            status: (Code::Internal, ""),
            raised: "",
            legitimate: None,
            with: |setup| setup,
            raised_with: |setup| setup,
        }
    }
}

impl Attack {
    pub async fn run(self) {
        let (code, words) = self.status;
        under_attack((self.with)(hostile(self.limits)), async |server| {
            for args in &self.tries {
                assert_stopped(attack(server, self.name, args).await, code, words);
                assert_serves(server).await;
            }
        })
        .await;
        let args = self.legitimate.as_ref().unwrap_or(&self.tries[0]);
        let raised = (self.with)(hostile(self.raised));
        under_attack((self.raised_with)(raised), async |server| {
            let answer = attack(server, self.name, args).await;
            assert_eq!(answer.unwrap(), "done", "it does its work");
        })
        .await;
    }
}

/// The hostile guest, under these limits.
pub fn hostile(limits: &str) -> Setup {
    Setup::new()
        .component("tests/hostile/guest", HOSTILE)
        .config(&format!("[model.hostile.limits]\n{limits}"))
}

/// One call of the hostile guest.
pub async fn attack(server: &Server, name: &str, args: &Value) -> Answer {
    server.caller().await.text(HOSTILE, name, &args.to_string()).await
}

/// The call must have failed so, and say nothing of the host.
#[track_caller]
pub fn assert_stopped(answer: Answer, code: Code, words: &str) {
    let status = answer.expect_err("nothing stopped it");
    let message = status.message();
    assert_eq!(status.code(), code, "{message}");
    assert!(message.contains(words), "`{message}` lacks `{words}`");
    for word in ["0x", ".rs:", "backtrace", "wasm function", env!("CARGO_MANIFEST_DIR"), "/tmp"] {
        assert!(!message.contains(word), "`{message}` has `{word}`");
    }
    assert!(!message.contains(char::is_control), "{message:?}");
    assert!(message.len() <= 4 << 10, "{} bytes: {message}", message.len());
}

/// The model answers a call that is no attack.
pub async fn assert_serves(server: &Server) {
    let answer = attack(server, "nothing", &json!({})).await;
    assert_eq!(answer.unwrap(), "done", "the next call is answered");
}

/// Health and an answer say that the model is not there, and the log says why.
pub async fn assert_not_served(server: &Server, words: &str) {
    let answer = attack(server, "nothing", &json!({})).await;
    assert_stopped(answer, Code::Unavailable, "did not load: the server's log says why");
    assert_eq!(health(server).await, ServingStatus::NotServing);
    let log = server.log();
    let reason = log.lines().find(|line| line.contains("not served: ")).unwrap_or_default();
    assert!(reason.contains(words), "`{words}` is not why:\n{log}");
}

/// What grpc.health.v1 says of the attacker.
pub async fn health(server: &Server) -> ServingStatus {
    let request = HealthCheckRequest { service: HOSTILE.into() };
    server.caller().await.health().check(request).await.unwrap().into_inner().status()
}

/// Starts a server of this setup with a neighbour on the same and only worker, lets `attack` loose
/// on it, and checks that the neighbour's caller noticed nothing and that nothing of it is left.
pub async fn under_attack(setup: Setup, attack: impl AsyncFnOnce(&Server)) {
    let setup = setup.example(neighbour::MODEL).workers(1).arg("--metrics").arg("127.0.0.1:0");
    let server = start!(setup);
    // Both have an instance and have answered: what is measured from here on is the attack's.
    let neighbour = Neighbour::start(server.port);
    until("a neighbour's answer", async || neighbour.answers() > 0).await;
    try_call(&server, "nothing").await;
    let before = calm::resident(&server);
    attack(&server).await;
    // What an idle instance keeps, it may keep: the last one goes.
    try_call(&server, "end").await;
    neighbour.leave();
    calm::assert_calm(&server, before).await;
}

/// One call, answered or not: some attackers do not load, others attack always.
async fn try_call(server: &Server, name: &str) {
    let (text, model, args) = (name.into(), HOSTILE.into(), String::new());
    let mut request = Request::new(TextArgs { text, model, args, ..TextArgs::default() });
    request.set_timeout(Duration::from_secs(1));
    let _ = server.caller().await.server().run_text(request).await;
}
