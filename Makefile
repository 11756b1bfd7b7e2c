# What a person types. Each target installs what it needs and is not there yet.

# Versions of the agents' programs that the tests drive.
export CLAUDE_VERSION ?= 2.1.197
export CODEX_VERSION ?= 0.169.0
export OPENCODE_VERSION ?= 1.18.33

# Back end of the local speech engine in `make desktop`: cuda, vulkan or metal; empty is the processor.
GPU ?= $(if $(filter Darwin,$(shell uname)),metal)
# What `make server` builds for: no library is needed where it runs.
SERVER_TARGET ?= $(shell uname -m)-unknown-linux-musl

.PHONY: help run desktop server test check bench picture chaos tools

help:
	@echo 'make run     build cadence and show it at work: three demo agents, no account needed'
	@echo 'make desktop build it with a speech engine of its own, whisper.cpp (GPU=cuda, vulkan or metal for a graphics card)'
	@echo 'make server  build it for servers: static, no microphone, no speech engine of its own'
	@echo 'make test    run all tests (FILTER=name for some)'
	@echo 'make check   formatting, lints, feature combinations, licences'
	@echo 'make chaos   1,000 tasks while everything fails at random (SEED=n repeats a run, TASKS=n)'
	@echo 'make bench   measure it beside floors and peers (PART=events, api, fanout, program, workspace, daemon, dashboard, vocabulary,'
	@echo '             restore or voice for one)'
	@echo 'make picture draw the README'\''s picture of the dashboard anew, from the real program'
	@echo 'make tools   install what the tests and checks need'

run:
	@.ci/tools build
	cargo build --release --locked
	target/release/cadence demo

desktop:
	@.ci/tools desktop
	cargo build --release --locked --features $(or $(GPU),local)
	@echo 'target/release/cadence is there; `cadence voice models pull base.en` gets its model'

server:
	@.ci/tools server $(SERVER_TARGET)
	cargo build --release --locked --no-default-features --target $(SERVER_TARGET)
	@echo 'target/$(SERVER_TARGET)/release/cadence is there'

test:
	@.ci/tools test
	@.ci/test $(FILTER)

check:
	@.ci/tools check
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo clippy --locked -p cadence-protocol --no-default-features -- -D warnings
	cargo clippy --locked -p cadence-protocol --all-features -- -D warnings
	cargo clippy --locked -p cadence --no-default-features -- -D warnings
	cargo check --locked --workspace --no-default-features
	cargo check --locked --workspace --features cadence/local,cadence-server/faults,cadence-protocol/openapi
	@tree=$$(cargo tree --locked -q -p cadence --no-default-features --target all -e normal,build) && \
		! printf '%s\n' "$$tree" | grep -E 'whisper-rs|cpal|alsa' || \
		{ echo 'the build for servers has a microphone or a speech engine'; exit 1; }
	@! cargo tree --locked -q -p cadence -e normal,features | grep 'feature "faults"' || { echo 'a build for people has points of failure'; exit 1; }
	target/tools/bin/cargo-deny --locked --log-level error check bans licenses sources

bench:
	@.ci/tools bench
	cargo build --release --locked -p cadence -p cadence-bench
	target/release/cadence-bench $(PART)

picture:
	@.ci/tools build
	cargo build --release --locked -p cadence -p cadence-bench
	target/release/cadence-bench picture

chaos:
	@.ci/tools test
	CADENCE_CHAOS_SEED=$${SEED:-$$(date +%s)} CADENCE_CHAOS_TASKS=$${TASKS:-1000} \
		cargo test --locked -p cadence --test it -- --exact chaos::nothing_is_lost_in_chaos --nocapture

tools:
	@.ci/tools test
	@.ci/tools check
