# `make` alone says what there is.
CARGO ?= cargo
LAB := platform/lab
export PATH := $(PATH):$(HOME)/.cargo/bin
export USHER_BIN ?= target/release
PREFIX ?= /usr/local
# Where the files go, DESTDIR before each of them (for packages). Nothing is put into /etc: that is the operator's.
SBIN := $(PREFIX)/sbin
BIN := $(PREFIX)/bin
LIB := $(PREFIX)/lib
SHARE := $(PREFIX)/share

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

deps: ## install with apt what is missing (Debian 12)
	@$(LAB)/deps.sh

build: deps ## release binaries: target/release/{usherd,usher-dataplane,usher}
	$(CARGO) build --locked --release --workspace

install: ## put what `make build` made into PREFIX (/usr/local); DESTDIR is honoured
	@for b in usherd usher-dataplane usher; do test -x $(USHER_BIN)/$$b || \
		{ echo "install: $(USHER_BIN)/$$b is missing: run \`make build\` first" >&2; exit 1; }; done
	install -D -m 755 -t $(DESTDIR)$(SBIN) $(USHER_BIN)/usherd $(USHER_BIN)/usher-dataplane
	install -D -m 755 -t $(DESTDIR)$(BIN) $(USHER_BIN)/usher
	install -d $(addprefix $(DESTDIR),$(SHARE)/man/man8 $(SHARE)/bash-completion/completions $(SHARE)/zsh/site-functions \
		$(SHARE)/fish/vendor_completions.d $(LIB)/systemd/system)
	$(USHER_BIN)/usher manual >$(DESTDIR)$(SHARE)/man/man8/usher.8
	$(USHER_BIN)/usher completion bash >$(DESTDIR)$(SHARE)/bash-completion/completions/usher
	$(USHER_BIN)/usher completion zsh >$(DESTDIR)$(SHARE)/zsh/site-functions/_usher
	$(USHER_BIN)/usher completion fish >$(DESTDIR)$(SHARE)/fish/vendor_completions.d/usher.fish
	for u in usherd usher-dataplane; do \
		sed 's|^ExecStart=/usr/sbin/|ExecStart=$(SBIN)/|' platform/deploy/$$u.service >$(DESTDIR)$(LIB)/systemd/system/$$u.service || exit 1; done
	install -D -m 644 platform/deploy/sysusers.conf $(DESTDIR)$(LIB)/sysusers.d/usher.conf
	install -D -m 644 platform/deploy/tmpfiles.conf $(DESTDIR)$(LIB)/tmpfiles.d/usher.conf
	install -D -m 644 -t $(DESTDIR)$(SHARE)/usher platform/deploy/usher.conf platform/deploy/sysctl.conf
	install -D -m 644 -t $(DESTDIR)$(SHARE)/usher/profiles platform/profiles/*.toml platform/profiles/README.md
	@echo "Then, as root: systemd-sysusers; systemd-tmpfiles --create; a configuration in /etc/usher/usher.conf (sample: $(SHARE)/usher/usher.conf)"
	@echo "and a profile in /etc/usher/profile.toml (\`usher platform suggest\`, or one of $(SHARE)/usher/profiles); huge pages: $(SHARE)/usher/sysctl.conf;"
	@echo "systemctl daemon-reload; systemctl enable --now usherd usher-dataplane"

uninstall: ## take away what `make install` put there; /etc/usher stays
	rm -f $(addprefix $(DESTDIR),$(SBIN)/usherd $(SBIN)/usher-dataplane $(BIN)/usher $(SHARE)/man/man8/usher.8 \
		$(SHARE)/bash-completion/completions/usher $(SHARE)/zsh/site-functions/_usher $(SHARE)/fish/vendor_completions.d/usher.fish \
		$(LIB)/systemd/system/usherd.service $(LIB)/systemd/system/usher-dataplane.service \
		$(LIB)/sysusers.d/usher.conf $(LIB)/tmpfiles.d/usher.conf)
	rm -rf $(DESTDIR)$(SHARE)/usher

demo: build ## the main job as a story: a strongSwan client lands on a gateway (root)
	@$(LAB)/demo.sh

lab: build ## the same stage, left running, with hints how to look around (root)
	@$(LAB)/demo.sh --keep

clean-lab: ## end laboratories that `make lab` left running, or that were killed
	@$(LAB)/clean.sh

test: ## everything: formatting, clippy, unit tests, loom, replay, laboratories (root)
	@$(LAB)/test.sh

test-busy: ## the same beside a process that keeps the second core busy, for 90 minutes at most (root)
	@$(LAB)/busy.sh 5400 $(LAB)/test.sh

bench: build ## the data plane beside dpdk-testpmd, a plain server and libreswan; kept in bench/results (root, under 10 minutes; nothing else should run)
	@$(USHER_BIN)/compare $(BENCH)

takeover: build ## how fast the next node takes over, each fault 30 times, beside keepalived; kept in bench/results (root, 15 minutes); TAKEOVER="--timers 15/50"
	@$(LAB)/takeover.sh $(TAKEOVER)

members: build ## what 63 members that report ten times a second cost usherd (root)
	$(CARGO) build --locked --release -p controlplane --example members
	@$(LAB)/members.sh

# Under a virtual clock an optimised build shows the same.
spread: ## how far a burst of 20,000 clients overshoots the fair shares: naive, round robin, usher; kept in bench/results
	$(CARGO) bench --locked --profile dev -p controlplane --bench spread

chaos: build ## ten minutes of random faults on three nodes (root); CHAOS="--seconds N --timers 15/50 --seed N"
	@$(LAB)/chaos.sh $(CHAOS)

fmt: ## format the Rust sources
	$(CARGO) fmt --all

lint: ## formatting and clippy, as `make test` wants them
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

captures: ## make dataplane/tests/captures anew (root, network; scapy in $$USHER_VENV or .venv)
	@$(LAB)/captures/make.sh

.PHONY: help deps build install uninstall demo lab clean-lab test test-busy bench takeover members spread chaos fmt lint captures
