//! How a verb ends when it does not end well: what failed, why, what was left standing, what to type next.
//!
//! There is one error type, [`Failure`], because there is one reader: the person at the terminal. It is rendered by
//! miette; a finding in `deploy.yaml` carries the place it points at. None is without a next step: [`Failure::new`] gives a
//! [`Failing`], which nothing but a next step makes a [`Failure`] of.

use std::fmt;

use miette::{Diagnostic, LabeledSpan, NamedSource, SourceSpan};

/// Shorthand for everything that can end in a [`Failure`].
pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// A command of ours as this user would type it: who came by `cargo run` has nothing on his `PATH` yet.
pub fn command(rest: &str) -> String {
    let program = if std::env::var_os("CARGO").is_some() { "cargo run -q --" } else { "devopsctl" };
    format!("{program} {rest}")
}

/// What the last in the chain of causes says: it says it plainest.
pub fn innermost(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

/// The documented exit codes. 0 is success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Something that should have worked did not: AWS, the network, this machine.
    Failed = 1,
    /// The command line or `deploy.yaml` is wrong; nothing was called.
    Usage = 2,
    /// `plan`: there is something to do.
    Changes = 3,
    /// AWS has what it needs, but the app is not healthy.
    Unhealthy = 4,
    /// No credentials, expired ones, or ones that may not do this.
    Denied = 5,
    /// Ctrl-C.
    Interrupted = 130,
}

/// What went wrong, for a person. Built up with the methods below; never holds a secret.
#[derive(Debug)]
pub struct Failure(Box<Inner>);

/// A [`Failure`] of which nobody has said yet what to do about it. It can be told more of, but not be returned as an error.
#[derive(Debug)]
#[must_use = "say what to type next"]
pub struct Failing(Box<Inner>);

#[derive(Debug)]
struct Inner {
    exit: Exit,
    what: String,
    cause: Option<Box<Cause>>,
    standing: Option<String>,
    next: Option<String>,
    findings: Vec<Finding>,
    cut_short: bool,
}

impl Failing {
    /// Adds the reason; a second call adds the reason of the reason.
    pub fn because(mut self, why: impl Into<String>) -> Self {
        self.0.because(why.into());
        self
    }

    /// What stands now: what was made, what was left alone.
    pub fn standing(mut self, what: impl Into<String>) -> Self {
        self.0.standing = Some(what.into());
        self
    }

    /// What to do or type next.
    #[must_use]
    pub fn next(mut self, what: impl Into<String>) -> Failure {
        self.0.next = Some(what.into());
        Failure(self.0)
    }

    /// What is wrong in a file, each with its place and what to do about it.
    #[must_use]
    pub fn findings(mut self, findings: Vec<Finding>) -> Failure {
        self.0.findings = findings;
        Failure(self.0)
    }
}

impl Failure {
    /// `what` failed, as one line without a full stop. Say what to do about it, and it is a failure.
    #[expect(clippy::new_ret_no_self, reason = "without a next step it is none yet")]
    pub fn new(exit: Exit, what: impl Into<String>) -> Failing {
        let what = what.into();
        Failing(Box::new(Inner {
            exit,
            what,
            cause: None,
            standing: None,
            next: None,
            findings: Vec::new(),
            cut_short: false,
        }))
    }

    /// The common case: [`Exit::Failed`].
    pub fn failed(what: impl Into<String>) -> Failing {
        Self::new(Exit::Failed, what)
    }

    /// What cannot happen, and did.
    pub fn bug(why: impl Into<String>) -> Self {
        Self::failed("devopsctl itself failed")
            .because(why)
            .next("run the same command again, which goes on from here; please report this if it happens twice")
    }

    /// Adds the reason; a second call adds the reason of the reason.
    #[must_use]
    pub fn because(mut self, why: impl Into<String>) -> Self {
        self.0.because(why.into());
        self
    }

    /// What stands now: what was made, what was left alone.
    #[must_use]
    pub fn standing(mut self, what: impl Into<String>) -> Self {
        self.0.standing = Some(what.into());
        self
    }

