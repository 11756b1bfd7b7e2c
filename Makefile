# What a person types. Each target installs what it needs and is not there yet.

# Version of the Claude Code CLI that the tests drive.
export CLAUDE_VERSION ?= 2.1.197

.PHONY: help run test check bench chaos tools

help:
	@echo 'make run     build cadence and show it at work: three demo agents, no account needed'
	@echo 'make test    run all tests (FILTER=name for some)'
	@echo 'make check   formatting, lints, feature combinations, licences'
	@echo 'make chaos   1,000 tasks while everything fails at random (SEED=n repeats a run, TASKS=n)'
	@echo 'make bench   measure it beside floors and peers (PART=events, api, fanout, program, workspace, vocabulary, restore or voice for one)'
	@echo 'make tools   install what the tests and checks need'

run:
	@.ci/tools build
	cargo build --release --locked
	target/release/cadence demo

test:
	@.ci/tools test
	@.ci/test $(FILTER)

check:
	@.ci/tools check
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo clippy --locked -p cadence-protocol --no-default-features -- -D warnings
	cargo clippy --locked -p cadence-protocol --all-features -- -D warnings
	cargo check --locked --workspace --no-default-features
	cargo check --locked --workspace --all-features
	@! cargo tree --locked -q -p cadence -e normal,features | grep 'feature "faults"' || { echo 'a build for people has points of failure'; exit 1; }
	target/tools/bin/cargo-deny --locked --log-level error check bans licenses sources

bench:
	@.ci/tools bench
	cargo build --release --locked -p cadence -p cadence-bench
	target/release/cadence-bench $(PART)

chaos:
	@.ci/tools test
	CADENCE_CHAOS_SEED=$${SEED:-$$(date +%s)} CADENCE_CHAOS_TASKS=$${TASKS:-1000} \
		cargo test --locked -p cadence --test it -- --exact chaos::nothing_is_lost_in_chaos --nocapture

tools:
	@.ci/tools test
	@.ci/tools check
