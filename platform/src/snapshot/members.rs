//! The members of a bond in the feedback memory: their names with a port's identity, their state with its status.

use super::feedback::MEMBER_NAME_WORDS;
use crate::profile::MAX_MEMBERS;

/// What a member of a bond does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MemberState {
    /// It has no link.
    #[default]
    Down,
    /// It has link, and the switch has not agreed to it by LACP (collecting and distributing).
    Negotiating,
    /// It has link and waits for the active one to lose it (active-backup).
    Standby,
    /// It carries frames.
    Active,
}

/// State and frames of a member of a bond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct MemberStatus {
    /// What it does.
    pub state: MemberState,
    /// Speed in Mbit/s, 0: unknown.
    pub speed_mbps: u32,
    /// Frames received.
    pub ipackets: u64,
    /// Frames sent.
    pub opackets: u64,
}

/// The members of a port, in the order of the profile; none: the port is no bond.
pub type Members = [Option<MemberStatus>; MAX_MEMBERS];

/// Words of all members' state.
pub(super) const MEMBERS_WORDS: usize = MAX_MEMBERS * 3;
/// Words of all members' names.
pub(super) const NAMES_WORDS: usize = MAX_MEMBERS * MEMBER_NAME_WORDS;

impl MemberState {
    const ALL: [MemberState; 4] =
        [MemberState::Down, MemberState::Negotiating, MemberState::Standby, MemberState::Active];
}

pub(super) fn to_words(members: &Members) -> [u64; MEMBERS_WORDS] {
    let mut words = [0; MEMBERS_WORDS];
    for (words, member) in words.chunks_exact_mut(3).zip(members.iter().flatten()) {
        // 0 is a place without a member.
        let state = u64::from(member.speed_mbps) << 32 | (member.state as u64 + 1);
        words.copy_from_slice(&[state, member.ipackets, member.opackets]);
    }
    words
}

pub(super) fn from_words(words: &[u64]) -> Members {
    let mut members = Members::default();
    for (member, words) in members.iter_mut().zip(words.chunks_exact(3)) {
        let state = (words[0] as u32).checked_sub(1).and_then(|state| MemberState::ALL.get(state as usize));
        *member = state.map(|state| MemberStatus {
            state: *state,
            speed_mbps: (words[0] >> 32) as u32,
            ipackets: words[1],
            opackets: words[2],
        });
    }
    members
}

/// What was counted since `before`.
pub(super) fn since(now: &mut Members, before: &Members) {
    for (now, before) in now.iter_mut().flatten().zip(before.iter().flatten()) {
        now.ipackets = now.ipackets.wrapping_sub(before.ipackets);
        now.opackets = now.opackets.wrapping_sub(before.opackets);
    }
}

/// In JSON: the members there are, as a list.
pub(super) fn list<S: serde::Serializer>(members: &Members, to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(members.iter().flatten())
}

/// Whether a port is no bond.
pub(super) fn none(members: &Members) -> bool {
    members.iter().all(Option::is_none)
}
