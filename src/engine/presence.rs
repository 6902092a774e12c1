//! Who is here, where, and what they are doing. Nothing of it is stored, and all of it is forgotten when it is not renewed.
//!
//! Each tab says where its person is; the leader says it for all tabs of the browser, and tells the tabs what others say.

use serde::{Deserialize, Serialize};

use super::mark::mark;
use super::sabotage::sabotaged;

/// How long somebody counts as typing after the last stroke.
pub const TYPING_MS: u64 = 5_000;

/// How long somebody counts as being there without being heard of.
pub const PEER_MS: u64 = 30_000;

/// How many others are kept track of.
pub const PEERS_MAX: usize = 1_000;

/// How long the names in it may be, in bytes; a record's key may be as long as anywhere.
const TEXT_BYTES_MAX: usize = 256;
const KEY_BYTES_MAX: usize = 1_000;

/// At most once in this time anything is said.
const PACE_MS: u64 = 1_000;

/// How often it is said again, so that it does not run out for others; while somebody types, more often.
const RENEW_MS: u64 = 10_000;
const RENEW_TYPING_MS: u64 = 3_000;

/// What somebody does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Doing {
    /// Looks at something.
    Idle,
    /// Types something that is not sent yet.
    Typing,
    /// Has something open to change it.
    Editing,
}

/// A record that somebody is at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct At {
    /// The table's name.
    pub table: String,
    /// The record's key.
    pub key: String,
}

/// Where somebody is, and what they do there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Presence {
    /// The application's own name for the place.
    pub place: String,
    /// What they do.
    pub doing: Doing,
    /// The record that they are at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<At>,
}

/// One tab of somebody. Without presence: it has left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Peer {
    /// The user's id.
    pub user: String,
    /// The tab.
    pub tab: String,
    /// Where they are.
    pub presence: Option<Presence>,
}

impl Presence {
    /// Returns true when nothing in it is too long.
    pub(crate) fn is_short(&self) -> bool {
        let at = self.record.as_ref();
        self.place.len() <= TEXT_BYTES_MAX
            && at.is_none_or(|at| at.table.len() <= TEXT_BYTES_MAX && at.key.len() <= KEY_BYTES_MAX)
    }
}

impl Peer {
    fn is_short(&self) -> bool {
        let is_name = |name: &str| !name.is_empty() && name.len() <= TEXT_BYTES_MAX;
        is_name(&self.user) && is_name(&self.tab) && self.presence.as_ref().is_none_or(Presence::is_short)
    }

    fn is_typing(&self) -> bool {
        self.presence.as_ref().is_some_and(|presence| presence.doing == Doing::Typing)
    }
}

#[derive(Debug)]
struct Known {
    peer: Peer,
    heard_at_mono_ms: u64,
    /// True for another tab of this browser, which speaks for itself.
    is_local: bool,
}

/// To whom something is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    /// The other tabs: where this one is.
    Tabs,
    /// Everybody else: where all tabs of this browser are.
    Backend,
}

/// What was said last.
#[derive(Debug, Default)]
struct Said {
    peers: Vec<Peer>,
    at_mono_ms: Option<u64>,
}

impl Said {
    fn due_mono_ms(&self, current: &[Peer]) -> Option<u64> {
        let Some(at_mono_ms) = self.at_mono_ms else { return (!current.is_empty()).then_some(0) };
        if self.peers != current {
            return Some(at_mono_ms.saturating_add(PACE_MS));
        }
        let renew_ms = if current.iter().any(Peer::is_typing) { RENEW_TYPING_MS } else { RENEW_MS };
        (!current.is_empty()).then_some(at_mono_ms.saturating_add(renew_ms))
    }
}

/// What is refused of what was heard.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) malformed: usize,
    /// True when the bound was reached, for the first time since there was room.
    pub(crate) is_full: bool,
}

/// Everybody who is here.
#[derive(Debug, Default)]
pub(crate) struct Everyone {
    own: Option<Presence>,
    own_at_mono_ms: u64,
    /// In the order of user and tab.
    others: Vec<Known>,
    was_full: bool,
    tabs: Said,
    backend: Said,
    /// True when what is to be seen may have changed.
    is_dirty: bool,
    shown: Vec<Peer>,
}

