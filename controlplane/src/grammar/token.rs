//! Words of a line.

/// A word of a line with its column, from 1, in characters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Token<'a> {
    /// The word
    pub text: &'a str,
    /// Offset
    pub column: usize,
    pub(super) byte: usize,
}

/// Splits a line at white space.
#[must_use]
pub fn tokens(line: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let mut start: Option<(usize, usize)> = None;
    for (column, (byte, c)) in line.char_indices().enumerate() {
        match (c.is_whitespace(), start) {
            (false, None) => start = Some((byte, column)),
            (true, Some((from, at))) => {
                found.push(Token { text: &line[from..byte], column: at + 1, byte: from });
                start = None;
            }
            _ => {}
        }
    }
    if let Some((from, at)) = start {
        found.push(Token { text: &line[from..], column: at + 1, byte: from });
    }
    found
}
