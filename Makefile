# Every verb a person or CI needs; `make help` lists them.
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
STAMP := .stamps

.PHONY: help
help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP)/setup: pyproject.toml requirements.lock
	@mkdir -p $(STAMP)
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.PHONY: setup
setup: $(STAMP)/setup ## make .venv with everything locked, and .venv/bin/streamgauge

.PHONY: system
system: ## install the system programs that the tests use (root on Debian); else say what is missing
	@sh tests/system-packages.sh

.PHONY: demo
demo: setup ## the whole system on this machine: live capture, NATS, S3, metrics (ARGS="--duration 20")
	@$(BIN)/streamgauge demo $(ARGS)

.PHONY: format
format: setup ## format the code
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

.PHONY: lint
lint: setup ## ruff, mypy strict
	@$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy

.PHONY: test
test: setup system ## every test
	@$(BIN)/python -m pytest $(ARGS)

# The cluster: k8s/, docs/13-kubernetes.md.
OVERLAY ?= dev

.PHONY: kustomize
kustomize: ## print the manifests of an overlay (OVERLAY=dev)
	@kubectl kustomize k8s/overlays/$(OVERLAY)

.PHONY: deploy
deploy: ## put an overlay into the cluster of your kubeconfig (OVERLAY=dev)
	@sh k8s/deploy.sh $(OVERLAY)

.PHONY: undeploy
undeploy: ## remove it again, data included (OVERLAY=dev)
	@kubectl delete --ignore-not-found -k k8s/overlays/$(OVERLAY)

.PHONY: controlplane
controlplane: $(STAMP)/controlplane ## build the Kubernetes control plane that the tests start (5 min the first time)

$(STAMP)/controlplane: $(wildcard tests/deploy/k8s/controlplane/*)
	@mkdir -p $(STAMP)
	@tests/deploy/k8s/controlplane/build.sh $(abspath $@)

.PHONY: checkov
checkov: setup ## scan every overlay with checkov, in an environment of its own
	@$(BIN)/python -m tests.deploy.k8s.checkov

.PHONY: bench
bench: setup ## packets/s beside tshark, softflowd, tcpdump, dpkt and scapy, in one run
	@$(BIN)/python -m benchmarks.decode $(ARGS)

.PHONY: docs
docs: setup ## write the reference pages from the code
	@$(BIN)/python -m streamgauge.reference docs

.PHONY: lock
lock: ## resolve the versions in requirements.lock anew
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --all-extras --group dev --generate-hashes \
		--no-header --no-annotate --no-emit-index-url --no-emit-find-links pyproject.toml -o requirements.lock

.PHONY: clean
clean: ## remove the environment and caches
	@rm -rf .venv $(STAMP) .mypy_cache .ruff_cache .pytest_cache
