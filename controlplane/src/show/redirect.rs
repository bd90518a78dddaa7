//! `show redirect for ADDRESS SPI [from GATEWAY]`: what a request would get.

use platform::choose::Choice;
use platform::snapshot::{VIP_REDIRECT_INIT, Vip, VipState, ip16};
use serde::Serialize;
use std::fmt::Write as _;
use std::net::IpAddr;

/// Answer that a request to one virtual address would get.
#[derive(Clone, Debug, Serialize)]
pub struct RedirectView {
    /// The virtual address
    pub vip: Option<IpAddr>,
    /// This node answers for it: it is active there, and redirects are on
    pub answers: bool,
    /// The address that the answer would name
    pub gateway: Option<IpAddr>,
    /// `redirected`, `redirected_self`, `loop_suspect`, `no_gateway` or `gateway_refused`, as the counters have it
    pub reason: &'static str,
    /// The slot, 0 to 1023, where the hash picked one
    pub slot: Option<u64>,
}

impl RedirectView {
    /// The choice as it is shown.
    #[must_use]
    pub fn of(vip: &Vip, choice: Choice<'_>) -> RedirectView {
        let (gateway, reason, slot) = match choice {
            Choice::Gateway(_, gateway, hash) => {
                let reason = if gateway.is_self() { "redirected_self" } else { "redirected" };
                (gateway.ip(vip.family), reason, Some(hash % platform::snapshot::SLOTS as u64))
            }
            Choice::Own => (ip16(vip.family, &vip.own), "loop_suspect", None),
            Choice::NoGateway => (None, "no_gateway", None),
            Choice::HopsSpent => (None, "hops_spent", None),
            Choice::Refused => (None, "gateway_refused", None),
        };
        let answers = vip.state() == VipState::Active && vip.flags & VIP_REDIRECT_INIT != 0;
        RedirectView { vip: vip.ip(), answers, gateway, reason, slot }
    }
}

/// As text.
#[must_use]
pub fn text(views: &[RedirectView]) -> String {
    if views.is_empty() {
        return "No virtual address of this family is published: see `show standby`.\n".to_owned();
    }
    let mut out = String::new();
    for view in views {
        let vip = view.vip.map_or("?".to_owned(), |vip| vip.to_string());
        let _ = match view.gateway {
            Some(gateway) => write!(out, "{vip}: REDIRECT to {gateway} ({}", view.reason),
            None => write!(out, "{vip}: to the local IKE daemon ({}", view.reason),
        };
        if let Some(slot) = view.slot {
            let _ = write!(out, ", slot {slot}");
        }
        let here = if view.answers { ")" } else { "), but this node does not answer for it now" };
        let _ = writeln!(out, "{here}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_names_the_gateway_and_the_reason() {
        let view = |gateway: Option<&str>, answers, reason, slot| RedirectView {
            vip: "10.0.0.100".parse().ok(),
            answers,
            gateway: gateway.map(|g| g.parse().unwrap()),
            reason,
            slot,
        };
        let views = [
            view(Some("10.1.0.1"), true, "redirected", Some(7)),
            view(None, true, "no_gateway", None),
            view(Some("10.0.0.1"), false, "loop_suspect", None),
        ];
        insta::assert_snapshot!(text(&views), @r"
        10.0.0.100: REDIRECT to 10.1.0.1 (redirected, slot 7)
        10.0.0.100: to the local IKE daemon (no_gateway)
        10.0.0.100: REDIRECT to 10.0.0.1 (loop_suspect), but this node does not answer for it now
        ");
        assert!(text(&[]).contains("No virtual address"));
    }
}
