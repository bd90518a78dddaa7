//! `ikegun`: sends distinct IKE_SA_INIT requests through a DPDK port and checks every answer.
#![forbid(unsafe_code)]

use std::error::Error;
use std::fs::OpenOptions;
use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use bench::answer::Expect;
use bench::gun::{Answers, Gun, Link, Mix, Tally, Trial};
use bench::report::{Figures, HdrLog, progress, short};
use bench::request::{NONCE_LEN, SMALLEST, Size, Spec, Template};
use bench::search::Search;
use clap::Parser;
use dpdk::{Eal, Mempool, Port, PortConfig, tsc_hz};
use platform::wire::ethernet::{self, Mac};
use serde::Serialize;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Bytes of an mbuf: headroom and a frame of 1518 bytes with room to spare.
const DATA_ROOM: u16 = 2176;
/// The longest wait for the port's link.
const LINK_WAIT: Duration = Duration::from_secs(30);

const EXAMPLES: &str = "\
Examples:
  As fast as the other side answers, over a vhost socket (usher-dataplane run --vdev net_virtio_user0,path=...):
    ikegun --vdev net_vhost0,iface=/tmp/usher.sock
  One million a second for a minute from 1000 clients, a tenth of it without redirect support, on a NIC:
    ikegun --pci 0000:3b:00.0 --vip 192.0.2.1 --mac 00:00:5e:00:01:0a --sources 1000 \\
        --unsignalled 10 --rate 1M --seconds 60
  The highest rate without loss (RFC 2544), as JSON and CSV:
    ikegun --vdev net_vhost0,iface=/tmp/usher.sock --search --trial 10 --json --csv rates.csv
  Requests into a capture, for another generator or for usher-dataplane replay, as an ordinary user:
    ikegun --no-huge --vdev net_pcap0,tx_pcap=requests.pcap --count 1000 --expect nothing

Ends with 0 when at least one answer came and none was wrong.";

