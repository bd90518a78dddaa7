#!/usr/bin/env python3
"""Sends COUNT frames at a virtual address that nobody may redirect: requests without REDIRECT_SUPPORTED, ESP in UDP,
later IKE messages, other UDP, TCP and ICMP, each with right checksums and from many source addresses.
Prints how many frames a second it managed."""
import argparse
import os
import random
import socket
import struct
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import knock  # noqa: E402


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4(source, target, protocol, body, ttl=64):
    head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(body), random.getrandbits(16), 0, ttl, protocol, 0, source, target)
    return head[:10] + struct.pack(">H", checksum(head)) + head[12:] + body


def udp(source, target, sport, dport, data, ttl=64):
    head = struct.pack(">HHHH", sport, dport, 8 + len(data), 0)
    pseudo = source + target + struct.pack(">BBH", 0, 17, len(head) + len(data))
    value = checksum(pseudo + head + data) or 0xFFFF
    return ipv4(source, target, 17, head[:6] + struct.pack(">H", value) + data, ttl)


def frames(target):
    """A few hundred different packets, enough to spread over the classes."""
    made = []
    for i in range(300):
        source = bytes([203, 0, 113, 1 + i % 250])
        sport = 1024 + random.randrange(60000)
        spi = os.urandom(8)
        init = knock.request(spi, os.urandom(32), support=False)
        later = spi + os.urandom(8) + struct.pack(">BBBBII", 46, 0x20, 35, 0x08, 1, 28 + 64) + os.urandom(64)
        syn = struct.pack(">HHIIBBHHH", sport, 443, 1, 0, 0x50, 2, 1024, 0, 0)
        syn_sum = checksum(source + target + struct.pack(">BBH", 0, 6, 20) + syn)
        echo = struct.pack(">BBHHH", 8, 0, 0, 1, i) + bytes(32)
        made += [
            udp(source, target, 500, 500, init),
            udp(source, target, 4500, 4500, os.urandom(4).replace(b"\0", b"\1") + os.urandom(96)),
            udp(source, target, 4500, 4500, bytes(4) + later),
            udp(source, target, sport, 33434, bytes(64)),
            ipv4(source, target, 6, syn[:16] + struct.pack(">H", syn_sum) + syn[18:]),
            ipv4(source, target, 1, echo[:2] + struct.pack(">H", checksum(echo)) + echo[4:]),
        ]
    return made


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("interface")
    p.add_argument("mac", help="destination MAC")
    p.add_argument("to", help="destination IPv4 address")
    p.add_argument("--count", type=int, default=100_000)
    p.add_argument("--rate", type=int, default=0, help="frames a second; 0: as many as the machine can")
    options = p.parse_args()
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    sock.bind((options.interface, 0))
    own = sock.getsockname()[4]
    ether = bytes.fromhex(options.mac.replace(":", "")) + own + b"\x08\x00"
    batch = [ether + f for f in frames(socket.inet_aton(options.to))]
    sent, started = 0, time.monotonic()
    while sent < options.count:
        if options.rate and sent >= (time.monotonic() - started) * options.rate:
            time.sleep(0.0005)
            continue
        try:
            sock.send(batch[sent % len(batch)])
            sent += 1
        except OSError:
            time.sleep(0.001)  # the queue is full: let it drain
    took = time.monotonic() - started
    print(f"{sent} frames in {took:.2f} s, {sent / took:.0f} frames/s")


if __name__ == "__main__":
    main()
