//! The startup configuration: one writer, and what it holds now.

use super::access::Peer;
use super::call::Running;
use crate::api::{Code, Reply};
use crate::config::secrets::mask;
use crate::config::{Keys, render};
use crate::files::{self, Survives};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, Semaphore, watch};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// Mode of a file that was not there: keys are in it.
const MODE: u32 = 0o640;
/// A client waits this long for the disk.
const DISK_TIMEOUT: Duration = Duration::from_secs(8);

/// The file, and the turns at it.
#[derive(Debug)]
pub struct Startup {
    file: PathBuf,
    running: watch::Receiver<Running>,
    /// Writers come in the order in which they asked, and each writes what runs when its turn comes
    writer: Arc<Mutex<()>>,
    readers: Arc<Semaphore>,
}

impl Startup {
    /// The startup configuration in `file`, which `write memory` replaces by what is running then.
    #[must_use]
    pub fn new(file: PathBuf, running: watch::Receiver<Running>) -> Startup {
        Startup { file, running, writer: Arc::default(), readers: Arc::new(Semaphore::new(2)) }
    }

    fn too_slow(&self) -> Reply {
        Reply::refusal(Code::Busy, format!("{}: the disk does not answer: try again", self.file.display()))
    }

    /// `write memory`
    pub(super) async fn write(&self, json: bool, peer: &Peer) -> Result<Reply, Reply> {
        let turn = timeout(DISK_TIMEOUT, self.writer.clone().lock_owned()).await;
        let Ok(turn) = turn else { return Err(self.too_slow()) };
        let (file, running) = (self.file.clone(), self.running.borrow().config.clone());
        let written = spawn_blocking(move || {
            // Also for a client that has not waited: the next writer waits for this one's disk.
            let _turn = turn;
            let text = render(&running, Keys::Shown);
            files::replace(&file, text.as_bytes(), MODE, Survives::PowerLoss)
        });
        let file = self.file.display();
        match timeout(DISK_TIMEOUT, written).await {
            Ok(Ok(Ok(()))) => {
                tracing::info!("%SYS-5-CONFIG_NV: user {peer} wrote the running configuration to {file}");
                Ok(Reply::text(json, "Building configuration...\n[OK]\n"))
            }
            Ok(Ok(Err(error))) => Err(Reply::error(format!(
                "{file}: {error}: make room or its directory writable for usherd, and write again"
            ))),
            Ok(Err(_)) => Err(Reply::error(format!("{file}: not written: see usherd's log"))),
            Err(_) => Err(self.too_slow()),
        }
    }

    /// `show startup-config`
    pub(super) async fn show(&self, json: bool) -> Result<Reply, Reply> {
        let turn = timeout(DISK_TIMEOUT, self.readers.clone().acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { return Err(self.too_slow()) };
        let file = self.file.clone();
        let read = spawn_blocking(move || {
            let _turn = turn;
            crate::config::read(&file).map(|text| mask(&text))
        });
        match timeout(DISK_TIMEOUT, read).await {
            Ok(Ok(Ok(text))) => Ok(Reply::text(json, &text)),
            Ok(Ok(Err(error))) => Err(Reply::error(error.to_string())),
            Ok(Err(_)) => Err(Reply::error("see usherd's log")),
            Err(_) => Err(self.too_slow()),
        }
    }
}
