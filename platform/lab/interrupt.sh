#!/bin/bash
# A demo that is interrupted with Ctrl-C, terminated, or that fails leaves nothing: no namespace, process, folder.
. "$(dirname "$0")/lib.sh"
lab_start interrupt
need_usher
# What a demo with that process id left: namespaces, its folder, processes of its session.
traces() {
    ip netns list | awk '{print $1}' | grep "^ul$1-"
    ls -d "/tmp/usher-lab.$1".* 2>/dev/null
    ps -e -o sid=,pid=,stat=,args= | awk -v sid="$1" '$1 == sid && $3 !~ /^Z/'
}
# ended TEXT STATUS PATTERN SIGNAL: the demo is signalled once it has said PATTERN; the demo, alone in its process group, as a terminal would signal it
ended() {
    local text=$1 wanted=$2 pattern=$3 signal=$4 pid status
    # A shell's background job would ignore SIGINT for ever: python restores it before the exec.
    "$PY" -c 'import os, signal, sys
os.setsid(); signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv("/bin/bash", ["bash", *sys.argv[1:]])' \
        "$LAB_DIR/demo.sh" >"$RUN/demo.log" 2>&1 &
    pid=$!
    PIDS+=("$pid")
    wait_for 60 "$pattern" grep -q "$pattern" "$RUN/demo.log" || bad "$text: the demo never said $pattern"
    sleep 0.2
    kill "-$signal" -- "-$pid"
    wait_for 60 "the demo to end" bash -c "! kill -0 $pid" || bad "$text: it does not end"
    wait "$pid"
    status=$?
    equal "$text: exit" "$wanted" "$status"
    equal "$text: left behind" "" "$(traces "$pid")"
}
ended "Ctrl-C early" 130 "The stage" INT
ended "Ctrl-C in the middle" 130 "Over IPv4" INT
ended "SIGTERM" 143 "The configuration" TERM

story "A failure in the middle"
mkdir "$RUN/broken"
for b in usherd usher-dataplane usher; do
    printf '#!/bin/sh\necho broken >&2\nexit 1\n' >"$RUN/broken/$b"
    chmod +x "$RUN/broken/$b"
done
USHER_BIN=$RUN/broken USHER_NEED=5 setsid "$LAB_DIR/demo.sh" >"$RUN/broken.txt" 2>&1 &
pid=$!
wait "$pid"
equal "a demo with broken binaries: exit" 1 $?
has "it says what it waited for" "waited in vain" "$(cat "$RUN/broken.txt")"
equal "left behind" "" "$(traces "$pid")"
lab_end
