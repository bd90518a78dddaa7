//! Any configuration, written and read back.

use super::super::health::assess;
use crate::config::*;
use crate::hsrp::machine::TrackEffect;
use crate::types::keychain::{ChainKey, Lifetime};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::net::IpAddr;

fn secret() -> impl Strategy<Value = Secret> {
    "[a-zA-Z0-9!#%]{2,8}"
        .prop_filter("a keyword", |key| !["active", "local", "remote"].contains(&key.as_str()))
        .prop_map(Secret)
}

fn interval() -> impl Strategy<Value = (Interval, Interval)> {
    prop_oneof![
        (1u16..=80).prop_map(|s| (Interval::Seconds(s), Interval::Seconds(s * 3))),
        (15u16..=999).prop_map(|ms| (Interval::Millis(ms), Interval::Millis((ms * 3).max(50)))),
    ]
}

prop_compose! {
    fn group()(
        ip in proptest::option::of(proptest::option::of(2u8..250)), secondary in proptest::option::of(2u8..250),
        v6 in proptest::collection::btree_set(1u16..99, 0..3), autoconfig in any::<bool>(), priority in any::<u8>(),
        preempt in proptest::option::of((proptest::option::of(0u16..=3600), proptest::option::of(0u16..=3600), proptest::option::of(0u16..=3600))),
        timers in proptest::option::of(interval()), auth in proptest::option::of((0u8..3, secret(), proptest::option::of(0u16..=32767))),
        lease_limit in proptest::option::of(1u8..),
        name in proptest::option::of("[a-z][a-z0-9-]{0,12}"), tracks in proptest::collection::btree_map(1u16..=1000, 0u8..=255, 0..3),
    ) -> Group {
        let v4 = |host: u8| std::net::Ipv4Addr::new(10, 9, 0, host);
        let ip = ip.map(|host| host.map(v4));
        let secondary = secondary.map(v4).filter(|a| matches!(ip, Some(Some(first)) if first != *a));
        Group {
            ip,
            ip_secondary: secondary.into_iter().collect(),
            ipv6: v6.into_iter().map(|h| Prefix { address: IpAddr::from([0x2001, 0xdb8, 9, 0, 0, 0, 0, h]), length: 64 }).collect(),
            ipv6_autoconfig: autoconfig,
            priority,
            preempt: preempt.map(|(minimum, reload, sync)| Preempt { minimum, reload, sync }),
            timers: timers.map(|(hello, hold)| Timers { hello, hold }),
            authentication: auth.map(|(kind, key, timeout)| match kind {
                0 => Authentication::Text(key),
                1 => Authentication::Md5(key, timeout),
                _ => Authentication::KeyChain(key.0),
            }),
            lease_limit,
            name,
            tracks: tracks.into_iter().map(|(object, by)| (object, if by == 0 { TrackEffect::Shutdown } else { TrackEffect::Decrement(by) })).collect(),
        }
    }
}

prop_compose! {
    fn interface()(
        description in proptest::option::of("[a-z]{1,5}( [a-z]{1,5}){0,2}"), shutdown in any::<bool>(),
        ip in proptest::option::of((1u8..=254, 8u8..=30)), secondary in proptest::option::of(1u8..=6),
        v6 in proptest::collection::btree_set(1u16..99, 0..3), version in proptest::option::of(1u8..=2),
        delay in (proptest::option::of(0u16..=10000), proptest::option::of(0u16..=10000)),
        ra in (prop_oneof![Just(0u16), 200u16..=9000], proptest::option::of(any::<bool>())),
        groups in proptest::collection::btree_map(prop_oneof![0u16..=255, 0u16..=4095], group(), 0..3),
    ) -> Interface {
        let ip = ip.map(|(third, length)| Prefix { address: IpAddr::from([10, 1, third, 1]), length });
        Interface {
            description,
            encapsulation: None,
            shutdown,
            ip,
            ip_secondary: secondary.filter(|_| ip.is_some()).map(|h| Prefix { address: IpAddr::from([10, 2, 0, h]), length: 29 }).into_iter().collect(),
            ipv6: v6.into_iter().map(|h| Prefix { address: IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, h]), length: 48 }).collect(),
            ra: RouterAdvertisements {
                lifetime: ra.0,
                suppress: ra.1.map(|all| if all { Suppress::All } else { Suppress::Unsolicited }),
            },
            // Version 1 ends at 255.
            standby_version: if groups.keys().any(|group| *group > 255) { Some(2) } else { version },
            standby_delay: StandbyDelay { minimum: delay.0, reload: delay.1 },
            groups,
        }
    }
}

