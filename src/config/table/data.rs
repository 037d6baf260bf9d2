//! The keys of `data`.

use super::super::keys::{Number, Section, Text};

pub static DATA: Section = Section {
    name: "data",
    path: "data",
    about: "an encrypted volume for the app's files; the app reads its folder from DATA_DIR",
    keys: &[&DATA_PATH, &DATA_GIB],
    needs: &["path"],
};

pub static DATA_PATH: Text = Text {
    name: "path",
    about: "folder of a volume for the app's files, such as /data; the volume outlives releases, instances and `down`",
    default: None,
    pattern: r"^(/[A-Za-z0-9_][A-Za-z0-9._-]{0,63}){1,4}$",
};

pub static DATA_GIB: Number = Number {
    name: "gib",
    about: "size of that volume in GiB; it can grow, but not shrink",
    least: 1,
    most: 16384,
    default: 10,
};
