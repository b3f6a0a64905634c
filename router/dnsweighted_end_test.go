package router_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	ktesting "k8s.io/client-go/testing"

	"github.com/penstock-dev/penstock/router"
)

// A host that comes during the first step, and cannot be split, does not keep Flagger from judging the share that users have.
func TestARefusalDuringTheFirstStepIsStillJudged(t *testing.T) {
	t.Parallel()
	for where, newRig := range rigs {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, split)
			r.begin(90, 10)
			r.canary.Status.CanaryWeight = 10
			r.edit("web", func(i *networkingv1.Ingress) { // web-next has no rule for it
				i.Spec.Rules = append(i.Spec.Rules, newRule("new.example.com", newPath("/", networkingv1.PathTypePrefix, "app")))
			})
			r.ticks(3)
			r.wantShares(0.9, 0.1)
			r.wantRoutes(90, 10)
			r.set(100, 0)
			r.wantShares(1, 0)
		})
	}
}

// Whoever has no spec.ingressRef any more is known by the ConfigMap. While that cannot be read, or its desired key is lost, nothing is taken for nothing.
func TestFinalizeWithoutIngressRef(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(r *rig) (mend func()){
		"Unread": func(r *rig) func() {
			fails := true
			r.kube.PrependReactor("get", "configmaps", func(ktesting.Action) (bool, runtime.Object, error) {
				return fails, nil, apierrors.NewInternalError(errors.New("etcd has no leader"))
			})
			return func() { fails = false }
		},
		"Lost": func(r *rig) func() {
			losses["Key"](r)
			return func() {}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, split)
			r.begin(90, 10)
			r.canary.Spec.IngressRef = nil
			mend := spoil(r)
			if err := r.router().Finalize(r.canary); err == nil {
				t.Error("Finalize returned nil while DNS shares the traffic")
			}
			mend()
			r.finalize()
			if r.mayAnswer(canaryAddress) {
				t.Error("resolvers may hand out the canary after Finalize")
			}
		})
	}
}

// An exposure that cannot be published, since the share of the Ingress cannot be read, is not effective.
func TestAnExposureThatIsNotPublishedIsNotEffective(t *testing.T) {
	t.Parallel()
	for where, newRig := range rigs {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, exposed("20"))
			r.initialize()
			r.edit("web", annotated("dns.adevinta.com/traffic-weight", "half"))
			r.ticks(1)
			r.phase(flaggerv1.CanaryPhaseProgressing)
			if err := r.router().SetRoutes(r.canary, 90, 10, false); err == nil {
				t.Errorf("the first step is nil at record weight %d, Skipper's canary weight %d", r.hostWeight(), r.skipperCanary())
			}
			r.edit("web", annotated("dns.adevinta.com/traffic-weight", "100"))
			r.set(90, 10)
			if w := r.hostWeight(); w != 20 {
				t.Errorf("record weight %d, want 20", w)
			}
		})
	}
}

// Where the router publishes, nobody gives the cluster its share back after the Canary.
func TestFinalizeWaitsUntilTheShareIsBack(t *testing.T) {
	t.Parallel()
	r := newRig(t, exposed("20"))
	r.begin(90, 10)
	r.edit("web", annotated("dns.adevinta.com/traffic-weight", "half"))
	if err := r.router().Finalize(r.canary); err == nil {
		t.Errorf("Finalize returned nil at record weight %d", r.hostWeight())
	}
	r.edit("web", annotated("dns.adevinta.com/traffic-weight", "100"))
	r.finalize()
	if w := r.hostWeight(); w != 100 {
		t.Errorf("record weight %d in the end, want 100", w)
	}
}

