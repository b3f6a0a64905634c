package dns_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/penstock-dev/penstock/dns"
	"github.com/penstock-dev/penstock/internal/state"
)

var claimant = types.NamespacedName{Namespace: "team", Name: "old"}

// olderIngress is of another team, older than all others, and has their host and one of its own.
func olderIngress() *networkingv1.Ingress {
	i := ingress(claimant.Name, "192.0.2.9")
	i.Namespace, i.CreationTimestamp = claimant.Namespace, metav1.NewTime(start.Add(-time.Hour))
	i.Spec.Rules = append(i.Spec.Rules, rule("old.example.com", "old"))
	return i
}

// claim lets an older Ingress have the host from now on, and the publisher see it.
func (r *rig) claim() {
	r.t.Helper()
	r.apply(olderIngress())
	r.clock.Sleep(time.Minute)
}

// syncAll syncs both Ingresses in one call, the older one first or last, and returns their results.
func (r *rig) syncAll(olderFirst bool) (ours, theirs dns.Result) {
	r.t.Helper()
	order := []types.NamespacedName{apex, claimant}
	if olderFirst {
		slices.Reverse(order)
	}
	results, err := r.publisher.Sync(r.t.Context(), order...)
	if err != nil || len(results) != 2 {
		r.t.Fatalf("%d results, error %v", len(results), err)
	}
	for _, result := range results {
		if result.Ingress == apex {
			ours = result
		} else {
			theirs = result
		}
	}
	return ours, theirs
}

// An Ingress that somebody makes, or gives the host of a canary, whatever its age, neither freezes the canary nor gets the host.
func TestACanaryGoesOnBesideAnOlderIngress(t *testing.T) {
	t.Parallel()
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprintf("restart=%t", restart), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, ingress("app", primaryLB), preparedIngress(canaryLB))
			r.wish(split(1, 50))
			r.until(effective(1))
			r.claim()
			if restart {
				r.restart()
			}
			beside := func(when string) {
				t.Helper()
				ours, theirs := r.syncAll(true)
				o := r.observed()
				for what, text := range map[string]string{"the Ingress": ours.Hosts[0].Warning, "the Canary": o.Warning} {
					if !strings.Contains(text, "ingress team/old, which is older") || strings.Count(text, "team/old") != 1 {
						t.Errorf("%s: the warning of %s does not name the other, once: %q", when, what, text)
					}
				}
				if ours.Hosts[0].Err != nil || o.Error != "" {
					t.Errorf("%s: errors %v and %q", when, ours.Hosts[0].Err, o.Error)
				}
				if err := theirs.Hosts[0].Err; err == nil || !strings.Contains(err.Error(), "ingress shop/app already") {
					t.Errorf("%s: the older one is told %v, want that shop/app has the host", when, err)
				}
				if theirs.Hosts[1].Err != nil || theirs.Hosts[1].Weight < 0 {
					t.Errorf("%s: the older one's own host: %+v", when, theirs.Hosts[1])
				}
			}
			beside("at 50 %")
			shares(t, r, map[string]float64{primaryLB: 0.5, canaryLB: 0.5})

			r.weight.percent = whole(t, 20)
			beside("with another weight of the cluster")
			if got := r.records()[0].Weight; got != 20 {
				t.Errorf("the cluster's weight is 20 %%, the host's record has %d", got)
			}
			r.wish(split(2, 80))
			r.until(effective(2))
			shares(t, r, map[string]float64{primaryLB: 0.2, canaryLB: 0.8})

			r.wish(split(3, 0))
			if took := r.until(effective(3)); took > syncDelay+dns.DefaultInnerTTL+5*time.Second {
				t.Errorf("going back took %v", took)
			}
			shares(t, r, map[string]float64{primaryLB: 1})
			beside("after going back")
			d := split(4, 0)
			d.Attached = false
			r.wish(d)
			r.until(effective(4))
			beside("after the end")
			if got := r.records(); len(got) != 1 || got[0].Name != host || !slices.Equal(got[0].Targets, []string{primaryLB}) {
				t.Errorf("after the end, records %+v", got)
			}
			r.wish(split(5, 10))
			r.sync()
			if o := r.observed(); !strings.Contains(o.Error, "DNS would take its traffic along") || o.Attached {
				t.Errorf("a new canary on a host that two Ingresses serve: %+v", o)
			}
		})
	}
}

