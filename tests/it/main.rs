//! Black box: the real binary against a real sandbox, with real gunicorn over real HTTP.
//!
//! One binary for all stories, because each links the AWS SDKs anew. Every test has a project and a sandbox of its own
//! (see [`project`]), and leaves nothing behind, also when it fails.

mod accounts;
mod apps;
mod architecture;
mod browser;
mod cache;
mod caller;
mod children;
mod console;
mod cost;
mod credits;
mod disasters;
mod docs;
mod doctor;
mod documents;
mod drift;
mod error_snapshots;
mod errors;
mod grace;
#[allow(dead_code)]
mod http;
mod init;
mod killed;
mod launch;
mod list;
mod logs;
mod looking;
mod machines;
mod owner;
mod packages;
mod permissions;
mod pool;
mod project;
mod python;
mod records;
mod regions;
mod replacement;
mod rollback;
mod rotation;
mod sandbox;
mod shell;
mod ssh;
mod story;
mod tags;
mod terminal;
mod times;
mod visitor;
mod wheels;
