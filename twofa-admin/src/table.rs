//! Plain tables: columns as wide as their widest cell, two spaces between them, nothing at a line's end.

use crate::terminal;

/// Renders `rows` under `header`. Cells are made printable: names come from elsewhere. On a terminal long cells go on in
/// further lines; nothing is left out.
pub(crate) fn render<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> String {
    fit(header, rows, terminal::width())
}

fn fit<const N: usize>(header: [&str; N], rows: &[[String; N]], screen: Option<usize>) -> String {
    let cells: Vec<[String; N]> = rows.iter().map(|row| row.each_ref().map(|cell| printable(cell))).collect();
    let widest = |measure: fn(&str) -> usize| {
        let mut widths = header.map(|title| title.chars().count());
        for row in &cells {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(measure(cell));
            }
        }
        widths
    };
    let mut widths = widest(|cell| cell.chars().count());
    // No column is narrower than its longest word.
    let least = widest(|cell| cell.split(' ').map(|word| word.chars().count()).max().unwrap_or(0));
    let mut over =
        screen.map_or(0, |screen| (widths.iter().sum::<usize>() + GAP * (N - 1)).saturating_sub(screen));
    while over > 0 {
        let columns = widths.iter_mut().zip(least).filter(|(width, least)| **width > *least);
        let Some((width, least)) = columns.max_by_key(|(width, _)| **width) else { break };
        let less = over.min(*width - least);
        *width -= less;
        over -= less;
    }
    let line = |cells: &[String; N]| {
        let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_string()
    };
    let lines = |row: &[String; N]| {
        let mut parts = row.each_ref().map(|_| Vec::new());
        for ((part, cell), width) in parts.iter_mut().zip(row).zip(widths) {
            *part = wrap(cell, width);
        }
        let height = parts.iter().map(Vec::len).max().unwrap_or(0);
        let at = |index: usize| parts.each_ref().map(|part| part.get(index).cloned().unwrap_or_default());
        (0..height.max(1)).map(|index| line(&at(index))).collect::<Vec<_>>()
    };
    let header = line(&header.map(String::from));
    std::iter::once(header).chain(cells.iter().flat_map(lines)).collect::<Vec<_>>().join("\n")
}

/// Between two columns.
const GAP: usize = 2;

/// Lines of at most so many letters, if the words are not longer.
fn wrap(cell: &str, width: usize) -> Vec<String> {
    if cell.chars().count() <= width {
        return vec![cell.into()];
    }
    let mut lines: Vec<String> = Vec::new();
    for word in cell.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.into()),
        }
    }
    lines
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
        assert_eq!(fit(["USER", "UID"], &rows, None), "USER    UID\nalice   1\nb\u{fffd}[2J\u{fffd}  1000");
    }

    #[test]
    fn what_is_wider_than_the_screen_goes_on_below() {
        let reason = "copies the database at night and nobody knows how".to_string();
        let rows = [
            ["backup".into(), "192.0.2.0/24, 198.51.100.7".into(), reason],
            ["x".into(), "-".into(), "y".into()],
        ];
        let told = fit(["WHO", "FROM", "REASON"], &rows, Some(50));
        let lines = [
            "WHO     FROM                        REASON",
            "backup  192.0.2.0/24, 198.51.100.7  copies the",
            "                                    database at",
            "                                    night and",
            "                                    nobody knows",
            "                                    how",
            "x       -                           y",
        ];
        assert_eq!(told, lines.join("\n"));
        let whole = fit(["WHO", "FROM", "REASON"], &rows, None);
        assert_eq!(whole.lines().count(), 3);
        // A word is never broken, whatever the screen.
        assert!(fit(["WHO", "FROM", "REASON"], &rows, Some(10)).contains("198.51.100.7"));
    }
}
