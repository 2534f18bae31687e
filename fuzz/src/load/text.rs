//! Settings as a person mistypes them: tables and keys that exist, in any order, with values that
//! fit, that nearly fit and that do not.

use std::fmt::Write;

use arbitrary::{Result, Unstructured};

/// Tables and keys of one file.
pub struct Vocabulary {
    tables: &'static [&'static str],
    keys: &'static [&'static str],
}

/// `tms.toml`
pub const OPERATOR: Vocabulary = Vocabulary {
    tables: &[
        "[limits]",
        "[model.m]",
        "[model.m.limits]",
        "[model.m.graph]",
        "[model.m.grants]",
        "[model.neighbour.limits]",
        "[model.missing]",
    ],
    keys: &[
        "models",
        "port",
        "host",
        "workers",
        "max_message",
        "drain_timeout",
        "stop_server",
        "allow_remote_stop",
        "cache",
        "onnxruntime",
        "threads",
        "stack",
        "metrics",
        "window",
        "weight",
        "graphs",
        "folders",
        "env",
        "hosts",
    ],
};

/// `model.toml`
pub const MANIFEST: Vocabulary = Vocabulary {
    tables: &["[limits]", "[graphs.graph]", "[graphs.missing]", "[asks]"],
    keys: &["description", "folders", "env", "hosts", "device", "fallback", "backend", "sessions"],
};

/// Keys of both files.
const KEYS: [&str; 28] = [
    "memory",
    "timeout",
    "cpu",
    "init",
    "handles",
    "max_reply",
    "log_lines",
    "log_bytes",
    "max_component",
    "max_elements",
    "max_random",
    "max_instances",
    "max_queue",
    "max_uses",
    "max_retained",
    "max_failures",
    "reuse",
    "snapshot",
    "device",
    "fallback",
    "backend",
    "sessions",
    "batch",
    "max_batch",
    "max_batch_memory",
    "timeuot",
    "",
    "a.b",
];

const VALUES: [&str; 32] = [
    "0",
    "1",
    "2",
    "-1",
    "65535",
    "4294967296",
    "9223372036854775807",
    "1.5",
    "nan",
    "true",
    "false",
    "[]",
    "{}",
    "\"\"",
    "\"1\"",
    "\"1 MiB\"",
    "\"64MiB\"",
    "\"16 EiB\"",
    "\"-1 MiB\"",
    "\"0s\"",
    "\"1ms\"",
    "\"5s\"",
    "\"100years\"",
    "\"99999999999999999999s\"",
    "\"cpu\"",
    "\"cpu:0\"",
    "\"tract\"",
    "\"never\"",
    "\"serial\"",
    "[\"/data\"]",
    "{ \"/data\" = \"/none\" }",
    "[\"m/graph\", \"neighbour/graph\"]",
];

/// The bytes of one file.
pub fn settings(u: &mut Unstructured<'_>, vocabulary: &Vocabulary) -> Result<Vec<u8>> {
    let mut text = String::new();
    for _ in 0..u.int_in_range(0..=8)? {
        let line: u8 = u.arbitrary()?;
        if line < 64 {
            text += u.choose(vocabulary.tables)?;
        } else {
            let keys = if line < 160 { &KEYS[..] } else { vocabulary.keys };
            let key = u.choose(keys)?;
            let value = match u.arbitrary::<u8>()? {
                0..224 => (*u.choose(&VALUES)?).to_owned(),
                224..240 => u.arbitrary::<i64>()?.to_string(),
                _ => format!("{:?}", u.arbitrary::<&str>()?),
            };
            // Writing to a string does not fail.
            let _ = write!(text, "{key} = {value}");
        }
        text.push('\n');
    }
    Ok(text.into_bytes())
}
