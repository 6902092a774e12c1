//! The tabs of one browser: who leads, in which epoch, and what they tell each other (`PROTOCOL.md` §8).
//!
//! Leading is granted by the browser's lock, never decided by timing. The channel may lose, repeat and reorder: every
//! message has a number, and a gap makes a follower ask the leader for everything.

use serde::{Deserialize, Serialize};

use super::link::LinkStatus;
use super::mark::mark;
use super::operation::{Answer, Operation, OperationId, OperationState, Settlement};
use super::sabotage::sabotaged;
use super::session::FORMAT;
use super::table::Row;
use super::value::present;

/// How often a leader says that it is alive.
pub const BEAT_MS: u64 = 2_000;

/// After how many beats a leader looks into storage: a tab may have died between storing an operation and telling of it.
pub(crate) const LOOK_BEATS: u64 = 30;

/// How many other tabs are kept track of; the one heard of longest ago is forgotten.
const PEERS_MAX: usize = 256;

/// How far ahead of ours an epoch may be. There is one more at each change of the leader, so no honest tab comes near this;
/// following any number would let one bad message use up all that there are.
pub const EPOCH_AHEAD_MAX: u64 = 1_000_000;

/// The largest count that travels: far below what a JavaScript number holds, so that counting on from it stays exact.
const COUNT_MAX: u64 = 1 << 52;

/// What a tab is among the tabs of its browser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// Another tab has the link, or will say so.
    Follower,
    /// This tab has the link, and sends for all.
    Leader,
    /// The browser has no locks, or no channel: this tab sends its own.
    Alone,
}

/// A tab message as it travels: one flat object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "R: Deserialize<'de>"))]
pub struct TabMessage<R> {
    /// The protocol of tab messages.
    pub v: u32,
    /// The sender.
    pub from: String,
    /// The highest epoch the sender knows.
    pub epoch: u64,
    /// The sender's own count.
    pub seq: u64,
    /// Which message it is.
    pub kind: Kind,
    /// `hello`: the operations the tab holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<Vec<OperationId>>,
    /// `beat`, `snapshot`: where the leader's link is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<LinkStatus>,
    /// `snapshot`: whom it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// `snapshot`, `changes`: where the leader stands.
    #[serde(default = "absent", skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub cursor: Option<Option<String>>,
    /// `snapshot`, `changes`: confirmed rows.
    #[serde(default = "absent", skip_serializing_if = "Option::is_none")]
    pub records: Option<Vec<Row<R>>>,
    /// `snapshot`: what is not settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operations: Option<Vec<Operation>>,
    /// `operation`: the one accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub op: Option<Operation>,
    /// `settled`: what the server said.
    #[serde(default = "absent", skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer<R>>,
    /// `cancel`, `settled` without an answer: which operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<OperationId>,
    /// `settled` without an answer: how it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<OperationState>,
    /// `settled` without an answer: why, as a stable code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// `settled` without an answer: why, for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

const fn absent<T>() -> Option<T> {
    None
}

/// The kinds of tab messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// A tab has come, or has noticed a gap.
    Hello,
    /// The leader is alive.
    Beat,
    /// Everything the leader knows.
    Snapshot,
    /// A tab accepted an operation.
    Operation,
    /// What the leader learned from the server.
    Changes,
    /// An operation has ended.
    Settled,
    /// An operation's author takes it back.
    Cancel,
    /// The sender is closing.
    Bye,
}

/// A message's meaning, once it is known to be whole.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Body<R> {
    Hello { pending: Vec<OperationId> },
    Beat { link: LinkStatus },
    Snapshot { to: String, cursor: Option<String>, records: Vec<Row<R>>, operations: Vec<Operation>, link: LinkStatus },
    Operation { op: Operation },
    Changes { records: Vec<Row<R>>, cursor: Option<String> },
    Settled { answer: Answer<R> },
    SettledLocally { settlement: Settlement },
    Cancel { id: OperationId },
    Bye,
}

impl<R> Body<R> {
    /// True for what only a leader may say.
    const fn is_of_leader(&self) -> bool {
        matches!(self, Self::Beat { .. } | Self::Snapshot { .. } | Self::Changes { .. })
    }
}

