//! The submodes as the shell and the manual show them: prompts, words that may follow, and the list of commands.

use super::builder::Builder;
use super::commands::COMMANDS;
use super::grammars::{command_of, grammar, locate};
use super::mode::{MODES, Mode, Place};
use super::model::Config;
use super::prompt::strip_prompt;
use crate::grammar::Offer;

/// The submode that these lines lead to; the outermost one where they make no sense.
pub(super) fn resolve(lines: &[String]) -> Place {
    let mut builder = Builder::new(Config::default(), Place::Global);
    for line in lines {
        let Ok((mode, matched)) = locate(builder.place.mode(), &strip_prompt(line)) else { continue };
        builder.leave_to(mode);
        let (command, no) = command_of(&matched);
        // A line that is refused leads nowhere; whoever takes it for the configuration reports it.
        let _ = (command.apply)(&mut builder, &matched, no);
    }
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

/// Returns what may stand at the end of `line` in the submode that the lines of `place` lead to; see [`Grammar::offers`].
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
