#!/usr/bin/env python3
"""Hand-made frames, most of them hostile, with the verdict wanted for each: craft.py FOLDER.

Plain Python, no packet library and none of our own code: what it says of a frame is a second opinion. Frame N of a
file has an SPIi that ends in N, so that an answer tells which request it belongs to.
`held` is a fragment that waits for its other half; `pass` and `drop` are both "not answered", told apart by counters.
"""
import os
import struct
import sys

NODE, VIRTUAL, ROUTER = b"\2\0\0\0\0\1", bytes.fromhex("00000c07ac01"), b"\2\0\0\0\0\xfe"
VIP4, CLIENT4 = bytes([192, 0, 2, 1]), bytes([198, 51, 100, 2])
VIP6 = bytes.fromhex("20010db8000000000000000000000001")
CLIENT6 = bytes.fromhex("20010db8000c00000000000000000002")
SA, KE, NONCE, NOTIFY, VENDOR = 33, 34, 40, 41, 43


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Capture:
    """A capture and its table, written side by side."""

    def __init__(self, name, comment=""):
        self.name, self.comment, self.rows = name, comment, []

    def spi(self):
        return b"\xa5\x68\x5e" + bytes(3) + struct.pack(">H", len(self.rows) + 1)

    def add(self, expect, text, frame):
        self.rows.append((expect, text, frame))

    def write(self, folder):
        with open(os.path.join(folder, self.name + ".pcap"), "wb") as out:
            out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
            for i, (_, _, frame) in enumerate(self.rows):
                out.write(struct.pack("<IIII", 1_700_000_000, i * 1000, len(frame), len(frame)) + frame)
        with open(os.path.join(folder, self.name + ".tsv"), "w", encoding="utf-8") as out:
            print("# frame\texpect\twhat it is" + self.comment, file=out)
            for i, (expect, text, _) in enumerate(self.rows, 1):
                print(f"{i}\t{expect}\t{text}", file=out)
        print(f"    {self.name}: {len(self.rows)} frames, {sum(r[0] == 'answer' for r in self.rows)} to answer")


# ---- IKE --------------------------------------------------------------------------------------------------------
def filler(n, seed=0):
    """n bytes that look random, the same at each run."""
    out, state = bytearray(), (seed * 2654435761 + 12345) & 0xFFFFFFFF
    for _ in range(n):
        state = (state * 1103515245 + 12345) & 0xFFFFFFFF
        out.append(state >> 16 & 0xFF)
    return bytes(out)


def transform(last, kind, number, bits=None):
    attribute = b"" if bits is None else struct.pack(">HH", 0x800E, bits)
    return struct.pack(">BBHBBH", 0 if last else 3, 0, 8 + len(attribute), kind, 0, number) + attribute


def notify(kind, data=b"", protocol=0, spi=b""):
    return NOTIFY, struct.pack(">BBH", protocol, len(spi), kind) + spi + data


_transforms = transform(0, 1, 12, 128) + transform(0, 2, 5) + transform(0, 3, 12) + transform(1, 4, 31)
PROPOSAL = (SA, struct.pack(">BBHBBBB", 0, 0, 8 + len(_transforms), 1, 1, 0, 4) + _transforms)


def ke(n=32, group=31):
    return KE, struct.pack(">HH", group, 0) + filler(n, n)


def nonce(n=32):
    return NONCE, filler(n, 1000 + n)


SUPPORTED = notify(16406)
NAT = [notify(16388, filler(20, 1)), notify(16389, filler(20, 2))]


def from4(address):
    return notify(16408, b"\1\4" + bytes(address))


def from6(address):
    return notify(16408, b"\2\x10" + address)


def ike(spi, parts, responder=bytes(8), version=0x20, exchange=34, flags=8, number=0, length=0, first=None, last=0,
        critical=(), lengths=None, absolute=None):
    """A message of `parts` (type, body); `length` is added to the true one; `lengths` gives payloads another one."""
    body = b""
    for i, (_, data) in enumerate(parts):
        following = parts[i + 1][0] if i + 1 < len(parts) else last
        size = (lengths or {}).get(i, 4 + len(data))
        body += struct.pack(">BBH", following, 0x80 if i in critical else 0, size) + data
    first = (parts[0][0] if parts else 0) if first is None else first
    total = 28 + len(body) + length if absolute is None else absolute
    return spi + responder + struct.pack(">BBBBII", first, version, exchange, flags, number, total) + body


