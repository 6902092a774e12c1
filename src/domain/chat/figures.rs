//! What is to be known about many chats: how long they have been as they are, who sat idle, who waits, and what repeats. Times come in;
//! which chat is due when is said in advance, so that nobody has to look again and again.

use super::state::{Chat, Open};
use super::{ASSIGNED_AT, CREATED_AT, IS_ACTIVE, QUEUE, REPLIED_AT, STATE_CHANGED_AT};
use crate::engine::error::Error;
use crate::engine::instant::Instant;
use crate::engine::record::Record;
use crate::engine::sorted::{Named, sort_by};
use crate::engine::table::TableConfig;
use crate::engine::value::{Fields, Value};
use crate::engine::view::{FigureKind, FigureSpec, ViewSpec};

/// How long an assigned chat may be silent before it goes back into the queue.
pub const IDLE_MS: u64 = 5 * 60_000;

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

/// Since when a chat is as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The state's name.
    pub state: &'static str,
    /// Since when, as far as the record says.
    pub since_ms: Option<u64>,
    /// When it is released because its operator is silent; only an assigned one ever is.
    pub idle_at_ms: Option<u64>,
}

impl Standing {
    /// True when its operator has been silent for too long.
    #[must_use]
    pub fn is_idle(&self, now_ms: u64) -> bool {
        self.idle_at_ms.is_some_and(|idle_at_ms| idle_at_ms <= now_ms)
    }

    /// True when it has been in its state for more than so many hours. One that has ended is not stuck.
    #[must_use]
    pub fn is_stuck(&self, now_ms: u64, hours: u64) -> bool {
        let since_ms = self.since_ms.filter(|_| self.state != "completed");
        since_ms.is_some_and(|since_ms| now_ms.saturating_sub(since_ms) > hours.saturating_mul(HOUR_MS))
    }
}

/// Says since when a chat is as it is. `active_at_ms`: when its operator last did something, where that is known. Where the record does not
/// say when it came into its state, the times of what is done to chats tell, as the latest of them at least: never that of its last
/// message, which moves on while it waits.
#[must_use]
pub fn standing<R: Record>(record: &R, active_at_ms: Option<u64>) -> Option<Standing> {
    let chat = Chat::read(record)?;
    let [created, assigned, replied] = [CREATED_AT, ASSIGNED_AT, REPLIED_AT].map(|field| time(record, field));
    let since_ms = time(record, STATE_CHANGED_AT).or(match &chat {
        Chat::Open(Open::Assigned(_)) => assigned.or(created),
        Chat::Open(Open::Replied(_)) => replied.or(created),
        Chat::Open(Open::Waiting(_)) | Chat::Completed(_) => created.max(assigned).max(replied),
    });
    // A sign of life that belongs to an assignment before this one does not count. Who passes a chat on leaves it in its state.
    let idle_at_ms = chat.operator().and(assigned.max(active_at_ms)).map(|sign_ms| sign_ms.saturating_add(IDLE_MS));
    Some(Standing { state: chat.name(), since_ms, idle_at_ms })
}

pub(super) fn time<R: Record>(record: &R, field: &str) -> Option<u64> {
    Instant::parse_lax(record.field(field)?.as_str()?)?.wall_ms()
}

/// How long people have been waiting: since their chats began, which is the order in which they are handed out. For how long one waits this
/// time, its [`standing`] says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    /// How many wait.
    pub count: u32,
    /// How long the first of them has.
    pub longest_ms: u64,
    /// How long they have on average.
    pub average_ms: u64,
}

/// Says how long those have waited who can be handed out.
#[must_use]
pub fn waits<'a, R: Record + 'a>(chats: impl Iterator<Item = &'a R>, now_ms: u64) -> Waits {
    let (mut waits, mut timed, mut sum_ms) = (Waits::default(), 0_u64, 0_u64);
    for chat in chats.filter(|chat| chat.field(IS_ACTIVE) != Some(Value::Bool(false))) {
        if !matches!(Chat::read(chat), Some(Chat::Open(Open::Waiting(_)))) {
            continue;
        }
        waits.count += 1;
        let Some(created_ms) = time(chat, CREATED_AT) else { continue };
        let wait_ms = now_ms.saturating_sub(created_ms);
        (timed, sum_ms) = (timed + 1, sum_ms.saturating_add(wait_ms));
        waits.longest_ms = waits.longest_ms.max(wait_ms);
    }
    waits.average_ms = sum_ms.checked_div(timed).unwrap_or(0);
    waits
}

