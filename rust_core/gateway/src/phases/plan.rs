//! Plan: which deployments a call may be sent to, in which order, and how often.
//!
//! The group asked for comes first, then its fallbacks. Within a group every deployment is tried
//! before any is tried again; a group gets one attempt and as many retries as configured.

use std::sync::Arc;
use std::time::Duration;

use super::Call;
use super::dispatch::PATIENCE_MS;
use crate::errors::{Failure, Kind};
use crate::limits::deployment::DeploymentDenied;
use crate::routing;
use crate::snapshot::{Deployment, Match};

/// What dispatch does next.
pub(super) enum Next {
    /// Ask this deployment; it is held for the call.
    Ask(Arc<Deployment>),
    /// Every deployment of the group was asked in vain: wait a little, then ask them again.
    Again,
    /// Nobody is left.
    Nobody,
}

/// The candidates of one call.
#[derive(Debug)]
pub(super) struct Plan {
    groups: Vec<Match>,
    at: usize,
    /// Which deployments of the group had their turn in this round, by place; empty: none.
    tried: Vec<bool>,
    /// Attempts made in this group.
    asked: u32,
    /// One of them failed in a way that may pass.
    passing: bool,
    retries: u32,
}

impl Plan {
    /// The group that the call's model means, then the fallbacks that its key may use.
    pub(super) fn of(call: &Call, first: Match) -> Self {
        let settings = &call.snapshot.settings;
        let names = first.group.fallbacks.iter().chain(&settings.default_fallbacks).cloned().collect::<Vec<_>>();
        let mut groups = vec![first];
        for name in names {
            if groups.len() > settings.max_fallbacks {
                break;
            }
            let Some(found) = call.snapshot.find(&name) else { continue };
            let known = groups.iter().any(|m| Arc::ptr_eq(&m.group, &found.group) && m.wildcard == found.wildcard);
            let (names, access) = ([&*found.group.name, &*name], &found.group.access_groups);
            let allowed = call.key.as_ref().is_none_or(|key| key.may_use(&names, access))
                && call.named.iter().all(|scope| scope.rules().allow(&names, access));
            if !known && allowed {
                groups.push(found);
            }
        }
        Self { groups, at: 0, tried: Vec::new(), asked: 0, passing: false, retries: settings.retries }
    }

    /// The groups whose deployments may come to be asked.
    pub(super) fn groups(&self) -> impl Iterator<Item = &Match> {
        self.groups.iter()
    }

    /// Every deployment that may come to be asked.
    pub(super) fn deployments(&self) -> impl Iterator<Item = &Arc<Deployment>> {
        self.groups.iter().flat_map(|m| &m.group.deployments)
    }

    /// The next step. A deployment that is cooling down or at its limits is passed over.
    pub(super) fn next(&mut self, call: &mut Call) -> Next {
        call.permit = None;
        while let Some(found) = self.groups.get(self.at) {
            if self.asked <= self.retries {
                if let Some(deployment) = candidate(call, found, &mut self.tried) {
                    return Next::Ask(deployment);
                }
                if self.passing && self.is_worth_waiting(call, found) {
                    return Next::Again;
                }
            }
            self.next_group();
        }
        Next::Nobody
    }

    /// Whether a deployment of the group may be asked again before long: one that does not cool down, or, when there is no other
    /// group to go to, one that will soon be done with it.
    fn is_worth_waiting(&self, call: &Call, found: &Match) -> bool {
        let now_ns = call.core.shared.now_ns();
        let left_ns = found.group.deployments.iter().map(|d| d.state.cooling(now_ns).unwrap_or(0)).min().unwrap_or(0);
        let is_last = self.at + 1 >= self.groups.len();
        left_ns == 0 || (is_last && left_ns <= PATIENCE_MS * 1_000_000)
    }

    /// The deployment was asked and failed like this.
    pub(super) fn failed(&mut self, failure: &Failure) {
        self.asked += 1;
        // What is wrong with credentials or names will not be right a moment later.
        self.passing |= failure.retryable() && !matches!(failure.kind, Kind::UpstreamStatus(401 | 403 | 404));
    }

    /// The wait is over: the group's deployments may be asked again.
    pub(super) fn again(&mut self) {
        self.tried.clear();
    }

    /// This group will not do.
    pub(super) fn next_group(&mut self) {
        self.at += 1;
        self.tried.clear();
        self.asked = 0;
        self.passing = false;
    }

    /// Milliseconds until the first deployment stops cooling down; 1,000 when limits are what refused.
    pub(super) fn wait_ms(&self, call: &Call) -> u64 {
        let now_ns = call.core.shared.now_ns();
        let wait_ns = self.deployments().filter_map(|d| d.state.cooling(now_ns)).min();
        wait_ns.map_or(1_000, |ns| ns.div_ceil(1_000_000))
    }
}

/// The next deployment that is neither cooling down nor at its limits; it is held for the call.
fn candidate(call: &mut Call, found: &Match, tried: &mut Vec<bool>) -> Option<Arc<Deployment>> {
    let now_ns = call.core.shared.now_ns();
    let group = &found.group;
    let alone = group.deployments.len() == 1;
    let mut next = if tried.is_empty() { routing::first(group, call.core.random()) } else { None };
    loop {
        // A group of one is asked even while it cools down: there is nothing better to do for the client.
        let fit = |place: usize, d: &Deployment| {
            !tried.get(place).is_some_and(|t| *t) && (alone || d.state.cooling(now_ns).is_none())
        };
        let place = next.take().or_else(|| routing::pick(group, fit, call.core.random()))?;
        let deployment = group.deployments.get(place)?;
        tried.resize(group.deployments.len(), false);
        if let Some(tried) = tried.get_mut(place) {
            *tried = true;
        }
        let permit = match deployment.state.admit(&deployment.limits, call.reserved_tokens, now_ns) {
            Err(DeploymentDenied::Cooling { .. }) if alone => {
                deployment.state.admit_cooling(&deployment.limits, call.reserved_tokens, now_ns)
            }
            other => other,
        };
        if let Ok(permit) = permit {
            call.permit = Some(permit);
            call.group = Some(Arc::clone(group));
            call.upstream_model = deployment.upstream_model(&found.wildcard);
            call.deployment = Some(Arc::clone(deployment));
            return Some(Arc::clone(deployment));
        }
    }
}

/// What is left of the bound on a call that is not streamed.
pub(super) fn time_left(call: &Call, deployment: &Deployment) -> Option<Duration> {
    let total = deployment.total_timeout_ms.filter(|_| !call.stream)?;
    Some(Duration::from_millis(total).saturating_sub(call.started.elapsed()))
}
