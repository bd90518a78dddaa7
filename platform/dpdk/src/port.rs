//! An Ethernet port: configuration by what its driver can do, MAC filters, link and statistics.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::ffi::{CStr, CString, c_char};
use std::fmt;
use std::marker::PhantomData;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dpdk_sys as sys;

use crate::bond::{Bond, BondMode, Member, MemberState};
use crate::eal::Eal;
use crate::error::{PortError, reason};
use crate::log;
use crate::mempool::{HEADROOM, Mempool};
use crate::queue::{RxQueue, TxQueue};

/// Ethernet header and two VLAN tags: what a frame has beside its MTU.
const L2_MAX: usize = 14 + 2 * 4;
/// What the kernel reserves in front of a frame in an AF_XDP buffer (XDP_PACKET_HEADROOM), on top of the mbuf's headroom.
const XDP_HEADROOM: usize = 256;
/// Room for a driver's words about a flow rule.
pub(crate) const WHY: usize = 256;
const ENOTSUP: i32 = -95;
const EADDRINUSE: i32 = -98;

/// The number of a port. It says nothing about whether the port still exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId(pub(crate) u16);

impl PortId {
    /// The number, as DPDK counts.
    pub fn index(self) -> u16 {
        self.0
    }
}

impl fmt::Display for PortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What is wanted of a port. Offloads and RSS are wishes: [`Port::capabilities`] says what came of them.
#[derive(Clone, Debug)]
pub struct PortConfig {
    /// Receive queues, at least 1.
    pub rx_queues: u16,
    /// Transmit queues, at least 1.
    pub tx_queues: u16,
    /// Descriptors of each receive queue; the driver's limits adjust it.
    pub rx_desc: u16,
    /// Descriptors of each transmit queue; the driver's limits adjust it.
    pub tx_desc: u16,
    /// Bytes of the largest IP packet.
    pub mtu: u16,
    /// Spread over the receive queues: whole datagrams by addresses and ports, fragments by addresses.
    pub rss: bool,
    /// Have IPv4 and UDP checksums checked. Not for an exception device: the kernel would stop computing them.
    pub rx_checksum: bool,
    /// Have IPv4 and UDP checksums computed on request.
    pub tx_checksum: bool,
    /// Receive all frames from the start.
    pub promiscuous: bool,
    /// Receive what flow rules say and nothing else: the kernel keeps the rest (mlx5).
    pub isolated: bool,
}

impl Default for PortConfig {
    fn default() -> Self {
        PortConfig {
            rx_queues: 1,
            tx_queues: 1,
            rx_desc: 1024,
            tx_desc: 1024,
            mtu: 1500,
            rss: true,
            rx_checksum: true,
            tx_checksum: true,
            promiscuous: false,
            isolated: false,
        }
    }
}

/// What a configured port does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// IPv4 header checksums of received frames are checked.
    pub rx_ip_cksum: bool,
    /// UDP checksums of received frames are checked.
    pub rx_udp_cksum: bool,
    /// IPv4 header checksums are computed on request.
    pub tx_ip_cksum: bool,
    /// UDP checksums are computed on request.
    pub tx_udp_cksum: bool,
    /// Received frames are spread over the queues by the device.
    pub rss: bool,
    /// Frames longer than a buffer arrive in several segments.
    pub scatter: bool,
    /// Receive queues of the device.
    pub max_rx_queues: u16,
    /// Transmit queues of the device.
    pub max_tx_queues: u16,
    /// MAC addresses the device filters by.
    pub max_mac_addrs: u32,
    /// Descriptors of each receive queue, as adjusted.
    pub rx_desc: u16,
    /// Descriptors of each transmit queue, as adjusted.
    pub tx_desc: u16,
}

/// The state of the link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Frames can pass.
    pub up: bool,
    /// Megabits a second; 0 when unknown.
    pub speed_mbps: u32,
}

impl Link {
    pub(crate) fn of(link: &sys::rte_eth_link) -> Link {
        let speed_mbps = if link.link_speed == u32::MAX { 0 } else { link.link_speed };
        Link { up: link.link_status() != 0, speed_mbps }
    }
}

