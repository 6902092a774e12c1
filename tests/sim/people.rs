//! Does the steps of a plan.

use rota_engine::{
    Command, Content, Failure, Fields, Input, Kind, OUTBOX_LEN_MAX, Operation, OperationId, OperationState,
    ServerEvent, StoredOperation, TabMessage, Unsent, Value,
};

use crate::browser::Change;
use crate::faults::Fault;
use crate::oracle::Made;
use crate::server::{Key, TABLES};
use crate::shell::Tab;
use crate::watching::{weighing, weight};
use crate::workload::{Action, COMPANIES, Pick};
use crate::world::{Event, World};

impl World {
    pub fn pick(&self, pick: Pick) -> Option<usize> {
        let open = self.open_tabs();
        let at = pick.checked_rem(open.len() as u64)?;
        open.get(usize::try_from(at).ok()?).copied()
    }

    /// A tab that listens: not a frozen one.
    pub fn awake(&self, pick: Pick) -> Option<usize> {
        self.pick(pick).filter(|tab| self.tabs[*tab].backlog.is_none())
    }

    pub fn key_of(&mut self, number: u64) -> Key {
        if number < COMPANIES {
            self.server.key(TABLES[0], &format!("c-{number}"))
        } else {
            self.server.key(TABLES[1], &format!("l-{}", number - COMPANIES))
        }
    }

    pub fn act(&mut self, action: &Action) {
        match *action {
            Action::Together(deed) => self.do_together(deed),
            Action::Insert { tab, key } => {
                let key = self.key_of(key);
                let set = self.server.blank(key);
                self.command(tab, key, "insert", Fields::new(), set);
            }
            Action::Patch { tab, key, field, value } => {
                let key = self.key_of(key);
                let field = if self.server.known[key].table == 0 { field } else { "name" };
                self.command(tab, key, "patch", Fields::new(), set(field, value.into()));
            }
            Action::Delete { tab, key } => {
                let key = self.key_of(key);
                self.command(tab, key, "delete", Fields::new(), Fields::new());
            }
            Action::Assign { tab, key, to } => {
                let key = self.key_of(key);
                let to = to.map_or(Value::Null, Value::from);
                self.command(tab, key, "assign", set("to", to), Fields::new());
            }
            Action::Burst { tab, value } => {
                for number in 0..COMPANIES {
                    let key = self.key_of(number);
                    self.command(tab, key, "patch", Fields::new(), set("name", value.into()));
                }
            }
            Action::Add { tab, key, field, value } => {
                let key = self.key_of(key);
                let Some(at) = self.awake(tab).filter(|_| self.server.known[key].table == 0) else { return };
                if let Some(record) = self.tabs[at].mirror.record(key) {
                    let more = added(&rota_engine::Record::field(record, field).unwrap_or_default(), value);
                    self.command(tab, key, "patch", Fields::new(), set(field, more));
                }
            }
            Action::Be { tab, doing } => self.be(tab, doing),
            Action::Strangers { tab, is_crowd } => self.tell_of_strangers(tab, is_crowd),
            Action::Rights { tab } => {
                self.faults.add(Fault::RolesChanged);
                self.say(tab, Input::RightsChanged);
            }
            Action::Logout { tab, how } => self.log_out(tab, how),
            Action::Depend { tab, key, value, nth } => self.depend(tab, key, value, nth),
            Action::Undo { tab, nth } => self.undo(tab, nth),
            Action::Resolve { tab, nth, choice } => {
                let Some(tab) = self.awake(tab) else { return };
                let is_open = |shown: &&crate::oracle::Shown| shown.state == OperationState::Conflicted;
                let open: Vec<OperationId> =
                    self.tabs[tab].mirror.shown.iter().filter(is_open).map(|it| it.id).collect();
                let Some(id) = nth_of(&open, nth) else { return };
                self.resolve(tab, id, choice);
                // Another tab may not have heard of it.
                let is_other = |other: &usize| {
                    let Tab { browser, user, mirror, backlog, .. } = &self.tabs[*other];
                    let is_there = (*browser, *user) == (self.tabs[tab].browser, self.tabs[tab].user);
                    is_there && backlog.is_none() && mirror.state_of(id) == Some(OperationState::Conflicted)
                };
                if let Some(other) = self.open_tabs().into_iter().find(is_other) {
                    self.faults.add(Fault::DecidedTwice);
                    self.resolve(other, id, 1);
                }
            }
            Action::Cancel { tab, nth } => self.cancel(tab, nth),
            Action::Retry { tab } => self.retry(tab),
            Action::Reconnect { tab } => self.say(tab, Input::Reconnect),
            Action::Purge { tab } => self.say(tab, Input::Purge),
            Action::Nonsense { tab } => self.talk_nonsense(tab),
            Action::Watch { tab, number } => self.watch(tab, number),
            Action::LookAway { tab, nth } => self.look_away(tab, nth),
            Action::Weigh { tab, key, nth } => {
                let key = self.key_of(key);
                if self.server.known[key].table == 0 {
                    self.command(tab, key, "patch", Fields::new(), weighing(nth));
                }
            }
            Action::SqlWeigh { key, nth } => {
                let key = self.key_of(key);
                if self.server.known[key].table == 0 {
                    self.server.sql_set(key, "weight", weight(nth));
                    self.spread();
                }
            }
            Action::Open { browser, user } => {
                if self.living().len() < 9 {
                    self.open_tab(browser, user);
                }
            }
            Action::Hint { tab, online } => self.say(tab, Input::NetworkHinted { online }),
            Action::Froze { tab } => self.say(tab, Input::Froze),
            Action::Woke { tab } => self.say(tab, Input::Woke),
            Action::Look { tab, active, visible } => {
                self.faults.add(Fault::PageHidden);
                self.say(tab, Input::Activity { active });
                self.say(tab, Input::Visibility { visible });
            }
            _ => self.act_elsewhere(action),
        }
    }

