#!/usr/bin/env python3
"""Sends captures through `usher-dataplane replay` and lets tshark judge every answer.

replay-check.py [NAME...]   all of dataplane/tests/captures, or those named; with USHER_CORPUS=DIR the public ones too.
Checked: exactly the frames that the table says are answered, each once; tshark has no warning about an answer; it
goes back to whom it came from, on the same ports and VLANs; SPIi, header, flags, lengths, notify type, gateway and
nonce; TTL and DSCP; the verdict of every frame; a second run gives the same bytes. As root it runs as `nobody`.
"""
import json
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile

LAB = pathlib.Path(__file__).resolve().parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(LAB / "captures"))
import craft  # noqa: E402
import expect  # noqa: E402

ROOT = LAB.parent.parent
CAPTURES = ROOT / "dataplane/tests/captures"
BINARY = ROOT / os.environ.get("USHER_BIN", "target/release") / "usher-dataplane"
GATEWAYS = {4: "198.51.100.10", 6: "2001:db8:1::10"}
ARGUMENTS = ["--vip", "192.0.2.1", "--vip", "2001:db8::1", "--redirect-to", GATEWAYS[4], "--redirect-to", GATEWAYS[6]]
CHECKSUMS = ["-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE"]
WARNING = 0x00600000  # tshark's severities: chat 2, note 4, warning 6, error 8
failures = 0


def report(good, text):
    global failures
    failures += not good
    print(f"  {'ok  ' if good else 'FAIL'}  {text}", flush=True)


