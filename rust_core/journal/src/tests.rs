//! The promise: whatever was written when the process died is found, nothing else is, and files do not become more and
//! more.

#![allow(clippy::disallowed_methods)] // there is no hot path here

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use crate::{Full, Journal, Opened, Remains, Ticket, Writer, open, recover};

/// A directory that is gone at the end of the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("penstock-journal-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn one(root: &Path, segment: usize) -> (Journal, Writer) {
    let Opened { journal, mut writers, .. } = open(root, "a", 1, segment).unwrap();
    (journal, writers.pop().unwrap())
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for file in files(from) {
        fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
    }
}

#[test]
fn what_was_opened_updated_and_closed_is_found() {
    let root = Scratch::new();
    let (journal, mut writer) = one(&root.0, 1 << 16);
    let first = writer.open(&[b"fir", b"st"]).unwrap();
    let second = writer.open(&[b"second"]).unwrap();
    let third = writer.open(&[b"third"]).unwrap();
    assert!(writer.update(&second, &[b"half"]));
    assert!(writer.update(&third, &[b"some"]));
    assert!(writer.reopen(&third, &[b"third again"]));
    assert!(writer.close(Some(first), 1, b"record 1"));
    assert!(writer.close(None, 2, b"record 2"));
    journal.acknowledge(1);
    let found = recover::read(&root.0.join("a")).unwrap();
    assert_eq!((found.acknowledged, found.damaged), (1, 0));
    assert_eq!(found.closed, [(2, b"record 2".to_vec())]);
    let left: Vec<_> = found.open.iter().map(|left| (&left.open[..], left.update.as_deref())).collect();
    assert_eq!(left, [(&b"second"[..], Some(&b"half"[..])), (b"third again", None)]);
}

#[test]
fn only_the_journals_of_ended_processes_are_taken_over_and_once() {
    let root = Scratch::new();
    let (journal, mut writer) = one(&root.0, 4096);
    let _ticket = writer.open(&[b"x"]).unwrap();
    assert!(open(&root.0, "a", 1, 4096).is_err());
    let b = open(&root.0, "b", 1, 4096).unwrap();
    assert!(b.ended.is_empty());
    drop((journal, writer));
    let mut c = open(&root.0, "c", 1, 4096).unwrap();
    assert_eq!(c.ended.iter().map(crate::Ended::name).collect::<Vec<_>>(), ["a"]);
    // Taken over by one, it is not there for another.
    assert!(open(&root.0, "d", 1, 4096).unwrap().ended.is_empty());
    let ended = c.ended.pop().unwrap();
    assert_eq!(ended.read().unwrap().open.len(), 1);
    assert_eq!(ended.read().unwrap(), ended.read().unwrap());
    ended.remove().unwrap();
    assert!(!root.0.join("a").exists());
    // `d` was dropped at once and has ended; `b` and `c` live.
    let e = open(&root.0, "e", 1, 4096).unwrap();
    assert_eq!(e.ended.iter().map(crate::Ended::name).collect::<Vec<_>>(), ["d"]);
    b.journal.discard();
    assert!(!root.0.join("b").exists());
}

