//! The neighbour: another model on the same server, called all the time by somebody who has nothing
//! to do with the attack.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tms::grpc::proto::server::TextArgs;
use tonic::Request;

use crate::harness::Caller;

/// The neighbour's model.
pub const MODEL: &str = "example_text";
/// What its caller can wait for.
const DEADLINE: Duration = Duration::from_secs(1);
/// Between two calls: they are many, and leave the attack something of the machine.
const PAUSE: Duration = Duration::from_millis(1);

/// Calls on a thread and a connection of its own: a test that is busy must not delay it.
pub struct Neighbour {
    calls: Arc<Calls>,
    thread: Option<JoinHandle<Result<(), String>>>,
}

#[derive(Default)]
struct Calls {
    answers: AtomicU64,
    leave: AtomicBool,
}

impl Neighbour {
    pub fn start(port: u16) -> Self {
        let calls = Arc::new(Calls::default());
        let theirs = calls.clone();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(call(port, &theirs))
        });
        Self { calls, thread: Some(thread) }
    }

    pub fn answers(&self) -> u64 {
        self.calls.answers.load(Ordering::Relaxed)
    }

    /// Its caller leaves, and says what was wrong.
    pub fn leave(mut self) {
        self.calls.leave.store(true, Ordering::Relaxed);
        let thread = self.thread.take().unwrap();
        if let Err(complaint) = thread.join().unwrap() {
            panic!("the neighbour's caller: {complaint}");
        }
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        // Also where the test has failed.
        self.calls.leave.store(true, Ordering::Relaxed);
    }
}

/// One call after the other; ends with the first that is wrong or late.
async fn call(port: u16, calls: &Calls) -> Result<(), String> {
    let mut server = Caller::connect(port).await.server();
    while !calls.leave.load(Ordering::Relaxed) {
        let args = TextArgs {
            text: "hi".into(),
            model: MODEL.into(),
            args: String::new(),
            ..TextArgs::default()
        };
        let mut request = Request::new(args);
        request.set_timeout(DEADLINE);
        let started = Instant::now();
        let answer = server.run_text(request).await;
        let (number, took) = (calls.answers.load(Ordering::Relaxed) + 1, started.elapsed());
        match answer {
            Ok(answer) if answer.get_ref().data == "\"hi_processed\"" && took <= DEADLINE => {}
            other => return Err(format!("call {number}, after {took:.1?}: {other:?}")),
        }
        calls.answers.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}
