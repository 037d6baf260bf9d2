//! The size of an instance type, by its name: a default that depends on it needs no call.

/// The processors and the memory of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// The number of vCPUs.
    pub vcpus: u32,
    /// The memory in MiB.
    pub mib: u32,
}

/// The sizes of T3, T3a and T4g: <https://docs.aws.amazon.com/ec2/latest/instancetypes/gp.html>
const BURSTABLE: [(&str, Size); 7] = [
    ("nano", Size { vcpus: 2, mib: 512 }),
    ("micro", Size { vcpus: 2, mib: 1024 }),
    ("small", Size { vcpus: 2, mib: 2048 }),
    ("medium", Size { vcpus: 2, mib: 4096 }),
    ("large", Size { vcpus: 2, mib: 8192 }),
    ("xlarge", Size { vcpus: 4, mib: 16384 }),
    ("2xlarge", Size { vcpus: 8, mib: 32768 }),
];

/// The size of an instance type; `None` for a family that is not known here.
pub fn size(kind: &str) -> Option<Size> {
    let (family, size) = kind.split_once('.')?;
    if ["t3", "t3a", "t4g"].contains(&family) {
        return BURSTABLE.iter().find(|(name, _)| *name == size).map(|(_, size)| *size);
    }
    // Since their fifth generation, C, M and R have the same memory for each vCPU in all sizes.
    let (letter, rest) = family.split_at_checked(1)?;
    let mib_each = match letter {
        "c" => 2048,
        "m" => 4096,
        "r" => 8192,
        _ => return None,
    };
    if !rest.starts_with(|generation| matches!(generation, '5'..='9')) {
        return None;
    }
    let vcpus = match size {
        "medium" => 1,
        "large" => 2,
        "xlarge" => 4,
        size => size.strip_suffix("xlarge")?.parse::<u32>().ok()?.checked_mul(4)?,
    };
    Some(Size { vcpus, mib: vcpus.checked_mul(mib_each)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_a_type_is_known_by_its_name() {
        for (kind, vcpus, gib) in [
            ("t3.micro", 2, 1),
            ("t4g.small", 2, 2),
            ("t3a.2xlarge", 8, 32),
            ("c7g.medium", 1, 2),
            ("c6i.large", 2, 4),
            ("m7i-flex.large", 2, 8),
            ("m5.4xlarge", 16, 64),
            ("r8g.xlarge", 4, 32),
            ("m7a.48xlarge", 192, 768),
        ] {
            assert_eq!(size(kind), Some(Size { vcpus, mib: gib * 1024 }), "{kind}");
        }
        for kind in
            ["t3.huge", "t2.micro", "m4.large", "mac1.metal", "m5.metal", "g5.xlarge", "c7g.0x", "m5.", "é.large", ""]
        {
            assert_eq!(size(kind), None, "{kind}");
        }
        assert_eq!(size("m5.4294967295xlarge"), None);
    }
}