#[test]
fn a_million_entries_go_through_a_handful_of_files() {
    let root = Scratch::new();
    let (journal, mut writer) = one(&root.0, 1 << 16);
    let mut open: BTreeMap<u64, Ticket> = BTreeMap::new();
    // A few stay open from beginning to end.
    let long: Vec<Ticket> = (0..50).map(|n: u64| writer.open(&[b"long", &n.to_le_bytes()]).unwrap()).collect();
    for n in 1..=350_000_u64 {
        open.insert(n, writer.open(&[&n.to_le_bytes(), &[7; 100]]).unwrap());
        if let Some(ticket) = open.remove(&(n.saturating_sub(20))) {
            assert!(writer.close(Some(ticket), n - 20, &[8; 200]));
            journal.acknowledge(n.saturating_sub(200));
        }
        if n % 10 == 0 {
            for ticket in long.iter().take(10) {
                assert!(writer.update(ticket, &[&n.to_le_bytes()]));
            }
        }
    }
    assert!(files(&root.0.join("a")).len() <= 2 + 12, "{:?}", files(&root.0.join("a")).len());
    let found = recover::read(&root.0.join("a")).unwrap();
    assert_eq!(found.damaged, 0);
    assert_eq!(found.open.len(), 50 + 20);
    let longs: Vec<_> = found.open.iter().filter(|left| left.open.starts_with(b"long")).collect();
    assert_eq!(longs.len(), 50);
    for left in longs {
        let number = u64::from_le_bytes(left.open[4..].try_into().unwrap());
        assert_eq!(left.update.as_deref(), (number < 10).then_some(&350_000_u64.to_le_bytes()[..]));
    }
    assert_eq!(found.closed.len(), 180);
    assert!(found.closed.iter().map(|(n, _)| *n).eq(349_801..=349_980));
}

#[test]
fn a_backlog_is_kept_and_its_files_are_given_back() {
    let root = Scratch::new();
    let (journal, mut writer) = one(&root.0, 4096);
    let mut last = 0;
    let mut some = |writer: &mut Writer, count: u64| {
        for _ in 0..count {
            last += 1;
            let ticket = writer.open(&[&[1; 100]]).unwrap();
            assert!(writer.close(Some(ticket), last, &[2; 100]));
        }
        last
    };
    let backlog = some(&mut writer, 2_000);
    assert!(files(&root.0.join("a")).len() > 100);
    assert_eq!(recover::read(&root.0.join("a")).unwrap().closed.len(), 2_000);
    journal.acknowledge(backlog);
    some(&mut writer, 2_000);
    journal.acknowledge(3_900);
    some(&mut writer, 400);
    let found = recover::read(&root.0.join("a")).unwrap();
    assert!(found.closed.iter().map(|(n, _)| *n).eq(3_901..=4_400));
    journal.acknowledge(4_400);
    some(&mut writer, 2_000);
    journal.acknowledge(6_400);
    some(&mut writer, 200);
    journal.acknowledge(6_600);
    some(&mut writer, 200);
    assert!(files(&root.0.join("a")).len() < 40, "{}", files(&root.0.join("a")).len());
}

#[test]
fn what_a_burst_has_left_is_given_back_when_nothing_comes() {
    let root = Scratch::new();
    let (journal, mut writer) = one(&root.0, 4096);
    let long = writer.open(&[b"long"]).unwrap();
    for n in 1..=400 {
        assert!(writer.close(None, n, &[2; 100]));
    }
    journal.acknowledge(350);
    let burst = writer.bytes();
    // What is open since the beginning keeps all that came after it.
    (0..20).for_each(|_| writer.rest());
    assert_eq!(writer.bytes(), burst);
    assert!(writer.close(Some(long), 401, b"long"));
    (0..20).for_each(|_| writer.rest());
    let left = writer.bytes();
    assert!(left < burst / 2, "{left} of {burst}");
    let found = recover::read(&root.0.join("a")).unwrap();
    assert!(found.closed.iter().map(|(n, _)| *n).eq(351..=401));
    journal.acknowledge(401);
    // Not while more comes: it would be made again at once.
    while writer.bytes() <= left {
        assert!(writer.close(None, 402, &[2; 100]));
    }
    writer.rest();
    assert!(writer.bytes() > left);
    journal.acknowledge(402);
    (0..20).for_each(|_| writer.rest());
    // One that is written to and one in reserve, and no other file than these and the two that every journal has.
    assert_eq!(writer.bytes(), 2 * 4096);
    assert_eq!(files(&root.0.join("a")).len(), 2 + 2);
    let ticket = writer.open(&[b"again"]).unwrap();
    assert_eq!(recover::read(&root.0.join("a")).unwrap().open.len(), 1);
    assert!(writer.close(Some(ticket), 403, b"again"));
}

