//! `| include`, `exclude`, `begin`, `section` and `count` behind a command, as on IOS.

use regex_lite::Regex;

/// The filters by name.
pub const NAMES: [&str; 5] = ["begin", "count", "exclude", "include", "section"];

/// Filter of an answer's lines.
#[derive(Clone, Debug)]
pub struct Filter {
    name: &'static str,
    pattern: Regex,
}

/// Divides a line at its first `|` between white space.
///
/// # Errors
/// Error in the filter behind `|`.
pub fn split(line: &str) -> Result<(&str, Option<Filter>), String> {
    let bar = line.match_indices('|').map(|(at, _)| at).find(|at| {
        let blank = |c: Option<char>| c.is_none_or(char::is_whitespace);
        blank(line[..*at].chars().next_back()) && blank(line[at + 1..].chars().next())
    });
    let Some(bar) = bar else { return Ok((line, None)) };
    let rest = line[bar + 1..].trim_start();
    let (word, pattern) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let lower = word.to_ascii_lowercase();
    let found: Vec<&str> =
        NAMES.into_iter().filter(|name| !lower.is_empty() && name.starts_with(&lower)).collect();
    let [name] = found[..] else {
        return Err(format!("\"{word}\" is no filter: use one of {}", NAMES.join(", ")));
    };
    // Blanks at its end are part of it, as on IOS.
    let pattern = pattern.trim_start();
    if pattern.is_empty() {
        return Err(format!("`| {name}` needs a regular expression behind it"));
    }
    let pattern =
        Regex::new(pattern).map_err(|error| format!("\"{pattern}\" is no regular expression: {error}"))?;
    Ok((&line[..bar], Some(Filter { name, pattern })))
}

impl Filter {
    /// The part of `text` that is shown.
    #[must_use]
    pub fn apply(&self, text: &str) -> String {
        let hit = |line: &&str| self.pattern.is_match(line);
        let lines: Vec<&str> = match self.name {
            "include" => text.lines().filter(hit).collect(),
            "exclude" => text.lines().filter(|line| !hit(line)).collect(),
            "begin" => text.lines().skip_while(|line| !hit(line)).collect(),
            "section" => self.sections(text),
            _ => {
                return format!(
                    "Number of lines which match regexp = {}\n",
                    text.lines().filter(hit).count()
                );
            }
        };
        lines.into_iter().flat_map(|line| [line, "\n"]).collect()
    }

    /// Lines that match with all lines below them that are indented deeper.
    fn sections<'a>(&self, text: &'a str) -> Vec<&'a str> {
        let depth = |line: &str| line.len() - line.trim_start().len();
        let mut inside: Option<usize> = None;
        let mut shown = Vec::new();
        for line in text.lines() {
            if inside.is_some_and(|outer| depth(line) <= outer) {
                inside = None;
            }
            if inside.is_none() && self.pattern.is_match(line) {
                inside = Some(depth(line));
            }
            if inside.is_some() {
                shown.push(line);
            }
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "hostname a\ncrypto ikev2 cluster\n port 7\n no shutdown\n!\ninterface Te0/0/0\n shutdown\nend\n";

    fn filtered(line: &str) -> String {
        let (command, filter) = split(line).unwrap();
        assert_eq!(command.trim(), "show run");
        filter.unwrap().apply(TEXT)
    }

    #[test]
    fn each_filter_shows_its_part() {
        assert_eq!(filtered("show run | inc shut"), " no shutdown\n shutdown\n");
        assert_eq!(filtered("show run | i ^ "), " port 7\n no shutdown\n shutdown\n");
        assert_eq!(
            filtered("show run |  exclude ^ |!"),
            "hostname a\ncrypto ikev2 cluster\ninterface Te0/0/0\nend\n"
        );
        assert_eq!(filtered("show run | begin inter"), "interface Te0/0/0\n shutdown\nend\n");
        assert_eq!(filtered("show run | section cluster"), "crypto ikev2 cluster\n port 7\n no shutdown\n");
        assert_eq!(filtered("show run | count shut"), "Number of lines which match regexp = 2\n");
    }

    #[test]
    fn what_is_wrong_behind_the_bar_is_said() {
        assert!(split("show run | grep x").unwrap_err().contains("begin, count, exclude, include, section"));
        assert!(split("show run | include").unwrap_err().contains("needs a regular expression"));
        assert!(split("show run | inc (").unwrap_err().contains("no regular expression"));
        assert!(split("show run").unwrap().1.is_none() && split("description a|b").unwrap().1.is_none());
    }
}
