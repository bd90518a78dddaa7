//! The end of EAL, in whatever order the values go.

mod common;

use common::pool;

#[test]
fn an_mbuf_that_outlives_all_else_stays_whole() {
    let eal = common::eal(&[]);
    for dir in ["/var/run/dpdk", "/tmp/dpdk"] {
        let dir = std::path::Path::new(dir).join(format!("usher-test-{}", std::process::id()));
        assert!(!dir.exists(), "EAL leaves {} behind", dir.display());
    }
    let pool = pool(&eal, "outlive", 63);
    let mut mbuf = pool.alloc().unwrap();
    mbuf.set_len(1000).unwrap();
    mbuf.data_mut().fill(0x5a);
    drop((eal, pool));
    assert!(mbuf.data().iter().all(|byte| *byte == 0x5a));
    drop(mbuf);
}
