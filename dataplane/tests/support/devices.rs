//! DPDK's software devices under a worker, one queue each.

use dpdk::{Eal, Mempool, Port, PortConfig, RxQueue, ThreadRegistration, TxQueue};

/// Captures are whole once this is dropped, after the worker that has the queues.
pub struct Devices {
    ports: Vec<Port>,
    pool: Mempool,
    _thread: ThreadRegistration,
    eal: Eal,
}

impl Devices {
    /// `vdevs` as EAL's options have them; `name` tells this process from others.
    pub fn new(name: &str, vdevs: &[&str]) -> Devices {
        let prefix = format!("--file-prefix=usher-{name}-{}", std::process::id());
        let args = ["--no-huge", "-m64", "--no-pci", "--no-shconf", "--no-telemetry", &prefix];
        let vdevs: Vec<String> = vdevs.iter().map(|vdev| format!("--vdev={vdev}")).collect();
        let args: Vec<&str> = args.into_iter().chain(vdevs.iter().map(String::as_str)).collect();
        let eal = Eal::init(&args).unwrap();
        let thread = eal.register_thread().unwrap();
        let pool = Mempool::new(&eal, "pool", 4095, 128, 2176, -1).unwrap();
        Devices { ports: Vec::new(), pool, _thread: thread, eal }
    }

    /// The queues of a device.
    pub fn open(&mut self, name: &str) -> (RxQueue, TxQueue) {
        let id = self.eal.port_by_name(name).unwrap();
        let (port, mut rx, mut tx) =
            Port::configure(&self.eal, id, &PortConfig::default(), &self.pool).unwrap();
        self.ports.push(port);
        (rx.remove(0), tx.remove(0))
    }
}
