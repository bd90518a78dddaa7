//! `usher-dataplane`: see the library's documentation.
#![forbid(unsafe_code)]

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use dataplane::{replay, run};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Usher's data plane: answers IKE_SA_INIT with a REDIRECT (RFC 5685), passes the rest on.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Own the ports of a profile and answer, with usherd or (with --vip) without
    Run(run::Args),
    /// Send a capture through the worker loop and write the answers; needs no privilege
    Replay(replay::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let default = match cli.command {
        Command::Run(_) => "info",
        Command::Replay(_) => "warn",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let result = match &cli.command {
        Command::Run(args) => run::run(args).map_err(|error| error.to_string()),
        Command::Replay(args) => replay::replay(args).map_err(|error| error.to_string()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("usher-dataplane: {error}");
            ExitCode::FAILURE
        }
    }
}
