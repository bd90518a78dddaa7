//! `usher top`: the cluster live.

use super::client::Client;
use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Cell, Paragraph, Row, Table, Wrap};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// Interval between requests to usherd.
const PERIOD: Duration = Duration::from_secs(1);
/// Interval between looks at the keyboard.
const KEYS: Duration = Duration::from_millis(100);
/// Cells of a load's bar.
const BAR: usize = 20;

/// An answer of usherd and its time.
#[derive(Clone, Debug)]
struct Sample {
    at: Instant,
    cluster: Value,
    dataplane: Value,
    standby: Value,
}

/// State of the display.
#[derive(Debug, Default)]
struct Top {
    last: Option<Sample>,
    /// Per second: redirects by gateway, frames by counter
    redirects: BTreeMap<String, f64>,
    frames: BTreeMap<String, f64>,
    /// Why usherd cannot be asked
    error: Option<String>,
}

/// Runs until `q`, Escape or Ctrl-C.
///
/// # Errors
/// When the terminal cannot be used.
pub fn run(client: &Client) -> std::io::Result<()> {
    let (send, samples) = channel();
    let client = client.clone();
    std::thread::spawn(move || ask(&client, &send));
    let mut terminal = ratatui::try_init()?;
    let result = watch(&mut terminal, &samples);
    ratatui::restore();
    result
}

fn watch(
    terminal: &mut ratatui::DefaultTerminal,
    samples: &Receiver<Result<Sample, String>>,
) -> std::io::Result<()> {
    let mut top = Top::default();
    loop {
        let before = top.error.clone();
        samples.try_iter().for_each(|sample| top.take(sample));
        if top.error != before {
            // Another message is written on empty lines: patched letter by letter no recording of the terminal could be read.
            let error = top.error.replace(String::new());
            terminal.draw(|frame| top.draw(frame))?;
            top.error = error;
        }
        terminal.draw(|frame| top.draw(frame))?;
        if event::poll(KEYS)?
            && let Event::Key(key) = event::read()?
            && key.kind == KeyEventKind::Press
        {
            let control_c = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
            if control_c || matches!(key.code, KeyCode::Char('q' | 'Q') | KeyCode::Esc) {
                return Ok(());
            }
        }
    }
}

