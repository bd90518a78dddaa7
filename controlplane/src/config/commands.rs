//! The table of configuration commands: it alone says what is understood, where, and what it does.

use super::change::Order;
use super::keychain::Lifetime;
use super::model::{
    Authentication, Cluster, Config, Dpd, Group, Interface, Interval, LoadSource, Method, Preempt, Prefix,
    Probe, Profile, ReconnectKey, Secret, Selection, StandbyDelay, StaticGateway, Timers, Tracked,
    is_link_local,
};
use super::parse::{Builder, Fault, Mode};
use crate::grammar::{Kind, Matched, Param};
use crate::hsrp::machine::TrackEffect;
use std::net::IpAddr;

/// Whether a command does what it says yet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Effect {
    Now,
    /// Parsed, kept and shown; the text says what is missing
    Later(&'static str),
    /// A slip that operators and manuals make: understood, and the command warns itself
    Slip,
}

/// One row of the table.
pub(super) struct Command {
    pub mode: Mode,
    pub syntax: &'static str,
    /// The `no` form without its first word; empty when there is none
    pub no: &'static str,
    pub effect: Effect,
    /// What it does, in one sentence without its stop
    pub help: &'static str,
    pub apply: fn(&mut Builder, &Matched, bool) -> Result<(), Fault>,
}

const fn row(
    mode: Mode,
    syntax: &'static str,
    no: &'static str,
    effect: Effect,
    help: &'static str,
    apply: fn(&mut Builder, &Matched, bool) -> Result<(), Fault>,
) -> Command {
    Command { mode, syntax, no, effect, help, apply }
}

impl Command {
    /// Whether a manual has it: neither a slip nor a bare `no` form.
    pub(super) fn is_documented(&self) -> bool {
        self.effect != Effect::Slip && !self.syntax.is_empty()
    }
}

const AUTH: Effect = Effect::Later("the redirect in IKE_AUTH is not built yet");
const RECONNECT: Effect = Effect::Later("session reconnect is not built yet");
const DAEMON: Effect = Effect::Later("set it in the IKE daemon's own configuration");

const fn param(name: &'static str, kind: Kind, help: &'static str) -> Param {
    Param { name, kind, help }
}

/// Parameters that are never shown.
pub(super) const SECRETS: [&str; 6] = ["ACTIVEKEY", "AUTHTEXT", "HASH", "KEY", "MD5KEY", "SHAREDKEY"];

pub(super) const PARAMS: &[Param] = &[
    param("ACTIVEKEY", Kind::Word(128), "key"),
    param("ADDRESS", Kind::Address, "address"),
    param("AUTHTEXT", Kind::Word(8), "authentication string"),
    param("CHILDSAS", Kind::Number(0, 100_000), "IPsec SAs"),
    param("CLIENTS", Kind::Number(1, 9999), "limit of SAs in negotiation"),
    param("CPU", Kind::Number(0, 100), "busy processors in percent"),
    param("DECREMENT", Kind::Number(1, 255), "decrement"),
    param("DOWN", Kind::Number(1, 10), "probes without an answer until it is down"),
    param("DPDINTERVAL", Kind::Number(10, 3600), "interval in seconds"),
    param("DPDRETRY", Kind::Number(2, 60), "retry interval in seconds"),
    param("GROUP", Kind::Number(0, 4095), "group"),
    param("HASH", Kind::Word(200), "hash of the password, as `openssl passwd -6` makes it"),
    param("HELLOMS", Kind::Number(100, 30000), "hello interval in milliseconds"),
    param("HELLO", Kind::Number(1, 999), "hello time: seconds 1 to 254, msec 15 to 999"),
    param("HOLD", Kind::Number(1, 3000), "hold time: seconds 1 to 255, msec 50 to 3000"),
    param("HOLDTIME", Kind::Number(100, 120_000), "hold time in milliseconds"),
    param("HOSTNAME", Kind::Word(63), "host name"),
    param("IFNAME", Kind::Interface, "interface"),
    param("IFTYPE", Kind::InterfaceType, "interface type"),
    param("IFUNIT", Kind::InterfaceUnit, "interface number"),
    param("IKESAS", Kind::Number(0, 100_000), "IKE SAs"),
    param("IDLE", Kind::Number(60, 86400), "idle time in seconds"),
    param("KEY", Kind::Word(128), "key"),
    param("KEYINDEX", Kind::Number(1, 2), "key index"),
    param("KEYNUMBER", Kind::Number(0, 2_147_483_647), "key number"),
    param(
        "LEASE",
        Kind::Number(1, 255),
        "seconds for which requests are answered after usherd died, no peer known",
    ),
    param(
        "LIFETIME",
        Kind::Rest(100),
        "start, then infinite, duration SECONDS or end; 23:59:59 Jan 31 2026, UTC",
    ),
    param("LIMIT", Kind::Number(50, 99), "overload limit in percent"),
    param("LINE", Kind::Rest(200), "text"),
    param("MASK", Kind::Mask, "mask"),
    param("MD5KEY", Kind::Word(64), "key string"),
    param("MEM", Kind::Number(0, 100), "used memory in percent"),
    param("MINIMUM", Kind::Number(0, 3600), "delay in seconds"),
    param("NAME", Kind::Word(63), "name"),
    param("NODES", Kind::Number(2, 64), "nodes of the cluster"),
    param("NORMALIZATION", Kind::Number(1, 100), "load difference in percentage points"),
    param("OBJECT", Kind::Number(1, 1000), "tracked object"),
    param("PACE", Kind::Number(1, 60_000), "sessions a minute"),
    param("PORT", Kind::Number(1, 65535), "TCP port"),
    param("PREFIX6", Kind::V6Prefix, "address and prefix length"),
    param("PRIORITY", Kind::Number(0, 255), "priority"),
    param("PROBEMS", Kind::Number(100, 60_000), "probe interval in milliseconds"),
    param("PROGRAM", Kind::Word(255), "program"),
    param("RECONNECT", Kind::Number(600, 86_400), "timeout in seconds"),
    param("REDIRECTS", Kind::Number(1, 255), "redirects"),
    param("RELOAD", Kind::Number(0, 3600), "delay in seconds"),
    param("SAS", Kind::Number(0, 100_000), "IKE SAs in negotiation"),
    param("SCRIPT", Kind::Word(255), "path of the script"),
    param("SESSIONS", Kind::Number(1, 100_000), "IKE and IPsec SAs"),
    param("SHAREDKEY", Kind::Word(128), "key"),
    param("SHARE", Kind::Number(1, 100), "priority"),
    param("SLIPDIGITS", Kind::Number(0, 4095), "end of a group name"),
    param("SLIPNAME", Kind::Name(63), "group name"),
    param("SOCKET", Kind::Word(107), "path of the VICI socket"),
    param("STARTMIN", Kind::Number(0, 10000), "delay in seconds"),
    param("STARTRELOAD", Kind::Number(0, 10000), "delay in seconds"),
    param("SYNC", Kind::Number(0, 3600), "delay in seconds"),
    param("TIMEOUT", Kind::Number(0, 32767), "seconds for which the old key is accepted"),
    param("UP", Kind::Number(1, 10), "answers until it is up"),
    param("UPDATEMS", Kind::Number(100, 60000), "update interval in milliseconds"),
    param("V4", Kind::V4, "address"),
    param("V6", Kind::V6, "address"),
    param("VLAN", Kind::Number(1, 4094), "VLAN"),
    param("VERSION", Kind::Number(1, 2), "HSRP version"),
    param("WEIGHT", Kind::Number(0, 100), "weight"),
];

