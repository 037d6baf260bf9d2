//! The keys of `network`.

use super::super::keys::{Flag, List, Number, Section, Text, Word};
use super::patterns::ANY;

pub static NETWORK: Section = Section {
    name: "network",
    path: "network",
    about: "how the app is served",
    keys: &[&HTTPS, &PORT, &DOMAIN, &DNS, &ACME_DIRECTORY, &ACME_ROOT, &ALLOW, &STATIC_IP, &SUBNET, &LIMITS],
    needs: &[],
};

pub static HTTPS: Word = Word {
    name: "https",
    about: "`off`: plain HTTP, on which anyone on the network path can read the token",
    default: Some("auto"),
    words: &["auto", "off"],
    switch: true,
};

pub static PORT: Number =
    Number { name: "port", about: "port of plain HTTP, with `https: off`", least: 1, most: 65535, default: 80 };

pub static DOMAIN: Text = Text {
    name: "domain",
    about: "domain of the app; default: served at its address",
    default: None,
    pattern: r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)+$",
};

pub static DNS: Word = Word {
    name: "dns",
    about: "`route53`: manage the domain's record in this account; default: `up` shows the record for you to create",
    default: None,
    words: &["route53"],
    switch: false,
};

pub static ACME_DIRECTORY: Text = Text {
    name: "acme_directory",
    about: "ACME directory of another certificate authority than Let's Encrypt",
    default: None,
    pattern: r"^https://[^/\s]\S*$",
};

pub static ACME_ROOT: Text = Text {
    name: "acme_root",
    about: "PEM file with the root certificates of a private CA",
    default: None,
    pattern: ANY,
};

pub static ALLOW: List = List {
    name: "allow",
    about: "client addresses to allow, as CIDR blocks",
    default: &["0.0.0.0/0"],
    pattern: "^[0-9A-Fa-f:.]+/[0-9]{1,3}$",
};

pub static STATIC_IP: Flag =
    Flag { name: "static_ip", about: "use an Elastic IP, so that the URL outlives the instance", default: true };

pub static SUBNET: Text = Text {
    name: "subnet",
    about: "subnet of the instance; default: one of the default VPC",
    default: None,
    pattern: "^subnet-[0-9A-Fa-f]{8,}$",
};

pub static LIMITS: Section = Section {
    name: "limits",
    path: "network.limits",
    about: "limits for clients",
    keys: &[&BODY_MB, &HEADER_SECONDS, &BODY_SECONDS, &IDLE_SECONDS],
    needs: &[],
};

pub static BODY_MB: Number =
    Number { name: "body_mb", about: "maximum size of a request's body in MiB", least: 1, most: 1024, default: 10 };

pub static HEADER_SECONDS: Number =
    Number { name: "header_seconds", about: "seconds to send the headers", least: 1, most: 600, default: 10 };

pub static BODY_SECONDS: Number =
    Number { name: "body_seconds", about: "seconds to send the whole request", least: 1, most: 3600, default: 60 };

pub static IDLE_SECONDS: Number =
    Number { name: "idle_seconds", about: "seconds a connection may be idle", least: 1, most: 3600, default: 60 };
