//! Which lines a shell may write down. Its history outlives the session and is read by others: no secret goes there.

use super::filter;
use crate::config::secrets::{is_understood, mask_line};
use crate::exec;

/// Returns whether a line may be recalled in this session.
#[must_use]
pub fn may_be_recalled(line: &str) -> bool {
    !line.trim().is_empty() && !mask_line(line).is_secret()
}

/// Returns whether a line may be kept in a file or shown: a command without a secret. What is not understood may be a password
/// typed at the wrong prompt.
#[must_use]
pub fn may_be_kept(line: &str) -> bool {
    let words = line.trim();
    let command = filter::split(words).map_or(words, |(command, _)| command).trim_end();
    let command = command.strip_suffix("--json").unwrap_or(command);
    let command = match command.split_once(char::is_whitespace) {
        Some((word, rest)) if word.eq_ignore_ascii_case("do") => rest,
        _ => command,
    };
    exec::parse(command, true).is_ok() || (is_understood(words) && may_be_recalled(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_kept_and_secrets_and_what_may_be_one_are_not() {
        for line in
            ["wr", "show run | include key", "do sh ver", "show standby --json", " holdtime 900", "exit"]
        {
            assert!(may_be_kept(line) && may_be_recalled(line), "{line}");
        }
        for line in ["key swordfish", "ky swordfish", "standby 1 auth md5 key-s swordfish timeout 99999"] {
            assert!(!may_be_kept(line) && !may_be_recalled(line), "{line}");
        }
        for line in ["swordfish", "show dataplane coutners", "  "] {
            assert!(!may_be_kept(line), "{line}");
        }
        assert!(may_be_recalled("show dataplane coutners"));
    }
}
