//! What people do and what goes wrong, drawn from a seed: a list of steps, each of which stands for itself, so that a failing
//! list can be made shorter.

use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;

use crate::stories;
use crate::transactions::Deed;

/// The people. One's name begins like another's, and one has to be escaped.
pub const USERS: [&str; 3] = ["anna", "anna2", "jo:n%"];
pub const COMPANIES: u64 = 12;
pub const LEADS: u64 = 3;
const CITIES: [&str; 5] = ["Bremen", "Kiel", "Ulm", "Jena", "Hof"];

/// How often, in percent, something goes wrong by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    MessageLoss,
    MessageRepeat,
    MessageDelay,
    EventLoss,
    EventRepeat,
    EventDelay,
    EventBad,
    Partial,
    RequestLoss,
    ReplyLoss,
    ReplyRepeat,
    ReplyDelay,
    Hang,
    ServerError,
    Limit,
    Busy,
    Forbid,
    LinkHang,
    Bare,
    PageGone,
    PageName,
}

impl Rate {
    pub const ALL: [Self; 21] = [
        Self::MessageLoss,
        Self::MessageRepeat,
        Self::MessageDelay,
        Self::EventLoss,
        Self::EventRepeat,
        Self::EventDelay,
        Self::EventBad,
        Self::Partial,
        Self::RequestLoss,
        Self::ReplyLoss,
        Self::ReplyRepeat,
        Self::ReplyDelay,
        Self::Hang,
        Self::ServerError,
        Self::Limit,
        Self::Busy,
        Self::Forbid,
        Self::LinkHang,
        Self::Bare,
        Self::PageGone,
        Self::PageName,
    ];
}

/// A tab is named by a number that is taken modulo the living ones when the step is done.
pub type Pick = u64;

#[derive(Clone, Debug)]
pub enum Action {
    /// Transactions, and records whose keys the server gives.
    Together(Deed),
    // People at their tabs.
    Insert {
        tab: Pick,
        key: u64,
    },
    Patch {
        tab: Pick,
        key: u64,
        field: &'static str,
        value: &'static str,
    },
    Delete {
        tab: Pick,
        key: u64,
    },
    Assign {
        tab: Pick,
        key: u64,
        to: Option<&'static str>,
    },
    Burst {
        tab: Pick,
        value: &'static str,
    },
    /// Adds to a count, or to a list.
    Add {
        tab: Pick,
        key: u64,
        field: &'static str,
        value: u64,
    },
    /// A patch that depends on an operation that is pending.
    Depend {
        tab: Pick,
        key: u64,
        value: &'static str,
        nth: u64,
    },
    Undo {
        tab: Pick,
        nth: u64,
    },
    Be {
        tab: Pick,
        doing: u64,
    },
    /// The backend tells of people whom nobody plays.
    Strangers {
        tab: Pick,
        is_crowd: bool,
    },
    Rights {
        tab: Pick,
    },
    Logout {
        tab: Pick,
        how: u64,
    },
    Resolve {
        tab: Pick,
        nth: u64,
        choice: u64,
    },
    Cancel {
        tab: Pick,
        nth: u64,
    },
    Retry {
        tab: Pick,
    },
    Reconnect {
        tab: Pick,
    },
    Purge {
        tab: Pick,
    },
    Nonsense {
        tab: Pick,
    },
    Open {
        browser: usize,
        user: usize,
    },
    /// Keeps a live list open; the number says which.
    Watch {
        tab: Pick,
        number: u64,
    },
    LookAway {
        tab: Pick,
        nth: u64,
    },
    Weigh {
        tab: Pick,
        key: u64,
        nth: u64,
    },
    SqlWeigh {
        key: u64,
        nth: u64,
    },
    // Other people, in the database.
    SqlSet {
        key: u64,
        field: &'static str,
        value: &'static str,
    },
    SqlAdd {
        key: u64,
        field: &'static str,
        value: u64,
    },
    SqlDelete {
        key: u64,
    },
    SqlOpen {
        key: u64,
        value: &'static str,
        ms: u64,
    },
    Withdraw {
        key: u64,
        user: usize,
        hidden: bool,
        touch: bool,
    },
    Refuse {
        key: u64,
        on: bool,
    },
    // What goes wrong.
    Set {
        rate: Rate,
        percent: u8,
    },
    Cut {
        ms: u64,
    },
    ServerDown {
        ms: u64,
    },
    BreakLink {
        tab: Pick,
    },
    HalfOpen {
        tab: Pick,
    },
    NewIncarnation,
    ExpireToken {
        user: usize,
        without_fresh_ms: u64,
    },
    Crash {
        tab: Pick,
    },
    CrashAt {
        tab: Pick,
        outputs: u32,
    },
    Close {
        tab: Pick,
    },
    Freeze {
        tab: Pick,
        ms: u64,
    },
    Steal {
        tab: Pick,
    },
    Depose {
        tab: Pick,
        ms: u64,
        notice_ms: u64,
    },
    Usurp {
        browser: usize,
        user: usize,
    },
    LeaveOrphan {
        tab: Pick,
    },
    FillOutbox,
    EndMany,
    Jump {
        browser: usize,
        ms: i64,
    },
    Sleep {
        browser: usize,
        ms: u64,
    },
    LocalFull {
        browser: usize,
        on: bool,
    },
    DatabaseFull {
        browser: usize,
        on: bool,
    },
    Wipe {
        browser: usize,
    },
    KillBrowser {
        browser: usize,
    },
    SpoilEntry {
        tab: Pick,
        how: u64,
    },
    SpoilMessage {
        tab: Pick,
        how: u64,
    },
    SpoilEvent {
        tab: Pick,
        how: u64,
    },
    Hint {
        tab: Pick,
        online: bool,
    },
    Froze {
        tab: Pick,
    },
    Woke {
        tab: Pick,
    },
    Look {
        tab: Pick,
        active: bool,
        visible: bool,
    },
}

