//! `show crypto ikev2 cluster [details|stats]`.

use serde::Serialize;
use std::fmt::Write as _;
use std::net::IpAddr;

/// The cluster as this node sees it.
#[derive(Clone, Debug, Serialize)]
pub struct ClusterView {
    /// `CLB Primary` on the node that is active, else `None`
    pub role: &'static str,
    /// `Up` or `Down`
    pub status: &'static str,
    /// Why it is down, each with the line that is missing
    pub reasons: Vec<String>,
    /// Members that report their load, without this node
    pub secondaries: usize,
    /// The virtual addresses
    pub cluster_ip: Vec<IpAddr>,
    /// Milliseconds
    pub hold_time_ms: u32,
    /// Percent
    pub overload_limit: u8,
    /// Requests are redirected in IKE_SA_INIT
    pub redirect_init: bool,
    /// The gateways
    pub gateways: Vec<GatewayView>,
    /// What runs, yet perhaps not as meant
    pub notes: Vec<String>,
}

/// A gateway of the cluster.
#[derive(Clone, Debug, Serialize)]
pub struct GatewayView {
    /// Where clients are sent
    pub address: IpAddr,
    /// `Static` for a gateway that reports no load
    pub role: &'static str,
    /// 1-100
    pub priority: u8,
    /// Clients may be sent there now
    pub usable: bool,
    /// It is this node
    pub is_self: bool,
    /// Slots of 1024 that it holds of its family's first virtual address
    pub slots: usize,
    /// Redirects to it since the data plane started
    pub redirects: u64,
}

/// `show crypto ikev2 cluster`; `None`: no cluster is configured.
#[must_use]
pub fn summary(view: Option<&ClusterView>) -> String {
    let Some(view) = view else { return none() };
    let mut out = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(out, "{name:<15}: {value}");
    };
    line("Role", view.role);
    line("Status", view.status);
    for reason in &view.reasons {
        line("Reason", reason);
    }
    line("CLB Secondary", &view.secondaries.to_string());
    let addresses: Vec<String> = view.cluster_ip.iter().map(IpAddr::to_string).collect();
    let addresses = addresses.join(", ");
    line("Cluster IP", if addresses.is_empty() { "none" } else { &addresses });
    line("Hold time", &format!("{} msec", view.hold_time_ms));
    line("Overload limit", &format!("{}%", view.overload_limit));
    for note in &view.notes {
        line("Note", note);
    }
    line("Codes", "'*' Least loaded, '-' Overloaded, '!' Not chosen");
    out.push_str("\nLoad statistics:\n");
    let width = view.gateways.iter().map(|g| g.address.to_string().len() + 1).max().unwrap_or(0).max(18);
    let head = format!("  {:<width$}Role   Last-seen  Prio   Load     IKE  FQDN", "Gateway");
    let _ = writeln!(out, "{head}\n  {}", "-".repeat(head.len() - 2));
    for gateway in &view.gateways {
        let mark = if gateway.usable { "" } else { "!" };
        let _ = writeln!(
            out,
            "{mark:<2}{:<width$}{:<7}{:>6}   {:>6}{:>8}{:>7}",
            gateway.address.to_string(),
            gateway.role,
            "--",
            gateway.priority,
            "--",
            "--"
        );
    }
    out
}

/// `show crypto ikev2 cluster details`: a gateway that reports no load shows none.
#[must_use]
pub fn details(view: Option<&ClusterView>) -> String {
    let Some(view) = view else { return none() };
    // The columns of the published sample, wider only where an address needs it.
    let width = view.gateways.iter().map(|g| g.address.to_string().len() + 1).max().unwrap_or(0).max(13);
    let head = format!(
        "{:<1$}Priority     In-neg     Crypto   CPU   Mem    Composite Prioritized",
        "Gateway",
        width + 2
    );
    let mut out = format!("{head}\n  {}\n", "-".repeat(head.len() + 5));
    for gateway in &view.gateways {
        let _ = writeln!(
            out,
            "  {:<width$}{:<8}{:>9}{:>11}{:>7}{:>6}{:>11}{:>12}",
            gateway.address.to_string(),
            gateway.priority,
            "--",
            "--",
            "--",
            "--",
            "--",
            "--"
        );
    }
    out
}

