package router_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	ktesting "k8s.io/client-go/testing"

	"github.com/penstock-dev/penstock/router"
)

// A Canary comes to name an Ingress that cannot be used, in mid-canary: one that is not there, that does not serve its Service, or that another Canary has. What
// was generated for the one before goes on, and is drained and deleted like any other.
func TestAnIngressRefThatBecomesWrong(t *testing.T) {
	t.Parallel()
	others := []runtime.Object{
		newIngress(func(i *networkingv1.Ingress) { i.Name, i.UID = "other", "uid-of-other" }, withRules(newRule("o.example.com", newPath("/", networkingv1.PathTypePrefix, "other")))),
		newIngress(func(i *networkingv1.Ingress) { i.Name, i.UID = "taken", "uid-of-taken" }),
		newIngress(func(i *networkingv1.Ingress) {
			i.Name, i.UID, i.Labels = "taken-canary", "uid-of-taken-canary", map[string]string{"penstock.dev/canary": "shop"}
		}),
	}
	for _, strategy := range []string{"Plain", "ABTest", "Affinity"} {
		for _, ref := range []string{"nope", "other", "taken"} {
			t.Run(strategy+"/"+ref, func(t *testing.T) {
				t.Parallel()
				objects := []runtime.Object{newIngress()}
				for _, o := range others {
					objects = append(objects, o.DeepCopyObject())
				}
				kube := fake.NewClientset(objects...)
				begun := newCanary(strategies[strategy])
				mustSet(t, reconciled(t, kube, begun), begun, 70, 30, false)
				canary := newCanary(strategies[strategy], inPhase(flaggerv1.CanaryPhaseProgressing, 30), func(c *flaggerv1.Canary) { c.Spec.IngressRef.Name = ref })
				s := newSkipper(t, kube, router.SkipperOptions{})
				mustReconcile(t, s, canary)
				if got, want := mustGet(t, s, canary), (weights{Primary: 70, Canary: 30}); got != want {
					t.Errorf("GetRoutes %+v, want %+v", got, want)
				}
				mustSet(t, s, canary, 100, 0, false)
				main := getIngress(t, kube, "web-canary")
				if predicate := main.Annotations["zalando.org/skipper-predicate"]; !strings.HasPrefix(predicate, "False()") {
					t.Errorf("drained, and web-canary has predicate %q", predicate)
				}
				if got := mustGet(t, s, canary); got != (weights{Primary: 100}) {
					t.Errorf("drained, and GetRoutes says %+v", got)
				}
				if err := s.Finalize(canary); err != nil {
					t.Error(err)
				}
				wantNames(t, kube, "other", "taken", "taken-canary", "web")
			})
		}
	}
}

// Mirroring that was drained so does not come back with the Ingress.
func TestMirroringEndsThoughTheIngressRefBecameWrong(t *testing.T) {
	t.Parallel()
	kube := fake.NewClientset(newIngress())
	canary := newCanary(strategies["Mirror"], inPhase(flaggerv1.CanaryPhaseProgressing, 0))
	s := reconciled(t, kube, canary)
	mustSet(t, s, canary, 100, 0, true)
	canary.Spec.IngressRef.Name = "nope"
	mustSet(t, s, canary, 100, 0, false)
	wantNames(t, kube, "web", "web-canary")
	canary.Spec.IngressRef.Name, canary.Status.Phase = "web", flaggerv1.CanaryPhaseFailed
	mustReconcile(t, s, canary)
	wantNames(t, kube, "web", "web-canary")
	if got := mustGet(t, s, canary); got != (weights{Primary: 100}) {
		t.Errorf("GetRoutes %+v", got)
	}
}

