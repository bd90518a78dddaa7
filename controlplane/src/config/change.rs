//! Changes to a running configuration: lines typed at the prompt, a whole file in its place, and what differs.

use super::commands::{COMMANDS, SECRETS};
use super::parse::{Builder, MODES, Mode, Place, grammar, strip_prompt};
use super::{Config, Diagnostic, Keys, Loaded, render};
use crate::grammar::{Offer, tokens};

/// Something that is ordered by typing a line, even where the configuration says so already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// `shutdown` (true) or `no shutdown` (false) under `crypto ikev2 cluster`
    ClusterShutdown(bool),
}

/// What lines have made of a configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The configuration with them, and what there is to say about them
    pub loaded: Loaded,
    /// What was ordered, in the order of the lines
    pub orders: Vec<Order>,
    /// The lines that lead to the submode that the next line is taken in
    pub place: Vec<String>,
    /// `end`, or `exit` from the outermost mode, was among them
    pub ended: bool,
}

/// Takes `lines` in the submode that the lines of `place` lead to. All of them or none.
///
/// # Errors
/// The lines that cannot be understood, numbered from 1, with the remarks on the others.
pub fn change(config: &Config, place: &[String], lines: &[String]) -> Result<Change, Vec<Diagnostic>> {
    let mut builder = Builder::new(config.clone(), resolve(place));
    // A submode that somebody else has taken out meanwhile must be entered anew.
    if !builder.read(place.iter().map(String::as_str)) {
        return Err(builder.into_parts().remarks);
    }
    builder.restart();
    if !builder.read(lines.iter().map(String::as_str)) {
        return Err(builder.into_parts().remarks);
    }
    let (place, ended) = (builder.place.path(), builder.ended);
    let orders = std::mem::take(&mut builder.orders);
    Ok(Change { loaded: builder.into_parts(), orders, place, ended })
}

/// The submode that these lines lead to; the outermost one where they make no sense.
fn resolve(place: &[String]) -> Place {
    let mut builder = Builder::new(Config::default(), Place::Global);
    builder.read(place.iter().map(String::as_str));
    builder.place
}

/// The prompt's part for the submode that these lines lead to: `config-ikev2-cluster`.
#[must_use]
pub fn prompt(place: &[String]) -> &'static str {
    let place = resolve(place);
    match place.mode() {
        Mode::Any | Mode::Global => "config",
        Mode::Interface if matches!(&place, Place::Interface(name) if name.parent().is_some()) => {
            "config-subif"
        }
        Mode::Interface => "config-if",
        Mode::Cluster => "config-ikev2-cluster",
        Mode::Profile => "config-ikev2-profile",
        Mode::Keyring => "config-ikev2-keyring",
        Mode::Peer => "config-ikev2-keyring-peer",
        Mode::KeyChain => "config-keychain",
        Mode::Key => "config-keychain-key",
    }
}

/// What may stand at the end of `line` in the submode that the lines of `place` lead to; see [`Grammar::offers`].
///
/// [`Grammar::offers`]: crate::grammar::Grammar::offers
#[must_use]
pub fn offers(place: &[String], line: &str) -> Vec<Offer> {
    let mut place = resolve(place);
    loop {
        let offers = grammar(place.mode()).offers(line);
        // As when it is taken: a line that the submode does not know may be one of the modes around it.
        if !offers.is_empty() || place == Place::Global {
            return offers;
        }
        place = place.outer();
    }
}

/// Every command: the line that leads to its submode, its syntax, its `no` form, and what it does.
pub fn manual() -> impl Iterator<Item = (&'static str, &'static str, &'static str, &'static str)> {
    MODES.iter().flat_map(|(mode, place)| {
        let of = COMMANDS.iter().filter(move |command| command.mode == *mode && command.is_documented());
        of.map(move |command| (*place, command.syntax, command.no, command.help))
    })
}

