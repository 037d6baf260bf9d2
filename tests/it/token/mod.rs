//! `set-token`: the token changes while the app serves.

mod rotation;
mod rotation_window;
