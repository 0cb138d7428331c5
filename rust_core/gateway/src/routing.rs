//! Which deployment of a group is asked next.
//!
//! Apart from dispatch because it only chooses: lowest order first, and within an order at random
//! by weight, over those not tried yet in this round.

use std::sync::Arc;

use crate::snapshot::{Deployment, Group};

/// One of the untried deployments of the lowest order that has any; `random` is uniform over `u64`.
#[must_use]
pub fn pick(group: &Group, tried: &[Arc<Deployment>], random: u64) -> Option<Arc<Deployment>> {
    let untried = || group.deployments.iter().filter(|d| !tried.iter().any(|t| Arc::ptr_eq(t, d)));
    let order = untried().map(|d| d.order).min()?;
    let total: u64 = untried().filter(|d| d.order == order).map(|d| u64::from(d.weight)).sum();
    if total == 0 {
        // All weights are zero: they mean "no preference".
        let count = untried().filter(|d| d.order == order).count() as u64;
        let at = usize::try_from(random % count.max(1)).unwrap_or(0);
        return untried().filter(|d| d.order == order).nth(at).cloned();
    }
    let mut point = random % total;
    untried()
        .filter(|d| d.order == order)
        .find(|d| {
            let weight = u64::from(d.weight);
            if point < weight {
                return true;
            }
            point -= weight;
            false
        })
        .cloned()
}
