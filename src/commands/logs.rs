//! `logs`: the agent uploads the requested log for as long as the command asks for it.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::Session;
use crate::aws::retry::{LOOK_AGAIN, Retry, Unseen};
use crate::aws::time::rfc3339;
use crate::base::error::{Exit, Failure, Result};
use crate::base::next::Next;
use crate::commands::cli::Logs;
use crate::commands::documents;
use crate::resources::logs::{self, Line, Reader, Source, Window};
use crate::resources::reports::Report;

/// Pause between two requests: the agent uploads for a minute after each.
const RENEW: Duration = Duration::from_secs(30);
/// Pause before the first repetition of an unanswered request.
const ASK_AGAIN: Duration = Duration::from_secs(5);

pub(super) async fn run(session: &Session, arguments: &Logs) -> Result<ExitCode> {
    session.interrupt.or(show(session, arguments)).await?;
    Ok(ExitCode::SUCCESS)
}

async fn show(session: &Session, arguments: &Logs) -> Result<()> {
    let (aws, name, source) = (&session.aws, session.name(), &arguments.source());
    let mut reader = Reader::default();
    let (mut first, mut asked) = (true, None::<Asked>);
    loop {
        // Observed each time: another instance may have replaced this one.
        let observed = session.running().await?;
        let Some((instance, report)) = observed.serving() else { return Err(no_instance(session)) };
        if let Source::Named(named) = source {
            check_known(session, report, named)?;
        }
        let asked = match &mut asked {
            Some(asked) if asked.instance == instance.id => asked,
            another => another.insert(Asked::nothing(&instance.id)),
        };
        asked.words.push(logs::ask(aws, &instance.id, source).await?);
        let (begun, pause) = (Instant::now(), asked.pause());
        while begun.elapsed() < pause {
            let found = logs::look(aws, (&observed.account, name), &instance.id, source, &asked.mark).await?;
            if let Some((window, mark)) = found.filter(|(window, _)| asked.answered || asked.is_answered_by(window)) {
                (asked.answered, asked.mark) = (true, mark);
                let (missed, lines) = reader.fresh(&window);
                if missed {
                    session.ui.warn("lines are missing here: the log grows faster than it can be shown");
                }
                let skip = if first { lines.len().saturating_sub(arguments.lines) } else { 0 };
                lines.iter().skip(skip).for_each(|line| print(session, source, line, window.origin(line)));
                first = false;
                if !arguments.follow {
                    return Ok(());
                }
            }
            if asked.answered {
                tokio::time::sleep(LOOK_AGAIN).await;
            } else if asked.unseen.wait(&instance.id, |words| session.ui.say(words)).await == Retry::Enough {
                return Err(no_answer(&instance.id));
            }
        }
    }
}

/// The requests to an instance.
struct Asked {
    instance: String,
    /// The words of all requests: the agent answers the one that it sees, which may be an earlier one.
    words: Vec<String>,
    answered: bool,
    /// The mark of the answer that was read last.
    mark: Option<String>,
    unseen: Unseen,
}

impl Asked {
    fn nothing(instance: &str) -> Self {
        Self { instance: instance.to_owned(), words: Vec::new(), answered: false, mark: None, unseen: Unseen::now() }
    }

    fn is_answered_by(&self, window: &Window) -> bool {
        self.words.iter().any(|word| window.asked.contains(word))
    }

    /// The pause before the next request. A concurrent command may have overwritten the tag of the first one.
    fn pause(&self) -> Duration {
        let times = u32::try_from(self.words.len()).unwrap_or(u32::MAX);
        if self.answered { RENEW } else { RENEW.min(ASK_AGAIN.saturating_mul(times)) }
    }
}

fn print(session: &Session, source: &Source, Line(_, at, text): &Line, origin: Option<&str>) {
    let text = if *source == Source::Access { logs::access(text) } else { text.clone() };
    match (session.globals.json, source) {
        (true, _) => {
            let (v, process) = (documents::Version, origin.map(str::to_owned));
            session.ui.document(&documents::LogLine { v, at: rfc3339(*at), text, process });
        }
        // The app and the agent decide themselves whether a line has a time.
        (false, Source::Access) => session.ui.result(&format!("{} {text}", rfc3339(at - at % 1_000_000))),
        (false, _) => session.ui.line(origin, &text),
    }
}

fn no_instance(session: &Session) -> Failure {
    Failure::failed(format!("no instance of {} is running, so there is no log", session.name()))
        .next(Next::from("deploy it: ").run("up"))
}

/// The agent ignores a request for a log that the running release does not have.
fn check_known(session: &Session, report: Option<&Report>, named: &str) -> Result<()> {
    let known: Vec<&str> = report.into_iter().flat_map(Report::logs).collect();
    if known.contains(&named) {
        return Ok(());
    }
    let known = match known[..] {
        [] => "it has no log but its own one".to_owned(),
        _ => format!("it has {}", known.join(", ")),
    };
    Err(Failure::new(Exit::Usage, format!("the running release of {} has no log {named}", session.name()))
        .because(known)
        .next(Next::from("show the app's log: ").run("logs")))
}

fn no_answer(instance: &str) -> Failure {
    Failure::new(Exit::Unhealthy, format!("the instance {instance} does not upload its log"))
        .because("the instance is starting or not healthy, or its agent or role is from an older devopsctl")
        .next(Next::from("see its status: ").run("status").and("; then update it: ").run("up"))
}
