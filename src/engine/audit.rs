//! The record of decisions: every conflict that ended, with its three sides, what was decided, by which rule or person, and
//! when. It only grows at its end, and forgets at its beginning, at a bound; how much was forgotten, it knows.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::merge::{Decided, Decision, FieldConflict};
use super::operation::OperationId;

/// How many decisions are kept; the oldest are forgotten first.
pub const AUDIT_LEN_MAX: usize = 1_000;

/// How much the values of the decisions that are kept may hold in all, in bytes of text (roughly); the newest one is kept always.
pub const AUDIT_BYTES_MAX: usize = 4_000_000;

/// One decision: one line of the export.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditEntry {
    /// The operation that was in conflict.
    pub operation: OperationId,
    /// The operation that carries the decision out; null where there was nothing left to do.
    pub resolution: Option<OperationId>,
    /// The record's table.
    pub table: String,
    /// The record's key.
    pub key: String,
    /// What was decided.
    pub decided: Decided,
    /// Who decided: a user's id, or null for the declared rules, and where the server's word stands without a decision.
    pub by: Option<String>,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// The fields in conflict, each with its three sides, its rule, and what came of it (`merged`).
    pub fields: Vec<FieldConflict>,
}

impl AuditEntry {
    pub(crate) fn new(
        (operation, resolution): (OperationId, Option<OperationId>),
        (table, key): (&str, &str),
        decision: Decision,
    ) -> Self {
        let (table, key) = (table.to_owned(), key.to_owned());
        let Decision { decided, by, at_ms, fields, .. } = decision;
        Self { operation, resolution, table, key, decided, by, at_ms, fields }
    }

    fn bytes(&self) -> usize {
        let of = |field: &FieldConflict| {
            let sides = [&field.base, &field.ours, &field.theirs];
            sides.into_iter().chain(&field.merged).map(super::value::Value::bytes).sum::<usize>() + field.field.len()
        };
        self.table.len() + self.key.len() + self.fields.iter().map(of).sum::<usize>()
    }
}

/// The decisions that this tab made or heard of.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    entries: VecDeque<AuditEntry>,
    bytes: usize,
    dropped: u64,
}

impl Audit {
    /// Notes a decision. One that is known already is not noted twice.
    pub(crate) fn note(&mut self, entry: AuditEntry) -> bool {
        let is_known = |known: &AuditEntry| {
            known.operation == entry.operation
                && (known.resolution, known.at_ms) == (entry.resolution, entry.at_ms)
                && (&known.table, &known.key) == (&entry.table, &entry.key)
        };
        if self.entries.iter().any(is_known) {
            return false;
        }
        self.bytes += entry.bytes();
        self.entries.push_back(entry);
        while self.entries.len() > AUDIT_LEN_MAX || (self.bytes > AUDIT_BYTES_MAX && self.entries.len() > 1) {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.bytes -= oldest.bytes();
            self.dropped += 1;
        }
        true
    }

    /// Walks over the decisions, the oldest first.
    pub(crate) fn entries(&self) -> impl ExactSizeIterator<Item = &AuditEntry> {
        self.entries.iter()
    }

    /// Returns how many decisions were forgotten at the bound.
    pub(crate) const fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::merge::Rule;
    use crate::engine::time::Hlc;
    use crate::engine::value::Value;

    fn entry(n: u64, text: &str) -> AuditEntry {
        let id = OperationId::new(Hlc::default(), [7; 10]);
        let field = FieldConflict {
            field: "city".into(),
            base: Value::Null,
            ours: text.into(),
            theirs: "Kiel".into(),
            rule: Rule::Ours,
            merged: Some(text.into()),
        };
        let decision = Decision { decided: Decided::Auto, by: None, at_ms: n, round: 1, fields: vec![field] };
        AuditEntry::new((id, None), ("companies", "c-1"), decision)
    }

    #[test]
    fn decisions_are_kept_in_order_up_to_the_bound_and_the_forgotten_are_counted() {
        let mut audit = Audit::default();
        for n in 0..AUDIT_LEN_MAX as u64 + 3 {
            assert!(audit.note(entry(n, "Bremen")));
        }
        let kept: Vec<u64> = audit.entries().map(|entry| entry.at_ms).collect();
        assert_eq!((kept.len(), kept[0], kept[AUDIT_LEN_MAX - 1]), (AUDIT_LEN_MAX, 3, AUDIT_LEN_MAX as u64 + 2));
        assert_eq!(audit.dropped(), 3);
    }

    #[test]
    fn large_values_push_out_the_oldest_decisions_but_never_the_newest() {
        let mut audit = Audit::default();
        let large = "x".repeat(AUDIT_BYTES_MAX / 4);
        for n in 0..3 {
            audit.note(entry(n, &large));
        }
        assert_eq!(audit.entries().map(|entry| entry.at_ms).collect::<Vec<_>>(), [2]);
        let huge = "x".repeat(AUDIT_BYTES_MAX);
        audit.note(entry(3, &huge));
        assert_eq!(audit.entries().map(|entry| entry.at_ms).collect::<Vec<_>>(), [3]);
        audit.note(entry(4, "Bremen"));
        assert_eq!((audit.entries().len(), audit.dropped()), (1, 4));
    }

    #[test]
    fn a_decision_that_is_heard_of_twice_is_noted_once() {
        let mut audit = Audit::default();
        assert!(audit.note(entry(1, "Bremen")));
        assert!(!audit.note(entry(1, "Bremen")));
        assert_eq!(audit.entries().len(), 1);
    }

    #[test]
    fn a_decision_is_one_line_of_json_and_read_back_as_it_was() {
        let entry = entry(1, "a\nline");
        let line = serde_json::to_string(&entry).unwrap();
        assert!(!line.contains('\n'));
        assert_eq!(serde_json::from_str::<AuditEntry>(&line).unwrap(), entry);
    }
}
