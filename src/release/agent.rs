//! What runs on the instance, embedded: each release brings its agent along.

/// Path below `agent/` in the archive, and content.
pub const FILES: &[(&str, &str)] =
    &[("aws.py", include_str!("../../agent/aws.py")), ("bootstrap.py", include_str!("../../agent/bootstrap.py"))];
