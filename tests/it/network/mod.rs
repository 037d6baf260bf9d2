//! DNS records and SSH.

mod dns;
pub mod ssh;
