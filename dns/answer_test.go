package dns_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-dev/penstock/dns"
	"github.com/penstock-dev/penstock/internal/state"
)

// What could not be written is not answered as done, however long what was there before is in sync.
func TestARefusedHostIsNotDone(t *testing.T) {
	t.Parallel()
	r := newRig(t, ingress("app", primaryLB), preparedIngress(canaryLB))
	r.wish(split(1, 50))
	r.until(effective(1))
	r.apply(preparedIngress(primaryLB)) // somebody has taken the canary's load balancer away
	r.wish(split(2, 60))
	for range 10 {
		r.sync()
		r.clock.Sleep(time.Hour)
	}
	if o := r.observed(); o.Effective || !strings.Contains(o.Error, "the same load balancer address") {
		t.Errorf("observed %+v, want an error and nothing effective", o)
	}
	shares(t, r, map[string]float64{primaryLB: 0.5, canaryLB: 0.5})
	r.wish(split(3, 0))
	r.until(effective(3))
	shares(t, r, map[string]float64{primaryLB: 1})
}

// A host that comes in mid-canary, and cannot be split, does not keep the share that the others lead to the canary from being effective: Flagger would not
// judge it.
func TestAHostThatIsRefusedHoldsUpNoShare(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]func(r *rig) int64{
		"DuringTheFirstStep": func(r *rig) int64 {
			r.wish(split(1, 10))
			r.until(func(state.Observed) bool { return r.backend.Shares(host)[canaryLB] > 0 })
			return 1
		},
		"AfterADrain": func(r *rig) int64 {
			r.wish(split(1, 10))
			r.until(effective(1))
			r.wish(split(2, 0))
			r.until(effective(2))
			return 3
		},
		"BeforeARaise": func(r *rig) int64 {
			r.wish(split(1, 5))
			r.until(effective(1))
			return 2
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			older := olderIngress()
			older.Spec.Rules = []networkingv1.IngressRule{rule("old.example.com", "old")}
			r := newRig(t, older, ingress("app", primaryLB), preparedIngress(canaryLB))
			generation := before(r)
			app := ingress("app", primaryLB)
			app.Spec.Rules = append(app.Spec.Rules, rule("old.example.com", "app"))
			r.apply(app)
			r.wish(split(generation, 10))
			r.until(effective(generation))
			if r.backend.Stale(host) {
				t.Error("effective, while a resolver may hold an earlier answer")
			}
			if o := r.observed(); !strings.Contains(o.Error, "old.example.com") {
				t.Errorf("observed %+v, want the host's error", o)
			}
			shares(t, r, map[string]float64{primaryLB: 0.9, canaryLB: 0.1})
		})
	}
}

// Nor does what becomes of the canary's Ingress once its first share is in DNS.
func TestAFaultDuringTheFirstStepHoldsUpNoShare(t *testing.T) {
	t.Parallel()
	r := newRig(t, ingress("app", primaryLB), preparedIngress(canaryLB))
	r.wish(split(1, 10))
	r.until(func(state.Observed) bool { return r.backend.Shares(host)[canaryLB] > 0 })
	r.apply(preparedIngress(primaryLB)) // somebody has taken the canary's load balancer away
	r.until(effective(1))
	if o := r.observed(); !strings.Contains(o.Error, "the same load balancer address") {
		t.Errorf("observed %+v, want the error", o)
	}
	shares(t, r, map[string]float64{primaryLB: 0.9, canaryLB: 0.1})
}

// An exposure of an Ingress that has nothing in DNS asks for no evidence, which nobody could have: the cluster's weight would wait for it without end.
func TestAnExposureOfNothingAsksForNoProof(t *testing.T) {
	t.Parallel()
	r := newRig(t, olderIngress(), ingress("app", primaryLB))
	r.wish(state.Desired{Generation: 1, Mode: state.Shared, Exposure: 20})
	r.sync()
	r.backend.Intercept(func(publications []dns.Publication) error {
		if publications[0].Prove {
			t.Errorf("asked for proof of %+v", publications[0].Records)
		}
		return nil
	}, nil)
	r.clock.Sleep(time.Minute)
	if results := r.sync(); !results[0].Status.InSync {
		t.Errorf("status %+v, want in sync", results[0].Status)
	}
}

