//! Which deployment of a group is asked next.
//!
//! Apart from dispatch because it only chooses: lowest order first, and within an order at random
//! by weight. The first choice of a call is a search in sums that were made with the snapshot, so
//! that a group of a thousand costs what a group of two does; only a choice that must leave some
//! out looks at them all.

use std::sync::Arc;

use crate::snapshot::{Deployment, Group};

/// The deployments of the lowest order, with their weights added up.
#[derive(Debug, Default)]
pub struct Shares(Vec<u64>);

impl Shares {
    /// Of deployments that are sorted by order.
    #[must_use]
    pub fn of(deployments: &[Arc<Deployment>]) -> Self {
        let lowest = deployments.first().map_or(0, |d| d.order);
        let first: Vec<u64> =
            deployments.iter().take_while(|d| d.order == lowest).map(|d| u64::from(d.weight)).collect();
        // All weights zero: no preference.
        let even = first.iter().all(|weight| *weight == 0);
        let sums = first.iter().scan(0, |sum, weight| {
            *sum += if even { 1 } else { *weight };
            Some(*sum)
        });
        Self(sums.collect())
    }

    /// The place of the one that `random`, uniform over `u64`, falls on.
    fn pick(&self, random: u64) -> usize {
        let total = self.0.last().copied().unwrap_or(1);
        let point = random % total.max(1);
        self.0.partition_point(|sum| *sum <= point)
    }
}

/// The place of one of the lowest order; `random` is uniform over `u64`.
#[must_use]
pub fn first(group: &Group, random: u64) -> Option<usize> {
    Some(group.shares.pick(random)).filter(|place| *place < group.deployments.len())
}

/// The place of one of the lowest order that has any for which `fit` holds.
#[must_use]
pub fn pick(group: &Group, fit: impl Fn(usize, &Deployment) -> bool, random: u64) -> Option<usize> {
    let fitting: Vec<(usize, &Arc<Deployment>)> =
        group.deployments.iter().enumerate().filter(|(place, d)| fit(*place, d)).collect();
    let order = fitting.first()?.1.order;
    let lowest = || fitting.iter().take_while(|(_, d)| d.order == order);
    let total: u64 = lowest().map(|(_, d)| u64::from(d.weight)).sum();
    if total == 0 {
        let count = lowest().count() as u64;
        return lowest().nth(usize::try_from(random % count.max(1)).unwrap_or(0)).map(|(place, _)| *place);
    }
    let mut point = random % total;
    let chosen = lowest().find(|(_, d)| {
        let weight = u64::from(d.weight);
        if point < weight {
            return true;
        }
        point -= weight;
        false
    });
    chosen.map(|(place, _)| *place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Snapshot;

    /// A group of deployments with these orders and weights.
    fn group(members: &[(i32, u32)]) -> Arc<Group> {
        let json = crate::snapshot::testing::snapshot(members);
        Arc::clone(Snapshot::compile(json.as_bytes(), None).unwrap().groups.first().unwrap())
    }

    /// How often each of the group's deployments is chosen, by id, over evenly spread points.
    fn shares(group: &Group, choose: impl Fn(u64) -> Option<usize>) -> Vec<usize> {
        let ids: Vec<&str> = (0..1200).filter_map(&choose).map(|place| &*group.deployments[place].id).collect();
        let mut names: Vec<&str> = group.deployments.iter().map(|d| &*d.id).collect();
        names.sort_unstable();
        names.iter().map(|name| ids.iter().filter(|id| id == &name).count()).collect()
    }

    #[test]
    fn the_first_choice_follows_order_and_weight() {
        for members in [&[(0, 1), (0, 3), (1, 5)][..], &[(2, 0), (2, 0), (2, 0)], &[(1, 4), (0, 2), (0, 0)], &[(0, 1)]]
        {
            let group = group(members);
            let sums = shares(&group, |random| first(&group, random));
            assert_eq!(sums, shares(&group, |random| pick(&group, |_, _| true, random)), "{members:?}");
            assert_eq!(sums.iter().sum::<usize>(), 1200);
        }
        let group = group(&[(0, 1), (0, 3), (1, 5)]);
        assert_eq!(shares(&group, |random| first(&group, random)), [300, 900, 0]);
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        let group = group(&[(0, 1), (0, 3), (1, 5)]);
        let without = |id: &'static str| move |_: usize, d: &Deployment| &*d.id != id;
        assert_eq!(shares(&group, |random| pick(&group, without("d1"), random)), [1200, 0, 0]);
        let last = |_: usize, d: &Deployment| &*d.id == "d2";
        assert_eq!(shares(&group, |random| pick(&group, last, random)), [0, 0, 1200]);
        assert!(pick(&group, |_, _| false, 7).is_none());
    }
}