#[test]
fn without_room_nothing_is_opened_and_what_is_open_can_end() {
    let root = Scratch::new();
    let (journal, mut writer) = one(&root.0, 4096);
    // No file can be made in a directory that is gone; those that are open and mapped stay.
    fs::remove_dir_all(root.0.join("a")).unwrap();
    let mut tickets = Vec::new();
    let full = loop {
        match writer.open(&[&[1; 200]]) {
            Ok(ticket) => tickets.push(ticket),
            Err(full) => break full,
        }
    };
    assert_eq!(full, Full);
    assert!(!writer.is_writable());
    assert!(tickets.len() > 10, "{}", tickets.len());
    assert!(tickets.drain(..).enumerate().take(10).all(|(n, ticket)| writer.close(Some(ticket), n as u64 + 1, b"r")));
    // Once what is there is acknowledged, it goes on without another file.
    journal.acknowledge(10);
    let before = writer.bytes();
    let (left, mut ordinal) = (before / 4096, 10);
    assert!(left <= 3);
    for _ in 0..200 {
        ordinal += 1;
        let _ = writer.close(None, ordinal, &[3; 50]);
        journal.acknowledge(ordinal);
    }
    assert!(!writer.is_writable() || writer.bytes() == before);
}

#[test]
fn nothing_that_ended_comes_back_while_files_are_given_back() {
    let root = Scratch::new();
    let (journal, mut writer) = one(&root.0, 4096);
    let mut before: Option<Ticket> = None;
    for n in 1..=2_000_u64 {
        // Each is closed after the next was opened, so that some are opened in one segment and closed in another.
        if let Some(ticket) = before.replace(writer.open(&[&[1; 100]]).unwrap()) {
            assert!(writer.close(Some(ticket), n, &[2; 100]));
        }
    }
    assert!(writer.close(before, 2_001, &[2; 100]));
    journal.acknowledge(2_001);
    for n in 2_002..=3_000 {
        let ticket = writer.open(&[&[1; 100]]).unwrap();
        assert!(writer.close(Some(ticket), n, &[2; 100]));
        journal.acknowledge(n);
        assert!(recover::read(&root.0.join("a")).unwrap().open.is_empty(), "{n}");
    }
}

#[test]
fn an_entry_within_an_entry_is_none() {
    let root = Scratch::new();
    let (journal, mut writer) = one(&root.0, 4096);
    // Whoever speaks here takes generations for small numbers, as many as a payload has room for.
    let mut forged = vec![0; 40 * crate::entry::room(16)];
    let mut at = 0;
    for generation in 1..=40 {
        let parts: &[&[u8]] = &[&u64::MAX.to_le_bytes(), b"forged"];
        let Some(next) = crate::entry::write(&mut forged, at, generation, crate::entry::Kind::Close, 1, parts) else {
            break;
        };
        at = next;
    }
    assert!(at > 1_000);
    for n in 1..=60 {
        let ticket = writer.open(&[&forged]).unwrap();
        assert!(writer.close(Some(ticket), n, b"r"));
        journal.acknowledge(n);
        assert_eq!(recover::read(&root.0.join("a")).unwrap().closed, [], "{n}");
    }
}

#[test]
fn a_file_that_cannot_be_made_is_not_tried_again_at_once() {
    let root = Scratch::new();
    let (_journal, mut writer) = one(&root.0, 4096);
    let directory = root.0.join("a");
    fs::remove_dir_all(&directory).unwrap();
    while writer.open(&[&[1; 200]]).is_ok() {}
    fs::create_dir(&directory).unwrap();
    assert!(!writer.is_writable());
    assert!(writer.open(&[&[1; 200]]).is_err());
    assert!(files(&directory).is_empty());
    writer.wait();
    assert!(writer.is_writable());
    assert!(writer.open(&[&[1; 200]]).is_ok());
}

