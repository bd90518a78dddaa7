//! Mbufs, bursts, pools and threads.

mod common;

use std::sync::LazyLock;
use std::thread;

use common::{fill, numbers, pool};
use dpdk::{BURST, Burst, Eal, HEADROOM, LenError, Mempool, MempoolError, ThreadError, TxChecksums};

static EAL: LazyLock<Eal> = LazyLock::new(|| common::eal(&[]));

#[test]
fn every_mbuf_returns_to_its_pool() {
    let pool = pool(&EAL, "returns", 255);
    assert_eq!((pool.available(), pool.in_use()), (255, 0));
    let mut burst = Burst::new();
    fill(&mut burst, &pool, 0, 10);
    assert_eq!(pool.in_use(), 10);
    drop(burst.pop());
    assert_eq!(pool.in_use(), 9);
    burst.clear();
    assert_eq!(pool.in_use(), 0);
    fill(&mut burst, &pool, 0, 3);
    drop(burst);
    assert_eq!((pool.available(), pool.in_use()), (255, 0));
}

#[test]
fn an_exhausted_pool_gives_none_and_recovers() {
    let pool = Mempool::new(&EAL, "exhausted", 63, 0, 2176, -1).unwrap();
    let held: Vec<_> = std::iter::from_fn(|| pool.alloc()).collect();
    assert_eq!(held.len(), 63);
    assert!(pool.alloc().is_none());
    drop(held);
    assert!(pool.alloc().is_some());
}

#[test]
fn mbufs_in_bulk_come_all_or_none() {
    let pool = Mempool::new(&EAL, "bulk", 63, 0, 2176, -1).unwrap();
    let (mut burst, mut more) = (Burst::new(), Burst::new());
    assert_eq!((pool.alloc_bulk(&mut burst, 40), burst.len()), (40, 40));
    assert!(burst.as_slice().iter().all(|mbuf| mbuf.is_empty() && mbuf.is_contiguous()));
    assert_eq!((pool.alloc_bulk(&mut more, 24), more.len()), (0, 0));
    assert_eq!((pool.alloc_bulk(&mut burst, usize::MAX), pool.in_use()), (0, 40));
    burst.clear();
    assert_eq!((pool.alloc_bulk(&mut more, 63), pool.in_use()), (63, 63));
}

#[test]
fn a_frame_grows_and_shrinks_at_its_front_within_the_headroom() {
    let pool = pool(&EAL, "front", 63);
    let mut mbuf = pool.alloc().unwrap();
    mbuf.set_len(20).unwrap();
    mbuf.data_mut().copy_from_slice(&std::array::from_fn::<u8, 20, _>(|at| at as u8));
    mbuf.trim_front(4).unwrap();
    assert_eq!((mbuf.len(), mbuf.data()[0]), (16, 4));
    mbuf.grow_front(4).unwrap();
    assert_eq!((mbuf.len(), mbuf.data()[..5].to_vec()), (20, vec![0, 1, 2, 3, 4]), "what was there before");
    let headroom = usize::from(HEADROOM);
    assert_eq!(
        mbuf.grow_front(headroom + 1),
        Err(LenError { wanted: headroom + 1, room: headroom, segments: 1 })
    );
    mbuf.grow_front(headroom).unwrap();
    assert_eq!((mbuf.len(), mbuf.capacity()), (20 + headroom, 2176));
    assert_eq!(mbuf.trim_front(149), Err(LenError { wanted: 149, room: 148, segments: 1 }));
    mbuf.trim_front(148).unwrap();
    assert!(mbuf.is_empty() && mbuf.data().is_empty());
}

#[test]
fn a_length_is_bounded_by_the_room() {
    let pool = pool(&EAL, "length", 63);
    let mut mbuf = pool.alloc().unwrap();
    assert!(mbuf.is_empty() && mbuf.data().is_empty() && mbuf.is_contiguous());
    let room = 2176 - usize::from(HEADROOM);
    assert_eq!(mbuf.capacity(), room);
    mbuf.set_len(room).unwrap();
    mbuf.data_mut().fill(0xa5);
    assert_eq!((mbuf.len(), mbuf.data().len()), (room, room));
    for wanted in [room + 1, 65_535, 65_536, usize::MAX] {
        assert_eq!(mbuf.set_len(wanted), Err(LenError { wanted, room, segments: 1 }));
    }
    assert_eq!(mbuf.len(), room);
    mbuf.set_len(14).unwrap();
    assert_eq!(mbuf.data(), [0xa5; 14]);
    assert_eq!(mbuf.segments().map(<[u8]>::len).collect::<Vec<_>>(), [14]);
    mbuf.linearize().unwrap();
}

