package flaggersim_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	istiov1beta1 "github.com/fluxcd/flagger/pkg/apis/istio/v1beta1"
	"github.com/google/go-cmp/cmp"

	"github.com/penstock-dev/penstock/internal/flaggersim"
	"github.com/penstock-dev/penstock/internal/vclock"
	"github.com/penstock-dev/penstock/router"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// recorder is a router that does as it is told at once, and notes it.
type recorder struct {
	primary, canary int
	mirrored        bool
	calls           []string
	refuse          int // SetRoutes calls to refuse
}

func (r *recorder) Reconcile(*flaggerv1.Canary) error { return nil }

func (r *recorder) SetRoutes(_ *flaggerv1.Canary, primary, canary int, mirrored bool) error {
	call := fmt.Sprintf("%d/%d", primary, canary)
	if mirrored {
		call += " mirrored"
	}
	if r.refuse > 0 {
		r.refuse--
		r.calls = append(r.calls, call+" refused")
		return errors.New("refused")
	}
	r.primary, r.canary, r.mirrored = primary, canary, mirrored
	r.calls = append(r.calls, call)
	return nil
}

func (r *recorder) GetRoutes(*flaggerv1.Canary) (primary, canary int, mirrored bool, err error) {
	return r.primary, r.canary, r.mirrored, nil
}

func (r *recorder) Finalize(*flaggerv1.Canary) error {
	r.calls = append(r.calls, "finalize")
	if r.refuse > 0 {
		r.refuse--
		return errors.New("draining")
	}
	return nil
}

// The order of calls that Flagger v1.44.0 makes for each strategy.
func TestStrategies(t *testing.T) {
	t.Parallel()
	match := []istiov1beta1.HTTPMatchRequest{{}}
	cases := map[string]struct {
		reason   string
		analysis flaggerv1.CanaryAnalysis
		skip     bool
		setup    func(*flaggersim.Driver, *recorder)
		want     []string
		end      flaggerv1.CanaryPhase
	}{
		"Canary": {
			reason:   "Steps up to maxWeight, then back to primary in one go.",
			analysis: flaggerv1.CanaryAnalysis{StepWeight: 20, MaxWeight: 40},
			want:     []string{"80/20", "60/40", "100/0", "down"}, end: flaggerv1.CanaryPhaseSucceeded,
		},
		"StepWeights": {
			reason:   "The listed steps.",
			analysis: flaggerv1.CanaryAnalysis{StepWeights: []int{1, 10, 80}},
			want:     []string{"99/1", "90/10", "20/80", "100/0", "down"}, end: flaggerv1.CanaryPhaseSucceeded,
		},
		"StepwisePromotion": {
			reason:   "Promotion in steps, while GetRoutes says that the canary has traffic.",
			analysis: flaggerv1.CanaryAnalysis{StepWeight: 50, MaxWeight: 50, StepWeightPromotion: 30},
			want:     []string{"50/50", "80/20", "100/0", "down"}, end: flaggerv1.CanaryPhaseSucceeded,
		},
		"Mirror": {
			reason:   "One mirrored step comes before the first weight.",
			analysis: flaggerv1.CanaryAnalysis{StepWeight: 50, MaxWeight: 50, Mirror: true},
			want:     []string{"100/0 mirrored", "50/50", "100/0", "down"}, end: flaggerv1.CanaryPhaseSucceeded,
		},
		"BlueGreen": {
			reason:   "All at once after the iterations.",
			analysis: flaggerv1.CanaryAnalysis{Iterations: 2},
			want:     []string{"0/100", "100/0", "down"}, end: flaggerv1.CanaryPhaseSucceeded,
		},
		"BlueGreenMirror": {
			reason:   "Mirrored throughout the iterations.",
			analysis: flaggerv1.CanaryAnalysis{Iterations: 2, Mirror: true},
			want:     []string{"100/0 mirrored", "0/100", "100/0", "down"}, end: flaggerv1.CanaryPhaseSucceeded,
		},
		"ABTest": {
			reason:   "0/100 in each iteration.",
			analysis: flaggerv1.CanaryAnalysis{Iterations: 2, Match: match},
			want:     []string{"0/100", "0/100", "100/0", "down"}, end: flaggerv1.CanaryPhaseSucceeded,
		},
		"SkipAnalysis": {
			reason: "Promoted at once.", skip: true,
			analysis: flaggerv1.CanaryAnalysis{StepWeight: 20},
			want:     []string{"100/0", "down"}, end: flaggerv1.CanaryPhaseSucceeded,
		},
		"Rollback": {
			reason:   "The threshold of failed checks.",
			analysis: flaggerv1.CanaryAnalysis{StepWeight: 20, Threshold: 2},
			setup: func(d *flaggersim.Driver, _ *recorder) {
				d.Hooks.Healthy = func(context.Context) bool { return false }
			},
			want: []string{"80/20", "100/0", "down"}, end: flaggerv1.CanaryPhaseFailed,
		},
		"RefusedStep": {
			reason:   "A refused step is asked for again on the next tick.",
			analysis: flaggerv1.CanaryAnalysis{StepWeight: 50, MaxWeight: 50},
			setup:    func(_ *flaggersim.Driver, r *recorder) { r.refuse = 1 },
			want:     []string{"50/50 refused", "50/50", "100/0", "down"}, end: flaggerv1.CanaryPhaseSucceeded,
		},
		"FailedPromotion": {
			reason:   "Primary fails while it is promoted: all to the canary, the only healthy copy.",
			analysis: flaggerv1.CanaryAnalysis{StepWeight: 50, MaxWeight: 50},
			setup: func(d *flaggersim.Driver, _ *recorder) {
				d.Hooks.PrimaryFailed = func() bool { return d.Phase() == flaggerv1.CanaryPhasePromoting }
			},
			want: []string{"50/50", "0/100"}, end: flaggerv1.CanaryPhaseFailed,
		},
		"NewRevision": {
			reason:   "A newer revision in mid-canary starts again from 100/0.",
			analysis: flaggerv1.CanaryAnalysis{StepWeight: 25, MaxWeight: 50},
			setup: func(d *flaggersim.Driver, _ *recorder) {
				d.Hooks.Healthy = func(context.Context) bool { d.Release("3"); d.Hooks.Healthy = nil; return true }
			},
			want: []string{"75/25", "50/50", "100/0", "75/25", "50/50", "100/0", "down"}, end: flaggerv1.CanaryPhaseSucceeded,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &recorder{primary: 100}
			canary := &flaggerv1.Canary{}
			canary.Spec.Analysis, canary.Spec.SkipAnalysis = &tc.analysis, tc.skip
			canary.Spec.Analysis.Interval = "10s"
			d := flaggersim.New(canary, func() router.Interface { return r }, flaggersim.Hooks{
				ScaleToZero: func(context.Context) error { r.calls = append(r.calls, "down"); return nil },
			}, vclock.New(start))
			if !d.Run(t.Context(), 3, d.In(flaggerv1.CanaryPhaseInitialized)) {
				t.Fatalf("phase %q, want Initialized", d.Phase())
			}
			r.calls = nil
			if tc.setup != nil {
				tc.setup(d, r)
			}
			d.Release("2")
			if !d.Run(t.Context(), 30, d.In(flaggerv1.CanaryPhaseSucceeded, flaggerv1.CanaryPhaseFailed)) || d.Phase() != tc.end {
				t.Errorf("%s\nphase %q, want %q", tc.reason, d.Phase(), tc.end)
			}
			if diff := cmp.Diff(tc.want, r.calls); diff != "" {
				t.Errorf("%s\ncalls -want +got:\n%s", tc.reason, diff)
			}
		})
	}
}