fn load_source() -> impl Strategy<Value = LoadSource> {
    let path = || "/[a-z/.]{1,12}";
    let percent = proptest::option::of((0u8..=100, 0u8..=100));
    prop_oneof![
        proptest::option::of(path()).prop_map(LoadSource::Vici),
        proptest::option::of(path()).prop_map(LoadSource::Whack),
        path().prop_map(LoadSource::Script),
        (0u32..=100_000, 0u32..=100_000, 0u32..=100_000, percent).prop_map(
            |(half_open, ike, child, system)| {
                LoadSource::Fixed {
                    half_open,
                    ike,
                    child,
                    cpu: system.map(|(cpu, _)| cpu),
                    mem: system.map(|(_, mem)| mem),
                }
            }
        ),
    ]
}

prop_compose! {
    fn peer()(
        address in proptest::option::of((any::<bool>(), 1u8..=254, 1u8..=32)), local in proptest::option::of(secret()),
        remote in proptest::option::of(secret()),
    ) -> KeyringPeer {
        let address = address.map(|(v6, host, length)| match v6 {
            true => Prefix { address: IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(host)]), length },
            false => Prefix { address: IpAddr::from([10, 7, 0, host]), length },
        });
        KeyringPeer { address, local, remote }
    }
}

prop_compose! {
    fn profile()(
        description in proptest::option::of("[a-z]{1,5}( [a-z]{1,5}){0,2}"), matches in proptest::collection::btree_set("[a-z]{1,6}( [a-z]{1,6}){0,2}", 0..3),
        methods in (0usize..6, 0usize..6), keyring in proptest::option::of("[a-z]{1,9}"), trustpoint in proptest::option::of("[a-z]{1,9}"),
        dpd in proptest::option::of((10u16..=3600, 2u8..=60, any::<bool>())), reconnect in proptest::option::of(600u32..=86_400), redirect_auth in any::<bool>(),
    ) -> Profile {
        let method = |index: usize, most: usize| {
            let all = [Method::RsaSig, Method::EcdsaSig, Method::Eap, Method::PreShare, Method::AnyconnectEap];
            all[..if reconnect.is_some() { 3 } else { most }].get(index).copied()
        };
        Profile {
            description,
            matches: matches.into_iter().collect(),
            local: method(methods.0, 4),
            remote: method(methods.1, 5),
            keyring, trustpoint,
            dpd: dpd.map(|(interval, retry, periodic)| Dpd { interval, retry, periodic }),
            reconnect, redirect_auth,
        }
    }
}

