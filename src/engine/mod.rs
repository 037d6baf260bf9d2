//! Observe → plan (pure) → execute (the only mutator).

pub mod context;
pub mod deployments;
pub mod edge;
pub mod execute;
pub mod health;
pub mod history;
pub mod interrupt;
pub mod observe;
pub mod plan;
pub mod retry;
