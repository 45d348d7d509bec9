//! A QR code on a terminal, as the camera of a telephone sees it: drawn from its characters, read by `zbarimg`.

use std::env;
use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// Pixels of one module, on each side.
const SCALE: usize = 6;
/// Modules of the terminal's own colour around the code.
const MARGIN: usize = 4;
/// What is printed with: a character has two modules, the upper and the lower half.
const HALVES: [(char, [bool; 2]); 4] =
    [(' ', [false, false]), ('▀', [true, false]), ('▄', [false, true]), ('█', [true, true])];

/// The colours of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colours {
    /// Light letters on a dark ground.
    Dark,
    /// The other way round.
    Light,
}

/// What the QR code on `screen` says; none where zbarimg finds no code.
///
/// # Panics
///
/// When the screen has no block of half blocks at all, or zbarimg is not there.
#[track_caller]
pub fn read(screen: &str, colours: Colours) -> Option<String> {
    let ink = ink(screen);
    assert!(!ink.is_empty(), "there is no QR code:\n{screen}");
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let file = env::temp_dir().join(format!("twofa-qr-{}-{count}.pgm", std::process::id()));
    fs::write(&file, picture(&ink, colours)).expect("a picture");
    let output = Command::new("zbarimg")
        .args(["--quiet", "--raw", "--nodbus", "-Sdisable", "-Sqrcode.enable"])
        .arg(&file)
        .output()
        .expect("zbarimg (package zbar-tools); install what is missing with: tests/prepare test");
    fs::remove_file(&file).expect("a picture just made");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    // 4: no code was found.
    assert!(matches!(output.status.code(), Some(0 | 4)), "{}", String::from_utf8_lossy(&output.stderr));
    Some(text.trim_end().to_owned()).filter(|text| !text.is_empty())
}

/// Which modules are printed, row by row. All lines with nothing but half blocks belong to the code.
fn ink(screen: &str) -> Vec<Vec<bool>> {
    let halves = |c: char| HALVES.iter().find(|(printed, _)| *printed == c).map(|(_, halves)| *halves);
    let lines = screen.lines().filter(|line| line.contains(['▀', '▄', '█']));
    let lines = lines.filter_map(|line| line.chars().map(halves).collect::<Option<Vec<_>>>());
    lines.flat_map(|line| [0, 1].map(|row| line.iter().map(|halves| halves[row]).collect())).collect()
}

/// A PGM (P2, grey values as text).
fn picture(ink: &[Vec<bool>], colours: Colours) -> String {
    let (width, height) = (ink[0].len() + 2 * MARGIN, ink.len() + 2 * MARGIN);
    let is_inked = |x: usize, y: usize| {
        let row = y.checked_sub(MARGIN).and_then(|y| ink.get(y));
        row.and_then(|row| row.get(x.checked_sub(MARGIN)?)).copied().unwrap_or(false)
    };
    let mut picture = format!("P2\n{} {}\n255\n", width * SCALE, height * SCALE);
    for y in 0..height * SCALE {
        for x in 0..width * SCALE {
            let is_light = is_inked(x / SCALE, y / SCALE) == (colours == Colours::Dark);
            picture.push_str(if is_light { "255 " } else { "0 " });
        }
        picture.push('\n');
    }
    picture
}
