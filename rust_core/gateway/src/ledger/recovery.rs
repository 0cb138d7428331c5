//! Records of processes that were killed, as the store takes them.
//!
//! In pieces: a process that was killed because memory was short may have left more than there is memory for.

use std::io::{self, Write};

use penstock_journal::{Ended, Report};

use super::opening;
use super::record::UsageRecord;

/// Bytes of a piece, beyond which no further record is added.
const PIECE: usize = 4 << 20;
/// How far beyond the last ordinal that was found the cut calls begin: a record for which the disk had no room may have been
/// shipped from memory under an ordinal that no file has, and there is no memory for so many.
const BEYOND: u64 = 1 << 24;

/// The journals that were found, until what is in them is durable.
#[derive(Debug, Default)]
pub struct Recovery {
    found: Vec<Found>,
    damaged: u64,
    /// The journal that was read last, by its place.
    reading: Option<(usize, Report)>,
}

#[derive(Debug)]
struct Found {
    journal: Ended,
    records: usize,
}

impl Recovery {
    /// Keeps the journals in which there is something or something was lost, and removes the others.
    ///
    /// # Errors
    /// One of them cannot be read or removed.
    pub(crate) fn of(journals: Vec<Ended>) -> io::Result<Self> {
        let mut recovery = Self::default();
        for journal in journals {
            if !is_incarnation(journal.name()) {
                continue;
            }
            let report = journal.report()?;
            let records = report.closed() + report.open.len();
            recovery.damaged += report.damaged;
            if records == 0 && report.damaged == 0 {
                journal.remove()?;
            } else {
                recovery.found.push(Found { journal, records });
            }
        }
        Ok(recovery)
    }

    /// Places of the journals that are damaged: what they held is lost.
    #[must_use]
    pub fn damaged(&self) -> u64 {
        self.damaged
    }

    /// JSON: `[{"incarnation": name, "row": record}, ...]`, some MiB of them from the one at `after` on (0: the first).
    /// The same each time.
    ///
    /// # Errors
    /// A journal cannot be read.
    pub fn rows(&mut self, after: usize) -> io::Result<Vec<u8>> {
        let mut out = b"[".to_vec();
        let mut skip = after;
        for (place, Found { journal, records }) in self.found.iter().enumerate() {
            if skip >= *records {
                skip -= records;
                continue;
            }
            if self.reading.as_ref().is_none_or(|(at, _)| *at != place) {
                self.reading = Some((place, journal.report()?));
            }
            let Some((_, report)) = &mut self.reading else { break };
            for index in skip..*records {
                if out.len() >= PIECE {
                    break;
                }
                put(&mut out, journal.name(), report, index)?;
            }
            skip = 0;
            if out.len() >= PIECE {
                break;
            }
        }
        if out.pop_if(|last| *last == b',').is_none() {
            self.reading = None;
        }
        out.push(b']');
        Ok(out)
    }

    /// All of it is durable.
    ///
    /// # Errors
    /// A journal cannot be removed; its records will be found again, and are known by their ids.
    pub fn forget(&mut self) -> io::Result<()> {
        (self.reading, self.damaged) = (None, 0);
        self.found.drain(..).try_for_each(|found| found.journal.remove())
    }
}

