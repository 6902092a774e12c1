//! Who is shown as present: only whom somebody has told of a moment ago, and only as they said it themselves.

use rota_engine::{Doing, PEER_MS, PEERS_MAX, Peer, Presence, TYPING_MS};

use super::{Mirror, Who, broken};
use crate::workload::USERS;
use crate::{FastMap, FastSet};

/// What a tab was told of somebody, and when.
struct Word {
    at_ms: u64,
    presence: Presence,
}

/// What one tab has heard of others, and what it shows.
#[derive(Default)]
pub struct Heard {
    words: FastMap<(String, String), Vec<Word>>,
    pub shown: Vec<Peer>,
}

/// What people really said at their tabs, by the tabs' names.
#[derive(Default)]
pub struct Truth {
    /// Browser and user of each tab.
    tabs: FastMap<String, (usize, usize)>,
    said: FastMap<String, Vec<Presence>>,
    /// Users and tabs that nobody plays, but that are told of.
    strangers: FastSet<(String, String)>,
}

impl Heard {
    pub fn on_words(&mut self, peers: &[Peer], mono_ms: u64) {
        for peer in peers {
            let Some(presence) = peer.presence.clone() else { continue };
            let words = self.words.entry((peer.user.clone(), peer.tab.clone())).or_default();
            words.retain(|word| word.at_ms + PEER_MS > mono_ms);
            words.push(Word { at_ms: mono_ms, presence });
        }
    }

    /// True when a word of theirs that is not too old says this, or said it until it ran out.
    fn has_heard(&self, peer: &Peer, presence: &Presence, mono_ms: u64) -> bool {
        let says = |word: &Word| {
            let ran_out = Presence { doing: Doing::Idle, ..word.presence.clone() };
            let is_fresh = word.at_ms + TYPING_MS > mono_ms;
            match word.presence.doing {
                Doing::Typing if is_fresh => word.presence == *presence || ran_out == *presence,
                Doing::Typing => ran_out == *presence,
                Doing::Idle | Doing::Editing => word.presence == *presence,
            }
        };
        let words = self.words.get(&(peer.user.clone(), peer.tab.clone()));
        words.is_some_and(|words| words.iter().any(|word| word.at_ms + PEER_MS > mono_ms && says(word)))
    }
}

impl Truth {
    pub fn on_open(&mut self, name: &str, browser: usize, user: usize) {
        self.tabs.insert(name.to_owned(), (browser, user));
    }

    /// A person says where they are.
    pub fn on_said(&mut self, name: &str, presence: &Presence) {
        self.said.entry(name.to_owned()).or_default().push(presence.clone());
    }

    pub fn on_stranger(&mut self, peer: &Peer) {
        self.strangers.insert((peer.user.clone(), peer.tab.clone()));
    }

    /// True when somebody is who they are said to be, and has said at some time what they are said to do.
    fn is_true(&self, peer: &Peer) -> bool {
        let Some((_, user)) = self.tabs.get(&peer.tab) else {
            return self.strangers.contains(&(peer.user.clone(), peer.tab.clone()));
        };
        let said = |presence: &Presence| {
            let is_it =
                |said: &Presence| said == presence || *presence == Presence { doing: Doing::Idle, ..said.clone() };
            self.said.get(&peer.tab).is_some_and(|said| said.iter().any(is_it))
        };
        USERS[*user] == peer.user && peer.presence.as_ref().is_none_or(said)
    }

    /// A tab tells the server who is in its browser: its own person's tabs, and nobody else.
    pub fn check_announced(&self, who: &Who, peers: &[Peer]) {
        for peer in peers {
            let place = self.tabs.get(&peer.tab);
            if place != Some(&(who.browser, who.user)) || !self.is_true(peer) {
                broken!("13", "{} announces {peer:?}", who.name);
            }
        }
    }

    /// What a tab tells the others of people, it says of itself, or has heard a moment ago.
    pub fn check_told(&self, who: &Who, own: &str, heard: &Heard, peers: &[Peer], mono_ms: u64) {
        for peer in peers.iter().filter(|peer| peer.tab != own) {
            let is_heard = peer.presence.as_ref().is_none_or(|presence| heard.has_heard(peer, presence, mono_ms));
            if !self.is_true(peer) || !is_heard {
                broken!("13", "{} tells other tabs of {peer:?}", who.name);
            }
        }
    }

    pub fn check_shown(&self, who: &Who, own: &str, mirror: &Mirror, mono_ms: u64) {
        let shown = &mirror.heard.shown;
        if shown.len() > PEERS_MAX {
            broken!("10", "{} shows {} people", who.name, shown.len());
        }
        for (at, peer) in shown.iter().enumerate() {
            let is_same = |other: &Peer| (&other.user, &other.tab) == (&peer.user, &peer.tab);
            if at > 0 && is_same(&shown[at - 1]) || shown.len() < 30 && shown[..at].iter().any(is_same) {
                broken!("2", "{} shows {peer:?} twice", who.name);
            }
            if peer.tab == own {
                broken!("2", "{} shows itself as somebody else", who.name);
            }
            let Some(presence) = &peer.presence else { broken!("2", "{} shows {peer:?}, who has left", who.name) };
            if !self.is_true(peer) {
                broken!("13", "{} shows {peer:?}, who never was there", who.name);
            }
            if !mirror.heard.has_heard(peer, presence, mono_ms) {
                broken!("8", "{} still shows {peer:?}, which nobody has told of for too long", who.name);
            }
        }
    }
}
