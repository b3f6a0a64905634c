package router_test

import (
	"strings"
	"testing"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	istiov1alpha1 "github.com/fluxcd/flagger/pkg/apis/istio/common/v1alpha1"
	istiov1beta1 "github.com/fluxcd/flagger/pkg/apis/istio/v1beta1"
	"github.com/google/go-cmp/cmp"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/penstock-dev/penstock/router"
)

type stringMatch = istiov1alpha1.StringMatch

func onHeaders(headers map[string]stringMatch) istiov1beta1.HTTPMatchRequest {
	return istiov1beta1.HTTPMatchRequest{Headers: headers}
}

// abTest makes a Canary an A/B test.
func abTest(matches ...istiov1beta1.HTTPMatchRequest) func(*flaggerv1.Canary) {
	return withAnalysis(func(a *flaggerv1.CanaryAnalysis) { a.Iterations, a.Match = 10, matches })
}

func TestD13_AnABTestSendsOnlyWhoMatchesToTheCanary(t *testing.T) {
	t.Parallel()
	kube := fake.NewClientset(newIngress(annotated(predicateKey, `Method("GET")`)))
	canary := newCanary(abTest(
		onHeaders(map[string]stringMatch{"x-canary": {Regex: ".*insider.*"}, "X-Group": {Exact: "b"}}),
		onHeaders(map[string]stringMatch{"cookie": {Regex: `^(.*?;)?(canary=always)(;.*)?$`}}),
		istiov1beta1.HTTPMatchRequest{QueryParams: map[string]stringMatch{"canary": {}}},
	))
	s := reconciled(t, kube, canary)
	wantNames(t, kube, "web", "web-canary")
	requests(kube)
	mustReconcile(t, s, canary)
	if diff := cmp.Diff(map[string]int{"get": 2}, requests(kube)); diff != "" {
		t.Errorf("idle; -want +got:\n%s", diff)
	}

	mustSet(t, s, canary, 0, 100, false)
	wantNames(t, kube, "web", "web-canary", "web-canary--1", "web-canary--2")
	for name, want := range map[string]string{
		"web-canary":    `Weight(1) && Method("GET") && HeaderRegexp("X-Group", "^b$") && HeaderRegexp("X-Canary", "^(?:.*insider.*)$")`,
		"web-canary--1": `Weight(1) && Method("GET") && Cookie("canary", "^(?:always)$")`,
		"web-canary--2": `Weight(1) && Method("GET") && QueryParam("canary")`,
	} {
		wantAnnotation(t, getIngress(t, kube, name), predicateKey, want)
		wantAnnotation(t, getIngress(t, kube, name), weightsKey, `{"app-canary":100,"app-primary":0}`)
	}
	if got := mustGet(t, s, canary); got != (weights{Canary: 100}) {
		t.Errorf("GetRoutes: %+v", got)
	}
	requests(kube)
	mustSet(t, s, canary, 0, 100, false)
	mustReconcile(t, s, canary)
	if got := requests(kube); got["create"]+got["update"]+got["delete"] != 0 {
		t.Errorf("requests: %v, want no write when nothing changes", got)
	}

	mustSet(t, s, canary, 100, 0, false)
	wantNames(t, kube, "web", "web-canary")
	wantAnnotation(t, getIngress(t, kube, "web-canary"), predicateKey, `False() && Method("GET")`)
}

func TestSkipperRepairsAnABTestInMidRun(t *testing.T) {
	t.Parallel()
	kube := fake.NewClientset(newIngress())
	one, two := onHeaders(map[string]stringMatch{"a": {Exact: "1"}}), onHeaders(map[string]stringMatch{"b": {Prefix: "2."}})
	canary := newCanary(abTest(one, two), inPhase(flaggerv1.CanaryPhaseProgressing, 0))
	s := reconciled(t, kube, canary)
	mustSet(t, s, canary, 0, 100, false)
	update(t, kube, "web-canary--1", annotated(predicateKey, "True()"))
	mustReconcile(t, s, canary)
	wantAnnotation(t, getIngress(t, kube, "web-canary--1"), predicateKey, `Weight(1) && HeaderRegexp("B", "^2\\.")`)

	// The second match is taken from the Canary.
	mustReconcile(t, s, newCanary(abTest(one), inPhase(flaggerv1.CanaryPhaseProgressing, 0)))
	wantNames(t, kube, "web", "web-canary")
}

