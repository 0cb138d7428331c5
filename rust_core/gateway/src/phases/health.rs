//! What a call's attempts say about the health of deployments.
//!
//! A deployment is well when an answer came to its end, not when it began: one that sends heads and
//! then stalls must cool down like one that does not answer.

use super::Call;
use crate::errors::{Failure, Kind};
use crate::limits::deployment::CooldownPolicy;

impl Call {
    /// The answer came to its end.
    pub(super) fn attempt_succeeded(&self) {
        if let Some(deployment) = &self.deployment {
            deployment.state.ok(self.attempt_ns);
        }
    }

    /// The attempt failed, before or within its answer; counted when that is the deployment's fault.
    pub(super) fn attempt_failed(&self, failure: &Failure) {
        let counts = match failure.kind {
            Kind::UpstreamStatus(status) => matches!(status, 401 | 403 | 404 | 408 | 429 | 500..),
            Kind::UpstreamConnect | Kind::UpstreamTimeout | Kind::UpstreamProtocol => true,
            _ => false,
        };
        let Some(deployment) = self.deployment.as_ref().filter(|_| counts) else { return };
        let settings = &self.snapshot.settings;
        let policy = CooldownPolicy { allowed_fails: settings.allowed_fails, cooldown_ms: settings.cooldown_ms };
        let retry_after = failure.retry_after_ms.filter(|_| failure.status() == 429 && settings.cooldown_ms > 0);
        deployment.state.fail(policy, retry_after, self.core.shared.now_ns());
    }
}
