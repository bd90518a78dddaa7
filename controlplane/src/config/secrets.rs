//! Masking: keys leave this program only in the configuration file. Every text that is shown, logged or kept goes
//! through here, also lines that are abbreviated, misspelled, in the wrong place or split in two.
//!
//! A line that is understood hides the parameters that are secrets. Of a line that is not, everything behind a word
//! that may introduce a secret is hidden: showing too little is a nuisance, showing a key is a fault.

use super::commands::SECRETS;
use super::grammars::{command_of, grammar, locate};
use super::masked::Masked;
use super::mode::{MODES, Mode, Place};
use super::prompt::strip_prompt;
use super::submode::resolve;
use crate::grammar::{Matched, Mismatch, Token, tokens};
use std::collections::BTreeSet;
use std::sync::LazyLock;

/// Words that a secret follows.
const INTRODUCERS: [&str; 7] =
    ["authentication", "key", "key-string", "md5", "password", "pre-shared-key", "secret"];
/// Parts of words that a secret may follow: `clusterkey=...`.
const HINTS: [&str; 5] = ["auth", "key", "passw", "psk", "secret"];

/// Keywords of all configuration modes.
static VOCABULARY: LazyLock<BTreeSet<&'static str>> =
    LazyLock::new(|| MODES.iter().flat_map(|(mode, _)| grammar(*mode).keywords()).collect());

/// The commands that enter a mode, each with that mode.
static ENTRIES: LazyLock<Vec<(usize, Mode)>> = LazyLock::new(|| {
    let entry = |(mode, line): &(Mode, &str)| {
        let line = line.replace("NUMBER", "1");
        let command = grammar(mode.outer()).parse(&line).ok()?.command;
        Some((command, *mode))
    };
    MODES[1..].iter().filter_map(entry).collect()
});

/// The line before, as far as the next one may go on with its secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Before {
    #[default]
    Other,
    /// It ends with a secret, or names one
    Secret,
    /// It ends where a secret is due
    Due,
}

/// Masks the lines of a text in their order: it follows the submodes, so that `key 1` of a key chain and of a cluster
/// are told apart.
#[derive(Clone, Debug)]
pub struct Masker {
    /// The mode of the next line; `None`: unknown
    mode: Option<Mode>,
    before: Before,
}

impl Masker {
    /// For a text that starts in the mode that the lines of `place` lead to.
    #[must_use]
    pub fn within(place: &[String]) -> Masker {
        Masker::at(&resolve(place))
    }

    pub(super) fn at(place: &Place) -> Masker {
        Masker { mode: Some(place.mode()), before: Before::Other }
    }

    /// For a line that may be of any mode.
    #[must_use]
    pub fn anywhere() -> Masker {
        Masker { mode: None, before: Before::Other }
    }

    /// Masks the next line.
    pub fn line(&mut self, line: &str) -> Masked {
        let plain = strip_prompt(line);
        if let Some(masked) = self.comment(line, &plain) {
            return masked;
        }
        match self.mode.map(|mode| locate(mode, &plain)) {
            Some(Ok((mode, matched))) => {
                self.mode = Some(mode_after(mode, &matched));
                self.understood(line, &plain, &matched)
            }
            Some(Err(mismatch)) => {
                self.mode = None;
                self.misunderstood(line, &plain, Some(&mismatch))
            }
            None => self.misunderstood(line, &plain, None),
        }
    }

    fn comment(&self, line: &str, plain: &str) -> Option<Masked> {
        let text = plain.trim_start();
        if text.is_empty() {
            return Some(Masked::new(line, None));
        }
        let behind = text.strip_prefix('!')?.trim_start_matches('!');
        let skipped = plain.chars().count() - behind.chars().count();
        let words = tokens(behind);
        let hidden = in_any_mode(behind).or_else(|| {
            let at = words
                .iter()
                .position(|word| INTRODUCERS.contains(&word.text.to_ascii_lowercase().as_str()))?;
            Some((words.get(at + 1)?.column - 1, usize::MAX))
        });
        Some(Masked::new(line, hidden.map(|(from, to)| (from + skipped, to.saturating_add(skipped)))))
    }

    /// Masks a line that a command matches.
    pub(super) fn understood(&mut self, line: &str, plain: &str, matched: &Matched) -> Masked {
        let hidden = hidden_in(plain, matched);
        let last = tokens(plain).last().map_or(0, |word| word.column);
        self.before = match hidden {
            Some((_, to)) if to >= last => Before::Secret,
            // The password follows in a session that was pasted.
            None if syntax(matched) == "enable" => Before::Due,
            // Of `key 1` that was meant for a cluster, the secret may have slipped to the next line.
            None if matched.words().any(|(name, keyword, _)| keyword && INTRODUCERS.contains(&name)) => {
                Before::Secret
            }
            _ => Before::Other,
        };
        Masked::new(line, hidden)
    }

