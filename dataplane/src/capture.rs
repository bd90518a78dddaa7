//! Captures in and out of `replay`: whatever tcpdump writes becomes Ethernet frames with their times.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pcap_file::DataLink;
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapReader, PcapWriter};
use pcap_file::pcapng::{Block, PcapNgReader};

/// The most bytes of one frame that are taken from a capture; the rest of a longer one is cut.
const SNAPLEN: usize = 65_535;

/// Why a capture could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The file cannot be opened, read or written.
    #[error("capture {path}: {source}: check that the file exists and that you may {verb} it")]
    Io {
        /// The file.
        path: PathBuf,
        /// "read" or "write".
        verb: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// Neither pcap nor pcapng.
    #[error("capture {path}: packet {packet}: {reason}: is it a pcap or pcapng file? `capinfos FILE` tells")]
    Format {
        /// The file.
        path: PathBuf,
        /// The packet after which reading failed, from 1.
        packet: usize,
        /// What the reader said.
        reason: String,
    },
    /// A link type that holds no IP that we could find.
    #[error(
        "capture {path}: packet {packet}: link type {linktype:?} is not supported: capture on an Ethernet interface, \
         or on `any` (tcpdump -i any)"
    )]
    LinkType {
        /// The file.
        path: PathBuf,
        /// The packet, from 1.
        packet: usize,
        /// Its link type.
        linktype: DataLink,
    },
}

/// A frame of a capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    /// When, since 1970.
    pub time: Duration,
    /// The bytes, from the Ethernet header on.
    pub frame: Vec<u8>,
}

/// Reads a capture of Ethernet, raw IP, BSD loopback or Linux "cooked" frames. All but the first get an Ethernet
/// header in front, from 02:00:00:00:00:02 to 02:00:00:00:00:01.
///
/// # Errors
/// See [`CaptureError`].
pub fn read(path: &Path) -> Result<Vec<Captured>, CaptureError> {
    let io = |source| CaptureError::Io { path: path.to_owned(), verb: "read", source };
    let mut file = BufReader::new(File::open(path).map_err(io)?);
    let mut magic = [0; 4];
    file.read_exact(&mut magic).map_err(io)?;
    file.rewind().map_err(io)?;
    let mut frames = Vec::new();
    let format = |packet: usize| {
        move |error: pcap_file::PcapError| CaptureError::Format {
            path: path.to_owned(),
            packet,
            reason: error.to_string(),
        }
    };
    let mut push = |time, data: &[u8], linktype| {
        let packet = frames.len() + 1;
        let frame = ethernet(&data[..data.len().min(SNAPLEN)], linktype)
            .ok_or_else(|| CaptureError::LinkType { path: path.to_owned(), packet, linktype })?;
        frames.push(Captured { time, frame: frame.into_owned() });
        Ok(())
    };
    if magic == [0x0a, 0x0d, 0x0d, 0x0a] {
        let mut reader = PcapNgReader::new(file).map_err(format(0))?;
        let mut count = 0;
        while let Some(block) = reader.next_block() {
            let block = block.map_err(format(count))?.into_owned();
            count += 1;
            let (interface, time, data) = match block {
                Block::EnhancedPacket(packet) => (packet.interface_id, packet.timestamp, packet.data),
                Block::SimplePacket(packet) => (0, Duration::ZERO, packet.data),
                _ => continue,
            };
            let linktype = reader.interfaces().get(interface as usize).map(|interface| interface.linktype);
            push(time, &data, linktype.unwrap_or(DataLink::NULL))?;
        }
    } else {
        let mut reader = PcapReader::new(file).map_err(format(0))?;
        // Only the lower 16 bits are the link type; the upper ones say how long a frame check sequence is, if there is one.
        let linktype = DataLink::from(u32::from(reader.header().datalink) & 0xffff);
        let mut count = 0;
        while let Some(packet) = reader.next_raw_packet() {
            let packet = packet.map_err(format(count))?;
            count += 1;
            push(
                Duration::new(u64::from(packet.ts_sec), packet.ts_frac.saturating_mul(1000) % 1_000_000_000),
                &packet.data,
                linktype,
            )?;
        }
    }
    Ok(frames)
}

