//! The ports of the profile, and the exception devices that usherd makes for them.

use crate::config::IfName;
use platform::host::{HostError, devices, link};
use platform::profile::{Attach, Profile};

/// A port of the profile, or a VLAN of one: the exception device is then the VLAN's, the rest its port's.
#[derive(Clone, Debug)]
pub struct Port {
    /// The interface of the configuration; `None` while no subinterface has the VLAN
    pub interface: Option<IfName>,
    pub exception: Option<String>,
    pub mtu: u32,
    /// The exception device is a TAP of ours; else it comes and goes with the data plane
    pub tap: bool,
    /// It is the kernel's own interface: what others put on it stays
    pub shared: bool,
    /// The kernel's interface under the data plane's port, where it has one: not every driver tells its link
    pub below: Option<String>,
}

/// Exception devices that were not there before: a start that fails takes them away again.
#[derive(Default)]
pub struct MadeTaps {
    names: Vec<String>,
}

impl MadeTaps {
    /// Makes the TAPs that are missing.
    ///
    /// # Errors
    /// When a device of another kind has the name, or `ip` failed.
    pub fn make(ports: &[Port]) -> Result<MadeTaps, HostError> {
        let mut made = MadeTaps::default();
        for exception in ports.iter().filter(|port| port.tap).filter_map(|port| port.exception.as_deref()) {
            let missing = link::details(exception)?.is_none();
            link::ensure_tap(exception)?;
            if missing {
                made.names.push(exception.to_owned());
            }
        }
        Ok(made)
    }

    /// Leaves them there: the start has not failed.
    pub fn keep(mut self) {
        self.names.clear();
    }
}

impl Drop for MadeTaps {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = link::delete(name);
        }
    }
}

/// The ports by the numbers that the data plane gives them; which interfaces they are depends on the configuration.
#[must_use]
pub fn ports(profile: &Profile) -> Vec<Port> {
    let port = |index: usize, exception: Option<String>| {
        let port = &profile.port[index];
        if let Err(error) = IfName::parse(&port.interface) {
            tracing::warn!("%SYS-4-PROFILE: {error}: the port is bound to nothing");
        }
        let owned = port.attach == Attach::Owned;
        let tap = owned
            && devices::exception_vdev(port, index, [0; 6], 1)
                .is_some_and(|vdev| vdev.starts_with("net_tap"));
        Port {
            interface: None,
            exception,
            mtu: u32::from(port.mtu),
            tap,
            shared: !owned,
            below: port.netdev().map(str::to_owned),
        }
    };
    let ports = profile.port.iter().enumerate();
    let ports = ports.map(|(index, of)| port(index, of.kernel_device().map(str::to_owned)));
    ports.chain(profile.subinterfaces().map(|of| port(of.port, Some(of.exception)))).collect()
}
