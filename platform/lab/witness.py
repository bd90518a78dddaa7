#!/usr/bin/env python3
"""Asks at a virtual address many times a second, and witnesses at the bridge's ports which node answered.

One process and one clock (CLOCK_REALTIME; frames bear the kernel's receive time) for the client in one network
namespace, the bridge's ports in another, and the faults, which it commits itself on the word of a pipe:

    mark WORD...               only a line in the log
    kill SIGNAL PID WORD...    a line in the log, then the signal
    link PORT up|down WORD...  a line in the log, then the bridge port goes up or down
    end

The log, one event a line, `SECONDS KIND ...`:
    ask ID                     the client sent a request (an IKE_SA_INIT, or with --ping an echo request)
    answer ID NODE MAC         an answer came in at the bridge port of NODE, from that source MAC
    got ID VERDICT             the client has it, and what it is (`redirect ADDRESS`, `echo`, `wrong ...`)
    claim NODE WHAT            NODE says that it owns the address: garp, na, hello, coup, vrrp
    resign NODE
    mark WORD...
"""
import argparse
import ctypes
import fcntl
import os
import select
import signal
import socket
import struct
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import knock  # noqa: E402

SOL_PACKET, PACKET_IGNORE_OUTGOING, ETH_P_ALL = 263, 23, 3
SO_TIMESTAMPNS = 35
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)


