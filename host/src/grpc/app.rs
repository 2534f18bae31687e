//! What the services share: the models, the workers, and the way to stop.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tonic::{Response, Status};

use crate::{
    config::StopServer,
    ledger::Ledger,
    models::Model,
    repository::{Catalogue, Unready},
    schedule::Workers,
};

use super::{context::CallContext, reply, status, too_large};

/// A reply's header: how many calls were in the largest native run that this one was in.
const BATCH_SIZE: &str = "tms-batch-size";

pub struct App {
    pub catalogue: Arc<Catalogue>,
    pub workers: Arc<Workers>,
    /// Cancelled when the server is to stop.
    pub stop: CancellationToken,
    /// Who may stop it with StopServer.
    pub stop_server: StopServer,
    /// Bytes of a reply.
    pub max_message: usize,
    /// What messages and replies take is charged here.
    pub ledger: Arc<Ledger>,
}

impl App {
    /// A model that is called. One that still loads is waited for.
    pub async fn model(&self, caller: &mut CallContext, name: &str) -> Result<&Arc<Model>, Status> {
        let mut found = self.catalogue.get(name);
        if let Err(Unready::Loading) = found {
            let loaded = self.catalogue.find(name);
            found = match caller.answer_by() {
                Some(deadline) => tokio::time::timeout_at(deadline.into(), loaded)
                    .await
                    .unwrap_or(Err(Unready::Loading)),
                None => loaded.await,
            };
            caller.served_from_now();
        }
        found.map_err(|unready| status::unready(name, unready, &self.catalogue))
    }

    /// A reply, if it is not too large, which tonic would find out too late to name the setting, and if
    /// there is room for it. With the number of calls that shared a native run with this one, where its
    /// graphs are batched.
    pub fn reply<M: prost::Message>(
        &self,
        message: M,
        batch: Option<usize>,
    ) -> Result<Response<M>, Status> {
        let bytes = message.encoded_len();
        if bytes > self.max_message {
            let message = too_large::message("reply", self.max_message);
            return Err(Status::resource_exhausted(message));
        }
        let mut response = Response::new(message);
        reply::charge(&mut response, bytes, &self.ledger).map_err(status::no_room)?;
        if let Some(batch) = batch {
            response.metadata_mut().insert(BATCH_SIZE, batch.into());
        }
        Ok(response)
    }
}
