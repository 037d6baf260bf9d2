//! Shows what the commands of `app.release` print, while the instance runs them.

use super::Watch;
use crate::aws::identity;
use crate::base::event::Event;
use crate::resources::logs::{self, Reader, Source};
use crate::resources::orders::Orders;
use crate::resources::reports::{Phase, Report};

/// The output on one instance, as far as it was shown.
pub(super) struct Output<'a> {
    watch: &'a Watch<'a>,
    instance: &'a str,
    /// The account's number, once it is needed.
    account: Option<String>,
    reader: Reader,
    mark: Option<String>,
    /// Whether the commands ran according to the last report.
    runs: bool,
    /// Whether there was a report before the end of this wait.
    began: bool,
}

impl<'a> Output<'a> {
    pub fn of(watch: &'a Watch<'a>, instance: &'a str) -> Self {
        Self { watch, instance, account: None, reader: Reader::default(), mark: None, runs: false, began: false }
    }

    /// Shows the new lines while the commands run, and the last ones after that. The instance uploads them before it reports the
    /// end; no report may have shown the commands of a moment. `ends`: this report ends the wait. An error of a call only costs
    /// lines here: `devopsctl logs --release` shows all of them.
    pub async fn follow(&mut self, report: &Report, ends: bool) {
        let runs = report.phase == Phase::Releasing;
        let may_have_run = ends && self.began && self.watch.release_timeout.is_some();
        if std::mem::replace(&mut self.runs, runs) || runs || may_have_run {
            self.show(&report.orders).await;
        }
        self.began = true;
    }

    async fn show(&mut self, orders: &Orders) {
        let Watch { aws, name, sink, .. } = self.watch;
        if self.account.is_none() {
            self.account = identity(aws).await.ok().map(|identity| identity.account);
        }
        let Some(account) = &self.account else { return };
        let found = logs::look(aws, (account, name), self.instance, &Source::Release, &self.mark).await;
        let Some((window, mark)) = found.ok().flatten() else { return };
        self.mark = mark;
        // The log of other commands than those of these orders is not uploaded anew yet.
        if window.of.as_ref() == Some(orders) {
            let (_, lines) = self.reader.fresh(&window);
            lines.into_iter().for_each(|line| sink.event(Event::Say(format!("  app.release: {}", line.2))));
        }
    }
}
