//! One call as the listener sees it: who calls, where from, and until when an answer is of use.

use std::time::{Duration, Instant};

use http::HeaderMap;
use tonic::{Request, Status};

use crate::{
    details::{CallInfo, Details, Parts, SequencePlace, Trace},
    models::{Call, Model},
    schedule::WorkerId,
};

use super::origin::Origin;

/// How much earlier than the caller's deadline an answer is ready, at most: it has a way to go.
const TRAVEL: Duration = Duration::from_millis(5);

/// What is known of a call when its headers have come. A large message takes a while to arrive, and the
/// caller's deadline counts from the headers.
#[derive(Clone, Copy)]
pub struct Arrived {
    at: Instant,
    /// The worker of the connection.
    home: WorkerId,
    origin: Option<Origin>,
    /// How long the caller waits, if it says so.
    timeout: Option<Duration>,
}

impl Arrived {
    /// The headers of a call have come.
    pub fn now(headers: &HeaderMap, home: WorkerId, origin: Origin) -> Self {
        let timeout = headers.get("grpc-timeout");
        let timeout = timeout.and_then(|value| parse_timeout(value.to_str().ok()?));
        Self { at: Instant::now(), home, origin: Some(origin), timeout }
    }

    /// When an answer is to be ready.
    fn answer_by(&self) -> Option<Instant> {
        let patience = self.timeout.map(|t| t - (t / 8).min(TRAVEL));
        self.at.checked_add(patience?)
    }

    /// When a call that has no answer is given up, in whatever state it is, its message still on the
    /// way included. Whoever works on an answer has given up by then, with a more precise
    /// reason.
    pub fn deadline(&self) -> Option<Instant> {
        self.at.checked_add(self.timeout?)
    }

    /// The answer to a call that is given up.
    pub fn too_late(&self) -> Status {
        let timeout = self.timeout.unwrap_or_default();
        Status::deadline_exceeded(format!(
            "the deadline of {timeout:?} passed before the request had arrived and was answered"
        ))
    }
}

/// What a message asks for beside its data and arguments: mostly nothing.
#[derive(Default)]
pub struct Asked {
    pub request_id: String,
    /// The Open Inference Protocol's parameters, a JSON object.
    pub parameters: Option<String>,
    pub sequence: Option<SequencePlace>,
    /// How long the caller waits, as the message says.
    pub timeout: Option<Duration>,
    /// The way for parts of the result.
    pub parts: Option<Parts>,
}

/// Who calls, and until when an answer is of use.
pub struct CallContext {
    arrived: Arrived,
    /// The call's metadata.
    headers: HeaderMap,
    /// From when the model's limit of time counts: the arrival, or the end of the model's loading.
    limit_from: Instant,
}

impl CallContext {
    pub fn new(arrived: Arrived, headers: HeaderMap) -> Self {
        Self { arrived, headers, limit_from: arrived.at }
    }

    /// The same caller's next message, which has just come.
    pub fn again(&self) -> Self {
        Self { headers: self.headers.clone(), limit_from: Instant::now(), ..*self }
    }

    /// Of a call that the layer has marked: all but those of tests that have no connection.
    pub fn of<T>(request: &Request<T>) -> Self {
        let unmarked = || Arrived {
            at: Instant::now(),
            home: WorkerId(0),
            origin: request.remote_addr().map(|address| address.ip().into()),
            timeout: None,
        };
        let arrived = request.extensions().get().copied().unwrap_or_else(unmarked);
        Self::new(arrived, HeaderMap::new())
    }

    pub fn home(&self) -> WorkerId {
        self.arrived.home
    }

    /// The model that is called was waited for: its own limit is for calls, not for loading.
    pub fn served_from_now(&mut self) {
        self.limit_from = Instant::now();
    }

    /// From this machine.
    pub fn is_local(&self) -> bool {
        self.arrived.origin.is_some_and(Origin::is_local)
    }

    /// By the listener for curl and browsers.
    pub fn is_web(&self) -> bool {
        matches!(self.arrived.origin, Some(Origin::Web(_)))
    }

    /// A call to `model`: it may take as long as the model's limit and the caller's patience.
    pub fn call<'a>(&self, model: &Model, args: &'a str, asked: Asked) -> Call<'a> {
        let deadline = self.limit_from + model.timeout;
        let patience =
            [self.answer_by(), asked.timeout.and_then(|t| self.limit_from.checked_add(t))];
        let deadline = patience.into_iter().flatten().fold(deadline, Instant::min);
        let knows = model.asks().context;
        // Most calls need no more: they are spared what it costs.
        let details = (knows || asked.sequence.is_some() || asked.parts.is_some()).then(|| {
            let info = match knows {
                true => self.info(model, asked.request_id, asked.parameters),
                false => CallInfo::default(),
            };
            let (sequence, parts) = (asked.sequence, asked.parts);
            Box::new(Details { info, sequence, parts, others: None })
        });
        Call { home: self.home(), deadline, args, details, chain: None }
    }

    /// When a stream of results of `model` must have ended.
    pub fn stream_until(&self, model: &Model) -> Instant {
        let until = self.limit_from + model.max_stream;
        self.answer_by().map_or(until, |answer_by| until.min(answer_by))
    }

    /// What a model may know of the call.
    fn info(&self, model: &Model, request_id: String, parameters: Option<String>) -> CallInfo {
        let text = |name: &str| Some(self.headers.get(name)?.to_str().ok()?.to_owned());
        let trace = text("traceparent")
            .map(|parent| Trace { parent, state: text("tracestate").unwrap_or_default() });
        let of_name = |name: &String| {
            let values = self.headers.get_all(name).iter();
            let texts = values.filter_map(|value| Some(value.to_str().ok()?.to_owned()));
            texts.map(|value| (name.clone(), value)).collect::<Vec<_>>()
        };
        let metadata = model.metadata.iter().flat_map(of_name).collect();
        CallInfo { request_id, parameters, metadata, trace }
    }

    /// When an answer is to be ready, if the caller says how long it waits.
    pub fn answer_by(&self) -> Option<Instant> {
        self.arrived.answer_by()
    }
}

/// A caller's time-out as gRPC writes it: up to eight digits and a unit.
fn parse_timeout(value: &str) -> Option<Duration> {
    let digits = value.get(..value.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 {
        return None;
    }
    let n: u64 = digits.parse().ok()?;
    Some(match value.as_bytes().last()? {
        b'H' => Duration::from_secs(n * 3600),
        b'M' => Duration::from_secs(n * 60),
        b'S' => Duration::from_secs(n),
        b'm' => Duration::from_millis(n),
        b'u' => Duration::from_micros(n),
        b'n' => Duration::from_nanos(n),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_have_a_unit() {
        assert_eq!(parse_timeout("100m"), Some(Duration::from_millis(100)));
        assert_eq!(parse_timeout("2H"), Some(Duration::from_secs(7200)));
        for bad in ["", "m", "5", "-5m", "123456789S", "5x", "é"] {
            assert_eq!(parse_timeout(bad), None, "{bad}");
        }
    }
}
