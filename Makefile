# `make` alone says what there is.
CARGO ?= cargo
LAB := platform/lab
export PATH := $(PATH):$(HOME)/.cargo/bin
export USHER_BIN ?= target/release

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

deps: ## install with apt what is missing (Debian 12)
	@$(LAB)/deps.sh

build: deps ## release binaries: target/release/{usherd,usher-dataplane,usher}
	$(CARGO) build --locked --release --workspace

demo: build ## the main job as a story: a strongSwan client lands on a gateway (root)
	@$(LAB)/demo.sh

lab: build ## the same stage, left running, with hints how to look around (root)
	@$(LAB)/demo.sh --keep

clean-lab: ## end laboratories that `make lab` left running, or that were killed
	@$(LAB)/clean.sh

test: ## everything: formatting, clippy, unit tests, loom, replay, laboratories (root)
	@$(LAB)/test.sh

bench: build ## the data plane beside dpdk-testpmd, a plain server and libreswan; kept in bench/results (root, under 10 minutes; nothing else should run)
	@$(USHER_BIN)/compare $(BENCH)

takeover: build ## how fast the next node takes over, each fault 30 times, beside keepalived; kept in bench/results (root, 15 minutes)
	@$(LAB)/takeover.sh $(TAKEOVER)

# Under a virtual clock an optimised build shows the same.
members: build ## what 63 members that report ten times a second cost usherd (root)
	$(CARGO) build --locked --release -p controlplane --example members
	@$(LAB)/members.sh

spread: ## how far a burst of 20,000 clients overshoots the fair shares: naive, round robin, usher; kept in bench/results
	$(CARGO) bench --locked --profile dev -p controlplane --bench spread

chaos: build ## ten minutes of random faults on three nodes (root); CHAOS="--seconds N --seed N"
	@$(LAB)/chaos.sh $(CHAOS)

fmt: ## format the Rust sources
	$(CARGO) fmt --all

lint: ## formatting and clippy, as `make test` wants them
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

captures: ## make dataplane/tests/captures anew (root, network; scapy in $$USHER_VENV or .venv)
	@$(LAB)/captures/make.sh

.PHONY: help deps build demo lab clean-lab test bench takeover members spread chaos fmt lint captures
