//! The terminal: pages, passwords and questions back.

use ratatui::crossterm::terminal::{disable_raw_mode, enable_raw_mode, size};
use std::io::{IsTerminal as _, Write as _};

/// Lines of the terminal; `None` where the output is none.
#[must_use]
pub fn height() -> Option<u16> {
    let both = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
    both.then(size)?.ok().map(|(_, rows)| rows).filter(|rows| *rows > 1)
}

/// The terminal without echo and lines, until this is dropped.
struct Raw;

impl Raw {
    fn enter() -> Option<Raw> {
        enable_raw_mode().ok().map(|()| Raw)
    }

    /// The next byte; `None` at the end of the input. Unbuffered: what comes after it belongs to the shell.
    fn key(&self) -> Option<u8> {
        let mut byte = [0u8; 1];
        matches!(rustix::io::read(std::io::stdin(), &mut byte), Ok(1)).then_some(byte[0])
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = disable_raw_mode();
    }
}

/// Shows text page by page: space goes on a page, Enter a line, anything else ends it. 0 lines: all at once.
///
/// # Errors
/// When the output cannot be written.
pub fn page(text: &str, length: u16) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let page = usize::from(length).saturating_sub(1).max(1);
    let mut room = if length == 0 { usize::MAX } else { page };
    for line in text.split_inclusive('\n') {
        if room == 0 {
            write!(out, " --More-- ")?;
            out.flush()?;
            room = match Raw::enter().and_then(|raw| raw.key()) {
                Some(b' ') => page,
                Some(b'\r' | b'\n') => 1,
                _ => 0,
            };
            write!(out, "\r          \r")?;
            if room == 0 {
                return out.flush();
            }
        }
        out.write_all(line.as_bytes())?;
        room -= 1;
    }
    out.flush()
}

/// Reads a password without showing it; `None` when it was given up.
#[must_use]
pub fn password(prompt: &str) -> Option<String> {
    print!("{prompt}");
    std::io::stdout().flush().ok()?;
    let mut typed = Vec::new();
    let raw = Raw::enter()?;
    let given = loop {
        match raw.key() {
            Some(b'\r' | b'\n') => break true,
            Some(0x7f | 0x08) => drop(typed.pop()),
            None | Some(3 | 4) => break false,
            Some(_) if typed.len() >= 256 => {}
            Some(byte) => typed.push(byte),
        }
    };
    drop(raw);
    println!();
    given.then(|| String::from_utf8_lossy(&typed).into_owned())
}

/// Asks back; everything but yes is no.
#[must_use]
pub fn confirm(question: &str) -> bool {
    print!("{question} [no]: ");
    let mut line = String::new();
    let raw = if std::io::stdout().flush().is_ok() { Raw::enter() } else { None };
    let Some(raw) = raw else { return false };
    loop {
        match raw.key() {
            Some(b'\r' | b'\n') => break,
            None | Some(3 | 4) => {
                line.clear();
                break;
            }
            Some(byte @ b' '..=b'~') if line.len() < 16 => {
                print!("{}", char::from(byte));
                let _ = std::io::stdout().flush();
                line.push(char::from(byte));
            }
            Some(_) => {}
        }
    }
    drop(raw);
    println!();
    matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}
