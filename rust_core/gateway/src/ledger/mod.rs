//! The hand-over of usage records to whoever makes them durable.
//!
//! A call writes its record onto its own thread's list, as the text that the store will read, and goes on: nothing of
//! the call has to outlive it, no memory changes threads, and the lock is only ever contended for the moment in which
//! the writer swaps the list out. Records stay here until they are acknowledged, so a failing store loses nothing; when
//! too many wait, admission refuses new calls rather than let one go unaccounted.
//!
//! What is only in memory is lost with the process. Where there is a journal, a call is therefore opened in it before its request
//! goes to an upstream, its progress is noted now and then, and its record closes it; a process that was killed left there
//! what the next one hands over in its name. When the journal cannot be written, admission refuses new calls too.

mod opening;
mod record;
mod recovery;
mod rows;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::UNIX_EPOCH;

pub use penstock_journal::{Full, Ticket};
use penstock_journal::{Journal, Writer};

pub use opening::{Opening, Progress};
pub use record::{Outcome, UsageRecord, UsageSource};
pub use recovery::Recovery;
pub(crate) use recovery::is_incarnation;
use rows::{Rows, Taken};

/// What one thread adds to.
#[derive(Debug, Default)]
struct Lane {
    rows: Rows,
    journal: Option<Writer>,
    /// Where an opening is written together.
    scratch: Vec<u8>,
}

/// The queue of records between the data plane and the store.
#[derive(Debug)]
pub struct Ledger {
    lanes: Vec<Mutex<Lane>>,
    taken: Mutex<Taken>,
    waiting: AtomicUsize,
    seq: AtomicU64,
    capacity: usize,
    journal: Option<Journal>,
    /// By thread: it could last not write to the journal.
    failing: Vec<AtomicBool>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere must not lose records.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ledger {
    /// A queue for so many threads that reports itself full at `capacity` records. Ordinals start after `seq_base`,
    /// which must lie beyond those of former processes unless these have names of their own.
    #[must_use]
    pub fn new(threads: usize, capacity: usize, seq_base: u64) -> Self {
        let threads = threads.max(1);
        Self {
            lanes: (0..threads).map(|_| Mutex::default()).collect(),
            taken: Mutex::new(Taken::new(threads)),
            waiting: AtomicUsize::new(0),
            seq: AtomicU64::new(seq_base),
            capacity,
            journal: None,
            failing: (0..threads).map(|_| AtomicBool::new(false)).collect(),
        }
    }

    /// Keeps a journal, with a writer for each thread.
    #[must_use]
    pub fn journaled(mut self, journal: Journal, writers: Vec<Writer>) -> Self {
        for (lane, writer) in self.lanes.iter().zip(writers) {
            lock(lane).journal = Some(writer);
        }
        self.journal = Some(journal);
        self
    }

    /// Whether calls are opened in a journal.
    #[must_use]
    pub fn is_journaled(&self) -> bool {
        self.journal.is_some()
    }

    /// Whether new calls of this thread must be refused.
    #[must_use]
    pub fn refuses(&self, thread: usize) -> bool {
        self.waiting() >= self.capacity || (self.is_failing(thread) && !self.is_writable(thread))
    }

    fn is_failing(&self, thread: usize) -> bool {
        self.failing.get(thread % self.lanes.len()).is_some_and(|failing| failing.load(Ordering::Relaxed))
    }

    fn set_failing(&self, thread: usize, is_failing: bool) {
        if let Some(failing) = self.failing.get(thread % self.lanes.len()) {
            failing.store(is_failing, Ordering::Relaxed);
        }
    }

    /// Whether the thread can open calls in the journal; tries to make it so.
    fn is_writable(&self, thread: usize) -> bool {
        let writable = self.lane(thread).is_none_or(|mut lane| lane.journal.as_mut().is_none_or(Writer::is_writable));
        self.set_failing(thread, !writable);
        writable
    }

    /// To be called now and then by each thread: gives back room in the journal that calls have left.
    pub fn rest(&self, thread: usize) {
        if let Some(journal) = self.lane(thread).as_mut().and_then(|lane| lane.journal.as_mut()) {
            journal.rest();
        }
    }

    /// Records that are not acknowledged.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Whether all threads could last write to the journal, and how large its files are; `None`: there is none.
    #[must_use]
    pub fn journal_state(&self) -> Option<(bool, u64)> {
        self.journal.as_ref()?;
        let bytes = self.lanes.iter().map(|lane| lock(lane).journal.as_ref().map_or(0, Writer::bytes)).sum();
        Some((!self.failing.iter().any(|failing| failing.load(Ordering::Relaxed)), bytes))
    }

    fn lane(&self, thread: usize) -> Option<MutexGuard<'_, Lane>> {
        self.lanes.get(thread % self.lanes.len()).map(lock)
    }