use Effect::{Now, Slip};
use Mode::{
    Any, Cluster as C, Global as G, Interface as I, Key as Y, KeyChain as H, Keyring as K, Peer as E,
    Profile as P,
};

/// The table.
pub(super) const COMMANDS: &[Command] = &[
    row(Any, "end", "", Now, "leave the configuration", |b, _, _| b.end()),
    row(Any, "exit", "", Now, "leave this mode", |b, _, _| b.exit()),
    row(Any, "enable", "", Now, "taken, so that a pasted session loads", |b, _, _| b.leave()),
    row(Any, "configure terminal", "", Now, "taken, so that a pasted session loads", |b, _, _| b.leave()),
    row(G, "hostname HOSTNAME", "hostname [HOSTNAME]", Now, "the node's name, shown in the prompt", hostname),
    row(
        G,
        "interface {IFNAME|IFTYPE IFUNIT}",
        "interface {IFNAME|IFTYPE IFUNIT}",
        Now,
        "enter the submode of an interface, making it where it is new",
        interface,
    ),
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
    row(
        G,
        "crypto ikev2 cluster",
        "crypto ikev2 cluster",
        Now,
        "enter the submode of the load balancing cluster, making it where it is new",
        cluster,
    ),
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
        "enable secret HASH",
        "enable secret [HASH]",
        Now,
        "ask for a password on enable; the hash is one of SHA-crypt",
        |b, m, no| {
            b.config.enable_secret = match m.text("HASH").filter(|_| !no) {
                Some(hash) => Some(password_hash(secret("HASH", hash)?)?),
                None => None,
            };
            Ok(())
        },
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
    row(
        G,
        "track OBJECT interface IFNAME {line-protocol|link}",
        "track OBJECT [LINE]",
        Now,
        "watch an interface: its kernel side (line-protocol) or its link",
        |b, m, no| {
            let name = m.interface("IFNAME").map(|name| match m.has("link") {
                true => Tracked::Link(name),
                false => Tracked::LineProtocol(name),
            });
            track(b, m, no, name)
        },
    ),
    row(
        G,
        "track OBJECT {dataplane|ike-daemon}",
        "",
        Now,
        "watch the data plane, or the IKE daemon",
        |b, m, no| {
            let what = if m.has("dataplane") { Tracked::Dataplane } else { Tracked::IkeDaemon };
            track(b, m, no, Some(what))
        },
    ),
    row(I, "description LINE", "description [LINE]", Now, "a note", |b, m, no| {
        b.interface()?.description = set(no, m.text("LINE"));
        Ok(())
    }),
    row(
        I,
        "encapsulation dot1q VLAN",
        "encapsulation [dot1q [VLAN]]",
        Now,
        "the subinterface's VLAN: what carries this one tag (802.1Q) is its frames; the platform profile lists it in `vlans`",
        |b, m, no| b.encapsulate(set(no, m.number("VLAN"))),
    ),
    row(I, "encapsulation dot1q VLAN native", "", Slip, "", |_, m, _| {
        Err(Fault::at(
            "native",
            format!(
                "the native VLAN's frames have no tag: configure VLAN {} on the interface itself, not on a subinterface",
                m.number::<u16>("VLAN").unwrap_or_default()
            ),
        ))
    }),
    row(I, "encapsulation dot1q VLAN second-dot1q LINE", "", Slip, "", |_, _, _| {
        Err(Fault::at(
            "second-dot1q",
            "a subinterface of two tags is not supported: have the switch take the outer tag off".to_owned(),
        ))
    }),
    row(
        I,
        "shutdown",
        "shutdown",
        Now,
        "take the interface and its groups down, and its subinterfaces with it",
        |b, _, no| {
            b.interface()?.shutdown = !no;
            Ok(())
        },
    ),
    row(
        I,
        "ip address V4 MASK [secondary]",
        "ip address [V4 MASK [secondary]]",
        Now,
        "the interface's IPv4 address",
        ip_address,
    ),
    row(I, "ip address V6", "", Slip, "", |b, m, _| slip_ipv6(b, m, 64)),
    row(I, "ip address PREFIX6", "", Slip, "", |b, m, _| slip_ipv6(b, m, 64)),
    row(
        I,
        "ipv6 address PREFIX6",
        "ipv6 address [PREFIX6]",
        Now,
        "the interface's IPv6 address",
        ipv6_address,
    ),
    row(I, "ipv6 address V6", "", Slip, "", |b, m, _| slip_ipv6(b, m, 64)),
    row(
        I,
        "standby version VERSION",
        "standby version [VERSION]",
        Now,
        "version of HSRP; IPv6, groups beyond 255 and milliseconds need 2",
        |b, m, no| {
            b.note_origin("standby version");
            b.interface()?.standby_version = set(no, m.number("VERSION"));
            Ok(())
        },
    ),
    row(
        I,
        "standby delay {minimum STARTMIN [reload STARTRELOAD]|reload STARTRELOAD}",
        "standby delay [minimum STARTMIN [reload STARTRELOAD]|reload STARTRELOAD]",
        Now,
        "wait after the interface came up, or after the start",
        standby_delay,
    ),
    row(I, "standby delay mimimum STARTMIN [reload STARTRELOAD]", "", Slip, "", |b, m, no| {
        standby_delay(b, m, no)?;
        let StandbyDelay { minimum, reload } = b.interface()?.standby_delay;
        let exact = format!(
            "standby delay minimum {}{}",
            minimum.unwrap_or(0),
            reload.map_or(String::new(), |r| format!(" reload {r}"))
        );
        b.slip(m.column("mimimum"), "\"mimimum\" is taken as \"minimum\"", &exact);
        Ok(())
    }),
    row(
        I,
        "standby [GROUP] ip [V4 [secondary]]",
        "standby [GROUP] ip [V4 [secondary]]",
        Now,
        "virtual IPv4 address; without one it is learned from the active router",
        standby_ip,
    ),
    row(
        I,
        "standby [GROUP] ipv6 {PREFIX6|autoconfig}",
        "standby [GROUP] ipv6 [PREFIX6|autoconfig]",
        Now,
        "virtual IPv6 address",
        standby_ipv6,
    ),
    row(I, "standby [GROUP] ipv6 V6", "", Slip, "", |b, m, _| {
        let address = address(m, "V6")?;
        let group = group_number(m);
        let interface = b.interface()?;
        let length = interface.ipv6.iter().find(|p| p.covers(address)).map_or(64, |p| p.length);
        add(&mut group_of(interface, group).ipv6, Prefix { address, length });
        b.touch_group(group);
        let exact = format!("standby {group} ipv6 {address}/{length}");
        b.slip(m.column("V6"), &format!("{address} is taken as {address}/{length}"), &exact);
        Ok(())
    }),
    row(
        I,
        "standby [GROUP] priority PRIORITY",
        "standby [GROUP] priority [PRIORITY]",
        Now,
        "the greater one becomes active",
        |b, m, no| {
            b.group(m)?.priority = set(no, m.number("PRIORITY")).unwrap_or(Group::PRIORITY);
            Ok(())
        },
    ),
    row(
        I,
        "standby [GROUP] preempt [delay {minimum MINIMUM [reload RELOAD] [sync SYNC]|reload RELOAD [sync SYNC]|sync SYNC}]",
        "standby [GROUP] preempt [LINE]",
        Now,
        "take the role over from a router of lower priority",
        |b, m, no| {
            b.group(m)?.preempt = set(
                no,
                Some(Preempt {
                    minimum: m.number("MINIMUM"),
                    reload: m.number("RELOAD"),
                    sync: m.number("SYNC"),
                }),
            );
            Ok(())
        },
    ),
    row(
        I,
        "standby [GROUP] timers [msec] HELLO [msec] HOLD",
        "standby [GROUP] timers [[msec] HELLO [msec] HOLD]",
        Now,
        "time between hellos, and time without one after which the sender is gone",
        timers,
    ),
    row(
        I,
        "standby [GROUP] authentication [text] AUTHTEXT",
        "standby [GROUP] authentication [[text] AUTHTEXT]",
        Now,
        "plain text in every message",
        |b, m, no| authentication(b, m, no, "AUTHTEXT", Authentication::Text),
    ),
    row(
        I,
        "standby [GROUP] authentication md5 key-string MD5KEY [timeout TIMEOUT]",
        "standby [GROUP] authentication md5 [key-string MD5KEY [timeout TIMEOUT]]",
        Now,
        "key of an MD5 digest over every message",
        |b, m, no| {
            authentication(b, m, no, "MD5KEY", |key| Authentication::Md5(key, None))?;
            if let Some(Authentication::Md5(_, timeout)) = &mut b.group(m)?.authentication {
                *timeout = m.number("TIMEOUT");
            }
            Ok(())
        },
    ),
    row(
        I,
        "standby [GROUP] authentication md5 key-chain NAME",
        "standby [GROUP] authentication md5 key-chain [NAME]",
        Now,
        "keys of an MD5 digest, by their lifetimes",
        |b, m, no| {
            b.group(m)?.authentication = set(no, m.text("NAME").map(Authentication::KeyChain));
            Ok(())
        },
    ),
    row(
        I,
        "standby [GROUP] lease-limit LEASE",
        "standby [GROUP] lease-limit [LEASE]",
        Now,
        "how long requests are answered after usherd died, no peer known",
        |b, m, no| {
            b.group(m)?.lease_limit = set(no, m.number("LEASE"));
            Ok(())
        },
    ),
    row(
        I,
        "standby [GROUP] name NAME",
        "standby [GROUP] name [NAME]",
        Now,
        "name by which the cluster finds the group",
        |b, m, no| {
            b.group(m)?.name = set(no, m.text("NAME"));
            Ok(())
        },
    ),
    row(
        I,
        "standby [GROUP] track OBJECT [decrement DECREMENT|shutdown]",
        "standby [GROUP] track OBJECT [LINE]",
        Now,
        "lower the priority, or give the role up, while the object is down",
        |b, m, no| {
            let object = number(m, "OBJECT")?;
            let effect = match m.has("shutdown") {
                true => TrackEffect::Shutdown,
                false => TrackEffect::Decrement(m.number("DECREMENT").unwrap_or(Group::DECREMENT)),
            };
            let tracks = &mut b.group(m)?.tracks;
            if no {
                tracks.remove(&object);
            } else {
                tracks.insert(object, effect);
            }
            Ok(())
        },
    ),
    row(I, "standby [GROUP] {use-bia|mac-address|follow|bfd} [LINE]", "", Slip, "", |_, m, _| {
        let word = ["use-bia", "mac-address", "follow", "bfd"].into_iter().find(|w| m.has(w)).unwrap_or("");
        Err(Fault::at(word, format!("\"standby {word}\" is not supported: leave the line out")))
    }),
    row(I, "", "standby [GROUP]", Now, "", |b, m, _| {
        b.interface()?.groups.remove(&group_number(m));
        Ok(())
    }),
    row(I, "standby group SLIPDIGITS", "", Slip, "", |b, m, _| {
        let name = format!("group{}", number::<u16>(m, "SLIPDIGITS")?);
        slip_name(b, m.column("group"), name)
    }),
    row(I, "standby SLIPNAME", "", Slip, "", |b, m, _| {
        let name = m.text("SLIPNAME").unwrap_or_default();
        match nearest_standby_word(&name) {
            Some(word) => Err(Fault::at(
                "SLIPNAME",
                format!(
                    "\"{name}\" is not understood: did you mean \"{word}\"? A name is given by `standby 1 name {name}`"
                ),
            )),
            None => slip_name(b, m.column("SLIPNAME"), name),
        }
    }),
    row(
        C,
        "holdtime HOLDTIME",
        "holdtime [HOLDTIME]",
        Now,
        "a member that is silent for so long is dead",
        |b, m, no| {
            b.cluster()?.holdtime = set(no, m.number("HOLDTIME"));
            Ok(())
        },
    ),
    row(
        C,
        "{primary|master} overload-limit LIMIT",
        "{primary|master} overload-limit [LIMIT]",
        Now,
        "load from which a gateway gets no more clients",
        |b, m, no| {
            b.cluster()?.overload_limit = set(no, m.number("LIMIT"));
            Ok(())
        },
    ),
    row(
        C,
        "{primary|master} weight {crypto-load|system-load} WEIGHT",
        "{primary|master} weight {crypto-load|system-load} [WEIGHT]",
        Now,
        "weight of a part of the load",
        weight,
    ),
    row(C, "{primary|master} {crypto-load|system-load} WEIGHT", "", Slip, "", |b, m, no| {
        weight(b, m, no)?;
        let role = if m.has("master") { "master" } else { "primary" };
        let load = if m.has("crypto-load") { "crypto-load" } else { "system-load" };
        let exact = format!("{role} weight {load} {}", number::<u8>(m, "WEIGHT")?);
        b.slip(m.column(load), &format!("\"weight\" is missing before \"{load}\""), &exact);
        Ok(())
    }),
    row(C, "port PORT", "port [PORT]", Now, "TCP port of the members' load reports", |b, m, no| {
        b.cluster()?.port = set(no, m.number("PORT"));
        Ok(())
    }),
    row(
        C,
        "{secondary|slave|subordinate} hello HELLOMS",
        "{secondary|slave|subordinate} hello [HELLOMS]",
        Now,
        "time between signs of life to the primary",
        |b, m, no| {
            b.cluster()?.hello = set(no, m.number("HELLOMS"));
            Ok(())
        },
    ),
    row(
        C,
        "{secondary|slave|subordinate} update UPDATEMS",
        "{secondary|slave|subordinate} update [UPDATEMS]",
        Now,
        "time between load reports to the primary",
        |b, m, no| {
            b.cluster()?.update = set(no, m.number("UPDATEMS"));
            Ok(())
        },
    ),
    row(
        C,
        "{secondary|slave|subordinate} max-session SESSIONS",
        "{secondary|slave|subordinate} max-session [SESSIONS]",
        Now,
        "IKE and IPsec SAs that are a full load; mandatory; leave 10-20 % of it for SAs in rekey and retransmission",
        |b, m, no| {
            b.cluster()?.max_session = set(no, m.number("SESSIONS"));
            Ok(())
        },
    ),
    row(
        C,
        "{secondary|slave|subordinate} priority SHARE",
        "{secondary|slave|subordinate} priority [SHARE]",
        Now,
        "this node's share of the clients: 50 counts a load twice",
        |b, m, no| {
            b.cluster()?.priority = set(no, m.number("SHARE"));
            Ok(())
        },
    ),
    row(
        C,
        "{secondary|slave|subordinate} load-normalization NORMALIZATION",
        "{secondary|slave|subordinate} load-normalization [NORMALIZATION]",
        Now,
        "gateways whose loads differ by so little share the clients",
        |b, m, no| {
            b.cluster()?.load_normalization = set(no, m.number("NORMALIZATION"));
            Ok(())
        },
    ),
    row(
        C,
        "standby-group NAME",
        "standby-group [NAME]",
        Now,
        "HSRP group whose address is the cluster's; may be repeated",
        |b, m, no| {
            let groups = &mut b.cluster()?.standby_groups;
            match (no, m.text("NAME")) {
                (true, None) => groups.clear(),
                (true, Some(name)) => groups.retain(|group| *group != name),
                (false, Some(name)) => add(groups, name),
                (false, None) => {}
            }
            Ok(())
        },
    ),
    row(
        C,
        "static-gateway ADDRESS [priority SHARE] [probe [interval PROBEMS] [up UP] [down DOWN]]",
        "static-gateway ADDRESS [priority [SHARE] [probe [LINE]]|probe [LINE]]",
        Now,
        "a gateway that reports no load, and whether its health is probed",
        |b, m, no| {
            let address = address(m, "ADDRESS")?;
            if is_link_local(&address) {
                return Err(Fault::at(
                    "ADDRESS",
                    format!("{address} is link-local, clients cannot reach it: use a global address"),
                ));
            }
            let gateways = &mut b.cluster()?.static_gateways;
            // `no` with the probe alone leaves the gateway.
            match (no, m.has("probe") && (!no || !m.has("priority"))) {
                (true, false) => {
                    gateways.remove(&address);
                }
                (true, true) => {
                    gateways.entry(address).and_modify(|gateway| gateway.probe = None);
                }
                (false, probed) => {
                    let default = Probe::default();
                    let probe = Probe {
                        interval: m.number("PROBEMS").unwrap_or(default.interval),
                        up: m.number("UP").unwrap_or(default.up),
                        down: m.number("DOWN").unwrap_or(default.down),
                    };
                    let priority = m.number("SHARE").unwrap_or(Cluster::PRIORITY);
                    gateways.insert(address, StaticGateway { priority, probe: probed.then_some(probe) });
                }
            }
            let most = platform::snapshot::MAX_GATEWAYS;
            if gateways.keys().filter(|other| other.is_ipv4() == address.is_ipv4()).count() > most {
                return Err(Fault::at(
                    "ADDRESS",
                    format!("{most} gateways of a family is the most: take one out with `no static-gateway`"),
                ));
            }
            Ok(())
        },
    ),
    row(
        C,
        "key KEY",
        "key [KEY]",
        Now,
        "key that authenticates and encrypts the load reports, the same on all nodes",
        |b, m, no| {
            b.cluster()?.key =
                if no { None } else { Some(secret("KEY", m.text("KEY").unwrap_or_default())?) };
            Ok(())
        },
    ),
    row(
        C,
        "max-nodes NODES",
        "max-nodes [NODES]",
        Now,
        "nodes of the cluster, this one among them",
        |b, m, no| {
            b.cluster()?.max_nodes = set(no, m.number("NODES"));
            Ok(())
        },
    ),
    row(
        C,
        "selection {spread|strict}",
        "selection [spread|strict]",
        Now,
        "share the clients among the least loaded gateways, or send all to the least loaded one",
        |b, m, no| {
            let selection = if m.has("strict") { Selection::Strict } else { Selection::Spread };
            b.cluster()?.selection = set(no, Some(selection));
            Ok(())
        },
    ),
    row(
        C,
        "load-source {vici [SOCKET]|whack [PROGRAM]|script SCRIPT|fixed half-open SAS ike IKESAS child CHILDSAS [cpu CPU mem MEM]}",
        "load-source [LINE]",
        Now,
        "where this node's load comes from: strongSwan, libreswan, a script or fixed numbers",
        load_source,
    ),
    row(
        C,
        "drain pace PACE",
        "drain pace [PACE]",
        Now,
        "sessions that a drain moves away in a minute",
        |b, m, no| {
            b.cluster()?.drain_pace = set(no, m.number("PACE"));
            Ok(())
        },
    ),
    row(C, "fqdn NAME", "fqdn [NAME]", Now, "this node's name in show; no redirect names it", |b, m, no| {
        b.cluster()?.fqdn = set(no, m.text("NAME"));
        Ok(())
    }),
    row(C, "shutdown", "shutdown", Now, "take the cluster down", |b, _, no| {
        b.cluster()?.shutdown = !no;
        b.orders.push(Order::ClusterShutdown(!no));
        Ok(())
    }),
];

