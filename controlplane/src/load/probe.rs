//! Liveness of a gateway without usherd: an IKE_SA_INIT that any IKEv2 daemon answers and none keeps.
//!
//! The request is whole and well-formed, but offers a cipher of the private-use range alone: the daemon says
//! NO_PROPOSAL_CHOSEN (RFC 7296 section 2.7) without computing a key exchange and forgets it. One that is under load
//! says COOKIE, one that knows no configuration for us may say something else: every answer to our SPI is a sign of life. No
//! support of redirection is signalled, so that no gateway on the way may redirect it (RFC 5685 section 3).

use crate::types::{Nanos, nanos};
use platform::wire::notify::{self, Notify};
use platform::wire::{ike, redirect};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// Bytes of the Diffie-Hellman value of group 14, which every daemon knows.
const KE_LEN: usize = 256;
const NONCE_LEN: usize = 32;
/// The longest answer that is looked at, in bytes; a Windows gateway's is about 400.
const MAX_ANSWER: usize = 4096;

/// `static-gateway ADDRESS probe ...`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeSpec {
    /// The gateway
    pub target: IpAddr,
    /// Its UDP port, normally [`ike::PORT`]
    pub port: u16,
    /// The address that is asked from; the kernel's choice when none
    pub from: Option<IpAddr>,
    /// Time between two requests
    pub interval: Duration,
    /// An answer that takes longer is none; at most the interval
    pub timeout: Duration,
    /// So many answers in a row bring a gateway up that was down, 1 or more
    pub up: u8,
    /// So many requests in a row without an answer bring it down, 1 or more
    pub down: u8,
}

/// Answer of a daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// NO_PROPOSAL_CHOSEN, as expected
    NoProposalChosen,
    /// COOKIE: it is under load
    Cookie,
    /// INVALID_KE_PAYLOAD
    InvalidKe,
    /// INVALID_MAJOR_VERSION
    InvalidMajorVersion,
    /// REDIRECT, though nobody asked for it: alive, but clients sent there are sent on
    Redirect(Option<IpAddr>),
    /// Another notify
    Notify(u16),
    /// It accepted the proposal
    Accepted,
}

/// A gateway as the probes find it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeState {
    /// Neither an answer nor enough silence yet
    Unknown,
    /// It answers
    Up {
        /// The newest answer
        answer: Answer,
        /// It came after this
        after: Duration,
        /// Since when it is up, ns of the monotonic clock
        since_ns: Nanos,
    },
    /// It does not
    Down {
        /// Fate of the last request
        reason: String,
        /// Since when it is down, ns of the monotonic clock
        since_ns: Nanos,
    },
}

/// A probe at work. It ends when this is dropped.
#[derive(Debug)]
pub struct Probe {
    states: watch::Receiver<ProbeState>,
    task: AbortHandle,
}

impl Probe {
    /// Starts to ask, now and every interval. To be called inside a tokio runtime with time and IO.
    #[must_use]
    pub fn start(spec: ProbeSpec) -> Probe {
        let (tell, states) = watch::channel(ProbeState::Unknown);
        Probe { states, task: tokio::spawn(ask(spec, tell)).abort_handle() }
    }

    /// The newest; it never waits.
    #[must_use]
    pub fn latest(&self) -> ProbeState {
        self.states.borrow().clone()
    }

