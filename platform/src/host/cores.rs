//! Which worker runs on which core and polls which queues.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::{HostError, read};
use crate::profile::{Cores, Profile};

/// A core of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Core {
    /// Its NUMA node.
    pub node: usize,
    /// Its physical core: the lowest number among the hyperthreads that share it, itself included.
    pub physical: usize,
    /// The kernel keeps other work off it (isolcpus).
    pub isolated: bool,
    /// The kernel's tick leaves it alone (nohz_full).
    pub nohz: bool,
    /// This process may run there.
    pub allowed: bool,
}

/// The cores that are online, by number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    /// Cores by number.
    pub cores: BTreeMap<usize, Core>,
    /// Distances of each NUMA node to all nodes, in their order; 10 is the node itself.
    pub distances: BTreeMap<usize, Vec<u32>>,
}

/// A worker's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerCore {
    /// The core it is pinned to.
    pub core: usize,
    /// The NUMA node of that core.
    pub node: usize,
    /// What it polls: (port, queue), each by its number.
    pub queues: Vec<(usize, u16)>,
}

/// Who runs where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CorePlan {
    /// The workers, in the order of their numbers.
    pub workers: Vec<WorkerCore>,
    /// Where everything else of the process runs.
    pub main: Vec<usize>,
    /// Ports on each NUMA node; one entry on a machine with one node.
    pub node_ports: Vec<usize>,
    /// Why each worker runs where it does, a line a worker, for the log and for `usher platform show`.
    pub reasons: Vec<String>,
    /// What costs speed.
    pub warnings: Vec<Warning>,
}

/// Something that costs speed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// What it is.
    pub problem: String,
    /// What to do.
    pub remedy: String,
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.problem, self.remedy)
    }
}

impl Topology {
    /// What the machine has whose /sys and /proc lie under `root` (`/` for this one).
    ///
    /// # Errors
    /// /sys or /proc is not there.
    pub fn read(root: &Path) -> Result<Topology, HostError> {
        let base = root.join("sys/devices/system/cpu");
        let optional = |name: &str| parse_list(&fs::read_to_string(base.join(name)).unwrap_or_default());
        let online = parse_list(&read(base.join("online"))?);
        let (isolated, nohz) = (optional("isolated"), optional("nohz_full"));
        let status = read(root.join("proc/self/status"))?;
        let allowed =
            status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap_or_default();
        let allowed = parse_list(allowed);
        let mut node_of = BTreeMap::new();
        let mut distances = BTreeMap::new();
        for (node, dir) in nodes(root) {
            let text = fs::read_to_string(dir.join("distance")).unwrap_or_default();
            distances.insert(node, text.split_whitespace().filter_map(|word| word.parse().ok()).collect());
            let list = fs::read_to_string(dir.join("cpulist")).unwrap_or_default();
            node_of.extend(parse_list(&list).into_iter().map(|core| (core, node)));
        }
        let cores = online
            .into_iter()
            .map(|number| {
                let core = Core {
                    node: node_of.get(&number).copied().unwrap_or(0),
                    physical: optional(&format!("cpu{number}/topology/thread_siblings_list"))
                        .first()
                        .map_or(number, |first| *first),
                    isolated: isolated.contains(&number),
                    nohz: nohz.contains(&number),
                    allowed: allowed.contains(&number),
                };
                (number, core)
            })
            .collect();
        Ok(Topology { cores, distances })
    }

    /// How many physical cores there are.
    pub fn physical_cores(&self) -> usize {
        self.cores.values().map(|core| core.physical).collect::<BTreeSet<_>>().len()
    }

    /// Cores that a worker may be pinned to: an isolated one is outside the usual affinity and yet may be.
    fn usable(&self) -> impl Iterator<Item = (usize, Core)> {
        self.cores
            .iter()
            .map(|(number, core)| (*number, *core))
            .filter(|(_, core)| core.allowed || core.isolated)
    }
}