#[test]
fn checksums_are_only_asked_for_headers_inside_the_frame() {
    let pool = pool(&EAL, "checksums", 63);
    let mut mbuf = pool.alloc().unwrap();
    mbuf.set_len(42).unwrap();
    let wanted = TxChecksums { l2_len: 14, l3_len: 20, ipv6: false, ip: true, udp: true };
    assert!(mbuf.request_checksums(wanted));
    assert!(!mbuf.request_checksums(TxChecksums { l3_len: 24, ..wanted }), "UDP would end beyond the frame");
    assert!(!mbuf.request_checksums(TxChecksums { l2_len: 128, ..wanted }), "l2_len has 7 bits");
    assert!(!mbuf.request_checksums(TxChecksums { l3_len: 512, ..wanted }), "l3_len has 9 bits");
}

#[test]
fn a_burst_keeps_order_and_bounds() {
    let pool = pool(&EAL, "order", 255);
    let mut burst = Burst::new();
    fill(&mut burst, &pool, 0, BURST as u32);
    assert_eq!((burst.len(), burst.room()), (BURST, 0));
    let extra = pool.alloc().unwrap();
    assert!(burst.push(extra).is_err(), "a full burst gives the mbuf back");

    assert!(burst.swap_remove(BURST).is_none());
    let taken = burst.swap_remove(1).unwrap();
    assert_eq!(taken.data()[..4], 1u32.to_be_bytes());
    assert_eq!(numbers(&burst)[..3], [0, 63, 2]);
    assert_eq!(burst.len(), 63);

    // Routing each mbuf by value: to another burst, or dropped.
    let mut even = Burst::new();
    for mbuf in burst.drain() {
        if mbuf.data()[3] % 2 == 0 {
            assert!(even.push(mbuf).is_ok());
        }
    }
    assert!(burst.is_empty());
    assert_eq!(numbers(&even), (0..64).filter(|n| n % 2 == 0).collect::<Vec<_>>());
    drop(taken);
    assert_eq!(pool.in_use(), 32);

    // A drain that stops early frees the rest.
    assert_eq!(even.drain().take(2).count(), 2);
    assert!(even.is_empty());
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn an_mbuf_may_be_freed_by_another_thread() {
    let pool = pool(&EAL, "threads", 255);
    let mut burst = Burst::new();
    fill(&mut burst, &pool, 0, 50);
    thread::spawn(move || drop(burst)).join().unwrap();
    assert_eq!((pool.available(), pool.in_use()), (255, 0));
}

#[test]
fn a_registered_thread_leaves_nothing_in_its_cache() {
    let pool = Mempool::new(&EAL, "cache", 127, 64, 2176, -1).unwrap();
    let worker = pool.clone();
    thread::spawn(move || {
        let registration = EAL.register_thread().expect("a std thread becomes an lcore");
        assert!(matches!(EAL.register_thread(), Err(ThreadError::AlreadyRegistered { lcore }) if lcore == registration.lcore()));
        let held: Vec<_> = (0..40).map(|_| worker.alloc().unwrap()).collect();
        drop(held);
    })
    .join()
    .unwrap();
    // From this thread, which has no cache, all of them can be had.
    let all: Vec<_> = std::iter::from_fn(|| pool.alloc()).collect();
    assert_eq!(all.len(), 127);
}

#[test]
fn lcores_are_given_back() {
    for _ in 0..300 {
        thread::spawn(|| EAL.register_thread().map(|registration| registration.lcore()))
            .join()
            .unwrap()
            .expect("more registrations in a row than EAL has lcores");
    }
}

#[test]
fn a_pool_out_of_range_is_refused_with_the_range() {
    let refused = |mbufs, cache, room| match Mempool::new(&EAL, "refused", mbufs, cache, room, -1) {
        Err(err) => err.to_string(),
        Ok(_) => panic!("{mbufs} mbufs, cache {cache}, room {room} passed"),
    };
    assert!(refused(0, 0, 2176).contains("at least one"));
    assert!(refused(1000, 513, 2176).contains("cache 513"));
    assert!(refused(100, 67, 2176).contains("two thirds"));
    assert!(refused(100, 0, 255).contains("data_room 255"));
    assert!(refused(50_000_000, 0, 2176).contains("raise eal.memory_mib"));
    let _first = pool(&EAL, "twice", 63);
    assert!(matches!(Mempool::new(&EAL, "twice", 63, 0, 2176, -1), Err(MempoolError::Create { .. })));
}

#[test]
fn the_clock_runs() {
    let hz = dpdk::tsc_hz(&EAL);
    let start = dpdk::rdtsc();
    thread::sleep(std::time::Duration::from_millis(20));
    let elapsed = (dpdk::rdtsc() - start) as f64 / hz as f64;
    assert!((0.019..5.0).contains(&elapsed), "20 ms measured as {elapsed} s at {hz} Hz");
}
