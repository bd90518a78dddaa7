//! Commands of the configuration session itself, and of the node.

use super::command::{Command, Effect, row};
use super::values::{secret, set};
use crate::config::builder::{Builder, Fault};
use crate::config::mode::Mode;
use crate::grammar::Matched;
use crate::types::Secret;
use Effect::Now;
use Mode::{Any, Global as G};

/// The table.
pub(super) const TABLE: &[Command] = &[
    row(Any, "end", "", Now, "leave the configuration", |b, _, _| b.end()),
    row(Any, "exit", "", Now, "leave this mode", |b, _, _| b.exit()),
    row(Any, "enable", "", Now, "accepted and ignored, so that pasted sessions load", |b, _, _| b.leave()),
    row(
        Any,
        "configure terminal",
        "",
        Now,
        "accepted and ignored, so that pasted sessions load",
        |b, _, _| b.leave(),
    ),
    row(G, "hostname HOSTNAME", "hostname [HOSTNAME]", Now, "the node's name, shown in the prompt", hostname),
    row(
        G,
        "enable secret HASH",
        "enable secret [HASH]",
        Now,
        "password that administrators other than root have to give before they change anything; the hash is one of SHA-crypt",
        |b, m, no| {
            b.config.enable_secret = match m.text("HASH").filter(|_| !no) {
                Some(hash) => Some(password_hash(secret("HASH", hash)?)?),
                None => None,
            };
            Ok(())
        },
    ),
];

fn hostname(b: &mut Builder, m: &Matched, no: bool) -> Result<(), Fault> {
    let name = m.text("HOSTNAME").unwrap_or_default();
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || c == '.';
    if !no && !name.chars().all(fits) {
        return Err(Fault::at(
            "HOSTNAME",
            format!("\"{name}\" is not a host name: use letters, digits and -"),
        ));
    }
    b.config.hostname = set(no, Some(name));
    Ok(())
}

/// A hash of more rounds would keep a processor busy for seconds.
const MAX_ROUNDS: u32 = 1_000_000;

/// A hash of SHA-crypt, `$5$` (SHA-256) or `$6$` (SHA-512).
fn password_hash(secret: Secret) -> Result<Secret, Fault> {
    let text = &secret.0;
    let word = |c: char| c.is_ascii_alphanumeric() || "./=$-".contains(c);
    let fields = text.split('$').count();
    let rounds = text.split('$').find_map(|field| field.strip_prefix("rounds="));
    if rounds.is_some_and(|rounds| rounds.parse::<u32>().map_or(true, |rounds| rounds > MAX_ROUNDS)) {
        return Err(Fault::at(
            "HASH",
            format!("more than {MAX_ROUNDS} rounds take too long: make a hash with fewer"),
        ));
    }
    if !(text.starts_with("$5$") || text.starts_with("$6$"))
        || !text.chars().all(word)
        || !(4..=5).contains(&fields)
    {
        return Err(Fault::at(
            "HASH",
            "this is no hash of SHA-crypt ($5$... or $6$...): make one with `openssl passwd -6`".to_owned(),
        ));
    }
    Ok(secret)
}