impl<R> TabMessage<R> {
    /// Takes the meaning out; `None` when a member is missing.
    pub(crate) fn take_body(&mut self) -> Option<Body<R>> {
        Some(match self.kind {
            Kind::Hello => Body::Hello { pending: self.pending.take()? },
            Kind::Beat => Body::Beat { link: self.link.take()? },
            Kind::Snapshot => Body::Snapshot {
                to: self.to.take()?,
                cursor: self.cursor.take()?,
                records: self.records.take()?,
                operations: self.operations.take()?,
                link: self.link.take()?,
            },
            Kind::Operation => Body::Operation { op: self.op.take()? },
            Kind::Changes => Body::Changes { records: self.records.take()?, cursor: self.cursor.take()? },
            Kind::Settled => match self.answer.take() {
                Some(answer) => Body::Settled { answer },
                None => Body::SettledLocally {
                    settlement: Settlement {
                        id: self.id.take()?,
                        outcome: self.outcome.take()?,
                        code: self.code.take(),
                        message: self.message.take(),
                        fields: vec![],
                    },
                },
            },
            Kind::Cancel => Body::Cancel { id: self.id.take()? },
            Kind::Bye => Body::Bye,
        })
    }
}

/// What became of a message that came in.
#[derive(Debug, PartialEq)]
pub(crate) enum Received<R> {
    /// It is to be acted upon; `gap` when messages before it were, or may have been, lost.
    Take { from: String, body: Body<R>, gap: bool },
    /// Seen before, out of date, or our own.
    Drop,
    /// Not readable; says why.
    Malformed(&'static str),
}

/// This tab among the others.
#[derive(Debug)]
pub(crate) struct Tabs {
    pub(crate) id: String,
    pub(crate) role: Role,
    epoch: u64,
    seq: u64,
    /// The last number heard of each other tab; who was heard of last is at the end.
    peers: Vec<(String, u64)>,
    /// Who last spoke as the leader.
    leader: Option<String>,
    /// Follower: true while everything the leader has said was heard, from its snapshot on.
    pub(crate) caught_up: bool,
    /// Follower: when the leader was last asked for a snapshot.
    pub(crate) hello_at_mono_ms: u64,
    /// Follower: when own operations that nobody has answered are told again, and the wait after that.
    pub(crate) retell: (u64, u64),
    /// Leader: who was given a snapshot before this tab had pulled, and is owed a whole one.
    pub(crate) owed: Vec<String>,
    /// Leader: beats so far.
    pub(crate) beats: u64,
}

impl Tabs {
    pub(crate) const fn new(id: String) -> Self {
        Self {
            id,
            role: Role::Follower,
            epoch: 0,
            seq: 0,
            peers: Vec::new(),
            leader: None,
            caught_up: false,
            hello_at_mono_ms: 0,
            retell: (0, 0),
            owed: Vec::new(),
            beats: 0,
        }
    }

    /// True when this tab has a link and sends operations.
    pub(crate) fn sends(&self) -> bool {
        matches!(self.role, Role::Leader | Role::Alone)
    }

    pub(crate) const fn lead(&mut self) {
        self.role = Role::Leader;
        self.epoch = self.epoch.saturating_add(1);
    }

    /// Makes the next message; its members are filled in by the caller.
    pub(crate) fn message<R>(&mut self, kind: Kind) -> Box<TabMessage<R>> {
        self.seq += 1;
        Box::new(TabMessage {
            v: FORMAT,
            from: self.id.clone(),
            epoch: self.epoch,
            seq: self.seq,
            kind,
            pending: None,
            link: None,
            to: None,
            cursor: None,
            records: None,
            operations: None,
            op: None,
            answer: None,
            id: None,
            outcome: None,
            code: None,
            message: None,
        })
    }

