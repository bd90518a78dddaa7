#!/bin/bash
# The units under a systemd of their own, in namespaces and over a copy of this system's files that is thrown away: what is
# sandboxed there works, each process comes back alone, and the role outlives both. Seconds.
. "$(dirname "$0")/lib.sh"
lab_start systemd
need_usher
cd "$ROOT" || exit 1
INIT=/lib/systemd/systemd
[ -x $INIT ] || die "$INIT is missing: run platform/lab/deps.sh"
make_space node client
make_link client eth0 node v0
on node sysctl -qw net.ipv6.conf.v0.disable_ipv6=1
on node ip link set v0 address 02:00:00:00:00:01
address client eth0 192.0.2.100/24
env -u MAKEFLAGS -u MAKELEVEL make -s install DESTDIR="$RUN/stage" PREFIX=/usr >"$RUN/make.log" 2>&1 || die "make install: $(cat "$RUN/make.log")"
mkdir -p "$RUN/stage/etc/usher" "$RUN/stage/usr/local/sbin"
cat >"$RUN/stage/usr/local/sbin/load" <<'EOL'
#!/bin/sh
cp /proc/self/status /tmp/load-status
if systemd-run --no-block /bin/true 2>/dev/null || cat /etc/shadow >/dev/null 2>&1; then touch /tmp/load-escaped; fi
echo half_open=0 ike=7 child=8
EOL
chmod 755 "$RUN/stage/usr/local/sbin" "$RUN/stage/usr/local/sbin/load"
profile_file && mv "$RUN/profile.toml" "$RUN/stage/etc/usher/"
cat >"$RUN/stage/etc/usher/usher.conf" <<EOC
hostname node
!
interface GigabitEthernet0/0/0
 ip address $NODE4 255.255.255.0
 standby version 2
 standby delay minimum 0 reload 0
 standby 1 ip $VIP4
 standby 1 timers msec 50 msec 150
 standby 1 lease-limit 10
 standby 1 name vpn
!
crypto ikev2 redirect gateway init
!
crypto ikev2 cluster
 standby-group vpn
 static-gateway $GW1_4
 secondary max-session 1000
 load-source script /usr/local/sbin/load
 no shutdown
!
end
EOC
# systemd's own cgroups lie below one of this run, in whichever hierarchy it uses.
TREE=/sys/fs/cgroup/systemd KIND='cgroup -o none,name=systemd'
[ ! -e /sys/fs/cgroup/cgroup.controllers ] || TREE=/sys/fs/cgroup KIND=cgroup2
GROUP=$TREE/usher-lab.$$
mkdir "$GROUP" || die "$GROUP cannot be made: systemd needs a cgroup"
groups_gone() { find "$GROUP" -depth -type d -exec rmdir {} \; 2>/dev/null; [ ! -e "$GROUP" ]; }
INIT_PID=''
trap 'status=$?; [ -z "$INIT_PID" ] || kill -KILL "$INIT_PID" 2>/dev/null; wait_for 5 "the cgroups" groups_gone; (exit $status); lab_cleanup' EXIT
cat >"$RUN/boot" <<EOB
#!/bin/sh -e
mount --make-rprivate /
mkdir "$RUN/over"
mount -t tmpfs tmpfs "$RUN/over"
cd "$RUN/over"
mkdir up work root
mount -t overlay overlay -o lowerdir=/,upperdir=up,workdir=work root
cp -a "$RUN/stage/." root/
cd root
# As systemd-nspawn has it: the machine's devices and switches are out of reach, those of this network are not.
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount --bind proc/sys/net proc/sys/net
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t tmpfs tmpfs sys/fs/cgroup
if [ "$KIND" = cgroup2 ]; then mount -t cgroup2 cgroup2 sys/fs/cgroup
else mkdir sys/fs/cgroup/systemd && mount -t $KIND cgroup sys/fs/cgroup/systemd; fi
mount -t tmpfs -o mode=755 tmpfs dev
for node in null zero full random urandom tty; do cp -a /dev/\$node dev/; done
mkdir dev/net dev/shm dev/pts dev/hugepages old
cp -a /dev/net/tun dev/net/
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs tmpfs tmp
pivot_root . old
umount -l /old
export container=lxc
exec $INIT --system --unit=basic.target --log-target=console --show-status=0
EOB
chmod +x "$RUN/boot"
# The first shell puts itself into the cgroup, and only then becomes the root of a namespace of them. Not by `ip netns exec`,
# which has a /sys of its own.
nsenter --net="/run/netns/$(ns node)" sh -c "echo \$\$ >$GROUP/cgroup.procs && exec unshare --fork --pid --mount --cgroup --uts --ipc --kill-child $RUN/boot" \
    >>"$RUN/systemd.log" 2>&1 </dev/null &
