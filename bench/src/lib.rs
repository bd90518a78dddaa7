//! What the load generator and the micro-benchmarks share: requests as templates, so that they cannot drift apart.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use platform::wire::{checksum, ethernet, ike, ipv4, ipv6, udp};

/// Bytes of nonce in a request.
const NONCE_LEN: usize = 32;

/// A request as a frame, and where the parts that vary stand in it.
#[derive(Debug, Clone)]
pub struct Template {
    /// The frame.
    pub frame: Vec<u8>,
    ip: usize,
    udp: usize,
    ike: usize,
    nonce: usize,
}

/// The smallest frame that a template can have, in bytes: 14 + 20 + 8 + 144.
pub const SMALLEST: usize = 186;

impl Template {
    /// An IKE_SA_INIT request with SA, KE, nonce and REDIRECT_SUPPORTED from `source` to `destination`, `len` bytes long
    /// as a frame (padded by a vendor id). The smallest has 186 bytes over IPv4 and 206 over IPv6.
    ///
    /// # Errors
    /// Mixed families, or a length that no vendor id can fill.
    pub fn request(
        macs: (ethernet::Mac, ethernet::Mac),
        source: IpAddr,
        destination: IpAddr,
        len: usize,
    ) -> Result<Template, String> {
        let v6 = match (source, destination) {
            (IpAddr::V4(_), IpAddr::V4(_)) => false,
            (IpAddr::V6(_), IpAddr::V6(_)) => true,
            _ => return Err(format!("{source} and {destination} are of different families")),
        };
        let ip = ethernet::HEADER_LEN;
        let udp = ip + if v6 { ipv6::HEADER_LEN } else { ipv4::HEADER_LEN };
        let ike = udp + udp::HEADER_LEN;
        let mut message = Vec::new();
        let smallest = ike + 144;
        let vendor = match len.checked_sub(smallest) {
            Some(0) => None,
            Some(room) if room >= ike::PAYLOAD_HEADER_LEN => Some(room - ike::PAYLOAD_HEADER_LEN),
            _ => {
                let family = if v6 { 6 } else { 4 };
                return Err(format!(
                    "a frame of {len} bytes cannot be made over IPv{family}: choose {smallest}, or {} and more",
                    smallest + ike::PAYLOAD_HEADER_LEN
                ));
            }
        };
        message.extend([0; 16]);
        message.extend([
            ike::payload::SA,
            ike::VERSION,
            ike::exchange::IKE_SA_INIT,
            ike::flag::INITIATOR,
            0,
            0,
            0,
            0,
        ]);
        message.extend([0; 4]);
        let mut payload = |next: u8, body: &[u8]| {
            message.extend([next, 0]);
            message.extend((body.len() as u16 + 4).to_be_bytes());
            message.extend(body);
            message.len() - body.len()
        };
        // One proposal of AES-GCM-16 with 256 bits, PRF SHA2-256 and X25519.
        let sa = [
            0, 0, 0, 36, 1, 1, 0, 3, 3, 0, 0, 12, 1, 0, 0, 20, 0x80, 14, 1, 0, 3, 0, 0, 8, 2, 0, 0, 5, 0, 0,
            0, 8, 4, 0, 0, 31,
        ];
        payload(ike::payload::KE, &sa);
        // 28 bytes of key make the smallest request 144 bytes long, the length of strongSwan's with one short proposal.
        payload(ike::payload::NONCE, &[&[0, 31, 0, 0][..], &[0x6b; 24]].concat());
        let nonce = payload(
            if vendor.is_some() { ike::payload::VENDOR_ID } else { ike::payload::NOTIFY },
            &[0; NONCE_LEN],
        );
        if let Some(vendor) = vendor {
            payload(ike::payload::NOTIFY, &vec![0x56; vendor]);
        }
        payload(0, &[0, 0, 0x40, 0x16]);
        let length = message.len() as u32;
        message[24..28].copy_from_slice(&length.to_be_bytes());

        let mut frame = vec![0; ike];
        frame.extend(&message);
        ethernet::set_addresses(&mut frame, macs.1, macs.0);
        let total = frame.len() - ip;
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                frame[12..14].copy_from_slice(&ethernet::ethertype::IPV4.to_be_bytes());
                let (from, to) = (source.octets(), destination.octets());
                ipv4::emit_header(&mut frame[ip..], 0, total as u16, 64, udp::PROTOCOL, from, to);
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                frame[12..14].copy_from_slice(&ethernet::ethertype::IPV6.to_be_bytes());
                let payload = (total - ipv6::HEADER_LEN) as u16;
                ipv6::emit_header(
                    &mut frame[ip..],
                    0,
                    payload,
                    udp::PROTOCOL,
                    64,
                    source.octets(),
                    destination.octets(),
                );
            }
            _ => unreachable!("families were compared above"),
        }
        let mut template = Template { frame, ip, udp, ike, nonce: ike + nonce };
        template.stamp_checksums();
        Ok(template)
    }

    /// Makes the request one of a kind: `spi` becomes its SPI, and its nonce follows from it. The UDP checksum is updated
    /// for what changed.
    #[inline]
    pub fn vary(&self, frame: &mut [u8], spi: u64) {
        frame[..self.frame.len()].copy_from_slice(&self.frame);
        let bytes = spi.to_be_bytes();
        frame[self.ike..self.ike + 8].copy_from_slice(&bytes);
        for part in 0..NONCE_LEN / 8 {
            frame[self.nonce + part * 8..self.nonce + part * 8 + 8].copy_from_slice(&bytes);
        }
        // Five copies of the SPI where the template has zeros, all at even offsets: RFC 1624, HC' = ~(~HC + sum).
        let old = u16::from_be_bytes([self.frame[self.udp + 6], self.frame[self.udp + 7]]);
        let words =
            bytes.as_chunks::<2>().0.iter().map(|word| u64::from(u16::from_be_bytes(*word))).sum::<u64>();
        let mut sum = u64::from(!old) + 5 * words;
        while sum >> 16 != 0 {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        let new = !(sum as u16);
        let new = if new == 0 { 0xffff } else { new };
        frame[self.udp + 6..self.udp + 8].copy_from_slice(&new.to_be_bytes());
    }

    fn stamp_checksums(&mut self) {
        let (headers, datagram) = self.frame.split_at_mut(self.udp);
        let packet = &headers[self.ip..];
        let addresses = if packet[0] >> 4 == 4 { &packet[ipv4::ADDRESSES] } else { &packet[ipv6::ADDRESSES] };
        let (length, sum) = (datagram.len() as u16, checksum::add(0, &datagram[udp::HEADER_LEN..]));
        udp::emit_header(datagram, ike::PORT, ike::PORT, length, sum, addresses);
    }
}

