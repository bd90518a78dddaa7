//! `show standby internal`: how late the HSRP thread was.

use serde::Serialize;
use std::fmt::Write as _;

/// Delays of one kind.
#[derive(Clone, Debug, Serialize)]
pub struct DelayView {
    /// `timer`: from the moment at which a timer was due until the thread went on; `turn`: one turn of its loop;
    /// `blocked`: turns in which it waited for something else
    pub name: &'static str,
    /// The longest, in microseconds
    pub longest_us: u64,
    /// Age, s; none: never
    pub longest_ago_s: Option<u64>,
    /// Counts by length
    pub classes: Vec<DelayClass>,
}

/// Number of delays of a length.
#[derive(Clone, Debug, Serialize)]
pub struct DelayClass {
    /// Upper bound in microseconds; none: longer than all bounds
    pub below_us: Option<u64>,
    /// Count
    pub count: u64,
}

/// The histograms side by side.
#[must_use]
pub fn text(views: &[DelayView]) -> String {
    let mut text = String::from("Delays of the HSRP thread\n  Below          ");
    for view in views {
        let _ = write!(text, "{:>12}", view.name);
    }
    text.push('\n');
    let rows = views.iter().map(|view| view.classes.len()).max().unwrap_or(0);
    for row in 0..rows {
        let bound = views.iter().find_map(|view| view.classes.get(row)?.below_us);
        let bound = bound.map_or("longer".to_owned(), |us| format!("{} ms", us as f64 / 1000.0));
        let _ = write!(text, "  {bound:<15}");
        for view in views {
            let _ = write!(text, "{:>12}", view.classes.get(row).map_or(0, |class| class.count));
        }
        text.push('\n');
    }
    text.push_str("  Longest        ");
    for view in views {
        let _ = write!(text, "{:>12}", format!("{:.1} ms", view.longest_us as f64 / 1000.0));
    }
    text.push('\n');
    for view in views {
        if let Some(ago) = view.longest_ago_s {
            let _ = writeln!(text, "  The longest {} was {ago} s ago", view.name);
        }
    }
    text.push_str("  timer: from the moment a timer was due until the thread went on; turn: its own work;\n  blocked: turns in which it waited for something else\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kinds_stand_side_by_side() {
        let view = |name, counts: [u64; 2], longest_us| DelayView {
            name,
            longest_us,
            longest_ago_s: (longest_us > 0).then_some(7),
            classes: vec![
                DelayClass { below_us: Some(500), count: counts[0] },
                DelayClass { below_us: None, count: counts[1] },
            ],
        };
        let shown = text(&[view("timer", [1234, 1], 20_300), view("turn", [99, 0], 0)]);
        assert_eq!(
            shown,
            "Delays of the HSRP thread
  Below                 timer        turn
  0.5 ms                 1234          99
  longer                    1           0
  Longest             20.3 ms      0.0 ms
  The longest timer was 7 s ago
  timer: from the moment a timer was due until the thread went on; turn: its own work;
  blocked: turns in which it waited for something else
"
        );
    }
}