    /// Masks a line that no command of its mode matches.
    pub(super) fn misunderstood(&mut self, line: &str, plain: &str, mismatch: Option<&Mismatch>) -> Masked {
        let words = tokens(plain);
        let before = std::mem::take(&mut self.before);
        let Some(first) = words.first() else { return Masked::new(line, None) };
        let parsed = MODES.iter().find_map(|(mode, _)| Some((*mode, grammar(*mode).parse(plain).ok()?)));
        let hidden = in_any_mode(plain);
        if let (Some((mode, matched)), None) = (&parsed, hidden) {
            if self.mode.is_none() && ENTRIES.iter().any(|(command, _)| *command == matched.command) {
                self.mode = Some(mode_after(*mode, matched));
            }
            return Masked::new(line, None);
        }
        let continues = match before {
            Before::Due => true,
            Before::Secret => !resembles_keyword(first.text),
            Before::Other => false,
        };
        if continues && parsed.is_none() {
            self.before = before;
            return Masked::new(line, Some((first.column - 1, usize::MAX)));
        }
        let due = words.last().is_some_and(|word| word.text == "\\" || introduced(word).is_some());
        self.before = if due { Before::Due } else { Before::Other };
        let hidden = hidden.or_else(|| suspected(&words)).or_else(|| behind_the_unknown(&words, mismatch?));
        if hidden.is_some() {
            self.before = Before::Secret;
        }
        Masked::new(line, hidden)
    }
}

fn syntax(matched: &Matched) -> &'static str {
    command_of(matched).0.syntax
}

/// The mode of the line behind one that is understood in `mode`.
fn mode_after(mode: Mode, matched: &Matched) -> Mode {
    if let Some((_, entered)) = ENTRIES.iter().find(|(command, _)| *command == matched.command) {
        return *entered;
    }
    match syntax(matched) {
        "exit" => mode.outer(),
        "end" | "enable" | "configure terminal" => Mode::Global,
        _ => mode,
    }
}

/// The secret of a line that is understood, in characters from and to.
fn hidden_in(plain: &str, matched: &Matched) -> Option<(usize, usize)> {
    let mut introduced = false;
    for (name, is_keyword, column) in matched.words() {
        // A `no` form may take the rest of the line, whatever stands there.
        if SECRETS.contains(&name) || (introduced && name == "LINE") {
            let length = plain.chars().skip(column - 1).take_while(|c| !c.is_whitespace()).count();
            let end = if name == "LINE" { usize::MAX } else { column - 1 + length };
            return Some((column - 1, end));
        }
        introduced |= is_keyword && INTRODUCERS.contains(&name);
    }
    None
}

/// The secret of a line that is understood in some mode.
fn in_any_mode(plain: &str) -> Option<(usize, usize)> {
    MODES.iter().find_map(|(mode, _)| hidden_in(plain, &grammar(*mode).parse(plain).ok()?))
}

