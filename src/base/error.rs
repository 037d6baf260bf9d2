//! How a verb ends when it fails: what failed, why, what state that left, and what to do next.
//!
//! There is one error type, [`Failure`], because there is one reader: the user. `ui` renders it with miette; a finding in
//! `deploy.yaml` carries its place. Every failure has a next step: [`Failure::new`] returns a [`Failing`], which only a next
//! step turns into a [`Failure`].

use std::fmt;

use miette::{Diagnostic, LabeledSpan, NamedSource, SourceSpan};

use super::next::Next;

/// Shorthand for everything that can end in a [`Failure`].
pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// The last error in the chain of causes, which is usually the clearest.
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
    /// AWS, the network or this machine failed.
    Failed = 1,
    /// The command line or `deploy.yaml` is wrong; no call was made.
    Usage = 2,
    /// `plan`: there are changes.
    Changes = 3,
    /// AWS has what it needs, but the app is not healthy.
    Unhealthy = 4,
    /// The credentials are missing, expired or lack a permission.
    Denied = 5,
    /// Ctrl-C.
    Interrupted = 130,
}

/// An error for the user. Built with the methods below; never contains a secret.
#[derive(Debug)]
pub struct Failure(Box<Inner>);

/// A [`Failure`] that still lacks its next step. It cannot be returned as an error.
#[derive(Debug)]
#[must_use = "add the next step"]
pub struct Failing(Box<Inner>);

#[derive(Debug)]
struct Inner {
    exit: Exit,
    what: String,
    cause: Option<Box<Cause>>,
    standing: Option<String>,
    next: Option<Next>,
    findings: Vec<Finding>,
    cut_short: bool,
}

impl Failing {
    /// Adds the reason; a second call adds the reason of the reason.
    pub fn because(mut self, why: impl Into<String>) -> Self {
        self.0.because(why.into());
        self
    }

    /// The state that the failure left: what was created, what was not touched.
    pub fn standing(mut self, what: impl Into<String>) -> Self {
        self.0.standing = Some(what.into());
        self
    }

    /// What to do next.
    #[must_use]
    pub fn next(mut self, next: impl Into<Next>) -> Failure {
        self.0.next = Some(next.into());
        Failure(self.0)
    }

    /// The mistakes in a file, each with its place and its own hint.
    #[must_use]
    pub fn findings(mut self, findings: Vec<Finding>) -> Failure {
        self.0.findings = findings;
        Failure(self.0)
    }
}

impl Failure {
    /// `what` failed, as one line without a full stop.
    #[expect(clippy::new_ret_no_self, reason = "a failure needs a next step")]
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

    /// A defect of devopsctl itself.
    pub fn bug(why: impl Into<String>) -> Self {
        Self::failed("devopsctl itself failed")
            .because(why)
            .next("run the same command again, which continues from here; please report this if it happens twice")
    }

    /// Adds the reason; a second call adds the reason of the reason.
    #[must_use]
    pub fn because(mut self, why: impl Into<String>) -> Self {
        self.0.because(why.into());
        self
    }

    /// The state that the failure left: what was created, what was not touched.
    #[must_use]
    pub fn standing(mut self, what: impl Into<String>) -> Self {
        self.0.standing = Some(what.into());
        self
    }

    /// Replaces the next step, where the caller knows better what the command was about.
    #[must_use]
    pub fn instead(mut self, next: impl Into<Next>) -> Self {
        self.0.next = Some(next.into());
        self
    }

    /// Marks a step that did not fail by itself: the user stopped the run, or another step failed.
    #[must_use]
    pub fn cutting_short(mut self) -> Self {
        self.0.cut_short = true;
        self
    }

    /// Whether [`Failure::cutting_short`] marked it.
    pub fn is_cut_short(&self) -> bool {
        self.0.cut_short
    }

    /// The mistakes in a file, each at its place.
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

    /// What to do next; `None` where each finding has its own hint.
    pub fn next_step(&self) -> Option<&Next> {
        self.0.next.as_ref()
    }

    /// The same failure with each text changed. Places in files still point at the same words.
    pub(crate) fn mapped(&self, change: &impl Fn(&str) -> String) -> Self {
        let mut copy = Inner {
            exit: self.0.exit,
            what: change(&self.0.what),
            cause: None,
            standing: self.0.standing.as_deref().map(change),
            next: self.0.next.as_ref().map(|next| next.mapped(change)),
            findings: self.0.findings.iter().map(|finding| finding.mapped(change)).collect(),
            cut_short: self.0.cut_short,
        };
        for why in self.reasons() {
            copy.because(change(why));
        }
        Self(Box::new(copy))
    }

    /// The state that the failure left, if it is known.
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
        let next = self.next_step().map(ToString::to_string);
        let lines: Vec<&str> = [self.left_standing(), next.as_deref()].into_iter().flatten().collect();
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
    /// How to correct it.
    pub hint: String,
    /// The file.
    pub source: NamedSource<String>,
}

impl Finding {
    /// The source is changed in three pieces, because a text of another length would move the place.
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
