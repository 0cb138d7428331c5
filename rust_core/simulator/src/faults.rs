//! What can be made to go wrong with an answer.

use std::time::Duration;

/// Faults of one answer; counts are events of a stream sent before the fault.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    pub(crate) reset_after: Option<u64>,
    pub(crate) close_after: Option<u64>,
    pub(crate) hang_after: Option<u64>,
    pub(crate) malformed: Option<u64>,
    pub(crate) error_event: Option<u64>,
    pub(crate) bad_chunk: Option<u64>,
    pub(crate) no_usage: bool,
    pub(crate) no_done: bool,
    pub(crate) bad_json: bool,
    pub(crate) truncate: bool,
    pub(crate) drip: Option<Duration>,
    /// Bytes of the first token.
    pub(crate) huge: Option<usize>,
}

const MEGABYTE: usize = 1_000_000;
/// Largest first token, in megabytes.
const MAX_HUGE: u64 = 64;

impl Faults {
    /// Adds faults written as `name[:number][+name...]`.
    pub(crate) fn add(&mut self, text: &str) -> Result<(), String> {
        text.split('+').filter(|f| !f.is_empty()).try_for_each(|f| self.add_one(f))
    }

    fn add_one(&mut self, text: &str) -> Result<(), String> {
        let (name, number) = text.split_once(':').map_or((text, None), |(name, number)| (name, Some(number)));
        let number = match number {
            None => None,
            Some(digits) => {
                Some(digits.parse::<u64>().map_err(|_| format!("fault {name}: {digits:?} is not a number"))?)
            }
        };
        let count = Some(number.unwrap_or(0));
        match name {
            "reset_after" => self.reset_after = count,
            "close_after" => self.close_after = count,
            "hang_after" => self.hang_after = count,
            "malformed" => self.malformed = count,
            "error_event" => self.error_event = count,
            "bad_chunk" => self.bad_chunk = count,
            "no_usage" => self.no_usage = true,
            "no_done" => self.no_done = true,
            "bad_json" => self.bad_json = true,
            "truncate" => self.truncate = true,
            "drip" => self.drip = Some(Duration::from_millis(number.unwrap_or(1))),
            "huge" => {
                let megabytes = number.unwrap_or(1);
                if megabytes > MAX_HUGE {
                    return Err(format!("fault huge: at most {MAX_HUGE} MB"));
                }
                self.huge = usize::try_from(megabytes).ok().map(|n| n * MEGABYTE);
            }
            _ => return Err(format!("fault {name:?} is not known")),
        }
        Ok(())
    }

    /// Where the answer breaks off, if it does, and how.
    pub(crate) fn break_off(&self) -> Option<(u64, Break)> {
        let at = |count: Option<u64>, how| count.map(|k| (k, how));
        at(self.reset_after, Break::Reset)
            .or_else(|| at(self.close_after, Break::Close))
            .or_else(|| at(self.hang_after, Break::Hang))
    }
}

/// How an answer breaks off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Break {
    Reset,
    Close,
    Hang,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_faults_are_joined_by_plus() {
        let mut faults = Faults::default();
        faults.add("no_usage+reset_after:3+drip:5").unwrap();
        assert!(faults.no_usage);
        assert_eq!(faults.break_off(), Some((3, Break::Reset)));
        assert_eq!(faults.drip, Some(Duration::from_millis(5)));
    }

    #[test]
    fn unknown_and_malformed_faults_are_named() {
        assert!(Faults::default().add("explode").unwrap_err().contains("explode"));
        assert!(Faults::default().add("reset_after:x").unwrap_err().contains("\"x\""));
        assert!(Faults::default().add("huge:65").is_err());
    }
}
