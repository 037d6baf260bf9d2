//! The keys of `schedule`.

use super::super::keys::{Flag, Number, Section, Sections, Text};
use super::patterns::{ANY, PROGRAM};

pub static SCHEDULE: Sections = Sections {
    name: "schedule",
    about: "commands that run on the instance at certain times, by name",
    names: PROGRAM,
    each: &[&RUN],
    text: None,
    most: (8, "the report of an instance has room for eight"),
};

pub static RUN: Section = Section {
    name: "NAME",
    path: "schedule.NAME",
    about: "a command, and when it runs",
    keys: &[&CRON, &RUN_COMMAND, &RUN_TIMEOUT, &CATCH_UP],
    needs: &["cron", "run"],
};

pub static CRON: Text = Text {
    name: "cron",
    about: "when it runs, in UTC: minute, hour, day of the month, month, weekday, as in `15 3 * * mon-fri`; or `@hourly`, `@daily`, `@weekly`, `@monthly`",
    default: None,
    pattern: r"^(@[A-Za-z]+|\s*[0-9*,/-]+\s+[0-9*,/-]+\s+[0-9*,/-]+\s+[0-9A-Za-z*,/-]+\s+[0-9A-Za-z*,/-]+\s*)$",
};

pub static RUN_COMMAND: Text = Text {
    name: "run",
    about: "shell command, which runs in app.path with the settings and secrets of the app",
    default: None,
    pattern: ANY,
};

pub static RUN_TIMEOUT: Number =
    Number { name: "timeout", about: "seconds that a run may take", least: 1, most: 86400, default: 3600 };

pub static CATCH_UP: Flag = Flag {
    name: "catch_up",
    about: "whether a run that was missed, because the instance was off or could not reach S3, takes place as soon as possible, once",
    default: false,
};