fn set<T>(no: bool, value: Option<T>) -> Option<T> {
    if no { None } else { value }
}

fn add<T: PartialEq>(list: &mut Vec<T>, value: T) {
    if !list.contains(&value) {
        list.push(value);
    }
}

fn number<T: TryFrom<u64>>(m: &Matched, name: &'static str) -> Result<T, Fault> {
    m.number(name).ok_or_else(|| Fault::at(name, "the number is missing".to_owned()))
}

fn address(m: &Matched, name: &'static str) -> Result<IpAddr, Fault> {
    m.address(name).ok_or_else(|| Fault::at(name, "the address is missing".to_owned()))
}

fn prefix6(m: &Matched) -> Result<Prefix, Fault> {
    let (address, length) =
        m.prefix("PREFIX6").ok_or_else(|| Fault::at("PREFIX6", "the address is missing".to_owned()))?;
    Ok(Prefix { address, length })
}

pub(super) fn group_number(m: &Matched) -> u16 {
    m.number("GROUP").unwrap_or(0)
}

fn group_of(interface: &mut Interface, group: u16) -> &mut Group {
    interface.groups.entry(group).or_default()
}

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

fn interface(b: &mut Builder, m: &Matched, no: bool) -> Result<(), Fault> {
    let name = match m.interface("IFNAME") {
        Some(name) => name,
        None => super::IfName::from_parts(
            &m.text("IFTYPE").unwrap_or_default(),
            &m.text("IFUNIT").unwrap_or_default(),
        )
        .map_err(|message| Fault::at("IFTYPE", message))?,
    };
    if no {
        b.config.interfaces.remove(&name);
        return b.leave();
    }
    b.enter_interface(name)
}

