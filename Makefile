# What one does with plumb's repository. `make` alone prints the targets.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
GO ?= go
# The toolchain of go.mod: a Go that is older or newer takes it through the module proxy, once.
# With `make GOTOOLCHAIN=local` it is the Go that is installed, and no other.
export GOTOOLCHAIN := $(shell awk '$$1 == "toolchain" { print $$2 }' go.mod)
get = $(GO) run ./internal/tools/get

.PHONY: help
help: ## print the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: check-go check-git sandbox plumb ## start a cluster and an example repository, and run plumb on them
	@$(GO) build -trimpath -o bin/plumb-demo ./demo
	@exec bin/plumb-demo $(ARGS)

.PHONY: build
build: check-go sandbox plumb ## build bin/plumb and bin/plumb-sandbox

.PHONY: plumb
plumb: check-go ## build bin/plumb only
	@# As in the image. With cgo the linker keeps all that a plugin could use, and the program is twice as large.
	@CGO_ENABLED=0 $(GO) build -ldflags '-X main.version=$(VERSION)' -o bin/plumb ./cmd/plumb

.PHONY: sandbox
sandbox: check-go ## build bin/plumb-sandbox only
	@$(get) -o bin/plumb-sandbox plumb-sandbox

.PHONY: test
test: check-go check-git build lint ## all that CI runs: build, lint and every test on a real API server
	@echo "test: go test -race ./..."
	@# The longest come first, or the rest would be over before they are. None is kept: they run plumb, which may be another by now.
	@$(GO) test -race -count=1 -timeout 40m ./test/rows ./bench ./...
	@echo "test: go test ./... in sandbox/"
	@cd sandbox && $(GO) test -count=1 -timeout 20m ./...

.PHONY: lint
lint: check-go ## gofmt, go vet and golangci-lint
	@lint=$$($(get) golangci-lint); \
	for module in . sandbox bench/git/gogit bench/index/helm; do \
		echo "lint: go vet and golangci-lint in $$module"; \
		(cd $$module && $(GO) vet ./... && "$$lint" run --config $(CURDIR)/.golangci.yml ./...); \
	done

.PHONY: generate
generate: check-go ## write the generated files again: the custom resource definitions
	@$(GO) generate ./api/...

.PHONY: bench
bench: check-go check-git sandbox plumb ## run the benchmark, print its figures and write them to bin/figures.json
	@exec $(GO) run ./bench -json bin/figures.json $(ARGS)

.PHONY: clean
clean: ## remove bin/; programs kept for other clones stay in the user's cache folder
	@rm -rf bin

.PHONY: check-go
check-go:
	@command -v $(GO) >/dev/null || { echo "make: Go is missing; install Go 1.21 or newer: https://go.dev/doc/install" >&2; exit 1; }
	@have=$$(GOTOOLCHAIN=local $(GO) env GOVERSION); \
	case $$have in go1.?|go1.?.*|go1.1[0-9]*|go1.20*) \
		echo "make: $$have can't take another toolchain; install Go 1.21 or newer, best $(GOTOOLCHAIN): https://go.dev/dl/" >&2; exit 1;; esac; \
	$(GO) version >/dev/null || { \
		echo "make: $(GOTOOLCHAIN) is needed, and $$have could not take it from GOPROXY=$$(GOTOOLCHAIN=local $(GO) env GOPROXY); why is above" >&2; \
		echo "make: let it reach a module proxy (go env -w GOPROXY=…), or install $(GOTOOLCHAIN) by hand: https://go.dev/dl/" >&2; \
		exit 1; }

.PHONY: check-git
check-git:
	@command -v git >/dev/null || { echo "make: git is missing; install it with your system's package manager" >&2; exit 1; }