/// Asks usherd until nobody listens; a restart of usherd is only a gap.
fn ask(client: &Client, send: &Sender<Result<Sample, String>>) {
    let json = |command: &str| {
        let reply = client.command(command, true)?;
        reply.error.map_or(Ok(reply.json.unwrap_or_default()), Err)
    };
    let sample = || -> Result<Sample, String> {
        let cluster = json("show crypto ikev2 cluster")?;
        let dataplane = json("show dataplane")?;
        let standby = json("show standby brief")?;
        Ok(Sample { at: Instant::now(), cluster, dataplane, standby })
    };
    while send.send(sample()).is_ok() {
        std::thread::sleep(PERIOD);
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or("")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

impl Sample {
    fn redirects(&self) -> BTreeMap<String, u64> {
        let count = |gateway: &Value| {
            (text(gateway, "address").to_owned(), gateway["redirects"].as_u64().unwrap_or(0))
        };
        list(&self.cluster["gateways"]).iter().map(count).collect()
    }

    /// Frames by counter, all data planes together.
    fn frames(&self) -> BTreeMap<String, u64> {
        let mut all = BTreeMap::new();
        for counter in
            list(&self.dataplane["attached"]).iter().flat_map(|attached| list(&attached["counters"]))
        {
            if matches!(text(counter, "action"), "drop" | "pass") {
                let name = format!("{} {}", text(counter, "action"), text(counter, "name"));
                *all.entry(name).or_default() += counter["total"].as_u64().unwrap_or(0);
            }
        }
        all
    }
}

/// Growth per second; a count that began anew has grown by itself.
fn rates(before: &BTreeMap<String, u64>, now: BTreeMap<String, u64>, seconds: f64) -> BTreeMap<String, f64> {
    let rate = |(name, total): (String, u64)| {
        let before = before.get(&name).copied().unwrap_or(total);
        let grown = if total >= before { total - before } else { total };
        (name, grown as f64 / seconds)
    };
    now.into_iter().map(rate).collect()
}

impl Top {
    fn take(&mut self, sample: Result<Sample, String>) {
        let sample = match sample {
            Ok(sample) => sample,
            Err(error) => {
                self.error = Some(error);
                return;
            }
        };
        self.error = None;
        if let Some(last) = &self.last {
            let seconds = sample.at.duration_since(last.at).as_secs_f64().max(0.001);
            self.redirects = rates(&last.redirects(), sample.redirects(), seconds);
            self.frames = rates(&last.frames(), sample.frames(), seconds);
        }
        self.last = Some(sample);
    }

    fn draw(&self, frame: &mut Frame<'_>) {
        let area = frame.area();
        let empty = Value::Null;
        let (cluster, standby) =
            self.last.as_ref().map_or((&empty, &empty), |last| (&last.cluster, &last.standby));
        let groups: Vec<Line<'_>> = list(standby).iter().take(4).map(group).collect();
        let drops = self.drops();
        let [head, table, below, foot] = Layout::vertical([
            Constraint::Length(2 + groups.len() as u16),
            Constraint::Min(4),
            Constraint::Length(drops.len().clamp(1, 6) as u16 + 1),
            Constraint::Length(if self.error.is_some() { 3 } else { 1 }),
        ])
        .areas(area);

        let total: f64 = self.redirects.values().sum();
        let mut lines = vec![
            Line::from(match cluster {
                Value::Null => "Usher: no cluster is configured".to_owned(),
                _ => format!(
                    "Usher: {} {}, cluster IP {}, {total:.0} redirects/s",
                    match text(cluster, "role") {
                        "primary" => "CLB Primary",
                        "secondary" => "CLB Secondary",
                        _ => "no role,",
                    },
                    text(cluster, "status"),
                    list(&cluster["cluster_ip"])
                        .iter()
                        .filter_map(Value::as_str)
                        .collect::<Vec<_>>()
                        .join(", ")
                ),
            })
            .style(Style::new().add_modifier(Modifier::BOLD)),
            Line::from(list(&cluster["reasons"]).first().and_then(Value::as_str).unwrap_or("").to_owned()),
        ];
        lines.extend(groups);
        frame.render_widget(Paragraph::new(lines), head);
        frame.render_widget(self.gateways(cluster), table);
        let title = Line::from("Not redirected and dropped, frames/s")
            .style(Style::new().add_modifier(Modifier::REVERSED));
        let lines: Vec<Line<'_>> = std::iter::once(title).chain(drops).collect();
        frame.render_widget(Paragraph::new(lines), below);
        let foot_text = self.error.as_ref().map_or("q quits".to_owned(), |error| format!("q quits; {error}"));
        frame.render_widget(Paragraph::new(foot_text).wrap(Wrap { trim: true }), foot);
    }

    /// The busiest first, at most six.
    fn drops(&self) -> Vec<Line<'_>> {
        let mut busy: Vec<(&String, &f64)> = self.frames.iter().filter(|(_, rate)| **rate > 0.0).collect();
        busy.sort_by(|a, b| b.1.total_cmp(a.1));
        let line = |(name, rate): (&String, &f64)| Line::from(format!("{rate:>12.0}  {name}"));
        busy.into_iter().take(6).map(line).collect()
    }

    fn gateways(&self, cluster: &Value) -> Table<'_> {
        let row = |gateway: &Value| {
            let address = text(gateway, "address");
            let load = gateway["load"]["prioritized"].as_f64();
            let bar =
                load.map_or(String::new(), |load| "#".repeat((load / 100.0 * BAR as f64).round() as usize));
            let rate = self.redirects.get(address).copied().unwrap_or(0.0);
            Row::new([
                Cell::from(gateway["mark"].as_str().unwrap_or(" ").to_owned()),
                Cell::from(address.to_owned()),
                Cell::from(text(gateway, "role").to_owned()),
                Cell::from(load.map_or("--".to_owned(), |load| format!("{load:>5.1}%"))),
                Cell::from(bar),
                Cell::from(gateway["load"]["ike"].as_u64().map_or("--".to_owned(), |ike| ike.to_string())),
                Cell::from(format!("{rate:>8.0}")),
            ])
        };
        let widths = [
            Constraint::Length(1),
            Constraint::Min(15),
            Constraint::Length(9),
            Constraint::Length(6),
            Constraint::Length(BAR as u16),
            Constraint::Length(6),
            Constraint::Length(11),
        ];
        let head = Row::new(["", "Gateway", "Role", "Load", "", "IKE", "Redirects/s"]);
        Table::new(list(&cluster["gateways"]).iter().map(row), widths)
            .header(head.style(Style::new().add_modifier(Modifier::REVERSED)))
    }
}

