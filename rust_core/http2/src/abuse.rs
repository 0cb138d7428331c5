//! What a client may ask of us that is no use to anybody.
//!
//! Every frame is allowed some time; a client that sends little else than those that only make work is an attacker
//! (RFC 9113, section 10.5). Nothing here depends on how many streams or bytes a connection has carried before.

use std::time::{Duration, Instant};

use crate::error::{Fault, Taken};

/// Frames without use that come on top of the useful ones within a [`SPAN`].
const IDLE_FRAMES: u32 = 10_000;
const SPAN: Duration = Duration::from_secs(10);
/// Streams that broke the rules, beyond those that others make up for.
const FAULTS: u32 = 128;
/// Streams that went well for each of them: as many as a client must finish for one that it gives up.
const WELL: u32 = 4;
/// What a frame that carries something makes up for: it may be followed by a window update for the stream, one for the
/// connection, and a ping that measures.
const WORTH: u32 = 3;

/// What a connection was asked so far.
#[derive(Debug, Default)]
pub(crate) struct Abuse {
    idle: u32,
    since: Option<Instant>,
    faults: u32,
    well: u32,
}

impl Abuse {
    /// A frame that carries nothing: a ping, settings, a window, an empty one.
    pub(crate) fn idle(&mut self) -> Taken {
        if self.idle == 0 && self.since.is_none() {
            self.since = Some(Instant::now());
        }
        self.idle += 1;
        if self.idle < IDLE_FRAMES {
            return Ok(());
        }
        self.idle = 0;
        match self.since.take() {
            Some(since) if since.elapsed() < SPAN => Err(Fault::CALM),
            _ => Ok(()),
        }
    }

    /// A frame that carries something, either way.
    pub(crate) fn useful(&mut self) {
        self.idle = self.idle.saturating_sub(WORTH);
    }

    /// A stream that had to be reset because of what the client sent (MadeYouReset, CVE-2025-8671).
    pub(crate) fn fault(&mut self) -> Taken {
        self.faults += 1;
        if self.faults > FAULTS { Err(Fault::CALM) } else { Ok(()) }
    }

    /// A stream that was answered.
    pub(crate) fn answered(&mut self) {
        if self.faults > 0 {
            self.well += 1;
            if self.well >= WELL {
                (self.well, self.faults) = (0, self.faults - 1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_empty_frames_is_noticed_and_a_busy_connection_is_not() {
        let mut flood = Abuse::default();
        assert_eq!((0..20_000).find(|_| flood.idle().is_err()), Some(9_999));
        let mut busy = Abuse::default();
        for _ in 0..100_000 {
            busy.useful();
            assert!((0..3).all(|_| busy.idle().is_ok()));
        }
    }

    #[test]
    fn a_slow_trickle_is_no_flood() {
        let mut slow = Abuse::default();
        for _ in 0..5 {
            (0..9_999).for_each(|_| slow.idle().unwrap());
            slow.since = Instant::now().checked_sub(SPAN);
            assert!(slow.idle().is_ok());
        }
    }

    #[test]
    fn streams_that_go_well_make_up_for_others() {
        let mut mixed = Abuse::default();
        for _ in 0..1000 {
            mixed.fault().unwrap();
            (0..WELL).for_each(|_| mixed.answered());
        }
        assert_eq!((0..1000).find(|_| mixed.fault().is_err()), Some(128));
        // One good stream for each that is broken is too little.
        let mut attack = Abuse::default();
        let ends = (0..1000).find(|_| {
            attack.answered();
            attack.fault().is_err()
        });
        assert!(ends.is_some_and(|n| n < 200), "{ends:?}");
    }
}