NORMAL = [PROPOSAL, ke(), nonce(), *NAT, SUPPORTED]


# ---- below IKE --------------------------------------------------------------------------------------------------
def ether(kind, data, target=VIRTUAL, tags=(), source=ROUTER):
    head = target + source
    for tpid, vlan in tags:
        head += struct.pack(">HH", tpid, vlan)
    return head + struct.pack(">H", kind) + data


def udp(source, target, data, sport=500, dport=500, length=0, bad=0, zero=False):
    size = 8 + len(data)
    head = struct.pack(">HHHH", sport, dport, size + length, 0)
    if len(source) == 4:
        pseudo = source + target + struct.pack(">BBH", 0, 17, size + length)
    else:
        pseudo = source + target + struct.pack(">IHBB", size + length, 0, 0, 17)
    value = 0 if zero else ((checksum(pseudo + head + data) or 0xFFFF) ^ bad)
    return head[:6] + struct.pack(">H", value) + data


def ip4(data, source=CLIENT4, target=VIP4, options=b"", protocol=17, ident=1, fragment=0, bad=0, length=0, tos=0,
        ttl=64, version=4, words=None):
    words = 5 + len(options) // 4 if words is None else words
    head = struct.pack(">BBHHHBBH", version << 4 | words, tos, 20 + len(options) + len(data) + length, ident, fragment,
                       ttl, protocol, 0) + source + target + options
    return head[:10] + struct.pack(">H", checksum(head) ^ bad) + head[12:] + data


def ip6(data, source=CLIENT6, target=VIP6, following=17, length=0, traffic=0, hops=64, version=6):
    return struct.pack(">IHBB", version << 28 | traffic << 20 | 0x12345, len(data) + length, following, hops) + source + target + data


def v4(message, target=VIRTUAL, tags=(), trailer=b"", sport=500, dport=500, ip=None, **u):
    ip = dict(ip or {})
    data = udp(ip.get("source", CLIENT4), ip.get("target", VIP4), message, sport, dport, **u)
    return ether(0x0800, ip4(data, **ip) + trailer, target, tags)


def v6(message, target=VIRTUAL, tags=(), trailer=b"", sport=500, dport=500, headers=(), ip=None, **u):
    """`headers` are (type, bytes after the next-header field) of extension headers, outermost first."""
    ip = dict(ip or {})
    data = udp(ip.get("source", CLIENT6), ip.get("target", VIP6), message, sport, dport, **u)
    following = 17
    for kind, rest in reversed(headers):
        data, following = bytes([following]) + rest + data, kind
    return ether(0x86DD, ip6(data, following=following, **ip) + trailer, target, tags)