    /// Takes a message in.
    #[expect(clippy::boxed_local, reason = "it comes in a box, and moving it out would copy it twice")]
    pub(crate) fn receive<R>(&mut self, mut message: Box<TabMessage<R>>) -> Received<R> {
        if message.v != FORMAT {
            mark!(ForeignMessageReported);
            return Received::Malformed("the message is of another protocol");
        }
        if message.from == self.id {
            return Received::Drop;
        }
        if message.epoch > self.epoch.saturating_add(EPOCH_AHEAD_MAX)
            || message.epoch > COUNT_MAX
            || message.seq > COUNT_MAX
        {
            return Received::Malformed("the message counts beyond all measure");
        }
        let (from, seq, epoch) = (message.from.clone(), message.seq, message.epoch);
        let Some(body) = message.take_body() else { return Received::Malformed("the message lacks a member") };
        let known = self.peers.iter().position(|(peer, _)| *peer == from);
        let last = known.map(|at| self.peers.remove(at).1);
        let is_repeated = last.is_some_and(|last| seq <= last);
        // The first message of a tab that has been there longer than us is no gap: `hello` fetches what came before.
        let gap = last.is_some_and(|last| seq > last.saturating_add(1)) && !sabotaged!(IgnoreGap);
        if self.peers.len() >= PEERS_MAX {
            self.peers.remove(0);
        }
        self.peers.push((from.clone(), last.map_or(seq, |last| last.max(seq))));
        let is_stale = epoch < self.epoch && body.is_of_leader() && !sabotaged!(ForgetEpoch);
        if epoch > self.epoch && self.role == Role::Leader {
            mark!(EpochOvertaken);
        }
        self.epoch = self.epoch.max(epoch);
        // A late operation is still an operation: it has an id, so taking it twice does no harm, but losing it would.
        let is_idempotent = matches!(body, Body::Operation { .. } | Body::Settled { .. } | Body::SettledLocally { .. });
        if is_stale {
            mark!(StaleMessageDropped);
            return Received::Drop;
        }
        if is_repeated && !is_idempotent {
            mark!(RepeatedMessageDropped);
            return Received::Drop;
        }
        if is_repeated {
            mark!(LateMessageTaken);
        }
        if gap {
            mark!(GapNoticed);
        }
        // What a leader who is gone said last may have been lost, and no later number of its will ever show it.
        let is_new_leader = body.is_of_leader() && self.leader.as_ref() != Some(&from);
        if is_new_leader {
            self.leader = Some(from.clone());
        }
        Received::Take { from, body, gap: gap || (is_new_leader && !sabotaged!(IgnoreGap)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::record::JsonRecord;

    type Message = Box<TabMessage<JsonRecord>>;

    fn cancel(tabs: &mut Tabs) -> Message {
        let mut message = tabs.message(Kind::Cancel);
        message.id = OperationId::parse("019aa5e3-f1c0-7a3b-9c1d-2e4f60718293");
        message
    }

    fn bye(tabs: &mut Tabs) -> Message {
        tabs.message(Kind::Bye)
    }

    #[test]
    fn a_repeated_message_is_dropped_and_a_gap_is_noticed() {
        let (mut one, mut two) = (Tabs::new("one".into()), Tabs::new("two".into()));
        let (first, second, third) = (cancel(&mut one), cancel(&mut one), bye(&mut one));
        assert!(matches!(two.receive(first.clone()), Received::Take { gap: false, .. }));
        assert_eq!(two.receive(first), Received::Drop);
        assert!(matches!(two.receive(third), Received::Take { gap: true, .. }));
        assert_eq!(two.receive(second), Received::Drop);
    }

    #[test]
    fn a_tab_does_not_hear_itself() {
        let mut one = Tabs::new("one".into());
        let message = cancel(&mut one);
        assert_eq!(one.receive(message), Received::Drop);
    }

    #[test]
    fn what_an_old_leader_says_is_dropped() {
        let (mut old, mut new, mut tab) = (Tabs::new("old".into()), Tabs::new("new".into()), Tabs::new("tab".into()));
        old.lead();
        let mut stale: Message = old.message(Kind::Changes);
        (stale.records, stale.cursor) = (Some(vec![]), Some(None));
        assert!(matches!(new.receive(stale.clone()), Received::Take { .. }));
        new.lead();
        let from_new: Message = bye(&mut new);
        assert!(matches!(tab.receive(from_new), Received::Take { .. }));
        assert_eq!(tab.receive(stale), Received::Drop);
    }

    #[test]
    fn a_message_that_lacks_a_member_or_speaks_another_protocol_is_malformed() {
        let (mut one, mut two) = (Tabs::new("one".into()), Tabs::new("two".into()));
        let empty: Message = one.message(Kind::Changes);
        assert!(matches!(two.receive(empty), Received::Malformed(_)));
        let mut newer = bye(&mut one);
        newer.v = FORMAT + 1;
        assert!(matches!(two.receive(newer), Received::Malformed(_)));
    }

    #[test]
    fn an_epoch_or_a_number_beyond_all_measure_is_malformed_and_followed_by_nobody() {
        let (mut one, mut two) = (Tabs::new("one".into()), Tabs::new("two".into()));
        for (epoch, seq) in [(u64::MAX, 1), (EPOCH_AHEAD_MAX + 1, 1), ((1 << 53) - 1, 1), (0, u64::MAX)] {
            let mut message = bye(&mut one);
            (message.epoch, message.seq) = (epoch, seq);
            assert!(matches!(two.receive(message), Received::Malformed(_)), "{epoch}, {seq}");
        }
        two.lead();
        let message: Message = two.message(Kind::Bye);
        assert_eq!(message.epoch, 1);
    }

    #[test]
    fn the_number_of_tabs_kept_track_of_is_bounded() {
        let mut tab = Tabs::new("tab".into());
        for n in 0..PEERS_MAX * 2 {
            let message = bye(&mut Tabs::new(n.to_string()));
            tab.receive(message);
        }
        assert_eq!(tab.peers.len(), PEERS_MAX);
    }
}
