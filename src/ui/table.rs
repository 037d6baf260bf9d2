//! Rows → aligned lines.

/// One line per row; each column is as wide as its widest cell.
pub fn aligned<const N: usize>(rows: &[[String; N]]) -> Vec<String> {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |row: &[String; N]| {
        let cells: Vec<String> = row.iter().zip(widths).map(|(text, width)| format!("{text:width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::aligned;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_lines_have_no_trailing_space() {
        let rows = [["a", "längst", ""], ["bcd", "e", "f"]].map(|row| row.map(str::to_owned));
        assert_eq!(aligned(&rows), ["a    längst", "bcd  e       f"]);
        assert!(aligned::<2>(&[]).is_empty());
    }
}
