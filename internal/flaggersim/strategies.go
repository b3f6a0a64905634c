package flaggersim

import (
	"context"
	"strings"
	"testing"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	istiov1alpha1 "github.com/fluxcd/flagger/pkg/apis/istio/common/v1alpha1"
	istiov1beta1 "github.com/fluxcd/flagger/pkg/apis/istio/v1beta1"
)

// strategy is a way to release, and what the canary gets of the requests, each time that changes.
type strategy struct {
	name   string
	change func(*flaggerv1.Canary)
	// promoted is what is seen of a release that succeeds, failed of one whose checks fail as soon as anything reaches the canary.
	promoted, failed histories
	// field is what DNS alone cannot do; empty if it can.
	field string
}

type histories struct{ users, matching, copies []float64 }

// split is the history of a strategy that knows no difference between users.
func split(shares ...float64) histories {
	return histories{users: shares, matching: shares, copies: []float64{0}}
}

var (
	weighted = strategy{
		name: "Canary", change: func(*flaggerv1.Canary) {},
		promoted: split(0, 0.2, 0.4, 0), failed: split(0, 0.2, 0),
	}
	stepwise = strategy{
		name: "StepwisePromotion", change: func(c *flaggerv1.Canary) { c.Spec.Analysis.StepWeightPromotion = 30 },
		promoted: split(0, 0.2, 0.4, 0.1, 0), failed: split(0, 0.2, 0),
	}
	blueGreen = strategy{
		name: "BlueGreen", change: func(c *flaggerv1.Canary) {
			c.Spec.Analysis.StepWeight, c.Spec.Analysis.MaxWeight, c.Spec.Analysis.Iterations = 0, 0, 2
		},
		promoted: split(0, 1, 0), failed: split(0, 1, 0),
	}
	mirror = strategy{
		name: "Mirror", field: "spec.analysis.mirror",
		change:   func(c *flaggerv1.Canary) { c.Spec.Analysis.Mirror, c.Spec.Analysis.MirrorWeight = true, 50 },
		promoted: histories{users: []float64{0, 0.2, 0.4, 0}, matching: []float64{0, 0.2, 0.4, 0}, copies: []float64{0, 0.5, 0}},
		failed:   histories{users: []float64{0}, matching: []float64{0}, copies: []float64{0, 0.5, 0}},
	}
	blueGreenMirror = strategy{
		name: "BlueGreenMirror", field: "spec.analysis.mirror",
		change:   func(c *flaggerv1.Canary) { blueGreen.change(c); mirror.change(c) },
		promoted: histories{users: []float64{0, 1, 0}, matching: []float64{0, 1, 0}, copies: []float64{0, 0.5, 0}},
		failed:   mirror.failed,
	}
	// Two alternatives: a router that looks at the first alone, or sends everybody to the canary, is found out.
	abTest = strategy{
		name: "ABTest", field: "spec.analysis.match",
		change: func(c *flaggerv1.Canary) {
			blueGreen.change(c)
			for _, header := range [][2]string{{"x-canary", "always"}, {"cookie", "canary=always"}} {
				match := istiov1beta1.HTTPMatchRequest{Headers: map[string]istiov1alpha1.StringMatch{header[0]: {Exact: header[1]}}}
				c.Spec.Analysis.Match = append(c.Spec.Analysis.Match, match)
			}
		},
		promoted: histories{users: []float64{0}, matching: []float64{0, 1, 0}, copies: []float64{0}},
		failed:   histories{users: []float64{0}, matching: []float64{0, 1, 0}, copies: []float64{0}},
	}
)

// promote releases with success, fail without.
func (st strategy) promote(r *rollout) {
	r.t.Helper()
	r.release(flaggerv1.CanaryPhaseSucceeded)
	r.saw(st.promoted)
}

func (st strategy) fail(r *rollout) {
	r.t.Helper()
	r.driver.Hooks.Healthy = func(context.Context) bool { return r.world.Shares(r.name) == Shares{} }
	r.release(flaggerv1.CanaryPhaseFailed)
	r.saw(st.failed)
}

// runStrategies releases by every strategy, with and without success.
func (s Subject) runStrategies(t *testing.T) {
	t.Helper()
	for _, st := range []strategy{weighted, stepwise, blueGreen, mirror, blueGreenMirror, abTest} {
		t.Run(st.name, func(t *testing.T) {
			t.Parallel()
			if s.DNS && st.field != "" {
				s.refused(t, st)
				return
			}
			t.Run("Promoted", func(t *testing.T) {
				t.Parallel()
				r := begin(t, s, NewProcess(0, NoFault), st.change)
				st.promote(r)
				r.settle()
				r.saw(st.promoted)
			})
			t.Run("RolledBack", func(t *testing.T) {
				t.Parallel()
				r := begin(t, s, NewProcess(0, NoFault), st.change)
				st.fail(r)
				r.settle()
				r.saw(st.failed)
			})
		})
	}
}

// refused checks that a router says no to what it cannot do: ignoring it would send every user to the canary.
func (s Subject) refused(t *testing.T, st strategy) {
	t.Helper()
	r := begin(t, s, NewProcess(0, NoFault), st.change)
	r.quiet("a strategy that is refused", func() {
		err := r.driver.Tick(t.Context())
		if err == nil || !strings.Contains(err.Error(), st.field) || !strings.Contains(err.Error(), r.name) {
			t.Errorf("the error is %v, want one that names the Canary and %s", err, st.field)
		}
	})

	// Asked for later, an error of Reconcile would keep Flagger from rolling back.
	r = begin(t, s, NewProcess(0, NoFault), nil)
	r.initialize()
	st.change(r.driver.Canary)
	r.must(r.router().Reconcile(r.driver.Canary))
	r.driver.Release("2")
	r.driver.Run(t.Context(), 10, func() bool { return false })
	if !strings.Contains(last(r.driver.Events), st.field) {
		t.Errorf("the last events are %q, want them to name %s", last(r.driver.Events), st.field)
	}
	r.driver.Hooks.Rollback = func() bool { return true }
	r.end(flaggerv1.CanaryPhaseFailed)
	r.saw(split(0))
}

// saw checks what the canary got.
func (r *rollout) saw(want histories) {
	r.t.Helper()
	for _, h := range []struct {
		what string
		of   func(Shares) float64
		want []float64
	}{
		{"users", func(s Shares) float64 { return s.Users }, want.users},
		{"users who match", func(s Shares) float64 { return s.Matching }, want.matching},
		{"copies", func(s Shares) float64 { return s.Copies }, want.copies},
	} {
		if got := history(r.seen, h.of); !refines(got, h.want) {
			r.t.Errorf("the canary's share of %s was %v, want %v", h.what, got, h.want)
		}
	}
}

// refines tells whether shares went the way that is wanted: through each value, and from one to the next without a detour. What lies
// between the two may be seen when a process dies in the middle.
func refines(got, want []float64) bool {
	if len(got) == 0 || got[0] != want[0] {
		return false
	}
	at := 0
	for _, share := range got[1:] {
		if at+1 == len(want) {
			return false
		}
		from, to := want[at], want[at+1]
		switch {
		case share == to:
			at++
		case share <= min(from, to) || share >= max(from, to):
			return false
		}
	}
	return at+1 == len(want) && got[len(got)-1] == want[at]
}
