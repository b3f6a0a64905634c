package router_test

import (
	"errors"
	"testing"
	"time"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	"github.com/google/go-cmp/cmp"

	"github.com/penstock-dev/penstock/internal/state"
	"github.com/penstock-dev/penstock/router"
)

func pair(canary int) state.Weights { return state.Weights{Primary: 100 - canary, Canary: canary} }

// TestStateTable goes through the table of docs/adr/0003-effective.md, cell by cell, with another process as the publisher, which does
// not answer any more.
func TestStateTable(t *testing.T) {
	t.Parallel()
	const ttl = 30
	type call struct {
		canary  int
		wantErr error
		// waits tells whether the call waits inside: a raise up to the TTL and the margin, a drain until the router ends.
		waits bool
		// want is the wish afterwards; nil means that it is the same as before.
		want *state.Desired
	}
	desired := func(generation int64, attached bool, weights, last int) state.Desired {
		return state.Desired{
			Generation: generation, Mode: state.Split, Ingress: "web", Service: "app", CanaryIngress: "web-next",
			Attached: attached, Weights: pair(weights), Effective: pair(last),
		}
	}
	wish := func(generation int64, attached bool, weights, last int) *state.Desired {
		d := desired(generation, attached, weights, last)
		return &d
	}
	done := func(generation int64, attached bool) state.Observed {
		return state.Observed{Generation: generation, Attached: attached, Effective: true, TTLSeconds: ttl}
	}
	underWay := func(generation int64, attached bool) state.Observed {
		return state.Observed{Generation: generation, Attached: attached, TTLSeconds: ttl, Pending: "change-7 is pending"}
	}
	for name, tc := range map[string]struct {
		reason    string
		desired   state.Desired
		observed  state.Observed
		released  string
		get       int  // canary weight in Progressing
		promoting int  // canary weight in Promoting
		idle      bool // Finalize has nothing to take back
		calls     map[string]call
	}{
		"Idle": {
			reason:  "The host points at the load balancer: only a first step changes that.",
			desired: desired(3, false, 0, 0), observed: done(3, false), idle: true,
			calls: map[string]call{
				"Zero": {canary: 0},
				"W":    {canary: 10, wantErr: router.ErrPending, waits: true, want: wish(4, true, 10, 0)},
			},
		},
		"IdleFromTheStart": {
			reason:  "A Canary that was never attached is idle, whether a publisher has said so or not.",
			desired: desired(1, false, 0, 0), idle: true,
			calls: map[string]call{
				"Zero": {canary: 0},
				"W":    {canary: 10, wantErr: router.ErrPending, waits: true, want: wish(2, true, 10, 0)},
			},
		},
		"LeftFromBefore": {
			reason:  "The host may still point at the inner set of an earlier Canary.",
			desired: desired(1, false, 0, 0), observed: underWay(1, true),
			calls: map[string]call{"Zero": {canary: 0}},
		},
		"Attaching": {
			reason:  "Flagger must not believe in the first step yet, and would repeat its webhooks on an error.",
			desired: desired(4, true, 10, 0), observed: underWay(4, false),
			calls: map[string]call{
				"Zero":    {canary: 0, wantErr: router.ErrDraining, waits: true, want: wish(5, true, 0, 0)},
				"W":       {canary: 10, wantErr: router.ErrPending, waits: true},
				"Another": {canary: 20, wantErr: router.ErrPending, waits: true, want: wish(5, true, 20, 0)},
			},
		},
		"AttachingUnanswered": {
			reason:  "An answer to the wish before says nothing about this one.",
			desired: desired(4, true, 10, 0), observed: done(3, false),
			calls: map[string]call{"W": {canary: 10, wantErr: router.ErrPending, waits: true}},
		},
		"Effective": {
			reason:  "Everybody has the weights.",
			desired: desired(5, true, 30, 20), observed: done(5, true), get: 30, promoting: 30,
			calls: map[string]call{
				"Zero": {canary: 0, wantErr: router.ErrDraining, waits: true, want: wish(6, true, 0, 30)},
				"V":    {canary: 30},
				"Up":   {canary: 40, wantErr: router.ErrPending, want: wish(6, true, 40, 30)},
				"Down": {canary: 20, wantErr: router.ErrPending, want: wish(6, true, 20, 30)},
			},
		},
		"MovingUp": {
			reason:  "The canary may have more already: metrics are judged as if it had not, and a rollback is not held up.",
			desired: desired(6, true, 40, 30), observed: underWay(6, true), get: 30, promoting: 30,
			calls: map[string]call{
				"Zero":    {canary: 0, wantErr: router.ErrDraining, waits: true, want: wish(7, true, 0, 30)},
				"W":       {canary: 40, wantErr: router.ErrPending},
				"Another": {canary: 50, wantErr: router.ErrPending, want: wish(7, true, 50, 30)},
			},
		},
		"MovingDown": {
			reason:  "A stepwise promotion repeats its step only if it is told the weight that it began from.",
			desired: desired(6, true, 20, 30), observed: underWay(6, true), get: 20, promoting: 30,
			calls: map[string]call{
				"Zero": {canary: 0, wantErr: router.ErrDraining, waits: true, want: wish(7, true, 0, 30)},
				"W":    {canary: 20, wantErr: router.ErrPending},
			},
		},
		"Draining": {
			reason:  "Somebody may still be sent to the canary, so Flagger must not scale it down.",
			desired: desired(7, true, 0, 30), observed: underWay(7, true), promoting: 30,
			calls: map[string]call{
				"Zero": {canary: 0, wantErr: router.ErrDraining, waits: true},
				"W":    {canary: 20, wantErr: router.ErrPending, want: wish(8, true, 20, 30)},
			},
		},
		"Drained": {
			reason:  "Nobody is sent to the canary, and the inner set still stands.",
			desired: desired(7, true, 0, 30), observed: done(7, true),
			calls: map[string]call{
				"Zero": {canary: 0},
				"W":    {canary: 10, wantErr: router.ErrPending, waits: true, want: wish(8, true, 10, 0)},
			},
		},
		"DrainedByOperator": {
			reason:  "An operator who knows better ends the drain of this generation.",
			desired: desired(7, true, 0, 30), observed: underWay(7, true), released: "7",
			calls: map[string]call{"Zero": {canary: 0}},
		},
		"DrainedByOperatorBefore": {
			reason:  "What an operator said of an earlier drain does not end this one.",
			desired: desired(7, true, 0, 30), observed: underWay(7, true), released: "6", promoting: 30,
			calls: map[string]call{"Zero": {canary: 0, wantErr: router.ErrDraining, waits: true}},
		},
		"NeverAttached": {
			reason:   "What the publisher refused to attach needs no draining.",
			desired:  desired(7, true, 0, 0),
			observed: state.Observed{Generation: 7, Error: "ingress shop/web-next does not exist"},
			calls:    map[string]call{"Zero": {canary: 0}},
		},
		"RefusedWhileAttached": {
			reason:   "The host points at the inner set, whatever the weights were when this was lost.",
			desired:  desired(7, true, 0, 0),
			observed: state.Observed{Generation: 7, Attached: true, Error: "zone example.com. is not managed any more"},
			calls:    map[string]call{"Zero": {canary: 0, wantErr: router.ErrDraining, waits: true}},
		},
		"RefusedOnceAttached": {
			reason:  "A host that is refused later may still lead resolvers to the canary.",
			desired: desired(7, true, 0, 30), promoting: 30,
			observed: state.Observed{Generation: 7, Error: "zone example.com. is not managed any more"},
			calls:    map[string]call{"Zero": {canary: 0, wantErr: router.ErrDraining, waits: true}},
		},
		"Detaching": {
			reason:  "The host is on its way back to the load balancer.",
			desired: desired(8, false, 0, 0), observed: underWay(8, true),
			calls: map[string]call{
				"Zero": {canary: 0},
				"W":    {canary: 10, wantErr: router.ErrPending, waits: true, want: wish(9, true, 10, 0)},
			},
		},
		"DetachingUnanswered": {
			reason:  "The answer to the drain does not say that the host points away.",
			desired: desired(8, false, 0, 0), observed: done(7, true),
			calls: map[string]call{"W": {canary: 10, wantErr: router.ErrPending, waits: true, want: wish(9, true, 10, 0)}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fresh := func() *rig {
				r := newRig(t, split)
				r.controller = true
				var annotations []string
				if tc.released != "" {
					annotations = []string{state.DrainedAnnotation, tc.released}
				}
				r.store(tc.desired, tc.observed, annotations...)
				r.phase(flaggerv1.CanaryPhaseProgressing)
				return r
			}
			r := fresh()
			r.wantRoutes(100-tc.get, tc.get)
			r.phase(flaggerv1.CanaryPhasePromoting)
			r.wantRoutes(100-tc.promoting, tc.promoting)
			r.canary.Spec.Analysis.StepWeightPromotion = 20
			if tc.promoting > 0 {
				r.wantRoutes(100-tc.promoting, tc.promoting)
			} else {
				r.wantRoutes(99, 1)
			}
			r = fresh()
			if err := r.router().Finalize(r.canary); tc.idle != (err == nil) || err != nil && !errors.Is(err, router.ErrDraining) {
				t.Errorf("%s\nFinalize: %v, want nil only for an idle one: %t", tc.reason, err, tc.idle)
			}
			for which, c := range tc.calls {
				r := fresh()
				end := r.endAfter(10 * time.Minute)
				err := r.router().SetRoutes(r.canary, 100-c.canary, c.canary, false)
				end()
				if !errors.Is(err, c.wantErr) {
					t.Errorf("%s\n%s: SetRoutes(%d, %d) = %v, want %v", tc.reason, which, 100-c.canary, c.canary, err, c.wantErr)
				}
				waited := r.clock.Since(epoch)
				answered := c.want == nil && tc.observed.Generation == tc.desired.Generation
				want := time.Duration(0)
				switch {
				case c.waits && c.canary == 0:
					want = 10 * time.Minute
				case c.waits && answered: // the TTL is known only from the answer to this wish
					want = (90 + ttl) * time.Second
				case c.waits:
					want = 90 * time.Second
				}
				if waited < want || waited > want+time.Second {
					t.Errorf("%s\n%s: SetRoutes(%d, %d) waited %s inside, want %s", tc.reason, which, 100-c.canary, c.canary, waited, want)
				}
				after, _ := r.wish()
				wanted := tc.desired
				if c.want != nil {
					wanted = *c.want
					wanted.Since = epoch
				}
				if diff := cmp.Diff(wanted, after); diff != "" {
					t.Errorf("%s\n%s: SetRoutes(%d, %d): wish -want +got:\n%s", tc.reason, which, 100-c.canary, c.canary, diff)
				}
			}
		})
	}
}