// A raise of the exposure that failed after its step is made good by Reconcile, however long the canary waits for people.
func TestALostRaiseOfTheExposureIsMadeGood(t *testing.T) {
	t.Parallel()
	for where, newRig := range rigs {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, exposed("20"))
			r.begin(90, 10)
			fails := true
			r.kube.PrependReactor("update", "configmaps", func(ktesting.Action) (bool, runtime.Object, error) {
				return fails, nil, apierrors.NewInternalError(errors.New("etcd has no leader"))
			})
			if err := r.router().SetRoutes(r.canary, 50, 50, false); err != nil { // the maximum, with the full share
				t.Fatal(err)
			}
			fails = false
			r.canary.Status.CanaryWeight = 50
			r.phase(flaggerv1.CanaryPhaseWaitingPromotion)
			r.ticks(60)
			if w := r.hostWeight(); w != 100 {
				t.Errorf("record weight %d while the promotion waits for a gate, want 100", w)
			}
		})
	}
}

// What was refused from the start never had anything in DNS, and can be deleted.
func TestARefusedCanaryCanBeDeleted(t *testing.T) {
	t.Parallel()
	for where, newRig := range rigs {
		for name, spoil := range map[string]func(*rig){
			"EmptyAnnotation": func(r *rig) { r.canary.Annotations[router.CanaryIngressAnnotation] = "" },
			"SingleLabelHost": func(r *rig) {
				r.edit("web", withRules(newRule("app", newPath("/", networkingv1.PathTypePrefix, "app"))))
			},
		} {
			t.Run(where+name, func(t *testing.T) {
				t.Parallel()
				r := newRig(t, split)
				spoil(r)
				if err := r.router().Reconcile(r.canary); err == nil && name == "EmptyAnnotation" {
					t.Fatal("it was not refused")
				}
				r.phase(flaggerv1.CanaryPhaseTerminating)
				r.finalize()
			})
		}
	}
}

// A Canary with an exposure that was refused from the start leaves DNS as it is, where nobody asked the router to publish.
func TestARefusedExposureIsNotPublished(t *testing.T) {
	t.Parallel()
	r := newRig(t, exposed("20"), func(c *flaggerv1.Canary) { c.Spec.IngressRef.Name = "other" })
	r.add(newIngress(named("other"), at("192.0.2.9"), withRules(newRule(host, newPath("/", networkingv1.PathTypePrefix, "other")))))
	if err := r.router().Reconcile(r.canary); err == nil {
		t.Fatal("it was not refused")
	}
	r.phase(flaggerv1.CanaryPhaseTerminating)
	r.finalize()
	if got := r.backend.MayAnswer(host); len(got) > 0 {
		t.Errorf("%v is published", got)
	}
}

// A deletion in the middle of a step: what Finalize has given back is not taken anew by the rest of the step.
func TestADeletionDuringAStepGivesTheShareBack(t *testing.T) {
	t.Parallel()
	for where, newRig := range rigs {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, exposed("20"))
			r.begin(90, 10)
			process := r.router()
			r.clock.AfterFunc(time.Second, func() { // the step waits for Skipper before it raises the exposure
				for range 20 {
					if process.Finalize(r.canary) == nil {
						return
					}
					r.clock.Advance(30 * time.Second)
				}
				t.Error("Finalize has no end")
			})
			if err := process.SetRoutes(r.canary, 50, 50, false); err != nil {
				t.Errorf("SetRoutes: %v", err)
			}
			r.clock.Advance(10 * time.Minute)
			if cm := r.configMap(); cm != nil {
				t.Errorf("configmap %v is left", cm.Data)
			}
			if w := r.hostWeight(); w != 100 {
				t.Errorf("record weight %d after the Canary is gone, want all of 100", w)
			}
		})
	}
}

