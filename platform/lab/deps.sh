#!/bin/bash
# Installs with apt what building and testing need and is missing; says nothing when nothing is. Debian 12.
# Services that a package would start (strongSwan's) stay off: the laboratories start their own.
set -euo pipefail
export PATH=$PATH:$HOME/.cargo/bin:/usr/sbin:/sbin
PACKAGES=(build-essential pkg-config clang libclang-dev libbpf-dev libdpdk-dev dpdk dpdk-dev
    iproute2 ethtool nftables iputils-ping procps util-linux python3 tshark ike-scan keepalived
    strongswan-charon strongswan-swanctl libcharon-extra-plugins libstrongswan-extra-plugins libstrongswan-standard-plugins
    faketime mandoc man-db systemd
    valgrind)

missing=()
for package in "${PACKAGES[@]}"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if ! command -v cargo >/dev/null; then
    echo "deps: no cargo: install Rust 1.95 or later from https://rustup.rs" >&2
    exit 1
fi
[ ${#missing[@]} -gt 0 ] || exit 0
if [ "$(id -u)" != 0 ]; then
    echo "deps: missing: ${missing[*]}; run as root: apt-get install ${missing[*]}" >&2
    exit 1
fi
echo "deps: installing ${missing[*]}"
log=$(mktemp)
guard=/usr/sbin/policy-rc.d
if [ ! -e $guard ]; then
    printf '#!/bin/sh\nexit 101\n' >$guard
    chmod +x $guard
    trap 'rm -f '$guard' "$log"' EXIT
else
    trap 'rm -f "$log"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
install() { apt-get install -y -q --no-install-recommends "${missing[@]}" >"$log" 2>&1; }
# Package lists of a fresh machine are empty or old.
if ! install && ! { apt-get update -q >"$log" 2>&1 && install; }; then
    tail -n 15 "$log" >&2
    echo "deps: apt-get failed: is there a network, and is this Debian 12? Wanted: ${missing[*]}" >&2
    exit 1
fi
