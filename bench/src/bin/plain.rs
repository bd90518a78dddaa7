//! `plain`: the redirect server that one would write without DPDK: one thread, one UDP socket, recvmmsg and sendmmsg in
//! batches of 64. It stands beside the data plane in `make bench`; it is not meant for use.
#![forbid(unsafe_code)]

use std::io::{IoSlice, IoSliceMut};
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::ExitCode;

use clap::Parser;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg};
use platform::wire::{ike, notify, redirect};

/// Datagrams of one system call.
const BATCH: usize = 64;
/// Bytes of the longest request.
const LONGEST: usize = 2048;

/// Answers IKE_SA_INIT requests with redirects from an ordinary UDP socket: the yardstick of `make bench`
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Args {
    /// Address and port to answer on
    #[arg(long, default_value = "0.0.0.0:500")]
    listen: SocketAddrV4,
    /// Gateway to name
    #[arg(long, value_name = "ADDR")]
    redirect_to: std::net::Ipv4Addr,
}

fn main() -> ExitCode {
    match serve(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("plain: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(args: &Args) -> Result<(), Box<dyn std::error::Error>> {
    let socket = UdpSocket::bind(SocketAddr::V4(args.listen))
        .map_err(|error| format!("{}: {error}: choose another --listen, or run as root", args.listen))?;
    let mut headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    let mut answers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    let mut inbox = vec![[0u8; LONGEST]; BATCH];
    let mut outbox = vec![[0u8; LONGEST]; BATCH];
    loop {
        let mut lengths = [0; BATCH];
        let mut clients = [None; BATCH];
        let mut slices: Vec<_> = inbox.iter_mut().map(|buffer| [IoSliceMut::new(buffer)]).collect();
        let received =
            recvmmsg(socket.as_raw_fd(), &mut headers, slices.iter_mut(), MsgFlags::MSG_WAITFORONE, None)?;
        let mut count = 0;
        for message in received {
            (lengths[count], clients[count]) = (message.bytes, message.address);
            count += 1;
        }
        let mut ready = Vec::with_capacity(count);
        for (index, (request, out)) in inbox.iter().zip(&mut outbox).enumerate().take(count) {
            if let Some(length) = answer(&request[..lengths[index]], out, args.redirect_to.octets()) {
                ready.push((index, length, clients[index]));
            }
        }
        let slices: Vec<_> =
            ready.iter().map(|(index, length, _)| [IoSlice::new(&outbox[*index][..*length])]).collect();
        let addresses: Vec<_> = ready.iter().map(|(_, _, client)| *client).collect();
        let mut sent = 0;
        while sent < slices.len() {
            let batch = sendmmsg(
                socket.as_raw_fd(),
                &mut answers,
                &slices[sent..],
                &addresses[sent..],
                [],
                MsgFlags::empty(),
            );
            // What the first datagram of a batch meets is its own: a client that is gone must not stop the others.
            sent += batch.map_or(1, |batch| batch.count().max(1));
        }
    }
}

/// Writes the REDIRECT that answers a request; its length, or `None` for what gets no answer.
fn answer(request: &[u8], out: &mut [u8; LONGEST], gateway: [u8; 4]) -> Option<usize> {
    let message = ike::Message::new_checked(request).ok()?;
    let asked = message.exchange() == ike::exchange::IKE_SA_INIT
        && message.flags() == ike::flag::INITIATOR
        && message.length_is_exact()
        && message.spi_r() == 0;
    let (mut nonce, mut supported) = (None, false);
    for payload in message.payloads() {
        let payload = payload.ok()?;
        match payload.kind {
            ike::payload::NONCE if redirect::NONCE_LEN.contains(&payload.body.len()) => {
                nonce = Some(payload.body)
            }
            ike::payload::NOTIFY => {
                let notify = notify::Notify::new_checked(payload.body).ok()?;
                supported |= notify.kind() == notify::kind::REDIRECT_SUPPORTED;
            }
            _ => {}
        }
    }
    let nonce = nonce.filter(|_| asked && supported)?;
    let head = redirect::prefix_len(false);
    let end = head + nonce.len();
    redirect::emit_prefix::<4>(&mut out[..head], message.spi_i(), &gateway, nonce.len() as u16);
    out[head..end].copy_from_slice(nonce);
    Some(end)
}
