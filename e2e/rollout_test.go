package e2e_test

import (
	"cmp"
	"slices"
	"testing"
	"time"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"

	"github.com/penstock-dev/penstock/e2e/internal/traffic"
)

// least is how many independent requests a share is judged by.
const least = 100

// patience is more than any canary needs.
const patience = 8 * time.Minute

// intended returns the shares of one cluster alone when its canary has a weight.
func intended(weight int) map[traffic.Cell]float64 {
	return map[traffic.Cell]float64{{Cluster: "east", Version: version}: 1 - float64(weight)/100, {Cluster: "east", Version: release}: float64(weight) / 100}
}

// failures checks that no request failed but those that a pod was told to fail.
func (a *app) failures() {
	a.t.Helper()
	failures := 0
	var first error
	for _, sample := range a.recorder.All() {
		if sample.Err != nil {
			failures++
			first = cmp.Or(first, sample.Err)
		}
	}
	if failures > 0 {
		a.t.Errorf("%d requests failed, the first: %v", failures, first)
	}
}

// untouched checks what must hold in every canary: no request failed, and nobody was sent to what had been scaled down.
func (a *app) untouched() {
	a.t.Helper()
	a.failures()
	down := 0
	for _, sample := range a.recorder.All() {
		if sample.ScaledDown && sample.Workload == name {
			down++
		}
	}
	if down > 0 {
		a.t.Errorf("%d requests reached a canary that had been scaled down", down)
	}
	for _, s := range a.sites {
		for _, at := range s.history.downs() {
			until := a.recorder.UsableUntil(s.addresses[1], at)
			if until.IsZero() {
				continue // it has none of its own
			}
			a.t.Logf("cluster %s: the canary was scaled down %s after the last answer with its load balancer could be used", s.Name, at.Sub(until).Round(time.Millisecond))
			if until.After(at) {
				a.t.Errorf("cluster %s: the canary was scaled down at %s, and clients may use its load balancer until %s", s.Name, at, until)
			}
		}
	}
}

// shares checks the shares of every time that was steady for long enough, and that there was one at each weight.
func (s *site) shares(want map[int]map[traffic.Cell]float64) {
	t := s.app.t
	t.Helper()
	judged := map[int]int{}
	for _, period := range s.history.steady(s.app.changedBefore) {
		counts := traffic.Counts(s.app.recorder.Between(period.from, period.to))
		n := 0
		for _, hits := range counts {
			n += hits
		}
		if n < least || want[period.weight] == nil {
			continue
		}
		judged[period.weight] += n
		t.Logf("canary weight %d for %s: %v of %d independent requests", period.weight, period.to.Sub(period.from).Round(time.Second), counts, n)
		for _, err := range traffic.Check(counts, want[period.weight]) {
			t.Errorf("at canary weight %d: %v", period.weight, err)
		}
	}
	for weight := range want {
		if judged[weight] == 0 {
			t.Errorf("no time at canary weight %d was long enough to judge shares", weight)
		}
	}
}

// ends waits until the canaries of all clusters have ended in a phase.
func (a *app) ends(want flaggerv1.CanaryPhase) {
	a.t.Helper()
	for _, s := range a.sites {
		s.wait("the canary ends", patience, s.phase(flaggerv1.CanaryPhaseSucceeded, flaggerv1.CanaryPhaseFailed))
		if got := s.history.last().phase; got != want {
			a.t.Fatalf("cluster %s: phase %s, want %s", s.Name, got, want)
		}
	}
}

// only checks that every request of the next seconds ends in one of the cells.
func (a *app) only(cells ...traffic.Cell) {
	a.t.Helper()
	now := time.Now()
	counts := map[traffic.Cell]int{}
	<-time.After(2 * time.Second)
	for _, sample := range a.recorder.Between(now, time.Now()) {
		counts[sample.Cell]++
	}
	for cell, n := range counts {
		if !slices.Contains(cells, cell) {
			a.t.Errorf("%d requests ended at %v, want all at %v", n, cell, cells)
		}
	}
	if len(counts) == 0 {
		a.t.Error("no client is at work")
	}
}

// atWeight returns a condition: the canary has a weight, and clients get it.
func (s *site) atWeight(weight int) func() bool {
	return func() bool {
		m := s.history.last()
		return m.phase == flaggerv1.CanaryPhaseProgressing && m.weight() == weight && m.effective()
	}
}

var (
	skipperProvider  = setup{provider: "skipper"}
	sharedRoute53    = setup{provider: "dns-weighted", backend: "route53"}
	splitRoute53     = setup{provider: "dns-weighted", backend: "route53", split: true}
	sharedExternal   = setup{provider: "dns-weighted", backend: "externaldns"}
	splitExternalDNS = setup{provider: "dns-weighted", backend: "externaldns", split: true}
)

// setups are all ways in which a canary may be split and published.
var setups = map[string]setup{
	"Skipper": skipperProvider, "SharedRoute53": sharedRoute53, "SplitRoute53": splitRoute53,
	"SharedExternalDNS": sharedExternal, "SplitExternalDNS": splitExternalDNS,
}

func TestPromotion(t *testing.T) {
	t.Parallel()
	for label, s := range setups {
		t.Run(label, func(t *testing.T) {
			t.Parallel()
			a := newApp(t, s)
			east := a.sites["east"]
			east.release(release, 0)
			a.ends(flaggerv1.CanaryPhaseSucceeded)
			east.shares(map[int]map[traffic.Cell]float64{20: intended(20), 40: intended(40)})
			a.only(traffic.Cell{Cluster: "east", Version: release})
			a.untouched()
		})
	}
}

func TestRollback(t *testing.T) {
	t.Parallel()
	for label, s := range setups {
		t.Run(label, func(t *testing.T) {
			t.Parallel()
			a := newApp(t, s)
			east := a.sites["east"]
			east.release(release, 2)
			a.ends(flaggerv1.CanaryPhaseFailed)
			a.only(traffic.Cell{Cluster: "east", Version: version})
			a.untouched()
			if alerts := east.alerts("threshold reached"); len(alerts) != 1 {
				t.Errorf("%d alerts of one rollback, want 1: %q", len(alerts), alerts)
			}
		})
	}
}
