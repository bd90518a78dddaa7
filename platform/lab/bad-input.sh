#!/bin/bash
# Bad input of an operator: each case ends in one clear message that names the thing and what to do, with a non-zero
# exit, and leaves no namespace, device, lock or socket behind.
. "$(dirname "$0")/lib.sh"
lab_start bad-input
need_usher
make_space node
make_link node v0 node v1
on node ip link set v0 address 02:00:00:00:00:01
usher_files
dpdk=$(ls -A /var/run/dpdk 2>/dev/null)
mkdir -p "$RUN/run" "$RUN/bin"
cp "$USHER_BIN"/{usherd,usher-dataplane,usher} "$RUN/bin" # where an ordinary user may run them
chmod -R a+rX "$RUN"

# What a failed start could leave: devices, namespaces, DPDK's runtime folders, hugepage files, sockets, temporaries.
traces() {
    on node ip -br link | awk '{print $1}'
    ip netns list | awk '{print $1}' | grep "^$PFX"
    ls -A /var/run/dpdk /dev/hugepages /run/usher "$RUN/run" 2>/dev/null
    on node ip -d link show v0 | grep -o 'xdp[a-z/]*'
}

# refuses TEXT EXIT PATTERN COMMAND...: EXIT is a number or `any` (but 0); the pattern stands in the message.
refuses() {
    local text=$1 wanted=$2 pattern=$3 was status said
    shift 3
    was=$(traces)
    said=$(on node timeout -k 5 30 "$@" 2>&1 >/dev/null </dev/null)
    status=$?
    if [ "$status" = 0 ] || [ "$status" -ge 124 ] || { [ "$wanted" != any ] && [ "$status" != "$wanted" ]; }; then
        bad "$text: exit $status, wanted $wanted"
        indent <<<"$said"
    elif ! grep -qiE -- "$pattern" <<<"$said"; then
        bad "$text: the message has no /$pattern/"
        indent <<<"$said"
    elif grep -qE "panicked|RUST_BACKTRACE|SIGSEGV" <<<"$said"; then
        bad "$text: it panicked"
        indent <<<"$said"
    elif [ "$(wc -l <<<"$said")" -gt 14 ]; then
        bad "$text: $(wc -l <<<"$said") lines are not one clear message"
        indent <<<"$said"
    else
        ok "$text: $(grep -iE -m1 -- "$pattern" <<<"$said" | cut -c 1-150)"
    fi
    # What ends a moment after its parent, or belongs to a neighbour on this machine, gets a second look.
    if [ "$(traces)" != "$was" ] && sleep 3 && [ "$(traces)" != "$was" ]; then
        bad "$text: something was left behind"
        diff <(echo "$was") <(traces) | indent
    fi
}
profile() { sed "$1" "$RUN/profile.toml" >"$RUN/$2.toml"; printf '%s' "$RUN/$2.toml"; }
config() { sed "$1" "$RUN/usher.conf" >"$RUN/$2.conf"; printf '%s' "$RUN/$2.conf"; }
DP=("$RUN/bin/usher-dataplane")
STATIC=(--vip "$VIP4" --redirect-to "$GW1_4")