/// Sends distinct IKE_SA_INIT requests through a DPDK port, checks every answer, measures rate, loss and latency
#[derive(Parser)]
#[command(version, max_term_width = 100, after_help = EXAMPLES)]
struct Args {
    /// DPDK virtual device to send through: net_vhost0,iface=PATH  net_virtio_user0,path=PATH
    /// net_af_packet0,iface=NAME  net_pcap0,rx_pcap=FILE,tx_pcap=FILE
    #[arg(long, value_name = "SPEC", required_unless_present = "pci", conflicts_with = "pci")]
    vdev: Option<String>,
    /// NIC to send through, bound to a driver that DPDK knows
    #[arg(long, value_name = "ADDR")]
    pci: Option<String>,
    /// Work without huge pages: slower, and as an ordinary user
    #[arg(long)]
    no_huge: bool,
    /// Memory for DPDK
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u32).range(64..=65536))]
    memory: u32,
    /// Core to run on
    #[arg(long, default_value_t = 0)]
    core: usize,
    /// Queues of the port to use, all by this one thread
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=16))]
    queues: u16,

    /// Virtual address to knock at, IPv4 or IPv6
    #[arg(long, value_name = "ADDR", default_value = "192.0.2.1")]
    vip: IpAddr,
    /// First address to knock from [default: 192.0.2.128 or 2001:db8::8000]
    #[arg(long, value_name = "ADDR")]
    source: Option<IpAddr>,
    /// Addresses to knock from, in turn
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65536))]
    sources: u32,
    /// MAC of the node or the virtual MAC
    #[arg(long, value_name = "MAC", default_value = "02:00:00:00:00:01", value_parser = mac)]
    mac: Mac,
    /// MAC to send from [default: the port's]
    #[arg(long, value_name = "MAC", value_parser = mac)]
    from_mac: Option<Mac>,
    /// VLAN id of an 802.1Q tag
    #[arg(long, value_name = "ID")]
    vlan: Option<u16>,
    /// Bytes of a request as a frame without tag, or `pair` for two fragments with an ML-KEM-1024 key
    /// [default: 186, over IPv6 206]
    #[arg(long, value_parser = size)]
    size: Option<Size>,
    /// Bytes of nonce, 16 to 256
    #[arg(long, value_name = "BYTES", default_value_t = NONCE_LEN)]
    nonce: usize,
    /// Percentage of requests that do not signal redirect support
    #[arg(long, value_name = "PERCENT", default_value = "0", value_parser = percent)]
    unsignalled: f64,
    /// Percentage of requests that are malformed
    #[arg(long, value_name = "PERCENT", default_value = "0", value_parser = percent)]
    malformed: f64,
    /// Percentage of requests that are sent as two fragments, with an ML-KEM-1024 key
    #[arg(long, value_name = "PERCENT", default_value = "0", value_parser = percent)]
    pairs: f64,
    /// In turn so many plain requests, so many with the shares above, and so many of what those mix in alone, such as 250k
    /// [default: the shares all the time]
    #[arg(long, value_name = "REQUESTS", value_parser = rate)]
    spell: Option<f64>,
    /// Times each request is sent, on another queue each time; all answers must name the same gateway
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4))]
    copies: u32,
    /// Makes this run's SPIs others than those of a run with another seed [default: from the clock]
    #[arg(long)]
    seed: Option<u32>,

    /// Requests a second, such as 250k or 1.5M [default: as many as the window allows]
    #[arg(long, value_parser = rate)]
    rate: Option<f64>,
    /// Seconds to send
    #[arg(long, default_value_t = 5.0, value_parser = seconds)]
    seconds: f64,
    /// End after so many requests
    #[arg(long)]
    count: Option<u64>,
    /// Without --rate: requests that may be unanswered at once
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u64).range(1..=65536))]
    window: u64,
    /// An answer later than this is lost
    #[arg(long, value_name = "MS", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=10000))]
    timeout: u64,
    /// Seconds of sending before the measurement
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = seconds)]
    warm_up: f64,
    /// Record the latency of every so many answers
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    latency_every: u32,

    /// Search for the highest rate without loss (RFC 2544 section 26.1), up to --rate or what the window brings
    #[arg(long, conflicts_with = "count")]
    search: bool,
    /// Seconds of each trial of the search
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0, value_parser = seconds)]
    trial: f64,
    /// Loss that a trial may have
    #[arg(long, value_name = "PERCENT", default_value = "0", value_parser = percent)]
    loss: f64,
    /// The search ends when its bounds are so close
    #[arg(long, value_name = "PERCENT", default_value = "1", value_parser = percent)]
    resolution: f64,

    /// What the other side does: answer with redirects, echo the frames as testpmd does, or nothing
    #[arg(long, value_enum, default_value_t = Expect::Redirect)]
    expect: Expect,
    /// Gateway that answers may name; may be repeated [default: any unicast address]
    #[arg(long, value_name = "ADDR")]
    gateway: Vec<IpAddr>,
    /// Take any protocol id in the notify: libreswan writes 1 where RFC 5685 wants 0
    #[arg(long)]
    any_protocol_id: bool,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    /// Append a line for the run, and one for each trial of a search, to a CSV file
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Write an HdrHistogram log with a line a second
    #[arg(long, value_name = "FILE")]
    hdr: Option<PathBuf>,
    /// No line of progress each second
    #[arg(long, short)]
    quiet: bool,
}

fn mac(text: &str) -> Result<Mac, &'static str> {
    ethernet::parse_mac(text).ok_or("a MAC has the form 02:00:00:00:00:01")
}

fn size(text: &str) -> Result<Size, &'static str> {
    match (text, text.parse()) {
        ("pair", _) => Ok(Size::Pair),
        (_, Ok(len)) => Ok(Size::Frame(len)),
        _ => Err("a size is a number of bytes, or `pair`"),
    }
}

fn percent(text: &str) -> Result<f64, &'static str> {
    let value = text.trim_end_matches('%').parse().ok();
    value.filter(|value| (0.0..=100.0).contains(value)).ok_or("a percentage is a number from 0 to 100")
}

