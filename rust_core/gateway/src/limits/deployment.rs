//! What a deployment may be used for: its own rates and slots, and whether it is cooling down after failures.
//!
//! Apart from the keys' limits because routing asks, not admission: a refusal here means "try the next deployment",
//! never an error to the client, and there is no money in it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::slots::{SlotGuard, Slots};
use super::window::{self, Rate, Window};

const MS: u64 = 1_000_000;
const MINUTE_NS: u64 = 60_000 * MS;
/// An upstream's Retry-After is believed up to here; beyond it, asking again is cheaper than being misled.
const MAX_RETRY_AFTER_MS: u64 = 600_000;

/// A deployment's limits, from the snapshot; `None`: unlimited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeploymentLimits {
    /// Requests per minute.
    pub rpm: Option<u64>,
    /// Tokens per minute.
    pub tpm: Option<u64>,
    /// Calls in flight.
    pub max_parallel_requests: Option<u64>,
}

/// When a deployment cools down, from the snapshot's settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CooldownPolicy {
    /// Failures in a minute that are let pass; one more starts a cooldown.
    pub allowed_fails: u64,
    /// Length of a cooldown; 0: there are none.
    pub cooldown_ms: u64,
}

/// Why a deployment does not take a call, and for how long at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeploymentDenied {
    /// It is cooling down.
    Cooling {
        /// Nanoseconds left.
        for_ns: u64,
    },
    /// All its slots are taken.
    Parallel,
    /// Requests per minute.
    Requests {
        /// Nanoseconds until one more is admitted.
        retry_after_ns: u64,
    },
    /// Tokens per minute.
    Tokens {
        /// Nanoseconds until as many are admitted; 0 when `too_large`.
        retry_after_ns: u64,
        /// The call needs more than a minute's worth.
        too_large: bool,
    },
}

/// Counters of one deployment. Keep them over snapshots, by deployment id.
#[derive(Debug, Default)]
pub struct DeploymentState {
    requests: Window,
    tokens: Window,
    slots: Arc<Slots>,
    cooldown: Cooldown,
}

/// What one attempt holds of a deployment. Dropped without [`Permit::settle`], it gives back the tokens and the slot.
#[derive(Debug)]
pub struct Permit {
    state: Arc<DeploymentState>,
    _slot: SlotGuard,
    /// When its tokens were taken; `None`: there is no limit on them.
    tokens_at: Option<u64>,
    tokens: u64,
    open: bool,
}

impl DeploymentState {
    /// Take what an attempt needs, if the deployment is not cooling down.
    ///
    /// # Errors
    /// [`DeploymentDenied`]; nothing is held then.
    pub fn admit(
        self: &Arc<Self>,
        limits: &DeploymentLimits,
        tokens: u64,
        now_ns: u64,
    ) -> Result<Permit, DeploymentDenied> {
        if let Some(for_ns) = self.cooldown.left(now_ns) {
            return Err(DeploymentDenied::Cooling { for_ns });
        }
        self.admit_cooling(limits, tokens, now_ns)
    }

    /// As [`Self::admit`], but a cooldown does not refuse: the last resort when every deployment cools down.
    ///
    /// # Errors
    /// [`DeploymentDenied`], never `Cooling`; nothing is held then.
    pub fn admit_cooling(
        self: &Arc<Self>,
        limits: &DeploymentLimits,
        tokens: u64,
        now_ns: u64,
    ) -> Result<Permit, DeploymentDenied> {
        let slot = self.slots.enter(limits.max_parallel_requests).map_err(|_| DeploymentDenied::Parallel)?;
        let mut request_at = None;
        if let Some(per_minute) = limits.rpm {
            let taken = self.requests.admit(Rate { per_minute }, 1, now_ns);
            let taken = taken.map_err(|denied| DeploymentDenied::Requests { retry_after_ns: denied.retry_after_ns })?;
            request_at = Some(taken.at_ns);
        }
        let mut tokens_at = None;
        if let Some(per_minute) = limits.tpm {
            match self.tokens.admit(Rate { per_minute }, tokens, now_ns) {
                Ok(taken) => tokens_at = Some(taken.at_ns),
                Err(window::Denied { retry_after_ns, too_large, .. }) => {
                    if let Some(at) = request_at {
                        self.requests.refund(1, at);
                    }
                    return Err(DeploymentDenied::Tokens { retry_after_ns, too_large });
                }
            }
        }
        Ok(Permit { state: self.clone(), _slot: slot, tokens_at, tokens, open: true })
    }

