//! How long a connection may live, so that a load balancer in front has new ones to place.

use std::time::Duration;

use crate::engine::Core;
use crate::timers::Deadline;

/// The age of one connection.
pub(super) struct Age<'a> {
    core: &'a Core,
    until: Option<Deadline<'a>>,
    is_old: bool,
}

impl<'a> Age<'a> {
    /// One that begins now.
    pub(super) fn new(core: &'a Core) -> Self {
        let until = core.shared.options.grpc.max_connection_age_ms.map(|ms| {
            // A tenth more or less, so that connections opened together do not close together.
            let spread = ms / 5;
            core.timers.after(Duration::from_millis(ms - ms / 10 + core.random() % (spread + 1)))
        });
        Self { core, until, is_old: false }
    }

    /// Returns `false` when the connection should end once its calls have ended, then `true` when they are not waited for
    /// any longer.
    pub(super) async fn reached(&mut self) -> bool {
        match &mut self.until {
            Some(until) => until.wait().await,
            None => std::future::pending().await,
        }
        let is_over = std::mem::replace(&mut self.is_old, true);
        let grace = self.core.shared.options.grpc.max_connection_age_grace_ms.filter(|_| !is_over);
        self.until = grace.map(|ms| self.core.timers.after(Duration::from_millis(ms)));
        is_over
    }
}
