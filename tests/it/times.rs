//! How long each test took, for the list of the slowest at the end of `.ci/run`: a line a test, in the file that
//! [`TIMES`] names.

use std::fs::OpenOptions;
use std::io::Write;
use std::time::Duration;

/// Names the file. Without it nothing is noted.
pub const TIMES: &str = "DEVOPSCTL_TEST_TIMES";

/// Notes one.
pub fn note(test: &str, took: Duration) {
    let Some(path) = std::env::var_os(TIMES) else { return };
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    // One write a line: several tests, and several programs, note at the same time.
    file.write_all(format!("{:.1} {test}\n", took.as_secs_f32()).as_bytes()).unwrap();
}