func TestSkipperNeverTakesAnExtraIngressOfAnother(t *testing.T) {
	t.Parallel()
	foreign := newIngress(func(i *networkingv1.Ingress) { i.Name = "web-canary--1" })
	kube := fake.NewClientset(newIngress(), foreign)
	canary := newCanary(abTest(onHeaders(map[string]stringMatch{"a": {Exact: "1"}}), onHeaders(map[string]stringMatch{"b": {Exact: "2"}})))
	s := reconciled(t, kube, canary)
	if err := s.SetRoutes(canary, 0, 100, false); err == nil || !strings.Contains(err.Error(), "ingress shop/web-canary--1") {
		t.Errorf("SetRoutes: %v, want an error that names it", err)
	}
	mustSet(t, s, canary, 100, 0, false)
	if diff := cmp.Diff(foreign.Spec, getIngress(t, kube, "web-canary--1").Spec); diff != "" {
		t.Errorf("-before +after:\n%s", diff)
	}
}

func TestSkipperRefusesMatchesThatSkipperCannotExpress(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		match istiov1beta1.HTTPMatchRequest
		want  string
	}{
		"Empty":          {istiov1beta1.HTTPMatchRequest{Name: "all"}, "no condition"},
		"Scheme":         {istiov1beta1.HTTPMatchRequest{Scheme: &stringMatch{Exact: "https"}}, "match[0].scheme"},
		"Authority":      {istiov1beta1.HTTPMatchRequest{Authority: &stringMatch{Exact: "a"}}, "match[0].authority"},
		"Port":           {istiov1beta1.HTTPMatchRequest{Port: 80}, "match[0].port"},
		"Gateways":       {istiov1beta1.HTTPMatchRequest{Gateways: []string{"mesh"}}, "match[0].gateways"},
		"SourceLabels":   {istiov1beta1.HTTPMatchRequest{SourceLabels: map[string]string{"a": "b"}}, "match[0].sourceLabels"},
		"Namespace":      {istiov1beta1.HTTPMatchRequest{SourceNamespace: "a"}, "match[0].sourceNamespace"},
		"WithoutHeaders": {istiov1beta1.HTTPMatchRequest{WithoutHeaders: map[string]stringMatch{"a": {Exact: "b"}}}, "match[0].withoutHeaders"},
		"Method":         {istiov1beta1.HTTPMatchRequest{Method: &stringMatch{Prefix: "P"}}, "match[0].method"},
		"Host":           {onHeaders(map[string]stringMatch{"Host": {Exact: "b"}}), "match[0].headers[Host]"},
		"TwoOf":          {onHeaders(map[string]stringMatch{"a": {Exact: "b", Prefix: "c"}}), "exactly one"},
		"Regex":          {onHeaders(map[string]stringMatch{"a": {Regex: "(?!x)"}}), `(?!x)`},
		"RegexUnbalance": {onHeaders(map[string]stringMatch{"a": {Regex: "a)|(b"}}), `a)|(b`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kube := fake.NewClientset(newIngress())
			canary := newCanary(abTest(tc.match))
			s := newSkipper(t, kube, router.SkipperOptions{})
			for _, err := range []error{s.Reconcile(canary), s.SetRoutes(canary, 0, 100, false)} {
				if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), "canary shop/app: spec.analysis.match[0]") {
					t.Errorf("error %v, want one that names %s", err, tc.want)
				}
			}
			wantNames(t, kube, "web")
		})
	}
}

