//! The sandbox itself.

mod child_processes;
mod lifecycle;
mod machine_option;