fn track(b: &mut Builder, m: &Matched, no: bool, what: Option<Tracked>) -> Result<(), Fault> {
    let object: u16 = number(m, "OBJECT")?;
    match what.filter(|_| !no) {
        Some(what) => b.config.tracks.insert(object, what),
        None => b.config.tracks.remove(&object),
    };
    Ok(())
}

fn cluster(b: &mut Builder, _: &Matched, no: bool) -> Result<(), Fault> {
    if no {
        b.config.cluster = None;
        return b.leave();
    }
    b.enter_cluster()
}

fn reconnect_key(b: &mut Builder, m: &Matched, no: bool) -> Result<(), Fault> {
    let index: u8 = number(m, "KEYINDEX")?;
    if no {
        b.config.reconnect_keys.remove(&index);
        return Ok(());
    }
    let (name, key) = match m.text("KEY") {
        Some(key) => ("KEY", key),
        None => ("ACTIVEKEY", m.text("ACTIVEKEY").unwrap_or_default()),
    };
    let key = secret(name, key)?;
    let active = m.has("active");
    let other = 3 - index;
    if active && b.config.reconnect_keys.get(&other).is_some_and(|key| key.active) {
        b.warn(m.column("active"), format!("key {index} is the active one now, key {other} only decrypts"));
        if let Some(key) = b.config.reconnect_keys.get_mut(&other) {
            key.active = false;
        }
    }
    b.config.reconnect_keys.insert(index, ReconnectKey { key, active });
    Ok(())
}

