//! The kernel's side of the ports: exception devices with the interfaces' addresses, and a macvlan for each group
//! that carries the virtual addresses under the virtual MAC.
//!
//! Everything here states what is wanted and changes only what differs, so that an usherd that starts again finds
//! its devices and addresses in place and leaves them untouched. The exception devices and the macvlans are usherd's
//! own: addresses on them that the configuration does not name are taken off.

pub mod announce;
mod claims;
mod compare;
mod engine;
mod events;
pub mod links;
pub mod probe;
pub mod reconciler;
mod requests;
mod routes;
mod settings;
mod store;

use crate::types::{Prefix, is_link_local};
use futures_util::TryStreamExt as _;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage};
use rtnetlink::packet_route::link::{
    InfoData, InfoKind, InfoMacVlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, MacVlanMode,
};
use rtnetlink::{Handle, LinkMacVlan, LinkUnspec};
use std::collections::BTreeSet;
use std::time::Duration;

/// Not private: there a multicast frame whose source is the macvlan's own MAC, which every hello of another active
/// router is, ends in the macvlan and never reaches the exception device. Frames between macvlans take the LAN.
const MODE: MacVlanMode = MacVlanMode::Vepa;
/// No request to the kernel may hold the control plane longer than this.
const PATIENCE: Duration = Duration::from_secs(2);

/// A request that the kernel did not carry out.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The kernel refused
    #[error("{device}: {step}: {reason}")]
    Refused {
        /// The device
        device: String,
        /// The step
        step: &'static str,
        /// The kernel's answer and the remedy
        reason: String,
    },
    /// The kernel did not answer
    #[error("{device}: {step}: no answer from the kernel within 2 s: is the machine overloaded?")]
    Late {
        /// The device
        device: String,
        /// The step
        step: &'static str,
    },
    /// There is no netlink socket
    #[error("netlink: {0}: usherd needs CAP_NET_ADMIN: start it with systemctl start usherd, or as root")]
    Socket(std::io::Error),
    /// There is no thread
    #[error("a thread cannot be started: {0}: raise the limit of processes")]
    Thread(std::io::Error),
    /// A device of another kind has the name. It is never used
    #[error(
        "{device}: a device of this name is there that is not usherd's ({kind}): `ip link delete {device}`, or rename it"
    )]
    Foreign {
        /// The device
        device: String,
        /// Its kind
        kind: String,
    },
    /// There is no such device
    #[error("{device}: no such device: {remedy}")]
    Missing {
        /// The device
        device: String,
        /// The remedy
        remedy: &'static str,
    },
    /// Others change the device again and again
    #[error(
        "{device}: changed by others {times} times in {seconds} s: find out by what (`ip monitor`) and stop it"
    )]
    Contested {
        /// The device
        device: String,
        /// The number of repairs
        times: usize,
        /// The time that they took, s
        seconds: u64,
    },
    /// A later request about the same device came first
    #[error("a later request about the device came first")]
    Superseded,
}

/// What a device is to be. Addresses that are not listed are taken off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Name in the kernel
    pub device: String,
    /// MAC address, where it is known
    pub mac: Option<[u8; 6]>,
    /// MTU, where it is known
    pub mtu: Option<u32>,
    /// Addresses with the prefix length they get
    pub addresses: Vec<Prefix>,
    /// The device is not usherd's own: addresses that are not listed stay
    pub shared: bool,
}

/// A device as it is.
#[derive(Clone, Debug)]
struct Found {
    index: u32,
    up: bool,
    mac: Vec<u8>,
    mtu: u32,
    parent: Option<u32>,
    macvlan: bool,
    mode: Option<MacVlanMode>,
}

/// The netlink socket.
pub struct Net {
    handle: Handle,
}

impl Net {
    /// Opens the socket and serves it from the running tokio runtime.
    ///
    /// # Errors
    /// When the kernel gives no socket.
    pub fn open() -> Result<Net, NetError> {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(NetError::Socket)?;
        tokio::spawn(connection);
        Ok(Net { handle })
    }

    /// Brings an existing exception device into its state: MAC, MTU, addresses, up.
    ///
    /// # Errors
    /// The first step that the kernel refused.
    pub async fn port(&self, wanted: &Wanted) -> Result<(), NetError> {
        let device = &wanted.device;
        let found = self.find(device).await?.ok_or_else(|| refused(device, "find", "no such device"))?;
        sysctl(device, "ipv4", &[("arp_ignore", "1"), ("arp_announce", "2"), ("rp_filter", "2")])?;
        // Or the hello of another router with this one's address would be dropped unseen, and nobody told.
        sysctl(device, "ipv4", &[("accept_local", "1")])?;
        // net_tap sets the device down when it lets go of it, and IPv6 addresses would be lost with that.
        sysctl(device, "ipv6", &[("keep_addr_on_down", "1")])?;
        // The routers of the link are this node's peers: a default route to the virtual address that they advertise
        // would lead to this node itself once it is active. Routers have routes of their own.
        sysctl(device, "ipv6", &[("accept_ra", "0")])?;
        self.link(wanted, &found).await?;
        self.addresses(wanted, found.index, AddressHeaderFlags::empty(), AddressFlags::empty()).await
    }

