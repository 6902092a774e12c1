//! Notifications: of which kinds, to which component, for how long, with a sound or not; in order, each once however many tabs tell of
//! it, and what came while off-line when the link is back. Decides what is to be seen; shows nothing itself.

use std::collections::{HashSet, VecDeque};

use rustc_hash::FxBuildHasher;

use crate::engine::sorted::{Named, sort_by};

/// How many are kept to be seen, how many wait for the link, and how many are remembered so that none is told twice.
pub const SHOWN_MAX: usize = 200;
/// See [`SHOWN_MAX`].
pub const WAITING_MAX: usize = 200;
const KNOWN_MAX: usize = 10_000;

/// How long the id and the words may be, in bytes.
const ID_BYTES_MAX: usize = 256;
const WORDS_BYTES_MAX: usize = 4_096;

/// How many components may have settings of their own.
const COMPONENTS_MAX: usize = 256;

/// What a notification is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeKind {
    /// Whose turn it is.
    Turn,
    /// What somebody has done.
    Action,
    /// How something stands.
    Status,
}

impl NoticeKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Turn, Self::Action, Self::Status];

    /// Returns the name that users see.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Turn => "turn",
            Self::Action => "action",
            Self::Status => "status",
        }
    }

    /// For how long one is shown where nothing else is said. A turn waits for somebody; a status is only good to know.
    #[must_use]
    pub const fn auto_close_ms(self) -> u64 {
        match self {
            Self::Turn => 10_000,
            Self::Action => 5_000,
            Self::Status => 3_000,
        }
    }
}

/// What a component shows of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoticeSettings {
    /// It shows them at all.
    pub enabled: bool,
    /// For how long; none: until somebody closes them.
    pub auto_close_ms: Option<u64>,
    /// With a sound.
    pub sound: bool,
}

impl NoticeSettings {
    /// Where nothing is said.
    #[must_use]
    pub const fn of(kind: NoticeKind) -> Self {
        Self { enabled: true, auto_close_ms: Some(kind.auto_close_ms()), sound: true }
    }
}

/// A notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The same in every tab that tells of the same: what it is about, and its version, say.
    pub id: String,
    /// Its kind.
    pub kind: NoticeKind,
    /// What it says.
    pub message: String,
    /// When it came about.
    pub at_ms: u64,
    /// False for one that is silent whatever the settings.
    pub sound: bool,
}

/// What became of a new notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noticed {
    /// It is to be seen now.
    Shown,
    /// It waits for the link.
    Waits,
    /// It was known already.
    Known,
    /// It has no id or is too long.
    Refused,
}

/// A notification that is to be seen, and since when.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Shown {
    notice: Notice,
    since_ms: u64,
}

/// All notifications of a tab.
#[derive(Debug, Default)]
pub struct Notices {
    settings: Named<[NoticeSettings; 3]>,
    shown: Vec<Shown>,
    waiting: Vec<Notice>,
    known: VecDeque<String>,
    /// The same; never walked.
    ids: HashSet<String, FxBuildHasher>,
    is_offline: bool,
    dropped: u32,
}

impl Notices {
    /// Says what a component shows of a kind. Returns false when too many components have said something.
    pub fn set(&mut self, component: &str, kind: NoticeKind, settings: NoticeSettings) -> bool {
        if !self.settings.contains_key(component) && self.settings.len() >= COMPONENTS_MAX {
            return false;
        }
        let mut all = self.of_component(component);
        all[kind as usize] = settings;
        self.settings.insert(component.to_owned(), all);
        true
    }

    /// Forgets what a component has said.
    pub fn forget(&mut self, component: &str) {
        self.settings.remove(component);
    }

    fn of_component(&self, component: &str) -> [NoticeSettings; 3] {
        self.settings.get(component).copied().unwrap_or(NoticeKind::ALL.map(NoticeSettings::of))
    }

