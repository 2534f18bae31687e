//! The metrics page: each metric moves when that happens which its help names, and none is left out.

use std::{cell::RefCell, collections::BTreeSet, fs};

use tms::grpc::proto::server::{Sequence, TextArgs};
use tokio::task::JoinHandle;

use crate::harness::{
    Caller, Server, Setup,
    metrics::{metric, names},
    oip::{floats, infer, input, raw},
    pixels, repository, until,
};

/// The page of a server, and which of its metrics have been looked at.
struct Page<'a> {
    server: &'a Server,
    seen: RefCell<BTreeSet<String>>,
}

impl Page<'_> {
    /// The value of a metric for a model or graph.
    fn value(&self, name: &str, label: &str) -> f64 {
        // A counter's samples have an ending that its name has not; so has a histogram's.
        let ends = ["_total", "_sum", "_count"];
        let known = ends.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        self.seen.borrow_mut().insert(known.into());
        metric(self.server, name, &[label])
    }

    /// The number of a model's calls that have ended so.
    fn calls(&self, model: &str, outcome: &str) -> f64 {
        self.seen.borrow_mut().insert("tms_calls".into());
        let labels = [format!("model=\"{model}\""), format!("outcome=\"{outcome}\"")];
        metric(self.server, "tms_calls_total", &labels.each_ref().map(String::as_str))
    }

    async fn until(&self, name: &str, label: &str, value: f64) {
        until(&format!("{name} = {value}"), async || self.value(name, label) == value).await;
    }
}

