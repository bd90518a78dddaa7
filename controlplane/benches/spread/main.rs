//! How far the worst gateway overshoots its fair share when 20,000 clients come within one update interval: naive
//! least-loaded, round robin and usher, under a virtual clock. `make spread` prints the table and keeps it, with a plot,
//! under bench/results.

mod sim;

use plotters::prelude::*;
use sim::{MS, Outcome, Policy, SECOND, Scenario, run};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

const SEEDS: std::ops::RangeInclusive<u64> = 1..=100;
const POLICIES: [(Policy, &str); 4] = [
    (Policy::Naive, "naive"),
    (Policy::RoundRobin, "round robin"),
    (Policy::Usher, "usher"),
    (Policy::Chance, "(chance)"),
];

/// One policy in one scenario, over all seeds.
struct Row {
    outcomes: Vec<Outcome>,
    /// Overshoots, ascending
    overshoots: Vec<f64>,
}

impl Row {
    fn of(scenario: &Scenario, policy: Policy) -> Row {
        let outcomes: Vec<Outcome> = SEEDS.map(|seed| run(scenario, policy, seed)).collect();
        let mut overshoots: Vec<f64> = outcomes.iter().map(Outcome::overshoot).collect();
        overshoots.sort_by(f64::total_cmp);
        Row { outcomes, overshoots }
    }

    /// The value below which so many of a hundred seeds lie.
    fn percentile(&self, percent: usize) -> f64 {
        self.overshoots[(self.overshoots.len() * percent).div_ceil(100) - 1]
    }

    fn mean(&self, value: impl Fn(&Outcome) -> f64) -> f64 {
        self.outcomes.iter().map(value).sum::<f64>() / self.outcomes.len() as f64
    }

    fn most(&self, value: impl Fn(&Outcome) -> f64) -> f64 {
        self.outcomes.iter().map(value).fold(0.0, f64::max)
    }
}

fn head(out: &mut String, title: &str) {
    let _ = writeln!(out, "\n{title}");
    let _ = writeln!(
        out,
        "{:<28} {:>9} {:>9} {:>9} {:>7} {:>8} {:>9} {:>9}",
        "gateways, choice", "median %", "95th %", "worst %", "sd %", "moves", "moves/s", "fullest %"
    );
}

