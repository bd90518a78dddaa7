//! The configuration as types. Every default is the one that `show running-config` leaves out.

use crate::hsrp::machine::TrackEffect;
use crate::types::IfName;
use crate::types::{Authentication, KeyChain, Prefix, Secret};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

/// A whole configuration. Two equal values render to the same text and behave the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// `hostname NAME`
    pub hostname: Option<String>,
    /// `track OBJECT ...`
    pub tracks: BTreeMap<u16, Tracked>,
    /// `key chain NAME` with its submode
    pub key_chains: BTreeMap<String, KeyChain>,
    /// `interface NAME` with its submode
    pub interfaces: BTreeMap<IfName, Interface>,
    /// `crypto ikev2 cluster` with its submode
    pub cluster: Option<Cluster>,
    /// `crypto ikev2 redirect gateway init`
    pub redirect_init: bool,
    /// `crypto ikev2 redirect gateway auth`
    pub redirect_auth: bool,
    /// `crypto ikev2 redirect client [max-redirects 1-255]`
    pub redirect_client: Option<u8>,
    /// `crypto ikev2 reconnect key {1|2} ...`
    pub reconnect_keys: BTreeMap<u8, IndexedKey>,
    /// `crypto ikev2 dpd INTERVAL RETRY MODE`
    pub dpd: Option<Dpd>,
    /// `crypto ikev2 limit max-in-negotation-sa 1-9999`
    pub max_in_negotiation: Option<u16>,
    /// `crypto ipsec security-association idle-time 60-86400`, seconds
    pub idle_time: Option<u32>,
    /// `enable secret HASH`, a hash of SHA-crypt: `$5$...` or `$6$...`
    pub enable_secret: Option<Secret>,
    /// `crypto ikev2 keyring NAME` with its submode
    pub keyrings: BTreeMap<String, Keyring>,
    /// `crypto ikev2 profile NAME` with its submode
    pub profiles: BTreeMap<String, Profile>,
}

impl Config {
    /// The redirects that a client follows when `max-redirects` is not given.
    pub const MAX_REDIRECTS: u8 = 5;

    /// The interface that keeps this one down by its `shutdown`: itself, or the one that it is a subinterface of.
    #[must_use]
    pub fn shut_by(&self, name: &IfName) -> Option<IfName> {
        let shut = |name: &IfName| self.interfaces.get(name).is_some_and(|interface| interface.shutdown);
        [Some(name.clone()), name.parent()].into_iter().flatten().find(shut)
    }

    /// Every address that the interfaces carry themselves, virtual ones not among them.
    pub fn own_addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.interfaces.values().flat_map(Interface::addresses).map(|prefix| prefix.address)
    }
}

/// Object of `track OBJECT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tracked {
    /// `interface NAME line-protocol`: the kernel's side of the interface is up and somebody carries its frames
    LineProtocol(IfName),
    /// `interface NAME link`: the data plane's port has link
    Link(IfName),
    /// `dataplane`: a data plane is attached and its threads run
    Dataplane,
    /// `ike-daemon`: the local IKE daemon answers on its VICI socket
    IkeDaemon,
}

/// One interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// `description TEXT`
    pub description: Option<String>,
    /// `encapsulation dot1Q VLAN` of a subinterface, 1-4094
    pub encapsulation: Option<u16>,
    /// `shutdown`
    pub shutdown: bool,
    /// `ip address A MASK`
    pub ip: Option<Prefix>,
    /// `ip address A MASK secondary`
    pub ip_secondary: Vec<Prefix>,
    /// `ipv6 address A/LEN`
    pub ipv6: Vec<Prefix>,
    /// `ipv6 nd ra ...`
    pub ra: RouterAdvertisements,
    /// `standby version {1|2}`; `None` is the default, 1
    pub standby_version: Option<u8>,
    /// `standby delay [minimum S] [reload S]`
    pub standby_delay: StandbyDelay,
    /// `standby GROUP ...`
    pub groups: BTreeMap<u16, Group>,
}

impl Interface {
    /// All addresses, the primary IPv4 one first.
    pub fn addresses(&self) -> impl Iterator<Item = Prefix> {
        self.ip.iter().chain(&self.ip_secondary).chain(&self.ipv6).copied()
    }

    /// The HSRP version in force, 1 or 2.
    #[must_use]
    pub fn version(&self) -> u8 {
        self.standby_version.unwrap_or(1)
    }

    /// The interface's own address in the family of `address`: the one in its subnet, else the first.
    #[must_use]
    pub fn own_address(&self, address: IpAddr) -> Option<IpAddr> {
        let family = || self.addresses().filter(|p| p.address.is_ipv4() == address.is_ipv4());
        family().find(|p| p.covers(address)).or_else(|| family().next()).map(|p| p.address)
    }
}

