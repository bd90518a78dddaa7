//! `usher-dataplane run`: brings ports and workers up, keeps them in step with usherd, and takes them down.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam::queue::ArrayQueue;
use dpdk::{Eal, ThreadRegistration, rdtsc};
use platform::clock::monotonic_ns;
use platform::host;
use platform::profile::{Idle, Profile};
use platform::snapshot::{Feedback, FeedbackReader, FeedbackSpec, FeedbackView, Reader};
use signal_hook::consts::{SIGINT, SIGTERM};
use tracing::{info, warn};

use crate::idle::Sleeper;
use crate::link::Link;
use crate::ports::{self, OpenPort};
use crate::stages::StageClock;
use crate::worker::{Observer, Settings, Source, Worker};
use crate::{Reason, View, fixed, steer};

/// The control thread looks after the snapshot's generation this often: it bounds how late a MAC filter is set.
const TICK: Duration = Duration::from_millis(2);
/// Ports' own counters and link are read this often.
const PORT_TICK: Duration = Duration::from_millis(100);
/// A worker does its housekeeping at least every so many passes.
const HOUSEKEEPING: u32 = 256;

/// What to run.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Platform profile: ports, cores, memory, meters
    #[arg(long, value_name = "FILE")]
    profile: PathBuf,
    /// usherd's socket for the data plane
    #[arg(long, value_name = "PATH", default_value = "/run/usher/dataplane.sock")]
    socket: PathBuf,
    /// One more port: a DPDK virtual device such as net_af_xdp0,iface=eth1; may be repeated
    #[arg(long, value_name = "SPEC")]
    vdev: Vec<String>,
    /// Static mode, without usherd: a virtual address to answer for; may be repeated
    #[arg(long, value_name = "ADDR", requires = "redirect_to")]
    vip: Vec<IpAddr>,
    /// Static mode: a gateway to name; may be repeated
    #[arg(long, value_name = "ADDR", requires = "vip")]
    redirect_to: Vec<IpAddr>,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// One message with the remedy.
pub fn run(args: &Args) -> Result<(), Failure> {
    let mut profile = Profile::load(&args.profile)?;
    if !args.vdev.is_empty() && profile.subinterfaces().next().is_some() {
        return Err("--vdev would be numbered before the subinterfaces of `vlans`, and usherd knows nothing of it: write it \
                    as a [[port]] into the profile"
            .into());
    }
    for (index, spec) in args.vdev.iter().enumerate() {
        profile.port.push(ports::vdev(spec, index)?);
    }
    if profile.port.is_empty() {
        let file = args.profile.display();
        return Err(format!("profile {file} has no [[port]]: add one, or name a device with --vdev").into());
    }
    let is_static = !args.vip.is_empty();
    if is_static {
        // Checked before anything is touched; the MAC follows with the port.
        fixed::body(&args.vip, &args.redirect_to, [0; 6], [0; 2])?;
    }
    let _instance = host::instance::take("usher-dataplane")?;
    let plan = host::preflight(&mut profile, Path::new("/"))?;
    for reason in &plan.reasons {
        info!("{reason}");
    }
    for warning in &plan.warnings {
        warn!("{warning}");
    }
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    // EAL's own threads take what this thread may use: the workers' cores must not be among it.
    host::cores::confine(&plan.main)?;
    let program = ports::steer(&mut profile)?;
    let eal = ports::start_eal(&profile, &plan)?;
    let (mut open, per_worker) = ports::open(&eal, &profile, &plan)?;
    drop(program);
    if is_static {
        open.iter_mut().for_each(|port| port.set_rules(&steer::static_rules(&args.vip)));
    }
    let workers = plan.workers.len();
    let ports = ports::identities(&open);
    let feedback = Feedback::create(&FeedbackSpec { workers, ports, counters: Reason::COUNTERS })?;

    let mac = open.first().map(|port| port.port.mac()).unwrap_or_default();
    let key = [random()?, random()?];
    let mut team = Team { stop: Arc::clone(&stop), workers: Vec::new() };
    for (index, (place, queues)) in plan.workers.iter().zip(per_worker).enumerate() {
        let (view, source) = if is_static {
            (View::fixed(fixed::body(&args.vip, &args.redirect_to, mac, key)?), Source::Fixed)
        } else {
            (View::new(), Source::Snapshot(None))
        };
        let block =
            feedback.worker(index).ok_or_else(|| format!("the counters of worker {index} are taken"))?;
        block.set_core(place.core as u32);
        let settings = Settings::of(&profile, workers, key);
        let place = (index, place.core);
        if profile.worker.stages {
            let worker = Worker::new(queues, view, source, block, settings, StageClock::default());
            team.start(&eal, place, worker, &profile)?;
        } else {
            let worker = Worker::new(queues, view, source, block, settings, ());
            team.start(&eal, place, worker, &profile)?;
        }
    }
    info!(workers = workers, ports = open.len(), r#static = is_static, "data plane up");
    let result = control(args, is_static, &feedback, open, &team);
    team.stop.store(true, Ordering::Relaxed);
    for worker in team.workers {
        if worker.thread.join().is_err() {
            warn!("a worker ended by a panic");
        }
    }
    info!("data plane down");
    if is_static {
        // Without usherd nobody else could tell.
        print!("{}", summary(&FeedbackReader::map(feedback.fd().try_clone_to_owned()?)?.read()));
    }
    result
}

/// What the workers counted, a line a counter that is not 0, with the share of each worker.
fn summary(view: &FeedbackView) -> String {
    let mut text = String::new();
    for worker in &view.workers {
        let busy = worker.busy_cycles as f64 * 100.0 / worker.total_cycles.max(1) as f64;
        text += &format!(
            "worker {} core {} busy {busy:.1} %, {} of {} cycles\n",
            worker.index, worker.core, worker.busy_cycles, worker.total_cycles
        );
        for stage in &worker.stages {
            let each = stage.cycles as f64 / stage.frames.max(1) as f64;
            text += &format!("stage {:<8} {each:>8.1} cycles a frame, {} frames\n", stage.name, stage.frames);
        }
    }
    for counter in view.counters.iter().filter(|counter| counter.total > 0) {
        let shares: Vec<String> = counter.per_worker.iter().map(u64::to_string).collect();
        let outside =
            if counter.outside > 0 { format!(", outside {}", counter.outside) } else { String::new() };
        text += &format!(
            "{:<6} {:<20} {:>12}  by worker {}{outside}\n",
            counter.action,
            counter.name,
            counter.total,
            shares.join(" ")
        );
    }
    text
}

/// The control thread's loop: usherd's snapshot to the workers, MAC filters to the ports, the ports' state back.
fn control(
    args: &Args,
    is_static: bool,
    feedback: &Feedback,
    mut open: Vec<OpenPort>,
    team: &Team,
) -> Result<(), Failure> {
    let mut link = (!is_static).then(|| Link::new(args.socket.clone()));
    let mut next_ports = Instant::now();
    while !team.stop.load(Ordering::Relaxed) {
        if let Some(dead) = team.workers.iter().position(|worker| worker.thread.is_finished()) {
            return Err(format!("worker {dead} ended: the lines above say why").into());
        }
        let mut filters_moved = false;
        if let Some(link) = &mut link {
            if let Some(reader) = link.poll(feedback) {
                team.hand_over(&reader);
            }
            filters_moved = link.filters(&mut open);
            if !filters_moved {
                link.rules(&mut open, monotonic_ns());
            }
        }
        team.collect_old();
        let now = Instant::now();
        if filters_moved || now >= next_ports {
            next_ports = now + PORT_TICK;
            ports::tell(feedback, &mut open);
        }
        feedback.heartbeat(monotonic_ns());
        std::thread::sleep(TICK);
    }
    ports::tell(feedback, &mut open);
    Ok(())
}

fn random() -> Result<u64, Failure> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(u64::from_ne_bytes(bytes))
}

