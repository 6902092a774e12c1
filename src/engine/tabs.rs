//! The tabs of one browser: who leads, in which epoch, and what they tell each other (`PROTOCOL.md` §8).
//!
//! Leading is granted by the browser's lock, never decided by timing. The channel may lose, repeat and reorder: every
//! message has a number, and a gap makes a follower ask the leader for everything.

use serde::{Deserialize, Serialize};

use super::link::{Attention, LinkState, LinkStatus};
use super::mark::mark;
use super::merge::Decision;
use super::operation::{Alias, Answer, Operation, OperationId, OperationState, Settlement};
use super::presence::Peer;
use super::sabotage::sabotaged;
use super::table::Row;
use super::value::present;

/// The latest protocol of tab messages: what a message that needs it says in `v`.
pub const TAB_PROTOCOL: u32 = 2;

/// How often a leader says that it is alive.
pub const BEAT_MS: u64 = 2_000;

/// How many beats in a row a leader may miss before it is asked whether it is alive.
pub(crate) const SILENT_BEATS: u64 = 3;

/// By how many epochs a tab that takes the lock from a leader goes ahead: it may never have heard how far that one had got.
const STOLEN_EPOCHS: u64 = 1_000;

/// How long it may take to answer that.
pub(crate) const PONG_WAIT_MS: u64 = 3_000;

/// Followers of one leader that is silent spread over so much time, so that one asks, and one takes the lock.
pub(crate) const SPREAD_MS: u64 = 400;

/// How late a timer of a tab that is awake may ring. Hidden pages are woken once a second; one that is woken more rarely leaves it to
/// others to watch the leader.
pub(crate) const AWAKE_LATE_MS: u64 = 2_000;

/// How long a new tab waits to be told everything before it asks the server.
pub(crate) const BOOT_MS: u64 = 1_000;

/// How many records one message may hold.
pub const MESSAGE_RECORDS_MAX: usize = 1 << 20;

/// How many operations one message may hold, or name.
pub const MESSAGE_OPERATIONS_MAX: usize = 1 << 16;

/// How many tables one message may name.
pub const MESSAGE_TABLES_MAX: usize = 1 << 12;

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
    /// `hello`: the operations the tab holds. `snapshot`: those that follow it in messages of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<Vec<OperationId>>,
    /// `beat`, `snapshot`: where the leader's link is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<LinkStatus>,
    /// `beat`, `snapshot`: where the link is, if `link` can't say it: a tab of protocol 1 knows four states.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<LinkState>,
    /// `snapshot`: whom it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// `snapshot`, `changes`: where the leader stands.
    #[serde(default = "absent", skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub cursor: Option<Option<String>>,
    /// `snapshot`, `changes`: confirmed rows.
    #[serde(default = "absent", skip_serializing_if = "Option::is_none")]
    pub records: Option<Vec<Row<R>>>,
    /// `snapshot`: the tables that the leader declares. Of others its cursor and its silence say nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tables: Option<Vec<String>>,
    /// `snapshot`: what is not settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operations: Option<Vec<Operation>>,
    /// `snapshot`: the real keys that operations in storage need; `operation`: those that it named; `settled`: those that it gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aliases: Option<Vec<Alias>>,
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
    /// `settled`: what was put onto what was beneath the one that has ended, as it is now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebased: Option<Vec<Operation>>,
    /// `settled`: what was decided on a conflict that is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// `signedOut`: when, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_ms: Option<u64>,
    /// `attention`: whether somebody works in the sender's page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<bool>,
    /// `attention`: whether the sender's page is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visible: Option<bool>,
    /// `presence`: who is where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peers: Option<Vec<Peer>>,
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
    /// The person has logged out: nothing of theirs stays.
    SignedOut,
    /// The person may see other things than before.
    RightsChanged,
    /// Where the sender's person is, or, from the leader, where others are.
    Presence,
    /// A tab asks whether the leader is alive.
    Ping,
    /// It is.
    Pong,
    /// A person asks for the link, in a tab that has none.
    Reconnect,
    /// There is a fresh token, says whoever gives them to a tab that has no link.
    Token,
    /// Whether somebody looks at the page of a tab that has no link.
    Attention,
    /// A tab that sends its own is there.
    Alive,
}

