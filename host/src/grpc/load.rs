//! How busy the server is: its calls, counted by worker, and the load reports that balancers read
//! ([ORCA](https://github.com/cncf/xds/tree/main/xds/data/orca/v3)). A report is made at most ten times a
//! second, and its bytes go with every reply until the next one.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderName, HeaderValue};
use prost::Message;
use tonic::{Code, metadata::BinaryMetadataValue};

use super::proto::xds::data::orca::v3::OrcaLoadReport;

/// The trailer that balancers look for.
pub const REPORT: HeaderName = HeaderName::from_static("endpoint-load-metrics-bin");
const STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// The least time between two reports.
pub const EVERY: Duration = Duration::from_millis(100);
/// How long what happened counts: after this time it counts a third of what happens now.
const MEMORY: Duration = Duration::from_secs(1);

/// The calls of one worker's connections. Each worker has its own: what all of them wrote to, each would
/// have to wait for.
#[derive(Default)]
pub struct Traffic {
    /// Calls of either protocol that have not been answered to their end.
    in_flight: AtomicUsize,
    /// Calls that were answered.
    answered: AtomicU64,
    /// Of these, those that failed through no fault of their callers.
    failed: AtomicU64,
    /// Where replies carry reports: the last one, so that it is asked for seldom.
    reports: Option<Mutex<Reports>>,
}

struct Reports {
    load: Arc<Load>,
    /// When the report is to be asked for again.
    until: Instant,
    report: HeaderValue,
}

/// Sums of what the workers have counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    pub in_flight: usize,
    pub answered: u64,
    pub failed: u64,
}

impl Totals {
    pub fn of<'a>(workers: impl Iterator<Item = &'a Traffic>) -> Self {
        workers.fold(Self::default(), |sum, worker| Self {
            in_flight: sum.in_flight + worker.in_flight.load(Relaxed),
            answered: sum.answered + worker.answered.load(Relaxed),
            failed: sum.failed + worker.failed.load(Relaxed),
        })
    }
}

impl Traffic {
    /// `load`: where its replies carry reports.
    pub fn new(load: Option<Arc<Load>>) -> Self {
        let reports = load.map(|load| {
            let (until, report) = (Instant::now(), HeaderValue::from_static(""));
            Mutex::new(Reports { load, until, report })
        });
        Self { reports, ..Self::default() }
    }

    /// Counts an answer by its trailers, and gives them a report.
    fn answers(&self, trailers: &mut HeaderMap) {
        self.answered.fetch_add(1, Relaxed);
        if trailers
            .get(STATUS)
            .is_some_and(|status| is_failure(Code::from_bytes(status.as_bytes())))
        {
            self.failed.fetch_add(1, Relaxed);
        }
        let Some(reports) = &self.reports else { return };
        let mut reports = reports.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if now >= reports.until {
            let (report, made) = reports.load.report(now);
            // Of its own: the workers would count each other's uses of one.
            if let Ok(report) = HeaderValue::from_bytes(report.as_bytes()) {
                reports.report = report;
            }
            reports.until = made + EVERY;
        }
        trailers.insert(REPORT, reports.report.clone());
    }
}

/// Whether it is the server that failed, or is too busy. What callers do wrong says nothing about it.
fn is_failure(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
}

/// One call of those in flight.
pub struct InFlight(Arc<Traffic>);

impl InFlight {
    pub fn count(traffic: &Arc<Traffic>) -> Self {
        traffic.in_flight.fetch_add(1, Relaxed);
        Self(traffic.clone())
    }

    /// It is answered with these trailers, or headers where there is nothing else.
    pub fn answers(&self, trailers: &mut HeaderMap) {
        self.0.answers(trailers);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

/// What is asked for a report.
pub struct Probes {
    /// CPU time that the server and its children have taken since they began.
    pub cpu: Box<dyn Fn() -> Duration + Send + Sync>,
    /// Cores that there are for them.
    pub cores: usize,
    /// The part of the memory that is taken, 0 to 1.
    pub memory: Box<dyn Fn() -> f64 + Send + Sync>,
    /// Calls that wait, for an instance or a session.
    pub waiting: Box<dyn Fn() -> usize + Send + Sync>,
    /// What the workers have counted.
    pub calls: Box<dyn Fn() -> Totals + Send + Sync>,
}

/// The load of the server.
pub struct Load {
    probes: Probes,
    last: Mutex<Sample>,
}

impl fmt::Debug for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Load")
    }
}

/// What was measured last, and what it came to.
struct Sample {
    at: Instant,
    cpu: Duration,
    answered: u64,
    failed: u64,
    report: OrcaLoadReport,
    /// The same as a trailer.
    encoded: HeaderValue,
}

impl Load {
    pub fn new(probes: Probes) -> Arc<Self> {
        let (cpu, Totals { answered, failed, .. }) = ((probes.cpu)(), (probes.calls)());
        let report = OrcaLoadReport::default();
        let encoded = encoded(&report);
        let at = Instant::now();
        let last = Mutex::new(Sample { at, cpu, answered, failed, report, encoded });
        Arc::new(Self { probes, last })
    }

