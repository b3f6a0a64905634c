package dns_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock-dev/penstock/internal/state"
)

// pass syncs each second for as long.
func (r *rig) pass(d time.Duration) {
	r.t.Helper()
	for end := r.clock.Now().Add(d); r.clock.Now().Before(end); r.clock.Sleep(time.Second) {
		r.sync()
	}
}

func unattached(generation int64, prepared string) state.Desired {
	d := split(generation, 0)
	d.Attached, d.CanaryIngress = false, prepared
	return d
}

// Whatever its name, a Canary that is made later takes nothing from one that runs, and goes on when that has ended.
func TestASecondCanaryTakesNothing(t *testing.T) {
	t.Parallel()
	for _, second := range []string{"a", "c"} {
		t.Run(second, func(t *testing.T) {
			t.Parallel()
			other := preparedIngress("192.0.2.3")
			other.Name = "other-new"
			r := newRig(t, ingress("app", primaryLB), preparedIngress(canaryLB))
			first := func(done func(state.Observed) bool) {
				t.Helper()
				for range 1000 {
					if r.sync(); done(r.observedFor("b")) {
						return
					}
					r.clock.Sleep(time.Second)
				}
				t.Fatalf("the first Canary: %+v", r.observedFor("b"))
			}
			r.wishFor("b", split(1, 30))
			first(effective(1))

			r.wishFor(second, unattached(1, "other-new"))
			r.apply(other)
			r.pass(time.Minute)
			shares(t, r, map[string]float64{primaryLB: 0.7, canaryLB: 0.3})
			if o := r.observedFor(second); !o.Effective || o.Attached || o.Error != "" {
				t.Errorf("the second, which wants nothing: %+v", o)
			}
			if o := r.observedFor("b"); !o.Effective || !o.Attached || o.Error != "" {
				t.Errorf("the first beside one that wants nothing: %+v", o)
			}

			mine := split(2, 50)
			mine.CanaryIngress = "other-new"
			r.wishFor(second, mine)
			r.wishFor("b", split(2, 60))
			first(effective(2))
			shares(t, r, map[string]float64{primaryLB: 0.4, canaryLB: 0.6})
			o := r.observedFor(second)
			if o.Attached || o.Effective || !strings.Contains(o.Error, "configmap b-penstock splits the same host") || !strings.Contains(o.Error, "when that one has ended") {
				t.Errorf("the second, which wants the same host: %+v", o)
			}

			r.wishFor("b", unattached(3, "app-new"))
			r.sync()
			if o := r.observedFor("b"); !o.Attached {
				t.Fatalf("the first, which may still be served: %+v", o)
			}
			for range 1000 {
				r.sync()
				if o := r.observedFor("b"); len(r.records()) > 2 && r.observedFor(second).Attached && (o.Attached || slices.Contains(r.backend.MayAnswer(host), canaryLB)) {
					t.Fatalf("the second is attached while the first may still be served: %+v", o)
				}
				if effective(2)(r.observedFor(second)) {
					break
				}
				r.clock.Sleep(time.Second)
			}
			shares(t, r, map[string]float64{primaryLB: 0.5, "192.0.2.3": 0.5})
		})
	}
}
