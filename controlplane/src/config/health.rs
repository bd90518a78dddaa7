//! The part of a configuration that can run: the virtual addresses of each group, and the lines that are missing or in
//! conflict where something stays down. A configuration that loads is always accepted; this says what it does.

use super::model::{Cluster, Config, Group, Interface, Interval, RouterAdvertisements, StandbyDelay};
use crate::hsrp::DELAY_MINIMUM;
use crate::hsrp::OWN_LEASE;
use crate::hsrp::machine::DEFAULT_TIMERS;
pub use crate::types::GroupKey;
use crate::types::{Authentication, Family, IfName, KeyChain, PortIndex, is_link_local, virtual_link_local};
use platform::snapshot::MAX_VIPS;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// One group as the node is to run it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupPlan {
    /// Which group
    pub key: GroupKey,
    /// `standby G name`, or IOS's default name
    pub name: String,
    /// HSRP version, 1 or 2
    pub version: u8,
    /// Priority, 0-255
    pub priority: u8,
    /// `preempt` is configured
    pub preempt: bool,
    /// The virtual addresses, the primary one first
    pub addresses: Vec<IpAddr>,
    /// This node's own address on the interface in the family
    pub own: Option<IpAddr>,
    /// IPv4: the interface's primary address, which hellos leave from
    pub primary: Option<IpAddr>,
    /// The virtual address is to be learned from the active router
    pub learns: bool,
    /// The group as it was configured
    pub settings: Group,
    /// `standby delay` of the interface
    pub delay: StandbyDelay,
    /// `ipv6 nd ra` of the interface
    pub ra: RouterAdvertisements,
    /// Index of the data plane's port, where a profile binds the interface
    pub port: Option<PortIndex>,
    /// The keys of its key chain, where it has one
    pub chain: Option<KeyChain>,
    /// Why the group cannot run; empty when it can
    pub down: Vec<String>,
}

/// Plan of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterPlan {
    /// The groups whose virtual addresses are the cluster's
    pub groups: Vec<GroupKey>,
    /// Why the cluster is down; empty when it is up
    pub down: Vec<String>,
    /// Those of `down` that no other line can mend: errors of the configuration
    pub errors: Vec<String>,
}

/// The whole configuration, assessed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// All groups in order
    pub groups: Vec<GroupPlan>,
    /// The cluster, where one is configured
    pub cluster: Option<ClusterPlan>,
    /// Warnings: it runs, yet perhaps not as meant
    pub warnings: Vec<String>,
}

impl Plan {
    /// The group of `key`.
    #[must_use]
    pub fn group(&self, key: &GroupKey) -> Option<&GroupPlan> {
        self.groups.iter().find(|plan| plan.key == *key)
    }

    /// The cluster's virtual addresses, in the order of its groups; not those that are link-local.
    pub fn cluster_addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.cluster
            .iter()
            .flat_map(|cluster| &cluster.groups)
            .filter_map(|key| self.group(key))
            .filter(|plan| plan.down.is_empty())
            .flat_map(|plan| plan.addresses.iter().copied())
            .filter(|address| !is_link_local(address))
    }
}

impl GroupPlan {
    /// Returns whether this group's virtual addresses are all link-local: it is no cluster's, though it may share its name.
    #[must_use]
    pub fn is_link_local(&self) -> bool {
        !self.addresses.is_empty() && self.addresses.iter().all(is_link_local)
    }
}

/// Gives the data plane's port of an interface, where the platform profile binds it.
pub type PortOf<'a> = &'a dyn Fn(&IfName) -> Option<PortIndex>;

