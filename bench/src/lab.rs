//! What a measurement needs around it: processes that end, huge pages and namespaces that go back, the state of the
//! machine.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Errors are said once, to a person.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

const PAGES: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB";
/// Patience with a process that was told to end.
const ENDING: Duration = Duration::from_secs(10);

/// A process that ends with this value.
pub struct Process {
    name: String,
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Process {
    /// Starts `command`; what it writes lies in `folder`.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(name: &str, command: &mut Command, folder: &Path) -> Result<Process, Failure> {
        let (out, err) = (folder.join(format!("{name}.out")), folder.join(format!("{name}.err")));
        let child = command
            .stdin(Stdio::piped())
            .stdout(fs::File::create(&out)?)
            .stderr(fs::File::create(&err)?)
            .spawn()
            .map_err(|error| format!("{name} cannot be started: {error}: is it installed?"))?;
        Ok(Process { name: name.to_owned(), child, out, err })
    }

    /// What it wrote to its standard output so far.
    pub fn output(&self) -> String {
        fs::read_to_string(&self.out).unwrap_or_default()
    }

    /// Whether it has ended.
    pub fn is_over(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until it ends by itself and returns its standard output.
    ///
    /// # Errors
    /// It takes longer than `patience`, or fails.
    pub fn finish(mut self, patience: Duration) -> Result<String, Failure> {
        let end = Instant::now() + patience;
        loop {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(self.output()),
                Some(status) => return Err(self.complaint(&format!("ended with {status}"))),
                None if Instant::now() > end => {
                    return Err(self.complaint(&format!("has not ended after {} s", patience.as_secs())));
                }
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    /// Tells it to end and returns its standard output.
    pub fn stop(mut self) -> String {
        self.end();
        self.output()
    }

    /// Ends a program that waits for a line, as dpdk-testpmd does; it tells its figures then.
    pub fn stop_by_line(mut self) -> String {
        use std::io::Write as _;
        if let Some(mut stdin) = self.child.stdin.take() {
            let _ = stdin.write_all(b"\n");
        }
        let end = Instant::now() + ENDING;
        while Instant::now() < end && !self.is_over() {
            std::thread::sleep(Duration::from_millis(10));
        }
        self.stop()
    }

    fn end(&mut self) {
        if self.is_over() {
            return;
        }
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let end = Instant::now() + ENDING;
        while Instant::now() < end {
            if self.is_over() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// An error with the last lines that the process wrote.
    pub fn complaint(&self, what: &str) -> Failure {
        let err = fs::read_to_string(&self.err).unwrap_or_default();
        let lines: Vec<&str> = err.lines().rev().take(5).collect();
        let last: Vec<&str> = lines.into_iter().rev().collect();
        format!("{} {what}: {}", self.name, last.join(" / ")).into()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// Huge pages reserved for a while.
pub struct HugePages {
    before: Option<String>,
}

impl HugePages {
    /// Sees to it that `count` pages of 2 MiB are free.
    ///
    /// # Errors
    /// The kernel has no room for them.
    pub fn reserve(count: u64) -> Result<HugePages, Failure> {
        let read = |name: &str| -> Result<u64, Failure> {
            Ok(fs::read_to_string(format!("{PAGES}/{name}"))?.trim().parse()?)
        };
        let free = read("free_hugepages")?;
        if free >= count {
            return Ok(HugePages { before: None });
        }
        let all = read("nr_hugepages")?;
        let pages = HugePages { before: Some(all.to_string()) };
        fs::write(format!("{PAGES}/nr_hugepages"), (all + count - free).to_string())?;
        let free = read("free_hugepages")?;
        if free < count {
            return Err(format!(
                "only {free} of {count} huge pages of 2 MiB can be had: free memory, or reserve them at boot"
            )
            .into());
        }
        Ok(pages)
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = fs::write(format!("{PAGES}/nr_hugepages"), before);
        }
    }
}

/// Two network namespaces with a veth between them: `gun0` in the generator's, `dut0` with 192.0.2.1 in the other's.
pub struct Veth {
    prefix: String,
}

impl Veth {
    /// Makes them.
    ///
    /// # Errors
    /// `ip` refuses.
    pub fn make() -> Result<Veth, Failure> {
        let veth = Veth { prefix: format!("usher-bench{}", std::process::id()) };
        let (gun, dut) = (veth.gun(), veth.dut());
        let batch = format!(
            "netns add {gun}\nnetns add {dut}\n\
             link add gun0 netns {gun} address 02:00:00:00:00:09 type veth peer name dut0 netns {dut} address 02:00:00:00:00:01\n"
        );
        ip(&batch, None)?;
        ip("link set lo up\nlink set gun0 up\n", Some(&gun))?;
        ip("link set lo up\nlink set dut0 up\naddr add 192.0.2.1/24 dev dut0\n", Some(&dut))?;
        // Clients are asked for by ARP, and the generator knows none: 192.0.2.128 to .191.
        let neighbours: String = (128..192)
            .map(|host| format!("neigh add 192.0.2.{host} lladdr 02:00:00:00:00:09 dev dut0\n"))
            .collect();
        ip(&neighbours, Some(&dut))?;
        // The kernel leaves checksums to the device, and a veth computes none: the check of answers would fail.
        run(Command::new("ip").args(["netns", "exec", &dut, "ethtool", "-K", "dut0", "tx", "off"]))?;
        for space in [&gun, &dut] {
            let disable = ["netns", "exec", space, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1"];
            run(Command::new("ip").args(disable))?;
        }
        Ok(veth)
    }

    /// The generator's namespace.
    pub fn gun(&self) -> String {
        format!("{}-gun", self.prefix)
    }

    /// The other's namespace.
    pub fn dut(&self) -> String {
        format!("{}-dut", self.prefix)
    }
}

impl Drop for Veth {
    fn drop(&mut self) {
        for space in [self.gun(), self.dut()] {
            let _ = Command::new("ip").args(["netns", "del", &space]).stderr(Stdio::null()).status();
        }
    }
}

fn run(command: &mut Command) -> Result<(), Failure> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}: is it installed?"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()).into())
}

fn ip(batch: &str, space: Option<&str>) -> Result<(), Failure> {
    use std::io::Write as _;
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(batch.as_bytes())?;
    let mut command = Command::new("ip");
    if let Some(space) = space {
        command.args(["-n", space]);
    }
    run(command.arg("-batch").arg(file.path()))
}

/// Round trip of a cache line between two cores in ns, the median of some thousand: it tells whether the two are near
/// each other just now.
pub fn ping_pong(cores: (usize, usize)) -> f64 {
    const ROUNDS: u64 = 4000;
    let ball = Arc::new(crossbeam::utils::CachePadded::new(AtomicU64::new(0)));
    let other = Arc::clone(&ball);
    let pong = std::thread::spawn(move || {
        core_affinity::set_for_current(core_affinity::CoreId { id: cores.1 });
        for round in 0..ROUNDS {
            let mut spins = 0u32;
            while other.load(Ordering::Acquire) != 2 * round + 1 {
                spins += 1;
                // With both threads on one core somebody has to give way.
                if spins.is_multiple_of(2000) {
                    std::thread::yield_now();
                }
                std::hint::spin_loop();
            }
            other.store(2 * round + 2, Ordering::Release);
        }
    });
    let ping = std::thread::spawn(move || {
        core_affinity::set_for_current(core_affinity::CoreId { id: cores.0 });
        let mut trips = Vec::with_capacity(ROUNDS as usize);
        for round in 0..ROUNDS {
            let began = Instant::now();
            ball.store(2 * round + 1, Ordering::Release);
            let mut spins = 0u32;
            while ball.load(Ordering::Acquire) != 2 * round + 2 {
                spins += 1;
                if spins.is_multiple_of(2000) {
                    std::thread::yield_now();
                }
                std::hint::spin_loop();
            }
            trips.push(began.elapsed().as_nanos() as f64);
        }
        median(&trips)
    });
    let trip = ping.join().unwrap_or(f64::NAN);
    let _ = pong.join();
    trip
}

/// Seconds that the hypervisor took from all cores since boot.
pub fn steal() -> f64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let cpu = stat.lines().next().unwrap_or_default();
    let ticks: f64 = cpu.split_whitespace().nth(8).and_then(|ticks| ticks.parse().ok()).unwrap_or_default();
    ticks / 100.0
}

/// The median; NaN of nothing.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
    }
}

/// Facts of the machine, a name and a text each.
pub fn machine() -> Vec<(String, String)> {
    let first = |path: &str, key: &str| {
        let file = fs::File::open(path).ok()?;
        let line = BufReader::new(file).lines().map_while(Result::ok).find(|line| line.starts_with(key))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let said = |command: &mut Command| {
        let output = command.output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let facts = [
        ("cpu", first("/proc/cpuinfo", "model name")),
        ("cores", Some(cores.to_string())),
        ("MHz", first("/proc/cpuinfo", "cpu MHz")),
        ("cache", first("/proc/cpuinfo", "cache size")),
        ("memory", first("/proc/meminfo", "MemTotal")),
        ("kernel", fs::read_to_string("/proc/sys/kernel/osrelease").ok().map(|text| text.trim().to_owned())),
        ("boot", fs::read_to_string("/proc/cmdline").ok().map(|text| text.trim().to_owned())),
        ("hypervisor", said(Command::new("systemd-detect-virt").arg("--vm"))),
        ("dpdk", said(Command::new("pkg-config").args(["--modversion", "libdpdk"]))),
        ("commit", said(Command::new("git").args(["describe", "--always", "--dirty"]))),
        ("rustc", said(Command::new("rustc").arg("--version"))),
    ];
    facts.into_iter().filter_map(|(name, fact)| Some((name.to_owned(), fact?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_and_ignores_what_is_no_number() {
        assert_eq!(median(&[3.0, f64::NAN, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0]), 2.5);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn a_process_is_waited_for_and_its_failure_told() {
        let folder = tempfile::tempdir().unwrap();
        let shell =
            |text: &str| Process::start("sh", Command::new("sh").args(["-c", text]), folder.path()).unwrap();
        assert_eq!(shell("echo 7").finish(Duration::from_secs(10)).unwrap(), "7\n");
        let failed =
            shell("echo broken >&2; exit 3").finish(Duration::from_secs(10)).unwrap_err().to_string();
        assert!(failed.contains("exit status: 3") && failed.contains("broken"), "{failed}");
        let slow = shell("sleep 60").finish(Duration::from_millis(50)).unwrap_err().to_string();
        assert!(slow.contains("not ended"), "{slow}");
        assert_eq!(
            shell("trap 'echo told; exit 0' TERM; echo up; while :; do sleep 0.01; done").stop_after("up"),
            "up\ntold\n"
        );
        let absent = Process::start("absent", &mut Command::new("/nonexistent"), folder.path());
        assert!(absent.is_err_and(|error| error.to_string().contains("is it installed")));
    }

    impl Process {
        fn stop_after(self, said: &str) -> String {
            while !self.output().contains(said) {
                std::thread::sleep(Duration::from_millis(5));
            }
            self.stop()
        }
    }

    #[test]
    fn a_round_trip_takes_some_time() {
        let trip = ping_pong((0, 0));
        assert!(trip > 0.0, "{trip}");
        assert!(steal() >= 0.0);
        assert!(machine().iter().any(|(name, _)| name == "kernel"));
    }
}
