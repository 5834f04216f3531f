//! A table of the file, asked key by key. Whatever has the wrong type is a mistake with its place, and reads as absent.

use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};

use ::toml::Spanned;
use ::toml::de::{DeTable, DeValue};

use super::known;
use crate::config::diagnostic::{Diagnostic, Findings, Place};
use crate::config::draft::{Name, Placed};
use crate::config::{limits, nearest, values};
use crate::time::Span;

/// A table with its place.
#[derive(Clone)]
pub(super) struct Table<'t> {
    /// As it is named to the operator.
    pub(super) name: String,
    pub(super) place: Place,
    entries: &'t DeTable<'t>,
}

/// A value with its place.
#[derive(Clone, Copy)]
pub(super) struct Value<'t> {
    pub(super) place: Place,
    inner: &'t DeValue<'t>,
}

impl<'t> Table<'t> {
    pub(super) fn new(
        name: impl Into<String>,
        file: usize,
        span: Range<usize>,
        entries: &'t DeTable<'t>,
    ) -> Self {
        Self { name: name.into(), place: Place { file, start: span.start, end: span.end }, entries }
    }

    fn at(&self, span: Range<usize>) -> Place {
        Place { file: self.place.file, start: span.start, end: span.end }
    }

    fn inside(&self) -> String {
        let is_top = self.place.start == 0 && self.name.starts_with("the ");
        format!("{} {}", if is_top { "at" } else { "in" }, self.name)
    }

    /// Reports every key that is not one of `known`.
    pub(super) fn refuse_unknown(&self, known: &[&'static str], findings: &mut Findings) {
        for key in self.entries.keys() {
            let written = key.get_ref().as_ref();
            if known.contains(&written) {
                continue;
            }
            if findings.is_full() {
                // Counted, and not shown.
                findings.push(Diagnostic::mistake(self.at(key.span()), "unknown key"));
                continue;
            }
            let help = match (nearest::nearest(written, known.iter().copied()), known::home(written)) {
                (Some(near), Some(home)) => format!("did you mean `{near}`? `{written}` stands {home}"),
                (None, Some(home)) => format!("`{written}` stands {home}"),
                (Some(near), None) => format!("did you mean `{near}`?"),
                (None, None) => format!("known here: {}", known.join(", ")),
            };
            findings.push(
                Diagnostic::mistake(
                    self.at(key.span()),
                    format!("unknown key `{written}` {}", self.inside()),
                )
                .label("no such key here")
                .help(help),
            );
        }
    }

    /// The value of a key.
    pub(super) fn value(&self, key: &str) -> Option<Value<'t>> {
        let (_, value) = self.entries.iter().find(|(name, _)| name.get_ref().as_ref() == key)?;
        Some(Value { place: self.at(value.span()), inner: value.get_ref() })
    }

    /// The keys in the order of the file.
    pub(super) fn entries(&self) -> Vec<(Name, Value<'t>)> {
        let entry = |(key, value): (&Spanned<_>, &'t Spanned<DeValue<'t>>)| {
            let name: &std::borrow::Cow<'_, str> = key.get_ref();
            let value = Value { place: self.at(value.span()), inner: value.get_ref() };
            (Placed::new(name.clone().into_owned(), self.at(key.span())), value)
        };
        let mut entries: Vec<_> = self.entries.iter().map(entry).collect();
        entries.sort_by_key(|(name, _)| name.place.start);
        entries
    }

    /// A table inside, if it is there; its keys are checked.
    pub(super) fn table(
        &self,
        key: &str,
        known: &[&'static str],
        findings: &mut Findings,
    ) -> Option<Table<'t>> {
        let (name, value) = self.entries().into_iter().find(|(name, _)| name.value == key)?;
        let table = value.table(format!("[{key}]"), name.place, findings)?;
        table.refuse_unknown(known, findings);
        Some(table)
    }

    /// The tables `[key.NAME]`, in the order of the file; their keys are checked.
    pub(super) fn named_tables(
        &self,
        key: &str,
        known: &[&'static str],
        findings: &mut Findings,
    ) -> Vec<(Name, Table<'t>)> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let within = match self.name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
            Some(name) => format!("{name}.{key}"),
            None => key.to_owned(),
        };
        let Some(parent) = value.table(format!("[{within}.NAME]"), value.place, findings) else {
            return Vec::new();
        };
        let mut tables = Vec::new();
        // No limit is above that of servers: one beyond is reported, the rest would only be read for nothing.
        for (name, value) in parent.entries().into_iter().take(limits::SERVERS + 1) {
            if let Some(table) = value.table(format!("[{within}.{}]", name.value), name.place, findings) {
                table.refuse_unknown(known, findings);
                tables.push((name, table));
            }
        }
        tables
    }

    pub(super) fn text(&self, key: &str, findings: &mut Findings) -> Option<Name> {
        self.value(key)?.text(&format!("`{key}`"), findings)
    }