#[test]
fn a_journal_whose_removal_was_cut_short_is_none() {
    let root = Scratch::new();
    let (journal, mut writer) = one(&root.0, 4096);
    let _ticket = writer.open(&[b"x"]).unwrap();
    // What is half there when the process is killed, and what somebody else has put beside it.
    copy(&root.0.join("a"), &root.0.join("b.gone"));
    fs::create_dir(root.0.join("lost+found")).unwrap();
    let c = open(&root.0, "c", 1, 4096).unwrap();
    assert!(c.ended.is_empty());
    assert!(!root.0.join("b.gone").exists());
    assert!(root.0.join("lost+found").exists());
    drop((journal, writer));
    let d = open(&root.0, "d", 1, 4096).unwrap();
    assert_eq!(d.ended.len(), 1);
    d.ended.into_iter().for_each(|ended| ended.remove().unwrap());
    c.journal.discard();
    let names: Vec<_> = files(&root.0).into_iter().map(|path| path.file_name().unwrap().to_owned()).collect();
    assert_eq!(names, ["d", "lock", "lost+found"]);
}

#[test]
fn threads_do_not_see_each_other() {
    let root = Scratch::new();
    let Opened { journal, writers, .. } = open(&root.0, "a", 8, 1 << 14).unwrap();
    let ordinals = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for (thread, mut writer) in writers.into_iter().enumerate() {
            let (ordinals, journal) = (&ordinals, &journal);
            scope.spawn(move || {
                for n in 0..3_000_u64 {
                    let ticket = writer.open(&[&[thread as u8], &n.to_le_bytes()]).unwrap();
                    if n % 100 != 0 {
                        let ordinal = ordinals.fetch_add(1, Ordering::Relaxed) + 1;
                        assert!(writer.close(Some(ticket), ordinal, &ordinal.to_le_bytes()));
                    }
                    if n == 1_500 {
                        journal.acknowledge(50);
                    }
                }
            });
        }
    });
    let found = recover::read(&root.0.join("a")).unwrap();
    assert_eq!((found.damaged, found.acknowledged, found.open.len()), (0, 50, 8 * 30));
    assert!(found.closed.iter().map(|(n, _)| *n).eq(51..=8 * 2_970));
    assert!(found.closed.iter().all(|(n, record)| record[..] == n.to_le_bytes()));
}

/// What a user of the journal may do next.
#[derive(Debug, Clone)]
enum Step {
    Open(u8),
    Reopen(usize, u8),
    Update(usize, u8),
    Close(usize, u8),
    Record(u8),
    Acknowledge(u8),
    Rest,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => any::<u8>().prop_map(Step::Open),
        1 => (any::<usize>(), any::<u8>()).prop_map(|(n, size)| Step::Reopen(n, size)),
        3 => (any::<usize>(), any::<u8>()).prop_map(|(n, size)| Step::Update(n, size)),
        4 => (any::<usize>(), any::<u8>()).prop_map(|(n, size)| Step::Close(n, size)),
        1 => any::<u8>().prop_map(Step::Record),
        2 => any::<u8>().prop_map(Step::Acknowledge),
        2 => Just(Step::Rest),
    ];
    prop::collection::vec(step, 1..250)
}

/// What should be found, kept beside the journal.
#[derive(Default)]
struct Model {
    open: Vec<(Ticket, Vec<u8>, Option<Vec<u8>>)>,
    closed: BTreeMap<u64, Vec<u8>>,
    acknowledged: u64,
    ordinal: u64,
    said: BTreeSet<Vec<u8>>,
    next: u64,
}

impl Model {
    /// A payload that is like no other.
    fn payload(&mut self, size: u8) -> Vec<u8> {
        self.next += 1;
        let payload = [&self.next.to_le_bytes()[..], &vec![size; usize::from(size)]].concat();
        self.said.insert(payload.clone());
        payload
    }

