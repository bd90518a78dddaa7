"""TRex STL profile: IKE_SA_INIT requests from requests.pcap, each with an SPI, a nonce and a client of its own.

start -f trex.py -m 5mpps -t pcap=requests.pcap
The template's UDP checksum is set to 0, which says over IPv4 that there is none: TRex cannot update it for what varies.
"""
import argparse
import os

from scapy.utils import rdpcap
from trex_stl_lib.api import (STLPktBuilder, STLScVmRaw, STLStream, STLTXCont, STLVmFixIpv4, STLVmFlowVar,
                              STLVmWrFlowVar)


class IkeSaInit:
    def get_streams(self, direction=0, tunables=(), **kwargs):
        parser = argparse.ArgumentParser()
        here = os.path.dirname(os.path.abspath(__file__))
        parser.add_argument("--pcap", default=os.path.join(here, "requests.pcap"))
        parser.add_argument("--clients", type=int, default=64)
        args = parser.parse_args(tunables)
        frame = bytearray(bytes(rdpcap(args.pcap, count=1)[0]))
        if frame[12:14] != b"\x08\x00":
            raise ValueError(f"{args.pcap}: this profile varies untagged IPv4: make the capture without --vlan")
        ip = 14
        udp = ip + 4 * (frame[ip] & 0xF)
        ike = udp + 8
        frame[udp + 6:udp + 8] = b"\0\0"
        nonce = self.nonce(frame, ike)
        first = int.from_bytes(frame[ip + 12:ip + 16], "big")
        vm = STLScVmRaw([
            STLVmFlowVar(name="spi", min_value=1, max_value=2**64 - 1, size=8, op="random"),
            STLVmWrFlowVar(fv_name="spi", pkt_offset=ike),
            STLVmWrFlowVar(fv_name="spi", pkt_offset=nonce),
            STLVmFlowVar(name="client", min_value=first, max_value=first + args.clients - 1, size=4, op="inc"),
            STLVmWrFlowVar(fv_name="client", pkt_offset=ip + 12),
            STLVmFixIpv4(offset=ip),
        ])
        return [STLStream(packet=STLPktBuilder(pkt=bytes(frame), vm=vm), mode=STLTXCont())]

    @staticmethod
    def nonce(frame, ike):
        """Where the nonce's data stands: payload type 40 in the chain (RFC 7296 section 3.2)."""
        kind, at = frame[ike + 16], ike + 28
        while kind and at + 4 <= len(frame):
            following, length = frame[at], int.from_bytes(frame[at + 2:at + 4], "big")
            if kind == 40:
                return at + 4
            if length < 4:
                break
            kind, at = following, at + length
        raise ValueError("no nonce payload in the template")


def register():
    return IkeSaInit()
