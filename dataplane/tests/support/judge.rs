//! The rules that no frame, however hostile, may make the packet path break.

use std::net::IpAddr;

use dataplane::classify::classify_any;
use dataplane::{Decision, PortView, Verdict, View, Vlans, answer, classify, decide, fixed};

use super::*;

pub fn view() -> View {
    let vips = [IpAddr::from(VIP), IpAddr::from(VIP6)];
    let gateways = [IpAddr::from(GATEWAY), IpAddr::from(GATEWAY6)];
    View::fixed(fixed::body(&vips, &gateways, VMAC, [7, 9]).unwrap())
}

pub fn port() -> PortView {
    PortView::new(0, NODE)
}

/// What must hold of every frame, asked of the whole path from bytes to bytes. True if it was answered.
pub fn judge(frame: &[u8], view: &View) -> bool {
    let verdict = classify(frame, view, &port());
    assert_eq!(
        verdict,
        classify_any(frame, view, &port(), &mut |_| ()),
        "the short way says what the long one does"
    );
    let tagged = PortView { vlans: Vlans::new(1, &[7, 100]), ..port() };
    assert_eq!(verdict, classify(frame, view, &tagged), "an address of every interface is asked in any VLAN");
    let request = match verdict {
        Verdict::Request(request) => request,
        Verdict::Fragment(info) => {
            assert!(info.payload + info.len <= frame.len());
            return false;
        }
        Verdict::Pass(..) | Verdict::Drop(_) => return false,
    };
    let signals = frame.windows(2).any(|kind| kind == [0x40, 0x16] || kind == [0x40, 0x18]);
    assert!(signals, "only a client that signals support may be redirected");
    assert!((16..=256).contains(&request.nonce_len));
    let Decision::Redirect { address, .. } = decide(&request, view) else { return false };
    let mut out = frame.to_vec();
    let len = answer(&mut out, &request, &address, VMAC);
    assert!(len.is_some_and(|len| len <= frame.len()), "an answer is never longer than its request");
    out.truncate(len.unwrap_or(0));
    let parsed = etherparse::SlicedPacket::from_ethernet(&out);
    assert!(parsed.is_ok(), "{parsed:?}");
    let Some(etherparse::TransportSlice::Udp(udp)) = parsed.ok().and_then(|parsed| parsed.transport) else {
        panic!("no UDP in the answer");
    };
    let nonce = &frame[request.nonce..request.nonce + request.nonce_len];
    assert!(udp.payload().ends_with(nonce));
    let marker = if udp.source_port() == 4500 { 4 } else { 0 };
    assert_eq!(&udp.payload()[marker..marker + 8], &frame[request.ike..request.ike + 8]);
    true
}