    /// Opens a call in the journal; `None`: there is no journal.
    ///
    /// # Errors
    /// [`Full`]: it cannot be written, and the call must not go on.
    pub fn open(&self, thread: usize, opening: &Opening<'_>) -> Result<Option<Ticket>, Full> {
        let Some(mut lane) = self.lane(thread) else { return Ok(None) };
        let Lane { journal: Some(journal), scratch, .. } = &mut *lane else { return Ok(None) };
        opening.write(scratch);
        let opened = journal.open(&[scratch]);
        if opened.is_err() {
            self.set_failing(thread, true);
        }
        opened.map(Some)
    }

    /// The call goes to another upstream. Where there is no room for that, what was said of the first stands.
    pub fn reopen(&self, thread: usize, ticket: &Ticket, opening: &Opening<'_>) {
        let Some(mut lane) = self.lane(thread) else { return };
        let Lane { journal: Some(journal), scratch, .. } = &mut *lane else { return };
        opening.write(scratch);
        journal.reopen(ticket, &[scratch]);
    }

    /// Notes how far a call has got.
    pub fn progress(&self, thread: usize, ticket: &Ticket, progress: &Progress) {
        if let Some(journal) = self.lane(thread).as_mut().and_then(|lane| lane.journal.as_mut()) {
            journal.update(ticket, &[&progress.write()]);
        }
    }