fn secret(name: &'static str, key: String) -> Result<Secret, Fault> {
    if key.chars().all(|c| c == '*') {
        return Err(Fault::at(
            name,
            "this is a key as `show` masks it: give the key itself, or copy the line from the file"
                .to_owned(),
        ));
    }
    Ok(Secret(key))
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

fn load_source(b: &mut Builder, m: &Matched, no: bool) -> Result<(), Fault> {
    let path = |name: &'static str| match m.text(name) {
        Some(path) if !path.starts_with('/') => {
            Err(Fault::at(name, format!("\"{path}\" is no absolute path: write it from / on")))
        }
        path => Ok(path),
    };
    let source = if no {
        None
    } else if m.has("vici") {
        Some(LoadSource::Vici(path("SOCKET")?))
    } else if m.has("whack") {
        Some(LoadSource::Whack(m.text("PROGRAM")))
    } else if m.has("script") {
        path("SCRIPT")?.map(LoadSource::Script)
    } else {
        Some(LoadSource::Fixed {
            half_open: number(m, "SAS")?,
            ike: number(m, "IKESAS")?,
            child: number(m, "CHILDSAS")?,
            cpu: m.number("CPU"),
            mem: m.number("MEM"),
        })
    };
    b.cluster()?.load_source = source;
    Ok(())
}

