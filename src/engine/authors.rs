//! The other tabs of a browser without locks, and which of them are gone. There each tab sends what it made itself; what another one
//! made is sent by others only when that one is gone, and by one of them first.

/// How long a tab that was asked may take to say that it is there.
pub(crate) const GRACE_MS: u64 = 6_000;

/// For how long a word from a tab stands for its being there.
pub(crate) const HEARD_MS: u64 = 15_000;

/// How often to look into storage for what a tab may have left that died before it told of it.
pub(crate) const LOOK_MS: u64 = 60_000;

/// How many other tabs are kept track of; the one heard of longest ago is forgotten.
const TABS_MAX: usize = 256;

/// How many tabs come before this one at most, each of which is given time.
const RANK_MAX: usize = 8;

#[derive(Debug)]
struct Author {
    tab: String,
    heard_mono_ms: Option<u64>,
    /// Since when it was asked in vain.
    asked_mono_ms: Option<u64>,
    has_left: bool,
    is_gone: bool,
}

/// What is known of the other tabs. Who was heard of last is at the end.
#[derive(Debug, Default)]
pub(crate) struct Authors {
    known: Vec<Author>,
    /// True when operations of others have come, or somebody has left.
    pub(crate) is_due: bool,
    /// When storage was looked into last.
    pub(crate) looked_mono_ms: u64,
}

impl Authors {
    fn take(&mut self, tab: &str) -> Author {
        match self.known.iter().position(|author| author.tab == tab) {
            Some(at) => self.known.remove(at),
            None => Author {
                tab: tab.to_owned(),
                heard_mono_ms: None,
                asked_mono_ms: None,
                has_left: false,
                is_gone: false,
            },
        }
    }

    fn put(&mut self, author: Author) {
        if self.known.len() >= TABS_MAX {
            self.known.remove(0);
        }
        self.known.push(author);
    }

    /// A tab has said something.
    pub(crate) fn hear(&mut self, tab: &str, mono_ms: u64) {
        let author = self.take(tab);
        self.put(Author {
            heard_mono_ms: Some(mono_ms),
            asked_mono_ms: None,
            has_left: false,
            is_gone: false,
            ..author
        });
    }

    /// A tab has said that it is leaving: there is nothing to wait for.
    pub(crate) fn leave(&mut self, tab: &str, mono_ms: u64) {
        let author = self.take(tab);
        self.put(Author { heard_mono_ms: None, asked_mono_ms: Some(mono_ms), has_left: true, ..author });
        self.is_due = true;
    }

    /// True once a tab is known to be gone.
    pub(crate) fn is_gone(&self, tab: &str) -> bool {
        self.known.iter().any(|author| author.tab == tab && author.is_gone)
    }

    /// This tab did not run, and so can't say who else did.
    pub(crate) fn forget_questions(&mut self) {
        for author in &mut self.known {
            author.asked_mono_ms = None;
        }
        self.is_due = true;
    }

    /// Looks at an author of something that is pending. Tells what to do about it.
    pub(crate) fn tend(&mut self, tab: &str, own: &str, mono_ms: u64) -> Tended {
        let rank = self.rank(own, mono_ms);
        let mut author = self.take(tab);
        // Whoever has said that it leaves need not be asked.
        let turns = rank + u64::from(!author.has_left);
        let is_recent = |at_ms: u64| at_ms.saturating_add(HEARD_MS) > mono_ms;
        let tended = match (author.is_gone, author.heard_mono_ms, author.asked_mono_ms) {
            (true, ..) => Tended::Gone { is_news: false },
            (false, Some(heard_mono_ms), None) if is_recent(heard_mono_ms) => Tended::Alive,
            (false, _, None) => {
                author.asked_mono_ms = Some(mono_ms);
                Tended::Ask
            }
            (false, _, Some(asked_mono_ms)) if asked_mono_ms.saturating_add(GRACE_MS * turns) <= mono_ms => {
                author.is_gone = true;
                Tended::Gone { is_news: true }
            }
            (false, _, Some(_)) => Tended::Ask,
        };
        self.put(author);
        tended
    }

    /// How many tabs that are there come before this one: what somebody left is for the first to send.
    fn rank(&self, own: &str, mono_ms: u64) -> u64 {
        let is_there = |author: &&Author| {
            !author.is_gone
                && author.heard_mono_ms.is_some_and(|at_ms| at_ms.saturating_add(HEARD_MS + GRACE_MS) > mono_ms)
        };
        let before = self.known.iter().filter(is_there).filter(|author| *author.tab < *own).count();
        before.min(RANK_MAX) as u64
    }
}

/// What to do about the author of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tended {
    /// It is there, and sends it.
    Alive,
    /// Ask whether it is there.
    Ask,
    /// It is gone.
    Gone { is_news: bool },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_author_is_gone_only_after_it_was_asked_in_vain() {
        let mut authors = Authors::default();
        assert_eq!(authors.tend("b", "a", 1_000), Tended::Ask);
        assert_eq!(authors.tend("b", "a", 999 + GRACE_MS), Tended::Ask);
        assert_eq!(authors.tend("b", "a", 1_000 + GRACE_MS), Tended::Gone { is_news: true });
        assert_eq!(authors.tend("b", "a", 1_001 + GRACE_MS), Tended::Gone { is_news: false });
        authors.hear("b", 2_000 + GRACE_MS);
        assert!(!authors.is_gone("b"));
        assert_eq!(authors.tend("b", "a", 2_000 + GRACE_MS), Tended::Alive);
        assert_eq!(authors.tend("b", "a", 2_000 + GRACE_MS + HEARD_MS), Tended::Ask);
    }

    #[test]
    fn what_somebody_left_is_for_the_first_tab_and_for_the_next_only_later() {
        let mut authors = Authors::default();
        authors.hear("a", 100_000);
        authors.leave("c", 100_000);
        assert_eq!(authors.tend("c", "b", 100_000), Tended::Ask);
        assert_eq!(authors.tend("c", "b", 100_000 + GRACE_MS), Tended::Gone { is_news: true });
        let mut authors = Authors::default();
        authors.hear("b", 100_000);
        authors.leave("c", 100_000);
        assert_eq!(authors.tend("c", "a", 100_000), Tended::Gone { is_news: true });
    }

    #[test]
    fn no_more_tabs_are_kept_track_of_than_the_bound() {
        let mut authors = Authors::default();
        for at in 0..1_000 {
            authors.hear(&at.to_string(), at);
        }
        assert_eq!(authors.known.len(), TABS_MAX);
    }
}
