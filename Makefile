# make run    builds Oxim and starts it as you, with a quickstart configuration
# make test   installs what the tests need (as root) and runs them
# make proof  runs everything in full: every kill, power cut, oracle case, long fuzz run and benchmark
.PHONY: run test proof build packages docs fmt lint

CARGO ?= cargo

run:
	@./scripts/quickstart

build:
	$(CARGO) build --release --locked --package oxim

packages:
	@./scripts/test-packages

test: packages
	$(CARGO) build --locked --workspace --all-targets
	@if $(CARGO) test --locked --workspace --no-fail-fast; then echo "make test: all passed"; else echo "make test: FAILED, see above" >&2; exit 1; fi

proof: packages
	$(CARGO) build --release --locked --workspace --all-targets
	OXIM_PROOF=full OXIM_TRIES=1 $(CARGO) test --release --locked --workspace
	./scripts/proof-debian
	./scripts/fuzz 600
	./scripts/bench

docs:
	UPDATE=1 $(CARGO) test --locked --workspace --quiet

fmt:
	$(CARGO) fmt --all

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- --deny warnings
