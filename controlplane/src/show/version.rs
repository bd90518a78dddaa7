//! `show version`

use serde::Serialize;
use std::fmt::Write as _;
use std::time::Duration;

/// Versions and uptime.
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
    /// Log lines that were dropped because the log was not read in time
    pub log_lines_dropped: u64,
}

impl VersionView {
    /// As text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!(
            "Usher Software, Version {}\n\n{} uptime is {}\nProcess {}, snapshot layout {}\n\
             Configuration file is \"{}\"\nPlatform profile is \"{}\"\n",
            self.version,
            self.hostname.as_deref().unwrap_or("Device"),
            super::age(Duration::from_secs(self.uptime_s)),
            self.pid,
            self.snapshot_layout,
            self.config,
            self.profile
        );
        if self.log_lines_dropped > 0 {
            let _ = writeln!(
                text,
                "{} log lines were dropped: the log was not read in time",
                self.log_lines_dropped
            );
        }
        text
    }
}
