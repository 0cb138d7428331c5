//! Who sends the requests: threads with their connections; connect, warm up, measure.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::caller::Caller;
use crate::control::Control;
use crate::failure::Failure;
use crate::phase::Phase;
use crate::plan::Plan;
use crate::recorder::{Collected, Recorder};
use crate::report::{Report, Run};
use crate::{LoadError, cpu};

/// Pause after a refused connection, so that a dead target is not asked in a busy loop.
const RECONNECT_PAUSE: Duration = Duration::from_millis(10);
/// What requests in flight have when the load is told to stop.
const STOP_GRACE: Duration = Duration::from_millis(250);

/// A thread's share of the connections.
struct Part<C> {
    runtime: Runtime,
    /// With their places among all callers: neighbours are on different connections.
    callers: Vec<(u32, C)>,
}

/// What a thread did in a phase.
struct Done {
    recorder: Arc<Recorder>,
    cpu: Option<Duration>,
}

/// Generates the load; `callers` makes those of one connection.
pub(crate) fn drive<C: Caller>(
    plan: &Arc<Plan>,
    control: &Arc<Control>,
    callers: impl Fn() -> Vec<C>,
) -> Result<Report, LoadError> {
    let mut parts = Vec::with_capacity(plan.threads);
    for first in 0..plan.threads {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(LoadError::Runtime)?;
        let places = (first..plan.connections).step_by(plan.threads);
        let mut here = Vec::new();
        for place in places {
            let places = (place..).step_by(plan.connections).map(|place| u32::try_from(place).unwrap_or(u32::MAX));
            here.extend(places.zip(callers()));
        }
        here.sort_by_key(|(place, _)| *place);
        parts.push(Part { runtime, callers: here });
    }
    each(&mut parts, |part| {
        part.connect(plan.timeout, control);
        Ok(())
    })?;
    if plan.warmup_requests > 0 {
        let phase = Arc::new(Phase::closed(plan.warmup_requests, None));
        let (now, reference) = (Instant::now(), Arc::new(OnceLock::new()));
        each(&mut parts, |part| {
            part.run(&phase, Recorder::new(now, Arc::clone(&reference), None), control, Duration::ZERO)
        })?;
    }
    let start = Instant::now();
    control.started(start);
    let phase = Arc::new(Phase::measured(plan, start)?);
    let reference = Arc::new(OnceLock::new());
    let step = plan.ramp / u32::try_from(plan.in_flight()).unwrap_or(u32::MAX);
    let done = each(&mut parts, |part| {
        let recorder = Recorder::new(start, Arc::clone(&reference), Some(Arc::clone(control)));
        part.run(&phase, recorder, control, step)
    })?;
    let elapsed = start.elapsed();
    let mut collected = Collected::new(start);
    for part in &done {
        collected.merge(&part.recorder.lock());
    }
    let run = Run {
        elapsed,
        cpu: done.iter().map(|part| part.cpu).sum(),
        open: plan.arrivals.is_some(),
        stream: plan.stream.is_some(),
        request_bytes: plan.request.len() as u64,
        digest: reference.get().map(|seen| seen.digest),
        stopped: control.is_stopped(),
    };
    Ok(Report::new(&collected, &run))
}

/// Does the same on every part's own thread; on this one when there is only one.
fn each<C: Caller, T: Send>(
    parts: &mut [Part<C>],
    work: impl Fn(&mut Part<C>) -> Result<T, LoadError> + Sync,
) -> Result<Vec<T>, LoadError> {
    if let [part] = parts {
        return Ok(vec![work(part)?]);
    }
    std::thread::scope(|scope| {
        let threads: Vec<_> = parts.iter_mut().map(|part| scope.spawn(|| work(part))).collect();
        let ended = |thread: std::thread::ScopedJoinHandle<'_, Result<T, LoadError>>| {
            thread.join().unwrap_or_else(|_| Err(LoadError::Runtime(std::io::Error::other("a thread panicked"))))
        };
        threads.into_iter().map(ended).collect()
    })
}

impl<C: Caller> Part<C> {
    /// Opens the connections. The requests that need one that cannot be opened will try again and be counted.
    fn connect(&mut self, timeout: Duration, control: &Control) {
        let Self { runtime, callers } = self;
        runtime.block_on(async {
            for (_, caller) in callers {
                let opened = tokio::select! {
                    biased;
                    () = control.stopped() => false,
                    opened = tokio::time::timeout(timeout, caller.connect()) => matches!(opened, Ok(Ok(()))),
                };
                if !opened {
                    break;
                }
            }
        });
    }

    /// Runs a phase on all connections, begun `step` after each other, and keeps them.
    fn run(
        &mut self,
        phase: &Arc<Phase>,
        recorder: Recorder,
        control: &Arc<Control>,
        step: Duration,
    ) -> Result<Done, LoadError> {
        let recorder = Arc::new(recorder);
        let before = cpu::thread_time();
        let mut tasks = JoinSet::new();
        for (place, caller) in self.callers.drain(..) {
            let turn = Turn { phase: Arc::clone(phase), recorder: Arc::clone(&recorder), after: step * place };
            tasks.spawn_on(turn.work(place, caller, Arc::clone(control)), self.runtime.handle());
        }
        let back = &mut self.callers;
        let recorded = &recorder;
        self.runtime
            .block_on(async {
                let mut give_up: Option<tokio::time::Instant> = None;
                loop {
                    tokio::select! {
                        biased;
                        ended = tasks.join_next() => match ended {
                            Some(caller) => back.push(caller?),
                            None => return Ok(()),
                        },
                        () = control.stopped(), if give_up.is_none() => {
                            give_up = Some(tokio::time::Instant::now() + STOP_GRACE);
                            phase.stop();
                        }
                        () = until(give_up) => {
                            recorded.abandoned(tasks.len() as u64);
                            tasks.shutdown().await;
                        }
                    }
                }
            })
            .map_err(|e: tokio::task::JoinError| LoadError::Runtime(std::io::Error::other(e)))?;
        for (_, caller) in &mut self.callers {
            recorder.reconnects(caller.take_reconnects());
        }
        let cpu = before.zip(cpu::thread_time()).map(|(before, after)| after.saturating_sub(before));
        Ok(Done { recorder, cpu })
    }
}

/// Returns at this time; never without one.
async fn until(time: Option<tokio::time::Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// A caller's part in a phase.
struct Turn {
    phase: Arc<Phase>,
    recorder: Arc<Recorder>,
    after: Duration,
}

impl Turn {
    async fn work<C: Caller>(self, place: u32, mut caller: C, control: Arc<Control>) -> (u32, C) {
        let Self { phase, recorder, after } = self;
        if !after.is_zero() {
            tokio::select! {
                () = tokio::time::sleep(after) => {}
                // The loop itself may hear of it later.
                () = control.stopped() => return (place, caller),
            }
        }
        drop(control);
        while let Some(due) = phase.due(&recorder).await {
            let sent = Instant::now();
            match caller.call(due, &recorder).await {
                Ok(answered) => recorder.answered(due, sent, Instant::now(), &answered),
                Err(failure) => {
                    recorder.failed(&failure);
                    if matches!(failure, Failure::Connect(_) | Failure::Tls(_)) {
                        tokio::time::sleep(RECONNECT_PAUSE).await;
                    }
                }
            }
        }
        (place, caller)
    }
}
