//! The kernel's devices, worked on by a task of its own: the loop that keeps the roles never waits for netlink. Tasks are
//! carried out in the order in which they were given, so that the last word about a device is the last one said.

use crate::net::{Net, NetError, Wanted};
use std::collections::BTreeSet;
use tokio::sync::mpsc;

/// All that is wanted of the kernel.
#[derive(Clone, Debug, Default)]
pub struct DevicePlan {
    /// Exception devices; true: a TAP of ours, else it comes and goes with the data plane
    pub ports: Vec<(Wanted, bool)>,
    /// Macvlans with the exception device under each
    pub virtuals: Vec<(String, Wanted)>,
}

/// A piece of work.
#[derive(Clone, Debug)]
pub enum Work {
    /// One macvlan over its exception device
    One(String, Wanted),
    /// Everything; macvlans that are not named go
    All(DevicePlan),
    /// The end: macvlans over these exception devices go, and the exception devices that are named second
    Cleanup(Vec<String>, Vec<String>),
}

/// A piece of work that was carried out.
#[derive(Debug)]
pub struct Done {
    /// Its number
    pub task: u64,
    /// How it went
    pub result: Result<(), NetError>,
}

/// The way to the task.
pub struct Devices {
    work: mpsc::UnboundedSender<(u64, Work)>,
    done: mpsc::UnboundedReceiver<Done>,
    next: u64,
}

impl Devices {
    /// Starts the task on the running tokio runtime.
    #[must_use]
    pub fn start(net: Net) -> Devices {
        let (work, mut queue) = mpsc::unbounded_channel::<(u64, Work)>();
        let (report, done) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some((task, work)) = queue.recv().await {
                let result = carry_out(&net, work).await;
                if report.send(Done { task, result }).is_err() {
                    break;
                }
            }
        });
        Devices { work, done, next: 1 }
    }

    /// Gives it a piece of work; the number that its report will have.
    pub fn give(&mut self, work: Work) -> u64 {
        let task = self.next;
        self.next += 1;
        // The task ends only with this.
        let _ = self.work.send((task, work));
        task
    }

    /// The next report.
    pub async fn done(&mut self) -> Option<Done> {
        self.done.recv().await
    }
}

async fn carry_out(net: &Net, work: Work) -> Result<(), NetError> {
    match work {
        Work::One(parent, wanted) => net.virtual_device(&parent, &wanted).await,
        Work::All(plan) => all(net, plan).await,
        Work::Cleanup(parents, exceptions) => {
            for device in net.macvlans("hsrp", &parents).await?.iter().chain(&exceptions) {
                net.delete(device).await?;
            }
            Ok(())
        }
    }
}

async fn all(net: &Net, plan: DevicePlan) -> Result<(), NetError> {
    let mut parents = Vec::new();
    for (wanted, tap) in &plan.ports {
        if !tap && !net.exists(&wanted.device).await? {
            // It comes with the data plane, and this with it.
            continue;
        }
        parents.push(wanted.device.clone());
        net.port(wanted).await?;
    }
    let mut kept = BTreeSet::new();
    for (parent, wanted) in plan.virtuals.iter().filter(|(parent, _)| parents.contains(parent)) {
        kept.insert(wanted.device.clone());
        net.virtual_device(parent, wanted).await?;
    }
    for stray in net.macvlans("hsrp", &parents).await?.difference(&kept) {
        net.delete(stray).await?;
    }
    Ok(())
}
