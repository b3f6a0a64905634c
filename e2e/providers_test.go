package e2e_test

import (
	"os/exec"
	"strings"
	"testing"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	"github.com/google/go-cmp/cmp"
)

// TestFlaggersFlags: our Flagger takes the flags of Flagger, and no others.
func TestFlaggersFlags(t *testing.T) {
	t.Parallel()
	flags := func(of string) string {
		text, err := exec.CommandContext(t.Context(), program(of), "-h").CombinedOutput()
		if err != nil || len(text) == 0 {
			t.Fatalf("%s -h: %v", of, err)
		}
		return strings.ReplaceAll(string(text), program(of), "") // it names itself
	}
	if diff := cmp.Diff(flags("flagger-upstream"), flags("flagger")); diff != "" {
		t.Errorf("-Flagger +ours:\n%s", diff)
	}
}

// TestAnotherProvider: a Canary of a provider that we have nothing to do with goes as in Flagger.
func TestAnotherProvider(t *testing.T) {
	t.Parallel()
	a := newApp(t, setup{provider: "kubernetes", change: func(c *flaggerv1.Canary) {
		analysis := c.Spec.Analysis
		analysis.StepWeight, analysis.MaxWeight, analysis.Iterations, analysis.Metrics = 0, 0, 2, nil
	}})
	a.sites["east"].release(release, 0)
	a.ends(flaggerv1.CanaryPhaseSucceeded)
	a.only(primary, release)
	a.failures()
}
