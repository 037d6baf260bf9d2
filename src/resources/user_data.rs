//! The user data for cloud-init: one constant program, without secrets and without differences between deployments.

use std::io::Write;
use std::sync::LazyLock;

use flate2::Compression;
use flate2::write::GzEncoder;

/// EC2's limit, before base64: <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-add-user-data.html>
pub const LIMIT: usize = 16_384;

const INSTALL: &str = include_str!("../../agent/boot/install.sh");
const PARTS: [&str; 5] = [
    include_str!("../../agent/boot/validate.py"),
    include_str!("../../agent/boot/aws.py"),
    include_str!("../../agent/orders/orders.py"),
    include_str!("../../agent/orders/report.py"),
    include_str!("../../agent/boot/bootstrap.py"),
];

/// The prefixes of imports between parts.
const OWN: [&str; 2] = ["from boot.", "from orders."];

static PACKED: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let program = program();
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    let written = packed.write_all(program.as_bytes());
    written.and_then(|()| packed.finish()).unwrap_or_else(|_| program.into_bytes())
});

fn program() -> String {
    // All parts are in one file and one namespace, so imports between parts are removed.
    let lines = PARTS.into_iter().flat_map(str::lines);
    let python: Vec<&str> = lines.filter(|line| !OWN.iter().any(|import| line.starts_with(import))).collect();
    INSTALL.replace("@PROGRAM@", &python.join("\n"))
}

/// The compressed program: cloud-init and the sandbox's process machine accept gzip.
/// <https://cloudinit.readthedocs.io/en/latest/explanation/format.html>
pub fn packed() -> &'static [u8] {
    &PACKED
}

#[cfg(test)]
mod tests {
    use std::io;

    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn it_fits() {
        assert!(packed().len() <= LIMIT, "{} bytes", packed().len());
    }

    #[test]
    fn it_is_a_program_in_one_piece() {
        let program = io::read_to_string(GzDecoder::new(packed())).unwrap();
        assert_eq!(program, super::program());
        assert!(program.starts_with("#!/bin/sh\n"));
        assert!(OWN.iter().all(|import| !program.contains(&format!("\n{import}"))));
        assert!(!program.contains("@PROGRAM@"));
        assert_eq!(program.matches("\nPROGRAM\n").count(), 1);
    }
}