#[derive(Clone, Debug)]
pub struct Step {
    /// What the world draws during this step comes from this, so that steps left out do not change the others.
    pub salt: u64,
    pub action: Action,
    pub pause_ms: u64,
}

/// What a browser can do.
#[derive(Clone, Copy, Debug)]
pub struct Make {
    pub locks: bool,
    /// Its tabs hear each other. With locks they always do.
    pub channel: bool,
    pub local: bool,
    pub database: bool,
    pub skew_ms: i64,
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub browsers: Vec<Make>,
    /// Browser and user of the tabs that are there from the beginning.
    pub tabs: Vec<(usize, usize)>,
    pub steps: Vec<Step>,
    /// How many of the tabs, in percent, are of the release before.
    pub old_tabs_percent: u8,
    /// After so many attempts a link gives up; none: never.
    pub attempts_max: Option<u32>,
    /// One bit a user whose application can't be asked for tokens.
    pub without_token_giver: u32,
    /// The server's rows do not say which operation wrote them.
    pub is_anonymous: bool,
    /// How many rows a page of a pull has; none: all.
    pub page_rows: Option<usize>,
    /// How many pulls, in percent, name parts of tables that they cover.
    pub parts_percent: u8,
    /// The server does not remember what it did.
    pub has_no_ledger: bool,
    /// How many operations a call may hold, as the adapter says; and whether the server takes only one after all.
    pub batch: usize,
    pub declines_batches: bool,
    /// The end also breaks every link, and changes records while they are joined again.
    pub breaks_at_end: bool,
}

pub fn generator(seed: u64, salt: u64) -> Pcg64Mcg {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&mix(seed).to_le_bytes());
    bytes[8..].copy_from_slice(&mix(seed ^ mix(salt)).to_le_bytes());
    Pcg64Mcg::from_seed(bytes)
}

/// Makes unlike numbers of neighbours (the finaliser of `SplitMix64`).
const fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

pub struct Draw(pub Pcg64Mcg);

impl Draw {
    pub fn below(&mut self, bound: u64) -> u64 {
        // The high bits are the good ones.
        (self.0.next_u64() >> 11) % bound.max(1)
    }

    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }

    pub fn percent(&mut self, percent: u64) -> bool {
        percent > 0 && self.below(100) < percent
    }

    pub fn of<T: Copy>(&mut self, list: &[T]) -> T {
        let at = self.below(list.len() as u64);
        list[usize::try_from(at).expect("a place in a list")]
    }

    fn index(&mut self, bound: usize) -> usize {
        usize::try_from(self.below(bound as u64)).expect("a place in a list")
    }
}

