//! Reads a tokenizer of half a megabyte when it starts, as models of language do: what a snapshot
//! after `init` is for.

use std::collections::HashMap;

use tms_guest::{
    prelude::*,
    serde_json::{self, Value},
};

/// The tokenizer of models/sentence_embedding.
const TOKENIZER: &[u8] = include_bytes!("../../../../models/sentence_embedding/tokenizer.json");

struct Vocabulary {
    ids: HashMap<String, u64>,
    /// Calls that this instance has answered.
    calls: u64,
}

impl Model for Vocabulary {
    fn init() -> Result<Self> {
        let wrong = |e: &dyn std::fmt::Display| Error::model(format!("tokenizer.json: {e}"));
        let tokenizer: Value = serde_json::from_slice(TOKENIZER).map_err(|e| wrong(&e))?;
        let ids = tokenizer["model"]["vocab"].as_object().ok_or_else(|| wrong(&"no vocabulary"))?;
        let ids = ids.iter().filter_map(|(token, id)| Some((token.clone(), id.as_u64()?)));
        Ok(Self { ids: ids.collect(), calls: 0 })
    }

    fn describe(&self) -> Description {
        Description::text()
    }

    /// The id of a token, and how many calls this instance has answered.
    fn run(&mut self, input: Input, _args: &Args) -> Result<Output> {
        self.calls += 1;
        Output::json(&(self.ids.get(&input.text()?), self.calls))
    }
}

tms_guest::export!(Vocabulary);
