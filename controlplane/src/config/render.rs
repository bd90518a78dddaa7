//! From [`Config`] to the text of `show running-config`, which reads back to the same configuration.

use super::masked::HIDDEN;
use super::model::{
    Cluster, Config, Dpd, Group, IndexedKey, Interface, KeyringPeer, LoadSource, Method, Probe, Profile,
    Selection, Suppress, Tracked,
};
use crate::hsrp::machine::TrackEffect;
use crate::types::{Authentication, Secret};
use std::fmt::Write as _;
use std::net::IpAddr;

/// Visibility of keys in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// As they are: for the file
    Shown,
    /// As asterisks: for eyes
    Masked,
}

/// The whole configuration as text.
#[must_use]
pub fn render(config: &Config, keys: Keys) -> String {
    let mut out = String::from("!\n");
    let mut line = |text: String| {
        let _ = writeln!(out, "{text}");
    };
    if let Some(hostname) = &config.hostname {
        line(format!("hostname {hostname}"));
        line("!".to_owned());
    }
    if let Some(secret) = &config.enable_secret {
        line(format!("enable secret {}", key(secret, keys)));
        line("!".to_owned());
    }
    for (object, what) in &config.tracks {
        line(match what {
            Tracked::LineProtocol(name) => format!("track {object} interface {name} line-protocol"),
            Tracked::Link(name) => format!("track {object} interface {name} link"),
            Tracked::Dataplane => format!("track {object} dataplane"),
            Tracked::IkeDaemon => format!("track {object} ike-daemon"),
        });
    }
    if !config.tracks.is_empty() {
        line("!".to_owned());
    }
    for (name, chain) in &config.key_chains {
        line(format!("key chain {name}"));
        for (number, of) in chain {
            line(format!(" key {number}"));
            of.string.iter().for_each(|string| line(format!("  key-string {}", key(string, keys))));
            for (word, lifetime) in [("accept", of.accept), ("send", of.send)] {
                if !lifetime.is_always() {
                    line(format!("  {word}-lifetime {lifetime}"));
                }
            }
        }
        line("!".to_owned());
    }
    let global = global(config, keys);
    let any = !global.is_empty();
    global.into_iter().for_each(&mut line);
    if any {
        line("!".to_owned());
    }
    for (name, peers) in &config.keyrings {
        line(format!("crypto ikev2 keyring {name}"));
        for (name, of) in peers {
            line(format!(" peer {name}"));
            peer(of, keys).into_iter().for_each(|text| line(format!("  {text}")));
        }
        line("!".to_owned());
    }
    for (name, of) in &config.profiles {
        line(format!("crypto ikev2 profile {name}"));
        profile(of).into_iter().for_each(|text| line(format!(" {text}")));
        line("!".to_owned());
    }
    if let Some(of) = &config.cluster {
        line("crypto ikev2 cluster".to_owned());
        cluster(of, keys).into_iter().for_each(|text| line(format!(" {text}")));
        line("!".to_owned());
    }
    for (name, of) in &config.interfaces {
        line(format!("interface {name}"));
        interface(of, keys).into_iter().for_each(|text| line(format!(" {text}")));
        line("!".to_owned());
    }
    line("end".to_owned());
    out
}

fn key(secret: &Secret, keys: Keys) -> &str {
    if keys == Keys::Masked { HIDDEN } else { &secret.0 }
}

fn indexed_key(command: &str, index: u8, of: &IndexedKey, keys: Keys) -> String {
    let active = if of.active { " active" } else { "" };
    format!("{command} {index}{active} {}", key(&of.key, keys))
}

fn global(config: &Config, keys: Keys) -> Vec<String> {
    let mut lines = Vec::new();
    for (index, of) in &config.reconnect_keys {
        lines.push(indexed_key("crypto ikev2 reconnect key", *index, of, keys));
    }
    if config.redirect_init {
        lines.push("crypto ikev2 redirect gateway init".to_owned());
    }
    if config.redirect_auth {
        lines.push("crypto ikev2 redirect gateway auth".to_owned());
    }
    match config.redirect_client {
        Some(Config::MAX_REDIRECTS) => lines.push("crypto ikev2 redirect client".to_owned()),
        Some(most) => lines.push(format!("crypto ikev2 redirect client max-redirects {most}")),
        None => {}
    }
    lines.extend(config.dpd.map(|of| format!("crypto ikev2 {}", dpd(of))));
    if let Some(limit) = config.max_in_negotiation {
        lines.push(format!("crypto ikev2 limit max-in-negotation-sa {limit}"));
    }
    if let Some(seconds) = config.idle_time {
        lines.push(format!("crypto ipsec security-association idle-time {seconds}"));
    }
    lines
}