    /// Adds the record of a call, which `settle` makes (and settles its amounts) once its ordinal is known, and closes the
    /// call in the journal if it was opened there.
    ///
    /// Ordinal, settlement and hand-over are one step for whoever takes records: one that holds an ordinal holds all
    /// lower ones.
    pub fn push<'a>(&self, thread: usize, ticket: Option<Ticket>, settle: impl FnOnce(u64) -> UsageRecord<'a>) {
        let Some(mut lane) = self.lane(thread) else { return };
        let Lane { rows, journal, .. } = &mut *lane;
        let seq = self.seq.fetch_add(1, Ordering::Relaxed) + 1;
        let settled = catch_unwind(AssertUnwindSafe(|| settle(seq)));
        match &settled {
            Ok(record) => rows.push(record),
            Err(_) => {
                // Who counts up to where all ordinals are there would wait for this one for ever.
                let id = format!("void-{:x}-{seq}", UNIX_EPOCH.elapsed().unwrap_or_default().as_micros());
                rows.push(&UsageRecord::void(&id, seq));
            }
        }
        if let Some(journal) = journal
            && !journal.close(ticket, seq, rows.newest())
        {
            self.set_failing(thread, true);
        }
        // Under the lock: whoever takes the record finds it counted.
        self.waiting.fetch_add(1, Ordering::Relaxed);
        drop(lane);
        if let Err(panic) = settled {
            resume_unwind(panic);
        }
    }

    /// The oldest `limit` records with ordinals above `after` as JSON, an array of values each; they stay until
    /// [`Ledger::ack`].
    #[must_use]
    pub fn take(&self, limit: usize, after: u64) -> Vec<u8> {
        let mut taken = lock(&self.taken);
        if taken.beyond(after) < limit {
            // All at once, in order of their ordinals.
            let mut lanes: Vec<_> = self.lanes.iter().map(lock).collect();
            taken.swap(lanes.iter_mut().map(|lane| &mut lane.rows));
            drop(lanes);
            taken.gather();
        }
        taken.oldest(limit, after)
    }

    /// All records with ordinals up to this one, of those that were taken, are durable.
    pub fn ack(&self, seq: u64) {
        let mut taken = lock(&self.taken);
        let Some((gone, last)) = taken.forget(seq) else { return };
        self.waiting.fetch_sub(gone, Ordering::Relaxed);
        if let Some(journal) = &self.journal {
            journal.acknowledge(last);
        }
    }

    /// The threads have ended: a journal in which all is acknowledged has nothing to say any more.
    pub fn close(&self) {
        if let Some(journal) = self.journal.as_ref().filter(|_| self.waiting() == 0) {
            journal.discard();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(ledger: &Ledger, thread: usize) {
        ledger.push(thread, None, record::example);
    }

    /// Ordinals of the oldest `limit` records.
    fn ordinals(ledger: &Ledger, limit: usize) -> Vec<u64> {
        let rows: Vec<Vec<serde_json::Value>> = serde_json::from_slice(&ledger.take(limit, 0)).unwrap();
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
        ledger.ack(103);
        push(&ledger, 1);
        assert_eq!(ordinals(&ledger, 2), [104, 105]);
        assert_eq!(ordinals(&ledger, 99), [104, 105, 106, 107]);
        assert_eq!(ledger.waiting(), 4);
        ledger.ack(99);
        assert_eq!(ledger.waiting(), 4);
        ledger.ack(107);
        assert_eq!(ledger.waiting(), 0);
        assert_eq!(ledger.take(5, 0), b"[]");
        push(&ledger, 0);
        assert_eq!(ordinals(&ledger, 5), [108]);
    }

    #[test]
    fn it_is_full_at_its_capacity_and_takes_records_all_the_same() {
        let ledger = Ledger::new(1, 2, 0);
        for _ in 0..3 {
            push(&ledger, 0);
        }
        assert!(ledger.refuses(0));
        assert_eq!(ordinals(&ledger, 9), [1, 2, 3]);
        ledger.ack(2);
        assert!(!ledger.refuses(0));
    }

    #[test]
    fn records_outlive_a_panic_of_the_call_that_was_about_to_add_one() {
        let ledger = Ledger::new(1, 10, 0);
        push(&ledger, 0);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            ledger.push(0, None, |_| panic!("while the record is made"));
        }));
        assert!(panicked.is_err());
        push(&ledger, 0);
        // The place of the one that was not made is held by one that is void.
        assert_eq!(ordinals(&ledger, 9), [1, 2, 3]);
        assert_eq!(ledger.waiting(), 3);
    }

    /// A ledger with a journal in which nothing new can be opened once what exists is full.
    fn without_room(name: &str, threads: usize) -> Ledger {
        let root = std::env::temp_dir().join(format!("penstock-ledger-{}-{name}", std::process::id()));
        let opened = penstock_journal::open(&root, "a", threads, 4096).unwrap();
        std::fs::remove_dir_all(root).unwrap();
        Ledger::new(threads, 100_000, 0).journaled(opened.journal, opened.writers)
    }

    fn fill(ledger: &Ledger, thread: usize) {
        let key = crate::auth::record::KeyRecord::unlimited(crate::auth::Digest::from_bytes([0; 32]));
        while ledger.open(thread, &opening::example(&key)).is_ok() {}
    }

    #[test]
    fn a_thread_that_can_write_does_not_speak_for_one_that_cannot() {
        let ledger = without_room("threads", 2);
        fill(&ledger, 0);
        assert!(ledger.refuses(0));
        assert!(!ledger.refuses(1));
        assert!(ledger.refuses(0));
        let is_failing = || ledger.failing.iter().map(|failing| failing.load(Ordering::Relaxed)).collect::<Vec<_>>();
        assert_eq!(is_failing(), [true, false]);
        assert_eq!(ledger.journal_state().map(|(writable, _)| writable), Some(false));
    }

    #[test]
    fn a_record_that_finds_no_room_says_so() {
        let ledger = without_room("records", 1);
        while ledger.journal_state().is_some_and(|(writable, _)| writable) {
            push(&ledger, 0);
            assert!(ledger.waiting() < 1_000);
        }
        assert!(ledger.refuses(0));
        // Once what is there is safe, its room is used again.
        assert!(ordinals(&ledger, 1_000).len() > 3);
        ledger.ack(u64::MAX);
        assert!(!ledger.refuses(0));
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

    #[test]
    fn records_after_an_ordinal_are_taken_while_earlier_ones_wait_for_their_acknowledgement() {
        let ledger = Ledger::new(2, 10, 0);
        (0..6).for_each(|n| push(&ledger, n % 2));
        let after = |limit, after| -> Vec<u64> {
            let rows: Vec<Vec<serde_json::Value>> = serde_json::from_slice(&ledger.take(limit, after)).unwrap();
            rows.iter().map(|row| row[2].as_u64().unwrap()).collect()
        };
        assert_eq!(after(2, 0), [1, 2]);
        assert_eq!(after(2, 2), [3, 4]);
        push(&ledger, 1);
        assert_eq!(after(9, 4), [5, 6, 7]);
        assert_eq!(after(9, 7), [0; 0]);
        ledger.ack(3);
        ledger.ack(1);
        assert_eq!(after(9, 0), [4, 5, 6, 7]);
        assert_eq!(after(1, 4), [5]);
        ledger.ack(u64::MAX);
        push(&ledger, 0);
        assert_eq!(after(9, 0), [8]);
    }
}
