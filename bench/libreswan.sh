#!/bin/bash
# libreswan's global-redirect in a network namespace, from Debian's packages unpacked into a folder: they conflict with
# strongSwan's, so they are laid over /usr and /etc inside a mount namespace of its own. Says `ready VERSION`, then runs
# until it is told to end.
# usage: libreswan.sh NAMESPACE FOLDER OWN-ADDRESS GATEWAY   (root)
set -euo pipefail
NS=$1 DIR=$2 OWN=$3 GATEWAY=$4
PLUTO=
trap '[ -z "$PLUTO" ] || { kill "$PLUTO" 2>/dev/null || true; wait "$PLUTO" 2>/dev/null || true; }' EXIT
trap 'exit 0' TERM INT
mkdir -p "$DIR/etc/ipsec.d" "$DIR/nss" "$DIR/run"
if [ ! -d "$DIR/root" ]; then
    (cd "$DIR" && timeout 60 apt-get download -qq libreswan libldns3 libevent-pthreads-2.1-7 libnss3-tools >/dev/null 2>&1) ||
        { echo "not installed: apt-get cannot download libreswan" >&2; exit 1; }
    for deb in "$DIR"/*.deb; do dpkg-deb -x "$deb" "$DIR/root"; done
fi
cat >"$DIR/etc/ipsec.conf" <<EOC
config setup
    logfile=/dev/null
    nssdir=$DIR/nss
    uniqueids=no
    ddos-mode=unlimited
    global-redirect=yes
    global-redirect-to=$GATEWAY

conn v
    authby=secret
    ikev2=insist
    keyexchange=ike
    left=$OWN
    right=%any
    auto=add
EOC
printf '%%any %%any : PSK "%s"\n' "$(head -c 16 /dev/urandom | base64)" >"$DIR/etc/ipsec.secrets"
chmod 600 "$DIR/etc/ipsec.secrets"
cat >"$DIR/enter.sh" <<EOC
mount -t overlay overlay -o "lowerdir=$DIR/root/usr:/usr" /usr || exit 1
mount -t overlay overlay -o "lowerdir=$DIR/etc:/etc" /etc || exit 1
mount --bind "$DIR/run" /run || exit 1
mkdir -p /run/pluto
[ -e "$DIR/nss/cert9.db" ] || certutil -N -d "sql:$DIR/nss" --empty-password
exec taskset -c \${CORE:-1} "\$@"
EOC
nsenter --net="/run/netns/$NS" unshare -m sh "$DIR/enter.sh" /usr/libexec/ipsec/pluto --config /etc/ipsec.conf --nofork >"$DIR/pluto.log" 2>&1 &
PLUTO=$!
for _ in $(seq 200); do
    [ -S "$DIR/run/pluto/pluto.ctl" ] && break
    kill -0 $PLUTO 2>/dev/null || { tail -n 5 "$DIR/pluto.log" >&2; exit 1; }
    sleep 0.1
done
timeout 30 nsenter -t $PLUTO -m -n ipsec auto --add v >"$DIR/add.log" 2>&1 || { cat "$DIR/add.log" >&2; exit 1; }
echo "ready $(ls "$DIR"/libreswan_*.deb | sed 's/.*libreswan_\([^_]*\)_.*/\1/')"
wait $PLUTO