    fn take(&mut self, step: Step, journal: &Journal, writer: &mut Writer) {
        match step {
            Step::Open(size) => {
                let payload = self.payload(size);
                let (left, right) = payload.split_at(payload.len() / 2);
                self.open.push((writer.open(&[left, right]).unwrap(), payload, None));
            }
            Step::Reopen(n, size) if !self.open.is_empty() => {
                let (payload, n) = (self.payload(size), n % self.open.len());
                assert!(writer.reopen(&self.open[n].0, &[&payload]));
                (self.open[n].1, self.open[n].2) = (payload, None);
            }
            Step::Update(n, size) if !self.open.is_empty() => {
                let (payload, n) = (self.payload(size), n % self.open.len());
                assert!(writer.update(&self.open[n].0, &[&payload]));
                self.open[n].2 = Some(payload);
            }
            Step::Close(n, size) if !self.open.is_empty() => {
                let (ticket, ..) = self.open.swap_remove(n % self.open.len());
                self.record(Some(ticket), size, writer);
            }
            Step::Record(size) => self.record(None, size, writer),
            Step::Acknowledge(behind) => {
                self.acknowledged = self.acknowledged.max(self.ordinal.saturating_sub(u64::from(behind) / 16));
                journal.acknowledge(self.acknowledged);
            }
            Step::Rest => writer.rest(),
            _ => {}
        }
    }

    fn record(&mut self, ticket: Option<Ticket>, size: u8, writer: &mut Writer) {
        let payload = self.payload(size);
        self.ordinal += 1;
        assert!(writer.close(ticket, self.ordinal, &payload));
        self.closed.insert(self.ordinal, payload);
    }

    fn expected(&self) -> Remains {
        let closed = self.closed.iter().filter(|(n, _)| **n > self.acknowledged);
        let mut open: Vec<_> = self.open.iter().collect();
        open.sort_by_key(|(ticket, ..)| format!("{ticket:?}").rsplit("id: ").next().map(|id| format!("{id:>20}")));
        Remains {
            acknowledged: self.acknowledged,
            closed: closed.map(|(n, record)| (*n, record.clone())).collect(),
            open: open
                .into_iter()
                .map(|(_, open, update)| crate::Left { open: open.clone(), update: update.clone() })
                .collect(),
            damaged: 0,
        }
    }
}

fn invents_nothing(found: &Remains, said: &BTreeSet<Vec<u8>>) -> bool {
    let open = found.open.iter().flat_map(|left| std::iter::once(&left.open).chain(&left.update));
    found.closed.iter().map(|(_, record)| record).chain(open).all(|payload| said.contains(payload))
}