    /// A text whose place is to be mapped into the file.
    pub(super) fn raw_text(&self, key: &str, findings: &mut Findings) -> Option<Name> {
        self.text(key, findings)
    }

    pub(super) fn boolean(&self, key: &str, findings: &mut Findings) -> Option<Placed<bool>> {
        let value = self.value(key)?;
        let read = value.inner.as_bool();
        if read.is_none() {
            value.wrong_type(&format!("`{key}`"), "true or false", findings);
        }
        Some(Placed::new(read?, value.place))
    }

    pub(super) fn whole(
        &self,
        key: &str,
        range: RangeInclusive<u32>,
        findings: &mut Findings,
    ) -> Option<Placed<u32>> {
        self.value(key)?.whole(&format!("`{key}`"), range, findings)
    }

    pub(super) fn span(&self, key: &str, findings: &mut Findings) -> Option<Placed<Span>> {
        self.value(key)?.span(&format!("`{key}`"), findings)
    }

    /// A time that something is given, so never none.
    pub(super) fn timeout(&self, key: &str, findings: &mut Findings) -> Option<Span> {
        let span = self.span(key, findings)?;
        if span.value == Span::ZERO {
            findings.push(
                Diagnostic::mistake(span.place, format!("`{key}` is no time at all"))
                    .label("nothing is done in so short a time")
                    .help("write a longer one, or leave it out: then the agent's own advice holds"),
            );
        }
        Some(span.value)
    }

    /// A list of texts; a single text is a list of one.
    pub(super) fn texts(&self, key: &str, findings: &mut Findings) -> Vec<Name> {
        match self.value(key) {
            Some(value) => value.texts(&format!("`{key}`"), findings),
            None => Vec::new(),
        }
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(
        &self,
        key: &str,
        choices: &[(&str, T)],
        findings: &mut Findings,
    ) -> Option<Placed<T>> {
        let written = self.text(key, findings)?;
        if let Some((_, value)) = choices.iter().find(|(word, _)| *word == written.value) {
            return Some(Placed::new(*value, written.place));
        }
        let words: Vec<String> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let near = nearest::nearest(&written.value, choices.iter().map(|(word, _)| *word));
        let help = match near {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("write {}", words.join(" or ")),
        };
        findings.push(
            Diagnostic::mistake(written.place, format!("`{key}` cannot be \"{}\"", written.value))
                .label(format!("one of {}", words.join(", ")))
                .help(help),
        );
        None
    }

    /// Named parameters: texts, numbers and booleans, as texts; a list of texts is joined by blanks.
    pub(super) fn params(&self, key: &str, findings: &mut Findings) -> BTreeMap<String, Name> {
        let Some(value) = self.value(key) else { return BTreeMap::new() };
        let Some(table) = value.table(format!("`{key}`"), value.place, findings) else {
            return BTreeMap::new();
        };
        let entries = table.entries();
        if entries.len() > limits::PARAMS {
            findings.push(
                Diagnostic::mistake(value.place, format!("more than {} parameters", limits::PARAMS)).help(
                    "they are handed to the agent in its environment: keep the rest in the agent's own file",
                ),
            );
        }
        let mut params = BTreeMap::new();
        for (name, value) in entries {
            if let Some(fault) = param_fault(&name.value) {
                findings.push(
                    Diagnostic::mistake(name.place, format!("`{}` cannot name a parameter", name.value))
                        .label(fault)
                        .help("a parameter's name has letters, digits, - and _, as the agent's meta-data spell it"),
                );
            } else if let Some(text) = value.param(&name.value, findings) {
                params.insert(name.value, text);
            }
        }
        params
    }
}

/// What stands where a type was expected.
fn how(what: &str, expected: &str) -> String {
    match expected {
        "a text" => "a text, in quotes".to_owned(),
        "a list of texts" => "a text in quotes, or several of them: [\"…\", \"…\"]".to_owned(),
        "a time" => "a time, such as \"200ms\", \"2s\" or \"1min\"".to_owned(),
        "a table" if what.starts_with('[') => format!("{what} on a line of its own, and its keys below it"),
        _ => expected.to_owned(),
    }
}

/// Agents get parameters as variables of their environment.
fn param_fault(name: &str) -> Option<String> {
    if name.is_empty() || name.len() > limits::NAME_BYTES {
        return Some(format!("1 to {} bytes", limits::NAME_BYTES));
    }
    let bad = name.chars().find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_' | '.'))?;
    Some(format!("{bad:?} cannot stand here"))
}

impl<'t> Value<'t> {
    fn at(&self, span: Range<usize>) -> Place {
        Place { file: self.place.file, start: span.start, end: span.end }
    }