/// Whether a process may be called so.
pub(crate) fn is_incarnation(name: &str) -> bool {
    name.len() == 16 && name.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Adds a record, with a comma. Calls that were cut come last and get ordinals after any that was given: nobody else gives
/// any in the name of a process that has ended.
fn put(out: &mut Vec<u8>, name: &str, report: &mut Report, index: usize) -> io::Result<()> {
    let row = match index.checked_sub(report.closed()) {
        None => match report.record(index)? {
            Some((_, row)) => legible(row)?,
            None => return Ok(()),
        },
        Some(cut) => {
            let Some(left) = report.open.get(cut) else { return Ok(()) };
            let seq = report.last() + BEYOND + cut as u64;
            let mut row = Vec::new();
            if opening::lost(&left.open, left.update.as_deref(), seq, |record| record.write(&mut row)).is_none() {
                // Of another version, perhaps. That there was a call is told all the same.
                UsageRecord::void(&format!("void-{name}-{seq}"), seq).write(&mut row);
            }
            row
        }
    };
    write!(out, "{{\"incarnation\":\"{name}\",\"row\":")?;
    out.extend_from_slice(&row);
    out.extend_from_slice(b"},");
    Ok(())
}

/// The record, or a text of it when it is none: it must not keep others from being read.
fn legible(row: Vec<u8>) -> io::Result<Vec<u8>> {
    let is_json = |text| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    if std::str::from_utf8(&row).is_ok_and(is_json) {
        return Ok(row);
    }
    Ok(serde_json::to_vec(&String::from_utf8_lossy(&row))?)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // there is no hot path here
mod tests {
    use std::path::{Path, PathBuf};

    use penstock_journal::Opened;
    use serde_json::Value;

    use super::*;
    use crate::ledger::record;

    const NAME: &str = "0123456789abcdef";

    /// A directory that is gone at the end of the test.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("penstock-recovery-{}-{name}", std::process::id()));
            std::fs::create_dir(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    /// What the next process finds.
    fn next(root: &Path) -> Recovery {
        Recovery::of(penstock_journal::open(root, "next", 1, 1 << 20).unwrap().ended).unwrap()
    }

    fn rows(recovery: &mut Recovery, after: usize) -> Vec<Value> {
        serde_json::from_slice(&recovery.rows(after).unwrap()).unwrap()
    }

    #[test]
    fn what_was_left_comes_in_pieces() {
        let root = Scratch::new("pieces");
        let Opened { journal, mut writers, .. } = penstock_journal::open(&root.0, NAME, 2, 1 << 20).unwrap();
        let long = "x".repeat(100_000);
        for seq in 1..=150 {
            let mut row = Vec::new();
            UsageRecord { end_user: &long, ..record::example(seq) }.write(&mut row);
            assert!(writers[seq as usize % 2].close(None, seq, &row));
        }
        for writer in &mut writers {
            let _cut = writer.open(&[b"of a version that nobody knows"]).unwrap();
        }
        assert!(writers[0].close(None, 151, b"[1, \"broken \xff"));
        drop((journal, writers));
        let mut recovery = next(&root.0);
        assert_eq!(recovery.damaged(), 0);
        let (mut ordinals, mut pieces) = (Vec::new(), 0);
        loop {
            let piece = rows(&mut recovery, ordinals.len());
            if piece.is_empty() {
                break;
            }
            assert!(serde_json::to_vec(&piece).unwrap().len() < PIECE + 200_000);
            pieces += 1;
            ordinals.extend(piece.into_iter().map(|one| match &one["row"] {
                Value::String(text) => {
                    assert!(text.starts_with("[1, \"broken"));
                    0
                }
                row => row[2].as_u64().unwrap(),
            }));
        }
        assert!(pieces > 3);
        // Two calls of which nothing but that they were is known have ordinals that nobody was given.
        let cut = [151 + BEYOND, 152 + BEYOND];
        assert!(ordinals.iter().copied().eq((1..=150).chain([0]).chain(cut)), "{ordinals:?}");
        assert_eq!(rows(&mut recovery, 151).len(), 2);
        recovery.forget().unwrap();
        assert_eq!(recovery.rows(0).unwrap(), b"[]");
        assert!(!root.0.join(NAME).exists());
    }

    #[test]
    fn a_journal_of_which_nothing_is_left_but_damage_is_told_of() {
        let root = Scratch::new("damage");
        let Opened { journal, mut writers, .. } = penstock_journal::open(&root.0, NAME, 1, 1 << 16).unwrap();
        assert!(writers[0].close(None, 1, b"[]"));
        drop((journal, writers));
        let segment = root.0.join(NAME).join("0-0");
        let mut bytes = std::fs::read(&segment).unwrap();
        bytes[9] ^= 1;
        std::fs::write(&segment, bytes).unwrap();
        let mut recovery = next(&root.0);
        assert_eq!((recovery.damaged(), recovery.rows(0).unwrap()), (1, b"[]".to_vec()));
        assert!(segment.exists());
        recovery.forget().unwrap();
        assert_eq!(recovery.damaged(), 0);
        assert!(!segment.exists());
    }
}
