//! What people do to several records at once, and to orders, whose keys the server gives.

use rota_engine::{Answer, Command, Fields, Input, JsonRecord, Operation, Outcome, Role, Value};

use crate::faults::Fault;
use crate::oracle::{Made, keys};
use crate::server::{Key, ORDERS, TABLES};
use crate::shell::Tab;
use crate::workload::{Action, Draw, Make, Pick, Rate, city, key};
use crate::world::World;

#[derive(Clone, Copy, Debug)]
pub enum Deed {
    /// Several changes, or none.
    Transact {
        tab: Pick,
        first: u64,
        second: u64,
        how: u64,
        value: &'static str,
    },
    /// A new order, which may refer to another one.
    Order {
        tab: Pick,
        parent: Option<u64>,
        value: &'static str,
    },
    Amend {
        tab: Pick,
        nth: u64,
        parent: Option<u64>,
        value: &'static str,
    },
    Drop {
        tab: Pick,
        nth: u64,
    },
    /// Somebody else changes an order, or ends it.
    SqlAmend {
        nth: u64,
        value: Option<&'static str>,
    },
    RefuseOrders {
        on: bool,
    },
}

impl Deed {
    pub fn of(draw: &mut Draw, tab: Pick) -> Self {
        let parent = draw.percent(60).then(|| draw.below(8));
        let value = city(draw);
        match draw.below(40) {
            0..=15 => Self::Transact { tab, first: key(draw), second: key(draw), how: draw.below(8), value },
            16..=23 => Self::Order { tab, parent, value },
            24..=33 => Self::Amend { tab, nth: draw.below(8), parent, value },
            34 => Self::Drop { tab, nth: draw.below(8) },
            35..=37 => Self::SqlAmend { nth: draw.below(8), value: draw.percent(80).then_some(value) },
            _ => Self::RefuseOrders { on: draw.percent(50) },
        }
    }
}

/// An order is made, and what names it is stored and not sent yet when every tab dies: either the server is too busy for it, or nobody
/// but its author has heard of it.
pub fn strand(unheard: bool, browsers: &mut [Make]) -> Vec<(Action, u64)> {
    browsers[0] = crate::stories::whole();
    let mut steps = Vec::new();
    let order = Action::Together(Deed::Order { tab: 0, parent: None, value: "Ulm" });
    let amend = |tab| Action::Together(Deed::Amend { tab, nth: 0, parent: Some(0), value: "Hof" });
    if unheard {
        steps.extend([
            (Action::Cut { ms: 1_500 }, 0),
            (order, 60),
            (Action::Set { rate: Rate::MessageLoss, percent: 100 }, 0),
            (amend(0), 0),
            (amend(1), 6_000),
        ]);
    } else {
        steps.push((Action::Set { rate: Rate::Busy, percent: 70 }, 0));
        steps.extend([(order, 2), (amend(0), 2), (amend(1), 1_500)]);
    }
    steps.extend([
        (Action::KillBrowser { browser: 0 }, 0),
        (Action::Set { rate: Rate::MessageLoss, percent: 0 }, 0),
        (Action::Open { browser: 0, user: 0 }, 300),
        (Action::Open { browser: 0, user: 0 }, 300),
    ]);
    steps
}

/// Rows of a transaction come one by one, its answer later still, and tabs are opened meanwhile.
pub fn join_halfway() -> Vec<(Action, u64)> {
    let late = [Rate::ReplyDelay, Rate::EventDelay].map(|rate| (Action::Set { rate, percent: 60 }, 0));
    let mut steps = late.to_vec();
    for how in [0, 1, 2, 3] {
        steps.push((Action::Together(Deed::Transact { tab: how, first: how, second: how + 4, how, value: "Ulm" }), 60));
        steps.extend([(Action::Close { tab: 2 }, 20), (Action::Open { browser: 0, user: 0 }, 60)]);
    }
    steps
}

impl World {
    pub fn do_together(&mut self, deed: Deed) {
        match deed {
            Deed::Transact { tab, first, second, how, value } => self.transact(tab, [first, second], how, value),
            Deed::Order { tab, parent, value } => {
                let Some(tab) = self.awake(tab) else { return };
                let command = self.order(tab, parent, value);
                let _ = self.feed(tab, Input::Mutate(command));
            }
            Deed::Amend { tab, nth, parent, value } => {
                let Some(tab) = self.awake(tab) else { return };
                let Some(key) = self.order_of(tab, nth) else { return };
                let command = self.amend(tab, key, parent, value);
                let _ = self.feed(tab, Input::Mutate(command));
            }
            Deed::Drop { tab, nth } => {
                let Some(tab) = self.awake(tab) else { return };
                let Some(key) = self.order_of(tab, nth) else { return };
                let command = self.command_for(key, "delete", Fields::new());
                let _ = self.feed(tab, Input::Mutate(command));
            }
            Deed::SqlAmend { nth, value } => {
                let orders: Vec<Key> = (0..self.server.known.len())
                    .filter(|key| self.server.name(*key).0 == ORDERS && self.server.known[*key].record().is_some())
                    .collect();
                let Some(key) = nth_of(&orders, nth) else { return };
                match value {
                    Some(value) => self.server.sql_set(key, "title", value.into()),
                    None => self.server.sql_delete(key),
                }
                self.spread();
            }
            Deed::RefuseOrders { on } => self.server.refuses_orders = on,
        }
    }