    /// What is done on the server, and what goes wrong.
    fn act_elsewhere(&mut self, action: &Action) {
        match *action {
            Action::SqlSet { key, field, value } => {
                let key = self.key_of(key);
                let field = if self.server.known[key].table == 0 { field } else { "name" };
                self.server.sql_set(key, field, value.into());
                self.spread();
            }
            Action::SqlAdd { key, field, value } => {
                let key = self.key_of(key);
                let now = self.server.known[key].record().filter(|_| self.server.known[key].table == 0);
                if let Some(now) = now.map(|record| rota_engine::Record::field(record, field).unwrap_or_default()) {
                    self.server.sql_set(key, field, added(&now, value));
                    self.spread();
                }
            }
            Action::SqlDelete { key } => {
                let key = self.key_of(key);
                self.server.sql_delete(key);
                self.spread();
            }
            Action::SqlOpen { key, value, ms } => {
                let key = self.key_of(key);
                if let Some(number) = self.server.sql_open(key, "name", value.into()) {
                    self.faults.add(Fault::LateCommit);
                    self.later(ms, Event::SqlCommit { number });
                }
            }
            Action::Withdraw { key, user, hidden, touch } => {
                let key = self.key_of(key);
                self.faults.add(if touch { Fault::RightsWithdrawn } else { Fault::RightsWithdrawnQuietly });
                self.server.set_hidden(key, user, hidden, touch);
                if !touch {
                    // A change of role or scope is a whole pull.
                    self.server.incarnation += 1;
                }
                self.spread();
            }
            Action::Refuse { key, on } => {
                let key = self.key_of(key);
                self.server.known[key].is_refused = on;
            }
            Action::Set { rate, percent } => self.rates[rate as usize] = percent,
            Action::Cut { ms } => {
                self.cut_until_ms = self.mono_ms + ms;
                for tab in self.living() {
                    if self.draw.percent(70) {
                        self.break_link(tab, Failure::Network);
                    }
                }
            }
            Action::ServerDown { ms } => {
                self.down_until_ms = self.mono_ms + ms;
                for tab in self.living() {
                    self.break_link(tab, Failure::Network);
                }
            }
            Action::NewIncarnation => {
                self.faults.add(Fault::IncarnationChanged);
                self.server.incarnation += 1;
            }
            Action::ExpireToken { user, without_fresh_ms } => {
                self.tokens[user].is_good = false;
                self.tokens[user].none_before_ms = self.mono_ms + without_fresh_ms;
            }
            _ => self.break_something(action),
        }
    }

