//! EAL as an ordinary user starts it: no hugepages, no PCI, nothing shared. Each test file is a process of its own,
//! because EAL starts once a process.
#![allow(dead_code)] // each test file uses its part

use dpdk::{Burst, Eal, Mempool, RxQueue};

pub fn eal(vdevs: &[&str]) -> Eal {
    let mut args: Vec<String> =
        ["--no-huge", "-m", "64", "--no-pci", "--no-shconf", "--no-telemetry", "--lcores=0@0"]
            .map(str::to_owned)
            .into();
    args.push(format!("--file-prefix=usher-test-{}", std::process::id()));
    args.extend(vdevs.iter().map(|vdev| format!("--vdev={vdev}")));
    Eal::init(&args).expect("EAL starts without privileges")
}

pub fn pool(eal: &Eal, name: &str, mbufs: u32) -> Mempool {
    Mempool::new(eal, name, mbufs, 32, 2176, -1).expect("the memory suffices for a pool")
}

/// Appends `count` frames of 64 bytes that carry the numbers from `first` on.
pub fn fill(burst: &mut Burst, pool: &Mempool, first: u32, count: u32) {
    for number in first..first + count {
        let mut mbuf = pool.alloc().expect("the pool suffices");
        mbuf.set_len(64).expect("64 bytes fit");
        mbuf.data_mut().fill(0);
        mbuf.data_mut()[..4].copy_from_slice(&number.to_be_bytes());
        assert!(burst.push(mbuf).is_ok(), "the burst has room");
    }
}

/// The numbers that [`fill`] wrote.
pub fn numbers(burst: &Burst) -> Vec<u32> {
    burst.as_slice().iter().map(|mbuf| u32::from_be_bytes(mbuf.data()[..4].try_into().unwrap())).collect()
}

/// Receives until `wanted` frames are there or nothing comes for a long time.
pub fn receive(rx: &RxQueue, into: &mut Burst, wanted: usize) {
    for _ in 0..10_000 {
        rx.burst(into);
        if into.len() >= wanted {
            return;
        }
        std::thread::sleep(std::time::Duration::from_micros(100));
    }
}
