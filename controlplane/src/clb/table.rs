//! The member table: what each node of the cluster last said, and when.
//!
//! The primary hears members first-hand; every other node merges the copy in the primary's acknowledgements, so that a
//! node that becomes primary starts with loads that are one update old at most. Of two reports of a member the later
//! wins, whatever way and in whatever order they come.

use super::member::Report;
use crate::types::Nanos;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// A member that has been dead for an hour has gone for good, ns.
pub const REMEMBERED_NS: Nanos = Nanos::from_secs(3600);

/// Last message of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its report
    pub report: Report,
    /// When that was heard, or would have been first-hand: ns of CLOCK_MONOTONIC
    pub heard_ns: Nanos,
    /// It said goodbye since: why
    pub left: Option<String>,
}

impl Entry {
    fn is_alive(&self, now_ns: Nanos, holdtime_ns: Nanos) -> bool {
        self.left.is_none() && now_ns.since(self.heard_ns) < holdtime_ns
    }
}

/// Outcome of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A member that was not in the table, or had been silent past holdtime
    New,
    /// A known member's later report
    Later,
    /// A report that is not later than the one known; nothing changed
    Stale,
    /// A stranger, and the table is full of living members; nothing changed
    Full,
}

/// The members by address, at most `max_nodes` of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    entries: BTreeMap<IpAddr, Entry>,
    max_nodes: usize,
    holdtime_ns: Nanos,
}

impl Table {
    /// An empty table for `max_nodes` members, each dead when silent for `holdtime_ns`.
    #[must_use]
    pub fn new(max_nodes: usize, holdtime_ns: Nanos) -> Table {
        Table { entries: BTreeMap::new(), max_nodes, holdtime_ns }
    }

    /// Takes new limits. Members that a smaller `max_nodes` has no room for leave: the dead, then the longest silent.
    pub fn configure(&mut self, max_nodes: usize, holdtime_ns: Nanos) {
        (self.max_nodes, self.holdtime_ns) = (max_nodes, holdtime_ns);
        while self.entries.len() > max_nodes {
            let silent =
                self.entries.iter().min_by_key(|(_, entry)| entry.heard_ns).map(|(address, _)| *address);
            silent.map(|address| self.entries.remove(&address));
        }
    }

    /// Takes a report that the member itself sent. Within one start of the member its count must grow; a report of
    /// another start is taken as it is, for the member knows best, even when its clock was set back between the two.
    pub fn hear(&mut self, address: IpAddr, report: Report, heard_ns: Nanos) -> Heard {
        if let Some(known) = self.entries.get_mut(&address) {
            let was_alive = known.is_alive(heard_ns, self.holdtime_ns);
            let (start, count) = known.report.version;
            if report.version.0 == start && report.version.1 <= count {
                return Heard::Stale;
            }
            *known = Entry { report, heard_ns: heard_ns.max(known.heard_ns), left: None };
            return if was_alive { Heard::Later } else { Heard::New };
        }
        if !self.room(heard_ns) {
            return Heard::Full;
        }
        self.entries.insert(address, Entry { report, heard_ns, left: None });
        Heard::New
    }

    /// A sign of life that carries no report (a hello, a keepalive); of strangers it is ignored.
    pub fn touch(&mut self, address: IpAddr, heard_ns: Nanos) {
        if let Some(entry) = self.entries.get_mut(&address) {
            entry.heard_ns = entry.heard_ns.max(heard_ns);
        }
    }

    /// Takes another node's entries, each with its age in ns. Of two entries of a member the living one wins, then
    /// the later report, then the one heard later: merging commutes and repeats without effect.
    pub fn merge(&mut self, entries: impl IntoIterator<Item = (IpAddr, Report, Nanos)>, now_ns: Nanos) {
        let holdtime_ns = self.holdtime_ns;
        let rank =
            |entry: &Entry| (entry.is_alive(now_ns, holdtime_ns), entry.report.version, entry.heard_ns);
        for (address, report, age_ns) in entries {
            let entry = Entry { report, heard_ns: now_ns - age_ns, left: None };
            if let Some(known) = self.entries.get_mut(&address) {
                if rank(&entry) > rank(known) {
                    *known = entry;
                }
            } else if rank(&entry).0 && self.room(now_ns) {
                // The dead are not worth a place that they do not have.
                self.entries.insert(address, entry);
            }
        }
    }

    /// Members that have been dead for [`REMEMBERED_NS`] leave.
    pub fn expire(&mut self, now_ns: Nanos) {
        let limit = self.holdtime_ns + REMEMBERED_NS;
        self.entries.retain(|_, entry| now_ns.since(entry.heard_ns) < limit);
    }

