# shellcheck shell=bash
# libreswan beside strongSwan: Debian's packages conflict, so apt's .deb is unpacked into the run's folder and laid
# over /usr and /etc inside a mount namespace of its own. Sourced by make.sh, after lib.sh.

lsw_unpack() {
    mkdir -p "$RUN/lsw"
    (cd "$RUN/lsw" && apt-get download -qq libreswan libldns3 libevent-pthreads-2.1-7 libnss3-tools 2>/dev/null) \
        || die "cannot download libreswan with apt-get (network? run apt-get update)"
    local deb
    for deb in "$RUN"/lsw/*.deb; do dpkg-deb -x "$deb" "$RUN/lsw/root"; done
}

# lsw_start NAME CONN_LINES [SETUP_LINES]: pluto in that namespace with one connection `v`, loaded.
lsw_start() {
    local name=$1 conn=$2 setup=${3:-} dir=$RUN/lsw-$1
    mkdir -p "$dir/etc/ipsec.d" "$dir/nss" "$dir/run"
    cat >"$dir/etc/ipsec.conf" <<EOC
config setup
    logfile=$dir/pluto.txt
    nssdir=$dir/nss
    uniqueids=no
$setup

conn v
    authby=secret
    ikev2=insist
    keyexchange=ike
$conn
EOC
    printf '%%any %%any : PSK "%s"\n' "$PSK" >"$dir/etc/ipsec.secrets"
    cat >"$dir/enter.sh" <<EOC
mount -t overlay overlay -o "lowerdir=$RUN/lsw/root/usr:/usr" /usr || exit 1
mount -t overlay overlay -o "lowerdir=$dir/etc:/etc" /etc || exit 1
mount --bind "$dir/run" /run || exit 1
mkdir -p /run/pluto
[ -e "$dir/nss/cert9.db" ] || certutil -N -d "sql:$dir/nss" --empty-password
exec "\$@"
EOC
    spawn "pluto-$name" "$name" unshare -m sh "$dir/enter.sh" /usr/libexec/ipsec/pluto --config /etc/ipsec.conf --nofork
    need 30 "pluto in $name" test -S "$dir/run/pluto/pluto.ctl"
    lsw "$name" auto --add v >"$dir/add.txt" 2>&1 || die "libreswan refuses the connection: $(cat "$dir/add.txt")"
}
# lsw NAME ipsec-arguments, inside that pluto's view
lsw() {
    local name=$1
    shift
    nsenter -t "$(pid_of "pluto-$name")" -m -n timeout 30 ipsec "$@"
}
