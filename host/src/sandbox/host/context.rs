//! `tms:model/context`: what a guest may know of the call that it answers.

use std::time::Instant;

use wasmtime::Result;

use crate::sandbox::store::StoreData;

use super::bindings::context::{self, SequenceMember, Trace};

impl context::Host for StoreData {
    fn request_id(&mut self) -> Result<String> {
        Ok(self.details().map(|call| call.info.request_id.clone()).unwrap_or_default())
    }

    fn model_name(&mut self) -> Result<String> {
        Ok(self.name.to_string())
    }

    fn model_version(&mut self) -> Result<String> {
        Ok(crate::data::VERSION.into())
    }

    fn time_left(&mut self) -> Result<u64> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        Ok(u64::try_from(left.as_micros()).unwrap_or(u64::MAX))
    }

    fn sequence(&mut self) -> Result<Option<SequenceMember>> {
        let sequence = self.details().and_then(|call| call.sequence.as_ref());
        Ok(sequence.map(|place| SequenceMember {
            id: place.id.clone(),
            start: place.start,
            end: place.end,
        }))
    }

    fn parameters(&mut self) -> Result<String> {
        let parameters = self.details().and_then(|call| call.info.parameters.clone());
        Ok(parameters.unwrap_or_else(|| "{}".into()))
    }

    fn metadata(&mut self) -> Result<Vec<(String, String)>> {
        Ok(self.details().map(|call| call.info.metadata.clone()).unwrap_or_default())
    }

    fn trace_context(&mut self) -> Result<Option<Trace>> {
        let trace = self.details().and_then(|call| call.info.trace.as_ref());
        Ok(trace.map(|trace| Trace { parent: trace.parent.clone(), state: trace.state.clone() }))
    }
}
