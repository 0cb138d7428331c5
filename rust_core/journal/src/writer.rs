//! The end of the journal that one thread writes to.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::entry::{Kind, room};
use crate::segment::{FIRST, Segment};

/// Segments that are kept although nothing in them is needed: fewer would be made and removed by turns.
const KEPT: usize = 8;
/// Surplus segments given back at a time, so that no single call pays for the end of an outage.
const GIVEN_BACK: usize = 4;
/// How long nobody tries again to make a file: each attempt takes the last of the disk from everybody for a moment.
const AGAIN: Duration = Duration::from_millis(250);

/// Where generations begin. Entries hold what clients said: whoever could foresee a generation could say an entry.
fn unforeseen() -> u64 {
    RandomState::new().hash_one(0_u64) >> 1
}

/// Nothing can be opened: no segment could be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl std::fmt::Display for Full {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no segment of the journal can be made")
    }
}

impl std::error::Error for Full {}

/// Something open.
#[derive(Debug, PartialEq, Eq)]
pub struct Ticket {
    slot: usize,
    id: u64,
}

/// Where a payload is.
#[derive(Debug, Clone, Copy)]
struct Place {
    generation: u64,
    at: usize,
    length: usize,
}

#[derive(Debug)]
struct Held {
    id: u64,
    open: Place,
    update: Option<Place>,
}

impl Held {
    fn bytes(&self) -> usize {
        room(self.open.length) + self.update.map_or(0, |update| room(update.length))
    }
}

/// Writes entries of one thread.
#[derive(Debug)]
pub struct Writer {
    directory: PathBuf,
    number: u32,
    size: usize,
    acknowledged: Arc<AtomicU64>,
    /// In the order of their generations; the last one is written to. Never empty.
    segments: VecDeque<Segment>,
    /// What the next one will be. `None`: none could be had, and nothing new is opened.
    spare: Option<Segment>,
    /// When a file could last not be made.
    failed: Option<Instant>,
    /// Files made so far.
    made: u64,
    /// What was written to when nothing was done the last time.
    rested: u64,
    held: Vec<Option<Held>>,
    free: Vec<usize>,
    next_id: u64,
}

impl Writer {
    /// A writer with its first two segments.
    ///
    /// # Errors
    /// They cannot be made.
    pub(crate) fn new(directory: PathBuf, number: u32, size: usize, acknowledged: Arc<AtomicU64>) -> io::Result<Self> {
        let mut writer = Self {
            directory,
            number,
            size: size.max(4096),
            acknowledged,
            segments: VecDeque::new(),
            spare: None,
            failed: None,
            made: 0,
            rested: 0,
            held: Vec::new(),
            free: Vec::new(),
            next_id: 1,
        };
        let mut first = writer.make()?;
        first.begin(unforeseen(), number);
        writer.segments.push_back(first);
        writer.spare = Some(writer.make()?);
        Ok(writer)
    }

    /// Gives segments back that a burst has left, once none was begun since this was last called: without this they would
    /// stay until as many entries come again, and their pages count as memory of the process. To be called now and then.
    pub fn rest(&mut self) {
        let newest = self.segments.back().map_or(0, |newest| newest.generation);
        if std::mem::replace(&mut self.rested, newest) != newest {
            return;
        }
        for _ in 0..GIVEN_BACK {
            if self.is_vacant() {
                self.segments.pop_front().into_iter().for_each(Segment::remove);
            }
        }
    }

    fn make(&mut self) -> io::Result<Segment> {
        let segment = Segment::create(self.directory.join(format!("{}-{}", self.number, self.made)), self.size)?;
        self.made += 1;
        Ok(segment)
    }

    /// Whether something new can be opened; tries to make it so.
    pub fn is_writable(&mut self) -> bool {
        self.provide();
        self.spare.is_some()
    }

