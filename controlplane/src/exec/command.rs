//! Commands of the prompt, and the rows of the tables that give them their syntax.

/// A command of the prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// `show ...`
    Show(Show),
    /// `clear counters`
    ClearCounters,
    /// `clear crypto ikev2 cluster member {ADDRESS|dead}`; without an address the dead
    ClearMember,
    /// `cluster drain [ADDRESS]` (true) and its `no` form
    Drain(bool),
    /// `standby [INTERFACE] GROUP failover`
    Failover,
    /// `debug standby ...` and its `no` form
    Debug(Debug, bool),
    /// `debug crypto ikev2 cluster` and its `no` form
    DebugCluster(bool),
    /// `write memory`
    Write,
    /// A command that the shell carries out itself
    Local(Local),
}

impl Command {
    /// Returns whether only administrators may give it.
    #[must_use]
    pub fn changes(self) -> bool {
        match self {
            Command::ClearCounters
            | Command::ClearMember
            | Command::Drain(_)
            | Command::Failover
            | Command::Debug(..)
            | Command::DebugCluster(_)
            | Command::Write => true,
            Command::Show(_) | Command::Local(_) => false,
        }
    }

    /// Returns whether the shell takes it at `Device#` only.
    #[must_use]
    pub fn privileged(self) -> bool {
        match self {
            Command::Show(show) => show.privileged(),
            Command::Local(local) => matches!(local, Local::ConfigureReplace | Local::ConfigureTerminal),
            _ => self.changes(),
        }
    }
}

/// The views.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// `show crypto ikev2 cluster`
    Cluster,
    /// `show crypto ikev2 cluster details`
    ClusterDetails,
    /// `show crypto ikev2 cluster stats`
    ClusterStats,
    /// `show dataplane`
    Dataplane,
    /// `show dataplane counters`: those that are not 0
    Counters,
    /// `show dataplane counters all`
    AllCounters,
    /// `show dataplane workers`
    Workers,
    /// `show dataplane stages`
    Stages,
    /// `show dataplane ports`
    Ports,
    /// `show redirect for ADDRESS SPI`: what such a request would get
    Redirect,
    /// `show running-config`
    RunningConfig,
    /// `show startup-config`
    StartupConfig,
    /// `show standby`
    Standby,
    /// `show standby brief`
    StandbyBrief,
    /// `show standby all`: with what was refused
    StandbyAll,
    /// `show standby internal`: how late the HSRP thread was
    StandbyInternal,
    /// `show tech-support`
    TechSupport,
    /// `show version`
    Version,
}

impl Show {
    /// Returns whether the shell takes it at `Device#` only.
    #[must_use]
    pub fn privileged(self) -> bool {
        matches!(self, Show::RunningConfig | Show::StartupConfig | Show::TechSupport)
    }
}

/// HSRP debugging, by part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Debug {
    /// Each message in and out
    pub packets: bool,
    /// Each event of a group that has an effect
    pub events: bool,
    /// Each message that was refused
    pub errors: bool,
}

impl Debug {
    /// Switches the parts of `which` on or off.
    pub fn switch(&mut self, which: Debug, on: bool) {
        for (part, chosen) in [
            (&mut self.packets, which.packets),
            (&mut self.events, which.events),
            (&mut self.errors, which.errors),
        ] {
            *part = if chosen { on } else { *part };
        }
    }
}

/// Commands that the shell carries out itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // each is the command of its name
pub enum Local {
    Check,
    ConfigureReplace,
    ConfigureTerminal,
    Disable,
    Enable,
    Exit,
    History,
    TerminalLength,
    Top,
}

/// A row of a command table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its syntax, see [`crate::grammar`]
    pub syntax: &'static str,
    /// The command
    pub command: Command,
    /// Effect, one sentence without its full stop
    pub help: &'static str,
}

pub(super) const fn row(syntax: &'static str, command: Command, help: &'static str) -> Row {
    Row { syntax, command, help }
}
