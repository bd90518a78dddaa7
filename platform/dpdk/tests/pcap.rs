//! Captures in, captures out through net_pcap, as an ordinary user.

mod common;

use common::{pool, receive};
use dpdk::{Burst, MacFilter, Port, PortConfig};

#[test]
fn a_capture_comes_out_as_it_went_in() {
    let dir = tempfile::tempdir().unwrap();
    let (input, output) = (dir.path().join("in.pcap"), dir.path().join("out.pcap"));
    // Short, ordinary, the longest ordinary, and one that needs two buffers.
    let frames: Vec<Vec<u8>> =
        [60, 186, 1522, 3000].iter().map(|len| (0..*len).map(|at| (at * 7 % 251) as u8).collect()).collect();
    std::fs::write(&input, capture(&frames)).unwrap();

    let eal = common::eal(&[&format!("net_pcap0,rx_pcap={},tx_pcap={}", input.display(), output.display())]);
    let pool = pool(&eal, "pcap", 1023);
    let id = eal.ports()[0];
    let (mut port, rx, tx) = Port::configure(&eal, id, &PortConfig::default(), &pool).expect("it configures");
    assert_eq!(port.driver(), "net_pcap");
    assert_eq!(port.add_mac([0, 0, 0x5e, 0, 1, 1]).unwrap(), MacFilter::PromiscForced);
    let mut burst = Burst::new();
    receive(&rx[0], &mut burst, frames.len());
    assert_eq!(burst.len(), frames.len());
    for (mbuf, frame) in burst.as_slice().iter().zip(&frames) {
        assert_eq!(mbuf.len(), frame.len());
        assert_eq!(mbuf.segments().flatten().copied().collect::<Vec<u8>>(), *frame);
    }
    let long = burst.as_mut_slice().last_mut().unwrap();
    assert!(!long.is_contiguous());
    assert!(long.set_len(64).is_err(), "only a frame in one segment has a settable length");
    let err = long.linearize().expect_err("3000 bytes do not fit in 2048");
    assert_eq!((err.wanted, err.segments), (3000, 2));
    assert_eq!(long.len(), 3000);

    burst.as_mut_slice()[1].data_mut()[0] = 0xff;
    // The long frame exceeds the MTU of the port: dropped and counted.
    assert_eq!((tx[0].burst(&mut burst), tx[0].refused()), (3, 1));
    assert_eq!(rx[0].burst(&mut burst), 0, "the capture is at its end");
    assert_eq!(pool.in_use(), 0);
    drop((port, rx, tx));

    let mut expected = frames;
    expected.truncate(3);
    expected[1][0] = 0xff;
    assert_eq!(parse(&std::fs::read(&output).unwrap()), expected);
}

fn capture(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut file = Vec::new();
    // magic, version 2.4, zone, accuracy, snapshot length, Ethernet
    for word in [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 65_535, 1] {
        file.extend(word.to_le_bytes());
    }
    for frame in frames {
        let len = frame.len() as u32;
        for word in [1, 2, len, len] {
            file.extend(word.to_le_bytes());
        }
        file.extend(frame);
    }
    file
}

fn parse(mut file: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    file = &file[24..];
    while !file.is_empty() {
        let len = u32::from_le_bytes(file[8..12].try_into().unwrap()) as usize;
        frames.push(file[16..16 + len].to_vec());
        file = &file[16 + len..];
    }
    frames
}
