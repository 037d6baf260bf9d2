//! `logs`: what the instance shows of its log, for as long as the command runs.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use aws_sdk_s3::primitives::{DateTime, DateTimeFormat};

use super::Session;
use crate::aws::retry::{LOOK_AGAIN, Retry, Unseen};
use crate::base::error::{Exit, Failure, Result};
use crate::commands::cli::Logs;
use crate::commands::documents;
use crate::resources::logs::{self, Line, Reader, Source, Window};

/// Who has asked is shown more for a minute.
const RENEW: Duration = Duration::from_secs(30);
/// The first time it is asked again where it has not answered.
const ASK_AGAIN: Duration = Duration::from_secs(5);

pub(super) async fn run(session: &Session, arguments: &Logs) -> Result<ExitCode> {
    session.interrupt.or(show(session, arguments)).await?;
    Ok(ExitCode::SUCCESS)
}

async fn show(session: &Session, arguments: &Logs) -> Result<()> {
    let (aws, name, source) = (&session.aws, session.name(), arguments.source());
    let mut reader = Reader::default();
    let (mut first, mut asked) = (true, None::<Asked>);
    loop {
        // Each time anew: another instance may have taken over.
        let observed = session.running().await?;
        let Some((instance, _)) = observed.serving() else { return Err(nothing(session)) };
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
                    session.ui.warn("lines are missing here: they came faster than they can be shown");
                }
                let skip = if first { lines.len().saturating_sub(arguments.lines) } else { 0 };
                lines.iter().skip(skip).for_each(|line| tell(session, source, line));
                first = false;
                if !arguments.follow {
                    return Ok(());
                }
            }
            if asked.answered {
                tokio::time::sleep(LOOK_AGAIN).await;
            } else if asked.unseen.wait(&instance.id, |words| session.ui.say(words)).await == Retry::Enough {
                return Err(silent(session, &instance.id));
            }
        }
    }
}

/// What an instance was asked.
struct Asked {
    instance: String,
    /// It answers the one that it sees, which may be an earlier one.
    words: Vec<String>,
    answered: bool,
    /// Of the answer that was read last.
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

    /// How long until it is asked again. A tag that was set at the same moment by another command may have hidden the first.
    fn pause(&self) -> Duration {
        let times = u32::try_from(self.words.len()).unwrap_or(u32::MAX);
        if self.answered { RENEW } else { RENEW.min(ASK_AGAIN.saturating_mul(times)) }
    }
}

fn tell(session: &Session, source: Source, Line(_, at, text): &Line) {
    let text = if source == Source::Access { logs::access(text) } else { text.clone() };
    match (session.globals.json, source) {
        (true, _) => session.ui.document(&documents::LogLine { v: documents::Version, at: time(*at), text }),
        // What the other two print is shown as it is, with or without the time.
        (false, Source::Access) => session.ui.result(&format!("{} {text}", time(at - at % 1_000_000))),
        (false, _) => session.ui.result(&text),
    }
}

/// RFC 3339, of microseconds since 1970.
fn time(at: u64) -> String {
    let moment = DateTime::from_nanos(i128::from(at) * 1000);
    moment.ok().and_then(|moment| moment.fmt(DateTimeFormat::DateTime).ok()).unwrap_or_default()
}

fn nothing(session: &Session) -> Failure {
    Failure::failed(format!("nothing of {} runs, so there is no log", session.name()))
        .next(format!("bring it up: {}", session.command("up")))
}

fn silent(session: &Session, instance: &str) -> Failure {
    Failure::new(Exit::Unhealthy, format!("the instance {instance} does not show its log"))
        .because(
            "the instance is still starting, or is not healthy, or its agent or its role is of an earlier devopsctl",
        )
        .next(format!(
            "see how it is: {}; and bring it up to date: {}",
            session.command("status"),
            session.command("up")
        ))
}
