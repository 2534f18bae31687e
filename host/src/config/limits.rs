//! The limits of one instance: defaults, what the operator sets, what a model lowers.

use std::time::Duration;

use bytesize::ByteSize;
use serde::Deserialize;

use crate::sandbox::Limits;

/// `[limits]` in tms.toml and model.toml. What is not set keeps its value.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitSettings {
    /// Linear memory and host-side tensors of one instance, together.
    pub memory: Option<ByteSize>,
    /// Wall-clock time of one call.
    #[serde(default, with = "humantime_serde::option")]
    pub timeout: Option<Duration>,
    /// Handles held at once.
    pub handles: Option<usize>,
    /// Bytes of one result.
    pub max_reply: Option<ByteSize>,
    /// Lines that one call may log.
    pub log_lines: Option<u32>,
    /// Instances on each worker.
    pub max_instances: Option<usize>,
    /// Calls that wait for an instance.
    pub max_queue: Option<usize>,
}

/// All limits of one model, decided.
#[derive(Clone, Copy, Debug)]
pub struct ModelLimits {
    pub instance: Limits,
    pub max_instances: usize,
    pub max_queue: usize,
}

impl Default for ModelLimits {
    fn default() -> Self {
        Self {
            instance: Limits {
                memory: 512 << 20,
                timeout: Duration::from_secs(30),
                handles: 10_000,
                reply: 64 << 20,
                log_lines: 100,
            },
            max_instances: 16,
            max_queue: 1000,
        }
    }
}

impl ModelLimits {
    /// The operator's word: sets, up or down.
    pub fn set(mut self, by: &LimitSettings) -> Self {
        self.apply(by, |value, to| *value = to);
        self
    }

    /// The model's word: lowers, never raises.
    pub fn lower(mut self, by: &LimitSettings) -> Self {
        self.apply(by, |value, to| *value = to.min(*value));
        self
    }

    fn apply(&mut self, by: &LimitSettings, put: fn(&mut u64, u64)) {
        let size = |value: &mut usize, to: u64| {
            let mut wide = *value as u64;
            put(&mut wide, to);
            *value = usize::try_from(wide).unwrap_or(usize::MAX);
        };
        let limits = &mut self.instance;
        if let Some(memory) = by.memory {
            size(&mut limits.memory, memory.as_u64());
        }
        if let Some(timeout) = by.timeout {
            let mut millis = limits.timeout.as_millis() as u64;
            put(&mut millis, timeout.as_millis() as u64);
            limits.timeout = Duration::from_millis(millis);
        }
        if let Some(handles) = by.handles {
            size(&mut limits.handles, handles as u64);
        }
        if let Some(reply) = by.max_reply {
            size(&mut limits.reply, reply.as_u64());
        }
        if let Some(lines) = by.log_lines {
            let mut wide = u64::from(limits.log_lines);
            put(&mut wide, u64::from(lines));
            limits.log_lines = u32::try_from(wide).unwrap_or(u32::MAX);
        }
        if let Some(instances) = by.max_instances {
            size(&mut self.max_instances, instances.max(1) as u64);
        }
        if let Some(queue) = by.max_queue {
            size(&mut self.max_queue, queue as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operator_sets_and_a_model_lowers() {
        let settings: LimitSettings =
            toml::from_str("memory = '1 GiB'\ntimeout = '5s'\nmax_queue = 7").unwrap();
        let set = ModelLimits::default().set(&settings);
        assert_eq!(set.instance.memory, 1 << 30);
        assert_eq!(set.instance.timeout, Duration::from_secs(5));
        assert_eq!(set.max_queue, 7);
        let lowered = ModelLimits::default().lower(&settings);
        assert_eq!(lowered.instance.memory, 512 << 20, "not raised");
        assert_eq!(lowered.instance.timeout, Duration::from_secs(5));
    }
}
