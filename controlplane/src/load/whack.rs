//! libreswan's pluto: `ipsec whack --globalstatus` prints lines of `key=value`, its own counts among them.

use super::drain::Session;
use super::{Counts, command};
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

/// What it may write, in bytes; libreswan 4 writes some 10,000.
const MAX_OUTPUT: usize = 256 * 1024;
/// And for a list of states, of which each takes some 120.
const MAX_STATES: usize = 32 << 20;

pub(super) async fn counts(program: &Path, limit: Duration) -> Result<Counts, String> {
    parse(&whack(program, &["--globalstatus"], MAX_OUTPUT, limit).await?)
}

/// The established IKE SAs.
pub(super) async fn sessions(program: &Path, limit: Duration) -> Result<Vec<Session>, String> {
    let states = whack(program, &["--showstates"], MAX_STATES, limit).await;
    states
        .map(|states| states.lines().filter_map(session).collect())
        .map_err(|why| format!("whack --showstates: {why}"))
}

/// Has the clients of a connection sent elsewhere, in turn to these gateways.
pub(super) async fn redirect(
    program: &Path,
    connection: &str,
    gateways: &[IpAddr],
    limit: Duration,
) -> Result<(), String> {
    let gateways: Vec<_> = gateways.iter().map(IpAddr::to_string).collect();
    let arguments = ["--name", connection, "--redirect-to", &gateways.join(",")];
    let said = whack(program, &arguments, MAX_OUTPUT, limit).await;
    said.map(drop).map_err(|why| format!("whack --redirect-to, connection {connection}: {why}"))
}

async fn whack(program: &Path, arguments: &[&str], most: usize, limit: Duration) -> Result<String, String> {
    // `ipsec` is a shell script around it; who names whack itself saves that.
    let first: &[&str] = if program.ends_with("whack") { &[] } else { &["whack"] };
    let output = command::output(program, &[first, arguments].concat(), most, limit).await;
    output.map_err(|error| format!("{error} (is libreswan's pluto running?)"))
}

/// `000 #1: "NAME"[2] ADDRESS:PORT STATE_V2_ESTABLISHED_IKE_SA (established IKE SA); ...`
fn session(line: &str) -> Option<Session> {
    let (id, rest) = line.split_once(" #")?.1.split_once(": \"")?;
    let (connection, rest) = rest.split_once('"')?;
    let mut words = rest.split_ascii_whitespace();
    // The number of its instance, where it is one.
    let peer = words.by_ref().find(|word| !word.starts_with('[') || word.contains("]:"))?;
    let ikev2 = match words.next()? {
        "STATE_V2_ESTABLISHED_IKE_SA" => true,
        "STATE_MAIN_R3" | "STATE_MAIN_I4" | "STATE_AGGR_R2" | "STATE_AGGR_I2" => false,
        _ => return None,
    };
    Some(Session {
        id: id.parse().ok()?,
        peer: peer.parse().ok()?,
        identity: connection.chars().filter(|c| !c.is_control()).take(128).collect(),
        ikev2,
        // It does not say.
        initiator: false,
        connection: Some(connection.to_owned()),
    })
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

    /// Recorded from libreswan 4.10; the second and third line with another state and address.
    #[test]
    fn the_established_ones_of_pluto_s_states_are_listed() {
        let rest = "(established IKE SA); REKEY in 28529s; REPLACE in 28799s; newest; idle;";
        let first = format!("000 #9: \"v\"[5] 192.0.2.100:4500 STATE_V2_ESTABLISHED_IKE_SA {rest}");
        let found = session(&first).unwrap();
        assert_eq!((found.id, found.peer, found.ikev2), (9, "192.0.2.100:4500".parse().unwrap(), true));
        assert_eq!(found.connection.as_deref(), Some("v"));
        let v6 = format!("000 #10: \"to the north\" [2001:db8::1]:500 STATE_MAIN_R3 {rest}");
        let found = session(&v6).unwrap();
        assert_eq!((found.peer, found.ikev2), ("[2001:db8::1]:500".parse().unwrap(), false));
        assert_eq!(found.connection.as_deref(), Some("to the north"));
        for line in [
            "000 #3: \"v\"[3] 192.0.2.100:50604 STATE_V2_PARENT_R1 (sent IKE_SA_INIT reply); DISCARD in 129s; idle;",
            &first.replace(":4500", ""),
            "000 #3: \"v",
            "",
        ] {
            assert_eq!(session(line), None, "{line}");
        }
    }

    #[tokio::test]
    async fn whack_that_is_not_there_is_named() {
        let error = counts(Path::new("/nowhere/ipsec"), Duration::from_secs(5)).await.unwrap_err();
        assert!(error.contains("cannot be started") && error.contains("pluto"), "{error}");
    }
}
