//! Logging out, and what follows when a person may see other things than before.

use super::Engine;
use super::command::after;
use super::sending::LOOK_MS;
use crate::engine::error::{Error, Problem};
use crate::engine::input::Unsent;
use crate::engine::link::{LinkState, LinkStatus};
use crate::engine::mark::mark;
use crate::engine::operation::{OperationState, Settlement};
use crate::engine::output::{Output, Reach};
use crate::engine::record::Record;
use crate::engine::sabotage::sabotaged;
use crate::engine::sorted::sort;
use crate::engine::tabs::Kind;
use crate::engine::time::{CLOCK_AHEAD_MS_MAX, Timer};

/// The code of what ended with the session.
pub(super) const SIGNED_OUT: &str = "signed-out";

/// How long the mark of a logout stays. A tab that slept for longer finds its operations too old for the ledger, too.
const MARK_MS_MAX: u64 = 30 * 24 * 60 * 60_000;

/// How many marks of logouts are recognised. All but the last are deleted by whoever finds them.
const KNOWN_MARKS_MAX: usize = 64;

/// How far a logout has come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaving {
    /// Nobody logs out.
    No,
    /// It waits for what is not sent.
    Waits,
    /// Nothing is left that this tab knows of. A tab may have died between storing an operation and telling of it, so storage is asked.
    Looks {
        /// What turns up is waited for; else there is no logout.
        waits: bool,
    },
}

impl<R: Record> Engine<R> {
    /// Leaves for good: nothing of this person's stays in this browser.
    pub(super) fn logout(&mut self, unsent: Option<Unsent>) -> Result<(), Error> {
        let count = self.outbox.len();
        match unsent {
            None if count > 0 => return Err(Error::UnsentOperations { count }),
            Some(Unsent::Wait) if count > 0 => self.wait_to_leave(),
            None | Some(Unsent::Wait) => self.look_before_leaving(unsent.is_some()),
            Some(Unsent::Discard) => self.sign_out(),
        }
        Ok(())
    }

    fn wait_to_leave(&mut self) {
        self.leaving = Leaving::Waits;
        self.reconnect();
    }

    fn look_before_leaving(&mut self, waits: bool) {
        if let Leaving::Looks { waits: already } = &mut self.leaving {
            *already |= waits;
            return;
        }
        self.leaving = Leaving::Looks { waits: waits || self.leaving == Leaving::Waits };
        self.timers.set(Timer::Leave, after(self.now, LOOK_MS));
        self.look();
        self.leaves_after_look = self.looks;
    }

    /// Goes on with a logout that waited, once nothing is left to wait for.
    pub(super) fn leave_if_nothing_waits(&mut self) {
        if self.leaving == Leaving::Waits && self.outbox.len() == 0 {
            self.look_before_leaving(true);
        }
    }

    /// Decides on a logout that has looked into storage, or has waited for that in vain.
    pub(super) fn leave_after_look(&mut self) {
        let Leaving::Looks { waits } = self.leaving else { return };
        self.timers.stop(Timer::Leave);
        let count = self.outbox.len();
        if count == 0 {
            self.sign_out();
        } else if waits {
            mark!(LogoutFoundMore);
            self.wait_to_leave();
        } else {
            mark!(LogoutRefusedLate);
            self.leaving = Leaving::No;
            let error = Error::UnsentOperations { count };
            self.emit(Output::LogoutRefused(Problem::new(error.code(), "logout", error.to_string())));
        }
    }

    fn sign_out(&mut self) {
        self.leaving = Leaving::No;
        let at_ms = self.now.wall_ms;
        let mark = self.session.mark_key(at_ms, &self.tabs.id);
        self.forget_everything(at_ms);
        let (prefix, keep) = (self.session.prefix(), self.session.marks_prefix());
        let mark = Some(mark).filter(|_| !sabotaged!(PurgeUntold));
        if !sabotaged!(PurgeNothing) {
            self.emit(Output::PurgeSession { prefix, keep, mark });
        }
        let mut message = self.tabs.message(Kind::SignedOut);
        message.at_ms = Some(at_ms);
        if !sabotaged!(PurgeUntold) {
            self.emit(Output::Broadcast(message));
        }
        self.leave();
    }

    /// Another tab has logged out. What it says of a time before this engine was made is not for us.
    pub(super) fn on_signed_out(&mut self, at_ms: u64) {
        if at_ms > self.now.wall_ms.saturating_add(CLOCK_AHEAD_MS_MAX) {
            self.problem(Problem::new("malformed-message", "signedOut", "nobody can have logged out so late"));
        } else if at_ms > self.born.wall_ms {
            self.follow_out(at_ms);
        }
    }