impl Plan {
    pub fn of(seed: u64) -> Self {
        let mut draw = Draw(generator(seed, 0));
        let mut browsers = Vec::new();
        for browser in 0..3 {
            let plain = !draw.percent(30);
            browsers.push(Make {
                locks: plain || !draw.percent(30),
                channel: !(seed + browser).is_multiple_of(3),
                local: plain || !draw.percent(25),
                database: plain || !draw.percent(40),
                skew_ms: if plain { 0 } else { draw.of(&[0, -90_000, 240_000, 700_000]) },
            });
        }
        let mut tabs = vec![(0, 0), (0, 0)];
        for extra in [(0, 0), (1, 1), (1, 1), (0, 1), (2, 0), (0, 2)] {
            if draw.percent(45) {
                tabs.push(extra);
            }
        }
        let mut steps = Vec::new();
        // A third of the worlds have little wrong in them, so that rare orders of right things are met as well.
        let weather = draw.below(3);
        for rate in Rate::ALL {
            if weather > 0 && draw.percent(if weather == 1 { 15 } else { 40 }) {
                let percent = u8::try_from(1 + draw.below(25)).expect("a percentage");
                steps.push((Action::Set { rate, percent }, 0));
            }
        }
        steps.splice(0..0, stories::beginning(seed, &mut draw, &mut browsers));
        let count = 25 + draw.below(40);
        for _ in 0..count {
            let action = if draw.percent([8, 22, 40][usize::try_from(weather).expect("a small number")]) {
                trouble(&mut draw)
            } else {
                work(&mut draw)
            };
            steps.push((action, draw.of(&[0, 0, 1, 3, 8, 20, 60, 300, 1_500, 5_000])));
        }
        steps.append(&mut stories::end(seed, &mut draw));
        // What meets the large bounds takes long, so few worlds have it.
        match seed % 250 {
            7 => steps.push((Action::FillOutbox, 300)),
            13 | 63 | 113 | 163 | 213 => steps.push((Action::EndMany, 300)),
            // A record comes anew, nobody hears of it, and the next event of it lacks columns.
            n if n % 25 == 21 => {
                steps.push((Action::Set { rate: Rate::Partial, percent: 100 }, 0));
                steps.push((Action::Set { rate: Rate::EventLoss, percent: 50 }, 0));
                for _ in 0..6 {
                    steps.push((Action::SqlDelete { key: 1 }, 30));
                    steps.push((Action::SqlSet { key: 1, field: "name", value: city(&mut draw) }, 30));
                    steps.push((Action::SqlSet { key: 1, field: "city", value: city(&mut draw) }, 30));
                }
            }
            n if n % 25 == 16 => steps.push((Action::Strangers { tab: draw.below(64), is_crowd: true }, 3_000)),
            _ => {}
        }
        let has_no_ledger = draw.percent(15);
        if has_no_ledger {
            // With neither ledger nor locks, two tabs that have found the same operation may both send it.
            for make in &mut browsers {
                make.locks = true;
            }
            // What makes the difference is an answer that is lost.
            steps.insert(0, (Action::Set { rate: Rate::ReplyLoss, percent: 12 }, 0));
        }
        // Ten thousand pages of one row each are no more than one of them all, and take longer.
        let is_crowded = steps.iter().any(|(action, _)| matches!(action, Action::EndMany));
        let steps =
            steps.into_iter().zip(1..).map(|((action, pause_ms), salt)| Step { salt, action, pause_ms }).collect();
        Self {
            seed,
            browsers,
            tabs,
            steps,
            old_tabs_percent: draw.of(&[0, 0, 0, 10, 50]),
            attempts_max: draw.of(&[None, None, None, Some(2)]),
            without_token_giver: draw.of(&[0, 0, 0, 1, 2]),
            breaks_at_end: draw.percent(30),
            is_anonymous: draw.percent(if has_no_ledger { 60 } else { 20 }),
            page_rows: if is_crowded { None } else { draw.of(&[None, None, Some(1), Some(2), Some(4)]) },
            parts_percent: draw.of(&[0, 0, 30, 80]),
            has_no_ledger,
            batch: draw.of(&[1, 1, 2, 4, 100]),
            declines_batches: draw.percent(10),
        }
    }
}

pub fn key(draw: &mut Draw) -> u64 {
    // Some records are where everybody is.
    if draw.percent(60) { draw.below(3) } else { draw.below(COMPANIES + LEADS) }
}

pub fn city(draw: &mut Draw) -> &'static str {
    draw.of(&CITIES)
}