story "Profiles"
refuses "a profile that is not there" 1 "nowhere.toml" "${DP[@]}" run --profile "$RUN/nowhere.toml" "${STATIC[@]}"
refuses "a profile that is a folder" 1 "$RUN" "${DP[@]}" run --profile "$RUN" "${STATIC[@]}"
refuses "a profile that is no TOML" 1 ":[0-9]+:[0-9]+" "${DP[@]}" run --profile "$(profile 's/^huge.*/huge = = no/' nottoml)" "${STATIC[@]}"
refuses "an unknown key, with the nearest known one" 1 "idel.*idle" "${DP[@]}" run --profile "$(profile 's/^idle = /idel = /' unknown)" "${STATIC[@]}"
refuses "a value out of range" 1 ":9:9: 65 .*1 to 64" "${DP[@]}" run --profile "$(profile 's/^idle = .*/burst = 65/' range)" "${STATIC[@]}"
refuses "a value of the wrong type" 1 ":[0-9]+:[0-9]+|memory_mib" "${DP[@]}" run --profile "$(profile 's/^memory_mib.*/memory_mib = "much"/' type)" "${STATIC[@]}"
refuses "no port at all" 1 "port" "${DP[@]}" run --profile "$(profile '/^\[\[port/,$d' noport)" "${STATIC[@]}"
refuses "a port whose interface is missing" 1 "nosuch0" "${DP[@]}" run --profile "$(profile 's/iface=v0/iface=nosuch0/' missing)" "${STATIC[@]}"
refuses "a NIC without hugepages" 1 "huge = true" "${DP[@]}" run --profile "$(profile 's/vdev:net_af_xdp0,iface=v0/pci:0000:ff:1f.7/' nic)" "${STATIC[@]}"
refuses "a NIC that is missing" 1 "0000:ff:1f.7|hugepage" "${DP[@]}" run --profile "$(profile 's/vdev:net_af_xdp0,iface=v0/pci:0000:ff:1f.7/; s/^huge = false/huge = true/; s/^memory_mib.*/memory_mib = 64/' pci)" "${STATIC[@]}"
refuses "hugepages that nobody reserved" 1 "hugepage" "${DP[@]}" run --profile "$(profile 's/^huge = false/huge = true/; s/^memory_mib.*/memory_mib = 900000/' huge)" "${STATIC[@]}"

refuses "a key that has no effect here" 1 ":[0-9]+:[0-9]+: VRFs are not proven" "${DP[@]}" run --profile "$(profile 's/^exception = .*/vrf = "red"/' vrf)" "${STATIC[@]}"
refuses "a device and a bond" 1 ":[0-9]+:[0-9]+: a port has a .device. or a .bond." "${DP[@]}" run --profile "$(profile 's/^exception = .*/bond = { mode = "lacp", members = ["net_null16"] }/' both)" "${STATIC[@]}"
refuses "a bond of nothing" 1 ":[0-9]+:[0-9]+: a bond has 1 to 8 members" "${DP[@]}" run --profile "$(profile 's/^device = .*/bond = { mode = "lacp", members = [] }/' nobody)" "${STATIC[@]}"
refuses "a bond whose member is missing" 1 "nosuch0 does not exist" "${DP[@]}" run --profile "$(profile 's/^device = .*/bond = { mode = "lacp", members = ["net_af_packet0,iface=nosuch0"] }/' member)" "${STATIC[@]}"
refuses "a shared port without a way back" 1 "name one in .exception" "${DP[@]}" run --profile "$(profile 's/^exception = .*/exception = ""\nattach = "bifurcated"/' back)" "${STATIC[@]}"
refuses "a NIC of a driver that is not there" 1 "driver:i40e/3 is not there" "${DP[@]}" run --profile "$(profile 's/vdev:net_af_xdp0,iface=v0/driver:i40e\/3/; s/^huge = false/huge = true/; s/^memory_mib.*/memory_mib = 64/' family)" "${STATIC[@]}"
refuses "platform check of a profile that is not there" 1 "nowhere.toml.*usher platform suggest" "$RUN/bin/usher" platform check "$RUN/nowhere.toml"
refuses "platform, and nothing behind it" 2 "usher platform show" "$RUN/bin/usher" platform
check "platform check of the laboratory's profile finds nothing missing" on node "$RUN/bin/usher" platform check "$RUN/profile.toml"
check "platform show" on node "$RUN/bin/usher" platform show
if "$RUN/bin/usher" platform show | grep -q "no Ethernet function"; then
    refuses "platform suggest without a NIC" 1 "profiles/lab.toml" "$RUN/bin/usher" platform suggest
else
    check "platform suggest: what it writes loads" sh -c "'$RUN/bin/usher' platform suggest >'$RUN/suggested.toml' && '$RUN/bin/usher' platform check '$RUN/suggested.toml' | grep -q 'plan .*worker 0'"
fi

