//! What cloud-init receives: one constant program. Nothing secret is in it, and nothing that differs between
//! deployments.

use std::sync::LazyLock;

/// EC2's limit, before base64: <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-add-user-data.html>
pub const LIMIT: usize = 16_384;

const AWS: &str = include_str!("../agent/aws.py");
const BOOTSTRAP: &str = include_str!("../agent/bootstrap.py");

static PROGRAM: LazyLock<String> = LazyLock::new(|| {
    // In one file the two are one namespace: what bootstrap.py imports from aws.py is there already.
    let bootstrap: String =
        BOOTSTRAP.lines().filter(|line| !line.starts_with("from aws import ")).flat_map(|line| [line, "\n"]).collect();
    let bootstrap = bootstrap.trim_start_matches("#!/usr/bin/env python3\n");
    format!("#!/usr/bin/env python3\n{AWS}\n{bootstrap}")
});

/// The program.
pub fn program() -> &'static str {
    &PROGRAM
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_fits() {
        assert!(program().len() <= LIMIT, "{} bytes", program().len());
    }

    #[test]
    fn it_is_a_program_in_one_piece() {
        assert!(program().starts_with("#!/usr/bin/env python3\n"));
        assert!(!program().contains("\nfrom aws import "));
        assert_eq!(program().matches("#!/").count(), 1);
    }
}
