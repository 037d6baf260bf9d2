//! Commands besides `up` and `down`, and what all commands share.

mod cost;
mod doctor;
mod file_owner;
mod help;
mod json;
mod list;
mod logs;
mod open;
mod policy;
mod read_only;
mod terminal;