    /// Waits for the next answer or silence.
    pub async fn changed(&mut self) {
        if self.states.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Answers and silences in a row.
#[derive(Clone, Copy, Debug, Default)]
struct Streak {
    good: u8,
    bad: u8,
}

impl Streak {
    /// The state after one more request. The first answer of all brings a gateway up, whatever the threshold.
    fn next(
        &mut self,
        spec: &ProbeSpec,
        state: &ProbeState,
        result: Result<(Answer, Duration), String>,
        now_ns: Nanos,
    ) -> ProbeState {
        match &result {
            Ok(_) => *self = Streak { good: self.good.saturating_add(1), bad: 0 },
            Err(_) => *self = Streak { good: 0, bad: self.bad.saturating_add(1) },
        }
        match (state, result) {
            (ProbeState::Up { since_ns, .. }, Ok((answer, after))) => {
                ProbeState::Up { answer, after, since_ns: *since_ns }
            }
            (ProbeState::Down { .. }, Ok(_)) if self.good < spec.up => state.clone(),
            (_, Ok((answer, after))) => ProbeState::Up { answer, after, since_ns: now_ns },
            (ProbeState::Down { since_ns, .. }, Err(reason)) => {
                ProbeState::Down { reason, since_ns: *since_ns }
            }
            (_, Err(reason)) if self.bad >= spec.down => ProbeState::Down { reason, since_ns: now_ns },
            (_, Err(_)) => state.clone(),
        }
    }
}

async fn ask(spec: ProbeSpec, tell: watch::Sender<ProbeState>) {
    let interval = spec.interval.max(Duration::from_millis(10));
    let mut streak = Streak::default();
    let mut tick = tokio::time::interval(interval);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let limit = spec.timeout.min(interval);
        let mut heard = None;
        let result = match tokio::time::timeout(limit, once(&spec, &mut heard)).await {
            Ok(result) => result,
            Err(_) => Err(match heard {
                Some(refused) => format!("its answer is no answer: {refused}"),
                None => format!("no answer within {} ms", limit.as_millis()),
            }),
        };
        let named = result.map_err(|why| format!("{} port {}: {why}", spec.target, spec.port));
        tell.send_modify(|state| *state = streak.next(&spec, state, named, nanos::now()));
    }
}

/// One request and its answer. What came instead is left in `heard`.
async fn once(spec: &ProbeSpec, heard: &mut Option<Refused>) -> Result<(Answer, Duration), String> {
    let any: IpAddr =
        if spec.target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let from = spec.from.unwrap_or(any);
    // A port of its own each time: a late answer to the request before goes nowhere.
    let socket =
        UdpSocket::bind((from, 0)).await.map_err(|error| format!("cannot ask from {from}: {error}"))?;
    // The kernel passes on what comes from there and nothing else.
    socket
        .connect(SocketAddr::from((spec.target, spec.port)))
        .await
        .map_err(|error| format!("no way: {error}"))?;
    let mut random = [0; 8 + KE_LEN + NONCE_LEN];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| format!("no random numbers: {error}"))?;
    let spi_i = random.first_chunk().map_or(1, |spi| u64::from_be_bytes(*spi)).max(1);
    let sent = Instant::now();
    let unreachable = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "its port is closed: is the IKE daemon running?".to_owned(),
        _ => error.to_string(),
    };
    socket.send(&request(spi_i, &random[8..])).await.map_err(unreachable)?;
    let mut buffer = [0; MAX_ANSWER];
    loop {
        let length = socket.recv(&mut buffer).await.map_err(unreachable)?;
        match judge(&buffer[..length], spi_i) {
            Ok(answer) => return Ok((answer, sent.elapsed())),
            Err(refused) => *heard = Some(refused),
        }
    }
}

