//! Chats that wait for an operator: who may take which, and what becomes of it. Predicts what the server decides (`PROTOCOL.md` §10);
//! what this tab can't see (the table of operators, the person's own row in it), it leaves to the server.

mod activity;
mod figures;
mod state;

use state::{CHAT_STATE, Chat, OPERATOR, Open};

use super::given::{Given, text};
use crate::engine::error::Error;
use crate::engine::instant;
use crate::engine::operation::{Step, name};
use crate::engine::record::Record;
use crate::engine::rules::{Context, Effect};
use crate::engine::table::TableConfig;
use crate::engine::value::{Fields, Value};
use crate::engine::view::{Filter, SortKey, Term, ViewSpec};

pub use activity::{Activity, is_sign_due, sign_of_life};
pub use figures::{IDLE_MS, Operators, Repeated, Standing, Waits, history, repeated, standing, summary, waits};

/// The domain's name.
pub(crate) const KIND: &str = "chat";

const LAST_OPERATOR: &str = "last_operator_id";
const REPLIED_AT: &str = "operator_replied_at";
const IS_ACTIVE: &str = "is_active";
const CREATED_AT: &str = "created_at";
const LAST_MESSAGE_AT: &str = "last_message_at";
const ASSIGNED_AT: &str = "assigned_at";
/// Where the table declares it, as the server kit has it.
const STATE_CHANGED_AT: &str = "state_changed_at";

/// What the operations set, and nothing else may.
const OWN: [&str; 6] = [CHAT_STATE, OPERATOR, LAST_OPERATOR, REPLIED_AT, ASSIGNED_AT, STATE_CHANGED_AT];
const FIELDS: [&str; 8] =
    [CHAT_STATE, OPERATOR, LAST_OPERATOR, REPLIED_AT, ASSIGNED_AT, IS_ACTIVE, CREATED_AT, LAST_MESSAGE_AT];
const INDEXED: [&str; 4] = [CHAT_STATE, OPERATOR, IS_ACTIVE, CREATED_AT];

/// The lists that the rules look into: those who wait, the longest first; and those who are being helped, by operator.
const QUEUE: usize = 0;
const HELD: usize = 1;

/// How far into the queue a prediction looks for a chat that the operator did not have last. Behind so many, the server's choice comes as
/// a surprise.
const LOOK_MAX: usize = 256;

/// How many chats an operator may have where nothing else is said, and at most.
const CAPACITY: u32 = 1;
const CAPACITY_MAX: u32 = 1_000;

const REASON_MAX: usize = 500;

/// The names of the operations.
pub(crate) const NAMES: [&str; 8] =
    ["claim", "request_next", "reply", "user_message", "release", "unassign_chat", "transfer", "complete"];
const REQUEST_NEXT: &str = "request_next";

/// How a table of chats is declared.
struct Declared<'a> {
    /// The table of operators, where the application has one.
    operators: Option<&'a str>,
    /// How many chats an operator may have whose row is not seen, or does not say.
    capacity: u32,
}