/// Everything behind the first word that may introduce a secret, but for words that say which.
fn suspected(words: &[Token<'_>]) -> Option<(usize, usize)> {
    const QUALIFIERS: [&str; 4] = ["active", "local", "remote", "text"];
    let (mut at, mut inside) =
        words.iter().enumerate().find_map(|(at, word)| Some((at, introduced(word)?)))?;
    while let (None, [word, _, ..]) = (inside, &words[at + 1..])
        && let Some(next) = introduced(word).or_else(|| QUALIFIERS.contains(&word.text).then_some(None))
    {
        (at, inside) = (at + 1, next);
    }
    let from = match inside {
        Some(inside) => words[at].column - 1 + inside,
        None => words.get(at + 1)?.column - 1,
    };
    Some((from, usize::MAX))
}

/// Returns whether a secret may follow this word; `Some(Some(n))`: it starts within it, n characters from its beginning.
fn introduced(word: &Token<'_>) -> Option<Option<usize>> {
    let lower = word.text.to_lowercase();
    if let Some(at) = lower.find(['=', ':']).filter(|_| HINTS.iter().any(|hint| lower.contains(hint))) {
        let from = lower[..=at].chars().count();
        return Some((from < lower.chars().count()).then_some(from));
    }
    if INTRODUCERS.iter().any(|full| full.starts_with(&lower)) {
        return Some(None);
    }
    if VOCABULARY.contains(lower.as_str()) {
        return None;
    }
    // The key was typed right behind its keyword.
    let glued = INTRODUCERS.iter().filter(|full| lower.starts_with(*full)).map(|full| full.len()).max();
    if glued.is_some() {
        return Some(glued);
    }
    let misspelled = INTRODUCERS.iter().any(|full| {
        let allowed = if full.len() <= 4 { 1 } else { 2 };
        let length = lower.chars().count();
        let prefix = |length: usize| full.get(..length.min(full.len())).unwrap_or(full);
        strsim::osa_distance(&lower, full) <= allowed
            || (length >= 3
                && (length - 1..=length + 1)
                    .any(|length| length >= 3 && strsim::osa_distance(&lower, prefix(length)) <= 1))
    });
    (misspelled || HINTS.iter().any(|hint| lower.contains(hint))).then_some(None)
}

/// Everything behind a word that resembles no keyword: it may be anything.
fn behind_the_unknown(words: &[Token<'_>], mismatch: &Mismatch) -> Option<(usize, usize)> {
    let word = words.get(mismatch.depth)?;
    let is_value = word.text.contains(|c: char| c.is_ascii_digit());
    if is_value || resembles_keyword(word.text) {
        return None;
    }
    Some((words.get(mismatch.depth + 1)?.column - 1, usize::MAX))
}

/// Returns whether a word is a keyword, abbreviated or with a slip or two.
fn resembles_keyword(word: &str) -> bool {
    let lower = word.to_lowercase();
    let allowed = if lower.chars().count() < 6 { 1 } else { 2 };
    VOCABULARY
        .iter()
        .any(|keyword| keyword.starts_with(&lower) || strsim::osa_distance(&lower, keyword) <= allowed)
}

/// A whole configuration with every secret hidden, also on lines that cannot be understood.
#[must_use]
pub fn mask(text: &str) -> String {
    let mut masker = Masker::at(&Place::Global);
    text.lines().map(|line| masker.line(line).text + "\n").collect()
}

/// A line of any mode, or of none, with its secrets hidden.
#[must_use]
pub fn mask_line(line: &str) -> Masked {
    Masker::anywhere().line(line)
}

/// Returns whether a line is a command of some mode.
#[must_use]
pub fn is_understood(line: &str) -> bool {
    let plain = strip_prompt(line);
    MODES.iter().any(|(mode, _)| grammar(*mode).parse(&plain).is_ok())
}

#[cfg(test)]
mod tests {
    use super::super::commands::COMMANDS;
    use super::*;
    use crate::config::change::change;
    use crate::config::diff::diff;
    use crate::config::{Diagnostic, LoadError, parse};

    const SECRET: &str = "Sword-Fish7";
    /// At most eight characters.
    const SHORT: &str = "Sw0rdF1s";

    /// A command that takes a secret: the lines that lead to its mode, the words before the secret in full and
    /// abbreviated, and the words behind it.
    struct Case {
        place: &'static str,
        before: &'static str,
        short: &'static str,
        behind: &'static str,
        secret: &'static str,
    }

    const fn case(
        place: &'static str,
        before: &'static str,
        short: &'static str,
        behind: &'static str,
        secret: &'static str,
    ) -> Case {
        Case { place, before, short, behind, secret }
    }

    const INTERFACE: &str = "interface TenGigabitEthernet0/0/0";
    const PEER: &str = "crypto ikev2 keyring K\n peer P";
    const HASH: &str = "$5$saltsalt$daAhTF6GHYZ.SNpCbCUBgMUeouPxKWlT5eTP3TzH249";

    /// Every command that takes a secret.
    const CASES: &[Case] = &[
        case("crypto ikev2 cluster", "key", "k", "", SECRET),
        case("crypto ikev2 cluster", "key 1", "k 1", "", SECRET),
        case("crypto ikev2 cluster", "key 2 active", "k 2 ac", "", SECRET),
        case("crypto ikev2 cluster", "key 2", "ke 2", "active", SECRET),
        case(INTERFACE, "standby 1 authentication text", "stan 1 auth t", "", SHORT),
        case(INTERFACE, "standby 1 authentication", "stan 1 a", "", SHORT),
        case(INTERFACE, "standby 1 authentication md5 key-string", "standby 1 auth md5 key-s", "", SECRET),
        case(INTERFACE, "standby 1 authentication md5 key-string", "sta 1 au m key-s", "timeout 30", SECRET),
        case("key chain K\n key 1", "key-string", "key-s", "", SECRET),
        case("", "crypto ikev2 reconnect key 1", "cry ik reco k 1", "", SECRET),
        case("", "crypto ikev2 reconnect key 1 active", "cry ik reco k 1 ac", "", SECRET),
        case("", "crypto ikev2 reconnect key 2", "cry ik reco k 2", "active", SECRET),
        case("", "enable secret", "en sec", "", HASH),
        case(PEER, "pre-shared-key", "pre", "", SECRET),
        case(PEER, "pre-shared-key local", "pre l", "", SECRET),
        case(PEER, "pre-shared-key remote", "pre r", "", SECRET),
    ];

    /// Every line in which an operator may have typed the secret of a command, right or wrong.
    fn spellings(case: &Case) -> Vec<String> {
        let Case { before, short, behind, secret, .. } = case;
        let misspelled = |word: &str| {
            let mut letters: Vec<char> = word.chars().collect();
            letters.swap(1, 2);
            letters.into_iter().collect::<String>()
        };
        let last = before.split_whitespace().last().unwrap_or_default();
        let introducer = before
            .split_whitespace()
            .rev()
            .find(|word| INTRODUCERS.contains(word) && word.len() > 3)
            .unwrap_or_default();
        let mut all = vec![
            format!(" {before} {secret} {behind}"),
            format!(" {short} {secret} {behind}"),
            format!("no {before} {secret} {behind}"),
            format!("Device(config)# {before} {secret} {behind}"),
            format!("\t{}  {secret}", before.to_uppercase()),
            format!("{before} 0 {secret}"),
            format!("{before} 7 {secret}"),
            format!("{short} 7 {secret} x"),
            format!("{before} {secret} {behind} nonsense"),
            format!("{short} {secret} timeout 99999"),
            format!("{before} x {secret} {secret}"),
            format!("nonsense {before} {secret}"),
            format!("{before}={secret}"),
            format!("! {before} {secret}"),
            format!("{before} {secret}{}", "x".repeat(1000)),
        ];
        if !introducer.is_empty() {
            all.push(format!("{} {secret} {behind}", before.replace(introducer, &misspelled(introducer))));
            all.push(format!("{} {secret} x", before.replace(introducer, &introducer[1..])));
        }
        if last == "key" {
            all.push(format!("ky {secret}"));
            all.push(format!("clusterkey {secret}"));
            all.push(format!("key{secret}"));
        }
        all
    }

    /// The secret is in two lines, or behind one that waits for it.
    fn broken(case: &Case) -> Vec<String> {
        let Case { before, short, secret, .. } = case;
        let (head, tail) = secret.split_at(secret.len() / 2);
        vec![
            format!("{before}\n{secret}"),
            format!("{short}\n  {secret} x"),
            format!("{before} \\\n{secret}"),
            format!("{before}\n\n!\n{secret}"),
            format!("{before} {head}\n{tail}"),
        ]
    }

    fn assert_hidden(what: &str, input: &str, case: &Case, shown: &str) {
        let shown = shown.replace("\\u", "");
        // A half is too much as well.
        for part in [case.secret, &case.secret[case.secret.len() / 2..]] {
            assert!(!shown.contains(part), "{what} of\n{input}\nshows\n{shown}");
        }
    }

    fn texts(remarks: &[Diagnostic]) -> String {
        let rendered: String = remarks.iter().map(|remark| remark.render("usher.conf")).collect();
        rendered + &serde_json::to_string(remarks).unwrap()
    }

    #[test]
    fn every_command_with_a_secret_is_among_the_cases() {
        let takes = |syntax: &str| {
            syntax.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| SECRETS.contains(&word))
        };
        for (index, command) in COMMANDS.iter().enumerate().filter(|(_, command)| takes(command.syntax)) {
            let covered = CASES.iter().any(|case| {
                let line = format!("{} {} {}", case.before, case.secret, case.behind);
                grammar(command.mode).parse(&line).is_ok_and(|matched| matched.command == index * 2)
            });
            assert!(covered, "{}: give it a case", command.syntax);
        }
    }

    #[test]
    fn every_parameter_that_is_a_key_is_a_secret() {
        for param in super::super::commands::PARAMS {
            let names = ["KEY", "PASSWORD", "SECRET", "PSK", "HASH"];
            let is_key = names.iter().any(|name| param.name.contains(name))
                && !matches!(param.kind, crate::grammar::Kind::Number(..));
            assert!(!is_key || SECRETS.contains(&param.name), "{}: add it to SECRETS", param.name);
        }
    }

    #[test]
    fn no_secret_leaves_by_any_way_out() {
        for case in CASES {
            let place: Vec<String> = case.place.lines().map(str::to_owned).collect();
            for line in spellings(case).into_iter().chain(broken(case)) {
                // Each with its place, without it, and between errors.
                for text in [
                    format!("{}\n{line}\n", case.place),
                    format!("{line}\n"),
                    format!("nonsense 1\n{}\n{line}\nipv7 address x\n", case.place),
                    format!("interface Te0/0/0\n{line}\n"),
                    format!("key chain A\n{line}\n"),
                ] {
                    assert_hidden("startup-config", &text, case, &mask(&text));
                    match parse(&text) {
                        Ok(loaded) => {
                            assert_hidden("remarks", &text, case, &texts(&loaded.remarks));
                            assert_hidden("debug", &text, case, &format!("{:?}", loaded.config));
                            let shown = diff(&Default::default(), &loaded.config, "a", "b");
                            assert_hidden("diff", &text, case, &shown);
                        }
                        Err(remarks) => {
                            assert_hidden("errors", &text, case, &texts(&remarks));
                            let error = LoadError::Wrong { path: "usher.conf".to_owned(), remarks };
                            assert_hidden("load error", &text, case, &error.to_string());
                        }
                    }
                }
                // A session: its log, its errors and its history.
                let lines: Vec<String> = line.lines().map(str::to_owned).collect();
                for place in [&place[..], &[]] {
                    let mut masker = Masker::within(place);
                    let logged: String = lines.iter().map(|line| masker.line(line).text + "\n").collect();
                    assert_hidden("the log", &line, case, &logged);
                    if let Err(remarks) = change(&Default::default(), place, &lines) {
                        assert_hidden("session errors", &line, case, &texts(&remarks));
                    }
                }
            }
            for line in spellings(case) {
                assert!(!crate::cli::history::may_be_kept(&line), "history keeps {line}");
                if let Err(mismatch) = crate::exec::parse(&line, true) {
                    let shown = mask_line(&line);
                    assert_hidden("the prompt's error", &line, case, &shown.explain(&mismatch));
                }
            }
        }
    }

    #[test]
    fn numbers_of_keys_and_what_is_no_secret_stay() {
        let text = "\
hostname key
key chain rotating
 key 1
  key-string ********
 key 2
  send-lifetime 00:00:00 Jan 1 2026 infinite
crypto ikev2 cluster
 holdtime 900
 standby-group key
crypto ikev2 profile P
 authentication local pre-share
 match identity remote key-id key
interface TenGigabitEthernet0/0/0
 description the key is under the mat
 standby 1 authentication md5 key-chain rotating
 ip adress 10.0.0.1 255.255.255.0
 standby 1 ip 10.0.0.300 secondary
! key
end
";
        assert_eq!(mask(text), text);
        assert_eq!(mask("crypto ikev2 cluster\n key 1\n"), "crypto ikev2 cluster\n key ********\n");
        assert_eq!(mask("key chain a\n key 1\n"), "key chain a\n key 1\n");
        assert_eq!(Masker::within(&["key chain a".to_owned()]).line("key 7").text, "key 7");
        for word in ["no shutdwon", "hodltime 900", "show dataplane coutners", "standby 1 priority 300"] {
            assert_eq!(mask_line(word).text, word);
        }
    }

    #[test]
    fn the_caret_stands_under_the_word_behind_and_within_what_is_hidden() {
        let error = |line: &str| parse(&format!("interface Te0/0/0\n{line}\n")).unwrap_err()[0].render("f");
        assert!(
            error(" standby 1 authentication md5 key-string swordfish-is-long timeout 99999").contains(
                "     2 |  standby 1 authentication md5 key-string ********\n       |                                          ^\n"
            ),
            "{}",
            error(" standby 1 authentication md5 key-string swordfish-is-long timeout 99999")
        );
        let masked = Masked::new("key swordfish-is-long tail", Some((4, 21)));
        assert_eq!(masked.text, "key ******** tail");
        assert_eq!([1, 5, 9, 21, 23].map(|column| masked.column(column)), [1, 5, 5, 5, 14]);
        assert_eq!(
            masked.message("\"swordfish-is-long\" is bad, swordfish-is-longer"),
            "\"********\" is bad, swordfish-is-longer"
        );
    }

    #[test]
    fn a_masker_follows_the_modes_as_the_parser_does() {
        let text = include_str!("../../../platform/deploy/usher.conf");
        let mut masker = Masker::at(&Place::Global);
        let mut place = Vec::new();
        for line in text.lines() {
            masker.line(line);
            place =
                change(&Default::default(), &place, &[line.to_owned()]).map_or(place, |change| change.place);
            assert_eq!(masker.mode, Some(resolve(&place).mode()), "{line}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,80}") {
            let _ = mask(&text);
            let _ = mask_line(&text).message(&text);
        }
    }
}
