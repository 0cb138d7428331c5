//! What a call takes of limits that several gateways share, once it is within them here.
//!
//! Apart from admission because it may wait: leases are drawn ahead of time, so that in the long run nothing is lacking,
//! but a first call, a small limit and an outage ask the control plane and go on with its answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Call;
use super::admit::payers;
use crate::errors::{Failure, Kind, Outcome};
use crate::limits::lease::quota::Taking;
use crate::limits::lease::{Answer, Quota};
use crate::limits::{self, Demand, LimitDenied, Reservation};

/// The reservation with its part of what is shared, or the limit that refused.
pub(super) async fn take(
    call: &Call,
    mut reservation: Reservation,
    demand: Demand,
) -> Outcome<Result<Reservation, LimitDenied>> {
    let shared = &call.core.shared;
    let (wants, whose) = limits::wants(payers(call), demand, &shared.quota, call.now);
    if wants.is_empty() {
        return Ok(Ok(reservation));
    }
    let refuse = |reservation: Reservation, at: usize, refused| match wants.get(at) {
        Some(want) => Ok(Err(reservation.refuse(want, whose.get(at).cloned().flatten(), refused))),
        None => Err(unanswered(reservation)),
    };
    let until = Instant::now() + Duration::from_millis(shared.options.hook_timeout_ms);
    let mut had = Vec::new();
    loop {
        let (mut shares, answer) = match shared.quota.take(&wants, had, || tag(call), shared.now_ns()) {
            Taking::Done(shares) => {
                reservation.share(shares, &wants, call.now);
                return Ok(Ok(reservation));
            }
            Taking::Refused { at, refused } => return refuse(reservation, at, refused),
            Taking::Overloaded => return Err(unanswered(reservation)),
            Taking::Asked(shares, answer) => (shares, answer),
        };
        let left = until.saturating_duration_since(Instant::now());
        match call.core.timers.within(left, answer).await {
            Ok(Ok(Answer::Granted(granted))) => Quota::join(&mut shares, granted),
            Ok(Ok(Answer::Refused { at, refused })) => return refuse(reservation, at, refused),
            _ => return Err(unanswered(reservation)),
        }
        // What took too long to come is given back, and asked for again.
        had = shares;
    }
}

/// Never without its limits.
#[cold]
fn unanswered(reservation: Reservation) -> Failure {
    reservation.undo();
    Failure::new(Kind::HookFailed, "The limits of the API key could not be checked in time; try again in a moment.")
        .retry_after(1000)
}

/// Whose limits are kept together: the caller's organization, else team, else key.
fn tag(call: &Call) -> Option<Arc<str>> {
    let key = &call.key.as_ref()?.record;
    let owner = key.org_id.as_deref().or(key.team_id.as_deref());
    Some(owner.map_or_else(|| key.token.to_string().into(), Into::into))
}
