//! usherd, the control plane's daemon.
#![forbid(unsafe_code)]

use clap::Parser;
use controlplane::daemon::{self, Options};
use controlplane::logging;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The control plane of Usher: holds the roles, publishes the snapshot to the data plane, answers `usher`.
///
/// SIGHUP reads the configuration again (a bad one changes nothing), SIGTERM hands the roles over and ends.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The configuration, in the style of IOS
    #[arg(long, value_name = "FILE", default_value = "/etc/usher/usher.conf")]
    config: PathBuf,
    /// The platform profile, which binds interface names to ports
    #[arg(long, value_name = "FILE", default_value = "/etc/usher/profile.toml")]
    profile: PathBuf,
    /// Directory of the sockets and the state
    #[arg(long, value_name = "DIR", default_value = "/run/usher")]
    run_dir: PathBuf,
    /// At the end, take the exception devices and macvlans away too
    #[arg(long)]
    cleanup: bool,
    /// The control socket of the local IKE daemon, for `track N ike-daemon`
    #[arg(long, value_name = "PATH", default_value = "/run/charon.vici")]
    vici: PathBuf,
}

fn main() -> ExitCode {
    let Arguments { config, profile, run_dir, cleanup, vici } = Arguments::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_env("USHER_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,netlink_proto=warn"));
    // journald adds the time itself.
    let journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let (log, _flush) = match logging::start(std::io::stderr()) {
        Ok(started) => started,
        Err(error) => {
            eprintln!("usherd: a thread cannot be started: {error}: raise the limit of processes");
            return ExitCode::FAILURE;
        }
    };
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(log)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal());
    if journal {
        log.without_time().init();
    } else {
        log.init();
    }
    match daemon::start::run(Options { config, profile, run_dir, cleanup, vici }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("usherd: {error}");
            ExitCode::FAILURE
        }
    }
}
