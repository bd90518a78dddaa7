//! The way to the runner: its configuration, the commands to it, and what others see of it.

use super::super::ports::Port;
use super::publisher::{Choices, Published};
use super::role::Roles;
use super::stalls::Stalls;
use crate::config::health::{GroupPlan, Plan};
use crate::config::{Config, Interface};
use crate::exec::Debug;
use crate::net::report::Report;
use crate::types::{Family, GroupKey, IfName, Nanos, PortIndex};
use platform::snapshot::handover::Peer;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};

/// Age of a view at which a new one is made although no state has changed.
pub(super) const VIEW_INTERVAL: Nanos = Nanos::from_millis(100);

/// The configuration that the runner works by.
#[derive(Clone, Default)]
pub struct Settings {
    /// As it was entered
    pub config: Arc<Config>,
    /// The part of it that can run
    pub plan: Arc<Plan>,
    /// Ports by the numbers that the data plane gives them
    pub ports: Arc<Vec<Port>>,
    /// Groups whose cluster has a load feed: they are not in sync before the cluster's runner reports it
    pub feeds: Arc<BTreeSet<GroupKey>>,
}

impl Settings {
    /// Exception device of an interface.
    #[must_use]
    pub fn exception(&self, name: &IfName) -> Option<&str> {
        self.ports.iter().find(|port| port.interface.as_ref() == Some(name))?.exception.as_deref()
    }

    /// Exception device of a group's interface.
    #[must_use]
    pub fn exception_of(&self, plan: &GroupPlan) -> Option<&str> {
        self.ports.get(plan.port?.get())?.exception.as_deref()
    }

    /// Exception device of a group's interface, and the name of the group's macvlan over it.
    #[must_use]
    pub fn devices(&self, plan: &GroupPlan) -> Option<(String, String)> {
        let exception = self.exception_of(plan)?.to_owned();
        let index = plan.port?.get();
        let family = if plan.key.family == Family::V6 { "v6" } else { "" };
        Some((exception, format!("hsrp{index}-{}{family}", plan.key.group)))
    }

    /// The configured interface of a port.
    pub(super) fn interface(&self, port: PortIndex) -> Option<(&IfName, Option<&Interface>)> {
        let name = self.ports.get(port.get())?.interface.as_ref()?;
        Some((name, self.config.interfaces.get(name)))
    }
}

/// A command of another thread.
pub enum Command {
    /// Another configuration
    Configure(Settings),
    /// A data plane has attached
    Attach(Arc<Peer>),
    /// Clients of a group's role are ready for it, or not any more (`preempt delay sync`)
    Synced(GroupKey, bool),
    /// The IKE daemon answers
    IkeDaemon(bool),
    /// Debugging that is to be on
    Debug(Debug),
    /// Hands the role of matching groups over; the reply is for the operator
    Failover {
        /// Interface; none: all
        interface: Option<IfName>,
        /// Group number
        group: u16,
        /// Text, or why not
        reply: oneshot::Sender<Result<String, String>>,
    },
    /// Report on a kernel device
    Device(Report),
    /// Gives all roles up and ends
    Stop,
}

/// HSRP as other threads see it, at most [`VIEW_INTERVAL`] old.
#[derive(Clone, Default)]
pub struct View {
    /// When it was made, ns
    pub at_ns: Nanos,
    /// Instance id of the snapshot's memory
    pub instance: u64,
    /// The groups
    pub roles: Roles,
    /// Messages that no group took, by port and reason
    pub refused: BTreeMap<(PortIndex, &'static str), u64>,
    /// The last message of the other version, by port: its sender, the version, and when it came, ns
    pub other_version: BTreeMap<PortIndex, (IpAddr, u8, Nanos)>,
    /// Tracked objects; true: down
    pub tracks: BTreeMap<u16, bool>,
    /// The snapshot in force
    pub published: Arc<Published>,
    /// Delays of the loop
    pub stalls: Stalls,
    /// Debugging that is on
    pub debug: Debug,
}

/// The way to the runner.
#[derive(Clone)]
pub struct Handle {
    /// Commands, each of which the runner works off in microseconds. Senders are few and paced: the queue stays short.
    pub commands: mpsc::UnboundedSender<Command>,
    /// Choices of the cluster's runner; only the latest counts
    pub choices: watch::Sender<Choices>,
    /// The latest view
    pub view: watch::Receiver<Arc<View>>,
}

impl Handle {
    /// Sends a command. A runner that has ended needs none.
    pub fn send(&self, command: Command) {
        let _ = self.commands.send(command);
    }

    /// The latest view.
    #[must_use]
    pub fn latest(&self) -> Arc<View> {
        self.view.borrow().clone()
    }
}
