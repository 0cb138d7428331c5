//! A histogram with fixed bounds, in microseconds.

/// Upper bounds in microseconds; the last bucket is unbounded.
pub(super) const BOUNDS: [u64; 20] = [
    25,
    50,
    100,
    200,
    400,
    800,
    1_600,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    120_000_000,
];

#[derive(Debug, Clone)]
pub(super) struct Histogram {
    pub(super) buckets: [u64; BOUNDS.len() + 1],
    pub(super) sum: u64,
    pub(super) count: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: [0; BOUNDS.len() + 1], sum: 0, count: 0 }
    }
}

impl Histogram {
    pub(super) fn observe(&mut self, us: u64) {
        let at = BOUNDS.partition_point(|bound| *bound < us);
        if let Some(bucket) = self.buckets.get_mut(at) {
            *bucket += 1;
        }
        self.sum = self.sum.saturating_add(us);
        self.count += 1;
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(other.buckets) {
            *mine += theirs;
        }
        self.sum = self.sum.saturating_add(other.sum);
        self.count += other.count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_on_a_bound_counts_below_it() {
        let mut h = Histogram::default();
        h.observe(25);
        h.observe(26);
        h.observe(u64::MAX);
        assert_eq!(h.buckets[0], 1);
        assert_eq!(h.buckets[1], 1);
        assert_eq!(h.buckets[BOUNDS.len()], 1);
        assert_eq!(h.count, 3);
    }
}
