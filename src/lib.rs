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

mod domain;
mod engine;
#[cfg(target_arch = "wasm32")]
mod web;

pub use domain::Domains;
pub use engine::engine::{Engine, Stats};
pub use engine::error::{Error, Problem};
pub use engine::input::{Command, Config, Gone, Input, PullCall, Pulled, ServerEvent, Stored};
pub use engine::link::{
    LinkConfig, LinkState, LinkStatus, PONG_MS, Polling, PullRequest, STABLE_MS, TOKEN_WAIT_MS, WANTED_KEYS_MAX,
};
#[cfg(feature = "marks")]
pub use engine::mark::{Mark, take_marks};
pub use engine::operation::{
    Answer, Operation, OperationId, OperationState, Outcome, PROTOCOL, Settlement, Version, name,
};
pub use engine::outbox::{IN_FLIGHT_MAX, OUTBOX_LEN_MAX};
pub use engine::output::{
    Changes, Durability, Edit, GroupChange, OperationView, Output, RecordChange, Status, ViewChange, WindowChange,
};
pub use engine::overlay::{Effect, Rules};
pub use engine::record::{JsonRecord, Record};
pub use engine::retry::{AFTER_MS_MAX, Failure, RetryPolicy};
#[cfg(feature = "sabotage")]
pub use engine::sabotage::{Sabotage, plant};
pub use engine::session::{FORMAT, Session};
pub use engine::sorted::Named;
pub use engine::stored::{Content, FoundEntry, StoredOperation};
pub use engine::table::{RecordId, Row, TOMBSTONES_MAX, TableConfig, join_key, key_part};
pub use engine::tabs::{BEAT_MS, Kind, MESSAGE_OPERATIONS_MAX, MESSAGE_RECORDS_MAX, Role, TAB_PROTOCOL, TabMessage};
pub use engine::time::{CLOCK_AHEAD_MS_MAX, Hlc, Now};
pub use engine::value::{DEPTH_MAX, Fields, INTEGER_MAX, Value};
pub use engine::view::{
    FIGURES_LEN_MAX, FILTER_DEPTH_MAX, FILTER_LEN_MAX, FieldName, FigureKind, FigureSpec, Filter, GROUP_FIELDS_MAX,
    GROUPS_MAX, Range, SORT_LEN_MAX, SortKey, Term, Terms, VIEWS_MAX, ViewSpec,
};
