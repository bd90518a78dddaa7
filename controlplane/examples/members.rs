//! Many members of a cluster in one process, for laboratories: each says hello and reports its load from an address of
//! its own, as usherd does on a node.
//!
//! `members --to ADDRESS:PORT [--key STRING] [--update MS] [--seconds N] FROM...`

use clap::Parser;
use controlplane::clb::channel::Secret;
use controlplane::clb::feed::{Client, ClientSettings, FeedEvent};
use controlplane::clb::member::{Load, Percent, Report};
use controlplane::clb::orders::Orders;
use controlplane::clb::wire::{Hello, Message};
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

#[derive(Parser)]
struct Arguments {
    /// The cluster's virtual address and port
    #[arg(long)]
    to: SocketAddr,
    /// `cluster key`
    #[arg(long)]
    key: Option<String>,
    /// Milliseconds between hellos, and between updates
    #[arg(long, default_value_t = 100)]
    update: u32,
    /// How long
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Addresses to report from, one a member
    #[arg(required = true)]
    from: Vec<IpAddr>,
}

/// One member, to the end; how many acknowledgements it heard, and how often it lost the primary.
async fn member(arguments: &Arguments, from: IpAddr, key: Option<Secret>, end: Instant) -> (u64, u64) {
    let (events, mut heard) = mpsc::channel(64);
    let client = Client::start(
        ClientSettings {
            to: arguments.to,
            from,
            device: None,
            key,
            connect: Duration::from_secs(3),
            backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(1),
            idle: Duration::from_secs(10),
        },
        events,
    );
    let hello = Message::Hello(Hello {
        incarnation: 1,
        address: from,
        hello_ms: arguments.update,
        update_ms: arguments.update,
        orders: Some(Orders::default()),
    });
    let (mut acks, mut lost, mut count) = (0, 0, 0);
    let mut tick = interval(Duration::from_millis(arguments.update.into()));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = sleep_until(end) => return (acks, lost),
            _ = tick.tick() => {
                count += 1;
                let percent = |part| Percent::of(part, 100);
                client.send(hello.clone());
                client.send(Message::Update(Report {
                    version: (1, count),
                    load: Load { crypto: percent(count % 40), cpu: percent(20 + count % 7), ..Load::default() },
                    ike: (count % 400) as u32,
                    max_session: 1000,
                    priority: 100,
                    load_normalization: 5,
                    fqdn: "member.example.net".to_owned(),
                    ..Report::default()
                }));
            }
            event = heard.recv() => match event {
                Some(FeedEvent::FromPrimary { message: Message::Ack(_), .. }) => acks += 1,
                Some(FeedEvent::PrimaryUp { .. }) => { client.send(hello.clone()); }
                Some(FeedEvent::PrimaryDown(reason)) => { lost += 1; eprintln!("{from}: {reason}"); }
                _ => {}
            }
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let key = match arguments.key.as_deref().map(Secret::new).transpose() {
        Ok(key) => key,
        Err(error) => {
            eprintln!("members: the key cannot be used: {error}");
            return ExitCode::FAILURE;
        }
    };
    let end = Instant::now() + Duration::from_secs(arguments.seconds);
    let all = arguments.from.iter().map(|from| member(&arguments, *from, key.clone(), end));
    let all = futures_util::future::join_all(all).await;
    let (acks, lost) = all.iter().fold((0, 0), |(acks, lost), one| (acks + one.0, lost + one.1));
    let least = all.iter().map(|one| one.0).min().unwrap_or(0);
    println!("members={} acks={acks} least={least} lost={lost}", all.len());
    if least > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