    fn break_something(&mut self, action: &Action) {
        match *action {
            Action::BreakLink { tab } => {
                if let Some(tab) = self.pick(tab).filter(|tab| self.tabs[*tab].link.is_some()) {
                    self.faults.add(Fault::LinkBroken);
                    self.break_link(tab, Failure::Network);
                }
            }
            Action::HalfOpen { tab } => {
                if let Some(tab) = self.pick(tab) {
                    self.tabs[tab].is_half_open = self.tabs[tab].link.is_some();
                }
            }
            Action::Crash { tab } => {
                if let Some(tab) = self.pick(tab) {
                    self.faults.add(Fault::TabCrashed);
                    self.kill_tab(tab);
                }
            }
            Action::CrashAt { tab, outputs } => {
                if let Some(tab) = self.pick(tab) {
                    self.tabs[tab].crash_in = Some(outputs);
                }
            }
            Action::Close { tab } => {
                if let Some(tab) = self.awake(tab) {
                    self.faults.add(Fault::TabClosed);
                    let _ = self.feed(tab, Input::Close);
                    self.tabs[tab].is_alive = false;
                }
            }
            Action::Freeze { tab, ms } => {
                if let Some(tab) = self.awake(tab) {
                    self.faults.add(Fault::TabFrozen);
                    self.tabs[tab].backlog = Some(Vec::new());
                    self.later(ms, Event::Thaw { tab });
                }
            }
            Action::Steal { tab } => self.steal(tab),
            Action::Depose { tab, ms, notice_ms } => self.depose(tab, ms, notice_ms),
            Action::FillOutbox => self.fill_outbox(),
            Action::Usurp { browser, user } => self.usurp(browser, user),
            Action::LeaveOrphan { tab } => self.leave_orphan(tab),
            Action::EndMany => self.end_many(),
            Action::Jump { browser, ms } => {
                self.browsers[browser].was_set_back |= ms < 0;
                if ms < 0 {
                    self.oracle.set_back.insert(browser);
                }
                self.faults.add(if ms > 0 { Fault::ClockJumpedAhead } else { Fault::ClockJumpedBack });
                self.browsers[browser].skew_ms += ms;
            }
            Action::Sleep { browser, ms } => self.sleep(browser, ms),
            Action::LocalFull { browser, on } => self.browsers[browser].local_is_full = on,
            Action::DatabaseFull { browser, on } => self.browsers[browser].database_is_full = on,
            Action::Wipe { browser } => {
                self.faults.add(Fault::StorageWiped);
                self.browsers[browser].wipe();
                self.note_losses(browser, false);
            }
            Action::KillBrowser { browser } => self.kill_browser(browser),
            Action::SpoilEntry { tab, how } => self.spoil_entry(tab, how),
            Action::SpoilMessage { tab, how } => self.spoil_message(tab, how),
            Action::SpoilEvent { tab, how } => self.spoil_event(tab, how),
            _ => {}
        }
    }

    // ---- people

    fn command(&mut self, tab: Pick, key: Key, name: &str, args: Fields, set: Fields) {
        let Some(tab) = self.awake(tab) else { return };
        let (table, key) = self.server.name(key);
        let command = Command {
            name: name.to_owned(),
            table: table.to_owned(),
            key: Some(key.to_owned()),
            args,
            set,
            after: vec![],
        };
        let _ = self.feed(tab, Input::Mutate(command));
    }

