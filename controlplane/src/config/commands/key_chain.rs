//! `key chain` and its keys.

use super::command::{Command, Effect, row};
use super::values::{number, secret};
use crate::config::builder::Fault;
use crate::config::mode::Mode;
use crate::grammar::Matched;
use crate::types::keychain::Lifetime;
use Effect::Now;
use Mode::{Global as G, Key as Y, KeyChain as H};

/// The table.
pub(super) const TABLE: &[Command] = &[
    row(
        G,
        "key chain NAME",
        "key chain NAME",
        Now,
        "enter the submode of a key chain, making it where it is new",
        |b, m, no| {
            let name = m.text("NAME").unwrap_or_default();
            if no {
                b.config.key_chains.remove(&name);
                return b.leave();
            }
            b.enter_key_chain(name)
        },
    ),
    row(H, "key KEYNUMBER", "key KEYNUMBER", Now, "enter the submode of a key", |b, m, no| {
        b.enter_key(number(m, "KEYNUMBER")?, no)
    }),
    // Else the next key would be read as an abbreviated `key-string`.
    row(Y, "key KEYNUMBER", "key KEYNUMBER", Now, "go on with another key of the chain", |b, m, no| {
        b.enter_key(number(m, "KEYNUMBER")?, no)
    }),
    row(Y, "key-string MD5KEY", "key-string [MD5KEY]", Now, "the key itself", |b, m, no| {
        let key = if no { None } else { Some(secret("MD5KEY", m.text("MD5KEY").unwrap_or_default())?) };
        b.key()?.string = key;
        Ok(())
    }),
    row(
        Y,
        "accept-lifetime LIFETIME",
        "accept-lifetime [LIFETIME]",
        Now,
        "when messages with it are accepted",
        |b, m, no| {
            b.key()?.accept = lifetime(m, no)?;
            Ok(())
        },
    ),
    row(Y, "send-lifetime LIFETIME", "send-lifetime [LIFETIME]", Now, "when it is sent", |b, m, no| {
        b.key()?.send = lifetime(m, no)?;
        Ok(())
    }),
];

fn lifetime(m: &Matched, no: bool) -> Result<Lifetime, Fault> {
    match m.text("LIFETIME").filter(|_| !no) {
        Some(text) => Lifetime::parse(&text).map_err(|message| Fault::at("LIFETIME", message)),
        None => Ok(Lifetime::default()),
    }
}