prop_compose! {
    fn cluster()(
        times in (proptest::option::of(100u32..=120_000), proptest::option::of(100u32..=30_000), proptest::option::of(100u32..=60_000)),
        percent in (proptest::option::of(50u8..=99), proptest::option::of(0u8..=100), proptest::option::of(0u8..=100), proptest::option::of(1u8..=100), proptest::option::of(1u8..=100)),
        port in proptest::option::of(1u16..), max_session in proptest::option::of(1u32..=100_000),
        names in proptest::collection::btree_set("[a-z][a-z0-9]{0,8}", 0..3), fqdn in proptest::option::of("[a-z]{1,8}\\.example"),
        gateways in proptest::collection::btree_map((any::<bool>(), 1u8..), (1u8..=100, proptest::option::of((100u32..=60_000, 1u8..=10, 1u8..=10))), 0..6), shutdown in any::<bool>(),
        members in proptest::collection::btree_set(any::<u8>(), 0..3),
        keys in proptest::collection::vec(proptest::option::of(secret()), 2), active in 0u8..3, max_nodes in proptest::option::of(2u8..=64), drain_pace in proptest::option::of(1u32..=60_000),
        selection in proptest::option::of(prop_oneof![Just(Selection::Spread), Just(Selection::Strict)]), load_source in proptest::option::of(load_source()),
    ) -> Cluster {
        let indexed = |(index, key): (u8, Option<Secret>)| Some((index, IndexedKey { key: key?, active: active == index }));
        Cluster {
            holdtime: times.0, hello: times.1, update: times.2,
            overload_limit: percent.0, weight_crypto: percent.1, weight_system: percent.2,
            priority: percent.3, load_normalization: percent.4,
            port, max_session,
            standby_groups: names.into_iter().collect(),
            fqdn,
            keys: (1u8..).zip(keys).filter_map(indexed).collect(), max_nodes, selection, load_source, drain_pace,
            members: members.into_iter().map(|host| IpAddr::from([10, 1, 2, host])).collect(),
            static_gateways: gateways.into_iter().map(|((v6, host), (priority, probe))| {
                let address = if v6 { IpAddr::from([0x2001, 0xdb8, 1, 0, 0, 0, 0, u16::from(host)]) } else { IpAddr::from([10, 1, 1, host]) };
                (address, StaticGateway { priority, probe: probe.map(|(interval, up, down)| Probe { interval, up, down }) })
            }).collect(),
            shutdown,
        }
    }
}

fn lifetime() -> impl Strategy<Value = Lifetime> {
    prop_oneof![
        Just(Lifetime::default()),
        (725_846_400u64..4_000_000_000, proptest::option::of(1u64..100_000_000))
            .prop_map(|(from, span)| Lifetime { from, until: span.map(|span| from + span) }),
    ]
}

prop_compose! {
    fn chain_key()(string in proptest::option::of(secret()), accept in lifetime(), send in lifetime()) -> ChainKey {
        ChainKey { string, accept, send }
    }
}

prop_compose! {
    fn config()(
        hostname in proptest::option::of("[A-Za-z][A-Za-z0-9-]{0,10}"),
        interfaces in proptest::collection::btree_map((0u8..2, 0u8..4, proptest::option::of(1u32..)), (interface(), any::<bool>()), 0..4),
        cluster in proptest::option::of(cluster()), redirects in (any::<bool>(), any::<bool>(), proptest::option::of(1u8..)),
        keys in proptest::collection::vec(proptest::option::of(secret()), 2), active in 0u8..3,
        dpd in proptest::option::of((10u16..=3600, 2u8..=60, any::<bool>())), limit in proptest::option::of(1u16..=9999),
        chains in proptest::collection::btree_map("[a-z][a-z0-9-]{0,9}", proptest::collection::btree_map(0u32..99, chain_key(), 0..4), 0..3),
        idle_time in proptest::option::of(60u32..=86400), tracks in proptest::collection::btree_map(1u16..=1000, 0u8..4, 0..3),
        keyrings in proptest::collection::btree_map("[a-z]{1,8}", proptest::collection::btree_map("[a-z]{1,8}", peer(), 0..3), 0..2),
        profiles in proptest::collection::btree_map("[a-z]{1,8}", profile(), 0..2),
        enable_secret in proptest::option::of("\\$[56]\\$[a-zA-Z0-9]{1,8}\\$[a-zA-Z0-9./]{43}"),
    ) -> Config {
        let name = |(kind, unit): (u8, u8)| IfName::parse(&format!("{}0/0/{unit}", ["Te", "Gi"][usize::from(kind)])).unwrap();
        let mut reconnect_keys = BTreeMap::new();
        for (index, key) in (1u8..).zip(keys) {
            if let Some(key) = key {
                reconnect_keys.insert(index, IndexedKey { key, active: active == index });
            }
        }
        Config {
            hostname,
            tracks: tracks.into_iter().map(|(object, kind)| (object, match kind {
                0 => Tracked::LineProtocol(name((0, 1))),
                1 => Tracked::Link(name((1, 2))),
                2 => Tracked::Dataplane,
                _ => Tracked::IkeDaemon,
            })).collect(),
            key_chains: chains,
            // Each VLAN once.
            interfaces: interfaces.into_iter().zip(1u16..).map(|(((kind, unit, sub), (interface, tagged)), vlan)| {
                let port = name((kind, unit));
                let encapsulation = sub.filter(|_| tagged).map(|_| vlan * 1000);
                (sub.map_or(port.clone(), |sub| port.subinterface(sub)), Interface { encapsulation, ..interface })
            }).collect(),
            cluster,
            redirect_init: redirects.0, redirect_auth: redirects.1, redirect_client: redirects.2,
            reconnect_keys,
            dpd: dpd.map(|(interval, retry, periodic)| Dpd { interval, retry, periodic }),
            max_in_negotiation: limit,
            idle_time,
            enable_secret: enable_secret.map(Secret),
            keyrings,
            profiles,
        }
    }
}

