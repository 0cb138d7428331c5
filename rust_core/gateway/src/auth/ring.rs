//! A map that holds the latest insertions and no more.
//!
//! Apart because it bounds what strangers can make the gateway remember: unknown keys, unknown customers, counters of
//! keys that went. A flood displaces only what is of its own kind.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};

/// Holds the latest `capacity` insertions.
pub(super) struct Ring<K, T, S> {
    entries: HashMap<K, T, S>,
    order: Vec<K>,
    capacity: usize,
    next: usize,
}

impl<K: Hash + Eq + Clone, T, S: BuildHasher + Default> Default for Ring<K, T, S> {
    fn default() -> Self {
        Self::new(1)
    }
}

impl<K: Hash + Eq + Clone, T, S: BuildHasher + Default> Ring<K, T, S> {
    pub(super) fn new(capacity: usize) -> Self {
        Self { entries: HashMap::default(), order: Vec::new(), capacity: capacity.max(1), next: 0 }
    }

    pub(super) fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&T>
    where
        K: std::borrow::Borrow<Q>,
    {
        self.entries.get(key)
    }

    pub(super) fn insert(&mut self, key: K, value: T) {
        if self.entries.insert(key.clone(), value).is_some() {
            return;
        }
        match self.order.get_mut(self.next) {
            Some(oldest) => {
                let oldest = std::mem::replace(oldest, key.clone());
                if oldest != key {
                    self.entries.remove(&oldest);
                }
            }
            None => self.order.push(key),
        }
        self.next = (self.next + 1) % self.capacity;
    }

    /// Its place in the order stays until the ring comes round; at worst a later entry of the same key goes early.
    pub(super) fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q)
    where
        K: std::borrow::Borrow<Q>,
    {
        self.entries.remove(key);
    }

    /// What it takes in memory.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len().max(self.order.len())
    }
}
