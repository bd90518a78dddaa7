//! Received messages: events f to l of the table.

use super::{
    Action, DOUBT, Group, Heard, LONGEST_HOLD, Note, Peer, Probe, TRUSTED_HOLDS, TRUSTED_INTERVALS, Timers,
};
use crate::hsrp::message::{Message, Opcode, Received, State};
use crate::types::Nanos;
use std::net::IpAddr;
use std::time::Duration;

impl Group {
    pub(super) fn receive(&mut self, received: &Received, now: Nanos, out: &mut Vec<Action>) {
        let Received { message, source } = received;
        let source = *source;
        let config = &self.config;
        let ours = message.version == config.version && message.group == config.group;
        if !ours || source.is_ipv4() != config.own.is_ipv4() {
            return;
        }
        if source == config.own {
            self.complain(Note::DuplicateAddress(source), now, out);
            return;
        }
        let hello = message.opcode == Opcode::Hello;
        let sound = message.hello > Duration::ZERO && message.hold > message.hello;
        if hello && !sound {
            self.complain(Note::BadTimers(source), now, out);
        }
        let hold = self.believed_hold(received, now, out);
        let memory = hold.max(self.hold()) * 3;
        self.peers_until = self.peers_until.max(now + memory);
        if self.owns && !self.lease.1 {
            self.renew(now, out);
        }
        let lower = self.lower(message.priority, source);
        let peer = Peer { source, priority: message.priority, hold, expires: now + hold };
        // A hello of another state would not do: it may be one from before, late.
        if message.opcode == Opcode::Resign && self.gain_from.contains(&Some(source)) {
            self.gain(now, out);
        }
        match (message.opcode, message.state) {
            (Opcode::Hello, State::Active) => self.hear_active(peer, lower, sound, message, now, out),
            (Opcode::Hello, State::Standby) => self.hear_standby(peer, lower, now, out),
            // Event f.
            (Opcode::Hello, State::Speak) if !lower => {
                if matches!(self.state, State::Speak | State::Standby) {
                    self.start_standby(now);
                    self.enter(State::Listen, now, out);
                }
            }
            (Opcode::Coup, said) => {
                // One that has resigned may preempt again; an active router's coup is no such word.
                if said != State::Active {
                    self.resigned.take_if(|(by, _)| *by == source);
                }
                // Event j.
                if !lower && self.state == State::Active {
                    self.resign(State::Speak, now, out);
                }
            }
            (Opcode::Resign, said) if self.active.is_some_and(|active| active.source == source) => {
                self.hear_resign(peer, said, message.hello, now, out);
            }
            _ => {}
        }
    }

    /// Returns how long this message is valid, ns. A hello is believed for three of the hold times that are configured here, or
    /// of the default; for longer if the sender's hellos already were, or if they come at the pace that they claim.
    fn believed_hold(&mut self, received: &Received, now: Nanos, out: &mut Vec<Action>) -> Nanos {
        let Received { message, source } = received;
        if message.hold.is_zero() {
            // No reason to be without its sender: it counts as one of our own.
            return self.hold();
        }
        let own = self.config.timers.unwrap_or(super::DEFAULT_TIMERS).hold;
        let bound = Nanos::from(own) * TRUSTED_HOLDS;
        let slot = match (message.opcode, message.state) {
            (Opcode::Hello, State::Active) => 0,
            (Opcode::Hello, State::Standby) => 1,
            _ => return Nanos::from(message.hold).min(bound).min(LONGEST_HOLD),
        };
        let earlier = self.heard[slot].filter(|heard| heard.source == *source);
        let earned = earlier.map_or(Nanos::ZERO, |Heard { at, hold, .. }| {
            let interval = now.since(at);
            let before = if interval < hold { hold } else { Nanos::ZERO };
            before.max(interval.min(Nanos::from(message.hello)) * TRUSTED_INTERVALS)
        });
        let claimed = Nanos::from(message.hold);
        let hold = claimed.min(bound.max(earned)).min(LONGEST_HOLD);
        self.heard[slot] = Some(Heard { source: *source, at: now, hold });
        if hold < claimed {
            self.complain(Note::LongHold { source: *source, claimed, counted: hold }, now, out);
        }
        hold
    }

    /// Event i: the active router resigns.
    fn hear_resign(&mut self, peer: Peer, said: State, hello: Duration, now: Nanos, out: &mut Vec<Action>) {
        let hello = Nanos::from(hello).clamp(self.hello(), self.hold());
        if self.doubted.is_some_and(|(by, until)| by == peer.source && now < until) {
            // Its true resign is followed by no hello.
            let missing = now + (hello + hello / 4);
            self.active_timer = self.active_timer.map(|at| at.min(missing));
            return;
        }
        self.resigned = Some((peer.source, now + hello * 3));
        self.wish_since = None;
        // A router that was paused gives up a role that another one took long ago, and this node was paused too: what it
        // heard of the former when it woke was old.
        if let Some(rival) = self.rival.take().filter(|rival| now < rival.expires) {
            self.active = Some(rival);
            self.active_timer = Some(rival.expires);
            return;
        }
        self.active = None;
        match self.state {
            State::Listen => {
                self.start_both(now);
                self.enter(State::Speak, now, out);
            }
            State::Speak => self.active_timer = Some(now + self.hold()),
            State::Standby => {
                if said == State::Speak {
                    self.takeover_not_before = now + self.hello();
                }
                self.succeed(now, out);
            }
            _ => {}
        }
    }

