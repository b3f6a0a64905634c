# Everything runs with Go, what it needs fetched as Go modules, but for a server with the protocol of DynamoDB, which npm fetches. `make help` lists the targets.

# The modules, each tested and linted on its own. An importer of the library sees the first only.
MODULES := . controllers charts examples examples/flagger
# Those of the end-to-end tests, which `make e2e` runs; the parts of their world are tested with the others.
E2E_MODULES := e2e e2e/kube
TESTED := $(MODULES) e2e/internal
# A chart starts no goroutine, and Helm takes minutes to compile once more.
RACED := $(filter-out charts,$(TESTED))
# Most goroutines of the demo and of the tests with the real Skipper are Skipper's. What is ours in them runs under the race detector elsewhere.
UNRACED := /examples/(demo|skipper)$$
# The linters vet every package. Vetting with the tests too would read all of Kubernetes again, and once more for the race detector.
GO_TEST := go test -vet=off
# Newer ones do not build with Go 1.26.
EXTERNAL_DNS := sigs.k8s.io/external-dns@v0.21.0
# kube-apiserver says which version it is, and Flagger looks at it.
KUBERNETES := v1.36.3
# Each has a Flagger, a Skipper and clients. More at a time on two cores make Skipper late.
E2E_APPS ?= 14
E2E ?=
SCALE ?=
E2E_TEST = cd e2e && $(GO_TEST) -count=1 -parallel 100 -apps $(E2E_APPS)
# The traffic controller and its tests speak the protocol of DynamoDB with this server, one static program without dependencies.
DYNOXIDE := @dynoxide/linux-x64@1.2.1
DYNOXIDE_SHA256 := be909b7910d3fb552e85db10ef3c8ebae4bd35fee0f26dffdb6dfa5cc656426e
LENGTH ?= 10m
SEED ?= 1
DEMO ?=
SVG ?= build/demo.svg
# That of the machine unless it is given, such as linux/arm64.
PLATFORM ?=
FUZZTIME ?= 20s
LINT := go tool -modfile=$(CURDIR)/tools/go.mod golangci-lint

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## shift real traffic between two clusters and two versions and draw build/demo.svg; DEMO="-fail" passes flags
	@mkdir -p "$(dir $(abspath $(SVG)))"
	cd examples && go run ./demo -svg "$(abspath $(SVG))" $(DEMO)

.PHONY: demo-picture
demo-picture: ## the same without flags, and draw docs/demo.svg, which README shows
	$(MAKE) demo SVG=docs/demo.svg DEMO=

.PHONY: test
test: ## unit, golden, conformance and real-Skipper tests of every module
	@for module in $(TESTED); do echo "== test $$module"; (cd $$module && $(GO_TEST) -shuffle=on -timeout 20m ./...) || exit 1; done

.PHONY: test-race
test-race: ## the same under the race detector, which needs a C compiler, without two examples; each twelfth of the writes that are made to fail
	@command -v "$$(go env CC)" >/dev/null || { echo "make test-race: the race detector needs a C compiler; '$$(go env CC)' is not installed (Debian: apt-get install gcc libc6-dev)" >&2; exit 1; }
	@for module in $(RACED); do echo "== test-race $$module"; (cd $$module && CGO_ENABLED=1 $(GO_TEST) -race -short -shuffle=on -timeout 30m $$(go list ./... | grep -vE '$(UNRACED)')) || exit 1; done

.PHONY: e2e
e2e: e2e-programs ## real Flagger, kube-apiserver, Skipper and external-dns; E2E="-run Rollback -v" passes flags
	$(E2E_TEST) -timeout 40m $(E2E) .

.PHONY: e2e-chaos
e2e-chaos: e2e-programs ## trouble in a random order for LENGTH (10m), which follows from SEED (1), and up to 10 min more to come to an end
	$(E2E_TEST) -timeout 0 -v -run TestChaos -chaos $(LENGTH) -chaos-seed $(SEED) .

.PHONY: e2e-figures
e2e-figures: e2e-programs ## the same as e2e, and write what was measured into docs/end-to-end.md
	$(E2E_TEST) -timeout 40m -figures $(CURDIR)/docs/end-to-end.md .

