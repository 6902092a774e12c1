//! What chance alone brings about too rarely: short stories that some of the worlds begin or end with.

use crate::transactions::{self, Deed};
use crate::watching::SCALES;
use crate::workload::{Action, COMPANIES, Draw, Make, Rate};

type Steps = Vec<(Action, u64)>;

/// How many kinds of worlds there are, most of them without a story.
const KINDS: u64 = 25;

/// What a world begins with, before anything goes wrong by chance.
pub fn beginning(seed: u64, draw: &mut Draw, browsers: &mut [Make]) -> Steps {
    match seed % KINDS {
        9 => without_room(draw, browsers),
        7 => on_the_scales(),
        15 => behind_slow_answers(),
        4 => transactions::strand(seed.is_multiple_of(2), browsers),
        12 => transactions::join_halfway(),
        5 => two_decide(browsers),
        10 => joined_before_it_is_safe(browsers),
        19 => without_a_word_of_the_row(),
        2 | 11 => against_oneself(browsers),
        8 => nobody_knows_of_it(browsers),
        18 => joined_and_taken_back(browsers),
        14 => a_logout_over_what_a_dead_tab_stored(if seed.is_multiple_of(2) { 0 } else { 4 }, browsers),
        _ => Vec::new(),
    }
}

/// What a world ends with.
pub fn end(seed: u64, draw: &mut Draw) -> Steps {
    match seed % KINDS {
        3 => answers_that_cannot_be_read(draw),
        17 => a_logout_and_what_comes_after(draw),
        _ => Vec::new(),
    }
}

/// There is no room in the only storage there is: what people do is refused, and not seen.
fn without_room(draw: &mut Draw, browsers: &mut [Make]) -> Steps {
    (browsers[0].local, browsers[0].database) = (true, false);
    let mut steps = vec![(Action::LocalFull { browser: 0, on: true }, 5)];
    for n in 0..6 {
        steps.push((Action::Patch { tab: draw.below(64), key: n % 3, field: "name", value: "Jena" }, 20));
    }
    steps.push((Action::LocalFull { browser: 0, on: false }, 5));
    steps
}

/// What is large hides what is small, until it is taken away again.
fn on_the_scales() -> Steps {
    let mut steps = vec![(Action::Watch { tab: 0, number: SCALES }, 20)];
    for (key, nth) in [(0, 5), (1, 0), (2, 1), (0, 7), (3, 4), (1, 6), (1, 2), (3, 8)] {
        steps.push((Action::SqlWeigh { key, nth }, 60));
    }
    steps
}

/// More is done than may be on its way at once, and nothing of it comes to an end for a while.
fn behind_slow_answers() -> Steps {
    let mut steps = vec![(Action::Set { rate: Rate::ReplyDelay, percent: 100 }, 0)];
    steps.extend((6..COMPANIES).map(|key| (Action::Insert { tab: 0, key }, 0)));
    steps.extend([(Action::Burst { tab: 0, value: "Ulm" }, 60), (Action::Burst { tab: 1, value: "Hof" }, 300)]);
    steps.push((Action::Set { rate: Rate::ReplyDelay, percent: 5 }, 0));
    steps
}

/// Somebody else was first, and the answer that says so comes without a record that could be read.
fn answers_that_cannot_be_read(draw: &mut Draw) -> Steps {
    let mut steps: Steps =
        [(Rate::EventBad, 60), (Rate::EventLoss, 80)].map(|(rate, percent)| (Action::Set { rate, percent }, 0)).into();
    for key in [0, 1, 2, 3] {
        steps.push((Action::SqlSet { key, field: "owner_id", value: "lena" }, 0));
        steps.push((Action::Assign { tab: draw.below(64), key, to: Some("anna") }, 300));
        steps.push((Action::SqlSet { key, field: "owner_id", value: "bo" }, 0));
    }
    steps
}

/// A browser in which everything works, so that the story is told to its end.
pub const fn whole() -> Make {
    Make { locks: true, channel: true, local: true, database: true, skew_ms: 0 }
}

/// Two people's wishes collide, and two tabs of one person decide, each before it hears of the other.
fn two_decide(browsers: &mut [Make]) -> Steps {
    browsers[0] = whole();
    let mut steps = Vec::new();
    for (key, choice) in [(0, 0), (1, 2), (2, 0)] {
        steps.extend([
            (Action::Cut { ms: 1_200 }, 0),
            (Action::Patch { tab: 0, key, field: "name", value: "Kiel" }, 60),
            (Action::SqlSet { key, field: "name", value: "Ulm" }, 5_000),
            (Action::Set { rate: Rate::MessageDelay, percent: 100 }, 0),
            (Action::Resolve { tab: choice / 2, nth: 0, choice }, 300),
            (Action::Set { rate: Rate::MessageDelay, percent: 0 }, 1_500),
        ]);
    }
    steps
}

/// Where only the slow storage works, patches are joined before they are safe, and a tab finds there what it has heard the end of.
fn joined_before_it_is_safe(browsers: &mut [Make]) -> Steps {
    browsers[0] = Make { local: false, ..whole() };
    let mut steps = Vec::new();
    for key in 0..6 {
        steps.push((Action::Cut { ms: 3_000 }, 20));
        for value in ["Ulm", "Hof", "Kiel"] {
            steps.push((Action::Patch { tab: key % 2, key, field: "name", value }, 3));
            steps.extend((0..2).map(|tab| (Action::Woke { tab }, 1)));
        }
        steps.push((Action::Hint { tab: 0, online: true }, 5_000));
    }
    steps
}

