//! The devices that ports are bound to, and their exception devices.

use std::fs::{self, File};
use std::net::UdpSocket;
use std::path::Path;

use super::{HostError, nics, show};
use crate::profile::{Attach, Device, ExceptionKind, PortProfile, Subinterface};

pub(super) const VHOST_NET: &str = "/dev/vhost-net";
/// Drivers through which DPDK reaches a NIC; with the last ones the kernel keeps its netdev.
const PCI_DRIVERS: [&str; 6] = ["vfio-pci", "uio_pci_generic", "igb_uio", "mlx5_core", "mlx4_core", "mana"];

/// The kernel's number of a network device in this network namespace.
pub fn ifindex(name: &str) -> Option<u32> {
    let socket = UdpSocket::bind("127.0.0.1:0").or_else(|_| UdpSocket::bind("[::1]:0")).ok();
    match socket {
        Some(socket) => rustix::net::netdevice::name_to_index(&socket, name).ok(),
        // A namespace without an address to bind to: /sys shows the devices of the namespace that it was mounted in.
        None => fs::read_to_string(Path::new("/sys/class/net").join(name).join("ifindex"))
            .ok()?
            .trim()
            .parse()
            .ok(),
    }
}

/// The NUMA node of a port: the profile's, else the system's; None when neither knows. A bond is where its first member is.
pub fn numa_node(port: &PortProfile, root: &Path) -> Option<usize> {
    if let Ok(node) = usize::try_from(port.numa) {
        return Some(node);
    }
    node_of(port.devices().first()?, root)
}

/// The NUMA node of a NIC, where the system knows it.
pub(super) fn node_of(device: &Device, root: &Path) -> Option<usize> {
    let Device::Pci(address) = device else { return None };
    let text = fs::read_to_string(nics::pci(root).join(address).join("numa_node")).ok()?;
    usize::try_from(text.trim().parse::<i64>().ok()?).ok()
}

/// What is missing of what a port (of a resolved profile) is bound to, on the machine under `root`; of a bond, all members.
pub fn check(port: &PortProfile, root: &Path) -> Vec<HostError> {
    if port.exception_kind == ExceptionKind::VirtioUser
        && port.exception().is_some()
        && !root.join(VHOST_NET.trim_start_matches('/')).exists()
    {
        return vec![HostError::Device {
            user: format!("port {}", port.interface),
            device: VHOST_NET.into(),
            problem: "is missing".into(),
            remedy: "modprobe vhost-net, or exception_kind = \"tap\"".into(),
        }];
    }
    port.devices().iter().filter_map(|device| check_device(port, device, root).err()).collect()
}

fn check_device(port: &PortProfile, device: &Device, root: &Path) -> Result<(), HostError> {
    let exists = |path: &str| root.join(path.trim_start_matches('/')).exists();
    let has_interface = |name: &str| match root == Path::new("/") {
        true => ifindex(name).is_some(),
        false => nics::netdevs(root).join(name).exists(),
    };
    let missing = |device: String, problem: String, remedy: String| {
        Err(HostError::Device { user: format!("port {}", port.interface), device, problem, remedy })
    };
    let driver = device.driver();
    match device {
        Device::Pci(address) => {
            check_pci(address, root).or_else(|(problem, remedy)| missing(address.clone(), problem, remedy))
        }
        Device::Vdev(_) if matches!(driver, "net_af_xdp" | "net_af_packet") => match device.arg("iface") {
            None => missing(
                device.to_string(),
                "names no interface".into(),
                "add `,iface=NAME` to `device`".into(),
            ),
            Some(iface) if !has_interface(iface) => missing(
                iface.to_owned(),
                "does not exist in this network namespace".into(),
                format!(
                    "make it (for a laboratory: ip link add {iface} type veth peer name {iface}-peer) or name one of `ip link`"
                ),
            ),
            Some(_) => Ok(()),
        },
        Device::Vdev(_) if driver == "net_pcap" => {
            match device.arg("rx_pcap").map(|path| (path, File::open(path))) {
                Some((path, Err(err))) => missing(
                    path.to_owned(),
                    format!("cannot be read ({err})"),
                    "name a readable capture".into(),
                ),
                _ => Ok(()),
            }
        }
        Device::Vdev(_) if matches!(driver, "net_virtio_user" | "virtio_user") => {
            let server = device.arg("server") == Some("1");
            match device.arg("path") {
                None => missing(
                    device.to_string(),
                    "names no peer".into(),
                    "add `,path=SOCKET` to `device`".into(),
                ),
                Some(path) if !server && !exists(path) => missing(
                    path.to_owned(),
                    "does not exist".into(),
                    "start the vhost side first, or add `,server=1`".into(),
                ),
                Some(_) => Ok(()),
            }
        }
        Device::Vdev(_) => Ok(()),
        // Told by resolve() already.
        Device::Family { .. } | Device::Netdev(_) => Ok(()),
        // No member is a bond.
        Device::Bond(_) => Ok(()),
    }
}

