//! Native code that crashes, hangs or grows: it is in processes of its own, so that one caller's tensor
//! fails one call. The graphs are honest, and ONNX Runtime's faults are real. What the system shows of
//! the server's processes is looked at from outside.

use std::{
    collections::BTreeSet,
    os::unix::process::CommandExt,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use rustix::process::{Pid, Signal, kill_process_group};
use tms::grpc::proto::inference::{
    InferParameter, ModelInferRequest, ModelInferResponse, infer_parameter::ParameterChoice,
};
use tokio::task::JoinHandle;
use tonic::{Code, Request, Status};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};

use crate::harness::{
    Caller, Server, Setup,
    metrics::metric,
    oip::{Raw, floats, infer, input, raw, to_floats},
    processes::Process,
    until,
};

/// What the one caller hears whose tensor ends native code.
const ENDED: &str = "the native library ended while it ran graph ";
const CALM: &str = "calm";
const MIB: u64 = 1 << 20;
/// On a machine that is busy with a build, a process may take long to be there again.
const PATIENT: &str = "[limits]\ntimeout = '5m'";

fn integers(name: &str, values: &[i64]) -> Raw {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes());
    (input(name, "INT64", &[values.len() as i64]), bytes.collect())
}

fn scalar(name: &str, value: i64) -> Raw {
    (input(name, "INT64", &[]), value.to_le_bytes().to_vec())
}

fn zeros(name: &str, shape: &[i64]) -> Raw {
    floats(name, shape, &vec![0.0; shape.iter().product::<i64>() as usize])
}

/// Inputs of `div_int64`.
fn divided(a: i64, b: i64) -> Vec<Raw> {
    vec![integers("a", &[a]), integers("b", &[b])]
}

/// Inputs of `div_int64` that end the process.
fn overflow() -> Vec<Raw> {
    divided(i64::MIN, -1)
}

/// Inputs with which `expand` and `expand_max` give `mib` MiB.
fn expanded(mib: u64) -> Vec<Raw> {
    vec![floats("x", &[1], &[7.0]), integers("shape", &[(mib * MIB / 4) as i64])]
}

/// Inputs of `conv_dynamic_kernel` for which it never ends and heeds no stop.
fn endless() -> Vec<Raw> {
    vec![zeros("x", &[1, 1, 8, 8]), zeros("w", &[1, 1, 0, 0])]
}

/// Inputs of `conv_dynamic_kernel` with an answer.
fn brief() -> Vec<Raw> {
    vec![zeros("x", &[1, 1, 8, 8]), zeros("w", &[1, 1, 3, 3])]
}

/// Graphs, and inputs with which each ends its process.
fn fatal() -> Vec<(&'static str, Vec<Raw>)> {
    let int32 = |name, value: i32| (input(name, "INT32", &[1]), value.to_le_bytes().to_vec());
    vec![
        ("lstm", vec![floats("x", &[4, 0, 3], &[])]),
        ("gru", vec![floats("x", &[4, 0, 3], &[])]),
        ("unique", vec![floats("x", &[3, 0], &[])]),
        ("div_int64", overflow()),
        ("div_int32", vec![int32("a", i32::MIN), int32("b", -1)]),
        ("stft", vec![zeros("x", &[1, 16, 1]), scalar("step", 4), scalar("length", 0)]),
        ("attention", vec![floats("q", &[1, 0, 3, 0], &[]), floats("k", &[1, 0, 3, 0], &[])]),
        ("inverse", vec![floats("x", &[0, 100_000], &[])]),
    ]
}

/// A server with a calm neighbour, whose graphs are in processes of this kind.
fn setup(process: &str) -> Setup {
    Setup::new().onnxruntime().graph("two_inputs", CALM).arg("--process").arg(process).metrics()
}

fn number(reply: &ModelInferResponse) -> i64 {
    i64::from_le_bytes(reply.raw_output_contents[0][..8].try_into().unwrap())
}

#[track_caller]
fn assert_ended<T: std::fmt::Debug>(answer: Result<T, Status>) {
    let status = answer.expect_err("the call was answered");
    assert_eq!(status.code(), Code::Internal, "{status}");
    assert!(status.message().contains(ENDED), "{status}");
    let harmless = !["`/", "0x", "pid"].iter().any(|word| status.message().contains(word));
    assert!(harmless, "it tells of the host: {status}");
}

