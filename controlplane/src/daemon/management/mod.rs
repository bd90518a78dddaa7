//! The management socket, on a thread of its own: reading, parsing and masking requests, passwords and the disk never
//! delay the loop that holds the roles. That loop only answers views and orders, and puts configurations that are
//! already parsed and assessed into force.

mod access;
mod commands;
mod configure;
mod enable;
mod read;
mod server;
mod startup;

use crate::api::Reply;
use crate::config::change::Order;
use crate::config::health::{self, Plan};
use crate::config::{Binding, Config};
use crate::exec::Invocation;
use crate::types::IfName;
pub use configure::log_remarks;
pub use server::bind;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::UnixListener;
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
        let interfaces = (0..ports).map(|port| binding.name(&config, port)).collect();
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
        /// What was ordered, also where the configuration said so already
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
    /// How many ports there are
    pub ports: usize,
    /// The running configuration
    pub running: watch::Receiver<Running>,
    /// To the loop
    pub calls: mpsc::Sender<Call>,
}

/// The loop's end of the thread.
pub struct Management {
    reload: mpsc::Sender<()>,
}

/// Blocking work of all clients at once: files, parsing, passwords.
const BLOCKING_THREADS: usize = 6;

impl Management {
    /// Starts serving the socket.
    ///
    /// # Errors
    /// When the thread or its runtime cannot be started.
    pub fn start(
        listener: std::os::unix::net::UnixListener,
        settings: Settings,
    ) -> std::io::Result<Management> {
        let (reload, mut reloads) = mpsc::channel(1);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(BLOCKING_THREADS)
            .thread_name("usherd-mgmt")
            .build()?;
        listener.set_nonblocking(true)?;
        std::thread::Builder::new().name("usherd-mgmt".to_owned()).spawn(move || {
            runtime.block_on(async move {
                let listener = match UnixListener::from_std(listener) {
                    Ok(listener) => listener,
                    Err(error) => {
                        tracing::error!("%SYS-3-MGMT: the socket cannot be served: {error}: restart usherd");
                        return;
                    }
                };
                let server = Arc::new(server::Server::new(settings));
                let reloader = server.clone();
                tokio::spawn(async move {
                    while reloads.recv().await.is_some() {
                        reloader.reload().await;
                    }
                });
                server.serve(listener).await;
            });
        })?;
        Ok(Management { reload })
    }

    /// Has the configuration file read again. A request that waits already is enough.
    pub fn reload(&self) {
        let _ = self.reload.try_send(());
    }
}
