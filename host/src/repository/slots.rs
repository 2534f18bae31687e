//! Things that are there one by one, under names that are known before.

use std::{collections::BTreeMap, sync::OnceLock};

use tokio::sync::Notify;

/// What became of a thing: it, or the reason why it is not there.
type Settled<T> = Result<T, String>;

/// Each name's thing, once it is settled; then it does not change.
pub struct Slots<T> {
    slots: BTreeMap<String, OnceLock<Settled<T>>>,
    changed: Notify,
}

impl<T> Slots<T> {
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        let slots = names.into_iter().map(|name| (name, OnceLock::new())).collect();
        Self { slots, changed: Notify::new() }
    }

    /// Settles a name; only the first time counts, and only names that were known before.
    pub fn set(&self, name: &str, thing: Settled<T>) {
        if self.slots.get(name).is_some_and(|slot| slot.set(thing).is_ok()) {
            self.changed.notify_waiters();
        }
    }

    /// None for an unknown name; then None while it is not settled.
    pub fn get(&self, name: &str) -> Option<Option<&Settled<T>>> {
        Some(self.slots.get(name)?.get())
    }

    /// The same once it is settled.
    pub async fn wait(&self, name: &str) -> Option<&Settled<T>> {
        let slot = self.slots.get(name)?;
        loop {
            // Before the look: so that no later change is missed.
            let changed = self.changed();
            match slot.get() {
                Some(settled) => return Some(settled),
                None => changed.await,
            }
        }
    }

    /// Until one more is settled, from this call on.
    pub fn changed(&self) -> impl Future<Output = ()> {
        self.changed.notified()
    }

    pub fn all_settled(&self) -> bool {
        self.slots.values().all(|slot| slot.get().is_some())
    }

    /// Sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.slots.keys().map(String::as_str)
    }

    /// Sorted by name.
    pub fn settled(&self) -> impl Iterator<Item = (&str, &Settled<T>)> {
        self.slots.iter().filter_map(|(name, slot)| Some((name.as_str(), slot.get()?)))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_name_is_waited_for_until_it_is_settled() {
        let slots = Slots::new(["a".to_owned(), "b".to_owned()]);
        let mut a = Box::pin(slots.wait("a"));
        assert!(a.as_mut().now_or_never().is_none());
        slots.set("b", Err("broken".into()));
        assert!(a.as_mut().now_or_never().is_none());
        assert!(!slots.all_settled());
        slots.set("a", Ok(1));
        slots.set("a", Ok(2));
        assert_eq!(a.now_or_never(), Some(Some(&Ok(1))));
        assert!(slots.all_settled());
        assert_eq!(slots.wait("c").now_or_never(), Some(None));
        let all: Vec<_> = slots.settled().collect();
        assert_eq!(all, [("a", &Ok(1)), ("b", &Err("broken".into()))]);
    }
}
