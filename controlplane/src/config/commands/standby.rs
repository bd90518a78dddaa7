//! `standby ...` of an interface, and the objects that it tracks.

use super::command::{Command, Effect, row};
use super::values::{add, address, number, prefix6, secret, set};
use crate::config::builder::{Builder, Fault, group_number};
use crate::config::mode::Mode;
use crate::config::model::{Group, Interface, Interval, Preempt, StandbyDelay, Timers, Tracked};
use crate::grammar::Matched;
use crate::hsrp::machine::TrackEffect;
use crate::types::{Authentication, Prefix, Secret, is_link_local};
use Effect::{Now, Slip};
use Mode::{Global as G, Interface as I};
use std::net::IpAddr;

/// The table.
pub(super) const TABLE: &[Command] = &[
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
    row(
        I,
        "standby version VERSION",
        "standby version [VERSION]",
        Now,
        "version of HSRP; IPv6, groups beyond 255 and milliseconds need 2",
        |b, m, no| {
            b.note_origin("standby version");
            let version = set(no, m.number("VERSION"));
            let interface = b.interface()?;
            if version != Some(2) {
                // What has no line any more is no group.
                interface.groups.retain(|number, group| *number <= 255 || *group != Group::default());
                if let Some(number) = interface.groups.keys().find(|number| **number > 255) {
                    return Err(Fault::at(
                        "VERSION",
                        format!(
                            "version 1 has groups 0 to 255 only: remove group {number} first, `no standby {number}`"
                        ),
                    ));
                }
            }
            interface.standby_version = version;
            Ok(())
        },
    ),
    row(
        I,
        "standby delay {minimum STARTMIN [reload STARTRELOAD]|reload STARTRELOAD}",
        "standby delay [minimum [STARTMIN] [reload [STARTRELOAD]]|reload [STARTRELOAD]]",
        Now,
        "Delay in Init after every time the interface comes up (minimum, 1 s), and after the start (reload, 5 s)",
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
    ).of_group(),
    row(
        I,
        "standby [GROUP] ipv6 {PREFIX6|autoconfig}",
        "standby [GROUP] ipv6 [PREFIX6|autoconfig]",
        Now,
        "virtual IPv6 address",
        standby_ipv6,
    ).of_group(),
    row(I, "standby [GROUP] ipv6 V6", "", Slip, "", |b, m, _| {
        let address = address(m, "V6")?;
        let group = group_number(m);
        let length = b.interface()?.ipv6.iter().find(|p| p.covers(address)).map_or(64, |p| p.length);
        add(&mut b.group(m)?.ipv6, Prefix { address, length });
        // IOS writes link-local addresses so.
        if is_link_local(&address) {
            return Ok(());
        }
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
    ).of_group(),
    row(
        I,
        "standby [GROUP] preempt [delay {minimum MINIMUM [reload RELOAD] [sync SYNC]|reload RELOAD [sync SYNC]|sync SYNC}]",
        "standby [GROUP] preempt [delay [minimum [MINIMUM]] [reload [RELOAD]] [sync [SYNC]]]",
        Now,
        "Take the role over from a router of lower priority; a line changes the delays that it names",
        preempt,
    ).of_group(),
    row(
        I,
        "standby [GROUP] timers [msec] HELLO [msec] HOLD",
        "standby [GROUP] timers [[msec] HELLO [msec] HOLD]",
        Now,
        "time between hellos, and time without one after which the sender is gone",
        timers,
    ).of_group(),
    row(
        I,
        "standby [GROUP] authentication [text] AUTHTEXT",
        "standby [GROUP] authentication [[text] AUTHTEXT]",
        Now,
        "plain text in every message",
        |b, m, no| authentication(b, m, no, "AUTHTEXT", Authentication::Text),
    ).of_group(),
    row(
        I,
        "standby [GROUP] authentication md5 key-string MD5KEY [timeout TIMEOUT]",
        "standby [GROUP] authentication md5 [key-string MD5KEY [timeout TIMEOUT]]",
        Now,
        "MD5 key; a new key counts at once, the old one for `timeout` seconds more: change the active router last",
        |b, m, no| {
            authentication(b, m, no, "MD5KEY", |key| Authentication::Md5(key, None))?;
            if let Some(Authentication::Md5(_, timeout)) = &mut b.group(m)?.authentication {
                *timeout = m.number("TIMEOUT");
            }
            Ok(())
        },
    ).of_group(),
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
    ).of_group(),
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
    ).of_group(),
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
    ).of_group(),
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
    ).of_group(),
    row(I, "standby [GROUP] {use-bia|mac-address|follow|bfd} [LINE]", "", Slip, "", |_, m, _| {
        let word = ["use-bia", "mac-address", "follow", "bfd"].into_iter().find(|w| m.has(w)).unwrap_or("");
        Err(Fault::at(word, format!("\"standby {word}\" is not supported: leave the line out")))
    }),
    row(I, "", "standby [GROUP]", Now, "", |b, m, _| {
        b.interface()?.groups.remove(&group_number(m));
        Ok(())
    }).of_group(),
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
];

fn group_of(interface: &mut Interface, group: u16) -> &mut Group {
    interface.groups.entry(group).or_default()
}

fn track(b: &mut Builder, m: &Matched, no: bool, what: Option<Tracked>) -> Result<(), Fault> {
    let object: u16 = number(m, "OBJECT")?;
    match what.filter(|_| !no) {
        Some(what) => b.config.tracks.insert(object, what),
        None => b.config.tracks.remove(&object),
    };
    Ok(())
}

/// Lines are merged as on IOS: each changes the delays that it names.
fn standby_delay(b: &mut Builder, m: &Matched, no: bool) -> Result<(), Fault> {
    let delay = &mut b.interface()?.standby_delay;
    let all = no && !m.has("minimum") && !m.has("reload");
    if all || m.has("minimum") || m.has("mimimum") {
        delay.minimum = set(no, m.number("STARTMIN"));
    }
    if all || m.has("reload") {
        delay.reload = set(no, m.number("STARTRELOAD"));
    }
    Ok(())
}

/// Lines are merged as on IOS: each changes the delays that it names; `no standby preempt delay` takes them all.
fn preempt(b: &mut Builder, m: &Matched, no: bool) -> Result<(), Fault> {
    let preempt = &mut b.group(m)?.preempt;
    if no && !m.has("delay") {
        *preempt = None;
        return Ok(());
    }
    if no && preempt.is_none() {
        return Ok(());
    }
    let Preempt { minimum, reload, sync } = preempt.get_or_insert_default();
    let all = no && !m.has("minimum") && !m.has("reload") && !m.has("sync");
    for (word, name, delay) in
        [("minimum", "MINIMUM", minimum), ("reload", "RELOAD", reload), ("sync", "SYNC", sync)]
    {
        if all || m.has(word) {
            *delay = set(no, m.number(name));
        }
    }
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
    WORDS.iter().copied().find(|word| strsim::levenshtein(&lower, word) <= if word.len() < 6 { 1 } else { 2 })
}