/// Assesses a configuration. `port_of` gives the data plane's port of an interface; `None` in place of the function
/// when no profile is at hand, as in `usher check` without one.
#[must_use]
pub fn assess(config: &Config, port_of: Option<PortOf<'_>>) -> Plan {
    let mut plan = Plan::default();
    let mut taken: BTreeSet<IpAddr> = config.own_addresses().collect();
    let mut room = MAX_VIPS;
    for (name, interface) in &config.interfaces {
        let port = port_of.map(|port_of| port_of(name));
        let untagged = name.parent().is_some() && interface.encapsulation.is_none();
        if untagged {
            plan.warnings.push(format!(
                "{name} has no VLAN, and nothing under it is in force: add `encapsulation dot1Q VLAN` under it"
            ));
        }
        for (number, group) in &interface.groups {
            for family in families(interface, group) {
                let key = GroupKey { interface: name.clone(), group: *number, family };
                let mut of = group_plan(interface, group, key, &mut plan.warnings);
                of.port = port.flatten();
                if untagged {
                    of.down.push(format!("{name} has no VLAN: add `encapsulation dot1Q VLAN` under it"));
                }
                if let Some(shut) = config.shut_by(name) {
                    let with = if shut == *name { "" } else { ", and its subinterfaces with it" };
                    of.down.insert(0, format!("{shut} is shut down{with}: enter `no shutdown` under it"));
                }
                take_chain(config, &mut of);
                for address in &of.addresses {
                    if !taken.insert(*address) {
                        of.down.push(format!(
                            "{address} is an address of an interface or of another group already: give the group one of its own"
                        ));
                    }
                }
                if of.down.is_empty() {
                    match room.checked_sub(of.addresses.len()) {
                        Some(rest) if plan.groups.len() < OWN_LEASE => room = rest,
                        _ => of.down.push(format!(
                            "{OWN_LEASE} groups and {MAX_VIPS} virtual addresses is the most: take some out"
                        )),
                    }
                }
                plan.groups.push(of);
            }
        }
    }
    if let Some(cluster) = &config.cluster {
        plan.cluster = Some(cluster_plan(cluster, config, &plan.groups, &mut plan.warnings));
        feed_warnings(cluster, &mut plan);
    }
    track_warnings(config, &mut plan);
    redirect_warnings(config, &mut plan);
    plan
}

/// Gives a group the keys of its chain. One that has none stays down: what it could say, nobody would believe.
fn take_chain(config: &Config, of: &mut GroupPlan) {
    let Some(Authentication::KeyChain(name)) = &of.settings.authentication else { return };
    let chain = config.key_chains.get(name).filter(|chain| chain.values().any(|key| key.string.is_some()));
    if chain.is_none() {
        of.down.push(format!(
            "key chain {name} has no key: add `key chain {name}`, `key 1` and `key-string KEY` under it"
        ));
    }
    of.chain = chain.cloned();
}

fn track_warnings(config: &Config, plan: &mut Plan) {
    for group in &plan.groups {
        for object in group.settings.tracks.keys().filter(|object| !config.tracks.contains_key(object)) {
            plan.warnings.push(format!(
                "{}: tracked object {object} does not exist and counts as up: add `track {object} dataplane`, \
                 `track {object} ike-daemon` or `track {object} interface NAME line-protocol`",
                group.key
            ));
        }
    }
}

/// The families in which a group has to run; a group without any address counts in that of its interface.
fn families(interface: &Interface, group: &Group) -> Vec<Family> {
    let v6 = !group.ipv6.is_empty() || group.ipv6_autoconfig;
    match (group.ip.is_some(), v6) {
        (true, true) => vec![Family::V4, Family::V6],
        (false, true) => vec![Family::V6],
        (true, false) => vec![Family::V4],
        (false, false) if interface.ip.is_none() && !interface.ipv6.is_empty() => vec![Family::V6],
        (false, false) => vec![Family::V4],
    }
}

fn group_plan(interface: &Interface, group: &Group, key: GroupKey, warnings: &mut Vec<String>) -> GroupPlan {
    let GroupKey { interface: name, group: number, family } = &key;
    let addresses: Vec<IpAddr> = match family {
        Family::V4 => {
            group.ip.flatten().into_iter().chain(group.ip_secondary.clone()).map(IpAddr::V4).collect()
        }
        Family::V6 => {
            let explicit = group.ipv6.iter().any(|p| is_link_local(&p.address));
            let autoconfig = group.ipv6_autoconfig && !explicit;
            let link_local = autoconfig.then(|| virtual_link_local(*number).into());
            group.ipv6.iter().map(|p| p.address).chain(link_local).collect()
        }
    };
    let mut down = Vec::new();
    if let [_, second, ..] = addresses.iter().filter(|address| is_link_local(address)).collect::<Vec<_>>()[..]
    {
        down.push(format!(
            "group {number} has one link-local virtual address: take {second} out with `no standby {number} ipv6`"
        ));
    }
    let (word, line) = match family {
        Family::V4 => ("IPv4", "ip address ADDRESS MASK"),
        Family::V6 => ("IPv6", "ipv6 address ADDRESS/LENGTH"),
    };
    if !interface.addresses().any(|p| Family::of(p.address) == *family) {
        down.push(format!("{name} has no {word} address: add `{line}` under it"));
    }
    if interface.version() == 1 && *family == Family::V6 {
        down.push(format!("group {number} is IPv6 and version 1 has none: enter `standby version 2`"));
    }
    let learns = *family == Family::V4 && group.ip == Some(None);
    if learns {
        warnings.push(format!(
            "{name} group {number}: group {number} has no virtual address until an active router tells it: \
             add `standby {number} ip ADDRESS`"
        ));
    }
    if addresses.is_empty() && !learns {
        let missing = match family {
            Family::V4 => format!("standby {number} ip ADDRESS"),
            Family::V6 => format!("standby {number} ipv6 ADDRESS/LENGTH"),
        };
        down.push(format!("group {number} has no virtual address: add `{missing}`"));
    }
    let exact = |interval: Interval| matches!(interval, Interval::Seconds(_));
    if interface.version() == 1
        && group.timers.is_some_and(|timers| !exact(timers.hello) || !exact(timers.hold))
    {
        warnings.push(format!(
            "{name} group {number}: version 1 cannot tell others times in milliseconds: configure them alike on all \
             routers, or enter `standby version 2`"
        ));
    }
    lease_warning(interface, group, &key, warnings);
    for address in &addresses {
        if !is_link_local(address) && !interface.addresses().any(|p| p.covers(*address)) {
            warnings.push(format!(
                "{name} group {number}: {address} lies in no subnet of the interface: hosts on the link reach it only by a route"
            ));
        }
    }
    let primary = interface.ip.filter(|_| learns).map(|prefix| prefix.address);
    let own = addresses.first().copied().or(primary).and_then(|address| interface.own_address(address));
    GroupPlan {
        name: group.name(name, *number),
        version: interface.version(),
        priority: group.priority,
        preempt: group.preempt.is_some(),
        addresses,
        own,
        primary: interface.ip.filter(|_| *family == Family::V4).map(|prefix| prefix.address),
        learns,
        settings: group.clone(),
        delay: interface.standby_delay,
        ra: interface.ra,
        port: None,
        chain: None,
        down,
        key,
    }
}

