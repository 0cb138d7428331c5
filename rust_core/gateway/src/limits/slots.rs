//! Calls in flight, counted by guards.
//!
//! Apart from the rates because a slot is held for a call's life and comes back by itself: by drop, on whatever thread
//! and for whatever reason the call ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A counter of calls in flight.
#[derive(Debug, Default)]
pub struct Slots(AtomicU64);

/// One slot; dropping it frees the slot.
#[derive(Debug)]
pub struct SlotGuard(Arc<Slots>);

/// Every slot is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotsFull {
    /// Calls in flight when this one was refused.
    pub in_flight: u64,
}

impl Slots {
    /// A counter at zero.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Take a slot; `None` counts without a bound.
    ///
    /// # Errors
    /// [`SlotsFull`] when `limit` slots are taken.
    pub fn enter(self: &Arc<Self>, limit: Option<u64>) -> Result<SlotGuard, SlotsFull> {
        let Some(limit) = limit else {
            self.0.fetch_add(1, Ordering::AcqRel);
            return Ok(SlotGuard(self.clone()));
        };
        let take = |taken: u64| (taken < limit).then_some(taken + 1);
        match self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, take) {
            Ok(_) => Ok(SlotGuard(self.clone())),
            Err(in_flight) => Err(SlotsFull { in_flight }),
        }
    }

    /// Calls in flight.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

impl Drop for SlotGuard {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::AtomicUsize;
    use std::thread;

    use super::*;

    #[test]
    fn a_guard_frees_its_slot() {
        let slots = Arc::new(Slots::new());
        let first = slots.enter(Some(1)).unwrap();
        assert_eq!(slots.enter(Some(1)).unwrap_err(), SlotsFull { in_flight: 1 });
        drop(first);
        assert_eq!(slots.in_flight(), 0);
        assert!(slots.enter(Some(1)).is_ok());
        assert!(slots.enter(Some(0)).is_err());
    }

    #[test]
    fn calls_without_a_bound_are_counted() {
        let slots = Arc::new(Slots::new());
        let guards: Vec<_> = (0..5).map(|_| slots.enter(None).unwrap()).collect();
        assert_eq!(slots.in_flight(), 5);
        assert!(slots.enter(Some(5)).is_err());
        drop(guards);
        assert_eq!(slots.in_flight(), 0);
    }

    #[test]
    fn threads_never_hold_more_than_the_limit() {
        const LIMIT: u64 = 7;
        let slots = Arc::new(Slots::new());
        let held = Arc::new(AtomicUsize::new(0));
        let most = Arc::new(AtomicUsize::new(0));
        let barrier = Arc::new(Barrier::new(32));
        let threads: Vec<_> = (0..32)
            .map(|_| {
                let (slots, held, most, barrier) = (slots.clone(), held.clone(), most.clone(), barrier.clone());
                thread::spawn(move || {
                    barrier.wait();
                    for _ in 0..2_000 {
                        if let Ok(guard) = slots.enter(Some(LIMIT)) {
                            most.fetch_max(held.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                            thread::yield_now();
                            held.fetch_sub(1, Ordering::SeqCst);
                            drop(guard);
                        }
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(most.load(Ordering::SeqCst) <= LIMIT as usize);
        assert_eq!(slots.in_flight(), 0);
    }

    #[test]
    fn a_burst_of_threads_gets_exactly_the_limit() {
        let slots = Arc::new(Slots::new());
        let barrier = Arc::new(Barrier::new(200));
        let threads: Vec<_> = (0..200)
            .map(|_| {
                let (slots, barrier) = (slots.clone(), barrier.clone());
                thread::spawn(move || {
                    barrier.wait();
                    slots.enter(Some(50)).ok()
                })
            })
            .collect();
        let guards: Vec<_> = threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect();
        assert_eq!(guards.len(), 50);
    }
}