fn seconds(text: &str) -> Result<f64, &'static str> {
    let value = text.parse().ok();
    value.filter(|value| (0.0..=86_400.0).contains(value)).ok_or("choose 0 to 86400 seconds")
}

fn rate(text: &str) -> Result<f64, &'static str> {
    let (number, unit) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 1e3),
        Some((at, 'M')) => (&text[..at], 1e6),
        _ => (text, 1.0),
    };
    let value = number.parse::<f64>().ok().map(|value| value * unit);
    value
        .filter(|value| (1.0..=1e9).contains(value))
        .ok_or("a number from 1 to 1000000000, with k or M behind it if you like")
}

/// The result of a search.
#[derive(Serialize)]
struct Outcome {
    /// The highest rate without loss.
    no_drop_rate: Option<f64>,
    /// The generator could not send more.
    generator_bound: bool,
    trials: Vec<Figures>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("ikegun: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<bool, Box<dyn Error>> {
    let spec = spec(args)?;
    // Whatever cannot be built is said before anything is touched.
    Template::new(&spec, bench::request::Kind::Request)?;
    if args.unsignalled + args.malformed + args.pairs > 100.0 {
        return Err("--unsignalled, --malformed and --pairs are more than 100 % together: lower one".into());
    }
    if let Some(other) = args.gateway.iter().find(|gateway| gateway.is_ipv4() != args.vip.is_ipv4()) {
        return Err(
            format!("--gateway {other} is not of the family of --vip {}: leave it out", args.vip).into()
        );
    }
    let (eal, port, link) = open(args)?;
    let from_mac = args.from_mac.unwrap_or(port.mac());
    let spec = Spec { from_mac, ..spec };
    let share = |percent: f64| (percent * 100.0).round() as u32;
    let mix = Mix {
        unsignalled: share(args.unsignalled),
        malformed: share(args.malformed),
        pairs: share(args.pairs),
        sources: args.sources,
        copies: args.copies,
        spell: args.spell.map_or(0, |spell| spell as u64),
    };
    let seed = match args.seed {
        Some(seed) => u64::from(seed),
        None => SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_micros() as u64,
    };
    let _registration = eal.register_thread()?;
    let answers =
        Answers { expect: args.expect, gateways: &args.gateway, any_protocol_id: args.any_protocol_id };
    let mut gun = Gun::new(link, &spec, mix, &answers, seed & 0xff_ffff)?;
    let mut out = Output::new(args)?;
    let trial = Trial {
        rate: args.rate,
        window: args.window,
        time: Duration::from_secs_f64(args.seconds),
        count: args.count,
        timeout: Duration::from_millis(args.timeout),
        latency_every: args.latency_every,
    };
    let warm = args.expect != Expect::Nothing && args.count.is_none() && args.warm_up > 0.0;
    let reached = if warm { warm_up(args, &mut gun, &trial)? } else { 0.0 };
    if args.search {
        return search(args, &mut gun, &trial, reached, &mut out);
    }
    let tally = gun.fire(&trial, &mut |second| out.second(second));
    let figures = Figures::of(&tally, bytes(&spec), args.rate)
        .with_gateways(&gun.gateways(), args.vip.is_ipv6())
        .with_frames_ever(gun.frames());
    out.row(&figures)?;
    out.finish()?;
    if args.json {
        println!("{}", serde_json::to_string(&figures)?);
    } else {
        print!("{}", figures.text());
    }
    Ok(tally.wrong_total() == 0 && (tally.answered > 0 || args.expect == Expect::Nothing))
}

fn spec(args: &Args) -> Result<Spec, Box<dyn Error>> {
    let v6 = args.vip.is_ipv6();
    let source = match args.source {
        Some(source) => source,
        None if v6 => "2001:db8::8000".parse()?,
        None => "192.0.2.128".parse()?,
    };
    let last = match source {
        IpAddr::V4(ip) => ip.octets()[2..].iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte)),
        IpAddr::V6(ip) => u32::from(ip.segments()[7]),
    };
    if last + args.sources - 1 > 0xffff {
        let room = 0x1_0000 - last;
        return Err(format!(
            "{} sources from {source} on leave its block of 65536 addresses: choose at most {room}, or a lower --source",
            args.sources
        )
        .into());
    }
    let smallest = SMALLEST - NONCE_LEN + args.nonce + if v6 { 20 } else { 0 };
    Ok(Spec {
        from_mac: args.from_mac.unwrap_or_default(),
        to_mac: args.mac,
        source,
        destination: args.vip,
        size: args.size.unwrap_or(Size::Frame(smallest)),
        nonce_len: args.nonce,
        vlan: args.vlan,
    })
}

