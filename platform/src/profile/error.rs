//! What is wrong with a profile, and where.

use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why a profile was not taken.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProfileError {
    /// The file.
    #[error("profile {}: {reason}: name a readable profile (--profile FILE)", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// A place in the file.
    #[error("profile {}:{line}:{column}: {message}", path.display())]
    At {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
        /// What is wrong and what to write.
        message: String,
    },
    /// Values that do not go together.
    #[error("profile {}: {message}", path.display())]
    Contradiction {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to write.
        message: String,
    },
}

impl ProfileError {
    pub(super) fn from_toml(err: &toml::de::Error, text: &str, path: &Path) -> ProfileError {
        let at = err.span().map_or(0, |span| span.start).min(text.len());
        let before = text.get(..at).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        ProfileError::At {
            path: path.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            message: unknown_key(err.message())
                .or_else(|| of_a_device(err.message()))
                .unwrap_or_else(|| one_line(err.message())),
        }
    }
}

fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Turns serde's "unknown field `x`, expected one of `a`, `b`" (and the same of variants) into a hint at the nearest.
fn unknown_key(message: &str) -> Option<String> {
    let (what, rest) = [("key", "unknown field "), ("value", "unknown variant ")]
        .into_iter()
        .find_map(|(what, start)| Some((what, message.strip_prefix(start)?)))?;
    let mut quoted = rest.split('`').skip(1).step_by(2);
    let unknown = quoted.next()?;
    let known: Vec<&str> = quoted.collect();
    let all = || known.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
    Some(match known.iter().min_by_key(|key| distance(unknown, key)) {
        Some(nearest) if distance(unknown, nearest) <= nearest.chars().count().max(2) / 2 => {
            format!("unknown {what} `{unknown}`: did you mean `{nearest}`? Known here: {}", all())
        }
        _ => format!("unknown {what} `{unknown}`: known here: {}", all()),
    })
}

/// Two keys lead into one field: serde knows but one of their names.
fn of_a_device(message: &str) -> Option<String> {
    if message.starts_with("duplicate field `device`") {
        return Some("a port has a `device` or a `bond`: remove one".into());
    }
    message.starts_with("missing field `device`").then(|| {
        "a port needs a `device` (\"pci:0000:03:00.0\") or a `bond` ({ mode = \"lacp\", members = [...] })".into()
    })
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
