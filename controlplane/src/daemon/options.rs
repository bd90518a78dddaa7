//! The options of usherd, and why it did not start.

use crate::config::LoadError;
use crate::net::NetError;
use platform::host::HostError;
use platform::profile::ProfileError;
use platform::snapshot::handover::HandoverError;
use std::path::PathBuf;

/// Paths.
#[derive(Clone, Debug)]
pub struct Options {
    /// The IOS-style configuration
    pub config: PathBuf,
    /// The platform profile
    pub profile: PathBuf,
    /// Sockets and state
    pub run_dir: PathBuf,
    /// Take the exception devices and macvlans away at the end
    pub cleanup: bool,
    /// The IKE daemon's control socket
    pub vici: PathBuf,
}

/// Why usherd did not start.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // each variant is the error of the step that its name says
pub enum StartError {
    #[error(transparent)]
    Config(#[from] LoadError),
    #[error(transparent)]
    Profile(#[from] ProfileError),
    #[error(transparent)]
    Handover(#[from] HandoverError),
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(transparent)]
    Net(#[from] NetError),
    #[error("{}: {step}: {source}: make it writable for usherd or give another --run-dir", path.display())]
    RunDir { path: PathBuf, step: &'static str, source: std::io::Error },
    #[error("snapshot: {0}")]
    Snapshot(#[from] platform::snapshot::SnapshotError),
    #[error("a thread cannot be started: {0}: raise the limit of processes")]
    Thread(std::io::Error),
    #[error("cannot wait for signals: {0}")]
    Signals(std::io::Error),
}