fn limit(b: &mut Builder, m: &Matched, no: bool) -> Result<(), Fault> {
    b.config.max_in_negotiation = set(no, m.number("CLIENTS"));
    Ok(())
}

fn ip_address(b: &mut Builder, m: &Matched, no: bool) -> Result<(), Fault> {
    let secondary = m.has("secondary");
    let Some(address) = m.address("V4") else {
        let interface = b.interface()?;
        interface.ip = None;
        interface.ip_secondary.clear();
        return Ok(());
    };
    let prefix = Prefix { address, length: number(m, "MASK")? };
    let interface = b.interface()?;
    if no {
        interface.ip_secondary.retain(|other| *other != prefix);
        if !secondary && interface.ip == Some(prefix) {
            interface.ip = None;
        }
        return Ok(());
    }
    if let IpAddr::V4(host) = address {
        let host_bits = u32::MAX.checked_shr(u32::from(prefix.length)).unwrap_or(0);
        let host = u32::from(host) & host_bits;
        if prefix.length < 31 && (host == 0 || host == host_bits) {
            return Err(Fault::at(
                "V4",
                format!("{address} is the subnet's own or its broadcast address: use a host of it"),
            ));
        }
    }
    if !secondary {
        interface.ip_secondary.retain(|other| other.address != address);
        interface.ip = Some(prefix);
    } else if interface.ip.is_none() {
        return Err(Fault::at(
            "secondary",
            "a secondary address needs a primary one before it: `ip address ADDRESS MASK`".to_owned(),
        ));
    } else if interface.ip.is_some_and(|primary| primary.address == address) {
        return Err(Fault::at("V4", format!("{address} is the primary address already")));
    } else {
        interface.ip_secondary.retain(|other| other.address != address);
        interface.ip_secondary.push(prefix);
        bounded(interface)?;
    }
    Ok(())
}

