# Everything runs with Go alone; what else is needed is fetched as Go modules. `make help` lists the targets.

# The modules, each tested and linted on its own. An importer of the library sees the first only.
MODULES := . examples examples/flagger
DEMO ?=
# README shows what the demo draws without flags.
SVG ?= $(CURDIR)/$(if $(strip $(DEMO)),build,docs)/demo.svg
FUZZTIME ?= 20s
LINT := go tool -modfile=$(CURDIR)/tools/go.mod golangci-lint

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## shift real traffic between two clusters and two versions and draw docs/demo.svg; DEMO="-fail" passes flags and draws build/demo.svg
	@mkdir -p $(dir $(SVG))
	cd examples && go run ./demo -svg $(SVG) $(DEMO)

.PHONY: test
test: ## unit, golden, conformance and real-Skipper tests of every module
	@for module in $(MODULES); do echo "== test $$module"; (cd $$module && go test -shuffle=on -timeout 20m ./...) || exit 1; done

.PHONY: test-race
test-race: ## the same under the race detector, which needs a C compiler
	@command -v "$$(go env CC)" >/dev/null || { echo "make test-race: the race detector needs a C compiler; '$$(go env CC)' is not installed (Debian: apt-get install gcc libc6-dev)" >&2; exit 1; }
	@for module in $(MODULES); do echo "== test-race $$module"; (cd $$module && CGO_ENABLED=1 go test -race -shuffle=on -timeout 30m ./...) || exit 1; done

.PHONY: lint
lint: ## gofmt, go vet and the linters of .golangci.yml, at pinned versions
	@unformatted=$$(git ls-files '*.go' | xargs gofmt -l); if [ -n "$$unformatted" ]; then echo "make lint: gofmt would change: $$unformatted" >&2; exit 1; fi
	@for module in $(MODULES); do echo "== lint $$module"; (cd $$module && go vet ./... && $(LINT) run --config $(CURDIR)/.golangci.yml ./...) || exit 1; done

.PHONY: fuzz
fuzz: ## each fuzz test for FUZZTIME (20s)
	@for target in $$(git grep -hoE '^func Fuzz[A-Za-z0-9]+' -- '*_test.go' | sed 's/func //' | sort -u); do \
	  for file in $$(git grep -lE "^func $$target\\(" -- '*_test.go'); do \
	    echo "== fuzz $$target ($$(dirname $$file))"; go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) ./$$(dirname $$file) || exit 1; \
	  done; done

.PHONY: bench
bench: ## Flagger's own Skipper router and ours side by side, and the planning of 20,000 hosts
	go test -run '^$$' -bench . -benchmem ./weights ./dns
	cd examples && go test -run '^$$' -bench . -benchmem ./bench

.PHONY: flagger
flagger: ## build bin/flagger: Flagger, unmodified but for the providers skipper and dns-weighted
	cd examples/flagger && go run . -o $(CURDIR)/bin/flagger

.PHONY: fmt
fmt: ## format every Go file
	@for module in $(MODULES); do (cd $$module && $(LINT) fmt --config $(CURDIR)/.golangci.yml ./...) || exit 1; done

.PHONY: presubmit
presubmit: lint test test-race ## all that CI runs
