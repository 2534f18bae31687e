//! The limits: what each is, its default, and who may change it. The one list of them; the table in
//! docs/configuration.md is held against it.

use std::time::Duration;

use bytesize::ByteSize;
use serde::Deserialize;

/// How a limit is written, and what it is inside.
pub trait Unit: Copy {
    type Value: Copy + Ord;
    fn value(self) -> Self::Value;
    /// A value as the docs write it.
    fn show(value: Self::Value) -> String;
}

/// Bytes: a number, or a text such as "64 MiB".
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Size(ByteSize);

/// A duration, such as "1m 30s".
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Time(#[serde(with = "humantime_serde")] Duration);

/// A number of things.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Count(usize);

impl Unit for Size {
    type Value = usize;
    fn value(self) -> usize {
        usize::try_from(self.0.as_u64()).unwrap_or(usize::MAX)
    }
    fn show(value: usize) -> String {
        ByteSize(value as u64).display().iec().to_string().replace(".0 ", " ")
    }
}

impl Unit for Time {
    type Value = Duration;
    fn value(self) -> Duration {
        // A moment that is too far away cannot be computed, which would be a panic.
        const LONGEST: Duration = Duration::from_secs(1000 * 365 * 24 * 3600);
        self.0.min(LONGEST)
    }
    fn show(value: Duration) -> String {
        humantime::format_duration(value).to_string()
    }
}

impl Unit for Count {
    type Value = usize;
    fn value(self) -> usize {
        self.0
    }
    fn show(value: usize) -> String {
        value.to_string()
    }
}

macro_rules! limits {
    ($($(#[$doc:meta])* $key:ident: $unit:ident = $default:expr,)*) => {
        /// All limits of one model, decided.
        #[derive(Clone, Copy, Debug)]
        pub struct Limits { $($(#[$doc])* pub $key: <$unit as Unit>::Value,)* }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($key: $default,)* }
            }
        }

        /// `[limits]` in tms.toml and model.toml. What is not set keeps its value.
        #[derive(Clone, Copy, Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct LimitSettings { $($(#[$doc])* pub $key: Option<$unit>,)* }

        impl Limits {
            /// The operator's word: sets, up or down.
            pub fn set(mut self, by: &LimitSettings) -> Self {
                $(self.$key = by.$key.map_or(self.$key, Unit::value);)*
                self
            }

            /// The model's word: lowers, never raises.
            pub fn lower(mut self, by: &LimitSettings) -> Self {
                $(self.$key = by.$key.map_or(self.$key, |to| self.$key.min(to.value()));)*
                self
            }

            /// Keys and values, for people.
            pub fn rows(&self) -> Vec<(&'static str, String)> {
                vec![$((stringify!($key), <$unit as Unit>::show(self.$key)),)*]
            }
        }
    };
}

limits! {
    /// Linear memory and host-side tensors of one instance, together. A quarter of it is what one
    /// call of the host may copy out of the guest (wasmtime's hostcall fuel).
    memory: Size = 512 << 20,
    /// Wall-clock time of one call, waiting included.
    timeout: Time = Duration::from_secs(30),
    /// CPU time of one call in the guest and in what the host does for it; waiting is free.
    cpu: Time = Duration::from_secs(10),
    /// Time that a fresh instance may take to start, wall-clock.
    init: Time = Duration::from_secs(30),
    /// Handles (tensors, graphs, contexts, errors) held at once, in the host's table and in
    /// wasmtime's own.
    handles: Count = 10_000,
    /// Bytes of one result: JSON and tensors together.
    max_reply: Size = 64 << 20,
    /// Lines that one call may log; more are counted and dropped.
    log_lines: Count = 100,
    /// Bytes that one call may log.
    log_bytes: Size = 64 << 10,
    /// The file model.wasm.
    max_component: Size = 64 << 20,
    /// Elements of all inputs of one native run.
    max_elements: Count = 64 << 20,
    /// Random bytes that a guest may ask for at once.
    max_random: Size = 1 << 20,
    /// Instances on each worker, and so calls in flight.
    max_instances: Count = 16,
    /// Calls that wait for an instance; the next is refused.
    max_queue: Count = 1000,
    /// Calls that one instance answers before a fresh one takes its place.
    max_uses: Count = 100_000,
    /// Memory and tensors that an instance may keep from one call to the next.
    max_retained: Size = 256 << 20,
    /// Calls in a row that may trap or run out of time before the model is refused for a while.
    max_failures: Count = 10,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operator_sets_and_a_model_lowers() {
        let settings: LimitSettings =
            toml::from_str("memory = '1 GiB'\ntimeout = '5s'\nmax_queue = 7").unwrap();
        let set = Limits::default().set(&settings);
        assert_eq!(set.memory, 1 << 30);
        assert_eq!(set.timeout, Duration::from_secs(5));
        assert_eq!(set.max_queue, 7);
        let lowered = Limits::default().lower(&settings);
        assert_eq!(lowered.memory, 512 << 20, "not raised");
        assert_eq!(lowered.timeout, Duration::from_secs(5));
    }

    #[test]
    fn every_time_has_an_end() {
        let far: LimitSettings = toml::from_str("timeout = '100000000000years'").unwrap();
        let timeout = Limits::default().set(&far).timeout;
        assert!(std::time::Instant::now().checked_add(timeout).is_some());
    }
}
