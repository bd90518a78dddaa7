//! A TCP connection with its channel and the bytes that wait to be written, as both sides drive it.

use super::super::channel::{Channel, ChannelEvent};
use super::super::wire::{self, Message, Parsed, WireError};
use super::{Closed, limits};
use std::pin::Pin;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};

/// Bytes read at once.
const READ: usize = 4096;
/// So much may wait to be written while more is put behind it.
const TOGETHER: usize = 4096;

/// Result of the bytes that are here.
pub(super) enum Step {
    /// At the primary: the member's handshake is good, and waits for an answer
    Handshake,
    /// At the member: frames may flow
    Open,
    /// A frame
    Frame(Parsed),
    /// More bytes are needed
    More,
}

/// A connection of either side.
pub(super) struct Connection {
    stream: TcpStream,
    pub(super) channel: Channel,
    /// Bytes on their way out, of which `sent` are gone
    out: Vec<u8>,
    sent: usize,
    /// When the first of them was put there
    since: Instant,
    /// Goes off at the next deadline, or before: deadlines move on with every message, and a timer is costly to set
    alarm: Pin<Box<Sleep>>,
    plain: Vec<u8>,
    scratch: Box<[u8]>,
}

impl Connection {
    /// `opening`: what is to be sent first.
    pub(super) fn new(stream: TcpStream, channel: Channel, opening: Vec<u8>) -> Connection {
        let scratch = vec![0; READ].into_boxed_slice();
        let since = Instant::now();
        let alarm = Box::pin(tokio::time::sleep_until(since));
        Connection { stream, channel, out: opening, sent: 0, since, alarm, plain: Vec::new(), scratch }
    }

    /// Returns whether everything has been written to the socket.
    pub(super) fn is_drained(&self) -> bool {
        self.sent == self.out.len()
    }

    /// The next of what is here.
    pub(super) fn step(&mut self) -> Result<Step, Closed> {
        Ok(match self.channel.next()? {
            None => Step::More,
            Some(ChannelEvent::Handshake) => Step::Handshake,
            Some(ChannelEvent::Open) => Step::Open,
            Some(ChannelEvent::Frame(frame)) => Step::Frame(wire::parse(frame)?),
        })
    }

    /// Answers [`Step::Handshake`].
    pub(super) fn answer(&mut self) -> Result<(), Closed> {
        self.since = Instant::now();
        Ok(self.channel.answer(&mut self.out)?)
    }

    /// Puts a message behind what waits; the inner error: it cannot be sent, and is left out.
    pub(super) fn push(&mut self, message: &Message) -> Result<Result<(), WireError>, Closed> {
        self.plain.clear();
        if let Err(error) = message.emit(&mut self.plain) {
            return Ok(Err(error));
        }
        if self.is_drained() {
            self.since = Instant::now();
        }
        self.channel.seal(&self.plain, &mut self.out)?;
        Ok(Ok(()))
    }

    /// Waits until bytes have come (`None`) or, while little waits to be written, something is to be done. Writes
    /// what waits meanwhile: what is to be said at once, as a hello and an update, leaves in one segment.
    ///
    /// `until`: `late` is the reason when this moment comes first.
    pub(super) async fn wait<C>(
        &mut self,
        queue: &mut mpsc::Receiver<C>,
        until: Instant,
        late: Closed,
    ) -> Result<Option<C>, Closed> {
        if self.out.len() - self.sent < TOGETHER
            && let Ok(command) = queue.try_recv()
        {
            return Ok(Some(command));
        }
        let (mut reader, mut writer) = self.stream.split();
        loop {
            let writing = self.sent < self.out.len();
            let patience = self.since + limits::PATIENCE;
            let deadline = if writing { until.min(patience) } else { until };
            if self.alarm.is_elapsed() || deadline < self.alarm.deadline() {
                self.alarm.as_mut().reset(deadline);
            }
            tokio::select! {
                read = reader.read(&mut self.scratch) => {
                    let read = read.map_err(Closed::io("reading"))?;
                    if read == 0 {
                        return Err(self.channel.end().map_or(Closed::End, Closed::Channel));
                    }
                    self.channel.receive(&self.scratch[..read]);
                    return Ok(None);
                }
                written = writer.write(&self.out[self.sent..]), if writing => {
                    self.sent += written.map_err(Closed::io("writing"))?;
                    if self.sent == self.out.len() {
                        self.out.clear();
                        self.sent = 0;
                    }
                }
                Some(command) = queue.recv(), if !writing => return Ok(Some(command)),
                () = &mut self.alarm => if Instant::now() >= deadline {
                    return Err(if writing && patience <= until { Closed::SlowReader } else { late });
                }
            }
        }
    }

    /// Closes the connection: sends the reason to a peer that may want to know it, as far as that leaves in time.
    pub(super) async fn close(&mut self, closed: &Closed) {
        let reason = match closed {
            // A slow reader's bytes are not left to the kernel.
            Closed::SlowReader => return drop(self.stream.set_zero_linger()),
            Closed::Bye(_) | Closed::End | Closed::Io { .. } | Closed::Moved => return,
            Closed::Channel(reason) => Some(reason),
            _ => None,
        };
        if let Some(verdict) = self.channel.refusal(reason, *closed == Closed::Busy) {
            self.out.extend_from_slice(&verdict);
        } else if self.channel.is_open() {
            let mut text = closed.to_string();
            if let Closed::Local(reason) = closed {
                text.clone_from(reason);
            }
            let _ = self.push(&Message::Bye { reason: text });
        }
        let rest = &self.out[self.sent..];
        let _ = tokio::time::timeout(limits::FAREWELL, self.stream.write_all(rest)).await;
    }
}
