//! What the server counts, for Prometheus: what became of calls, and what is going on now.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, text},
    metrics::{
        MetricType, counter::ConstCounter, counter::Counter, family::Family, gauge::ConstGauge,
    },
    registry::Registry,
};

use crate::{
    logging,
    models::{Model, model::Body},
    nn::QueueStats,
    repository::Catalogue,
    sandbox::{Guest, Usage},
    schedule::Pool,
};

macro_rules! outcomes {
    ($($(#[$doc:meta])* $outcome:ident $label:literal,)*) => {
        /// What became of a call.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Outcome { $($(#[$doc])* $outcome,)* }

        /// The labels, in the same order.
        const OUTCOMES: &[&str] = &[$($label,)*];
    };
}

outcomes! {
    Ok "ok",
    /// The request was wrong.
    Caller "caller",
    /// The model said that it failed, or broke a rule of its interface.
    Model "model",
    /// Something of the server's was missing.
    Server "server",
    Trap "trap",
    /// No answer within the model's limit or the caller's deadline.
    Timeout "timeout",
    Cpu "cpu",
    /// A fresh instance did not start.
    Start "start",
    /// Refused: too many waited.
    Full "full",
    /// The deadline passed in the queue.
    Late "late",
    /// The caller left.
    Cancelled "cancelled",
    /// Refused: the model failed too often just before.
    Unavailable "unavailable",
    /// The native run failed.
    Graph "graph",
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CallLabels {
    model: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ModelLabels {
    model: String,
}

/// All counters of a server.
#[derive(Debug, Default)]
pub struct Metrics {
    calls: Family<CallLabels, Counter>,
    refusals: Family<ModelLabels, Counter>,
}

/// One model's counters.
#[derive(Debug)]
pub struct Outcomes {
    /// By outcome.
    calls: Vec<Counter>,
    /// How often it began to be refused for a while.
    pub refusals: Counter,
}

impl Metrics {
    pub fn model(&self, model: &str) -> Outcomes {
        let model = model.to_owned();
        let counter = |outcome: &&'static str| {
            let labels = CallLabels { model: model.clone(), outcome };
            self.calls.get_or_create(&labels).clone()
        };
        let calls = OUTCOMES.iter().map(counter).collect();
        let refusals = self.refusals.get_or_create(&ModelLabels { model }).clone();
        Outcomes { calls, refusals }
    }

    /// A registry of these counters and of what goes on in `catalogue`.
    pub fn registry(&self, catalogue: Arc<Catalogue>) -> Registry {
        let mut registry = Registry::default();
        registry.register("tms_calls", "Calls that have ended, by outcome", self.calls.clone());
        let help = "Times that a model began to be refused after too many failures in a row";
        registry.register("tms_breaker_opened", help, self.refusals.clone());
        registry.register_collector(Box::new(Now(catalogue)));
        registry
    }
}

/// The page that Prometheus reads (OpenMetrics 1.0 text).
pub fn page(registry: &Registry) -> Result<String, fmt::Error> {
    let mut page = String::new();
    text::encode(&mut page, registry)?;
    Ok(page)
}

impl Outcomes {
    /// A call begins. It counts as cancelled unless [`Pending::end`] says otherwise.
    pub fn begin(&self) -> Pending<'_> {
        Pending { outcomes: self, outcome: Outcome::Cancelled }
    }
}

/// A call that has not ended.
pub struct Pending<'a> {
    outcomes: &'a Outcomes,
    outcome: Outcome,
}

impl Pending<'_> {
    pub fn end(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.outcomes.calls[self.outcome as usize].inc();
    }
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

const MODEL: [(&str, &str, MetricType, OfModel); 10] = [
    ("tms_calls_in_flight", "Calls that have an instance", MetricType::Gauge, |model| {
        Some(pool(model)?.busy() as u64)
    }),
    ("tms_calls_waiting", "Calls that wait for an instance", MetricType::Gauge, |model| {
        Some(pool(model)?.waiting() as u64)
    }),
    ("tms_calls_left", "Callers that left the queue", MetricType::Counter, |model| {
        Some(pool(model)?.left())
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
        Some(model.breaker.refuses(std::time::Instant::now()).is_some().into())
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
    match &model.body {
        Body::Component(pool) => Some(pool),
        Body::Graph(_) => None,
    }
}

fn usage(model: &Model) -> Option<&Usage> {
    Some(pool(model)?.factory().usage())
}

impl Collector for Now {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for (name, help, kind, of) in MODEL {
            let values = self.0.ready().filter_map(|m| Some((m.name.as_str(), of(m)?)));
            family(&mut encoder, (name, help, kind), "model", values)?;
        }
        for (name, help, kind, of) in GRAPH {
            let values = self.0.graphs().map(|(name, graph)| (name, of(graph.stats())));
            family(&mut encoder, (name, help, kind), "graph", values)?;
        }
        self.batches(&mut encoder)?;
        let (name, help) = ("tms_log_lines_lost", "Lines of the log that nobody read in time");
        let log = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(logging::lines_lost()).encode(log)
    }
}

impl Now {
    /// How many calls there were in each run.
    fn batches(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "Calls in one native run";
        let mut metric =
            encoder.encode_descriptor("tms_graph_batch", help, None, MetricType::Histogram)?;
        for (name, graph) in self.0.graphs() {
            let now = graph.stats();
            let bound = |at: usize| match at {
                _ if at + 1 == now.sizes.len() => f64::MAX,
                at => f64::from(1u32 << at),
            };
            let buckets: Vec<_> =
                now.sizes.iter().enumerate().map(|(at, n)| (bound(at), *n)).collect();
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
