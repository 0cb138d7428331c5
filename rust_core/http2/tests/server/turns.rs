//! Whose turn it is: those who wait for the connection are called as there is room for them, and nobody is forgotten.

use std::collections::HashMap;

use crate::rig::by_hand::{Dice, Stage};
use crate::rig::*;
use penstock_http2::Config;
use proptest::prelude::*;

/// More polls than any of this takes.
const MOST: usize = 100_000;

fn stage(config: Config) -> Stage {
    let stage = Stage::new(config, |request| {
        Box::pin(async move {
            answer(request).await;
        })
    });
    stage.say(&hello());
    stage
}

fn ask(nth: usize, size: usize) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, id(nth), &block(&format!("/give/{size}")))
}

/// The stream that was opened after so many others.
fn id(nth: usize) -> u32 {
    2 * nth as u32 + 1
}

/// As on a thread: who was woken first is polled first.
fn in_order(_: usize) -> usize {
    0
}

/// Many large answers, and nothing left of the connection's window.
fn crowd(streams: usize) -> Stage {
    let mut stage = stage(Config::default());
    stage.widen(usize::MAX);
    stage.say(&settings(&[(4, 10_000_000)]));
    (0..streams).for_each(|n| stage.say(&ask(n, 1_000_000)));
    stage.rest(in_order, MOST);
    assert_eq!(stage.over(), (false, streams));
    stage
}

#[test]
fn a_window_calls_as_many_as_it_is_for() {
    let mut stage = crowd(256);
    for (size, most) in [(1, 2), (4096, 2), (40_960, 12), (5_000, 2)] {
        for _ in 0..100 {
            let before = stage.wakes();
            stage.frames();
            stage.say(&number(WINDOW_UPDATE, 0, size));
            stage.rest(in_order, MOST);
            let woken = stage.wakes() - before;
            assert!(woken <= most, "{woken} were woken for {size} bytes");
            let sent: usize = stage.frames().iter().map(|f| f.payload.len()).sum();
            assert_eq!(sent, size as usize, "and nobody sent them");
        }
    }
}

#[test]
fn those_who_wait_for_the_connection_are_not_called_for_their_own_windows() {
    let mut stage = crowd(256);
    let before = stage.wakes();
    for n in 0..100 {
        stage.say(&settings(&[(4, 10_000_000 + n)]));
        stage.say(&number(WINDOW_UPDATE, id(n as usize), 1000));
        stage.rest(in_order, MOST);
    }
    assert_eq!(stage.wakes() - before, 0);
}

#[test]
fn what_one_does_not_use_another_gets() {
    let mut stage = crowd(64);
    // Most of those who wait will not send: some are gone, some do something else, of some the client takes nothing.
    for n in 0..60 {
        match n % 4 {
            0 => stage.say(&number(RST_STREAM, id(n), 8)),
            1 => stage.give_up(n),
            2 => stage.distract(n),
            _ => stage.say(&number(WINDOW_UPDATE, id(n), 1)),
        }
    }
    stage.frames();
    stage.say(&number(WINDOW_UPDATE, 0, 600_000));
    stage.rest(in_order, MOST);
    let data: usize = stage.frames().iter().filter(|f| f.kind == DATA).map(|f| f.payload.len()).sum();
    assert_eq!(data, 600_000);
}

#[derive(Debug, Clone)]
enum Step {
    Open(usize),
    Stream(usize, u32),
    Connection(u32),
    First(u32),
    /// The wire takes so much more.
    Wire(usize),
    Reset(usize),
    GiveUp(usize),
    Distract(usize),
    /// All that was said takes effect.
    Rest,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0_usize..60_000).prop_map(Step::Open),
        4 => (any::<usize>(), 1_u32..20_000).prop_map(|(at, n)| Step::Stream(at, n)),
        4 => (1_u32..30_000).prop_map(Step::Connection),
        2 => (1_u32..10).prop_map(Step::Connection),
        1 => (0_u32..30_000).prop_map(Step::First),
        6 => (1_usize..30_000).prop_map(Step::Wire),
        1 => any::<usize>().prop_map(Step::Reset),
        1 => any::<usize>().prop_map(Step::GiveUp),
        1 => any::<usize>().prop_map(Step::Distract),
        8 => Just(Step::Rest),
    ]
}

/// One answer as its client sees it.
struct Seen {
    window: i64,
    left: usize,
    /// Nothing more is to be expected of it.
    gone: bool,
    distracted: bool,
}

struct Story {
    stage: Stage,
    dice: Dice,
    /// Whether tasks are polled in the order in which they were woken.
    in_order: bool,
    connection: i64,
    first: i64,
    answers: Vec<Seen>,
}

