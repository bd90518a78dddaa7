//! The management socket, on a thread of its own: reading, parsing and masking requests, passwords and the disk never
//! delay the loop that holds the roles. That loop only answers views and orders, and puts configurations that are
//! already parsed and assessed into force.

mod access;
mod call;
mod commands;
mod configure;
mod enable;
mod read;
mod server;
mod startup;

pub use call::{Call, Moved, Prepared, Running, Settings};
pub use configure::log_remarks;
pub use server::bind;
use std::sync::Arc;
use tokio::net::UnixListener;
use tokio::sync::mpsc;

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
