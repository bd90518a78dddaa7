//! The publisher: alone turns roles and members into a snapshot.
//!
//! It runs on the thread of the HSRP runner, for publishing is a step of gaining and losing a role: it computes for
//! some microseconds and waits for nothing. Members come from the cluster's runner as a whole, as [`Choices`].

use super::role::{Phase, Role, Roles};
use crate::clb::{Member, Origin};
use crate::publish::{self, Assignment, MoveBudget, VipInput, assign};
use crate::types::{GroupKey, Nanos};
use platform::snapshot::{Body, SLOTS, Share, SnapshotError, VipState, Writer};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// Choice of the cluster's runner for one group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupChoice {
    /// Gateways that requests to its virtual addresses may be sent to; none unless this node is the primary
    pub members: Vec<Member>,
    /// IKE_SA_INIT requests are redirected
    pub redirect_init: bool,
    /// Slots move slowly
    pub paced: bool,
    /// It was made for the active role: the cluster's runner has followed HSRP
    pub active: bool,
}

/// Everything that the cluster adds to the snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choices {
    /// They were made; false before the first ones
    pub made: bool,
    /// TCP port of the load feed, 0 for none
    pub clb_port: u16,
    /// Groups of the cluster
    pub groups: BTreeMap<GroupKey, GroupChoice>,
    /// Own addresses whose requests are shed to other members
    pub own: Vec<VipInput>,
}

/// The snapshot that was published last.
#[derive(Default)]
pub struct Published {
    /// Its generation, 0 for none
    pub generation: u64,
    /// When, ns
    pub at_ns: Nanos,
    /// Its virtual addresses, by index
    pub vips: Vec<VipInput>,
    /// Slots of each virtual address
    pub assignments: BTreeMap<IpAddr, Assignment>,
    /// The bytes
    pub body: Option<Box<Body>>,
}

/// Owner of the snapshot.
pub struct Publisher {
    writer: Writer,
    hash_key: [u64; 2],
    choices: Choices,
    budgets: BTreeMap<IpAddr, MoveBudget>,
    published: Arc<Published>,
}

impl Publisher {
    /// Makes the snapshot's memory. `assignments` are those of the run before.
    ///
    /// # Errors
    /// When the kernel gives no memory.
    pub fn new(
        hash_key: [u64; 2],
        assignments: BTreeMap<IpAddr, Assignment>,
    ) -> Result<Publisher, SnapshotError> {
        Ok(Publisher {
            writer: Writer::create()?,
            hash_key,
            choices: Choices::default(),
            budgets: BTreeMap::new(),
            published: Arc::new(Published { assignments, ..Published::default() }),
        })
    }

    /// Instance id of the snapshot's memory.
    #[must_use]
    pub fn instance(&self) -> u64 {
        self.writer.instance()
    }

    /// Returns the memory as a handover needs it.
    ///
    /// # Errors
    /// When the process has no file descriptor left.
    pub fn share(&self) -> std::io::Result<Share> {
        self.writer.share()
    }

    /// The snapshot that was published last.
    #[must_use]
    pub fn published(&self) -> &Arc<Published> {
        &self.published
    }

    /// Sets a lease word: an atomic store, seen by the data plane at once.
    pub fn set_lease(&self, lease: usize, until: Nanos, peer_known: bool) {
        self.writer.set_lease(lease, until.get(), peer_known);
    }

    /// Tells the data plane that the control plane lives.
    pub fn heartbeat(&self, now: Nanos) {
        self.writer.heartbeat(now.get());
    }

    /// Takes the choices; returns whether they ask for another snapshot: a gateway comes, goes, or changes its use, or
    /// a slot may move.
    pub fn choose(&mut self, choices: Choices, now: Nanos) -> bool {
        let changed = shape(&self.choices) != shape(&choices);
        self.choices = choices;
        if changed {
            return true;
        }
        let published = self.published.clone();
        published.vips.iter().any(|vip| {
            let members = self.members(vip);
            let of_family: Vec<Member> = members
                .iter()
                .filter(|member| member.address.is_ipv4() == vip.address.is_ipv4())
                .cloned()
                .collect();
            let none = Assignment::default();
            let current = published.assignments.get(&vip.address).unwrap_or(&none);
            let mut left = self.budgets.get_mut(&vip.address).map_or(SLOTS, |budget| budget.left(now));
            assign(current, &of_family, &mut left).slots != current.slots
        })
    }

