//! `devopsctl` puts a small Python web app on the user's own AWS account.
//!
//! The map of the house, in the order in which data flows:
//!
//! - [`cli`] what can be typed; [`commands`] one file a verb: gather, decide, do, say
//! - [`config`] `deploy.yaml` → [`config::Deployment`]; [`names`] every name in AWS
//! - [`policy`] what all of that may do in an account; [`cost`] what it costs there
//! - [`logs`] what an instance shows of its log; [`ssh`] how somebody gets onto it; [`documents`] what `--json` prints
//! - [`init`] finds the app in a folder (pure) and writes a first `deploy.yaml` for it
//! - [`doctor`] whether `up` would work: looks, and judges (pure)
//! - [`aws`] clients, images, what an error code means to a person
//! - [`release`] the app and its dependencies as one content-addressed archive; [`user_data`] the boot program;
//!   [`edge`] what stands before the app
//! - [`resources`] one file a kind: observe, diff (pure), apply, delete
//! - [`engine`] plan (pure) and execute (the only mutator)
//! - [`probe`] asks the running app; [`ui`] turns events into lines
//! - [`sandbox`] a local AWS with real machines, started by the binary itself
//! - [`error`] is what every verb ends with when it does not end well; [`secret`], [`grace`], [`digest`], [`dirs`], [`child`] and
//!   [`uv`] serve them all

pub mod aws;
pub mod child;
pub mod cli;
pub mod commands;
pub mod config;
pub mod cost;
pub mod digest;
pub mod dirs;
pub mod doctor;
pub mod documents;
pub mod edge;
pub mod engine;
pub mod error;
pub mod grace;
pub mod init;
pub mod logs;
pub mod names;
pub mod policy;
pub mod probe;
pub mod release;
pub mod resources;
pub mod sandbox;
pub mod secret;
pub mod ssh;
pub mod ui;
pub mod user_data;
pub mod uv;
