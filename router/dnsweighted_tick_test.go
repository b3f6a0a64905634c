package router_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"

	"github.com/penstock-dev/penstock/router"
)

// Flagger's ticker makes up at once for a tick that was due during a first step that was waited for. That tick is left out, and so no step
// follows before this one could be judged.
func TestATickRightAfterALongStepIsLeftOut(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		mode     func(*flaggerv1.Canary)
		interval string
		leftOut  time.Duration
	}{
		"Split":        {split, "10s", 5 * time.Second},
		"Exposed":      {exposed("50"), "10s", 5 * time.Second},
		"LongInterval": {split, "2m", 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, tc.mode, withAnalysis(func(a *flaggerv1.CanaryAnalysis) { a.Interval = tc.interval }))
			r.initialize()
			r.phase(flaggerv1.CanaryPhaseProgressing)
			process := r.router()
			start := r.clock.Now()
			if err := process.SetRoutes(r.canary, 90, 10, false); err != nil {
				t.Fatal(err)
			}
			if took := r.clock.Since(start); took < tc.leftOut {
				t.Fatalf("the first step took %s", took)
			}
			routes := func() error {
				primary, canary, _, err := process.GetRoutes(r.canary)
				if err == nil && (primary != 90 || canary != 10) {
					t.Errorf("GetRoutes = %d/%d, want 90/10", primary, canary)
				}
				return err
			}
			for _, later := range []time.Duration{0, tc.leftOut - time.Second} {
				r.clock.Advance(later)
				if err := routes(); err == nil || !strings.Contains(err.Error(), "canary shop/app") || !strings.Contains(err.Error(), "spec.analysis.interval") {
					t.Errorf("%s after the step: %v, want an error that names the canary and the field", r.clock.Since(start), err)
				}
			}
			r.phase(flaggerv1.CanaryPhasePromoting) // nothing is judged
			if _, _, _, err := process.GetRoutes(r.canary); err != nil {
				t.Errorf("in Promoting: %v", err)
			}
			r.phase(flaggerv1.CanaryPhaseProgressing)
			r.clock.Advance(time.Second)
			if err := routes(); err != nil {
				t.Errorf("%s after the step: %v", tc.leftOut, err)
			}
			if err := process.SetRoutes(r.canary, 100, 0, false); err != nil { // a drain is no step that is judged, however long it takes
				t.Fatal(err)
			}
			if _, canary, _, err := process.GetRoutes(r.canary); err != nil || canary != 0 {
				t.Errorf("after a drain GetRoutes says %d (%v)", canary, err)
			}
		})
	}
}

// A step that is pending is not judged yet, so that no tick has to be left out for it: Flagger has to see that it goes on.
func TestATickAfterAPendingStepIsNotLeftOut(t *testing.T) {
	t.Parallel()
	for name, mode := range map[string]func(*flaggerv1.Canary){"Split": split, "Exposed": exposed("50")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, mode)
			r.initialize()
			r.phase(flaggerv1.CanaryPhaseProgressing)
			r.backend.SetSyncDelay(24 * time.Hour)
			process := r.router()
			start := r.clock.Now()
			if err := process.SetRoutes(r.canary, 90, 10, false); !errors.Is(err, router.ErrPending) || r.clock.Since(start) < 10*time.Second {
				t.Fatalf("the first step: %v after %s, want %v after a wait", err, r.clock.Since(start), router.ErrPending)
			}
			if _, canary, _, err := process.GetRoutes(r.canary); err != nil || canary != 0 {
				t.Errorf("GetRoutes says %d, %v; want 0", canary, err)
			}
		})
	}
}
