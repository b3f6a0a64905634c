package router_test

import (
	"testing"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/penstock-dev/penstock/router"
)

// One test for each defect of Flagger's Skipper router at v1.44.0 that was measured with the real Skipper; D01, D03, D08 and
// D16 are refusals and stand in TestSkipperRefusesBeforeInitialized.

func TestD02_NilAnnotationsAndRulesWithoutHTTPDoNotPanic(t *testing.T) {
	t.Parallel()
	apex := newIngress(withRules(
		networkingv1.IngressRule{Host: "empty.example.com"},
		newRule("www.example.com", newPath("/", networkingv1.PathTypePrefix, "app")),
	))
	apex.Annotations, apex.Labels = nil, nil
	kube := fake.NewClientset(apex)
	canary := newCanary()
	s := reconciled(t, kube, canary)
	mustSet(t, s, canary, 100, 0, true)
	mustSet(t, s, canary, 50, 50, false)
	wantAnnotation(t, getIngress(t, kube, "web-canary"), weightsKey, `{"app-canary":50,"app-primary":50}`)
}

func TestD04_AnUnrelatedPathInMidRunKeepsTheWeights(t *testing.T) {
	t.Parallel()
	kube := fake.NewClientset(newIngress())
	canary := newCanary(inPhase(flaggerv1.CanaryPhaseProgressing, 50))
	s := reconciled(t, kube, canary)
	update(t, kube, "web", withRules(newRule("www.example.com",
		newPath("/", networkingv1.PathTypePrefix, "app"), newPath("/new", networkingv1.PathTypePrefix, "new"))))
	mustReconcile(t, s, canary)
	got := getIngress(t, kube, "web-canary")
	if n := len(got.Spec.Rules[0].HTTP.Paths); n != 3 {
		t.Errorf("%d paths, want the new one too", n)
	}
	wantAnnotation(t, got, weightsKey, `{"app-canary":50,"app-primary":50}`)
	wantAnnotation(t, got, predicateKey, "Weight(1)")
}