func TestSuspendAndGates(t *testing.T) {
	t.Parallel()
	r := &recorder{primary: 100}
	canary := &flaggerv1.Canary{}
	canary.Spec.Analysis = &flaggerv1.CanaryAnalysis{StepWeight: 50, MaxWeight: 50, Interval: "10s"}
	open := false
	d := flaggersim.New(canary, func() router.Interface { return r }, flaggersim.Hooks{
		ConfirmRollout: func() bool { return open }, ConfirmPromotion: func() bool { return open },
	}, vclock.New(start))
	d.Run(t.Context(), 2, d.In(flaggerv1.CanaryPhaseInitialized))
	d.Release("2")
	if !d.Run(t.Context(), 2, d.In(flaggerv1.CanaryPhaseWaiting)) {
		t.Errorf("phase %q before the gate opens, want Waiting", d.Phase())
	}
	open = true
	canary.Spec.Suspend = true
	if err := d.Tick(t.Context()); err != nil || d.Phase() != flaggerv1.CanaryPhaseWaiting {
		t.Errorf("a suspended Canary moved to %q (%v)", d.Phase(), err)
	}
	canary.Spec.Suspend = false
	d.Run(t.Context(), 10, func() bool { return r.canary == 50 })
	open = false
	if !d.Run(t.Context(), 3, d.In(flaggerv1.CanaryPhaseWaitingPromotion)) {
		t.Errorf("phase %q, want WaitingPromotion", d.Phase())
	}
	open = true
	if !d.Run(t.Context(), 10, d.In(flaggerv1.CanaryPhaseSucceeded)) {
		t.Errorf("phase %q, want Succeeded", d.Phase())
	}
}

func TestDelete(t *testing.T) {
	t.Parallel()
	r := &recorder{primary: 100, refuse: 2}
	canary := &flaggerv1.Canary{}
	canary.Spec.Analysis = &flaggerv1.CanaryAnalysis{Interval: "10s"}
	clock := vclock.New(start)
	d := flaggersim.New(canary, func() router.Interface { return r }, flaggersim.Hooks{}, clock)
	if !d.Delete(t.Context(), 1) || len(r.calls) != 0 {
		t.Errorf("without revertOnDeletion the object is just gone, but the router was called: %v", r.calls)
	}
	canary.Spec.RevertOnDeletion = true
	if !d.Delete(t.Context(), 5) || !slices.Equal(r.calls, []string{"finalize", "finalize", "finalize"}) {
		t.Errorf("calls %v, want finalize until it succeeds", r.calls)
	}
	if got := clock.Since(start); got != time.Minute {
		t.Errorf("it took %v, want two resyncs of 30 s", got)
	}
}