/// `show crypto ikev2 cluster stats`: the table of `details`, then how the redirects went.
#[must_use]
pub fn stats(view: Option<&ClusterView>) -> String {
    let Some(view) = view else { return none() };
    let rows: Vec<Vec<String>> = view
        .gateways
        .iter()
        .map(|gateway| {
            vec![
                gateway.address.to_string(),
                gateway.priority.to_string(),
                gateway.slots.to_string(),
                format!("{:.1}%", gateway.slots as f64 * 100.0 / platform::snapshot::SLOTS as f64),
                gateway.redirects.to_string(),
            ]
        })
        .collect();
    let head = ["Gateway", "Priority", "Slots", "Share", "Redirects"];
    format!("{}\n{}", details(Some(view)), super::table(&head, &[false, true, true, true, true], &rows))
}

fn none() -> String {
    "No cluster is configured: enter `crypto ikev2 cluster`.\n".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> ClusterView {
        let gateway = |address: &str, priority, usable, slots, redirects| GatewayView {
            address: address.parse().unwrap(),
            role: "Static",
            priority,
            usable,
            is_self: false,
            slots,
            redirects,
        };
        ClusterView {
            role: "CLB Primary",
            status: "Up",
            reasons: Vec::new(),
            secondaries: 0,
            cluster_ip: vec!["10.0.0.100".parse().unwrap(), "2001:db8::100".parse().unwrap()],
            hold_time_ms: 3000,
            overload_limit: 99,
            redirect_init: true,
            gateways: vec![
                gateway("10.1.0.1", 100, true, 683, 1234),
                gateway("10.1.0.2", 50, true, 341, 0),
                gateway("2001:db8:ffff:ffff::1", 100, false, 0, 7),
            ],
            notes: Vec::new(),
        }
    }

    #[test]
    fn the_table_has_the_form_of_the_published_sample() {
        insta::assert_snapshot!(summary(Some(&view())), @r"
        Role           : CLB Primary
        Status         : Up
        CLB Secondary  : 0
        Cluster IP     : 10.0.0.100, 2001:db8::100
        Hold time      : 3000 msec
        Overload limit : 99%
        Codes          : '*' Least loaded, '-' Overloaded, '!' Not chosen

        Load statistics:
          Gateway               Role   Last-seen  Prio   Load     IKE  FQDN
          -----------------------------------------------------------------
          10.1.0.1              Static     --      100      --     --
          10.1.0.2              Static     --       50      --     --
        ! 2001:db8:ffff:ffff::1 Static     --      100      --     --
        ");
    }

    #[test]
    fn a_cluster_that_is_down_says_what_is_missing() {
        let view = ClusterView {
            role: "None",
            status: "Down",
            reasons: vec!["no HSRP group is named: add `standby-group NAME`".to_owned()],
            cluster_ip: Vec::new(),
            gateways: Vec::new(),
            notes: vec!["no request is redirected: add `crypto ikev2 redirect gateway init`".to_owned()],
            ..view()
        };
        insta::assert_snapshot!(summary(Some(&view)), @r"
        Role           : None
        Status         : Down
        Reason         : no HSRP group is named: add `standby-group NAME`
        CLB Secondary  : 0
        Cluster IP     : none
        Hold time      : 3000 msec
        Overload limit : 99%
        Note           : no request is redirected: add `crypto ikev2 redirect gateway init`
        Codes          : '*' Least loaded, '-' Overloaded, '!' Not chosen

        Load statistics:
          Gateway           Role   Last-seen  Prio   Load     IKE  FQDN
          -------------------------------------------------------------
        ");
        assert_eq!(summary(None), "No cluster is configured: enter `crypto ikev2 cluster`.\n");
    }

    #[test]
    fn details_have_the_heading_of_the_published_sample() {
        let mut view = view();
        view.gateways.truncate(2);
        let head = "Gateway        Priority     In-neg     Crypto   CPU   Mem    Composite Prioritized\n  \
                    ---------------------------------------------------------------------------------------\n";
        assert!(details(Some(&view)).starts_with(head), "{}", details(Some(&view)));
    }

    #[test]
    fn stats_count_the_redirects_of_each_gateway() {
        insta::assert_snapshot!(stats(Some(&view())), @r"
        Gateway                 Priority     In-neg     Crypto   CPU   Mem    Composite Prioritized
          ------------------------------------------------------------------------------------------------
          10.1.0.1              100            --         --     --    --         --          --
          10.1.0.2              50             --         --     --    --         --          --
          2001:db8:ffff:ffff::1 100            --         --     --    --         --          --

        Gateway                Priority  Slots  Share  Redirects
        10.1.0.1                    100    683  66.7%       1234
        10.1.0.2                     50    341  33.3%          0
        2001:db8:ffff:ffff::1       100      0   0.0%          7
        ");
    }
}
