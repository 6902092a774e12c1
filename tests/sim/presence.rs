//! Who is here, over a network that loses, repeats and delays what people say.

use rota_engine::{At, Doing, Input, PEERS_MAX, Peer, Presence};

use crate::faults::Fault;
use crate::oracle::{Who, broken};
use crate::server::TABLES;
use crate::shell::Tab;
use crate::workload::{Pick, Rate, USERS};
use crate::world::{Event, World};

/// Within this time everybody has said again where they are, and everybody has heard it.
const PERIOD_MS: u64 = 12_000;

impl World {
    /// Somebody says where they are, or that they are nowhere.
    pub fn be(&mut self, tab: Pick, doing: u64) {
        let Some(tab) = self.awake(tab) else { return };
        let place = self.draw.of(&["board", "chat"]).to_owned();
        let record = self.draw.percent(30).then(|| At { table: TABLES[0].into(), key: "c-1".into() });
        let doing = match doing {
            0 => None,
            1..=3 => Some(Doing::Typing),
            4 => Some(Doing::Editing),
            _ => Some(Doing::Idle),
        };
        self.appear(tab, doing.map(|doing| Presence { place, doing, record }));
    }

    fn appear(&mut self, tab: usize, presence: Option<Presence>) {
        if let Some(presence) = &presence {
            let name = self.tabs[tab].engine.tab().to_owned();
            self.oracle.truth.on_said(&name, presence);
        }
        if let Err(error) = self.feed(tab, Input::SetPresence { presence }) {
            broken!("12", "{} does not take where its person is: {error}", self.tabs[tab].name);
        }
    }

    /// The server passes on what a leader says, over the links that are up.
    pub fn announce(&mut self, from: usize, peers: &[Peer]) {
        let Tab { browser, user, name, link, is_subscribed, is_half_open, .. } = &self.tabs[from];
        self.oracle.truth.check_announced(&Who { tab: from, browser: *browser, user: *user, name }, peers);
        if link.is_none() || !is_subscribed || *is_half_open || self.mono_ms < self.cut_until_ms {
            return self.faults.add(Fault::PresenceUnsaid);
        }
        for tab in self.living() {
            let hears = self.tabs[tab].is_subscribed && !self.tabs[tab].is_half_open;
            if !hears || self.happens(Rate::EventLoss, Fault::PresenceLost) {
                continue;
            }
            let copies = 1 + u32::from(self.happens(Rate::EventRepeat, Fault::PresenceRepeated));
            for _ in 0..copies {
                let late = self.happens(Rate::EventDelay, Fault::PresenceDelayed);
                let delay_ms = 1 + self.draw.below(30) + if late { self.lateness() } else { 0 };
                let peers = peers.to_vec();
                self.later(delay_ms, Event::Tell { tab, input: Input::PresenceHeard { peers } });
            }
        }
    }

    /// The backend tells of people who have no name, or of more than are kept track of.
    pub fn tell_of_strangers(&mut self, tab: Pick, is_crowd: bool) {
        let Some(tab) = self.pick(tab) else { return };
        let is_there = |place: &str| Some(Presence { place: place.to_owned(), doing: Doing::Idle, record: None });
        let stranger = |n: usize| Peer { user: "crowd".into(), tab: format!("t{n}"), presence: is_there("hall") };
        let peers = if is_crowd {
            self.faults.add(Fault::PresenceOfMany);
            (0..PEERS_MAX + 10).map(stranger).collect()
        } else {
            self.faults.add(Fault::PresenceUnreadable);
            let long = "x".repeat(10_000);
            vec![
                Peer { user: String::new(), ..stranger(0) },
                Peer { presence: is_there(&long), ..stranger(1) },
                Peer { tab: long, ..stranger(2) },
                Peer { user: "lena".into(), ..stranger(3) },
            ]
        };
        for peer in &peers {
            self.oracle.truth.on_stranger(peer);
        }
        self.tell(tab, Input::PresenceHeard { peers });
    }

    /// Nobody is shown for too long where nothing happens either.
    pub fn check_people(&self) {
        for tab in self.open_tabs() {
            self.check_people_of(tab);
        }
    }

    pub fn check_people_of(&self, tab: usize) {
        let Tab { engine, mirror, browser, user, name, backlog, is_closed, .. } = &self.tabs[tab];
        if !mirror.heard.shown.is_empty() && backlog.is_none() && !is_closed {
            let who = Who { tab, browser: *browser, user: *user, name };
            self.oracle.truth.check_shown(&who, engine.tab(), mirror, self.mono_ms);
        }
    }

    /// With nothing going wrong any more, everybody sees everybody who is there, as they are, and nobody else.
    pub fn check_everyone_is_seen(&mut self) {
        let open = self.open_tabs();
        let mut there: Vec<(usize, Peer)> = Vec::new();
        for (n, tab) in open.iter().enumerate() {
            let presence = Presence { place: format!("end {n}"), doing: Doing::Editing, record: None };
            let presence = self.draw.percent(60).then_some(presence);
            self.appear(*tab, presence.clone());
            let (user, name) = (USERS[self.tabs[*tab].user].to_owned(), self.tabs[*tab].engine.tab().to_owned());
            there.extend(presence.map(|presence| (*tab, Peer { user, tab: name, presence: Some(presence) })));
        }
        there.sort_by(|(_, one), (_, other)| (&one.user, &one.tab).cmp(&(&other.user, &other.tab)));
        self.run_for(PERIOD_MS);
        // A logout that waited may have come to its end meanwhile.
        let open = self.open_tabs();
        there.retain(|(tab, _)| open.contains(tab));
        // A tab of the release before neither says nor hears anything of it.
        let is_old = |tab: usize| {
            let place = |tab: &Tab| (tab.browser, tab.user);
            let is_near = |other: &Tab| other.is_old && other.is_alive && place(other) == place(&self.tabs[tab]);
            self.tabs.iter().any(is_near)
        };
        let is_unsure = |peer: &Peer| {
            let tab = self.tabs.iter().position(|tab| tab.engine.tab() == peer.tab);
            tab.is_some_and(is_old)
        };
        for tab in self.open_tabs().into_iter().filter(|tab| !is_old(*tab)) {
            let Tab { mirror, name, .. } = &self.tabs[tab];
            let shown: Vec<&Peer> = mirror.heard.shown.iter().filter(|peer| !is_unsure(peer)).collect();
            let others = there.iter().filter(|(other, peer)| *other != tab && !is_unsure(peer));
            let expected: Vec<&Peer> = others.map(|(_, peer)| peer).collect();
            if shown != expected {
                broken!("15", "{name} shows {shown:?} instead of {expected:?}");
            }
        }
    }
}