fn work(draw: &mut Draw) -> Action {
    let tab = draw.below(64);
    if draw.percent(20) {
        return Action::Together(Deed::of(draw, tab));
    }
    match draw.below(165) {
        135..=144 => Action::Watch { tab, number: draw.below(1 << 32) },
        145..=146 => Action::LookAway { tab, nth: draw.below(8) },
        147..=151 => Action::Weigh { tab, key: key(draw), nth: draw.below(9) },
        152..=156 => Action::SqlWeigh { key: key(draw), nth: draw.below(9) },
        130..=131 | 157..=163 => Action::Be { tab, doing: draw.below(8) },
        164 => Action::Strangers { tab, is_crowd: false },
        132..=133 => Action::Rights { tab },
        134 => Action::Logout { tab, how: draw.below(6) },
        100..=108 => Action::Add { tab, key: key(draw), field: draw.of(&["visits", "tags"]), value: 1 + draw.below(4) },
        109..=113 => Action::Depend { tab, key: key(draw), value: city(draw), nth: draw.below(8) },
        114..=119 => Action::Undo { tab, nth: draw.below(8) },
        120..=124 => Action::Resolve { tab, nth: draw.below(4), choice: draw.below(3) },
        125..=128 => Action::SqlAdd { key: key(draw), field: draw.of(&["visits", "tags"]), value: 1 + draw.below(4) },
        0..=9 => Action::Insert { tab, key: draw.below(COMPANIES + LEADS) },
        10..=34 => Action::Patch { tab, key: key(draw), field: draw.of(&["name", "city", "name"]), value: city(draw) },
        35..=41 => Action::Delete { tab, key: key(draw) },
        42..=61 => {
            Action::Assign { tab, key: key(draw), to: draw.of(&[None, Some("anna"), Some("jo:n%"), Some("lena")]) }
        }
        62..=64 => Action::Burst { tab, value: city(draw) },
        65..=69 => Action::Cancel { tab, nth: draw.below(8) },
        70..=72 => Action::Retry { tab },
        73..=74 => Action::Reconnect { tab },
        75 => Action::Nonsense { tab },
        76..=79 => Action::Open { browser: draw.index(3), user: draw.of(&[0, 0, 0, 1, 1, 2]) },
        80..=89 => Action::SqlSet { key: key(draw), field: draw.of(&["name", "city", "owner_id"]), value: city(draw) },
        90..=92 => Action::SqlDelete { key: key(draw) },
        93..=96 => Action::SqlOpen { key: key(draw), value: city(draw), ms: draw.of(&[5, 40, 400, 4_000]) },
        97 => Action::Purge { tab },
        98 if draw.percent(40) => Action::Woke { tab },
        98 if draw.percent(40) => Action::Froze { tab },
        98 => Action::Look { tab, active: draw.percent(50), visible: draw.percent(50) },
        _ => Action::Hint { tab, online: draw.percent(60) },
    }
}

fn trouble(draw: &mut Draw) -> Action {
    let (tab, browser, user) = (draw.below(64), draw.index(3), draw.index(USERS.len()));
    match draw.below(68) {
        0..=6 => {
            let rate = draw.of(&Rate::ALL);
            let percent = u8::try_from(draw.of(&[0, 0, 10, 30, 60, 100])).expect("a percentage");
            Action::Set { rate, percent }
        }
        7..=10 => Action::Cut { ms: draw.of(&[50, 2_000, 20_000]) },
        11..=13 => Action::ServerDown { ms: draw.of(&[10, 500, 8_000]) },
        14..=17 => Action::BreakLink { tab },
        18..=19 => Action::HalfOpen { tab },
        20 => Action::NewIncarnation,
        21..=22 => Action::ExpireToken { user, without_fresh_ms: draw.of(&[0, 0, 3_000, 40_000]) },
        23..=25 => Action::Crash { tab },
        26..=33 => Action::CrashAt { tab, outputs: u32::try_from(draw.below(9)).expect("a small number") },
        34..=35 => Action::Close { tab },
        36..=40 => Action::Freeze { tab, ms: draw.of(&[100, 2_500, 9_000, 70_000]) },
        41..=42 => Action::Steal { tab },
        43 => Action::Depose { tab, ms: draw.of(&[500, 3_000, 20_000]), notice_ms: draw.of(&[0, 30, 2_000]) },
        44..=45 => Action::Jump { browser, ms: draw.of(&[-3_600_000, -5_000, -200, 5_000, 400_000, 3_600_000]) },
        46 => Action::Sleep { browser, ms: draw.of(&[11_000, 600_000]) },
        47..=48 => Action::LocalFull { browser, on: draw.percent(60) },
        49..=50 => Action::DatabaseFull { browser, on: draw.percent(60) },
        51 if draw.percent(50) => Action::Wipe { browser },
        51 => Action::Usurp { browser, user },
        52..=53 => Action::KillBrowser { browser },
        54..=56 => Action::SpoilEntry { tab, how: draw.below(3) },
        57..=58 => Action::SpoilMessage { tab, how: draw.below(4) },
        59..=60 => Action::SpoilEvent { tab, how: draw.below(3) },
        61..=63 => Action::Withdraw { key: key(draw), user, hidden: draw.percent(60), touch: draw.percent(70) },
        64..=65 => Action::Refuse { key: key(draw), on: draw.percent(60) },
        66 => Action::SqlSet { key: key(draw), field: "city", value: city(draw) },
        _ => Action::Hint { tab, online: draw.percent(50) },
    }
}
