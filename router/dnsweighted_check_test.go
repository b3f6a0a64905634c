package router_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/penstock-dev/penstock/dns"
	"github.com/penstock-dev/penstock/internal/state"
	"github.com/penstock-dev/penstock/router"
)

// intranet adds a host that Kubernetes allows and DNS does not.
func intranet(i *networkingv1.Ingress) {
	i.Spec.Rules = append(i.Spec.Rules, newRule("intranet", newPath("/", networkingv1.PathTypePrefix, "app")))
}

// splitWildcard makes the Ingresses those of *.example.com.
func splitWildcard(r *rig) {
	r.edit("web", withRules(newRule("*.example.com", newPath("/", networkingv1.PathTypePrefix, "app"))))
	r.edit("web-next", withRules(newRule("*.example.com", newPath("/", networkingv1.PathTypePrefix, "app-canary"))))
}

// addShop puts an Ingress of somebody else into the cluster.
func addShop(r *rig) {
	r.add(newIngress(named("shop"), at(primaryAddress), withRules(newRule("shop.example.com", newPath("/", networkingv1.PathTypePrefix, "shop"))), func(i *networkingv1.Ingress) {
		i.Namespace = "toys"
	}))
}

// TestWildcardTakesNobodyAlong: hosts that only the wildcard's record leads to go where the wildcard goes.
func TestWildcardTakesNobodyAlong(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		reason string
		rig    func(*testing.T, ...func(*flaggerv1.Canary)) *rig
		world  func(*rig)
	}{
		"Alone":      {"There is nobody.", newRig, func(*rig) {}},
		"Prepared":   {"The canary's load balancer serves it too.", newRig, func(r *rig) { addShop(r); r.edit("web-next", alsoServing("shop.example.com")) }},
		"OfTheApex":  {"It is published with the apex Ingress.", newRig, func(r *rig) { addShop(r); r.edit("web", alsoServing("shop.example.com")) }},
		"Controller": {"A controller publishes every host.", newControlledRig, addShop},
		"OfACanary": {"It is published for its Canary.", newRig, func(r *rig) {
			addShop(r)
			other := newCanary(func(c *flaggerv1.Canary) {
				c.Namespace, c.Name, c.UID, c.Spec.TargetRef.Name, c.Spec.IngressRef.Name = "toys", "shop", "uid-of-shop", "shop", "shop"
			})
			if err := r.router().Reconcile(other); err != nil {
				r.t.Fatal(err)
			}
		}},
		"Elsewhere": {"It is not below the wildcard.", newRig, func(r *rig) {
			r.add(newIngress(named("org"), withRules(newRule("www.example.org", newPath("/", networkingv1.PathTypePrefix, "org")), newRule("notexample.com"))))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := tc.rig(t, split)
			splitWildcard(r)
			tc.world(r)
			if err := r.router().Reconcile(r.canary); err != nil {
				t.Errorf("%s\nReconcile: %v", tc.reason, err)
			}
		})
	}
}

func alsoServing(host string) func(*networkingv1.Ingress) {
	return func(i *networkingv1.Ingress) {
		i.Spec.Rules = append(i.Spec.Rules, newRule(host, newPath("/", networkingv1.PathTypePrefix, "shop")))
	}
}

// TestOneCanarySplitsAHost: one that is made later is refused, and takes nothing from the one that runs.
func TestOneCanarySplitsAHost(t *testing.T) {
	t.Parallel()
	r := newRig(t, split)
	for name, suffix := range map[string]string{"web": "", "web-next": "-canary"} {
		r.edit(name, withRules(newRule(host, newPath("/", networkingv1.PathTypePrefix, "app"+suffix), newPath("/a", networkingv1.PathTypePrefix, "aaa"+suffix))))
	}
	r.begin(50, 50)
	second := newCanary(split, func(c *flaggerv1.Canary) {
		c.Name, c.UID, c.Spec.TargetRef.Name = "aaa", types.UID("uid-of-aaa"), "aaa"
	})
	for range 3 {
		err := r.router().Reconcile(second)
		if err == nil {
			t.Fatal("a second Canary that splits the same host is accepted")
		}
		for _, part := range []string{"canary shop/aaa", `host "www.example.com"`, "ingress shop/web", "configmap app-penstock", "a host of its own"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("error %q does not say %q", err, part)
			}
		}
		r.ticks(10)
	}
	r.wantShares(0.5, 0.5)
	r.set(40, 60)
	r.wantShares(0.4, 0.6)
	r.canary.Status.Phase = "" // made anew: its own ConfigMap, and that of no other, is there
	r.reconcile()
}

