//! The answers to `show`: each is a plain value that goes out as JSON or is written as text in the form that
//! operators know. No value here is more than what is known when it is asked for.

pub mod cluster;
pub mod dataplane;
pub mod delays;
pub mod redirect;
pub mod standby;
pub mod version;

use std::fmt::Write as _;
use std::time::Duration;

/// A table with two spaces between its columns; `right` marks the columns of numbers.
pub(crate) fn table(head: &[&str], right: &[bool], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|word| word.len()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = String::new();
    let mut line = |cells: Vec<&str>| {
        let mut text = String::new();
        for ((cell, width), right) in cells.iter().zip(&widths).zip(right) {
            let _ = if *right { write!(text, "{cell:>width$}  ") } else { write!(text, "{cell:<width$}  ") };
        }
        let _ = writeln!(out, "{}", text.trim_end());
    };
    line(head.to_vec());
    for row in rows {
        line(row.iter().map(String::as_str).collect());
    }
    out
}

/// A time as IOS shows it: `00:01:02`, `3d04h`, `1w2d`.
pub(crate) fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match days {
        0 => format!("{:02}:{:02}:{:02}", hours, minutes % 60, seconds % 60),
        1..7 => format!("{}d{:02}h", days, hours % 24),
        _ => format!("{}w{}d", days / 7, days % 7),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_read_as_on_ios() {
        let shown = |seconds| age(Duration::from_secs(seconds));
        assert_eq!(
            (shown(62), shown(100_000), shown(700_000)),
            ("00:01:02".into(), "1d03h".into(), "1w1d".into())
        );
    }
}
