#!/usr/bin/env python3
"""The peer of hsrp-frames.sh: crafts HSRP version 2 frames, watches the node's bridge port, and judges.

The formats are written here once more, from the published layouts and not from Usher's code: group state TLV (type 1,
40 bytes), text authentication (3), MD5 authentication (4: digest = MD5(padded key || message with a zero digest || key)).
"""
import argparse
import hashlib
import json
import os
import random
import socket
import struct
import subprocess
import sys
import threading
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import flood  # noqa: E402
import knock  # noqa: E402
import witness  # noqa: E402

HELLO, COUP, RESIGN = 0, 1, 2
DISABLED, INIT, LEARN, LISTEN, SPEAK, STANDBY, ACTIVE = range(7)
NODE, HIGHER, LOWER = "192.0.2.11", "192.0.2.200", "192.0.2.5"
VIPS = {1: "192.0.2.1", 3: "192.0.2.3"}
ALL_V2 = "224.0.0.102"
PEER_MAC = bytes.fromhex("020000000063")
# Seconds for what the protocol does within one: the machine may be busy.
SLACK = 5.0


def state_tlv(group, opcode, state, priority, hello=200, hold=800, vip=None, mac=PEER_MAC, version=4):
    vip = socket.inet_aton(vip or VIPS.get(group, "192.0.2.9"))
    return bytes([1, 40, 2, opcode, state, version]) + struct.pack(">H6sIII16s", group, mac, priority, hello, hold, vip)


def text_tlv(text=b"lab"):
    return bytes([3, 8]) + text.ljust(8, b"\0")


def with_md5(message, key, source):
    empty = bytes([4, 28, 1, 0]) + struct.pack(">H4sI", 0, socket.inet_aton(source), 0)
    padded = (key + b"\x80").ljust(56, b"\0") + struct.pack("<Q", 8 * len(key))
    return message + empty + hashlib.md5(padded + message + empty + bytes(16) + key).digest()


class Peer:
    """Sends; with `keep` a hello goes on five times a second, as a living router's does."""

    def __init__(self, namespace):
        witness.enter(namespace)
        self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        self.sock.bind(("eth0", 0))
        self.kept, self.lock = None, threading.Lock()
        threading.Thread(target=self.beat, daemon=True).start()

    def frame(self, payload, source=HIGHER, ttl=1, port=1985, mac=PEER_MAC):
        packet = flood.udp(socket.inet_aton(source), socket.inet_aton(ALL_V2), port, port, payload, ttl)
        return bytes.fromhex("01005e000066") + mac + b"\x08\x00" + packet

    def send(self, payload, **options):
        self.sock.send(self.frame(payload, **options))
        return time.time()

    def say(self, opcode, state, priority, source=HIGHER, group=1, **fields):
        # Like every router, an active peer sends from the virtual MAC, which is the node's own one too.
        mac = bytes.fromhex(f"00000c9ff{group:03x}") if state == ACTIVE else PEER_MAC
        return self.send(self.message(opcode, state, priority, source, group, **fields), source=source, mac=mac)

    def message(self, opcode, state, priority, source, group, **fields):
        body = state_tlv(group, opcode, state, priority, **fields)
        return with_md5(body, b"Lab-Key-3", source) if group == 3 else body + text_tlv()

    def keep(self, state, priority, source=HIGHER, group=1):
        with self.lock:
            self.kept = lambda: self.say(HELLO, state, priority, source, group)
        return self.kept()

    def silent(self):
        with self.lock:
            self.kept = None
        return time.time()

    def beat(self):
        while True:
            time.sleep(0.2)
            with self.lock:
                if self.kept:
                    try:
                        self.kept()
                    except OSError:
                        pass  # the queue is full


