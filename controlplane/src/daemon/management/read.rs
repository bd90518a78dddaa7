//! Requests while they are read: their length, their time and the memory of all of them are bounded.

use super::access::Peer;
use crate::api::{Code, Reply};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// A request is at most this long, in bytes.
pub const MAX_SMALL: usize = 4096;
/// A request of an administrator: a whole configuration has room in it, escaped.
pub const MAX_LARGE: usize = 3 * crate::config::MAX_BYTES;
/// Requests longer than [`MAX_SMALL`] at once: each may take some 20 MiB while it is read and parsed.
pub const LARGE_AT_ONCE: usize = 2;

/// Times that a client may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// Until the first byte of a request
    pub idle: Duration,
    /// From the first byte to the last, and for a large request to get its turn
    pub request: Duration,
}

/// A request as it came, with its share of the memory for large ones.
#[derive(Debug)]
pub struct Line {
    /// The text, with its line feed
    pub text: Vec<u8>,
    /// Held until the request is answered
    pub permit: Option<OwnedSemaphorePermit>,
}

/// Why there is no request.
#[derive(Debug)]
pub enum ReadError {
    /// The client has gone, or sent nothing for too long
    Closed,
    /// The refusal; the connection ends with it
    Refused(Box<Reply>),
}

impl From<std::io::Error> for ReadError {
    fn from(_: std::io::Error) -> ReadError {
        ReadError::Closed
    }
}

fn refused(code: Code, message: String) -> ReadError {
    ReadError::Refused(Box::new(Reply::refusal(code, message)))
}

/// Reads a line.
///
/// # Errors
/// When there is none, or it is refused.
pub async fn read_line(
    stream: &mut (impl AsyncBufRead + Unpin),
    peer: &Peer,
    timeouts: Timeouts,
    large: &Arc<Semaphore>,
) -> Result<Line, ReadError> {
    let most = if peer.is_administrator { MAX_LARGE } else { MAX_SMALL };
    let mut line = Line { text: Vec::new(), permit: None };
    let mut deadline = Instant::now() + timeouts.idle;
    loop {
        let more = timeout_at(deadline, stream.fill_buf()).await.map_err(|_| ReadError::Closed)??;
        if more.is_empty() {
            // The last line may lack its line feed.
            return if line.text.is_empty() { Err(ReadError::Closed) } else { Ok(line) };
        }
        if line.text.is_empty() {
            deadline = Instant::now() + timeouts.request;
        }
        let end = more.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
        let length = line.text.len() + end.unwrap_or(more.len());
        if length > most {
            return Err(refused(Code::TooLarge, format!("the request is longer than {most} bytes")));
        }
        if length > MAX_SMALL && line.permit.is_none() {
            let turn = tokio::time::timeout(timeouts.request, large.clone().acquire_owned()).await;
            let Ok(Ok(permit)) = turn else {
                return Err(refused(
                    Code::Busy,
                    format!("{LARGE_AT_ONCE} large requests are being served: try again"),
                ));
            };
            line.permit = Some(permit);
            deadline = Instant::now() + timeouts.request;
            continue;
        }
        let taken = end.unwrap_or(more.len());
        line.text.extend_from_slice(&more[..taken]);
        stream.consume(taken);
        if end.is_some() {
            return Ok(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::BufReader;

    fn peer(is_administrator: bool) -> Peer {
        Peer { uid: 7, name: None, is_administrator }
    }

    const TIMEOUTS: Timeouts =
        Timeouts { idle: Duration::from_millis(50), request: Duration::from_millis(200) };

    #[tokio::test]
    async fn lines_are_bounded_by_the_rights_of_their_sender() {
        let large = Arc::new(Semaphore::new(LARGE_AT_ONCE));
        let text = [vec![b'x'; MAX_SMALL + 1], b"\nnext\n".to_vec()].concat();
        let mut stream = BufReader::new(&text[..]);
        let refusal = read_line(&mut stream, &peer(false), TIMEOUTS, &large).await.unwrap_err();
        assert!(matches!(refusal, ReadError::Refused(reply) if reply.code == Some(Code::TooLarge)));
        let mut stream = BufReader::new(&text[..]);
        let line = read_line(&mut stream, &peer(true), TIMEOUTS, &large).await.unwrap();
        assert_eq!((line.text.len(), large.available_permits()), (MAX_SMALL + 2, LARGE_AT_ONCE - 1));
        drop(line);
        let next = read_line(&mut stream, &peer(true), TIMEOUTS, &large).await.unwrap();
        assert_eq!((next.text.as_slice(), large.available_permits()), (&b"next\n"[..], LARGE_AT_ONCE));
        let long = vec![b'x'; MAX_LARGE + 1];
        let refusal =
            read_line(&mut BufReader::new(&long[..]), &peer(true), TIMEOUTS, &large).await.unwrap_err();
        assert!(matches!(refusal, ReadError::Refused(reply) if reply.code == Some(Code::TooLarge)));
        assert_eq!(large.available_permits(), LARGE_AT_ONCE);
    }

    #[tokio::test]
    async fn clients_that_send_halves_hold_little_and_not_for_long() {
        let large = Arc::new(Semaphore::new(LARGE_AT_ONCE));
        let mut streams = Vec::new();
        let mut tasks = Vec::new();
        for _ in 0..10 {
            let (mut ours, theirs) = tokio::io::duplex(64 << 10);
            tokio::io::AsyncWriteExt::write_all(&mut ours, &[b'x'; 32 << 10]).await.unwrap();
            streams.push(ours);
            let large = large.clone();
            tasks.push(tokio::spawn(async move {
                read_line(&mut BufReader::new(theirs), &peer(true), TIMEOUTS, &large).await.is_err()
            }));
        }
        let start = Instant::now();
        for task in tasks {
            assert!(task.await.unwrap());
        }
        // Two after the other at most: a turn, and the rest of the request.
        assert!(start.elapsed() <= Duration::from_secs(2), "{:?}", start.elapsed());
        assert_eq!(large.available_permits(), LARGE_AT_ONCE);
        // One that sends nothing at all.
        let (_ours, theirs) = tokio::io::duplex(64);
        let closed = read_line(&mut BufReader::new(theirs), &peer(true), TIMEOUTS, &large).await.unwrap_err();
        assert!(matches!(closed, ReadError::Closed));
    }
}
