package e2e_test

import (
	"slices"
	"testing"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
)

// TestSwitchOfFlagger: a live Canary goes from Flagger's own Skipper router to ours and back, in mid-canary, and keeps its weights.
func TestSwitchOfFlagger(t *testing.T) {
	t.Parallel()
	a := prepareApp(t, setup{provider: "skipper", program: "flagger-upstream", change: func(c *flaggerv1.Canary) {
		c.Spec.Analysis.StepWeight, c.Spec.Analysis.MaxWeight = 10, 50
	}})
	a.start()
	east := a.sites["east"]
	east.release(release, 0)
	for _, step := range []struct {
		weight int
		next   string
	}{{10, "flagger"}, {30, "flagger-upstream"}, {40, "flagger"}} {
		east.wait("the canary has the share at which Flagger is changed", patience, func() bool { return east.history.last().status == step.weight })
		east.flagger.Kill()
		a.setup.program = step.next
		east.startFlagger()
	}
	a.ends(flaggerv1.CanaryPhaseSucceeded)
	if got, want := east.weights(), []int{0, 10, 20, 30, 40, 50}; !slices.Equal(got, want) {
		t.Errorf("the canary's weights were %v, want Flagger's steps, %v", got, want)
	}
	a.only(primary, release)
	a.untouched()
}
