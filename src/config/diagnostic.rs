//! What is wrong with a configuration: each mistake with its place, and with what to write instead.
//!
//! Reading never stops at the first mistake. Nothing here ever prints a secret: a file with keys is registered with its
//! secrets blanked.

use std::fmt;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use super::limits;

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration is refused.
    Mistake,
    /// It is taken, and the operator should know.
    Warning,
    /// It is taken; something in it means less here than where it came from.
    Note,
}

/// Bytes `start..end` of a file of the [`Report`]; an empty place at 0 means the file as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Which file, by its place in [`Report::files`].
    pub file: usize,
    /// The first byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Place {
    /// A file as a whole: for what is missing from it.
    pub const fn whole(file: usize) -> Self {
        Self { file, start: 0, end: 0 }
    }
}

/// One thing to say about a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How much it matters.
    pub severity: Severity,
    /// Where.
    pub place: Place,
    /// What is wrong, in one sentence.
    pub message: String,
    /// What stands under the underlined text.
    pub label: String,
    /// Another place that has to do with it.
    pub also: Option<(Place, String)>,
    /// What to do; may be empty for a note.
    pub help: String,
}

impl Diagnostic {
    fn new(severity: Severity, place: Place, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { severity, place, message, label: String::new(), also: None, help: String::new() }
    }

    /// The configuration is refused for it.
    pub fn mistake(place: Place, message: impl Into<String>) -> Self {
        Self::new(Severity::Mistake, place, message)
    }

    /// The configuration is taken, and the operator should know.
    pub fn warning(place: Place, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, place, message)
    }

    /// The configuration is taken.
    pub fn note(place: Place, message: impl Into<String>) -> Self {
        Self::new(Severity::Note, place, message)
    }

    /// With this under the underlined text.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// With what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }

    /// With another place that has to do with it.
    #[must_use]
    pub fn also(mut self, place: Place, label: impl Into<String>) -> Self {
        self.also = Some((place, label.into()));
        self
    }
}

/// Gathers what is found while a configuration is read.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    found: Vec<Diagnostic>,
    left_out: usize,
    /// What must not be shown.
    secret: Vec<Place>,
}

impl Findings {
    /// Adds one.
    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        if self.is_full() {
            self.left_out += 1;
        } else if !self.found.contains(&diagnostic) {
            self.found.push(diagnostic);
        }
    }

    /// What stands there is a secret: it is blanked wherever the text is shown.
    pub(crate) fn hide(&mut self, place: Place) {
        self.secret.push(place);
    }

    /// Whether no more will be shown: then help need not be thought of.
    pub(crate) fn is_full(&self) -> bool {
        self.found.len() >= limits::MISTAKES
    }

    /// Whether the configuration is refused. What was left out may have been a mistake, so it counts as one.
    pub(crate) fn refuse(&self) -> bool {
        self.left_out > 0 || self.found.iter().any(|one| one.severity == Severity::Mistake)
    }

    /// In the order of the text.
    pub(crate) fn into_report(mut self, mut files: Vec<SourceFile>) -> Report {
        for Place { file, start, end } in self.secret {
            if let Some(source) = files.get_mut(file)
                && let Some(shown) = source.text.get(start..end)
            {
                // As long in bytes as what it hides.
                source.text.replace_range(start..end, &"*".repeat(shown.len()));
            }
        }
        self.found.sort_by_key(|one| (one.place.file, one.place.start, one.severity));
        Report { files, diagnostics: self.found, left_out: self.left_out }
    }
}

/// A file that was read, as it may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Its name, as the operator gave it.
    pub name: String,
    /// Its text; secrets blanked.
    pub text: String,
}

/// All that is to be said about a configuration, with the text it is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The files.
    pub files: Vec<SourceFile>,
    /// In the order of the text.
    pub diagnostics: Vec<Diagnostic>,
    /// So many more were found than a report holds.
    pub left_out: usize,
}