    fn say(&mut self, tab: Pick, input: Input<rota_engine::JsonRecord>) {
        if let Some(tab) = self.awake(tab) {
            let _ = self.feed(tab, input);
        }
    }

    fn cancel(&mut self, tab: Pick, nth: u64) {
        let Some(tab) = self.awake(tab) else { return };
        let shown = &self.tabs[tab].mirror.shown;
        let Some(at) = nth.checked_rem(shown.len() as u64).and_then(|at| usize::try_from(at).ok()) else { return };
        let id = shown[at].id;
        // Before the command: the end may be told within it.
        let before = self.oracle.made.get_mut(&id).map(|made| std::mem::replace(&mut made.is_cancel_asked, true));
        if self.feed(tab, Input::Cancel { id }).is_err()
            && let (Some(made), Some(before)) = (self.oracle.made.get_mut(&id), before)
        {
            made.is_cancel_asked = before;
        }
    }

    fn depend(&mut self, tab: Pick, key: u64, value: &str, nth: u64) {
        let key = self.key_of(key);
        let Some(tab) = self.awake(tab) else { return };
        let pending: Vec<OperationId> = self.tabs[tab].mirror.shown.iter().map(|shown| shown.id).collect();
        let (table, key) = self.server.name(key);
        let command = Command {
            name: "patch".to_owned(),
            table: table.to_owned(),
            key: Some(key.to_owned()),
            args: Fields::new(),
            set: set("name", value.into()),
            after: nth_of(&pending, nth).into_iter().collect(),
        };
        let _ = self.feed(tab, Input::Mutate(command));
    }

    fn undo(&mut self, tab: Pick, nth: u64) {
        let Some(tab) = self.awake(tab) else { return };
        let is_own = |id: &&OperationId| self.oracle.made[*id].tab == tab;
        let own: Vec<OperationId> = self.oracle.order.iter().rev().filter(is_own).copied().take(8).collect();
        let Some(id) = nth_of(&own, nth) else { return };
        // What was given up is dropped as a whole.
        let is_dead = self.tabs[tab].mirror.state_of(id) == Some(OperationState::Dead);
        let flag: fn(&mut Made) -> &mut bool =
            if is_dead { |made| &mut made.is_cancel_asked } else { |made| &mut made.is_undone };
        // Before the command: the end may be told within it.
        let before = self.oracle.made.get_mut(&id).map(|made| std::mem::replace(flag(made), true));
        if self.feed(tab, Input::Undo { id }) != Ok(None)
            && let (Some(made), Some(before)) = (self.oracle.made.get_mut(&id), before)
        {
            *flag(made) = before;
        }
    }

    fn log_out(&mut self, tab: Pick, how: u64) {
        let Some(tab) = self.awake(tab) else { return };
        let who = (self.tabs[tab].browser, self.tabs[tab].user);
        let unsent = match how {
            0..=3 => None,
            4 => Some(Unsent::Wait),
            _ => Some(Unsent::Discard),
        };
        // Before the command: what it ends is told within it.
        let before = self.oracle.logouts.insert(who, self.mono_ms);
        let waits = unsent != Some(Unsent::Discard);
        let waited = std::mem::replace(&mut self.tabs[tab].mirror.waits_to_leave, waits);
        if self.feed(tab, Input::Logout { unsent }).is_err() {
            match before {
                Some(at_ms) => drop(self.oracle.logouts.insert(who, at_ms)),
                None => drop(self.oracle.logouts.remove(&who)),
            }
            self.tabs[tab].mirror.waits_to_leave = waited;
        } else {
            self.faults.add(Fault::LoggedOut);
        }
    }

