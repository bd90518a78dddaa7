#!/usr/bin/env python3
"""The verdict wanted for each frame of a capture, judged by tshark: NUMBER, answer, held or pass, description.

To be answered is a whole IKEv2 IKE_SA_INIT request, message id 0, responder SPI 0, that signals REDIRECT_SUPPORTED or
REDIRECTED_FROM. It serves recordings of real implementations; made ones carry their maker's own table."""
import subprocess
import sys

NOTIFIES = {"16390": "COOKIE", "16406": "REDIRECT_SUPPORTED", "16407": "REDIRECT", "16408": "REDIRECTED_FROM"}


def fields(capture, names, *options):
    """The fields of every frame as decoded by tshark in two passes, a dict a frame; repeated ones joined by commas."""
    command = ["tshark", "-n", "-2", *options, "-r", str(capture), "-T", "fields", "-E", "separator=/t"]
    for name in names:
        command += ["-e", name]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"tshark cannot read {capture}: {done.stderr.strip()}")
    return [dict(zip(names, line.split("\t"))) for line in done.stdout.splitlines()]


def judge(capture):
    """[(number, expect, description)]"""
    rows, halves = {}, {}
    names = ["frame.number", "isakmp.exchangetype", "isakmp.flag_r", "isakmp.flag_i", "isakmp.messageid", "isakmp.rspi",
             "isakmp.notify.msgtype", "isakmp.nonce", "_ws.col.Protocol", "_ws.col.Info", "_ws.malformed", "ip.src",
             "ipv6.src", "ip.reassembled_in", "ipv6.reassembled.in"]
    for f in fields(capture, names):
        told = [NOTIFIES[n] for n in f["isakmp.notify.msgtype"].split(",") if n in NOTIFIES]
        request = f["isakmp.exchangetype"] == "34" and f["isakmp.flag_r"] in ("0", "False") and f["isakmp.flag_i"] in ("1", "True")
        wanted = (request and int(f["isakmp.messageid"], 0) == 0 and set(f["isakmp.rspi"].replace(":", "")) == {"0"}
                  and f["isakmp.nonce"] and not f["_ws.malformed"] and {"REDIRECT_SUPPORTED", "REDIRECTED_FROM"} & set(told))
        info = f["_ws.col.Info"]
        if request:
            info = ", ".join(["IKE_SA_INIT request", *told])
        source = (f["ip.src"] or f["ipv6.src"] or "the LAN").split(",")[0]
        rows[f["frame.number"]] = ("answer" if wanted else "pass", f"{f['_ws.col.Protocol']} {info} from {source}")
        halves[f["frame.number"]] = f["ip.reassembled_in"] or f["ipv6.reassembled.in"]
    # A fragment of a request that is answered waits for its other half; others pass as they came.
    return [(int(number), "held" if rows.get(halves[number], ("",))[0] == "answer" else expect, text)
            for number, (expect, text) in rows.items()]


if __name__ == "__main__":
    print("# frame\texpect\twhat it is")
    for row in judge(sys.argv[1]):
        print(*row, sep="\t")