echo $! >"$RUN/systemd.pid"
PIDS+=($!)
disown $!
found() { INIT_PID=$(pgrep -P "$(pid_of systemd)"); [ -n "$INIT_PID" ]; }
need 10 "the namespaces" found
sd() { timeout 30 nsenter -t "$INIT_PID" -a "$@"; }
is_up() { sd systemctl is-system-running | grep -qE 'running|degraded'; }
need 60 "systemd" is_up
show() { sd usher show "$@" 2>&1; }
active() { show standby brief | grep -q 'Active *local'; }
of() { sd systemctl show -p "$2" --value "$1"; } # UNIT PROPERTY
answered() { knock client --timeout 1 $VIP4; }

story "systemctl start"
sd systemd-sysusers
sd systemd-tmpfiles --create usher.conf
check "usherd tells that it is ready, and both start" sd systemctl start usherd usher-dataplane
need 20 "the role" active
check "a client is redirected" wait_for 20 "a redirect" answered
thread() { sd sh -c "for t in /proc/$(of usherd MainPID)/task/*; do chrt -p \${t##*/} | grep -c 'policy: SCHED_$1'; done" | awk '{ n += $1 } END { print n }'; }
equal "threads of usherd that go before others: the loop alone" 1 "$(thread FIFO)"
# CAP_CHOWN, CAP_KILL, CAP_SETGID, CAP_SETUID, CAP_NET_ADMIN, CAP_NET_RAW
equal "its capabilities" 00000000000030e1 "$(sd awk '/^CapEff/ { print $2 }' "/proc/$(of usherd MainPID)/status")"
measured() { show crypto ikev2 cluster | grep -Eq "${NODE4//./\\.} .* 7( |\$)"; }
check "the load of its script is known" wait_for 20 "the load" measured
# usherd's /tmp is its own.
in_tmp() { sd sh -c "cat /proc/$(of usherd MainPID)/root/tmp/$1 2>/dev/null"; }
equal "the script runs as usher-load" "$(sd id -u usher-load)" "$(in_tmp load-status | awk '/^Uid/ { print $2 }')"
equal "without capabilities" 0000000000000000 "$(in_tmp load-status | awk '/^CapEff/ { print $2 }')"
check "without a way to PID 1 or to the shadow file" sd sh -c "[ ! -e /proc/$(of usherd MainPID)/root/tmp/load-escaped ]"
has "the journal has it" '%HSRP-5-STATECHANGE: .* state Standby -> Active' "$(sd journalctl --no-pager -u usherd -o cat)"

story "configure, write memory, reload"
said=$(printf 'configure terminal\nhostname changed\nend\nwrite memory\n' | sd usher 2>&1)
has "the configuration is written" '\[OK\]' "$said"
equal "in /etc/usher" 1 "$(sd grep -c '^hostname changed' /etc/usher/usher.conf)"
check "systemctl reload" sd systemctl reload usherd
loaded() { sd journalctl --no-pager -u usherd -o cat | grep -q '%CONFIG-5-LOADED'; }
check "it is read" wait_for 10 "the configuration" loaded

story "Each process is killed"
before=$(of usherd MainPID)
sd systemctl kill --kill-who=main -s KILL usherd
again() { [ "$(of "$1" NRestarts)" = "$2" ] && [ "$(of "$1" ActiveState)" = active ]; }
check "usherd comes back" wait_for 15 "usherd" again usherd 1
equal "as another process" 1 "$([ "$(of usherd MainPID)" != "$before" ] && echo 1)"
resumed() { sd journalctl --no-pager -u usherd -o cat | grep -q '%HSRP-5-RESUME: .* resuming as Active'; }
check "and goes on as active" wait_for 10 "the lease" resumed
check "clients are redirected" wait_for 10 "a redirect" answered
sd systemctl kill --kill-who=main -s KILL usher-dataplane
check "the data plane comes back" wait_for 15 "the data plane" again usher-dataplane 1
check "clients are redirected" wait_for 20 "a redirect" answered

story "systemctl stop"
check "both stop" sd systemctl stop usherd usher-dataplane
equal "results" 'success success' "$(of usherd Result) $(of usher-dataplane Result)"
hasnt "nothing was refused" 'Operation not permitted|Permission denied|SIGSYS|seccomp' "$(sd journalctl --no-pager -u usherd -u usher-dataplane -o cat)"
sd journalctl --no-pager -u usherd -u usher-dataplane -o short >"$RUN/journal.log"
kill_wait systemd KILL
check "its cgroups are gone" wait_for 10 "the cgroups" groups_gone
lab_end