/// What of a configuration another one would change, in the form of `diff -u`, keys masked; empty: nothing.
#[must_use]
pub fn diff(old: &Config, new: &Config, old_name: &str, new_name: &str) -> String {
    let (old, new) = (render(old, Keys::Shown), render(new, Keys::Shown));
    if old == new {
        return String::new();
    }
    let diff = similar::TextDiff::from_lines(&old, &new);
    let text = diff.unified_diff().context_radius(3).header(old_name, new_name).to_string();
    let line = |line: &str| match line.split_at_checked(1) {
        Some((mark @ ("+" | "-" | " "), rest)) if !rest.starts_with("++ ") && !rest.starts_with("-- ") => {
            format!("{mark}{}\n", mask_line(rest))
        }
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

/// A text of configuration lines with every key masked, also on lines that cannot be understood.
#[must_use]
pub fn mask(text: &str) -> String {
    text.lines().map(|line| mask_line(line) + "\n").collect()
}

fn mask_line(line: &str) -> String {
    const HIDDEN: &str = "********";
    let plain = strip_prompt(line);
    let mut understood = false;
    for (mode, _) in MODES {
        let Ok(matched) = grammar(mode).parse(&plain) else { continue };
        understood = true;
        let column = SECRETS.iter().map(|name| matched.column(name)).find(|column| *column > 0);
        if let Some(column) = column {
            let keep = |(at, c): (usize, char)| (at + 1 < column).then_some(c);
            let after: String = line.chars().skip(column - 1).skip_while(|c| !c.is_whitespace()).collect();
            let before: String = line.chars().enumerate().map_while(keep).collect();
            return format!("{before}{HIDDEN}{after}");
        }
    }
    const SUSPECTS: [&str; 5] = ["key", "key-string", "authentication", "secret", "pre-shared-key"];
    let words = tokens(&plain);
    let suspect = words.iter().position(|word| SUSPECTS.contains(&word.text.to_ascii_lowercase().as_str()));
    match suspect {
        Some(at) if !understood && at + 1 < words.len() => {
            line.chars().take(words[at + 1].column - 1).collect::<String>() + HIDDEN
        }
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    #[test]
    fn a_subinterface_has_a_prompt_of_its_own() {
        let place = |line: &str| vec![line.to_owned()];
        assert_eq!(prompt(&place("interface Te0/0/0")), "config-if");
        assert_eq!(prompt(&place("interface Te0/0/0.100")), "config-subif");
        let offered = offers(&place("interface Te0/0/0.100"), "enc ");
        assert!(offered.iter().any(|offer| offer.word == "dot1q"), "{offered:?}");
        let [vlan] = &offers(&place("interface Te0/0/0.100"), "enc dot ")[..] else { panic!("one offer") };
        assert_eq!(vlan.word, "<1-4094>");
    }

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn lines_are_taken_where_the_session_stands_and_all_or_none() {
        let start =
            parse("hostname a\ninterface Te0/0/0\n ip address 10.0.0.1 255.255.255.0\n").unwrap().config;
        let first = change(&start, &[], &lines("interface te0/0/0")).unwrap();
        assert_eq!((first.place.clone(), first.ended), (lines("interface TenGigabitEthernet0/0/0"), false));
        assert_eq!(prompt(&first.place), "config-if");
        let second =
            change(&first.loaded.config, &first.place, &lines("standby 3 ip 10.0.0.9\nstandby vpn")).unwrap();
        let group = &second.loaded.config.interfaces.values().next().unwrap().groups[&3];
        assert_eq!(group.name.as_deref(), Some("vpn"), "the only group is the one meant");
        let later = change(&second.loaded.config, &second.place, &lines("standby vpn2")).unwrap();
        assert_eq!(
            later.loaded.config.interfaces.values().next().unwrap().groups[&3].name.as_deref(),
            Some("vpn2")
        );

        let refused =
            change(&start, &first.place, &lines("description x\nstandby 1 ip 10.0.0.300\nno description"))
                .unwrap_err();
        assert_eq!((refused.len(), refused[0].line, refused[0].column), (1, 2, 14));
        let out = change(&start, &first.place, &lines("exit")).unwrap();
        assert_eq!((out.place.len(), out.ended), (0, false));
        assert!(change(&start, &[], &lines("exit")).unwrap().ended);
        assert!(change(&start, &first.place, &lines("end")).unwrap().ended);
        let peer = change(&start, &[], &lines("crypto ikev2 keyring k\npeer p")).unwrap();
        assert_eq!(prompt(&peer.place), "config-ikev2-keyring-peer");
        assert_eq!(
            prompt(&change(&start, &peer.place, &lines("exit")).unwrap().place),
            "config-ikev2-keyring"
        );
    }

    #[test]
    fn an_order_is_told_even_where_nothing_changes() {
        let config = parse("crypto ikev2 cluster\n no shutdown\n").unwrap().config;
        let place = lines("crypto ikev2 cluster");
        let again = change(&config, &place, &lines("no shutdown\nshutdown\nno shutdown")).unwrap();
        assert_eq!(again.loaded.config, config);
        assert_eq!(again.orders, [false, true, false].map(Order::ClusterShutdown));
        assert_eq!(change(&config, &place, &lines("port 7")).unwrap().orders, []);
    }

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

    #[test]
    fn no_key_is_shown_whatever_the_line_looks_like() {
        for line in [
            " key swordfish",
            "Device(config-ikev2-cluster)# key swordfish",
            " standby 1 authentication md5 key-string swordfish",
            " standby 1 authentication swordfi",
            "crypto ikev2 reconnect key 1 active swordfish",
            "crypto ikev2 reconnect key 2 swordfish active",
            "  pre-shared-key local swordfish",
            "enable secret $5$swordfish$abc",
            " standby 1 authentication md5 key-string swordfish timeout 30",
            "crypto ikev2 reconnect key 7 swordfish",
        ] {
            let masked = mask(line);
            assert!(masked.contains("********") && !masked.contains("swordfi"), "{line}: {masked}");
        }
        assert_eq!(mask("hostname key\n! key\n"), "hostname key\n! key\n");
    }
}
