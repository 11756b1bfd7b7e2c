//! Columns.

use super::Line;

/// Lays rows out in columns two spaces apart. The last column is cut to `width` where one is given.
pub fn table(rows: Vec<Vec<Line>>, width: Option<usize>) -> Vec<Line> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| rows.iter().filter_map(|row| row.get(column)).map(Line::width).max().unwrap_or(0))
        .collect();
    rows.into_iter()
        .map(|row| {
            let last = row.len().saturating_sub(1);
            let mut line = Line::new();
            for (column, cell) in row.into_iter().enumerate() {
                let gap = widths[column].saturating_sub(cell.width()) + 2;
                line = cell.after(line);
                if column < last {
                    line.push(super::PLAIN, " ".repeat(gap));
                }
            }
            match width {
                Some(width) => line.cut(width),
                None => line,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::super::{PLAIN, plain};
    use super::*;

    #[test]
    fn columns_line_up() {
        let row = |cells: &[&str]| cells.iter().map(|cell| Line::of(PLAIN, cell)).collect::<Vec<_>>();
        let lines = table(vec![row(&["a", "日本", "x"]), row(&["long", "b", "a title that is too long"])], Some(20));
        assert_eq!(plain(&lines), "a     日本  x\nlong  b     a title…");
    }
}