.PHONY: e2e-programs
e2e-programs: flagger penstock dynamodb
	cd e2e/kube && go build -ldflags "-X k8s.io/component-base/version.gitVersion=$(KUBERNETES)" -o $(CURDIR)/bin/kube .
	GOBIN=$(CURDIR)/bin go install $(EXTERNAL_DNS)
	cd examples/flagger && go build -o $(CURDIR)/bin/flagger-upstream github.com/fluxcd/flagger/cmd/flagger

.PHONY: test-dynamodb
test-dynamodb: dynamodb ## the stores of the traffic controller against a server with the protocol of DynamoDB, which npm fetches
	cd controllers && CGO_ENABLED=1 $(GO_TEST) -race -shuffle=on -timeout 10m -tags dynamodb ./store

.PHONY: penstock
penstock: ## build bin/penstock, the traffic controller and its commands
	cd controllers && go build -o $(CURDIR)/bin/penstock ./cmd/penstock

.PHONY: bench-scale
bench-scale: e2e-programs ## the traffic controller at 500 to 10,000 Ingresses on the real kube-apiserver, beside a bare client; SCALE="-store dynamodb" passes flags
	cd e2e && go run ./scale -bin $(CURDIR)/bin $(SCALE)

.PHONY: dynamodb
dynamodb:
	@set -e; \
	if echo "$(DYNOXIDE_SHA256)  bin/dynoxide" | sha256sum -c --status 2>/dev/null; then exit 0; fi; \
	if ! command -v npm >/dev/null && command -v apt-get >/dev/null; then apt-get update -qq && apt-get install -y -qq npm; fi; \
	if ! command -v npm >/dev/null; then echo "make dynamodb: npm is not installed (Debian: apt-get install npm)" >&2; exit 1; fi; \
	dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; \
	(cd "$$dir" && npm pack --silent "$(DYNOXIDE)" >/dev/null && tar -xzf *.tgz); \
	echo "$(DYNOXIDE_SHA256)  $$dir/package/dynoxide" | sha256sum -c --quiet -; \
	mkdir -p bin && install -m 755 "$$dir/package/dynoxide" bin/dynoxide

.PHONY: lint
lint: ## gofmt and the linters of .golangci.yml, go vet's among them, at pinned versions
	@unformatted=$$(git ls-files '*.go' | xargs gofmt -l); if [ -n "$$unformatted" ]; then echo "make lint: gofmt would change: $$unformatted" >&2; exit 1; fi
	@for module in $(MODULES) $(E2E_MODULES); do echo "== lint $$module"; (cd $$module && $(LINT) run --allow-parallel-runners --build-tags dynamodb --config $(CURDIR)/.golangci.yml ./...) || exit 1; done

.PHONY: fuzz
fuzz: ## each fuzz test for FUZZTIME (20s)
	@for target in $$(git grep -hoE '^func Fuzz[A-Za-z0-9]+' -- '*_test.go' | sed 's/func //' | sort -u); do \
	  for file in $$(git grep -lE "^func $$target\\(" -- '*_test.go'); do \
	    echo "== fuzz $$target ($$(dirname $$file))"; (cd $$(dirname $$file) && go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) .) || exit 1; \
	  done; done

.PHONY: bench
bench: ## Flagger's own Skipper router and ours side by side, and the planning of 20,000 hosts
	go test -run '^$$' -bench . -benchmem ./weights ./dns
	cd examples && go test -run '^$$' -bench . -benchmem ./bench

.PHONY: flagger
flagger: ## build bin/flagger, static: Flagger, unmodified but for the providers skipper and dns-weighted; PLATFORM=linux/arm64 for another machine
	cd examples/flagger && go run . -o $(CURDIR)/bin/flagger $(addprefix -platform ,$(PLATFORM))

.PHONY: fmt
fmt: ## format every Go file
	@for module in $(MODULES) $(E2E_MODULES); do (cd $$module && $(LINT) fmt --config $(CURDIR)/.golangci.yml ./...) || exit 1; done

.PHONY: presubmit
presubmit: lint test test-dynamodb e2e test-race ## every check