func TestACanaryIsAttachedBesideAnOlderIngress(t *testing.T) {
	t.Parallel()
	r := newRig(t, ingress("app", primaryLB), preparedIngress(canaryLB))
	r.sync()
	r.clock.Sleep(time.Hour)
	r.wish(split(1, 30))
	r.sync() // the inner set is on its way
	r.claim()
	r.weight.err = errors.New("the table does not answer")
	r.until(func(o state.Observed) bool {
		for _, text := range []string{"team/old", "the table does not answer"} {
			if strings.Count(o.Warning, text) != 1 { // also in a call that publishes twice
				t.Fatalf("the warning does not say %q once: %q", text, o.Warning)
			}
		}
		return effective(1)(o)
	})
	shares(t, r, map[string]float64{primaryLB: 0.7, canaryLB: 0.3})
}

// A host's record that somebody has deleted is put back, since what is below it shows whose host it is.
func TestTheRecordOfAHostIsPutBackBesideAnOlderIngress(t *testing.T) {
	t.Parallel()
	r := newRig(t, ingress("app", primaryLB), preparedIngress(canaryLB))
	r.wish(split(1, 50))
	r.until(effective(1))
	rest := slices.DeleteFunc(r.records(), func(record dns.Record) bool { return record.Name == host })
	if _, err := r.backend.Publish(t.Context(), dns.Publication{Ingress: apex, Cluster: "east", Records: rest}); err != nil || len(rest) != 2 {
		t.Fatalf("%d records below the host, error %v", len(rest), err)
	}
	r.claim()
	r.until(func(o state.Observed) bool { return o.Effective && len(r.records()) == 3 })
	shares(t, r, map[string]float64{primaryLB: 0.5, canaryLB: 0.5})
}

func TestACanaryThatIsDeletedBesideAnOlderIngress(t *testing.T) {
	t.Parallel()
	r := newRig(t, ingress("app", primaryLB), preparedIngress(canaryLB))
	r.wish(split(1, 50))
	r.until(effective(1))
	r.claim()
	if err := r.kube.CoreV1().ConfigMaps(namespace).Delete(t.Context(), "app-penstock", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		r.sync()
		r.clock.Sleep(time.Second)
	}
	shares(t, r, map[string]float64{primaryLB: 1})
	if got := r.records(); len(got) != 1 {
		t.Errorf("records %+v, want the host alone", got)
	}
}

func TestExposureChangesBesideAnOlderIngress(t *testing.T) {
	t.Parallel()
	r := newRig(t, ingress("app", primaryLB))
	r.sync()
	r.clock.Sleep(time.Hour)
	r.wish(state.Desired{Generation: 1, Mode: state.Shared, Exposure: 20})
	r.until(effective(1))
	r.claim()
	for i, step := range []struct{ exposure, weight int }{{50, 30}, {10, 6}, {100, 60}} {
		r.wish(state.Desired{Generation: int64(2 + i), Mode: state.Shared, Exposure: step.exposure})
		r.until(effective(int64(2 + i)))
		if got := r.records()[0].Weight; got != step.weight {
			t.Errorf("exposure %d %%: weight %d, want %d", step.exposure, got, step.weight)
		}
	}
	// Drained by hand: a cluster that is taken out of service is so for all its hosts.
	r.weight.percent = whole(t, 0)
	r.sync()
	if got := r.records()[0].Weight; got != 0 {
		t.Errorf("the cluster's weight is 0, and the host's record has %d", got)
	}
}