impl Everyone {
    /// Says where this tab's person is.
    pub(crate) fn set(&mut self, own: Option<Presence>, mono_ms: u64) {
        (self.own, self.own_at_mono_ms) = (own, mono_ms);
    }

    /// Takes what was heard of others; `from` is the tab that says it of itself, if one does.
    pub(crate) fn hear(&mut self, peers: Vec<Peer>, own: (&str, &str), from: Option<&str>, mono_ms: u64) -> Refused {
        let mut refused = Refused::default();
        for peer in peers {
            if !peer.is_short() {
                mark!(PeerMalformed);
                refused.malformed += 1;
                continue;
            }
            let peer =
                if sabotaged!(MixUpPeople) && from.is_some() { Peer { user: own.0.into(), ..peer } } else { peer };
            if (&*peer.user, &*peer.tab) == own && !sabotaged!(ShowSelf) {
                continue;
            }
            let is_local = peer.user == own.0 && from == Some(&*peer.tab);
            let place = |known: &Known| (&*known.peer.user, &*known.peer.tab).cmp(&(&*peer.user, &*peer.tab));
            let found = self.others.binary_search_by(place);
            self.is_dirty = true;
            match (found, &peer.presence) {
                // A tab of this browser speaks for itself; what comes back from the server is older.
                (Ok(at), _) if self.others[at].is_local && !is_local => {
                    mark!(PeerSpeaksForItself);
                }
                (Ok(at), None) => drop(self.others.remove(at)),
                (Ok(at), Some(_)) => self.others[at] = Known { peer, heard_at_mono_ms: mono_ms, is_local },
                (Err(_), None) => {}
                (Err(at), Some(_)) if self.others.len() < PEERS_MAX || sabotaged!(PeopleUnbounded) => {
                    self.others.insert(at, Known { peer, heard_at_mono_ms: mono_ms, is_local });
                }
                (Err(_), Some(_)) => {
                    mark!(TooManyPeers);
                    refused.is_full |= !std::mem::replace(&mut self.was_full, true);
                }
            }
        }
        refused
    }

    /// A tab of this browser has closed.
    pub(crate) fn leave(&mut self, tab: &str) {
        let before = self.others.len();
        self.others.retain(|known| !known.is_local || known.peer.tab != tab);
        self.is_dirty |= before != self.others.len();
    }

    /// Lets run out what was not renewed.
    pub(crate) fn expire(&mut self, mono_ms: u64) {
        if let Some(own) = &mut self.own
            && own.doing == Doing::Typing
            && self.own_at_mono_ms.saturating_add(TYPING_MS) <= mono_ms
        {
            own.doing = Doing::Idle;
        }
        let before = self.others.len();
        let lasts_ms = if sabotaged!(PresenceForEver) { u64::MAX } else { PEER_MS };
        self.others.retain(|known| known.heard_at_mono_ms.saturating_add(lasts_ms) > mono_ms);
        if before != self.others.len() {
            mark!(PeerExpired);
            self.is_dirty = true;
        }
        for known in &mut self.others {
            if let Some(presence) = &mut known.peer.presence
                && presence.doing == Doing::Typing
                && known.heard_at_mono_ms.saturating_add(TYPING_MS) <= mono_ms
                && !sabotaged!(TypingForEver)
            {
                mark!(TypingExpired);
                presence.doing = Doing::Idle;
                self.is_dirty = true;
            }
        }
        self.was_full &= self.others.len() >= PEERS_MAX;
    }

    /// Returns what is to be said now; those who were in it the last time, and are gone, are in it without presence.
    pub(crate) fn say(&mut self, audience: Audience, own: (&str, &str), mono_ms: u64) -> Option<Vec<Peer>> {
        let mut current = self.current(audience, own);
        let said = match audience {
            Audience::Tabs => &mut self.tabs,
            Audience::Backend => &mut self.backend,
        };
        if said.due_mono_ms(&current)? > mono_ms {
            return None;
        }
        let before = std::mem::replace(&mut said.peers, current.clone());
        said.at_mono_ms = Some(mono_ms);
        let is_there =
            |peer: &Peer| said.peers.iter().any(|other| (&other.user, &other.tab) == (&peer.user, &peer.tab));
        current.extend(before.into_iter().filter(|peer| !is_there(peer)).map(|peer| Peer { presence: None, ..peer }));
        Some(current)
    }