    /// What to do or type next, in place of what is said: where whoever said it cannot know what the command was about.
    #[must_use]
    pub fn instead(mut self, what: impl Into<String>) -> Self {
        self.0.next = Some(what.into());
        self
    }

    /// The step did not fail: it was ended because the user asked for it, or because another step has failed.
    #[must_use]
    pub fn cutting_short(mut self) -> Self {
        self.0.cut_short = true;
        self
    }

    /// Whether that is so.
    pub fn is_cut_short(&self) -> bool {
        self.0.cut_short
    }

    /// What is wrong in a file, each at its place.
    pub fn findings_in_file(&self) -> &[Finding] {
        &self.0.findings
    }

    /// The process's exit code.
    pub fn exit(&self) -> Exit {
        self.0.exit
    }

    /// The headline.
    pub fn what(&self) -> &str {
        &self.0.what
    }

    /// The reasons, outermost first.
    pub fn reasons(&self) -> Vec<&str> {
        let mut reasons = Vec::new();
        let mut cause = self.0.cause.as_deref();
        while let Some(reason) = cause {
            reasons.push(reason.why.as_str());
            cause = reason.below.as_deref();
        }
        reasons
    }

    /// What to type next; nothing where each finding says it for itself.
    pub fn next_step(&self) -> Option<&str> {
        self.0.next.as_deref()
    }

    /// The same failure with each of its texts changed. The places in files stay where they were.
    pub(crate) fn mapped(&self, change: &impl Fn(&str) -> String) -> Self {
        let mut copy = Inner {
            exit: self.0.exit,
            what: change(&self.0.what),
            cause: None,
            standing: self.0.standing.as_deref().map(change),
            next: self.0.next.as_deref().map(change),
            findings: self.0.findings.iter().map(|finding| finding.mapped(change)).collect(),
            cut_short: self.0.cut_short,
        };
        for why in self.reasons() {
            copy.because(change(why));
        }
        Self(Box::new(copy))
    }

    /// What was left standing, if it was said.
    pub fn left_standing(&self) -> Option<&str> {
        self.0.standing.as_deref()
    }
}

impl Inner {
    fn because(&mut self, why: String) {
        let mut slot = &mut self.cause;
        while let Some(cause) = slot {
            slot = &mut cause.below;
        }
        *slot = Some(Box::new(Cause { why, below: None }));
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.what)
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.cause.as_deref().map(|cause| cause as _)
    }
}

impl Diagnostic for Failure {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let lines: Vec<&str> = [self.left_standing(), self.next_step()].into_iter().flatten().collect();
        (!lines.is_empty()).then(|| Box::new(lines.join("\n")) as _)
    }
}

#[derive(Debug)]
struct Cause {
    why: String,
    below: Option<Box<Cause>>,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for Cause {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.below.as_deref().map(|cause| cause as _)
    }
}

/// One mistake in a file, with its place and a hint.
#[derive(Debug)]
pub struct Finding {
    /// What is wrong, as one line.
    pub what: String,
    /// The words beside the place.
    pub label: String,
    /// Byte offset and length in the file.
    pub span: SourceSpan,
    /// How to put it right.
    pub hint: String,
    /// The file.
    pub source: NamedSource<String>,
}

impl Finding {
    /// A text of another length would move the place that is pointed at, so the source is changed in three pieces.
    fn mapped(&self, change: &impl Fn(&str) -> String) -> Self {
        let text = self.source.inner();
        let start = text.floor_char_boundary(self.span.offset().min(text.len()));
        let end = text.ceil_char_boundary((start + self.span.len()).min(text.len()));
        let (before, within) = (change(&text[..start]), change(&text[start..end]));
        let span = (before.len(), within.len()).into();
        let source = NamedSource::new(change(self.source.name()), before + &within + &change(&text[end..]));
        Self { what: change(&self.what), label: change(&self.label), span, hint: change(&self.hint), source }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Finding {}

impl Diagnostic for Finding {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(&self.hint))
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        Some(&self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(std::iter::once(LabeledSpan::new_with_span(Some(self.label.clone()), self.span))))
    }
}