/// The caller's time is over: the server says so, or tonic, which looks at the clock itself.
#[track_caller]
fn assert_late<T: std::fmt::Debug>(answer: Result<T, Status>) {
    let late = answer.expect_err("the call was answered");
    assert!([Code::DeadlineExceeded, Code::Cancelled].contains(&late.code()), "{late}");
}

async fn health(caller: &Caller, model: &str) -> ServingStatus {
    let request = HealthCheckRequest { service: model.into() };
    caller.health().check(request).await.unwrap().into_inner().status()
}

/// A request, with the time that its caller has.
fn within(time: Duration, request: ModelInferRequest) -> Request<ModelInferRequest> {
    let mut request = Request::new(request);
    request.set_timeout(time);
    request
}

/// Callers on connections of their own, who call the neighbour again and again and look at each answer.
struct Load {
    stop: Arc<AtomicBool>,
    answers: Arc<AtomicUsize>,
    callers: Vec<JoinHandle<Vec<Status>>>,
}

impl Load {
    async fn start(server: &Server, callers: usize) -> Self {
        let (stop, answers) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let mut tasks = Vec::new();
        for number in 0..callers {
            let caller = server.caller().await;
            tasks.push(tokio::spawn(ask(caller, number as f32, stop.clone(), answers.clone())));
        }
        let load = Self { stop, answers, callers: tasks };
        load.more(callers).await;
        load
    }

    /// Waits for `answers` more, or the end of a caller who got a wrong one.
    async fn more(&self, answers: usize) {
        let wanted = self.answers.load(Ordering::Relaxed) + answers;
        until("answers to the neighbour", async || {
            self.answers.load(Ordering::Relaxed) >= wanted
                || self.callers.iter().any(JoinHandle::is_finished)
        })
        .await;
    }

    /// The number of answers, all of them right, and the calls that had none.
    async fn end(self) -> (usize, Vec<Status>) {
        self.stop.store(true, Ordering::Relaxed);
        let failures = join_all(self.callers).await.into_iter().flat_map(|task| task.unwrap());
        (self.answers.load(Ordering::Relaxed), failures.collect())
    }

    /// The same, where every call must have been answered.
    async fn unharmed(self) {
        let (answers, failures) = self.end().await;
        assert!(failures.is_empty(), "{answers} answers, but: {failures:?}");
    }
}

async fn ask(
    caller: Caller,
    mut value: f32,
    stop: Arc<AtomicBool>,
    answers: Arc<AtomicUsize>,
) -> Vec<Status> {
    let mut failures = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        value = (value + 1.0) % 1000.0;
        let inputs = vec![
            floats("a", &[1, 3], &[value, 1.0, 2.0]),
            floats("b", &[1, 3], &[3.0, value, value]),
        ];
        match infer(&caller, raw(CALM, inputs)).await {
            Ok(reply) => {
                assert_eq!(to_floats(&reply, "sum"), [value + 3.0, value + 1.0, value + 2.0]);
                assert_eq!(to_floats(&reply, "product"), [value * 3.0, value, value * 2.0]);
                answers.fetch_add(1, Ordering::Relaxed);
            }
            Err(status) => failures.push(status),
        }
        // The server has ended, or something is very wrong.
        if failures.len() == 100 {
            break;
        }
    }
    failures
}

/// Waits until at least as many children are there as there were, and none of those given. A graph whose
/// runs were lost may be alone in one for a while.
async fn replaced(server: &Server, gone: &[Process], count: usize) {
    until("a child in the place of one that ended", async || {
        let now = server.natives();
        now.len() >= count && !gone.iter().any(|gone| now.iter().any(|child| child.pid == gone.pid))
    })
    .await;
}

/// The server's children once there are `count` of them: the one that tried the libraries may still be about to end.
async fn settled(server: &Server, count: usize) -> Vec<Process> {
    until("as many children as there should be", async || server.natives().len() == count).await;
    server.natives()
}

// Where graphs are.

#[tokio::test]
async fn each_model_has_a_child_of_its_own_or_all_have_one() {
    for (process, children) in [("own", 3), ("shared", 1), ("none", 0)] {
        let setup = setup(process).graph("scalar", "one").graph("two_inputs", "two");
        let server = start!(setup);
        settled(&server, children).await;
        assert_eq!(metric(&server, "tms_native_children", &[]), children as f64, "{process}");
        Load::start(&server, 2).await.unharmed().await;
        assert_eq!(server.natives().len(), children, "{process}");
    }
}

