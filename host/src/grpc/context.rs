//! One call as the listener sees it: who calls, where from, and until when an answer is of use.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use tonic::{Extensions, Request, metadata::MetadataMap, transport::server::TcpConnectInfo};

use crate::{
    models::{Call, Model},
    schedule::WorkerId,
};

/// How much earlier than the caller's deadline an answer is ready, at most.
const TRAVEL: Duration = Duration::from_millis(5);

/// When a request's headers came, and on which worker's connection. A large message takes a while to
/// arrive, and the caller's deadline counts from the headers: counted from later, tonic's own would
/// pass first and answer CANCELLED.
#[derive(Clone, Copy)]
pub struct Arrived {
    at: Instant,
    home: WorkerId,
}

impl Arrived {
    pub fn mark<B>(mut request: http::Request<B>, home: WorkerId) -> http::Request<B> {
        request.extensions_mut().insert(Self { at: Instant::now(), home });
        request
    }
}

/// Who calls, and until when an answer is of use.
pub struct CallContext {
    home: WorkerId,
    ip: Option<IpAddr>,
    arrived: Instant,
    /// When the model that is called was ready: then, or earlier.
    served: Instant,
    timeout: Option<Duration>,
}

impl CallContext {
    pub fn of<T>(request: &Request<T>) -> Self {
        Self::new(request.extensions(), request.metadata())
    }

    fn new(extensions: &Extensions, metadata: &MetadataMap) -> Self {
        let connection = extensions.get::<TcpConnectInfo>();
        let arrived = extensions.get::<Arrived>();
        let at = arrived.map_or_else(Instant::now, |arrived| arrived.at);
        Self {
            home: arrived.map_or(WorkerId(0), |arrived| arrived.home),
            ip: connection.and_then(|c| Some(c.remote_addr()?.ip())),
            arrived: at,
            served: at,
            timeout: metadata
                .get("grpc-timeout")
                .and_then(|value| parse_timeout(value.to_str().ok()?)),
        }
    }

    pub fn home(&self) -> WorkerId {
        self.home
    }

    /// The model that is called was waited for: its own limit is for calls, not for loading.
    pub fn served_from_now(&mut self) {
        self.served = Instant::now();
    }

    /// From this machine.
    pub fn is_local(&self) -> bool {
        self.ip.is_some_and(|ip| ip.to_canonical().is_loopback())
    }

    /// A call to `model`: it may take as long as the model's limit and the caller's patience.
    pub fn call<'a>(&self, model: &Model, args: &'a str) -> Call<'a> {
        let deadline = self.served + model.timeout;
        let deadline = self.answer_by().map_or(deadline, |answer_by| deadline.min(answer_by));
        Call { home: self.home, deadline, args }
    }

    /// When an answer is to be ready, if the caller says how long it waits: an answer has a way to go,
    /// and tonic's own time-out, at the same moment, says CANCELLED.
    pub fn answer_by(&self) -> Option<Instant> {
        let patience = self.timeout.map(|t| t - (t / 8).min(TRAVEL));
        self.arrived.checked_add(patience?)
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
