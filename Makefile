# Everything a developer does. `make help` says what there is.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

PYTHON ?= python3
TAG ?= mesos-dind:latest
BASE_IMAGE ?=
MESOS_DIR ?=
PEER ?=
RUNS ?= 5
COMPARE ?=

VENV := .venv
BIN := $(VENV)/bin
COLLECTION := .cache/collections/ansible_collections/mesos/dind
READY := $(VENV)/.ready
# An engine: the machine's own, or one that is started for the command and stopped after it.
WITH_ENGINE := $(PYTHON) tools/engine.py run --
BUILD := $(PYTHON) tools/image.py --tag $(TAG) --base "$(BASE_IMAGE)" --mesos "$(MESOS_DIR)"
VM_PACKAGES := e2fsprogs mmdebstrap openssh-client qemu-system-x86 squashfs-tools util-linux
SHELL_SCRIPTS = $(shell git ls-files | xargs awk 'FNR == 1 && /^\#!\/bin\/(ba)?sh/ { print FILENAME } { nextfile }')
export ANSIBLE_COLLECTIONS_PATH := $(CURDIR)/.cache/collections
export MESOS_DIND_IMAGE_UNDER_TEST := $(TAG)

.PHONY: help
help: ## Say what each target does
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 18

.PHONY: demo
demo: ## Boot two agents in bridged mode and show what they can do; cleans up after itself
	@$(WITH_ENGINE) $(MAKE) --no-print-directory _demo

.PHONY: _demo
_demo:
	@$(BUILD)
	@$(PYTHON) tools/demo.py --image $(TAG)

.PHONY: image
image: ## Build the agent image (BASE_IMAGE=, MESOS_DIR=, TAG=)
	@$(WITH_ENGINE) $(BUILD)

.PHONY: test
test: lint test-unit test-kernel ## Everything that CI runs
	@$(WITH_ENGINE) $(MAKE) --no-print-directory _test-side-by-side

# The VM has no acceleration and one processor; the containers have the others meanwhile.
.PHONY: _test-side-by-side
_test-side-by-side: $(READY)
	@tools/lane-packages openssh-client $(VM_PACKAGES) || [ $$? -eq 75 ]
	@$(BUILD)
	@mkdir -p .cache
	@echo "make: the VM lane runs beside the container lane; its output, which is in .cache/vm-lane.log, comes after it"
	@failed=; \
	$(MAKE) --no-print-directory _test-vm >.cache/vm-lane.log 2>&1 & \
	$(MAKE) --no-print-directory _test-container _molecule || failed=yes; \
	wait $$! || failed=yes; \
	cat .cache/vm-lane.log; \
	[ -z "$$failed" ]

.PHONY: test-unit
test-unit: $(READY) ## The unit lane: parsers, planners, property tests; needs no root
	@$(BIN)/pytest tests/unit

.PHONY: test-kernel
test-kernel: $(READY) ## The kernel lane: real loop devices, namespaces, bridges, control groups; needs root
	@if tools/lane-packages e2fsprogs iproute2 iptables iputils-ping kmod mount procps strace util-linux xfsprogs; then \
		$(BIN)/pytest tests/kernel; \
	else [ $$? -eq 75 ]; fi

.PHONY: test-container
test-container: ## The container lane: the real image in a real engine
	@$(WITH_ENGINE) $(MAKE) --no-print-directory _test-container

.PHONY: _test-container
_test-container: $(READY)
	@command -v ssh-keygen >/dev/null || tools/lane-packages openssh-client
	@$(BUILD)
	@$(BIN)/pytest --durations=10 tests/container

.PHONY: test-vm
test-vm: ## The VM lane: the image on pure cgroup v2 and under systemd, in a real Debian 13; needs root
	@$(WITH_ENGINE) $(MAKE) --no-print-directory _test-vm

.PHONY: _test-vm
_test-vm: $(READY)
	@if tools/lane-packages $(VM_PACKAGES); then \
		$(BUILD) && $(BIN)/pytest --verbose --durations=10 tests/vm; \
	else [ $$? -eq 75 ]; fi

.PHONY: soak
soak: $(READY) ## 200 lives ended by SIGKILL and 20 agents at once: nothing leaks
	@$(WITH_ENGINE) bash -euc '$(BUILD); MESOS_DIND_CYCLES=200 $(BIN)/pytest tests/container/test_storage.py'

.PHONY: bench
bench: ## Time the boot, into .cache/bench.json and .svg (PEER= an image to compare with, COMPARE= an older result, RUNS=)
	@$(WITH_ENGINE) $(MAKE) --no-print-directory _bench

.PHONY: _bench
_bench:
	@$(BUILD)
	@$(PYTHON) tools/bench.py --image $(TAG) --runs $(RUNS) --json .cache/bench.json --picture .cache/bench.svg \
		$(if $(PEER),--peer $(PEER)) $(if $(COMPARE),--compare $(COMPARE))

.PHONY: molecule
molecule: ## The Molecule scenarios: the booted image, verified with testinfra
	@$(WITH_ENGINE) $(MAKE) --no-print-directory _molecule

.PHONY: _molecule
_molecule: $(READY)
	@$(BUILD)
	@for scenario in default bridged; do PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/molecule test --scenario-name $$scenario; done

.PHONY: lint
lint: $(READY) ## Ruff, mypy, yamllint, ansible-lint, shellcheck, ansible-test sanity
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy --package ansible_collections.mesos.dind.plugins
	@$(BIN)/mypy tools tests/container molecule
	@$(BIN)/mypy tests/vm
	@$(BIN)/mypy tests/unit/bridged_net tests/kernel/bridged_net
	@$(BIN)/yamllint --strict .
	@$(BIN)/shellcheck $(SHELL_SCRIPTS)
	@PATH="$(CURDIR)/$(BIN):$$PATH" ANSIBLE_HOME="$(CURDIR)/.cache/ansible" $(BIN)/ansible-lint --offline --strict
	@$(BIN)/python tools/sanity.py

.PHONY: dist
dist: $(READY) ## Build the collection's archive into dist/
	@$(BIN)/ansible-galaxy collection build --force --output-path dist .

.PHONY: docs
docs: export ANSIBLE_NOCOLOR := 1
docs: $(READY) ## Write what ansible-doc knows of modules, filters and roles into dist/docs
	@mkdir -p dist/docs
	@for kind in module filter role; do \
		for name in $$($(BIN)/ansible-doc --type $$kind --list --json mesos.dind \
				| $(PYTHON) -c 'import json, sys; print(*json.load(sys.stdin))'); do \
			$(BIN)/ansible-doc --type $$kind $$name >dist/docs/$$name.$$kind.txt; \
		done; \
	done
	@ls dist/docs

.PHONY: clean
clean: ## Remove what the targets made in this folder
	rm -rf $(VENV) .cache dist .ansible .hypothesis .mypy_cache .pytest_cache .ruff_cache

$(READY): requirements.txt requirements-dev.txt
	@tools/make-venv $(PYTHON) $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --requirement requirements-dev.txt
	@mkdir -p $(dir $(COLLECTION)) && ln -sfn ../../../.. $(COLLECTION)
	@touch $@