// What is left of a canary Ingress that somebody deleted splits requests too.
func TestADrainWithoutTheCanaryIngress(t *testing.T) {
	t.Parallel()
	kube := fake.NewClientset(newIngress())
	canary := newCanary(strategies["Affinity"], inPhase(flaggerv1.CanaryPhaseProgressing, 30))
	s := reconciled(t, kube, canary)
	mustSet(t, s, canary, 70, 30, false)
	if err := kube.NetworkingV1().Ingresses(namespace).Delete(t.Context(), "web-canary", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	canary.Spec.IngressRef.Name = "nope"
	mustSet(t, s, canary, 100, 0, false)
	wantNames(t, kube, "web")
}

// Flagger judges the weights that GetRoutes returns, so they are not those of a step whose Ingresses do not stand.
func TestNoWeightsBeforeTheirIngressesStand(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(*testing.T, *fake.Clientset){
		"AnIngress": func(*testing.T, *fake.Clientset) {},
		"NoIngress": func(t *testing.T, kube *fake.Clientset) {
			t.Helper()
			if err := kube.NetworkingV1().Ingresses(namespace).Delete(t.Context(), "web-canary", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kube := fake.NewClientset(newIngress())
			canary := newCanary(strategies["Affinity"], inPhase(flaggerv1.CanaryPhaseProgressing, 0))
			s := reconciled(t, kube, canary)
			prepare(t, kube)
			failing := true
			kube.PrependReactor("create", "ingresses", func(action ktesting.Action) (bool, runtime.Object, error) {
				name := action.(ktesting.CreateAction).GetObject().(*networkingv1.Ingress).Name
				return failing && name != "web-canary", nil, apierrors.NewInternalError(errors.New("etcd has no leader"))
			})
			if err := s.SetRoutes(canary, 50, 50, false); err == nil {
				t.Fatal("a step whose Ingresses could not be made has succeeded")
			}
			failing = false
			next := newSkipper(t, kube, router.SkipperOptions{})
			mustReconcile(t, next, canary) // Flagger's next tick
			if got := mustGet(t, next, canary); got != (weights{Primary: 100}) {
				t.Errorf("GetRoutes %+v after a first step that failed; Flagger would judge it and go on, or promote", got)
			}
			mustSet(t, next, canary, 50, 50, false)
			if got := mustGet(t, next, canary); got != (weights{Primary: 50, Canary: 50}) {
				t.Errorf("GetRoutes %+v", got)
			}
		})
	}
}

// Who switches mirroring off gets a canary without, from its first step on.
func TestMirroringThatIsSwitchedOff(t *testing.T) {
	t.Parallel()
	kube := fake.NewClientset(newIngress())
	canary := newCanary(strategies["Mirror"], inPhase(flaggerv1.CanaryPhaseProgressing, 0))
	mustSet(t, reconciled(t, kube, canary), canary, 100, 0, true)
	canary = newCanary(inPhase(flaggerv1.CanaryPhaseProgressing, 0))
	s := newSkipper(t, kube, router.SkipperOptions{})
	if got := mustGet(t, s, canary); got.Mirrored {
		t.Errorf("GetRoutes %+v before Reconcile; Flagger would ask for a step with mirroring", got)
	}
	mustReconcile(t, s, canary)
	wantNames(t, kube, "web", "web-canary") // nobody copies requests any more
	got := mustGet(t, s, canary)
	mustSet(t, s, canary, got.Primary-10, got.Canary+10, got.Mirrored) // as runCanary does without mirroring
}

// All requests that match are not all requests.
func TestAnABTestWithoutItsConditions(t *testing.T) {
	t.Parallel()
	for phase, want := range map[flaggerv1.CanaryPhase]weights{
		flaggerv1.CanaryPhaseProgressing:      {Primary: 100},
		flaggerv1.CanaryPhaseWaiting:          {Primary: 100},
		flaggerv1.CanaryPhaseWaitingPromotion: {Primary: 100},
		flaggerv1.CanaryPhasePromoting:        {Canary: 100}, // primary is not ready perhaps
	} {
		t.Run(string(phase), func(t *testing.T) {
			t.Parallel()
			kube := fake.NewClientset(newIngress())
			ab := newCanary(strategies["ABTest"], inPhase(flaggerv1.CanaryPhaseProgressing, 0))
			mustSet(t, reconciled(t, kube, ab), ab, 0, 100, false)
			canary := newCanary(inPhase(phase, 0))
			var reasons []string
			s := newSkipper(t, kube, router.SkipperOptions{Warn: func(_ *flaggerv1.Canary, reason, _ string) { reasons = append(reasons, reason) }})
			mustReconcile(t, s, canary)
			if got := mustGet(t, s, canary); got != want {
				t.Errorf("GetRoutes %+v, want %+v", got, want)
			}
			if told := slices.Contains(reasons, "SkipperWeightsLost"); told != (want == weights{Primary: 100}) {
				t.Errorf("warnings %q", reasons)
			}
			mustSet(t, s, canary, 90, 10, false)
			mustReconcile(t, s, canary)
			if got := mustGet(t, s, canary); got != (weights{Primary: 90, Canary: 10}) {
				t.Errorf("after a step GetRoutes says %+v", got)
			}
		})
	}
}

// The first write after the conditions were removed is of a canary Ingress that still has its weights, and says so.
func TestAnABTestThatBecomesStickyAndMeetsAFault(t *testing.T) {
	t.Parallel()
	kube := fake.NewClientset(newIngress())
	ab := newCanary(strategies["ABTest"], inPhase(flaggerv1.CanaryPhaseProgressing, 0))
	mustSet(t, reconciled(t, kube, ab), ab, 0, 100, false)
	canary := newCanary(strategies["Affinity"], inPhase(flaggerv1.CanaryPhaseProgressing, 0))
	failing := true
	kube.PrependReactor("create", "ingresses", func(ktesting.Action) (bool, runtime.Object, error) {
		return failing, nil, apierrors.NewInternalError(errors.New("etcd has no leader"))
	})
	if err := newSkipper(t, kube, router.SkipperOptions{}).Reconcile(canary); err == nil {
		t.Fatal("an Ingress that could not be made was not missed")
	}
	failing = false
	s := newSkipper(t, kube, router.SkipperOptions{})
	mustReconcile(t, s, canary)
	if got := mustGet(t, s, canary); got != (weights{Primary: 100}) {
		t.Errorf("GetRoutes %+v, want 100/0: those were the weights of who matched", got)
	}
}
