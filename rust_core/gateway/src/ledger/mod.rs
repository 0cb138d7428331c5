//! The hand-over of usage records to whoever makes them durable.
//!
//! A call pushes its record onto its own thread's list and goes on: the lock is only ever
//! contended for the microseconds in which the writer swaps the list out. Records stay here until
//! they are acknowledged, so a failing store loses nothing; when too many wait, admission refuses
//! new calls rather than let one go unaccounted.

mod record;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use record::{Outcome, UsageRecord, UsageSource};

/// Bytes of a record as JSON, a little more than most have.
const TYPICAL_RECORD: usize = 512;

/// Records that there is always room for.
const SPARE: usize = 4096;

/// The queue of records between the data plane and the store.
#[derive(Debug)]
pub struct Ledger {
    incoming: Vec<Mutex<Vec<UsageRecord>>>,
    taken: Mutex<VecDeque<UsageRecord>>,
    waiting: AtomicUsize,
    seq: AtomicU64,
    capacity: usize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere must not lose records.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ledger {
    /// A queue for so many threads that reports itself full at `capacity` records. Ordinals start after `seq_base`,
    /// which must lie beyond those of former processes.
    #[must_use]
    pub fn new(threads: usize, capacity: usize, seq_base: u64) -> Self {
        Self {
            incoming: (0..threads.max(1)).map(|_| Mutex::default()).collect(),
            taken: Mutex::default(),
            waiting: AtomicUsize::new(0),
            seq: AtomicU64::new(seq_base),
            capacity,
        }
    }

    /// Whether new calls must be refused.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) >= self.capacity
    }

    /// Records that are not acknowledged.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Adds the record of a call, which `settle` makes (and settles its amounts) once its ordinal is known.
    ///
    /// Ordinal, settlement and hand-over are one step for whoever takes records: one that holds an ordinal holds all
    /// lower ones.
    pub fn push(&self, thread: usize, settle: impl FnOnce(u64) -> UsageRecord) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        if let Some(list) = self.incoming.get(thread % self.incoming.len()) {
            let mut list = lock(list);
            let seq = self.seq.fetch_add(1, Ordering::Relaxed) + 1;
            list.push(settle(seq));
        }
    }

    /// The oldest `limit` records as JSON, an array of values each; they stay until [`Ledger::ack`].
    #[must_use]
    pub fn take(&self, limit: usize) -> Vec<u8> {
        let mut taken = lock(&self.taken);
        if taken.len() < limit {
            // All at once, in order of their ordinals.
            let mut lists: Vec<_> = self.incoming.iter().map(lock).collect();
            let mut fresh: Vec<UsageRecord> = lists.iter_mut().flat_map(|list| std::mem::take(&mut **list)).collect();
            drop(lists);
            fresh.sort_unstable_by_key(|record| record.seq);
            taken.extend(fresh);
        }
        let records: Vec<&UsageRecord> = taken.iter().take(limit).collect();
        let mut text = Vec::with_capacity(records.len() * TYPICAL_RECORD + 2);
        match serde_json::to_writer(&mut text, &records) {
            Ok(()) => text,
            Err(_) => b"[]".to_vec(),
        }
    }

    /// The first `count` records taken are durable.
    pub fn ack(&self, count: usize) {
        let mut taken = lock(&self.taken);
        let count = count.min(taken.len());
        taken.drain(..count);
        // What an outage of the store has made large must not stay so.
        if taken.capacity() > SPARE && taken.len() < taken.capacity() / 4 {
            let room = SPARE.max(taken.len() * 2);
            taken.shrink_to(room);
        }
        self.waiting.fetch_sub(count, Ordering::Relaxed);
    }
}
