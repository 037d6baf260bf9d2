//! `logs`: what the instance shows of its log, for as long as somebody looks.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use aws_sdk_s3::primitives::{DateTime, DateTimeFormat};

use super::Session;
use crate::cli::Logs;
use crate::documents;
use crate::error::{Exit, Failure, Result};
use crate::logs::{self, Line, Reader, Source};

/// Who has asked is shown more for a minute.
const RENEW: Duration = Duration::from_secs(30);
/// A tag that was set at the same moment by somebody else may have hidden ours.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// How long an instance may take to answer: AWS shows it a new tag within a second or two.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(400);

pub(super) async fn run(session: &Session, arguments: &Logs) -> Result<ExitCode> {
    session.interrupt.or(show(session, arguments)).await?;
    Ok(ExitCode::SUCCESS)
}

async fn show(session: &Session, arguments: &Logs) -> Result<()> {
    let (aws, name, source) = (&session.aws, session.name(), arguments.source());
    let mut reader = Reader::default();
    let mut first = true;
    loop {
        // Each time anew: another instance may have taken over.
        let observed = session.running().await?;
        let Some((instance, _)) = observed.serving() else { return Err(nothing(session)) };
        let (mut word, mut asked, begun) =
            (logs::ask(aws, &instance.id, source).await?, Instant::now(), Instant::now());
        let (mut mark, mut answered) = (None, false);
        while !answered || begun.elapsed() < RENEW {
            let found = logs::look(aws, (&observed.account, name), &instance.id, source, &mark).await?;
            if let Some((window, new_mark)) = found.filter(|(window, _)| answered || window.asked.contains(&word)) {
                answered = true;
                mark = new_mark;
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
            if !answered && begun.elapsed() > PATIENCE {
                return Err(silent(session, &instance.id));
            }
            if !answered && asked.elapsed() > ASK_AGAIN {
                (word, asked) = (logs::ask(aws, &instance.id, source).await?, Instant::now());
            }
            tokio::time::sleep(PAUSE).await;
        }
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
        .because("it starts still, or is not well, or its agent or its role is of an earlier devopsctl")
        .next(format!(
            "see how it is: {}; and bring it up to date: {}",
            session.command("status"),
            session.command("up")
        ))
}