#[tokio::test]
async fn the_operator_says_for_one_model() {
    let server = start!(
        setup("shared")
            .graph("scalar", "one")
            .graph("scalar", "two")
            .graph("div_int64", "apart")
            .config("[model.apart]\nprocess = \"own\"")
    );
    let before = server.natives();
    assert_eq!(before.len(), 2, "{before:?}");
    let caller = server.caller().await;
    assert_ended(infer(&caller, raw("apart", overflow())).await);
    until("two children", async || server.natives().len() == 2).await;
    let kept = server.natives().iter().filter(|child| before.contains(child)).count();
    assert!(kept <= 1, "none has ended");
    Load::start(&server, 1).await.unharmed().await;
}

#[tokio::test]
async fn a_setting_puts_graphs_into_the_server() {
    let server =
        start!(Setup::new().onnxruntime().graph("two_inputs", CALM).config("process = \"none\""));
    assert_eq!(server.natives(), []);
    Load::start(&server, 2).await.unharmed().await;
}

// Crashes.

/// Every kind of crash, three times, while neighbours on other connections, and callers of the same
/// graph, are served.
async fn crashes(process: &str) {
    let mut setup = setup(process).config(PATIENT);
    for (graph, _) in fatal() {
        setup = setup.graph(graph, graph);
    }
    let server = start!(setup);
    let children = server.natives().len();
    let load = Load::start(&server, 4).await;
    let caller = server.caller().await;
    let mut crashes = 0;
    for _ in 0..3 {
        for (graph, inputs) in fatal() {
            let same = server.caller().await;
            let good =
                tokio::spawn(async move { infer(&same, raw("div_int64", divided(6, 3))).await });
            assert_ended(infer(&caller, raw(graph, inputs)).await);
            assert_eq!(number(&good.await.unwrap().unwrap()), 2, "beside {graph}");
            crashes += 1;
        }
    }
    load.more(100).await;
    load.unharmed().await;
    until("all children are there again", async || server.natives().len() >= children).await;
    server.no_zombies().await;
    let deaths = metric(&server, "tms_native_deaths_total", &["cause=\"signal\""]);
    // Each call once, and once alone.
    assert!(deaths >= 2.0 * f64::from(crashes), "{deaths} deaths");
    let restarts = metric(&server, "tms_native_restarts_total", &[]);
    assert!(restarts >= f64::from(crashes), "{restarts} restarts");
    assert!(metric(&server, "tms_native_reruns_total", &[]) >= f64::from(crashes));
}

#[tokio::test]
async fn crashes_in_children_of_each_model_fail_one_call_each() {
    crashes("own").await;
}

#[tokio::test]
async fn crashes_in_a_child_of_all_fail_one_call_each() {
    crashes("shared").await;
}

#[tokio::test]
async fn an_input_without_elements_is_none_that_leads_nowhere() {
    let server = start!(setup("shared").graph("instance_norm", "instance_norm"));
    let caller = server.caller().await;
    // Channels of no values: the library reads nothing of them, but where they are.
    let empty = infer(&caller, raw("instance_norm", vec![floats("x", &[1, 2, 0], &[])])).await;
    assert_eq!(empty.unwrap().outputs[0].shape, [1, 2, 0]);
    assert_eq!(metric(&server, "tms_native_deaths_total", &[]), 0.0);
}

