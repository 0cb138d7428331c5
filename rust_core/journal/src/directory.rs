//! Journals side by side: one directory per run of a process, and whose run is over.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use memmap2::MmapMut;

use crate::recover::{self, Remains, Report};
use crate::segment::map_new;
use crate::writer::Writer;

const LOCK: &str = "lock";
/// How the name of a journal ends that is being removed.
const GONE: &str = ".gone";
pub(crate) const ACKNOWLEDGED: &str = "acknowledged";
/// Two places for the ordinal, each with its complement: one is whole whenever the process dies.
const PLACE: usize = 16;

/// The journal of this run.
#[derive(Debug)]
pub struct Journal {
    directory: PathBuf,
    _lock: File,
    acknowledged: Arc<AtomicU64>,
    mark: Mutex<MmapMut>,
}

/// A journal that was made, and those that were found.
#[derive(Debug)]
pub struct Opened {
    /// Of this run.
    pub journal: Journal,
    /// One per thread.
    pub writers: Vec<Writer>,
    /// Of runs that have ended, in the order of their names.
    pub ended: Vec<Ended>,
}

/// Makes the journal `name` under `root`, with segments of so many bytes, and takes over those of processes that have
/// ended. Directories whose names have other characters than letters, digits, `.`, `_` and `-` are none of its own.
///
/// # Errors
/// Whatever the file system says; `AlreadyExists` when there is a journal of this name.
pub fn open(root: &Path, name: &str, writers: usize, segment: usize) -> io::Result<Opened> {
    DirBuilder::new().recursive(true).mode(0o700).create(root)?;
    // A journal without a lock is one that is being made, and not one whose process has ended.
    let all = lock_file(root)?;
    all.lock()?;
    let mut ended = Vec::new();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            continue;
        }
        let Ok(name) = entry.file_name().into_string() else { continue };
        if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) {
            continue;
        }
        if name.ends_with(GONE) {
            // Whoever removes it now, or was killed while it did.
            let _ = fs::remove_dir_all(entry.path());
            continue;
        }
        if let Some(lock) = take_over(&entry.path())? {
            ended.push(Ended { name, directory: entry.path(), _lock: lock });
        }
    }
    ended.sort_by(|a, b| a.name.cmp(&b.name));
    let directory = root.join(name);
    DirBuilder::new().mode(0o700).create(&directory)?;
    let made = fill(&directory, writers, segment);
    if made.is_err() {
        let _ = fs::remove_dir_all(&directory);
    }
    let (journal, writers) = made?;
    drop(all);
    Ok(Opened { journal, writers, ended })
}

fn fill(directory: &Path, writers: usize, segment: usize) -> io::Result<(Journal, Vec<Writer>)> {
    let lock = lock_file(directory)?;
    lock.lock()?;
    let mark = map_new(&directory.join(ACKNOWLEDGED), 2 * PLACE)?;
    let acknowledged = Arc::new(AtomicU64::new(0));
    let writers = (0..writers)
        .map(|number| {
            let number = u32::try_from(number).map_err(io::Error::other)?;
            Writer::new(directory.to_owned(), number, segment, Arc::clone(&acknowledged))
        })
        .collect::<io::Result<Vec<_>>>()?;
    let journal = Journal { directory: directory.to_owned(), _lock: lock, acknowledged, mark: Mutex::new(mark) };
    Ok((journal, writers))
}

/// The lock of a directory that nobody holds; `None`: its process is alive, or there is nothing in it.
fn take_over(directory: &Path) -> io::Result<Option<File>> {
    let path = directory.join(LOCK);
    let lock = match OpenOptions::new().write(true).open(&path) {
        Ok(lock) => lock,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // Killed before it began, or being removed at this moment.
            let _ = fs::remove_dir(directory);
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    match lock.try_lock() {
        // Whoever removed it let go of the lock after the file was gone.
        Ok(()) => Ok(fs::exists(&path)?.then_some(lock)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn lock_file(directory: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(directory.join(LOCK))
}

impl Journal {
    /// All records with ordinals up to this one are safe elsewhere. Older ordinals are ignored.
    pub fn acknowledge(&self, ordinal: u64) {
        let mut mark = self.mark.lock().unwrap_or_else(PoisonError::into_inner);
        if self.acknowledged.load(Ordering::Relaxed) >= ordinal {
            return;
        }
        // The place that does not hold the highest ordinal.
        let place = usize::from(read_place(&mark, 0) > read_place(&mark, 1));
        if let Some((value, rest)) = mark.get_mut(place * PLACE..).and_then(|at| at.split_first_chunk_mut::<8>())
            && let Some(check) = rest.first_chunk_mut::<8>()
        {
            *value = ordinal.to_le_bytes();
            *check = (!ordinal).to_le_bytes();
        }
        // After the mark: a writer that sees it writes over the records.
        self.acknowledged.store(ordinal, Ordering::Release);
    }

    /// Nothing in it is needed any more.
    pub fn discard(&self) {
        let _ = remove(&self.directory);
    }
}

/// Gone for whoever looks for journals before any of its files is: half of one would tell of what never ended.
fn remove(directory: &Path) -> io::Result<()> {
    let mut gone = directory.as_os_str().to_owned();
    gone.push(GONE);
    fs::rename(directory, &gone)?;
    match fs::remove_dir_all(&gone) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn read_place(mark: &[u8], place: usize) -> u64 {
    let read = |at: usize| mark.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
    read(place * PLACE).filter(|value| read(place * PLACE + 8) == Some(!value)).unwrap_or(0)
}

/// The ordinal in the file that [`Journal::acknowledge`] writes.
pub(crate) fn read_mark(mark: &[u8]) -> u64 {
    read_place(mark, 0).max(read_place(mark, 1))
}

/// The journal of a process that has ended. Nobody else touches it while this exists.
#[derive(Debug)]
pub struct Ended {
    name: String,
    directory: PathBuf,
    _lock: File,
}

impl Ended {
    /// The name under which it was made.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What was not acknowledged. Reading changes nothing.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn read(&self) -> io::Result<Remains> {
        recover::read(&self.directory)
    }

    /// What there is, without the records.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn report(&self) -> io::Result<Report> {
        recover::report(&self.directory)
    }

    /// Nothing in it is needed any more.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove(self) -> io::Result<()> {
        remove(&self.directory)
    }
}
