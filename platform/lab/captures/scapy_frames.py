#!/usr/bin/env python3
"""Requests built by scapy's own IKEv2 layer (2.8 or later: Debian's 2.5 has another redirect layout).

scapy_frames.py FOLDER writes scapy.pcap and scapy.tsv: plain ones for both families and ports, a COOKIE,
REDIRECTED_FROM, and requests with an ML-KEM-1024 key share, which are longer than the MTU and so come in two
fragments. Its own REDIRECT answer (IPv4, IPv6, FQDN) is there too: an answer is never to be answered."""
import os
import random
import sys

from scapy.contrib.ikev2 import (IKEv2, IKEv2_KE, IKEv2_Nonce, IKEv2_Notify, IKEv2_Proposal, IKEv2_SA,
                                 IKEv2_Transform)
from scapy.layers.inet import IP, UDP, fragment
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, fragment6
from scapy.layers.l2 import Ether
from scapy.packet import Raw
from scapy.utils import wrpcap

random.seed(5685)
VIP4, VIP6, CLIENT4, CLIENT6 = "192.0.2.1", "2001:db8::1", "198.51.100.2", "2001:db8:c::2"
TO = dict(dst="00:00:0c:07:ac:01", src="02:00:00:00:00:fe")
rows = []  # (frame, expect, description)


def data(n):
    return bytes(random.getrandbits(8) for _ in range(n))


def transforms(group):
    return (IKEv2_Transform(transform_type="Encryption", transform_id=12, key_length=256)
            / IKEv2_Transform(transform_type="PRF", transform_id=5)
            / IKEv2_Transform(transform_type="Integrity", transform_id=12)
            / IKEv2_Transform(transform_type="GroupDesc", transform_id=group))


def init(ke=32, group=31, extra=None, first=None, flags="Initiator", nonce=32):
    message = IKEv2(init_SPI=data(8), resp_SPI=bytes(8), exch_type="IKE_SA_INIT", flags=flags)
    if first is not None:
        message /= first
    message /= IKEv2_SA(prop=IKEv2_Proposal(trans_nb=4, trans=transforms(group)))
    message /= IKEv2_KE(group=group, ke=data(ke))
    message /= IKEv2_Nonce(nonce=data(nonce))
    if extra is not None:
        message /= extra
    return IKEv2(bytes(message))


def supported():
    return IKEv2_Notify(type=16406)


def v4(message, port=500, **ip):
    marker = Raw(bytes(4)) if port == 4500 else None
    body = marker / message if marker else message
    return Ether(**TO) / IP(src=CLIENT4, dst=VIP4, **ip) / UDP(sport=port, dport=port) / Raw(bytes(body))


def v6(message, port=500):
    body = bytes(4 if port == 4500 else 0) + bytes(message)
    return Ether(**TO) / IPv6(src=CLIENT6, dst=VIP6) / UDP(sport=port, dport=port) / Raw(body)


def add(frame, expect, text):
    rows.append((Ether(bytes(frame)), expect, text))


add(v4(init(extra=supported())), "answer", "IPv4, REDIRECT_SUPPORTED")
add(v6(init(extra=supported())), "answer", "IPv6, REDIRECT_SUPPORTED")
add(v4(init(extra=supported()), 4500), "answer", "IPv4 on 4500 with the marker")
add(v6(init(extra=supported()), 4500), "answer", "IPv6 on 4500 with the marker")
add(v4(init()), "pass", "IPv4, nothing signalled")
add(v6(init()), "pass", "IPv6, nothing signalled")
add(v4(init(first=IKEv2_Notify(type=16390, notify=data(20)), extra=supported())), "answer", "COOKIE first")
add(v4(init(extra=IKEv2_Notify(type=16408, gw_id_type=1, gw_id="203.0.113.7"))), "answer", "REDIRECTED_FROM an IPv4 gateway")
add(v6(init(extra=IKEv2_Notify(type=16408, gw_id_type=2, gw_id="2001:db8:7::7"))), "answer", "REDIRECTED_FROM an IPv6 gateway")
for kind, name in ((1, "198.51.100.10"), (2, "2001:db8:1::10"), (3, b"gw.example.net")):
    answer = IKEv2(init_SPI=data(8), resp_SPI=bytes(8), exch_type="IKE_SA_INIT", flags="Response")
    add(v4(answer / IKEv2_Notify(type=16407, gw_id_type=kind, gw_id=name, nonce=data(32))), "pass", f"a REDIRECT answer, identity type {kind}")

big = dict(ke=1568, group=37, extra=supported())
first, second = fragment(v4(init(**big), id=7), 1480)
add(first, "held", "ML-KEM-1024 over IPv4, first half")
add(second, "answer", "ML-KEM-1024 over IPv4, second half")
first, second = fragment(v4(init(**big), id=8), 1480)
add(second, "held", "ML-KEM-1024 over IPv4, second half first")
add(first, "answer", "ML-KEM-1024 over IPv4, first half last")
message = v6(init(**big))
message = Ether(**TO) / IPv6(src=CLIENT6, dst=VIP6) / IPv6ExtHdrFragment(id=9) / message[UDP]
first, second = fragment6(message, 1500)
add(first, "held", "ML-KEM-1024 over IPv6, first half")
add(second, "answer", "ML-KEM-1024 over IPv6, second half")
message = v6(init(**big))
first, second = fragment6(Ether(**TO) / IPv6(src=CLIENT6, dst=VIP6) / IPv6ExtHdrFragment(id=10) / message[UDP], 1500)
add(second, "held", "ML-KEM-1024 over IPv6, second half first")
add(first, "answer", "ML-KEM-1024 over IPv6, first half last")
first, second = fragment(v4(init(ke=1568, group=37), id=11), 1480)
add(first, "pass", "ML-KEM-1024 over IPv4, nothing signalled, first half")
add(second, "pass", "ML-KEM-1024 over IPv4, nothing signalled, second half")

folder = sys.argv[1]
for i, (frame, _, _) in enumerate(rows):
    frame.time = 1_700_000_000 + i / 1000
wrpcap(os.path.join(folder, "scapy.pcap"), [frame for frame, _, _ in rows])
with open(os.path.join(folder, "scapy.tsv"), "w", encoding="utf-8") as out:
    print("# frame\texpect\twhat it is", file=out)
    for i, (_, expect, text) in enumerate(rows, 1):
        print(f"{i}\t{expect}\t{text}", file=out)