    /// Returns whether nothing is known of a group's members: the cluster's runner has not followed it into the active role, or
    /// the role is another's. Its slots wait for them.
    #[must_use]
    pub fn is_pending(&self, role: &Role) -> bool {
        let choice = self.choices.groups.get(&role.plan.key);
        !self.choices.made || choice.is_some_and(|choice| !choice.active)
    }

    fn members(&self, vip: &VipInput) -> &[Member] {
        if vip.is_own {
            let own = self.choices.own.iter().find(|own| own.address == vip.address);
            return own.map_or(&[], |own| &own.members);
        }
        self.choices.groups.get(&vip.key).map_or(&[], |choice| &choice.members)
    }

    /// Publishes roles, members and slots as they are now; returns the generation.
    pub fn publish(&mut self, roles: &Roles, now: Nanos) -> u64 {
        let known = |role: &&Role| role.plan.down.is_empty() || role.phase != Phase::Absent;
        let mut vips: Vec<VipInput> = roles
            .values()
            .filter(known)
            .flat_map(|role| vips_of(role, &self.choices, self.is_pending(role)))
            .collect();
        vips.extend(self.choices.own.iter().cloned());
        self.keep_budgets(&vips);
        let mut assignments = self.published.assignments.clone();
        let body = publish::body(
            self.hash_key,
            self.choices.clb_port,
            now,
            &vips,
            &mut assignments,
            &mut self.budgets,
        );
        let generation = self.writer.publish(&body);
        self.published = Arc::new(Published { generation, at_ns: now, vips, assignments, body: Some(body) });
        generation
    }

    /// Budgets for the addresses that are published: moves are held back where members report their load.
    fn keep_budgets(&mut self, vips: &[VipInput]) {
        let paced: BTreeSet<IpAddr> = vips
            .iter()
            .filter(|vip| vip.members.iter().any(|member| member.origin == Origin::Reported))
            .filter(|vip| self.choices.groups.get(&vip.key).is_some_and(|choice| choice.paced))
            .map(|vip| vip.address)
            .collect();
        self.budgets.retain(|address, _| paced.contains(address));
        for address in paced {
            self.budgets.entry(address).or_default();
        }
    }
}

/// All of the choices but the weights, whose changes need a snapshot only where a slot moves.
fn shape(choices: &Choices) -> Choices {
    let mut shape = choices.clone();
    let groups = shape.groups.values_mut().flat_map(|choice| {
        choice.paced = false;
        &mut choice.members
    });
    let own = shape.own.iter_mut().flat_map(|own| &mut own.members);
    groups.chain(own).for_each(|member| (member.weight, member.priority) = (0, 0));
    shape
}

fn vips_of(role: &Role, choices: &Choices, pending: bool) -> Vec<VipInput> {
    let choice = choices.groups.get(&role.plan.key);
    let vip = |address| VipInput {
        address,
        own: role.plan.own,
        mac: role.mac(),
        state: state_of(role),
        redirect_init: choice.is_some_and(|choice| choice.redirect_init),
        lease: role.lease as u16,
        port: role.plan.port.map(|port| port.get() as u16),
        epoch: role.epoch,
        key: role.plan.key.clone(),
        is_own: false,
        pending,
        members: choice.map(|choice| choice.members.clone()).unwrap_or_default(),
    };
    role.addresses().into_iter().map(vip).collect()
}

fn state_of(role: &Role) -> VipState {
    match role.phase {
        Phase::Preparing { .. } | Phase::Addressing(_) => VipState::Prepared,
        Phase::Owned => VipState::Active,
        // Its lease has ended: this is the fence.
        Phase::Withdrawing { .. } if role.wedged.is_some() => VipState::Active,
        Phase::Absent | Phase::Withdrawing { .. } | Phase::Clearing(_) => VipState::Inactive,
    }
}