/// The folder of each NUMA node.
pub(super) fn nodes(root: &Path) -> BTreeMap<usize, PathBuf> {
    let entries = fs::read_dir(root.join("sys/devices/system/node")).into_iter().flatten().flatten();
    let node = |entry: fs::DirEntry| {
        let number = entry.file_name().to_str()?.strip_prefix("node")?.parse::<usize>().ok();
        Some((number.filter(|number| *number < 64)?, entry.path()))
    };
    entries.filter_map(node).collect()
}

/// The kernel's list format: `0-3,8`.
pub(super) fn parse_list(text: &str) -> BTreeSet<usize> {
    text.trim()
        .split(',')
        .filter_map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
            (first <= last && last < 8192).then_some(first..=last)
        })
        .flatten()
        .collect()
}

/// The same, back again.
pub(super) fn show_ranges(cores: &BTreeSet<usize>) -> String {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for core in cores {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *core => *last = *core,
            _ => ranges.push((*core, *core)),
        }
    }
    let show = |(first, last): &(usize, usize)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    ranges.iter().map(show).collect::<Vec<_>>().join(",")
}

fn show_list(cores: impl Iterator<Item = usize>) -> String {
    cores.map(|core| core.to_string()).collect::<Vec<_>>().join(", ")
}

/// Places the workers. `nodes` has the NUMA node of each port, where it is known.
///
/// # Errors
/// A listed core is not there or not ours, or there are more cores than queues.
pub fn plan(profile: &Profile, topology: &Topology, nodes: &[Option<usize>]) -> Result<CorePlan, HostError> {
    let queues: Vec<(usize, u16)> = profile
        .port
        .iter()
        .enumerate()
        .flat_map(|(port, config)| (0..config.queues).map(move |queue| (port, queue)))
        .collect();
    let node_of = |port: usize| nodes.get(port).copied().flatten();
    let mut workers: Vec<WorkerCore> = match &profile.worker.cores {
        Cores::List(list) => listed(list, topology, queues.len())?,
        Cores::Auto => automatic(topology, &queues, node_of),
    };
    let mut warnings = Vec::new();
    for (port, queue) in queues {
        let node = node_of(port);
        // The worker on the port's node that polls least; the first of equals.
        let Some(worker) = workers
            .iter_mut()
            .min_by_key(|worker| (node.is_some_and(|node| node != worker.node), worker.queues.len()))
        else {
            break;
        };
        if let Some(node) = node
            && node != worker.node
        {
            // The order of nodes is that of their numbers, gaps left out.
            let far = topology.distances.keys().position(|other| *other == worker.node);
            let far = far.and_then(|at| topology.distances.get(&node)?.get(at));
            let problem = format!(
                "port {} is on NUMA node {node}, its worker on core {} of node {}{}",
                profile.port[port].interface,
                worker.core,
                worker.node,
                far.map(|far| format!(" at distance {far}")).unwrap_or_default()
            );
            let of_node = topology.usable().filter(|(_, core)| core.node == node).map(|(number, _)| number);
            let near = show_ranges(&of_node.collect());
            let remedy = format!("list cores of node {node} ({near}) in [worker] cores, or lower `queues`");
            warnings.push(Warning { problem, remedy });
        }
        worker.queues.push((port, queue));
    }
    let taken: BTreeSet<usize> = workers.iter().map(|worker| worker.core).collect();
    let allowed = || {
        topology.cores.iter().filter(|(_, core)| core.allowed && !core.isolated).map(|(number, _)| *number)
    };
    let physical = |core: &usize| topology.cores.get(core).map(|core| core.physical);
    let busy: BTreeSet<_> = taken.iter().map(physical).collect();
    // A hyperthread beside a worker takes from it what it uses.
    let mut main: Vec<usize> = allowed().filter(|core| !busy.contains(&physical(core))).collect();
    if main.is_empty() {
        main = allowed().filter(|core| !taken.contains(core)).collect();
        if let Some(core) = main.first() {
            warnings.push(Warning {
                problem: format!("core {core}, where all else runs, is a hyperthread of a worker's core"),
                remedy: "lower `queues`, or list fewer [worker] cores".into(),
            });
        }
    }
    if main.is_empty() {
        main = allowed().collect();
        if main.is_empty() {
            main = taken.iter().copied().collect();
        }
        warnings.push(Warning {
            problem: "no core is left beside the workers': they share theirs with all else".into(),
            remedy: "lower `queues`, or set idle = \"adaptive\"".into(),
        });
    }
    let mut reasons = Vec::new();
    for (number, worker) in workers.iter().enumerate() {
        let core = topology.cores.get(&worker.core).copied().unwrap_or_default();
        let beside: Vec<usize> = (topology.cores.iter())
            .filter(|(other, of)| **other != worker.core && of.physical == core.physical)
            .map(|(other, _)| *other)
            .collect();
        let shared = beside.iter().find(|other| taken.contains(other));
        let thread = match (shared, beside.is_empty()) {
            (Some(other), _) => format!("shares its physical core with the worker on core {other}"),
            (None, true) => "a whole core".into(),
            (None, false) => {
                format!("a whole core (its hyperthread {} stays idle)", show_list(beside.iter().copied()))
            }
        };
        if let Some(other) = shared.filter(|other| **other < worker.core) {
            warnings.push(Warning {
                problem: format!(
                    "the workers on cores {other} and {} are hyperthreads of one physical core: both lose up to half",
                    worker.core
                ),
                remedy: "list whole cores in [worker] cores, or lower `queues`".into(),
            });
        }
        let how = match profile.worker.cores {
            Cores::Auto => "chosen",
            Cores::List(_) => "listed",
        };
        let polls: Vec<String> = (worker.queues.iter())
            .map(|(port, queue)| format!("{} queue {queue}", profile.port[*port].interface))
            .collect();
        let near =
            worker.queues.iter().all(|(port, _)| node_of(*port).is_none_or(|node| node == worker.node));
        let node = if near { "the node of its ports" } else { "NOT the node of its ports" };
        reasons.push(format!(
            "worker {number}: core {} {how}: node {}, {node}; {}; {thread}; polls {}",
            worker.core,
            worker.node,
            if core.isolated { "isolated" } else { "not isolated" },
            if polls.is_empty() { "nothing".to_owned() } else { polls.join(", ") },
        ));
    }
    let last_node = topology.cores.values().map(|core| core.node).max().unwrap_or(0);
    let mut node_ports = vec![0; last_node + 1];
    for port in 0..profile.port.len() {
        if let Some(count) = node_ports.get_mut(node_of(port).unwrap_or(0)) {
            *count += 1;
        }
    }
    Ok(CorePlan { workers, main, node_ports, reasons, warnings })
}

