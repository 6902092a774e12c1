//! What the engine promises, tried in a world of tabs, storage, locks, a network and a server, all in virtual time.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::too_many_lines,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::needless_pass_by_value,
    clippy::struct_excessive_bools,
    missing_docs,
    reason = "a broken assumption stops a test"
)]

mod server;
mod watcher;
mod world;

mod acknowledge;
mod attending;
mod batches;
mod bounds;
mod cache;
mod chance;
mod channel;
mod chats;
mod coalesce;
mod conflicts;
mod depend;
mod durable;
mod found;
mod keeping;
mod link;
mod lockless;
mod pages;
mod parting;
mod presence;
mod rebase;
mod resting;
mod retry;
mod seen;
mod session;
mod tabs;
mod temporary;
mod trace;
mod transactions;
mod unanswered;
mod undo;
mod versions;
mod views;
mod watch;