proptest! {
    #![proptest_config(ProptestConfig {
        rng_seed: RngSeed::Fixed(20261121), failure_persistence: None, cases: 200, ..ProptestConfig::default()
    })]

    #[test]
    fn killed_after_any_step_exactly_what_was_said_is_found(steps in steps()) {
        let root = Scratch::new();
        // Small segments, so that they are used again and again.
        let (journal, mut writer) = one(&root.0, 4096);
        let mut model = Model::default();
        for (n, step) in steps.into_iter().enumerate() {
            model.take(step, &journal, &mut writer);
            if n % 16 == 0 {
                prop_assert_eq!(recover::read(&root.0.join("a")).unwrap(), model.expected());
            }
        }
        let found = recover::read(&root.0.join("a")).unwrap();
        prop_assert_eq!(&found, &model.expected());
        prop_assert_eq!(found, recover::read(&root.0.join("a")).unwrap());
    }

    #[test]
    fn cut_at_any_byte_what_was_complete_before_is_found(steps in steps(), cut in any::<prop::sample::Index>()) {
        let root = Scratch::new();
        // One segment holds it all: the order of its bytes is the order of the steps.
        let (journal, mut writer) = one(&root.0, 1 << 18);
        let mut models = Vec::new();
        let mut model = Model::default();
        for step in steps.into_iter().filter(|step| !matches!(step, Step::Acknowledge(_))) {
            model.take(step, &journal, &mut writer);
            models.push((writer.position(), model.expected()));
        }
        let end = writer.position();
        let at = crate::segment::FIRST + cut.index(end - crate::segment::FIRST + 1);
        let torn = root.0.join("torn");
        copy(&root.0.join("a"), &torn);
        let mut bytes = fs::read(torn.join("0-0")).unwrap();
        bytes.truncate(at);
        fs::write(torn.join("0-0"), bytes).unwrap();
        let found = recover::read(&torn).unwrap();
        // An entry is complete without the bytes that fill it up to a multiple of 8.
        let expected = |cut: usize| {
            models.iter().rfind(|(end, _)| *end <= cut).map(|(_, remains)| remains.clone()).unwrap_or_default()
        };
        let fits = |remains: &Remains| found.closed == remains.closed && found.open == remains.open;
        prop_assert!(fits(&expected(at)) || fits(&expected(at + 7)), "cut at {}", at);
        prop_assert!(found.damaged <= 1);
        prop_assert_eq!(&found, &recover::read(&torn).unwrap());
    }

    #[test]
    fn damage_costs_what_it_hits_and_invents_nothing(
        steps in steps(),
        hits in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 1u8..), 1..6),
    ) {
        let root = Scratch::new();
        let (journal, mut writer) = one(&root.0, 4096);
        let mut model = Model::default();
        for step in steps {
            model.take(step, &journal, &mut writer);
        }
        let torn = root.0.join("torn");
        copy(&root.0.join("a"), &torn);
        let segments: Vec<_> = files(&torn).into_iter().filter(|f| f.to_str().unwrap().contains("/0-")).collect();
        for (segment, at, change) in &hits {
            let path = &segments[segment.index(segments.len())];
            let mut bytes = fs::read(path).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= change;
            fs::write(path, bytes).unwrap();
        }
        let found = recover::read(&torn).unwrap();
        prop_assert!(invents_nothing(&found, &model.said));
        // A hit costs at most one entry, unless it is in the header of a segment.
        let expected = model.expected();
        if hits.iter().all(|(_, at, _)| at.index(4096) >= crate::segment::FIRST) {
            let missing = expected.closed.iter().filter(|closed| !found.closed.contains(closed)).count();
            prop_assert!(missing <= hits.len());
        }
        prop_assert_eq!(&found, &recover::read(&torn).unwrap());
    }
    #[test]
    fn what_is_no_journal_says_nothing_and_harms_nobody(
        steps in steps(),
        junk in prop::collection::vec(any::<u8>(), 0..6_000),
        behind_a_header in any::<bool>(),
    ) {
        let root = Scratch::new();
        let (journal, mut writer) = one(&root.0, 4096);
        let mut model = Model::default();
        for step in steps {
            model.take(step, &journal, &mut writer);
        }
        let torn = root.0.join("torn");
        copy(&root.0.join("a"), &torn);
        // A file that somebody else wrote, or a segment of this very writer with anything behind its header.
        let mut bytes = Vec::new();
        if behind_a_header {
            let own = files(&torn).into_iter().find(|file| file.to_str().unwrap().contains("/0-")).unwrap();
            bytes.extend_from_slice(&fs::read(own).unwrap()[..crate::segment::FIRST]);
        }
        bytes.extend_from_slice(&junk);
        fs::write(torn.join("0-999"), bytes).unwrap();
        let found = recover::read(&torn).unwrap();
        prop_assert!(invents_nothing(&found, &model.said));
        let expected = model.expected();
        prop_assert!(expected.closed.iter().all(|closed| found.closed.contains(closed)));
    }
}
