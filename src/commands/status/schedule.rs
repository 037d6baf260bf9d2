//! The lines of `status` about `schedule`.

use futures_util::future::join_all;

use super::ago;
use super::view::View;
use crate::base::clock;
use crate::resources::reports::ScheduledRun;

impl View<'_> {
    /// The last and the next run of each schedule.
    pub(super) async fn schedule(&self) -> Vec<String> {
        let runs = self.report.iter().flat_map(|report| report.schedule.iter().flatten());
        let line = async |(name, run): (&String, &ScheduledRun)| format!("{name}: {}; {}", last(run), next(run).await);
        join_all(runs.map(line)).await
    }
}

fn last(run: &ScheduledRun) -> String {
    let Some(began) = run.last else {
        return run.error.as_ref().map_or_else(|| "no run yet".to_owned(), |error| format!("it cannot run: {error}"));
    };
    let ended = match (run.code, &run.error) {
        (None, None) => "still running".to_owned(),
        (None, Some(error)) => format!("failed: {error}"),
        (Some(0), None) => "succeeded".to_owned(),
        (Some(code), None) if code < 0 => format!("killed by signal {}", -code),
        (Some(code), None) => format!("failed with exit code {code}"),
        (Some(code), Some(error)) => format!("exit code {code}; the next one cannot begin: {error}"),
    };
    let skipped = match run.skipped {
        0 => String::new(),
        1 => ", and one run was skipped meanwhile".to_owned(),
        more => format!(", and {more} runs were skipped meanwhile"),
    };
    format!("last run {}: {ended}{skipped}", ago(began))
}

async fn next(run: &ScheduledRun) -> String {
    match run.next {
        Some(next) if next > clock::now() => format!("next run {}", clock::until(next).await),
        Some(next) => format!("the next run is due since {}", ago(next)),
        None => "its next run is not known yet".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_state_of_a_schedule_is_told() {
        let began = clock::now() - 120;
        let run = |code, error: Option<&str>, skipped| {
            last(&ScheduledRun { last: Some(began), code, error: error.map(str::to_owned), next: None, skipped })
        };
        assert_eq!(run(None, None, 0), "last run 2 minutes ago: still running");
        assert_eq!(run(None, None, 2), "last run 2 minutes ago: still running, and 2 runs were skipped meanwhile");
        assert_eq!(run(Some(0), None, 1), "last run 2 minutes ago: succeeded, and one run was skipped meanwhile");
        assert_eq!(run(Some(7), None, 0), "last run 2 minutes ago: failed with exit code 7");
        assert_eq!(run(Some(-9), None, 0), "last run 2 minutes ago: killed by signal 9");
        assert_eq!(run(None, Some("why"), 0), "last run 2 minutes ago: failed: why");
        let cannot = run(Some(0), Some("why"), 0);
        assert_eq!(cannot, "last run 2 minutes ago: exit code 0; the next one cannot begin: why");
        assert_eq!(last(&ScheduledRun::default()), "no run yet");
        assert_eq!(next(&ScheduledRun::default()).await, "its next run is not known yet");
        let due = ScheduledRun { next: Some(began), ..ScheduledRun::default() };
        assert_eq!(next(&due).await, "the next run is due since 2 minutes ago");
        let later = ScheduledRun { next: Some(clock::now() + 600), ..ScheduledRun::default() };
        assert!(next(&later).await.ends_with("minutes from now"));
    }
}
