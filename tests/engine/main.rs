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

mod bounds;
mod cache;
mod chance;
mod channel;
mod durable;
mod found;
mod keeping;
mod link;
mod retry;
mod seen;
mod tabs;
mod views;
mod watch;
