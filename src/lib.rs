//! `devopsctl` puts a small Python web app on the user's own AWS account.
//!
//! It has nine layers. Each uses only those above it in this list; `tests/it/architecture.rs` refuses anything else:
//!
//! - [`base`] what every layer needs: errors, events, names in AWS, secrets, folders, the programs that are started
//! - [`config`] `deploy.yaml` → [`config::Deployment`]
//! - [`sandbox`] a local AWS with real machines, started by the binary itself
//! - [`aws`] clients, retries, images, what an error code means to a person; the sandbox is one endpoint more
//! - [`release`] the app, its dependencies and the agent as one content-addressed archive
//! - [`resources`] one file a kind: observe, diff (pure), apply, delete; and the policy that allows all of it
//! - [`engine`] plan (pure), execute (the only mutator), wait until it is healthy
//! - [`ui`] turns events and errors into lines; it knows of `base` alone
//! - [`commands`] what can be typed, and one file a verb: gather, decide, do, say

pub mod aws;
pub mod base;
pub mod commands;
pub mod config;
pub mod engine;
pub mod release;
pub mod resources;
pub mod sandbox;
pub mod ui;