// A drain that was effective is not undone by a fault: Flagger has scaled the canary down.
func TestAFaultUndoesNoDrain(t *testing.T) {
	t.Parallel()
	r := newRig(t, ingress("app", primaryLB), preparedIngress(canaryLB))
	r.wish(split(1, 50))
	r.until(effective(1))
	r.wish(split(2, 0))
	r.until(effective(2))
	r.backend.Fail("app", errors.New("throttled"))
	r.sync()
	if o := r.observed(); !o.Effective || !strings.Contains(o.Error, "throttled") {
		t.Errorf("observed %+v, want it effective, and the error", o)
	}
}

// The Ingress loses its host while the first share is on its way, and then the share is taken back. Where the withdrawal fails, clients are still led to the
// canary.
func TestAttachedWithoutAHost(t *testing.T) {
	t.Parallel()
	r := newRig(t, ingress("app", primaryLB), preparedIngress(canaryLB))
	r.wish(split(1, 10))
	r.until(func(o state.Observed) bool { return o.Attached })
	without := ingress("app", primaryLB)
	without.Spec.Rules = nil
	r.apply(without)
	r.wish(split(2, 0))
	r.backend.Fail("app", errors.New("throttled"))
	for range 3 {
		r.sync()
		if o := r.observed(); !o.Attached || o.Effective || !strings.Contains(o.Error, "throttled") {
			t.Errorf("observed %+v, want attached, and the error", o)
		}
		r.clock.Sleep(time.Minute)
	}
	r.backend.Fail("app", nil)
	r.until(effective(2))
	if got := r.backend.MayAnswer(host); len(got) > 0 || r.observed().Attached {
		t.Errorf("effective, attached %t, and a resolver may answer %v", r.observed().Attached, got)
	}
}

// Attached stays true from the first step on until nobody can be led to the inner set any more.
func TestAttachedUntilNobodyIsLedThere(t *testing.T) {
	t.Parallel()
	detached := split(2, 0)
	detached.Attached = false
	for name, meanwhile := range map[string]func(r *rig){
		"attached anew meanwhile": func(r *rig) { r.wish(split(3, 10)) },
		"the answer was deleted": func(r *rig) {
			client := r.kube.CoreV1().ConfigMaps(namespace)
			cm, err := client.Get(r.t.Context(), state.Name("app"), metav1.GetOptions{})
			if err != nil {
				r.t.Fatal(err)
			}
			delete(cm.Data, state.ObservedKey)
			if _, err := client.Update(r.t.Context(), cm, metav1.UpdateOptions{}); err != nil {
				r.t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, ingress("app", primaryLB), preparedIngress(canaryLB))
			r.wish(split(1, 50))
			r.until(effective(1))
			r.wish(detached)
			r.sync()
			meanwhile(r)
			r.sync()
			if o := r.observed(); !o.Attached || !r.backend.Stale(host) {
				t.Errorf("observed %+v, while resolvers may be led to the inner set: %t", o, r.backend.Stale(host))
			}
		})
	}
}

// DNS splits a host for one Canary: another one is refused, and is not done because the first is.
func TestTwoCanariesOnOneHost(t *testing.T) {
	t.Parallel()
	r := newRig(t, ingress("app", primaryLB), preparedIngress(canaryLB))
	r.wish(split(1, 50))
	r.until(effective(1))
	r.wishFor("zeta", split(1, 10))
	for range 10 {
		r.sync()
		r.clock.Sleep(time.Hour)
	}
	if o := r.observedFor("zeta"); o.Effective || o.Attached || !strings.Contains(o.Error, "configmap app-penstock splits the same host") {
		t.Errorf("the second canary: observed %+v, want it refused", o)
	}
	if o := r.observed(); !o.Effective || o.Error != "" {
		t.Errorf("the first canary: observed %+v", o)
	}
	shares(t, r, map[string]float64{primaryLB: 0.5, canaryLB: 0.5})
	r.wishFor("zeta", split(2, 0))
	r.sync()
	if o := r.observedFor("zeta"); !o.Effective {
		t.Errorf("the second canary goes back to where it never was: observed %+v", o)
	}
}

