//! The reconciler of the kernel's devices: a thread of its own that alone changes devices, addresses, sysctls and routes.
//!
//! What is wanted is stated, what is there is known from rtnetlink's events, and what differs is put right: as soon as
//! it differs, whoever changed it. Callers never wait: they leave what they want in the inbox, where the last word
//! about a device replaces the one before, and hear of the outcome by a [`Report`].
//!
//! Devices are independent of each other: a refusal at one delays no other. Two that undo each other's work without
//! end are a failure, too.

use super::NetError;
use super::engine::Engine;
use super::report::Report;
use super::wanted::{GroupDevice, Mailbox, PortDevice};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

/// The end waits no longer than this for the kernel.
const STOP_WAIT: Duration = Duration::from_secs(3);

/// The way to the thread, for any number of threads. No method waits but [`Reconciler::stop`].
pub struct Reconciler {
    mailbox: Arc<Mailbox>,
    /// Until it was told to stop
    ended: Mutex<Option<mpsc::Receiver<Vec<NetError>>>>,
}

impl Reconciler {
    /// Starts the thread. `reports` is called on it and must not block; the first report is the table of links. What is
    /// to be restored at devices of the host is remembered in `run_dir`.
    ///
    /// # Errors
    /// When there is no thread or no netlink socket to be had.
    pub fn start(run_dir: &Path, reports: impl Fn(Report) + Send + 'static) -> Result<Reconciler, NetError> {
        let mailbox = Arc::new(Mailbox::default());
        let (end, ended) = mpsc::channel();
        let (started, start) = mpsc::channel();
        let (of_thread, run_dir) = (mailbox.clone(), run_dir.to_owned());
        let body = move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(started.send(Err(NetError::Thread(error)))),
            };
            runtime.block_on(async {
                let engine = match Engine::open(of_thread, &run_dir, Box::new(reports)) {
                    Ok(engine) => engine,
                    Err(error) => return drop(started.send(Err(error))),
                };
                drop(started.send(Ok(())));
                drop(end.send(engine.run().await));
            });
            // A TAP that is being made at the end is not waited for.
            runtime.shutdown_background();
        };
        std::thread::Builder::new().name("usherd-net".to_owned()).spawn(body).map_err(NetError::Thread)?;
        match start.recv() {
            Ok(Ok(())) => Ok(Reconciler { mailbox, ended: Mutex::new(Some(ended)) }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(NetError::Thread(std::io::ErrorKind::BrokenPipe.into())),
        }
    }

    /// States the exception devices. Those not listed any more are left alone, but for settings of the host, which are
    /// restored.
    pub fn set_ports(&self, ports: Vec<PortDevice>) {
        self.mailbox.leave(|inbox| inbox.ports = Some(ports));
    }

    /// States the device of one group; `None`: it goes. Answered by [`Report::Done`] with this ticket. It is served
    /// before ports and before groups that nobody waits for, so that no takeover queues behind a configuration.
    pub fn set_group(&self, device: String, wanted: Option<GroupDevice>, ticket: u64) {
        self.mailbox.leave(|inbox| {
            let old = inbox.groups.insert(device, (wanted, ticket));
            inbox.superseded.extend(old.map(|(_, ticket)| ticket));
        });
    }

    /// States the names of all groups' devices: macvlans `hsrp…` over the exception devices that are not among them are
    /// left over from an earlier configuration, and go.
    pub fn keep_groups(&self, devices: BTreeSet<String>) {
        self.mailbox.leave(|inbox| inbox.kept = Some(devices));
    }

    /// Ends the thread, and waits at most 3 s for it. The settings of the host are restored. With `cleanup` the groups'
    /// devices and the TAPs of usherd go, and the addresses that were put on devices of the host.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn stop(&self, cleanup: bool) -> Result<(), Vec<NetError>> {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner).take();
        // It was told to stop before.
        let Some(ended) = ended else { return Ok(()) };
        self.mailbox.leave(|inbox| inbox.stop = Some(cleanup));
        match ended.recv_timeout(STOP_WAIT) {
            Ok(errors) if errors.is_empty() => Ok(()),
            Ok(errors) => Err(errors),
            Err(_) => Err(vec![NetError::Late { device: "devices".to_owned(), step: "stop" }]),
        }
    }
}

impl Drop for Reconciler {
    fn drop(&mut self) {
        let stopped = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner).is_none();
        // The thread ends with its last user, and only restores the settings of the host.
        if !stopped {
            self.mailbox.leave(|inbox| inbox.stop = Some(false));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_threads_may_share_it() {
        fn shared<T: Send + Sync>() {}
        shared::<Reconciler>();
    }

    #[test]
    fn the_last_request_about_a_group_stands_and_the_others_are_answered_as_superseded() {
        let mailbox = Mailbox::default();
        let (_, ended) = mpsc::channel();
        let reconciler = Reconciler { mailbox: Arc::new(mailbox), ended: Mutex::new(Some(ended)) };
        for ticket in 1..=3 {
            reconciler.set_group("hsrp0-1".to_owned(), None, ticket);
        }
        reconciler.set_group("hsrp0-2".to_owned(), None, 4);
        let inbox = reconciler.mailbox.take();
        assert_eq!(inbox.superseded, [1, 2]);
        assert_eq!((inbox.groups["hsrp0-1"].1, inbox.groups["hsrp0-2"].1), (3, 4));
    }
}
