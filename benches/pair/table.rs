//! What was measured, as tables that people and programs read alike: Markdown.

use systole::time::Span;

use super::rig::length;

/// Figures of one kind, in milliseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures(Vec<f64>);

impl Figures {
    /// Of these.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut figures: Vec<_> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        Self(figures)
    }

    /// Median, least and most; what was never measured says so.
    pub(crate) fn show(&self) -> String {
        let (Some(least), Some(most)) = (self.0.first(), self.0.last()) else {
            return "not measured".to_owned();
        };
        let middle = [(self.0.len() - 1) / 2, self.0.len() / 2];
        let median = middle.iter().map(|place| self.0[*place]).sum::<f64>() / 2.0;
        format!("{} ({}-{})", short(median), short(*least), short(*most))
    }
}

/// As many digits as mean something.
pub(crate) fn short(figure: f64) -> String {
    if figure.abs() < 100.0 { format!("{figure:.1}") } else { format!("{figure:.0}") }
}

/// The lateness of an idle thread: 99 of 100, and the most.
pub(crate) fn lateness((usual, most): (Span, Span)) -> String {
    format!("{:.2} / {:.2}", length(usual), length(most))
}

/// A table.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    title: String,
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Without rows.
    pub(crate) fn new(title: impl Into<String>, head: &[&str]) -> Self {
        Self {
            title: title.into(),
            head: head.iter().map(|&cell| cell.to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    /// One row more.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// In Markdown, with columns of equal width.
    pub(crate) fn show(&self) -> String {
        let all = || std::iter::once(&self.head).chain(&self.rows);
        let width =
            |column: usize| all().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
        let widths: Vec<_> = (0..self.head.len()).map(|column| width(column).unwrap_or(3).max(3)).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!(" {cell:width$} |"));
            format!("|{}\n", cells.collect::<String>())
        };
        let rule: String = widths.iter().map(|width| format!(" {} |", "-".repeat(*width))).collect();
        let rows: String = self.rows.iter().map(line).collect();
        format!("{}\n\n{}|{rule}\n{rows}", self.title, line(&self.head))
    }
}

/// What a measurement brings.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// All of it.
    pub(crate) tables: Vec<Table>,
    /// Lines for the README: what, systole, keepalived.
    pub(crate) summary: Vec<super::readme::Row>,
    /// Runs in which it could not be measured.
    pub(crate) failed: usize,
}
