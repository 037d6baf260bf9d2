//! The tables: one row per point, one column per fault. Failures are printed below in full, and again at the end.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use crate::Cell;
use crate::scenario::Outcome;

/// A finished cell.
pub struct Done {
    /// Its number.
    pub number: usize,
    pub table: String,
    pub row: String,
    pub column: &'static str,
    pub outcome: Outcome,
    pub took: Duration,
}

impl Done {
    /// The full failure; empty on success.
    fn wrong(&self) -> String {
        let Err(why) = &self.outcome else { return String::new() };
        format!("WRONG {}: {}, {}\n    {}\n", self.table, self.row, self.column, why.replace('\n', "\n    "))
    }
}

/// The tables with the finished cells.
pub struct Tables {
    /// The number of remaining cells per table.
    left: BTreeMap<String, usize>,
    done: Vec<Done>,
}

impl Tables {
    /// Empty tables for these cells.
    pub fn of(cells: &[Cell]) -> Self {
        let mut left = BTreeMap::new();
        for cell in cells {
            *left.entry(cell.table.clone()).or_default() += 1;
        }
        Self { left, done: Vec::new() }
    }

    /// Adds a cell. Returns the table after its last cell.
    pub fn add(&mut self, done: Done) -> Option<String> {
        let table = done.table.clone();
        self.done.push(done);
        let left = self.left.entry(table.clone()).or_default();
        *left = left.saturating_sub(1);
        (*left == 0).then(|| self.show(&table))
    }

    /// The number of finished cells and of failures.
    pub fn count(&self) -> (usize, usize) {
        (self.done.len(), self.done.iter().filter(|done| done.outcome.is_err()).count())
    }

    fn show(&self, table: &str) -> String {
        let mut cells: Vec<&Done> = self.done.iter().filter(|done| done.table == table).collect();
        cells.sort_by_key(|cell| cell.number);
        format!("\n== {table}\n{}{}", one(&cells), cells.iter().map(|cell| cell.wrong()).collect::<String>())
    }

    /// All failures in full.
    pub fn wrong(&self) -> String {
        self.done.iter().map(Done::wrong).collect()
    }
}

/// One table. A cell is `ok` with its duration, or `WRONG`.
fn one(cells: &[&Done]) -> String {
    let rows = distinct(cells, |cell| &cell.row);
    let columns = distinct(cells, |cell| &cell.column);
    let width = |column: &str| column.len().max(9);
    let first = rows.iter().map(|row| row.len()).max().unwrap_or_default();
    let mut text = format!("{:first$}", "");
    for column in &columns {
        let _ = write!(text, "  {column:width$}", width = width(column));
    }
    for row in rows {
        let _ = write!(text, "\n{row:first$}");
        for column in &columns {
            let cell = cells.iter().find(|cell| cell.row == *row && cell.column == **column);
            let said = match cell {
                None => String::new(),
                Some(cell) if cell.outcome.is_ok() => format!("ok {:.1}s", cell.took.as_secs_f32()),
                Some(_) => "WRONG".to_owned(),
            };
            let _ = write!(text, "  {said:width$}", width = width(column));
        }
    }
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n") + "\n"
}

/// The distinct values in order.
fn distinct<'a, C, T: PartialEq>(cells: &'a [C], of: impl Fn(&'a C) -> &'a T) -> Vec<&'a T> {
    let mut found: Vec<&T> = Vec::new();
    for cell in cells {
        if !found.contains(&of(cell)) {
            found.push(of(cell));
        }
    }
    found
}
