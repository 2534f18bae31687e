//! What the server counts, for Prometheus: what became of calls, and what is going on now.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};

use crate::{
    ledger::{Account, Ledger},
    logging,
    models::{Body, Model, outcome::Outcome},
    nn::{NativeStats, QueueStats},
    repository::Catalogue,
    sandbox::{Guest, Usage},
    schedule::Pool,
};

use super::{Callers, Measured};

/// A registry of what goes on in the catalogue, of what is charged to the ledger, and of connections.
pub(super) fn registry(measured: Measured) -> Registry {
    let Measured { catalogue, ledger, callers } = measured;
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Now(catalogue)));
    registry.register_collector(Box::new(Memory(ledger)));
    registry.register_collector(Box::new(CallersNow(callers)));
    registry
}

/// All metrics as Prometheus reads them (OpenMetrics 1.0 text).
pub fn encode(registry: &Registry) -> Result<String, fmt::Error> {
    let mut metrics = String::new();
    text::encode(&mut metrics, registry)?;
    Ok(metrics)
}

/// Of exemplars, which there are none of.
type NoLabels = [(&'static str, &'static str); 0];

/// What goes on at the moment of reading.
struct Now(Arc<Catalogue>);

impl fmt::Debug for Now {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Now")
    }
}

/// A metric of each model that has a component.
type OfModel = fn(&Model) -> Option<u64>;
/// A metric of each graph.
type OfGraph = fn(QueueStats) -> u64;

const MODEL: [(&str, &str, MetricType, OfModel); 12] = [
    (
        "tms_breaker_opened",
        "Times that a model began to be refused after too many failures in a row",
        MetricType::Counter,
        |model| match &model.body {
            Body::Component(component) => Some(component.openings()),
            Body::Graph(_) => None,
        },
    ),
    ("tms_calls_in_flight", "Calls that have an instance", MetricType::Gauge, |model| {
        Some(pool(model)?.busy() as u64)
    }),
    ("tms_calls_waiting", "Calls that wait for an instance", MetricType::Gauge, |model| {
        Some(pool(model)?.waiting() as u64)
    }),
    ("tms_calls_left", "Callers that left the queue", MetricType::Counter, |model| {
        Some(pool(model)?.left())
    }),
    ("tms_sequences_open", "Open sequences and sessions", MetricType::Gauge, |model| match &model
        .body
    {
        Body::Component(component) => Some(component.sequences().count() as u64),
        Body::Graph(_) => None,
    }),
    ("tms_instances_idle", "Instances kept for the next call", MetricType::Gauge, |model| {
        Some(pool(model)?.idle() as u64)
    }),
    ("tms_instances_created", "Instances started", MetricType::Counter, |model| {
        Some(usage(model)?.instances_created.load(Relaxed))
    }),
    ("tms_instances_discarded", "Instances thrown away", MetricType::Counter, |model| {
        Some(usage(model)?.instances_discarded.load(Relaxed))
    }),
    ("tms_tensor_bytes", "Bytes of tensors that instances hold", MetricType::Gauge, |model| {
        Some(usage(model)?.tensor_bytes.load(Relaxed) as u64)
    }),
    ("tms_bytes_read", "Bytes copied into guests", MetricType::Counter, |model| {
        Some(usage(model)?.bytes_read.load(Relaxed))
    }),
    ("tms_log_lines_dropped", "Log lines over a call's limit", MetricType::Counter, |model| {
        Some(usage(model)?.log_lines_dropped.load(Relaxed))
    }),
    ("tms_model_refused", "1 while refused after failures", MetricType::Gauge, |model| {
        pool(model)?;
        Some(model.refuses().is_some().into())
    }),
];

const GRAPH: [(&str, &str, MetricType, OfGraph); 5] = [
    ("tms_graph_runs", "Native runs begun", MetricType::Counter, |now| now.runs),
    ("tms_graph_waiting", "Calls that wait for a session", MetricType::Gauge, |now| {
        now.waiting as u64
    }),
    ("tms_graph_calls_left", "Callers that left the queue", MetricType::Counter, |now| now.left),
    ("tms_graph_busy_sessions", "Sessions that run", MetricType::Gauge, |now| now.busy as u64),
    (
        "tms_graph_abandoned_calls",
        "Calls that run although their caller has left",
        MetricType::Gauge,
        |now| now.abandoned as u64,
    ),
];

fn pool(model: &Model) -> Option<&Pool<Guest>> {
    model.pool()
}

fn usage(model: &Model) -> Option<&Usage> {
    Some(pool(model)?.factory().usage())
}

impl Collector for Now {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        self.calls(&mut encoder)?;
        for (name, help, kind, of) in MODEL {
            let values = self.0.ready().filter_map(|m| Some((m.name.as_str(), of(m)?)));
            family(&mut encoder, (name, help, kind), "model", values)?;
        }
        for (name, help, kind, of) in GRAPH {
            let values = self.0.graphs().map(|(name, graph)| (name, of(graph.stats())));
            family(&mut encoder, (name, help, kind), "graph", values)?;
        }
        self.batches(&mut encoder)?;
        self.native(&mut encoder)?;
        let (name, help) = ("tms_log_lines_lost", "Lines of the log that nobody read in time");
        let log = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(logging::lines_lost()).encode(log)
    }
}