def enter(namespace):
    """Sockets made from now on belong to this namespace."""
    with open(f"/run/netns/{namespace}") as there:
        if LIBC.setns(there.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter the namespace {namespace}")


def received(sock):
    """A datagram and its time: the kernel's, in seconds."""
    data, extra, _, _ = sock.recvmsg(4096, 128)
    for level, kind, value in extra:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
            seconds, ns = struct.unpack("ll", value[:16])
            return data, seconds + ns / 1e9
    return data, time.time()


def hsrp(data):
    """What an HSRP message means to a witness: `hello` of an active, `coup`, `resign`, or nothing."""
    if len(data) >= 42 and data[0] == 1 and data[2] == 2:  # version 2: the group state TLV
        opcode, active = data[3], data[4] == 6
    elif len(data) >= 20 and data[0] == 0:
        opcode, active = data[1], data[2] == 16
    else:
        return None
    return {1: "coup", 2: "resign"}.get(opcode) or ("hello" if active and opcode == 0 else None)


def testimony(frame, virtual):
    """(kind, text) for a frame that came in at a node's port, or None."""
    mac, kind, at = frame[6:12].hex(":"), frame[12:14], 14
    if kind == b"\x08\x06":
        arp = frame[14:42]
        if arp[14:18] == virtual == arp[24:28]:
            return "claim", "garp"
        return None
    if kind == b"\x08\x00" and len(virtual) == 4:
        protocol, source, at = frame[23], frame[26:30], 14 + (frame[14] & 15) * 4
    elif kind == b"\x86\xdd" and len(virtual) == 16:
        protocol, source, at = frame[20], frame[22:38], 54
    else:
        return None
    rest = frame[at:]
    if protocol == 17 and len(rest) >= 16:
        sport, dport = struct.unpack(">HH", rest[:4])
        if sport == 500 and source == virtual:
            return "answer", f"{rest[8:16].hex()} {{}} {mac}"
        if dport in (1985, 2029):
            what = hsrp(rest[8:])
            return what and (("resign", "") if what == "resign" else ("claim", what))
    if protocol == 1 and rest[:1] == b"\0" and source == virtual:
        return "answer", f"{rest[4:8].hex()} {{}} {mac}"
    if protocol == 58 and rest[:1] == b"\x88" and rest[8:24] == virtual:
        return "claim", "na"
    return ("claim", "vrrp") if protocol == 112 else None


class Client:
    def __init__(self, options):
        self.ping, self.to, self.open = options.ping, options.to, {}
        family = socket.AF_INET6 if ":" in options.to else socket.AF_INET
        if self.ping:
            self.sock = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        else:
            self.sock = socket.socket(family, socket.SOCK_DGRAM)
            self.sock.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", 0))
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.sequence = 0

    def ask(self):
        """Sends one request; its id."""
        if self.ping:
            self.sequence = (self.sequence + 1) & 0xFFFFFFFF
            name = struct.pack(">I", self.sequence)
            head = b"\x08\0\0\0" + name + bytes(24)
            total = sum(struct.unpack(">16H", head))
            total = (total & 0xFFFF) + (total >> 16)
            total += total >> 16
            message = head[:2] + struct.pack(">H", ~total & 0xFFFF) + head[4:]
            port = 0
        else:
            name, nonce = os.urandom(8), os.urandom(32)
            message, port = knock.request(name, nonce), 500
            self.open[name] = nonce
            while len(self.open) > 4000:
                del self.open[next(iter(self.open))]
        when = time.time()
        try:
            self.sock.sendto(message, (self.to, port))
        except OSError:
            pass  # nobody at home is silence
        return when, name.hex()

    def hear(self):
        """The answers that have come: (time, id, verdict)."""
        while True:
            try:
                data, when = received(self.sock)
            except BlockingIOError:
                return
            except OSError:
                continue  # an ICMP error
            if self.ping:
                data = data[(data[0] & 15) * 4:]
                if data[:1] == b"\0":
                    yield when, data[4:8].hex(), "echo"
            else:
                nonce = self.open.get(data[:8])
                yield when, data[:8].hex(), knock.judge(data, data[:8], nonce) if nonce else "wrong SPIi"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("to", help="the virtual address")
    p.add_argument("--client", required=True, help="namespace of the client")
    p.add_argument("--lan", required=True, help="namespace of the bridge")
    p.add_argument("--ports", required=True, help="the nodes' bridge ports, with commas between")
    p.add_argument("--pipe", required=True, help="named pipe for commands, made here")
    p.add_argument("--log", required=True)
    p.add_argument("--rate", type=float, default=200, help="requests a second")
    p.add_argument("--ping", action="store_true", help="echo requests instead of IKE_SA_INIT")
    options = p.parse_args()
    virtual = socket.inet_pton(socket.AF_INET6 if ":" in options.to else socket.AF_INET, options.to)

    enter(options.client)
    client = Client(options)
    enter(options.lan)
    control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sniffers = {}
    for port in options.ports.split(","):
        sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        sniffer.bind((port, ETH_P_ALL))
        sniffer.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        sniffer.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        sniffer.setblocking(False)
        sniffers[sniffer.fileno()] = sniffer, port
    os.mkfifo(options.pipe)
    pipe = os.open(options.pipe, os.O_RDWR | os.O_NONBLOCK)
    log = open(options.log, "w", buffering=1)

    def link(port, up):
        flags = struct.unpack("16xh14x", fcntl.ioctl(control, SIOCGIFFLAGS, struct.pack("16s16x", port.encode())))[0]
        flags = flags | IFF_UP if up else flags & ~IFF_UP
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh14x", port.encode(), flags))

    def obey(line):
        words = line.split()
        if not words or words[0] == "end":
            return words == ["end"]
        said = words[1:] if words[0] == "mark" else words[3:]
        log.write(f"{time.time():.6f} mark {' '.join(said)}\n")
        try:
            if words[0] == "kill":
                os.kill(int(words[2]), getattr(signal, f"SIG{words[1]}"))
            elif words[0] == "link":
                link(words[1], words[2] == "up")
        except OSError as error:
            log.write(f"{time.time():.6f} mark failed {line.strip()}: {error}\n")
        return False

    poller = select.poll()
    for fd in [client.sock.fileno(), pipe, *sniffers]:
        poller.register(fd, select.POLLIN)
    step, due = 1 / options.rate, time.monotonic()
    while True:
        events = poller.poll(max(0.0, (due - time.monotonic()) * 1000))
        for fd, _ in events:
            if fd == pipe:
                if any([obey(line) for line in os.read(pipe, 65536).decode().splitlines()]):
                    return
            elif fd == client.sock.fileno():
                for when, name, verdict in client.hear():
                    log.write(f"{when:.6f} got {name} {verdict}\n")
            else:
                sniffer, port = sniffers[fd]
                try:
                    frame, when = received(sniffer)
                except OSError:
                    continue  # the port went down
                said = testimony(frame, virtual)
                if said:
                    text = said[1].format(port) if said[0] == "answer" else f"{port} {said[1]}"
                    log.write(f"{when:.6f} {said[0]} {text}\n")
        now = time.monotonic()
        if now >= due:
            when, name = client.ask()
            log.write(f"{when:.6f} ask {name}\n")
            # A machine that was busy does not make up for what it missed.
            due = max(due + step, now - step)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