    /// A hello of an active router shows whether the resign before it was its own.
    fn judge_resign(&mut self, source: IpAddr, now: Nanos, out: &mut Vec<Action>) {
        if let Some((by, until)) = self.resigned.take()
            && by == source
            && now < until
        {
            self.doubted = Some((source, now + DOUBT));
            self.complain(Note::FalseResign(source), now, out);
        }
    }

    /// Events g and h.
    fn hear_active(
        &mut self,
        peer: Peer,
        lower: bool,
        sound: bool,
        message: &Message,
        now: Nanos,
        out: &mut Vec<Action>,
    ) {
        self.judge_resign(peer.source, now, out);
        match self.state {
            State::Disabled | State::Init => {
                if self.listening {
                    self.active = Some(peer);
                    self.active_timer = Some(peer.expires);
                }
                return;
            }
            State::Active if lower => {
                self.send(self.message(Opcode::Coup), out);
                if self.owns {
                    self.complain(Note::AnotherActive(peer.source), now, out);
                }
                if self.gain_at.is_some() {
                    // Another one preempts at the same time, or the displaced one has not heard of it yet.
                    if self.gain_from[0] != Some(peer.source) {
                        self.gain_from[1] = Some(peer.source);
                    }
                    self.gain_at = Some(peer.expires.min(self.gain_by));
                }
                return;
            }
            State::Active => {
                self.yield_role(State::Speak, out);
                self.start_standby(now);
                self.active_timer = Some(peer.expires);
                self.active = Some(peer);
                self.enter(State::Speak, now, out);
                return;
            }
            _ => {}
        }
        self.handing_to = None;
        let may_preempt = lower && self.state != State::Learn && self.config.preempt.is_some();
        self.wish_since = may_preempt.then(|| self.wish_since.unwrap_or(now));
        if may_preempt && self.preempt_at().is_some_and(|at| at <= now) {
            self.preempt(peer, now, out);
            return;
        }
        self.learn(peer, sound, message, now, out);
        // A late hello of a router displaced must not cut short the time of the one that displaced it.
        let other = self.active.filter(|active| active.source != peer.source && active.expires > now);
        let expires = peer.expires.max(other.map_or(Nanos::ZERO, |active| active.expires));
        let higher = other.filter(|active| (active.priority, active.source) > (peer.priority, peer.source));
        self.active = Some(higher.unwrap_or(Peer { expires, ..peer }));
        self.rival = higher.map(|_| peer);
        self.active_timer = Some(expires);
        if self.standby.is_some_and(|standby| standby.source == peer.source) {
            self.standby = None;
        }
        // Learn ends when the address is known.
        if self.state == State::Learn {
            self.active_timer = None;
        }
    }

    /// Action E. Times are taken only as a sound pair.
    fn learn(&mut self, peer: Peer, sound: bool, message: &Message, now: Nanos, out: &mut Vec<Action>) {
        let source = peer.source;
        if self.config.timers.is_none() && sound {
            let hold = message.hold.min(Duration::from(peer.hold));
            self.learned_timers = Some(Timers { hello: message.hello.min(hold / 2), hold });
        }
        let Some(theirs) = message.virtual_ip.filter(|ip| ip.is_ipv4() == source.is_ipv4()) else { return };
        match self.config.virtual_ip {
            Some(ip) if ip != theirs => {
                self.complain(Note::BadVirtualAddress { source, theirs }, now, out);
            }
            None if self.learned_ip != Some(theirs)
                && self.probe.is_none_or(|probe| probe.allows(theirs, now)) =>
            {
                self.probe = Some(Probe { address: theirs, at: now, refused: false });
                out.push(Action::Probe(theirs));
            }
            _ => {}
        }
    }

    /// The caller has checked and probed the address that an active router told.
    pub(super) fn probed(&mut self, address: IpAddr, free: bool, now: Nanos, out: &mut Vec<Action>) {
        let Some(probe) = self.probe.as_mut().filter(|probe| probe.address == address) else { return };
        probe.refused = !free;
        let learns = self.config.virtual_ip.is_none() && !matches!(self.state, State::Init | State::Active);
        if !free || !learns {
            return;
        }
        self.probe = None;
        self.learned_ip = Some(address);
        out.push(Action::LearnVirtual(address));
        if self.state == State::Learn {
            self.start_both(now);
            if let Some(active) = self.active.filter(|active| now < active.expires) {
                self.active_timer = Some(active.expires);
            }
            self.enter(State::Listen, now, out);
        }
    }

    /// Events k and l.
    fn hear_standby(&mut self, peer: Peer, lower: bool, now: Nanos, out: &mut Vec<Action>) {
        if self.handing_to.is_some_and(|(to, until)| to == peer.source && now < until) {
            // The resign did not arrive: the standby still stands by.
            self.send(Message { state: State::Active, ..self.message(Opcode::Resign) }, out);
            return;
        }
        if self.state == State::Learn || self.state == State::Init && !self.listening {
            return;
        }
        // Where there is a standby router there is an active one; its hellos may be rarer than this node's hold time.
        if self.active.is_none() && peer.hold > self.hold() {
            self.active_timer = self.active_timer.map(|at| at.max(peer.expires));
        }
        match (self.state, lower) {
            (State::Standby, true) => return,
            (State::Speak, true) => {
                let not_before = self.after_two_hellos(now);
                self.become_standby(not_before, now, out);
                return;
            }
            _ => {}
        }
        self.standby = Some(peer);
        self.standby_timer = Some(peer.expires);
        match (self.state, lower) {
            (State::Speak | State::Standby, false) => self.enter(State::Listen, now, out),
            (State::Listen, true) => self.enter(State::Speak, now, out),
            _ => {}
        }
    }
}
