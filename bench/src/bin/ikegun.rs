//! `ikegun`: sends distinct IKE_SA_INIT requests through a DPDK port, as fast as the other side answers, and checks and
//! counts the answers.
#![forbid(unsafe_code)]

use std::net::IpAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bench::{SMALLEST, Template, read_answer};
use clap::Parser;
use dpdk::{Burst, Eal, Mempool, Port, PortConfig, rdtsc, tsc_hz};
use hdrhistogram::Histogram;
use platform::wire::ethernet::{self, Mac};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Sends distinct IKE_SA_INIT requests through a DPDK port and checks the answers
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Args {
    /// DPDK virtual device to send through, such as net_vhost0,iface=/tmp/usher.sock
    #[arg(long, value_name = "SPEC")]
    vdev: String,
    /// Virtual address to knock at
    #[arg(long, value_name = "ADDR", default_value = "192.0.2.1")]
    vip: IpAddr,
    /// Address to knock from
    #[arg(long, value_name = "ADDR", default_value = "192.0.2.9")]
    source: IpAddr,
    /// MAC of the node
    #[arg(long, value_name = "MAC", default_value = "02:00:00:00:00:01", value_parser = mac)]
    mac: Mac,
    /// Bytes of a request as a frame
    #[arg(long, default_value_t = SMALLEST)]
    size: usize,
    /// Seconds to measure, after one to warm up and at most 30 to wait for the other side
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Requests that may be unanswered at once
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u64).range(1..=65536))]
    window: u64,
    /// Core to run on
    #[arg(long, default_value_t = 0)]
    core: usize,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

fn mac(text: &str) -> Result<Mac, &'static str> {
    ethernet::parse_mac(text).ok_or("a MAC has the form 02:00:00:00:00:01")
}

