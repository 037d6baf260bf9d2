//! Observe → plan (pure) → execute (the only mutator).

pub mod cost;
pub mod deployments;
pub mod execute;
pub mod health;
pub mod observe;
pub mod plan;
pub mod probe;
pub mod proxy;
pub mod rollout;
pub mod spec;
pub mod topology;
