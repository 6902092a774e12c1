//! # Rota
//!
//! A state engine for live, shared work: it keeps who-does-what right on every screen — at once, in every tab, through lost
//! links, dying tabs, races and conflicts.
//!
//! The engine is sans-IO. Whoever runs it does this, and nothing else:
//!
//! 1. Tell it what happened: [`Engine::handle`] with an [`Input`] and the time.
//! 2. Drain [`Engine::poll`] until it is empty, performing each [`Output`]. `Output::Persist` is answered at once, before the next poll.
//! 3. At [`Engine::deadline`], or earlier if something happens, go on with 1; when nothing else did, `Input::TimerFired` is what happened.
//!
//! In the browser the shell in `src/web` does that, with records held as JavaScript objects by reference; natively, in tests and
//! simulation, [`JsonRecord`] takes their place and the very same engine runs.
//!
//! ```
//! use rota_engine::{Config, Domains, Engine, JsonRecord, Now, Output};
//!
//! let config: Config = serde_json::from_str(
//!     r#"{"app": "crm", "user": "maya", "tables": [{"name": "jobs", "key": ["id"], "fields": ["id", "title"]}]}"#,
//! )?;
//! let mut engine: Engine<JsonRecord> = Engine::new(config, Box::new(Domains), [7; 16], Now::default())?;
//! assert!(matches!(engine.poll(), Some(Output::LoadOperations)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(all(target_arch = "wasm32", feature = "marks"))]
compile_error!("the features `marks` and `sabotage` are for the simulator; no browser gets them");

#[cfg(all(target_arch = "wasm32", any(feature = "browser", feature = "policy-sql")))]
mod border;
mod domain;
mod engine;
#[cfg(all(target_arch = "wasm32", feature = "policy-sql"))]
mod kit;
#[cfg(all(target_arch = "wasm32", feature = "browser"))]
mod web;

pub use domain::Domains;
pub use domain::assignment::{
    Assigned, Handed, News, Progress, handed, history_of, lost_by_ms, news, progress, statistics,
};
pub use domain::availability::{Free, SlotIndex};
pub use domain::chat::{IDLE_MS, Operators, Repeated, Standing, Waits, history, repeated, standing, summary, waits};
pub use domain::form::{Submission, editors, submission};
pub use domain::interaction::{Happened, Selection, active_interactions, happened};
pub use domain::invalidation::default_invalidations;
pub use domain::notification::{Notice, NoticeKind, NoticeSettings, Noticed, Notices, SHOWN_MAX, WAITING_MAX};
pub use domain::policy::policy_sql;
pub use domain::profile::{Edited, edited};
pub use engine::audit::{AUDIT_BYTES_MAX, AUDIT_LEN_MAX, AuditEntry};
pub use engine::engine::{AFTER_MAX, BATCH_MAX, Engine, REPLACES_MAX, ROUNDS_MAX, Stats, UNDO_MAX, replay};
pub use engine::error::{Error, Problem};
pub use engine::input::{
    Choice, Command, Config, Gone, Input, PullCall, Pulled, ServerEvent, Stored, Unanswered, Unread, Unsent,
};
pub use engine::link::{
    LinkConfig, LinkState, LinkStatus, PAGES_MAX, PONG_MS, Polling, PullRequest, STABLE_MS, TOKEN_WAIT_MS,
    WANTED_KEYS_MAX,
};
#[cfg(feature = "marks")]
pub use engine::mark::{Mark, take_marks};
pub use engine::merge::{Decided, Decision, FieldConflict, Rule, UNION_LEN_MAX};
pub use engine::operation::{
    Alias, Answer, Operation, OperationId, OperationState, Outcome, PARTS_MAX, PROTOCOL, PROTOCOL_WITH_PARTS, Part,
    Settlement, Step, Told, Winner, name,
};
pub use engine::outbox::{CONCURRENCY, CONCURRENCY_MAX, OUTBOX_LEN_MAX};
pub use engine::output::{
    Changes, Conflict, ConflictChange, Durability, Edit, GroupChange, Invalidation, OperationView, Output, PartView,
    Previews, Reach, RecordChange, Renamed, Status, ViewChange, WindowChange,
};
pub use engine::presence::{At, Doing, PEER_MS, PEERS_MAX, Peer, Presence, TYPING_MS};
pub use engine::record::{JsonRecord, Record};
pub use engine::retry::{AFTER_MS_MAX, Failure, RetryPolicy};
pub use engine::rules::{Context, Effect, FACT_BYTES_MAX, FACTS_MAX, Inverse, Look, Moved, Rules, WATCHES_MAX};
#[cfg(feature = "sabotage")]
pub use engine::sabotage::{Sabotage, plant};
pub use engine::session::{FORMAT, Session};
pub use engine::sorted::Named;
pub use engine::stored::{Content, FoundEntry, STORED_FORM, StoredAlias, StoredOperation};
pub use engine::table::{COVERS_MAX, Cover, RecordId, Row, TOMBSTONES_MAX, TableConfig, join_key};
pub use engine::tabs::{BEAT_MS, Kind, MESSAGE_OPERATIONS_MAX, MESSAGE_RECORDS_MAX, Role, TAB_PROTOCOL, TabMessage};
pub use engine::time::{CLOCK_AHEAD_MS_MAX, Hlc, Now};
pub use engine::trace::{TRACE_FORM, TRACE_MAX, Trace, Traced};
pub use engine::value::{DEPTH_MAX, Fields, INTEGER_MAX, Value, key_part};
pub use engine::version::{VERSION_BYTES_MAX, Version, VersionOrder};
pub use engine::view::{
    FIGURES_LEN_MAX, FILTER_DEPTH_MAX, FILTER_LEN_MAX, FieldName, FigureKind, FigureSpec, Filter, GROUP_FIELDS_MAX,
    GROUPS_MAX, Range, SORT_LEN_MAX, SortKey, Term, Terms, VIEWS_MAX, ViewSpec,
};