impl Report {
    /// How many of a severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.diagnostics.iter().filter(|one| one.severity == severity).count()
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.diagnostics.is_empty()
    }

    /// As a person reads it: each with file, line and column, the text underlined, and what to do.
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let mut text = String::new();
        for diagnostic in &self.diagnostics {
            text.push_str(&renderer.render(&[self.group(diagnostic)]));
            text.push_str("\n\n");
        }
        if self.left_out > 0 {
            text.push_str(&format!("and {} more: is this the right file?\n\n", self.left_out));
        }
        text
    }

    fn group<'a>(&'a self, diagnostic: &'a Diagnostic) -> Group<'a> {
        let level = match diagnostic.severity {
            Severity::Mistake => Level::ERROR,
            Severity::Warning => Level::WARNING,
            Severity::Note => Level::NOTE,
        };
        let mut group = Group::with_title(level.primary_title(diagnostic.message.as_str()));
        group = self.with_place(group, diagnostic);
        if !diagnostic.help.is_empty() {
            group = group.element(Level::HELP.message(diagnostic.help.as_str()));
        }
        group
    }

    fn with_place<'a>(&'a self, group: Group<'a>, diagnostic: &'a Diagnostic) -> Group<'a> {
        let place = diagnostic.place;
        let Some(file) = self.files.get(place.file) else { return group };
        if place.end == 0 {
            return group.element(Origin::path(file.name.as_str()));
        }
        if let Some((line, column)) = beyond_showing(&self.files, place) {
            let origin = Origin::path(file.name.as_str()).line(line).char_column(column);
            return group.element(origin);
        }
        let also = diagnostic.also.as_ref();
        let is_near =
            |other: &Place| other.file == place.file && other.start.abs_diff(place.start) < NEAR_BYTES;
        let beside = also.filter(|(other, _)| is_near(other) && other.end > 0);
        let group = group.element(snippet(file, (place, &diagnostic.label), beside));
        match also.filter(|(other, _)| {
            !is_near(other) && other.end > 0 && beyond_showing(&self.files, *other).is_none()
        }) {
            Some(elsewhere) => match self.files.get(elsewhere.0.file) {
                Some(other) => group.element(snippet(other, (elsewhere.0, &elsewhere.1), None)),
                None => group,
            },
            None => group,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

/// A line longer than this is not shown: no screen holds it, and underlining it two hundred times takes half a minute.
const LINE_BYTES: usize = 8_192;

/// Two places further apart are shown as two excerpts, not as one with what lies between.
const NEAR_BYTES: usize = 16_384;

/// The line and column of a place whose line is too long to be shown.
fn beyond_showing(files: &[SourceFile], place: Place) -> Option<(usize, usize)> {
    let text = files.get(place.file)?.text.as_str();
    let start = clamp(text, place).start;
    let from = text[..start].rfind('\n').map_or(0, |at| at + 1);
    let length = text[from..].find('\n').unwrap_or(text.len() - from);
    let is_long = length > LINE_BYTES;
    is_long.then(|| (text[..from].matches('\n').count() + 1, text[from..start].chars().count() + 1))
}

/// The lines around a place, underlined. Only those lines are handed on: a report on a large file would else read it
/// once for each mistake.
fn snippet<'a>(
    file: &'a SourceFile,
    (place, label): (Place, &'a str),
    beside: Option<&'a (Place, String)>,
) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
    let text = file.text.as_str();
    let first = clamp(text, place);
    let second = beside.map(|(place, label)| (clamp(text, *place), label.as_str()));
    let low = second.as_ref().map_or(first.start, |(range, _)| range.start.min(first.start));
    let high = second.as_ref().map_or(first.end, |(range, _)| range.end.max(first.end));
    let from = text[..low].rfind('\n').map_or(0, |at| at + 1);
    let until = text[high..].find('\n').map_or(text.len(), |at| high + at);
    let line = text[..from].matches('\n').count() + 1;

    let mut primary = AnnotationKind::Primary.span(first.start - from..first.end - from);
    if !label.is_empty() {
        primary = primary.label(label);
    }
    let mut snippet =
        Snippet::source(&text[from..until]).line_start(line).path(file.name.as_str()).annotation(primary);
    if let Some((range, label)) = second {
        snippet = snippet
            .annotation(AnnotationKind::Context.span(range.start - from..range.end - from).label(label));
    }
    snippet
}

/// Inside the text, on the borders of characters, and on one line: a value over many lines is underlined in its first.
fn clamp(text: &str, place: Place) -> std::ops::Range<usize> {
    let start = floor(text, place.start);
    let end = floor(text, place.end).max(start);
    let end = text[start..end].find('\n').map_or(end, |at| start + at);
    start..end
}

fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}
