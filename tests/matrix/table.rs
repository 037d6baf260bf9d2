//! The tables: a row a point, a column an evil. What went wrong stands below in full.

use std::fmt::Write;
use std::time::Duration;

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

/// All tables, each with what went wrong in it.
pub fn show(done: &[Done]) -> String {
    let mut text = String::new();
    let mut tables = distinct(done, |done| &done.table);
    tables.sort_by_key(|table| done.iter().position(|done| done.table == **table));
    for table in tables {
        let cells: Vec<&Done> = done.iter().filter(|done| done.table == *table).collect();
        // Writing to a String cannot fail.
        let _ = write!(text, "\n== {table}\n{}", one(&cells));
        for cell in &cells {
            if let Err(why) = &cell.outcome {
                let _ =
                    writeln!(text, "WRONG {table}: {}, {}\n    {}", cell.row, cell.column, why.replace('\n', "\n    "));
            }
        }
    }
    text
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
