//! Bytes of a tensor that stayed where they were computed, in another process, until somebody reads them: a
//! state that goes from one run to the next moves none.

use std::{any::Any, fmt, sync::Arc};

use bytes::Bytes;
use tokio::sync::OnceCell;

use super::{NnError, runner::Going};

/// What has the bytes. Dropped, they are not needed any more.
pub trait Keeper: Any + Send + Sync {
    /// A copy of them.
    fn fetch(&self) -> Going<'_, Result<Bytes, NnError>>;
}

/// Bytes that are elsewhere, or were.
pub struct Away {
    length: usize,
    keeper: Arc<dyn Keeper>,
    /// Once somebody has read them.
    here: OnceCell<Bytes>,
}

impl Away {
    pub fn new(length: usize, keeper: Arc<dyn Keeper>) -> Self {
        Self { length, keeper, here: OnceCell::new() }
    }

    /// How many bytes they are.
    pub fn length(&self) -> usize {
        self.length
    }

    /// The bytes, if they are here by now.
    pub fn here(&self) -> Option<&Bytes> {
        self.here.get()
    }

    /// What has them.
    pub fn keeper(&self) -> &dyn Any {
        &*self.keeper
    }

    pub async fn fetch(&self) -> Result<&Bytes, NnError> {
        self.here.get_or_try_init(|| self.keeper.fetch()).await
    }
}

impl fmt::Debug for Away {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes elsewhere", self.length)
    }
}
