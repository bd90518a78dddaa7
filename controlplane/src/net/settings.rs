//! The settings of devices in /proc/sys, and what they were at devices of the host.

use super::links::LinkTable;
use super::{NetError, store};
use crate::types::{IfIndex, Prefix};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A setting below /proc/sys/net/FAMILY/conf/DEVICE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    family: &'static str,
    name: &'static str,
    value: &'static str,
}

const fn v4(name: &'static str, value: &'static str) -> Setting {
    Setting { family: "ipv4", name, value }
}

const fn v6(name: &'static str, value: &'static str) -> Setting {
    Setting { family: "ipv6", name, value }
}

/// An exception device.
pub(super) const PORT: &[Setting] = &[
    v4("arp_ignore", "1"),
    v4("arp_announce", "2"),
    v4("rp_filter", "2"),
    // Or the hello of another router with this one's address would be dropped unseen, and not reported.
    v4("accept_local", "1"),
    // net_tap sets the device down when it lets go of it, and IPv6 addresses would be lost with that.
    v6("keep_addr_on_down", "1"),
    // The routers of the link are this node's peers: a default route to the virtual address that they advertise
    // would lead to this node itself once it is active. Routers have routes of their own.
    v6("accept_ra", "0"),
];

/// A device of the host: only what keeps it from answering and asking by ARP with a virtual address, which lives on the
/// macvlan over it, under its own MAC address.
pub(super) const HOST: &[Setting] = &[v4("arp_ignore", "1"), v4("arp_announce", "2")];

/// A group's macvlan, before it is up for the first time and not again: even to read this one, the kernel waits for the
/// lock of all network devices, and a takeover would wait with it.
pub(super) const GROUP_BEFORE_UP: &[Setting] = &[
    // No address of the macvlan's own making: a link-local one from the virtual MAC would exist on every node.
    v6("addr_gen_mode", "1"),
];

/// A group's macvlan.
pub(super) const GROUP: &[Setting] = &[
    v4("arp_ignore", "1"),
    v4("arp_announce", "2"),
    v4("rp_filter", "2"),
    v6("accept_dad", "0"),
    v6("accept_ra", "0"),
    // Hosts take a router that does not say so itself off their list, whatever its advertisements say.
    v6("forwarding", "1"),
];

impl Setting {
    fn path(&self, device: &str) -> String {
        format!("/proc/sys/net/{}/conf/{device}/{}", self.family, self.name)
    }

    fn key(&self) -> String {
        format!("{}/{}", self.family, self.name)
    }

    /// The value as it is; `None` where the kernel has no such setting, as without IPv6.
    fn read(&self, device: &str) -> Option<String> {
        std::fs::read_to_string(self.path(device)).ok().map(|text| text.trim().to_owned())
    }
}

/// Brings settings into their state; those that stand right are left alone, so that a read-only /proc/sys with the right
/// values does not matter. The names of those that were changed. `before` is called with what is about to be changed.
pub(super) fn apply(
    device: &str,
    settings: &[Setting],
    mut before: impl FnMut(String, String) -> Result<(), NetError>,
) -> Result<Vec<String>, NetError> {
    let mut changed = Vec::new();
    for setting in settings {
        let Some(now) = setting.read(device).filter(|now| now != setting.value) else { continue };
        before(setting.key(), now)?;
        write(device, &setting.path(device), setting.value)?;
        changed.push(format!("{}.{}", setting.family, setting.name));
    }
    Ok(changed)
}

fn write(device: &str, path: &str, value: &str) -> Result<(), NetError> {
    std::fs::write(path, value).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            NetError::Missing { device: device.to_owned(), remedy: "it has just gone" }
        }
        _ => NetError::Refused {
            device: device.to_owned(),
            step: "sysctl",
            reason: format!("{path}: {error}: set it to {value} or let usherd write to /proc/sys/net"),
        },
    })
}

