//! A log-linear histogram of durations, after the idea of HdrHistogram.
//!
//! Each power of two is cut into 2^`BITS` equal slots, so a value is known to half a slot: 0.0125 % with
//! the 4,096 of the default. Its size depends on the largest value (1 MB for an hour), never on the number
//! of values.

use std::time::Duration;

/// Values are clamped to 2^42 ns, a little over an hour.
const MAX_NANOS: u64 = (1 << 42) - 1;

/// Counts of durations, in nanoseconds.
#[derive(Debug, Clone, Default)]
pub struct Histogram<const BITS: u32 = 12> {
    counts: Vec<u64>,
    total: u64,
    sum: u128,
    min: u64,
    max: u64,
}

impl<const BITS: u32> Histogram<BITS> {
    /// An empty histogram.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts one duration.
    pub fn record(&mut self, value: Duration) {
        let nanos = u64::try_from(value.as_nanos()).unwrap_or(MAX_NANOS).min(MAX_NANOS);
        let slot = slot_of::<BITS>(nanos);
        if slot >= self.counts.len() {
            self.counts.resize(slot + 1, 0);
        }
        if let Some(count) = self.counts.get_mut(slot) {
            *count += 1;
        }
        self.min = if self.total == 0 { nanos } else { self.min.min(nanos) };
        self.max = self.max.max(nanos);
        self.sum += u128::from(nanos);
        self.total += 1;
    }

    /// Counts what another has counted, too.
    pub fn merge(&mut self, other: &Self) {
        if other.is_empty() {
            return;
        }
        if other.counts.len() > self.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.min = if self.total == 0 { other.min } else { self.min.min(other.min) };
        self.max = self.max.max(other.max);
        self.sum += other.sum;
        self.total += other.total;
    }

    /// Forgets everything and keeps the memory.
    pub fn clear(&mut self) {
        self.counts.fill(0);
        (self.total, self.sum, self.min, self.max) = (0, 0, 0, 0);
    }

    /// Number of durations counted.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.total
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// The smallest value such that a share `q` (0 to 1) of all values is not above it, in nanoseconds,
    /// within 0.0125 %; 0 when nothing was counted.
    #[must_use]
    pub fn quantile(&self, q: f64) -> u64 {
        let rank = ((q.clamp(0.0, 1.0) * self.total as f64).ceil() as u64).clamp(1, self.total.max(1));
        let mut seen = 0;
        for (slot, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return middle_of::<BITS>(slot).clamp(self.min, self.max);
            }
        }
        self.max
    }

    /// The smallest value, exactly.
    #[must_use]
    pub fn min(&self) -> u64 {
        self.min
    }

    /// The largest value, exactly.
    #[must_use]
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The mean, in nanoseconds; 0 when nothing was counted.
    #[must_use]
    pub fn mean(&self) -> f64 {
        if self.total == 0 { 0.0 } else { self.sum as f64 / self.total as f64 }
    }
}

fn slot_of<const BITS: u32>(nanos: u64) -> usize {
    let shift = (u64::BITS - nanos.leading_zeros()).saturating_sub(BITS + 1);
    ((shift as usize) << BITS) + (nanos >> shift) as usize
}

fn middle_of<const BITS: u32>(slot: usize) -> u64 {
    let shift = (slot >> BITS).saturating_sub(1);
    let low = ((slot - (shift << BITS)) as u64) << shift;
    low + ((1u64 << shift) >> 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_slot_gives_its_values_back(nanos in 0..=MAX_NANOS) {
            let back = middle_of::<12>(slot_of::<12>(nanos));
            prop_assert!(back.abs_diff(nanos) as f64 <= nanos as f64 * 0.000_125);
            let coarse = middle_of::<7>(slot_of::<7>(nanos));
            prop_assert!(coarse.abs_diff(nanos) as f64 <= nanos as f64 * 0.004);
        }

        #[test]
        fn slots_keep_the_order(a in 0..=MAX_NANOS, b in 0..=MAX_NANOS) {
            prop_assert!(slot_of::<12>(a.min(b)) <= slot_of::<12>(a.max(b)));
        }

        #[test]
        fn merged_parts_are_the_whole(
            values in prop::collection::vec(0u64..10_000_000_000, 0..200), cut in any::<prop::sample::Index>(),
        ) {
            let cut = cut.index(values.len() + 1);
            let counted = |values: &[u64]| {
                let mut histogram: Histogram = Histogram::new();
                values.iter().for_each(|v| histogram.record(Duration::from_nanos(*v)));
                histogram
            };
            let mut merged = counted(&values[..cut]);
            merged.merge(&counted(&values[cut..]));
            let whole = counted(&values);
            prop_assert_eq!((merged.len(), merged.min(), merged.max()), (whole.len(), whole.min(), whole.max()));
            prop_assert_eq!(merged.sum, whole.sum);
            for q in [0.0, 0.3, 0.5, 0.99, 1.0] {
                prop_assert_eq!(merged.quantile(q), whole.quantile(q));
            }
        }

        #[test]
        fn quantiles_are_those_of_the_sorted_values(mut values in prop::collection::vec(0u64..10_000_000_000, 1..400)) {
            let mut histogram: Histogram = Histogram::new();
            for v in &values {
                histogram.record(Duration::from_nanos(*v));
            }
            values.sort_unstable();
            for q in [0.0, 0.5, 0.9, 0.99, 1.0] {
                let rank = ((q * values.len() as f64).ceil() as usize).clamp(1, values.len());
                let exact = values[rank - 1];
                let got = histogram.quantile(q);
                prop_assert!(got.abs_diff(exact) as f64 <= exact as f64 * 0.000_125, "q {q}: {got} for {exact}");
            }
            prop_assert_eq!(histogram.max(), *values.last().unwrap());
            prop_assert_eq!(histogram.min(), values[0]);
        }
    }

    #[test]
    fn an_absurd_duration_is_clamped_and_does_not_grow_it_further() {
        let mut histogram: Histogram = Histogram::new();
        histogram.record(Duration::from_secs(u64::MAX));
        assert_eq!(histogram.max(), MAX_NANOS);
        assert!(histogram.counts.len() <= 32 << 12);
    }

    #[test]
    fn nothing_counted_is_all_zero() {
        let mut histogram: Histogram = Histogram::new();
        histogram.record(Duration::from_millis(3));
        histogram.clear();
        assert!(histogram.is_empty());
        assert_eq!((histogram.quantile(0.5), histogram.max(), histogram.mean() as u64), (0, 0, 0));
    }
}