    fn current(&self, audience: Audience, (user, tab): (&str, &str)) -> Vec<Peer> {
        let own =
            self.own.iter().map(|own| Peer { user: user.to_owned(), tab: tab.to_owned(), presence: Some(own.clone()) });
        let mut current: Vec<Peer> = own.collect();
        if audience == Audience::Backend {
            current.extend(self.others.iter().filter(|known| known.is_local).map(|known| known.peer.clone()));
        }
        current
    }

    /// Says everything again as soon as may be: somebody new listens.
    pub(crate) fn say_again(&mut self, audience: Audience) {
        match audience {
            Audience::Tabs => self.tabs.peers.clear(),
            Audience::Backend => self.backend = Said::default(),
        }
    }

    /// Returns what is known of everybody who is not a tab of this browser.
    pub(crate) fn strangers(&self) -> Vec<Peer> {
        self.others.iter().filter(|known| !known.is_local).map(|known| known.peer.clone()).collect()
    }

    /// Returns when something is to be said, or runs out.
    pub(crate) fn deadline(&self, own: (&str, &str), sends: bool) -> Option<u64> {
        let typing = self.own.as_ref().filter(|own| own.doing == Doing::Typing);
        let mut deadline = typing.map(|_| self.own_at_mono_ms.saturating_add(TYPING_MS));
        let mut note = |due: Option<u64>| deadline = due.into_iter().chain(deadline).min();
        note(self.tabs.due_mono_ms(&self.current(Audience::Tabs, own)));
        if sends {
            note(self.backend.due_mono_ms(&self.current(Audience::Backend, own)));
        }
        for known in &self.others {
            let types_on = sabotaged!(TypingForEver) && known.peer.is_typing();
            if types_on || sabotaged!(PresenceForEver) {
                continue;
            }
            let lasts_ms = if known.peer.is_typing() { TYPING_MS } else { PEER_MS };
            note(Some(known.heard_at_mono_ms.saturating_add(lasts_ms)));
        }
        deadline
    }

    /// True while there is nothing to say, and nobody to forget.
    pub(crate) fn is_quiet(&self) -> bool {
        self.own.is_none() && self.others.is_empty() && self.tabs.peers.is_empty() && self.backend.peers.is_empty()
    }

    /// Returns everybody else, if that has changed since it was last asked for.
    pub(crate) fn take_news(&mut self) -> Option<Vec<Peer>> {
        if !std::mem::take(&mut self.is_dirty) || self.shown.iter().eq(self.others.iter().map(|known| &known.peer)) {
            return None;
        }
        self.shown = self.others.iter().map(|known| known.peer.clone()).collect();
        Some(self.shown.clone())
    }