    /// Brings a group's macvlan over `parent` into its state, making it where it is missing or is not the right one.
    /// It is up whether it carries addresses or not: bringing it up later would cost most of a takeover.
    ///
    /// # Errors
    /// The first step that the kernel refused.
    pub async fn virtual_device(&self, parent: &str, wanted: &Wanted) -> Result<(), NetError> {
        let device = &wanted.device;
        let below =
            self.find(parent).await?.ok_or_else(|| refused(parent, "find", "no such exception device"))?;
        let mut found = self.find(device).await?;
        let right = |found: &Found| {
            found.macvlan
                && found.mode == Some(MODE)
                && found.parent == Some(below.index)
                && wanted.mac.is_none_or(|mac| found.mac == mac)
        };
        if let Some(wrong) = found.as_ref().filter(|found| !right(found)) {
            if !wrong.macvlan {
                return Err(refused(
                    device,
                    "adopt",
                    "a device of this name is there that is no macvlan: rename it",
                ));
            }
            bounded(device, "delete", self.handle.link().del(wrong.index).execute()).await?;
            found = None;
        }
        let found = match found {
            Some(found) => found,
            None => {
                let mut message = LinkMacVlan::new(device, below.index, MODE);
                if let Some(mac) = wanted.mac {
                    message = message.address(mac.to_vec());
                }
                bounded(device, "create", self.handle.link().add(message.build()).execute()).await?;
                self.find(device).await?.ok_or_else(|| refused(device, "create", "it did not appear"))?
            }
        };
        sysctl(device, "ipv4", &[("arp_ignore", "1"), ("arp_announce", "2"), ("rp_filter", "2")])?;
        // No address of the macvlan's own making: a link-local one from the virtual MAC would exist on every node.
        sysctl(device, "ipv6", &[("addr_gen_mode", "1"), ("accept_dad", "0"), ("accept_ra", "0")])?;
        // Hosts take a router that does not say so itself off their list, whatever its advertisements say.
        sysctl(device, "ipv6", &[("forwarding", "1")])?;
        let mtu = wanted.mtu.or(Some(below.mtu));
        self.link(&Wanted { mtu, ..wanted.clone() }, &found).await?;
        self.addresses(
            wanted,
            found.index,
            AddressHeaderFlags::Nodad,
            AddressFlags::Nodad | AddressFlags::Noprefixroute,
        )
        .await
    }

    /// The macvlans over `parents` whose name starts with `prefix`.
    ///
    /// # Errors
    /// When the kernel does not list its devices.
    pub async fn macvlans(&self, prefix: &str, parents: &[String]) -> Result<BTreeSet<String>, NetError> {
        let mut below = Vec::new();
        for parent in parents {
            below.extend(self.find(parent).await?.map(|found| found.index));
        }
        let all: Vec<LinkMessage> =
            bounded("devices", "list", self.handle.link().get().execute().try_collect()).await?;
        let names = all.iter().filter(|message| {
            let found = found_in(message);
            found.macvlan && found.parent.is_some_and(|parent| below.contains(&parent))
        });
        Ok(names.filter_map(name_in).filter(|name| name.starts_with(prefix)).collect())
    }