// A host that another Ingress publishes has no share to be given back.
func TestARefusedHostHoldsUpNoEnd(t *testing.T) {
	t.Parallel()
	begun := func(t *testing.T) *rig {
		t.Helper()
		r := newRig(t, exposed("20"))
		r.add(newIngress(named("older"), at("192.0.2.9"), withRules(newRule("old.example.com", newPath("/", networkingv1.PathTypePrefix, "old")))))
		r.begin(90, 10)
		r.canary.Status.CanaryWeight = 10
		r.edit("web", func(i *networkingv1.Ingress) {
			i.CreationTimestamp = metav1.NewTime(r.clock.Now())
			i.Spec.Rules = append(i.Spec.Rules, newRule("old.example.com", newPath("/", networkingv1.PathTypePrefix, "app")))
		})
		r.ticks(2)
		return r
	}
	t.Run("Finalize", func(t *testing.T) {
		t.Parallel()
		r := begun(t)
		r.finalize()
		if w := r.hostWeight(); w != 100 {
			t.Errorf("record weight %d after the Canary is gone, want all of 100", w)
		}
	})
	t.Run("AnotherIngress", func(t *testing.T) {
		t.Parallel()
		r := begun(t)
		r.add(newIngress(named("web2"), at("192.0.2.10"), withRules(newRule("two.example.com", newPath("/", networkingv1.PathTypePrefix, "app")))))
		r.canary.Spec.IngressRef.Name = "web2"
		r.ticks(3)
		if d, _ := r.wish(); d.Ingress != "web2" || d.Exposure != 20 {
			t.Errorf("wish %+v, want an exposure of 20 %% for ingress web2", d)
		}
		if w := r.hostWeight(); w != 100 {
			t.Errorf("record weight of the Ingress that was left: %d, want all of 100", w)
		}
	})
}

// While Skipper splits at the earlier Ingress, since the Canary has come to name one that cannot be used, the exposure stays there.
func TestAWrongIngressRefKeepsTheExposure(t *testing.T) {
	t.Parallel()
	for where, newRig := range rigs {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, exposed("20"))
			r.begin(90, 10)
			r.canary.Status.CanaryWeight = 10
			r.canary.Spec.IngressRef.Name = "wbe"
			r.ticks(5)
			if w := r.hostWeight(); w != 20 || r.skipperCanary() != 10 {
				t.Errorf("record weight %d at canary weight %d, want 20 and 10", w, r.skipperCanary())
			}
			if !slices.Contains(r.events(), string(router.ReasonHeld)) {
				t.Errorf("events %q, want that the change is held", r.events())
			}
			r.set(100, 0)
			r.phase(flaggerv1.CanaryPhaseFailed)
			r.ticks(5)
			if w := r.hostWeight(); w != 100 {
				t.Errorf("record weight %d after the canary, want all of 100", w)
			}
			r.canary.Spec.IngressRef.Name = "web"
			r.ticks(5)
			if d, _ := r.wish(); d.Ingress != "web" || d.Exposure != 0 {
				t.Errorf("wish %+v, want ingress web without an exposure", d)
			}
		})
	}
}

// Nor does a deletion meanwhile leave it behind.
func TestADeletionWithAWrongIngressRef(t *testing.T) {
	t.Parallel()
	for where, newRig := range rigs {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, exposed("20"))
			r.begin(90, 10)
			r.canary.Status.CanaryWeight = 10
			r.canary.Spec.IngressRef.Name = "wbe"
			r.ticks(2)
			r.phase(flaggerv1.CanaryPhaseTerminating)
			r.finalize()
			r.clock.Advance(10 * time.Minute)
			if w := r.hostWeight(); w != 100 {
				t.Errorf("record weight %d after the Canary is gone, want all of 100", w)
			}
			if names := r.ingressNames(); len(names) != 2 || r.configMap() != nil {
				t.Errorf("ingresses %q and the ConfigMap %v are left", names, r.configMap())
			}
		})
	}
}

// An event that the API server did not take is told again.
func TestAnEventThatWasNotRecordedIsToldAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t, split)
	r.initialize()
	process, fails := r.router(), true
	r.kube.PrependReactor("create", "events", func(ktesting.Action) (bool, runtime.Object, error) {
		return fails, nil, apierrors.NewInternalError(errors.New("etcd has no leader"))
	})
	r.edit("web-next", at(primaryAddress))
	for range 2 {
		if err := process.Reconcile(r.canary); err != nil {
			t.Fatal(err)
		}
		r.clock.Advance(10 * time.Second)
		fails = false
	}
	if len(r.warnings()) == 0 {
		t.Error("no event")
	}
}