/// `ipv6 nd ra ...`: router advertisements of the virtual link-local addresses while this node is active.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouterAdvertisements {
    /// `lifetime SECONDS`: how long hosts keep the virtual address as a default router. 0, the default: not at all, for
    /// the address of a load balancer is no router
    pub lifetime: u16,
    /// `suppress [all]`
    pub suppress: Option<Suppress>,
}

/// Router advertisements that are not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suppress {
    /// `suppress`: those that no host asked for
    Unsolicited,
    /// `suppress all`
    All,
}

/// `standby delay`, seconds, 0-10000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StandbyDelay {
    /// `minimum`
    pub minimum: Option<u16>,
    /// `reload`
    pub reload: Option<u16>,
}

/// One HSRP group of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// `standby G ip [ADDR]`: `Some(None)` learns the address from the active router
    pub ip: Option<Option<Ipv4Addr>>,
    /// `standby G ip ADDR secondary`
    pub ip_secondary: Vec<Ipv4Addr>,
    /// `standby G ipv6 ADDR/LEN`
    pub ipv6: Vec<Prefix>,
    /// `standby G ipv6 autoconfig`
    pub ipv6_autoconfig: bool,
    /// 0-255
    pub priority: u8,
    /// `standby G preempt [delay ...]`
    pub preempt: Option<Preempt>,
    /// `standby G timers ...`
    pub timers: Option<Timers>,
    /// `standby G authentication ...`
    pub authentication: Option<Authentication>,
    /// `standby G lease-limit SECONDS`, 1-255: requests are answered for so long after usherd's last sign of life
    /// while no other router is known, and for three hello times at least
    pub lease_limit: Option<u8>,
    /// `standby G name NAME`
    pub name: Option<String>,
    /// `standby G track OBJECT [decrement N|shutdown]`
    pub tracks: BTreeMap<u16, TrackEffect>,
}

impl Default for Group {
    fn default() -> Group {
        Group {
            ip: None,
            ip_secondary: Vec::new(),
            ipv6: Vec::new(),
            ipv6_autoconfig: false,
            priority: Group::PRIORITY,
            preempt: None,
            timers: None,
            authentication: None,
            lease_limit: None,
            name: None,
            tracks: BTreeMap::new(),
        }
    }
}

impl Group {
    /// The lease limit when `lease-limit` is not given, in seconds.
    pub const LEASE_LIMIT: u8 = 10;
    /// The priority of a group that sets none.
    pub const PRIORITY: u8 = 100;
    /// Decrement of a tracked object when `decrement` is not given.
    pub const DECREMENT: u8 = 10;

    /// The group's name: the configured one, else IOS's default `hsrp-<if>-<group>`.
    #[must_use]
    pub fn name(&self, interface: &IfName, group: u16) -> String {
        self.name.clone().unwrap_or_else(|| format!("hsrp-{}-{group}", interface.short()))
    }
}

/// `preempt [delay [minimum S] [reload S] [sync S]]`, seconds, 0-3600.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Preempt {
    /// `minimum`
    pub minimum: Option<u16>,
    /// `reload`
    pub reload: Option<u16>,
    /// `sync`
    pub sync: Option<u16>,
}

/// A time as it was written: IOS keeps the unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interval {
    /// Seconds
    Seconds(u16),
    /// Milliseconds, written `msec N`
    Millis(u16),
}

impl Interval {
    /// The time in milliseconds.
    #[must_use]
    pub fn millis(self) -> u32 {
        match self {
            Interval::Seconds(s) => u32::from(s) * 1000,
            Interval::Millis(ms) => u32::from(ms),
        }
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Interval::Seconds(s) => write!(f, "{s}"),
            Interval::Millis(ms) => write!(f, "msec {ms}"),
        }
    }
}

/// `timers [msec] HELLO [msec] HOLD`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// Time between hellos
    pub hello: Interval,
    /// Time without a hello after which the sender is gone
    pub hold: Interval,
}

/// One of two keys with an index, as of `crypto ikev2 reconnect key` and of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexedKey {
    /// 1-128 characters
    pub key: Secret,
    /// The key in use; the other one is only accepted
    pub active: bool,
}

/// `crypto ikev2 dpd INTERVAL RETRY {on-demand|periodic}`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dpd {
    /// Seconds, 10-3600
    pub interval: u16,
    /// Seconds, 2-60
    pub retry: u8,
    /// `periodic` instead of `on-demand`
    pub periodic: bool,
}

