//! Tables as comma separated values (RFC 4180), as spreadsheets write and read them. What they would take for a formula
//! gets an apostrophe in front, which is taken away again.

/// Why a text is no table.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) line: usize,
    pub(crate) why: &'static str,
}

/// A row, and the line that it begins at.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) line: usize,
    pub(crate) cells: Vec<String>,
}

/// The rows of a table; empty lines are passed over.
pub(crate) fn parse(text: &str) -> Result<Vec<Row>, Fault> {
    let mut reader = Reader { rest: text, line: 1 };
    let mut rows = Vec::new();
    while !reader.rest.is_empty() {
        let line = reader.line;
        let cells = reader.row()?;
        if cells.iter().any(|cell| !cell.is_empty()) {
            rows.push(Row { line, cells: cells.into_iter().map(bare).collect() });
        }
    }
    Ok(rows)
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
}

impl Reader<'_> {
    fn row(&mut self) -> Result<Vec<String>, Fault> {
        let mut cells = Vec::new();
        loop {
            cells.push(if self.rest.starts_with('"') { self.quoted()? } else { self.plain()? });
            if let Some(rest) = self.rest.strip_prefix(',') {
                self.rest = rest;
                continue;
            }
            self.rest = self.rest.strip_prefix('\r').unwrap_or(self.rest);
            match self.rest.strip_prefix('\n') {
                Some(rest) => self.rest = rest,
                None if self.rest.is_empty() => {}
                None => return Err(self.fault("goes on after a quotation mark")),
            }
            self.line += 1;
            return Ok(cells);
        }
    }

    fn plain(&mut self) -> Result<String, Fault> {
        let end = self.rest.find([',', '\n']).unwrap_or(self.rest.len());
        let (cell, _) = self.rest.split_at(end);
        let is_last = !self.rest.get(end..).is_some_and(|rest| rest.starts_with(','));
        let cell = if is_last { cell.strip_suffix('\r').unwrap_or(cell) } else { cell };
        if cell.contains('"') {
            return Err(self.fault("has a quotation mark in the middle of a cell"));
        }
        if cell.contains(char::is_control) {
            return Err(self.fault("has a control character"));
        }
        let cell = cell.to_string();
        self.rest = self.rest.get(cell.len()..).unwrap_or_default();
        Ok(cell)
    }

    fn quoted(&mut self) -> Result<String, Fault> {
        let began = self.line;
        let mut cell = String::new();
        let mut rest = self.rest.strip_prefix('"').unwrap_or(self.rest);
        loop {
            let Some((part, after)) = rest.split_once('"') else {
                return Err(Fault { line: began, why: "opens a quotation that has no end" });
            };
            self.line += part.matches('\n').count();
            cell.push_str(part);
            match after.strip_prefix('"') {
                Some(after) => {
                    cell.push('"');
                    rest = after;
                }
                None => {
                    self.rest = after;
                    return Ok(cell);
                }
            }
        }
    }

    fn fault(&self, why: &'static str) -> Fault {
        Fault { line: self.line, why }
    }
}

/// What a cell must not begin with in a spreadsheet (OWASP, CSV injection), and the mark itself.
const FORMULA: [char; 8] = ['=', '+', '-', '@', '\t', '\r', '\n', '\''];

fn bare(cell: String) -> String {
    match cell.strip_prefix('\'') {
        Some(bare) if bare.starts_with(FORMULA) => bare.into(),
        _ => cell,
    }
}

/// A row as it is written.
pub(crate) fn line(cells: &[&str]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| quote(cell)).collect();
    format!("{}\r\n", cells.join(","))
}

fn quote(cell: &str) -> String {
    let mark = if cell.starts_with(FORMULA) { "'" } else { "" };
    if mark.is_empty() && !cell.contains(|c: char| c.is_control() || ",\"'".contains(c)) {
        return cell.into();
    }
    format!("\"{mark}{}\"", cell.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(text: &str) -> Vec<Vec<String>> {
        parse(text).unwrap().into_iter().map(|row| row.cells).collect()
    }

    #[test]
    fn tables_are_read_as_spreadsheets_write_them() {
        for text in
            ["user,phone\nalice,1", "user,phone\r\nalice,1\r\n", "\"user\",phone\n\n,\n\"alice\",\"1\"\n"]
        {
            assert_eq!(cells(text), [["user", "phone"], ["alice", "1"]], "{text:?}");
        }
        assert_eq!(cells("\"a \"\"b\"\",\nc\",'+48,'x,''\n"), [["a \"b\",\nc", "+48", "'x", "'"]]);
        let lines: Vec<usize> = parse("a\n\n\"b\nc\"\nd").unwrap().iter().map(|row| row.line).collect();
        assert_eq!(lines, [1, 3, 5]);
    }

    #[test]
    fn what_is_no_table_says_where() {
        let table =
            [("a\nb\"c\n", 2), ("a\n\"b\nc\n", 2), ("a\n\n\"b\"c\n", 3), ("a\nb\0\n", 2), ("a\rb\n", 1)];
        for (text, line) in table {
            assert_eq!(parse(text).unwrap_err().line, line, "{text:?}");
        }
    }

    /// Whatever the cells are.
    #[test]
    fn what_is_written_is_read_back() {
        let parts = [
            "",
            "a",
            "=1+1",
            "+48600000123",
            "-x",
            "@x",
            "\tx",
            "\rx",
            "'",
            "'=1",
            "\"",
            ",",
            "a\nb",
            "\u{e9} b",
            "''+",
        ];
        for one in parts {
            for other in parts {
                let written = line(&["user", one, other]);
                assert_eq!(cells(&written), [["user", one, other]], "{written:?}");
                for cell in ["=", "+", "-", "@"] {
                    assert!(
                        !written.contains(&format!(",{cell}")) && !written.contains(&format!(",\"{cell}")),
                        "{written:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn random_text_is_no_trouble() {
        let letters = ["\"", ",", "\n", "\r", "'", "=", "a", "\u{e9}", "\0"];
        let mut random = 88_172_645_463_325_252_u64;
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..random % 12 {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                text.push_str(letters[(random % 9) as usize]);
            }
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let _ = parse(&text);
        }
    }
}