/// The request: SA, KE and nonce (RFC 7296 section 1.2). `random` fills KE and nonce.
fn request(spi_i: u64, random: &[u8]) -> Vec<u8> {
    /// One proposal for an IKE SA with four transforms (section 3.3): a cipher that nobody has, PRF and integrity with
    /// HMAC-SHA2-256, group 14.
    const SA: [u8; 40] = [
        0, 0, 0, 40, 1, 1, 0, 4, // proposal 1, protocol IKE, no SPI
        3, 0, 0, 8, 1, 0, 0xff, 0xff, // ENCR 65535
        3, 0, 0, 8, 2, 0, 0, 5, // PRF
        3, 0, 0, 8, 3, 0, 0, 12, // INTEG
        0, 0, 0, 8, 4, 0, 0, 14, // group
    ];
    const GROUP: [u8; 4] = [0, 14, 0, 0];
    let (ke, nonce) = random.split_at(KE_LEN.min(random.len()));
    let parts: [(u8, &[&[u8]]); 3] =
        [(ike::payload::SA, &[&SA]), (ike::payload::KE, &[&GROUP, ke]), (ike::payload::NONCE, &[nonce])];
    let following = [ike::payload::KE, ike::payload::NONCE, ike::payload::NONE];
    let mut message = Vec::with_capacity(512);
    message.extend_from_slice(&spi_i.to_be_bytes());
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(&[parts[0].0, ike::VERSION, ike::exchange::IKE_SA_INIT, ike::flag::INITIATOR]);
    message.extend_from_slice(&[0; 8]);
    for ((_, bodies), next) in parts.iter().zip(following) {
        let length = ike::PAYLOAD_HEADER_LEN + bodies.iter().map(|body| body.len()).sum::<usize>();
        let [high, low] = (length as u16).to_be_bytes();
        message.extend_from_slice(&[next, 0, high, low]);
        bodies.iter().for_each(|body| message.extend_from_slice(body));
    }
    let length = message.len() as u32;
    message[24..28].copy_from_slice(&length.to_be_bytes());
    message
}

/// Why a packet is no answer to a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Shorter than a header, or its payloads do not fill it
    #[error("it is no whole IKE message")]
    Malformed,
    /// Another SPIi than the request's
    #[error("its SPI is not the request's")]
    Spi,
    /// Not the response to an IKE_SA_INIT
    #[error("it is no response to IKE_SA_INIT")]
    Exchange,
    /// IKEv1
    #[error("it is of IKE version {0}")]
    Version(u8),
    /// Neither a notify nor an SA is in it
    #[error("it says nothing")]
    Empty,
}

/// Judges a packet that came from the gateway.
///
/// # Errors
/// Why it is no answer to the request that `spi_i` is the initiator's SPI of.
pub fn judge(packet: &[u8], spi_i: u64) -> Result<Answer, Refused> {
    let message = ike::Message::new_checked(packet).map_err(|_| Refused::Malformed)?;
    if message.spi_i() != spi_i {
        return Err(Refused::Spi);
    }
    if message.major_version() < 2 {
        return Err(Refused::Version(message.major_version()));
    }
    let response = message.flags() & ike::flag::RESPONSE != 0;
    if !response || message.exchange() != ike::exchange::IKE_SA_INIT || message.message_id() != 0 {
        return Err(Refused::Exchange);
    }
    let mut walk = message.payloads();
    let mut said: Option<Answer> = None;
    for payload in walk.by_ref() {
        let payload = payload.map_err(|_| Refused::Malformed)?;
        let answer = match payload.kind {
            ike::payload::SA => Answer::Accepted,
            ike::payload::NOTIFY => told(Notify::new_checked(payload.body).map_err(|_| Refused::Malformed)?)?,
            _ => continue,
        };
        // The notifies that come with an accepted proposal are additions to it.
        if said.is_none() || answer == Answer::Accepted {
            said = Some(answer);
        }
    }
    if !walk.ended_exactly() || !message.length_is_exact() {
        return Err(Refused::Malformed);
    }
    said.ok_or(Refused::Empty)
}