    /// Leaves a time out in which nobody could have been heard.
    pub fn skip(&mut self, time_ns: Nanos) {
        for entry in self.entries.values_mut() {
            entry.heard_ns += time_ns;
        }
    }

    /// Returns whether there is room for one more, after the longest dead made place if need be.
    fn room(&mut self, now_ns: Nanos) -> bool {
        if self.entries.len() >= self.max_nodes {
            let dead = self
                .entries
                .iter()
                .filter(|(_, entry)| !entry.is_alive(now_ns, self.holdtime_ns))
                .min_by_key(|(_, entry)| entry.heard_ns)
                .map(|(address, _)| *address);
            dead.map(|address| self.entries.remove(&address));
        }
        self.entries.len() < self.max_nodes
    }

    /// Returns whether the member at `address` was heard within holdtime.
    #[must_use]
    pub fn alive(&self, address: IpAddr, now_ns: Nanos) -> bool {
        self.entries.get(&address).is_some_and(|entry| entry.is_alive(now_ns, self.holdtime_ns))
    }

    /// When the next living member dies unless it is heard, ns; `None` with none alive.
    #[must_use]
    pub fn next_death(&self, now_ns: Nanos) -> Option<Nanos> {
        let staying = self.entries.values().filter(|entry| entry.left.is_none());
        let deaths = staying.map(|entry| entry.heard_ns + self.holdtime_ns);
        deaths.filter(|death| *death > now_ns).min()
    }

    /// The member at `address` says goodbye: it is dead at once, until its next report. False where it was already.
    pub fn leave(&mut self, address: IpAddr, reason: String, now_ns: Nanos) -> bool {
        let holdtime_ns = self.holdtime_ns;
        let living = self.entries.get_mut(&address).filter(|entry| entry.is_alive(now_ns, holdtime_ns));
        living.is_some_and(|entry| entry.left.replace(reason).is_none())
    }

    /// A node reported from its address in another group: what holds for the node holds for its address here.
    pub fn update_node(&mut self, node: IpAddr, report: &Report, now_ns: Nanos) {
        let holdtime_ns = self.holdtime_ns;
        for (address, entry) in &mut self.entries {
            let of_node = entry.report.node(*address) == node && entry.report.version.0 == report.version.0;
            if of_node && entry.is_alive(now_ns, holdtime_ns) {
                let known = &mut entry.report;
                (known.load, known.health) = (report.load, report.health);
                (known.draining, known.to_move) = (report.draining, report.to_move);
            }
        }
    }

    /// A node has been silent for holdtime at its address in another group: it is dead here too, unless it was heard here
    /// within the last half of that time.
    pub fn node_silent(&mut self, node: IpAddr, now_ns: Nanos) {
        let holdtime_ns = self.holdtime_ns;
        for (address, entry) in &mut self.entries {
            let silent = now_ns.since(entry.heard_ns) >= holdtime_ns / 2;
            if entry.report.node(*address) == node && silent && entry.is_alive(now_ns, holdtime_ns) {
                entry.left = Some("it is silent at another of its addresses".to_owned());
            }
        }
    }

    /// The member at `address` is forgotten.
    pub fn remove(&mut self, address: IpAddr) -> Option<Entry> {
        self.entries.remove(&address)
    }

    /// Returns what the member at `address` last said.
    #[must_use]
    pub fn get(&self, address: IpAddr) -> Option<&Entry> {
        self.entries.get(&address)
    }

    /// All entries in the order of their addresses, the dead among them.
    pub fn iter(&self) -> impl Iterator<Item = (IpAddr, &Entry)> {
        self.entries.iter().map(|(address, entry)| (*address, entry))
    }