/// Patches that wait as one are taken back one by one: the one in the middle, the last, and where nothing else is left the first.
fn joined_and_taken_back(browsers: &mut [Make]) -> Steps {
    browsers[0] = whole();
    let mut steps = Vec::new();
    for (key, takes_all) in [(3, true), (4, false), (5, true), (6, false)] {
        let patch = |value| Action::Patch { tab: 0, key, field: "name", value };
        // The first of it finds out that there is no network.
        steps.extend([
            (Action::Cut { ms: 4_000 }, 20),
            (Action::Patch { tab: 0, key: 7, field: "name", value: "Jena" }, 60),
        ]);
        steps.extend([(patch("Kiel"), 5), (patch("Ulm"), 5), (patch("Hof"), 5)]);
        steps.extend([(Action::Undo { tab: 0, nth: 1 }, 20), (Action::Undo { tab: 0, nth: 0 }, 20)]);
        if takes_all {
            // Of what stands for the rest nobody knows the id; before it come the three.
            steps.push((Action::Undo { tab: 0, nth: 3 }, 20));
        } else {
            steps.extend([(patch("Bremen"), 5), (Action::Undo { tab: 0, nth: 4 }, 20)]);
        }
        steps.push((Action::Hint { tab: 0, online: true }, 5_000));
    }
    steps
}

/// What a person did first comes to nothing: it is taken back while all of it waits, or the server refuses it.
fn against_oneself(browsers: &mut [Make]) -> Steps {
    browsers[0] = whole();
    let mut steps = Vec::new();
    for (key, tab) in [(3, 0), (4, 1), (5, 1)] {
        let patch = |value| Action::Patch { tab, key, field: "name", value };
        let assign = |to| Action::Assign { tab, key, to: Some(to) };
        steps.extend([
            (Action::SqlSet { key, field: "name", value: "Jena" }, 300),
            (Action::Refuse { key, on: true }, 0),
            (patch("Kiel"), 0),
            (assign("anna"), 0),
            (patch("Ulm"), 0),
            (assign("lena"), 8),
            (Action::Refuse { key, on: false }, 300),
            (Action::Cut { ms: 3_000 }, 20),
            (patch("Hof"), 5),
            (assign("anna"), 5),
            (patch("Kiel"), 5),
            (assign("jo:n%"), 5),
        ]);
        steps.extend([(Action::Cancel { tab, nth: 1 }, 20), (Action::Undo { tab, nth: 0 }, 20)]);
        steps.extend([(Action::Cancel { tab, nth: 0 }, 20), (Action::Hint { tab: 0, online: true }, 5_000)]);
    }
    steps
}

/// Answers come without a row, and the stream says nothing.
fn without_a_word_of_the_row() -> Steps {
    let rates = [(Rate::Bare, 100), (Rate::EventLoss, 100)];
    let mut steps: Steps = rates.map(|(rate, percent)| (Action::Set { rate, percent }, 0)).into();
    for how in 0..4 {
        let deed = Deed::Transact { tab: how % 2, first: how, second: how + 4, how, value: "Ulm" };
        steps.extend([
            (Action::Together(deed), 60),
            (Action::Patch { tab: 0, key: how, field: "name", value: "Jena" }, 60),
        ]);
    }
    steps.push((Action::Set { rate: Rate::EventLoss, percent: 5 }, 15_000));
    steps
}

/// An operation that storage does not have is known to a bystander alone.
fn nobody_knows_of_it(browsers: &mut [Make]) -> Steps {
    browsers[0] = whole();
    (0..3).map(|tab| (Action::LeaveOrphan { tab }, 1_500)).collect()
}

/// A tab stores an operation and dies before anybody has heard of it; then somebody logs out.
fn a_logout_over_what_a_dead_tab_stored(how: u64, browsers: &mut [Make]) -> Steps {
    browsers[0] = whole();
    vec![
        (Action::Set { rate: Rate::MessageLoss, percent: 100 }, 0),
        (Action::Cut { ms: 600 }, 10),
        (Action::Patch { tab: 1, key: 0, field: "name", value: "Hof" }, 10),
        (Action::Crash { tab: 1 }, 0),
        (Action::Logout { tab: 0, how }, 300),
        (Action::Set { rate: Rate::MessageLoss, percent: 0 }, 5_000),
    ]
}

/// Somebody logs out, comes back and goes on, while a tab of before still sleeps.
fn a_logout_and_what_comes_after(draw: &mut Draw) -> Steps {
    let tab = || 0;
    vec![
        (Action::Freeze { tab: 1, ms: draw.of(&[400, 3_000]) }, 20),
        (Action::Patch { tab: tab(), key: 0, field: "name", value: "Kiel" }, 20),
        (Action::Logout { tab: tab(), how: 4 + draw.below(2) }, draw.of(&[5, 300, 1_500])),
        (Action::Open { browser: 0, user: 0 }, draw.of(&[0, 5, 300])),
        (Action::Patch { tab: draw.below(64), key: 1, field: "name", value: "Kiel" }, 5),
        (Action::Patch { tab: draw.below(64), key: 2, field: "name", value: "Ulm" }, draw.of(&[5, 1_500])),
        (Action::Crash { tab: draw.below(64) }, draw.of(&[5, 1_500])),
    ]
}