/// What a person wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act<'a> {
    Claim { operator: &'a str },
    Reply,
    UserMessage,
    Release,
    Unassign,
    Transfer { to: &'a str },
    Complete,
}

impl<'a> Act<'a> {
    fn read(name: &'a str, args: &'a Fields) -> Result<Self, Error> {
        let given = Given::new(name, args);
        Ok(match name {
            "claim" | REQUEST_NEXT => Self::Claim { operator: given.only("operator")?.id("operator")? },
            "reply" => given.nothing(Self::Reply)?,
            "user_message" => given.nothing(Self::UserMessage)?,
            "release" => {
                given.only("reason")?.words("reason", REASON_MAX)?;
                Self::Release
            }
            "unassign_chat" => given.nothing(Self::Unassign)?,
            "transfer" => Self::Transfer { to: given.only("to")?.id("to")? },
            "complete" => given.nothing(Self::Complete)?,
            _ => return Err(Error::InvalidOperation(text(&["there is no operation \"", name, "\" of chats"]))),
        })
    }

    /// The one table of what may follow what. `None`: nothing leads there.
    fn next(self, chat: Chat) -> Option<Chat> {
        Some(match (self, chat) {
            (Self::Claim { operator }, Chat::Open(Open::Waiting(chat))) => chat.claim(operator).into(),
            (Self::Reply, Chat::Open(Open::Assigned(chat))) => chat.reply().into(),
            (Self::Release | Self::Unassign, Chat::Open(Open::Assigned(chat))) => chat.release().into(),
            (Self::Transfer { to }, Chat::Open(Open::Assigned(chat))) => chat.transfer(to).into(),
            (Self::UserMessage, Chat::Open(chat)) => chat.user_message().into(),
            (Self::Complete, Chat::Open(chat)) => chat.complete().into(),
            (Self::Claim { .. } | Self::Reply | Self::Release | Self::Unassign | Self::Transfer { .. }, _)
            | (Self::UserMessage | Self::Complete, Chat::Completed(_)) => return None,
        })
    }

    /// Who gets the chat.
    const fn taker(self) -> Option<&'a str> {
        match self {
            Self::Claim { operator: taker } | Self::Transfer { to: taker } => Some(taker),
            Self::Reply | Self::UserMessage | Self::Release | Self::Unassign | Self::Complete => None,
        }
    }

    /// True when it came true already.
    fn is_done(self, chat: &Chat) -> bool {
        self.taker().is_some_and(|taker| chat.operator() == Some(taker))
    }

    /// True where somebody else's chat is another matter, even in the same state.
    const fn is_of_operator(self) -> bool {
        match self {
            Self::Reply | Self::Release | Self::Unassign | Self::Transfer { .. } => true,
            Self::Claim { .. } | Self::UserMessage | Self::Complete => false,
        }
    }

    /// The times that it sets, beside the state.
    const fn times(self) -> &'static [&'static str] {
        match self {
            Self::Claim { .. } | Self::Transfer { .. } => &[ASSIGNED_AT],
            Self::Reply => &[REPLIED_AT, LAST_MESSAGE_AT],
            Self::UserMessage => &[LAST_MESSAGE_AT],
            Self::Release | Self::Unassign | Self::Complete => &[],
        }
    }

    fn set(self, next: &Chat, now_ms: u64) -> Fields {
        let mut set = next.fields();
        if let Some(taker) = self.taker() {
            set.insert(LAST_OPERATOR.to_owned(), taker.into());
        }
        let now = instant::text(now_ms);
        for field in self.times() {
            set.insert((*field).to_owned(), Value::from(now.as_str()));
        }
        set
    }
}

/// Checks how a table of chats is declared.
pub(crate) fn declare(table: &mut TableConfig) -> Result<Vec<ViewSpec>, Error> {
    declared(table)?;
    super::given::require(table, &FIELDS, &INDEXED)?;
    if table.owner.is_some() {
        return Err(Error::InvalidConfiguration(text(&[
            "table \"",
            &table.name,
            "\" is one of chats, which are claimed and not assigned: declare no owner",
        ])));
    }
    let is = |field: &str, value: Value| Term { field: field.to_owned(), value };
    let by = |field: &str| SortKey { field: field.to_owned(), descending: false };
    let waiting = Filter::And(vec![
        Filter::Eq(is(CHAT_STATE, "waiting_assignment".into())),
        Filter::Neq(is(IS_ACTIVE, Value::Bool(false))),
    ]);
    let list = |filter, sort| ViewSpec {
        table: table.name.clone(),
        filter: Some(filter),
        sort,
        limit: Some(0),
        ..ViewSpec::default()
    };
    let held = Filter::Eq(is(CHAT_STATE, "assigned".into()));
    Ok(vec![list(waiting, vec![by(CREATED_AT)]), list(held, vec![by(OPERATOR)])])
}

fn declared(table: &TableConfig) -> Result<Declared<'_>, Error> {
    let wrong = |what| Err(Error::InvalidConfiguration(text(&["the domain of table \"", &table.name, "\" ", what])));
    if table.domain.keys().any(|name| !["kind", "operators", "capacity", "activity"].contains(&name.as_str())) {
        return wrong("takes no members but kind, operators, capacity and activity");
    }
    if !matches!(table.domain.get("activity"), None | Some(Value::Null | Value::String(_))) {
        return wrong("names its table of activity by its name");
    }
    let operators = match table.domain.get("operators") {
        None | Some(Value::Null) => None,
        Some(Value::String(operators)) => Some(operators.as_str()),
        Some(_) => return wrong("names its table of operators by its name"),
    };
    let capacity = match table.domain.get("capacity") {
        None | Some(Value::Null) => Some(CAPACITY),
        Some(given) => capacity_of(given),
    };
    match capacity {
        Some(capacity) => Ok(Declared { operators, capacity }),
        None => wrong("has a capacity that is not a whole number from 1 to 1000"),
    }
}

