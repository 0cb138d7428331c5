//! The keys held in memory, by digest.
//!
//! Apart because it is the only shared, changing structure that every call reads. Shards keep writers out of readers'
//! way; a look-up is one read lock held for one hash probe and a reference count. What does not fit is evicted by
//! CLOCK (second chance), but never a key that anybody holds: a call in flight or an open reservation would otherwise
//! count on counters that the next call does not see. Unknown keys are remembered in a ring of their own, so that a
//! flood of them displaces nothing.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::digest::Digest;
use super::record::{Key, KeyRecord, RecordError};
use super::ring::Ring;
use super::scope::Scope;
use super::scopes::ScopeTable;
use crate::limits::Counters;

const MAX_SHARDS: usize = 64;
/// Smaller shards would have little to choose from when one key must go.
const MIN_SHARD_CAPACITY: usize = 64;
/// Unknown keys remembered, over all shards.
const NEGATIVES: usize = 16_384;
/// Counters of dropped and evicted keys kept for their return, over all shards.
const PARKED: usize = 16_384;

/// What the table knows of a digest.
#[derive(Debug)]
pub enum Lookup {
    /// A key.
    Hit(Arc<Key>),
    /// No key: the control plane said so lately.
    Unknown,
    /// The control plane must be asked.
    Miss,
}

/// All keys in memory.
pub struct KeyTable {
    shards: Box<[RwLock<Shard>]>,
    negative_ttl_ns: u64,
    /// What keys stand under.
    pub scopes: ScopeTable,
}

#[derive(Default)]
struct Shard {
    room: Arc<Room>,
    index: HashMap<Digest, usize, ByDigest>,
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    hand: usize,
    negatives: Ring<Digest, u64, ByDigest>,
    parked: Ring<Digest, Arc<Counters>, ByDigest>,
}

/// How many places there are in all shards together.
#[derive(Default)]
struct Room {
    capacity: usize,
    taken: AtomicUsize,
}

struct Slot {
    key: Arc<Key>,
    used: AtomicBool,
}

impl KeyTable {
    /// An empty table for `capacity` keys that remembers an unknown one for `negative_ttl_ns`.
    #[must_use]
    pub fn new(capacity: usize, negative_ttl_ns: u64) -> Self {
        let shards = (capacity / MIN_SHARD_CAPACITY).clamp(1, MAX_SHARDS);
        // One bound for all: chance fills the shards unevenly, and keys that fit together must all find room.
        let room = Arc::new(Room { capacity: capacity.max(1), taken: AtomicUsize::new(0) });
        let shard = || {
            RwLock::new(Shard {
                room: Arc::clone(&room),
                negatives: Ring::new(NEGATIVES / shards),
                parked: Ring::new(PARKED / shards),
                ..Shard::default()
            })
        };
        let scopes = ScopeTable::new(capacity, negative_ttl_ns);
        Self { shards: (0..shards).map(|_| shard()).collect(), negative_ttl_ns, scopes }
    }

    /// What is known of a digest.
    #[must_use]
    pub fn lookup(&self, digest: &Digest, now_ns: u64) -> Lookup {
        let Some(shard) = self.read(digest) else { return Lookup::Miss };
        if let Some(slot) = shard.index.get(digest).and_then(|at| shard.slots.get(*at)?.as_ref()) {
            // Only the first use after a sweep writes: a hot key's slot stays shared between the cores' caches.
            if !slot.used.load(Ordering::Relaxed) {
                slot.used.store(true, Ordering::Relaxed);
            }
            return Lookup::Hit(slot.key.clone());
        }
        match shard.negatives.get(digest) {
            Some(until) if *until > now_ns => Lookup::Unknown,
            _ => Lookup::Miss,
        }
    }

    /// Put a key in, or a new version of it: that one keeps the counters, and meets the record's figure of spending. A
    /// record of an earlier revision than the held one changes nothing.
    ///
    /// # Errors
    /// [`RecordError`]; a former version stays in force then.
    pub fn insert(&self, record: KeyRecord) -> Result<Arc<Key>, RecordError> {
        let digest = record.token;
        let scopes = self.scopes_of(&record);
        let Some(mut shard) = self.write(&digest) else {
            return Ok(Arc::new(Key::compile(record, None)?.under(scopes)));
        };
        let at = shard.index.get(&digest).copied();
        let former = at.and_then(|at| shard.slots.get(at)?.as_ref()).map(|slot| &slot.key);
        if let Some(held) = former.filter(|held| record.revision != 0 && record.revision < held.record.revision) {
            return Ok(held.clone());
        }
        let counters = former.map(|key| key.state.clone()).or_else(|| shard.parked.get(&digest).cloned());
        let key = Arc::new(Key::compile(record, counters)?.under(scopes));
        shard.negatives.remove(&digest);
        shard.parked.remove(&digest);
        let slot = Slot { key: key.clone(), used: AtomicBool::new(true) };
        let at = at.unwrap_or_else(|| shard.vacancy());
        if let Some(place) = shard.slots.get_mut(at) {
            *place = Some(slot);
            shard.index.insert(digest, at);
        }
        Ok(key)
    }

