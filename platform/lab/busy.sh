#!/bin/bash
# Runs a command beside a competitor: a process that spins on the last core for a bounded time and ends with the command.
#   busy.sh SECONDS COMMAND [ARGUMENT...]
[[ ${1:-} =~ ^[0-9]+$ && $# -ge 2 ]] || { echo "usage: $0 SECONDS COMMAND [ARGUMENT...]" >&2; exit 2; }
limit=$1
shift
timeout "$limit" taskset -c "$(($(nproc) - 1))" sh -c 'while :; do :; done' &
competitor=$!
trap 'kill "$competitor" 2>/dev/null; wait "$competitor" 2>/dev/null' EXIT
"$@"
