//! `set-token`: the token changes while the app serves.

mod proxy_check;
mod rotation;
mod rotation_window;