    fn retry(&mut self, tab: Pick) {
        let Some(tab) = self.awake(tab) else { return };
        if let Some(id) = self.dead_of(tab).first().copied() {
            let _ = self.feed(tab, Input::Retry { id });
        }
    }

    /// Commands that make no sense: each is refused, and changes nothing.
    fn talk_nonsense(&mut self, tab: Pick) {
        let Some(tab) = self.awake(tab) else { return };
        let command = |table: &str, name: &str, key: Option<&str>, set: Fields| {
            let (name, table, key) = (name.to_owned(), table.to_owned(), key.map(str::to_owned));
            Input::Mutate(Command { name, table, key, args: Fields::new(), set, after: vec![] })
        };
        let name = || set("name", "x".into());
        let stray = OperationId::parse("019aa5e3-f1c0-7a3b-9c1d-2e4f60718293").expect("an id");
        for input in [
            command("ghosts", "patch", Some("1"), name()),
            command(TABLES[0], "patch", Some("c-0"), set("nope", Value::Null)),
            command(TABLES[0], "patch", Some("c-99"), name()),
            command(TABLES[0], "patch", None, name()),
            command(TABLES[0], "insert", None, name()),
            command(TABLES[0], "patch", Some("c-0"), Fields::new()),
            command(TABLES[1], "assign", Some("l-0"), Fields::new()),
            Input::Cancel { id: stray },
            Input::Retry { id: stray },
        ] {
            let text = format!("{input:?}");
            if self.feed(tab, input).is_ok() && self.tabs[tab].is_alive {
                crate::oracle::broken!("10", "{} took {text}", self.tabs[tab].name);
            }
        }
    }

    // ---- what goes wrong

    /// Freezes whoever leads the tab's browser, and gives the lock to the tab. The old leader hears of it late.
    fn depose(&mut self, tab: Pick, ms: u64, notice_ms: u64) {
        let Some(thief) = self.awake(tab) else { return };
        let (browser, user) = (self.tabs[thief].browser, self.tabs[thief].user);
        let Some(victim) = self.browsers[browser].locks[user].holder.filter(|holder| *holder != thief) else { return };
        if self.tabs[victim].backlog.is_none() {
            self.faults.add(Fault::LeaderDeposed);
            self.tabs[victim].backlog = Some(Vec::new());
            self.later(ms, Event::Thaw { tab: victim });
        }
        self.take_lock(thief, notice_ms);
    }

    /// A new tab takes the lock before it has heard anybody.
    fn usurp(&mut self, browser: usize, user: usize) {
        if self.browsers[browser].locks[user].holder.is_some() && self.living().len() < 9 {
            self.faults.add(Fault::LockTakenByNewTab);
            let tab = self.open_tab(browser, user);
            self.take_lock(tab, 0);
        }
    }

    /// An operation is lost with its author, its storage and the leader, and one tab still shows it.
    fn leave_orphan(&mut self, tab: Pick) {
        let Some(author) = self.awake(tab) else { return };
        let (browser, user) = (self.tabs[author].browser, self.tabs[author].user);
        // One of the release before would believe no leader that has not heard of its last one, and not miss it.
        let is_other = |tab: &usize| {
            let Tab { browser: its, user: of, is_old, .. } = self.tabs[*tab];
            *tab != author && (its, of) == (browser, user) && !is_old
        };
        let Some(bystander) = self.open_tabs().into_iter().find(is_other) else { return };
        self.faults.add(Fault::OrphanLeft);
        self.cut_until_ms = self.mono_ms + 200;
        let key = self.key_of(1);
        let name = set("name", "Hof".into());
        self.command(tab, key, "patch", Fields::new(), name);
        self.run_for(3);
        for other in self.open_tabs() {
            if other != bystander && (self.tabs[other].browser, self.tabs[other].user) == (browser, user) {
                self.kill_tab(other);
            }
        }
        self.browsers[browser].wipe();
        self.note_losses(browser, false);
        let next = self.open_tab(browser, user);
        self.take_lock(next, 0);
    }