class Sniffer:
    """What the node says: every HSRP message from its bridge port, with time, group, opcode, state, MAC, TTL."""

    def __init__(self, namespace, port="n1"):
        witness.enter(namespace)
        self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.sock.bind((port, 3))
        self.sock.setsockopt(witness.SOL_PACKET, witness.PACKET_IGNORE_OUTGOING, 1)
        self.sock.setsockopt(socket.SOL_SOCKET, witness.SO_TIMESTAMPNS, 1)
        self.heard = []
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        while True:
            frame, when = witness.received(self.sock)
            if len(frame) < 84 or frame[12:14] != b"\x08\x00" or frame[23] != 17 or frame[36:38] != b"\x07\xc1":
                continue
            body = frame[42:]
            opcode, state = body[3], body[4]
            group, = struct.unpack(">H", body[6:8])
            priority, hello, hold = struct.unpack(">III", body[14:26])
            self.heard.append(dict(when=when, group=group, opcode=opcode, state=state, mac=frame[6:12].hex(":"), ttl=frame[22],
                                   to=socket.inet_ntoa(frame[30:34]), source=socket.inet_ntoa(frame[26:30]), priority=priority,
                                   hello=hello, hold=hold, vip=socket.inet_ntoa(body[26:30]), rest=body[42:]))

    def since(self, when, group=1, **wanted):
        return [m for m in list(self.heard) if m["when"] >= when and m["group"] == group and all(m[k] == v for k, v in wanted.items())]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("peer", "lan", "client", "node", "usher", "run-dir", "log"):
        p.add_argument(f"--{name}", required=True)
    p.add_argument("--pid", type=int, required=True, help="of usherd")
    p.add_argument("--seconds", type=float, default=5, help="of each flood")
    o = p.parse_args()
    sniffer, peer = Sniffer(o.lan), Peer(o.peer)

    def story(text):
        print(f"\n\033[1m{text}\033[0m", flush=True)

    def check(text, good, found=""):
        print(f"  {'ok   ' if good else 'FAIL '} {text}{'' if good or found == '' else f': found {found}'}", flush=True)

    def usher(*words):
        return subprocess.run([o.usher, "--run-dir", o.run_dir, *words], capture_output=True, text=True, timeout=20).stdout

    def view(group=1):
        def groups(x):
            if isinstance(x, dict):
                if x.get("group") == group and "state" in x:
                    yield x
                for v in x.values():
                    yield from groups(v)
            elif isinstance(x, list):
                for v in x:
                    yield from groups(v)
        return next(groups(json.loads(usher("--json", "show", "standby"))), {})

    def state(group=1):
        return view(group).get("state")

    def soon(test, seconds=SLACK):
        """Milliseconds until the test holds, or None."""
        began = time.time()
        while time.time() - began < seconds:
            if test():
                return (time.time() - began) * 1000
            time.sleep(0.02)
        return None

    def becomes(text, wanted, group=1, seconds=SLACK):
        check(text, soon(lambda: state(group) in wanted.split("|"), seconds) is not None, state(group))

    def stays(text, seconds=1.2, group=1):
        """Active all the time, and no state change in between."""
        changes = view(group).get("state_changes")
        end, seen = time.time() + seconds, []
        while time.time() < end:
            seen.append(state(group))
            time.sleep(0.05)
        check(text, set(seen) == {"Active"} and view(group).get("state_changes") == changes, set(seen))

    def owns(address):
        said = subprocess.run(["ip", "-n", o.node, "-o", "addr", "show"], capture_output=True, text=True).stdout
        return f" {address}/" in said

    def told(router):
        return [line.strip() for line in usher("show", "standby").splitlines() if line.strip().startswith(f"{router} router is")]

    def answered():
        """The verdict of one knock."""
        return subprocess.run(["ip", "netns", "exec", o.client, sys.executable, f"{HERE}/knock.py", "--timeout", "0.5", VIPS[1]],
                              capture_output=True, text=True).stdout.split(" ")[0].strip()

    def log_has(pattern):
        with open(o.log) as log:
            return pattern in log.read()

    story("The node alone")
    becomes("it is active", "Active")
    now = time.time()
    soon(lambda: len(sniffer.since(now)) >= 3)
    mine = sniffer.since(now)
    check("it sends hellos", len(mine) >= 3, len(mine))
    if mine:
        m = mine[-1]
        check("hello as Active to 224.0.0.102 with TTL 1", (m["opcode"], m["state"], m["to"], m["ttl"]) == (HELLO, ACTIVE, ALL_V2, 1), m)
        check("from its own address and the virtual MAC", (m["source"], m["mac"]) == (NODE, "00:00:0c:9f:f0:01"), m)
        check("priority, timers and virtual address", (m["priority"], m["hello"], m["hold"], m["vip"]) == (100, 200, 800, VIPS[1]), m)
        check("the text authentication", m["rest"] == text_tlv(), m["rest"].hex())
        gaps = sorted(b["when"] - a["when"] for a, b in zip(mine, mine[1:]))
        check("about every 200 ms", gaps and 0.1 < gaps[len(gaps) // 2] < 0.35, gaps)

    story("Others that call themselves active, lower")
    at = peer.say(HELLO, ACTIVE, 50)
    check("a hello of lower priority: it speaks up at once", soon(lambda: sniffer.since(at, opcode=COUP) or sniffer.since(at, opcode=HELLO, state=ACTIVE)) is not None)
    stays("and stays active")
    peer.say(HELLO, ACTIVE, 100, source=LOWER)
    stays("equal priority and a lower address: it stays active")
    peer.say(COUP, SPEAK, 50)
    stays("a coup of lower priority: it stays active")
    check("it owns the address", owns(VIPS[1]))
    check("it answers", answered() == "redirect")

    story("Equal priority and a higher address")
    peer.keep(ACTIVE, 100)
    becomes("it yields and becomes standby", "Standby")
    check("it names the active router", any(HIGHER in line for line in told("Active")), told("Active"))
    check("it no longer owns the address", soon(lambda: not owns(VIPS[1])) is not None)
    check("it does not answer", answered() == "silent")
    at = time.time()
    time.sleep(0.6)
    standby = sniffer.since(at)
    check("its hellos bear its own MAC", standby and all(m["mac"] != "00:00:0c:9f:f0:01" and m["state"] == STANDBY for m in standby), standby)

    story("The active router resigns")
    peer.silent()
    at = peer.say(RESIGN, ACTIVE, 100)
    soon(lambda: sniffer.since(at, opcode=HELLO, state=ACTIVE))
    first = sniffer.since(at, opcode=HELLO, state=ACTIVE)
    check(f"it is active after {(first[0]['when'] - at) * 1000:.0f} ms" if first else "it takes over", bool(first) and first[0]["when"] - at < 0.6)
    check("it answers", soon(lambda: answered() == "redirect") is not None)

    story("A coup of higher priority")
    at = peer.say(COUP, SPEAK, 200)
    peer.keep(ACTIVE, 200)
    check("it resigns", soon(lambda: sniffer.since(at, opcode=RESIGN)) is not None)
    becomes("it becomes standby", "Standby")
    check("it no longer owns the address", soon(lambda: not owns(VIPS[1])) is not None)
    story("The active router falls silent")
    at = peer.silent()
    soon(lambda: sniffer.since(at, opcode=HELLO, state=ACTIVE))
    first = sniffer.since(at, opcode=HELLO, state=ACTIVE)
    check(f"it is active after {(first[0]['when'] - at) * 1000:.0f} ms (hold time 800)" if first else "it takes over",
          bool(first) and 0.4 <= first[0]["when"] - at < 0.8 + SLACK)
    story("A lower active router while the node may preempt")
    peer.keep(ACTIVE, 200)
    becomes("it becomes standby under priority 200", "Standby")
    at = peer.keep(ACTIVE, 50)
    check("priority 50 now: it sends a coup", soon(lambda: sniffer.since(at, opcode=COUP)) is not None)
    becomes("and is active", "Active")
    peer.keep(STANDBY, 90)
    check("a standby is named", soon(lambda: any(HIGHER in line for line in told("Standby"))) is not None, told("Standby"))
    stays("and the node stays active")
    peer.silent()

    story("Authentication")
    for text, tail in (("none", b""), ("another text", text_tlv(b"cisco")), ("MD5 where text is configured", None)):
        body = state_tlv(1, COUP, ACTIVE, 255)
        peer.send(with_md5(body, b"lab", HIGHER) if tail is None else body + tail)
        body = state_tlv(1, HELLO, ACTIVE, 255)
        peer.send(with_md5(body, b"lab", HIGHER) if tail is None else body + tail)
        stays(f"priority 255 with {text}: it stays active", 0.5)
    check("the log tells of it", soon(lambda: log_has("BADAUTH")) is not None)
    good = with_md5(state_tlv(3, COUP, ACTIVE, 255), b"Lab-Key-3", HIGHER)
    for at in random.sample(range(len(good)), 25):
        broken = bytearray(good)
        broken[at] ^= 1 << random.randrange(8)
        peer.send(bytes(broken))
    peer.send(with_md5(state_tlv(3, COUP, ACTIVE, 255), b"Lab-Key-4", HIGHER))
    peer.send(state_tlv(3, COUP, ACTIVE, 255) + text_tlv(b"Lab-Key"))
    stays("MD5, one bit wrong, 25 times, another key, text: it stays active", 0.8, group=3)
    check("and so does the group with text", state() == "Active")
    peer.send(good)
    peer.keep(ACTIVE, 255, group=3)
    becomes("MD5 with the right key is obeyed", "Standby", group=3)
    peer.silent()
    peer.say(RESIGN, ACTIVE, 255, group=3)
    becomes("and its resign too", "Active", group=3)

    story("Frames that lie")
    body, auth = state_tlv(1, HELLO, ACTIVE, 255), text_tlv()
    lies = {
        "empty": b"", "cut short": body[:20], "a TLV longer than the packet": bytes([1, 200]) + body[2:] + auth,
        "a TLV of length 0": bytes([1, 0]) + body[2:] + auth, "version 1 at version 2's address": struct.pack(">8B8s4s", 0, 1, 16, 3, 10, 255, 1, 0, b"cisco", b"\xc0\0\2\1"),
        "opcode 9": state_tlv(1, 9, ACTIVE, 255) + auth, "state 99": state_tlv(1, HELLO, 99, 255) + auth,
        "IP version 5": state_tlv(1, HELLO, ACTIVE, 255, version=5) + auth, "only authentication": auth,
        "only unknown TLVs": bytes([77, 4, 1, 2, 3, 4]) * 8, "1400 bytes of noise": os.urandom(1400),
        "authentication before the group state": auth + body, "two group states": body + body + auth,
        "two authentications": body + auth + auth, "text and MD5": with_md5(body + auth, b"lab", HIGHER),
        "a group state of 39 bytes": bytes([1, 39]) + body[2:41] + auth, "17 TLVs": body + auth + bytes([77, 0]) * 16,
        "group 4097": state_tlv(4097, COUP, ACTIVE, 255) + auth,
    }
    for lie in lies.values():
        peer.send(lie)
    stays(f"{len(lies)} malformed frames: it stays active")
    peer.send(body + auth, source="203.0.113.9")
    stays("a source outside the subnet: it stays active", 0.6)
    peer.send(body + auth, ttl=2)
    stays("a TTL that no router sends: it stays active", 0.6)
    peer.say(HELLO, ACTIVE, 255, source=NODE)
    stays("its own address as source: it stays active", 0.6)
    check("the log tells of the duplicate, whatever else it has to tell", soon(lambda: log_has("DUPADDR"), 1) is not None)
    peer.say(HELLO, STANDBY, 0, hello=0, hold=0)
    peer.say(HELLO, SPEAK, 0, hello=0xFFFFFFFF, hold=0xFFFFFFFF)
    stays("priority 0, hold 0 and the longest hold: it stays active", 0.6)

    story("Floods")

    def cost():
        with open(f"/proc/{o.pid}/stat") as f:
            words = f.read().rsplit(")", 1)[1].split()
        with open(f"/proc/{o.pid}/status") as f:
            rss = next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK"), rss

    def stream(frames, rate=10_000):
        """For so many seconds, so many a second; how many a second it was."""
        sent, began = 0, time.monotonic()
        while time.monotonic() - began < o.seconds:
            if sent >= (time.monotonic() - began) * rate:
                time.sleep(0.0005)
                continue
            try:
                peer.sock.send(frames[sent % len(frames)])
                sent += 1
            except OSError:
                time.sleep(0.001)
        return sent / o.seconds

    forged = [peer.frame(state_tlv(random.choice([g for g in range(4096) if g not in VIPS]), random.choice((HELLO, COUP, RESIGN)), random.randrange(7),
                                   random.getrandbits(32), vip="192.0.2.1", mac=os.urandom(6)) + text_tlv(), source=f"192.0.2.{random.randrange(100, 250)}",
                         mac=b"\2" + os.urandom(5)) for _ in range(3000)]
    unproven = [peer.frame(state_tlv(1, random.choice((HELLO, COUP, RESIGN)), random.randrange(7), 255, mac=os.urandom(6)) + text_tlv(b"guess"),
                           source=f"192.0.2.{random.randrange(100, 250)}", mac=b"\2" + os.urandom(5)) for _ in range(3000)]
    noise = [peer.frame(os.urandom(random.randrange(1, 200)), mac=b"\2" + os.urandom(5)) for _ in range(3000)]
    for text, frames in (("forged groups", forged), ("its own group, unproven", unproven), ("noise", noise)):
        cpu, rss = cost()
        at = time.time()
        changes = view().get("state_changes")
        rate = stream(frames)
        used, grown = (cost()[0] - cpu) / o.seconds * 100, cost()[1] - rss
        print(f"    {text}: {rate:.0f} frames/s; usherd used {used:.0f} % of a core and grew by {grown} KiB", flush=True)
        check(f"{text}: sent at the rate of the test", rate > 5000, rate)
        check("usherd used at most half a core", used <= 50, used)
        check("its memory grew by at most 4 MiB", grown <= 4096, grown)
        check("it is active, without a state change", state() == "Active" and view().get("state_changes") == changes, (state(), view().get("state_changes"), changes))
        own = [m["when"] for m in sniffer.since(at, opcode=HELLO, state=ACTIVE)]
        longest = max((b - a for a, b in zip(own, own[1:])), default=99)
        check(f"the longest time between its hellos was {longest * 1000:.0f} ms, under the hold time", longest < 0.8)
        check("it answers", soon(lambda: answered() == "redirect") is not None)
    with open(o.log) as log:
        lines = sum(1 for line in log)
    check(f"the log has {lines} lines", lines < 500)
    # What passes to the kernel as HSRP has one meter: who floods it on the LAN can starve the active router's hellos.
    # That is told, not judged: the node must only find its way back.
    peer.keep(ACTIVE, 200)
    becomes("standby under a living active router", "Standby")
    time.sleep(1)
    changes = view().get("state_changes")
    stream(forged)
    print(f"    a standby under the flood of forged groups: {view().get('state_changes') - changes} state changes", flush=True)
    becomes("standby after the flood", "Standby")
    peer.silent()
    becomes("and active when the other is gone", "Active")
    print("  end")


if __name__ == "__main__":
    main()