    /// Bytes of the files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        ((self.segments.len() + usize::from(self.spare.is_some())) * self.size) as u64
    }

    /// Opens something; `parts` together say what.
    ///
    /// # Errors
    /// [`Full`]; nothing was written.
    pub fn open(&mut self, parts: &[&[u8]]) -> Result<Ticket, Full> {
        if self.spare.is_none() && !self.is_writable() {
            return Err(Full);
        }
        let id = self.next_id;
        let open = self.append(Kind::Open, id, parts).ok_or(Full)?;
        self.next_id += 1;
        let held = Some(Held { id, open, update: None });
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.held.push(None);
                self.held.len() - 1
            }
        };
        if let Some(place) = self.held.get_mut(slot) {
            *place = held;
        }
        self.count(open, 1);
        Ok(Ticket { slot, id })
    }

    /// Says something else of what is open, and that nothing of it has been done yet. False: there was no room, and
    /// what was said before stands.
    pub fn reopen(&mut self, ticket: &Ticket, parts: &[&[u8]]) -> bool {
        let Some(open) = self.append(Kind::Open, ticket.id, parts) else { return false };
        self.moved(ticket.slot, open, None);
        true
    }

    /// Says how far it got. False: there was no room.
    pub fn update(&mut self, ticket: &Ticket, parts: &[&[u8]]) -> bool {
        // The last of the room is for ends.
        if self.spare.is_none() && self.segments.back().is_none_or(|s| s.used() > self.size / 2) {
            return false;
        }
        let Some(place) = self.append(Kind::Update, ticket.id, parts) else { return false };
        if let Some(held) = self.held.get_mut(ticket.slot).and_then(Option::as_mut) {
            held.update = Some(place);
        }
        true
    }

    /// It is over, and `record` has the ordinal `ordinal`; without a ticket, it was never open. False: there was no
    /// room.
    pub fn close(&mut self, ticket: Option<Ticket>, ordinal: u64, record: &[u8]) -> bool {
        let id = ticket.as_ref().map_or(0, |ticket| ticket.id);
        let written = self.append(Kind::Close, id, &[&ordinal.to_le_bytes(), record]);
        if let Some(segment) = written.and_then(|place| self.segment(place.generation)) {
            segment.last = segment.last.max(ordinal);
        }
        let held = ticket.and_then(|ticket| {
            self.free.push(ticket.slot);
            self.held.get_mut(ticket.slot)?.take()
        });
        if let Some(segment) = held.and_then(|held| self.segment(held.open.generation)) {
            segment.open = segment.open.saturating_sub(1);
            if written.is_none() {
                // That it was open is all there is of it until the record is safe elsewhere.
                segment.last = segment.last.max(ordinal);
            }
        }
        written.is_some()
    }

    fn segment(&mut self, generation: u64) -> Option<&mut Segment> {
        let first = self.segments.front()?.generation;
        self.segments.get_mut(usize::try_from(generation.checked_sub(first)?).ok()?)
    }

    fn count(&mut self, place: Place, change: isize) {
        if let Some(segment) = self.segment(place.generation) {
            segment.open = segment.open.saturating_add_signed(change);
        }
    }

    /// Notes that what is in this slot is now said elsewhere.
    fn moved(&mut self, slot: usize, open: Place, update: Option<Place>) {
        let Some(held) = self.held.get_mut(slot).and_then(Option::as_mut) else { return };
        let before = std::mem::replace(&mut held.open, open);
        held.update = update;
        self.count(before, -1);
        self.count(open, 1);
    }

    fn append(&mut self, kind: Kind, id: u64, parts: &[&[u8]]) -> Option<Place> {
        if let Some(place) = self.put(kind, id, parts) {
            return Some(place);
        }
        let length: usize = parts.iter().map(|part| part.len()).sum();
        if FIRST + 2 * room(length) + room(0) > self.size {
            // Half of a segment is for what is carried forward.
            return None;
        }
        self.provide();
        let mut next = self.spare.take()?;
        next.begin(self.segments.back()?.generation + 1, self.number);
        self.segments.push_back(next);
        // First: what is carried forward must not come behind what is said now.
        self.provide();
        self.put(kind, id, parts)
    }

    fn put(&mut self, kind: Kind, id: u64, parts: &[&[u8]]) -> Option<Place> {
        let segment = self.segments.back_mut()?;
        let at = segment.append(kind, id, parts)?;
        Some(Place { generation: segment.generation, at, length: parts.iter().map(|part| part.len()).sum() })
    }

    /// Sees to it that there is a segment in reserve, if one can be had.
    fn provide(&mut self) {
        if self.spare.is_some() {
            return;
        }
        if self.vacate() {
            let next = self.segments.back().map_or(0, |newest| newest.generation) + 1;
            self.spare = self.segments.pop_front();
            // Emptied now and not when it is used: what was opened in it must not outlive its ends, which go with the
            // others.
            if let Some(spare) = &mut self.spare {
                spare.begin(next, self.number);
            }
            for _ in 0..GIVEN_BACK {
                if self.segments.len() > KEPT && self.is_vacant() {
                    self.segments.pop_front().into_iter().for_each(Segment::remove);
                }
            }
        } else if self.failed.is_none_or(|at| at.elapsed() >= AGAIN) {
            self.spare = self.make().ok();
            self.failed = self.spare.is_none().then(Instant::now);
        }
    }

    /// Whether nothing in the oldest segment is needed any more.
    fn is_vacant(&self) -> bool {
        let acknowledged = self.acknowledged.load(Ordering::Acquire);
        self.segments.len() > 1 && self.segments.front().is_some_and(|s| s.open == 0 && s.last <= acknowledged)
    }

    /// Empties the oldest segment of what is still open, when that is all it is kept for. Whether it may be reused.
    fn vacate(&mut self) -> bool {
        if self.is_vacant() {
            return true;
        }
        let acknowledged = self.acknowledged.load(Ordering::Acquire);
        let Some(oldest) = self.segments.front().filter(|s| s.last <= acknowledged && self.segments.len() > 1) else {
            return false;
        };
        let generation = oldest.generation;
        let (mut here, mut all) = (0, 0);
        for held in self.held.iter().flatten() {
            let bytes = held.bytes();
            all += bytes;
            here += if held.open.generation == generation { bytes } else { 0 };
        }
        // A segment that is full of what is open is worth copying only when most of the others are not.
        if here > self.size / 4 && self.segments.len() < 8 + 4 * all.div_ceil(self.size) {
            return false;
        }
        for slot in 0..self.held.len() {
            if !self.carry(slot, generation) {
                return false;
            }
        }
        self.is_vacant()
    }

    /// Copies what is in this slot into the newest segment if it is in the oldest. False: it does not fit.
    fn carry(&mut self, slot: usize, generation: u64) -> bool {
        let Some(held) = self.held.get(slot).and_then(Option::as_ref) else { return true };
        let Held { id, open, update } = *held;
        if open.generation != generation {
            return true;
        }
        let bytes = held.bytes();
        // The two must not be torn apart.
        if self.segments.back().is_none_or(|newest| newest.used() + bytes > self.size / 2) {
            return false;
        }
        let Some(moved) = self.copy(Kind::Carried, id, open) else { return false };
        let update = match update {
            Some(update) => match self.copy(Kind::Update, id, update) {
                Some(update) => Some(update),
                None => return false,
            },
            None => None,
        };
        self.moved(slot, moved, update);
        true
    }

    fn copy(&mut self, kind: Kind, id: u64, from: Place) -> Option<Place> {
        let payload = self.segment(from.generation)?.read(from.at, from.length).to_vec();
        self.put(kind, id, &[&payload])
    }
}

#[cfg(test)]
impl Writer {
    /// Where the next entry goes.
    pub(crate) fn position(&self) -> usize {
        self.segments.back().map_or(0, Segment::used)
    }

    /// The last attempt to make a file is so long ago that the next one may come.
    pub(crate) fn wait(&mut self) {
        self.failed = self.failed.and_then(|at| at.checked_sub(AGAIN));
    }
}
