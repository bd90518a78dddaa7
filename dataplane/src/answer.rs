//! The answer, written over the request in its own buffer.

use platform::wire::{checksum, ethernet, ike, ipv4, ipv6, redirect, udp};

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
    let marked = request.ike.checked_sub(request.udp)? != udp::HEADER_LEN;
    match (request.family, marked) {
        (4, false) => write::<4, 0>(frame, request, gateway, mac),
        (4, true) => write::<4, { ike::MARKER_LEN }>(frame, request, gateway, mac),
        (_, false) => write::<16, 0>(frame, request, gateway, mac),
        (_, true) => write::<16, { ike::MARKER_LEN }>(frame, request, gateway, mac),
    }
}

/// Bytes of nonce that strongSwan, libreswan and most others send: copied without a call.
const COMMON_NONCE: usize = 32;

/// `N` is the bytes of an address, `MARK` those of the non-ESP marker: with both known, all offsets are.
#[inline(always)]
fn write<const N: usize, const MARK: usize>(
    frame: &mut [u8],
    request: &Request,
    gateway: &[u8; 16],
    mac: ethernet::Mac,
) -> Option<usize> {
    let udp_at = const { if N == 4 { ipv4::HEADER_LEN } else { ipv6::HEADER_LEN } };
    let ike_at = udp_at + udp::HEADER_LEN + MARK;
    let head_len = ike_at + redirect::prefix_len(N == 16);
    let nonce_len = request.nonce_len;
    // All that follows lies within the request, so that one check of a bound is enough where the compiler sees it.
    let (ethernet, packet) = frame.get_mut(..request.end)?.split_at_mut_checked(request.ip)?;
    let nonce_from = request.nonce.checked_sub(request.ip)?;
    let end = head_len + nonce_len;
    if end > packet.len() || nonce_from + nonce_len > packet.len() {
        return None;
    }

    // Everything that the answer keeps of the request is read before anything is overwritten.
    let macs = ethernet.first_chunk_mut::<12>()?;
    let [_, _, _, _, _, _, client @ ..] = *macs;
    let ip = packet.get(..udp_at)?;
    let (class, source, destination) = if N == 4 {
        (ip[1], *ip[12..].first_chunk::<N>()?, *ip[16..].first_chunk::<N>()?)
    } else {
        (ip[0] << 4 | ip[1] >> 4, *ip[8..].first_chunk::<N>()?, *ip[24..].first_chunk::<N>()?)
    };
    let [sport_high, sport_low, dport_high, dport_low] =
        *packet.get(request.udp.checked_sub(request.ip)?..)?.first_chunk::<4>()?;
    let (sport, dport) =
        (u16::from_be_bytes([sport_high, sport_low]), u16::from_be_bytes([dport_high, dport_low]));

    // The nonce moves to its place first: old and new place may overlap either way (a nonce may stand before SA).
    let nonce_sum = if nonce_len == COMMON_NONCE {
        let data = *packet.get(nonce_from..)?.first_chunk::<COMMON_NONCE>()?;
        *packet.get_mut(head_len..)?.first_chunk_mut()? = data;
        checksum::add(0, &data)
    } else {
        let sum = checksum::add(0, packet.get(nonce_from..nonce_from + nonce_len)?);
        packet.copy_within(nonce_from..nonce_from + nonce_len, head_len);
        sum
    };

    let udp_len = (head_len - udp_at + nonce_len) as u16;
    let (head, message) = packet.split_at_mut_checked(ike_at)?;
    let gateway = gateway.first_chunk::<N>()?;
    let prefix_sum = redirect::emit_prefix::<N>(message, request.spi_i, gateway, nonce_len as u16);
    let (ip, datagram) = head.split_at_mut_checked(udp_at)?;
    if let Some(marker) = datagram.get_mut(udp::HEADER_LEN..) {
        marker.fill(0);
    }
    // Everything in front of the nonce has an even length, so that only the nonce may be odd, at the end. The addresses are
    // the request's still: their sum is the same whichever way they stand.
    let addresses = if N == 4 { &ip[ipv4::ADDRESSES] } else { &ip[ipv6::ADDRESSES] };
    udp::emit_header(datagram, dport, sport, udp_len, checksum::join(nonce_sum, prefix_sum), addresses);
    if N == 4 {
        let (from, to) = (*destination.first_chunk()?, *source.first_chunk()?);
        let total = udp_len + ipv4::HEADER_LEN as u16;
        ipv4::emit_header(ip, class & DSCP, total, TTL, udp::PROTOCOL, from, to);
    } else {
        let (from, to) = (*destination.first_chunk()?, *source.first_chunk()?);
        ipv6::emit_header(ip, class & DSCP, udp_len, udp::PROTOCOL, TTL, from, to);
    }
    macs[..6].copy_from_slice(&client);
    macs[6..].copy_from_slice(&mac);
    Some(request.ip + end)
}