/// A chat that was assigned to one operator again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repeated {
    /// The chat.
    pub chat: String,
    /// The operator.
    pub operator: String,
    /// How often.
    pub count: u32,
}

/// Finds the chats that were assigned to the same operator more often than this, the most frequent first. Takes rows of `chat_assignments`.
#[must_use]
pub fn repeated<'a, R: Record + 'a>(assignments: impl Iterator<Item = &'a R>, more_than: u32) -> Vec<Repeated> {
    let pair = |row: &R| Some((id(row, "chat_id")?, id(row, "operator_id")?));
    let mut pairs: Vec<(String, String)> = assignments.filter_map(pair).collect();
    sort_by(&mut pairs, Ord::cmp);
    let mut found: Vec<Repeated> = Vec::new();
    for (chat, operator) in pairs {
        match found.last_mut().filter(|last| last.chat == chat && last.operator == operator) {
            Some(last) => last.count += 1,
            None => found.push(Repeated { chat, operator, count: 1 }),
        }
    }
    found.retain(|repeated| repeated.count > more_than);
    sort_by(&mut found, |one, other| {
        other.count.cmp(&one.count).then_with(|| (&one.chat, &one.operator).cmp(&(&other.chat, &other.operator)))
    });
    found
}

pub(super) fn id<R: Record>(row: &R, field: &str) -> Option<String> {
    crate::engine::value::key_part(&row.field(field)?)
}

/// What an operator was given in the last 24 hours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Operators {
    /// How many chats.
    pub total: u32,
    /// How many of them are done with.
    pub completed: u32,
    /// How many the operator still has.
    pub active: u32,
}

/// Counts what each operator was given in the last 24 hours. Takes rows of `chat_assignments`.
#[must_use]
pub fn history<'a, R: Record + 'a>(assignments: impl Iterator<Item = &'a R>, now_ms: u64) -> Named<Operators> {
    let mut counted = Named::new();
    for row in assignments {
        let (Some(operator), Some(at_ms)) = (id(row, "operator_id"), time(row, ASSIGNED_AT)) else { continue };
        if at_ms.saturating_add(DAY_MS) <= now_ms {
            continue;
        }
        let mut operators: Operators = counted.get(&operator).copied().unwrap_or_default();
        operators.total += 1;
        let is_released = row.field("released_at").is_some_and(|at| !at.is_null());
        let which = if is_released { &mut operators.completed } else { &mut operators.active };
        *which += 1;
        counted.insert(operator, operators);
    }
    counted
}

/// The live lists of a table of chats: how many are in each state, and who waits, the longest first.
///
/// # Errors
/// When the table is not one of chats.
pub fn summary(table: &TableConfig) -> Result<[ViewSpec; 2], Error> {
    let mut declared = table.clone();
    let mut lists = super::declare(&mut declared)?;
    let queue = ViewSpec { limit: None, ..lists.swap_remove(QUEUE) };
    let count = FigureSpec { name: "count".to_owned(), kind: FigureKind::Count, field: None };
    let states = ViewSpec {
        table: table.name.clone(),
        limit: Some(0),
        figures: vec![count],
        group_by: vec![super::CHAT_STATE.to_owned()],
        ..ViewSpec::default()
    };
    Ok([states, queue])
}

/// Tells figures as values.
impl From<Waits> for Value {
    fn from(waits: Waits) -> Self {
        Self::Map(Fields::from([
            ("count".to_owned(), Self::Number(f64::from(waits.count))),
            ("longestMs".to_owned(), super::super::given::ms(waits.longest_ms)),
            ("averageMs".to_owned(), super::super::given::ms(waits.average_ms)),
        ]))
    }
}
