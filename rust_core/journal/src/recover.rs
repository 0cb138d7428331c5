//! What a process that was killed had left to say.
//!
//! There may be a million records after an outage, so they are found first and read when they are asked for; no more of
//! them is in memory than one file holds.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::directory::{ACKNOWLEDGED, read_mark};
use crate::entry::{self, Kind};
use crate::segment::{FIRST, identify};

/// What an ended process left behind, all of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remains {
    /// Records with ordinals up to this one were safe elsewhere, and are not in `closed`.
    pub acknowledged: u64,
    /// Records in the order of their ordinals.
    pub closed: Vec<(u64, Vec<u8>)>,
    /// What was never closed, by writer and in the order in which it was opened.
    pub open: Vec<Left>,
    /// Places where something was damaged and is lost.
    pub damaged: u64,
}

/// What an ended process left behind; its records are still in their files.
#[derive(Debug, Default)]
pub struct Report {
    /// As in [`Remains`].
    pub acknowledged: u64,
    /// As in [`Remains`].
    pub open: Vec<Left>,
    /// As in [`Remains`].
    pub damaged: u64,
    files: Vec<PathBuf>,
    closed: Vec<Record>,
    /// The file that was read last.
    reading: Option<(usize, File)>,
}

/// Where a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Record {
    ordinal: u64,
    file: usize,
    at: usize,
    length: usize,
}

/// Something that was open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// What it was opened with.
    pub open: Vec<u8>,
    /// How far it was said to have got.
    pub update: Option<Vec<u8>>,
}

#[derive(Default)]
struct Known {
    open: Option<Vec<u8>>,
    update: Option<Vec<u8>>,
}

impl Report {
    /// How many records there are.
    #[must_use]
    pub fn closed(&self) -> usize {
        self.closed.len()
    }

    /// The highest ordinal that is known to have been given.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.closed.last().map_or(0, |record| record.ordinal).max(self.acknowledged)
    }

    /// The record at this place in the order of ordinals, and its ordinal.
    ///
    /// # Errors
    /// Its file cannot be read.
    #[allow(clippy::disallowed_methods)] // at start, before there is a hot path
    pub fn record(&mut self, index: usize) -> io::Result<Option<(u64, Vec<u8>)>> {
        let Some(Record { ordinal, file, at, length }) = self.closed.get(index).copied() else { return Ok(None) };
        if self.reading.as_ref().is_none_or(|(open, _)| *open != file) {
            let Some(path) = self.files.get(file) else { return Ok(None) };
            self.reading = Some((file, File::open(path)?));
        }
        let mut record = vec![0; length];
        if let Some((_, file)) = &self.reading {
            file.read_exact_at(&mut record, at as u64)?;
        }
        Ok(Some((ordinal, record)))
    }
}

#[allow(clippy::disallowed_methods)] // at start, before there is a hot path
pub(crate) fn report(directory: &Path) -> io::Result<Report> {
    let mut report = Report::default();
    let mut segments = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let (name, path) = (entry.file_name().into_string().unwrap_or_default(), entry.path());
        if name == ACKNOWLEDGED {
            report.acknowledged = read_mark(&fs::read(path)?);
        } else if name.split_once('-').is_some() {
            let mut head = Vec::with_capacity(FIRST);
            File::open(&path)?.take(FIRST as u64).read_to_end(&mut head)?;
            match identify(&head) {
                Some((generation, writer)) => segments.push((writer, generation, path)),
                // One that was made and not used yet is all zeros.
                None => report.damaged += u64::from(fs::read(path)?.iter().any(|byte| *byte != 0)),
            }
        }
    }
    segments.sort_unstable();
    let mut known: BTreeMap<(u32, u64), Known> = BTreeMap::new();
    for (writer, generation, path) in segments {
        let bytes = fs::read(&path)?;
        let file = report.files.len();
        report.files.push(path);
        let (entries, damaged) = entry::all(&bytes, FIRST, generation);
        report.damaged += damaged;
        for (place, entry) in entries {
            if entry.kind == Kind::Close
                && let Some((ordinal, record)) = entry.payload.split_first_chunk::<8>()
            {
                let (ordinal, at) = (u64::from_le_bytes(*ordinal), place + entry::HEADER + 8);
                if ordinal > report.acknowledged {
                    report.closed.push(Record { ordinal, file, at, length: record.len() });
                }
            }
            if entry.id == 0 {
                // It was never open.
                continue;
            }
            let of = (writer, entry.id);
            if entry.kind == Kind::Close {
                // Nothing is said of it after that, and no two things have one id.
                known.remove(&of);
                continue;
            }
            let about = known.entry(of).or_default();
            match entry.kind {
                Kind::Open => (about.open, about.update) = (Some(entry.payload.to_vec()), None),
                Kind::Carried => about.open = Some(entry.payload.to_vec()),
                Kind::Update => about.update = Some(entry.payload.to_vec()),
                Kind::Close => {}
            }
        }
    }
    report.closed.sort_unstable();
    let left = known.into_values().filter_map(|about| Some(Left { open: about.open?, update: about.update }));
    report.open = left.collect();
    Ok(report)
}

pub(crate) fn read(directory: &Path) -> io::Result<Remains> {
    let mut report = report(directory)?;
    let closed =
        (0..report.closed()).filter_map(|index| report.record(index).transpose()).collect::<io::Result<_>>()?;
    let Report { acknowledged, open, damaged, .. } = report;
    Ok(Remains { acknowledged, closed, open, damaged })
}