    /// Returns the number of entries, the dead among them.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The living members for an acknowledgement: address, report and age in ms, in the order of their addresses.
    #[must_use]
    pub fn snapshot(&self, now_ns: Nanos) -> Vec<(IpAddr, Report, u32)> {
        let living = self.iter().filter(|(address, _)| self.alive(*address, now_ns));
        living
            .map(|(address, entry)| {
                let age_ms = now_ns.since(entry.heard_ns).as_millis();
                (address, entry.report.clone(), u32::try_from(age_ms).unwrap_or(u32::MAX))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Nanos = Nanos::from_secs(1);

    fn address(host: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, host])
    }

    fn report(start: u64, count: u64) -> Report {
        Report { version: (start, count), ike: (start * 1000 + count) as u32, ..Report::default() }
    }

    #[test]
    fn the_silent_are_dead_after_holdtime() {
        let mut table = Table::new(10, 3 * SECOND);
        assert_eq!(table.hear(address(1), report(1, 1), SECOND), Heard::New);
        assert_eq!(table.next_death(SECOND), Some(4 * SECOND));
        assert!(table.alive(address(1), 4 * SECOND - Nanos::new(1)));
        assert!(!table.alive(address(1), 4 * SECOND));
        assert!(!table.alive(address(2), Nanos::ZERO));
        table.touch(address(1), 2 * SECOND);
        assert!(table.alive(address(1), 4 * SECOND));
        assert_eq!(table.snapshot(3 * SECOND), [(address(1), report(1, 1), 1000)]);
        assert_eq!((table.snapshot(9 * SECOND), table.next_death(9 * SECOND)), (vec![], None));
        assert_eq!(table.hear(address(1), report(1, 2), 9 * SECOND), Heard::New, "back from the dead");
    }

    #[test]
    fn who_says_goodbye_is_dead_until_its_next_report() {
        let mut table = Table::new(10, 3 * SECOND);
        table.hear(address(1), report(1, 1), Nanos::ZERO);
        assert!(
            table.leave(address(1), "stops".to_owned(), Nanos::new(1))
                && !table.leave(address(1), "again".to_owned(), Nanos::new(2))
        );
        assert!(!table.leave(address(2), "a stranger".to_owned(), Nanos::new(2)));
        table.touch(address(1), Nanos::new(3));
        assert!(!table.alive(address(1), Nanos::new(3)) && table.snapshot(Nanos::new(3)).is_empty());
        assert_eq!(table.get(address(1)).and_then(|entry| entry.left.as_deref()), Some("stops"));
        assert_eq!(table.hear(address(1), report(1, 2), Nanos::new(4)), Heard::New);
        assert!(table.alive(address(1), Nanos::new(4)));
    }

    #[test]
    fn what_a_node_reports_from_another_address_holds_here_too() {
        let here = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]);
        let of_node = |count| Report { node: Some(address(1)), ..report(1, count) };
        let mut table = Table::new(10, 3 * SECOND);
        table.hear(here, of_node(1), Nanos::ZERO);
        table.hear(address(2), report(1, 1), Nanos::ZERO);
        let mut full = report(1, 9);
        full.load.crypto = crate::types::Percent::FULL;
        full.draining = true;
        table.update_node(address(1), &full, SECOND);
        let known = &table.get(here).unwrap().report;
        assert_eq!(
            (known.load, known.draining, known.version),
            (full.load, true, (1, 1)),
            "and no more than that"
        );
        assert_eq!(
            table.get(address(2)).map(|entry| &entry.report),
            Some(&report(1, 1)),
            "of this node alone"
        );
        // Another start of the node knows nothing of this one.
        full.version.0 = 2;
        full.draining = false;
        table.update_node(address(1), &full, SECOND);
        assert!(table.get(here).unwrap().report.draining);
    }

    #[test]
    fn a_node_that_died_is_dead_at_all_its_addresses_unless_it_goes_on_speaking() {
        let here = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]);
        let mut table = Table::new(10, 4 * SECOND);
        table.hear(here, Report { node: Some(address(1)), ..report(1, 1) }, Nanos::ZERO);
        table.node_silent(address(1), 2 * SECOND - Nanos::new(1));
        table.node_silent(address(2), 3 * SECOND);
        assert!(table.alive(here, 3 * SECOND), "heard a moment ago, and another node");
        table.node_silent(address(1), 3 * SECOND);
        assert!(!table.alive(here, 3 * SECOND));
        table.hear(here, report(1, 2), 3 * SECOND);
        assert!(table.alive(here, 3 * SECOND));
    }

    #[test]
    fn the_dead_leave_after_an_hour() {
        let mut table = Table::new(10, 3 * SECOND);
        table.hear(address(1), report(1, 1), Nanos::ZERO);
        table.hear(address(2), report(1, 1), SECOND);
        table.expire(REMEMBERED_NS + 3 * SECOND - Nanos::new(1));
        assert_eq!(table.len(), 2);
        table.expire(REMEMBERED_NS + 3 * SECOND);
        assert_eq!(table.iter().map(|(address, _)| address).collect::<Vec<_>>(), [address(2)]);
    }

    #[test]
    fn a_member_is_believed_about_itself_across_restarts_and_clock_steps() {
        let mut table = Table::new(10, 3 * SECOND);
        assert_eq!(table.hear(address(1), report(5, 3), Nanos::ZERO), Heard::New);
        assert_eq!(table.hear(address(1), report(5, 3), Nanos::new(1)), Heard::Stale);
        assert_eq!(table.hear(address(1), report(5, 4), Nanos::new(2)), Heard::Later);
        assert_eq!(
            table.hear(address(1), report(2, 1), Nanos::new(3)),
            Heard::Later,
            "its clock was set back"
        );
        assert_eq!(table.get(address(1)).map(|entry| entry.report.version), Some((2, 1)));
    }

    #[test]
    fn a_full_table_refuses_strangers_until_somebody_is_dead() {
        let mut table = Table::new(2, 3 * SECOND);
        table.hear(address(1), report(1, 1), Nanos::ZERO);
        table.hear(address(2), report(1, 1), SECOND);
        assert_eq!(table.hear(address(3), report(1, 1), 2 * SECOND), Heard::Full);
        table.merge([(address(3), report(1, 1), Nanos::ZERO)], 2 * SECOND);
        assert_eq!((table.len(), table.get(address(3))), (2, None));
        assert_eq!(table.hear(address(3), report(1, 1), 3 * SECOND), Heard::New, "the dead made place");
        assert_eq!(table.get(address(1)), None);
        table.configure(1, 3 * SECOND);
        assert_eq!(table.iter().map(|(address, _)| address).collect::<Vec<_>>(), [address(3)]);
    }

    #[test]
    fn a_merge_takes_the_living_for_the_dead_and_brings_none_of_those() {
        let now = 10 * SECOND;
        let mut table = Table::new(10, 3 * SECOND);
        table.hear(address(1), report(9, 9), SECOND);
        table.merge([(address(1), report(2, 1), SECOND), (address(2), report(1, 1), 3 * SECOND)], now);
        assert_eq!(
            table.get(address(1)),
            Some(&Entry { report: report(2, 1), heard_ns: 9 * SECOND, left: None })
        );
        assert_eq!(table.get(address(2)), None);
    }

    #[test]
    fn the_later_report_wins_over_the_one_heard_later() {
        let now = 10 * SECOND;
        let mut table = Table::new(10, 3 * SECOND);
        // An acknowledgement that was long under way makes an old report look fresh.
        table.merge([(address(1), report(1, 8), 2 * SECOND)], now);
        table.merge([(address(1), report(1, 7), Nanos::ZERO)], now);
        assert_eq!(table.get(address(1)).map(|entry| entry.report.version), Some((1, 8)));
        table.merge([(address(1), report(1, 8), SECOND)], now);
        assert_eq!(table.get(address(1)).map(|entry| entry.heard_ns), Some(9 * SECOND));
    }

    type Entries = Vec<(IpAddr, Report, Nanos)>;

    fn entries() -> impl Strategy<Value = Entries> {
        // A version names one report, as with real members.
        let entry = (1u8..8, 1u64..3, 1u64..5, 0..5_000_000_000u64)
            .prop_map(|(host, start, count, age)| (address(host), report(start, count), Nanos::new(age)));
        proptest::collection::vec(entry, 0..12)
    }

    proptest! {
        #[test]
        fn merges_commute_and_repeat_without_effect(a in entries(), b in entries(), c in entries()) {
            let now = 100 * SECOND;
            let merged = |order: &[&Entries]| {
                let mut table = Table::new(8, 3 * SECOND);
                order.iter().for_each(|entries| table.merge((*entries).clone(), now));
                table
            };
            let once = merged(&[&a, &b, &c]);
            for order in [[&a, &c, &b], [&b, &a, &c], [&b, &c, &a], [&c, &a, &b], [&c, &b, &a]] {
                prop_assert_eq!(&merged(&order), &once);
            }
            prop_assert_eq!(&merged(&[&a, &b, &c, &b, &a, &c]), &once);
            // A node that is told a table knows what the teller knows.
            let told: Entries = once.iter().map(|(a, e)| (a, e.report.clone(), now - e.heard_ns)).collect();
            prop_assert_eq!(&merged(&[&told]), &once);
        }

        #[test]
        fn no_table_outgrows_its_limit_nor_loses_the_living(
            heard in proptest::collection::vec((1u8..30, 1u64..3, 1u64..5, 0..1_000_000_000u64), 0..60), max_nodes in 1usize..6,
        ) {
            let mut table = Table::new(max_nodes, 3 * SECOND);
            let mut now = Nanos::ZERO;
            for (host, start, count, pause) in heard {
                let pause = Nanos::new(pause);
                now += pause;
                let living: Vec<IpAddr> =
                    table.iter().map(|(a, _)| a).filter(|a| table.alive(*a, now)).collect();
                if count % 2 == 0 {
                    table.hear(address(host), report(start, count), now);
                } else {
                    table.merge([(address(host), report(start, count), pause)], now);
                }
                prop_assert!(table.len() <= max_nodes);
                prop_assert!(living.iter().all(|a| table.alive(*a, now)));
            }
        }
    }
}
