//! When requests are sent: warm-up, then a closed or an open loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::client::{Client, Failure};
use crate::options::{Arrivals, Plan};
use crate::report::{Recorder, Report, Run};
use crate::{LoadError, cpu, pacer};

/// Pause after a refused connection, so that a dead target is not asked in a busy loop.
const RECONNECT_PAUSE: Duration = Duration::from_millis(10);

/// One loop over all connections.
#[derive(Debug)]
struct Phase {
    recorder: Recorder,
    /// Ordinal of the next request.
    next: AtomicU64,
    limit: u64,
    pace: Pace,
}

#[derive(Debug)]
enum Pace {
    Closed { until: Option<Instant> },
    Open { start: Instant, arrivals: Arrivals, permits: Arc<Semaphore>, give_up: Instant },
}

impl Phase {
    fn closed(limit: u64, until: Option<Instant>) -> Self {
        Self { recorder: Recorder::default(), next: AtomicU64::new(0), limit, pace: Pace::Closed { until } }
    }

    /// When the next request is due, once it is; `None` when there is none.
    async fn due(&self) -> Option<Instant> {
        loop {
            match &self.pace {
                Pace::Closed { until } => {
                    let now = Instant::now();
                    let on = until.is_none_or(|u| now < u) && self.next.fetch_add(1, Ordering::Relaxed) < self.limit;
                    return on.then_some(now);
                }
                Pace::Open { start, arrivals, permits, give_up } => {
                    permits.acquire().await.ok()?.forget();
                    let ordinal = self.next.fetch_add(1, Ordering::Relaxed);
                    if ordinal >= self.limit {
                        return None;
                    }
                    if Instant::now() < *give_up {
                        return Some(pacer::due(*start, *arrivals, ordinal));
                    }
                    self.recorder.unsent();
                }
            }
        }
    }
}

async fn work(mut client: Client, phase: Arc<Phase>, after: Duration) -> Client {
    if !after.is_zero() {
        tokio::time::sleep(after).await;
    }
    while let Some(due) = phase.due().await {
        let sent = Instant::now();
        match client.call(due, &phase.recorder).await {
            Ok(()) => phase.recorder.answered(due, sent, Instant::now()),
            Err(failure) => {
                phase.recorder.failed(&failure);
                if matches!(failure, Failure::Connect) {
                    tokio::time::sleep(RECONNECT_PAUSE).await;
                }
            }
        }
    }
    client
}

/// Runs a phase on all connections, begun over the time of `ramp`, and gives them back.
async fn all(clients: Vec<Client>, phase: &Arc<Phase>, ramp: Duration) -> Result<Vec<Client>, LoadError> {
    let step = ramp / u32::try_from(clients.len().max(1)).unwrap_or(u32::MAX);
    let started = |(i, client)| tokio::spawn(work(client, Arc::clone(phase), step * i));
    let tasks: Vec<_> = (0u32..).zip(clients).map(started).collect();
    let mut back = Vec::with_capacity(tasks.len());
    for task in tasks {
        back.push(task.await.map_err(|e| LoadError::Runtime(std::io::Error::other(e)))?);
    }
    Ok(back)
}

pub(crate) async fn drive(plan: Plan) -> Result<Report, LoadError> {
    let plan = Arc::new(plan);
    let mut clients: Vec<Client> = (0..plan.connections).map(|_| Client::new(Arc::clone(&plan))).collect();
    for client in &mut clients {
        if tokio::time::timeout(plan.timeout, client.connect()).await.is_ok_and(|c| c.is_err()) {
            // The requests that need this connection will try again and be counted.
            break;
        }
    }
    if plan.warmup_requests > 0 {
        clients = all(clients, &Arc::new(Phase::closed(plan.warmup_requests, None)), Duration::ZERO).await?;
    }
    let start = Instant::now();
    let cpu_before = cpu::thread_time();
    let phase = Arc::new(measured(&plan, start)?);
    let clients = all(clients, &phase, plan.ramp).await?;
    let run = Run {
        elapsed: start.elapsed(),
        cpu: cpu_before.zip(cpu::thread_time()).map(|(before, after)| after.saturating_sub(before)),
        open: plan.arrivals.is_some(),
        stream: plan.stream.is_some(),
        request_bytes: plan.request.len() as u64,
    };
    drop(clients);
    Ok(phase.recorder.report(&run))
}

fn measured(plan: &Plan, start: Instant) -> Result<Phase, LoadError> {
    let Some(arrivals) = plan.arrivals else {
        return Ok(Phase::closed(plan.requests, plan.duration.map(|d| start + d)));
    };
    let permits = Arc::new(Semaphore::new(0));
    let give_up = pacer::due(start, arrivals, arrivals.count) + plan.timeout;
    // The thread ends by itself with the last arrival, which every connection waits for.
    drop(pacer::start(start, arrivals, plan.connections, Arc::clone(&permits)).map_err(LoadError::Runtime)?);
    let pace = Pace::Open { start, arrivals, permits, give_up };
    Ok(Phase { recorder: Recorder::default(), next: AtomicU64::new(0), limit: arrivals.count, pace })
}