def halves4(datagram, cut, ident, source=CLIENT4, target=VIP4, overlap=0, gap=0):
    """An IPv4 datagram's UDP part in two fragments, cut at a multiple of 8."""
    second = datagram[cut - overlap + gap:]
    return (ether(0x0800, ip4(datagram[:cut], source, target, ident=ident, fragment=0x2000)),
            ether(0x0800, ip4(second, source, target, ident=ident, fragment=(cut - overlap + gap) // 8)))


def halves6(datagram, cut, ident, overlap=0):
    def part(offset, more, data):
        head = struct.pack(">BBHI", 17, 0, offset | more, ident)
        return ether(0x86DD, ip6(head + data, following=44))
    return part(0, 1, datagram[:cut]), part(cut - overlap, 0, datagram[cut - overlap:])


# ---- the IKE rows -----------------------------------------------------------------------------------------------
def messages():
    c = Capture("crafted-ike")

    def row(expect, text, parts=None, both=False, **changes):
        c.add(expect, text, v4(ike(c.spi(), NORMAL if parts is None else parts, **changes)))
        if both:
            c.add(expect, text + ", IPv6", v6(ike(c.spi(), NORMAL if parts is None else parts, **changes)))

    row("answer", "an ordinary request", both=True)
    for n in (16, 17, 32, 40, 255, 256):
        row("answer", f"nonce of {n}", [PROPOSAL, ke(), nonce(n), SUPPORTED], both=n in (16, 256))
    for n in (0, 1, 15, 257, 300):
        row("drop", f"nonce of {n}", [PROPOSAL, ke(), nonce(n), SUPPORTED], both=n in (15, 257))
    for n, group in ((32, 31), (64, 19), (96, 20), (132, 21), (256, 14), (384, 15), (512, 16)):
        row("answer", f"key exchange of {n} bytes, group {group}", [PROPOSAL, ke(n, group), nonce(), SUPPORTED])
    row("answer", "COOKIE first", [notify(16390, filler(20)), *NORMAL], both=True)
    row("answer", "COOKIE of 64 first", [notify(16390, filler(64)), *NORMAL])
    row("answer", "nonce before SA", [nonce(), PROPOSAL, ke(), SUPPORTED])
    row("answer", "all payloads in reverse", list(reversed(NORMAL)), both=True)
    row("answer", "REDIRECT_SUPPORTED first", [SUPPORTED, ke(), nonce(), PROPOSAL])
    row("answer", "REDIRECT_SUPPORTED three times", [*NORMAL, SUPPORTED, SUPPORTED])
    row("answer", "REDIRECT_SUPPORTED with protocol id 1", [PROPOSAL, ke(), nonce(), notify(16406, protocol=1)])
    row("answer", "vendor ids around", [(VENDOR, filler(16)), *NORMAL, (VENDOR, filler(20)), (VENDOR, b"")])
    row("answer", "an unknown payload that is not critical", [*NORMAL, (200, filler(12))])
    row("answer", "a known payload with the critical bit (to be ignored)", critical=(0, 2))
    row("pass", "an unknown payload that is critical", [*NORMAL, (200, filler(12))], critical=(len(NORMAL),))
    row("pass", "an unknown critical payload first", [(200, filler(12)), *NORMAL], critical=(0,))
    row("answer", "REDIRECTED_FROM an IPv4 gateway", [PROPOSAL, ke(), nonce(), from4([203, 0, 113, 7])])
    row("answer", "REDIRECTED_FROM an IPv6 gateway", [PROPOSAL, ke(), nonce(), from6(VIP6[:15] + b"\x77")], both=True)
    row("answer", "REDIRECTED_FROM and REDIRECT_SUPPORTED", [*NORMAL, from4([203, 0, 113, 7])])
    row("answer", "minor version 1", version=0x21)
    row("answer", "the version flag set (to be ignored)", flags=0x18)
    row("pass", "nothing signalled", [PROPOSAL, ke(), nonce(), *NAT], both=True)
    row("pass", "a COOKIE and nothing signalled", [notify(16390, filler(20)), PROPOSAL, ke(), nonce()])
    row("pass", "REDIRECT in a request", [PROPOSAL, ke(), nonce(), notify(16407, b"\1\4" + bytes(4) + filler(32))])
    row("pass", "16405 instead of REDIRECT_SUPPORTED", [PROPOSAL, ke(), nonce(), notify(16405)])
    row("pass", "no SA", [ke(), nonce(), SUPPORTED])
    row("pass", "no KE", [PROPOSAL, nonce(), SUPPORTED])
    row("pass", "no nonce", [PROPOSAL, ke(), SUPPORTED])
    row("drop", "two nonces", [PROPOSAL, ke(), nonce(), nonce(33), SUPPORTED])
    row("drop", "a notify of 3 bytes", [PROPOSAL, ke(), nonce(), (NOTIFY, b"\0\0\x40"), SUPPORTED])
    row("drop", "a notify with an SPI beyond its end", [PROPOSAL, ke(), nonce(), (NOTIFY, b"\0\x20\x40\x16")])
    for n in (-1, 1, 4, 100):
        row("drop", f"IKE length wrong by {n}", length=n, both=n in (-1, 1))
    for n in (0, 27, 28, 0x00010000, 0xFFFFFFFF):
        row("drop", f"IKE length {n}", absolute=n)
    for n in (0, 1, 2, 3):
        row("drop", f"payload length {n}", lengths={2: n}, both=n == 0)
    row("drop", "first payload of length 0: a loop for a careless walk", lengths={0: 0})
    row("drop", "payload length beyond the end", lengths={len(NORMAL) - 1: 9})
    row("drop", "payload length 65535", lengths={0: 65535})
    row("drop", "last payload points to another one", last=43)
    row("drop", "next payload points into itself for ever", [PROPOSAL, ke(), nonce(), SUPPORTED] + [(43, b"")] * 60, last=43)
    row("pass", "SPIr not 0", responder=filler(8))
    row("pass", "SPIr 1", responder=bytes(7) + b"\1", both=True)
    c.add("drop", "SPIi 0", v4(ike(bytes(8), NORMAL)))
    c.add("drop", "SPIi 0, IPv6", v6(ike(bytes(8), NORMAL)))
    row("pass", "response flag", flags=0x20, both=True)
    row("pass", "initiator and response flag", flags=0x28)
    row("pass", "no initiator flag", flags=0)
    row("pass", "message id 1", number=1)
    row("pass", "message id 0x80000000", number=0x80000000)
    row("pass", "version 1.0", version=0x10)
    row("pass", "version 3.0", version=0x30)
    row("pass", "version 0.0", version=0)
    for n, name in ((243, "AuthIP"), (35, "IKE_AUTH"), (36, "CREATE_CHILD_SA"), (37, "INFORMATIONAL"), (38, "IKE_SESSION_RESUME"), (43, "IKE_INTERMEDIATE"), (0, "none")):
        row("pass", f"exchange {n}, {name}", exchange=n)
    row("pass", "IKEv1 main mode", [(1, filler(44))], version=0x10, exchange=2, flags=0)
    row("pass", "IKEv1 aggressive mode", [(1, filler(44)), (4, filler(128)), (10, filler(20)), (5, filler(8))], version=0x10, exchange=4, flags=0)
    row("pass", "a header alone", [], absolute=28)
    row("pass", "an encrypted payload in IKE_SA_INIT", [(46, filler(64))])
    empty = [(SA, b""), (KE, b""), nonce(), SUPPORTED]
    c.add("pass", "empty SA and KE over IPv6: the answer would be longer", v6(ike(c.spi(), empty)))
    for n in (0, 1, 4, 27):
        c.add("drop", f"{n} bytes of IKE", v4(ike(c.spi(), NORMAL)[:n]))
    c.add("drop", "trailing bytes behind the IKE message", v4(ike(c.spi(), NORMAL) + b"\0\0\0\0"))
    c.add("drop", "one trailing byte behind the IKE message, IPv6", v6(ike(c.spi(), NORMAL) + b"\0"))
    c.add("pass", "500 bytes of noise", v4(filler(500)))
    return c


# ---- Ethernet, IP, UDP ------------------------------------------------------------------------------------------
def networks():
    c = Capture("crafted-net")

    def m(parts=NORMAL):
        return ike(c.spi(), parts)

    marker = bytes(4)
    c.add("answer", "VLAN 100", v4(m(), tags=[(0x8100, 100)]))
    c.add("answer", "VLAN 100 with priority 5, IPv6", v6(m(), tags=[(0x8100, 5 << 13 | 100)]))
    c.add("answer", "VLAN 0 (priority tag)", v4(m(), tags=[(0x8100, 0)]))
    c.add("answer", "QinQ 802.1ad", v4(m(), tags=[(0x88A8, 200), (0x8100, 100)]))
    c.add("answer", "QinQ 802.1ad, IPv6", v6(m(), tags=[(0x88A8, 200), (0x8100, 100)]))
    c.add("answer", "two 802.1Q tags", v4(m(), tags=[(0x8100, 200), (0x8100, 100)]))
    c.add("pass", "three tags", v4(m(), tags=[(0x88A8, 200), (0x8100, 100), (0x8100, 1)]))
    c.add("answer", "IPv4 option: router alert", v4(m(), ip=dict(options=b"\x94\4\0\0")))
    c.add("answer", "IPv4 options: no-operation and end", v4(m(), ip=dict(options=b"\1\1\1\0")))
    c.add("answer", "IPv4 option: record route, 40 bytes", v4(m(), ip=dict(options=b"\7\x27\4" + bytes(37))))
    c.add("pass", "IPv4 loose source route", v4(m(), ip=dict(options=b"\x83\7\4" + CLIENT4 + b"\0")))
    c.add("pass", "IPv4 strict source route", v4(m(), ip=dict(options=b"\x89\7\4" + CLIENT4 + b"\0")))
    c.add("answer", "IPv6 hop-by-hop options", v6(m(), headers=[(0, b"\0\1\4\0\0\0\0")]))
    c.add("answer", "IPv6 destination options", v6(m(), headers=[(60, b"\0\1\4\0\0\0\0")]))
    c.add("answer", "IPv6 hop-by-hop and destination options", v6(m(), headers=[(0, b"\0\5\2\0\0\1\0"), (60, b"\1\1\x0c" + bytes(12))]))
    c.add("pass", "IPv6 routing header with segments left", v6(m(), headers=[(43, b"\2\0\1" + bytes(4) + VIP6)]))
    c.add("drop", "IPv6 hop-by-hop longer than the packet", v6(m(), headers=[(0, b"\xff\1\4\0\0\0\0")]))
    c.add("pass", "IPv6 no next header", ether(0x86DD, ip6(udp(CLIENT6, VIP6, m()), following=59)))
    c.add("pass", "IPv6 authentication header", v6(m(), headers=[(51, b"\1\0\0" + filler(8))]))
    c.add("answer", "UDP checksum 0 over IPv4", v4(m(), zero=True))
    c.add("drop", "UDP checksum 0 over IPv6", v6(m(), zero=True))
    c.add("drop", "bad UDP checksum over IPv4", v4(m(), bad=0x0101))
    c.add("drop", "bad UDP checksum over IPv6", v6(m(), bad=0x0101))
    c.add("drop", "bad IPv4 header checksum", v4(m(), ip=dict(bad=0x0101)))
    for n in (-1, 1, -100, 100):
        c.add("drop", f"UDP length wrong by {n}", v4(m(), length=n))
    c.add("drop", "UDP length wrong by 1, IPv6", v6(m(), length=1))
    c.add("drop", "UDP length wrong by -1, IPv6", v6(m(), length=-1))
    c.add("drop", "UDP length 7", ether(0x0800, ip4(struct.pack(">HHHH", 500, 500, 7, 0) + m())))
    c.add("drop", "IPv4 total length beyond the frame", v4(m(), ip=dict(length=9)))
    c.add("drop", "IPv4 total length 19", ether(0x0800, ip4(udp(CLIENT4, VIP4, m()), length=-1 - 8 - len(m()))))
    c.add("drop", "IPv4 header length 4 words", v4(m(), ip=dict(words=4)))
    c.add("drop", "IPv4 header length beyond the frame", ether(0x0800, ip4(b"", words=15)))
    c.add("drop", "IPv6 payload length beyond the frame", v6(m(), ip=dict(length=9)))
    c.add("drop", "IP version 6 under the IPv4 ethertype", v4(m(), ip=dict(version=6)))
    c.add("drop", "IP version 4 under the IPv6 ethertype", v6(m(), ip=dict(version=4)))
    c.add("answer", "Ethernet padding behind IPv4", v4(m(), trailer=bytes(6)))
    c.add("answer", "Ethernet padding behind IPv6", v6(m(), trailer=bytes(6)))
    whole = v4(m())
    c.add("drop", "the frame cut at 200 bytes", whole[:200])
    c.add("drop", "the frame cut inside the UDP header", whole[:38])
    c.add("drop", "the frame cut inside the IP header", whole[:24])
    c.add("drop", "14 bytes: an Ethernet header alone", whole[:14])
    c.add("answer", "DSCP EF and ECN", v4(m(), ip=dict(tos=0xB9)))
    c.add("answer", "traffic class EF over IPv6", v6(m(), ip=dict(traffic=0xB8)))
    c.add("answer", "TTL 1", v4(m(), ip=dict(ttl=1)))
    c.add("answer", "do-not-fragment set", v4(m(), ip=dict(fragment=0x4000)))
    c.add("answer", "source port 61000 (behind NAT)", v4(m(), sport=61000))
    c.add("answer", "4500 with the marker", v4(marker + m(), sport=4500, dport=4500))
    c.add("answer", "4500 with the marker, IPv6", v6(marker + m(), sport=4500, dport=4500))
    c.add("answer", "4500 with the marker, source port 1024", v4(marker + m(), sport=1024, dport=4500))
    c.add("pass", "4500 without the marker: ESP with that SPI", v4(m(), sport=4500, dport=4500))
    c.add("pass", "the marker on port 500", v4(marker + m()))
    c.add("pass", "NAT keepalive", v4(b"\xff", sport=4500, dport=4500))
    c.add("pass", "NAT keepalive, IPv6", v6(b"\xff", sport=4500, dport=4500))
    c.add("pass", "ESP in UDP on 4500", v4(b"\xc2\x7d\x7e\x8c\0\0\0\1" + filler(80), sport=4500, dport=4500))
    c.add("pass", "ESP in UDP on 4500, IPv6", v6(b"\xc2\x7d\x7e\x8c\0\0\0\1" + filler(80), sport=4500, dport=4500))
    c.add("pass", "IKE_AUTH on 4500", v4(marker + ike(c.spi(), [(46, filler(200))], responder=filler(8), exchange=35, number=1), sport=4500, dport=4500))
    c.add("pass", "port 501", v4(m(), dport=501))
    c.add("pass", "from port 500 to another", v4(m(), sport=500, dport=5000))
    c.add("pass", "TCP to port 500", ether(0x0800, ip4(struct.pack(">HHIIBBHHH", 500, 500, 1, 0, 0x50, 2, 99, 0, 0), protocol=6)))
    c.add("pass", "ESP (protocol 50)", ether(0x0800, ip4(filler(100), protocol=50)))
    c.add("pass", "ICMP echo", ether(0x0800, ip4(b"\x08\0\xf7\xfd\0\1\0\1", protocol=1)))
    c.add("pass", "ARP request", ether(0x0806, struct.pack(">HHBBH", 1, 0x800, 6, 4, 1) + ROUTER + bytes([192, 0, 2, 254]) + bytes(6) + VIP4, b"\xff" * 6))
    c.add("pass", "an ethertype of nobody", ether(0x88B5, filler(60)))
    c.add("pass", "an 802.3 length instead of an ethertype", ether(60, filler(60)))
    return c


def fragments():
    c = Capture("crafted-fragments")
    big = [PROPOSAL, ke(1568, 37), nonce(), *NAT, SUPPORTED]

    def datagram(address=(CLIENT4, VIP4), parts=big, **u):
        return udp(*address, ike(c.spi(), parts), **u)

    six = (CLIENT6, VIP6)
    # The SPI belongs to the frame that completes the pair: the request is built as row N + 1.
    def pair(text, make, reverse=False, ends=("held", "answer"), **options):
        c.rows.append(None)  # the SPI of the second frame
        first, second = make()
        c.rows.pop()
        if reverse:
            first, second = second, first
        c.add(ends[0], text + (", second half first" if reverse else ", first half"), first)
        c.add(ends[1], text + (", first half last" if reverse else ", second half"), second)

    for reverse in (False, True):
        pair("IPv4 pair", lambda: halves4(datagram(), 1480, 100 + reverse), reverse)
        pair("IPv6 pair", lambda: halves6(datagram(six), 1448, 100 + reverse), reverse)
        pair("IPv4 pair cut after 32 bytes", lambda: halves4(datagram(), 32, 110 + reverse), reverse)
        pair("a small IPv4 request in two", lambda: halves4(datagram(parts=NORMAL), 64, 120 + reverse), reverse)
        pair("a small IPv6 request in two", lambda: halves6(datagram(six, NORMAL), 64, 120 + reverse), reverse)
        pair("IPv4 pair with a bad UDP checksum", lambda: halves4(datagram(bad=0x0101), 1480, 130 + reverse), reverse, ("drop", "drop"))
        pair("IPv6 pair without a UDP checksum", lambda: halves6(datagram(six, zero=True), 1448, 130 + reverse), reverse, ("drop", "drop"))
        pair("IPv4 pair that overlaps by 8", lambda: halves4(datagram(), 1480, 140 + reverse, overlap=8), reverse, ("drop", "drop"))
        pair("IPv6 pair that overlaps by 8", lambda: halves6(datagram(six), 1448, 140 + reverse, overlap=8), reverse, ("drop", "drop"))
        pair("IPv4 pair with a gap of 8", lambda: halves4(datagram(), 1480, 150 + reverse, gap=8), reverse, ("pass", "pass"))
        pair("nothing signalled", lambda: halves4(datagram(parts=big[:-1]), 1480, 160 + reverse), reverse, ("pass", "pass"))
        pair("nothing signalled, IPv6", lambda: halves6(datagram(six, big[:-1]), 1448, 160 + reverse), reverse, ("pass", "pass"))
        pair("IPv4 pair, trailing bytes behind IKE", lambda: halves4(udp(CLIENT4, VIP4, ike(c.spi(), big) + bytes(8)), 1480, 170 + reverse), reverse, ("drop", "drop"))
    pair("halves with different identifications", lambda: (halves4(datagram(), 1480, 180)[0], halves4(datagram(), 1480, 181)[1]), ends=("pass", "pass"))
    pair("halves from different sources", lambda: (halves4(datagram(), 1480, 182)[0], halves4(datagram(), 1480, 182, source=bytes([198, 51, 100, 3]))[1]), ends=("pass", "pass"))
    pair("on 4500, IPv4 pair", lambda: halves4(udp(CLIENT4, VIP4, bytes(4) + ike(c.spi(), big), 4500, 4500), 1480, 190))
    c.add("pass", "a first half alone", halves4(datagram(), 1480, 200)[0])
    c.add("pass", "a first half alone, IPv6", halves6(datagram(six), 1448, 200)[0])
    c.add("pass", "a second half alone", halves4(datagram(), 1480, 201)[1])
    c.add("pass", "a second half alone, IPv6", halves6(datagram(six), 1448, 201)[1])
    c.add("pass", "a second half beyond 65535", ether(0x0800, ip4(filler(64), ident=202, fragment=0x1FFF)))
    c.add("pass", "a first half of 8 bytes: UDP header only", ether(0x0800, ip4(datagram()[:8], ident=203, fragment=0x2000)))
    c.add("pass", "a first half whose length is no multiple of 8", ether(0x0800, ip4(datagram()[:1477], ident=204, fragment=0x2000)))
    for i in range(96):
        c.add("pass", "flood of first halves", halves4(udp(CLIENT4, VIP4, ike(c.spi(), NORMAL)), 64, 1000 + i)[0])
    return c


def strangers():
    c = Capture("crafted-elsewhere", "; replay with --mac 02:00:00:00:00:01, without --any-destination")

    def m():
        return ike(c.spi(), NORMAL)

    c.add("answer", "our MAC, the virtual address", v4(m(), target=NODE))
    c.add("answer", "our MAC, the virtual IPv6 address", v6(m(), target=NODE))
    c.add("drop", "another node's MAC", v4(m(), target=b"\2\0\0\0\0\x77"))
    c.add("drop", "another node's MAC, IPv6", v6(m(), target=b"\2\0\0\0\0\x77"))
    c.add("pass", "broadcast MAC", v4(m(), target=b"\xff" * 6))
    c.add("pass", "multicast MAC", v4(m(), target=b"\1\0\x5e\0\0\1"))
    c.add("pass", "our MAC, an address that is no virtual one", v4(m(), target=NODE, ip=dict(target=bytes([192, 0, 2, 11]))))
    c.add("pass", "our MAC, an IPv6 address that is no virtual one", v6(m(), target=NODE, ip=dict(target=VIP6[:15] + b"\x11")))
    c.add("pass", "our MAC, multicast address", v4(m(), target=NODE, ip=dict(target=bytes([224, 0, 0, 2]))))
    c.add("pass", "our MAC, limited broadcast", v4(m(), target=NODE, ip=dict(target=b"\xff" * 4)))
    return c


if __name__ == "__main__":
    for capture in (messages(), networks(), fragments(), strangers()):
        capture.write(sys.argv[1])
