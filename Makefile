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
SEED ?=
CASES ?=

VENV := .venv
BIN := $(VENV)/bin
COLLECTION := .cache/collections/ansible_collections/mesos/dind
READY := $(VENV)/.ready
ENGINE := $(PYTHON) tools/engine.py run --
BUILD := $(PYTHON) tools/image.py --tag $(TAG) --base "$(BASE_IMAGE)" --mesos "$(MESOS_DIR)"
# For an engine that ends with its users.
HINT := [ -z "$${MESOS_DIND_ENGINE_STARTED-}" ] || echo "\`make shell\` opens a shell with the engine that has $(TAG)"
VM_PACKAGES := e2fsprogs mmdebstrap openssh-client qemu-system-x86 squashfs-tools util-linux
SHELL_SCRIPTS = $(shell git ls-files | xargs awk 'FNR == 1 && /^\#!\/bin\/(ba)?sh/ { print FILENAME } { nextfile }')
export ANSIBLE_COLLECTIONS_PATH := $(CURDIR)/.cache/collections
export MESOS_DIND_IMAGE_UNDER_TEST := $(TAG)

.PHONY: help
help: ## Say what each target does
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 18

.PHONY: shell
shell: ## Open a shell with the engine of the other targets; ends with the last shell or target
	@$(ENGINE) $${SHELL:-bash}

.PHONY: test
test: lint test-unit test-kernel ## Everything that CI runs
	@$(MAKE) --no-print-directory test-engine

.PHONY: test-unit
test-unit: $(READY) ## The unit lane: parsers, planners, property tests; needs no root
	@$(BIN)/pytest tests/unit

.PHONY: test-kernel
test-kernel: $(READY) ## The kernel lane: real loop devices, namespaces, bridges, control groups; needs root
	@if tools/lane-packages e2fsprogs iproute2 iptables iputils-ping kmod mount procps strace util-linux xfsprogs; then \
		$(BIN)/pytest tests/kernel; \
	else [ $$? -eq 75 ]; fi

# The targets below run once more, inside an engine: the machine's own, or one that is started and stopped for them.
ifndef INSIDE_ENGINE

WITH_ENGINE := bench demo fuzz image molecule soak test-container test-engine test-vm
.PHONY: $(WITH_ENGINE)
$(WITH_ENGINE):
	@$(ENGINE) $(MAKE) --no-print-directory INSIDE_ENGINE=yes $@

else

.PHONY: demo
demo: ## Boot two agents in bridged mode and show what they can do; cleans up after itself
	@$(BUILD)
	@$(PYTHON) tools/demo.py --image $(TAG)
	@$(HINT)

.PHONY: image
image: ## Build the agent image (BASE_IMAGE=, MESOS_DIR=, TAG=)
	@$(BUILD)
	@$(HINT)

# The VM has no acceleration and one processor; the containers have the others meanwhile.
.PHONY: test-engine
test-engine: $(READY) ## The lanes that need an engine, side by side
	@tools/lane-packages openssh-client $(VM_PACKAGES) || [ $$? -eq 75 ]
	@$(BUILD)
	@mkdir -p .cache
	@echo "make: the VM lane runs beside the container lane; its output, which is in .cache/vm-lane.log, comes after it"
	@failed=; \
	$(MAKE) --no-print-directory test-vm >.cache/vm-lane.log 2>&1 & \
	$(MAKE) --no-print-directory test-container molecule || failed=yes; \
	wait $$! || failed=yes; \
	cat .cache/vm-lane.log; \
	[ -z "$$failed" ]

.PHONY: test-container
test-container: $(READY) ## The container lane: the real image in a real engine
	@command -v ssh-keygen >/dev/null || tools/lane-packages openssh-client
	@$(BUILD)
	@$(BIN)/pytest --durations=10 tests/container

.PHONY: test-vm
test-vm: $(READY) ## The VM lane: the image on pure cgroup v2 and under systemd, in a real Debian 13; needs root
	@if tools/lane-packages $(VM_PACKAGES); then \
		$(BUILD) && $(BIN)/pytest --verbose --durations=10 tests/vm; \
	else [ $$? -eq 75 ]; fi

.PHONY: soak
soak: $(READY) ## 200 lives ended by SIGKILL and 20 agents at once: nothing leaks
	@$(BUILD)
	@MESOS_DIND_CYCLES=200 $(BIN)/pytest tests/container/test_storage.py

.PHONY: fuzz
fuzz: export MESOS_DIND_FUZZ_SEED := $(or $(SEED),$(shell shuf -i 1-999999 -n 1))
fuzz: export MESOS_DIND_FUZZ_CASES := $(CASES)
fuzz: $(READY) ## Random settings, kills and damaged images (SEED= of an earlier run, CASES=)
	@$(BUILD)
	@echo "make: fuzzing with SEED=$$MESOS_DIND_FUZZ_SEED"
	@$(BIN)/pytest -m fuzz tests/container/fuzz

.PHONY: bench
bench: $(READY) ## Time the boot, into .cache/bench.json and .svg (PEER= an image to compare with, COMPARE= an older result, RUNS=)
	@$(BUILD)
	@$(BIN)/python tools/bench.py --image $(TAG) --runs $(RUNS) --json .cache/bench.json --picture .cache/bench.svg \
		$(if $(PEER),--peer $(PEER)) $(if $(COMPARE),--compare $(COMPARE))

.PHONY: molecule
molecule: $(READY) ## The Molecule scenarios: the booted image, verified with testinfra
	@$(BUILD)
	@for scenario in default bridged; do PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/molecule test --scenario-name $$scenario; done

endif

.PHONY: lint
lint: $(READY) ## Ruff, mypy, yamllint, ansible-lint, shellcheck, ansible-test sanity
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy --package ansible_collections.mesos.dind.plugins
	@$(BIN)/mypy tools tests/container molecule
	@for lane in unit kernel vm; do $(BIN)/mypy tests/$$lane; done
	@$(BIN)/yamllint --strict .
	@$(BIN)/shellcheck --external-sources --check-sourced $(SHELL_SCRIPTS)
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
