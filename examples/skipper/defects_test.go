package skipper_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	istiov1alpha1 "github.com/fluxcd/flagger/pkg/apis/istio/common/v1alpha1"
	istiov1beta1 "github.com/fluxcd/flagger/pkg/apis/istio/v1beta1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-dev/penstock/examples/world"
)

func TestMatchKeepsOrdinaryUsersOnPrimary(t *testing.T) {
	t.Parallel()
	for _, algorithm := range world.Algorithms {
		t.Run(algorithm.String(), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, algorithm, apexIngress())
			r.canary.Spec.Analysis.Iterations = 5
			r.canary.Spec.Analysis.Match = []istiov1beta1.HTTPMatchRequest{
				{Headers: map[string]istiov1alpha1.StringMatch{"x-canary": {Exact: "insider"}, "x-team": {Prefix: "shop-"}}},
				{Headers: map[string]istiov1alpha1.StringMatch{"cookie": {Regex: "^(.*?;)?(canary=always)(;.*)?$"}}},
			}
			r.reconcile(t)
			r.set(t, 0, 100, false) // what Flagger sets for A/B testing
			r.wantRoutes(t, 0, 100, false)

			ordinary := r.count(t, 60, request{})
			if ordinary["app-canary"] > 0 || ordinary["app"]+ordinary["app-primary"] != 60 {
				t.Errorf("ordinary users ended at %v, want none at the canary", ordinary)
			}
			r.wantAll(t, "a match of two headers", request{header: http.Header{"X-Canary": {"insider"}, "X-Team": {"shop-web"}}}, "app-canary")
			half := r.count(t, 60, request{header: http.Header{"X-Canary": {"insider"}}})
			if half["app-canary"] > 0 {
				t.Errorf("users with one of two headers ended at %v, want none at the canary", half)
			}
			r.wantAll(t, "the other match, of a cookie", request{header: http.Header{"Cookie": {"a=b; canary=always; c=d"}}}, "app-canary")
			other := r.count(t, 60, request{header: http.Header{"Cookie": {"canary=never"}}})
			if other["app-canary"] > 0 {
				t.Errorf("users with another cookie ended at %v, want none at the canary", other)
			}

			r.set(t, 100, 0, false)
			r.wantRoutes(t, 100, 0, false)
			after := r.count(t, 60, request{header: http.Header{"Cookie": {"canary=always"}}})
			if after["app-canary"] > 0 || after["app"]+after["app-primary"] != 60 {
				t.Errorf("after the test, matching users ended at %v, want none at the canary", after)
			}
		})
	}
}

func TestFilterOfApexHoldsAtEveryWeight(t *testing.T) {
	t.Parallel()
	for _, algorithm := range world.Algorithms {
		t.Run(algorithm.String(), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, algorithm, apexIngress())
			r.reconcile(t)
			r.set(t, 50, 50, false)
			// The operator closes the shop in mid-canary, by annotation.
			apex := r.apex(t)
			annotated(apex, filterAnnotation, `status(403) -> inlineContent("closed")`)
			r.update(t, apex)
			r.reconcile(t)
			r.settle(t)
			got := r.count(t, 60, request{})
			if got["app-primary"]+got["app-canary"] > 0 {
				t.Errorf("at 50/50 the filter of the apex was bypassed: %v", got)
			}
			r.wantRoutes(t, 50, 50, false)
		})
	}
}

func TestUnrelatedPathKeepsWeights(t *testing.T) {
	t.Parallel()
	for _, algorithm := range world.Algorithms {
		t.Run(algorithm.String(), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, algorithm, apexIngress())
			r.reconcile(t)
			r.set(t, 50, 50, false)
			apex := r.apex(t)
			http := apex.Spec.Rules[0].HTTP
			http.Paths = append(http.Paths, world.Path("/other", "other"))
			r.update(t, apex)
			r.reconcile(t)
			r.settle(t)
			r.wantRoutes(t, 50, 50, false)
			r.wantShares(t, "after an unrelated path was added", request{}, map[string]float64{"app-primary": 50, "app-canary": 50})
			r.wantAll(t, "the unrelated path", request{path: "/other"}, "other")
		})
	}
}

func TestThirdBackendKeepsItsShare(t *testing.T) {
	t.Parallel()
	for _, algorithm := range world.Algorithms {
		t.Run(algorithm.String(), func(t *testing.T) {
			t.Parallel()
			for name, tc := range map[string]struct {
				reason, weights       string
				primary, canary       int
				app, canaryPct, other float64
			}{
				"Integers": {reason: "80 of 100 are app's: half of them each.", weights: `{"app":80,"other":20}`, primary: 50, canary: 50, app: 40, canaryPct: 40, other: 20},
				"Floats":   {reason: "Weights are ratios: 1.5 of 2 are app's.", weights: `{"app":1.5,"other":0.5}`, primary: 90, canary: 10, app: 67.5, canaryPct: 7.5, other: 25},
				"All":      {reason: "At 0/100 the canary has all of app's share, and no more.", weights: `{"app":80,"other":20}`, primary: 0, canary: 100, canaryPct: 80, other: 20},
			} {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					apex := world.Ingress("app", host, world.Path("/", "app"), world.Path("/", "other"))
					r := newRig(t, algorithm, annotated(apex, weightsAnnotation, tc.weights))
					r.reconcile(t)
					r.set(t, tc.primary, tc.canary, false)
					r.wantRoutes(t, tc.primary, tc.canary, false)
					want := map[string]float64{"app-canary": tc.canaryPct, "other": tc.other}
					if tc.app > 0 {
						want["app-primary"] = tc.app
					}
					r.wantShares(t, tc.reason, request{}, want)
				})
			}
		})
	}
}

