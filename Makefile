# The targets are the contract; what stands behind them may change. "make help" lists them.

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS   += --no-print-directory
.DEFAULT_GOAL := help

# Tools are built once, by version, outside the tree that git sees.
LINT_VERSION := v2.15.0
LINT         := $(CURDIR)/.tmp/golangci-lint-$(LINT_VERSION)/golangci-lint

PYRIGHT_VERSION := 1.1.414
PYRIGHT         := $(CURDIR)/.tmp/pyright-$(PYRIGHT_VERSION)/node_modules/.bin/pyright

# Knobs, for the command line: make bench BENCHTIME=100ms; make test TEST=./session/...
TEST      ?= ./...
BENCH     ?= .
BENCHTIME ?= 1s
CHAOS_FOR ?= 20m
SEED      ?=
PEERS_PYTHON ?=
PYTHONS   ?= $(shell scripts/pythons)

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## Show what this is for: sessions that survive kill -9 of the worker and of the server
	go run ./cmd/snakepit demo

.PHONY: deps
deps: $(LINT) ## Install what is missing: Debian packages (as root or with sudo), the linter and pyright
	scripts/deps install
	@$(MAKE) $(PYRIGHT)

$(LINT):
	@echo "deps: building golangci-lint $(LINT_VERSION) into .tmp (once; a few minutes on a machine without its build cache)"
	GOBIN=$(@D) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)

$(PYRIGHT): # after the packages, which bring npm
	@echo "deps: installing pyright $(PYRIGHT_VERSION) into .tmp"
	@mkdir -p $(CURDIR)/.tmp/pyright-$(PYRIGHT_VERSION)
	npm install --silent --no-audit --no-fund --prefix $(CURDIR)/.tmp/pyright-$(PYRIGHT_VERSION) pyright@$(PYRIGHT_VERSION)

.PHONY: check
check: ## Everything that is checked without running: format, vet, lint, go.mod, architecture, generated code, Python syntax and types
	scripts/deps require gcc protoc python3 mypy node
	@test -x $(PYRIGHT) || { echo "check: pyright $(PYRIGHT_VERSION) is missing: run make deps" >&2; exit 1; }
	@test -x $(LINT) || { echo "check: golangci-lint $(LINT_VERSION) is missing: run make deps" >&2; exit 1; }
	@files=$$(git ls-files -z --cached --others --exclude-standard -- '*.go' | xargs -0 ls -d 2>/dev/null | xargs gofmt -l); \
	  test -z "$$files" || { printf 'check: not formatted, run gofmt -w on:\n%s\n' "$$files" >&2; exit 1; }
	go vet ./...
	cd test/peers && go vet ./... && go mod tidy -diff
	$(LINT) run
	go mod tidy -diff
	go test -count=1 ./internal/archtest ./config
	scripts/generated
	scripts/pysyntax
	cd python && mypy && $(PYRIGHT)

.PHONY: test
test: ## All tests: Go with the race detector, then the Python SDK's
	scripts/deps require gcc python3 numpy pandas pydantic
	go test -race -timeout 10m $(TEST)
	@for python in $(PYTHONS); do \
	  echo "python tests with $$python"; \
	  (cd python && timeout 10m "$$python" -B -m unittest discover -s tests -t .); \
	done
	cd python && timeout 10m /usr/bin/python3 -B -m unittest tests.libraries # Debian's, which has them

.PHONY: bench
bench: ## All benchmarks, one package at a time, and a table of the ratios to the limits (BENCHTIME=100ms for a short run)
	scripts/deps require python3
	@mkdir -p .tmp
	go test -p 1 -run '^$$' -bench '$(BENCH)' -benchtime $(BENCHTIME) -timeout 60m $(TEST) | tee .tmp/bench.txt
	@scripts/benchtable .tmp/bench.txt

.PHONY: bench-peers
bench-peers: ## The same Python function through gRPC, HTTP, multiprocessing and this project, as far as they are installed
	scripts/deps require python3
	cd test/peers && go run . $(if $(PEERS_PYTHON),-python $(PEERS_PYTHON))

.PHONY: chaos
chaos: ## The kill tests for as long as CHAOS_FOR=20m says; SEED=n repeats the faults of a run
	scripts/deps require gcc python3
	@mkdir -p .tmp
	SNAKEPIT_CHAOS=$(CHAOS_FOR) SNAKEPIT_SEED=$(SEED) go test -race -count=1 -p 1 -v -run '^TestChaos' -timeout 3h $(TEST) \
	  | grep -v -e '\[no test files\]' -e '\[no tests to run\]' | tee .tmp/chaos.txt
	@grep -q '^--- PASS: TestChaos' .tmp/chaos.txt || { echo "chaos: no test ran" >&2; exit 1; }

.PHONY: generate
generate: ## Write the generated files anew: the API's Go code, the pages about the configuration and the command line
	scripts/deps require protoc
	api/generate.sh
	go test -count=1 ./config -update
	go test -count=1 ./cmd/snakepit -update