    /// The last report as a trailer, or a new one where that is old; and when it was made.
    fn report(&self, now: Instant) -> (HeaderValue, Instant) {
        let last = self.sample(now);
        (last.encoded.clone(), last.at)
    }

    /// The same as a message.
    pub fn message(&self) -> OrcaLoadReport {
        self.sample(Instant::now()).report.clone()
    }

    fn sample(&self, now: Instant) -> std::sync::MutexGuard<'_, Sample> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.saturating_duration_since(last.at);
        if passed >= EVERY {
            *last = self.measure(&last, now, passed);
        }
        last
    }

    fn measure(&self, last: &Sample, now: Instant, passed: Duration) -> Sample {
        let Probes { cpu, cores, memory, waiting, calls } = &self.probes;
        let (cpu, Totals { in_flight, answered, failed }) = (cpu(), calls());
        let seconds = passed.as_secs_f64();
        // Rates of the time that has passed, and of the time before, the less the longer ago it was.
        let weight = 1.0 - (-seconds / MEMORY.as_secs_f64()).exp();
        let mean = |before: f64, more: f64| before + weight * (more / seconds - before);
        let busy = cpu.saturating_sub(last.cpu).as_secs_f64() / (*cores).max(1) as f64;
        let counted = |now: u64, before: u64| now.saturating_sub(before) as f64;
        let named = [("in_flight", in_flight), ("waiting", waiting())];
        let report = OrcaLoadReport {
            cpu_utilization: mean(last.report.cpu_utilization, busy),
            mem_utilization: memory().clamp(0.0, 1.0),
            rps_fractional: mean(last.report.rps_fractional, counted(answered, last.answered)),
            eps: mean(last.report.eps, counted(failed, last.failed)),
            named_metrics: named.map(|(name, value)| (name.to_owned(), value as f64)).into(),
            ..OrcaLoadReport::default()
        };
        let encoded = encoded(&report);
        Sample { at: now, cpu, answered, failed, report, encoded }
    }
}

/// As metadata carries bytes: in base64.
fn encoded(report: &OrcaLoadReport) -> HeaderValue {
    let bytes = BinaryMetadataValue::from_bytes(&report.encode_to_vec());
    HeaderValue::from_bytes(bytes.as_encoded_bytes()).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server of two cores whose one is busy, and which answers 200 calls a second, a tenth with errors.
    fn load(began: Instant, clock: &Arc<Mutex<Instant>>) -> Arc<Load> {
        let clock = clock.clone();
        let passed = move || clock.lock().unwrap().duration_since(began);
        let (cpu, calls) = (passed.clone(), passed);
        Load::new(Probes {
            cpu: Box::new(cpu),
            cores: 2,
            memory: Box::new(|| 0.25),
            waiting: Box::new(|| 3),
            calls: Box::new(move || Totals {
                in_flight: 4,
                answered: (200.0 * calls().as_secs_f64()).round() as u64,
                failed: (20.0 * calls().as_secs_f64()).round() as u64,
            }),
        })
    }

    #[test]
    fn rates_are_those_of_the_last_seconds() {
        let began = Instant::now();
        let clock = Arc::new(Mutex::new(began));
        let load = load(began, &clock);
        let at = |passed: Duration| {
            *clock.lock().unwrap() = began + passed;
            load.sample(began + passed).report.clone()
        };
        assert_eq!(at(EVERY / 2), OrcaLoadReport::default(), "too soon");
        // It was made a little after the clock began.
        let first = at(2 * EVERY);
        assert!(first.rps_fractional > 20.0 && first.rps_fractional < 60.0, "{first:?}");
        let mut last = first;
        for turn in 3..100 {
            last = at(turn * EVERY);
        }
        let near = |a: f64, b: f64| assert!((a - b).abs() < 0.02 * b, "{a} {b}");
        near(last.cpu_utilization, 0.5);
        near(last.mem_utilization, 0.25);
        near(last.rps_fractional, 200.0);
        near(last.eps, 20.0);
        assert_eq!((last.named_metrics["in_flight"], last.named_metrics["waiting"]), (4.0, 3.0));
    }

    #[test]
    fn a_report_is_asked_for_once_in_a_while() {
        let began = Instant::now();
        let clock = Arc::new(Mutex::new(began));
        let traffic = Arc::new(Traffic::new(Some(load(began, &clock))));
        let mut seen = Vec::new();
        for status in ["0", "14", "3"] {
            let call = InFlight::count(&traffic);
            let mut trailers = HeaderMap::from_iter([(STATUS, status.parse().unwrap())]);
            call.answers(&mut trailers);
            seen.push(trailers[REPORT].clone());
        }
        assert!(seen.windows(2).all(|pair| pair[0] == pair[1]));
        let Totals { in_flight, answered, failed } = Totals::of(std::iter::once(&*traffic));
        assert_eq!((in_flight, answered, failed), (0, 3, 1), "the caller's fault is none of ours");
    }
}