story "Options"
refuses "an unknown option" 2 "--profil" "${DP[@]}" run --profil x
refuses "no subcommand" 2 "usage" "${DP[@]}"
refuses "an address that is none" 2 "192.0.2.256" "${DP[@]}" run --profile "$RUN/profile.toml" --vip 192.0.2.256 --redirect-to $GW1_4
refuses "replay without a virtual address" any "vip" "${DP[@]}" replay "$RUN/in.pcap" "$RUN/out.pcap"
refuses "replay of a file that is not there" 1 "nowhere.pcap" "${DP[@]}" replay "${STATIC[@]}" "$RUN/nowhere.pcap" "$RUN/out.pcap"
refuses "replay of a file that is no capture" 1 "usher.conf" "${DP[@]}" replay "${STATIC[@]}" "$RUN/usher.conf" "$RUN/out.pcap"
refuses "replay into a folder that is not there" 1 "nowhere" "${DP[@]}" replay "${STATIC[@]}" "$ROOT/dataplane/tests/captures/scapy.pcap" "$RUN/nowhere/out.pcap"
refuses "usherd: an unknown option" 2 "--bogus" "$RUN/bin/usherd" --bogus
refuses "usher: an unknown command" any "bogus" "$RUN/bin/usher" --run-dir "$RUN/run" show bogus

story "Privilege"
nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups)
refuses "usher-dataplane as nobody" 1 "root|CAP_|permi|privilege" "${nobody[@]}" "${DP[@]}" run --profile "$RUN/profile.toml" "${STATIC[@]}"
mkdir -m 777 "$RUN/nobody"
refuses "usherd as nobody, with a folder of its own" 1 "root|CAP_|permi|privilege" "${nobody[@]}" "$RUN/bin/usherd" --config "$RUN/usher.conf" --run-dir "$RUN/nobody" --profile "$RUN/profile.toml"
refuses "usherd as nobody" 1 "root|CAP_|permi|privilege" "${nobody[@]}" "$RUN/bin/usherd" --config "$RUN/usher.conf" --run-dir "$RUN/run" --profile "$RUN/profile.toml"

story "Configurations"
usherd=("$RUN/bin/usherd" --run-dir "$RUN/run" --profile "$RUN/profile.toml" --config)
refuses "a configuration that is not there" 1 "nowhere.conf" "${usherd[@]}" "$RUN/nowhere.conf"
refuses "an unknown command, with line and column" 1 "4:|line 4" "${usherd[@]}" "$(config '4s/.*/ ipp address 192.0.2.11 255.255.255.0/' command)"
refuses "a mask that is none" 1 "255.0.255.0" "${usherd[@]}" "$(config 's/255.255.255.0/255.0.255.0/' mask)"
refuses "an interface that the profile does not bind" 1 "3:11: .*GigabitEthernet9/9/9" "${usherd[@]}" "$(config 's#GigabitEthernet0/0/0#GigabitEthernet9/9/9#' interface)"
refuses "a group out of range" 1 "5000" "${usherd[@]}" "$(config 's/standby 1 ip/standby 5000 ip/' group)"
refuses "usherd: a profile that is not there" 1 "nowhere.toml" "$RUN/bin/usherd" --run-dir "$RUN/run" --config "$RUN/usher.conf" --profile "$RUN/nowhere.toml"
refuses "usher while no usherd runs" any "usherd" "$RUN/bin/usher" --run-dir "$RUN/run" show dataplane counters

story "Second instances"
usherd_start
dataplane_start
need 60 "usherd's answer" usher show dataplane counters
need 60 "the data plane" grep -q "DATAPLANE-5-READY" "$RUN/usherd.log"
refuses "a second usherd" 1 "usherd|already|running|another" "${usherd[@]}" "$RUN/usher.conf"
refuses "a second usher-dataplane" 1 "another usher-dataplane" "${DP[@]}" run --profile "$RUN/profile.toml" --socket "$RUN/run/dataplane.sock"
check "the first ones run on" usher show dataplane counters
check "the first data plane is alive" running dataplane
check "the first usherd is alive" running usherd
kill_wait dataplane TERM
kill_wait usherd TERM

story "After a clean end"
equal "sockets in the run folder" "" "$(find "$RUN/run" -type s)"
equal "XDP programs on v0" "" "$(on node ip -d link show v0 | grep -o 'xdp[a-z/]*')"
equal "DPDK's runtime folders that came with this run" "" "$(comm -13 <(echo "$dpdk") <(ls -A /var/run/dpdk 2>/dev/null))"
lab_end
