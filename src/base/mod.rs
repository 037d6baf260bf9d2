//! What every layer needs. It depends on no other layer.

pub mod child;
pub mod clock;
pub mod digest;
pub mod dirs;
pub mod error;
pub mod event;
pub mod interrupt;
pub mod logins;
pub mod names;
pub mod next;
pub mod rotation_window;
pub mod secret;
pub mod toml_file;
pub mod uv;