// Whatever becomes of the Ingress, a canary goes back and ends.
func TestACanaryEndsWhateverBecomesOfTheIngress(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(r *rig){
		"it has a host that is no name": func(r *rig) {
			app := ingress("app", primaryLB)
			app.Spec.Rules = append(app.Spec.Rules, rule("not a name", "app"))
			r.apply(app)
		},
		"it is deleted": func(r *rig) {
			if err := r.kube.NetworkingV1().Ingresses(namespace).Delete(r.t.Context(), "app", metav1.DeleteOptions{}); err != nil {
				r.t.Fatal(err)
			}
		},
		"its host is another one": func(r *rig) {
			app := ingress("app", primaryLB)
			app.Spec.Rules[0].Host = "other.example.com"
			r.apply(app)
		},
		"the prepared one is deleted": func(r *rig) {
			if err := r.kube.NetworkingV1().Ingresses(namespace).Delete(r.t.Context(), "app-new", metav1.DeleteOptions{}); err != nil {
				r.t.Fatal(err)
			}
		},
		"the prepared one loses its address": func(r *rig) { r.apply(preparedIngress("")) },
		"the prepared one has its address":   func(r *rig) { r.apply(preparedIngress(primaryLB)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, ingress("app", primaryLB), preparedIngress(canaryLB))
			r.wish(split(1, 50))
			r.until(effective(1))
			change(r)
			r.clock.Sleep(time.Minute)
			for generation := int64(2); generation <= 3; generation++ {
				d := split(generation, 0)
				d.Attached = generation == 2
				r.wish(d)
				r.until(effective(generation))
				if got := r.backend.MayAnswer(host); slices.Contains(got, canaryLB) {
					t.Errorf("generation %d is effective at canary 0, and a resolver may answer %v", generation, got)
				}
			}
		})
	}
}

// The hosts are not pointed at an inner set whose canary has gone while it was made.
func TestACanaryThatGoesWhileItIsAttached(t *testing.T) {
	t.Parallel()
	r := newRig(t, ingress("app", primaryLB), preparedIngress(canaryLB))
	r.sync()
	r.clock.Sleep(time.Hour)
	r.wish(split(1, 10))
	r.sync() // the inner set is on its way
	if err := r.kube.NetworkingV1().Ingresses(namespace).Delete(t.Context(), "app-new", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		r.clock.Sleep(time.Minute)
		r.sync()
	}
	if o := r.observed(); o.Effective || !strings.Contains(o.Error, "does not exist") {
		t.Errorf("observed %+v, want an error and nothing effective", o)
	}
	shares(t, r, map[string]float64{primaryLB: 1})
}

// A write that fails changes nothing of what is known of the records that stand.
func TestAWriteThatFailsIsNotRemembered(t *testing.T) {
	t.Parallel()
	r := newRig(t, ingress("app", primaryLB), preparedIngress(canaryLB))
	r.sync()
	r.clock.Sleep(time.Hour)
	r.wish(split(1, 50))
	r.until(func(o state.Observed) bool { return o.Attached && o.TTLSeconds > 30 && o.InSyncSince != nil })
	due := r.observed().EffectiveAt
	r.backend.Fail("app", errors.New("throttled"))
	r.weight.percent = whole(t, 20)
	for range 5 {
		r.clock.Sleep(5 * time.Second)
		r.sync()
	}
	r.backend.Fail("app", nil)
	r.until(effective(1))
	if got := r.observed(); !got.EffectiveAt.Equal(*due) || r.clock.Since(*due) > 5*time.Second {
		t.Errorf("effective at %v, %v late; want it as it was before the fault, %v", got.EffectiveAt, r.clock.Since(*due), due)
	}
}