// Whoever is first in a call, at any time one Ingress alone has the host, and it changes hands only when that lets go of it.
func TestTwoIngressesDoNotFightOverAHost(t *testing.T) {
	t.Parallel()
	for _, olderFirst := range []bool{false, true} {
		for name, first := range map[string]types.NamespacedName{"nobody": {}, "the younger": apex, "the older": claimant} {
			t.Run(fmt.Sprintf("published=%s,olderFirst=%t", name, olderFirst), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, ingress("app", primaryLB), olderIngress())
				winner := first
				switch first {
				case types.NamespacedName{}:
					winner = claimant
				case apex:
					r = newRig(t, ingress("app", primaryLB))
					r.sync()
					r.claim()
				case claimant:
					r = newRig(t, olderIngress())
					if _, err := r.publisher.Sync(t.Context(), claimant); err != nil {
						t.Fatal(err)
					}
					r.apply(ingress("app", primaryLB))
					r.clock.Sleep(time.Minute)
				}
				want := map[types.NamespacedName]string{apex: primaryLB, claimant: "192.0.2.9"}
				for range 5 {
					r.syncAll(olderFirst)
					r.clock.Sleep(time.Minute)
					r.restart()
					shares(t, r, map[string]float64{want[winner]: 1})
				}
				loser := apex
				if winner == apex {
					loser = claimant
				}
				gives, err := r.kube.NetworkingV1().Ingresses(winner.Namespace).Get(t.Context(), winner.Name, metav1.GetOptions{})
				if err != nil {
					t.Fatal(err)
				}
				gives.Spec.Rules[0].Host = "elsewhere.example.com"
				r.apply(gives)
				r.clock.Sleep(time.Minute)
				for range 2 {
					r.syncAll(olderFirst)
				}
				shares(t, r, map[string]float64{want[loser]: 1})
			})
		}
	}
}

func TestOfTwoIngressesOfOneSecondTheNameDecides(t *testing.T) {
	t.Parallel()
	twin := ingress("zeta", "192.0.2.9")
	r := newRig(t, twin, ingress("app", primaryLB))
	results, err := r.publisher.Sync(t.Context(), types.NamespacedName{Namespace: namespace, Name: "zeta"}, apex)
	if err != nil {
		t.Fatal(err)
	}
	if results[0].Hosts[0].Err == nil || results[1].Hosts[0].Err != nil {
		t.Errorf("results %+v, want shop/app to have the host", results)
	}
	shares(t, r, map[string]float64{primaryLB: 1})
}

// readErr is a backend that cannot read what is published for one Ingress.
type readErr struct {
	dns.Backend

	of  types.NamespacedName
	err error
}

func (b *readErr) Published(ctx context.Context, cluster string, name types.NamespacedName, hosts []string) ([]dns.Record, error) {
	if b.err != nil && name == b.of {
		return nil, b.err
	}
	return b.Backend.Published(ctx, cluster, name, hosts)
}

func TestWhetherAYoungerIngressHasTheHostIsNotKnown(t *testing.T) {
	t.Parallel()
	r := newRig(t, ingress("app", primaryLB), olderIngress())
	backend := &readErr{Backend: r.backend, of: apex}
	p, err := dns.NewPublisher("east", dns.NewKubeSource(r.kube, r.clock), backend, r.weight, nil, dns.PublisherOptions{Clock: r.clock})
	if err != nil {
		t.Fatal(err)
	}
	backend.err = errors.New("unavailable")
	if results, err := p.Sync(t.Context(), claimant); !errors.Is(err, backend.err) || results[0].Err == nil {
		t.Errorf("what passes: error %v, results %+v; want it tried again", err, results)
	}
	backend.err = dns.Refuse(errors.New("malformed"))
	results, err := p.Sync(t.Context(), claimant)
	if err != nil || results[0].Hosts[0].Weight != -1 || !errors.Is(results[0].Hosts[0].Err, backend.err) || results[0].Hosts[1].Weight != 60 {
		t.Errorf("what lasts: error %v, results %+v; want the host refused, and the other published", err, results)
	}
	backend.err = nil
	if results, err := p.Sync(t.Context(), claimant); err != nil || results[0].Hosts[0].Weight != 60 {
		t.Errorf("when it is over: error %v, results %+v", err, results)
	}
}
