#!/usr/bin/env python3
"""A client in a VLAN, without a VLAN device of the kernel: whole frames over a raw socket, the tag written and read here.

    vlan-client.py [--vlan ID] --from ADDRESS TO       knock at TO; `redirect ADDRESS`, `served`, `silent`, `wrong REASON`
    vlan-client.py ... --ping TO                       one echo request; `echo` or `silent`
    vlan-client.py ... --watch SECONDS TO              knocks for so long; lines begin with the monotonic clock

What comes back must bear the very tag: an answer in another VLAN is `wrong vlan N`. Exit status 0 when everything was
as --expect (default `redirect`, `echo` with --ping) says.
"""
import argparse
import ipaddress
import os
import socket
import struct
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import knock  # noqa: E402

SOL_PACKET, PACKET_AUXDATA, PACKET_IGNORE_OUTGOING, ETH_P_ALL = 263, 8, 23, 3
TP_STATUS_VLAN_VALID = 1 << 4
IPV4, ARP, IPV6, VLAN = 0x0800, 0x0806, 0x86DD, 0x8100
UDP, ICMP, ICMPV6 = 17, 1, 58


def checksum(data):
    total = sum(struct.unpack(f">{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Client:
    def __init__(self, options):
        self.vlan, self.own, self.timeout = options.vlan, ipaddress.ip_address(options.own), options.timeout
        self.size = options.size
        self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self.sock.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        self.sock.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        self.sock.bind((options.interface, ETH_P_ALL))
        self.mac = self.sock.getsockname()[4]

    def send(self, to, kind, payload):
        tag = struct.pack(">HH", VLAN, self.vlan) if self.vlan else b""
        frame = to + self.mac + tag + struct.pack(">H", kind) + payload
        self.sock.send(frame.ljust(60, b"\0"))

    def frames(self, deadline):
        """Frames until then: (VLAN, EtherType, source MAC, payload). The kernel takes a tag off before this socket sees it."""
        while (left := deadline - time.monotonic()) > 0:
            self.sock.settimeout(left)
            try:
                data, extra, _, _ = self.sock.recvmsg(65536, 128)
            except socket.timeout:
                return
            vlan, kind, at = 0, struct.unpack(">H", data[12:14])[0], 14
            for level, option, value in extra:
                if level == SOL_PACKET and option == PACKET_AUXDATA:
                    status, _, _, _, _, tci, _ = struct.unpack("IIIHHHH", value[:20])
                    vlan = tci & 0xFFF if status & TP_STATUS_VLAN_VALID else 0
            if kind == VLAN:
                tci, kind = struct.unpack(">HH", data[14:18])
                vlan, at = tci & 0xFFF, 18
            yield vlan, kind, data[6:12], data[at:]

    def arp(self, operation, to, target_mac, target):
        packet = struct.pack(">HHBBH", 1, IPV4, 6, 4, operation) + self.mac + self.own.packed + target_mac + target
        self.send(to, ARP, packet)

    def solicit(self, target):
        group = bytes.fromhex("ff0200000000000000000001ff") + target[13:]
        body = bytes([135, 0, 0, 0, 0, 0, 0, 0]) + target + b"\1\1" + self.mac
        body = body[:2] + struct.pack(">H", self.icmp6(group, body)) + body[4:]
        head = struct.pack(">IHBB", 6 << 28, len(body), ICMPV6, 255) + self.own.packed + group
        self.send(b"\x33\x33" + group[12:], IPV6, head + body)

    def icmp6(self, to, body):
        return checksum(self.own.packed + to + struct.pack(">II", len(body), ICMPV6) + body)

    def resolve(self, to):
        """The MAC of an address in this VLAN; None: nobody answers."""
        for _ in range(3):
            if to.version == 4:
                self.arp(1, b"\xff" * 6, bytes(6), to.packed)
            else:
                self.solicit(to.packed)
            for vlan, kind, mac, data in self.frames(time.monotonic() + self.timeout / 3):
                if vlan == self.vlan and kind == ARP and data[6:8] == b"\0\2" and data[14:18] == to.packed:
                    return data[8:14]
                if vlan == self.vlan and kind == IPV6 and data[6] == ICMPV6 and data[40] == 136 and data[48:64] == to.packed:
                    return data[66:72] if data[64:66] == b"\2\1" else mac
        return None

    def packet(self, to, protocol, body):
        if to.version == 4:
            head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(body), os.getpid() & 0xFFFF, 0, 64, protocol, 0)
            head += self.own.packed + to.packed
            return IPV4, head[:10] + struct.pack(">H", checksum(head)) + head[12:] + body
        return IPV6, struct.pack(">IHBB", 6 << 28, len(body), protocol, 64) + self.own.packed + to.packed + body

    def exchange(self, mac, to, protocol, body, wanted):
        """Sends a packet and gives what `wanted` makes of an answer's payload: (VLAN, that); None: silence."""
        kind, packet = self.packet(to, protocol, body)
        self.send(mac, kind, packet)
        for vlan, kind, source, data in self.frames(time.monotonic() + self.timeout):
            if kind == ARP and data[6:8] == b"\0\1" and data[24:28] == self.own.packed and vlan == self.vlan:
                self.arp(2, source, data[8:14], data[14:18])
            head = 20 if kind == IPV4 else 40
            places = (12, 16) if kind == IPV4 else (8, 24)
            size = len(to.packed)
            if kind not in (IPV4, IPV6) or data[places[0]:places[0] + size] != to.packed:
                continue
            if data[places[1]:places[1] + size] != self.own.packed or data[9 if kind == IPV4 else 6] != protocol:
                continue
            length = struct.unpack(">H", data[2:4] if kind == IPV4 else data[4:6])[0]
            end = length if kind == IPV4 else 40 + length
            if (found := wanted(data[head:end])) is not None:
                return vlan, found
        return None

    def knock(self, to, mac):
        spi, nonce, port = os.urandom(8), os.urandom(32), 20000 + int.from_bytes(os.urandom(2), "big") % 30000
        message = knock.request(spi, nonce)
        head = struct.pack(">HHH", port, 500, 8 + len(message))
        pseudo = self.own.packed + to.packed
        pseudo += struct.pack(">BBH", 0, UDP, 8 + len(message)) if to.version == 4 else struct.pack(">II", 8 + len(message), UDP)
        datagram = head + struct.pack(">H", checksum(pseudo + head + b"\0\0" + message) or 0xFFFF) + message
        mine = lambda d: d[8:] if d[:4] == struct.pack(">HH", 500, port) else None  # noqa: E731
        answer = self.exchange(mac, to, UDP, datagram, mine)
        if answer is None:
            return "silent"
        return knock.judge(answer[1], spi, nonce) if answer[0] == self.vlan else f"wrong vlan {answer[0]}"

    def ping(self, to, mac):
        name = os.urandom(4) + bytes(self.size - 4)
        if to.version == 4:
            body = b"\x08\0" + struct.pack(">H", checksum(b"\x08\0\0\0" + name)) + name
            protocol, reply = ICMP, 0
        else:
            body = b"\x80\0\0\0" + name
            body = body[:2] + struct.pack(">H", self.icmp6(to.packed, body)) + name
            protocol, reply = ICMPV6, 129
        answer = self.exchange(mac, to, protocol, body, lambda d: d[4:] == name if d[0] == reply else None)
        if answer is None:
            return "silent"
        return ("echo" if answer[1] else "wrong data") if answer[0] == self.vlan else f"wrong vlan {answer[0]}"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("to", type=ipaddress.ip_address)
    p.add_argument("--vlan", type=int, default=0, help="0: untagged")
    p.add_argument("--from", dest="own", required=True, help="the client's address, on the link of TO")
    p.add_argument("--interface", default="eth0")
    p.add_argument("--mac", help="where to send; resolved when it is not given")
    p.add_argument("--ping", action="store_true")
    p.add_argument("--size", type=int, default=52, help="bytes of an echo request's data")
    p.add_argument("--timeout", type=float, default=1.0)
    p.add_argument("--watch", type=float, metavar="SECONDS")
    p.add_argument("--expect")
    options = p.parse_args()
    client = Client(options)
    mac = bytes.fromhex(options.mac.replace(":", "")) if options.mac else client.resolve(options.to)
    one = client.ping if options.ping else client.knock
    if options.watch:
        end = time.monotonic() + options.watch
        while time.monotonic() < end:
            started = time.monotonic()
            print(f"{started:.3f} {one(options.to, mac) if mac else 'unresolved'}", flush=True)
            time.sleep(max(0.0, 0.02 - (time.monotonic() - started)))
        return 0
    verdict = one(options.to, mac) if mac else "unresolved"
    print(verdict, "from", mac.hex(":") if mac else "nobody")
    wanted = options.expect or ("echo" if options.ping else "redirect")
    return 0 if verdict == wanted or verdict.startswith(wanted + " ") else 1


if __name__ == "__main__":
    sys.exit(main())
