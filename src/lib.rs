//! `devopsctl` deploys a small Python web app to the user's own AWS account.
//!
//! There are nine layers. Each uses only layers above it in this list, which `tests/it/architecture.rs` checks:
//!
//! - [`base`] what every layer needs: errors, events, names in AWS, secrets, folders, child processes
//! - [`config`] `deploy.yaml` → [`config::Deployment`]
//! - [`sandbox`] a local AWS with real instances, which the program starts itself
//! - [`aws`] clients, retries, images, explanations of errors; the sandbox is another endpoint
//! - [`release`] the app, its dependencies and the agent as one content-addressed archive
//! - [`resources`] one file per kind: observe, diff (pure), apply, delete; and the IAM policy for all of it
//! - [`engine`] plan (pure), execute (the only mutator), wait until the app is healthy
//! - [`ui`] events and errors → lines; depends only on `base`
//! - [`commands`] the command line, and one file per verb: read the input, decide, act, report

pub mod aws;
pub mod base;
pub mod commands;
pub mod config;
pub mod engine;
pub mod release;
pub mod resources;
pub mod sandbox;
pub mod ui;