proptest! {
    #[test]
    fn the_running_config_reads_back_to_the_same_configuration(config in config()) {
        let text = render(&config, Keys::Shown);
        let back = parse(&text);
        prop_assert!(back.is_ok(), "{}\n{:?}", text, back);
        let back = back.unwrap();
        let harmless = |r: &Diagnostic| r.severity == Severity::Notice || r.message.starts_with("version 1 has no IPv6");
        prop_assert!(back.remarks.iter().all(harmless), "{}\n{:?}", text, back.remarks);
        prop_assert_eq!(back.config, config, "{}", text);
    }

    #[test]
    fn every_line_of_the_running_config_can_be_undone_by_no(config in config()) {
        let text = render(&config, Keys::Shown);
        let mut outer: Vec<&str> = Vec::new();
        let mut undone: Vec<String> = Vec::new();
        for line in text.lines().filter(|line| *line != "!" && *line != "end") {
            outer.truncate(line.len() - line.trim_start().len());
            // `shutdown` and `no shutdown` undo each other; the cluster goes with its last line.
            if !line.trim_start().starts_with("no ") {
                let line = line.trim_start();
                undone.push(format!("{}\nno {line}\n", outer.join("\n")));
                // As on IOS this takes the delays away, and preempting stays.
                if let Some((preempt, _)) = line.split_once(" delay").filter(|(line, _)| line.ends_with("preempt")) {
                    undone.push(format!("{}\nno {preempt}\n", outer.join("\n")));
                }
            }
            outer.push(line);
        }
        let all: String = undone.into_iter().rev().collect();
        let left = parse(&format!("{text}{all}"));
        prop_assert!(left.is_ok(), "{}\n{:?}", all, left);
        prop_assert_eq!(left.unwrap().config, Config::default(), "{}", all);
    }

    #[test]
    fn no_text_panics_and_every_error_points_into_the_text(text in "(\\PC{0,40}\n|interface Te0/0/0\n|standby [0-9a-z ]{0,20}\n|crypto ikev2 cluster\n|[a-z ]{0,30}\n){0,6}") {
        if let Err(remarks) = parse(&text) {
            let lines = text.lines().count();
            for remark in remarks {
                prop_assert!((1..=lines).contains(&remark.line));
                let _ = remark.render("f");
            }
        }
        let _ = parse(&text).map(|loaded| assess(&loaded.config, None));
    }
}