    /// Takes a notification in, from here or from another tab.
    pub fn create(&mut self, notice: Notice, now_ms: u64) -> Noticed {
        let fits = (1..=ID_BYTES_MAX).contains(&notice.id.len()) && notice.message.len() <= WORDS_BYTES_MAX;
        if !fits {
            return Noticed::Refused;
        }
        if !self.remember(&notice.id) {
            return Noticed::Known;
        }
        if self.is_offline {
            self.waiting.push(notice);
            self.drop_surplus();
            return Noticed::Waits;
        }
        self.show(notice, now_ms);
        Noticed::Shown
    }

    /// Returns false for what was known already. What is still to be seen is not forgotten, so that it is not seen twice.
    fn remember(&mut self, id: &str) -> bool {
        if !self.ids.insert(id.to_owned()) {
            return false;
        }
        self.known.push_back(id.to_owned());
        while self.known.len() > KNOWN_MAX {
            let Some(oldest) = self.known.pop_front() else { break };
            let is_here = self.shown.iter().map(|shown| &shown.notice).chain(&self.waiting).any(|own| own.id == oldest);
            if is_here {
                self.known.push_back(oldest);
            } else {
                self.ids.remove(&oldest);
            }
        }
        true
    }

    /// The oldest go first: what is newest says how things stand.
    fn drop_surplus(&mut self) {
        if self.waiting.len() > WAITING_MAX {
            sort_by(&mut self.waiting, by_age);
            self.waiting.remove(0);
            self.dropped = self.dropped.saturating_add(1);
        }
    }

    fn show(&mut self, notice: Notice, now_ms: u64) {
        let at = self.shown.partition_point(|shown| by_age(&shown.notice, &notice).is_lt());
        self.shown.insert(at, Shown { notice, since_ms: now_ms });
        if self.shown.len() <= SHOWN_MAX {
            return;
        }
        // What nobody shows any more goes first; if it is all still there to be read, the oldest.
        let over = self.shown.iter().position(|shown| !self.is_shown(shown, now_ms));
        self.shown.remove(over.unwrap_or(0));
        if over.is_none() {
            self.dropped = self.dropped.saturating_add(1);
        }
    }

    /// True when some component shows it.
    fn is_shown(&self, shown: &Shown, now_ms: u64) -> bool {
        let kind = shown.notice.kind;
        let by_default = [NoticeSettings::of(kind)];
        let settings = self.settings.iter().map(|(_, all)| &all[kind as usize]).chain(&by_default);
        settings
            .filter(|settings| settings.enabled)
            .any(|settings| ends_ms(shown, *settings).is_none_or(|ends_ms| now_ms < ends_ms))
    }

    /// The link is there, or is not. Returns the ids of those that waited, in their order: they are seen from now on.
    pub fn set_online(&mut self, online: bool, now_ms: u64) -> Vec<String> {
        self.is_offline = !online;
        if self.is_offline {
            return Vec::new();
        }
        let mut waiting = std::mem::take(&mut self.waiting);
        sort_by(&mut waiting, by_age);
        let ids = waiting.iter().map(|notice| notice.id.clone()).collect();
        for notice in waiting {
            self.show(notice, now_ms);
        }
        ids
    }

    /// Somebody has closed one, here or in another tab. It does not come back.
    pub fn close(&mut self, id: &str) {
        self.shown.retain(|shown| shown.notice.id != id);
        self.waiting.retain(|notice| notice.id != id);
        // Its end may have overtaken the notification itself.
        if (1..=ID_BYTES_MAX).contains(&id.len()) {
            self.remember(id);
        }
    }

    /// Returns what a component is to show now, the oldest first.
    #[must_use]
    pub fn shown(&self, component: &str, now_ms: u64) -> Vec<&Notice> {
        let settings = self.of_component(component);
        let ends = |shown: &Shown| ends_ms(shown, settings[shown.notice.kind as usize]);
        let is_shown = |shown: &&Shown| {
            settings[shown.notice.kind as usize].enabled && ends(shown).is_none_or(|ends_ms| now_ms < ends_ms)
        };
        self.shown.iter().filter(is_shown).map(|shown| &shown.notice).collect()
    }