    fn wrong_type(&self, what: &str, expected: &str, findings: &mut Findings) {
        let found = match self.inner {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        findings.push(
            Diagnostic::mistake(self.place, format!("{what} must be {expected}, not {found}"))
                .label(format!("{found} cannot stand here"))
                .help(format!("write {}", how(what, expected))),
        );
    }

    /// This value as a table with this name and place.
    pub(super) fn table(&self, name: String, place: Place, findings: &mut Findings) -> Option<Table<'t>> {
        match self.inner.as_table() {
            Some(entries) => Some(Table { name, place, entries }),
            None => {
                self.wrong_type(&name, "a table", findings);
                None
            }
        }
    }

    /// Whether it is one.
    pub(super) fn is_table(&self) -> bool {
        self.inner.is_table()
    }

    pub(super) fn as_bool(&self) -> Option<bool> {
        self.inner.as_bool()
    }

    pub(super) fn is_text(&self) -> bool {
        self.inner.is_str()
    }

    /// The values of a list.
    pub(super) fn list(&self) -> Option<Vec<Value<'t>>> {
        let array = self.inner.as_array()?;
        Some(array.iter().map(|one| Value { place: self.at(one.span()), inner: one.get_ref() }).collect())
    }

    /// The values of a list of tables, which alone may stand here.
    pub(super) fn tables(&self, what: &str, findings: &mut Findings) -> Vec<Value<'t>> {
        if self.is_table() {
            return vec![*self];
        }
        let list = self.list();
        if list.is_none() {
            self.wrong_type(what, "a list of tables, [[group.NAME.resource]]", findings);
        }
        list.unwrap_or_default()
    }

    pub(super) fn text(&self, what: &str, findings: &mut Findings) -> Option<Name> {
        let Some(text) = self.inner.as_str() else {
            self.wrong_type(what, "a text", findings);
            return None;
        };
        Some(Placed::new(text.to_owned(), self.place))
    }

    pub(super) fn texts(&self, what: &str, findings: &mut Findings) -> Vec<Name> {
        match self.list() {
            Some(list) => {
                list.iter().filter_map(|one| one.text(&format!("each of {what}"), findings)).collect()
            }
            None if self.is_text() => self.text(what, findings).into_iter().collect(),
            None => {
                self.wrong_type(what, "a list of texts", findings);
                Vec::new()
            }
        }
    }

    pub(super) fn whole(
        &self,
        what: &str,
        range: RangeInclusive<u32>,
        findings: &mut Findings,
    ) -> Option<Placed<u32>> {
        let Some(written) = self.inner.as_integer() else {
            self.wrong_type(what, "a whole number", findings);
            return None;
        };
        let read =
            u32::from_str_radix(written.as_str(), written.radix()).ok().filter(|read| range.contains(read));
        if read.is_none() {
            findings.push(
                Diagnostic::mistake(self.place, format!("{what} is out of range"))
                    .label(format!("{} to {}", range.start(), range.end()))
                    .help(format!("write a number from {} to {}", range.start(), range.end())),
            );
        }
        Some(Placed::new(read?, self.place))
    }

    /// `"200ms"`, `"1s"`, `2`, `1.5`: a plain number is seconds.
    pub(super) fn span(&self, what: &str, findings: &mut Findings) -> Option<Placed<Span>> {
        let written = match self.inner {
            DeValue::String(text) => text.as_ref(),
            DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
            DeValue::Float(number) => number.as_str(),
            DeValue::Integer(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => {
                self.wrong_type(what, "a time", findings);
                return None;
            }
        };
        match values::span(written) {
            Ok(span) => Some(Placed::new(span, self.place)),
            Err(why) => {
                findings.push(
                    Diagnostic::mistake(self.place, format!("{what} is not a time that can be used"))
                        .label(why)
                        .help("write \"200ms\", \"1.5s\", \"2min\", or a plain number for seconds; at most a day"),
                );
                None
            }
        }
    }

    fn param(&self, key: &str, findings: &mut Findings) -> Option<Name> {
        let text = match self.inner {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) if number.radix() == 10 => number.as_str().to_owned(),
            DeValue::Float(number) => number.as_str().to_owned(),
            DeValue::Boolean(value) => value.to_string(),
            DeValue::Array(_) => {
                let texts = self.texts(&format!("`{key}`"), findings);
                texts.iter().map(|text| text.value.as_str()).collect::<Vec<_>>().join(" ")
            }
            DeValue::Integer(_) | DeValue::Datetime(_) | DeValue::Table(_) => {
                self.wrong_type(&format!("the parameter `{key}`"), "a text", findings);
                return None;
            }
        };
        if text.len() > limits::PARAM_BYTES || text.contains('\0') {
            findings.push(
                Diagnostic::mistake(
                    self.place,
                    format!("the parameter `{key}` cannot be handed to an agent"),
                )
                .label(format!("longer than {} bytes, or with a zero byte", limits::PARAM_BYTES))
                .help("keep it in a file, and hand over the file's name"),
            );
            return None;
        }
        Some(Placed::new(text, self.place))
    }
}
