//! `up`, `down` and `rollback`.

mod accounts;
mod cpu_credits;
mod data;
mod drift;
mod errors;
mod interrupted;
mod launch;
mod lifecycle;
mod recovery;
mod regions;
mod replacement;
mod rollback;
mod slow_tags;
