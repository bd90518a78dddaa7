//! libreswan's pluto, asked by its program `whack`.
//!
//! `whack --globalstatus` prints lines of `key=value`, pluto's own counts among them. `whack --showstates` prints a line for
//! each SA, whose form has changed between versions: `000 #1: ` or `#1: ` in front, `STATE_V2_` before the state's name or
//! not, `(tcp)` behind the port, no address for a connection with a fixed peer.

use super::Counts;
use super::program::{self, Privilege};
use super::session::Session;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;
use std::time::Duration;

/// Paths at which distributions and libreswan's own `make install` put it. These keep usherd's privileges: pluto's control socket is
/// root's alone. The paths and the arguments are usherd's choice, not the administrator's. `ipsec` is a shell script around
/// `whack`.
pub const PROGRAMS: [&str; 4] = [
    "/usr/libexec/ipsec/whack",
    "/usr/sbin/ipsec",
    "/usr/local/libexec/ipsec/whack",
    "/usr/local/sbin/ipsec",
];
/// Longest status, in bytes; libreswan 4 writes some 10,000.
const MAX_OUTPUT: usize = 256 * 1024;
/// Longest list of states, of which each takes some 120 bytes.
const MAX_STATES: usize = 32 << 20;
/// Characters of a connection's name that are shown.
const MAX_IDENTITY: usize = 128;

pub(super) async fn counts(program: Option<&Path>, limit: Duration) -> Result<Counts, String> {
    let status = whack(program, &[OsStr::new("--globalstatus")], MAX_OUTPUT, limit).await?;
    parse(&String::from_utf8_lossy(&status))
}

/// Established IKE SAs as far as the list is understood, and what is wrong with the rest.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct States {
    pub(super) sessions: Vec<Session>,
    pub(super) problem: Option<String>,
}

/// Lists the established IKE SAs. An empty list is believed only when pluto's counts agree with it.
pub(super) async fn sessions(program: Option<&Path>, limit: Duration) -> Result<States, String> {
    let list = async || {
        let states = whack(program, &[OsStr::new("--showstates")], MAX_STATES, limit).await;
        states.map(|output| states_of(&output)).map_err(|why| format!("whack --showstates: {why}"))
    };
    let mut states = list().await?;
    if states.sessions.is_empty() {
        let counted = counts(program, limit).await?.ike;
        // They may have come between the list and the count.
        if counted > 0 {
            states = list().await?;
        }
        if counted > 0 && states.sessions.is_empty() {
            let lists_none = || {
                format!(
                    "whack --showstates lists none of pluto's {counted} IKE SAs: is this version of libreswan newer than 5.4?"
                )
            };
            states.problem = Some(states.problem.unwrap_or_else(lists_none));
        }
    }
    Ok(states)
}

/// Has the clients of a connection sent elsewhere, in turn to these gateways.
pub(super) async fn redirect(
    program: Option<&Path>,
    connection: &OsStr,
    gateways: &[IpAddr],
    limit: Duration,
) -> Result<(), String> {
    let gateways: Vec<_> = gateways.iter().map(IpAddr::to_string).collect();
    let gateways = gateways.join(",");
    let arguments =
        [OsStr::new("--name"), connection, OsStr::new("--redirect-to"), OsStr::new(gateways.as_str())];
    let output = whack(program, &arguments, MAX_OUTPUT, limit).await;
    output.map(drop).map_err(|why| format!("whack --redirect-to, connection {}: {why}", connection.display()))
}

async fn whack(
    program: Option<&Path>,
    arguments: &[&OsStr],
    most: usize,
    limit: Duration,
) -> Result<Vec<u8>, String> {
    let program = program.unwrap_or_else(|| installed());
    let first: &[&OsStr] = if program.ends_with("whack") { &[] } else { &[OsStr::new("whack")] };
    let output =
        program::output(program, privilege(program), &[first, arguments].concat(), most, limit).await;
    output.map_err(|error| format!("{error} (is libreswan's pluto running?)"))
}

/// The first of [`PROGRAMS`] that is there.
fn installed() -> &'static Path {
    let there = PROGRAMS.iter().map(Path::new).find(|program| program.exists());
    there.unwrap_or(Path::new(PROGRAMS[0]))
}

