//! Timeouts that cost next to nothing when they do not fire.
//!
//! A call has half a dozen of them, and each of the runtime's own timers is put into its wheel and
//! taken out again. Here a timer stays armed between uses: one that was armed for an earlier moment
//! than the next use needs is left as it is, and set right when it fires.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// Timers kept for the next use; more are only needed while many calls wait at once.
const SPARE: usize = 1024;

/// The time was up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elapsed;

/// The spare timers of one thread.
#[derive(Default)]
pub struct Timers(RefCell<Vec<Pin<Box<Sleep>>>>);

impl std::fmt::Debug for Timers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Timers").field("spare", &self.0.borrow().len()).finish()
    }
}

/// A moment to wait for. It can be moved at any time, which is cheap unless it moves forward.
#[derive(Debug)]
pub struct Deadline<'a> {
    timers: &'a Timers,
    at: Instant,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timers {
    /// A deadline after so long.
    pub fn after(&self, limit: Duration) -> Deadline<'_> {
        Deadline { timers: self, at: Instant::now() + limit.min(FAR), sleep: None }
    }

    /// Awaits the future for at most so long. A large one is better pinned by the caller: handed over by value it takes
    /// its room twice.
    ///
    /// # Errors
    /// [`Elapsed`] when the time was up first.
    pub async fn within<F: Future>(&self, limit: Duration, future: F) -> Result<F::Output, Elapsed> {
        let mut future = pin!(future);
        let mut deadline: Option<Deadline<'_>> = None;
        poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            deadline.get_or_insert_with(|| self.after(limit)).poll(cx).map(|()| Err(Elapsed))
        })
        .await
    }
}

/// What the runtime's wheel can hold, and longer than any configured timeout.
const FAR: Duration = Duration::from_secs(365 * 86_400);

impl Deadline<'_> {
    /// Moves it.
    pub fn move_to(&mut self, at: Instant) {
        self.at = at;
        if let Some(sleep) = self.sleep.as_mut().filter(|s| s.deadline() > at) {
            sleep.as_mut().reset(at);
        }
    }

    /// Ready once the moment has come.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let at = self.at;
        let sleep = self.sleep.get_or_insert_with(|| match self.timers.0.borrow_mut().pop() {
            Some(mut spare) => {
                if spare.deadline() > at {
                    spare.as_mut().reset(at);
                }
                spare
            }
            None => Box::pin(tokio::time::sleep_until(at)),
        });
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= at {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(at);
        }
    }

    /// Waits for it.
    pub async fn wait(&mut self) {
        poll_fn(|cx| self.poll(cx)).await;
    }
}

impl Drop for Deadline<'_> {
    fn drop(&mut self) {
        if let Some(mut sleep) = self.sleep.take() {
            // It has the waker of the task that used it, which keeps all memory of the task: another takes its place.
            let pending = sleep.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending();
            let mut spare = self.timers.0.borrow_mut();
            if pending && spare.len() < SPARE {
                spare.push(sleep);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
    }

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn a_future_in_time_is_let_through() {
        run(async {
            let timers = Timers::default();
            assert_eq!(timers.within(ms(1000), async { 7 }).await, Ok(7));
            assert_eq!(timers.within(ms(1000), tokio::time::sleep(ms(5))).await, Ok(()));
        });
    }

    #[test]
    fn a_timer_used_again_fires_when_it_should() {
        run(async {
            let timers = Timers::default();
            // Left armed for 20 ms from now, then for much later.
            for (first, second) in [(20, 60), (500, 30)] {
                let begun = Instant::now();
                assert_eq!(timers.within(ms(first), tokio::time::sleep(ms(1))).await, Ok(()));
                assert_eq!(timers.within(ms(second), std::future::pending::<()>()).await, Err(Elapsed));
                let took = begun.elapsed();
                assert!(took >= ms(second) && took < ms(second + 200), "{took:?}");
            }
        });
    }

    #[test]
    fn a_deadline_moves_both_ways() {
        run(async {
            let timers = Timers::default();
            let begun = Instant::now();
            let mut deadline = timers.after(ms(20));
            assert!(poll_fn(|cx| Poll::Ready(deadline.poll(cx))).await.is_pending());
            deadline.move_to(begun + ms(80));
            deadline.wait().await;
            assert!(begun.elapsed() >= ms(80));
            let mut deadline = timers.after(ms(5000));
            assert!(poll_fn(|cx| Poll::Ready(deadline.poll(cx))).await.is_pending());
            deadline.move_to(Instant::now() + ms(20));
            deadline.wait().await;
            assert!(begun.elapsed() < ms(1000));
        });
    }

    #[test]
    fn a_spare_timer_keeps_nothing_of_its_last_task() {
        struct Task;
        impl std::task::Wake for Task {
            fn wake(self: std::sync::Arc<Self>) {}
        }
        run(async {
            let timers = Timers::default();
            let task = std::sync::Arc::new(Task);
            let waker = Waker::from(std::sync::Arc::clone(&task));
            let mut deadline = timers.after(ms(5000));
            assert!(deadline.poll(&mut Context::from_waker(&waker)).is_pending());
            drop(waker);
            assert_eq!(std::sync::Arc::strong_count(&task), 2);
            drop(deadline);
            assert_eq!((std::sync::Arc::strong_count(&task), timers.0.borrow().len()), (1, 1));
        });
    }

    #[test]
    fn the_longest_timeout_is_no_problem() {
        run(async {
            let timers = Timers::default();
            assert_eq!(timers.within(Duration::MAX, tokio::time::sleep(ms(1))).await, Ok(()));
        });
    }
}
