//! What the thread and the loop share: the running configuration, and the requests to the loop.

use crate::api::Reply;
use crate::config::change::Order;
use crate::config::health::{self, Plan};
use crate::config::{Binding, Config};
use crate::exec::Invocation;
use crate::types::{IfName, PortIndex};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};

/// The running configuration, as the loop shares it.
#[derive(Clone, Debug, Default)]
pub struct Running {
    /// Counts the configurations that were put into force
    pub revision: u64,
    /// The configuration
    pub config: Arc<Config>,
    /// Its assessment
    pub plan: Arc<Plan>,
}

/// A configuration that is ready to be put into force.
#[derive(Clone, Debug, Default)]
pub struct Prepared {
    /// The configuration
    pub config: Arc<Config>,
    /// Its assessment
    pub plan: Arc<Plan>,
    /// The interface of each port
    pub interfaces: Vec<Option<IfName>>,
}

impl Prepared {
    /// Assesses a configuration on a machine whose profile has this binding.
    #[must_use]
    pub fn new(config: Config, binding: &Binding, ports: usize) -> Prepared {
        let mut plan = health::assess(&config, Some(&|name| binding.port(&config, name)));
        plan.warnings.extend(binding.warnings(&config));
        let interfaces = (0..ports).map(|port| binding.name(&config, PortIndex::new(port))).collect();
        Prepared { config: Arc::new(config), plan: Arc::new(plan), interfaces }
    }
}

/// A request to the loop.
#[derive(Debug)]
pub enum Call {
    /// A view or an order
    Command {
        /// The command
        invocation: Box<Invocation>,
        /// Answer with a value instead of text
        json: bool,
        /// Receives the answer
        reply: oneshot::Sender<Reply>,
    },
    /// A configuration to be put into force
    Install {
        /// The revision that it was made from
        base: u64,
        /// The configuration; `None`: it is the running one
        prepared: Option<Prepared>,
        /// Orders in the lines, also where the configuration said so already
        orders: Vec<Order>,
        /// Receives the configuration before, or that the running one is another by now
        installed: oneshot::Sender<Result<Running, Moved>>,
    },
}

/// The running configuration has changed meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved;

/// State of the thread.
pub struct Settings {
    /// The configuration file
    pub file: PathBuf,
    /// The interfaces of the profile's ports
    pub binding: Arc<Binding>,
    /// Number of ports
    pub ports: usize,
    /// The running configuration
    pub running: watch::Receiver<Running>,
    /// To the loop
    pub calls: mpsc::Sender<Call>,
}
