package skipper_test

import (
	"maps"
	"testing"

	flaggerrouter "github.com/fluxcd/flagger/pkg/router"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-dev/penstock/examples/world"
	"github.com/penstock-dev/penstock/router"
)

// The interface is declared twice, because Flagger's package imports ours in a fork. Values of one are values of the other.
var (
	_ flaggerrouter.Interface = router.Interface(nil)
	_ router.Interface        = flaggerrouter.Interface(nil)
	_ router.Interface        = (*router.Skipper)(nil)
)

// flaggers returns Flagger's own router, as Flagger builds it.
func flaggers(cluster *world.Cluster, setOwnerRefs bool) flaggerrouter.Interface {
	factory := flaggerrouter.NewFactory(nil, cluster.Kube, nil, nil, "", "", zap.NewNop().Sugar(), nil, setOwnerRefs)
	return factory.MeshRouter("skipper", "app")
}

// TestSwitchOfRouters lets a fork switch from Flagger's router to ours and back in the middle of a canary: each reads what the other wrote,
// and traffic does not notice.
func TestSwitchOfRouters(t *testing.T) {
	t.Parallel()
	for name, setOwnerRefs := range map[string]bool{"with owner references": true, "without owner references": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, algorithm := range world.Algorithms {
				t.Run(algorithm.String(), func(t *testing.T) {
					t.Parallel()
					// Without any annotation Flagger's router panics.
					r := newRig(t, algorithm, annotated(apexIngress(), predicateAnnotation, `Method("GET")`))
					theirs := flaggers(r.Cluster, setOwnerRefs)
					ours := newRouterWith(t, r.Cluster, router.SkipperOptions{SetOwnerRefs: setOwnerRefs})

					r.router = theirs
					r.reconcile(t)
					r.set(t, 70, 30, false)
					written := r.canaryIngress(t)

					r.router = ours
					r.wantRoutes(t, 70, 30, false)
					r.reconcile(t)
					r.settle(t)
					r.wantRoutes(t, 70, 30, false)
					r.wantShares(t, "after the switch to ours", request{}, map[string]float64{"app-primary": 70, "app-canary": 30})
					if diff := cmp.Diff(written.Spec, r.canaryIngress(t).Spec); diff != "" {
						t.Errorf("the Spec is not what Flagger's router writes, which resets weights on any difference, -theirs +ours:\n%s", diff)
					}
					r.set(t, 60, 40, false)

					r.router = theirs
					r.wantRoutes(t, 60, 40, false)
					r.reconcile(t)
					r.settle(t)
					r.wantRoutes(t, 60, 40, false)
					r.wantShares(t, "after the switch back", request{}, map[string]float64{"app-primary": 60, "app-canary": 40})
					r.set(t, 100, 0, false)
					back := r.count(t, 60, request{})
					if back["app"]+back["app-primary"] != 60 {
						t.Errorf("after Flagger's router ended the canary requests ended at %v, want apex or primary", back)
					}

					r.router = ours
					r.wantRoutes(t, 100, 0, false)
					r.reconcile(t)
					r.wantRoutes(t, 100, 0, false)
					if err := ours.Finalize(r.canary); err != nil {
						t.Errorf("Finalize: %v", err)
					}
					r.wantNoCanaryIngress(t)
				})
			}
		})
	}
}

// TestSpecIsTheirs compares what both routers create, for the shapes that Flagger's router handles.
func TestSpecIsTheirs(t *testing.T) {
	t.Parallel()
	class, exact := "skipper", networkingv1.PathTypeExact
	for name, change := range map[string]func(apex *networkingv1.Ingress){
		"One path":      func(*networkingv1.Ingress) {},
		"Ingress class": func(apex *networkingv1.Ingress) { apex.Spec.IngressClassName = &class },
		"TLS": func(apex *networkingv1.Ingress) {
			apex.Spec.TLS = []networkingv1.IngressTLS{{Hosts: []string{host}, SecretName: "app-tls"}}
		},
		"Several paths": func(apex *networkingv1.Ingress) {
			http := apex.Spec.Rules[0].HTTP
			http.Paths = append(http.Paths, world.Path("/other", "other"), world.Path("/app", "app"))
			http.Paths[2].PathType = &exact
		},
		"Several hosts": func(apex *networkingv1.Ingress) {
			apex.Spec.Rules = append(apex.Spec.Rules, world.Ingress("", "www.example.com", world.Path("/", "app")).Spec.Rules...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			apex := annotated(apexIngress(), predicateAnnotation, `Method("GET")`)
			change(apex)
			r := newRig(t, world.Traffic, apex)
			r.router = flaggers(r.Cluster, true)
			r.reconcile(t)
			theirs := r.canaryIngress(t)
			if err := r.router.Finalize(r.canary); err != nil {
				t.Fatal(err)
			}
			r.router = newRouterWith(t, r.Cluster, router.SkipperOptions{SetOwnerRefs: true})
			r.reconcile(t)
			ours := r.canaryIngress(t)
			if diff := cmp.Diff(theirs.Spec, ours.Spec); diff != "" {
				t.Errorf("Spec of the canary Ingress, -theirs +ours:\n%s", diff)
			}
			if got, want := ours.Annotations[weightsAnnotation], theirs.Annotations[weightsAnnotation]; got != want {
				t.Errorf("weights %s, want %s as theirs, among %v", got, want, maps.Keys(ours.Annotations))
			}
			if diff := cmp.Diff(theirs.OwnerReferences, ours.OwnerReferences); diff != "" {
				t.Errorf("owner references, -theirs +ours:\n%s", diff)
			}
		})
	}
}

func (r *rig) canaryIngress(t *testing.T) *networkingv1.Ingress {
	t.Helper()
	ingress, err := r.Kube.NetworkingV1().Ingresses(world.Namespace).Get(t.Context(), "app-canary", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return ingress
}