/// How frames for an address get through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MacFilter {
    /// The device filters by this address.
    Exact,
    /// The device cannot, so it receives everything: `promisc (forced)`.
    PromiscForced,
    /// The device has no filter at all and always receives everything.
    Unfiltered,
}

/// The device's own counters since start or reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // the names are the field's own (rte_eth_stats)
pub struct PortStats {
    pub ipackets: u64,
    pub opackets: u64,
    pub ibytes: u64,
    pub obytes: u64,
    pub imissed: u64,
    pub ierrors: u64,
    pub oerrors: u64,
    pub rx_nombuf: u64,
}

impl std::ops::Add for PortStats {
    type Output = PortStats;

    fn add(self, more: PortStats) -> PortStats {
        PortStats {
            ipackets: self.ipackets + more.ipackets,
            opackets: self.opackets + more.opackets,
            ibytes: self.ibytes + more.ibytes,
            obytes: self.obytes + more.obytes,
            imissed: self.imissed + more.imissed,
            ierrors: self.ierrors + more.ierrors,
            oerrors: self.oerrors + more.oerrors,
            rx_nombuf: self.rx_nombuf + more.rx_nombuf,
        }
    }
}

/// A port that is open; the last holder (port or queue) closes it.
pub(crate) struct Open {
    pub(crate) id: PortId,
    /// Bytes of the longest frame that may be sent.
    pub(crate) max_frame: usize,
    /// Segments that a sent frame may have.
    pub(crate) max_segments: u16,
    name: String,
    started: AtomicBool,
    unplug: AtomicBool,
    /// What it is made of; its members close after it.
    pub(crate) bond: Option<Bond>,
    /// Its buffers: the port's rings hold mbufs of it.
    pool: Mempool,
}

impl Open {
    fn eal(&self) -> &Eal {
        self.pool.eal()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let id = self.id.0;
        {
            let _one_at_a_time = self.eal().control();
            // SAFETY: the port was taken by this value; no queue is left that polls it.
            unsafe {
                if self.started.load(Ordering::Relaxed) {
                    sys::rte_eth_dev_stop(id);
                }
                sys::rte_eth_dev_close(id);
            }
            if self.unplug.load(Ordering::Relaxed)
                && let Ok(name) = CString::new(self.name.as_str())
            {
                // SAFETY: EAL runs, both strings are NUL-terminated, the port is closed.
                let rc = unsafe { sys::rte_eal_hotplug_remove(c"vdev".as_ptr(), name.as_ptr()) };
                if rc != 0 {
                    tracing::warn!(target: "dpdk", "device {} was not removed: {}", self.name, reason(rc));
                }
            }
        }
        self.eal().release_port(self.id);
    }
}

/// A configured and started port: its control side. Send, not Sync: one thread controls a port.
pub struct Port {
    open: Arc<Open>,
    driver: String,
    capabilities: Capabilities,
    promiscuous: bool,
    /// Why the port is promiscuous without having been asked: addresses the device did not take.
    forced: BTreeSet<[u8; 6]>,
    multicast_forced: bool,
    one_thread: PhantomData<Cell<()>>,
}

impl Port {
    /// Configures and starts a port with buffers from `pool`. Offloads and RSS that the driver lacks are left out.
    /// The queues come in the order of their numbers.
    ///
    /// # Errors
    /// No such port, taken already, more queues or a larger MTU than it can bear, or a refusal of the driver.
    pub fn configure(
        eal: &Eal,
        id: PortId,
        config: &PortConfig,
        pool: &Mempool,
    ) -> Result<(Port, Vec<RxQueue>, Vec<TxQueue>), PortError> {
        Port::open(eal, id, config, pool, None)
    }

