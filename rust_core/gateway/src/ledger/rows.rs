//! Records as rows of JSON text, back to back.
//!
//! One buffer that is used over and over, instead of a value with its own strings per record: these would be allocated
//! on one thread and freed on another, and lie wherever the heap had a hole, which costs more the larger it has grown.

use std::collections::VecDeque;

use super::record::UsageRecord;

/// Bytes of text that a buffer may keep for later when it is empty.
pub(super) const SPARE: usize = 2 << 20;

/// The records of one thread that nobody has taken yet; each row ends with a comma.
#[derive(Debug, Default)]
pub(super) struct Rows {
    text: Vec<u8>,
    /// By row: its ordinal and where it ends.
    ends: Vec<(u64, usize)>,
}

impl Rows {
    /// Adds a record.
    pub(super) fn push(&mut self, record: &UsageRecord<'_>) {
        // What an earlier writer left half done would make the whole batch unreadable.
        let start = self.ends.last().map_or(0, |(_, end)| *end);
        self.text.truncate(start);
        record.write(&mut self.text);
        self.text.push(b',');
        self.ends.push((record.seq, self.text.len()));
    }

    /// The row that was added last, without its comma.
    pub(super) fn newest(&self) -> &[u8] {
        let mut ends = self.ends.iter().rev().map(|(_, end)| *end);
        let (end, start) = (ends.next().unwrap_or(1), ends.next().unwrap_or(0));
        self.text.get(start..end - 1).unwrap_or_default()
    }

    fn clear(&mut self) {
        self.text.clear();
        self.text.shrink_to(SPARE);
        self.ends.clear();
        self.ends.shrink_to(SPARE / 512);
    }
}

/// The records of all threads that the store works on, oldest first.
#[derive(Debug)]
pub(super) struct Taken {
    text: Vec<u8>,
    /// By row, oldest first: its ordinal and where it ends.
    ends: VecDeque<(u64, usize)>,
    /// Where the oldest row begins.
    start: usize,
    /// One per thread: what was just taken from it, and between takes the buffer that it gets next.
    fresh: Vec<Rows>,
}

impl Taken {
    pub(super) fn new(threads: usize) -> Self {
        let fresh = (0..threads).map(|_| Rows::default()).collect();
        Self { text: Vec::new(), ends: VecDeque::new(), start: 0, fresh }
    }

    /// How many rows there are with an ordinal above this one.
    pub(super) fn beyond(&self, seq: u64) -> usize {
        self.ends.len() - self.up_to(seq)
    }

    fn up_to(&self, seq: u64) -> usize {
        self.ends.partition_point(|(ordinal, _)| *ordinal <= seq)
    }

    /// Takes what the threads have and leaves them empty buffers. To be followed by [`Taken::gather`].
    pub(super) fn swap<'a>(&mut self, lists: impl Iterator<Item = &'a mut Rows>) {
        for (mine, theirs) in self.fresh.iter_mut().zip(lists) {
            std::mem::swap(mine, theirs);
        }
    }

    /// Adds what was taken, in the order of the ordinals.
    pub(super) fn gather(&mut self) {
        let mut rows: Vec<(u64, usize, usize, usize)> = Vec::new();
        for (list, fresh) in self.fresh.iter().enumerate() {
            let mut start = 0;
            for (seq, end) in &fresh.ends {
                rows.push((*seq, list, start, *end));
                start = *end;
            }
        }
        if self.fresh.len() > 1 {
            rows.sort_unstable_by_key(|(seq, ..)| *seq);
        }
        for (seq, list, start, end) in rows {
            let row = self.fresh.get(list).and_then(|fresh| fresh.text.get(start..end)).unwrap_or_default();
            self.text.extend_from_slice(row);
            self.ends.push_back((seq, self.text.len()));
        }
        self.fresh.iter_mut().for_each(Rows::clear);
    }

    /// The oldest `limit` rows with an ordinal above `after`, as one JSON array.
    pub(super) fn oldest(&self, limit: usize, after: u64) -> Vec<u8> {
        let first = self.up_to(after);
        let start = first.checked_sub(1).and_then(|row| self.ends.get(row)).map_or(self.start, |(_, end)| *end);
        let count = limit.min(self.ends.len() - first);
        let last = count.checked_sub(1).and_then(|row| self.ends.get(first + row));
        // Without the last comma.
        let rows = last.and_then(|(_, end)| self.text.get(start..end - 1)).unwrap_or_default();
        let mut array = Vec::with_capacity(rows.len() + 2);
        array.push(b'[');
        array.extend_from_slice(rows);
        array.push(b']');
        array
    }

    /// Drops the rows with ordinals up to this one: how many there were, and the ordinal of the last.
    pub(super) fn forget(&mut self, seq: u64) -> Option<(usize, u64)> {
        let gone = self.up_to(seq);
        let (last, end) = self.ends.drain(..gone).next_back()?;
        self.start = end;
        if self.ends.is_empty() {
            self.text.clear();
            self.start = 0;
        } else if self.start > self.text.len() / 2 {
            self.text.drain(..self.start);
            self.ends.iter_mut().for_each(|(_, end)| *end -= self.start);
            self.start = 0;
        }
        // What an outage of the store has made large must not stay so.
        if self.text.capacity() > SPARE && self.text.len() < self.text.capacity() / 4 {
            self.text.shrink_to(SPARE.max(self.text.len() * 2));
            self.ends.shrink_to(self.ends.len() * 2);
        }
        Some((gone, last))
    }

    /// Bytes of text that the buffers have room for.
    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        self.text.capacity() + self.fresh.iter().map(|rows| rows.text.capacity()).sum::<usize>()
    }
}