    /// The places of the scopes that a record names, each once.
    fn scopes_of(&self, record: &KeyRecord) -> Box<[Arc<Scope>]> {
        let mut scopes: Vec<Arc<Scope>> = Vec::with_capacity(record.scopes.len());
        for name in &record.scopes {
            if !scopes.iter().any(|known| **known.name() == **name) {
                scopes.push(self.scopes.place(name));
            }
        }
        scopes.into()
    }

    /// Remember that there is no such key. A key that is in the table stays.
    pub fn insert_unknown(&self, digest: Digest, now_ns: u64) {
        let until = now_ns.saturating_add(self.negative_ttl_ns);
        if let Some(mut shard) = self.write(&digest) {
            shard.negatives.insert(digest, until);
        }
    }

    /// Forget a digest, known or unknown: the next look-up is a miss. Should the key come back soon, it finds its
    /// counters as they were.
    pub fn remove(&self, digest: &Digest) {
        let Some(mut shard) = self.write(digest) else { return };
        shard.negatives.remove(digest);
        let Some(at) = shard.index.remove(digest) else { return };
        if let Some(slot) = shard.slots.get_mut(at).and_then(Option::take) {
            shard.parked.insert(*digest, slot.key.state.clone());
            shard.free.push(at);
        }
    }

    /// `(spent, reserved, in_flight)` of a key, without counting as a use of it.
    #[must_use]
    pub fn usage(&self, digest: &Digest) -> Option<(u64, u64, u64)> {
        let shard = self.read(digest)?;
        let slot = shard.slots.get(*shard.index.get(digest)?)?.as_ref()?;
        Some(slot.key.state.usage())
    }

    /// Gives back the memory of rates that nobody has used for a minute, of keys and of scopes. Takes some milliseconds
    /// for a hundred thousand: not on a thread that answers calls.
    pub fn rest(&self, now_ns: u64) {
        for shard in &self.shards {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            shard.slots.iter().flatten().for_each(|slot| slot.key.state.rest(now_ns));
        }
        self.scopes.rest(now_ns);
    }

    /// Keys in the table.
    #[must_use]
    pub fn len(&self) -> usize {
        let of = |shard: &RwLock<Shard>| shard.read().unwrap_or_else(PoisonError::into_inner).index.len();
        self.shards.iter().map(of).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn shard(&self, digest: &Digest) -> Option<&RwLock<Shard>> {
        let [first, ..] = digest.as_bytes();
        self.shards.get(usize::from(*first) % self.shards.len().max(1))
    }

    fn read(&self, digest: &Digest) -> Option<RwLockReadGuard<'_, Shard>> {
        Some(self.shard(digest)?.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write(&self, digest: &Digest) -> Option<RwLockWriteGuard<'_, Shard>> {
        Some(self.shard(digest)?.write().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Shard {
    /// A place for one more key: a free one, an evicted one, or, when every key is in use, one beyond the capacity.
    fn vacancy(&mut self) -> usize {
        if let Some(at) = self.free.pop() {
            return at;
        }
        if self.room.taken.load(Ordering::Relaxed) >= self.room.capacity {
            // Twice round: the first may only take second chances away.
            for _ in 0..self.slots.len() * 2 {
                let at = self.hand;
                self.hand = (self.hand + 1) % self.slots.len();
                let idle = self.slots.get_mut(at).and_then(|place| place.take_if(|slot| slot.evictable()));
                if let Some(slot) = idle {
                    self.index.remove(&slot.key.digest);
                    self.parked.insert(slot.key.digest, slot.key.state.clone());
                    return at;
                }
            }
        }
        self.room.taken.fetch_add(1, Ordering::Relaxed);
        self.slots.push(None);
        self.slots.len() - 1
    }
}

impl Slot {
    /// Takes the second chance away. Exact: under the write lock nobody can get a first reference, and who has one
    /// (to the key, or to the counters through an older version of it or a reservation) is counted.
    fn evictable(&self) -> bool {
        let chance = self.used.swap(false, Ordering::Relaxed);
        !chance && Arc::strong_count(&self.key) == 1 && Arc::strong_count(&self.key.state) == 1
    }
}

/// Digests bring their own hash.
type ByDigest = BuildHasherDefault<Uniform>;

#[derive(Default)]
struct Uniform(u64);

impl Hasher for Uniform {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes
            .iter()
            .fold(self.0, |hash, byte| (hash.rotate_left(8) ^ u64::from(*byte)).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    }
}

#[cfg(test)]
mod tests;