fn capacity_of(value: &Value) -> Option<u32> {
    let Value::Number(number) = value else { return None };
    let whole = crate::engine::value::whole(*number).and_then(|whole| u32::try_from(whole).ok())?;
    (1..=CAPACITY_MAX).contains(&whole).then_some(whole)
}

pub(crate) fn leaves_choice(name: &str) -> bool {
    name == REQUEST_NEXT
}

/// Predicts which chat the server hands out.
pub(crate) fn choose<R: Record>(table: &TableConfig, args: &Fields, context: &Context<'_, R>) -> Result<String, Error> {
    let operator = Given::new(REQUEST_NEXT, args).only("operator")?.id("operator")?;
    check_person(table, Act::Claim { operator }, None, context)?;
    check_taker(table, operator, context)?;
    let waiting = |record: &R| {
        matches!(Chat::read(record), Some(Chat::Open(Open::Waiting(_))))
            && record.field(IS_ACTIVE) != Some(Value::Bool(false))
    };
    let mut queue = context.look.first(&table.name, QUEUE, LOOK_MAX);
    queue.retain(|(_, record)| waiting(record));
    let had_last = |record: &R| record.field(LAST_OPERATOR).is_some_and(|last| last.as_str() == Some(operator));
    let other = queue.iter().position(|(_, record)| !had_last(record)).unwrap_or(0);
    match queue.into_iter().nth(other) {
        Some((key, _)) => Ok(key),
        None => not_allowed("queue-empty", "nobody is waiting".to_owned()),
    }
}

/// Returns the fields that an operation sets, if the chat and the people allow it. Asked in the server's order.
pub(crate) fn intend<R: Record>(
    table: &TableConfig,
    name: &str,
    args: &Fields,
    record: &R,
    context: &Context<'_, R>,
) -> Result<Fields, Error> {
    let act = Act::read(name, args)?;
    let chat = Chat::read(record);
    if let Some(chat) = chat.as_ref().filter(|chat| act.is_done(chat)) {
        return Ok(chat.fields());
    }
    let state = chat.as_ref().map_or("in no known state", Chat::name);
    let Some(next) = chat.clone().and_then(|chat| act.next(chat)) else {
        return not_allowed(
            "illegal-transition",
            text(&["the chat is ", state, ", and ", name, " does not follow on that"]),
        );
    };
    check_person(table, act, chat.as_ref(), context)?;
    if matches!(act, Act::Claim { .. }) && record.field(IS_ACTIVE) == Some(Value::Bool(false)) {
        return not_allowed("inactive", "the chat is not active, so it is not handed out".to_owned());
    }
    if let Some(taker) = act.taker() {
        check_taker(table, taker, context)?;
    }
    let mut set = act.set(&next, context.now_ms);
    if next.name() != state && table.fields.iter().any(|field| field == STATE_CHANGED_AT) {
        set.insert(STATE_CHANGED_AT.to_owned(), instant::text(context.now_ms).as_str().into());
    }
    Ok(set)
}

/// Asks whether the person may do it, as far as is known who they are.
fn check_person<R: Record>(
    table: &TableConfig,
    act: Act<'_>,
    chat: Option<&Chat>,
    context: &Context<'_, R>,
) -> Result<(), Error> {
    let is_own = match act {
        Act::Claim { operator } => operator == context.user,
        Act::Reply | Act::Release | Act::Transfer { .. } => chat.and_then(Chat::operator) == Some(context.user),
        Act::Unassign => false,
        Act::UserMessage | Act::Complete => true,
    };
    // Only its operator can have replied; for all else a supervisor will do.
    let may_supervise = act != Act::Reply;
    let is_supervisor = || {
        let operators = declared(table).ok()?.operators?;
        let person = context.look.record(operators, context.user)?;
        let is_active = person.field(IS_ACTIVE) != Some(Value::Bool(false));
        Some(is_active && person.field("role")?.as_str() == Some("supervisor"))
    };
    if is_own || (may_supervise && is_supervisor().unwrap_or(true)) {
        return Ok(());
    }
    let who = if may_supervise { "its operator or a supervisor" } else { "its operator" };
    not_allowed("forbidden", text(&["only ", who, " may do this"]))
}

