//! What a process that was killed had left to say.

use std::collections::BTreeMap;
use std::path::Path;
use std::{fs, io};

use crate::directory::{ACKNOWLEDGED, read_mark};
use crate::entry::{self, Kind};
use crate::segment::{FIRST, identify};

/// What an ended process left behind.
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

/// Something that was open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// What it was opened with.
    pub open: Vec<u8>,
    /// How far it was said to have got.
    pub update: Option<Vec<u8>>,
}

#[derive(Default)]
struct Known<'a> {
    open: Option<&'a [u8]>,
    update: Option<&'a [u8]>,
    closed: bool,
}

#[allow(clippy::disallowed_methods)] // at start, before there is a hot path
pub(crate) fn read(directory: &Path) -> io::Result<Remains> {
    let mut remains = Remains::default();
    let mut segments = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().into_string().unwrap_or_default();
        if name == ACKNOWLEDGED {
            remains.acknowledged = read_mark(&fs::read(entry.path())?);
        } else if name.split_once('-').is_some() {
            let bytes = fs::read(entry.path())?;
            match identify(&bytes) {
                Some((generation, writer)) => segments.push(((writer, generation), bytes)),
                // One that was made and not used yet is all zeros.
                None => remains.damaged += u64::from(bytes.iter().any(|byte| *byte != 0)),
            }
        }
    }
    segments.sort_unstable_by_key(|(of, _)| *of);
    let mut known: BTreeMap<(u32, u64), Known<'_>> = BTreeMap::new();
    for ((writer, generation), bytes) in &segments {
        let (entries, damaged) = entry::all(bytes, FIRST, *generation);
        remains.damaged += damaged;
        for entry in entries {
            if entry.kind == Kind::Close
                && let Some((ordinal, record)) = entry.payload.split_first_chunk()
            {
                let ordinal = u64::from_le_bytes(*ordinal);
                if ordinal > remains.acknowledged {
                    remains.closed.push((ordinal, record.to_vec()));
                }
            }
            if entry.id == 0 {
                // It was never open.
                continue;
            }
            let about = known.entry((*writer, entry.id)).or_default();
            match entry.kind {
                Kind::Open => (about.open, about.update) = (Some(entry.payload), None),
                Kind::Carried => about.open = Some(entry.payload),
                Kind::Update => about.update = Some(entry.payload),
                Kind::Close => about.closed = true,
            }
        }
    }
    remains.closed.sort_unstable_by_key(|(ordinal, _)| *ordinal);
    let left = known
        .into_values()
        .filter(|about| !about.closed)
        .filter_map(|about| Some(Left { open: about.open?.to_vec(), update: about.update.map(<[u8]>::to_vec) }));
    remains.open = left.collect();
    Ok(remains)
}
