//! The hand-over of usage records to whoever makes them durable.
//!
//! A call writes its record onto its own thread's list, as the text that the store will read, and goes on: nothing of
//! the call has to outlive it, no memory changes threads, and the lock is only ever contended for the moment in which
//! the writer swaps the list out. Records stay here until they are acknowledged, so a failing store loses nothing; when
//! too many wait, admission refuses new calls rather than let one go unaccounted.

mod record;
mod rows;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use record::{Outcome, UsageRecord, UsageSource};
use rows::{Rows, Taken};

/// The queue of records between the data plane and the store.
#[derive(Debug)]
pub struct Ledger {
    incoming: Vec<Mutex<Rows>>,
    taken: Mutex<Taken>,
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
        let threads = threads.max(1);
        Self {
            incoming: (0..threads).map(|_| Mutex::default()).collect(),
            taken: Mutex::new(Taken::new(threads)),
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
    pub fn push<'a>(&self, thread: usize, settle: impl FnOnce(u64) -> UsageRecord<'a>) {
        if let Some(rows) = self.incoming.get(thread % self.incoming.len()) {
            let mut rows = lock(rows);
            let seq = self.seq.fetch_add(1, Ordering::Relaxed) + 1;
            rows.push(&settle(seq));
            // Under the lock: whoever takes the record finds it counted.
            self.waiting.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The oldest `limit` records as JSON, an array of values each; they stay until [`Ledger::ack`].
    #[must_use]
    pub fn take(&self, limit: usize) -> Vec<u8> {
        let mut taken = lock(&self.taken);
        if taken.len() < limit {
            // All at once, in order of their ordinals.
            let mut lists: Vec<_> = self.incoming.iter().map(lock).collect();
            taken.swap(lists.iter_mut().map(|list| &mut **list));
            drop(lists);
            taken.gather();
        }
        taken.oldest(limit)
    }

    /// The first `count` records taken are durable.
    pub fn ack(&self, count: usize) {
        let gone = lock(&self.taken).forget(count);
        self.waiting.fetch_sub(gone, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(ledger: &Ledger, thread: usize) {
        ledger.push(thread, record::example);
    }

    /// Ordinals of the oldest `limit` records.
    fn ordinals(ledger: &Ledger, limit: usize) -> Vec<u64> {
        let rows: Vec<Vec<serde_json::Value>> = serde_json::from_slice(&ledger.take(limit)).unwrap();
        rows.iter().map(|row| row[2].as_u64().unwrap()).collect()
    }

    #[test]
    fn records_of_all_threads_come_in_the_order_of_their_ordinals_and_stay_until_acknowledged() {
        let ledger = Ledger::new(3, 10, 100);
        for thread in [2, 0, 0, 1, 2, 1] {
            push(&ledger, thread);
        }
        assert_eq!(ordinals(&ledger, 4), [101, 102, 103, 104]);
        assert_eq!(ordinals(&ledger, 4), [101, 102, 103, 104]);
        ledger.ack(3);
        push(&ledger, 1);
        assert_eq!(ordinals(&ledger, 2), [104, 105]);
        assert_eq!(ordinals(&ledger, 99), [104, 105, 106, 107]);
        assert_eq!(ledger.waiting(), 4);
        ledger.ack(99);
        assert_eq!(ledger.waiting(), 0);
        assert_eq!(ledger.take(5), b"[]");
        push(&ledger, 0);
        assert_eq!(ordinals(&ledger, 5), [108]);
    }

    #[test]
    fn it_is_full_at_its_capacity_and_takes_records_all_the_same() {
        let ledger = Ledger::new(1, 2, 0);
        for _ in 0..3 {
            push(&ledger, 0);
        }
        assert!(ledger.is_full());
        assert_eq!(ordinals(&ledger, 9), [1, 2, 3]);
        ledger.ack(2);
        assert!(!ledger.is_full());
    }

    #[test]
    fn records_outlive_a_panic_of_the_call_that_was_about_to_add_one() {
        let ledger = Ledger::new(1, 10, 0);
        push(&ledger, 0);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            ledger.push(0, |_| panic!("while the record is made"));
        }));
        assert!(panicked.is_err());
        push(&ledger, 0);
        assert_eq!(ordinals(&ledger, 9), [1, 3]);
        assert_eq!(ledger.waiting(), 2);
    }

    #[test]
    fn room_for_a_backlog_is_given_back() {
        let ledger = Ledger::new(1, 1 << 20, 0);
        for _ in 0..20_000 {
            push(&ledger, 0);
        }
        assert_eq!(ordinals(&ledger, 20_000).len(), 20_000);
        ledger.ack(20_000);
        push(&ledger, 0);
        assert_eq!(ordinals(&ledger, 9), [20_001]);
        assert!(lock(&ledger.taken).room() <= 2 * rows::SPARE, "{}", lock(&ledger.taken).room());
    }
}
