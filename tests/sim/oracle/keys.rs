//! Temporary keys: what names one lands on the record that it turned out to be, nobody sees that record twice, and what it turned out
//! to be is known, and kept, for as long as anything names it.

use std::rc::Rc;

use rota_engine::{Fields, Operation, OperationId, Renamed, Value};

use super::{Mirror, Oracle, Shown, Who, broken};
use crate::browser::Browser;
use crate::server::{Key, Server, key_value};
use crate::shell::prefix_of;
use crate::world::World;

/// Returns the operation that makes the record of a temporary key.
pub fn maker(key: &str) -> Option<OperationId> {
    let rest = key.strip_prefix('~')?;
    OperationId::parse(rest.split_once('.').map_or(rest, |(id, _)| id))
}

/// Puts something else in place of each temporary key of others that an operation names.
fn replaced(op: &Operation, real: &mut dyn FnMut(&str) -> Option<Value>) -> Operation {
    let own = op.id;
    let mut find = |text: &str| real(text).filter(|_| maker(text) != Some(own));
    let mut op = op.clone();
    let mut put = |key: &mut String, fields: [&mut Fields; 3]| {
        if key.starts_with('~')
            && let Some(real) = find(key)
        {
            *key = text_of(&real);
        }
        for fields in fields {
            replace_in(fields, &mut find);
        }
    };
    put(&mut op.key, [&mut op.args, &mut op.set, &mut op.base]);
    for part in &mut op.parts {
        put(&mut part.key, [&mut part.args, &mut part.set, &mut part.base]);
    }
    op
}

fn replace(value: &mut Value, find: &mut dyn FnMut(&str) -> Option<Value>) {
    match value {
        Value::String(text) if text.starts_with('~') => {
            if let Some(real) = find(text) {
                *value = real;
            }
        }
        Value::List(items) => items.iter_mut().for_each(|item| replace(item, find)),
        Value::Map(fields) => replace_in(fields, find),
        _ => {}
    }
}

fn replace_in(fields: &mut Fields, find: &mut dyn FnMut(&str) -> Option<Value>) {
    for (name, value) in fields.clone().iter() {
        let mut next = value.clone();
        replace(&mut next, find);
        if next != *value {
            fields.insert(name.clone(), next);
        }
    }
}

/// A key as text.
pub fn text_of(value: &Value) -> String {
    match value {
        Value::Number(number) => number.to_string(),
        other => other.as_str().unwrap_or_default().to_owned(),
    }
}

/// Returns the temporary keys of others that an operation names.
pub fn named(op: &Operation) -> Vec<String> {
    let mut named = Vec::new();
    let _ = replaced(op, &mut |text| {
        if maker(text).is_some_and(|id| id != op.id) && !named.iter().any(|known| known == text) {
            named.push(text.to_owned());
        }
        None
    });
    named
}

/// Returns the temporary keys under which an operation makes records.
pub fn own(op: &Operation) -> impl Iterator<Item = &str> {
    op.steps().filter(|step| step.name == "insert" && step.key.starts_with('~')).map(|step| step.key)
}

/// An operation as it reaches the server, which has given these keys.
pub fn as_sent(server: &Server, op: &Operation) -> Operation {
    let real = |text: &str| server.given.get(text).map(|key| key_value(&server.known[*key].key));
    replaced(op, &mut { real })
}

