//! `model.toml`: what a model's author says of it, and the settings of graphs. An author may lower limits
//! and choose a device; what he asks for beyond that is the operator's to grant.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use super::{limits::LimitSettings, values::Size};
#[cfg(test)]
use super::{limits::Row, settings::text};

/// Characters of a model's description that are kept: it stands in one line of the log.
const LONGEST_DESCRIPTION: usize = 300;

/// Makes, of a list of graph settings, what a model's author says of all graphs ([`Manifest`]) and what
/// is said of one ([`GraphSettings`]). Beside each stands its default, as the documents write it.
macro_rules! graph_settings {
    ($($(#[doc = $doc:literal])+ $key:ident: $written:ty = $default:literal,)*) => {
        /// `model.toml`
        #[derive(Clone, Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct Manifest {
            /// A sentence for people: one line, whatever was written.
            #[serde(deserialize_with = "one_line")]
            pub description: Option<String>,
            /// What becomes of an instance after a call.
            pub reuse: Option<Reuse>,
            /// Whether instances start from a snapshot of one after its `init`.
            pub snapshot: Option<bool>,
            /// What it needs of the world outside; the operator grants it or not.
            pub asks: Asks,
            /// Lowers the operator's limits.
            pub limits: LimitSettings,
            // For all graphs of the model.
            $($(#[doc = $doc])+ pub $key: Option<$written>,)*
            /// For one graph, by name.
            pub graphs: BTreeMap<String, GraphSettings>,
        }

        /// How one graph is served, as far as one source says.
        #[derive(Clone, Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct GraphSettings {
            $($(#[doc = $doc])+ pub $key: Option<$written>,)*
        }

        impl Manifest {
            fn all_graphs(&self) -> GraphSettings {
                GraphSettings { $($key: self.$key.clone(),)* }
            }
        }

        impl GraphSettings {
            /// These settings, and `base` for what they leave open.
            fn over(&self, base: &Self) -> Self {
                Self { $($key: self.$key.clone().or_else(|| base.$key.clone()),)* }
            }
        }

        /// The graph settings, for the documents.
        #[cfg(test)]
        pub(super) fn rows() -> Vec<Row> {
            vec![$(Row {
                key: stringify!($key),
                default: $default.to_owned(),
                what: text(&[$($doc),+]),
            },)*]
        }
    };
}

graph_settings! {
    /// Where it runs: cpu, cuda:0, tensorrt:0, …
    device: String = "cpu",
    /// What to do where the device is not there: cpu, serve on the CPU, with a warning.
    fallback: String = "none",
    /// The library that runs it: onnxruntime or tract.
    backend: String = "onnxruntime where its library is found, else tract",
    /// Runs at the same time; each beside the first holds a copy of the weights.
    sessions: usize = "as many as threads where that helps, within 1 GiB of copies",
    /// Whether calls that wait become one run, see Batches.
    batch: bool = "false",
    /// Rows of one run, over all its calls.
    max_batch: usize = "32",
    /// Bytes of all inputs of one run.
    max_batch_memory: Size = "64 MiB",
}

/// What becomes of an instance after a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reuse {
    /// It answers the next one, never two at once.
    #[default]
    Serial,
    /// It goes: every call has a fresh one.
    Never,
}

/// What a model asks for beyond the sandbox.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Asks {
    /// Folders to read, by the path under which the guest opens them.
    pub folders: Vec<String>,
    /// Environment variables.
    pub env: Vec<String>,
    /// Hosts to connect to over TCP, as "name:port".
    pub hosts: Vec<String>,
    /// Names of gRPC metadata that it is to see of its calls.
    pub metadata: Vec<String>,
}

/// On whose word something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// tms.toml
    Operator,
    /// model.toml, or nobody's
    Model,
}

/// How one graph is served, all words on it heard.
#[derive(Clone, Debug)]
pub struct ChosenGraph {
    pub settings: GraphSettings,
    /// Who chose the device. One that the operator asks for and that is not there keeps the server from
    /// starting; one that a model's author asks for, the model.
    pub device_from: Source,
}

impl Manifest {
    /// How a graph is served: the operator's word, then the author's on this graph, then the author's on
    /// all graphs of the model.
    pub fn graph(&self, name: &str, operator: &GraphSettings) -> ChosenGraph {
        let all = self.all_graphs();
        let mut author = match self.graphs.get(name) {
            Some(one) => one.over(&all),
            None => all,
        };
        let device_from = match operator.device {
            Some(_) => Source::Operator,
            None => Source::Model,
        };
        // An author's fallback is for the author's device. It does not soften what the operator asks for.
        if device_from == Source::Operator {
            author.fallback = None;
        }
        ChosenGraph { settings: operator.over(&author), device_from }
    }
}

/// A text without line breaks and control characters, cut where it is long. None of an empty one.
fn one_line<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(from)?.replace(char::is_control, " ");
    let words: Vec<_> = text.split_whitespace().collect();
    let line = words.join(" ");
    let kept: String = line.chars().take(LONGEST_DESCRIPTION).collect();
    let cut = if kept.len() < line.len() { "…" } else { "" };
    Ok(Some(kept + cut).filter(|line| !line.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(text: &str) -> Manifest {
        toml::from_str(text).unwrap()
    }

    fn operator(text: &str) -> GraphSettings {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn the_operators_word_comes_before_the_authors() {
        let author = "device = 'cuda:0'\nsessions = 2\nbatch = true\n[graphs.one]\nsessions = 3";
        let chosen = manifest(author).graph("one", &operator("backend = 'tract'\nbatch = false"));
        let GraphSettings { device, backend, sessions, batch, .. } = chosen.settings;
        assert_eq!((device.as_deref(), backend.as_deref()), (Some("cuda:0"), Some("tract")));
        assert_eq!((sessions, batch), (Some(3), Some(false)));
        let other = manifest(author).graph("other", &operator(""));
        assert_eq!(other.settings.sessions, Some(2));
    }

    #[test]
    fn whoever_names_the_device_has_asked_for_it() {
        let author = "device = 'cuda:0'\nfallback = 'cpu'";
        let asked = |author, by| {
            let ChosenGraph { settings, device_from } = manifest(author).graph("g", &operator(by));
            (settings.device, settings.fallback, device_from)
        };
        let (cuda, cpu) = (Some("cuda:0".to_owned()), Some("cpu".to_owned()));
        assert_eq!(asked(author, ""), (cuda.clone(), cpu.clone(), Source::Model));
        assert_eq!(asked("", ""), (None, None, Source::Model));
        // The author's device, and the operator's leave to go without it.
        let only_device = "device = 'cuda:0'";
        assert_eq!(asked(only_device, "fallback = 'cpu'"), (cuda, cpu.clone(), Source::Model));
        let other = Some("cuda:1".to_owned());
        assert_eq!(asked(author, "device = 'cuda:1'"), (other.clone(), None, Source::Operator));
        let both = "device = 'cuda:1'\nfallback = 'cpu'";
        assert_eq!(asked(author, both), (other, cpu, Source::Operator));
        assert_eq!(asked("[graphs.g]\nfallback = 'cpu'", "device = 'cuda:1'").1, None);
    }

    #[test]
    fn a_description_is_one_short_line() {
        let of = |text: &str| manifest(&format!("description = {text}")).description;
        assert_eq!(of("'Says hello'").as_deref(), Some("Says hello"));
        assert_eq!(of("\" Two\\n lines, \\u001b[31mred \"").as_deref(), Some("Two lines, [31mred"));
        assert_eq!(of("''"), None);
        let long = of(&format!("'{}'", "ü".repeat(LONGEST_DESCRIPTION + 1))).unwrap();
        assert_eq!(long, format!("{}…", "ü".repeat(LONGEST_DESCRIPTION)));
    }
}
