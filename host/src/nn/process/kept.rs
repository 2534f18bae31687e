//! An output that stayed with the child that computed it.

use std::sync::Arc;

use bytes::Bytes;

use super::link::{Link, NotFetched};
use crate::nn::{NnError, away::Keeper, runner::Going};

/// A child's tensor under its number there. Dropped, the child forgets it.
pub struct Kept {
    link: Arc<Link>,
    number: u64,
    length: usize,
}

impl Kept {
    pub fn new(link: Arc<Link>, number: u64, length: usize) -> Self {
        link.count_kept(length, true);
        Self { link, number, length }
    }

    /// Its number, if it is with this child.
    pub fn number_at(&self, link: &Arc<Link>) -> Option<u64> {
        Arc::ptr_eq(&self.link, link).then_some(self.number)
    }
}

impl Keeper for Kept {
    fn fetch(&self) -> Going<'_, Result<Bytes, NnError>> {
        Box::pin(async {
            let fetched = self.link.fetch(self.number, self.length).await;
            fetched.map_err(|error| match error {
                NotFetched::Gone => {
                    NnError::Ended("a tensor was lost with the process that computed it".into())
                }
                NotFetched::NoRoom(no_room) => no_room.into(),
            })
        })
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.link.count_kept(self.length, false);
        self.link.forget(self.number);
    }
}
