//! From what the load source counts to the percentages that the choice of a gateway compares.
//!
//! In-neg and Crypto are weighted by `crypto-load`, CPU and Mem by `system-load`; the greatest of the four is the
//! Composite, and the member's priority makes the Prioritized of it. Nothing is published about the last two by
//! others: the first formula is the only one that fits every sample known, the second is this project's own rule.

use super::member::{Load, Percent};
use crate::load::Sample;

/// The primary's rules for all members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Rules {
    /// `primary weight crypto-load`, 0-100: how much In-neg and Crypto count
    pub crypto_weight: u8,
    /// `primary weight system-load`, 0-100: how much CPU and Mem count
    pub system_weight: u8,
    /// `primary overload-limit`, percent, 50-99
    pub overload_limit: u8,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules { crypto_weight: 100, system_weight: 100, overload_limit: 99 }
    }
}

/// The load that a sample shows: half-open SAs of `max_in_negotiation`, IKE and IPsec SAs of `max_session`.
#[must_use]
pub fn load_of(sample: &Sample, max_session: u32, max_in_negotiation: u16) -> Load {
    Load {
        in_neg: Percent::of(sample.half_open.into(), max_in_negotiation.into()),
        crypto: Percent::of(u64::from(sample.ike) + u64::from(sample.child), max_session.into()),
        cpu: sample.cpu,
        mem: sample.mem,
    }
}

/// The greatest of the four attributes, each by its weight; a weight above 100 counts as 100.
#[must_use]
pub fn composite(load: &Load, rules: &Rules) -> Percent {
    let weighted = |percent: Percent, weight: u8| {
        Percent::hundredths(u64::from(percent.as_hundredths()) * u64::from(weight.min(100)) / 100)
    };
    let crypto = weighted(load.in_neg.max(load.crypto), rules.crypto_weight);
    let system = weighted(load.cpu.max(load.mem), rules.system_weight);
    crypto.max(system)
}

/// The composite seen through the member's `priority` (1-100, 0 counts as 1): half the priority doubles it, up to 100 %.
#[must_use]
pub fn prioritized(composite: Percent, priority: u8) -> Percent {
    Percent::hundredths(u64::from(composite.as_hundredths()) * 100 / u64::from(priority.max(1)))
}

/// Returns whether a member of this composite gets no more clients.
#[must_use]
pub fn overloaded(composite: Percent, rules: &Rules) -> bool {
    composite >= Percent::hundredths(u64::from(rules.overload_limit) * 100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn percent(tenths: u64) -> Percent {
        Percent::hundredths(tenths * 10)
    }

    #[test]
    fn the_rows_of_the_published_sample_come_out_as_printed() {
        // In-neg, Crypto, CPU, Mem, Composite, Prioritized at priority 100; in tenths of a percent.
        let rows = [
            (25, 174, 430, 200, "43.0%", "43.0%"),
            (0, 175, 390, 230, "39.0%", "39.0%"),
            (0, 170, 400, 180, "40.0%", "40.0%"),
            (0, 189, 430, 170, "43.0%", "43.0%"),
            (0, 163, 400, 190, "40.0%", "40.0%"),
            (0, 163, 420, 160, "42.0%", "42.0%"),
        ];
        for (in_neg, crypto, cpu, mem, want_composite, want_prioritized) in rows {
            let load = Load {
                in_neg: percent(in_neg),
                crypto: percent(crypto),
                cpu: percent(cpu),
                mem: percent(mem),
            };
            let composite = composite(&load, &Rules::default());
            assert_eq!(composite.to_string(), want_composite);
            assert_eq!(prioritized(composite, 100).to_string(), want_prioritized);
        }
    }

    #[test]
    fn weights_and_priority_scale_and_the_limit_is_reached_from_below() {
        let load = Load { in_neg: percent(25), crypto: percent(800), cpu: percent(300), mem: percent(100) };
        let rules = |crypto_weight, system_weight| Rules { crypto_weight, system_weight, overload_limit: 80 };
        assert_eq!(composite(&load, &rules(10, 100)), percent(300), "CPU counts more than a tenth of Crypto");
        assert_eq!(composite(&load, &rules(0, 0)), percent(0));
        assert_eq!(prioritized(percent(300), 50), percent(600));
        assert_eq!(prioritized(percent(300), 1), Percent::FULL);
        assert!(overloaded(percent(800), &rules(100, 100)));
        assert!(!overloaded(percent(799), &rules(100, 100)));
    }

    #[test]
    fn one_half_open_of_forty_is_the_samples_2_5_percent() {
        let sample = Sample { half_open: 1, ike: 4000, child: 4700, cpu: percent(430), mem: percent(200) };
        let load = load_of(&sample, 50_000, 40);
        assert_eq!((load.in_neg, load.crypto), (percent(25), percent(174)));
        let full = load_of(&Sample { ike: u32::MAX, child: u32::MAX, half_open: 9, ..sample }, 1, 0);
        assert_eq!((full.in_neg, full.crypto), (Percent::FULL, Percent::FULL));
    }

    proptest! {
        #[test]
        fn the_composite_is_one_of_the_four_and_priority_never_lowers_it(
            parts in proptest::array::uniform4(0u64..=1000), priority in 0u8..=255,
        ) {
            let [in_neg, crypto, cpu, mem] = parts.map(percent);
            let composite = composite(&Load { in_neg, crypto, cpu, mem }, &Rules::default());
            prop_assert_eq!(Some(composite), parts.map(percent).into_iter().max());
            let prioritized = prioritized(composite, priority);
            prop_assert!(prioritized >= composite.min(Percent::FULL) || priority > 100);
            prop_assert!(prioritized <= Percent::FULL);
        }
    }
}
