//! A line as it may be shown: its secrets hidden, and columns and messages about it to match.

use crate::grammar::Mismatch;

/// Shown in place of a secret, whatever its length.
pub const HIDDEN: &str = "********";

/// A line with its secrets hidden.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Masked {
    /// The line as it may be shown
    pub text: String,
    /// The hidden characters of the line, from and to
    hidden: Option<(usize, usize)>,
    words: Vec<String>,
}

impl Masked {
    /// Hides the characters `hidden` of a line, from and to.
    pub(super) fn new(line: &str, hidden: Option<(usize, usize)>) -> Masked {
        let chars: Vec<char> = line.chars().collect();
        let hidden = hidden.map(|(from, to)| (from, to.min(chars.len()))).filter(|(from, to)| from < to);
        let Some((from, to)) = hidden else { return Masked { text: line.to_owned(), ..Masked::default() } };
        let part = |part: &[char]| part.iter().collect::<String>();
        let text = part(&chars[..from]) + HIDDEN + &part(&chars[to..]);
        // An error may name a piece of the word that the hidden part begins in.
        let start = chars[..from].iter().rposition(|c| c.is_whitespace()).map_or(0, |at| at + 1);
        let mut words: Vec<String> = part(&chars[from..to]).split_whitespace().map(str::to_owned).collect();
        let whole = chars[start..].iter().take_while(|c| !c.is_whitespace()).collect();
        if start < from {
            words.insert(0, whole);
        }
        Masked { text, hidden, words }
    }

    /// Returns whether there is a secret in the line.
    #[must_use]
    pub fn is_secret(&self) -> bool {
        self.hidden.is_some()
    }

    /// A message about the line without the words that are hidden.
    #[must_use]
    pub fn message(&self, message: &str) -> String {
        let mut message = message.to_owned();
        for word in &self.words {
            message = without(&message, word);
        }
        message
    }

    /// The column in [`Masked::text`] of a column of the line, both from 1.
    #[must_use]
    pub fn column(&self, column: usize) -> usize {
        match self.hidden {
            Some((_, to)) if column > to => column - to + self.shown_end(),
            Some((from, _)) if column > from => from + 1,
            _ => column,
        }
    }

    fn shown_end(&self) -> usize {
        self.hidden.map_or(0, |(from, _)| from + HIDDEN.len())
    }

    /// The line with a caret under the word that is not understood, and the words expected there.
    #[must_use]
    pub fn explain(&self, mismatch: &Mismatch) -> String {
        Mismatch {
            column: self.column(mismatch.column),
            message: self.message(&mismatch.message),
            ..mismatch.clone()
        }
        .render(&self.text)
    }
}

/// `message` with `word` hidden wherever it stands alone.
fn without(message: &str, word: &str) -> String {
    let mut out = String::with_capacity(message.len());
    let mut rest = message;
    while let Some(at) = rest.find(word) {
        let (before, after) = (&rest[..at], &rest[at + word.len()..]);
        let inside = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        let alone = !inside(before.chars().next_back()) && !inside(after.chars().next());
        out.push_str(before);
        out.push_str(if alone { HIDDEN } else { word });
        rest = after;
    }
    out + rest
}
