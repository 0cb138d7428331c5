//! Records of processes that were killed, as the store takes them.

use std::io::{self, Write};

use penstock_journal::{Ended, Remains};

use super::opening;

/// The journals that were found, until what is in them is durable.
#[derive(Debug, Default)]
pub struct Recovery {
    ended: Vec<Ended>,
}

impl Recovery {
    /// Keeps the journals in which there is something, and removes the others.
    ///
    /// # Errors
    /// One of them cannot be read or removed.
    pub(crate) fn of(found: Vec<Ended>) -> io::Result<Self> {
        let mut ended = Vec::new();
        for journal in found {
            let remains = journal.read()?;
            if remains.closed.is_empty() && remains.open.is_empty() {
                journal.remove()?;
            } else {
                ended.push(journal);
            }
        }
        Ok(Self { ended })
    }

    /// JSON: `[{"incarnation": name, "row": record}, ...]`. The same each time.
    ///
    /// # Errors
    /// A journal cannot be read.
    pub fn rows(&self) -> io::Result<Vec<u8>> {
        let mut out = b"[".to_vec();
        for journal in &self.ended {
            put(&mut out, journal.name(), &journal.read()?)?;
        }
        if out.last() == Some(&b',') {
            out.pop();
        }
        out.push(b']');
        Ok(out)
    }

    /// All of it is durable.
    ///
    /// # Errors
    /// A journal cannot be removed; its records will be found again, and are known by their ids.
    pub fn forget(&mut self) -> io::Result<()> {
        self.ended.drain(..).try_for_each(Ended::remove)
    }
}

/// Adds the records of one process, each with a comma. Calls that were cut get the ordinals after the last one given: nobody else
/// gives any in the name of a process that has ended.
fn put(out: &mut Vec<u8>, name: &str, remains: &Remains) -> io::Result<()> {
    for (_, row) in &remains.closed {
        write!(out, "{{\"incarnation\":\"{name}\",\"row\":")?;
        out.extend_from_slice(row);
        out.extend_from_slice(b"},");
    }
    let mut seq = remains.closed.last().map_or(0, |(seq, _)| *seq).max(remains.acknowledged);
    for left in &remains.open {
        let row = opening::lost(&left.open, left.update.as_deref(), seq + 1, |record| serde_json::to_vec(record));
        if let Some(row) = row.transpose()? {
            seq += 1;
            write!(out, "{{\"incarnation\":\"{name}\",\"row\":")?;
            out.extend_from_slice(&row);
            out.extend_from_slice(b"},");
        }
    }
    Ok(())
}
