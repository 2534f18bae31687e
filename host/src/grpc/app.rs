//! What the services share: the models, the workers, and the way to stop.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::{
    config::StopServer,
    ledger::{Account, Charge, Ledger, Room},
    models::Model,
    repository::{Catalogue, Unready},
    schedule::Workers,
};

use super::{
    context::CallContext,
    decode, encode, error_details,
    reply::{self, Reply},
    status,
};

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
    /// Messages that take long, read or written, of all workers: as many at once as there are cores.
    pub long: Arc<Semaphore>,
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

    /// A reply, encoded, if it is not too large and there is room for it.
    pub async fn reply<M: encode::Reply + 'static>(
        &self,
        message: M,
        facts: Facts,
        model: &Model,
    ) -> Result<Reply, Status> {
        let bytes = message.encoded_len();
        if bytes > self.max_message {
            return Err(error_details::too_large("reply", self.max_message));
        }
        let Facts { batch, charge } = facts;
        if bytes < reply::LARGE {
            return Ok(Reply {
                pieces: encode::encode(&message, bytes),
                charge,
                batch,
                encoding: None,
            });
        }
        let copied = bytes - message.uncopied().min(bytes);
        let mut all = model.tenant.nothing(Account::Replies);
        if let Some(charge) = charge {
            all.join(charge);
        }
        // What is copied is there twice while it is.
        let more = bytes.saturating_add(copied).saturating_sub(all.bytes());
        all.grow(more, Room::UnderWay).map_err(status::no_room)?;
        let pieces = match copied {
            0..COPIED_HERE => encode::encode(&message, bytes),
            _ => {
                let work = move || Ok(encode::encode(&message, bytes));
                Box::pin(decode::elsewhere(&self.long, work)).await?
            }
        };
        all.shrink_to(bytes);
        Ok(Reply { pieces, charge: Some(all), batch, encoding: None })
    }
}

/// Bytes that are copied on a worker's thread: it takes a millisecond or two.
const COPIED_HERE: usize = 4 << 20;

/// What is known of a reply besides its message.
#[derive(Debug, Default)]
pub struct Facts {
    /// The most calls that shared a native run with this one, where its graphs are batched.
    pub batch: Option<usize>,
    /// What the server's memory is charged for it.
    pub charge: Option<Charge>,
}

impl Facts {
    /// What is known of another part of it.
    pub fn add(&mut self, batch: Option<usize>, charge: Option<Charge>) {
        self.batch = self.batch.max(batch);
        match (&mut self.charge, charge) {
            (Some(all), Some(charge)) => all.join(charge),
            (all, charge) => *all = all.take().or(charge),
        }
    }
}
