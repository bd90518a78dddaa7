//! `load-source script PATH`: a program that prints one line, `half_open=N ike=N child=N [cpu=PCT] [mem=PCT]`.
//!
//! Numbers are 0 to 4294967295, percentages 0 to 100, with decimals if it likes. Words that are not known are left for later
//! versions. It is run every interval, without arguments, and has to end with exit code 0 in time.

use super::Counts;
use super::program::{self, Privilege};
use crate::types::Percent;
use std::path::Path;
use std::time::Duration;

/// Limit of its output, bytes.
const MAX_OUTPUT: usize = 4096;
const FORM: &str = "print one line `half_open=N ike=N child=N [cpu=PCT] [mem=PCT]`";

pub(super) async fn counts(path: &Path, limit: Duration) -> Result<Counts, String> {
    let output = program::output::<&str>(path, Privilege::Unprivileged, &[], MAX_OUTPUT, limit).await;
    parse(&String::from_utf8_lossy(&output.map_err(|error| error.to_string())?))
}

fn parse(output: &str) -> Result<Counts, String> {
    let mut lines = output.lines().filter(|line| !line.trim().is_empty());
    let line = match (lines.next(), lines.next()) {
        (Some(line), None) => line,
        (None, _) => return Err(format!("printed nothing: {FORM}")),
        (Some(_), Some(_)) => return Err(format!("printed more than one line: {FORM}")),
    };
    let mut numbers = [None; 3];
    let mut shares = [None; 2];
    for word in line.split_ascii_whitespace() {
        let (name, value) =
            word.split_once('=').ok_or_else(|| format!("printed `{}`: {FORM}", shown(word)))?;
        let wrong = || format!("printed `{}`: {FORM}", shown(word));
        let twice = || format!("printed `{}` twice: {FORM}", shown(name));
        if let Some(at) = ["half_open", "ike", "child"].iter().position(|known| *known == name) {
            let before = numbers[at].replace(value.parse::<u32>().map_err(|_| wrong())?);
            before.map_or(Ok(()), |_| Err(twice()))?;
        } else if let Some(at) = ["cpu", "mem"].iter().position(|known| *known == name) {
            let before = shares[at].replace(percent(value).ok_or_else(wrong)?);
            before.map_or(Ok(()), |_| Err(twice()))?;
        }
    }
    let [Some(half_open), Some(ike), Some(child)] = numbers else {
        return Err(format!("printed `{}`, in which a count is missing: {FORM}", shown(line)));
    };
    let [cpu, mem] = shares;
    Ok(Counts { half_open, ike, child, cpu, mem })
}

/// 0 to 100, with decimals.
fn percent(text: &str) -> Option<Percent> {
    let value: f64 = text.parse().ok()?;
    (0.0..=100.0).contains(&value).then(|| Percent::hundredths((value * 100.0).round() as u64))
}

/// As much of it as a log line bears.
fn shown(text: &str) -> String {
    text.chars().take(60).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_read() {
        let counts = Counts { half_open: 1, ike: 20, child: 40, ..Counts::default() };
        assert_eq!(parse("half_open=1 ike=20 child=40\n"), Ok(counts));
        let full = Counts { cpu: Some(Percent::hundredths(1250)), mem: Some(Percent::FULL), ..counts };
        assert_eq!(parse("\n child=40 later=x cpu=12.5  ike=20 mem=100 half_open=1 "), Ok(full));
    }

    #[test]
    fn anything_else_is_named() {
        for (output, wanted) in [
            ("", "nothing"),
            ("half_open=1 ike=2\n", "missing"),
            ("half_open=1 ike=2 child=3\nhalf_open=1 ike=2 child=3\n", "more than one line"),
            ("half_open=-1 ike=2 child=3", "`half_open=-1`"),
            ("half_open=1 ike=4294967296 child=3", "`ike=4294967296`"),
            ("half_open=1 ike=2 child=3 cpu=101", "`cpu=101`"),
            ("half_open=1 ike=2 child=3 mem=NaN", "`mem=NaN`"),
            ("half_open=1 ike=2 child=3 ike=3", "`ike` twice"),
            ("load 3", "`load`"),
        ] {
            let error = parse(output).unwrap_err();
            assert!(error.contains(wanted) && error.contains("print one line"), "{output:?}: {error}");
        }
    }
}