    pub(crate) fn open(
        eal: &Eal,
        id: PortId,
        config: &PortConfig,
        pool: &Mempool,
        bond: Option<Bond>,
    ) -> Result<(Port, Vec<RxQueue>, Vec<TxQueue>), PortError> {
        let info = device_info(id).ok_or_else(|| PortError::Missing { port: id.to_string() })?;
        let name = device_name(id);
        // SAFETY: the driver name is a static string of the driver, or null.
        let driver = unsafe { text(info.driver_name) };
        for (kind, wanted, max) in
            [("rx", config.rx_queues, info.max_rx_queues), ("tx", config.tx_queues, info.max_tx_queues)]
        {
            if wanted == 0 || wanted > max {
                return Err(PortError::Queues { port: name, driver, kind, wanted, max });
            }
        }

        // What the drivers of the devices want counts, not what the bond's does.
        let devices = match &bond {
            None => vec![info],
            Some(bond) => bond.members.iter().filter_map(|member| device_info(*member)).collect(),
        };
        // SAFETY: the driver name is a static string of the driver, or null.
        let of_family =
            |family: &str| devices.iter().any(|info| unsafe { text(info.driver_name) }.starts_with(family));
        let segments = devices.iter().map(|info| info.tx_desc_lim.nb_mtu_seg_max).min().unwrap_or_default();
        let frame = usize::from(config.mtu) + L2_MAX;
        let reserved = usize::from(HEADROOM) + if of_family("net_af_xdp") { XDP_HEADROOM } else { 0 };
        let room = usize::from(pool.data_room()).saturating_sub(reserved);
        let can_chain = info.rx_offload_capa & sys::SHIM_ETH_RX_OFFLOAD_SCATTER != 0
            && info.tx_offload_capa & sys::SHIM_ETH_TX_OFFLOAD_MULTI_SEGS != 0;
        let scatter = frame > room && can_chain;
        let max_mtu =
            if can_chain { info.max_mtu } else { info.max_mtu.min(room.saturating_sub(L2_MAX) as u16) };
        if config.mtu < info.min_mtu || config.mtu > max_mtu {
            return Err(PortError::Mtu {
                port: name,
                driver,
                mtu: config.mtu,
                min: info.min_mtu,
                max: max_mtu,
            });
        }

        if !eal.take_port(id) {
            return Err(PortError::InUse { port: name });
        }
        let open = Arc::new(Open {
            id,
            max_frame: frame,
            max_segments: if scatter { segments.max(1) } else { 1 },
            name,
            started: AtomicBool::new(false),
            unplug: AtomicBool::new(false),
            bond: bond.map(Bond::opened),
            pool: pool.clone(),
        });

        let mut conf = sys::rte_eth_conf::default();
        conf.rxmode.mtu = config.mtu.into();
        let mut rx_wanted = if scatter { sys::SHIM_ETH_RX_OFFLOAD_SCATTER } else { 0 };
        let mut tx_wanted = if scatter { sys::SHIM_ETH_TX_OFFLOAD_MULTI_SEGS } else { 0 };
        // A peer of virtio leaves checksums undone once this is negotiated: what then passes on would carry wrong ones.
        let checksums = !["net_virtio", "net_vhost"].iter().any(|family| of_family(family));
        if config.rx_checksum && checksums {
            rx_wanted |= sys::SHIM_ETH_RX_OFFLOAD_IPV4_CKSUM | sys::SHIM_ETH_RX_OFFLOAD_UDP_CKSUM;
        }
        if config.tx_checksum && checksums {
            tx_wanted |= sys::SHIM_ETH_TX_OFFLOAD_IPV4_CKSUM | sys::SHIM_ETH_TX_OFFLOAD_UDP_CKSUM;
        }
        conf.rxmode.offloads = rx_wanted & info.rx_offload_capa;
        conf.txmode.offloads = tx_wanted & info.tx_offload_capa;
        let hash = RSS & info.flow_type_rss_offloads;
        let rss = config.rss && config.rx_queues > 1 && hash != 0;
        conf.rxmode.mq_mode = if rss { sys::SHIM_ETH_MQ_RX_RSS } else { sys::SHIM_ETH_MQ_RX_NONE };
        conf.rx_adv_conf.rss_conf.rss_hf = if rss { hash } else { 0 };

        let mut port = Port {
            capabilities: Capabilities {
                rx_ip_cksum: conf.rxmode.offloads & sys::SHIM_ETH_RX_OFFLOAD_IPV4_CKSUM != 0,
                rx_udp_cksum: conf.rxmode.offloads & sys::SHIM_ETH_RX_OFFLOAD_UDP_CKSUM != 0,
                tx_ip_cksum: conf.txmode.offloads & sys::SHIM_ETH_TX_OFFLOAD_IPV4_CKSUM != 0,
                tx_udp_cksum: conf.txmode.offloads & sys::SHIM_ETH_TX_OFFLOAD_UDP_CKSUM != 0,
                rss,
                scatter,
                max_rx_queues: info.max_rx_queues,
                max_tx_queues: info.max_tx_queues,
                max_mac_addrs: info.max_mac_addrs,
                rx_desc: config.rx_desc,
                tx_desc: config.tx_desc,
            },
            open,
            driver,
            promiscuous: false,
            forced: BTreeSet::new(),
            multicast_forced: false,
            one_thread: PhantomData,
        };
        port.start(config, &conf, &info)?;
        if config.promiscuous {
            port.set_promiscuous(true)?;
        }
        if port.is_lacp() {
            port.let_members_in()?;
        }
        let rx = (0..config.rx_queues).map(|queue| RxQueue::new(port.open.clone(), queue)).collect();
        let tx = (0..config.tx_queues).map(|queue| TxQueue::new(port.open.clone(), queue)).collect();
        Ok((port, rx, tx))
    }