fn ipv6_address(b: &mut Builder, m: &Matched, no: bool) -> Result<(), Fault> {
    let Ok(prefix) = prefix6(m) else {
        b.interface()?.ipv6.clear();
        return Ok(());
    };
    let interface = b.interface()?;
    interface.ipv6.retain(|other| other.address != prefix.address);
    if !no {
        interface.ipv6.push(prefix);
        bounded(interface)?;
    }
    Ok(())
}

/// An interface has room for 64 addresses.
fn bounded(interface: &Interface) -> Result<(), Fault> {
    if interface.addresses().count() > 64 {
        return Err(Fault::line("an interface has at most 64 addresses: take one out".to_owned()));
    }
    Ok(())
}

/// `ip address 2001:DB8::1`: the seed's way to write an IPv6 address.
fn slip_ipv6(b: &mut Builder, m: &Matched, length: u8) -> Result<(), Fault> {
    let prefix = match m.address("V6") {
        Some(address) => Prefix { address, length },
        None => prefix6(m)?,
    };
    let interface = b.interface()?;
    interface.ipv6.retain(|other| other.address != prefix.address);
    interface.ipv6.push(prefix);
    bounded(interface)?;
    let column = m.column("V6").max(m.column("PREFIX6"));
    b.slip(column, &format!("this is taken as the IPv6 address {prefix}"), &format!("ipv6 address {prefix}"));
    Ok(())
}

fn standby_delay(b: &mut Builder, m: &Matched, no: bool) -> Result<(), Fault> {
    b.interface()?.standby_delay = if no {
        StandbyDelay::default()
    } else {
        StandbyDelay { minimum: m.number("STARTMIN"), reload: m.number("STARTRELOAD") }
    };
    Ok(())
}