    fn follow_out(&mut self, at_ms: u64) {
        mark!(SignOutHeard);
        self.forget_everything(at_ms);
        // Whoever logged out has emptied storage. What is there by now may be of somebody who has come back since.
        if !sabotaged!(PurgeNothing) {
            self.emit(Output::ForgetRecords);
            self.emit(Output::ForgetQuarantined { prefix: self.session.quarantine_prefix() });
        }
        self.leave();
    }

    /// Looks at the marks that logouts left in storage. Returns true when one of them ended this engine.
    pub(super) fn read_marks(&mut self, keys: Vec<String>) -> bool {
        let mut marks: Vec<(u64, String)> =
            keys.into_iter().filter_map(|key| Some((self.session.mark_at_ms(&key)?, key))).collect();
        sort(&mut marks);
        // One from the future was left before the clock was set back; before this engine was made, too, if it was there from the beginning.
        let is_news = |at_ms: u64| match &self.known_marks {
            Some(known) => at_ms > self.born.wall_ms && !known.contains(&at_ms),
            None => at_ms > self.born.wall_ms && at_ms <= self.now.wall_ms,
        };
        if let Some((at_ms, _)) = marks.iter().find(|(at_ms, _)| is_news(*at_ms)) {
            mark!(SignOutMarkFound);
            self.follow_out(*at_ms);
            return true;
        }
        let known = self.known_marks.get_or_insert_default();
        for (at_ms, _) in &marks {
            if !known.contains(at_ms) {
                known.push(*at_ms);
            }
        }
        known.drain(..known.len().saturating_sub(KNOWN_MARKS_MAX));
        // The last one stays for tabs that are still asleep.
        let stays = |at_ms: u64| at_ms <= self.now.wall_ms && self.now.wall_ms - at_ms <= MARK_MS_MAX;
        let last = marks.pop().filter(|(at_ms, _)| !stays(*at_ms));
        for (_, key) in marks.into_iter().chain(last) {
            self.emit(Output::Unpersist { key });
        }
        false
    }

    /// Ends all that is pending, and shows nothing any more. What another tab made after the logout is not this engine's to end.
    fn forget_everything(&mut self, at_ms: u64) {
        let pending = self.outbox.iter().map(|pending| {
            let is_later = !pending.mine && pending.op.hlc.wall_ms() > at_ms;
            (pending.op.id, pending.sent_at_mono_ms > 0, is_later)
        });
        for (id, was_sent, is_later) in pending.collect::<Vec<_>>() {
            if is_later {
                self.drop_unknown(id);
                continue;
            }
            // What was ever sent may have been done.
            let outcome = if was_sent { OperationState::Unknown } else { OperationState::Cancelled };
            let (code, message) = (SIGNED_OUT.to_owned(), "the person logged out before it was done".to_owned());
            self.settle(&Settlement {
                code: Some(code),
                message: Some(message),
                ..super::sync::settlement(id, outcome)
            });
        }
        // The other tabs of this browser leave with this one, and a leader says so of them, too.
        self.everyone.clear();
        self.take_leave();
        for id in self.tables.clear() {
            self.dirty_records.insert(id);
        }
        self.settled = super::Settled::default();
        self.audit = super::Audit::default();
        self.resolving.clear();
        self.voids.clear();
        self.decisions.clear();
        self.recorder = None;
        self.puller.abandon();
        self.puller.cursor = None;
        (self.ready, self.last_sync_ms) = (false, None);
        let (sends, since_ms) = (self.tabs.sends(), self.now.wall_ms);
        self.link.follow(LinkStatus {
            state: LinkState::Offline,
            why: "signed out".to_owned(),
            since_ms,
            retry_at_ms: None,
            server_ahead_ms: None,
        });
        // From here on nothing is taken any more, but what has changed is still told.
        self.closed = true;
        self.report();
        if sends {
            self.emit(Output::Disconnect);
        }
    }

    fn leave(&mut self) {
        self.emit(Output::ReleaseLock);
        self.emit(Output::SignedOut);
    }

    /// Roles or scope have changed: everything is looked at anew, by all tabs.
    pub(super) fn rights_changed(&mut self) {
        if self.reach != Reach::Alone {
            let message = self.tabs.message(Kind::RightsChanged);
            self.emit(Output::Broadcast(message));
        }
        self.look_anew();
    }

    /// What was known may no longer be seen, or differently; only a whole pull tells.
    pub(super) fn look_anew(&mut self) {
        mark!(RightsLookedAt);
        self.tables.doubt();
        if !self.tabs.sends() {
            self.puller.cursor = None;
            self.tabs.caught_up = false;
            self.say_hello();
            return;
        }
        // Answers of pulls that began before are those of somebody with other rights.
        self.puller.look_anew();
        self.timers.stop(crate::engine::time::Timer::PullTimeout);
        self.timers.stop(crate::engine::time::Timer::Pull);
        self.pulled_here = false;
        // And so is the stream.
        self.open_anew();
    }
}