fn line(out: &mut String, name: &str, row: &Row, policy: Policy) {
    let moves = match policy {
        Policy::Naive | Policy::Usher => {
            let mean = row.mean(|outcome| outcome.moves as f64);
            let most = row.most(|outcome| outcome.moves_a_second as f64);
            format!("{mean:>8.0} {most:>9.0}")
        }
        _ => format!("{:>8} {:>9}", "-", "-"),
    };
    let _ = writeln!(
        out,
        "{name:<28} {:>9.1} {:>9.1} {:>9.1} {:>7.1} {moves} {:>9.0}",
        row.percentile(50),
        row.percentile(95),
        row.percentile(100),
        row.mean(Outcome::multinomial_sd),
        row.most(|outcome| outcome.fullest),
    );
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or("unknown".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    format!("{cores} cores, {}, {}", model.map_or("unknown", |(_, name)| name), said("uname", &["-sr"]))
}

/// The share of seeds, up to 1, whose overshoot is at most so many percent.
fn plot(path: &Path, panels: &[(String, Vec<(&str, Row)>)]) -> Result<(), Box<dyn std::error::Error>> {
    let root = SVGBackend::new(path, (1200, 420)).into_drawing_area();
    root.fill(&WHITE)?;
    for (area, (title, rows)) in root.split_evenly((1, panels.len())).iter().zip(panels) {
        let mut chart = ChartBuilder::on(area)
            .caption(title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(44)
            .build_cartesian_2d((0.02f64..1000.0).log_scale(), 0.0f64..1.0)?;
        chart
            .configure_mesh()
            .x_desc("worst gateway's overshoot over its fair share, %")
            .y_desc("share of seeds")
            .x_label_formatter(&|x| format!("{x}"))
            .draw()?;
        for ((name, row), colour) in rows.iter().zip([RED, BLUE, BLACK, RGBColor(150, 150, 150)]) {
            let count = row.overshoots.len() as f64;
            let points = row.overshoots.iter().enumerate();
            let points = points.map(|(index, x)| (x.clamp(0.02, 1000.0), (index + 1) as f64 / count));
            chart
                .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
                .label(*name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE)
            .border_style(BLACK)
            .draw()?;
    }
    root.present()?;
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut out = String::new();
    let date = said("date", &["-u", "+%Y%m%dT%H%M%SZ"]);
    let _ = writeln!(out, "commit: {}", said("git", &["describe", "--always", "--dirty", "--abbrev=7"]));
    let _ = writeln!(out, "date: {date}");
    let _ = writeln!(out, "machine: {}", machine());
    let _ = writeln!(out, "seeds: {} to {}, each one run of each row", SEEDS.start(), SEEDS.end());
    let burst = Scenario::burst(3);
    let _ = writeln!(
        out,
        "burst: {} clients within one update interval of {} s, after four with {} clients a second; \
         a choice every {} ms;\nmax-in-negotiation-sa 9999; three sessions end while ten begin",
        burst.clients,
        burst.update_ns / SECOND,
        burst.background,
        burst.recompute_ns / MS
    );
    let _ = writeln!(
        out,
        "gateways: max-session {} to {}, {} to {} % of it in use, priority {} to {}, processors {} to {} % busy \
         before clients,\n8,000 to 32,000 key exchanges a second fill them; each reports at moments of its own",
        burst.sizes.0,
        burst.sizes.1,
        burst.used.0,
        burst.used.1,
        burst.priorities.0,
        burst.priorities.1,
        burst.cpu.0,
        burst.cpu.1
    );

    let mut misses = Vec::new();
    let mut panels = Vec::new();
    head(
        &mut out,
        "Unequal gateways, loads far apart, the default load-normalization of 5: the burst is a surge",
    );
    for gateways in [3, 5, 10] {
        let scenario = Scenario::burst(gateways);
        let rows: Vec<(&str, Row)> =
            POLICIES.iter().map(|(policy, name)| (*name, Row::of(&scenario, *policy))).collect();
        for ((policy, name), (_, row)) in POLICIES.iter().zip(&rows) {
            line(&mut out, &format!("{gateways}, {name}"), row, *policy);
        }
        judge(&mut misses, gateways, &rows[2].1);
        panels.push((format!("{gateways} gateways"), rows));
    }

    let equal = |gateways| Scenario { sizes: (70_000, 70_000), ..Scenario::burst(gateways) };
    let near = |gateways| Scenario {
        used: (30, 34),
        priorities: (100, 100),
        cpu: (5, 20),
        ..Scenario::burst(gateways)
    };
    let all = |gateways| Scenario { normalization: 100, ..Scenario::burst(gateways) };
    let others: [(&str, &dyn Fn(usize) -> Scenario); 3] = [
        ("Gateways of one size, unequally loaded (headroom by percent and by sessions are the same)", &equal),
        ("Unequal sizes, loads within the default load-normalization of 5 points at the start", &near),
        ("Loads far apart, load-normalization 100: all may be chosen all the time", &all),
    ];
    for (title, scenario) in others {
        head(&mut out, title);
        for gateways in [3, 5, 10] {
            for (policy, name) in &POLICIES[..3] {
                let row = Row::of(&scenario(gateways), *policy);
                line(&mut out, &format!("{gateways}, {name}"), &row, *policy);
                if *policy == Policy::Usher {
                    judge(&mut misses, gateways, &row);
                }
            }
        }
    }

    head(&mut out, "5 unequal gateways, usher, with faults, load-normalization 100");
    let five = || all(5);
    let faults = [
        ("none", five()),
        ("all within 0.2 s", Scenario { burst_ns: 200 * MS, ..five() }),
        ("reports 1.5 s late", Scenario { delay_ns: 1500 * MS, ..five() }),
        ("30 % of reports lost", Scenario { loss_percent: 30, holdtime_ns: 15 * SECOND, ..five() }),
        (
            "a feed cut, seen after 30 s",
            Scenario { partition: Some((0, 0, u64::MAX)), holdtime_ns: 30 * SECOND, ..five() },
        ),
        ("1,000,000 forged a second", Scenario { forged: 1_000_000, ..five() }),
    ];
    for (name, scenario) in faults {
        let row = Row::of(&scenario, Policy::Usher);
        line(&mut out, name, &row, Policy::Usher);
        let closed = row.outcomes.iter().filter(|outcome| outcome.closed > 0).count();
        if closed > 0 {
            misses.push(format!("{name}: healthy gateways left the choice with {closed} seeds"));
        }
    }
    let scenario = Scenario { partition: Some((0, SECOND, u64::MAX)), ..five() };
    let row = Row::of(&scenario, Policy::Usher);
    let dead: u64 = row.outcomes.iter().map(|outcome| outcome.to_the_dead).sum();
    let _ = writeln!(out, "a gateway silent past holdtime: {dead} clients sent to it, all seeds together");
    if dead > 0 {
        misses.push(format!("{dead} clients sent to a dead gateway"));
    }

    let _ = writeln!(
        out,
        "\novershoot: how far the worst gateway is above its fair share, percent of that; fair: the burst in \
         proportion to the\ntrue headroom at its start, max(1, 100 - Prioritized) percent of max-session; sd: \
         the standard deviation that multinomial\nsampling gives the smallest share, mean of the seeds; chance: \
         each client drawn by the fair shares; moves: slots of 1024\nthat moved within the interval, mean; \
         moves/s: most that left usable gateways within a second, any seed (more than 51 only \
         as a\nsurge begins); fullest: most of max-session in use after it, any seed; last line: the greatest of the first table's medians."
    );
    let _ = writeln!(out, "wanted of usher: median at most 5 %, 95th percentile at most that and two sd");
    let _ =
        writeln!(out, "misses: {}", if misses.is_empty() { "none".to_owned() } else { misses.join("; ") });
    for (title, rows) in &panels {
        let beyond = SEEDS.zip(&rows[2].1.outcomes).filter(|(_, outcome)| outcome.overshoot() > 5.0);
        let beyond: Vec<String> =
            beyond.map(|(seed, outcome)| format!("{seed} ({:.1} %)", outcome.overshoot())).collect();
        let _ = writeln!(
            out,
            "{title}: seeds above 5 %: {}",
            if beyond.is_empty() { "none".to_owned() } else { beyond.join(", ") }
        );
    }
    let worst =
        |index: usize| panels.iter().map(|(_, rows)| rows[index].1.percentile(50)).fold(0.0, f64::max);
    let _ = writeln!(
        out,
        "spread overshoot_naive={:.1}% overshoot_rr={:.1}% overshoot_usher={:.1}%",
        worst(0),
        worst(1),
        worst(2)
    );
    print!("{out}");

    // `cargo bench` says so; a run under `cargo test` keeps nothing.
    if std::env::args().any(|argument| argument == "--bench") {
        let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bench/results");
        let name = results.join(format!("spread-{date}"));
        std::fs::write(name.with_extension("txt"), &out)?;
        plot(&name.with_extension("svg"), &panels)?;
    }
    if !misses.is_empty() {
        std::process::exit(1);
    }
    Ok(())
}

fn judge(misses: &mut Vec<String>, gateways: usize, row: &Row) {
    let (median, high) = (row.percentile(50), row.percentile(95));
    let allowed = 5.0 + 2.0 * row.mean(Outcome::multinomial_sd);
    if median > 5.0 {
        misses.push(format!("{gateways} gateways: median {median:.1} % above 5 %"));
    }
    if high > allowed {
        misses.push(format!("{gateways} gateways: 95th percentile {high:.1} % above {allowed:.1} %"));
    }
}
