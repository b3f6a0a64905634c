package e2e_test

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"

	"github.com/penstock-dev/penstock/e2e/internal/gateway"
	"github.com/penstock-dev/penstock/internal/route53emulator"
)

// TestFlaggerIsKilled kills it at the points between which a change of weights is durable in another place.
func TestFlaggerIsKilled(t *testing.T) {
	t.Parallel()
	asked := func(s *site, weight int) func() bool {
		return func() bool { m := s.history.last(); return m.desired.Attached && m.desired.Weights.Canary == weight }
	}
	for label, tc := range map[string]struct {
		setup  setup
		faults int // of the new version
		hold   func(a *app)
		until  func(s *site) func() bool
		// host is the weight of the host's record then, and inner those of the inner set.
		host  int
		inner map[string]int
		end   flaggerv1.CanaryPhase
		// weights are all that the canary has, one after another, as without the kill.
		weights []int
	}{
		"AskedButNotWritten": {
			setup: splitRoute53,
			hold: func(a *app) {
				a.route53.Inject(route53emulator.Fault{Kind: route53emulator.Unavailable, Operation: route53emulator.ChangeResourceRecordSets, Times: -1})
			},
			until: func(s *site) func() bool { return asked(s, 20) },
			host:  100, inner: map[string]int{},
			end: flaggerv1.CanaryPhaseSucceeded, weights: []int{0, 20, 40},
		},
		"WrittenButNotInSync": {
			setup: splitRoute53,
			hold:  func(a *app) { a.route53.HoldChanges(true) },
			until: func(s *site) func() bool {
				return func() bool {
					m := s.history.last()
					return asked(s, 20)() && m.observed.Generation == m.desired.Generation && m.observed.Change != "" && !m.observed.Effective
				}
			},
			host: 100, inner: map[string]int{"primary": 80, "canary": 20},
			end: flaggerv1.CanaryPhaseSucceeded, weights: []int{0, 20, 40},
		},
		"Draining": {
			setup: splitRoute53, faults: 2,
			until: func(s *site) func() bool {
				return func() bool {
					m := s.history.last()
					if m.weight() == 20 && m.effective() {
						s.app.route53.HoldChanges(true)
					}
					answered := m.observed.Generation == m.desired.Generation && m.observed.Change != "" && !m.observed.Effective
					return m.desired.Generation > 1 && asked(s, 0)() && answered && m.replicas > 0
				}
			},
			host: 100, inner: map[string]int{"primary": 100},
			end: flaggerv1.CanaryPhaseFailed, weights: []int{0, 20, 0},
		},
		"BetweenSkipperAndDNS": {
			setup: sharedRoute53.exposing(50),
			hold: func(a *app) {
				for _, s := range a.sites {
					s.gateway.Decide(func(r *http.Request) gateway.Fault {
						if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/configmaps/app-penstock") && s.history.last().skipper == 40 {
							return gateway.Fault{Hold: make(chan struct{})}
						}
						return gateway.Fault{}
					})
				}
			},
			until: func(s *site) func() bool { return func() bool { return s.history.last().skipper == 40 } },
			host:  50, inner: map[string]int{},
			end: flaggerv1.CanaryPhaseSucceeded, weights: []int{0, 20, 40},
		},
	} {
		t.Run(label, func(t *testing.T) {
			t.Parallel()
			a := newApp(t, tc.setup)
			east := a.sites["east"]
			if tc.hold != nil {
				tc.hold(a)
			}
			east.release(release, tc.faults)
			east.wait("it is time to kill Flagger", patience, tc.until(east))
			east.flagger.Kill()
			if host, inner := a.recordWeights(a.host), a.innerWeights("east"); host["east"] != tc.host || !maps.Equal(inner, tc.inner) {
				t.Errorf("when Flagger is killed the host has the weights %v and the inner set %v, want %d and %v", host, inner, tc.host, tc.inner)
			}
			a.route53.ClearFaults()
			a.route53.HoldChanges(false)
			east.gateway.Decide(nil)
			east.startFlagger()
			a.ends(tc.end)
			if got := east.weights(); !slices.Equal(got, tc.weights) {
				t.Errorf("the canary's weights were %v, want %v", got, tc.weights)
			}
			a.wait("DNS is as it is without a canary", patience, a.restored)
			ends := release
			if tc.end == flaggerv1.CanaryPhaseFailed {
				ends = version
			}
			a.only(primary, ends)
			a.untouched()
		})
	}
}