impl Kind {
    /// The protocol that a message of this kind needs.
    const fn protocol(self) -> u32 {
        match self {
            Self::Hello
            | Self::Beat
            | Self::Snapshot
            | Self::Operation
            | Self::Changes
            | Self::Settled
            | Self::Cancel
            | Self::Bye => 1,
            Self::Ping
            | Self::Pong
            | Self::SignedOut
            | Self::RightsChanged
            | Self::Presence
            | Self::Reconnect
            | Self::Token
            | Self::Attention
            | Self::Alive => 2,
        }
    }

    /// True for what has a number of its own. What is of no use to a tab of protocol 1 has none, so that such a tab misses nothing.
    const fn is_counted(self) -> bool {
        self.protocol() == 1
    }

    /// True for what only a leader may say.
    pub(crate) const fn is_of_leader(self) -> bool {
        matches!(self, Self::Beat | Self::Snapshot | Self::Changes | Self::Pong)
    }
}

/// A message's meaning, once it is known to be whole.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Body<R> {
    Hello {
        pending: Vec<OperationId>,
    },
    Beat {
        link: LinkStatus,
    },
    Snapshot {
        to: String,
        cursor: Option<String>,
        records: Vec<Row<R>>,
        /// Nothing from a tab that doesn't say.
        tables: Option<Vec<String>>,
        operations: Vec<Operation>,
        /// Those that follow; nothing from a tab that doesn't say.
        following: Option<Vec<OperationId>>,
        aliases: Vec<Alias>,
        link: LinkStatus,
    },
    Operation {
        op: Operation,
        aliases: Vec<Alias>,
    },
    Changes {
        records: Vec<Row<R>>,
        cursor: Option<String>,
    },
    /// `done`: the operation has ended; else the server has only acknowledged it.
    Settled {
        answer: Answer<R>,
        decision: Option<Decision>,
        aliases: Vec<Alias>,
        rebased: Vec<Operation>,
        done: bool,
    },
    SettledLocally {
        settlement: Settlement,
        rebased: Vec<Operation>,
        decision: Option<Decision>,
    },
    Cancel {
        id: OperationId,
    },
    Bye,
    SignedOut {
        at_ms: u64,
    },
    RightsChanged,
    Presence {
        peers: Vec<Peer>,
    },
    Ping,
    Pong,
    Reconnect,
    Token,
    Attention(Attention),
    Alive,
}

impl<R> TabMessage<R> {
    /// Puts an operation in, and says what is needed to understand it: an earlier release would take one with parts for another.
    pub(crate) fn with_operation(&mut self, op: Operation) {
        if !op.parts.is_empty() {
            self.v = 2;
        }
        self.op = Some(op);
    }

    /// Puts in what temporary keys turned out to be.
    pub(crate) fn with_aliases(&mut self, aliases: Vec<Alias>) {
        self.aliases = Some(aliases).filter(|aliases| !aliases.is_empty());
    }

