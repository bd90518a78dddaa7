//! `crypto ikev2 ...`: redirect, reconnect, keyrings, profiles and limits.

use super::command::{Command, Effect, row};
use super::values::{add, indexed_key, number, prefix6, secret, set};
use crate::config::builder::{Builder, Fault};
use crate::config::mode::Mode;
use crate::config::model::{Config, Dpd, Method, Profile};
use crate::grammar::Matched;
use crate::types::Prefix;
use Effect::Now;
use Mode::{Global as G, Keyring as K, Peer as E, Profile as P};

const AUTH: Effect = Effect::Later("the redirect in IKE_AUTH is not built yet");
const RECONNECT: Effect = Effect::Later("session reconnect is not built yet");
const DAEMON: Effect = Effect::Later("set it in the IKE daemon's own configuration");

/// The table.
pub(super) const TABLE: &[Command] = &[
    row(
        G,
        "crypto ikev2 redirect gateway init",
        "crypto ikev2 redirect gateway init",
        Now,
        "redirect clients in IKE_SA_INIT",
        |b, _, no| {
            b.config.redirect_init = !no;
            Ok(())
        },
    ),
    row(
        G,
        "crypto ikev2 redirect gateway auth",
        "crypto ikev2 redirect gateway auth",
        AUTH,
        "redirect clients in IKE_AUTH",
        |b, _, no| {
            b.config.redirect_auth = !no;
            Ok(())
        },
    ),
    row(
        G,
        "crypto ikev2 redirect client [max-redirects REDIRECTS]",
        "crypto ikev2 redirect client [max-redirects [REDIRECTS]]",
        Effect::Later("this node is a gateway, its IKE daemon decides as a client"),
        "follow redirects as a client, at most so many in a row",
        |b, m, no| {
            b.config.redirect_client =
                if no { None } else { Some(m.number("REDIRECTS").unwrap_or(Config::MAX_REDIRECTS)) };
            Ok(())
        },
    ),
    row(
        G,
        "crypto ikev2 reconnect key KEYINDEX {[active] KEY|ACTIVEKEY active}",
        "crypto ikev2 reconnect key KEYINDEX [LINE]",
        RECONNECT,
        "key of the opaque data that lets clients reconnect; the active one encrypts",
        reconnect_key,
    ),
    row(
        G,
        "crypto ikev2 dpd DPDINTERVAL DPDRETRY {on-demand|periodic}",
        "crypto ikev2 dpd [DPDINTERVAL DPDRETRY {on-demand|periodic}]",
        DAEMON,
        "dead peer detection of all profiles",
        dpd,
    ),
    row(
        G,
        "crypto ikev2 keyring NAME",
        "crypto ikev2 keyring NAME",
        AUTH,
        "enter the submode of a keyring, making it where it is new",
        |b, m, no| {
            let name = m.text("NAME").unwrap_or_default();
            if no {
                b.config.keyrings.remove(&name);
                return b.leave();
            }
            b.enter_keyring(name)
        },
    ),
    row(
        K,
        "peer NAME",
        "peer NAME",
        Now,
        "enter the submode of a peer, making it where it is new",
        |b, m, no| {
            let name = m.text("NAME").unwrap_or_default();
            if no {
                b.keyring()?.remove(&name);
                return Ok(());
            }
            b.enter_peer(name)
        },
    ),
    row(
        E,
        "address {V4 [MASK]|PREFIX6|V6}",
        "address [LINE]",
        Now,
        "the peer's address or network",
        |b, m, no| {
            b.peer()?.address = match (no, m.address("V4"), m.address("V6")) {
                (true, ..) => None,
                (_, Some(address), _) => Some(Prefix { address, length: m.number("MASK").unwrap_or(32) }),
                (_, _, Some(address)) => Some(Prefix { address, length: 128 }),
                _ => Some(prefix6(m)?),
            };
            Ok(())
        },
    ),
    row(
        E,
        "pre-shared-key [local|remote] SHAREDKEY",
        "pre-shared-key [local|remote] [SHAREDKEY]",
        Now,
        "the key of one side, or of both",
        |b, m, no| {
            let key = match m.text("SHAREDKEY").filter(|_| !no) {
                Some(key) => Some(secret("SHAREDKEY", key)?),
                None => None,
            };
            let (only_local, only_remote) = (m.has("local"), m.has("remote"));
            let peer = b.peer()?;
            if !only_remote {
                peer.local = key.clone();
            }
            if !only_local {
                peer.remote = key;
            }
            Ok(())
        },
    ),
    row(
        G,
        "crypto ikev2 profile NAME",
        "crypto ikev2 profile NAME",
        AUTH,
        "enter the submode of a profile, making it where it is new",
        |b, m, no| {
            let name = m.text("NAME").unwrap_or_default();
            if no {
                b.config.profiles.remove(&name);
                return b.leave();
            }
            b.enter_profile(name)
        },
    ),
    row(P, "description LINE", "description [LINE]", Now, "a note", |b, m, no| {
        b.profile()?.description = set(no, m.text("LINE"));
        Ok(())
    }),
    row(
        P,
        "match identity remote LINE",
        "match identity remote [LINE]",
        Now,
        "clients that the profile is for",
        |b, m, no| {
            let text = m.text("LINE").map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "));
            let matches = &mut b.profile()?.matches;
            match (no, text) {
                (true, None) => matches.clear(),
                (true, Some(text)) => matches.retain(|other| *other != text),
                (false, Some(_)) if matches.len() >= 64 => {
                    return Err(Fault::line("a profile has at most 64 matches: take one out".to_owned()));
                }
                (false, Some(text)) => add(matches, text),
                (false, None) => {}
            }
            Ok(())
        },
    ),
    row(
        P,
        "authentication {local {pre-share|rsa-sig|ecdsa-sig|eap}|remote {pre-share|rsa-sig|ecdsa-sig|eap|anyconnect-eap}}",
        "authentication {local|remote} [pre-share|rsa-sig|ecdsa-sig|eap|anyconnect-eap]",
        Now,
        "how a side proves who it is",
        profile_authentication,
    ),
    row(
        P,
        "keyring local NAME",
        "keyring local [NAME]",
        Now,
        "the keyring of pre-shared keys",
        |b, m, no| {
            b.profile()?.keyring = set(no, m.text("NAME"));
            Ok(())
        },
    ),
    row(P, "pki trustpoint NAME", "pki trustpoint [NAME]", Now, "the certificate", |b, m, no| {
        b.profile()?.trustpoint = set(no, m.text("NAME"));
        Ok(())
    }),
    row(
        P,
        "dpd DPDINTERVAL DPDRETRY {on-demand|periodic}",
        "dpd [DPDINTERVAL DPDRETRY {on-demand|periodic}]",
        DAEMON,
        "dead peer detection of this profile",
        |b, m, no| {
            b.profile()?.dpd = dpd_of(m, no)?;
            Ok(())
        },
    ),
    row(
        P,
        "reconnect [timeout RECONNECT]",
        "reconnect [timeout [RECONNECT]]",
        RECONNECT,
        "let clients reconnect without asking them for their credentials again",
        |b, m, no| {
            let profile = b.profile()?;
            if let (false, Some(other)) = (no, reconnect_conflict(profile)) {
                return Err(Fault::line(conflict(&other)));
            }
            profile.reconnect = set(no, Some(m.number("RECONNECT").unwrap_or(Profile::RECONNECT)));
            Ok(())
        },
    ),
    row(
        P,
        "redirect gateway auth",
        "redirect gateway auth",
        AUTH,
        "redirect clients of this profile in IKE_AUTH",
        |b, _, no| {
            b.profile()?.redirect_auth = !no;
            Ok(())
        },
    ),
    row(
        G,
        "crypto ikev2 limit max-in-negotation-sa CLIENTS",
        "crypto ikev2 limit max-in-negotation-sa [CLIENTS]",
        Now,
        "IKE SAs in negotiation that count as a full load",
        limit,
    ),
    row(
        G,
        "crypto ikev2 limit max-in-negotiation-sa CLIENTS",
        "crypto ikev2 limit max-in-negotiation-sa [CLIENTS]",
        Now,
        "IKE SAs in negotiation that count as a full load",
        limit,
    ),
    row(
        G,
        "crypto ipsec security-association idle-time IDLE",
        "crypto ipsec security-association idle-time [IDLE]",
        DAEMON,
        "delete IPsec SAs that were idle for so long",
        |b, m, no| {
            b.config.idle_time = set(no, m.number("IDLE"));
            Ok(())
        },
    ),
];

