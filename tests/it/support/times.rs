//! The durations of the tests, one per line in the file that [`TIMES`] names. `.ci/run` shows the slowest at its end.

use std::fs::OpenOptions;
use std::io::Write;
use std::time::Duration;

/// The variable with the file's path. Without it nothing is recorded.
pub const TIMES: &str = "DEVOPSCTL_TEST_TIMES";

/// Records a duration.
pub fn note(test: &str, took: Duration) {
    let Some(path) = std::env::var_os(TIMES) else { return };
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    // One write per line, because tests and programs write concurrently.
    file.write_all(format!("{:.1} {test}\n", took.as_secs_f32()).as_bytes()).unwrap();
}