    /// Takes the meaning out; `None` when a member is missing.
    pub(crate) fn take_body(&mut self) -> Option<Body<R>> {
        Some(match self.kind {
            Kind::Hello => Body::Hello { pending: self.pending.take()? },
            Kind::Beat => Body::Beat { link: self.take_link()? },
            Kind::Snapshot => Body::Snapshot {
                to: self.to.take()?,
                cursor: self.cursor.take()?,
                records: self.records.take()?,
                tables: self.tables.take(),
                operations: self.operations.take()?,
                following: self.pending.take(),
                aliases: self.aliases.take().unwrap_or_default(),
                link: self.take_link()?,
            },
            Kind::Operation => {
                Body::Operation { op: self.op.take()?, aliases: self.aliases.take().unwrap_or_default() }
            }
            Kind::Changes => Body::Changes { records: self.records.take()?, cursor: self.cursor.take()? },
            Kind::Settled => match self.answer.take() {
                // Before protocol 2 there were no acknowledgements.
                Some(answer) => Body::Settled {
                    done: self.v < 2 || !answer.is_acknowledgement(),
                    answer,
                    decision: self.decision.take(),
                    aliases: self.aliases.take().unwrap_or_default(),
                    rebased: self.rebased.take().unwrap_or_default(),
                },
                None => Body::SettledLocally {
                    settlement: Settlement {
                        id: self.id.take()?,
                        outcome: self.outcome.take()?,
                        code: self.code.take(),
                        message: self.message.take(),
                        fields: vec![],
                        chosen: None,
                        winner: None,
                    },
                    rebased: self.rebased.take().unwrap_or_default(),
                    decision: self.decision.take(),
                },
            },
            Kind::Cancel => Body::Cancel { id: self.id.take()? },
            Kind::Bye => Body::Bye,
            Kind::SignedOut => Body::SignedOut { at_ms: self.at_ms.take()? },
            Kind::RightsChanged => Body::RightsChanged,
            Kind::Presence => Body::Presence { peers: self.peers.take()? },
            Kind::Ping => Body::Ping,
            Kind::Pong => Body::Pong,
            Kind::Reconnect => Body::Reconnect,
            Kind::Token => Body::Token,
            Kind::Alive => Body::Alive,
            Kind::Attention => {
                Body::Attention(Attention { active: self.active.take()?, visible: self.visible.take()? })
            }
        })
    }

    /// Fills in where the link is. What protocol 1 has no word for stands beside what it would have said.
    pub(crate) fn set_link(&mut self, link: &LinkStatus, protocol: u32) {
        let old = LinkStatus { state: link.state.in_protocol_1(), ..link.clone() };
        self.state = (protocol > 1 && old.state != link.state).then_some(link.state);
        self.link = Some(old);
    }

    fn take_link(&mut self) -> Option<LinkStatus> {
        let link = self.link.take()?;
        Some(LinkStatus { state: self.state.take().unwrap_or(link.state), ..link })
    }

    /// True when it holds more than any honest tab sends.
    fn is_too_long(&self) -> bool {
        let count = |list: &Option<Vec<OperationId>>| list.as_ref().map_or(0, Vec::len);
        count(&self.pending) > MESSAGE_OPERATIONS_MAX
            || self.operations.as_ref().map_or(0, Vec::len) > MESSAGE_OPERATIONS_MAX
            || self.rebased.as_ref().map_or(0, Vec::len) > MESSAGE_OPERATIONS_MAX
            || self.aliases.as_ref().map_or(0, Vec::len) > MESSAGE_OPERATIONS_MAX
            || self.records.as_ref().map_or(0, Vec::len) > MESSAGE_RECORDS_MAX
            || self.tables.as_ref().map_or(0, Vec::len) > MESSAGE_TABLES_MAX
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
    /// Of a protocol that this tab does not speak.
    Newer,
}

/// How far a follower has come with a leader that is silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watch {
    Listening,
    Pinged,
    /// Asked in the words of protocol 1, too.
    Greeted,
    /// The lock is being taken from it.
    Taking,
}

/// This tab among the others.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each says one thing that no other says")]
pub(crate) struct Tabs {
    pub(crate) id: String,
    pub(crate) role: Role,
    /// The latest protocol that this tab speaks.
    protocol: u32,
    /// The highest epoch known.
    epoch: u64,
    /// Leader: the epoch that it leads in. It learns of a later one from a follower before it hears that it was deposed, and does not
    /// speak in the name of that one.
    led_epoch: u64,
    /// Leader: for how many more beats another tab, which spoke as the leader of a later epoch, is taken for that.
    rival_beats: u64,
    seq: u64,
    /// The last number heard of each other tab; who was heard of last is at the end.
    peers: Vec<(String, u64)>,
    /// Who last spoke as the leader.
    leader: Option<String>,
    /// Follower: true while everything the leader has said was heard, from its snapshot on.
    pub(crate) caught_up: bool,
    /// Follower: true when the last snapshot came from a leader that could not reach the server, so that nothing was concluded from what
    /// is missing in it.
    pub(crate) asks_again: bool,
    /// Follower: true while the leader, of another release of the application, does not know all tables of this one.
    pub(crate) knows_more: bool,
    /// Follower: when a leader that this tab had heard of was last asked for a snapshot.
    greeted_at_mono_ms: Option<u64>,
    /// Follower: when own operations that nobody has answered are told again, and the wait after that.
    pub(crate) retell: (u64, u64),
    /// Leader: who was given a snapshot before this tab had pulled, and is owed a whole one.
    pub(crate) owed: Vec<String>,
    /// Leader: beats so far.
    pub(crate) beats: u64,
    /// Follower: how long the leader has been silent.
    pub(crate) watch: Watch,
    /// Follower: true while it pulls for itself, as nobody has told it anything yet, or not of all its tables.
    pub(crate) pulls: bool,
    /// When this tab last noticed that it had not run.
    pub(crate) woke_at_mono_ms: Option<u64>,
    /// When any other tab was last heard.
    pub(crate) heard_at_mono_ms: Option<u64>,
    /// Alone: true when that is so because the channel carries nothing.
    pub(crate) deaf: bool,
    /// Follower: true while the page is frozen, or about to be.
    pub(crate) rests: bool,
}

