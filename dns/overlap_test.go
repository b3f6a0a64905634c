package dns_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"

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

// A host that comes to belong to two Canaries in mid-canary stays with the one that splits it, and the other goes on with its own hosts.
func TestAnOverlapThatArisesBetweenTwoSplits(t *testing.T) {
	t.Parallel()
	const second, secondLB = "two.example.com", "192.0.2.3"
	for first, other := range map[string]string{"a": "b", "b": "a"} {
		t.Run(first, func(t *testing.T) {
			t.Parallel()
			app := ingress("app", primaryLB)
			app.Spec.Rules = append(app.Spec.Rules, rule(second, "two"))
			next := preparedIngress(secondLB)
			next.Name, next.Spec.Rules = "two-new", []networkingv1.IngressRule{rule(second, "two-canary"), rule(host, "two-canary")}
			r := newRig(t, app, preparedIngress(canaryLB), next)
			r.wishFor(first, split(1, 30))
			d := split(1, 100) // as after a failed promotion
			d.Service, d.CanaryIngress = "two", next.Name
			r.wishFor(other, d)
			r.pass(10 * time.Minute)

			more := rule(host, "two").HTTP.Paths[0]
			more.Path = "/two"
			app.Spec.Rules[0].HTTP.Paths = append(app.Spec.Rules[0].HTTP.Paths, more)
			r.apply(app)
			r.pass(time.Minute)
			shares(t, r, map[string]float64{primaryLB: 0.7, canaryLB: 0.3})
			if got := r.backend.Shares(second); got[secondLB] != 1 {
				t.Errorf("%s: %v, want all at the canary as before", second, got)
			}
			if o := r.observedFor(other); !o.Effective || !strings.Contains(o.Warning, "splits the same host") {
				t.Errorf("the one that does not get the host: %+v, want it effective with a warning", o)
			}
			if o := r.observedFor(first); !o.Effective || o.Warning != "" {
				t.Errorf("the one that has the host: %+v", o)
			}
		})
	}
}

// Whatever is lost of a Canary whose split is served, one that waits for the host takes nothing meanwhile, or afterwards.
func TestAWaitingCanaryTakesNothingOfOneThatIsLost(t *testing.T) {
	t.Parallel()
	for name, lost := range map[string]map[string]string{
		"desired": {state.DesiredKey: ""}, "desired malformed": {state.DesiredKey: "x"}, "observed": {state.ObservedKey: ""}, "observed malformed": {state.ObservedKey: "x"},
	} {
		for _, waiting := range []string{"a", "c"} {
			t.Run(name+"/"+waiting, func(t *testing.T) {
				t.Parallel()
				other := preparedIngress("192.0.2.3")
				other.Name = "other-new"
				r := newRig(t, ingress("app", primaryLB), preparedIngress(canaryLB))
				r.wishFor("b", split(1, 30))
				r.pass(3 * time.Minute)
				r.apply(other)
				mine := split(2, 50)
				mine.CanaryIngress = other.Name
				r.wishFor(waiting, mine)
				r.pass(30 * time.Second)
				r.spoil("b", lost)
				r.pass(3 * time.Minute)
				shares(t, r, map[string]float64{primaryLB: 0.7, canaryLB: 0.3})
				r.wishFor("b", split(2, 40))
				r.pass(3 * time.Minute)
				shares(t, r, map[string]float64{primaryLB: 0.6, canaryLB: 0.4})
			})
		}
	}
}