/// `crypto ikev2 keyring NAME`: the peers by their names.
pub type Keyring = BTreeMap<String, KeyringPeer>;

/// `peer NAME` of a keyring.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyringPeer {
    /// `address A.B.C.D [MASK]`, `address X:X::X/LEN`
    pub address: Option<Prefix>,
    /// `pre-shared-key local KEY`
    pub local: Option<Secret>,
    /// `pre-shared-key remote KEY`
    pub remote: Option<Secret>,
}

/// Authentication method of a side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// `pre-share`
    PreShare,
    /// `rsa-sig`
    RsaSig,
    /// `ecdsa-sig`
    EcdsaSig,
    /// `eap`
    Eap,
    /// `anyconnect-eap`
    AnyconnectEap,
}

impl Method {
    /// As the configuration writes it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Method::PreShare => "pre-share",
            Method::RsaSig => "rsa-sig",
            Method::EcdsaSig => "ecdsa-sig",
            Method::Eap => "eap",
            Method::AnyconnectEap => "anyconnect-eap",
        }
    }
}

/// `crypto ikev2 profile NAME`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// `description TEXT`
    pub description: Option<String>,
    /// `match identity remote ...`, as written
    pub matches: Vec<String>,
    /// `authentication local METHOD`
    pub local: Option<Method>,
    /// `authentication remote METHOD`
    pub remote: Option<Method>,
    /// `keyring local NAME`
    pub keyring: Option<String>,
    /// `pki trustpoint NAME`
    pub trustpoint: Option<String>,
    /// `dpd INTERVAL RETRY {on-demand|periodic}`
    pub dpd: Option<Dpd>,
    /// `reconnect [timeout S]`, 600-86400 s
    pub reconnect: Option<u32>,
    /// `redirect gateway auth`
    pub redirect_auth: bool,
}

impl Profile {
    /// Seconds that a session may be taken up again when `timeout` is not given.
    pub const RECONNECT: u32 = 1800;
}

/// Share-out of the redirects by the primary among the least loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Selection {
    /// All of the least-loaded set, in proportion to their headroom
    #[default]
    Spread,
    /// The least loaded gateway alone
    Strict,
}

/// `load-source ...`: where this node's own load comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadSource {
    /// `vici [SOCKET]`: strongSwan; `None` is its usual socket
    Vici(Option<String>),
    /// `whack [PROGRAM]`: libreswan; `None` is the distribution's program
    Whack(Option<String>),
    /// `script PATH`
    Script(String),
    /// `fixed half-open N ike N child N [cpu N mem N]`
    Fixed {
        /// IKE SAs in negotiation, 0-100000
        half_open: u32,
        /// IKE SAs, 0-100000
        ike: u32,
        /// IPsec SAs, 0-100000
        child: u32,
        /// Busy processors, percent; `None`: as the system says
        cpu: Option<u8>,
        /// Used memory, percent; `None`: as the system says
        mem: Option<u8>,
    },
}

impl LoadSource {
    /// strongSwan's control socket where none is given.
    pub const VICI: &str = "/run/charon.vici";
}

/// `static-gateway ADDRESS [priority N] [probe ...]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaticGateway {
    /// 1-100
    pub priority: u8,
    /// Health probe
    pub probe: Option<Probe>,
}

impl Default for StaticGateway {
    fn default() -> StaticGateway {
        StaticGateway { priority: Cluster::PRIORITY, probe: None }
    }
}

/// `probe [interval MS] [up N] [down N]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Milliseconds between probes, 100-60000
    pub interval: u32,
    /// Answers in a row after which the gateway is up, 1-10
    pub up: u8,
    /// Probes without an answer after which it is down, 1-10
    pub down: u8,
}

impl Default for Probe {
    fn default() -> Probe {
        Probe { interval: 1000, up: 2, down: 3 }
    }
}

