//! usher, the operator's command.
#![forbid(unsafe_code)]

use clap::Parser;
use controlplane::cli::client::Client;
use controlplane::cli::shell::{Ended, Shell, Source};
use controlplane::cli::{completion, manual, platform};
use std::io::{IsTerminal as _, Read as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// More than any batch.
const MAX_BATCH: u64 = 4 << 20;

/// The command of the IKEv2 load balancer.
///
/// Without a command a shell, or with standard input from elsewhere one command a line. Words may be abbreviated as on
/// IOS: `usher sh cry ik cl`.
#[derive(Parser)]
#[command(
    version,
    after_help = "\
Commands:
  show crypto ikev2 cluster [details|stats]    the cluster and its gateways
  show dataplane [counters [all]|workers|stages|ports]
  show standby [brief|all] [INTERFACE] [GROUP] the HSRP groups; all: leases and refused messages too
  show redirect for ADDRESS SPI [from GATEWAY] the gateway that a client would get
  show running-config, startup-config          the configuration, keys masked
  show version, tech-support
  top                                          the cluster live
  check FILE                                   what a configuration changes, its errors and warnings
  configure replace FILE [force]               put a configuration in the place of the running one
  write memory                                 keep the running configuration
  [no] cluster drain [ADDRESS]                 take a gateway out of service
  standby [INTERFACE] GROUP failover           hand the role over to the standby router
  platform show                                NUMA nodes, cores, hugepages and NICs of this machine
  platform check [PROFILE]                     what the machine lacks for a profile, and what mends it; 0: nothing
  platform suggest                             a profile for this machine
  clear counters, [no] debug ...
  completion bash|fish|zsh, manual             for the shell; the manual page
Exit code: 0 done, 1 refused, 2 not understood"
)]
struct Arguments {
    /// Directory of usherd's socket
    #[arg(long, value_name = "DIR", default_value = "/run/usher")]
    run_dir: PathBuf,
    /// Answer with JSON
    #[arg(long)]
    json: bool,
    /// With check: the platform profile that the configuration is to run with; with platform check: the one to judge
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,
    /// File whose first line is the enable secret, for administrators other than root in scripts
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Print the manual page
    #[arg(long)]
    manual: bool,
    /// The command
    #[arg(value_name = "COMMAND")]
    command: Vec<String>,
}

fn main() -> ExitCode {
    let Arguments { run_dir, json, profile, password_file, manual, command } = Arguments::parse();
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    match &words[..] {
        _ if manual => return print(&manual::page()),
        ["manual"] => return print(&manual::page()),
        ["completion", shell] => {
            return match completion::script(shell) {
                Some(script) => print(script),
                None => usage(&format!(
                    "\"{shell}\" is no shell known here: use {}",
                    completion::SHELLS.join(", ")
                )),
            };
        }
        ["completion"] => {
            return usage(&format!("completion for which shell? {}", completion::SHELLS.join(", ")));
        }
        [word, ..] if word.len() > 1 && "platform".starts_with(&word.to_ascii_lowercase()) => {
            return platform::run(&command[1..], profile.as_deref(), json);
        }
        ["complete", ..] => return print(&completion::complete(&command[1..])),
        _ => {}
    }
    let mut shell = Shell::new(Client::new(&run_dir), json, profile, password_file);
    if !words.is_empty() {
        return ExitCode::from(shell.line(&words.join(" "), Source::Batch).code());
    }
    if std::io::stdin().is_terminal() {
        return match shell.interactive() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!(
                    "usher: the terminal cannot be used: {error}: name a command, as in `usher show version`"
                );
                ExitCode::FAILURE
            }
        };
    }
    let mut text = String::new();
    match std::io::stdin().take(MAX_BATCH).read_to_string(&mut text) {
        Ok(_) => ExitCode::from(shell.batch(&text).code()),
        Err(error) => {
            eprintln!("usher: standard input: {error}: give one command a line, as UTF-8 text");
            ExitCode::from(Ended::Misunderstood.code())
        }
    }
}

fn usage(message: &str) -> ExitCode {
    eprintln!("usher: {message}");
    ExitCode::from(Ended::Misunderstood.code())
}

/// A reader that ends early (`| head`) is no failure.
fn print(text: &str) -> ExitCode {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            eprintln!("usher: the answer cannot be written: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}
