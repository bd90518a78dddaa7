//! The start of usherd: devices and state as they were left, then its threads.

use super::clb::Clusters;
use super::handover::Handover;
use super::options::{Options, StartError};
use super::ports::{MadeTaps, ports};
use super::{Daemon, hsrp, runtime};
use crate::config::{self, Binding};
use crate::limits::Limits;
use crate::net::NetError;
use crate::net::links::LinkTable;
use crate::net::reconciler::Reconciler;
use crate::net::report::Report;
use crate::state::{Elections, Saver, State};
use platform::host::instance;
use platform::profile::Profile;
use platform::snapshot::handover::Listener;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{mpsc, watch};

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// Reason why usherd did not start. After that it does not end by itself.
pub fn run(options: Options) -> Result<(), StartError> {
    let profile = Profile::load(&options.profile)?;
    let binding = Arc::new(Binding::new(&profile));
    let ports = ports(&profile);
    let loaded = config::load_for(&options.config, &binding)?;

    let directory = options.run_dir.clone();
    let run_dir = |step| {
        let path = directory.clone();
        move |source| StartError::RunDir { path, step, source }
    };
    std::fs::create_dir_all(&options.run_dir).map_err(run_dir("create"))?;
    let listener = Listener::bind(&options.run_dir.join("dataplane.sock"), 0o600)?;
    let _instance = instance::take("usherd")?;
    let made = MadeTaps::make(&ports)?;

    let state_path = options.run_dir.join("state");
    let state = match State::load(&state_path) {
        Ok(Some(state)) => state,
        Ok(None) => State::fresh().map_err(run_dir("random key"))?,
        Err(reason) => {
            tracing::warn!("%SYS-4-STATE: {}: {reason}: starting with a new one", state_path.display());
            State::fresh().map_err(run_dir("random key"))?
        }
    };
    let (saver, written) = Saver::start(state_path, state.clone());
    let (commands, queue) = mpsc::unbounded_channel();
    let (links_tx, links) = watch::channel(Arc::new(LinkTable::default()));
    let to_runner = commands.clone();
    let reconciler = Arc::new(Reconciler::start(&options.run_dir, move |report| match report {
        Report::Links(table) => drop(links_tx.send_replace(table)),
        // The runner may have ended.
        report => drop(to_runner.send(hsrp::Command::Device(report))),
    })?);
    let publisher = hsrp::Publisher::new(state.hash_key, state.assignments.clone())?;
    let share = publisher.share().map_err(run_dir("hand the snapshot over"))?;

    let runtime = runtime()?;
    let guard = runtime.enter();
    let (runner, hsrp) = hsrp::Runner::new(
        publisher,
        reconciler.clone(),
        links.clone(),
        Elections { epochs: state.epochs.clone(), leases: state.leases.clone() },
        saver.clone(),
        (commands, queue),
    )
    .map_err(NetError::Socket)?;
    drop(guard);
    let cleanup = options.cleanup;
    let daemon = Daemon {
        binding,
        ports,
        config: Arc::default(),
        plan: Arc::default(),
        revision: 0,
        running: watch::Sender::default(),
        clusters: Clusters::new().map_err(StartError::Thread)?,
        started: Instant::now(),
        view: hsrp.latest(),
        hsrp,
        links,
        reconciler: reconciler.clone(),
        handover: Handover::new(share),
        dirty: true,
        state,
        saver,
        limits: Limits::default(),
        options,
    };
    let control = std::thread::Builder::new()
        .name("usherd-control".to_owned())
        .spawn(move || daemon.control(loaded, listener, made))
        .map_err(StartError::Thread)?;
    // The process's first thread: only it has the priority that the service manager gives.
    runtime.block_on(runner.run());
    // It asked the runner to stop, and has ended or is about to.
    let result = control.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    written.wait();
    let errors = Arc::into_inner(reconciler).map_or(Ok(()), |reconciler| reconciler.stop(cleanup));
    for error in errors.err().into_iter().flatten() {
        tracing::error!("%NET-3-DEVICE: {error}");
    }
    tracing::info!("%SYS-5-STOP: usherd has stopped");
    result
}