/// Alone, a node whose usherd died is answered for by its data plane until the lease ends; a router that comes up meanwhile
/// knows nothing of it. Whoever has set the limit has decided.
fn lease_warning(interface: &Interface, group: &Group, key: &GroupKey, warnings: &mut Vec<String>) {
    let hold =
        group.timers.map_or(DEFAULT_TIMERS.hold.as_millis() as u64, |timers| timers.hold.millis().into());
    let delay = interface.standby_delay.minimum.unwrap_or(DELAY_MINIMUM);
    // Listen for one hold time, Speak for one.
    let newcomer = u64::from(delay) * 1000 + 2 * hold;
    let limit = u64::from(Group::LEASE_LIMIT) * 1000;
    if group.lease_limit.is_none() && newcomer < limit {
        warnings.push(format!(
            "{} group {}: while no other router is known the data plane answers for up to {} s after usherd died, but a \
             router that comes up takes over after {}.{} s and both may answer: enter `standby {} lease-limit \
             {}` (usherd must be back within it to go on as active), or `lease-limit {}` to leave it so",
            key.interface,
            key.group,
            limit / 1000,
            newcomer / 1000,
            newcomer % 1000 / 100,
            key.group,
            (newcomer / 1000).max(1),
            limit / 1000,
        ));
    }
}

/// One global virtual IPv6 address, in the subnet of the WAN interface: what the load balancer supports over IPv6.
fn ipv6_limits(plan: &ClusterPlan, groups: &[GroupPlan], config: &Config) -> Vec<String> {
    let of_cluster = groups.iter().filter(|group| plan.groups.contains(&group.key));
    let v6: Vec<&GroupPlan> = of_cluster.filter(|group| group.key.family == Family::V6).collect();
    let Some(first) = v6.first() else { return Vec::new() };
    let global: Vec<(&GroupPlan, IpAddr)> = v6
        .iter()
        .flat_map(|group| group.settings.ipv6.iter().map(|prefix| (*group, prefix.address)))
        .filter(|(_, address)| !is_link_local(address))
        .collect();
    match global[..] {
        [(group, address)] => {
            let near = config.interfaces.get(&group.key.interface);
            if near.is_some_and(|interface| interface.ipv6.iter().any(|prefix| prefix.covers(address))) {
                return Vec::new();
            }
            vec![format!(
                "{address} lies in no subnet of {}: over IPv6 the cluster's address has to be in the WAN's subnet",
                group.key.interface
            )]
        }
        // The group itself says so.
        [] if first.addresses.is_empty() => Vec::new(),
        [] => vec![format!(
            "over IPv6 the cluster needs one global virtual address: add `standby {} ipv6 ADDRESS/LENGTH`",
            first.key.group
        )],
        [_, (group, address), ..] => vec![format!(
            "over IPv6 the cluster has one global virtual address, here are {}: take {address} of {} out",
            global.len(),
            group.key
        )],
    }
}

