# Every verb a person or CI needs; `make help` lists them.
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
STAMP := .stamps

.PHONY: help
help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# An environment that another Python made, or that was left half made, is made anew.
FITS := import sys; sys.exit(sys.version_info < (3, 11))

$(STAMP)/setup: pyproject.toml requirements.lock
	@mkdir -p $(STAMP)
	@$(BIN)/python -c 'import pip; $(FITS)' 2>/dev/null || $(PYTHON) -c '$(FITS)' || \
		{ echo "Python 3.11 or later is needed; another one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	@echo "installing what is locked into .venv: a minute or two the first time"
	@$(BIN)/python -c 'import pip; $(FITS)' 2>/dev/null || $(PYTHON) -m venv --clear .venv || { rm -rf .venv; exit 2; }
	@PIP_USE_PEP517=1 $(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.PHONY: setup
setup: $(STAMP)/setup ## make .venv with everything locked, and .venv/bin/streamgauge

# The first call of a kernel compiles it, for half a minute of processor time; later ones read it from the disk.
$(STAMP)/kernels: $(STAMP)/setup $(wildcard streamgauge/*/*.py services/*/*_kernels.py services/*/*/*_kernels.py)
	@echo "compiling the kernels for this machine: a minute or two, once"
	@PYTHONPATH=. $(BIN)/python images/compile_kernels.py
	@touch $@

.PHONY: kernels
kernels: $(STAMP)/kernels ## compile the kernels for this machine

.PHONY: system
system: ## install the system programs that the tests use (root on Debian); else say what is missing
	@sh tests/system-packages.sh

.PHONY: demo
demo: kernels ## the whole system on this machine: live capture, NATS, S3, metrics (ARGS="--duration 20")
	@$(BIN)/streamgauge demo $(ARGS)

.PHONY: format
format: setup ## format the code
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

.PHONY: lint
lint: setup ## ruff, mypy strict
	@$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy

.PHONY: test
test: kernels system ## every test
	@$(BIN)/python -m pytest $(ARGS)

# Spark beside DuckDB: pyspark takes 400 MB and needs Java, so it has an environment of its own on top of .venv.
SPARK := $(STAMP)/spark

.PHONY: test-spark
test-spark: kernels ## the named queries in Spark give the answers of DuckDB (Java; pyspark is installed the first time)
	@test -x $(SPARK)/bin/python || $(PYTHON) -m venv $(SPARK)
	@$(SPARK)/bin/pip install --quiet --disable-pip-version-check pyspark==4.3.0
	@ls -d $(abspath .venv)/lib/python*/site-packages > \
		$$($(SPARK)/bin/python -c 'import site; print(site.getsitepackages()[0])')/project.pth
	@$(SPARK)/bin/python -m pytest examples/spark -W default --timeout 1200 $(ARGS)

# Trino beside DuckDB: a server out of Maven's artefacts, 370 MB of them; its client in an environment of its own.
TRINO := $(STAMP)/trino

$(TRINO)/classpath: examples/trino/server/pom.xml
	@mkdir -p $(@D)
	@command -v mvn >/dev/null || { echo "Trino comes through Maven: install it (apt-get install maven)" >&2; exit 2; }
	@echo "downloading Trino (370 MB)"
	@mvn --quiet --batch-mode --file $< dependency:build-classpath -Dmdep.outputFile=$(abspath $@)

.PHONY: test-trino
test-trino: kernels $(TRINO)/classpath ## the named queries in Trino give the answers of DuckDB (Java 25, Maven; 370 MB the first time)
	@test -x $(TRINO)/bin/python || $(PYTHON) -m venv $(TRINO)
	@$(TRINO)/bin/pip install --quiet --disable-pip-version-check trino==0.340.0
	@ls -d $(abspath .venv)/lib/python*/site-packages > \
		$$($(TRINO)/bin/python -c 'import site; print(site.getsitepackages()[0])')/project.pth
	@TRINO_CLASSPATH=$(abspath $(TRINO)/classpath) PATH="$(abspath $(BIN)):$$PATH" $(TRINO)/bin/python -m pytest \
		examples/trino -W default --timeout 1200 $(ARGS)

KERNEL_TESTS := tests/unit/decode tests/unit/flows tests/unit/test_encode.py tests/unit/collector/test_ring_kernels.py \
	tests/unit/collector/test_coarsener.py tests/property

.PHONY: test-plain
test-plain: setup ## the tests of the kernels, with kernels as ordinary Python: breakpoints, tracebacks (half a minute)
	@NUMBA_DISABLE_JIT=1 $(BIN)/python -m pytest $(KERNEL_TESTS) $(ARGS)

# Long searches for packets that the decoder mistakes; SEARCH_SECONDS for the coverage-guided one.
SEARCH_SECONDS ?= 120

.PHONY: test-deep
test-deep: setup ## search long: random and coverage-guided packets, a million damaged ones with bounds checked
	@HYPOTHESIS_PROFILE=deep $(BIN)/python -m pytest tests/property --timeout 3600 $(ARGS)
	@NUMBA_DISABLE_JIT=1 $(BIN)/python -m pytest $(KERNEL_TESTS)
	@$(BIN)/python -m tests.deep.damaged
	@$(BIN)/python -m tests.deep.guided -verbosity=0 -max_total_time=$(SEARCH_SECONDS)

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

.PHONY: prometheus
prometheus: $(STAMP)/prometheus/prometheus ## build Prometheus with discovery in Kubernetes, for the tests (3 min the first time)

$(STAMP)/prometheus/prometheus: $(wildcard tests/deploy/prometheus/server/*)
	@tests/deploy/prometheus/server/build.sh $(abspath $(@D))

.PHONY: checkov
checkov: setup ## scan every overlay with checkov, in an environment of its own
	@$(BIN)/python -m tests.deploy.k8s.checkov

.PHONY: scan-tls
scan-tls: setup ## scan the door's TLS with sslyze, in an environment of its own
	@$(BIN)/python -m tests.deploy.nginx.scan_tls

.PHONY: bench
bench: setup ## packets/s beside tshark, softflowd, gopacket, dpkt and others, in one run (CAPTURE=file.pcap: looped, too)
	@$(BIN)/python -m benchmarks.decode $(ARGS)
	@test -z "$(CAPTURE)" || $(BIN)/python -m benchmarks.decode --capture "$(CAPTURE)" $(ARGS)
	@test -z "$(CAPTURE)" || $(BIN)/python -m benchmarks.decode --capture "$(CAPTURE)" --unique $(ARGS)

.PHONY: bench-live
bench-live: setup ## live capture between two namespaces beside tcpdump, softflowd and argus (root)
	@$(BIN)/python -m benchmarks.live $(ARGS)

.PHONY: bench-start
bench-start: setup kernels ## a collector's start, to its first acknowledged batch, beside the bare imports
	@$(BIN)/python -m benchmarks.start $(ARGS)

.PHONY: bench-scale
bench-scale: setup ## 200 synthetic nodes into one NATS: what it, a backup shard and an exporter take
	@$(BIN)/python -m benchmarks.scale $(ARGS)

.PHONY: bench-backup
bench-backup: setup ## the Parquet writer beside a plain pyarrow and put_object loop
	@$(BIN)/python -m benchmarks.backup $(ARGS)

.PHONY: bench-metrics
bench-metrics: setup ## aggregation, and a page of 50,000 series beside two other libraries
	@$(BIN)/python -m benchmarks.aggregate $(ARGS)
	@$(BIN)/python -m benchmarks.render $(ARGS)

.PHONY: bench-query
bench-query: kernels ## the named queries over 50 million stored rows, beside tshark (850 MB in /tmp; ARGS="--s3")
	@$(BIN)/python -m benchmarks.query $(ARGS)

# Faults at random against real services and servers: docs/15-operations.md.
FAULTS ?= 200

.PHONY: chaos
chaos: setup ## random faults, then the account must come out even (SEED=n FAULTS=n; 200 take about 10 min)
	@$(BIN)/python -m tests.chaos --faults $(FAULTS) $(if $(SEED),--seed $(SEED)) $(ARGS)

.PHONY: chaos-away
chaos-away: setup ## the object storage away for 10 minutes under 50,000 packets/s (ARGS="--minutes 10 --rate 50000")
	@$(BIN)/python -m tests.chaos.away $(ARGS)

# MinIO's own way since there are no binaries of it any more: it is built, once. A minio on PATH is taken as it is.
MINIO := github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c
MINIO_TESTS := tests/live/backup tests/live/audit tests/live/restore

$(STAMP)/minio/minio:
	@mkdir -p $(@D)
	@if command -v minio >/dev/null; then ln -sf "$$(command -v minio)" $@; \
	elif command -v go >/dev/null; then echo "building MinIO (minutes)"; GOBIN=$(abspath $(@D)) go install $(MINIO); \
	else echo "MinIO has to be built: install Go (https://go.dev/dl), or put a minio on PATH" >&2; exit 2; fi

.PHONY: test-minio
test-minio: kernels $(STAMP)/minio/minio ## the tests of backup, audit and restore against MinIO itself, built with Go
	@TEST_S3_SERVER=minio PATH="$(abspath $(STAMP)/minio):$$PATH" $(BIN)/python -m pytest $(MINIO_TESTS) $(ARGS)

.PHONY: docs
docs: setup ## write the reference pages from the code
	@$(BIN)/python -m streamgauge.reference docs
	@$(BIN)/python -m docs.write_metrics

.PHONY: lock
lock: ## resolve the versions in requirements.lock anew
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --all-extras --group dev --generate-hashes \
		--no-header --no-annotate --no-emit-index-url --no-emit-find-links pyproject.toml -o requirements.lock

# --- one machine: docker compose ---------------------------------------------------------------------------------------
COMPOSE ?= docker compose
DOCKER ?= docker

.PHONY: secrets
secrets: setup ## make certificates, passwords and keys in secrets/; never overwrites (ARGS="--rotate login")
	@$(BIN)/python -m streamgauge.secrets $(ARGS)

.PHONY: up
up: secrets ## start everything on this machine behind https://localhost:8443
	@$(COMPOSE) up --detach --build --wait || { $(COMPOSE) ps --all; \
		echo "not every part is healthy; what one says: make logs ARGS=<part>" >&2; exit 1; }
	@$(COMPOSE) ps

.PHONY: down
down: ## stop everything; the data stays (ARGS=--volumes removes it)
	@$(COMPOSE) --profile "*" down $(ARGS)

.PHONY: logs
logs: ## follow the logs of all parts (ARGS=backup: of one)
	@$(COMPOSE) logs --follow --tail 50 $(ARGS)

.PHONY: images
images: ## build the images of the three services
	@for target in collector backup exporter; do \
		$(DOCKER) build --target $$target --tag streamgauge/$$target:0.1.0 $(ARGS) . || exit 1; \
	done

.PHONY: lock-images
lock-images: ## resolve the versions in the images anew, within requirements.lock
	@$(BIN)/uv pip compile $(LOCK_IMAGES) --extra collector --extra backup --extra exporter --extra query pyproject.toml -o requirements-images.lock
	@printf 'hatchling\nsetuptools\n' | $(BIN)/uv pip compile $(LOCK_IMAGES) - -o requirements-build.lock
LOCK_IMAGES := --quiet --universal --python-version 3.13 --generate-hashes --no-header --no-annotate \
	--no-emit-index-url --no-emit-find-links --constraint requirements.lock

.PHONY: test-examples
test-examples: setup ## the examples in TypeScript, Go and shell (needs npm, Go, jq; downloads what they need)
	@$(BIN)/python -m pytest tests/examples/languages.py $(ARGS)

.PHONY: test-docker
test-docker: setup ## the tests that need a Docker engine, or programs that no package has (minio, mc)
	@$(BIN)/python -m pytest -m docker tests/deploy $(ARGS)

.PHONY: audit-deps
audit-deps: setup ## list of everything in the images (SBOM, dist/sbom.json), and known vulnerabilities in it
	@$(PYTHON) -m venv $(STAMP)/audit && $(STAMP)/audit/bin/pip install --quiet pip-audit==2.10.1 cyclonedx-bom==7.5.0
	@mkdir -p dist && $(STAMP)/audit/bin/cyclonedx-py requirements --output-file dist/sbom.json requirements-images.lock
	@$(BIN)/python images/audit_packages.py $(STAMP)/audit/bin/pip-audit $(ARGS)

.PHONY: clean
clean: ## remove the environment and caches
	@rm -rf .venv $(STAMP) .mypy_cache .ruff_cache .pytest_cache
