//! The tables: a row a point, a column an evil. What went wrong stands below in full, and again at the very end.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use crate::Cell;
use crate::scenario::Outcome;

/// A cell that has run.
pub struct Done {
    /// Its place among all.
    pub number: usize,
    pub table: String,
    pub row: String,
    pub column: &'static str,
    pub outcome: Outcome,
    pub took: Duration,
}

impl Done {
    /// What went wrong in it, in full. Nothing where all is well.
    fn wrong(&self) -> String {
        let Err(why) = &self.outcome else { return String::new() };
        format!("WRONG {}: {}, {}\n    {}\n", self.table, self.row, self.column, why.replace('\n', "\n    "))
    }
}

/// The tables as they fill.
pub struct Tables {
    /// How many cells of each have not run.
    left: BTreeMap<String, usize>,
    done: Vec<Done>,
}

impl Tables {
    /// Empty ones for these cells.
    pub fn of(cells: &[Cell]) -> Self {
        let mut left = BTreeMap::new();
        for cell in cells {
            *left.entry(cell.table.clone()).or_default() += 1;
        }
        Self { left, done: Vec::new() }
    }

    /// Takes a cell. If it was its table's last: the table.
    pub fn add(&mut self, done: Done) -> Option<String> {
        let table = done.table.clone();
        self.done.push(done);
        let left = self.left.entry(table.clone()).or_default();
        *left = left.saturating_sub(1);
        (*left == 0).then(|| self.show(&table))
    }

    /// How many cells have run, and how many of them went wrong.
    pub fn count(&self) -> (usize, usize) {
        (self.done.len(), self.done.iter().filter(|done| done.outcome.is_err()).count())
    }

    fn show(&self, table: &str) -> String {
        let mut cells: Vec<&Done> = self.done.iter().filter(|done| done.table == table).collect();
        cells.sort_by_key(|cell| cell.number);
        format!("\n== {table}\n{}{}", one(&cells), cells.iter().map(|cell| cell.wrong()).collect::<String>())
    }

    /// What went wrong in all tables, in full.
    pub fn wrong(&self) -> String {
        self.done.iter().map(Done::wrong).collect()
    }
}

/// One table: what a cell holds is `ok` with its seconds, or `WRONG`.
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

/// The different values, in the order in which they come.
fn distinct<'a, C, T: PartialEq>(cells: &'a [C], of: impl Fn(&'a C) -> &'a T) -> Vec<&'a T> {
    let mut found: Vec<&T> = Vec::new();
    for cell in cells {
        if !found.contains(&of(cell)) {
            found.push(of(cell));
        }
    }
    found
}