/// Asks whether an operator may get one chat more.
fn check_taker<R: Record>(table: &TableConfig, taker: &str, context: &Context<'_, R>) -> Result<(), Error> {
    let Declared { operators, mut capacity } = declared(table)?;
    if let Some(operator) = operators.and_then(|operators| context.look.record(operators, taker)) {
        if operator.field(IS_ACTIVE) == Some(Value::Bool(false)) {
            return not_allowed("inactive", text(&["operator ", taker, " is not active"]));
        }
        capacity = operator.field("capacity").as_ref().and_then(capacity_of).unwrap_or(capacity);
    }
    let held = context.look.equal(&table.name, HELD, &taker.into(), capacity as usize);
    let held = held.iter().filter(|(_, record)| Chat::read(record).is_some_and(|chat| chat.operator() == Some(taker)));
    if held.count() >= capacity as usize {
        let why = text(&["operator ", taker, " has as many chats as they may have: ", &capacity.to_string()]);
        return not_allowed("capacity-exceeded", why);
    }
    Ok(())
}

/// A new one that gives an operator a chat waits for those that take one from the same operator.
pub(crate) fn waits_for(step: &Step<'_>, pending: &Step<'_>) -> bool {
    let Ok(Some(taker)) = Act::read(step.name, step.args).map(Act::taker) else { return false };
    let before = pending.base.get(OPERATOR).and_then(Value::as_str);
    NAMES.contains(&pending.name)
        && before == Some(taker)
        && pending.set.get(OPERATOR).is_some_and(|after| after.as_str() != Some(taker))
}

/// Re-runs a pending operation on the chat as it is now. The times stay as they were when it was made.
pub(crate) fn effect<R: Record>(step: &Step<'_>, record: &R) -> Effect {
    let (Ok(act), Some(chat)) = (Act::read(step.name, step.args), Chat::read(record)) else {
        return Effect::DoesNotApply;
    };
    if act.is_done(&chat) {
        return Effect::Set(Fields::new());
    }
    let seen = Chat::seen(step.base);
    let is_another = act.is_of_operator() && seen.as_ref().and_then(Chat::operator) != chat.operator();
    let state = chat.name();
    match act.next(chat).filter(|_| !is_another) {
        Some(next) => Effect::Set(moved(step, record, state != next.name())),
        None => Effect::DoesNotApply,
    }
}

/// What a step sets on the chat as it is now: a message that found it elsewhere than the person saw it brings it back, or no longer does.
fn moved<R: Record>(step: &Step<'_>, record: &R, is_moved: bool) -> Fields {
    let mut set = step.set.clone();
    if !is_moved {
        set.remove(STATE_CHANGED_AT);
    } else if !set.contains_key(STATE_CHANGED_AT)
        && record.field(STATE_CHANGED_AT).is_some()
        && let Some(at) = set.get(LAST_MESSAGE_AT).cloned()
    {
        set.insert(STATE_CHANGED_AT.to_owned(), at);
    }
    set
}

/// What is the operations' own is not set by others; a chat begins by waiting.
pub(crate) fn check(step: &Step<'_>) -> Result<(), Error> {
    let own = step.set.keys().find(|field| OWN.contains(&field.as_str()));
    match (step.name, own) {
        (name::PATCH, Some(field)) => Err(Error::InvalidOperation(text(&[
            "\"",
            field,
            "\" of a chat is set by its operations alone: ",
            &NAMES.join(", "),
        ]))),
        (name::INSERT, _) => {
            let state = step.set.get(CHAT_STATE);
            let begins = state.is_none_or(|state| state.as_str() == Some("waiting_assignment"));
            if begins && step.set.get(OPERATOR).is_none_or(Value::is_null) {
                Ok(())
            } else {
                Err(Error::InvalidOperation("a chat begins as waiting_assignment, without an operator".to_owned()))
            }
        }
        _ => Ok(()),
    }
}

fn not_allowed<T>(code: &'static str, message: String) -> Result<T, Error> {
    Err(Error::NotAllowed { code, message })
}

#[cfg(test)]
mod tests;
