//! How far the engine is on its way out, as one thread sees it.
//!
//! Every connection and every call waits for the end beside whatever else it waits for. A channel
//! between threads would take its lock at each of those waits; here waiting is a look at a cell, and
//! the thread tells its tasks when it hears of a change.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

/// How far the engine is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub enum Stage {
    /// Serving.
    Running,
    /// No new connections; calls in flight go on.
    Draining,
    /// Calls in flight are ended.
    Ending,
}

/// One thread's view.
#[derive(Debug)]
pub struct LocalStage {
    now: Cell<Stage>,
    waiting: RefCell<Vec<Option<Waker>>>,
    free: RefCell<Vec<usize>>,
    counted: Cell<usize>,
}

impl LocalStage {
    /// Where the thread begins.
    #[must_use]
    pub fn new(stage: Stage) -> Self {
        Self { now: Cell::new(stage), waiting: RefCell::default(), free: RefCell::default(), counted: Cell::new(0) }
    }

    /// The stage.
    #[must_use]
    pub fn get(&self) -> Stage {
        self.now.get()
    }

    /// Goes on to this stage and wakes everybody who waits.
    pub fn set(&self, stage: Stage) {
        self.now.set(stage);
        let wakers: Vec<Waker> = self.waiting.borrow_mut().iter_mut().filter_map(Option::take).collect();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Waits, beside other things.
    pub fn watch(&self) -> Watch<'_> {
        Watch { stage: self, slot: None, counted: false }
    }

    /// The same for one of those of whom only `most` may wait at a time; `None`: so many do.
    pub fn watch_as_one_of(&self, most: usize) -> Option<Watch<'_>> {
        let counted = self.counted.get();
        (counted < most).then(|| {
            self.counted.set(counted + 1);
            Watch { counted: true, ..self.watch() }
        })
    }
}

/// One task's wait.
#[derive(Debug)]
pub struct Watch<'a> {
    stage: &'a LocalStage,
    slot: Option<usize>,
    counted: bool,
}

impl Watch<'_> {
    /// Ready once the stage is this one or a later one.
    pub fn poll(&mut self, stage: Stage, cx: &mut Context<'_>) -> Poll<()> {
        if self.stage.get() >= stage {
            return Poll::Ready(());
        }
        let mut waiting = self.stage.waiting.borrow_mut();
        let slot = *self.slot.get_or_insert_with(|| match self.stage.free.borrow_mut().pop() {
            Some(slot) => slot,
            None => {
                waiting.push(None);
                waiting.len() - 1
            }
        });
        if let Some(waker) = waiting.get_mut(slot)
            && !waker.as_ref().is_some_and(|w| w.will_wake(cx.waker()))
        {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Waits for this stage or a later one.
    pub async fn reached(&mut self, stage: Stage) {
        poll_fn(|cx| self.poll(stage, cx)).await;
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if self.counted {
            self.stage.counted.set(self.stage.counted.get().saturating_sub(1));
        }
        let Some(slot) = self.slot else { return };
        if let Some(waker) = self.stage.waiting.borrow_mut().get_mut(slot) {
            *waker = None;
        }
        self.stage.free.borrow_mut().push(slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;
    use tokio::task::{LocalSet, spawn_local};

    #[test]
    fn only_so_many_of_a_kind_wait() {
        let stage = LocalStage::new(Stage::Running);
        let _uncounted = stage.watch();
        let first = stage.watch_as_one_of(2).unwrap();
        let _second = stage.watch_as_one_of(2).unwrap();
        assert!(stage.watch_as_one_of(2).is_none());
        drop(first);
        assert!(stage.watch_as_one_of(2).is_some());
        assert_eq!(stage.counted.get(), 1);
    }

    #[test]
    fn everybody_who_waits_is_woken_and_places_are_used_again() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            let stage = Rc::new(LocalStage::new(Stage::Running));
            let wait = |until: Stage| {
                let stage = Rc::clone(&stage);
                spawn_local(async move { stage.watch().reached(until).await })
            };
            let (draining, ending) = (wait(Stage::Draining), wait(Stage::Ending));
            tokio::task::yield_now().await;
            stage.set(Stage::Draining);
            draining.await.unwrap();
            assert!(!ending.is_finished());
            let late = wait(Stage::Ending);
            tokio::task::yield_now().await;
            assert_eq!(stage.waiting.borrow().len(), 2);
            stage.set(Stage::Ending);
            ending.await.unwrap();
            late.await.unwrap();
            stage.watch().reached(Stage::Draining).await;
        });
    }
}