    /// Forgets everybody, this tab's person included.
    pub(crate) fn clear(&mut self) {
        self.own = None;
        self.others.clear();
        self.is_dirty = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: (&str, &str) = ("maya", "t1");

    #[expect(clippy::unnecessary_wraps, reason = "as it is used")]
    fn at(place: &str, doing: Doing) -> Option<Presence> {
        Some(Presence { place: place.into(), doing, record: None })
    }

    fn peer(user: &str, tab: &str, presence: Option<Presence>) -> Peer {
        Peer { user: user.into(), tab: tab.into(), presence }
    }

    #[test]
    fn what_is_said_is_said_at_once_then_once_a_second_and_unchanged_only_to_renew_it() {
        let mut all = Everyone::default();
        let mut said = Vec::new();
        for mono_ms in (0..25_000).step_by(100) {
            if mono_ms < 2_000 {
                all.set(at(&mono_ms.to_string(), Doing::Idle), mono_ms);
            }
            all.expire(mono_ms);
            said.extend(all.say(Audience::Backend, ME, mono_ms).map(|_| mono_ms));
        }
        assert_eq!(said, [0, 1_000, 2_000, 12_000, 22_000]);
    }

    #[test]
    fn typing_runs_out_when_it_is_not_renewed_and_is_renewed_in_time_while_it_goes_on() {
        let (mut one, mut two) = (Everyone::default(), Everyone::default());
        let mut seen = Vec::new();
        for mono_ms in (0..20_000).step_by(100) {
            // A stroke each second, for ten seconds.
            if mono_ms % 1_000 == 0 && mono_ms <= 10_000 {
                one.set(at("chat", Doing::Typing), mono_ms);
            }
            one.expire(mono_ms);
            if let Some(peers) = one.say(Audience::Tabs, ME, mono_ms) {
                two.hear(peers, ("jonas", "t9"), None, mono_ms);
            }
            two.expire(mono_ms);
            seen.extend(two.take_news().map(|peers| (mono_ms, peers[0].presence.as_ref().map(|there| there.doing))));
        }
        assert_eq!(seen, [(0, Some(Doing::Typing)), (15_000, Some(Doing::Idle))]);
    }

    #[test]
    fn who_is_not_heard_of_any_more_is_gone_after_half_a_minute() {
        let mut all = Everyone::default();
        all.hear(vec![peer("jonas", "t9", at("board", Doing::Editing))], ME, None, 0);
        all.expire(PEER_MS - 1);
        assert_eq!(all.take_news().unwrap().len(), 1);
        assert_eq!(all.deadline(ME, false), Some(PEER_MS));
        all.expire(PEER_MS);
        assert_eq!(all.take_news(), Some(vec![]));
        assert!(all.is_quiet());
    }

    #[test]
    fn who_leaves_is_told_once() {
        let mut all = Everyone::default();
        all.set(at("board", Doing::Idle), 0);
        all.say(Audience::Backend, ME, 0).unwrap();
        all.set(None, 5_000);
        assert_eq!(all.say(Audience::Backend, ME, 5_000), Some(vec![peer("maya", "t1", None)]));
        assert_eq!(all.say(Audience::Backend, ME, 60_000), None);
    }

    #[test]
    fn a_tab_of_this_browser_speaks_for_itself_and_the_leader_for_all() {
        let mut all = Everyone::default();
        all.hear(vec![peer("maya", "t2", at("here", Doing::Idle))], ME, Some("t2"), 0);
        // The server repeats what was said earlier, and tells of the person's telephone.
        all.hear(
            vec![peer("maya", "t2", at("there", Doing::Idle)), peer("maya", "t3", at("phone", Doing::Idle))],
            ME,
            None,
            1,
        );
        let said = all.say(Audience::Backend, ME, 1).unwrap();
        assert_eq!(said, [peer("maya", "t2", at("here", Doing::Idle))]);
        assert_eq!(all.strangers(), [peer("maya", "t3", at("phone", Doing::Idle))]);
        all.leave("t2");
        assert_eq!(all.say(Audience::Backend, ME, 2_000), Some(vec![peer("maya", "t2", None)]));
    }

    #[test]
    fn the_number_of_people_and_the_length_of_their_words_are_bounded() {
        let mut all = Everyone::default();
        let crowd = |count: usize| (0..count).map(|n| peer("crowd", &n.to_string(), at("hall", Doing::Idle))).collect();
        assert_eq!(all.hear(crowd(PEERS_MAX), ME, None, 0), Refused::default());
        assert!(all.hear(crowd(PEERS_MAX + 5), ME, None, 0).is_full);
        assert!(!all.hear(crowd(PEERS_MAX + 5), ME, None, 0).is_full, "it was said already");
        assert_eq!(all.others.len(), PEERS_MAX);
        let long = "x".repeat(TEXT_BYTES_MAX + 1);
        let record = Some(At { table: "jobs".into(), key: "x".repeat(KEY_BYTES_MAX + 1) });
        let wrong = vec![
            peer("", "t", at("hall", Doing::Idle)),
            peer(&long, "t", None),
            peer("ada", "t", at(&long, Doing::Idle)),
            peer("ada", "t", Some(Presence { place: String::new(), doing: Doing::Editing, record })),
        ];
        assert_eq!(all.hear(wrong, ME, None, 0).malformed, 4);
    }
}