/// Bytes of a request, for reports.
fn bytes(spec: &Spec) -> usize {
    match spec.size {
        Size::Frame(len) => len,
        Size::Pair => Template::new(&Spec { vlan: None, ..*spec }, bench::request::Kind::Request)
            .map_or(0, |template| template.frame.len()),
    }
}

/// Starts DPDK and the port, and waits for its link.
fn open(args: &Args) -> Result<(Eal, Port, Link), Box<dyn Error>> {
    let mut eal_args = vec![
        format!("-m{}", args.memory),
        "--no-telemetry".into(),
        format!("--file-prefix=ikegun-{}", std::process::id()),
    ];
    if args.no_huge {
        eal_args.extend(["--no-huge".into(), "--no-shconf".into()]);
    } else {
        // One file for all memory: the peer of a vhost socket maps it whole.
        eal_args.extend(["--in-memory".into(), "--single-file-segments".into()]);
    }
    match (&args.vdev, &args.pci) {
        (Some(vdev), _) => eal_args.extend(["--no-pci".into(), format!("--vdev={vdev}")]),
        (None, Some(pci)) => eal_args.push(format!("--allow={pci}")),
        (None, None) => return Err("no port: name one with --vdev or --pci".into()),
    }
    let eal = Eal::init(&eal_args)?;
    if !core_affinity::set_for_current(core_affinity::CoreId { id: args.core }) {
        return Err(format!("core {} cannot be used: choose one of `nproc` with --core", args.core).into());
    }
    // Both rings of each queue full, what is in work, and the pool's cache.
    let mbufs = (u32::from(args.queues) * 4096 + 4096).next_power_of_two() * 2 - 1;
    let pool = Mempool::new(&eal, "ikegun", mbufs, 256, DATA_ROOM, -1)?;
    let id =
        *eal.ports().first().ok_or("the device made no port: check its name with `dpdk-devbind.py -s`")?;
    let config = PortConfig {
        rx_queues: args.queues,
        tx_queues: args.queues,
        promiscuous: true,
        ..PortConfig::default()
    };
    let (port, rx, tx) = Port::configure(&eal, id, &config, &pool)?;
    let waiting = Instant::now();
    while !port.link().up {
        if waiting.elapsed() > LINK_WAIT {
            return Err(format!(
                "no link within {} s: start the other side of the device (usher-dataplane run ...)",
                LINK_WAIT.as_secs()
            )
            .into());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let hz = tsc_hz(&eal);
    Ok((eal, port, Link { pool, rx, tx, hz }))
}

/// Waits until the other side answers; what a window brings a second.
fn warm_up(args: &Args, gun: &mut Gun, trial: &Trial) -> Result<f64, Box<dyn Error>> {
    let warm = Trial { rate: None, time: Duration::from_secs_f64(args.warm_up), ..*trial };
    let mut tally = gun.fire(&warm, &mut |_| ());
    if tally.answered == 0 {
        // The other side may still be on its way up after its link.
        tally = gun.fire(&Trial { time: Duration::from_secs(5), ..warm }, &mut |_| ());
    }
    if tally.answered == 0 {
        let figures = Figures::of(&tally, 0, None);
        return Err(format!(
            "{} requests sent, none answered (wrong: {:?}, other frames: {}): does the other side answer for {}, and is \
             its MAC {}?",
            tally.sent,
            figures.wrong_by,
            tally.foreign,
            args.vip,
            args.mac.map(|byte| format!("{byte:02x}")).join(":")
        )
        .into());
    }
    Ok(tally.answered as f64 / tally.seconds)
}

fn search(
    args: &Args,
    gun: &mut Gun,
    trial: &Trial,
    reached: f64,
    out: &mut Output,
) -> Result<bool, Box<dyn Error>> {
    let ceiling = match args.rate {
        Some(rate) => rate,
        // A window of answers in flight is what the link bears; loss begins somewhat above or below.
        None if reached > 0.0 => reached * 1.5,
        None => return Err("--search without a warm-up needs --rate as its upper bound".into()),
    };
    let size = bytes(&spec(args)?);
    let mut search = Search::new(ceiling / 1000.0, ceiling, args.resolution / 100.0);
    let mut trials = Vec::new();
    let mut right = true;
    while let Some(rate) = search.next() {
        let trial = Trial { rate: Some(rate), time: Duration::from_secs_f64(args.trial), ..*trial };
        let tally = gun.fire(&trial, &mut |second| out.second(second));
        let allowed = tally.sent as f64 * args.loss / 100.0;
        let without_loss = tally.lost as f64 <= allowed && tally.answered > 0;
        right &= tally.wrong_total() == 0;
        let offered = (tally.sent + tally.unanswerable) as f64 / f64::from(args.copies) / tally.seconds;
        search.tell(rate, offered, without_loss);
        let figures = Figures::of(&tally, size, Some(rate));
        out.say(&format!(
            "trial at {}/s: {} lost of {}{}",
            short(rate),
            tally.lost,
            tally.sent,
            if without_loss { ": passed" } else { "" }
        ));
        out.row(&figures)?;
        trials.push(figures);
    }
    out.finish()?;
    let found = search.found();
    if args.json {
        let outcome = Outcome { no_drop_rate: found.rate, generator_bound: found.generator_bound, trials };
        println!("{}", serde_json::to_string(&outcome)?);
    } else {
        let bound = if found.generator_bound { " (generator-bound: it may be more)" } else { "" };
        match found.rate {
            Some(rate) => println!("no-drop rate {}/s{bound}", short(rate)),
            None => println!("no rate without loss down to {}/s", short(ceiling / 1000.0)),
        }
    }
    Ok(right && found.rate.is_some())
}

/// Where results go while the gun fires.
struct Output {
    quiet: bool,
    second: u64,
    hdr: Option<HdrLog>,
    csv: Option<std::fs::File>,
    /// The first failure of the log: it must not stop the measurement.
    failed: Option<std::io::Error>,
}

impl Output {
    fn new(args: &Args) -> Result<Output, Box<dyn Error>> {
        let named = |path: &PathBuf, error: std::io::Error| {
            format!("{} cannot be written: {error}: choose another file", path.display())
        };
        let hdr = args.hdr.as_ref().map(|path| HdrLog::create(path).map_err(|error| named(path, error)));
        let csv = match &args.csv {
            None => None,
            Some(path) => {
                let open = OpenOptions::new().append(true).create(true).open(path);
                let mut file = open.map_err(|error| named(path, error))?;
                if file.metadata()?.len() == 0 {
                    writeln!(file, "{}", Figures::CSV_HEADER)?;
                }
                Some(file)
            }
        };
        Ok(Output { quiet: args.quiet, second: 0, hdr: hdr.transpose()?, csv, failed: None })
    }

    fn second(&mut self, tally: &Tally) {
        self.second += 1;
        if let Some(hdr) = &mut self.hdr
            && let Err(error) = hdr.append(&tally.latency, tally.seconds)
        {
            self.failed.get_or_insert(error);
        }
        self.say(&progress(self.second, tally));
    }

    fn say(&self, line: &str) {
        if !self.quiet {
            eprintln!("{line}");
        }
    }

    fn row(&mut self, figures: &Figures) -> std::io::Result<()> {
        match &mut self.csv {
            Some(file) => writeln!(file, "{}", figures.csv()),
            None => Ok(()),
        }
    }

    fn finish(&mut self) -> Result<(), String> {
        match self.failed.take() {
            Some(error) => Err(format!("the HdrHistogram log is not whole: {error}: free some space")),
            None => Ok(()),
        }
    }
}