/// Warnings of the load feed: it runs, yet perhaps not as meant.
fn feed_warnings(cluster: &Cluster, plan: &mut Plan) {
    if cluster.max_session.is_none() {
        return;
    }
    if cluster.keys.is_empty() {
        let who = if cluster.members.is_empty() {
            "any host on the link can report as a member and be sent clients (name the members with `member ADDRESS`)"
        } else {
            "whoever takes a member's address can report in its place"
        };
        plan.warnings.push(format!(
            "the load feed is unauthenticated: add `key STRING` under `crypto ikev2 cluster`, the same on all nodes; \
             until then {who}, and no node takes `shutdown`, drains or weights from another"
        ));
    }
    if cluster.keys.values().any(|key| key.key.0.chars().count() < Cluster::KEY_LENGTH) {
        plan.warnings.push(format!(
            "a cluster key of fewer than {} characters can be guessed by whoever records a connection: \
             use a random one, as `openssl rand -base64 24` makes",
            Cluster::KEY_LENGTH
        ));
    }
    if cluster.keys.len() == 2 && cluster.keys.values().all(|key| !key.active) {
        plan.warnings.push(
            "of the two cluster keys none is active, so key 1 is used: enter `key 1 active STRING`"
                .to_owned(),
        );
    }
    let slowest = cluster.hello().min(cluster.update());
    if cluster.holdtime() < 2 * slowest {
        plan.warnings.push(format!(
            "a member is dead after {} ms and speaks every {slowest} ms, so one lost message may cost it: \
             set `holdtime` to three times `secondary hello` at least",
            cluster.holdtime()
        ));
    }
}

fn cluster_plan(
    cluster: &Cluster,
    config: &Config,
    groups: &[GroupPlan],
    warnings: &mut Vec<String>,
) -> ClusterPlan {
    let mut plan = ClusterPlan::default();
    if cluster.shutdown {
        plan.down
            .push("the cluster is shut down: enter `no shutdown` under `crypto ikev2 cluster`".to_owned());
    }
    if cluster.standby_groups.is_empty() {
        plan.down.push("no HSRP group is named: add `standby-group NAME`".to_owned());
    }
    let (mut some, mut missing) = (false, Vec::new());
    for name in &cluster.standby_groups {
        let of: Vec<&GroupPlan> = groups.iter().filter(|group| group.name == *name).collect();
        if of.is_empty() {
            missing.push(format!(
                "no HSRP group is called \"{name}\": add `standby 1 name {name}` under its interface"
            ));
        } else if of.iter().all(|group| !group.down.is_empty()) {
            missing.extend(of.iter().flat_map(|group| group.down.iter().cloned()));
        } else {
            some = true;
        }
        plan.groups.extend(of.into_iter().map(|group| group.key.clone()));
    }
    // One group that cannot run takes no other with it.
    if some {
        warnings
            .extend(missing.into_iter().map(|reason| format!("a group of the cluster is down: {reason}")));
    } else {
        plan.down.extend(missing);
    }
    plan.errors = ipv6_limits(&plan, groups, config);
    plan.down.extend(plan.errors.iter().cloned());
    // Gateways that report no load need no limit of their own; a member that reports its load does.
    if cluster.max_session.is_none() && cluster.static_gateways.is_empty() {
        plan.down.push(
            "max-session is mandatory for a member that reports its load: add `secondary max-session N`, \
             or name gateways that report none with `static-gateway ADDRESS`"
                .to_owned(),
        );
    }
    plan
}

fn redirect_warnings(config: &Config, plan: &mut Plan) {
    let redirects = config.redirect_init || config.redirect_auth;
    match &config.cluster {
        None if redirects => plan.warnings.push(
            "the load balancer is not enabled: redirects need `crypto ikev2 cluster` with `no shutdown`"
                .to_owned(),
        ),
        Some(_) if !config.redirect_init => plan
            .warnings
            .push("no request is redirected: add `crypto ikev2 redirect gateway init`".to_owned()),
        _ => {}
    }
    let Some(cluster) = &config.cluster else { return };
    let virtual_addresses: BTreeSet<IpAddr> = plan.groups.iter().flat_map(|g| g.addresses.clone()).collect();
    for address in cluster.static_gateways.keys().filter(|address| virtual_addresses.contains(address)) {
        plan.warnings.push(format!(
            "static-gateway {address} is a virtual address, which no client is sent to: name the gateway's own address"
        ));
    }
    for address in plan.cluster_addresses().collect::<Vec<_>>() {
        let reports = cluster.max_session.is_some();
        if !reports && !cluster.static_gateways.keys().any(|gateway| gateway.is_ipv4() == address.is_ipv4()) {
            plan.warnings.push(format!(
                "no gateway has an address of {address}'s family: requests to it go to the local IKE daemon; \
                 add `static-gateway ADDRESS`"
            ));
        }
    }
}
