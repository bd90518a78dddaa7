//! libreswan's pluto: `ipsec whack --globalstatus` prints lines of `key=value`, its own counts among them.

use super::{Counts, command};
use std::path::Path;
use std::time::Duration;

/// What it may write, in bytes; libreswan 4 writes some 10,000.
const MAX_OUTPUT: usize = 256 * 1024;

pub(super) async fn counts(program: &Path, limit: Duration) -> Result<Counts, String> {
    // `ipsec` is a shell script around it; who names whack itself saves that.
    let arguments: &[&str] =
        if program.ends_with("whack") { &["--globalstatus"] } else { &["whack", "--globalstatus"] };
    let output = command::output(program, arguments, MAX_OUTPUT, limit).await;
    parse(&output.map_err(|error| format!("{error} (is libreswan's pluto running?)"))?)
}

fn parse(output: &str) -> Result<Counts, String> {
    let count = |name: &str| {
        let value = output.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix('='));
        let value = value.ok_or_else(|| format!("printed no {name}: it takes libreswan 3.23 or later"))?;
        value.trim().parse::<u32>().map_err(|_| format!("printed a {name} that is not a count"))
    };
    let established = count("current.states.iketype.authenticated")?;
    Ok(Counts {
        half_open: count("current.states.iketype.halfopen")?
            .saturating_add(count("current.states.iketype.open")?),
        // Opportunistic ones have no identity.
        ike: established.saturating_add(count("current.states.iketype.anonymous")?),
        child: count("current.states.ipsec")?,
        cpu: None,
        mem: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The head of what libreswan 4.10 prints, recorded; with counts of its IPsec SAs that tell the lines apart.
    const RECORDED: &str = "config.setup.ike.ddos_threshold=25000\nconfig.setup.ike.max_halfopen=50000\n\
        current.states.all=6\ncurrent.states.ipsec=2\ncurrent.states.ike=4\ncurrent.states.shunts=0\n\
        current.states.iketype.anonymous=0\ncurrent.states.iketype.authenticated=1\n\
        current.states.iketype.halfopen=3\ncurrent.states.iketype.open=0\n\
        current.states.enumerate.STATE_V2_PARENT_R1=3\ncurrent.states.enumerate.STATE_V2_ESTABLISHED_IKE_SA=1\n";

    #[test]
    fn the_counts_of_pluto_are_read() {
        assert_eq!(parse(RECORDED), Ok(Counts { half_open: 3, ike: 1, child: 2, cpu: None, mem: None }));
    }

    #[test]
    fn a_count_that_is_missing_or_none_is_named() {
        let without = RECORDED.replace("current.states.ipsec=2\n", "");
        assert!(parse(&without).unwrap_err().contains("no current.states.ipsec"));
        let wrong = RECORDED.replace("halfopen=3", "halfopen=-3");
        assert!(parse(&wrong).unwrap_err().contains("current.states.iketype.halfopen that is not a count"));
    }

    #[tokio::test]
    async fn whack_that_is_not_there_is_named() {
        let error = counts(Path::new("/nowhere/ipsec"), Duration::from_secs(5)).await.unwrap_err();
        assert!(error.contains("cannot be started") && error.contains("pluto"), "{error}");
    }
}