// Evidence that records are in sync is asked for as long as a canary depends on it: while it waits, and while its hosts have an inner set.
func TestProofIsAskedForWhileACanaryWaits(t *testing.T) {
	t.Parallel()
	r := newRig(t, ingress("app", primaryLB), preparedIngress(canaryLB))
	proof := func(when string, want bool) {
		t.Helper()
		asked := false
		r.backend.Intercept(func(publications []dns.Publication) error {
			asked = asked || publications[0].Prove
			return nil
		}, nil)
		r.sync()
		r.backend.Intercept(nil, nil)
		if asked != want {
			t.Errorf("%s: asked for proof: %t, want %t", when, asked, want)
		}
	}
	proof("without a canary", false)
	r.clock.Sleep(time.Hour)
	r.wish(state.Desired{Generation: 1, Mode: state.Shared, Exposure: 20})
	proof("exposure that is new", true)
	proof("exposure that is on its way", true)
	r.until(effective(1))
	proof("exposure that is effective", false)
	r.wish(state.Desired{Generation: 2, Mode: state.Shared, Exposure: 40})
	proof("another exposure after one that is effective", true)
	r.until(effective(2))
	r.wish(state.Desired{Generation: 3, Mode: state.Shared})
	proof("no exposure", false)

	r.wish(split(4, 10))
	proof("the first step", true)
	r.until(effective(4))
	proof("an inner set", true)
	d := split(5, 0)
	d.Attached = false
	r.wish(d)
	proof("on the way back", true)
	r.until(effective(5))
	proof("after the end", false)
}

// regressing is a backend that may find out that records are not in sync any more.
type regressing struct {
	dns.Backend

	regressed bool
}

func (b *regressing) Publish(ctx context.Context, publications ...dns.Publication) ([]dns.Status, error) {
	statuses, err := b.Backend.Publish(ctx, publications...)
	for i := range statuses {
		if b.regressed {
			statuses[i].InSync, statuses[i].InSyncSince = false, time.Time{}
		}
	}
	return statuses, err
}

func TestWhatIsNotInSyncAnyMoreIsWaitedForAnew(t *testing.T) {
	t.Parallel()
	r := newRig(t, ingress("app", primaryLB), preparedIngress(canaryLB))
	backend := &regressing{Backend: r.backend}
	p, err := dns.NewPublisher("east", dns.NewKubeSource(r.kube, r.clock), backend, r.weight, nil, dns.PublisherOptions{Clock: r.clock})
	if err != nil {
		t.Fatal(err)
	}
	r.publisher = p
	r.sync()
	r.clock.Sleep(time.Hour)
	r.wish(split(1, 50))
	r.until(func(o state.Observed) bool { return o.Attached && o.TTLSeconds > 30 && o.InSyncSince != nil })
	backend.regressed = true
	r.clock.Sleep(time.Hour)
	r.sync()
	if o := r.observed(); o.Effective || o.InSyncSince != nil {
		t.Errorf("observed %+v, want it not in sync", o)
	}
	backend.regressed = false
	if took := r.until(effective(1)); took < dns.DefaultTTL {
		t.Errorf("effective %v after it was in sync again, want %v", took, dns.DefaultTTL)
	}
}

// The inner set stays while hosts may still lead to it: that they were to be pointed elsewhere is not that they are.
func TestTheInnerSetStaysWhenPointingAwayFails(t *testing.T) {
	t.Parallel()
	r := newRig(t, ingress("app", primaryLB), preparedIngress(canaryLB))
	r.wish(split(1, 50))
	r.until(effective(1))
	r.clock.Sleep(time.Hour)
	d := split(2, 0)
	d.Attached = false
	r.wish(d)
	failed := errors.New("throttled")
	r.backend.Intercept(func([]dns.Publication) error { r.backend.Intercept(nil, nil); return failed }, nil)
	if _, err := r.publisher.Sync(t.Context(), apex); !errors.Is(err, failed) {
		t.Fatalf("Sync: %v, want %v", err, failed)
	}
	if got := r.records(); len(got) != 3 {
		t.Errorf("records %+v, want the host and the inner set of two", got)
	}
}

// A canary scales the weights of the hosts that its Service has, and of no others.
func TestExposureConcernsTheHostsOfTheService(t *testing.T) {
	t.Parallel()
	app := ingress("app", primaryLB)
	app.Spec.Rules = append(app.Spec.Rules, rule("other.example.com", "other"))
	r := newRig(t, app)
	r.wish(state.Desired{Generation: 1, Mode: state.Shared, Exposure: 20})
	got := weightsByHost(r.sync())
	if got[host] != 12 || got["other.example.com"] != 60 {
		t.Errorf("weights %v, want 12 for the canary's host and 60 for the other", got)
	}
}