fn privilege(program: &Path) -> Privilege {
    match PROGRAMS.iter().any(|known| Path::new(known) == program) {
        true => Privilege::Usherd,
        false => Privilege::Unprivileged,
    }
}

/// A line of `--showstates`.
#[derive(Debug, PartialEq, Eq)]
enum Line<'a> {
    /// `#1: "NAME"[2] ADDRESS:PORT(tcp) STATE (story); ...`, the address only of an instance
    State { id: u32, name: &'a [u8], peer: Option<IpAddr>, port: u16, state: &'a str, ike: Option<u32> },
    /// `#2: "NAME"[2] ADDRESS esp.SPI@PEER esp.SPI@OWN ...`, of a CHILD_SA
    Traffic { id: u32, peer: IpAddr },
}

impl Line<'_> {
    /// `None` for a line that is not about a state, an error for one that is and is not understood.
    fn parse(line: &[u8]) -> Option<Result<Line<'_>, ()>> {
        let line = line.trim_ascii();
        let (code, rest) = line.split_at_checked(4).unwrap_or_default();
        let coded = code.ends_with(b" ") && code[..3].iter().all(u8::is_ascii_digit);
        let about = (if coded { rest } else { line }).strip_prefix(b"#")?;
        Some(Line::parse_state(about).ok_or(()))
    }

    fn parse_state(about: &[u8]) -> Option<Line<'_>> {
        let (id, rest) = split_once(about, b": \"")?;
        let id = std::str::from_utf8(id).ok()?.parse().ok()?;
        // No name contains a quote, but what pluto prints as one may be any bytes.
        let (name, rest) = split_once(rest, b"\"")?;
        let rest = std::str::from_utf8(rest).ok()?;
        // An IPv6 address without its port looks like a shorter one with a port: a line about traffic is told by what follows.
        let traffic = |word: &str| address_of(word.split_once('@')?.1);
        if let Some(peer) = rest.split_ascii_whitespace().take(3).find_map(traffic) {
            return Some(Line::Traffic { id, peer });
        }
        // Behind the name stand the number of its instance and the address of one. The port is always the last of it.
        let mut words = rest.split_ascii_whitespace();
        let (text, port) = words.by_ref().take(3).find_map(endpoint_of)?;
        let peer = match text {
            // Opportunistic: the own network stands before it.
            Some(text) => Some(address_of(text.rsplit("...").next()?)?),
            None => None,
        };
        let state = words.next()?;
        let state = state.strip_prefix("STATE_").unwrap_or(state);
        let ike = rest.split("; ").find_map(|part| part.strip_prefix("IKE SA #"));
        let ike = ike.and_then(|id| id.trim_end_matches(';').parse().ok());
        Some(Line::State { id, name, peer, port, state: state.strip_prefix("V2_").unwrap_or(state), ike })
    }
}

/// `[2]:4500`, `192.0.2.1:500`, `2001:db8::1:4500(tcp)`: the address where there is one, and the port.
fn endpoint_of(word: &str) -> Option<(Option<&str>, u16)> {
    let word = word.strip_suffix("(tcp)").unwrap_or(word);
    let (before, port) = word.rsplit_once(':')?;
    let port = port.parse().ok()?;
    let instance = before.is_empty()
        || before.strip_prefix('[').is_some_and(|rest| {
            rest.strip_suffix(']').is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
        });
    Some((Some(before).filter(|_| !instance), port))
}

/// An address, of IPv6 perhaps in brackets.
fn address_of(text: &str) -> Option<IpAddr> {
    text.trim_matches(['[', ']']).parse().ok()
}

fn split_once<'a>(text: &'a [u8], by: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = text.windows(by.len()).position(|window| window == by)?;
    Some((&text[..at], &text[at + by.len()..]))
}