/// Confines the calling thread, and threads that it starts, to `cores`. Done before EAL starts, it keeps EAL's control
/// threads off the workers' cores.
///
/// # Errors
/// None of them may be used by this process.
pub fn confine(cores: &[usize]) -> Result<(), HostError> {
    let mut set = CpuSet::new();
    for core in cores.iter().filter(|core| **core < CpuSet::MAX_CPU) {
        set.set(*core);
    }
    sched_setaffinity(None, &set).map_err(|_| HostError::Core {
        core: cores.first().copied().unwrap_or(0),
        problem: "cannot be used by this process",
        usable: "those of `taskset -p $$`".into(),
    })
}

/// The cores that the calling thread may run on.
pub fn current() -> Vec<usize> {
    let set = sched_getaffinity(None).unwrap_or_default();
    (0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect()
}

fn listed(list: &[usize], topology: &Topology, queues: usize) -> Result<Vec<WorkerCore>, HostError> {
    let usable = || show_list(topology.usable().map(|(number, _)| number));
    if list.len() > queues.max(1) {
        return Err(HostError::IdleCores { cores: list.len(), queues });
    }
    list.iter()
        .map(|&number| {
            let problem = match topology.cores.get(&number) {
                None => "is not online on this machine",
                Some(core) if !core.allowed && !core.isolated => {
                    "is not among the cores this process may use"
                }
                Some(core) => return Ok(WorkerCore { core: number, node: core.node, queues: Vec::new() }),
            };
            Err(HostError::Core { core: number, problem, usable: usable() })
        })
        .collect()
}

/// A core a queue while there are cores: on the port's node first, isolated before others, whole cores before hyperthreads
/// of one that a worker has. One physical core is left to the rest of the process where there is more than one.
fn automatic(
    topology: &Topology,
    queues: &[(usize, u16)],
    node_of: impl Fn(usize) -> Option<usize>,
) -> Vec<WorkerCore> {
    let mut free: Vec<(usize, Core)> = topology.usable().collect();
    let mut busy = BTreeSet::new();
    if free.len() > 1
        && let Some(first) = free.iter().position(|(_, core)| !core.isolated)
    {
        busy.insert(free.remove(first).1.physical);
    }
    let mut workers = Vec::new();
    let one = [(0, 0)];
    for (port, _) in if queues.is_empty() { &one } else { queues } {
        let node = node_of(*port);
        let best = free.iter().enumerate().min_by_key(|(_, (_, core))| {
            (node.is_some_and(|node| node != core.node), !core.isolated, busy.contains(&core.physical))
        });
        let Some((index, _)) = best else { break };
        let (core, Core { node, physical, .. }) = free.remove(index);
        busy.insert(physical);
        workers.push(WorkerCore { core, node, queues: Vec::new() });
    }
    workers
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `nodes` x `physical` cores of two threads each, numbered as Linux does on AMD and Intel: first threads first.
    fn machine(nodes: usize, physical: usize) -> Topology {
        let first = nodes * physical;
        let cores = (0..2 * first)
            .map(|number| {
                let core = Core {
                    node: number % first / physical,
                    physical: number % first,
                    allowed: true,
                    ..Core::default()
                };
                (number, core)
            })
            .collect();
        Topology { cores, ..Topology::default() }
    }

    fn profile(ports: usize, queues: u16, cores: &str) -> Profile {
        let mut text =
            format!("[eal]\nmemory_mib = 4096\n[mempool]\nmbufs = 32767\n[worker]\ncores = {cores}\n");
        for port in 0..ports {
            text += &format!(
                "[[port]]\ninterface = \"Te0/0/{port}\"\ndevice = \"vdev:net_null{port}\"\nqueues = {queues}\n"
            );
        }
        Profile::parse(&text, Path::new("test.toml")).unwrap()
    }

    #[test]
    fn twelve_ports_get_a_whole_core_each_on_their_node() {
        let nodes: Vec<_> = (0..12).map(|port| Some(port / 6)).collect();
        let plan = plan(&profile(12, 1, "\"auto\""), &machine(2, 8), &nodes).unwrap();
        assert_eq!(plan.workers.len(), 12);
        for worker in &plan.workers {
            assert_eq!(worker.queues.len(), 1);
            assert_eq!(worker.node, worker.queues[0].0 / 6);
            assert!(worker.core < 16, "core {} is a hyperthread", worker.core);
        }
        let cores: BTreeSet<_> = plan.workers.iter().map(|worker| worker.core).collect();
        assert_eq!(cores.len(), 12);
        assert!(plan.main.iter().all(|core| !cores.contains(core)) && plan.main.contains(&0));
        assert_eq!(plan.node_ports, [6, 6]);
        assert_eq!(plan.warnings, Vec::new());
    }

    #[test]
    fn few_cores_are_shared_evenly_and_one_is_left() {
        let two = machine(1, 1);
        let plan_two = plan(&profile(3, 1, "\"auto\""), &two, &[]).unwrap();
        assert_eq!(plan_two.workers.len(), 1);
        assert_eq!(plan_two.workers[0].queues, [(0, 0), (1, 0), (2, 0)]);
        assert_eq!((plan_two.workers[0].core, plan_two.main), (1, vec![0]));
        assert!(
            plan_two.warnings[0].problem.contains("core 0, where all else runs"),
            "{:?}",
            plan_two.warnings
        );

        let one = Topology {
            cores: [(0, Core { allowed: true, ..Core::default() })].into(),
            ..Topology::default()
        };
        let plan_one = plan(&profile(1, 2, "\"auto\""), &one, &[]).unwrap();
        assert_eq!((plan_one.workers[0].core, plan_one.main), (0, vec![0]));
        assert_eq!(plan_one.warnings.len(), 1);

        let four = plan(&profile(2, 4, "[2, 3, 4]"), &machine(1, 4), &[]).unwrap();
        assert_eq!(four.workers.iter().map(|worker| worker.queues.len()).collect::<Vec<_>>(), [3, 3, 2]);
    }

    #[test]
    fn isolated_cores_come_first() {
        let mut topology = machine(1, 4);
        for number in [2, 3] {
            let core = topology.cores.get_mut(&number).unwrap();
            (core.isolated, core.allowed) = (true, false);
        }
        let plan = plan(&profile(2, 1, "\"auto\""), &topology, &[]).unwrap();
        assert_eq!(plan.workers.iter().map(|worker| worker.core).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(plan.main, [0, 1, 4, 5], "the hyperthreads of the workers' cores stay idle");
    }

    #[test]
    fn hyperthreads_are_taken_when_whole_cores_run_out_and_each_choice_is_explained() {
        let nodes = [Some(1)];
        let plan = plan(&profile(1, 5, "\"auto\""), &machine(2, 4), &nodes).unwrap();
        let cores: Vec<_> = plan.workers.iter().map(|worker| worker.core).collect();
        assert_eq!(cores, [4, 5, 6, 7, 12], "node 1 has the cores 4-7 and their hyperthreads 12-15");
        assert!(
            plan.warnings[0].problem.contains("cores 4 and 12 are hyperthreads of one"),
            "{:?}",
            plan.warnings
        );
        assert_eq!(
            plan.reasons[1],
            "worker 1: core 5 chosen: node 1, the node of its ports; not isolated; a whole core (its hyperthread 13 \
             stays idle); polls Te0/0/0 queue 1"
        );
        assert!(plan.reasons[4].contains("shares its physical core with the worker on core 4"));
        let far = super::plan(&profile(1, 1, "[0]"), &machine(2, 4), &nodes).unwrap();
        assert!(
            far.reasons[0].contains("core 0 listed: node 0, NOT the node of its ports"),
            "{:?}",
            far.reasons
        );
    }

    #[test]
    fn wrong_cores_are_refused_with_the_right_ones() {
        let mut topology = machine(1, 2);
        topology.cores.get_mut(&3).unwrap().allowed = false;
        let refused = |cores| plan(&profile(1, 4, cores), &topology, &[]).unwrap_err().to_string();
        assert_eq!(
            refused("[1, 9]"),
            "[worker] cores: core 9 is not online on this machine: choose among 0, 1, 2"
        );
        assert!(refused("[3]").contains("not among the cores this process may use"));
        let many = plan(&profile(1, 1, "[0, 1]"), &topology, &[]).unwrap_err().to_string();
        assert!(many.contains("2 cores for 1 receive queue(s)"), "{many}");
    }

    #[test]
    fn a_confined_thread_runs_there() {
        let core =
            *Topology::read(Path::new("/")).unwrap().cores.iter().find(|(_, core)| core.allowed).unwrap().0;
        let here = std::thread::spawn(move || {
            confine(&[core]).unwrap();
            assert!(confine(&[]).is_err());
            assert_eq!(current(), [core]);
            std::thread::spawn(rustix::thread::sched_getcpu).join().unwrap()
        });
        assert_eq!(here.join().unwrap(), core);
    }

    #[test]
    fn a_far_worker_is_told() {
        let plan = plan(&profile(1, 1, "[0]"), &machine(2, 2), &[Some(1)]).unwrap();
        assert!(
            plan.warnings[0].problem.contains("node 1") && plan.warnings[0].problem.contains("core 0"),
            "{:?}",
            plan.warnings
        );
    }

    #[test]
    fn lists_of_the_kernel_are_read() {
        assert_eq!(parse_list("0-2,7\n").into_iter().collect::<Vec<_>>(), [0, 1, 2, 7]);
        assert_eq!(show_ranges(&[0, 1, 2, 7, 9, 10].into()), "0-2,7,9-10");
        assert!(parse_list("").is_empty() && parse_list("x,3-1,0-99999999").is_empty());
        let here = Topology::read(Path::new("/")).unwrap();
        assert!(here.cores.values().any(|core| core.allowed));
    }
}
