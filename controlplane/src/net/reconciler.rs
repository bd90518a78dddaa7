//! The reconciler of the kernel's devices: a thread of its own that alone changes devices, addresses, sysctls and routes.
//!
//! What is wanted is stated, what is there is known from rtnetlink's events, and what differs is put right. Callers
//! never wait for it: they leave what they want in its inbox, where the last word about a device replaces the one
//! before, and hear of the outcome by a [`Report`].

use super::links::LinkTable;
use super::{Net, NetError, Wanted};
use crate::types::Prefix;
use futures_util::TryStreamExt as _;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;
use tokio::sync::Notify;

/// The end waits no longer than this for the kernel.
const STOP_WAIT: Duration = Duration::from_secs(3);

/// The owner of a port's device, which decides what may be done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// usherd: a persistent TAP, which is made anew when it is gone
    Usherd,
    /// The data plane: the device comes and goes with it
    Dataplane,
    /// The host: its MAC, MTU and settings are its own. What must be set is restored, and addresses that are not listed
    /// stay
    Host,
}

/// The exception device of a port as it is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortDevice {
    /// Name in the kernel
    pub name: String,
    /// Owner
    pub owner: Owner,
    /// MAC address, where it is known; the host's own is left alone
    pub mac: Option<[u8; 6]>,
    /// MTU, where it is known; the host's own is left alone
    pub mtu: Option<u32>,
    /// Addresses; none while the interface is shut
    pub addresses: Vec<Prefix>,
}

/// The macvlan of a group as it is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDevice {
    /// The exception device below it
    pub parent: String,
    /// The virtual MAC address
    pub mac: [u8; 6],
    /// The virtual addresses, with the prefix length that they get on the device; none while the role is not ours
    pub addresses: Vec<Prefix>,
}

/// A fault that was put right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repair {
    /// The device was missing
    Device,
    /// The device was up no more
    Down,
    /// The MAC address had changed
    Mac,
    /// The MTU had changed
    Mtu,
    /// An address was missing
    Address(Prefix),
    /// An address was there that is not wanted
    Stranger(Prefix),
    /// A route was missing
    Route(String),
    /// A setting of /proc/sys had changed
    Setting(String),
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Repair::Device => f.write_str("the device was missing"),
            Repair::Down => f.write_str("the device was down"),
            Repair::Mac => f.write_str("the MAC address had changed"),
            Repair::Mtu => f.write_str("the MTU had changed"),
            Repair::Address(prefix) => write!(f, "{prefix} was missing"),
            Repair::Stranger(prefix) => write!(f, "{prefix} is not configured"),
            Repair::Route(route) => write!(f, "route {route} was missing"),
            Repair::Setting(setting) => write!(f, "{setting} had changed"),
        }
    }
}

/// A report of the reconciler.
#[derive(Debug)]
pub enum Report {
    /// The kernel's devices as they are now; once at the start, then at each change
    Links(Arc<LinkTable>),
    /// A group's device is as [`Reconciler::set_group`] asked, or the kernel refused
    Done {
        /// The ticket of the request
        ticket: u64,
        /// How it went; [`NetError::Superseded`] when a later request about the device came before it was carried out
        result: Result<(), NetError>,
    },
    /// A device is not as wanted, and one attempt to put it right was refused. Attempts go on: after 100 ms at first, 5 s
    /// at last, and at each event of the kernel
    Failed {
        /// The device
        device: String,
        /// The refusal
        error: NetError,
    },
    /// A device that failed is as wanted
    Recovered {
        /// The device
        device: String,
    },
    /// A device was changed by others and is put right
    Repaired {
        /// The device
        device: String,
        /// The fault
        what: Repair,
    },
    /// Another station announces a virtual address that this node owns
    Claim {
        /// The exception device on which it was heard
        device: String,
        /// The virtual address
        address: IpAddr,
        /// The station's MAC address
        mac: [u8; 6],
    },
}

/// What callers have left for the thread.
#[derive(Default)]
struct Inbox {
    ports: Option<Vec<PortDevice>>,
    groups: BTreeMap<String, (Option<GroupDevice>, u64)>,
    superseded: Vec<u64>,
    kept: Option<BTreeSet<String>>,
    stop: Option<bool>,
}