/// The established IKE SAs of a list of states.
fn states_of(output: &[u8]) -> States {
    let (mut sessions, mut owners, mut peers) = (Vec::new(), HashMap::new(), HashMap::new());
    let (mut unread, mut example) = (0usize, None);
    for text in output.split(|byte| *byte == b'\n') {
        let line = match Line::parse(text) {
            None => continue,
            Some(Ok(line)) => line,
            Some(Err(())) => {
                unread += 1;
                example.get_or_insert(text);
                continue;
            }
        };
        match line {
            Line::Traffic { id, peer } => drop(peers.insert(id, peer)),
            Line::State { id, ike: Some(ike), .. } => drop(owners.insert(id, ike)),
            Line::State { id, name, peer, port, state, ike: None } => {
                let ikev2 = match state {
                    "ESTABLISHED_IKE_SA" => true,
                    "MAIN_R3" | "MAIN_I4" | "AGGR_R2" | "AGGR_I2" => false,
                    _ => continue,
                };
                let shown = String::from_utf8_lossy(name);
                sessions.push((
                    peer,
                    port,
                    Session {
                        id,
                        peer: None,
                        identity: shown.chars().filter(|c| !c.is_control()).take(MAX_IDENTITY).collect(),
                        ikev2,
                        // It does not say.
                        initiator: false,
                        connection: Some(OsString::from_vec(name.to_vec())),
                    },
                ));
            }
        }
    }
    // A connection with a fixed peer shows its address with the traffic of its CHILD_SAs.
    let of_children: HashMap<u32, IpAddr> =
        peers.iter().filter_map(|(child, peer)| Some((*owners.get(child)?, *peer))).collect();
    let sessions = sessions.into_iter().map(|(peer, port, session)| {
        let peer = peer.or_else(|| of_children.get(&session.id).copied());
        Session { peer: peer.map(|peer| SocketAddr::new(peer, port)), ..session }
    });
    let problem = example.map(|line| {
        let line = String::from_utf8_lossy(line);
        let line: String = line.chars().filter(|c| !c.is_control()).take(100).collect();
        format!("whack --showstates: {unread} lines are not understood, as `{line}`: their sessions stay")
    });
    States { sessions: sessions.collect(), problem }
}