    /// An attempt failed in a way that counts against the deployment. True when this starts a cooldown.
    ///
    /// `retry_after_ms` is what the upstream asked for: it starts a cooldown of that length at once, however few
    /// failures there were.
    pub fn fail(&self, policy: CooldownPolicy, retry_after_ms: Option<u64>, now_ns: u64) -> bool {
        self.cooldown.fail(policy, retry_after_ms, now_ns)
    }

    /// An attempt that started at `started_ns` succeeded: a cooldown that began before it ends.
    pub fn ok(&self, started_ns: u64) {
        self.cooldown.ok(started_ns);
    }

    /// Nanoseconds that the deployment will cool down for; `None`: it does not.
    #[must_use]
    pub fn cooling(&self, now_ns: u64) -> Option<u64> {
        self.cooldown.left(now_ns)
    }

    /// Attempts in flight.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.slots.in_flight()
    }
}

impl Permit {
    /// The attempt is over and used so many tokens, more or less than it held.
    pub fn settle(mut self, actual_tokens: u64, now_ns: u64) {
        self.open = false;
        let Some(at) = self.tokens_at else { return };
        if actual_tokens > self.tokens {
            self.state.tokens.debit(actual_tokens - self.tokens, now_ns);
        } else {
            self.state.tokens.refund(self.tokens - actual_tokens, at);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(at) = self.tokens_at.filter(|_| self.open) {
            self.state.tokens.refund(self.tokens, at);
        }
    }
}

/// Failures are rare and counted behind a lock; whether it is cooling is asked by every call and is one atomic load.
#[derive(Debug, Default)]
struct Cooldown {
    /// 0: not cooling.
    until_ns: AtomicU64,
    fails: Mutex<Fails>,
}

#[derive(Debug, Default)]
struct Fails {
    since_ns: u64,
    count: u64,
    cooled_at_ns: u64,
}

impl Cooldown {
    fn fail(&self, policy: CooldownPolicy, retry_after_ms: Option<u64>, now_ns: u64) -> bool {
        if policy.cooldown_ms == 0 {
            return false;
        }
        let mut fails = self.fails.lock().unwrap_or_else(PoisonError::into_inner);
        if fails.count == 0 || now_ns >= fails.since_ns.saturating_add(MINUTE_NS) {
            fails.since_ns = now_ns;
            fails.count = 0;
        }
        fails.count += 1;
        let length_ms = match retry_after_ms.filter(|asked| *asked > 0) {
            Some(asked) => asked.min(MAX_RETRY_AFTER_MS),
            None if fails.count > policy.allowed_fails => policy.cooldown_ms,
            None => return false,
        };
        fails.count = 0;
        fails.cooled_at_ns = now_ns;
        // Never shortened: of two answers, the later one need not be the better informed.
        let until_ns = now_ns.saturating_add(length_ms.saturating_mul(MS));
        self.until_ns.fetch_max(until_ns, Ordering::AcqRel);
        true
    }

    fn ok(&self, started_ns: u64) {
        if self.until_ns.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut fails = self.fails.lock().unwrap_or_else(PoisonError::into_inner);
        if started_ns > fails.cooled_at_ns {
            fails.count = 0;
            self.until_ns.store(0, Ordering::Release);
        }
    }

