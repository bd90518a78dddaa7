//! The stages of the packet path, each in a function of its own that callgrind and the wall-clock benches can tell apart,
//! over frames of each family.

use std::net::IpAddr;

use dataplane::clients::SeenClients;
use dataplane::police::Class;
use dataplane::{
    Decision, Police, PortView, Reason, Request, Verdict, View, Vlans, answer, classify, decide, fixed,
};
use platform::snapshot::{Copy, Feedback, FeedbackSpec, Reader, Refresh, WorkerBlock, Writer};

use crate::lab::Failure;
use crate::request::{Kind, SMALLEST, Size, Spec, Template};

/// The families of frames that are measured.
pub const FAMILIES: [&str; 7] = ["v4", "v6", "v4-922", "v6-922", "v4-vlan", "unsignalled", "elsewhere"];

/// The VLAN of the frames of `v4-vlan`, a subinterface's.
const VLAN: u16 = 100;

/// Everything that the stages work on.
pub struct Bed {
    /// The worker's view.
    pub view: View,
    /// The port.
    pub port: PortView,
    /// The request.
    pub template: Template,
    /// A frame of it.
    pub frame: Vec<u8>,
    /// The table of clients.
    pub seen: SeenClients,
    /// The meters.
    pub police: Police,
    /// The counters.
    pub block: WorkerBlock,
    /// A snapshot, for its refresh.
    pub reader: Reader,
    /// Its writer.
    pub writer: Writer,
    /// The private copy of it.
    pub copy: Copy,
}

impl Bed {
    /// A bed for frames of one of [`FAMILIES`].
    ///
    /// # Errors
    /// No such family, or no memory for the shared memories.
    pub fn new(family: &str) -> Result<Bed, Failure> {
        let v6 = family.starts_with("v6");
        let addresses = if v6 {
            ["2001:db8::9", "2001:db8::1", "2001:db8::10", "2001:db8::11"]
        } else {
            ["192.0.2.9", "192.0.2.1", "192.0.2.10", "192.0.2.11"]
        };
        let [source, vip, first, second] = addresses.map(str::parse::<IpAddr>);
        let (source, vip) = (source?, vip?);
        let body = fixed::body(&[vip], &[first?, second?], [2; 6], [1, 2])?;
        let (kind, size) = match family {
            "v4" | "v4-vlan" | "elsewhere" => (Kind::Request, SMALLEST),
            "v6" => (Kind::Request, SMALLEST + 20),
            "v4-922" | "v6-922" => (Kind::Request, 922),
            "unsignalled" => (Kind::Unsignalled, SMALLEST),
            _ => return Err(format!("no family {family}: choose one of {}", FAMILIES.join(", ")).into()),
        };
        let asked = if family == "elsewhere" { "192.0.2.77".parse()? } else { vip };
        let vlan = (family == "v4-vlan").then_some(VLAN);
        let vlans = vlan.map_or(Vlans::NONE, |vlan| Vlans::new(1, &[vlan]));
        let template = Template::new(&Spec { vlan, ..Spec::plain(source, asked, Size::Frame(size)) }, kind)?;
        let feedback =
            Feedback::create(&FeedbackSpec { workers: 1, ports: vec![], counters: Reason::COUNTERS })?;
        let mut writer = Writer::create()?;
        writer.publish(&body);
        Ok(Bed {
            port: PortView { vlans, ..PortView::new(0, [2; 6]) },
            frame: template.frame.clone(),
            template,
            seen: SeenClients::default(),
            police: Police::new(&Default::default(), 1),
            block: feedback.worker(0).ok_or("no worker")?,
            reader: Reader::map(writer.fd().try_clone_to_owned()?)?,
            writer,
            copy: Copy::empty(),
            view: View::fixed(body),
        })
    }

    /// Makes the frame request number `n`.
    pub fn vary(&mut self, n: u64) {
        self.template.vary(&mut self.frame, n.wrapping_mul(0x9e37_79b9_7f4a_7c15), 0);
    }
}

/// What a frame is.
#[inline(never)]
pub fn stage_classify(frame: &[u8], view: &View, port: &PortView) -> Verdict {
    classify(frame, view, port)
}

/// Which gateway a request gets.
#[inline(never)]
pub fn stage_decide(request: &Request, view: &View) -> Decision {
    decide(request, view)
}

/// Decision and answer together: what the budget is about.
#[inline(never)]
pub fn stage_pair_decide_answer(frame: &mut [u8], request: &Request, view: &View) -> Option<usize> {
    let Decision::Redirect { address, mac, .. } = decide(request, view) else { return None };
    answer(frame, request, &address, mac)
}

/// Whether a client is new.
#[inline(never)]
pub fn stage_client(seen: &mut SeenClients, hash: u64) -> bool {
    seen.is_new(hash)
}

/// The counters of one redirect.
#[inline(never)]
pub fn stage_counters(block: &WorkerBlock) {
    block.add(Reason::Redirected.index(), 1);
    block.add_redirect(0, 1, 1);
    block.add_new_client(0, 1);
}

/// The meter of a frame that passes.
#[inline(never)]
pub fn stage_police(police: &mut Police, frame: &[u8], now_ns: u64) -> bool {
    police.admit(Class::Ike, frame, now_ns)
}

/// A look at a snapshot that has not moved: once a burst.
#[inline(never)]
pub fn stage_refresh_same(reader: &Reader, copy: &mut Copy) -> Refresh {
    reader.refresh(copy)
}

/// The copy of a snapshot that has moved: that the copy is of generation 0 says so.
#[inline(never)]
pub fn stage_refresh_moved(reader: &Reader, copy: &mut Copy) -> Refresh {
    copy.generation = 0;
    reader.refresh(copy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_stage_allocates() {
        for family in FAMILIES {
            let mut bed = Bed::new(family).unwrap();
            let mut answered = 0;
            let info = allocation_counter::measure(|| {
                for n in 1..100 {
                    bed.vary(n);
                    match stage_classify(&bed.frame, &bed.view, &bed.port) {
                        Verdict::Request(request) => {
                            let Decision::Redirect { hash, .. } = stage_decide(&request, &bed.view) else {
                                continue;
                            };
                            let len = stage_pair_decide_answer(&mut bed.frame, &request, &bed.view);
                            answered += usize::from(len.is_some());
                            stage_client(&mut bed.seen, hash);
                            stage_counters(&bed.block);
                        }
                        _ => drop(stage_police(&mut bed.police, &bed.frame, n)),
                    }
                    stage_refresh_same(&bed.reader, &mut bed.copy);
                    stage_refresh_moved(&bed.reader, &mut bed.copy);
                }
            });
            assert_eq!(info.count_total, 0, "{family}: {info:?}");
            assert_eq!(answered, if family.starts_with('v') { 99 } else { 0 }, "{family}");
        }
    }
}