/// Reads an answer to a varied request: the SPI, if the frame is a REDIRECT whose nonce follows from it.
#[inline]
pub fn read_answer(frame: &[u8]) -> Option<u64> {
    let eth = ethernet::Frame::new_checked(frame).ok()?;
    let (datagram, v6) = match eth.ethertype() {
        ethernet::ethertype::IPV4 => (ipv4::Packet::new_checked(eth.payload()).ok()?.payload(), false),
        ethernet::ethertype::IPV6 => (eth.payload().get(ipv6::HEADER_LEN..)?, true),
        _ => return None,
    };
    let message = datagram.get(udp::HEADER_LEN..)?;
    let ike = ike::Message::new_checked(message).ok()?;
    let nonce = message.get(platform::wire::redirect::prefix_len(v6)..)?;
    let spi = ike.spi_i();
    let right = ike.flags() == ike::flag::RESPONSE
        && ike.next_payload() == ike::payload::NOTIFY
        && nonce.len() == NONCE_LEN
        && nonce.as_chunks::<8>().0.iter().all(|part| *part == spi.to_be_bytes());
    right.then_some(spi)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane::{PortView, Verdict, View, classify, fixed};

    #[test]
    fn varied_requests_of_every_size_are_requests_to_the_data_plane() {
        for (source, vip, gateway) in
            [("192.0.2.9", "192.0.2.1", "192.0.2.10"), ("2001:db8::9", "2001:db8::1", "2001:db8::10")]
        {
            let [source, vip, gateway] = [source, vip, gateway].map(|ip| ip.parse::<IpAddr>().unwrap());
            let view = View::fixed(fixed::body(&[vip], &[gateway], [2; 6], [1, 2]).unwrap());
            let port =
                PortView { index: 0, mac: [2; 6], any_mac: false, any_address: false, checksums_good: false };
            let smallest = if source.is_ipv4() { SMALLEST } else { SMALLEST + 20 };
            for len in [smallest, smallest + 4, 256, 400, 922] {
                let template = Template::request(([4; 6], [2; 6]), source, vip, len).unwrap();
                assert_eq!(template.frame.len(), len);
                for spi in [1, 0xffff_ffff_ffff_ffff, 0x0102_0304_0506_0708] {
                    let mut frame = template.frame.clone();
                    template.vary(&mut frame, spi);
                    let Verdict::Request(request) = classify(&frame, &view, &port) else {
                        panic!("{len} bytes, SPI {spi:x}: {:?}", classify(&frame, &view, &port))
                    };
                    assert_eq!(request.spi_i, spi);
                }
            }
            assert!(Template::request(([4; 6], [2; 6]), source, vip, smallest + 2).is_err());
        }
    }
}