impl Now {
    /// How calls ended.
    fn calls(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "Calls that have ended, by outcome";
        let mut metric = encoder.encode_descriptor("tms_calls", help, None, MetricType::Counter)?;
        for model in self.0.ready() {
            for outcome in Outcome::ALL {
                let labels = [("model", model.name.as_str()), ("outcome", outcome.label())];
                let metric = metric.encode_family(&labels)?;
                ConstCounter::new(model.outcomes.count(*outcome)).encode(metric)?;
            }
        }
        Ok(())
    }

    /// What goes on in the processes of native code.
    fn native(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let NativeStats { children, memory, deaths, restarts, reruns, regions, kept } =
            self.0.native();
        let gauges = [
            ("tms_native_children", "Processes of native code", children as u64),
            ("tms_native_memory_bytes", "Memory that is theirs alone", memory),
            ("tms_native_shared_bytes", "Memory that they share with the server", regions),
            ("tms_native_kept_bytes", "Outputs that stay with them", kept),
        ];
        for (name, help, value) in gauges {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(value as i64).encode(metric)?;
        }
        let counters = [
            ("tms_native_restarts", "Processes started in place of one that ended", restarts),
            ("tms_native_reruns", "Runs that were run again, as their process ended", reruns),
        ];
        for (name, help, value) in counters {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(value).encode(metric)?;
        }
        let (name, help) = ("tms_native_deaths", "Processes that ended though they were needed");
        let kind = MetricType::Counter;
        family(encoder, (name, help, kind), "cause", deaths.into_iter())
    }

    /// How many calls there were in each run.
    fn batches(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "Calls in one native run";
        let mut metric =
            encoder.encode_descriptor("tms_graph_batch", help, None, MetricType::Histogram)?;
        for (name, graph) in self.0.graphs() {
            let now = graph.stats();
            let bound = |at: usize| match at {
                _ if at + 1 == now.batch_sizes.len() => f64::MAX,
                at => f64::from(1u32 << at),
            };
            let buckets: Vec<_> =
                now.batch_sizes.iter().enumerate().map(|(at, n)| (bound(at), *n)).collect();
            let labels = [("graph", name)];
            metric.encode_family(&labels)?.encode_histogram::<NoLabels>(
                now.calls as f64,
                now.runs,
                &buckets,
                None,
            )?;
        }
        Ok(())
    }
}

/// Who has the server's memory.
#[derive(Debug)]
struct Memory(Arc<Ledger>);

impl Collector for Memory {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (name, help) = ("tms_memory_limit_bytes", "Memory that can be charged in all");
        let limit = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(i64::try_from(self.0.limit()).unwrap_or(i64::MAX)).encode(limit)?;
        let used = |account: Account| (account.name(), self.0.used_for(account) as u64);
        let (name, help) = ("tms_memory_bytes", "Memory that is charged, by what it is for");
        let accounts = Account::ALL.into_iter();
        family(&mut encoder, (name, help, MetricType::Gauge), "account", accounts.map(used))?;
        let refused = |account: Account| (account.name(), self.0.refused(account) as u64);
        let (name, help) = ("tms_memory_refused", "Charges that there was no room for");
        let accounts = Account::ALL.into_iter();
        family(&mut encoder, (name, help, MetricType::Counter), "account", accounts.map(refused))
    }
}

/// Who is connected.
struct CallersNow(Box<dyn Fn() -> Callers + Send + Sync>);

impl fmt::Debug for CallersNow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallersNow")
    }
}

impl Collector for CallersNow {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Callers { open, ended, untaken } = (self.0)();
        let (name, help) = ("tms_connections", "Connections that are open");
        let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(open as i64).encode(metric)?;
        let (name, help) = ("tms_connections_closed", "Connections that have ended, by reason");
        let kind = MetricType::Counter;
        family(&mut encoder, (name, help, kind), "reason", ended.into_iter())?;
        let (name, help) = ("tms_replies_untaken", "Replies given up, as nobody took them");
        let metric = encoder.encode_descriptor(name, help, None, kind)?;
        ConstCounter::new(untaken).encode(metric)
    }
}

fn family<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help, kind): (&str, &str, MetricType),
    label: &str,
    values: impl Iterator<Item = (&'a str, u64)>,
) -> Result<(), fmt::Error> {
    let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
    for (of, value) in values {
        let labels = [(label, of)];
        let metric = metric.encode_family(&labels)?;
        match kind {
            MetricType::Counter => ConstCounter::new(value).encode(metric)?,
            _ => ConstGauge::new(value as i64).encode(metric)?,
        }
    }
    Ok(())
}
