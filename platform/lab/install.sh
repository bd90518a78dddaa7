#!/bin/bash
# `make install` and `make uninstall` into folders of this run: every file in its place, the manual page without a
# complaint, the units sound, the sample configuration and the completions usable. Seconds.
. "$(dirname "$0")/lib.sh"
lab_start install
need_usher
cd "$ROOT" || exit 1
target() { env -u MAKEFLAGS -u MAKELEVEL make -s "$@" >"$RUN/make.log" 2>&1; }
FILES="bin/usher
lib/systemd/system/usher-dataplane.service
lib/systemd/system/usherd.service
lib/sysusers.d/usher.conf
lib/tmpfiles.d/usher.conf
sbin/usher-dataplane
sbin/usherd
share/bash-completion/completions/usher
share/fish/vendor_completions.d/usher.fish
share/man/man8/usher.8
share/usher/sysctl.conf
share/usher/usher.conf
share/zsh/site-functions/_usher"
# files FOLDER: what lies there, without the profiles, which are as many as the tree has
files() { (cd "$1" && find . -type f | sed 's|^\./||' | grep -v '^share/usher/profiles/' | sort); }

story "make install DESTDIR=..."
target install DESTDIR="$RUN/stage" || die "make install: $(cat "$RUN/make.log")"
HERE=$RUN/stage/usr/local
equal "all of it lies in /usr/local" "usr/local" "$(cd "$RUN/stage" && find . -maxdepth 2 -mindepth 2 | sed 's|^\./||')"
check "each file in its place" diff <(echo "$FILES") <(files "$HERE")
check "and every profile" diff <(ls "$ROOT/platform/profiles") <(ls "$HERE/share/usher/profiles")
check "the programs run" "$HERE/bin/usher" --version
equal "the units start what was installed" 2 "$(cat "$HERE"/lib/systemd/system/*.service | grep -cE '^ExecStart=/usr/local/sbin/usher(d|-dataplane run .*)$')"
said=$(LC_ALL=C.UTF-8 mandoc -Tlint -W style "$HERE/share/man/man8/usher.8" 2>&1)
equal "complaints of mandoc about the manual page" '' "$said"
said=$(MANWIDTH=80 man -l --warnings "$HERE/share/man/man8/usher.8" 2>&1 >"$RUN/page.txt")
equal "complaints of man" '' "$said"
has "the page has the commands" 'show crypto ikev2 cluster' "$(cat "$RUN/page.txt")"
check "the sample configuration is one" "$HERE/bin/usher" --run-dir "$RUN/none" check "$HERE/share/usher/usher.conf"
words=$(PATH=$HERE/bin:$PATH bash -c ". '$HERE/share/bash-completion/completions/usher'; COMP_WORDS=(usher show cr) COMP_CWORD=2; _usher; echo \"\${COMPREPLY[@]}\"")
equal "bash completes \`usher show cr\`" crypto "$words"

story "make install PREFIX=..."
target install PREFIX="$RUN/opt" || die "make install: $(cat "$RUN/make.log")"
for unit in usherd usher-dataplane; do
    said=$(MANPATH=$RUN/opt/share/man: systemd-analyze verify --recursive-errors=no "$RUN/opt/lib/systemd/system/$unit.service" 2>&1)
    equal "exit code of systemd-analyze verify $unit.service" 0 $?
    equal "complaints of it" '' "$said"
done

story "make uninstall"
target uninstall DESTDIR="$RUN/stage" || die "make uninstall: $(cat "$RUN/make.log")"
equal "files that are left" '' "$(find "$RUN/stage" -type f)"
mkdir "$RUN/empty"
check "without binaries make install says what to do" sh -c "! make -s install USHER_BIN=$RUN/empty DESTDIR=$RUN/stage 2>$RUN/said && grep -q 'run .make build. first' $RUN/said"
lab_end
