//! One lane of a queue: keys that wait, by due time.

use std::collections::BTreeMap;

use tokio::time::Instant;

/// Due time, then order of arrival: two keys with the same due time run first come, first served.
pub(super) type Slot = (Instant, u64);

/// Keys that wait, by due time.
pub(super) struct Lane<K> {
    /// Where each waiting key stands.
    pub(super) slots: BTreeMap<K, Slot>,
    /// Not yet due, or not yet seen to be.
    delayed: BTreeMap<Slot, K>,
    /// Due, waiting for a worker.
    pub(super) ready: BTreeMap<Slot, K>,
}

impl<K> Default for Lane<K> {
    fn default() -> Self {
        Self { slots: BTreeMap::new(), delayed: BTreeMap::new(), ready: BTreeMap::new() }
    }
}

impl<K: Ord + Clone> Lane<K> {
    /// The earliest request counts.
    pub(super) fn insert(&mut self, key: K, slot: Slot) {
        if let Some(before) = self.slots.get(&key).copied() {
            if before.0 <= slot.0 {
                return;
            }
            self.delayed.remove(&before);
            self.ready.remove(&before);
        }
        self.slots.insert(key.clone(), slot);
        self.delayed.insert(slot, key);
    }

    pub(super) fn ripen(&mut self, now: Instant) {
        let later = self.delayed.split_off(&(now, u64::MAX));
        self.ready.append(&mut std::mem::replace(&mut self.delayed, later));
    }

    pub(super) fn pop(&mut self) -> Option<K> {
        let (_, key) = self.ready.pop_first()?;
        self.slots.remove(&key);
        Some(key)
    }

    pub(super) fn remove_due(&mut self, key: &K, now: Instant) {
        if let Some(slot) = self.slots.get(key).copied().filter(|slot| slot.0 <= now) {
            self.slots.remove(key);
            self.delayed.remove(&slot);
            self.ready.remove(&slot);
        }
    }

    /// When the next is due that is not due yet.
    pub(super) fn next(&self) -> Option<Instant> {
        self.delayed.keys().next().map(|slot| slot.0)
    }
}
