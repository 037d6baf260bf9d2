//! What every room needs. It knows of none.

pub mod child;
pub mod digest;
pub mod dirs;
pub mod error;
pub mod event;
pub mod grace;
pub mod interrupt;
pub mod names;
pub mod secret;
pub mod uv;