fn told(notify: Notify<'_>) -> Result<Answer, Refused> {
    Ok(match notify.kind() {
        notify::kind::COOKIE => Answer::Cookie,
        notify::kind::REDIRECT => {
            Answer::Redirect(redirect::parse(notify.data()).map_err(|_| Refused::Malformed)?.0)
        }
        // RFC 7296 section 3.10.1.
        5 => Answer::InvalidMajorVersion,
        14 => Answer::NoProposalChosen,
        17 => Answer::InvalidKe,
        other => Answer::Notify(other),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPI: u64 = 0x0102_0304_0506_0708;

    fn spec(target: SocketAddr, timeout: u64) -> ProbeSpec {
        let ms = Duration::from_millis;
        let (target, port) = (target.ip(), target.port());
        ProbeSpec { target, port, from: None, interval: ms(timeout), timeout: ms(timeout), up: 2, down: 3 }
    }

    /// A response that consists of these payloads: kind and body.
    fn response(payloads: &[(u8, &[u8])]) -> Vec<u8> {
        let mut message = vec![0; ike::HEADER_LEN];
        for (index, (_, body)) in payloads.iter().enumerate() {
            let next = payloads.get(index + 1).map_or(0, |(kind, _)| *kind);
            message.extend_from_slice(&[next, 0, 0, 4 + body.len() as u8]);
            message.extend_from_slice(body);
        }
        let length = message.len() as u32;
        ike::emit_init_response(&mut message, SPI, payloads.first().map_or(0, |(kind, _)| *kind), length);
        message
    }

    #[test]
    fn the_request_is_a_whole_ike_sa_init() {
        let message = request(SPI, &[7; KE_LEN + NONCE_LEN]);
        let view = ike::Message::new_checked(&message).unwrap();
        assert_eq!((view.spi_i(), view.spi_r(), view.message_id(), view.flags()), (SPI, 0, 0, 8));
        assert!(view.length_is_exact());
        let mut walk = view.payloads();
        let kinds: Vec<_> =
            walk.by_ref().map(|payload| payload.map(|p| (p.kind, p.body.len())).unwrap()).collect();
        assert_eq!(kinds, [(33, 40), (34, 260), (40, 32)]);
        assert!(walk.ended_exactly());
        assert_eq!(judge(&message, SPI), Err(Refused::Exchange), "its own echo is no answer");
    }

    #[test]
    fn every_answer_to_the_spi_is_a_sign_of_life() {
        let redirect = [0, 0, 0x40, 0x17, 1, 4, 192, 0, 2, 1, 9, 9];
        for (payloads, wanted) in [
            (&[(41u8, &[0u8, 0, 0, 14][..])][..], Answer::NoProposalChosen),
            (&[(41, &[1, 0, 0, 14])], Answer::NoProposalChosen),
            (&[(41, &[0, 0, 0x40, 6, 1, 2, 3, 4])], Answer::Cookie),
            (&[(41, &[0, 0, 0, 17, 0, 14])], Answer::InvalidKe),
            (&[(41, &[0, 0, 0, 5])], Answer::InvalidMajorVersion),
            (&[(41, &redirect)], Answer::Redirect(Some(IpAddr::from([192, 0, 2, 1])))),
            (&[(41, &[0, 0, 0, 7])], Answer::Notify(7)),
            (&[(41, &[0, 0, 0x40, 4]), (33, &[0; 8]), (40, &[1; 16])], Answer::Accepted),
            (&[(43, &[1; 16]), (41, &[0, 0, 0, 14])], Answer::NoProposalChosen),
        ] {
            assert_eq!(judge(&response(payloads), SPI), Ok(wanted));
        }
    }

    #[test]
    fn anything_else_is_no_answer() {
        let good = response(&[(41, &[0, 0, 0, 14])]);
        let changed = |at: usize, value: u8| {
            let mut message = good.clone();
            message[at] = value;
            judge(&message, SPI)
        };
        assert_eq!(judge(&good, SPI + 1), Err(Refused::Spi));
        assert_eq!(judge(&good[..20], SPI), Err(Refused::Malformed));
        assert_eq!(changed(17, 0x10), Err(Refused::Version(1)));
        assert_eq!(changed(18, 37), Err(Refused::Exchange));
        assert_eq!(changed(19, 0), Err(Refused::Exchange));
        assert_eq!(changed(23, 1), Err(Refused::Exchange));
        assert_eq!(changed(27, 99), Err(Refused::Malformed));
        assert_eq!(changed(31, 3), Err(Refused::Malformed));
        assert_eq!(judge(&response(&[]), SPI), Err(Refused::Empty));
        assert_eq!(judge(&response(&[(41, &[0, 9, 0, 14])]), SPI), Err(Refused::Malformed));
    }

    #[test]
    fn thresholds_decide_and_the_first_answer_is_enough() {
        let spec = spec("192.0.2.1:500".parse().unwrap(), 100);
        let mut streak = Streak::default();
        let mut state = ProbeState::Unknown;
        // a answers, s silences; the state after each: u up, d down, ? unknown
        let requests = "ssassasssasaaassas";
        let wanted = "??uuuuuudddduuuuuu";
        let mut found = String::new();
        for (now, request) in requests.chars().enumerate() {
            let result = match request {
                'a' => Ok((Answer::Cookie, Duration::ZERO)),
                _ => Err("silence".to_owned()),
            };
            state = streak.next(&spec, &state, result, Nanos::new(now as u64));
            found.push(match &state {
                ProbeState::Unknown => '?',
                ProbeState::Up { .. } => 'u',
                ProbeState::Down { .. } => 'd',
            });
        }
        assert_eq!(found, wanted);
        assert!(matches!(state, ProbeState::Up { since_ns, .. } if since_ns == Nanos::new(12)), "{state:?}");
    }

    /// A gateway that answers with what `answer` makes of the request.
    async fn gateway(answer: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                for packet in answer(&buffer[..length]) {
                    socket.send_to(&packet, from).await.unwrap();
                }
            }
        });
        address
    }

    fn refusal(request: &[u8]) -> Vec<u8> {
        let mut packet = response(&[(41, &[0, 0, 0, 14])]);
        packet[..8].copy_from_slice(&request[..8]);
        packet
    }

    async fn until(probe: &mut Probe, done: impl Fn(&ProbeState) -> bool) -> ProbeState {
        let wait = async {
            while !done(&probe.latest()) {
                probe.changed().await;
            }
            probe.latest()
        };
        tokio::time::timeout(Duration::from_secs(10), wait).await.expect("the state that is waited for")
    }

    #[tokio::test]
    async fn only_an_answer_to_this_request_counts() {
        let answering = gateway(|request| vec![vec![1; 40], response(&[]), refusal(request)]).await;
        let mut probe = Probe::start(spec(answering, 1000));
        let state = until(&mut probe, |state| *state != ProbeState::Unknown).await;
        assert!(matches!(state, ProbeState::Up { answer: Answer::NoProposalChosen, .. }), "{state:?}");

        let lying = gateway(|_| vec![response(&[(41, &[0, 0, 0, 14])])]).await;
        let mut probe = Probe::start(spec(lying, 30));
        let state = until(&mut probe, |state| *state != ProbeState::Unknown).await;
        let reason =
            format!("127.0.0.1 port {}: its answer is no answer: its SPI is not the request's", lying.port());
        assert!(matches!(&state, ProbeState::Down { reason: found, .. } if *found == reason), "{state:?}");
    }

    #[tokio::test]
    async fn a_closed_port_and_silence_are_told_apart() {
        let free = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut probe = Probe::start(spec(free, 50));
        let state = until(&mut probe, |state| *state != ProbeState::Unknown).await;
        assert!(
            matches!(&state, ProbeState::Down { reason, .. } if reason.contains("its port is closed")),
            "{state:?}"
        );

        let silent = gateway(|_| Vec::new()).await;
        let mut probe = Probe::start(spec(silent, 50));
        let state = until(&mut probe, |state| *state != ProbeState::Unknown).await;
        assert!(
            matches!(&state, ProbeState::Down { reason, .. } if reason.contains("no answer within 50 ms")),
            "{state:?}"
        );
    }
}