fn dpd(dpd: Dpd) -> String {
    let mode = if dpd.periodic { "periodic" } else { "on-demand" };
    format!("dpd {} {} {mode}", dpd.interval, dpd.retry)
}

fn peer(peer: &KeyringPeer, keys: Keys) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(peer.address.map(|prefix| match (prefix.address, prefix.length) {
        (IpAddr::V4(address), 32) => format!("address {address}"),
        (IpAddr::V4(address), _) => format!("address {address} {}", prefix.mask()),
        (IpAddr::V6(_), _) => format!("address {prefix}"),
    }));
    match (&peer.local, &peer.remote) {
        (Some(local), Some(remote)) if local == remote => {
            lines.push(format!("pre-shared-key {}", key(local, keys)));
        }
        (local, remote) => {
            lines.extend(local.iter().map(|of| format!("pre-shared-key local {}", key(of, keys))));
            lines.extend(remote.iter().map(|of| format!("pre-shared-key remote {}", key(of, keys))));
        }
    }
    lines
}

fn profile(profile: &Profile) -> Vec<String> {
    let mut lines = Vec::new();
    let method = |side: &str, method: Option<Method>| {
        method.map(|method| format!("authentication {side} {}", method.word()))
    };
    lines.extend(profile.description.iter().map(|text| format!("description {text}")));
    lines.extend(profile.matches.iter().map(|text| format!("match identity remote {text}")));
    lines.extend(method("local", profile.local));
    lines.extend(method("remote", profile.remote));
    lines.extend(profile.keyring.iter().map(|name| format!("keyring local {name}")));
    lines.extend(profile.trustpoint.iter().map(|name| format!("pki trustpoint {name}")));
    lines.extend(profile.dpd.map(dpd));
    lines.extend(profile.reconnect.map(|seconds| match seconds {
        Profile::RECONNECT => "reconnect".to_owned(),
        _ => format!("reconnect timeout {seconds}"),
    }));
    if profile.redirect_auth {
        lines.push("redirect gateway auth".to_owned());
    }
    lines
}

fn load_source(source: &LoadSource) -> String {
    let with = |word: &str, path: &Option<String>| match path {
        Some(path) => format!("{word} {path}"),
        None => word.to_owned(),
    };
    match source {
        LoadSource::Vici(socket) => with("vici", socket),
        LoadSource::Whack(program) => with("whack", program),
        LoadSource::Script(path) => format!("script {path}"),
        LoadSource::Fixed { half_open, ike, child, cpu, mem } => {
            let system = match (cpu, mem) {
                (Some(cpu), Some(mem)) => format!(" cpu {cpu} mem {mem}"),
                _ => String::new(),
            };
            format!("fixed half-open {half_open} ike {ike} child {child}{system}")
        }
    }
}

fn probe(probe: Probe) -> String {
    let default = Probe::default();
    let part = |word: &str, value: u32, default: u32| match value == default {
        true => String::new(),
        false => format!(" {word} {value}"),
    };
    format!(
        " probe{}{}{}",
        part("interval", probe.interval, default.interval),
        part("up", probe.up.into(), default.up.into()),
        part("down", probe.down.into(), default.down.into())
    )
}

fn cluster(cluster: &Cluster, keys: Keys) -> Vec<String> {
    let mut lines = Vec::new();
    let mut put = |word: &str, value: Option<u32>| lines.extend(value.map(|value| format!("{word} {value}")));
    put("holdtime", cluster.holdtime);
    put("primary overload-limit", cluster.overload_limit.map(u32::from));
    put("primary weight crypto-load", cluster.weight_crypto.map(u32::from));
    put("primary weight system-load", cluster.weight_system.map(u32::from));
    put("port", cluster.port.map(u32::from));
    put("secondary hello", cluster.hello);
    put("secondary update", cluster.update);
    put("secondary max-session", cluster.max_session);
    put("secondary priority", cluster.priority.map(u32::from));
    put("secondary load-normalization", cluster.load_normalization.map(u32::from));
    put("max-nodes", cluster.max_nodes.map(u32::from));
    put("drain pace", cluster.drain_pace);
    match cluster.keys.first_key_value() {
        Some((1, only)) if only.active && cluster.keys.len() == 1 => {
            lines.push(format!("key {}", key(&only.key, keys)))
        }
        _ => lines.extend(cluster.keys.iter().map(|(index, of)| indexed_key("key", *index, of, keys))),
    }
    lines.extend(cluster.selection.map(|selection| match selection {
        Selection::Spread => "selection spread".to_owned(),
        Selection::Strict => "selection strict".to_owned(),
    }));
    lines.extend(cluster.load_source.iter().map(|source| format!("load-source {}", load_source(source))));
    lines.extend(cluster.standby_groups.iter().map(|name| format!("standby-group {name}")));
    lines.extend(cluster.members.iter().map(|address| format!("member {address}")));
    for (address, gateway) in &cluster.static_gateways {
        let priority = match gateway.priority {
            Cluster::PRIORITY => String::new(),
            priority => format!(" priority {priority}"),
        };
        let probe = gateway.probe.map(probe).unwrap_or_default();
        lines.push(format!("static-gateway {address}{priority}{probe}"));
    }
    lines.extend(cluster.fqdn.iter().map(|name| format!("fqdn {name}")));
    lines.push(if cluster.shutdown { "shutdown" } else { "no shutdown" }.to_owned());
    lines
}