func TestD05_OnlyWhatSkipperReadsIsCopied(t *testing.T) {
	t.Parallel()
	apex := newIngress(annotated(
		"kubectl.kubernetes.io/last-applied-configuration", "{}",
		"external-dns.alpha.kubernetes.io/hostname", "www.example.com",
		"cert-manager.io/cluster-issuer", "letsencrypt",
		"kustomize.toolkit.fluxcd.io/checksum", "0a40",
		"kubernetes.io/ingress.class", "skipper",
		"zalando.org/aws-load-balancer-scheme", "internal",
	))
	apex.Labels = map[string]string{"app": "shop", "app.kubernetes.io/instance": "shop", "kustomize.toolkit.fluxcd.io/name": "shop"}
	apex.Finalizers = []string{"ingress.example.com/resources"}
	apex.OwnerReferences = []metav1.OwnerReference{{Kind: "Stack", Name: "shop", UID: "uid-of-stack"}}
	kube := fake.NewClientset(apex)
	reconciled(t, kube, newCanary())
	got := getIngress(t, kube, "web-canary")
	if diff := cmp.Diff(map[string]string{
		"external-dns.alpha.kubernetes.io/controller": "penstock",
		"kubernetes.io/ingress.class":                 "skipper",
		"penstock.dev/apex-annotations":               "{}",
		"zalando.org/aws-load-balancer-scheme":        "internal",
		predicateKey:                                  "False()",
		weightsKey:                                    `{"app-canary":0,"app-primary":100}`,
	}, got.Annotations); diff != "" {
		t.Errorf("annotations -want +got:\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"app": "shop", "penstock.dev/canary": "app"}, got.Labels); diff != "" {
		t.Errorf("labels -want +got:\n%s", diff)
	}
	if len(got.Finalizers)+len(got.OwnerReferences) != 0 {
		t.Errorf("finalizers %v, owner references %v", got.Finalizers, got.OwnerReferences)
	}
}

func TestD06_AnnotationsOfTheApexAreSyncedInMidRun(t *testing.T) {
	t.Parallel()
	kube := fake.NewClientset(newIngress(annotated("zalando.org/skipper-loadbalancer", "random")))
	canary := newCanary(inPhase(flaggerv1.CanaryPhaseProgressing, 50))
	s := reconciled(t, kube, canary)
	update(t, kube, "web", func(i *networkingv1.Ingress) {
		i.Annotations = map[string]string{filterKey: "status(403)", "zalando.org/ratelimit": "x()"}
	})
	mustReconcile(t, s, canary)
	got := getIngress(t, kube, "web-canary")
	wantAnnotation(t, got, filterKey, "status(403)")
	wantAnnotation(t, got, "zalando.org/ratelimit", "x()")
	wantAnnotation(t, got, "zalando.org/skipper-loadbalancer", "")
	wantAnnotation(t, got, weightsKey, `{"app-canary":50,"app-primary":50}`)
	mustSet(t, s, canary, 40, 60, false)
	wantAnnotation(t, getIngress(t, kube, "web-canary"), filterKey, "status(403)")
}

func TestD07_AThirdBackendKeepsItsShare(t *testing.T) {
	t.Parallel()
	third := withRules(newRule("www.example.com", newPath("/", networkingv1.PathTypePrefix, "app"), newPath("/", networkingv1.PathTypePrefix, "other")))
	for name, tc := range map[string]struct {
		reason string
		apex   string // the annotation; empty for none
		rules  func(*networkingv1.Ingress)
		canary int
		want   string
	}{
		"Half":      {"80 is halved, 20 stays.", `{"app":80,"other":20}`, third, 50, `{"app-canary":40,"app-primary":40,"other":20}`},
		"Exact":     {"Decimals stay exact where floats would not.", `{"app":0.1,"other":0.7}`, third, 30, `{"app-canary":0.03,"app-primary":0.07,"other":0.7}`},
		"Fraction":  {"A per cent of a fraction is a decimal.", `{"app":33.3,"other":66.7}`, third, 1, `{"app-canary":0.333,"app-primary":32.967,"other":66.7}`},
		"Exponent":  {"Skipper reads exponents.", `{"app":8e1,"other":2E1}`, third, 50, `{"app-canary":40,"app-primary":40,"other":20}`},
		"NoWeights": {"Without the annotation Skipper splits equally.", "", third, 50, `{"app-canary":50,"app-primary":50,"other":100}`},
		"OtherPath": {
			"Weights of other paths stay, and the Canary's own are whole.", `{"a":70,"b":30}`, withRules(newRule("www.example.com",
				newPath("/", networkingv1.PathTypePrefix, "app"), newPath("/x", networkingv1.PathTypePrefix, "a"), newPath("/x", networkingv1.PathTypePrefix, "b"))),
			37, `{"a":70,"app-canary":37,"app-primary":63,"b":30}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			apex := newIngress(tc.rules)
			if tc.apex != "" {
				annotated(weightsKey, tc.apex)(apex)
			}
			kube := fake.NewClientset(apex)
			canary := newCanary()
			s := reconciled(t, kube, canary)
			mustSet(t, s, canary, 100-tc.canary, tc.canary, false)
			if got := getIngress(t, kube, "web-canary").Annotations[weightsKey]; got != tc.want {
				t.Errorf("%s\nweights %s, want %s", tc.reason, got, tc.want)
			}
			if got := mustGet(t, s, canary); got != (weights{Primary: 100 - tc.canary, Canary: tc.canary}) {
				t.Errorf("%s\nGetRoutes: %+v", tc.reason, got)
			}
			mustReconcile(t, s, canary)
			if got := getIngress(t, kube, "web-canary").Annotations[weightsKey]; got != tc.want {
				t.Errorf("%s\nafter Reconcile %s, want %s", tc.reason, got, tc.want)
			}
		})
	}
}

func TestD09_TheWeightIsTheLeastThatSuffices(t *testing.T) {
	t.Parallel()
	prefix := networkingv1.PathTypePrefix
	for name, tc := range map[string]struct {
		reason string
		rules  []networkingv1.IngressRule
		want   string
	}{
		"One":       {"A single backend of the apex Ingress has no predicate of the traffic algorithm.", []networkingv1.IngressRule{newRule("a.example.com", newPath("/", prefix, "app"))}, "Weight(1)"},
		"Three":     {"The first of three has two more than the last.", []networkingv1.IngressRule{newRule("a.example.com", newPath("/", prefix, "app"), newPath("/", prefix, "b"), newPath("/", prefix, "c"))}, "Weight(3)"},
		"OtherPath": {"Copies of other paths must not mix with their originals either.", []networkingv1.IngressRule{newRule("a.example.com", newPath("/", prefix, "app"), newPath("/x", prefix, "b"), newPath("/x", prefix, "c"))}, "Weight(2)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kube := fake.NewClientset(newIngress(withRules(tc.rules...), annotated(weightsKey, `{"app":1,"b":1,"c":1}`)))
			canary := newCanary()
			mustSet(t, reconciled(t, kube, canary), canary, 90, 10, false)
			if got := getIngress(t, kube, "web-canary").Annotations[predicateKey]; got != tc.want {
				t.Errorf("%s\npredicate %s, want %s", tc.reason, got, tc.want)
			}
		})
	}
}

func TestD09_RoutesOfTheApexStayAboveTheCanary(t *testing.T) {
	t.Parallel()
	kube := fake.NewClientset(newIngress(annotated(routesKey, `cors: Method("OPTIONS") -> <shunt>`)))
	canary := newCanary()
	s := reconciled(t, kube, canary)
	mustSet(t, s, canary, 90, 10, false)
	// The highest route of the canary Ingress has Weight(1) and Traffic().
	wantAnnotation(t, getIngress(t, kube, "web-canary"), routesKey, `cors: Weight(2) && Method("OPTIONS") -> <shunt>`)
	requests(kube)
	mustReconcile(t, s, canary)
	if diff := cmp.Diff(map[string]int{"get": 2}, requests(kube)); diff != "" {
		t.Errorf("raising is stable; -want +got:\n%s", diff)
	}
}

func TestD09_ASiblingThatLosesNothingIsNoConflict(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*networkingv1.Ingress){
		"OtherHost":  withRules(newRule("other.example.com", newPath("/", networkingv1.PathTypePrefix, "beta"))),
		"OtherPath":  withRules(newRule("www.example.com", newPath("/beta", networkingv1.PathTypePrefix, "beta"))),
		"Heavier":    annotated(predicateKey, `Weight(2) && Header("X-Beta", "1")`),
		"NoHeavier":  annotated(predicateKey, ""),
		"Unreadable": annotated(predicateKey, `Header("X-Beta", `),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sibling := newIngress(annotated(predicateKey, `Header("X-Beta", "1")`), change)
			sibling.Name = "beta"
			reconciled(t, fake.NewClientset(newIngress(), sibling), newCanary())
		})
	}
}

func TestD10_PredicatesOfTheUserAreRespected(t *testing.T) {
	t.Parallel()
	kube := fake.NewClientset(newIngress(annotated(predicateKey, `False() && Weight(100)`)))
	canary := newCanary()
	s := reconciled(t, kube, canary)
	mustSet(t, s, canary, 50, 50, false)
	wantAnnotation(t, getIngress(t, kube, "web-canary"), predicateKey, "Weight(1) && False() && Weight(100)")
	mustSet(t, s, canary, 100, 0, false)
	mustSet(t, s, canary, 90, 10, false)
	mustReconcile(t, s, canary)
	wantAnnotation(t, getIngress(t, kube, "web-canary"), predicateKey, "Weight(1) && False() && Weight(100)")
}

func TestD11_AndInsideStringsIsNoSeparator(t *testing.T) {
	t.Parallel()
	const own = `Header("X-Q", "a&&b") && PathRegexp(/[/]&&(x|y)/)`
	kube := fake.NewClientset(newIngress(annotated(predicateKey, own)))
	canary := newCanary()
	s := reconciled(t, kube, canary)
	mustSet(t, s, canary, 50, 50, false)
	wantAnnotation(t, getIngress(t, kube, "web-canary"), predicateKey, "Weight(1) && "+own)
	mustSet(t, s, canary, 100, 0, false)
	wantAnnotation(t, getIngress(t, kube, "web-canary"), predicateKey, "False() && "+own)
}

func TestD12_MirroringIsDoneAndReportedBack(t *testing.T) {
	t.Parallel()
	kube := fake.NewClientset(newIngress(annotated(filterKey, "ratelimit(9)", predicateKey, `Method("GET")`), withRules(newRule("www.example.com",
		newPath("/", networkingv1.PathTypePrefix, "app"), newPath("/other", networkingv1.PathTypePrefix, "other")))))
	canary := newCanary(withAnalysis(func(a *flaggerv1.CanaryAnalysis) { a.Mirror, a.MirrorWeight = true, 25 }))
	s := reconciled(t, kube, canary)
	mustSet(t, s, canary, 100, 0, true)
	if got := mustGet(t, s, canary); got != (weights{Primary: 100, Mirrored: true}) {
		t.Errorf("GetRoutes: %+v; Flagger would mirror for ever", got)
	}
	wantNames(t, kube, "web", "web-canary", "web-canary--mirror", "web-canary--shadow")
	main, source, shadow := getIngress(t, kube, "web-canary"), getIngress(t, kube, "web-canary--mirror"), getIngress(t, kube, "web-canary--shadow")
	wantAnnotation(t, main, predicateKey, `False() && Method("GET")`)
	wantAnnotation(t, source, predicateKey, `Weight(1) && Method("GET") && Traffic(0.25)`)
	wantAnnotation(t, source, filterKey, `teeLoopback("app-canary") -> ratelimit(9)`)
	// It weighs more than source, or a copy would be copied again.
	wantAnnotation(t, shadow, predicateKey, `Weight(3) && Method("GET") && Tee("app-canary")`)
	wantAnnotation(t, shadow, filterKey, "ratelimit(9)")
	if diff := cmp.Diff([]networkingv1.IngressRule{newRule("www.example.com", newPath("/", networkingv1.PathTypePrefix, "app-primary"))}, source.Spec.Rules); diff != "" {
		t.Errorf("only the Canary's own requests are mirrored; -want +got:\n%s", diff)
	}
	if diff := cmp.Diff([]networkingv1.IngressRule{newRule("www.example.com", newPath("/", networkingv1.PathTypePrefix, "app-canary"))}, shadow.Spec.Rules); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	requests(kube)
	mustReconcile(t, s, canary)
	mustSet(t, s, canary, 100, 0, true)
	if got := requests(kube); got["create"]+got["update"]+got["delete"] != 0 {
		t.Errorf("requests: %v, want no write when nothing changes", got)
	}

	mustSet(t, s, canary, 90, 10, false)
	wantNames(t, kube, "web", "web-canary")
	if got := mustGet(t, s, canary); got != (weights{Primary: 90, Canary: 10}) {
		t.Errorf("GetRoutes: %+v", got)
	}
	wantAnnotation(t, getIngress(t, kube, "web-canary"), predicateKey, `Weight(1) && Method("GET")`)
}

func TestD14_FinalizeSucceedsWhenNothingIsLeft(t *testing.T) {
	t.Parallel()
	s := newSkipper(t, fake.NewClientset(newIngress()), router.SkipperOptions{})
	if err := s.Finalize(newCanary()); err != nil {
		t.Errorf("Finalize: %v; the Canary would hang in deletion", err)
	}
}

func TestD15_NoWriteWithoutChange(t *testing.T) {
	t.Parallel()
	kube := fake.NewClientset(newIngress())
	canary := newCanary()
	s := reconciled(t, kube, canary)
	requests(kube)
	for range 3 {
		mustSet(t, s, canary, 70, 30, false)
		mustReconcile(t, s, canary)
	}
	if diff := cmp.Diff(map[string]int{"get": 9, "update": 1}, requests(kube)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestD17_ADeletedCanaryIngressComesBackAtTheCurrentWeights(t *testing.T) {
	t.Parallel()
	kube := fake.NewClientset(newIngress())
	canary := newCanary(inPhase(flaggerv1.CanaryPhaseProgressing, 30))
	s := newSkipper(t, kube, router.SkipperOptions{})
	if got := mustGet(t, s, canary); got != (weights{Primary: 70, Canary: 30}) {
		t.Errorf("GetRoutes while it is gone: %+v", got)
	}
	mustReconcile(t, s, canary)
	wantAnnotation(t, getIngress(t, kube, "web-canary"), weightsKey, `{"app-canary":30,"app-primary":70}`)
	wantAnnotation(t, getIngress(t, kube, "web-canary"), predicateKey, "Weight(1)")
	if err := kube.NetworkingV1().Ingresses(namespace).Delete(t.Context(), "web-canary", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	mustSet(t, s, canary, 60, 40, false)
	wantAnnotation(t, getIngress(t, kube, "web-canary"), weightsKey, `{"app-canary":40,"app-primary":60}`)
}

func TestD17_WhatWasGeneratedBesideADeletedCanaryIngressIsCleanedUp(t *testing.T) {
	t.Parallel()
	kube := fake.NewClientset(newIngress())
	canary := newCanary(inPhase(flaggerv1.CanaryPhaseProgressing, 0), withAnalysis(func(a *flaggerv1.CanaryAnalysis) { a.Mirror = true }))
	s := reconciled(t, kube, canary)
	mustSet(t, s, canary, 100, 0, true)
	if err := kube.NetworkingV1().Ingresses(namespace).Delete(t.Context(), "web-canary", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	mustReconcile(t, s, canary)
	wantNames(t, kube, "web", "web-canary")
}

func TestD18_BackendsWithoutAServiceAreLeftAlone(t *testing.T) {
	t.Parallel()
	kind := networkingv1.PathTypePrefix
	bucket := networkingv1.HTTPIngressPath{Path: "/static", PathType: &kind, Backend: networkingv1.IngressBackend{
		Resource: &corev1.TypedLocalObjectReference{Kind: "Bucket", Name: "static"},
	}}
	kube := fake.NewClientset(newIngress(withRules(newRule("www.example.com", bucket, newPath("/", kind, "app")))))
	reconciled(t, kube, newCanary())
	if diff := cmp.Diff(bucket, getIngress(t, kube, "web-canary").Spec.Rules[0].HTTP.Paths[0]); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
