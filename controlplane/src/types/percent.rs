//! Percentages in hundredths.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A share of 100 in hundredths of a percent: 0 to [`Percent::FULL`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Percent(u16);

impl Percent {
    /// 100 %
    pub const FULL: Percent = Percent(10_000);

    /// So many hundredths of a percent; more than [`Percent::FULL`] is [`Percent::FULL`].
    #[must_use]
    pub fn hundredths(hundredths: u64) -> Percent {
        Percent(hundredths.min(u64::from(Percent::FULL.0)) as u16)
    }

    /// `part` of `whole`, rounded down, at most 100 %. Of a whole of 0 any part is 100 %, and none is 0 %.
    #[must_use]
    pub fn of(part: u64, whole: u64) -> Percent {
        match (part, whole) {
            (0, _) => Percent(0),
            (_, 0) => Percent::FULL,
            _ => Percent::hundredths((u128::from(part) * 10_000 / u128::from(whole)).min(10_000) as u64),
        }
    }

    /// In hundredths of a percent, 0 to 10000.
    #[must_use]
    pub fn as_hundredths(self) -> u16 {
        self.0
    }
}

/// With one decimal, as `show` has it: `26.6%`; a precision of 0 leaves it away: `27%`.
impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = f64::from(self.0) / 100.0;
        let text = format!("{value:.*}%", f.precision().unwrap_or(1));
        let width = f.width().unwrap_or(0);
        // `pad` would take the precision for the longest text allowed.
        match f.align() {
            Some(fmt::Alignment::Right) => write!(f, "{text:>width$}"),
            Some(fmt::Alignment::Center) => write!(f, "{text:^width$}"),
            _ => write!(f, "{text:<width$}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_never_exceed_the_whole() {
        let shown = |part, whole| Percent::of(part, whole).to_string();
        assert_eq!((shown(1, 40), shown(0, 0), shown(7, 0)), ("2.5%".into(), "0.0%".into(), "100.0%".into()));
        assert_eq!(Percent::of(u64::MAX, 1), Percent::FULL);
        assert_eq!(format!("{:>7}|{:.0}", Percent::of(17, 100), Percent::of(43, 100)), "  17.0%|43%");
    }
}