def packets(path):
    """The frames of a classic pcap file."""
    raw = path.read_bytes()
    order = "<" if raw[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") else ">"
    link, at, found = struct.unpack(order + "I", raw[20:24])[0] & 0xFFFF, 24, []
    while at + 16 <= len(raw):
        size = struct.unpack(order + "I", raw[at + 8:at + 12])[0]
        found.append(raw[at + 16:at + 16 + size])
        at += 16 + size
    return link, found


def write(path, frames):
    with open(path, "wb") as out:
        out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for frame in frames:
            out.write(struct.pack("<IIII", 0, 0, len(frame), len(frame)) + frame)


def mend(frame):
    """A whole IPv4/UDP frame with right checksums: some published captures had their addresses rewritten."""
    if len(frame) < 42 or frame[12:14] != b"\x08\x00" or frame[14] != 0x45 or frame[23] != 17:
        return frame
    total, fragment = struct.unpack(">H2xH", frame[16:22])
    if total > len(frame) - 14 or fragment & 0x3FFF:
        return frame
    head, data, rest = frame[14:34], frame[34:14 + total], frame[14 + total:]
    head = head[:10] + bytes(2) + head[12:]
    head = head[:10] + struct.pack(">H", craft.checksum(head)) + head[12:]
    if data[6:8] != bytes(2) and struct.unpack(">H", data[4:6])[0] == len(data):
        data = data[:6] + bytes(2) + data[8:]
        pseudo = head[12:20] + struct.pack(">BBH", 0, 17, len(data))
        data = data[:6] + struct.pack(">H", craft.checksum(pseudo + data) or 0xFFFF) + data[8:]
    return frame[:14] + head + data + rest


def as_ethernet(source, folder):
    """Any capture as a classic pcap with Ethernet frames (replay's port is one) and right checksums."""
    target = folder / (source.stem + ".pcap")
    if source.suffix == ".bin":
        write(target, [craft.v4(source.read_bytes())])
        return target
    subprocess.run(["editcap", "-F", "pcap", str(source), str(target)], check=True, capture_output=True)
    link, frames = packets(target)
    if link == 0:  # BSD loopback: four bytes of address family
        frames = [f[4:] for f in frames]
    if link != 1:
        frames = [craft.ether(0x0800 if f[:1] < b"\x50" else 0x86DD, f) for f in frames]
    write(target, [mend(f) for f in frames])
    return target


def replay(binary, source, folder, *options):
    """(answers as a path, the JSON report) of one run, as an ordinary user when possible."""
    out = folder / "out.pcap"
    out.unlink(missing_ok=True)
    command = [str(binary), "replay", *options, *ARGUMENTS, "--json", str(source), str(out)]
    if os.geteuid() == 0:
        command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs", *command]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=folder)
    if done.returncode or not out.exists():
        return None, f"exit {done.returncode}: {done.stderr.strip()[-400:]}"
    try:
        return out, json.loads(done.stdout)
    except ValueError:
        return None, f"no JSON on standard output: {done.stdout[-200:]!r}"


WHO = ["eth.src", "eth.dst", "vlan.id", "ip.src", "ip.dst", "ipv6.src", "ipv6.dst", "udp.srcport", "udp.dstport",
       "isakmp.ispi", "isakmp.nonce", "isakmp.length", "ip.dsfield.dscp", "ipv6.tclass.dscp", "frame.number"]
ANSWER = WHO + ["isakmp.rspi", "isakmp.nextpayload", "isakmp.version", "isakmp.exchangetype", "isakmp.flags",
                "isakmp.messageid", "isakmp.notify.msgtype", "isakmp.notify.protoid", "ip.ttl", "ipv6.hlim",
                "ipv6.flow", "ip.hdr_len", "isakmp.notify.data.redirect.gw_ident.type",
                "isakmp.notify.data.redirect.new_resp_gw_ident.ipv4",
                "isakmp.notify.data.redirect.new_resp_gw_ident.ipv6", "isakmp.notify.data.redirect.nonce_data",
                "_ws.expert.severity", "_ws.expert.message", "ip.checksum.status", "udp.checksum.status"]


def faults(request, answer):
    """What is wrong with an answer, as tshark decodes both."""
    wrong = []

    def same(what, wanted, found):
        if wanted != found:
            wrong.append(f"{what} is {found!r}, wanted {wanted!r}")

    family = 4 if answer["ip.src"] else 6
    ip = "ip" if family == 4 else "ipv6"
    for a, b in (("src", "dst"), ("dst", "src")):
        same(f"IP {a}", request[f"{ip}.{b}"], answer[f"{ip}.{a}"])
        same(f"UDP {a} port", request[f"udp.{b}port"], answer[f"udp.{a}port"])
    same("Ethernet destination", request["eth.src"], answer["eth.dst"])
    same("VLAN", request["vlan.id"], answer["vlan.id"])
    same("DSCP", request["ip.dsfield.dscp"] + request["ipv6.tclass.dscp"], answer["ip.dsfield.dscp"] + answer["ipv6.tclass.dscp"])
    same("TTL", "64", answer["ip.ttl"] + answer["ipv6.hlim"])
    same("SPIi", request["isakmp.ispi"], answer["isakmp.ispi"])
    same("SPIr", 0, int(answer["isakmp.rspi"].replace(":", "") or "1", 16))
    same("version", 0x20, int(answer["isakmp.version"] or "0", 0))
    same("exchange", "34", answer["isakmp.exchangetype"])
    same("flags", 0x20, int(answer["isakmp.flags"] or "0", 0))
    same("message id", 0, int(answer["isakmp.messageid"] or "1", 0))
    same("payloads", "41,0", answer["isakmp.nextpayload"])
    same("notify", "16407", answer["isakmp.notify.msgtype"])
    same("protocol id", "0", answer["isakmp.notify.protoid"])
    same("identity type", "1" if family == 4 else "2", answer["isakmp.notify.data.redirect.gw_ident.type"])
    same("gateway", GATEWAYS[family], answer[f"isakmp.notify.data.redirect.new_resp_gw_ident.ipv{family}"])
    same("nonce", request["isakmp.nonce"], answer["isakmp.notify.data.redirect.nonce_data"])
    same("length", str(28 + 8 + 2 + (4 if family == 4 else 16) + len(request["isakmp.nonce"].replace(":", "")) // 2), answer["isakmp.length"])
    if int(answer["isakmp.length"] or "0") > int(request["isakmp.length"] or "0"):
        wrong.append("the answer is longer than the request")
    if family == 4:
        same("IP header length", "20", answer["ip.hdr_len"])
        same("IP checksum status", "1", answer["ip.checksum.status"])
    else:
        same("flow label", 0, int(answer["ipv6.flow"] or "1", 0))
    same("UDP checksum status", "1", answer["udp.checksum.status"])
    if any(int(level, 0) >= WARNING for level in answer["_ws.expert.severity"].split(",") if level):
        wrong.append(f"tshark warns: {answer['_ws.expert.message']}")
    return wrong


def check(binary, name, source, table, folder, *options, strict=True):
    """One capture against its table [(number, expect, description)]; gives the answers as tshark decodes them.
    Public captures carry no table of what is malformed: there (not strict) only the answers count."""
    out, told = replay(binary, source, folder, *options)
    if out is None:
        report(False, f"{name}: {told}")
        return []
    requests = {int(f["frame.number"]): f for f in expect.fields(source, WHO)}
    answers = expect.fields(out, ANSWER, *CHECKSUMS)
    text = {number: (wanted, what) for number, wanted, what in table}
    owed, problems = {}, []
    for number, (wanted, what) in text.items():
        if wanted == "answer":
            owed.setdefault(requests[number]["isakmp.ispi"], []).append(number)
    bytes_of = {}
    for i, answer in enumerate(answers):
        numbers = owed.get(answer["isakmp.ispi"])
        if not numbers:
            culprits = [f"frame {n} ({text[n][1]})" for n, f in requests.items() if f["isakmp.ispi"] == answer["isakmp.ispi"]]
            problems.append(f"answer {i + 1} was not due: {', '.join(culprits[:2]) or answer['isakmp.ispi']}")
            continue
        number = numbers.pop(0)
        problems += [f"frame {number} ({text[number][1]}): {fault}" for fault in faults(requests[number], answer)]
        twin = tuple(requests[number][k] for k in ("isakmp.ispi", "ip.src", "ipv6.src", "isakmp.nonce", "udp.srcport"))
        if bytes_of.setdefault(twin, packets(out)[1][i]) != packets(out)[1][i]:
            problems.append(f"frame {number}: the same request got another answer")
    problems += [f"frame {n} ({text[n][1]}) was not answered" for numbers in owed.values() for n in numbers]
    for frame in told["frame"] if strict else []:
        # A half that waited and became part of an answered request ends as `fragment_joined`.
        found = "held" if frame["verdict"] == "fragment_joined" else frame["action"]
        wanted, what = text[frame["number"]]
        if found != wanted:
            problems.append(f"frame {frame['number']} ({what}): {frame['verdict']} ({found}), wanted {wanted}")
    if (told["frames"], told["answers"]) != (len(table), len(answers)):
        problems.append(f"it tells of {told['frames']} frames and {told['answers']} answers; there are {len(table)} and {len(answers)}")
    first = out.read_bytes()
    again, _ = replay(binary, source, folder, *options)
    if again is None or again.read_bytes() != first:
        problems.append("a second run gave other bytes")
    due = sum(1 for _, e, _ in table if e == "answer")
    report(not problems, f"{name}: {len(table)} frames, {due} to answer")
    for problem in problems[:12]:
        print(f"          {problem}")
    return answers


def corpus(binary, folder):
    where = os.environ.get("USHER_CORPUS")
    if not where:
        print("  corpus: not given")
        return
    found = sorted(p for p in pathlib.Path(where).rglob("*") if p.suffix in (".pcap", ".pcapng", ".bin"))
    report(bool(found), f"corpus: {len(found)} files under {where}")
    for path in found:
        source = as_ethernet(path, folder)
        table = expect.judge(source)
        answers = check(binary, f"corpus: {path.parent.name}/{path.name}", source, table, folder, "--any-destination", strict=False)
        if path.suffix != ".bin":
            # The file as it was published as well: nothing mended, whatever its format.
            copy = folder / f"published-{path.name}"
            shutil.copyfile(path, copy)
            out, told = replay(binary, copy, folder, "--any-destination")
            wanted = [number for number, expected, _ in table if expected == "answer"]
            given = told if out is None else [f["number"] for f in told["frame"] if f["action"] == "answer"]
            report(given == wanted, f"corpus: {path.parent.name}/{path.name} as published: answered {given}, wanted {wanted}")
        if path.name == "ikev2_notify_redirect.pcap" and answers:
            # A real gateway answered this very request: the second frame.
            real = expect.fields(source, ANSWER)[1]
            keys = ["isakmp.ispi", "isakmp.rspi", "isakmp.version", "isakmp.exchangetype", "isakmp.flags", "isakmp.messageid",
                    "isakmp.nextpayload", "isakmp.notify.msgtype", "isakmp.notify.data.redirect.nonce_data"]
            differ = [k for k in keys if real[k] != answers[0][k]]
            report(not differ, "corpus: the real gateway's REDIRECT and ours agree in SPIi, header, notify type and nonce")
            for key in differ:
                print(f"          {key}: real {real[key]}, ours {answers[0][key]}")


def main():
    if not BINARY.exists():
        sys.exit(f"{BINARY} is missing: run `make build` (or set USHER_BIN)")
    with tempfile.TemporaryDirectory(prefix="usher-replay-") as name:
        folder = pathlib.Path(name)
        os.umask(0o022)
        os.chmod(folder, 0o777)
        binary = folder / "usher-dataplane"  # a place where an ordinary user may run it
        shutil.copy(BINARY, binary)
        names = sys.argv[1:] or sorted(p.stem for p in CAPTURES.glob("*.pcap"))
        report(len(names) > 0, f"{len(names)} captures of our own")
        for capture in names:
            source = folder / f"{capture}.pcap"
            shutil.copyfile(CAPTURES / f"{capture}.pcap", source)
            lines = (CAPTURES / f"{capture}.tsv").read_text(encoding="utf-8").splitlines()
            table = [(int(n), e, t) for n, e, t in (line.split("\t") for line in lines if not line.startswith("#"))]
            check(binary, capture, source, table, folder, *(["--mac", "02:00:00:00:00:01"] if capture == "crafted-elsewhere" else ["--any-destination"]))
        if not sys.argv[1:]:
            corpus(binary, folder)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
