//! End-to-end tests: the real binary, a real sandbox, and real gunicorn over real HTTP.
//!
//! All of them are one test binary, because each binary links the AWS SDKs again. Every test has its own project and sandbox
//! ([`project`]) and leaves nothing behind, also when it fails.
//!
//! - `app/` what is deployed: apps, `init`, dependencies, builds, the cache
//! - `deploy/` `up`, `down` and `rollback`, on accounts and in situations of all kinds
//! - `token/` `set-token`
//! - `secrets/` `secrets …`, and what `up` and `down` do with secrets
//! - `network/` DNS and SSH
//! - `commands/` the other commands, and what all of them share: help, JSON, the terminal, permissions
//! - `sandbox/` the sandbox itself
//! - `error_snapshots/` every error message
//! - `shapes/` small apps in the shape of real ones, each used by a client as its user would
//! - `support/` what the tests share
//!
//! Beside them, `docs.rs` checks the documents, `architecture.rs` the layers of the source, and `python_suites.rs` runs pytest.

mod app;
mod architecture;
mod commands;
mod deploy;
mod docs;
mod error_snapshots;
mod network;
mod python_suites;
mod sandbox;
mod secrets;
mod shapes;
mod support;
mod token;

use support::{
    browser, console, event_stream, files, http, load_clients, project, pseudo_terminal, ssh_session, times, websocket,
};