    /// Deletes a device; one that is not there is no error.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn delete(&self, device: &str) -> Result<(), NetError> {
        match self.find(device).await? {
            Some(found) => bounded(device, "delete", self.handle.link().del(found.index).execute()).await,
            None => Ok(()),
        }
    }

    /// Takes all addresses off a device.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn bare(&self, device: &str) -> Result<(), NetError> {
        let wanted = Wanted { device: device.to_owned(), ..Wanted::default() };
        match self.find(device).await? {
            Some(found) => {
                self.addresses(&wanted, found.index, AddressHeaderFlags::Nodad, AddressFlags::empty()).await
            }
            None => Ok(()),
        }
    }

    /// Whether a device of this name exists.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub async fn exists(&self, device: &str) -> Result<bool, NetError> {
        Ok(self.find(device).await?.is_some())
    }

    async fn find(&self, device: &str) -> Result<Option<Found>, NetError> {
        let mut stream = std::pin::pin!(self.handle.link().get().match_name(device).execute());
        match tokio::time::timeout(PATIENCE, stream.try_next()).await {
            Ok(Ok(message)) => Ok(message.as_ref().map(found_in)),
            Ok(Err(rtnetlink::Error::NetlinkError(error))) if error.raw_code() == -ENODEV => Ok(None),
            Ok(Err(error)) => Err(refused(device, "find", &error.to_string())),
            Err(_) => Err(NetError::Late { device: device.to_owned(), step: "find" }),
        }
    }

    /// MAC, MTU and the up flag, each only where it differs.
    async fn link(&self, wanted: &Wanted, found: &Found) -> Result<(), NetError> {
        let mut message = LinkUnspec::new_with_index(found.index);
        let mut differs = false;
        if let Some(mac) = wanted.mac.filter(|mac| found.mac != mac) {
            message = message.address(mac.to_vec());
            differs = true;
        }
        if let Some(mtu) = wanted.mtu.filter(|mtu| found.mtu != *mtu) {
            message = message.mtu(mtu);
            differs = true;
        }
        if !found.up {
            message = message.up();
            differs = true;
        }
        if differs {
            let request = self.handle.link().set(message.build()).execute();
            bounded(&wanted.device, "set MAC, MTU and up", request).await?;
        }
        Ok(())
    }

    async fn addresses(
        &self,
        wanted: &Wanted,
        index: u32,
        header: AddressHeaderFlags,
        flags: AddressFlags,
    ) -> Result<(), NetError> {
        let device = &wanted.device;
        // Taking a primary IPv4 address off takes its secondaries along: look again after a change.
        for _ in 0..3 {
            let request = self.handle.address().get().set_link_index_filter(index).execute();
            let present: Vec<AddressMessage> =
                bounded(device, "list addresses", request.try_collect()).await?;
            let mut changed = false;
            for prefix in &wanted.addresses {
                if present.iter().any(|message| prefix_in(message) == Some(*prefix)) {
                    continue;
                }
                // What comes to a link-local address is answered on its own device: without the prefix there is no way back.
                let flags =
                    if is_link_local(&prefix.address) { flags - AddressFlags::Noprefixroute } else { flags };
                let mut request = self.handle.address().add(index, prefix.address, prefix.length).replace();
                let message = request.message_mut();
                message.header.flags = header;
                if !flags.is_empty() {
                    message.attributes.push(AddressAttribute::Flags(flags));
                }
                bounded(device, "add address", request.execute()).await?;
                changed = true;
            }
            for message in present {
                let Some(prefix) = prefix_in(&message) else { continue };
                let own_link_local = header.is_empty() && is_link_local(&prefix.address);
                if own_link_local || wanted.shared || wanted.addresses.contains(&prefix) {
                    continue;
                }
                // It may be gone already, with its primary.
                match bounded(device, "delete address", self.handle.address().del(message).execute()).await {
                    Ok(()) => changed = true,
                    Err(NetError::Refused { .. }) => {}
                    Err(late) => return Err(late),
                }
            }
            if !changed {
                break;
            }
        }
        Ok(())
    }
}

const ENODEV: i32 = rustix::io::Errno::NODEV.raw_os_error();

fn refused(device: &str, step: &'static str, reason: &str) -> NetError {
    NetError::Refused { device: device.to_owned(), step, reason: reason.to_owned() }
}

async fn bounded<T>(
    device: &str,
    step: &'static str,
    request: impl Future<Output = Result<T, rtnetlink::Error>>,
) -> Result<T, NetError> {
    match tokio::time::timeout(PATIENCE, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(refused(device, step, &error.to_string())),
        Err(_) => Err(NetError::Late { device: device.to_owned(), step }),
    }
}

fn found_in(message: &LinkMessage) -> Found {
    let mut found = Found {
        index: message.header.index,
        up: message.header.flags.contains(LinkFlags::Up),
        mac: Vec::new(),
        mtu: 0,
        parent: None,
        macvlan: false,
        mode: None,
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::Address(mac) => found.mac.clone_from(mac),
            LinkAttribute::Mtu(mtu) => found.mtu = *mtu,
            LinkAttribute::Link(parent) => found.parent = Some(*parent),
            LinkAttribute::LinkInfo(infos) => {
                found.macvlan = infos.iter().any(|info| matches!(info, LinkInfo::Kind(InfoKind::MacVlan)));
                found.mode = infos.iter().find_map(|info| match info {
                    LinkInfo::Data(InfoData::MacVlan(data)) => data.iter().find_map(|one| match one {
                        InfoMacVlan::Mode(mode) => Some(*mode),
                        _ => None,
                    }),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    found
}

fn name_in(message: &LinkMessage) -> Option<String> {
    message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })
}

/// The address of a message: IPv4's is the local one, IPv6 has only the other.
fn prefix_in(message: &AddressMessage) -> Option<Prefix> {
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let address = local.or_else(|| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })?;
    Some(Prefix { address, length: message.header.prefix_len })
}

/// Writes switches of one device; those that already stand right are left alone, so that a read-only /proc/sys with
/// the right values does not matter.
fn sysctl(device: &str, family: &str, switches: &[(&str, &str)]) -> Result<(), NetError> {
    for (switch, value) in switches {
        let path = format!("/proc/sys/net/{family}/conf/{device}/{switch}");
        match std::fs::read_to_string(&path) {
            Ok(now) if now.trim() == *value => continue,
            // A kernel without IPv6 has nothing to switch.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            _ => {}
        }
        std::fs::write(&path, value).map_err(|error| NetError::Refused {
            device: device.to_owned(),
            step: "sysctl",
            reason: format!("{path}: {error}: set it to {value} or let usherd write to /proc/sys/net"),
        })?;
    }
    Ok(())
}
