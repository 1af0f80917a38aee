# Two commands do everything on a fresh machine: `make demo` and `make test`.
.PHONY: demo test check format bench load load-opcua year mutations faults wear reload scan-cabinet deb system first-boot install-script container compose arm64 footprint sbom audit clean broker-faults backlog delivery-faults soak

VENV := .venv
BIN := $(VENV)/bin
SOURCES := agent drivers config tests

$(VENV)/demo.stamp: deploy/requirements-demo.txt deploy/requirements-build.txt pyproject.toml
	@echo "Setting up .venv in this folder (once, about a minute) ..."
	@deploy/venv.sh deploy/requirements-demo.txt
	@touch $@

$(VENV)/test.stamp: tests/requirements.txt deploy/requirements-build.txt pyproject.toml
	@deploy/venv.sh tests/requirements.txt
	@touch $@

demo: $(VENV)/demo.stamp
	@exec $(BIN)/meterseal demo

check: $(VENV)/test.stamp
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

test: export TEST_OUTPUT ?= $(CURDIR)/build/tests
test: check
	@tests/system_packages.sh
	$(BIN)/python -m pytest -n 2 -m "not by_the_clock"
	$(BIN)/python -m pytest -n 2 --dist loadfile -m by_the_clock --reruns 1 -rR

format: $(VENV)/test.stamp
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

bench: $(VENV)/test.stamp
	@tests/system_packages.sh
	$(BIN)/python tests/bench/bench.py

load-opcua: $(VENV)/test.stamp
	$(BIN)/python -m tests.bench.load_opcua

load: $(VENV)/test.stamp
	@tests/system_packages.sh
	$(BIN)/python -m tests.bench.load

broker-faults: $(VENV)/test.stamp
	@tests/system_packages.sh
	$(BIN)/python -m tests.bench.broker_faults

backlog: $(VENV)/test.stamp
	@tests/system_packages.sh
	$(BIN)/python -m tests.bench.backlog

year: $(VENV)/test.stamp
	$(BIN)/python -m tests.bench.year

reload: $(VENV)/test.stamp
	$(BIN)/python -m tests.bench.reload

scan-cabinet: $(VENV)/test.stamp
	$(BIN)/python -m tests.bench.cabinet

delivery-faults: $(VENV)/test.stamp
	@tests/system_packages.sh
	$(BIN)/python -m tests.bench.delivery_faults faults $(if $(SEED),--seed $(SEED))

soak: $(VENV)/test.stamp
	@tests/system_packages.sh
	$(BIN)/python -m tests.bench.delivery_faults soak --minutes $(or $(MINUTES),30) $(if $(SEED),--seed $(SEED))

faults: $(VENV)/test.stamp
	@tests/system_packages.sh
	$(BIN)/python -m tests.bench.faults $(FAULTS)

wear: $(VENV)/test.stamp
	$(BIN)/python -m tests.bench.wear

mutations: $(VENV)/test.stamp
	$(BIN)/python -m tests.bench.mutations

# The Debian package of this machine's architecture, in dist/.
deb: $(VENV)/test.stamp
	@deploy/deb/build.sh

# The package on a real systemd, in a throw-away copy of this machine (root, systemd-container).
system: $(VENV)/test.stamp
	@tests/system/system.sh

# A gateway that nobody logs in to: a stick with a site file, on a real systemd (the same).
first-boot: $(VENV)/test.stamp
	@tests/system/first_boot.sh

# deploy/install.sh on a real systemd (the same), its packages from the folder WHEELS; ROOT=trixie.tar for another release of Debian.
install-script: $(VENV)/test.stamp
	@tests/system/script.sh $(ROOT)

# The image, and the plant of containers, as docs/container.md says, in a docker of their own (root, mmdebstrap). No registry is needed.
container: $(VENV)/test.stamp
	@tests/system/docker.sh tests/system/container.sh

compose: $(VENV)/test.stamp
	@tests/system/docker.sh tests/system/compose.sh

# The arm64 package's contents at work under emulation (qemu-user-static, mmdebstrap).
arm64: $(VENV)/test.stamp
	@tests/system/arm64.sh

footprint: $(VENV)/test.stamp
	@tests/system/footprint.sh

# Every package that is shipped, with version and hashes, in dist/meterseal.cdx.json (CycloneDX 1.6).
sbom:
	@python3 deploy/sbom.py

# Known weaknesses of what is shipped, where a database can be reached; never a reason to stop.
audit: $(VENV)/test.stamp
	@deploy/audit.sh

clean:
	rm -rf $(VENV) demo dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