// TestExposureBesideAHostThatCannotBePublished: such a host holds up a step for ever, so it is refused as long as that costs nobody anything, and told later.
func TestExposureBesideAHostThatCannotBePublished(t *testing.T) {
	t.Parallel()
	for where, newRig := range rigs {
		t.Run(where+"/BeforeTheFirstStep", func(t *testing.T) {
			t.Parallel()
			r := newRig(t, exposed("20"))
			r.initialize()
			r.edit("web", intranet)
			r.ticks(2)
			r.phase(flaggerv1.CanaryPhaseProgressing)
			err := r.router().SetRoutes(r.canary, 90, 10, false)
			if err == nil || errors.Is(err, router.ErrPending) || !strings.Contains(err.Error(), `host "intranet"`) {
				t.Errorf("the first step: %v, want it refused by the host", err)
			}
			if w := r.hostWeight(); w != 100 {
				t.Errorf("record weight %d, want all of 100", w)
			}
		})
		t.Run(where+"/InMidCanary", func(t *testing.T) {
			t.Parallel()
			r := newRig(t, exposed("20"))
			r.begin(90, 10)
			r.set(80, 20)
			r.edit("web", intranet)
			r.ticks(2)
			if !slices.Contains(r.events(), string(router.ReasonRefused)) {
				t.Errorf("events %q, want %s", r.events(), router.ReasonRefused)
			}
			if err := r.router().SetRoutes(r.canary, 90, 10, false); !errors.Is(err, router.ErrPending) {
				t.Errorf("a step with falling exposure: %v, want it pending", err)
			}
			r.ticks(6)
			if err := r.router().SetRoutes(r.canary, 90, 10, false); !errors.Is(err, router.ErrPending) || !strings.Contains(err.Error(), `host "intranet"`) {
				t.Errorf("a step with falling exposure: %v, want it pending because of the host", err)
			}
			if err := r.router().SetRoutes(r.canary, 100, 0, false); err != nil {
				t.Errorf("rollback: %v", err)
			}
			r.phase(flaggerv1.CanaryPhaseFailed)
			r.ticks(6)
			if w, c := r.hostWeight(), r.skipperCanary(); w != 100 || c != 0 {
				t.Errorf("after the rollback record weight %d and canary weight %d, want 100 and 0", w, c)
			}
		})
	}
}

// TestExposureFollowsTheIngress: the hosts of an Ingress that a Canary leaves in mid-canary get their full share, those of the other one the exposure.
func TestExposureFollowsTheIngress(t *testing.T) {
	t.Parallel()
	for where, newRig := range rigs {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, exposed("20"))
			r.add(newIngress(named("web2"), at("192.0.2.9"), withRules(newRule("two.example.com", newPath("/", networkingv1.PathTypePrefix, "app")))))
			r.begin(90, 10)
			r.canary.Status.CanaryWeight = 10
			r.canary.Spec.IngressRef.Name = "web2"
			if !r.controller { // which tries again by itself
				r.backend.Intercept(func([]dns.Publication) error { return errors.New("throttled") }, nil)
				r.ticks(2)
				if d, _ := r.wish(); d.Ingress != "web" {
					t.Fatalf("the wish is about ingress %q while nothing can be published, want that which has the exposure", d.Ingress)
				}
				r.backend.Intercept(nil, nil)
			}
			r.ticks(2)
			if w := r.hostWeight(); w != 100 {
				t.Errorf("record weight of the Ingress that was left: %d, want all of 100", w)
			}
			if d, _ := r.wish(); d.Ingress != "web2" || d.Exposure != 20 {
				t.Errorf("wish %+v, want an exposure of 20 %% for ingress web2", d)
			}
			r.set(80, 20)
			r.set(100, 0)
			r.phase(flaggerv1.CanaryPhaseSucceeded)
			r.ticks(6)
			if d, _ := r.wish(); d.Ingress != "web2" || d.Exposure != 0 {
				t.Errorf("wish %+v after the canary, want no exposure", d)
			}
			if w := r.hostWeight(); w != 100 {
				t.Errorf("record weight of the Ingress that was left, after the canary: %d, want all of 100", w)
			}
		})
	}
}