impl Tabs {
    pub(crate) const fn new(id: String, protocol: u32) -> Self {
        Self {
            id,
            role: Role::Follower,
            protocol,
            epoch: 0,
            led_epoch: 0,
            rival_beats: 0,
            seq: 0,
            peers: Vec::new(),
            leader: None,
            caught_up: false,
            asks_again: false,
            knows_more: false,
            greeted_at_mono_ms: None,
            retell: (0, 0),
            owed: Vec::new(),
            beats: 0,
            watch: Watch::Listening,
            pulls: false,
            woke_at_mono_ms: None,
            heard_at_mono_ms: None,
            deaf: false,
            rests: false,
        }
    }

    /// True when this tab speaks a protocol.
    pub(crate) const fn speaks(&self, protocol: u32) -> bool {
        self.protocol >= protocol
    }

    pub(crate) const fn protocol(&self) -> u32 {
        self.protocol
    }

    /// Notes that the leader, whoever that is, was asked for a snapshot.
    pub(crate) fn greet(&mut self, mono_ms: u64) {
        self.greeted_at_mono_ms = self.leader.is_some().then_some(mono_ms);
    }

    /// True when a leader was asked for a snapshot less than so long ago. Two that both take themselves for it would otherwise be
    /// asked in turn, each for having interrupted the other.
    pub(crate) fn has_just_greeted(&self, mono_ms: u64, wait_ms: u64) -> bool {
        self.greeted_at_mono_ms.is_some_and(|at_mono_ms| mono_ms < at_mono_ms.saturating_add(wait_ms))
    }

    /// Remembers whom to send a whole snapshot. Beyond the bound the one asked for longest ago is forgotten: it is told of the next
    /// change, and asks again when it misses one.
    pub(crate) fn owe(&mut self, tab: String) {
        if self.owed.contains(&tab) {
            return;
        }
        if self.owed.len() >= PEERS_MAX {
            self.owed.remove(0);
        }
        self.owed.push(tab);
    }

    /// True when this tab has a link and sends operations.
    pub(crate) fn sends(&self) -> bool {
        matches!(self.role, Role::Leader | Role::Alone)
    }

    pub(crate) const fn lead(&mut self) {
        self.role = Role::Leader;
        let step = if matches!(self.watch, Watch::Taking) { STOLEN_EPOCHS } else { 1 };
        self.epoch = self.epoch.saturating_add(step);
        self.led_epoch = self.epoch;
    }

    /// Before a beat: a leader of which nobody has taken the place leads in the highest epoch. An earlier one had got further, of which
    /// it had not heard.
    pub(crate) fn catch_up_epoch(&mut self) {
        if self.rival_beats > 0 {
            self.rival_beats -= 1;
        } else if self.led_epoch < self.epoch {
            mark!(EpochCaughtUp);
            self.epoch = self.epoch.saturating_add(1);
            self.led_epoch = self.epoch;
        }
    }

