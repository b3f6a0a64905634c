package router_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	"github.com/google/go-cmp/cmp"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	ktesting "k8s.io/client-go/testing"

	"github.com/penstock-dev/penstock/router"
)

var strategies = map[string]func(*flaggerv1.Canary){
	"Plain":  func(*flaggerv1.Canary) {},
	"Mirror": withAnalysis(func(a *flaggerv1.CanaryAnalysis) { a.Mirror = true }),
	"ABTest": abTest(onHeaders(map[string]stringMatch{"a": {Exact: "1"}}), onHeaders(map[string]stringMatch{"b": {Exact: "2"}})),
	"Affinity": withAnalysis(func(a *flaggerv1.CanaryAnalysis) {
		a.SessionAffinity = &flaggerv1.SessionAffinity{CookieName: "c", PrimaryCookieName: "p"}
	}),
}

// steps is a canary from its first tick to its end.
func steps(mirror bool) []weights {
	all := []weights{{Primary: 100, Mirrored: mirror}, {Primary: 60, Canary: 40}, {Canary: 100}, {Primary: 100}}
	if mirror {
		return all
	}
	return all[1:]
}

// isWrite tells whether a request changes something.
func isWrite(action ktesting.Action) bool {
	return slices.Contains([]string{"create", "update", "delete"}, action.GetVerb())
}

// A process that dies after any of its writes leaves nothing that the next one does not finish: each step is repeated by a
// fresh router, as Flagger does, and what is there then is what an undisturbed run has.
func TestSkipperSurvivesADeathAfterEveryWrite(t *testing.T) {
	t.Parallel()
	died := errors.New("the process is dead")
	for name, strategy := range strategies {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			canary := newCanary(strategy, inPhase(flaggerv1.CanaryPhaseProgressing, 0))
			undisturbed := fake.NewClientset(newIngress())
			s := reconciled(t, undisturbed, canary)
			for step, want := range steps(name == "Mirror") {
				before := objects(t, undisturbed)
				requests(undisturbed)
				mustSet(t, s, canary, want.Primary, want.Canary, want.Mirrored)
				writes := 0
				for _, action := range undisturbed.Actions() {
					if isWrite(action) {
						writes++
					}
				}
				after := objects(t, undisturbed)
				for survived := range writes {
					kube := fake.NewClientset(before...)
					left := survived
					kube.PrependReactor("*", "ingresses", func(action ktesting.Action) (bool, runtime.Object, error) {
						if isWrite(action) {
							left--
						}
						return left < 0, nil, died
					})
					if err := newSkipper(t, kube, router.SkipperOptions{}).SetRoutes(canary, want.Primary, want.Canary, want.Mirrored); !errors.Is(err, died) {
						t.Fatalf("step %d: %v, want %v", step, err, died)
					}
					kube.ReactionChain = kube.ReactionChain[1:]

					next := newSkipper(t, kube, router.SkipperOptions{})
					mustReconcile(t, next, canary)
					if got := mustGet(t, next, canary); got == want && got != (weights{Primary: 100}) {
						t.Errorf("step %d to %+v, death after write %d of %d: GetRoutes says it is done; Flagger would judge it", step, want, survived, writes)
					}
					mustSet(t, next, canary, want.Primary, want.Canary, want.Mirrored)
					if diff := cmp.Diff(after, objects(t, kube)); diff != "" {
						t.Errorf("step %d to %+v, death after write %d of %d: -undisturbed +after:\n%s", step, want, survived, writes, diff)
					}
				}
			}
		})
	}
}

