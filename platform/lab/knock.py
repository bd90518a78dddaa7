#!/usr/bin/env python3
"""Knocks at a gateway with a valid IKE_SA_INIT request and says who opened.

One line a knock: `redirect ADDRESS MS`, `served MS` (an ordinary answer), `silent`, or `wrong REASON`.
The answer is judged here, by code of its own: SPIi, header, lengths, one REDIRECT notify, the nonce.
Exit status: 0 when every knock was redirected (or, with --expect, was what is expected), else 1.
"""
import argparse
import ipaddress
import os
import socket
import struct
import sys
import time

SA, KE, NONCE, NOTIFY, VENDOR = 33, 34, 40, 41, 43
REDIRECT_SUPPORTED, REDIRECT, REDIRECTED_FROM = 16406, 16407, 16408


def payload(following, body):
    return struct.pack(">BBH", following, 0, 4 + len(body)) + body


def transform(last, kind, number, bits=None):
    attribute = b"" if bits is None else struct.pack(">HH", 0x800E, bits)
    return struct.pack(">BBHBBH", 0 if last else 3, 0, 8 + len(attribute), kind, 0, number) + attribute


def request(spi, nonce, support=True, redirected_from=None, vendor=0):
    transforms = transform(0, 1, 12, 128) + transform(0, 2, 5) + transform(0, 3, 12) + transform(1, 4, 31)
    proposal = struct.pack(">BBHBBBB", 0, 0, 8 + len(transforms), 1, 1, 0, 4) + transforms
    parts = [(SA, proposal), (KE, struct.pack(">HH", 31, 0) + os.urandom(32)), (NONCE, nonce)]
    if redirected_from:
        who = ipaddress.ip_address(redirected_from)
        body = bytes([1 if who.version == 4 else 2, len(who.packed)]) + who.packed
        parts.append((NOTIFY, struct.pack(">BBH", 0, 0, REDIRECTED_FROM) + body))
    elif support:
        parts.append((NOTIFY, struct.pack(">BBH", 0, 0, REDIRECT_SUPPORTED)))
    if vendor:
        parts.append((VENDOR, bytes(vendor)))
    following = [kind for kind, _ in parts[1:]] + [0]
    body = b"".join(payload(n, b) for n, (_, b) in zip(following, parts))
    return spi + bytes(8) + struct.pack(">BBBBII", parts[0][0], 0x20, 34, 0x08, 0, 28 + len(body)) + body


def judge(answer, spi, nonce):
    """The verdict on an answer: `redirect ADDRESS`, `served` or `wrong REASON`."""
    if len(answer) < 28:
        return f"wrong length {len(answer)}"
    following, version, exchange, flags, number, length = struct.unpack(">BBBBII", answer[16:28])
    if answer[:8] != spi:
        return "wrong SPIi"
    if (version, exchange, number, length) != (0x20, 34, 0, len(answer)):
        return f"wrong header {answer[16:28].hex()}"
    if flags != 0x20:
        return f"wrong flags {flags:#x}"
    notifies, kinds, at = [], [], 28
    while following:
        if at + 4 > len(answer):
            return "wrong payload beyond the end"
        kind = following
        following, _, size = struct.unpack(">BBH", answer[at:at + 4])
        if size < 4 or at + size > len(answer):
            return f"wrong payload length {size}"
        kinds.append(kind)
        if kind == NOTIFY:
            notifies.append(answer[at + 4:at + size])
        at += size
    if at != len(answer):
        return "wrong trailing bytes"
    found = [n for n in notifies if len(n) >= 4 and n[2:4] == struct.pack(">H", REDIRECT)]
    if not found:
        return "served"
    if answer[8:16] != bytes(8):
        return "wrong SPIr not zero"
    if kinds != [NOTIFY]:
        return f"wrong payloads {kinds}"
    data = found[0]
    if data[:2] != bytes(2):
        return "wrong protocol id or SPI size"
    kind, size = data[4], data[5]
    if (kind, size) not in ((1, 4), (2, 16)):
        return f"wrong identity type {kind} length {size}"
    if data[6 + size:] != nonce:
        return "wrong nonce"
    return f"redirect {ipaddress.ip_address(data[6:6 + size])}"


def knock(options, sock=None):
    """One knock: (verdict, milliseconds). A retransmission must get the identical answer."""
    family = socket.AF_INET6 if ":" in options.to else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", options.source_port))
    spi, nonce = os.urandom(8), os.urandom(options.nonce)
    marker = bytes(4) if options.port == 4500 else b""
    message = marker + request(spi, nonce, not options.unsignalled, options.redirected_from, options.vendor)
    answers = []
    started = time.monotonic()
    for _ in range(2 if options.twice else 1):
        deadline = time.monotonic() + options.timeout
        try:
            sock.sendto(message, (options.to, options.port))
        except OSError:
            pass  # an unreachable network is silence
        while time.monotonic() < deadline:
            sock.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                answer, peer = sock.recvfrom(4096)
            except socket.timeout:
                break
            except OSError:
                continue  # an ICMP error: go on waiting
            if ipaddress.ip_address(peer[0].split("%")[0]) == ipaddress.ip_address(options.to):
                answers.append(answer)
                break
    elapsed = (time.monotonic() - started) * 1000
    sock.close()
    if not answers:
        return "silent", elapsed
    if options.twice and (len(answers) != 2 or answers[0] != answers[1]):
        return "wrong the retransmission got another answer", elapsed
    answer = answers[0]
    if marker and answer[:4] != marker:
        return "wrong non-ESP marker", elapsed
    return judge(answer[len(marker):], spi, nonce), elapsed


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("to", help="address to knock at")
    p.add_argument("--port", type=int, default=500, choices=(500, 4500))
    p.add_argument("--source-port", type=int, default=0)
    p.add_argument("--count", type=int, default=1)
    p.add_argument("--timeout", type=float, default=2.0, help="seconds to wait for an answer")
    p.add_argument("--nonce", type=int, default=32, help="nonce length in bytes")
    p.add_argument("--vendor", type=int, default=0, help="bytes of a vendor id: from 1300 on the request leaves in two fragments")
    p.add_argument("--unsignalled", action="store_true", help="without REDIRECT_SUPPORTED")
    p.add_argument("--redirected-from", metavar="ADDRESS")
    p.add_argument("--twice", action="store_true", help="send the same bytes again: the answer must be the same")
    p.add_argument("--watch", type=float, metavar="SECONDS", help="knock for so long; lines begin with the monotonic clock")
    p.add_argument("--interval", type=float, default=0.05, help="seconds between knocks of --watch")
    p.add_argument("--expect", help="the verdict wanted, as `redirect`, `redirect ADDRESS`, `served`, `silent`")
    options = p.parse_args()

    if options.watch:
        end = time.monotonic() + options.watch
        while time.monotonic() < end:
            started = time.monotonic()
            verdict, _ = knock(options)
            print(f"{started:.3f} {verdict}", flush=True)
            time.sleep(max(0.0, options.interval - (time.monotonic() - started)))
        return 0
    wanted = options.expect or "redirect"
    good = True
    for _ in range(options.count):
        verdict, elapsed = knock(options)
        print(verdict if verdict == "silent" else f"{verdict} {elapsed:.1f} ms")
        good &= verdict == wanted or verdict.startswith(wanted + " ")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