    /// Makes the next message; its members are filled in by the caller.
    pub(crate) fn message<R>(&mut self, kind: Kind) -> Box<TabMessage<R>> {
        if kind.is_counted() {
            self.seq += 1;
        }
        Box::new(TabMessage {
            v: kind.protocol(),
            from: self.id.clone(),
            epoch: if kind.is_of_leader() { self.led_epoch } else { self.epoch },
            seq: self.seq,
            kind,
            pending: None,
            link: None,
            state: None,
            to: None,
            cursor: None,
            records: None,
            tables: None,
            operations: None,
            aliases: None,
            op: None,
            answer: None,
            id: None,
            outcome: None,
            code: None,
            message: None,
            rebased: None,
            decision: None,
            at_ms: None,
            active: None,
            visible: None,
            peers: None,
        })
    }

    /// Counts a message of another tab. Says whether it was counted before, and whether one before it was not.
    fn count(&mut self, from: &str, seq: u64) -> (bool, bool) {
        let known = self.peers.iter().position(|(peer, _)| peer == from);
        let last = known.map(|at| self.peers.remove(at).1);
        if self.peers.len() >= PEERS_MAX {
            self.peers.remove(0);
        }
        self.peers.push((from.to_owned(), last.map_or(seq, |last| last.max(seq))));
        // The first message of a tab that has been there longer than us is no gap: `hello` fetches what came before.
        let gap = last.is_some_and(|last| seq > last.saturating_add(1)) && !sabotaged!(IgnoreGap);
        (last.is_some_and(|last| seq <= last), gap)
    }

    /// Counts what can't be read as heard, so that it does not look lost. What was lost before it still shows in the next message.
    fn count_unread(&mut self, from: &str, seq: u64) {
        if let Some((_, last)) =
            self.peers.iter_mut().find(|(peer, last)| peer == from && last.checked_add(1) == Some(seq))
        {
            *last = seq;
        }
    }

    /// Takes a message in.
    #[expect(clippy::boxed_local, reason = "it comes in a box, and moving it out would copy it twice")]
    pub(crate) fn receive<R>(&mut self, mut message: Box<TabMessage<R>>) -> Received<R> {
        if message.v > self.protocol {
            mark!(ForeignMessageReported);
            self.count_unread(&message.from, message.seq);
            return Received::Newer;
        }
        if message.v < message.kind.protocol() {
            return Received::Malformed("the message is of no protocol that has its kind");
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
        if message.is_too_long() {
            return Received::Malformed("the message holds more than any tab sends");
        }
        if self.protocol == 1 {
            message.state = None;
        }
        let (from, seq, epoch, kind) = (message.from.clone(), message.seq, message.epoch, message.kind);
        let Some(body) = message.take_body() else { return Received::Malformed("the message lacks a member") };
        let (is_repeated, gap) = if kind.is_counted() { self.count(&from, seq) } else { (false, false) };
        // A leader has its own word from the server. One that was deposed in its sleep may wake to say what was true before, in an
        // epoch that is no lower where we never heard of it.
        let is_stale =
            kind.is_of_leader() && (epoch < self.epoch || self.role == Role::Leader) && !sabotaged!(ForgetEpoch);
        if epoch > self.epoch && self.role == Role::Leader {
            mark!(EpochOvertaken);
        }
        if kind.is_of_leader() && epoch > self.led_epoch {
            self.rival_beats = SILENT_BEATS;
        }
        self.epoch = self.epoch.max(epoch);
        // A late operation is still an operation: it has an id, so taking it twice does no harm, but losing it would. So is a late
        // question one that somebody waits with.
        let is_idempotent = matches!(
            body,
            Body::Hello { .. } | Body::Operation { .. } | Body::Settled { .. } | Body::SettledLocally { .. }
        );
        if is_stale && self.leader.as_ref() == Some(&from) {
            // Should it lead after all, in a later epoch, then what is dropped here was missed.
            self.leader = None;
        }
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
        let is_new_leader = kind.is_of_leader() && self.leader.as_ref() != Some(&from);
        if is_new_leader {
            self.leader = Some(from.clone());
        }
        Received::Take { from, body, gap: gap || (is_new_leader && !sabotaged!(IgnoreGap)) }
    }
}

#[cfg(test)]
mod tests;