    fn command_for(&self, key: Key, name: &str, set: Fields) -> Command {
        let (table, key) = self.server.name(key);
        let (table, key) = (table.to_owned(), Some(key.to_owned()));
        Command { name: name.to_owned(), table, key, args: Fields::new(), set, after: vec![] }
    }

    /// Some order that a tab sees, under whatever key.
    fn order_of(&self, tab: usize, nth: u64) -> Option<Key> {
        let is_order = |key: &Key| self.server.name(*key).0 == ORDERS;
        let records = &self.tabs[tab].mirror.records;
        let seen: Vec<Key> = records
            .iter()
            .enumerate()
            .filter(|(_, record)| record.is_some())
            .map(|(key, _)| key)
            .filter(is_order)
            .collect();
        nth_of(&seen, nth)
    }

    fn order_fields(&self, tab: usize, parent: Option<u64>, value: &str) -> Fields {
        let mut set = Fields::from([("title".to_owned(), value.into())]);
        let parent = parent.and_then(|nth| self.tabs[tab].mirror.record(self.order_of(tab, nth)?)?.fields().get("id"));
        set.extend(parent.map(|id| ("parent".to_owned(), id.clone())));
        set
    }

    fn order(&self, tab: usize, parent: Option<u64>, value: &str) -> Command {
        let set = self.order_fields(tab, parent, value);
        Command { name: "insert".into(), table: ORDERS.into(), key: None, args: Fields::new(), set, after: vec![] }
    }

    fn amend(&self, tab: usize, key: Key, parent: Option<u64>, value: &str) -> Command {
        self.command_for(key, "patch", self.order_fields(tab, parent, value))
    }

    fn transact(&mut self, tab: Pick, numbers: [u64; 2], how: u64, value: &'static str) {
        let Some(tab) = self.awake(tab) else { return };
        let [first, second] = numbers.map(|number| self.key_of(number));
        let name = |key: Key, field: &str| {
            let field = if self.server.name(key).0 == TABLES[0] { field } else { "name" };
            self.command_for(key, "patch", Fields::from([(field.to_owned(), value.into())]))
        };
        let assign = |key: Key| Command {
            args: Fields::from([("to".to_owned(), Value::from("lena"))]),
            ..self.command_for(key, "assign", Fields::new())
        };
        let commands = match how {
            0 => vec![name(first, "name"), name(second, "city")],
            1 => vec![name(first, "name"), assign(second)],
            2 => vec![self.command_for(second, "insert", self.server.blank(second)), name(first, "name")],
            3 => vec![name(first, "name"), self.command_for(second, "delete", Fields::new())],
            4 => vec![self.order(tab, None, value), name(first, "city")],
            5 => vec![name(first, "name"), name(first, "city"), assign(second)],
            _ => {
                let Some(other) = self.order_of(tab, numbers[1]) else { return };
                vec![self.amend(tab, other, None, value), self.order(tab, Some(numbers[1]), value)]
            }
        };
        let _ = self.feed(tab, Input::Transact { commands });
    }

    /// Counts what became of a transaction, or of a record whose key the server was to give.
    pub fn note_verdict(&mut self, op: &Operation, answer: &Answer<JsonRecord>) {
        let is_insert = keys::own(op).next().is_some();
        match answer.outcome {
            Outcome::Refused if is_insert => self.faults.add(Fault::KeyRefused),
            Outcome::Refused if !op.parts.is_empty() => self.faults.add(Fault::TransactionRefused),
            Outcome::Conflicted if !op.parts.is_empty() => self.faults.add(Fault::TransactionConflicted),
            Outcome::Confirmed if self.server.news.len() > 1 => self.faults.add(Fault::RowsApart),
            _ => {}
        }
    }

    /// A leader of the release before does not hear of transactions. Where storage has not got one either, that leader has to go.
    pub fn replace_deaf_leaders(&mut self) {
        for deaf in self.open_tabs() {
            let Tab { browser, user, is_old, .. } = self.tabs[deaf];
            let waits = |tab: &usize| {
                let Tab { browser: its, user: of, mirror, .. } = &self.tabs[*tab];
                let is_unheard =
                    |made: &Made| !made.op.parts.is_empty() && !self.browsers[browser].holds(&made.storage_key);
                (*its, *of) == (browser, user)
                    && mirror.shown.iter().any(|shown| is_unheard(&self.oracle.made[&shown.id]))
            };
            let is_leader = self.tabs[deaf].mirror.role() == Role::Leader;
            if is_old && is_leader && self.open_tabs().iter().any(waits) {
                let _ = self.feed(deaf, Input::Close);
                self.tabs[deaf].is_alive = false;
                self.run_for(70);
            }
        }
    }

    /// Counts what a lost reply takes with it.
    pub fn note_lost_reply(&mut self, op: &Operation, answer: &Answer<JsonRecord>) {
        if answer.outcome == Outcome::Confirmed && keys::own(op).next().is_some() {
            self.faults.add(Fault::KeyUnheard);
        }
        if self.server.keeps_no_ledger {
            self.faults.add(Fault::LedgerMissed);
        }
    }
}

fn nth_of(keys: &[Key], nth: u64) -> Option<Key> {
    keys.get(usize::try_from(nth.checked_rem(keys.len() as u64)?).ok()?).copied()
}
