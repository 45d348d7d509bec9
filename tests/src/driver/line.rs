//! Plans and transcripts are lines: a word, a tab, a value whose odd bytes stand as `\xHH`.

/// One line; `value` may hold any bytes.
#[must_use]
pub fn print(word: &str, value: &[u8]) -> String {
    format!("{word}\t{}\n", escape(value))
}

/// The lines of a text that [`print`] made.
#[must_use]
pub fn parse(text: &str) -> Vec<(String, Vec<u8>)> {
    let line = |line: &str| {
        let (word, value) = line.split_once('\t').expect("a word, a tab, a value");
        (word.to_owned(), unescape(value))
    };
    text.lines().map(line).collect()
}

#[must_use]
pub fn escape(value: &[u8]) -> String {
    let letter = |&byte: &u8| match byte {
        b'\\' => "\\\\".to_owned(),
        b' '..=b'~' => char::from(byte).to_string(),
        _ => format!("\\x{byte:02x}"),
    };
    value.iter().map(letter).collect()
}

#[must_use]
pub fn unescape(value: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = value.as_bytes();
    while let [first, after @ ..] = rest {
        let (byte, tail) = match (first, after) {
            (b'\\', [b'x', high, low, tail @ ..]) => (digit(*high) << 4 | digit(*low), tail),
            (b'\\', [b'\\', tail @ ..]) => (b'\\', tail),
            _ => (*first, after),
        };
        bytes.push(byte);
        rest = tail;
    }
    bytes
}

fn digit(letter: u8) -> u8 {
    let digit = char::from(letter).to_digit(16).expect("a hexadecimal digit");
    u8::try_from(digit).expect("below 16")
}

#[cfg(test)]
mod tests {
    #[test]
    fn any_byte_survives() {
        let value: Vec<u8> = (0..=255).chain(*b"\\x41 \\").collect();
        let line = super::print("word", &value);
        assert_eq!(super::parse(&line), [("word".to_owned(), value)]);
    }
}
