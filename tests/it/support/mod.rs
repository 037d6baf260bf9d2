//! What the tests share.

// Each test binary uses only a part of it.
#![allow(dead_code, unused_macros)]

pub mod browser;
pub mod console;
pub mod event_stream;
pub mod files;
pub mod http;
pub mod load_clients;
pub mod pool;
pub mod project;
pub mod pseudo_terminal;
pub mod ssh_session;
pub mod times;
pub mod websocket;