// TestSiblingsKeepTheirRequests follows the remedy that the router gives to a sibling which its weights would rob: after that, both keep
// their requests.
func TestSiblingsKeepTheirRequests(t *testing.T) {
	t.Parallel()
	for _, algorithm := range world.Algorithms {
		t.Run(algorithm.String(), func(t *testing.T) {
			t.Parallel()
			apex := annotated(apexIngress(), routesAnnotation, `Method("OPTIONS") -> status(204) -> <shunt>`)
			r := newRig(t, algorithm, apex)
			const predicate = `Header("X-Beta", "yes")`
			sibling := annotated(world.Ingress("sibling", host, world.Path("/", "other")), predicateAnnotation, predicate)
			if err := r.CreateIngress(t.Context(), sibling); err != nil {
				t.Fatal(err)
			}
			r.canary.Status.Phase = flaggerv1.CanaryPhaseInitializing
			err := r.router.Reconcile(r.canary)
			if err == nil || !strings.Contains(err.Error(), `sibling`) {
				t.Fatalf("Reconcile beside a sibling that would be robbed: %v, want an error that names it", err)
			}
			r.wantNoCanaryIngress(t)
			remedy := regexp.MustCompile(`Weight\(\d+\)`).FindString(err.Error())
			if remedy == "" {
				t.Fatalf("Reconcile: %v, want an error that says which weight helps", err)
			}
			r.update(t, annotated(sibling, predicateAnnotation, predicate+" && "+remedy))

			r.reconcile(t)
			r.canary.Status.Phase = flaggerv1.CanaryPhaseProgressing
			r.set(t, 50, 50, false)
			r.wantShares(t, "ordinary users", request{}, map[string]float64{"app-primary": 50, "app-canary": 50})
			r.wantAll(t, "users of the sibling", request{header: http.Header{"X-Beta": {"yes"}}}, "other")
			r.wantAll(t, "the custom route of the apex", request{method: http.MethodOptions}, "204")
		})
	}
}

func TestDisabledAppStaysDisabled(t *testing.T) {
	t.Parallel()
	for _, algorithm := range world.Algorithms {
		t.Run(algorithm.String(), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, algorithm, annotated(apexIngress(), predicateAnnotation, "False()"))
			r.reconcile(t)
			r.settle(t)
			r.wantAll(t, "before the canary", request{}, "404")
			r.set(t, 50, 50, false)
			r.wantAll(t, "in mid-canary", request{}, "404")
			r.set(t, 100, 0, false)
			r.wantAll(t, "after the canary", request{}, "404")
		})
	}
}

func TestPredicatesWithOperatorsInText(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		reason, predicate string
		match             http.Header
	}{
		"String":             {reason: "The operator stands in a string.", predicate: `Header("X-Query", "a&&b")`, match: http.Header{"X-Query": {"a&&b"}}},
		"Regular expression": {reason: "It stands in a regular expression, with spaces.", predicate: `HeaderRegexp("X-Query", /^a && b$/)`, match: http.Header{"X-Query": {"a && b"}}},
		"Our own names":      {reason: "Our predicates stand in a string.", predicate: `Header("X-Query", "False() && Weight(100)")`, match: http.Header{"X-Query": {"False() && Weight(100)"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, algorithm := range world.Algorithms {
				t.Run(algorithm.String(), func(t *testing.T) {
					t.Parallel()
					r := newRig(t, algorithm, annotated(apexIngress(), predicateAnnotation, tc.predicate))
					r.reconcile(t)
					r.set(t, 50, 50, false)
					r.wantShares(t, tc.reason, request{header: tc.match}, map[string]float64{"app-primary": 50, "app-canary": 50})
					r.wantAll(t, tc.reason+" Others do not match.", request{header: http.Header{"X-Query": {"a"}}}, "404")
				})
			}
		})
	}
}