    fn left(&self, now_ns: u64) -> Option<u64> {
        self.until_ns.load(Ordering::Acquire).checked_sub(now_ns).filter(|left| *left > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: CooldownPolicy = CooldownPolicy { allowed_fails: 3, cooldown_ms: 5_000 };

    fn state() -> Arc<DeploymentState> {
        Arc::new(DeploymentState::default())
    }

    #[test]
    fn each_limit_refuses_in_its_own_name_and_leaves_nothing_behind() {
        let limits = DeploymentLimits { rpm: Some(2), tpm: Some(100), max_parallel_requests: Some(1) };
        let state = state();
        let first = state.admit(&limits, 60, 1).unwrap();
        assert_eq!(state.admit(&limits, 1, 1).unwrap_err(), DeploymentDenied::Parallel);
        first.settle(60, 1);
        assert!(matches!(state.admit(&limits, 41, 1), Err(DeploymentDenied::Tokens { too_large: false, .. })));
        assert!(matches!(state.admit(&limits, 101, 1), Err(DeploymentDenied::Tokens { too_large: true, .. })));
        // Neither refusal cost a request or a token.
        state.admit(&limits, 40, 1).unwrap().settle(40, 1);
        assert!(matches!(state.admit(&limits, 0, 1), Err(DeploymentDenied::Requests { .. })));
        assert_eq!(state.in_flight(), 0);
    }

    #[test]
    fn a_permit_reconciles_or_gives_back() {
        let limits = DeploymentLimits { tpm: Some(100), ..DeploymentLimits::default() };
        let state = state();
        drop(state.admit(&limits, 100, 1).unwrap());
        state.admit(&limits, 100, 1).unwrap().settle(30, 1);
        state.admit(&limits, 70, 1).unwrap().settle(90, 1);
        assert!(state.admit(&limits, 1, 1).is_err());
        assert!(state.admit(&DeploymentLimits::default(), u64::MAX, 1).is_ok());
    }

    #[test]
    fn more_failures_than_allowed_in_a_minute_start_a_cooldown() {
        let state = state();
        for _ in 0..3 {
            assert!(!state.fail(POLICY, None, 10));
        }
        assert_eq!(state.cooling(10), None);
        assert!(state.fail(POLICY, None, 10));
        assert_eq!(state.cooling(10), Some(5_000 * MS));
        assert_eq!(
            state.admit(&DeploymentLimits::default(), 0, 10).unwrap_err(),
            DeploymentDenied::Cooling { for_ns: 5_000 * MS }
        );
        assert!(state.admit_cooling(&DeploymentLimits::default(), 0, 10).is_ok());
        assert!(state.admit(&DeploymentLimits::default(), 0, 10 + 5_000 * MS).is_ok());
    }

    #[test]
    fn failures_of_an_earlier_minute_do_not_count() {
        let state = state();
        for _ in 0..3 {
            state.fail(POLICY, None, 0);
        }
        assert!(!state.fail(POLICY, None, MINUTE_NS));
    }

    #[test]
    fn an_upstream_that_names_a_time_is_left_alone_for_it() {
        let state = state();
        assert!(state.fail(POLICY, Some(20_000), 5));
        assert_eq!(state.cooling(5), Some(20_000 * MS));
        state.fail(POLICY, Some(1_000), 6);
        assert_eq!(state.cooling(5), Some(20_000 * MS));
        state.fail(POLICY, Some(u64::MAX), 5);
        assert_eq!(state.cooling(5), Some(MAX_RETRY_AFTER_MS * MS));
    }

    #[test]
    fn only_a_success_that_started_later_ends_a_cooldown() {
        let state = state();
        state.fail(POLICY, Some(1_000), 100);
        state.ok(99);
        assert!(state.cooling(101).is_some());
        state.ok(101);
        assert_eq!(state.cooling(101), None);
    }

    #[test]
    fn cooldowns_can_be_switched_off() {
        let state = state();
        let off = CooldownPolicy { allowed_fails: 0, cooldown_ms: 0 };
        assert!(!state.fail(off, Some(9_000), 1));
        assert_eq!(state.cooling(1), None);
    }
}
