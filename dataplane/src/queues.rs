//! The queues of a port: of one DPDK device, or of one each where DPDK's driver cannot do otherwise (AF_XDP).

use std::os::fd::RawFd;

use dpdk::steer;
use dpdk::{Eal, Mempool, Port, PortConfig, PortId, RxQueue, TxQueue};
use platform::profile::{Attach, Device, PortProfile};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// DPDK's AF_XDP driver serves several queues only of an interface with combined channels: of others (veth, macvlan, gve) it
/// takes one queue each time that it is asked.
///
/// # Errors
/// The interface has fewer queues than the port.
pub fn one_a_device(port: &mut PortProfile) -> Result<(), Failure> {
    if port.queues < 2 || port.device.driver() != "net_af_xdp" {
        return Ok(());
    }
    let Some(interface) = port.device.arg("iface").map(str::to_owned) else { return Ok(()) };
    let channels = steer::channels(&interface);
    if channels.combined > 0 {
        return Ok(());
    }
    let first = first_queue(port);
    let wanted = u32::from(first) + u32::from(port.queues);
    if channels.rx > 0 && wanted > channels.rx {
        return Err(format!(
            "port {}: {interface} has {} receive queue(s), the profile reads {wanted}: lower `queues`, or: ethtool -L {interface} rx {wanted}",
            port.interface, channels.rx
        )
        .into());
    }
    if let Device::Vdev(spec) = &mut port.device {
        let other = |arg: &&str| !arg.starts_with("start_queue=") && !arg.starts_with("queue_count=");
        let kept: Vec<&str> = spec.split(',').filter(other).collect();
        *spec = format!("{},start_queue={first},queue_count=1", kept.join(","));
    }
    Ok(())
}

/// Whether each queue of a port is a device of its own.
pub fn is_one_a_device(port: &PortProfile) -> bool {
    port.queues > 1 && port.device.driver() == "net_af_xdp" && port.device.arg("queue_count") == Some("1")
}

fn first_queue(port: &PortProfile) -> u16 {
    port.device.arg("start_queue").and_then(|first| first.parse().ok()).unwrap_or(0)
}

/// The device of a further queue of a port, by its number after the first, and the queue's number on the interface.
fn further_queue(port: &PortProfile, number: u16) -> (String, u16) {
    let queue = first_queue(port).saturating_add(number);
    let name = port.device.name();
    let arg = |arg: &str| match arg {
        arg if arg == name => format!("{name}_q{number}"),
        arg if arg.starts_with("start_queue=") => format!("start_queue={queue}"),
        arg => arg.to_owned(),
    };
    let spec = match &port.device {
        Device::Vdev(spec) => spec.split(',').map(arg).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    };
    (spec, queue)
}

/// A port as DPDK has it: its first device, further ones, the queues of all, and the AF_XDP socket of each queue where a device
/// has one.
pub struct Devices {
    /// The first.
    pub port: Port,
    /// The further ones.
    pub more: Vec<Port>,
    /// Receive queues of all.
    pub rx: Vec<RxQueue>,
    /// Transmit queues of all.
    pub tx: Vec<TxQueue>,
    /// Receive queues of the interface and the descriptors of their sockets.
    pub sockets: Vec<(u16, RawFd)>,
}

impl Devices {
    /// One device with all queues.
    pub fn one(port: Port, rx: Vec<RxQueue>, tx: Vec<TxQueue>) -> Devices {
        Devices { port, more: Vec::new(), rx, tx, sockets: Vec::new() }
    }
}

/// Configures and starts the device of a port, and plugs its further ones.
///
/// # Errors
/// What the driver said.
pub fn configure(
    eal: &Eal,
    first: PortId,
    settings: &PortProfile,
    config: PortConfig,
    pool: &Mempool,
) -> Result<Devices, Failure> {
    if !is_one_a_device(settings) {
        let (port, rx, tx) = Port::configure(eal, first, &config, pool)?;
        return Ok(Devices::one(port, rx, tx));
    }
    let config = PortConfig { rx_queues: 1, tx_queues: 1, ..config };
    let (mut ports, mut rx, mut tx, mut sockets) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for number in 0..settings.queues {
        let (spec, queue) = further_queue(settings, number);
        let id = if number == 0 { first } else { eal.plug(&spec)? };
        if let (Some(last), Attach::Bifurcated) = (ports.last(), settings.attach) {
            // The driver attaches the program anew for each device; at last one with all sockets takes its place. Without
            // rules all that comes in is the kernel's.
            Port::kernel_ifindex(last).map_or(Ok(()), steer::detach)?;
        }
        let before = steer::descriptors();
        let (port, its_rx, its_tx) = Port::configure(eal, id, &config, pool)?;
        let made: Vec<RawFd> = steer::descriptors().difference(&before).copied().collect();
        let [socket] = made[..] else {
            let (interface, count) = (&settings.interface, made.len());
            return Err(format!(
                "port {interface}: DPDK's driver made {count} AF_XDP sockets for receive queue {queue}, not one: set queues = 1"
            )
            .into());
        };
        sockets.push((queue, socket));
        ports.push(port);
        rx.extend(its_rx);
        tx.extend(its_tx);
    }
    let mut ports = ports.into_iter();
    let port = ports.next().ok_or_else(|| format!("port {} has no queue", settings.interface))?;
    Ok(Devices { port, more: ports.collect(), rx, tx, sockets })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(device: &str, queues: u16) -> PortProfile {
        let mut port = PortProfile::new("Gi0/0/0".into(), device.parse().unwrap());
        port.queues = queues;
        port
    }

    #[test]
    fn an_interface_without_channels_in_pairs_gets_a_device_a_queue() {
        // The loopback tells of no channels.
        let mut split = port("vdev:net_af_xdp3,iface=lo,start_queue=4,queue_count=2,busy_budget=0", 2);
        one_a_device(&mut split).unwrap();
        assert_eq!(
            split.device.to_string(),
            "vdev:net_af_xdp3,iface=lo,busy_budget=0,start_queue=4,queue_count=1"
        );
        assert!(is_one_a_device(&split));
        let (spec, queue) = further_queue(&split, 1);
        assert_eq!(
            (spec.as_str(), queue),
            ("net_af_xdp3_q1,iface=lo,busy_budget=0,start_queue=5,queue_count=1", 5)
        );
    }

    #[test]
    fn one_queue_and_other_drivers_stay_as_they_are() {
        for (device, queues) in [("vdev:net_af_xdp0,iface=lo", 1), ("vdev:net_tap0,iface=t0", 2)] {
            let mut kept = port(device, queues);
            one_a_device(&mut kept).unwrap();
            assert_eq!(kept.device.to_string(), device);
            assert!(!is_one_a_device(&kept));
        }
    }
}