/// A call of the guest `faults` that goes on until it is aborted.
fn endless(caller: &Caller) -> JoinHandle<()> {
    let caller = caller.clone();
    tokio::spawn(async move { drop(caller.fault(r#""do": "sleep", "ms": 600000"#).await) })
}

/// A run of the graph `slow` or `unstoppable`: 64 products of a square matrix of this size.
fn run(caller: &Caller, graph: &'static str, size: i64) -> JoinHandle<()> {
    let caller = caller.clone();
    let work = floats("x", &[size, size], &vec![0.0; (size * size) as usize]);
    tokio::spawn(async move { drop(infer(&caller, raw(graph, vec![work])).await) })
}

#[tokio::test]
async fn every_metric_moves_as_its_help_says() {
    let setup = Setup::new()
        .onnxruntime()
        .guest("faults")
        .guest("hoarder")
        .guest("echo")
        .guest("pixels")
        .guest("commands")
        .graph("slow", "slow")
        .file("slow/model.toml", "sessions = 1")
        .graph("slow", "unstoppable")
        .file("unstoppable/model.toml", "backend = 'tract'")
        .graph("div_int64", "fragile")
        .config("[limits]\ntimeout = '10m'\nlog_lines = 3\nmax_instances = 1\nmax_failures = 2")
        .workers(1)
        .metrics();
    let server = start!(setup);
    let page = Page { server: &server, seen: RefCell::default() };
    let caller = server.caller().await;
    calls_and_instances(&page, &caller).await;
    data(&page, &caller).await;
    sequences(&page, &caller).await;
    graphs(&page, &caller).await;
    natives(&page, &caller).await;
    failures(&page, &caller).await;
    memory(&page);
    connections(&page).await;
    // It moves where nobody reads the log, which has tests of its own.
    assert_eq!(page.value("tms_log_lines_lost_total", ""), 0.0);
    let names = names(&server);
    assert_eq!(*page.seen.borrow(), names, "those looked at, and those there are");
    let document = fs::read_to_string(repository().join("docs/configuration.md")).unwrap();
    for name in names {
        assert!(document.contains(&format!("`{name}")), "{name} is in no document");
    }
}

async fn calls_and_instances(page: &Page<'_>, caller: &Caller) {
    let faults = r#"model="faults""#;
    let created = page.value("tms_instances_created_total", faults);
    let discarded = page.value("tms_instances_discarded_total", faults);
    assert_eq!(caller.fault(r#""do": "nothing""#).await.unwrap(), "done");
    assert_eq!(page.calls("faults", "ok"), 1.0);
    page.until("tms_instances_idle", faults, 1.0).await;
    // One call has the only instance, one waits for it.
    let first = endless(caller);
    page.until("tms_calls_in_flight", faults, 1.0).await;
    assert_eq!(page.value("tms_instances_idle", faults), 0.0);
    let second = endless(caller);
    page.until("tms_calls_waiting", faults, 1.0).await;
    second.abort();
    page.until("tms_calls_waiting", faults, 0.0).await;
    page.until("tms_calls_left_total", faults, 1.0).await;
    assert_eq!(page.calls("faults", "cancelled"), 1.0);
    // An instance in the middle of a call is of no use to another.
    first.abort();
    page.until("tms_calls_in_flight", faults, 0.0).await;
    page.until("tms_instances_discarded_total", faults, discarded + 1.0).await;
    assert_eq!(page.calls("faults", "cancelled"), 2.0);
    assert_eq!(caller.fault(r#""do": "nothing""#).await.unwrap(), "done");
    assert_eq!(page.value("tms_instances_created_total", faults), created + 1.0);
}

async fn data(page: &Page<'_>, caller: &Caller) {
    // Five lines, of which three are allowed; the next call counts the others.
    assert_eq!(caller.fault(r#""do": "log""#).await.unwrap(), "done");
    assert_eq!(caller.fault(r#""do": "nothing""#).await.unwrap(), "done");
    assert_eq!(page.value("tms_log_lines_dropped_total", r#"model="faults""#), 2.0);
    // One keeps a tensor from its start on, the other gives back what it was given.
    assert!(page.value("tms_tensor_bytes", r#"model="hoarder""#) > 0.0);
    let image = caller.image("echo", pixels(200, 150, 3)).await.unwrap();
    assert!(image.image.is_some());
    page.until("tms_tensor_bytes", r#"model="echo""#, 0.0).await;
    // It need not read an image for that.
    assert_eq!(page.value("tms_bytes_read_total", r#"model="echo""#), 0.0);
    caller.image("pixels", pixels(200, 150, 3)).await.unwrap();
    assert_eq!(page.value("tms_bytes_read_total", r#"model="pixels""#), 200.0 * 150.0 * 3.0);
}

async fn sequences(page: &Page<'_>, caller: &Caller) {
    let commands = r#"model="commands""#;
    let call = async |start, end| {
        let sequence = Some(Sequence { id: "a".into(), start, end });
        let (text, model) = ("count".into(), "commands".into());
        let args = TextArgs { text, model, sequence, ..TextArgs::default() };
        caller.server().run_text(args).await.unwrap();
    };
    call(true, false).await;
    assert_eq!(page.value("tms_sequences_open", commands), 1.0);
    call(false, true).await;
    page.until("tms_sequences_open", commands, 0.0).await;
}

async fn graphs(page: &Page<'_>, caller: &Caller) {
    let slow = r#"graph="slow"#;
    run(caller, "slow", 1).await.unwrap();
    assert_eq!(page.value("tms_graph_runs_total", slow), 1.0);
    assert_eq!(page.value("tms_graph_batch_count", slow), 1.0);
    assert_eq!(page.value("tms_graph_batch_sum", slow), 1.0);
    let first = run(caller, "slow", 3000);
    page.until("tms_graph_busy_sessions", slow, 1.0).await;
    let second = run(caller, "slow", 1);
    page.until("tms_graph_waiting", slow, 1.0).await;
    second.abort();
    page.until("tms_graph_waiting", slow, 0.0).await;
    page.until("tms_graph_calls_left_total", slow, 1.0).await;
    first.abort();
    page.until("tms_graph_busy_sessions", slow, 0.0).await;
    assert_eq!(page.value("tms_graph_runs_total", slow), 2.0, "who left has not run");
    // A run of tract goes on when nobody waits for it any more.
    let unstoppable = r#"graph="unstoppable"#;
    let left = run(caller, "unstoppable", 400);
    page.until("tms_graph_busy_sessions", unstoppable, 1.0).await;
    left.abort();
    page.until("tms_graph_abandoned_calls", unstoppable, 1.0).await;
    page.until("tms_graph_abandoned_calls", unstoppable, 0.0).await;
}

/// Instances have memory; what is refused has tests of its own.
fn memory(page: &Page<'_>) {
    let limit = page.value("tms_memory_limit_bytes", "");
    let guests = page.value("tms_memory_bytes", "account=\"guests\"");
    assert!(guests > 0.0 && guests < limit, "{guests} of {limit}");
    assert_eq!(page.value("tms_memory_refused_total", ""), 0.0);
}

async fn natives(page: &Page<'_>, caller: &Caller) {
    page.until("tms_native_children", "", 1.0).await;
    assert!(page.value("tms_native_memory_bytes", "") > 0.0);
    assert!(page.value("tms_native_shared_bytes", "") > 0.0);
    // Nothing is kept when no component runs.
    assert_eq!(page.value("tms_native_kept_bytes", ""), 0.0);
    for name in ["tms_native_deaths_total", "tms_native_restarts_total", "tms_native_reruns_total"]
    {
        assert_eq!(page.value(name, ""), 0.0, "{name}");
    }
    // The lowest integer divided by -1 ends its process, and once more when it is alone.
    let integer = |name, value: i64| (input(name, "INT64", &[1]), value.to_le_bytes().to_vec());
    let overflow = vec![integer("a", i64::MIN), integer("b", -1)];
    infer(caller, raw("fragile", overflow)).await.unwrap_err();
    page.until("tms_native_deaths_total", r#"cause="signal""#, 2.0).await;
    page.until("tms_native_reruns_total", "", 1.0).await;
    until("another process", async || page.value("tms_native_restarts_total", "") >= 1.0).await;
}

async fn failures(page: &Page<'_>, caller: &Caller) {
    let faults = r#"model="faults""#;
    for (what, outcome) in
        [("caller_error", "caller"), ("model_error", "model"), ("server_error", "server")]
    {
        caller.fault(&format!(r#""do": "{what}""#)).await.unwrap_err();
        assert_eq!(page.calls("faults", outcome), 1.0, "{what}");
    }
    assert_eq!(page.value("tms_breaker_opened_total", faults), 0.0);
    for _ in 0..2 {
        caller.fault(r#""do": "panic""#).await.unwrap_err();
    }
    assert_eq!(page.calls("faults", "trap"), 2.0);
    assert_eq!(page.value("tms_breaker_opened_total", faults), 1.0);
    assert_eq!(page.value("tms_model_refused", faults), 1.0);
    caller.fault(r#""do": "nothing""#).await.unwrap_err();
    assert_eq!(page.calls("faults", "unavailable"), 1.0);
    page.until("tms_model_refused", faults, 0.0).await;
}

async fn connections(page: &Page<'_>) {
    let open = page.value("tms_connections", "");
    let left = r#"reason="caller""#;
    let before = page.value("tms_connections_closed_total", left);
    let caller = page.server.caller().await;
    page.until("tms_connections", "", open + 1.0).await;
    drop(caller);
    page.until("tms_connections_closed_total", left, before + 1.0).await;
    assert_eq!(page.value("tms_connections", ""), open);
    // Replies that nobody takes have tests of their own.
    assert_eq!(page.value("tms_replies_untaken_total", ""), 0.0);
}
