//! The limits of a model: what each is, how it is written, its default, and who may change it. The one
//! list of them: the keys of `[limits]` and the table in docs/configuration.md follow from it.

use std::time::Duration;

use serde::Deserialize;

#[cfg(test)]
use super::settings::text;
use super::values::{Count, Size, Time, show_bytes};

/// How a limit is written: what it is inside, and how the documents write it.
pub trait Unit: Copy + Into<Self::Value> {
    type Value: Copy + Ord;
    fn show(value: Self::Value) -> String;
}

impl Unit for Size {
    type Value = usize;
    fn show(value: usize) -> String {
        show_bytes(value as u64)
    }
}

impl Unit for Time {
    type Value = Duration;
    fn show(value: Duration) -> String {
        humantime::format_duration(value).to_string()
    }
}

impl Unit for Count {
    type Value = usize;
    fn show(value: usize) -> String {
        value.to_string()
    }
}

macro_rules! limits {
    ($($(#[doc = $doc:literal])+ $key:ident: $unit:ident = $default:expr,)*) => {
        /// All limits of one model, decided.
        #[derive(Clone, Copy, Debug)]
        pub struct Limits { $($(#[doc = $doc])+ pub $key: <$unit as Unit>::Value,)* }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($key: $default,)* }
            }
        }

        /// `[limits]` in tms.toml and model.toml. What is not set keeps its value.
        #[derive(Clone, Copy, Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct LimitSettings { $($(#[doc = $doc])+ pub $key: Option<$unit>,)* }

        impl Limits {
            /// The operator's word: sets, up or down.
            pub fn set(mut self, by: &LimitSettings) -> Self {
                $(self.$key = by.$key.map_or(self.$key, Into::into);)*
                self
            }

            /// The model's word: lowers, never raises.
            pub fn lower(mut self, by: &LimitSettings) -> Self {
                $(self.$key = by.$key.map_or(self.$key, |to| self.$key.min(to.into()));)*
                self
            }
        }

        /// The limits, for the documents.
        #[cfg(test)]
        pub(super) fn rows() -> Vec<Row> {
            vec![$(Row {
                key: stringify!($key),
                default: <$unit as Unit>::show($default),
                what: text(&[$($doc),+]),
            },)*]
        }
    };
}

/// A limit, for the documents.
#[cfg(test)]
pub(super) struct Row {
    pub key: &'static str,
    pub default: String,
    pub what: String,
}

limits! {
    /// Linear memory and host-side tensors of one instance, together; one call of the host copies at
    /// most a quarter of it out of the guest (wasmtime's hostcall fuel).
    memory: Size = 512 << 20,
    /// Wall-clock time of one call: waiting, the component and native runs.
    timeout: Time = Duration::from_secs(30),
    /// Wall-clock time of one stream or session, all its parts together; `timeout` holds from one part to the
    /// next.
    max_stream: Time = Duration::from_secs(3600),
    /// CPU time of one call in the component and in what the host does for it; waiting is free.
    cpu: Time = Duration::from_secs(10),
    /// Wall-clock time that a fresh instance may take to start.
    init: Time = Duration::from_secs(30),
    /// Handles held at once, in the host's table and in wasmtime's own: tensors, graphs, contexts,
    /// errors.
    handles: Count = 10_000,
    /// Bytes of one result: JSON and tensors together.
    max_reply: Size = 64 << 20,
    /// Lines that one call may log; the rest is counted and dropped.
    log_lines: Count = 100,
    /// Bytes that one call may log.
    log_bytes: Size = 64 << 10,
    /// Bytes of the file model.wasm.
    max_component: Size = 64 << 20,
    /// Memory of compiling model.wasm, and the size of the code that comes of it.
    compile_memory: Size = 1 << 30,
    /// CPU time of compiling model.wasm, on all cores together; by the clock it may be ten times as much.
    compile_time: Time = Duration::from_secs(120),
    /// Elements of all inputs of one native run.
    max_elements: Count = 64 << 20,
    /// Random bytes that a guest may ask for at once.
    max_random: Size = 1 << 20,
    /// Instances on each worker, and so calls in flight.
    max_instances: Count = 16,
    /// Calls that wait for an instance; the next is refused.
    max_queue: Count = 1000,
    /// Sequences and sessions that are open at once, each with an instance of its own, on all workers together.
    max_sequences: Count = 64,
    /// A sequence without calls for so long ends.
    sequence_idle: Time = Duration::from_secs(60),
    /// Calls that one instance answers before a fresh one takes its place.
    max_uses: Count = 100_000,
    /// Memory and tensors that an instance may keep from one call to the next; one that keeps more is
    /// replaced.
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
}