    /// Makes more operations than an outbox holds, at a tab that nobody else hears, and that then dies with its storage.
    fn fill_outbox(&mut self) {
        let (browser, user) = (2, 2);
        if self.tabs.iter().any(|tab| tab.is_alive && (tab.browser, tab.user) == (browser, user)) {
            return;
        }
        self.cut_until_ms = self.mono_ms + 200;
        let tab = self.open_tab(browser, user);
        for n in 0..=OUTBOX_LEN_MAX {
            let set = Fields::from([("id".to_owned(), format!("f-{n}").as_str().into())]);
            let command = Command {
                name: "insert".into(),
                table: TABLES[1].into(),
                key: None,
                args: Fields::new(),
                set,
                after: vec![],
            };
            let held = self.tabs[tab].mirror.shown.len();
            let result = self.feed_unchecked(tab, Input::Mutate(command));
            let is_full = result.is_err_and(|error| error.code() == "outbox-full");
            if is_full != (held >= OUTBOX_LEN_MAX) {
                crate::oracle::broken!("10", "an outbox with {held} operations, full: {is_full}");
            }
        }
        self.faults.add(Fault::OutboxFilled);
        self.kill_tab(tab);
        self.browsers[browser].wipe();
        self.note_losses(browser, false);
    }

    fn steal(&mut self, tab: Pick) {
        let notice_ms = self.draw.of(&[0, 20]);
        if let Some(thief) = self.awake(tab) {
            self.take_lock(thief, notice_ms);
        }
    }

    /// A tab takes the lock itself, wherever it is in the queue.
    pub fn steal_lock(&mut self, thief: usize) {
        self.faults.add(Fault::LockTakenByTab);
        let (browser, user) = (self.tabs[thief].browser, self.tabs[thief].user);
        let lock = &mut self.browsers[browser].locks[user];
        if lock.holder != Some(thief) && !lock.queue.contains(&thief) {
            lock.queue.push_back(thief);
        }
        let notice_ms = self.draw.of(&[0, 20]);
        self.later(1, Event::Steal { tab: thief, notice_ms });
    }

    pub fn take_lock(&mut self, thief: usize, notice_ms: u64) {
        let (browser, user) = (self.tabs[thief].browser, self.tabs[thief].user);
        let lock = &mut self.browsers[browser].locks[user];
        if lock.holder == Some(thief) || !lock.queue.contains(&thief) {
            return;
        }
        let victim = lock.holder.replace(thief);
        lock.queue.retain(|waiting| *waiting != thief);
        self.faults.add(Fault::LockStolen);
        // Without a ledger nothing but the lock keeps the old leader from sending again: that it has lost it is the next that it hears.
        let notice_ms = if self.server.keeps_no_ledger { 0 } else { notice_ms };
        if let Some(tab) = victim {
            self.later(notice_ms, Event::Tell { tab, input: Input::LockLost });
        }
        self.tell(thief, Input::LockGranted);
    }

    fn sleep(&mut self, browser: usize, ms: u64) {
        self.faults.add(Fault::MachineSlept);
        self.browsers[browser].skew_ms += i64::try_from(ms).unwrap_or(0);
        for tab in self.living() {
            if self.tabs[tab].browser == browser {
                self.tabs[tab].is_half_open = self.tabs[tab].link.is_some();
            }
        }
    }

    fn kill_browser(&mut self, browser: usize) {
        self.faults.add(Fault::BrowserKilled);
        for tab in self.living() {
            if self.tabs[tab].browser == browser {
                (self.tabs[tab].is_alive, self.tabs[tab].link, self.tabs[tab].backlog) = (false, None, None);
            }
        }
        let (not_flushed, not_committed) = self.browsers[browser].kill();
        if not_flushed > 0 {
            self.faults.add(Fault::NotFlushed);
        }
        if not_committed > 0 {
            self.faults.add(Fault::NotCommitted);
        }
        self.note_losses(browser, true);
    }