impl Story {
    fn step(&mut self, step: &Step) {
        let many = self.answers.len();
        let at = |at: usize| (many > 0).then(|| at % many);
        match *step {
            Step::Open(size) => {
                self.stage.say(&ask(many, size));
                self.answers.push(Seen { window: self.first, left: size, gone: false, distracted: false });
            }
            Step::Stream(n, by) => {
                if let Some(n) = at(n).filter(|n| !self.answers[*n].gone) {
                    self.answers[n].window += i64::from(by);
                    self.stage.say(&number(WINDOW_UPDATE, id(n), by));
                }
            }
            Step::Connection(by) => {
                self.connection += i64::from(by);
                self.stage.say(&number(WINDOW_UPDATE, 0, by));
            }
            Step::First(to) => {
                let by = i64::from(to) - std::mem::replace(&mut self.first, i64::from(to));
                self.answers.iter_mut().for_each(|answer| answer.window += by);
                self.stage.say(&settings(&[(4, to)]));
            }
            Step::Wire(by) => self.stage.widen(by),
            Step::Reset(n) => {
                if let Some(n) = at(n).filter(|n| !self.answers[*n].gone) {
                    self.stage.say(&number(RST_STREAM, id(n), 8));
                    self.answers[n].gone = true;
                }
            }
            Step::GiveUp(n) => {
                if let Some(n) = at(n).filter(|n| *n < self.stage.opened()) {
                    self.stage.give_up(n);
                    self.answers[n].gone = true;
                }
            }
            Step::Distract(n) => {
                if let Some(n) = at(n).filter(|n| *n < self.stage.opened()) {
                    self.stage.distract(n);
                    self.answers[n].distracted = true;
                }
            }
            Step::Rest => self.rest(),
        }
    }

    /// Lets everything happen that can, and looks whether it has.
    fn rest(&mut self) {
        let (dice, in_order) = (&mut self.dice, self.in_order);
        self.stage.rest(|many| if in_order { 0 } else { dice.below(many) }, MOST);
        for frame in self.stage.frames().iter().filter(|f| f.kind == DATA) {
            let answer = &mut self.answers[frame.stream as usize / 2];
            let n = frame.payload.len();
            (self.connection, answer.window) = (self.connection - n as i64, answer.window - n as i64);
            assert!(self.connection >= 0, "more than the connection's window");
            assert!(n <= answer.left, "more than was asked for");
            answer.left -= n;
        }
        if self.stage.room() == 0 || self.connection == 0 {
            return;
        }
        for (n, answer) in self.answers.iter().enumerate() {
            let waits = answer.left > 0 && !answer.gone && !answer.distracted;
            assert!(!waits || answer.window <= 0, "{} could be sent more: {} are left", id(n), answer.left);
        }
    }

    /// Opens everything but the connection's window, and that in small steps: all are served alike.
    fn all_come_to_their_turn(&mut self) {
        self.stage.widen(usize::MAX / 2);
        self.step(&Step::First(100_000_000));
        self.rest();
        while let Some(longest) = self.waiting().max_by_key(|(_, left)| *left) {
            let before: HashMap<usize, usize> = self.waiting().collect();
            // As often as there are streams, and once more for each that is called and does nothing.
            let turns = self.answers.len() + before.len();
            for _ in 0..turns {
                self.step(&Step::Connection(4096));
                self.rest();
            }
            let forgotten: Vec<_> = self.waiting().filter(|(n, left)| before[n] == *left).collect();
            assert!(forgotten.is_empty(), "{forgotten:?} had no turn in {turns} while {longest:?} waited");
        }
    }

    fn waiting(&self) -> impl Iterator<Item = (usize, usize)> {
        let waits = |a: &Seen| a.left > 0 && !a.gone && !a.distracted;
        self.answers.iter().enumerate().filter(move |(_, a)| waits(a)).map(|(n, a)| (n, a.left))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn nobody_is_forgotten(
        steps in prop::collection::vec(step(), 1..150),
        seed in any::<u64>(),
        in_order in any::<bool>(),
        send_buffer in prop_oneof![Just(256 * 1024), 16_384_usize..100_000],
    ) {
        let config = Config { send_buffer, ..Config::default() };
        let mut story = Story {
            stage: stage(config),
            dice: Dice::new(seed),
            in_order,
            connection: 65_535,
            first: 65_535,
            answers: Vec::new(),
        };
        steps.iter().for_each(|step| story.step(step));
        story.rest();
        story.all_come_to_their_turn();
        story.stage.end();
        story.rest();
        assert!(story.stage.over().0);
    }
}