// TestExposureNeedsRevertOnDeletionLater: an annotation that is added to a Canary which nobody could take back is told on each tick, and not followed.
func TestExposureNeedsRevertOnDeletionLater(t *testing.T) {
	t.Parallel()
	for where, newRig := range rigs {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.initialize()
			r.canary.Annotations = map[string]string{router.ExposureAnnotation: "20"}
			r.ticks(2)
			r.phase(flaggerv1.CanaryPhaseProgressing)
			if r.controller { // it gives the cluster its share back
				r.set(90, 10)
				if w := r.hostWeight(); w != 20 {
					t.Errorf("record weight %d, want 20", w)
				}
				return
			}
			if err := r.router().SetRoutes(r.canary, 90, 10, false); err == nil || !strings.Contains(err.Error(), "spec.revertOnDeletion") {
				t.Errorf("the first step: %v, want an error that names the field", err)
			}
			if w := r.hostWeight(); w != 100 || !slices.Contains(r.events(), string(router.ReasonReconcile)) {
				t.Errorf("record weight %d, events %q; want 100 and %s", w, r.events(), router.ReasonReconcile)
			}
			r.canary.Spec.RevertOnDeletion = true
			r.set(90, 10)
			r.canary.Spec.RevertOnDeletion = false // in mid-canary the split goes on
			r.clock.Advance(time.Hour)
			r.ticks(1)
			r.set(80, 20)
			if n := len(slices.DeleteFunc(r.warnings(), func(e corev1.Event) bool { return e.LastTimestamp.Time.Before(epoch.Add(time.Hour)) })); n == 0 {
				t.Error("nothing was said")
			}
		})
	}
}

// TestIdleCanaryKeepsItsShape until DNS can split as its annotation says: what a wish names is taken out of publication.
func TestIdleCanaryKeepsItsShape(t *testing.T) {
	t.Parallel()
	pay := newRule("pay.example.com", newPath("/", networkingv1.PathTypePrefix, "pay"))
	for where, newRig := range rigs {
		for name, mode := range map[string]func(*flaggerv1.Canary){
			"Split": split, "Shared": func(c *flaggerv1.Canary) { c.Spec.RevertOnDeletion = true },
		} {
			for what, annotation := range map[string]string{"AnotherApex": "payments", "Empty": "", "Itself": "web", "Missing": "absent"} {
				t.Run(where+"/"+name+"/"+what, func(t *testing.T) {
					t.Parallel()
					r := newRig(t, mode)
					r.add(newIngress(named("payments"), at("192.0.2.77"), withRules(pay)))
					r.initialize()
					before, _ := r.wish()
					r.canary.Annotations = map[string]string{router.CanaryIngressAnnotation: annotation}
					r.phase(flaggerv1.CanaryPhaseSucceeded)
					r.ticks(2)
					if d, _ := r.wish(); d != before {
						t.Errorf("wish %+v, want it as before: %+v", d, before)
					}
					if !slices.Contains(r.events(), string(router.ReasonHeld)) {
						t.Errorf("events %q, want %s", r.events(), router.ReasonHeld)
					}
					r.phase(flaggerv1.CanaryPhaseProgressing)
					if err := r.router().SetRoutes(r.canary, 90, 10, false); err == nil || !strings.Contains(err.Error(), router.CanaryIngressAnnotation) && !strings.Contains(err.Error(), "payments") {
						t.Errorf("first step: %v, want an error that names the annotation or its Ingress", err)
					}
					r.phase(flaggerv1.CanaryPhaseSucceeded)
					split(r.canary)
					r.ticks(2)
					if d, _ := r.wish(); d.Mode != state.Split || d.CanaryIngress != "web-next" {
						t.Errorf("wish %+v after the annotation was mended, want a split with ingress web-next", d)
					}
				})
			}
		}
	}
}