/// What was measured.
struct Tally {
    sent: u64,
    answered: u64,
    wrong: u64,
    lost: u64,
    seconds: f64,
    /// Latency in ns, of one answer a burst.
    latency: Histogram<u64>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(tally) => {
            print(&args, &tally);
            if tally.answered > 0 && tally.wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("ikegun: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<Tally, Box<dyn std::error::Error>> {
    let client = [2, 0, 0, 0, 0, 9];
    let template = Template::request((client, args.mac), args.source, args.vip, args.size)?;
    let prefix = format!("--file-prefix=ikegun-{}", std::process::id());
    let eal = Eal::init(&[
        "--in-memory",
        "--single-file-segments",
        "-m256",
        "--no-pci",
        "--no-telemetry",
        &prefix,
        &format!("--vdev={}", args.vdev),
    ])?;
    core_affinity::set_for_current(core_affinity::CoreId { id: args.core });
    let _registration = eal.register_thread()?;
    let pool = Mempool::new(&eal, "ikegun", 16_383, 256, 2176, -1)?;
    let id = *eal.ports().first().ok_or("the device made no port")?;
    let config = PortConfig { rx_desc: 1024, tx_desc: 1024, ..PortConfig::default() };
    let (port, rx, tx) = Port::configure(&eal, id, &config, &pool)?;
    let (rx, tx) = (rx.into_iter().next().ok_or("no rx queue")?, tx.into_iter().next().ok_or("no tx queue")?);

    let waiting = Instant::now();
    while !port.link().up {
        if waiting.elapsed() > Duration::from_secs(30) {
            return Err(
                "no link within 30 s: start the other side of the device (usher-dataplane run ...)".into()
            );
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let hz = tsc_hz(&eal);
    let mut gun = Gun { template, pool, rx, tx, window: args.window, hz, next: 1 };
    let mut warm = gun.fire(Duration::from_secs(1))?;
    if warm.answered == 0 {
        // The other side may still be on its way up after its link.
        warm = gun.fire(Duration::from_secs(5))?;
    }
    if warm.answered == 0 {
        return Err(format!(
            "{} requests sent, none answered: does the other side answer for {}?",
            warm.sent, args.vip
        )
        .into());
    }
    gun.fire(Duration::from_secs(args.seconds))
}

struct Gun {
    template: Template,
    pool: Mempool,
    rx: dpdk::RxQueue,
    tx: dpdk::TxQueue,
    window: u64,
    hz: u64,
    next: u64,
}

impl Gun {
    /// Keeps the window full for a while, then waits for the last answers.
    fn fire(&mut self, time: Duration) -> Result<Tally, Box<dyn std::error::Error>> {
        let mut tally =
            Tally { sent: 0, answered: 0, wrong: 0, lost: 0, seconds: 0.0, latency: Histogram::new(3)? };
        let (mut out, mut inbox) = (Burst::new(), Burst::new());
        let start = Instant::now();
        let begin = rdtsc();
        let end = begin + (time.as_secs_f64() * self.hz as f64) as u64;
        let mut last_answer = begin;
        loop {
            let now = rdtsc();
            // 20 ms without an answer: what is missing is lost, and the window opens again.
            if now.saturating_sub(last_answer) > self.hz / 50 {
                tally.lost = tally.sent - tally.answered;
                last_answer = now;
            }
            if now > end {
                break;
            }
            let open = self.window.saturating_sub(tally.sent - tally.answered.min(tally.sent) - tally.lost);
            self.send(&mut out, open.min(32), now, &mut tally);
            if self.receive(&mut inbox, now, &mut tally) {
                last_answer = now;
            }
        }
        tally.seconds = start.elapsed().as_secs_f64();
        let drained = Instant::now();
        while tally.answered < tally.sent && drained.elapsed() < Duration::from_millis(50) {
            self.receive(&mut inbox, rdtsc(), &mut tally);
        }
        tally.lost = tally.sent.saturating_sub(tally.answered);
        Ok(tally)
    }

    /// The SPI carries the time of sending in its upper bits, so that the answer brings it back.
    fn send(&mut self, out: &mut Burst, count: u64, now: u64, tally: &mut Tally) {
        for _ in 0..count {
            let Some(mut mbuf) = self.pool.alloc() else { break };
            if mbuf.set_len(self.template.frame.len()).is_err() {
                break;
            }
            self.next = self.next.wrapping_add(1);
            self.template.vary(mbuf.data_mut(), now << 16 | self.next & 0xffff);
            if out.push(mbuf).is_err() {
                break;
            }
        }
        let queued = out.len();
        self.tx.burst(out);
        tally.sent += (queued - out.len()) as u64;
        out.clear();
    }

    fn receive(&mut self, inbox: &mut Burst, now: u64, tally: &mut Tally) -> bool {
        if self.rx.burst(inbox) == 0 {
            return false;
        }
        for (index, mbuf) in inbox.as_slice().iter().enumerate() {
            match read_answer(mbuf.data()) {
                Some(spi) => {
                    tally.answered += 1;
                    if index == 0 {
                        let sent = now << 16 >> 16 & !0xffff_0000_0000_0000;
                        let cycles = sent.wrapping_sub(spi >> 16) & 0xffff_ffff_ffff;
                        // Longer than the histogram's range would be a figure of a broken clock: leave it out.
                        let _ = tally.latency.record(cycles.saturating_mul(1_000_000_000) / self.hz);
                    }
                }
                None => tally.wrong += 1,
            }
        }
        inbox.clear();
        true
    }
}

fn print(args: &Args, tally: &Tally) {
    let rate = tally.answered as f64 / tally.seconds;
    let at = |quantile| tally.latency.value_at_quantile(quantile);
    if args.json {
        println!(
            "{{\"size\":{},\"seconds\":{:.3},\"sent\":{},\"answered\":{},\"wrong\":{},\"lost\":{},\"answers_per_second\":{:.0},\
             \"latency_ns\":{{\"p50\":{},\"p99\":{},\"p99.99\":{},\"max\":{}}}}}",
            args.size,
            tally.seconds,
            tally.sent,
            tally.answered,
            tally.wrong,
            tally.lost,
            rate,
            at(0.5),
            at(0.99),
            at(0.9999),
            tally.latency.max()
        );
        return;
    }
    println!("{} requests of {} bytes in {:.2} s", tally.sent, args.size, tally.seconds);
    println!(
        "{} answered ({:.2} M/s), {} wrong, {} lost",
        tally.answered,
        rate / 1e6,
        tally.wrong,
        tally.lost
    );
    println!(
        "latency p50 {} ns, p99 {} ns, p99.99 {} ns, max {} ns",
        at(0.5),
        at(0.99),
        at(0.9999),
        tally.latency.max()
    );
}
