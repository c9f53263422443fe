//! Columns of text, as Docker's tables have them.

/// Least width of a column with the gap behind it.
const MIN_WIDTH: usize = 10;
/// Gap between columns.
const GAP: usize = 3;

/// The rows, aligned; the last cell of a row is not padded. Each line ends with a newline.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter(|row| row.len() > column + 1).filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count() + GAP).max().unwrap_or(0).max(MIN_WIDTH)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let last = row.len().saturating_sub(1);
        for (column, cell) in row.iter().enumerate() {
            out.push_str(cell);
            if column < last {
                let width = widths.get(column).copied().unwrap_or(0);
                out.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count())));
            }
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let row = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
        let text = table(&[row(&["ID", "NAME", "X"]), row(&["0123456789ab", "ä", ""])]);
        assert_eq!(text, "ID             NAME      X\n0123456789ab   ä         \n");
    }
}
