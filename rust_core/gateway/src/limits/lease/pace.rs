//! How fast a limit is being used: units per tenth of a second, smoothed.

const SLOT_NS: u64 = 100_000_000;
/// Weight of the latest slot: half of it is forgotten after about three of them.
const WEIGHT: f64 = 0.2;

/// An exponentially weighted average.
#[derive(Debug, Default)]
pub(super) struct Pace {
    began_ns: u64,
    units: u64,
    average: f64,
}

impl Pace {
    /// Units are wanted.
    pub(super) fn add(&mut self, units: u64, now_ns: u64) {
        let slots = now_ns.saturating_sub(self.began_ns) / SLOT_NS;
        if slots > 0 {
            self.average += (self.units as f64 - self.average) * WEIGHT;
            // Empty ones since. After so many there is nothing left.
            self.average *= (1.0 - WEIGHT).powi(i32::try_from(slots - 1).unwrap_or(i32::MAX).min(1_000));
            self.began_ns += slots * SLOT_NS;
            self.units = 0;
        }
        self.units = self.units.saturating_add(units);
    }

    /// Units to expect in 200 ms, of a pace that has lasted for a while: a sudden beginning is not one yet.
    pub(super) fn steady(&self) -> u64 {
        (2.0 * self.average) as u64
    }

    /// Units to expect in 200 ms.
    pub(super) fn lease(&self) -> u64 {
        // A sudden beginning shows in the slot that is not over yet.
        self.steady().max(self.units.saturating_mul(2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_pace_is_met_and_forgotten() {
        let mut pace = Pace::default();
        for slot in 1..60 {
            (0..10).for_each(|_| pace.add(5, slot * SLOT_NS));
        }
        assert!((99..=101).contains(&pace.lease()), "{}", pace.lease());
        pace.add(1, 200 * SLOT_NS);
        assert_eq!(pace.lease(), 2);
    }
}