/// `crypto ikev2 cluster`. `None` is the default that the accessor of the same name gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// `holdtime MS`, 100-120000
    pub holdtime: Option<u32>,
    /// `primary overload-limit PCT`, 50-99
    pub overload_limit: Option<u8>,
    /// `primary weight crypto-load N`, 0-100
    pub weight_crypto: Option<u8>,
    /// `primary weight system-load N`, 0-100
    pub weight_system: Option<u8>,
    /// `port N`, the load feed's TCP port
    pub port: Option<u16>,
    /// `secondary hello MS`, 100-30000
    pub hello: Option<u32>,
    /// `secondary update MS`, 100-60000
    pub update: Option<u32>,
    /// `secondary max-session N`, 1-100000
    pub max_session: Option<u32>,
    /// `secondary priority N`, 1-100
    pub priority: Option<u8>,
    /// `secondary load-normalization N`, 1-100
    pub load_normalization: Option<u8>,
    /// `standby-group NAME`, repeated for several groups
    pub standby_groups: Vec<String>,
    /// `fqdn NAME`
    pub fqdn: Option<String>,
    /// `static-gateway ADDRESS ...`
    pub static_gateways: BTreeMap<IpAddr, StaticGateway>,
    /// `member ADDRESS`: the only addresses that members may report from; empty: any on the link
    pub members: BTreeSet<IpAddr>,
    /// `key [1|2 [active]] STRING`: authenticates and encrypts the load feed. A key without an index is key 1
    pub keys: BTreeMap<u8, IndexedKey>,
    /// `max-nodes N`, 2-64
    pub max_nodes: Option<u8>,
    /// `selection {spread|strict}`
    pub selection: Option<Selection>,
    /// `load-source ...`
    pub load_source: Option<LoadSource>,
    /// `drain pace N`, sessions a minute, 1-60000
    pub drain_pace: Option<u32>,
    /// A new cluster is shut down until `no shutdown`
    pub shutdown: bool,
}

impl Default for Cluster {
    fn default() -> Cluster {
        Cluster {
            holdtime: None,
            overload_limit: None,
            weight_crypto: None,
            weight_system: None,
            port: None,
            hello: None,
            update: None,
            max_session: None,
            priority: None,
            load_normalization: None,
            standby_groups: Vec::new(),
            fqdn: None,
            static_gateways: BTreeMap::new(),
            members: BTreeSet::new(),
            keys: BTreeMap::new(),
            max_nodes: None,
            selection: None,
            load_source: None,
            drain_pace: None,
            shutdown: true,
        }
    }
}

impl Cluster {
    /// A shorter key is warned of: the feed's key is a hash of the string, without a slow derivation.
    pub const KEY_LENGTH: usize = 16;

    /// The keys that the load feed accepts; the first one is in use. Of two of which none is marked active, key 1 is.
    #[must_use]
    pub fn accepted_keys(&self) -> Vec<&Secret> {
        let mut keys: Vec<&IndexedKey> = self.keys.values().collect();
        keys.sort_by_key(|key| !key.active);
        keys.into_iter().map(|key| &key.key).collect()
    }

    /// The priority of a gateway that sets none.
    pub const PRIORITY: u8 = 100;

    /// Milliseconds without a message after which a member is dead.
    #[must_use]
    pub fn holdtime(&self) -> u32 {
        self.holdtime.unwrap_or(3000)
    }

    /// Percent of load from which a member is overloaded.
    #[must_use]
    pub fn overload_limit(&self) -> u8 {
        self.overload_limit.unwrap_or(99)
    }

    /// Weight of In-neg and Crypto, 0-100.
    #[must_use]
    pub fn weight_crypto(&self) -> u8 {
        self.weight_crypto.unwrap_or(100)
    }

    /// Weight of CPU and Mem, 0-100.
    #[must_use]
    pub fn weight_system(&self) -> u8 {
        self.weight_system.unwrap_or(100)
    }

    /// The load feed's TCP port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(2012)
    }

    /// Milliseconds between a secondary's hellos.
    #[must_use]
    pub fn hello(&self) -> u32 {
        self.hello.unwrap_or(1000)
    }

    /// Milliseconds between a secondary's updates.
    #[must_use]
    pub fn update(&self) -> u32 {
        self.update.unwrap_or(3000)
    }

    /// This node's priority, 1-100.
    #[must_use]
    pub fn priority(&self) -> u8 {
        self.priority.unwrap_or(Cluster::PRIORITY)
    }

    /// Percentage points within which loads count as least.
    #[must_use]
    pub fn load_normalization(&self) -> u8 {
        self.load_normalization.unwrap_or(5)
    }

    /// Nodes of the cluster, this one among them.
    #[must_use]
    pub fn max_nodes(&self) -> usize {
        usize::from(self.max_nodes.unwrap_or(10))
    }

    /// Share-out of the redirects.
    #[must_use]
    pub fn selection(&self) -> Selection {
        self.selection.unwrap_or_default()
    }

    /// Source of this node's load: strongSwan where nothing is said.
    #[must_use]
    pub fn load_source(&self) -> LoadSource {
        self.load_source.clone().unwrap_or(LoadSource::Vici(None))
    }

    /// Sessions that a drain moves away in a minute.
    #[must_use]
    pub fn drain_pace(&self) -> u32 {
        self.drain_pace.unwrap_or(600)
    }
}
