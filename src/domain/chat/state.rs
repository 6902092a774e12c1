//! The states of a chat as types. Each transition takes a state and gives the next one, so that one which does not exist does not
//! compile. At the border a record is read as one of them, or refused by name.

use crate::engine::record::Record;
use crate::engine::value::{Fields, Value};

pub(crate) const CHAT_STATE: &str = "chat_state";
pub(crate) const OPERATOR: &str = "assigned_operator_id";

/// Someone waits for an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiting;

/// An operator works on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Assigned {
    pub(crate) operator: String,
}

/// The operator has replied, and the other side has not yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Replied;

/// It has ended. Nothing leads out of here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Completed;

impl Waiting {
    /// An operator takes it on.
    pub(crate) fn claim(self, operator: &str) -> Assigned {
        let Self = self;
        Assigned { operator: operator.to_owned() }
    }
}

impl Assigned {
    /// Its operator has answered, and is free again.
    pub(crate) fn reply(self) -> Replied {
        let Self { operator: _ } = self;
        Replied
    }

    /// It goes back into the queue.
    pub(crate) fn release(self) -> Waiting {
        let Self { operator: _ } = self;
        Waiting
    }

    /// A colleague takes over.
    pub(crate) fn transfer(self, to: &str) -> Self {
        let Self { operator: _ } = self;
        Self { operator: to.to_owned() }
    }
}

/// The three states in which a chat goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Open {
    Waiting(Waiting),
    Assigned(Assigned),
    Replied(Replied),
}

impl Open {
    /// The other side has written, and whoever was at it is free.
    pub(crate) fn user_message(self) -> Waiting {
        match self {
            Self::Waiting(waiting) => waiting,
            Self::Assigned(assigned) => assigned.release(),
            Self::Replied(Replied) => Waiting,
        }
    }

    /// It ends.
    pub(crate) fn complete(self) -> Completed {
        match self {
            Self::Waiting(_) | Self::Assigned(_) | Self::Replied(_) => Completed,
        }
    }
}

/// A chat in whatever state it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Chat {
    Open(Open),
    Completed(Completed),
}

impl From<Waiting> for Chat {
    fn from(waiting: Waiting) -> Self {
        Self::Open(Open::Waiting(waiting))
    }
}

impl From<Assigned> for Chat {
    fn from(assigned: Assigned) -> Self {
        Self::Open(Open::Assigned(assigned))
    }
}

impl From<Replied> for Chat {
    fn from(replied: Replied) -> Self {
        Self::Open(Open::Replied(replied))
    }
}

impl From<Completed> for Chat {
    fn from(completed: Completed) -> Self {
        Self::Completed(completed)
    }
}

impl Chat {
    /// Reads the state out of a record's two fields; `None` for what is none: another word, or an assignment to nobody.
    pub(crate) fn read<R: Record>(record: &R) -> Option<Self> {
        Self::of(&record.field(CHAT_STATE)?, &record.field(OPERATOR).unwrap_or_default())
    }

    /// The same, of what a person saw.
    pub(crate) fn seen(base: &Fields) -> Option<Self> {
        Self::of(base.get(CHAT_STATE)?, base.get(OPERATOR).unwrap_or(&Value::Null))
    }

    fn of(state: &Value, operator: &Value) -> Option<Self> {
        Some(match (state.as_str()?, operator.as_str()) {
            ("waiting_assignment", _) => Waiting.into(),
            ("assigned", Some(operator)) => Assigned { operator: operator.to_owned() }.into(),
            ("waiting_real_user_reply", _) => Replied.into(),
            ("completed", _) => Completed.into(),
            _ => return None,
        })
    }

    /// Returns the state's name in the record.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Open(Open::Waiting(_)) => "waiting_assignment",
            Self::Open(Open::Assigned(_)) => "assigned",
            Self::Open(Open::Replied(_)) => "waiting_real_user_reply",
            Self::Completed(_) => "completed",
        }
    }

    /// Returns whose it is.
    pub(crate) fn operator(&self) -> Option<&str> {
        match self {
            Self::Open(Open::Assigned(assigned)) => Some(&assigned.operator),
            Self::Open(Open::Waiting(_) | Open::Replied(_)) | Self::Completed(_) => None,
        }
    }

    /// Returns the fields that say so.
    pub(crate) fn fields(&self) -> Fields {
        let operator = self.operator().map_or(Value::Null, Value::from);
        Fields::from([(OPERATOR.to_owned(), operator), (CHAT_STATE.to_owned(), self.name().into())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_read_as_it_was_written() {
        let maya = || Assigned { operator: "maya".to_owned() };
        for chat in [Waiting.into(), maya().into(), Replied.into(), Chat::from(Completed)] {
            assert_eq!(Chat::seen(&chat.fields()), Some(chat));
        }
        let states = [
            Waiting.claim("maya").into(),
            maya().reply().into(),
            maya().release().into(),
            Chat::from(maya().transfer("jo")),
        ];
        assert_eq!(
            states.map(|chat| chat.name()),
            ["assigned", "waiting_real_user_reply", "waiting_assignment", "assigned"]
        );
    }

    #[test]
    fn what_is_no_state_is_none() {
        for (state, operator) in [
            (Value::from("assigned"), Value::Null),
            (Value::from("asleep"), Value::Null),
            (Value::Null, Value::from("maya")),
            (Value::Number(1.0), Value::Null),
        ] {
            let fields = Fields::from([(CHAT_STATE.to_owned(), state), (OPERATOR.to_owned(), operator)]);
            assert_eq!(Chat::seen(&fields), None, "{fields:?}");
        }
        assert_eq!(Chat::seen(&Fields::new()), None);
    }
}