fn interface(interface: &Interface, keys: Keys) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(interface.description.iter().map(|text| format!("description {text}")));
    lines.extend(interface.encapsulation.map(|vlan| format!("encapsulation dot1Q {vlan}")));
    lines.extend(interface.ip.iter().map(|p| format!("ip address {} {}", p.address, p.mask())));
    lines.extend(
        interface.ip_secondary.iter().map(|p| format!("ip address {} {} secondary", p.address, p.mask())),
    );
    lines.extend(interface.ipv6.iter().map(|p| format!("ipv6 address {p}")));
    if interface.ra.lifetime > 0 {
        lines.push(format!("ipv6 nd ra lifetime {}", interface.ra.lifetime));
    }
    lines.extend(interface.ra.suppress.map(|suppress| match suppress {
        Suppress::Unsolicited => "ipv6 nd ra suppress".to_owned(),
        Suppress::All => "ipv6 nd ra suppress all".to_owned(),
    }));
    lines.extend(interface.standby_version.map(|version| format!("standby version {version}")));
    let delay = interface.standby_delay;
    if delay.minimum.is_some() || delay.reload.is_some() {
        lines.push(format!(
            "standby delay{}{}",
            optional(" minimum ", delay.minimum),
            optional(" reload ", delay.reload)
        ));
    }
    for (number, of) in &interface.groups {
        lines.extend(group(*number, of, keys));
    }
    if interface.shutdown {
        lines.push("shutdown".to_owned());
    }
    lines
}

fn optional(word: &str, value: Option<u16>) -> String {
    value.map_or(String::new(), |value| format!("{word}{value}"))
}

fn group(number: u16, group: &Group, keys: Keys) -> Vec<String> {
    let mut lines = Vec::new();
    match group.ip {
        Some(Some(address)) => lines.push(format!("ip {address}")),
        Some(None) => lines.push("ip".to_owned()),
        None => {}
    }
    lines.extend(group.ip_secondary.iter().map(|address| format!("ip {address} secondary")));
    if group.ipv6_autoconfig {
        lines.push("ipv6 autoconfig".to_owned());
    }
    lines.extend(group.ipv6.iter().map(|prefix| format!("ipv6 {prefix}")));
    if let Some(timers) = group.timers {
        lines.push(format!("timers {} {}", timers.hello, timers.hold));
    }
    if group.priority != Group::PRIORITY || lines.is_empty() {
        // The line that keeps a group without any other in the configuration.
        lines.push(format!("priority {}", group.priority));
    }
    if let Some(preempt) = group.preempt {
        let delays = format!(
            "{}{}{}",
            optional(" minimum ", preempt.minimum),
            optional(" reload ", preempt.reload),
            optional(" sync ", preempt.sync)
        );
        lines.push(if delays.is_empty() { "preempt".to_owned() } else { format!("preempt delay{delays}") });
    }
    match &group.authentication {
        Some(Authentication::Text(text)) => lines.push(format!("authentication text {}", key(text, keys))),
        Some(Authentication::Md5(text, timeout)) => {
            let timeout = optional(" timeout ", *timeout);
            lines.push(format!("authentication md5 key-string {}{timeout}", key(text, keys)));
        }
        Some(Authentication::KeyChain(name)) => lines.push(format!("authentication md5 key-chain {name}")),
        None => {}
    }
    lines.extend(group.lease_limit.map(|seconds| format!("lease-limit {seconds}")));
    lines.extend(group.name.iter().map(|name| format!("name {name}")));
    for (object, decrement) in &group.tracks {
        let decrement = match decrement {
            TrackEffect::Decrement(Group::DECREMENT) => String::new(),
            TrackEffect::Decrement(decrement) => format!(" decrement {decrement}"),
            TrackEffect::Shutdown => " shutdown".to_owned(),
        };
        lines.push(format!("track {object}{decrement}"));
    }
    lines.into_iter().map(|line| format!("standby {number} {line}")).collect()
}