    /// Returns when what a component shows changes next by itself.
    #[must_use]
    pub fn next_ms(&self, component: &str, now_ms: u64) -> Option<u64> {
        let settings = self.of_component(component);
        let of_kind = |shown: &Shown| settings[shown.notice.kind as usize];
        let ends =
            self.shown.iter().filter(|shown| of_kind(shown).enabled).filter_map(|shown| ends_ms(shown, of_kind(shown)));
        ends.filter(|ends_ms| *ends_ms > now_ms).min()
    }

    /// True when a component makes a sound for a notification.
    #[must_use]
    pub fn sounds(&self, component: &str, notice: &Notice) -> bool {
        let settings = self.of_component(component)[notice.kind as usize];
        notice.sound && settings.enabled && settings.sound
    }

    /// How many were dropped at a bound though somebody was to see them.
    #[must_use]
    pub const fn dropped(&self) -> u32 {
        self.dropped
    }
}

fn by_age(one: &Notice, other: &Notice) -> std::cmp::Ordering {
    (one.at_ms, &one.id).cmp(&(other.at_ms, &other.id))
}

fn ends_ms(shown: &Shown, settings: NoticeSettings) -> Option<u64> {
    settings.auto_close_ms.map(|auto_close_ms| shown.since_ms.saturating_add(auto_close_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(id: &str, kind: NoticeKind, at_ms: u64) -> Notice {
        Notice { id: id.into(), kind, message: "your turn".into(), at_ms, sound: true }
    }

    fn ids(shown: Vec<&Notice>) -> Vec<String> {
        shown.into_iter().map(|notice| notice.id.clone()).collect()
    }

    #[test]
    fn each_kind_closes_itself_in_its_own_time_and_each_component_may_have_another() {
        let mut notices = Notices::default();
        for (at, kind) in (0..).zip(NoticeKind::ALL) {
            assert_eq!(notices.create(notice(kind.name(), kind, at), 1_000), Noticed::Shown);
        }
        assert_eq!(ids(notices.shown("list", 3_999)), ["turn", "action", "status"]);
        assert_eq!(ids(notices.shown("list", 4_000)), ["turn", "action"]);
        assert_eq!(ids(notices.shown("list", 6_000)), ["turn"]);
        assert_eq!(notices.next_ms("list", 4_000), Some(6_000));
        assert!(notices.shown("list", 11_000).is_empty());
        let stays = NoticeSettings { enabled: true, auto_close_ms: None, sound: false };
        assert!(notices.set("detail", NoticeKind::Status, stays));
        assert!(notices.set("detail", NoticeKind::Turn, NoticeSettings { enabled: false, ..stays }));
        assert_eq!(ids(notices.shown("detail", 5_000)), ["action", "status"]);
        assert_eq!(ids(notices.shown("detail", u64::MAX)), ["status"]);
        notices.close("status");
        assert!(notices.shown("detail", u64::MAX).is_empty());
        notices.forget("detail");
        assert_eq!(ids(notices.shown("detail", 5_000)), ["turn", "action"]);
    }

    #[test]
    fn what_several_tabs_tell_of_is_seen_once_and_what_was_closed_does_not_come_back() {
        let mut notices = Notices::default();
        assert_eq!(notices.create(notice("t-1", NoticeKind::Turn, 5), 10), Noticed::Shown);
        assert_eq!(notices.create(notice("t-1", NoticeKind::Turn, 5), 11), Noticed::Known);
        notices.close("t-1");
        assert_eq!(notices.create(notice("t-1", NoticeKind::Turn, 5), 12), Noticed::Known);
        notices.close("t-2");
        assert_eq!(notices.create(notice("t-2", NoticeKind::Turn, 5), 12), Noticed::Known, "its end came first");
        assert!(notices.shown("list", 12).is_empty());
    }

    #[test]
    fn what_came_off_line_is_seen_in_order_once_the_link_is_back() {
        let mut notices = Notices::default();
        assert!(notices.set_online(false, 0).is_empty());
        for (id, at_ms) in [("c", 30), ("a", 10), ("b", 20)] {
            assert_eq!(notices.create(notice(id, NoticeKind::Turn, at_ms), 40), Noticed::Waits);
        }
        assert!(notices.shown("list", 50).is_empty());
        assert_eq!(notices.set_online(true, 60_000), ["a", "b", "c"]);
        assert_eq!(ids(notices.shown("list", 69_999)), ["a", "b", "c"], "their time begins when they are seen");
        assert!(notices.shown("list", 70_000).is_empty());
        assert!(notices.set_online(true, 60_000).is_empty());
    }

    #[test]
    fn a_sound_is_made_where_the_notification_and_the_component_want_one() {
        let mut notices = Notices::default();
        let turn = notice("t", NoticeKind::Turn, 0);
        assert!(notices.sounds("list", &turn));
        assert!(!notices.sounds("list", &Notice { sound: false, ..turn.clone() }));
        let of = NoticeSettings::of(NoticeKind::Turn);
        notices.set("list", NoticeKind::Turn, NoticeSettings { sound: false, ..of });
        assert!(!notices.sounds("list", &turn));
        notices.set("list", NoticeKind::Turn, NoticeSettings { enabled: false, ..of });
        assert!(!notices.sounds("list", &turn));
    }

    #[test]
    fn what_nobody_shows_any_more_goes_before_what_somebody_does_and_none_that_shows_comes_twice() {
        let mut notices = Notices::default();
        let stays = NoticeSettings { enabled: true, auto_close_ms: None, sound: true };
        notices.set("bell", NoticeKind::Turn, stays);
        notices.set("bell", NoticeKind::Action, NoticeSettings { enabled: false, ..stays });
        notices.create(notice("mine", NoticeKind::Turn, 0), 0);
        for n in 0..12_000_u64 {
            notices.create(notice(&n.to_string(), NoticeKind::Action, n), n * 5_000);
        }
        let now_ms = 12_000 * 5_000;
        assert_eq!((ids(notices.shown("bell", now_ms)), notices.dropped()), (vec!["mine".to_owned()], 0));
        assert_eq!(notices.create(notice("mine", NoticeKind::Turn, 0), now_ms), Noticed::Known);
        for n in 0..SHOWN_MAX as u64 {
            notices.create(notice(&format!("turn {n}"), NoticeKind::Turn, now_ms + n), now_ms);
        }
        assert_eq!((notices.shown("bell", now_ms).len(), notices.dropped()), (SHOWN_MAX, 1));
    }

    #[test]
    fn everything_has_a_bound_and_the_oldest_go_first() {
        let mut notices = Notices::default();
        notices.set_online(false, 0);
        for n in 0..=WAITING_MAX as u64 {
            notices.create(notice(&n.to_string(), NoticeKind::Turn, n), 0);
        }
        let replayed = notices.set_online(true, 0);
        assert_eq!((replayed.len(), replayed[0].as_str(), notices.dropped()), (WAITING_MAX, "1", 1));
        for n in 0..KNOWN_MAX as u64 {
            notices.create(notice(&format!("x{n}"), NoticeKind::Turn, 1_000 + n), 0);
        }
        assert_eq!(notices.ids.len(), KNOWN_MAX);
        assert_eq!((notices.shown("list", 0).len(), notices.known.len()), (SHOWN_MAX, KNOWN_MAX));
        for wrong in [notice("", NoticeKind::Turn, 0), notice(&"x".repeat(257), NoticeKind::Turn, 0)] {
            assert_eq!(notices.create(wrong, 0), Noticed::Refused);
        }
        let long = Notice { message: "x".repeat(4_097), ..notice("long", NoticeKind::Turn, 0) };
        assert_eq!(notices.create(long, 0), Noticed::Refused);
        let of = NoticeSettings::of(NoticeKind::Turn);
        let taken = (0..300).filter(|n| notices.set(&n.to_string(), NoticeKind::Turn, of)).count();
        assert_eq!(taken, COMPONENTS_MAX);
    }
}
