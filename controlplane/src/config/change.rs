//! Transactions: lines that change a running configuration, all of them or none.

pub use super::builder::Order;
use super::parse::Parser;
use super::submode::resolve;
use super::{Config, Diagnostic, Loaded};

/// Result of applying lines to a configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The configuration with them, and what there is to say about them
    pub loaded: Loaded,
    /// Orders, in the order of the lines
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
    let mut parser = Parser::new(config.clone(), resolve(place));
    // A submode that somebody else has taken out meanwhile must be entered anew.
    if !parser.read(place.iter().map(String::as_str)) {
        return Err(parser.into_loaded().remarks);
    }
    parser.builder.restart();
    if !parser.read(lines.iter().map(String::as_str)) {
        return Err(parser.into_loaded().remarks);
    }
    let (place, ended) = (parser.builder.place.path(), parser.builder.ended);
    let orders = std::mem::take(&mut parser.builder.orders);
    Ok(Change { loaded: parser.into_loaded(), orders, place, ended })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;
    use crate::config::submode::prompt;

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
}