impl Mirror {
    /// An operation as this tab knows it: with the real keys that it has been told.
    pub fn shown_as(
        &self,
        server: &mut Server,
        op: &Rc<Operation>,
        state: rota_engine::OperationState,
        is_doubtful: bool,
    ) -> Shown {
        let real = |text: &str| self.renamed.get(text).map(|key| key_value(key));
        let op = if self.renamed.is_empty() { Rc::clone(op) } else { Rc::new(replaced(op, &mut { real })) };
        let key_of = |step: rota_engine::Step<'_>| match self.renamed.get(step.key) {
            Some(real) => server.key(step.table, real),
            None => server.key(step.table, step.key),
        };
        let keys = op.steps().map(key_of).collect();
        let own_key = own(&op).find_map(|key| self.renamed.get(key).cloned());
        Shown { id: op.id, keys, own_key, op, state, is_doubtful, is_known: false }
    }

    /// The tab tells what temporary keys turned out to be.
    pub fn rename(&mut self, server: &mut Server, who: &Who, renamed: Vec<Renamed>) {
        if renamed.is_empty() {
            return;
        }
        for Renamed { table, from, to } in renamed {
            let real = server.given.get(&from).map(|key| server.known[*key].key.as_str());
            if real != Some(to.as_str()) {
                broken!("2", "{} takes {from} for {to}, and it is {real:?}", who.name);
            }
            self.touched.extend([server.key(&table, &from), server.key(&table, &to)]);
            self.renamed.insert(from, to);
        }
        for at in 0..self.shown.len() {
            let Shown { op, state, is_doubtful, is_known, .. } = &self.shown[at];
            let (is_known, state, is_doubtful) = (*is_known, *state, *is_doubtful);
            let next = self.shown_as(server, &Rc::clone(op), state, is_doubtful);
            self.touched.extend(self.shown[at].keys.iter().chain(&next.keys));
            self.shown[at] = Shown { is_known, ..next };
        }
    }
}

impl Oracle {
    /// After every step of a tab.
    pub fn check_keys(
        &self,
        server: &Server,
        who: &Who,
        mirror: &mut Mirror,
        tab: &dyn super::Tab,
        keeps: &dyn Fn(&str) -> bool,
    ) {
        let names = |shown: &&Shown, from: &str| named(&self.made(shown.id).op).iter().any(|it| it == from);
        for id in std::mem::take(&mut mirror.confirmed_inserts) {
            for from in own(&self.made(id).op).filter(|from| !mirror.renamed.contains_key(*from)) {
                if let Some(left) = mirror.shown.iter().find(|shown| names(shown, from)) {
                    let name = who.name;
                    broken!(
                        "3",
                        "{name} knows that {id} is done and not which key it gave, and shows {}, which names it",
                        left.id
                    );
                }
            }
        }
        for from in std::mem::take(&mut mirror.dropped_keys) {
            if let Some(left) = mirror.shown.iter().find(|shown| names(shown, &from)) {
                broken!("5", "{} forgets what {from} is, which {} names", who.name, left.id);
            }
        }
        for id in std::mem::take(&mut mirror.dropped_inserts) {
            for from in own(&self.made(id).op).filter(|from| server.given.contains_key(*from)) {
                let is_kept = mirror.kept_keys.contains(from) || keeps(from);
                if let Some(left) = mirror.shown.iter().find(|shown| names(shown, from)).filter(|_| !is_kept) {
                    broken!(
                        "5",
                        "{} deletes {id} and keeps nowhere which key it gave, which {} names",
                        who.name,
                        left.id
                    );
                }
            }
        }
        for shown in mirror.shown.iter().filter(|shown| shown.is_known && shown.is_seen() && shown.own_key.is_none()) {
            let twice = own(&shown.op).find_map(|from| Some((from, *server.given.get(from)?)));
            let Some((from, real)) = twice.filter(|(_, real)| mirror.touched.contains(real)) else { continue };
            let known = &server.known[real];
            let version = tab.version(known.table, &known.key).unwrap_or(0);
            // Another row than that of the insert does not say that it is the same record, nor does one that was kept.
            let tells = known.at(version).is_some_and(|stand| stand.op == Some(shown.id)) && !server.is_anonymous;
            if tells && mirror.record(real).is_some() && !mirror.cached.contains(&(real, version)) {
                broken!("2", "{} shows one record twice, as {from} and as {}", who.name, known.key);
            }
        }
        mirror.shown.iter_mut().for_each(|shown| shown.is_known = true);
    }
}