fn parse(output: &str) -> Result<Counts, String> {
    let count = |name: &str| {
        let value = output.lines().find_map(|line| {
            let line = line.trim();
            line.strip_prefix("000 ").unwrap_or(line).strip_prefix(name)?.strip_prefix('=')
        });
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
    use proptest::prelude::*;

    /// The head of what libreswan 4.10 prints, recorded; with counts of its IPsec SAs that tell the lines apart.
    const RECORDED: &str = "config.setup.ike.ddos_threshold=25000\nconfig.setup.ike.max_halfopen=50000\n\
        current.states.all=6\ncurrent.states.ipsec=2\ncurrent.states.ike=4\ncurrent.states.shunts=0\n\
        current.states.iketype.anonymous=0\ncurrent.states.iketype.authenticated=1\n\
        current.states.iketype.halfopen=3\ncurrent.states.iketype.open=0\n\
        current.states.enumerate.STATE_V2_PARENT_R1=3\ncurrent.states.enumerate.STATE_V2_ESTABLISHED_IKE_SA=1\n";
    const REST: &str = "(established IKE SA); REKEY in 27873s; REPLACE in 28143s; newest; idle;";

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

    /// Identifier, peer, version and connection of each.
    fn listed(output: &str) -> Vec<(u32, Option<String>, bool, String)> {
        let states = states_of(output.as_bytes());
        assert_eq!(states.problem, None, "{output}");
        let of = |session: Session| {
            let name = session.connection.unwrap().into_string().unwrap();
            (session.id, session.peer.map(|peer| peer.to_string()), session.ikev2, name)
        };
        states.sessions.into_iter().map(of).collect()
    }

    /// One state in the forms of libreswan 4.10 (recorded), 5.0 and 5.2 to 5.4, over each family and transport.
    #[test]
    fn established_states_are_listed_in_the_form_of_each_version() {
        for (before, state) in [("000 ", "STATE_V2_"), ("", "STATE_V2_"), ("", "")] {
            for (address, shown) in [
                ("192.0.2.9", "192.0.2.9"),
                ("2001:db8::9", "[2001:db8::9]"),
                ("[2001:db8::9]", "[2001:db8::9]"),
            ] {
                for transport in ["", "(tcp)"] {
                    let output = format!(
                        "{before}#9: \"to the north\"[5] {address}:4500{transport} {state}ESTABLISHED_IKE_SA {REST}\n\
                         {before}#10: \"to the north\"[5] {address}:4500{transport} {state}ESTABLISHED_CHILD_SA \
                         (established Child SA); REKEY in 8s; newest; eroute owner; IKE SA #9; idle;\n\
                         {before}#10: \"to the north\"[5] {address} esp.cb1@{address} esp.a3@192.0.2.1 Traffic: ESPin=0B\n\
                         {before}#11: \"to the north\"[6] {address}:500{transport} {state}PARENT_R1 (sent IKE_SA_INIT reply); idle;\n\
                         {before}\n"
                    );
                    let wanted = (9, Some(format!("{shown}:4500")), true, "to the north".to_owned());
                    assert_eq!(listed(&output), [wanted], "{output}");
                }
            }
        }
        assert_eq!(
            listed(&format!("000 #3: \"old\"[1] 192.0.2.3:500 STATE_MAIN_R3 {REST}")),
            [(3, Some("192.0.2.3:500".to_owned()), false, "old".to_owned())]
        );
        assert_eq!(listed("\n000 State Information: DDoS cookies not required\nIKE SAs: total(0)\n"), []);
    }

    /// As libreswan 5.3 and 4 print one whose peer is fixed: without an address, but for the traffic of its CHILD_SAs.
    #[test]
    fn the_address_of_a_fixed_peer_comes_with_its_traffic() {
        let ike = format!("#6: \"site\":4500 ESTABLISHED_IKE_SA {REST}\n");
        let child = "#9: \"site\":4500 ESTABLISHED_CHILD_SA (established Child SA); newest; eroute owner; IKE SA #6; idle;\n\
                     #9: \"site\" esp.ce558142@198.51.100.18 esp.d86be82c@10.2.100.130 tun.0@198.51.100.18 Traffic: ESPin=0B\n";
        let wanted = |peer: Option<&str>| (6, peer.map(str::to_owned), true, "site".to_owned());
        assert_eq!(listed(&format!("{child}{ike}")), [wanted(Some("198.51.100.18:4500"))]);
        assert_eq!(listed(&ike), [wanted(None)]);
    }

    #[test]
    fn a_line_that_is_not_understood_is_a_problem_and_hides_no_other() {
        let good = format!("#6: \"v\"[1] 192.0.2.9:4500 ESTABLISHED_IKE_SA {REST}\n");
        for odd in
            ["#7 \"v\"[2] 192.0.2.8:4500 UP", "000 #x: \"v\"", "#3: \"v\"[3] nowhere:500 UP (up);", "#3: \"v"]
        {
            let states = states_of(format!("{odd}\n{good}{odd}").as_bytes());
            assert_eq!(states.sessions.len(), 1, "{odd}");
            let problem = states.problem.unwrap();
            assert!(problem.contains("2 lines") && problem.contains(&odd[..5]), "{problem}");
        }
    }

    #[test]
    fn names_are_bytes() {
        let mut line =
            format!("000 #1: \"b@r\"[1] 192.0.2.9:4500 STATE_V2_ESTABLISHED_IKE_SA {REST}").into_bytes();
        let at = line.iter().position(|byte| *byte == b'@').unwrap();
        line[at] = 0xe4;
        let states = states_of(&line);
        assert_eq!((states.problem.as_deref(), states.sessions[0].identity.as_str()), (None, "b\u{fffd}r"));
        assert_eq!(states.sessions[0].connection, Some(OsString::from_vec(b"b\xe4r".to_vec())));
    }

    proptest! {
        #[test]
        fn no_list_of_states_panics(output in proptest::collection::vec(any::<u8>(), 0..200), cut in 0usize..120) {
            states_of(&output);
            let line = format!("000 #1: \"v\"[1] 2001:db8::2:4500(tcp) STATE_V2_ESTABLISHED_IKE_SA {REST}");
            states_of(&line.as_bytes()[..cut.min(line.len())]);
        }
    }

    #[test]
    fn only_the_distribution_s_programs_keep_privileges() {
        for program in PROGRAMS {
            assert_eq!(privilege(Path::new(program)), Privilege::Usherd);
        }
        for program in
            ["/usr/local/sbin/whack", "/etc/usher/ipsec", "/usr/sbin/../sbin/ipsec", "/usr/sbin/ipsec/x"]
        {
            assert_eq!(privilege(Path::new(program)), Privilege::Unprivileged, "{program}");
        }
    }
}
