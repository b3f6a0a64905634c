package router_test

import (
	"errors"
	"testing"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
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
			r.initialize()
			r.phase(flaggerv1.CanaryPhaseProgressing)
			r.set(90, 10)
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
			r.initialize()
			r.phase(flaggerv1.CanaryPhaseProgressing)
			r.set(90, 10)
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
	r.initialize()
	r.phase(flaggerv1.CanaryPhaseProgressing)
	r.set(90, 10)
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
			r.initialize()
			r.phase(flaggerv1.CanaryPhaseProgressing)
			r.set(90, 10)
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