/// Returns whether IPv6 is switched off on a device.
pub(super) fn lacks_ipv6(device: &str) -> bool {
    v6("disable_ipv6", "0").read(device).is_none_or(|value| value != "0")
}

/// Settings of a host's device before usherd changed it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Original {
    /// Index: a device that was made anew has its settings anew
    index: IfIndex,
    /// Values by FAMILY/NAME
    settings: BTreeMap<String, String>,
    /// Addresses that usherd put there
    addresses: BTreeSet<(std::net::IpAddr, u8)>,
}

/// Settings to be restored at devices of the host, kept in a file of the run directory before anything is changed.
pub(super) struct Originals {
    path: PathBuf,
    devices: BTreeMap<String, Original>,
}

impl Originals {
    /// Reads the file.
    pub fn load(run_dir: &Path) -> Originals {
        let path = run_dir.join("host-devices");
        Originals { devices: store::load(&path), path }
    }

    /// The devices.
    pub fn devices(&self) -> Vec<String> {
        self.devices.keys().cloned().collect()
    }

    /// Brings the settings of a device of the host into their state, and remembers what they were.
    pub fn apply(&mut self, device: &str, index: IfIndex) -> Result<Vec<String>, NetError> {
        apply(device, HOST, |key, value| {
            self.change(device, index, |of| {
                of.settings.entry(key).or_insert(value);
            })
        })
    }

    /// Remembers that an address is usherd's.
    pub fn put_address(&mut self, device: &str, index: IfIndex, prefix: Prefix) -> Result<(), NetError> {
        self.change(device, index, |of| {
            of.addresses.insert((prefix.address, prefix.length));
        })
    }

    /// Forgets an address that was taken off.
    pub fn remove_address(&mut self, device: &str, index: IfIndex, prefix: Prefix) -> Result<(), NetError> {
        self.change(device, index, |of| {
            of.addresses.remove(&(prefix.address, prefix.length));
        })
    }

    /// The addresses that usherd put on a device.
    pub fn addresses(&self, device: &str) -> Vec<Prefix> {
        let of = self.devices.get(device).map(|of| &of.addresses);
        of.into_iter()
            .flatten()
            .map(|(address, length)| Prefix { address: *address, length: *length })
            .collect()
    }

    /// Restores the settings of a device that has not been made anew and that others have not changed since.
    ///
    /// # Errors
    /// The setting that could not be restored; the others are.
    pub fn restore(&mut self, device: &str, links: &LinkTable) -> Result<(), NetError> {
        let Some(mut of) = self.devices.get(device).cloned() else { return Ok(()) };
        let mut result = Ok(());
        if links.index(device) == Some(of.index) {
            for setting in HOST {
                let Some(value) = of.settings.get(&setting.key()) else { continue };
                if setting.read(device).as_deref() == Some(setting.value)
                    && let Err(error) = write(device, &setting.path(device), value)
                {
                    result = Err(error);
                }
            }
        }
        of.settings.clear();
        let stored = match of.addresses.is_empty() {
            true => {
                self.devices.remove(device);
                self.store(device)
            }
            false => self.change(device, of.index, |kept| kept.settings.clear()),
        };
        result.and(stored)
    }

    /// Writes the file before the change is made: whatever happens then, it can be undone.
    fn change(
        &mut self,
        device: &str,
        index: IfIndex,
        change: impl FnOnce(&mut Original),
    ) -> Result<(), NetError> {
        let of = self.devices.entry(device.to_owned()).or_default();
        if of.index != index {
            *of = Original { index, ..Original::default() };
        }
        change(of);
        self.store(device)
    }

    fn store(&self, device: &str) -> Result<(), NetError> {
        store::save(&self.path, &self.devices).map_err(|error| NetError::Refused {
            device: device.to_owned(),
            step: "remember the host's settings",
            reason: format!("{}: {error}: make it writable for usherd", self.path.display()),
        })
    }
}