/// What a component's run gives may stay in the child until it is read: where another's tensor ends that child
/// in between, the call says so, and is never answered wrongly.
#[tokio::test]
async fn components_with_large_outputs_are_told_what_crashes_took() {
    let mut setup = setup("shared").guest("nn_probe").graph("identity_fp32", "nn_probe");
    for (graph, _) in fatal() {
        setup = setup.graph(graph, graph);
    }
    let server = start!(setup);
    let (stop, answers) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let mut callers = Vec::new();
    for number in 0..4u16 {
        let (caller, stop, answers) = (server.caller().await, stop.clone(), answers.clone());
        callers.push(tokio::spawn(async move {
            let values: Vec<f32> = (0..1 << 18).map(|i| i as f32 + f32::from(number)).collect();
            let mut failures = Vec::new();
            while !stop.load(Ordering::Relaxed) && failures.len() < 100 {
                let inputs = vec![floats("x", &[512, 512], &values)];
                match infer(&caller, raw("nn_probe", inputs)).await {
                    Ok(reply) => assert!(to_floats(&reply, "y") == values, "a wrong answer"),
                    Err(status) => failures.push(status),
                }
                answers.fetch_add(1, Ordering::Relaxed);
            }
            failures
        }));
    }
    let caller = server.caller().await;
    for _ in 0..3 {
        for (graph, inputs) in fatal() {
            let before = answers.load(Ordering::Relaxed);
            assert_ended(infer(&caller, raw(graph, inputs)).await);
            until("more answers", async || answers.load(Ordering::Relaxed) >= before + 4).await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    let failures: Vec<_> = join_all(callers).await.into_iter().flat_map(|c| c.unwrap()).collect();
    let lost = |status: &Status| {
        status.code() == Code::Unavailable
            && status.message().contains("a tensor was lost with the process that computed it")
    };
    assert!(failures.iter().all(lost), "{} of {answers:?} calls: {failures:?}", failures.len());
    assert!(failures.len() < answers.load(Ordering::Relaxed) / 10, "{failures:?}");
}

#[tokio::test]
async fn a_component_hears_that_native_code_ended() {
    for process in ["own", "shared"] {
        let setup = setup(process).guest("nn_probe").graph("div_int64", "nn_probe").guest("echo");
        let server = start!(setup);
        let load = Load::start(&server, 2).await;
        let caller = server.caller().await;
        // What wasi:nn says has no fault, so the guest takes it for its own.
        for (through, code) in [("wasi:nn", Code::Internal), ("graphs", Code::Unavailable)] {
            let with = |inputs| {
                let mut request = raw("nn_probe", inputs);
                let parameter_choice = Some(ParameterChoice::StringParam(through.into()));
                let through = InferParameter { parameter_choice };
                request.parameters.insert("through".into(), through);
                request
            };
            let failed = infer(&caller, with(overflow())).await.unwrap_err();
            assert!(failed.message().contains(ENDED), "{process}, {through}: {failed}");
            assert_eq!(failed.code(), code, "{process}, {through}: {failed}");
            let good = infer(&caller, with(divided(9, 3))).await.unwrap();
            assert_eq!(number(&good), 3, "{process}, {through}");
            assert_eq!(caller.text("echo", "hi", "").await.unwrap(), "hi");
        }
        load.unharmed().await;
        server.no_zombies().await;
    }
}

#[tokio::test]
async fn one_member_of_a_batch_fails_alone() {
    let rows = |x: f32, a: i64, b: i64| {
        let row = |name, value: i64| (input(name, "INT64", &[1, 1]), value.to_le_bytes().to_vec());
        vec![floats("x", &[1, 1], &[x]), row("a", a), row("b", b)]
    };
    for process in ["own", "shared"] {
        let setup = setup(process)
            .graph("fragile_rows", "rows")
            .file("rows/model.toml", "batch = true\nsessions = 1")
            .config("[limits]\ntimeout = '10m'");
        let server = start!(setup);
        let caller = server.caller().await;
        let call = |inputs| {
            let caller = caller.clone();
            tokio::spawn(async move { infer(&caller, raw("rows", inputs)).await })
        };
        // Work for longer than the others take to come.
        let many = 100_000;
        let ints = |name, value: i64| {
            let bytes = (0..many).flat_map(|_| value.to_le_bytes()).collect();
            (input(name, "INT64", &[many, 1]), bytes)
        };
        let long = call(vec![zeros("x", &[many, 1]), ints("a", 0), ints("b", 0)]);
        let busy = async || metric(&server, "tms_graph_busy_sessions", &["graph=\"rows"]) == 1.0;
        until("a busy session", busy).await;
        let bad = call(rows(1.0, i64::MIN, 1999));
        let good: Vec<_> = (1..6).map(|i| call(rows(i as f32, -2000 * i, 0))).collect();
        let waiting = async || metric(&server, "tms_graph_waiting", &["graph=\"rows"]) == 6.0;
        until("six calls that wait", waiting).await;
        long.abort();
        assert_ended(bad.await.unwrap());
        for (i, answer) in join_all(good).await.into_iter().enumerate() {
            let y = to_floats(&answer.unwrap().unwrap(), "y")[0];
            let wanted = 2.0 * (i + 1) as f32;
            assert!((y - wanted).abs() < 0.01, "{process}: {y}, not {wanted}");
        }
        assert!(metric(&server, "tms_native_reruns_total", &[]) >= 5.0, "{process}");
        server.no_zombies().await;
    }
}

#[tokio::test]
async fn a_graph_that_keeps_ending_its_process_is_refused_for_a_while() {
    for process in ["own", "shared"] {
        let server = start!(setup(process).graph("div_int64", "fragile").config(PATIENT));
        let load = Load::start(&server, 2).await;
        let caller = server.caller().await;
        let mut deaths = 0;
        let refused = loop {
            let status = infer(&caller, raw("fragile", overflow())).await.unwrap_err();
            if status.code() == Code::Unavailable {
                break status;
            }
            assert_ended(Err::<(), _>(status));
            deaths += 1;
            assert!(deaths < 100, "it is never refused");
        };
        // Every caller is refused, at once, whatever the tensor; nothing ends for that.
        let before = metric(&server, "tms_native_deaths_total", &[]);
        let began = Instant::now();
        let good = infer(&caller, raw("fragile", divided(4, 2))).await.unwrap_err();
        assert_eq!(good.code(), Code::Unavailable, "{good}");
        assert!(began.elapsed() < Duration::from_secs(1), "{process}: {:?}", began.elapsed());
        assert!(refused.message().contains("fragile"), "{refused}");
        until("the health says so", async || {
            health(&caller, "fragile").await == ServingStatus::NotServing
        })
        .await;
        assert_eq!(health(&caller, CALM).await, ServingStatus::Serving);
        assert_eq!(metric(&server, "tms_native_deaths_total", &[]), before, "{process}");
        // It recovers by itself.
        until("the graph is served again", async || {
            infer(&caller, raw("fragile", divided(4, 2))).await.is_ok_and(|y| number(&y) == 2)
        })
        .await;
        until("its health, too", async || {
            health(&caller, "fragile").await == ServingStatus::Serving
        })
        .await;
        load.unharmed().await;
        server.no_zombies().await;
    }
}

#[tokio::test]
async fn a_graph_that_ends_its_process_when_it_loads_fails_alone() {
    for process in ["own", "shared"] {
        let setup = setup(process)
            .graph("division_at_load", "bad")
            .graph("division_at_load", "worse")
            .graph("div_int64", "good")
            .graph("scalar", "simple")
            .graph("rows", "larger");
        let server = start!(setup);
        let log = server.log();
        for model in ["bad", "worse"] {
            let named = |line: &&str| line.contains(model) && line.contains("ended");
            assert!(
                log.lines().any(|line| named(&line)),
                "{process}: no reason for {model}: {log}"
            );
        }
        let caller = server.caller().await;
        for model in ["bad", "worse"] {
            let status = infer(&caller, raw(model, vec![integers("x", &[1])])).await.unwrap_err();
            assert_eq!(status.code(), Code::Unavailable, "{process}: {status}");
            assert_eq!(health(&caller, model).await, ServingStatus::NotServing);
        }
        let three = infer(&caller, raw("good", divided(9, 3))).await.unwrap();
        assert_eq!(number(&three), 3);
        for model in ["simple", "larger", "good", CALM] {
            assert_eq!(health(&caller, model).await, ServingStatus::Serving, "{process}: {model}");
        }
        Load::start(&server, 2).await.unharmed().await;
        server.no_zombies().await;
    }
}

// Children that are ended from outside.

/// Ends children at random moments under load, each when the end of the one before is over: no call was
/// under way twice in one that ended, so every call has the right answer.
async fn ended_from_outside(process: &str) {
    let server = start!(setup(process).graph("slow", "slow"));
    let least = server.natives().len();
    let load = Load::start(&server, 6).await;
    // One that is under way for long, too.
    let caller = server.caller().await;
    // Not SIGSEGV, which Rust's own handler waits for once more when it came from outside; nor SIGTERM,
    // which children leave to the server.
    let signals = [Signal::KILL, Signal::ABORT, Signal::FPE, Signal::ILL];
    let mut pseudo_random = 1u64;
    let mut random = |below: u64| {
        pseudo_random = pseudo_random.wrapping_mul(6364136223846793005).wrapping_add(1442695);
        (pseudo_random >> 33) % below
    };
    for round in 0..40 {
        let work = zeros("x", &[200, 200]);
        let slow = caller.clone();
        let slow = tokio::spawn(async move { infer(&slow, raw("slow", vec![work])).await });
        tokio::time::sleep(Duration::from_micros(random(20_000))).await;
        let natives = server.natives();
        let Some(victim) = natives.get(random(natives.len().max(1) as u64) as usize) else {
            continue;
        };
        victim.signal(signals[round % signals.len()]);
        replaced(&server, std::slice::from_ref(victim), least).await;
        load.more(12).await;
        // It was under way in that child once at most.
        let y = slow.await.unwrap().unwrap_or_else(|status| panic!("round {round}: {status}"));
        assert_eq!(to_floats(&y, "y").len(), 40_000);
    }
    load.more(100).await;
    load.unharmed().await;
    server.no_zombies().await;
}

#[tokio::test]
async fn children_of_each_model_ended_from_outside_lose_no_call() {
    ended_from_outside("own").await;
}

#[tokio::test]
async fn a_child_of_all_ended_from_outside_loses_no_call() {
    ended_from_outside("shared").await;
}

#[tokio::test]
async fn children_that_end_again_and_again_are_started_again_and_again() {
    let server = start!(setup("shared"));
    let load = Load::start(&server, 4).await;
    let mut seen = BTreeSet::new();
    // Each as soon as it is seen, also while it starts and before it has a session.
    until("many children", async || {
        for child in server.natives() {
            child.signal(Signal::KILL);
            seen.insert(child.pid);
        }
        seen.len() >= 6
    })
    .await;
    let (_, failures) = load.end().await;
    for status in failures {
        let codes = [Code::Internal, Code::Unavailable, Code::DeadlineExceeded];
        assert!(codes.contains(&status.code()), "{status}");
    }
    until("the neighbour is served again", async || {
        let inputs = vec![zeros("a", &[1, 3]), zeros("b", &[1, 3])];
        infer(&server.caller().await, raw(CALM, inputs)).await.is_ok()
    })
    .await;
    Load::start(&server, 4).await.unharmed().await;
    server.no_zombies().await;
}

#[tokio::test]
async fn a_child_that_is_stopped_is_replaced_after_the_models_time() {
    let server = start!(setup("shared").config("[limits]\ntimeout = '1s'"));
    let stopped = server.natives();
    stopped.iter().for_each(|child| child.signal(Signal::STOP));
    let caller = server.caller().await;
    let inputs = || vec![zeros("a", &[1, 3]), zeros("b", &[1, 3])];
    let late = infer(&caller, raw(CALM, inputs())).await.unwrap_err();
    assert_eq!(late.code(), Code::DeadlineExceeded, "{late}");
    replaced(&server, &stopped, 1).await;
    until("an answer", async || infer(&caller, raw(CALM, inputs())).await.is_ok()).await;
    Load::start(&server, 4).await.unharmed().await;
    server.no_zombies().await;
}

// Time.

#[tokio::test]
async fn a_run_that_heeds_no_stop_ends_with_its_process() {
    for process in ["own", "shared"] {
        let setup = setup(process)
            .graph("conv_dynamic_kernel", "conv")
            .file("conv/model.toml", "sessions = 1")
            .config("[model.conv.limits]\ntimeout = '2s'");
        let server = start!(setup);
        let count = if process == "own" { 2 } else { 1 };
        let before = settled(&server, count).await;
        let load = Load::start(&server, 4).await;
        let caller = server.caller().await;
        let began = Instant::now();
        let request = within(Duration::from_millis(200), raw("conv", endless()));
        assert_late(caller.inference().model_infer(request).await);
        assert!(began.elapsed() < Duration::from_millis(1900), "{:?}", began.elapsed());
        // Its child goes on until its model's time is over.
        assert_eq!(server.natives(), before, "{process}");
        // The next call waits for the only session, within a deadline that allows that.
        until("the next call's answer", async || {
            infer(&caller, raw("conv", brief())).await.is_ok()
        })
        .await;
        assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
        until("all children", async || server.natives().len() >= count).await;
        let gone = before.iter().filter(|child| !child.exists()).count();
        assert_eq!(gone, 1, "{process}: the one that hung, and no other");
        assert_eq!(metric(&server, "tms_native_deaths_total", &["cause=\"overrun\""]), 1.0);
        load.unharmed().await;
        server.no_zombies().await;
    }
}

#[tokio::test]
async fn a_second_session_serves_while_the_first_hangs() {
    let setup = setup("own")
        .graph("conv_no_channels", "conv")
        .file("conv/model.toml", "sessions = 2")
        .arg("--threads")
        .arg("2")
        .config("[limits]\ntimeout = '10m'");
    let server = start!(setup);
    let caller = server.caller().await;
    let hangs = vec![floats("x", &[1, 0, 8, 8], &[]), floats("w", &[1, 0, 3, 3], &[])];
    let request = within(Duration::from_millis(200), raw("conv", hangs));
    assert_late(caller.inference().model_infer(request).await);
    let good = || vec![zeros("x", &[1, 1, 8, 8]), zeros("w", &[1, 1, 3, 3])];
    for _ in 0..10 {
        let reply = infer(&caller, raw("conv", good())).await.unwrap();
        assert_eq!(reply.outputs[0].shape, [1, 1, 8, 8]);
    }
}

#[tokio::test]
async fn callers_with_little_time_end_no_child() {
    let setup = setup("shared").graph("slow", "slow").graph("growing_loop", "loop");
    let server = start!(setup);
    let before = server.natives();
    let load = Load::start(&server, 2).await;
    let caller = server.caller().await;
    for round in 0..30 {
        let loops = vec![scalar("times", 1 << 40), zeros("start", &[1024])];
        let (model, inputs) = match round % 2 {
            0 => ("slow", vec![zeros("x", &[1500, 1500])]),
            _ => ("loop", loops),
        };
        let request = within(Duration::from_millis(30), raw(model, inputs));
        // One with all the time, who leaves.
        let leaver = caller.clone();
        let gone = tokio::spawn(async move {
            drop(infer(&leaver, raw("slow", vec![zeros("x", &[1500, 1500])])).await);
        });
        assert_late(caller.inference().model_infer(request).await);
        gone.abort();
    }
    // Not refused either.
    for (model, inputs) in [
        ("slow", vec![zeros("x", &[2, 2])]),
        ("loop", vec![scalar("times", 2), zeros("start", &[1024])]),
    ] {
        assert!(infer(&caller, raw(model, inputs)).await.is_ok(), "{model}");
    }
    load.unharmed().await;
    assert_eq!(server.natives(), before);
    assert_eq!(metric(&server, "tms_native_deaths_total", &[]), 0.0);
}

// Memory.

#[tokio::test]
async fn a_run_that_wants_more_memory_than_there_is_fails_alone() {
    for process in ["own", "shared"] {
        let setup =
            setup(process).graph("expand_max", "expand").arg("--native-memory").arg("1 GiB");
        let server = start!(setup);
        let before = server.natives();
        let load = Load::start(&server, 4).await;
        let caller = server.caller().await;
        for _ in 0..5 {
            let refused = infer(&caller, raw("expand", expanded(2000))).await.unwrap_err();
            assert_eq!(refused.code(), Code::ResourceExhausted, "{process}: {refused}");
            let small = infer(&caller, raw("expand", expanded(1))).await.unwrap();
            assert_eq!(to_floats(&small, "y"), [7.0]);
        }
        // One allocation failed, nothing ended.
        assert_eq!(server.natives(), before, "{process}");
        load.unharmed().await;
    }
}

#[tokio::test]
async fn a_run_that_grows_without_end_ends_alone() {
    for process in ["own", "shared"] {
        let setup = setup(process)
            .graph("growing_loop", "loop")
            .arg("--native-memory")
            .arg("300 MiB")
            .config("[limits]\ntimeout = '10m'");
        let server = start!(setup);
        let load = Load::start(&server, 4).await;
        let caller = server.caller().await;
        let inputs = || vec![scalar("times", 1 << 40), zeros("start", &[1024])];
        let status = infer(&caller, raw("loop", inputs())).await.unwrap_err();
        // Refused memory, or ended for it.
        let named = status.code() == Code::ResourceExhausted
            || (status.code() == Code::Internal && status.message().contains(ENDED));
        assert!(named, "{process}: {status}");
        let small = vec![scalar("times", 2), zeros("start", &[1024])];
        assert!(infer(&caller, raw("loop", small)).await.is_ok(), "{process}");
        load.unharmed().await;
        assert!(server.memory() < 800 * MIB, "{process}: {} MiB", server.memory() / MIB);
        server.no_zombies().await;
    }
}

#[tokio::test]
async fn what_a_large_run_took_goes_back() {
    for process in ["own", "shared"] {
        let server = start!(setup(process).graph("expand_max", "expand").graph("expand", "wide"));
        let caller = server.caller().await;
        // What a first call makes is not what a large one leaves.
        let small = infer(&caller, raw("expand", expanded(1))).await.unwrap();
        assert_eq!(to_floats(&small, "y"), [7.0]);
        infer(&caller, raw("wide", expanded(1))).await.unwrap();
        Load::start(&server, 4).await.unharmed().await;
        let before = server.memory();
        let back = async |what: &str| {
            let began = Instant::now();
            let most = before + 64 * MIB;
            until(what, async || server.memory() <= most).await;
            assert!(began.elapsed() < Duration::from_secs(10), "{process}: {:?}", began.elapsed());
        };
        let large = infer(&caller, raw("expand", expanded(1000))).await.unwrap();
        assert_eq!(to_floats(&large, "y"), [7.0]);
        back("the memory of a large step on the way").await;
        // Larger than an answer may be, which shows when it is there.
        infer(&caller, raw("wide", expanded(1000))).await.unwrap_err();
        back("the memory of an answer that was too large").await;
        let answered = infer(&caller, raw("wide", expanded(40))).await.unwrap();
        assert_eq!(answered.raw_output_contents[0].len() as u64, 40 * MIB);
        drop(answered);
        back("the memory of a large answer").await;
    }
}

// The end of the server.

#[tokio::test]
async fn no_process_outlives_the_server() {
    for process in ["own", "shared"] {
        for signal in [Signal::KILL, Signal::TERM] {
            let setup = setup(process)
                .graph("div_int64", "fragile")
                .graph("conv_dynamic_kernel", "conv")
                .graph("slow", "slow")
                .arg("--drain-timeout")
                .arg("1s");
            let mut server = start!(setup);
            let caller = server.caller().await;
            assert_ended(infer(&caller, raw("fragile", overflow())).await);
            let load = Load::start(&server, 4).await;
            // Runs that heed a stop, and one that does not.
            for (model, inputs) in [("conv", endless()), ("slow", vec![zeros("x", &[3000, 3000])])]
            {
                let caller = caller.clone();
                tokio::spawn(async move { drop(infer(&caller, raw(model, inputs)).await) });
            }
            until("busy sessions", async || {
                let busy = |model| metric(&server, "tms_graph_busy_sessions", &[model]) >= 1.0;
                busy("graph=\"conv") && busy("graph=\"slow")
            })
            .await;
            let all = server.children();
            assert!(!all.is_empty());
            server.signal(signal);
            server.exit().await;
            // The number of a process that has just been started may be missing from the list above,
            // so its parent is looked for, too.
            until("no process of it", async || {
                all.iter().all(|child| !child.exists()) && server.children().is_empty()
            })
            .await;
            drop(load.end().await);
        }
    }
}

#[tokio::test]
async fn a_terminals_signal_to_all_processes_loses_no_call() {
    // As Ctrl-C sends it: to the server and to all that it has started.
    let setup = setup("shared").graph("slow", "slow").arg("--drain-timeout").arg("60s");
    let own_group = |mut command: Command| {
        command.process_group(0);
        command
    };
    let Some(mut server) = setup.start_by(own_group).await else { return };
    let caller = server.caller().await;
    let call =
        tokio::spawn(
            async move { infer(&caller, raw("slow", vec![zeros("x", &[600, 600])])).await },
        );
    let busy = async || metric(&server, "tms_graph_busy_sessions", &["graph=\"slow"]) == 1.0;
    until("a busy session", busy).await;
    kill_process_group(Pid::from_raw(server.pid() as i32).unwrap(), Signal::INT).unwrap();
    assert_eq!(call.await.unwrap().unwrap().outputs[0].shape, [600, 600]);
    assert_eq!(server.exit().await.code(), Some(0));
}

#[tokio::test]
async fn a_server_that_is_killed_while_it_loads_leaves_no_process() {
    let Some(mut server) = setup("own").graph("rows", "rows").graph("slow", "slow").begin().await
    else {
        return;
    };
    until("a child", async || !server.children().is_empty()).await;
    let all = server.children();
    server.signal(Signal::KILL);
    server.exit().await;
    until("no process of it", async || all.iter().all(|child| !child.exists())).await;
}