fn check_pci(address: &str, root: &Path) -> Result<(), (String, String)> {
    let dir = nics::pci(root).join(address);
    if !dir.exists() {
        return Err((
            "is no PCI device of this machine".into(),
            "name one of `dpdk-devbind.py --status-dev net` in `device`".into(),
        ));
    }
    let driver = nics::driver_of(&dir);
    let driver = driver.as_deref();
    match driver {
        Some(driver) if PCI_DRIVERS.contains(&driver) => {}
        other => {
            let other = other.unwrap_or("no driver");
            let remedy = format!("modprobe vfio-pci && dpdk-devbind.py --bind=vfio-pci {address}");
            return Err((format!("is bound to {other}, not to a driver that DPDK uses"), remedy));
        }
    }
    if driver == Some("vfio-pci") && !dir.join("iommu_group").exists() {
        return Err(("has no IOMMU group".into(), no_iommu(root)));
    }
    Ok(())
}

/// How to get an IOMMU, on this kind of machine.
pub(super) fn no_iommu(root: &Path) -> String {
    // A hypervisor mostly shows its guest no IOMMU, and the guest's own memory is all that a device could reach.
    if show::is_virtual(root) {
        return "modprobe vfio enable_unsafe_noiommu_mode=1 && echo 1 > /sys/module/vfio/parameters/enable_unsafe_noiommu_mode".into();
    }
    let cpu = fs::read_to_string(root.join("proc/cpuinfo")).unwrap_or_default();
    let arguments =
        if cpu.contains("AuthenticAMD") { "amd_iommu=on iommu=pt" } else { "intel_iommu=on iommu=pt" };
    format!(
        "sed -i 's/^GRUB_CMDLINE_LINUX=\"/&{arguments} /' /etc/default/grub && update-grub && reboot (and switch VT-d or AMD-Vi \
         on in the firmware)"
    )
}

/// EAL's device arguments for the exception device of port number `index`, with the port's MAC address; None when the
/// port has none. A TAP must exist before ([`super::link::ensure_tap`]), so that its addresses outlive the data plane.
pub fn exception_vdev(port: &PortProfile, index: usize, mac: [u8; 6], queues: u16) -> Option<String> {
    Some(kernel_side(port, port.exception()?, index, mac, queues))
}

/// As [`exception_vdev`], for the device of a VLAN: of the port's kind, with its MAC address.
pub fn vlan_vdev(port: &PortProfile, of: &Subinterface, mac: [u8; 6], queues: u16) -> String {
    kernel_side(port, &of.exception, of.index, mac, queues)
}

fn kernel_side(port: &PortProfile, name: &str, index: usize, mac: [u8; 6], queues: u16) -> String {
    let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
    let virtio = match port.exception_kind {
        ExceptionKind::Tap => false,
        ExceptionKind::VirtioUser => true,
        ExceptionKind::Auto => {
            let nic = port.devices().iter().any(Device::is_nic);
            nic && port.attach == Attach::Owned && Path::new(VHOST_NET).exists()
        }
    };
    if virtio {
        format!("virtio_user{index},path={VHOST_NET},iface={name},mac={mac},queues={queues},queue_size=1024")
    } else {
        format!("net_tap{index},iface={name},mac={mac}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(device: &str, more: &str) -> PortProfile {
        let text = format!("[[port]]\ninterface = \"Gi0/0/0\"\ndevice = \"{device}\"\n{more}");
        crate::profile::Profile::parse(&text, Path::new("test.toml")).unwrap().port.remove(0)
    }

    #[test]
    fn the_loopback_has_a_number_and_a_missing_device_has_none() {
        assert_eq!(ifindex("lo"), Some(1));
        assert_eq!(ifindex("usher-absent"), None);
    }

    #[test]
    fn each_missing_device_is_named_with_its_remedy() {
        for (device, object, remedy) in [
            (
                "vdev:net_af_xdp0,iface=usher-absent",
                "usher-absent does not exist",
                "ip link add usher-absent",
            ),
            ("vdev:net_af_xdp0", "names no interface", "iface=NAME"),
            (
                "vdev:net_pcap0,rx_pcap=/absent.pcap,tx_pcap=/o",
                "/absent.pcap cannot be read",
                "readable capture",
            ),
            ("vdev:net_virtio_user0,path=/absent.sock", "/absent.sock does not exist", "server=1"),
            ("pci:ffff:ff:1f.7", "ffff:ff:1f.7 is no PCI device", "dpdk-devbind.py"),
        ] {
            let err = check(&port(device, ""), Path::new("/")).remove(0).to_string();
            assert!(
                err.starts_with("port Gi0/0/0: ") && err.contains(object) && err.contains(remedy),
                "{device}: {err}"
            );
        }
        for device in ["vdev:net_null0", "vdev:net_af_packet0,iface=lo", "vdev:net_vhost0,iface=/tmp/s"] {
            assert!(check(&port(device, ""), Path::new("/")).is_empty(), "{device}");
        }
    }

    #[test]
    fn an_exception_device_has_the_mac_of_its_port() {
        let mac = [2, 0, 0, 0, 0, 0xff];
        let port_tap = port("vdev:net_null0", "");
        assert_eq!(
            exception_vdev(&port_tap, 3, mac, 1).unwrap(),
            "net_tap3,iface=exc0,mac=02:00:00:00:00:ff"
        );
        let virtio = port("vdev:net_null0", "exception_kind = \"virtio_user\"\nexception = \"wan0\"");
        let args = exception_vdev(&virtio, 0, mac, 2).unwrap();
        assert!(
            args.starts_with("virtio_user0,path=/dev/vhost-net,iface=wan0,mac=02:")
                && args.contains("queues=2")
        );
        assert_eq!(exception_vdev(&port("vdev:net_null0", "exception = \"\""), 0, mac, 1), None);
    }
}