    fn start(
        &mut self,
        config: &PortConfig,
        conf: &sys::rte_eth_conf,
        info: &sys::rte_eth_dev_info,
    ) -> Result<(), PortError> {
        const CHECK: &str =
            "see what the driver said; check the device, its queues, descriptors and mtu in the profile";
        let id = self.open.id.0;
        let eal = self.open.eal().clone();
        let _one_at_a_time = eal.control();
        if config.isolated {
            let mut why = [0 as c_char; WHY];
            // SAFETY: the port exists and is not configured; `why` has room for WHY bytes.
            let rc = unsafe { sys::shim_flow_isolate(id, why.as_mut_ptr(), WHY) };
            if rc != 0 {
                return Err(PortError::Refused {
                    port: self.name().to_owned(),
                    operation: "isolating it from the kernel's traffic",
                    reason: reason(rc),
                    // SAFETY: the shim ended it with a NUL.
                    said: format!(": {}", unsafe { text(why.as_ptr()) }),
                    remedy: "set attach = \"owned\", or use AF_XDP over its interface",
                });
            }
        }
        self.call("configuring it", CHECK, || {
            // SAFETY: the port exists and was taken by this value; `conf` lives through the call.
            unsafe { sys::rte_eth_dev_configure(id, config.rx_queues, config.tx_queues, conf) }
        })?;
        let (mut rx_desc, mut tx_desc) = (config.rx_desc, config.tx_desc);
        self.call("adjusting its descriptors", CHECK, || {
            // SAFETY: the port is configured; both numbers are writable.
            unsafe { sys::rte_eth_dev_adjust_nb_rx_tx_desc(id, &mut rx_desc, &mut tx_desc) }
        })?;
        (self.capabilities.rx_desc, self.capabilities.tx_desc) = (rx_desc, tx_desc);
        // SAFETY: the port exists. A negative answer means any node.
        let socket = unsafe { sys::rte_eth_dev_socket_id(id) } as u32;
        for queue in 0..config.rx_queues {
            let mut rx = info.default_rxconf;
            rx.offloads = conf.rxmode.offloads;
            let pool = self.open.pool.as_ptr();
            self.call("setting up a receive queue", CHECK, || {
                // SAFETY: the port is configured with more than `queue` queues and stopped; the pool outlives it.
                unsafe { sys::rte_eth_rx_queue_setup(id, queue, rx_desc, socket, &rx, pool) }
            })?;
        }
        for queue in 0..config.tx_queues {
            let mut tx = info.default_txconf;
            tx.offloads = conf.txmode.offloads;
            self.call("setting up a transmit queue", CHECK, || {
                // SAFETY: the port is configured with more than `queue` queues and stopped.
                unsafe { sys::rte_eth_tx_queue_setup(id, queue, tx_desc, socket, &tx) }
            })?;
        }
        // Drivers over a kernel device pass this on to it; the others have noted the MTU while configuring.
        // A bond passes it on itself: its members are configured when it starts.
        let rc = if self.open.bond.is_some() {
            0
        } else {
            // SAFETY: the port is configured and stopped.
            unsafe { sys::rte_eth_dev_set_mtu(id, config.mtu) }
        };
        if rc != 0 && rc != ENOTSUP {
            tracing::warn!(target: "dpdk", "port {}: mtu {} was not set: {}", self.name(), config.mtu, reason(rc));
        }
        self.call("starting it", CHECK, || {
            // SAFETY: all queues are set up.
            unsafe { sys::rte_eth_dev_start(id) }
        })?;
        self.open.started.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn call(
        &self,
        operation: &'static str,
        remedy: &'static str,
        f: impl FnOnce() -> i32,
    ) -> Result<(), PortError> {
        let (rc, said) = log::collect(f);
        if rc == 0 {
            return Ok(());
        }
        let said = if said.is_empty() { String::new() } else { format!(": {}", log::joined(&said)) };
        Err(PortError::Refused { port: self.name().to_owned(), operation, reason: reason(rc), said, remedy })
    }

    /// Its number.
    pub fn id(&self) -> PortId {
        self.open.id
    }

    /// The device's name ("net_af_xdp0", "0000:03:00.0").
    pub fn name(&self) -> &str {
        &self.open.name
    }

    /// The driver's name ("net_af_xdp", "net_ixgbe").
    pub fn driver(&self) -> &str {
        &self.driver
    }

    /// What came of the wishes of the configuration.
    pub fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// The port's own MAC address; zero when the device does not tell.
    pub fn mac(&self) -> [u8; 6] {
        let mut address = sys::rte_ether_addr::default();
        // SAFETY: the port is open, `address` is writable; on failure it stays zero.
        unsafe { sys::rte_eth_macaddr_get(self.open.id.0, &mut address) };
        address.addr_bytes
    }

    /// Bytes of the largest IP packet.
    pub fn mtu(&self) -> u16 {
        let mut mtu = 0;
        // SAFETY: the port is open, `mtu` is writable.
        unsafe { sys::rte_eth_dev_get_mtu(self.open.id.0, &mut mtu) };
        mtu
    }

    /// The number of the kernel's interface under the device (AF_XDP, TAP), if there is one.
    pub fn kernel_ifindex(&self) -> Option<u32> {
        device_info(self.open.id).map(|info| info.if_index).filter(|index| *index != 0)
    }

    /// The link now, without waiting.
    pub fn link(&self) -> Link {
        let mut link = sys::rte_eth_link::default();
        // SAFETY: the port is open, `link` is writable.
        let rc = unsafe { sys::rte_eth_link_get_nowait(self.open.id.0, &mut link) };
        if rc != 0 {
            return Link::default();
        }
        let Link { up, speed_mbps } = Link::of(&link);
        // What the switch has not agreed to carries nothing.
        let agreed = || self.members().iter().any(|member| member.state == MemberState::Active);
        Link { up: up && (!self.is_lacp() || agreed()), speed_mbps }
    }

    /// The members of a bond, in the order in which they were given; none: the port is no bond.
    pub fn members(&self) -> Vec<Member> {
        self.open.bond.as_ref().map(Bond::members).unwrap_or_default()
    }

    fn is_lacp(&self) -> bool {
        self.open.bond.as_ref().is_some_and(|bond| bond.mode == BondMode::Lacp)
    }

    /// In LACP the driver may leave each member its own MAC address, though frames to the bond's come to all of them.
    fn let_members_in(&mut self) -> Result<(), PortError> {
        let mac = self.mac();
        if self.open.bond.as_ref().is_none_or(|bond| bond.admit(mac)) {
            return Ok(());
        }
        if self.force_promiscuous("letting frames to its MAC address in on all members")?
            == MacFilter::PromiscForced
        {
            self.forced.insert(mac);
            tracing::warn!(target: "dpdk", "port {}: a member takes no further MAC address: promisc (forced)", self.name());
        }
        Ok(())
    }

    /// The device's counters; zeros when it has none.
    pub fn stats(&self) -> PortStats {
        let mut stats = sys::rte_eth_stats::default();
        // SAFETY: the port is open, `stats` is writable.
        unsafe { sys::rte_eth_stats_get(self.open.id.0, &mut stats) };
        PortStats {
            ipackets: stats.ipackets,
            opackets: stats.opackets,
            ibytes: stats.ibytes,
            obytes: stats.obytes,
            imissed: stats.imissed,
            ierrors: stats.ierrors,
            oerrors: stats.oerrors,
            rx_nombuf: stats.rx_nombuf,
        }
    }

    /// The driver's own counters by name; empty when it has none.
    pub fn xstats(&self) -> Vec<(String, u64)> {
        let id = self.open.id.0;
        // SAFETY: a null array of size 0 asks for the number of counters.
        let count = unsafe { sys::rte_eth_xstats_get(id, ptr::null_mut(), 0) };
        let Ok(count) = usize::try_from(count) else { return Vec::new() };
        let mut names = vec![sys::rte_eth_xstat_name::default(); count];
        let mut values = vec![sys::rte_eth_xstat::default(); count];
        // SAFETY: both arrays have room for `count` entries.
        let got = unsafe {
            let got = sys::rte_eth_xstats_get_names(id, names.as_mut_ptr(), count as u32);
            got.min(sys::rte_eth_xstats_get(id, values.as_mut_ptr(), count as u32))
        };
        let got = usize::try_from(got).unwrap_or(0).min(count);
        values[..got]
            .iter()
            .filter_map(|entry| {
                let name = names.get(usize::try_from(entry.id).ok()?)?;
                // SAFETY: the driver wrote a NUL-terminated name (the array was zeroed before).
                Some((unsafe { text(name.name.as_ptr()) }, entry.value))
            })
            .collect()
    }

    /// Sets the device's counters to zero.
    pub fn reset_stats(&mut self) {
        // SAFETY: the port is open.
        unsafe { sys::rte_eth_stats_reset(self.open.id.0) };
    }

    /// Lets frames for `mac` in. A device that cannot filter by one more address becomes promiscuous, visibly.
    ///
    /// # Errors
    /// Neither worked.
    pub fn add_mac(&mut self, mac: [u8; 6]) -> Result<MacFilter, PortError> {
        let mut address = sys::rte_ether_addr { addr_bytes: mac };
        // SAFETY: the port is open; the address is copied.
        let (rc, _) =
            log::collect(|| unsafe { sys::rte_eth_dev_mac_addr_add(self.open.id.0, &mut address, 0) });
        if rc == 0 {
            return Ok(MacFilter::Exact);
        }
        let filter = self.force_promiscuous("adding a MAC address")?;
        if filter == MacFilter::Unfiltered && self.is_lacp() {
            // The driver's own filter stands behind the members'.
            return Err(PortError::Refused {
                port: self.name().to_owned(),
                operation: "adding a MAC address",
                reason: reason(rc),
                said: String::new(),
                remedy: "use members whose drivers have MAC filters or promiscuous mode, or mode = \"active-backup\"",
            });
        }
        if filter == MacFilter::PromiscForced && self.forced.insert(mac) {
            tracing::warn!(target: "dpdk", "port {} takes no further MAC address ({}): promisc (forced)", self.name(), reason(rc));
        }
        Ok(filter)
    }

    /// Takes back what [`Port::add_mac`] did. The port's own address always stays.
    ///
    /// # Errors
    /// The driver refused.
    pub fn remove_mac(&mut self, mac: [u8; 6]) -> Result<(), PortError> {
        if self.forced.remove(&mac) {
            return self.calm();
        }
        let mut address = sys::rte_ether_addr { addr_bytes: mac };
        // SAFETY: the port is open; the address is only compared.
        let rc = unsafe { sys::rte_eth_dev_mac_addr_remove(self.open.id.0, &mut address) };
        self.call(
            "removing a MAC address",
            "the filter stays; restart the data plane to be rid of it",
            || {
                if matches!(rc, ENOTSUP | EADDRINUSE) { 0 } else { rc }
            },
        )
    }

    /// Receive all multicast frames, by the filter for them or, where there is none, by promiscuous mode.
    ///
    /// # Errors
    /// The driver refused.
    pub fn set_allmulticast(&mut self, on: bool) -> Result<MacFilter, PortError> {
        let id = self.open.id.0;
        // SAFETY: the port is open.
        let (rc, _) = log::collect(|| unsafe {
            if on { sys::rte_eth_allmulticast_enable(id) } else { sys::rte_eth_allmulticast_disable(id) }
        });
        if rc == 0 {
            return Ok(MacFilter::Exact);
        }
        if on {
            let filter = self.force_promiscuous("receiving all multicast frames")?;
            self.multicast_forced = filter == MacFilter::PromiscForced;
            return Ok(filter);
        }
        self.multicast_forced = false;
        self.calm()?;
        Ok(MacFilter::Exact)
    }

    /// Receive all frames. A device without a filter does so anyway.
    ///
    /// # Errors
    /// The driver refused.
    pub fn set_promiscuous(&mut self, on: bool) -> Result<(), PortError> {
        self.promiscuous = on;
        if on { self.force_promiscuous("setting promiscuous mode").map(|_| ()) } else { self.calm() }
    }

    /// The port is promiscuous because the device lacks a filter, not because it was asked to be.
    pub fn promisc_forced(&self) -> bool {
        !self.promiscuous && (self.multicast_forced || !self.forced.is_empty())
    }

    fn force_promiscuous(&self, operation: &'static str) -> Result<MacFilter, PortError> {
        let id = self.open.id.0;
        // SAFETY: the port is open.
        let (rc, said) = log::collect(|| unsafe { sys::rte_eth_promiscuous_enable(id) });
        match rc {
            0 => Ok(MacFilter::PromiscForced),
            ENOTSUP => Ok(MacFilter::Unfiltered),
            rc => Err(PortError::Refused {
                port: self.name().to_owned(),
                operation,
                reason: reason(rc),
                said: format!(": {}", log::joined(&said)),
                remedy: "set promiscuous mode by hand (ip link set IFACE promisc on) or use another driver",
            }),
        }
    }

    /// Ends promiscuous mode when nothing needs it any more.
    fn calm(&self) -> Result<(), PortError> {
        if self.promiscuous || self.multicast_forced || !self.forced.is_empty() {
            return Ok(());
        }
        let id = self.open.id.0;
        self.call("leaving promiscuous mode", "it does no harm: frames are checked in software", || {
            // SAFETY: the port is open.
            match unsafe { sys::rte_eth_promiscuous_disable(id) } {
                ENOTSUP => 0,
                rc => rc,
            }
        })
    }

    /// Removes the virtual device itself when the port closes, which happens when this value and all its queues are gone.
    pub fn unplug(self) {
        self.open.unplug.store(true, Ordering::Relaxed);
    }
}

/// Whole datagrams by addresses and ports, fragments by addresses, so that all of a datagram meets on one queue.
const RSS: u64 = sys::SHIM_ETH_RSS_IPV4
    | sys::SHIM_ETH_RSS_FRAG_IPV4
    | sys::SHIM_ETH_RSS_NONFRAG_IPV4_TCP
    | sys::SHIM_ETH_RSS_NONFRAG_IPV4_UDP
    | sys::SHIM_ETH_RSS_NONFRAG_IPV4_OTHER
    | sys::SHIM_ETH_RSS_IPV6
    | sys::SHIM_ETH_RSS_IPV6_EX
    | sys::SHIM_ETH_RSS_FRAG_IPV6
    | sys::SHIM_ETH_RSS_NONFRAG_IPV6_TCP
    | sys::SHIM_ETH_RSS_NONFRAG_IPV6_UDP
    | sys::SHIM_ETH_RSS_NONFRAG_IPV6_OTHER;

fn device_info(id: PortId) -> Option<sys::rte_eth_dev_info> {
    let mut info = sys::rte_eth_dev_info::default();
    // SAFETY: `info` is writable; an unknown port is an error number.
    let rc = unsafe { sys::rte_eth_dev_info_get(id.0, &mut info) };
    (rc == 0).then_some(info)
}

pub(crate) fn device_name(id: PortId) -> String {
    let mut name = [0 as c_char; sys::RTE_ETH_NAME_MAX_LEN as usize];
    // SAFETY: the array has the length that DPDK requires; it stays empty when the port is unknown.
    unsafe {
        sys::rte_eth_dev_get_name_by_port(id.0, name.as_mut_ptr());
        text(name.as_ptr())
    }
}

/// # Safety
/// `raw` is null or points to a NUL-terminated string.
pub(crate) unsafe fn text(raw: *const c_char) -> String {
    if raw.is_null() {
        return String::new();
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(raw) }.to_string_lossy().into_owned()
}