func TestMirroring(t *testing.T) {
	t.Parallel()
	for _, algorithm := range world.Algorithms {
		t.Run(algorithm.String(), func(t *testing.T) {
			t.Parallel()
			for name, tc := range map[string]struct {
				reason string
				weight int
				want   float64
			}{
				"All":     {reason: "Without mirrorWeight every request is mirrored.", want: 100},
				"Quarter": {reason: "mirrorWeight 25 mirrors a quarter.", weight: 25, want: 25},
			} {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					r := newRig(t, algorithm, apexIngress())
					r.canary.Spec.Analysis.Mirror = true
					r.canary.Spec.Analysis.MirrorWeight = tc.weight
					r.reconcile(t)
					r.set(t, 100, 0, true)
					r.wantRoutes(t, 100, 0, true)
					before := r.workloads["app-canary"].Requests()
					got := r.count(t, trials, request{})
					if got["app-canary"] > 0 || got["app"]+got["app-primary"] != trials {
						t.Errorf("%s Users saw %v, want none from the canary", tc.reason, got)
					}
					mirrored := r.mirrored(t, before, tc.want)
					if mirrored > trials {
						t.Fatalf("%s %d requests were mirrored of %d: they loop", tc.reason, mirrored, trials)
					}
					if tc.want == 100 {
						if mirrored != trials {
							t.Errorf("%s %d of %d were", tc.reason, mirrored, trials)
						}
					} else if err := share(mirrored, tc.want); err != nil {
						t.Errorf("%s %v", tc.reason, err)
					}

					r.set(t, 90, 10, false) // the first step ends mirroring
					r.wantRoutes(t, 90, 10, false)
					before = r.workloads["app-canary"].Requests()
					got = r.count(t, trials, request{})
					if hits := r.workloads["app-canary"].Requests() - before; hits != int64(got["app-canary"]) {
						t.Errorf("%d requests reached the canary, users saw %d: it is still mirrored to", hits, got["app-canary"])
					}
				})
			}
		})
	}
}

func TestTwoCanariesOnOneIngress(t *testing.T) {
	t.Parallel()
	for _, algorithm := range world.Algorithms {
		t.Run(algorithm.String(), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, algorithm, world.Ingress("app", host, world.Path("/", "app"), world.Path("/other", "other")))
			r.reconcile(t)
			r.set(t, 70, 30, false)
			second := newCanary()
			second.Name, second.UID = "other", "c0ffee00-0000-4000-8000-000000000002"
			second.Spec.TargetRef.Name = "other"
			second.Status.Phase = flaggerv1.CanaryPhaseInitializing
			if err := r.router.Reconcile(second); err == nil || !strings.Contains(err.Error(), "app-canary") {
				t.Errorf("Reconcile of a second Canary on the Ingress: %v, want an error that names app-canary", err)
			}
			r.reconcile(t)
			r.settle(t)
			r.wantRoutes(t, 70, 30, false)
			r.wantShares(t, "the first canary goes on", request{}, map[string]float64{"app-primary": 70, "app-canary": 30})
		})
	}
}

func TestDefaultBackendIsSplitOrRefused(t *testing.T) {
	t.Parallel()
	for _, algorithm := range world.Algorithms {
		t.Run(algorithm.String(), func(t *testing.T) {
			t.Parallel()
			apex := apexIngress()
			backend := world.Path("/", "app").Backend
			apex.Spec.DefaultBackend = &backend
			r := newRig(t, algorithm, apex)
			r.canary.Status.Phase = flaggerv1.CanaryPhaseInitializing
			if err := r.router.Reconcile(r.canary); err != nil {
				if !strings.Contains(err.Error(), "defaultBackend") {
					t.Errorf("Reconcile: %v, want an error that names defaultBackend", err)
				}
				r.wantNoCanaryIngress(t)
				return
			}
			r.set(t, 0, 100, false)
			r.wantAll(t, "at 0/100, by host", request{}, "app-canary")
		})
	}
}

func TestDeletedCanaryIngressComesBackAtItsWeights(t *testing.T) {
	t.Parallel()
	for _, algorithm := range world.Algorithms {
		t.Run(algorithm.String(), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, algorithm, apexIngress())
			r.reconcile(t)
			r.set(t, 60, 40, false)
			if err := r.Kube.NetworkingV1().Ingresses(world.Namespace).Delete(t.Context(), "app-canary", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			r.reconcile(t)
			r.settle(t)
			r.wantRoutes(t, 60, 40, false)
			r.wantShares(t, "after the canary Ingress was deleted", request{}, map[string]float64{"app-primary": 60, "app-canary": 40})
		})
	}
}

func TestExactAndPrefixOnOnePathAreRefused(t *testing.T) {
	t.Parallel()
	for _, algorithm := range world.Algorithms {
		t.Run(algorithm.String(), func(t *testing.T) {
			t.Parallel()
			exact := networkingv1.PathTypeExact
			paths := []networkingv1.HTTPIngressPath{world.Path("/shop", "app"), world.Path("/shop", "app")}
			paths[0].PathType = &exact
			r := newRig(t, algorithm, world.Ingress("app", host, paths...))
			r.canary.Status.Phase = flaggerv1.CanaryPhaseInitializing
			if err := r.router.Reconcile(r.canary); err == nil || !strings.Contains(err.Error(), "/shop") {
				t.Errorf("Reconcile: %v, want an error that names the path /shop", err)
			}
			r.wantNoCanaryIngress(t)
		})
	}
}
