//! A pull of a part: what it does not cover it does not end.

use rota_engine::{Cover, JsonRecord, PullCall, Pulled, Record, Value};

use super::{Mirror, Shown, Who, broken};
use crate::server::{Key, Server, TABLES};

/// The parts that a pull has named so far, page by page.
#[derive(Default)]
pub struct Parts {
    asked: u32,
    covers: Vec<Cover>,
}

impl Parts {
    /// A tab asks.
    pub fn on_pull(&mut self, call: &PullCall) {
        if call.request.keys.is_none() {
            self.asked = call.id;
            if call.request.page.is_none() {
                self.covers.clear();
            }
        }
    }

    /// What a tab shows before it hears an answer that is not whole, if it waits for that, and what the answer covers. What is pending
    /// may end with the answer, so its records are left out.
    pub fn before(
        &mut self,
        records: &[Option<JsonRecord>],
        shown: &[Shown],
        pulled: &Pulled<JsonRecord>,
    ) -> Option<Before> {
        if pulled.whole || pulled.id != self.asked {
            return None;
        }
        self.covers.extend(pulled.covers.iter().cloned());
        let seen = records.iter().enumerate().filter_map(|(key, record)| Some((key, record.clone()?)));
        let seen = seen.filter(|(key, _)| !shown.iter().any(|shown| shown.concerns(*key))).collect();
        Some(Before { seen, covers: self.covers.clone(), pulled: Pulled { records: Vec::new(), ..pulled.clone() } })
    }
}

/// How it was before an answer that is not whole.
pub struct Before {
    seen: Vec<(Key, JsonRecord)>,
    covers: Vec<Cover>,
    /// The answer, without its rows.
    pulled: Pulled<JsonRecord>,
}

/// True for a record within a part.
pub fn is_in(cover: &Cover, table: &str, key: &str, record: &JsonRecord) -> bool {
    let has = |(field, value): (&String, &Value)| record.field(field).unwrap_or_default() == *value;
    cover.table == table
        && cover.keys.as_ref().is_none_or(|keys| keys.iter().any(|name| name == key))
        && cover.values.as_ref().is_none_or(|values| values.iter().all(has))
}

/// What was shown before an answer of a part, and is not after it, is in one of the parts, or named as gone, or what somebody here
/// wanted to end.
pub fn check_ends(server: &Server, who: &Who, mirror: &Mirror, before: &Before) {
    let pulled = &before.pulled;
    for (key, record) in before.seen.iter().filter(|(key, _)| mirror.record(*key).is_none()) {
        let known = &server.known[*key];
        let table = TABLES[known.table];
        let is_named = pulled.gone.iter().any(|gone| gone.table == table && gone.key == known.key);
        let is_answered = pulled.settled.iter().any(|answer| {
            let told = answer.records.iter().map(|told| (&told.table, &told.key));
            told.chain([(&answer.table, &answer.key)]).any(|(of, key)| of == table && *key == known.key)
        });
        let is_covered = before.covers.iter().any(|cover| is_in(cover, table, &known.key, record));
        // What is pending may hide in which part it is.
        let is_pending = mirror.shown.iter().any(|shown| shown.concerns(*key));
        if !is_named && !is_answered && !is_covered && !is_pending {
            broken!("8", "{} takes {} for gone, which its pull does not cover", who.name, known.key);
        }
    }
}