#[derive(Default)]
struct Shared {
    inbox: Mutex<Inbox>,
    notify: Notify,
}

impl Shared {
    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The way to the thread. No method waits but [`Reconciler::stop`].
pub struct Reconciler {
    shared: Arc<Shared>,
    ended: mpsc::Receiver<Vec<NetError>>,
}

impl Reconciler {
    /// Starts the thread. `reports` is called on it and must not block; the first report is the table of links. What is
    /// to be restored at devices of the host is remembered in `run_dir`.
    ///
    /// # Errors
    /// When there is no thread or no netlink socket to be had.
    pub fn start(run_dir: &Path, reports: impl Fn(Report) + Send + 'static) -> Result<Reconciler, NetError> {
        let _ = run_dir;
        let shared = Arc::new(Shared::default());
        let (end, ended) = mpsc::channel();
        let (started, start) = mpsc::channel();
        let of_thread = shared.clone();
        let body = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            match runtime {
                Ok(runtime) => runtime.block_on(async {
                    let engine = match Engine::open(of_thread, Box::new(reports)) {
                        Ok(engine) => engine,
                        Err(error) => return drop(started.send(Err(error))),
                    };
                    drop(started.send(Ok(())));
                    drop(end.send(engine.run().await));
                }),
                Err(error) => drop(started.send(Err(NetError::Thread(error)))),
            }
        };
        std::thread::Builder::new().name("usherd-net".to_owned()).spawn(body).map_err(NetError::Thread)?;
        match start.recv() {
            Ok(Ok(())) => Ok(Reconciler { shared, ended }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(NetError::Thread(std::io::ErrorKind::BrokenPipe.into())),
        }
    }

    /// States the exception devices. Those not listed any more are left alone, but for settings of the host, which are
    /// restored.
    pub fn set_ports(&self, ports: Vec<PortDevice>) {
        self.shared.inbox().ports = Some(ports);
        self.shared.notify.notify_one();
    }

    /// States the device of one group; `None`: it goes. Answered by [`Report::Done`] with this ticket, before any work
    /// on ports begins.
    pub fn set_group(&self, device: String, wanted: Option<GroupDevice>, ticket: u64) {
        let mut inbox = self.shared.inbox();
        if let Some((_, old)) = inbox.groups.insert(device, (wanted, ticket)) {
            inbox.superseded.push(old);
        }
        drop(inbox);
        self.shared.notify.notify_one();
    }

    /// States the names of all groups' devices: macvlans `hsrp…` over the exception devices that are not among them are
    /// left over from an earlier configuration, and go.
    pub fn keep_groups(&self, devices: BTreeSet<String>) {
        self.shared.inbox().kept = Some(devices);
        self.shared.notify.notify_one();
    }

    /// Ends the thread, and waits at most 3 s for it. The settings of the host are restored. With `cleanup` the groups'
    /// devices and the TAPs of usherd go, and the addresses that were put on devices of the host.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn stop(self, cleanup: bool) -> Result<(), Vec<NetError>> {
        self.shared.inbox().stop = Some(cleanup);
        self.shared.notify.notify_one();
        match self.ended.recv_timeout(STOP_WAIT) {
            Ok(errors) if errors.is_empty() => Ok(()),
            Ok(errors) => Err(errors),
            Err(_) => Err(vec![NetError::Late { device: "devices".to_owned(), step: "stop" }]),
        }
    }
}

/// The work of the thread.
struct Engine {
    shared: Arc<Shared>,
    reports: Box<dyn Fn(Report) + Send>,
    net: Net,
    links: Arc<LinkTable>,
    ports: Vec<PortDevice>,
    groups: BTreeMap<String, GroupDevice>,
}

impl Engine {
    fn open(shared: Arc<Shared>, reports: Box<dyn Fn(Report) + Send>) -> Result<Engine, NetError> {
        let net = Net::open()?;
        let links = Arc::new(LinkTable::default());
        Ok(Engine { shared, reports, net, links, ports: Vec::new(), groups: BTreeMap::new() })
    }

    fn report(&self, report: Report) {
        (self.reports)(report);
    }

