//! The difference of two configurations.

use super::{Config, Keys, render};
use similar::{ChangeTag, TextDiff};
use std::fmt::Write as _;

/// Lines around each change.
const CONTEXT: usize = 3;

/// Changes that replacing a configuration would make, in the form of `diff -u`, secrets masked; empty: nothing. A line whose
/// secret alone changes is named too.
#[must_use]
pub fn diff(old: &Config, new: &Config, old_name: &str, new_name: &str) -> String {
    let (before, after) = (render(old, Keys::Shown), render(new, Keys::Shown));
    if before == after {
        return String::new();
    }
    // Masked and not, a configuration has the same lines: the difference is taken of the ones and shown of the others.
    let (shown_before, shown_after) = (render(old, Keys::Masked), render(new, Keys::Masked));
    let (shown_before, shown_after): (Vec<&str>, Vec<&str>) =
        (shown_before.lines().collect(), shown_after.lines().collect());
    let diff = TextDiff::from_lines(&before, &after);
    let mut out = format!("--- {old_name}\n+++ {new_name}\n");
    for hunk in diff.unified_diff().context_radius(CONTEXT).iter_hunks() {
        let _ = writeln!(out, "{}", hunk.header());
        for change in hunk.iter_changes() {
            let (mark, line) = match change.tag() {
                ChangeTag::Equal => (' ', change.new_index().and_then(|at| shown_after.get(at))),
                ChangeTag::Delete => ('-', change.old_index().and_then(|at| shown_before.get(at))),
                ChangeTag::Insert => ('+', change.new_index().and_then(|at| shown_after.get(at))),
            };
            let _ = writeln!(out, "{mark}{}", line.copied().unwrap_or_default());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    #[test]
    fn a_difference_names_its_lines_and_hides_keys() {
        let old = parse("crypto ikev2 cluster\n key old\n port 7\n").unwrap().config;
        let new = parse("crypto ikev2 cluster\n key new\n port 7\n holdtime 900\n").unwrap().config;
        assert_eq!(diff(&old, &old, "a", "b"), "");
        insta::assert_snapshot!(diff(&old, &new, "running-config", "usher.conf"), @r"
        --- running-config
        +++ usher.conf
        @@ -1,7 +1,8 @@
         !
         crypto ikev2 cluster
        + holdtime 900
          port 7
        - key ********
        + key ********
          shutdown
         !
         end
        ");
    }
}
