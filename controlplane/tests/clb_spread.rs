//! A burst of 20,000 clients within one update interval spreads by the gateways' headroom: sixty seeds of what `make
//! spread` shows with a hundred.

#[path = "../benches/spread/sim.rs"]
mod sim;

use sim::{MS, Outcome, Policy, SECOND, Scenario, run};

fn outcomes(scenario: &Scenario, policy: Policy) -> Vec<Outcome> {
    (1..=60).map(|seed| run(scenario, policy, seed)).collect()
}

fn median(outcomes: &[Outcome]) -> f64 {
    let mut overshoots: Vec<f64> = outcomes.iter().map(Outcome::overshoot).collect();
    overshoots.sort_by(f64::total_cmp);
    overshoots[overshoots.len() / 2]
}

#[test]
fn a_burst_lands_within_five_percent_of_fair() {
    for gateways in [3, 5, 10] {
        let scenario = Scenario::burst(gateways);
        let usher = outcomes(&scenario, Policy::Usher);
        for outcome in &usher {
            assert_eq!(outcome.got.iter().sum::<u64>() + outcome.passed, 20_000);
            assert!(outcome.overshoot() < 5.0 + 3.0 * outcome.multinomial_sd(), "{outcome:?}");
            assert_eq!(outcome.passed, 0);
            assert!(outcome.paced_a_second <= controlplane::publish::MOVES_A_SECOND, "{outcome:?}");
        }
        let (ours, chance) = (median(&usher), median(&outcomes(&scenario, Policy::Chance)));
        assert!(ours < 5.0, "{gateways} gateways: {ours} %");
        assert!(ours < chance + 1.5, "{gateways} gateways: {ours} %, chance {chance} %");
        assert!(median(&outcomes(&scenario, Policy::Naive)) > 50.0);
        assert!(median(&outcomes(&scenario, Policy::RoundRobin)) > 10.0);
    }
}

#[test]
fn few_slots_move_where_everybody_takes_clients_already() {
    for gateways in [3, 5, 10] {
        let scenario = Scenario { normalization: 100, ..Scenario::burst(gateways) };
        for outcome in outcomes(&scenario, Policy::Usher) {
            assert!(outcome.moves_a_second <= controlplane::publish::MOVES_A_SECOND, "{outcome:?}");
            assert_eq!((outcome.closed, outcome.passed), (0, 0));
        }
    }
}

#[test]
fn late_and_lost_reports_and_a_cut_feed_do_not_unbalance_a_burst() {
    let five = || Scenario { normalization: 100, ..Scenario::burst(5) };
    let faults = [
        Scenario { delay_ns: 1500 * MS, ..five() },
        Scenario { loss_percent: 30, holdtime_ns: 15 * SECOND, ..five() },
        Scenario { partition: Some((0, 0, u64::MAX)), holdtime_ns: 30 * SECOND, ..five() },
    ];
    for scenario in faults {
        let median = median(&outcomes(&scenario, Policy::Usher));
        assert!(median < 5.0, "{scenario:?}: {median} %");
    }
}

#[test]
fn nobody_is_sent_to_a_gateway_that_was_silent_for_holdtime() {
    let scenario = Scenario { partition: Some((0, SECOND, u64::MAX)), ..Scenario::burst(5) };
    for outcome in outcomes(&scenario, Policy::Usher) {
        assert_eq!((outcome.to_the_dead, outcome.passed), (0, 0));
        assert!(outcome.got[0] > 0, "it was chosen while it was not known to be dead");
    }
}

#[test]
fn forged_requests_close_no_gateway_and_leave_the_burst_better_spread_than_in_turn() {
    let scenario = Scenario { forged: 1_000_000, normalization: 100, ..Scenario::burst(5) };
    let usher = outcomes(&scenario, Policy::Usher);
    assert!(usher.iter().all(|outcome| outcome.closed == 0 && outcome.passed == 0));
    assert!(median(&usher) < median(&outcomes(&scenario, Policy::RoundRobin)) / 3.0);
}