fn standby_ip(b: &mut Builder, m: &Matched, no: bool) -> Result<(), Fault> {
    let secondary = m.has("secondary");
    let group = b.group(m)?;
    let address = match m.address("V4") {
        Some(IpAddr::V4(address)) => Some(address),
        _ => None,
    };
    match (address, no) {
        (None, false) => group.ip = group.ip.or(Some(None)),
        (None, true) => {
            group.ip = None;
            group.ip_secondary.clear();
        }
        (Some(address), true) => {
            group.ip_secondary.retain(|other| *other != address);
            if !secondary && group.ip == Some(Some(address)) {
                group.ip = None;
            }
        }
        (Some(address), false) if secondary => {
            if !matches!(group.ip, Some(Some(_))) {
                return Err(Fault::at(
                    "secondary",
                    "a secondary virtual address needs a primary one before it: `standby 1 ip ADDRESS`"
                        .to_owned(),
                ));
            }
            if group.ip == Some(Some(address)) {
                return Err(Fault::at("V4", format!("{address} is the primary virtual address already")));
            }
            add(&mut group.ip_secondary, address);
        }
        (Some(address), false) => {
            group.ip_secondary.retain(|other| *other != address);
            group.ip = Some(Some(address));
        }
    }
    Ok(())
}

fn standby_ipv6(b: &mut Builder, m: &Matched, no: bool) -> Result<(), Fault> {
    let group = b.group(m)?;
    match (prefix6(m), m.has("autoconfig"), no) {
        (Ok(prefix), _, _) => {
            group.ipv6.retain(|other| other.address != prefix.address);
            if !no {
                group.ipv6.push(prefix);
            }
        }
        (Err(_), true, _) => group.ipv6_autoconfig = !no,
        (Err(_), false, _) => {
            group.ipv6.clear();
            group.ipv6_autoconfig = false;
        }
    }
    Ok(())
}

fn timers(b: &mut Builder, m: &Matched, no: bool) -> Result<(), Fault> {
    if no {
        b.group(m)?.timers = None;
        return Ok(());
    }
    let interval = |name, seconds: u16, least: u16, most: u16| {
        let value: u16 = number(m, name)?;
        if m.precedes("msec", name) {
            return match value {
                v if (least..=most).contains(&v) => Ok(Interval::Millis(v)),
                v => Err(Fault::at(name, format!("{v} ms is out of range: it is {least} to {most}"))),
            };
        }
        match value {
            v if v <= seconds => Ok(Interval::Seconds(v)),
            v => Err(Fault::at(
                name,
                format!("{v} s is out of range: it is 1 to {seconds}; write msec before milliseconds"),
            )),
        }
    };
    let hello = interval("HELLO", 254, 15, 999)?;
    let hold = interval("HOLD", 255, 50, 3000)?;
    if hold.millis() <= hello.millis() {
        return Err(Fault::at("HOLD", "the hold time must be longer than the hello time".to_owned()));
    }
    if hold.millis() < 3 * hello.millis() {
        b.warn(
            m.column("HOLD"),
            "the hold time is under three hello times: one lost hello may cost the role".to_owned(),
        );
    }
    b.group(m)?.timers = Some(Timers { hello, hold });
    Ok(())
}

fn authentication(
    b: &mut Builder,
    m: &Matched,
    no: bool,
    name: &'static str,
    kind: fn(Secret) -> Authentication,
) -> Result<(), Fault> {
    let key = if no { None } else { Some(kind(secret(name, m.text(name).unwrap_or_default())?)) };
    b.group(m)?.authentication = key;
    Ok(())
}

fn lifetime(m: &Matched, no: bool) -> Result<Lifetime, Fault> {
    match m.text("LIFETIME").filter(|_| !no) {
        Some(text) => Lifetime::parse(&text).map_err(|message| Fault::at("LIFETIME", message)),
        None => Ok(Lifetime::default()),
    }
}

fn weight(b: &mut Builder, m: &Matched, no: bool) -> Result<(), Fault> {
    let weight = set(no, m.number("WEIGHT"));
    let cluster = b.cluster()?;
    if m.has("crypto-load") {
        cluster.weight_crypto = weight;
    } else {
        cluster.weight_system = weight;
    }
    Ok(())
}

/// `standby group1`, `standby group 1`: the name of the group configured last on the interface.
fn slip_name(b: &mut Builder, column: usize, name: String) -> Result<(), Fault> {
    let group = b.last_group();
    let exact = format!("standby {group} name {name}");
    group_of(b.interface()?, group).name = Some(name.clone());
    b.touch_group(group);
    b.slip(column, &format!("this is taken as the name \"{name}\" of group {group}"), &exact);
    Ok(())
}

/// A misspelled keyword of `standby`, which must not become a group's name.
fn nearest_standby_word(name: &str) -> Option<&'static str> {
    const WORDS: &[&str] = &[
        "ip",
        "ipv6",
        "priority",
        "preempt",
        "timers",
        "authentication",
        "lease-limit",
        "name",
        "track",
        "version",
        "delay",
    ];
    let lower = name.to_ascii_lowercase();
    WORDS.iter().copied().find(|word| distance(&lower, word) <= if word.len() < 6 { 1 } else { 2 })
}

/// Levenshtein distance of two words of at most 63 letters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut row = vec![i + 1];
        for (j, cb) in b.iter().enumerate() {
            let change = last[j] + usize::from(ca != *cb);
            row.push(change.min(last[j + 1] + 1).min(row[j] + 1));
        }
        last = row;
    }
    last[b.len()]
}
