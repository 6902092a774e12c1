//! The sync engine, for any table.
//!
//! Pure and deterministic: no clock, no randomness, no I/O, no browser. The world tells it [`Input`]s, it answers with
//! [`Output`]s. Only [`engine`] knows every room beside it.

pub(crate) mod alias;
pub(crate) mod audit;
pub(crate) mod authors;
pub(crate) mod engine;
pub(crate) mod error;
pub(crate) mod input;
pub(crate) mod instant;
pub(crate) mod link;
pub(crate) mod mark;
pub(crate) mod merge;
pub(crate) mod operation;
pub(crate) mod outbox;
pub(crate) mod output;
pub(crate) mod overlay;
pub(crate) mod presence;
pub(crate) mod record;
pub(crate) mod retry;
pub(crate) mod rules;
pub(crate) mod sabotage;
pub(crate) mod server_clock;
pub(crate) mod session;
pub(crate) mod sorted;
pub(crate) mod stored;
pub(crate) mod table;
pub(crate) mod tabs;
pub(crate) mod time;
pub(crate) mod trace;
pub(crate) mod value;
pub(crate) mod version;
pub(crate) mod view;
