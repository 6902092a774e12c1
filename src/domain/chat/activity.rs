//! Who is at work in which chat: what operators say of themselves, and what is known of it.

use super::figures::{IDLE_MS, id, time};
use super::state::{Chat, Open};
use super::{OPERATOR, not_allowed};
use crate::engine::error::Error;
use crate::engine::record::Record;
use crate::engine::sorted::Named;

/// How often the server needs to hear of somebody who is at work: several times before it takes them for silent.
const SIGN_MS: u64 = IDLE_MS / 4;

/// After how long one that the server does not know of is told again.
const AGAIN_MS: u64 = 5_000;

/// Whether a person may say that they are at work in a chat.
///
/// # Errors
/// When nobody, or somebody else, has the chat.
pub fn sign_of_life<R: Record>(record: &R, user: &str) -> Result<(), Error> {
    match Chat::read(record) {
        Some(Chat::Open(Open::Assigned(_))) if id(record, OPERATOR).as_deref() == Some(user) => Ok(()),
        Some(Chat::Open(Open::Assigned(_))) => {
            not_allowed("forbidden", "only its operator is at work in a chat".to_owned())
        }
        _ => not_allowed("illegal-transition", "the chat is not assigned, so nobody is at work in it".to_owned()),
    }
}

/// Whether the server is to be told now: when it was told last, and whether it knows.
#[must_use]
pub fn is_sign_due(told_ms: Option<u64>, is_known: bool, now_ms: u64) -> bool {
    let every_ms = if is_known { SIGN_MS } else { AGAIN_MS };
    told_ms.is_none_or(|told_ms| now_ms.saturating_sub(told_ms) >= every_ms)
}

/// When operators last gave a sign of life, by rows of `operator_activity`.
#[derive(Clone, Debug, Default)]
pub struct Activity(Named<u64>);

impl Activity {
    /// Reads the rows.
    #[must_use]
    pub fn read<'a, R: Record + 'a>(rows: impl Iterator<Item = &'a R>) -> Self {
        let mut read = Named::new();
        for row in rows {
            let Some(at_ms) = time(row, "last_activity_at") else { continue };
            if let (Some(chat), Some(operator)) = (id(row, "chat_id"), id(row, "operator_id")) {
                read.insert(pair(&chat, &operator), at_ms);
            }
        }
        Self(read)
    }

    /// When the operator of a chat last did something in it, as far as is known.
    #[must_use]
    pub fn of<R: Record>(&self, record: &R) -> Option<u64> {
        self.0.get(&pair(&id(record, "id")?, &id(record, OPERATOR)?)).copied()
    }
}

/// A name for what is of two: ids hold no U+0000.
fn pair(chat: &str, operator: &str) -> String {
    [chat, "\0", operator].concat()
}