fn group(group: &Value) -> Line<'_> {
    let addresses: Vec<&str> = list(&group["virtual_ip"]).iter().filter_map(Value::as_str).collect();
    Line::from(format!(
        "{} group {}: {} for {}",
        text(group, "interface"),
        group["group"],
        text(group, "state"),
        addresses.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use serde_json::json;

    fn sample(at: Instant, redirects: [u64; 2], dropped: u64) -> Sample {
        Sample {
            at,
            cluster: json!({
                "role": "primary", "status": "Up", "reasons": [], "cluster_ip": ["10.0.0.100"],
                "gateways": [
                    {"address": "10.0.0.1", "role": "primary", "mark": "*", "redirects": redirects[0], "load": {"prioritized": 26.6, "ike": 3996}},
                    {"address": "10.0.0.2", "role": "second", "mark": null, "redirects": redirects[1], "load": {"prioritized": 80.0, "ike": 12}},
                ],
            }),
            dataplane: json!({"attached": [{"counters": [
                {"name": "malformed", "action": "drop", "total": dropped}, {"name": "redirected", "action": "answer", "total": 9}
            ]}]}),
            standby: json!([{"interface": "TenGigabitEthernet0/0/0", "group": 1, "state": "Active", "virtual_ip": ["10.0.0.100"]}]),
        }
    }

    fn screen(top: &Top, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| top.draw(frame)).unwrap();
        let buffer = terminal.backend().buffer().clone();
        let line =
            |row: u16| (0..width).map(|column| buffer[(column, row)].symbol().to_owned()).collect::<String>();
        (0..height).map(|row| line(row).trim_end().to_owned() + "\n").collect()
    }

    #[test]
    fn loads_rates_drops_and_roles_fit_80_by_24() {
        let start = Instant::now();
        let mut top = Top::default();
        top.take(Ok(sample(start, [100, 50], 7)));
        top.take(Ok(sample(start + Duration::from_secs(2), [2100, 50], 27)));
        let shown = screen(&top, 80, 24);
        for part in [
            "Usher: CLB Primary Up, cluster IP 10.0.0.100, 1000 redirects/s",
            "TenGigabitEthernet0/0/0 group 1: Active for 10.0.0.100",
            "10  drop malformed",
            "q quits",
        ] {
            assert!(shown.contains(part), "{part}\n{shown}");
        }
        let row = shown.lines().find(|line| line.starts_with("* 10.0.0.1")).unwrap();
        assert!(row.contains(" 26.6% #####") && row.contains("3996") && row.ends_with("1000"), "{row}");
        let other = shown.lines().find(|line| line.contains("10.0.0.2 ")).unwrap();
        assert!(other.contains(" 80.0% ################") && other.ends_with(" 0"), "{other}");
    }

    #[test]
    fn a_restart_of_usherd_is_a_gap_and_tiny_terminals_are_survived() {
        let start = Instant::now();
        let mut top = Top::default();
        top.take(Err("usherd is not running".to_owned()));
        assert!(screen(&top, 80, 24).contains("q quits; usherd is not running"));
        top.take(Ok(sample(start, [1000, 0], 0)));
        top.take(Ok(sample(start + Duration::from_secs(1), [10, 0], 0)));
        assert!(screen(&top, 80, 24).contains("10 redirects/s"), "counts that began anew never go negative");
        for (width, height) in [(1, 1), (20, 3), (300, 80)] {
            screen(&top, width, height);
        }
    }
}