func TestSkipperRefusesCombinationsThatCannotBeRight(t *testing.T) {
	t.Parallel()
	match := []istiov1beta1.HTTPMatchRequest{onHeaders(map[string]stringMatch{"a": {Exact: "b"}})}
	cookie := &flaggerv1.SessionAffinity{CookieName: "c"}
	for name, tc := range map[string]struct {
		analysis func(*flaggerv1.CanaryAnalysis)
		want     string
	}{
		"MatchAndMirror":   {func(a *flaggerv1.CanaryAnalysis) { a.Match, a.Mirror = match, true }, "match and mirror"},
		"MatchAndAffinity": {func(a *flaggerv1.CanaryAnalysis) { a.Match, a.SessionAffinity = match, cookie }, "match and sessionAffinity"},
		"MirrorWeight":     {func(a *flaggerv1.CanaryAnalysis) { a.MirrorWeight = 101 }, "mirrorWeight is 101"},
		"NoCookieName":     {func(a *flaggerv1.CanaryAnalysis) { a.SessionAffinity = &flaggerv1.SessionAffinity{} }, "sessionAffinity.cookieName"},
		"CookieName":       {func(a *flaggerv1.CanaryAnalysis) { a.SessionAffinity = &flaggerv1.SessionAffinity{CookieName: "a;b"} }, `cookieName "a;b"`},
		"SameNames": {func(a *flaggerv1.CanaryAnalysis) {
			a.SessionAffinity = &flaggerv1.SessionAffinity{CookieName: "a", PrimaryCookieName: "a"}
		}, `primaryCookieName is "a"`},
		"Domain": {func(a *flaggerv1.CanaryAnalysis) {
			a.SessionAffinity = &flaggerv1.SessionAffinity{CookieName: "a", Domain: "x; Secure"}
		}, `domain "x; Secure"`},
		"Template": {func(a *flaggerv1.CanaryAnalysis) {
			a.SessionAffinity = &flaggerv1.SessionAffinity{CookieName: "a", Path: "/${request.header.X}"}
		}, `path "/${request.header.X}"`},
		"MaxAge": {func(a *flaggerv1.CanaryAnalysis) {
			a.SessionAffinity = &flaggerv1.SessionAffinity{CookieName: "a", MaxAge: -1}
		}, "maxAge is -1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kube := fake.NewClientset(newIngress())
			err := newSkipper(t, kube, router.SkipperOptions{}).Reconcile(newCanary(withAnalysis(tc.analysis)))
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), "canary shop/app: spec.analysis") {
				t.Errorf("Reconcile: %v, want an error that names %s", err, tc.want)
			}
			wantNames(t, kube, "web")
		})
	}
}