/// A worker's thread and its mailboxes. Snapshots go in; old ones come back, so that no worker unmaps memory.
struct Member {
    thread: JoinHandle<()>,
    new: Arc<ArrayQueue<Arc<Reader>>>,
    old: Arc<ArrayQueue<Arc<Reader>>>,
}

struct Team {
    stop: Arc<AtomicBool>,
    workers: Vec<Member>,
}

impl Team {
    fn start<O: Observer + Send + 'static>(
        &mut self,
        eal: &Eal,
        (index, core): (usize, usize),
        worker: Worker<O>,
        profile: &Profile,
    ) -> Result<(), Failure> {
        let (new, old) = (Arc::new(ArrayQueue::new(1)), Arc::new(ArrayQueue::new(4)));
        let (mailbox, returns, stop, eal) =
            (Arc::clone(&new), Arc::clone(&old), Arc::clone(&self.stop), eal.clone());
        let sleeper = match profile.worker.idle {
            Idle::Spin => None,
            Idle::Adaptive => Some(Sleeper::new(Duration::from_micros(profile.worker.idle_max_us))),
        };
        let thread = std::thread::Builder::new().name(format!("worker{index}")).spawn(move || {
            if !core_affinity::set_for_current(core_affinity::CoreId { id: core }) {
                warn!(
                    worker = index,
                    core, "cannot be pinned to its core: it runs where the scheduler puts it"
                );
            }
            let registration = match eal.register_thread() {
                Ok(registration) => registration,
                Err(error) => return tracing::error!(worker = index, %error, "cannot register with DPDK"),
            };
            turn(worker, &registration, sleeper, &mailbox, &returns, &stop);
        })?;
        self.workers.push(Member { thread, new, old });
        Ok(())
    }

    /// Gives every worker the new snapshot; one that it has not fetched yet is overtaken.
    fn hand_over(&self, reader: &Arc<Reader>) {
        for worker in &self.workers {
            drop(worker.new.force_push(Arc::clone(reader)));
        }
    }

    fn collect_old(&self) {
        for worker in &self.workers {
            while worker.old.pop().is_some() {}
        }
    }
}

/// A worker's life.
fn turn<O: Observer>(
    mut worker: Worker<O>,
    _registration: &ThreadRegistration,
    mut sleeper: Option<Sleeper>,
    mailbox: &ArrayQueue<Arc<Reader>>,
    returns: &ArrayQueue<Arc<Reader>>,
    stop: &AtomicBool,
) {
    let mut last_tsc = rdtsc();
    let mut passes = 0u32;
    loop {
        let moved = worker.pass(monotonic_ns(), &mut last_tsc);
        passes += 1;
        let idle = moved == 0 && sleeper.is_some();
        if passes >= HOUSEKEEPING || idle {
            worker.housekeep(monotonic_ns(), false);
            worker.block().add_loops(u64::from(passes));
            passes = 0;
            if let Some(reader) = mailbox.pop()
                && let Some(old) = worker.set_reader(reader)
            {
                // A full queue would mean that the control thread is stuck; the mapping is then dropped here.
                drop(returns.push(old));
            }
            if stop.load(Ordering::Relaxed) {
                break;
            }
        }
        if let Some(sleeper) = &mut sleeper {
            sleeper.after(moved);
        }
    }
    worker.housekeep(monotonic_ns(), true);
}
