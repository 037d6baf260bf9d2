//! DNS records and SSH.

mod dns;
mod run;
pub mod ssh;
