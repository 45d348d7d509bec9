//! Plain tables: columns as wide as their widest cell, two spaces between them, nothing at a line's end.

/// Renders `rows` under `header`. Cells are made printable: names come from elsewhere.
pub(crate) fn render<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> String {
    let cells: Vec<[String; N]> = rows.iter().map(|row| row.each_ref().map(|cell| printable(cell))).collect();
    let mut widths = header.map(|title| title.chars().count());
    for row in &cells {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &[String; N]| {
        let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_string()
    };
    let header = line(&header.map(String::from));
    std::iter::once(header).chain(cells.iter().map(line)).collect::<Vec<_>>().join("\n")
}

/// The lines of a report, each made printable.
pub(crate) fn printable_lines(lines: &[String]) -> String {
    lines.iter().map(|line| printable(line)).collect::<Vec<_>>().join("\n")
}

/// The text without anything that a terminal would obey.
pub(crate) fn printable(text: &str) -> String {
    let invisible = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if invisible(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_obey_nobody() {
        let rows = [["alice".into(), "1".into()], ["b\x1b[2J\u{202e}".into(), "1000".into()]];
        assert_eq!(render(["USER", "UID"], &rows), "USER    UID\nalice   1\nb\u{fffd}[2J\u{fffd}  1000");
    }
}
