//! What the engine promises, tried in a world of tabs, storage, locks, a network and a server, all in virtual time.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::too_many_lines,
    missing_docs,
    reason = "a broken assumption stops a test"
)]

mod server;
mod world;

mod chance;
