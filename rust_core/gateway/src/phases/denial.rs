//! What a call is told that a limit or a budget has no room for: which one, whose, how much of it is used, and when to try again.

use super::Call;
use crate::errors::{Failure, Kind};
use crate::limits::{LimitDenied, LimitKind};

/// The failure that a refusal by limits is.
pub(super) fn denial(call: &Call, denied: &LimitDenied) -> Failure {
    let (limit, current, asked) = (denied.limit, denied.current, denied.asked);
    let level = denied.scope.as_ref().map(|rules| rules.level().to_string());
    let of = level.as_ref().map(|level| format!(" for {level}")).unwrap_or_default();
    let mut failure = match denied.kind {
        LimitKind::Parallel => {
            let of = level.as_deref().unwrap_or("this key");
            let message = format!("Rate limit reached: {current} of {limit} parallel requests of {of} are in flight.");
            Failure::new(Kind::RateParallel, message)
        }
        LimitKind::Requests => {
            let message = format!("Rate limit reached on requests per minute (RPM){of}: limit {limit}.");
            Failure::new(Kind::RateRequests, message)
        }
        LimitKind::Tokens { too_large: true } => Failure::new(
            Kind::RateTokens,
            format!(
                "Request too large on tokens per minute (TPM){of}: limit {limit}, requested {asked}. Shorten the prompt or lower max_tokens."
            ),
        ),
        LimitKind::Tokens { too_large: false } => Failure::new(
            Kind::RateTokens,
            format!(
                "Rate limit reached on tokens per minute (TPM){of}: limit {limit}, used {current}, requested {asked}."
            ),
        ),
        LimitKind::Budget => {
            let of = level.map(|level| format!("{level} ")).unwrap_or_default();
            let message = format!(
                "Budget has been exceeded! {of}Current cost: {}, Max budget: {}, this call may cost {}.",
                usd(current),
                usd(limit),
                usd(asked)
            );
            let mut failure = Failure::new(Kind::BudgetExceeded, message);
            failure.status = Some(call.snapshot.settings.budget_exceeded_status);
            failure
        }
    };
    failure.subject = denied.scope.as_ref().map(|rules| rules.subject());
    match denied.retry_after_ms {
        Some(ms) => failure.retry_after(ms),
        None => failure,
    }
}

/// Nano-dollars for people.
fn usd(nanos: u64) -> String {
    let text = format!("${}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