func TestSkipperSessionAffinity(t *testing.T) {
	t.Parallel()
	kube := fake.NewClientset(newIngress(annotated(filterKey, "ratelimit(9)")))
	canary := newCanary(withAnalysis(func(a *flaggerv1.CanaryAnalysis) {
		a.SessionAffinity = &flaggerv1.SessionAffinity{
			CookieName: "flagger", Domain: "example.com", HttpOnly: true, MaxAge: 3600, Partitioned: true, Path: "/app",
			SameSite: "Strict", Secure: true, PrimaryCookieName: "flagger-primary",
		}
	}))
	canary.Status.LastAppliedSpec = "7f6d"
	s := reconciled(t, kube, canary)
	wantNames(t, kube, "web", "web-canary", "web-canary--sticky")
	mustSet(t, s, canary, 75, 25, false)
	wantNames(t, kube, "web", "web-canary", "web-canary--remainder", "web-canary--sticky", "web-canary--sticky-primary", "web-canary--weighted")
	if got := mustGet(t, s, canary); got != (weights{Primary: 75, Canary: 25}) {
		t.Errorf("GetRoutes: %+v", got)
	}

	const attributes = `Domain=example.com; HttpOnly; Partitioned; Path=/app; SameSite=Strict; Secure`
	value := cookieValue(t, getIngress(t, kube, "web-canary--weighted"))
	set := `appendResponseHeader("Set-Cookie", "flagger=` + value + `; Max-Age=3600; ` + attributes + `") -> ratelimit(9)`
	for name, want := range map[string]struct{ predicate, filters, service string }{
		"web-canary--sticky":         {`Weight(4) && Cookie("flagger", "^` + value + `$")`, set, "app-canary"},
		"web-canary--sticky-primary": {`Weight(3) && Cookie("flagger-primary", "^` + value + `$")`, "ratelimit(9)", "app-primary"},
		"web-canary--weighted":       {`Weight(2) && Traffic(0.25)`, set, "app-canary"},
		"web-canary--remainder": {
			`Weight(1)`,
			`appendResponseHeader("Set-Cookie", "flagger-primary=` + value + `; Max-Age=10; ` + attributes + `") -> ratelimit(9)`, "app-primary",
		},
	} {
		got := getIngress(t, kube, name)
		wantAnnotation(t, got, predicateKey, want.predicate)
		wantAnnotation(t, got, filterKey, want.filters)
		if diff := cmp.Diff([]networkingv1.IngressRule{newRule("www.example.com", newPath("/", networkingv1.PathTypePrefix, want.service))}, got.Spec.Rules); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
	}
	wantAnnotation(t, getIngress(t, kube, "web-canary"), predicateKey, "False()")
	requests(kube)
	mustSet(t, s, canary, 75, 25, false)
	mustReconcile(t, s, canary)
	if got := requests(kube); got["create"]+got["update"]+got["delete"] != 0 {
		t.Errorf("requests: %v, want no write when nothing changes", got)
	}

	mustSet(t, s, canary, 100, 0, false)
	wantNames(t, kube, "web", "web-canary", "web-canary--sticky")
	forget := getIngress(t, kube, "web-canary--sticky")
	wantAnnotation(t, forget, predicateKey, `Weight(4) && Cookie("flagger", ".*")`)
	wantAnnotation(t, forget, filterKey, `appendResponseHeader("Set-Cookie", "flagger=; Max-Age=0; `+attributes+`") -> ratelimit(9)`)
	if got := forget.Spec.Rules[0].HTTP.Paths[0].Backend.Service.Name; got != "app-primary" {
		t.Errorf("users with a cookie of an ended canary go to %s", got)
	}

	// Another revision has other cookies, or users of this one would all be its first.
	canary.Status.LastAppliedSpec = "59c2"
	mustSet(t, s, canary, 75, 25, false)
	if next := cookieValue(t, getIngress(t, kube, "web-canary--weighted")); next == value {
		t.Errorf("the next revision has the same cookie %q", next)
	}
}

func cookieValue(t *testing.T, ingress *networkingv1.Ingress) string {
	t.Helper()
	_, after, _ := strings.Cut(ingress.Annotations[filterKey], `"flagger=`)
	value, _, ok := strings.Cut(after, ";")
	if !ok || value == "" {
		t.Fatalf("no cookie in %q", ingress.Annotations[filterKey])
	}
	return value
}

func TestSkipperSessionAffinityWithDefaults(t *testing.T) {
	t.Parallel()
	kube := fake.NewClientset(newIngress())
	canary := newCanary(withAnalysis(func(a *flaggerv1.CanaryAnalysis) {
		a.SessionAffinity = &flaggerv1.SessionAffinity{CookieName: "flagger"}
	}))
	s := reconciled(t, kube, canary)
	mustSet(t, s, canary, 0, 100, false)
	wantNames(t, kube, "web", "web-canary", "web-canary--sticky", "web-canary--weighted")
	weighted := getIngress(t, kube, "web-canary--weighted")
	wantAnnotation(t, weighted, predicateKey, "Weight(2) && Traffic(1)")
	if got := weighted.Annotations[filterKey]; !strings.HasSuffix(got, `; Max-Age=86400; Path=/")`) {
		t.Errorf("filters %s, want a day and the whole site", got)
	}
}