impl World {
    /// What names a temporary key is sent with the real one, and not before that is known.
    pub fn check_names(&self, tab: usize, op: &Operation) {
        for from in named(op) {
            let name = &self.tabs[tab].name;
            let maker = maker(&from).expect("a temporary key");
            // Without a ledger nobody can be asked for a key that was never heard.
            let was_stored = self.oracle.made.get(&maker).is_some_and(|made| !made.may_be_lost);
            if self.server.given.contains_key(&from) && !self.server.keeps_no_ledger && was_stored {
                broken!("5", "{name} sends {} with {from}, whose key was given", op.id);
            }
            let waits =
                self.oracle.made.get(&maker).is_some_and(|made| {
                    !made.is_rejected && !made.may_be_lost && !made.is_unwanted() && made.tab == tab
                });
            if waits && self.tabs[tab].mirror.state_of(maker).is_some() {
                broken!("6", "{name} sends {} before {maker}, whose record it names", op.id);
            }
        }
    }

    /// Once all has ended, nothing is kept of what temporary keys turned out to be.
    pub fn check_no_keys_left(&self) {
        for (browser, place) in self.browsers.iter().enumerate() {
            let sends = |tab: &usize| {
                self.tabs[*tab].browser == browser && self.tabs[*tab].mirror.role() != rota_engine::Role::Follower
            };
            let senders: Vec<usize> = self.open_tabs().into_iter().filter(sends).collect();
            for tab in senders {
                let prefix = self.prefix(tab) + "id:";
                if let Some(left) = place.keys().into_iter().find(|key| key.starts_with(&prefix) && place.holds(key)) {
                    broken!("10", "{left} is left in storage, and nothing names it");
                }
            }
        }
    }

    /// A tab deletes an entry: what temporary keys turned out to be, or an insert under one.
    pub fn note_unpersist(&mut self, tab: usize, key: &str) {
        let prefix = self.prefix(tab);
        let Some(rest) = key.strip_prefix(&prefix) else { return };
        let sends = self.tabs[tab].mirror.role() != rota_engine::Role::Follower;
        let mirror = &mut self.tabs[tab].mirror;
        if let Some(from) = rest.strip_prefix("id:") {
            mirror.kept_keys.remove(from);
            mirror.dropped_keys.push(from.to_owned());
        } else if let Some(id) = key.get(key.len().saturating_sub(36)..).and_then(OperationId::parse)
            && sends
            && self.oracle.made.get(&id).is_some_and(|made| own(&made.op).next().is_some())
        {
            mirror.dropped_inserts.push(id);
        }
    }

    pub fn note_alias(&mut self, tab: usize, key: &str) {
        let prefix = self.prefix(tab);
        if let Some(from) = key.strip_prefix(&prefix).and_then(|rest| rest.strip_prefix("id:")) {
            self.tabs[tab].mirror.kept_keys.insert(from.to_owned());
        } else {
            broken!("13", "{} keeps a key under {key}, which is not its own", self.tabs[tab].name);
        }
    }
}

impl Browser {
    /// True while storage has, or is about to have, what a temporary key turned out to be, or has no room for it.
    pub fn keeps_key(&self, user: usize, from: &str) -> bool {
        let has_room = (self.has_local && !self.local_is_full) || (self.has_database && !self.database_is_full);
        !has_room || self.holds(&format!("{}id:{from}", prefix_of(user)))
    }
}

/// True for what can be the key of a record.
pub fn is_key_of(record: &rota_engine::JsonRecord, key: &str) -> bool {
    record.fields().get("id").is_some_and(|id| text_of(id) == key)
}

/// Returns the records that an operation names, with the real ones in place of those that have one by now.
pub fn records_of(server: &Server, op: &Operation) -> Vec<Key> {
    let mut keys: Vec<Key> = op.steps().filter_map(|step| server.find(step.table, step.key)).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}
