//! usher, the operator's command.
#![forbid(unsafe_code)]

use clap::Parser;
use controlplane::config::{self, Severity, health};
use controlplane::daemon::management::{Reply, Request};
use controlplane::{daemon, show};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long usherd may take for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// More than any answer.
const MAX_REPLY: u64 = 16 << 20;

/// Ask usherd, or check a configuration.
///
/// Words may be abbreviated as on IOS: `usher sh cry ik cl`.
#[derive(Parser)]
#[command(
    version,
    after_help = "\
Commands:
  show crypto ikev2 cluster [details|stats]    the cluster and its gateways
  show dataplane [counters [all]|workers|stages|ports]
  show standby [brief|all] [INTERFACE] [GROUP] the HSRP groups; all: leases and refused messages too
  standby [INTERFACE] GROUP failover           hand the role over to the standby router
  [no] debug standby [packets|events|errors]   tell more of HSRP in usherd's log
  show running-config                          the configuration in force, keys masked
  check FILE                                   errors and warnings of a configuration; 0 when it loads"
)]
struct Arguments {
    /// Where usherd's socket is
    #[arg(long, value_name = "DIR", default_value = "/run/usher")]
    run_dir: PathBuf,
    /// Answer with JSON
    #[arg(long)]
    json: bool,
    /// With check: the platform profile that the configuration is to run with
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,
    /// The command
    #[arg(required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match &arguments.command[..] {
        [word, file] if "check".starts_with(&word.to_ascii_lowercase()) && word.len() > 1 => {
            check(Path::new(file), arguments.profile.as_deref(), arguments.json)
        }
        [word] if word.eq_ignore_ascii_case("check") => usage("check what? `usher check FILE`"),
        words => ask(&words.join(" "), &arguments),
    }
}

fn usage(message: &str) -> ExitCode {
    eprintln!("usher: {message}");
    ExitCode::from(2)
}

fn ask(command: &str, arguments: &Arguments) -> ExitCode {
    // A misspelled question needs no usherd.
    if let Err(message) = show::question(command) {
        eprintln!("{message}");
        return ExitCode::from(2);
    }
    let socket = daemon::socket(&arguments.run_dir);
    let reply = match exchange(&socket, &Request { command: command.to_owned(), json: arguments.json }) {
        Ok(reply) => reply,
        Err(error) => {
            let remedy = match error.kind() {
                std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused => {
                    "usherd is not running: `systemctl start usherd`, or name its --run-dir"
                }
                std::io::ErrorKind::PermissionDenied => {
                    "only root and members of the group usher may ask: `usermod -aG usher USER` and log in again"
                }
                _ => "usherd does not answer: see `journalctl -u usherd`",
            };
            eprintln!("usher: {}: {error}: {remedy}", socket.display());
            return ExitCode::FAILURE;
        }
    };
    let shown = match reply {
        Reply { error: Some(error), .. } => {
            eprintln!("usher: {error}");
            return ExitCode::FAILURE;
        }
        Reply { json: Some(json), .. } => format!("{json:#}\n"),
        // JSON's null: there is no such thing as was asked for.
        Reply { text: None, .. } => "null\n".to_owned(),
        Reply { text, .. } => text.unwrap_or_default(),
    };
    print(&shown)
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

fn exchange(socket: &Path, request: &Request) -> std::io::Result<Reply> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut reply = Vec::new();
    BufReader::new(stream.take(MAX_REPLY)).read_until(b'\n', &mut reply)?;
    if reply.is_empty() {
        return Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the connection was closed"));
    }
    Ok(serde_json::from_slice(&reply)?)
}

fn check(path: &Path, profile: Option<&Path>, json: bool) -> ExitCode {
    let ports = match profile.map(platform::profile::Profile::load).transpose() {
        Ok(profile) => profile.map(|profile| profile.port),
        Err(error) => {
            eprintln!("usher: {error}");
            return ExitCode::FAILURE;
        }
    };
    let port_of = |name: &config::IfName| {
        let mut ports = ports.iter().flatten();
        ports.position(|port| config::IfName::parse(&port.interface).as_ref() == Ok(name))
    };
    let (loads, plan, remarks) =
        match config::load_for(path, |name| ports.is_none() || port_of(name).is_some()) {
            Ok(loaded) => {
                (true, health::assess(&loaded.config, ports.is_some().then_some(&port_of)), loaded.remarks)
            }
            Err(config::LoadError::Wrong { remarks, .. }) => (false, health::Plan::default(), remarks),
            Err(error) => {
                eprintln!("usher: {error}");
                return ExitCode::FAILURE;
            }
        };
    let down: Vec<String> = plan
        .groups
        .iter()
        .flat_map(|group| group.down.iter().map(move |why| format!("{}: {why}", group.key)))
        .chain(
            plan.cluster.iter().flat_map(|cluster| cluster.down.iter().map(|why| format!("cluster: {why}"))),
        )
        .collect();
    let code = if loads { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if json {
        let value = serde_json::json!({
            "loads": loads, "remarks": remarks, "down": down, "warnings": plan.warnings,
        });
        print(&format!("{value:#}\n"));
        return code;
    }
    let file = path.display().to_string();
    let mut text: String = remarks.iter().map(|remark| remark.render(&file)).collect();
    for why in &down {
        text.push_str(&format!("{file}: stays down: {why}\n"));
    }
    for warning in &plan.warnings {
        text.push_str(&format!("{file}: warning: {warning}\n"));
    }
    let count = |severity| remarks.iter().filter(|remark| remark.severity == severity).count();
    text.push_str(&format!(
        "{file}: {}: {} errors, {} warnings, {} notes\n",
        if loads { "loads" } else { "does not load" },
        count(Severity::Error),
        count(Severity::Warning) + plan.warnings.len(),
        count(Severity::Notice)
    ));
    print(&text);
    code
}