// objects returns all Ingresses, without the times and names of writers.
func objects(t *testing.T, kube *fake.Clientset) []runtime.Object {
	t.Helper()
	list, err := kube.NetworkingV1().Ingresses(namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var all []runtime.Object
	for _, ingress := range list.Items {
		delete(ingress.Annotations, "penstock.dev/routes-since")
		ingress.ManagedFields, ingress.TypeMeta = nil, metav1.TypeMeta{}
		all = append(all, &ingress)
	}
	return all
}

func TestSkipperWritesInAnOrderThatIsAlwaysSafe(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		reason   string
		strategy string
		from, to weights
		want     []string
	}{
		"MirrorOn": {
			"The canary Ingress lists what is made; no copy is made before somebody takes it, and GetRoutes says so when all of it is made.",
			"Mirror",
			weights{Primary: 100},
			weights{Primary: 100, Mirrored: true},
			[]string{"update web-canary", "create web-canary--shadow", "create web-canary--mirror", "update web-canary"},
		},
		"MirrorOff": {
			"No copy is made after nobody takes it: it would be copied again.",
			"Mirror",
			weights{Primary: 100, Mirrored: true},
			weights{Primary: 90, Canary: 10},
			[]string{"delete web-canary--mirror", "delete web-canary--shadow", "update web-canary"},
		},
		"ABTestOff": {
			"GetRoutes says 100/0 only when nobody gets the canary any more.",
			"ABTest",
			weights{Canary: 100},
			weights{Primary: 100},
			[]string{"delete web-canary--1", "update web-canary"},
		},
		"AffinityOff": {
			"As above.",
			"Affinity",
			weights{Canary: 100},
			weights{Primary: 100},
			[]string{"delete web-canary--weighted", "update web-canary--sticky", "update web-canary"},
		},
		"AffinityHalfOff": {
			"As above.",
			"Affinity",
			weights{Primary: 50, Canary: 50},
			weights{Primary: 100},
			[]string{"delete web-canary--remainder", "delete web-canary--weighted", "delete web-canary--sticky-primary", "update web-canary--sticky", "update web-canary"},
		},
		"AffinityToCanary": {
			"Nobody sticks to a primary that is to get nothing.",
			"Affinity",
			weights{Primary: 50, Canary: 50},
			weights{Canary: 100},
			[]string{"delete web-canary--remainder", "delete web-canary--sticky-primary", "update web-canary--weighted", "update web-canary"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kube := fake.NewClientset(newIngress())
			canary := newCanary(strategies[tc.strategy])
			s := reconciled(t, kube, canary)
			mustSet(t, s, canary, tc.from.Primary, tc.from.Canary, tc.from.Mirrored)
			requests(kube)
			mustSet(t, s, canary, tc.to.Primary, tc.to.Canary, tc.to.Mirrored)
			var got []string
			for _, action := range kube.Actions() {
				switch a := action.(type) {
				case ktesting.DeleteAction:
					got = append(got, "delete "+a.GetName())
				case ktesting.CreateAction: // and updates, which have the same methods
					got = append(got, fmt.Sprintf("%s %s", action.GetVerb(), a.GetObject().(*networkingv1.Ingress).Name))
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s\nwrites -want +got:\n%s", tc.reason, diff)
			}
		})
	}
}

func TestSkipperDrainsPastAnIngressOfAnotherInItsWay(t *testing.T) {
	t.Parallel()
	foreign := newIngress(func(i *networkingv1.Ingress) { i.Name = "web-canary--sticky" })
	kube := fake.NewClientset(newIngress())
	mustSet(t, reconciled(t, kube, newCanary()), newCanary(), 50, 50, false)
	if _, err := kube.NetworkingV1().Ingresses(namespace).Create(t.Context(), foreign, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	canary := newCanary(strategies["Affinity"], inPhase(flaggerv1.CanaryPhaseProgressing, 50))
	var warned []string
	s := newSkipper(t, kube, router.SkipperOptions{Warn: func(_ *flaggerv1.Canary, _, message string) { warned = append(warned, message) }})
	mustSet(t, s, canary, 100, 0, false)
	wantAnnotation(t, getIngress(t, kube, "web-canary"), predicateKey, "False()")
	if len(warned) != 1 {
		t.Errorf("warnings: %q, want one", warned)
	}
	if diff := cmp.Diff(foreign.Spec, getIngress(t, kube, "web-canary--sticky").Spec); diff != "" {
		t.Errorf("-before +after:\n%s", diff)
	}
}