    /// Puts something into storage that was not written by today's engine.
    fn spoil_entry(&mut self, tab: Pick, how: u64) {
        let Some(tab) = self.pick(tab) else { return };
        let (browser, user) = (self.tabs[tab].browser, self.tabs[tab].user);
        let prefix = self.tabs[tab].engine.session().operations_prefix();
        let some_id = format!("019aa5e3-f1c0-7a3b-9c1d-{:012x}", self.draw.below(1 << 40));
        let plain = format!("{prefix}019aa5e3f1c0-0000-{some_id}");
        let made = self.oracle.order.iter().map(|id| &self.oracle.made[id]).find(|made| made.user == user);
        let (key, content, fault) = match (how, made) {
            (0, _) => (plain, Content::Corrupt("it is not JSON".into()), Fault::EntryCorrupted),
            (2, Some(made)) => {
                let id = OperationId::parse(&some_id).expect("an id");
                let mut op = Operation { id, table: "ghosts".into(), ..(*made.op).clone() };
                op.parts.iter_mut().for_each(|part| part.table = "ghosts".into());
                let key = format!("{prefix}{}-{id}", op.hlc);
                (key, Content::Operation(StoredOperation { v: 1, op }), Fault::EntryOfUnknownTable)
            }
            _ => (plain, Content::Other(99.0), Fault::EntryOfNewerForm),
        };
        let place = &mut self.browsers[browser];
        if place.has_local {
            place.set_local(Change { key, content: Some(content) });
            self.faults.add(fault);
        }
    }

    fn spoil_message(&mut self, tab: Pick, how: u64) {
        let Some(tab) = self.pick(tab) else { return };
        let text = r#"{"v":1,"from":"stranger","epoch":1,"seq":1,"kind":"bye"}"#;
        let message: TabMessage<_> = serde_json::from_str(text).expect("a message");
        // The release before does not notice that a leader it can't believe is the only one there is.
        let how = if self.tabs[tab].is_old { how.min(2) } else { how };
        let (message, fault) = match how {
            0 => (TabMessage { v: 99, ..message }, Fault::MessageOfNewerProtocol),
            1 => (TabMessage { kind: Kind::Snapshot, ..message }, Fault::MessageUnreadable),
            2 => (TabMessage { epoch: u64::MAX, ..message }, Fault::MessageUnreadable),
            _ => (TabMessage { epoch: self.tabs[tab].mirror.epoch + 2, ..message }, Fault::EpochAhead),
        };
        self.faults.add(fault);
        self.tell(tab, Input::TabMessageReceived(Box::new(message)));
    }

    fn spoil_event(&mut self, tab: Pick, how: u64) {
        let Some(tab) = self.pick(tab) else { return };
        self.faults.add(Fault::EventOfUnknownTable);
        let input = match how {
            0 => {
                Input::ServerChanged { events: vec![ServerEvent::Deleted { table: "ghosts".into(), key: "1".into() }] }
            }
            1 => Input::Unreadable { code: "malformed-event".into(), place: "stream".into(), message: "no row".into() },
            _ => Input::Missed,
        };
        self.tell(tab, input);
    }
}

fn nth_of(ids: &[OperationId], nth: u64) -> Option<OperationId> {
    let at = nth.checked_rem(ids.len() as u64)?;
    ids.get(usize::try_from(at).ok()?).copied()
}

/// Adds to a count, or to a list.
fn added(now: &Value, value: u64) -> Value {
    let more = f64::from(u32::try_from(value).unwrap_or(0));
    match now {
        Value::Number(count) => Value::Number(count + more),
        Value::List(list) => {
            let mut list = list.clone();
            list.push(Value::Number(more));
            list.dedup();
            Value::List(list)
        }
        other => other.clone(),
    }
}

fn set(field: &str, value: Value) -> Fields {
    Fields::from([(field.to_owned(), value)])
}