    async fn run(mut self) -> Vec<NetError> {
        loop {
            self.look().await;
            let mut inbox = std::mem::take(&mut *self.shared.inbox());
            for ticket in inbox.superseded.drain(..) {
                self.report(Report::Done { ticket, result: Err(NetError::Superseded) });
            }
            // A takeover waits for no port, unless its port is new too.
            let first = self.ports.is_empty();
            if first {
                self.take_ports(inbox.ports.take()).await;
            }
            for (device, (wanted, ticket)) in std::mem::take(&mut inbox.groups) {
                let result = self.group(&device, wanted).await;
                self.report(Report::Done { ticket, result });
            }
            self.take_ports(inbox.ports.take()).await;
            if let Some(kept) = inbox.kept.take() {
                let parents: Vec<String> = self.ports.iter().map(|port| port.name.clone()).collect();
                for stray in self.net.macvlans("hsrp", &parents).await.unwrap_or_default() {
                    if !kept.contains(&stray)
                        && let Err(error) = self.net.delete(&stray).await
                    {
                        self.report(Report::Failed { device: stray, error });
                    }
                }
            }
            if let Some(cleanup) = inbox.stop {
                return self.finish(cleanup).await;
            }
            let _ = tokio::time::timeout(Duration::from_millis(100), self.shared.notify.notified()).await;
        }
    }

    async fn take_ports(&mut self, ports: Option<Vec<PortDevice>>) {
        let Some(ports) = ports else { return };
        self.ports = ports;
        for port in &self.ports {
            if port.owner != Owner::Usherd && !self.net.exists(&port.name).await.unwrap_or(false) {
                continue;
            }
            let wanted = Wanted {
                device: port.name.clone(),
                mac: port.mac,
                mtu: port.mtu,
                addresses: port.addresses.clone(),
                shared: port.owner == Owner::Host,
            };
            if let Err(error) = self.net.port(&wanted).await {
                self.report(Report::Failed { device: port.name.clone(), error });
            }
        }
        self.look().await;
    }

    async fn group(&mut self, device: &str, wanted: Option<GroupDevice>) -> Result<(), NetError> {
        let Some(group) = wanted else {
            self.groups.remove(device);
            return self.net.delete(device).await;
        };
        self.groups.insert(device.to_owned(), group.clone());
        let wanted = Wanted {
            device: device.to_owned(),
            mac: Some(group.mac),
            addresses: group.addresses,
            ..Wanted::default()
        };
        let result = self.net.virtual_device(&group.parent, &wanted).await;
        self.look().await;
        result
    }

    /// Reports the links where they have changed.
    async fn look(&mut self) {
        let mut table = LinkTable::default();
        let handle = &self.net.handle;
        let links = handle.link().get().execute().try_collect::<Vec<_>>();
        let Ok(Ok(links)) = tokio::time::timeout(super::PATIENCE, links).await else { return };
        for link in &links {
            table.put_link(link);
        }
        let addresses = handle.address().get().execute().try_collect::<Vec<_>>();
        let Ok(Ok(addresses)) = tokio::time::timeout(super::PATIENCE, addresses).await else { return };
        for address in &addresses {
            table.put_address(address);
        }
        for one in nix::ifaddrs::getifaddrs().into_iter().flatten() {
            if let Some(packet) = one.address.and_then(|address| address.as_link_addr().copied()) {
                table.put_packet(&one.interface_name, packet);
            }
        }
        if table != *self.links {
            self.links = Arc::new(table);
            self.report(Report::Links(self.links.clone()));
        }
    }

    async fn finish(self, cleanup: bool) -> Vec<NetError> {
        let mut errors = Vec::new();
        if cleanup {
            let parents: Vec<String> = self.ports.iter().map(|port| port.name.clone()).collect();
            let taps =
                self.ports.iter().filter(|port| port.owner == Owner::Usherd).map(|port| port.name.clone());
            let strays = self.net.macvlans("hsrp", &parents).await.unwrap_or_default();
            for device in strays.into_iter().chain(taps) {
                errors.extend(self.net.delete(&device).await.err());
            }
        }
        errors
    }
}