/// Writes frames as a pcap of Ethernet with microseconds.
///
/// # Errors
/// [`CaptureError::Io`], or [`CaptureError::Format`] for a frame over 64 KiB.
pub fn write<'a>(
    path: &Path,
    frames: impl IntoIterator<Item = (Duration, &'a [u8])>,
) -> Result<(), CaptureError> {
    let io = |source| CaptureError::Io { path: path.to_owned(), verb: "write", source };
    let file = BufWriter::new(File::create(path).map_err(io)?);
    let format = |packet: usize| {
        move |error: pcap_file::PcapError| CaptureError::Format {
            path: path.to_owned(),
            packet,
            reason: error.to_string(),
        }
    };
    let header = PcapHeader { datalink: DataLink::ETHERNET, ..PcapHeader::default() };
    let mut writer = PcapWriter::with_header(file, header).map_err(format(0))?;
    for (count, (time, frame)) in frames.into_iter().enumerate() {
        let packet = PcapPacket::new(time, frame.len() as u32, frame);
        writer.write_packet(&packet).map_err(format(count + 1))?;
    }
    writer.into_writer().flush().map_err(io)
}

/// An Ethernet frame of a packet of another link type; `None` for one that we do not know.
fn ethernet(data: &[u8], linktype: DataLink) -> Option<Cow<'_, [u8]>> {
    let (ethertype, skip) = match linktype {
        DataLink::ETHERNET => return Some(Cow::Borrowed(data)),
        DataLink::RAW | DataLink::IPV4 | DataLink::IPV6 | DataLink::Unknown(12 | 14) => (None, 0),
        DataLink::NULL | DataLink::LOOP => (None, 4),
        DataLink::LINUX_SLL => (data.get(14..16), 16),
        DataLink::Unknown(276) => (data.get(0..2), 20),
        _ => return None,
    };
    let packet = data.get(skip..).unwrap_or_default();
    let by_version: &[u8] = match packet.first().map(|byte| byte >> 4) {
        Some(6) => &[0x86, 0xdd],
        _ => &[0x08, 0x00],
    };
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    frame.extend_from_slice(ethertype.unwrap_or(by_version));
    frame.extend_from_slice(packet);
    Some(Cow::Owned(frame))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_with_its_times() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let frames =
            [(Duration::new(1_700_000_000, 123_456_000), &[1u8; 60][..]), (Duration::ZERO, &[2; 14])];
        write(file.path(), frames).unwrap();
        let back = read(file.path()).unwrap();
        assert_eq!(back.iter().map(|c| (c.time, c.frame.as_slice())).collect::<Vec<_>>(), frames);
    }

    #[test]
    fn the_length_of_a_frame_check_sequence_is_no_part_of_the_link_type() {
        let file = tempfile::NamedTempFile::new().unwrap();
        write(file.path(), [(Duration::ZERO, &[2; 14][..])]).unwrap();
        let mut bytes = std::fs::read(file.path()).unwrap();
        let word = u32::from_ne_bytes(bytes[20..24].try_into().unwrap());
        let word =
            if word == 1 { 0x3000_0001u32.to_ne_bytes() } else { 0x3000_0001u32.swap_bytes().to_ne_bytes() };
        bytes[20..24].copy_from_slice(&word);
        std::fs::write(file.path(), bytes).unwrap();
        assert_eq!(read(file.path()).unwrap()[0].frame, [2; 14]);
    }

    #[test]
    fn cooked_and_raw_packets_get_an_ethernet_header() {
        let ip = [0x60, 0, 0, 0];
        let sll = [&[0; 14][..], &[0x86, 0xdd], &ip].concat();
        for (linktype, data) in [
            (DataLink::RAW, ip.to_vec()),
            (DataLink::NULL, [&[30, 0, 0, 0][..], &ip].concat()),
            (DataLink::LINUX_SLL, sll),
        ] {
            let frame = ethernet(&data, linktype).unwrap();
            assert_eq!(frame[12..], [0x86, 0xdd, 0x60, 0, 0, 0], "{linktype:?}");
        }
        assert!(ethernet(&ip, DataLink::USB_LINUX).is_none());
    }

    #[test]
    fn what_is_no_capture_is_refused_by_name() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"hello, I am no capture at all").unwrap();
        let error = read(file.path()).unwrap_err().to_string();
        assert!(error.contains(&file.path().display().to_string()) && error.contains("capinfos"), "{error}");
        let error = read(Path::new("/nonexistent.pcap")).unwrap_err().to_string();
        assert!(error.contains("/nonexistent.pcap"), "{error}");
    }
}
