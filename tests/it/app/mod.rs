//! What is deployed: apps, dependencies, builds, and the cache.

mod asgi;
mod behaviour;
mod build_commands;
mod builds;
mod cache;
mod indexes;
mod init;
mod local_packages;
mod permissions;
mod processes;
mod release_command;
mod schedule;
mod static_files;
