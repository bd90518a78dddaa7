#!/bin/bash
# Ends laboratories that `demo.sh --keep` left running, and those whose script was killed: their processes, namespaces
# and folders. A laboratory whose script still runs is left alone.
set -uo pipefail
export PATH=$PATH:/usr/sbin:/sbin
pids() { for space in "$@"; do ip netns pids "$space" 2>/dev/null; done; }
for folder in /tmp/usher-lab.*; do
    [ -d "$folder" ] || continue
    owner=${folder#/tmp/usher-lab.}
    owner=${owner%%.*}
    # A zombie has no command line.
    [ -e "$folder/kept" ] || ! grep -qs . "/proc/$owner/cmdline" || continue
    mapfile -t spaces < <(ip netns list | awk '{print $1}' | grep "^ul$owner-")
    for pid in $(pids "${spaces[@]}"); do kill "$pid" 2>/dev/null; done
    for _ in $(seq 50); do
        [ -n "$(pids "${spaces[@]}")" ] || break
        sleep 0.1
    done
    for pid in $(pids "${spaces[@]}"); do kill -9 "$pid" 2>/dev/null; done
    for space in "${spaces[@]}"; do ip netns del "$space"; done
    rm -rf "$folder" /run/usher-lab."$owner".*
    echo "ended $folder"
done
