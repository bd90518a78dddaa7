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
    // The states of IKE SAs are those that are being negotiated and the established ones together.
    let (all, half_open) = (count("current.states.ike")?, count("current.states.iketype.halfopen")?);
    Ok(Counts {
        half_open,
        ike: all.saturating_sub(half_open),
        child: count("current.states.ipsec")?,
        cpu: None,
        mem: None,
    })
}
