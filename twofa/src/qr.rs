//! A QR code as text: two rows of modules a line, with the quiet zone that scanners want (ISO/IEC 18004: four
//! modules).

use fast_qr::{ECL, QRBuilder};
use zeroize::Zeroizing;

const QUIET: usize = 4;
/// Black on white, whatever the terminal's colours are; some scanners do not read an inverted code.
const BLACK_ON_WHITE: &str = "\x1b[30;107m";
const RESET: &str = "\x1b[0m";

/// The code of `text`. With `colour` its modules are black on white; without, they are what a terminal with
/// a dark background shows right.
pub fn render(text: &str, colour: bool) -> Option<Zeroizing<String>> {
    let qr = QRBuilder::new(text).ecl(ECL::L).build().ok()?;
    let size = qr.size + 2 * QUIET;
    let dark = |x: usize, y: usize| match (x.checked_sub(QUIET), y.checked_sub(QUIET)) {
        (Some(x), Some(y)) if x < qr.size && y < qr.size => {
            qr.data.get(y * qr.size + x).is_some_and(|m| m.value())
        }
        _ => false,
    };
    let mut shown = Zeroizing::new(String::with_capacity(size * size * 2 + size * 16));
    for y in (0..size).step_by(2) {
        shown.push_str(if colour { BLACK_ON_WHITE } else { "" });
        // What is printed is ink: dark modules with colours, light ones without.
        shown.extend((0..size).map(|x| {
            match (dark(x, y) == colour, (y + 1 < size && dark(x, y + 1)) == colour) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            }
        }));
        shown.push_str(if colour { RESET } else { "" });
        shown.push('\n');
    }
    Some(shown)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Reads the printed characters back as a scanner would see them.
    pub(crate) fn scan(shown: &str, colour: bool) -> String {
        const SCALE: usize = 4;
        let shown = shown.replace(BLACK_ON_WHITE, "").replace(RESET, "");
        let rows: Vec<Vec<(bool, bool)>> =
            shown.lines().map(|line| line.chars().map(ink).collect()).collect();
        let side = rows[0].len();
        let mut image =
            rqrr::PreparedImage::prepare_from_greyscale(side * SCALE, rows.len() * 2 * SCALE, |x, y| {
                let (upper, lower) = rows[y / SCALE / 2][x / SCALE];
                let ink = if (y / SCALE).is_multiple_of(2) { upper } else { lower };
                if ink == colour { 0 } else { 255 }
            });
        let grids = image.detect_grids();
        grids[0].decode().unwrap().1
    }

    #[test]
    fn what_is_printed_can_be_scanned() {
        let uri = "otpauth://totp/ACME:alice?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=ACME&algorithm=SHA1&digits=6&period=30";
        for colour in [false, true] {
            assert_eq!(scan(&render(uri, colour).unwrap(), colour), uri);
        }
    }

    fn ink(c: char) -> (bool, bool) {
        match c {
            '█' => (true, true),
            '▀' => (true, false),
            '▄' => (false, true),
            _ => (false, false),
        }
    }
}
