//! The answer, written over the request in its own buffer.

use platform::wire::{ethernet, ike, ipv4, ipv6, redirect, udp};

use crate::Request;

/// TTL and hop limit of an answer.
const TTL: u8 = 64;
/// DSCP without ECN: an answer does not claim congestion experience.
const DSCP: u8 = 0xfc;

/// Turns a request into the REDIRECT that answers it and returns the new length of the frame, never more than the
/// request's. `gateway` is the address to name, in the family of the request (IPv4 in the first 4 bytes), `mac` the
/// virtual MAC that becomes the source. VLAN tags stay. `None`, with the frame unchanged, if the frame is not the one that
/// `request` was read from.
#[inline]
pub fn answer(frame: &mut [u8], request: &Request, gateway: &[u8; 16], mac: ethernet::Mac) -> Option<usize> {
    match request.family {
        4 => write::<4>(frame, request, gateway, mac),
        _ => write::<16>(frame, request, gateway, mac),
    }
}

#[inline(always)]
fn write<const N: usize>(
    frame: &mut [u8],
    request: &Request,
    gateway: &[u8; 16],
    mac: ethernet::Mac,
) -> Option<usize> {
    let header_len = if N == 4 { ipv4::HEADER_LEN } else { ipv6::HEADER_LEN };
    let marker_len = request.ike.checked_sub(request.udp + udp::HEADER_LEN)?;
    let udp_at = request.ip + header_len;
    let ike_at = udp_at + udp::HEADER_LEN + marker_len;
    let nonce_at = ike_at + redirect::prefix_len(N == 16);
    let end = nonce_at + request.nonce_len;
    if end > request.end || request.end > frame.len() || request.nonce + request.nonce_len > request.end {
        return None;
    }

    // Everything that the answer keeps of the request is read before anything is overwritten.
    let client = *frame.get(6..12)?.first_chunk::<6>()?;
    let ip = frame.get(request.ip..request.ip + header_len)?;
    let (class, source, destination) = if N == 4 {
        (ip[1], *ip[12..].first_chunk::<N>()?, *ip[16..].first_chunk::<N>()?)
    } else {
        (ip[0] << 4 | ip[1] >> 4, *ip[8..].first_chunk::<N>()?, *ip[24..].first_chunk::<N>()?)
    };
    let [sport_high, sport_low, dport_high, dport_low] = *frame.get(request.udp..)?.first_chunk::<4>()?;

    // The nonce moves first, straight to where it ends up: the headers are then written in front of that place only.
    // Old and new place may overlap either way (a nonce may stand before SA), which copy_within allows.
    frame.copy_within(request.nonce..request.nonce + request.nonce_len, nonce_at);
    ethernet::set_addresses(frame, client, mac);
    redirect::emit::<N>(frame.get_mut(ike_at..end)?, request.spi_i, gateway.first_chunk::<N>()?);
    frame.get_mut(ike_at - marker_len..ike_at)?.fill(0);

    let ip_len = (end - request.ip) as u16;
    let packet = frame.get_mut(request.ip..end)?;
    if N == 4 {
        let (from, to) = (*destination.first_chunk()?, *source.first_chunk()?);
        ipv4::emit_header(packet, class & DSCP, ip_len, TTL, udp::PROTOCOL, from, to);
    } else {
        let (from, to) = (*destination.first_chunk()?, *source.first_chunk()?);
        let payload = ip_len - ipv6::HEADER_LEN as u16;
        ipv6::emit_header(packet, class & DSCP, payload, udp::PROTOCOL, TTL, from, to);
    }
    let (header, datagram) = packet.split_at_mut(header_len);
    let addresses = if N == 4 { &header[ipv4::ADDRESSES] } else { &header[ipv6::ADDRESSES] };
    let (sport, dport) =
        (u16::from_be_bytes([sport_high, sport_low]), u16::from_be_bytes([dport_high, dport_low]));
    udp::emit_header(datagram, dport, sport, addresses);
    debug_assert!(marker_len == 0 || marker_len == ike::MARKER_LEN);
    Some(end)
}
