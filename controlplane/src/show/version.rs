//! `show version`

use serde::Serialize;
use std::time::Duration;

/// What runs here, and since when.
#[derive(Clone, Debug, Serialize)]
pub struct VersionView {
    /// Version of usherd
    pub version: &'static str,
    /// `hostname`
    pub hostname: Option<String>,
    /// Seconds since usherd started
    pub uptime_s: u64,
    /// Process id of usherd
    pub pid: u32,
    /// The configuration file
    pub config: String,
    /// The platform profile
    pub profile: String,
    /// Layout of the memory shared with the data plane
    pub snapshot_layout: u32,
}

impl VersionView {
    /// As text.
    #[must_use]
    pub fn text(&self) -> String {
        format!(
            "Usher Software, Version {}\n\n{} uptime is {}\nProcess {}, snapshot layout {}\n\
             Configuration file is \"{}\"\nPlatform profile is \"{}\"\n",
            self.version,
            self.hostname.as_deref().unwrap_or("Device"),
            super::age(Duration::from_secs(self.uptime_s)),
            self.pid,
            self.snapshot_layout,
            self.config,
            self.profile
        )
    }
}
