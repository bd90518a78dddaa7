//! Two processes and SIGKILL: the control plane's end of the snapshot dies 1,000 times at random points, is started anew
//! and hands over a new memory on the socket, while a worker of this process copies all the time.
//!
//! The writer is this very test, executed again with an environment variable. `USHER_SEED=N` repeats a run.

use std::collections::HashSet;
use std::env;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

use platform::clock::monotonic_ns;
use platform::snapshot::handover::{self, Listener};
use platform::snapshot::{
    Body, Copy, Feedback, FeedbackSpec, MAX_GATEWAYS, MAX_GROUPS, MAX_VIPS, Reader, Refresh, WorkerBlock,
    Writer,
};
use zerocopy::IntoBytes;

const KILLS: usize = 1_000;
const SOCKET: &str = "USHER_SNAPSHOT_KILL_SOCKET";
const NAME: &str = "a_writer_killed_a_thousand_times_never_tears_stops_or_misleads_a_reader";

/// splitmix64
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Makes every used word of the body a function of instance and generation, as far as counts and indices allow.
fn derive(body: &mut Body, instance: u64, generation: u64) {
    let seed = mix(instance ^ mix(generation));
    for (index, word) in body.as_mut_bytes().chunks_exact_mut(8).enumerate() {
        word.copy_from_slice(
            &seed.wrapping_add((index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_ne_bytes(),
        );
    }
    body.vip_count = 1 + (seed % MAX_VIPS as u64) as u32;
    for vip in &mut body.vips[..body.vip_count as usize] {
        vip.family = if vip.family & 1 == 0 { 4 } else { 6 };
        vip.group %= MAX_GROUPS as u16;
        vip.gateway_count = MAX_GATEWAYS as u16;
        vip.slots.iter_mut().for_each(|slot| *slot &= (MAX_GATEWAYS - 1) as u8);
    }
}

/// The bytes a reader may use.
fn used(body: &Body) -> &[u8] {
    let bytes = size_of::<Body>() - size_of_val(&body.vips) + size_of_val(body.vips());
    &body.as_bytes()[..bytes]
}

/// A lease whose end names its group, so that one never shows as another.
fn lease_end(group: usize, generation: u64) -> u64 {
    generation * MAX_GROUPS as u64 + group as u64
}

/// The writer: what usherd does at a start, then publishing as fast as it can until killed.
fn writer_process(path: &Path) -> ! {
    let mut writer = Writer::create().unwrap();
    let listener = Listener::bind(path, 0o600).unwrap();
    let mut bodies = [Body::boxed(), Body::boxed()];
    // Two at once, so that a reader's copy can meet the writer in its buffer.
    let mut publish = |writer: &mut Writer| {
        let first = writer.generation() + 1;
        for (body, generation) in bodies.iter_mut().zip(first..) {
            derive(body, writer.instance(), generation);
        }
        for (body, generation) in bodies.iter().zip(first..) {
            assert_eq!(writer.publish(body), generation);
            let group = generation as usize % MAX_GROUPS;
            writer.set_lease(group, lease_end(group, generation), true);
        }
        writer.heartbeat(monotonic_ns());
    };
    // Half of them hand over an empty memory and publish after.
    if writer.instance() & 1 == 0 {
        publish(&mut writer);
    }
    let peer = loop {
        // Whoever gave up before we got to it does not count.
        match listener.accept(&writer, Duration::from_secs(20)) {
            Ok(Some(peer)) => break peer,
            Ok(None) => std::process::exit(3),
            Err(_) => {}
        }
    };
    while peer.connection.is_alive() {
        (0..32).for_each(|_| publish(&mut writer));
    }
    std::process::exit(4);
}

/// A running writer; never outlives this.
struct Running(Child);

impl Running {
    fn start(path: &Path) -> Running {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", NAME, "--nocapture"]).env(SOCKET, path).stdout(Stdio::null());
        Running(command.spawn().unwrap())
    }

    /// Kills it and asserts that it was the signal that ended it, not a fault of its own.
    fn kill(mut self) {
        self.0.kill().unwrap();
        assert_eq!(self.0.wait().unwrap().signal(), Some(9));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[derive(Debug, Default)]
struct Seen {
    refreshes: u64,
    copied: u64,
    retries: u64,
    kept: u64,
    instances: HashSet<u64>,
}

/// What a data plane's worker does, with every promise asserted. Ends when the sender of readers is gone.
fn worker(readers: Receiver<Arc<Reader>>, block: WorkerBlock) -> Seen {
    let (mut seen, mut copy, mut expected) = (Seen::default(), Copy::empty(), Body::boxed());
    let mut reader = readers.recv().unwrap();
    let mut leases = [0; MAX_GROUPS];
    loop {
        match readers.try_recv() {
            Ok(new) => {
                assert_ne!(new.instance(), reader.instance(), "a new writer is a new instance");
                (reader, leases) = (new, [0; MAX_GROUPS]);
            }
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => return seen,
        }
        let before = (copy.instance, copy.generation, copy.attempts);
        let refresh = reader.refresh(&mut copy);
        seen.refreshes += 1;
        seen.retries += (copy.attempts - before.2).saturating_sub(1);
        assert!(copy.attempts - before.2 <= 3, "tries are bounded");
        match refresh {
            Refresh::Copied => {
                seen.copied += 1;
                seen.instances.insert(copy.instance);
                assert_eq!(copy.instance, reader.instance());
                assert!(copy.generation > 0 && (copy.instance != before.0 || copy.generation > before.1));
                derive(&mut expected, copy.instance, copy.generation);
                assert!(used(&copy.body) == used(&expected), "a torn copy, or one of another generation");
                block.set_applied(copy.instance, copy.generation);
            }
            Refresh::Unchanged => assert_eq!((copy.instance, copy.generation, copy.attempts), before),
            Refresh::Kept => {
                seen.kept += 1;
                assert_eq!((copy.instance, copy.generation), (before.0, before.1));
                if copy.generation > 0 {
                    derive(&mut expected, copy.instance, copy.generation);
                    assert!(used(&copy.body) == used(&expected), "a copy that was kept is as it was");
                }
            }
        }
        for (group, last) in leases.iter_mut().enumerate() {
            let lease = reader.lease(group);
            assert!(lease.until_ns >= *last, "a lease went back");
            assert!(
                lease.until_ns == 0 || lease.until_ns % MAX_GROUPS as u64 == group as u64,
                "another group's lease"
            );
            *last = lease.until_ns;
        }
    }
}

#[test]
fn a_writer_killed_a_thousand_times_never_tears_stops_or_misleads_a_reader() {
    if let Some(path) = env::var_os(SOCKET) {
        writer_process(Path::new(&path));
    }
    let seed = env::var("USHER_SEED")
        .ok()
        .map_or_else(monotonic_ns, |seed| seed.parse().expect("USHER_SEED: a number"));
    println!("USHER_SEED={seed}");
    let mut state = seed;
    let mut random = |below: u64| {
        state = mix(state);
        state % below
    };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dataplane.sock");
    let feedback = Feedback::create(&FeedbackSpec { workers: 1, ..FeedbackSpec::default() }).unwrap();
    let block = feedback.worker(0).unwrap();
    let (hand, readers) = mpsc::channel();
    let working = thread::spawn(move || worker(readers, block));
    let (mut handed, mut in_the_middle, mut empty) = (HashSet::new(), 0, 0);
    for kill in 0..KILLS {
        let running = Running::start(&path);
        if kill % 10 == 9 {
            // Wherever it is in its start: not bound, bound and not listening, listening, publishing.
            thread::sleep(Duration::from_micros(random(6_000)));
            running.kill();
            continue;
        }
        let begin = Instant::now();
        let (reader, connection) = loop {
            match handover::connect(&path, &feedback, Duration::from_secs(10)) {
                Ok(handed_over) => break handed_over,
                Err(error) => assert!(begin.elapsed() < Duration::from_secs(10), "no handover: {error}"),
            }
            thread::sleep(Duration::from_micros(300));
        };
        let reader = Arc::new(reader);
        assert!(handed.insert(reader.instance()), "an instance id came twice");
        hand.send(reader.clone()).expect("the worker lives");
        thread::sleep(Duration::from_micros(random(8_000)));
        running.kill();
        assert!(!connection.is_alive(), "the death shows on the connection");
        // What a dead writer leaves is whole at the first try.
        in_the_middle += u64::from(reader.publish_in_progress());
        let mut copy = Copy::empty();
        match reader.refresh(&mut copy) {
            Refresh::Unchanged if reader.generation() == 0 => empty += 1,
            refresh => assert_eq!(
                (refresh, copy.attempts, copy.generation),
                (Refresh::Copied, 1, reader.generation())
            ),
        }
    }
    drop(hand);
    let seen = working.join().expect("the worker saw what must not be");
    println!(
        "{KILLS} kills, {} memories handed over, {in_the_middle} writers died in the middle of a publish, {empty} before \
         the first; worker: {} refreshes, {} copies of {} memories, {} second and third tries, \
         {} kept",
        handed.len(),
        seen.refreshes,
        seen.copied,
        seen.instances.len(),
        seen.retries,
        seen.kept
    );
    assert!(seen.instances.is_subset(&handed));
    assert!(
        in_the_middle > 0 && seen.copied > 0 && seen.instances.len() > handed.len() / 2,
        "the test met its subject"
    );
}