fn reconnect_key(b: &mut Builder, m: &Matched, no: bool) -> Result<(), Fault> {
    indexed_key(b, m, no, |b| Ok(&mut b.config.reconnect_keys), "only decrypts")
}

fn dpd(b: &mut Builder, m: &Matched, no: bool) -> Result<(), Fault> {
    b.config.dpd = dpd_of(m, no)?;
    Ok(())
}

fn dpd_of(m: &Matched, no: bool) -> Result<Option<Dpd>, Fault> {
    if no {
        return Ok(None);
    }
    Ok(Some(Dpd {
        interval: number(m, "DPDINTERVAL")?,
        retry: number(m, "DPDRETRY")?,
        periodic: m.has("periodic"),
    }))
}

/// The line of a profile that `reconnect` cannot stand beside.
fn reconnect_conflict(profile: &Profile) -> Option<String> {
    let conflicts = |method: &Method| matches!(method, Method::PreShare | Method::AnyconnectEap);
    let of = |side: &str, method: Option<Method>| {
        method.filter(conflicts).map(|method| format!("authentication {side} {}", method.word()))
    };
    of("local", profile.local).or_else(|| of("remote", profile.remote))
}

fn conflict(authentication: &str) -> String {
    format!(
        "`reconnect` and `{authentication}` exclude each other in a profile: take one of the two lines out"
    )
}

fn profile_authentication(b: &mut Builder, m: &Matched, no: bool) -> Result<(), Fault> {
    const METHODS: [Method; 5] =
        [Method::PreShare, Method::RsaSig, Method::EcdsaSig, Method::Eap, Method::AnyconnectEap];
    let method = METHODS.into_iter().find(|method| m.has(method.word())).filter(|_| !no);
    let profile = b.profile()?;
    let mut changed = profile.clone();
    if m.has("local") {
        changed.local = method;
    } else {
        changed.remote = method;
    }
    if let (Some(_), Some(other)) = (changed.reconnect, reconnect_conflict(&changed)) {
        return Err(Fault::line(conflict(&other)));
    }
    *profile = changed;
    Ok(())
}

fn limit(b: &mut Builder, m: &Matched, no: bool) -> Result<(), Fault> {
    b.config.max_in_negotiation = set(no, m.number("CLIENTS"));
    Ok(())
}
