package router_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	"github.com/google/go-cmp/cmp"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	ktesting "k8s.io/client-go/testing"

	"github.com/penstock-dev/penstock/internal/vclock"
	"github.com/penstock-dev/penstock/router"
)

const (
	predicateKey = "zalando.org/skipper-predicate"
	filterKey    = "zalando.org/skipper-filter"
	weightsKey   = "zalando.org/backend-weights"
	routesKey    = "zalando.org/skipper-routes"
)

func newSkipper(t *testing.T, kube *fake.Clientset, opts router.SkipperOptions) *router.Skipper {
	t.Helper()
	if opts.Clock == nil {
		opts.Clock = newClock()
	}
	return router.NewSkipper(t.Context(), kube, nil, opts)
}

// reconciled returns a router after its first Reconcile of the Canary.
func reconciled(t *testing.T, kube *fake.Clientset, canary *flaggerv1.Canary) *router.Skipper {
	t.Helper()
	s := newSkipper(t, kube, router.SkipperOptions{})
	mustReconcile(t, s, canary)
	return s
}

func mustReconcile(t *testing.T, s *router.Skipper, canary *flaggerv1.Canary) {
	t.Helper()
	if err := s.Reconcile(canary); err != nil {
		t.Fatalf("Reconcile: %v", err)
	}
}

func mustSet(t *testing.T, s *router.Skipper, canary *flaggerv1.Canary, primary, weight int, mirrored bool) {
	t.Helper()
	if err := s.SetRoutes(canary, primary, weight, mirrored); err != nil {
		t.Fatalf("SetRoutes(%d, %d, %t): %v", primary, weight, mirrored, err)
	}
}

type weights struct {
	Primary, Canary int
	Mirrored        bool
}

func mustGet(t *testing.T, s *router.Skipper, canary *flaggerv1.Canary) weights {
	t.Helper()
	p, c, m, err := s.GetRoutes(canary)
	if err != nil {
		t.Fatalf("GetRoutes: %v", err)
	}
	return weights{p, c, m}
}

func wantAnnotation(t *testing.T, ingress *networkingv1.Ingress, key, want string) {
	t.Helper()
	if got := ingress.Annotations[key]; got != want {
		t.Errorf("ingress %s: annotation %s = %q, want %q", ingress.Name, key, got, want)
	}
}

func wantNames(t *testing.T, kube *fake.Clientset, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, ingressNames(t, kube)); diff != "" {
		t.Errorf("ingresses -want +got:\n%s", diff)
	}
}

// update changes an Ingress as somebody else would.
func update(t *testing.T, kube *fake.Clientset, name string, change func(*networkingv1.Ingress)) {
	t.Helper()
	ingress := getIngress(t, kube, name)
	change(ingress)
	if _, err := kube.NetworkingV1().Ingresses(namespace).Update(t.Context(), ingress, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestSkipperWritesTheSpecThatFlaggersRouterWrites(t *testing.T) {
	t.Parallel()
	class := "skipper"
	apex := newIngress(withRules(
		newRule("www.example.com", newPath("/", networkingv1.PathTypePrefix, "app"), newPath("/other", networkingv1.PathTypePrefix, "other")),
		newRule("api.example.com", newPath("/", networkingv1.PathTypePrefix, "other"), newPath("/v2", networkingv1.PathTypeExact, "app")),
	), func(i *networkingv1.Ingress) {
		i.Spec.IngressClassName = &class
		i.Spec.TLS = []networkingv1.IngressTLS{{Hosts: []string{"www.example.com"}, SecretName: "www-tls"}}
	})
	kube := fake.NewClientset(apex)
	reconciled(t, kube, newCanary())

	want := networkingv1.IngressSpec{
		IngressClassName: &class,
		TLS:              []networkingv1.IngressTLS{{Hosts: []string{"www.example.com"}, SecretName: "www-tls"}},
		Rules: []networkingv1.IngressRule{
			newRule("www.example.com", newPath("/", networkingv1.PathTypePrefix, "app-primary"), newPath("/other", networkingv1.PathTypePrefix, "other"),
				newPath("/", networkingv1.PathTypePrefix, "app-canary")),
			newRule("api.example.com", newPath("/", networkingv1.PathTypePrefix, "other"), newPath("/v2", networkingv1.PathTypeExact, "app-primary"),
				newPath("/v2", networkingv1.PathTypeExact, "app-canary")),
		},
	}
	if diff := cmp.Diff(want, getIngress(t, kube, "web-canary").Spec); diff != "" {
		t.Errorf("Flagger's router resets the weights on any difference of the Spec; -want +got:\n%s", diff)
	}
	if diff := cmp.Diff(apex, getIngress(t, kube, "web")); diff != "" {
		t.Errorf("the apex Ingress is only read; -before +after:\n%s", diff)
	}
}

// What Flagger's own test of its router expects, in our words.
func TestSkipperKeepsFlaggersExpectations(t *testing.T) {
	t.Parallel()
	kube := fake.NewClientset(newIngress())
	canary := newCanary()
	s := reconciled(t, kube, canary)
	wantAnnotation(t, getIngress(t, kube, "web-canary"), weightsKey, `{"app-canary":0,"app-primary":100}`)
	if got := mustGet(t, s, canary); got != (weights{Primary: 100}) {
		t.Errorf("after Reconcile: %+v", got)
	}

	edited := getIngress(t, kube, "web")
	edited.Annotations = map[string]string{"something": "changed"}
	if _, err := kube.NetworkingV1().Ingresses(namespace).Update(t.Context(), edited, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	mustReconcile(t, s, canary)
	generated := getIngress(t, kube, "web-canary")
	wantAnnotation(t, generated, weightsKey, `{"app-canary":0,"app-primary":100}`)
	port := edited.Spec.Rules[0].HTTP.Paths[0].Backend.Service.Port
	var backends []string
	for _, path := range generated.Spec.Rules[0].HTTP.Paths {
		backends = append(backends, path.Backend.Service.Name)
		if path.Backend.Service.Port != port {
			t.Errorf("the backend %s has port %+v, want that of the apex, %+v", path.Backend.Service.Name, path.Backend.Service.Port, port)
		}
	}
	if want := []string{"app-primary", "app-canary"}; !slices.Equal(backends, want) {
		t.Errorf("backends %v, want %v", backends, want)
	}
	for _, w := range []int{0, 10, 20, 30, 85, 100} {
		mustSet(t, s, canary, 100-w, w, false)
		var read map[string]int // as Flagger's router reads it
		if err := json.Unmarshal([]byte(getIngress(t, kube, "web-canary").Annotations[weightsKey]), &read); err != nil {
			t.Fatalf("Flagger's router cannot read the weights at %d: %v", w, err)
		}
		if diff := cmp.Diff(map[string]int{"app-primary": 100 - w, "app-canary": w}, read); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		if got := mustGet(t, s, canary); got != (weights{Primary: 100 - w, Canary: w}) {
			t.Errorf("GetRoutes after SetRoutes(%d, %d): %+v", 100-w, w, got)
		}
	}
	mustSet(t, s, canary, 100, 0, false)
	wantAnnotation(t, getIngress(t, kube, "web-canary"), predicateKey, "False()")
}

func TestSkipperRequestBudgets(t *testing.T) {
	t.Parallel()
	canary := newCanary()
	for name, tc := range map[string]struct {
		reason string
		do     func(*testing.T, *router.Skipper)
		want   map[string]int
	}{
		"IdleReconcile": {
			reason: "It runs on every tick of every Canary.",
			do:     func(t *testing.T, s *router.Skipper) { t.Helper(); mustReconcile(t, s, canary) },
			want:   map[string]int{"get": 2},
		},
		"GetRoutes": {
			reason: "The canary Ingress answers alone.",
			do:     func(t *testing.T, s *router.Skipper) { t.Helper(); mustGet(t, s, canary) },
			want:   map[string]int{"get": 1},
		},
		"SetRoutes": {
			reason: "One step is one write.",
			do:     func(t *testing.T, s *router.Skipper) { t.Helper(); mustSet(t, s, canary, 60, 40, false) },
			want:   map[string]int{"get": 1, "update": 1},
		},
		"RepeatedSetRoutes": {
			reason: "A repeated step writes nothing.",
			do:     func(t *testing.T, s *router.Skipper) { t.Helper(); mustSet(t, s, canary, 70, 30, false) },
			want:   map[string]int{"get": 1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kube := fake.NewClientset(newIngress())
			s := reconciled(t, kube, canary)
			mustSet(t, s, canary, 70, 30, false)
			requests(kube)
			tc.do(t, s)
			if diff := cmp.Diff(tc.want, requests(kube)); diff != "" {
				t.Errorf("%s\nrequests -want +got:\n%s", tc.reason, diff)
			}
		})
	}
}

func TestSkipperTakesOverFromFlaggersRouterInMidCanary(t *testing.T) {
	t.Parallel()
	apex := newIngress(annotated(predicateKey, `Method("GET")`, "cert-manager.io/cluster-issuer", "letsencrypt", "zalando.org/ratelimit", "ratelimit(9, \"1s\")"))
	apex.Labels = map[string]string{"team": "shop", "argocd.argoproj.io/instance": "shop"}
	apex.OwnerReferences = []metav1.OwnerReference{{APIVersion: "example.com/v1", Kind: "Stack", Name: "shop", UID: "uid-of-stack", Controller: new(true)}}
	flaggers := apex.DeepCopy() // as that router clones it
	flaggers.Name, flaggers.UID = "web-canary", "uid-of-web-canary"
	flaggers.Spec.Rules = []networkingv1.IngressRule{newRule("www.example.com",
		newPath("/", networkingv1.PathTypePrefix, "app-primary"), newPath("/", networkingv1.PathTypePrefix, "app-canary"))}
	flaggers.Annotations[predicateKey] = `Weight(100) && Method("GET")`
	flaggers.Annotations[weightsKey] = `{"app-canary":40,"app-primary":60}`

	kube := fake.NewClientset(apex, flaggers)
	canary := newCanary(inPhase(flaggerv1.CanaryPhaseProgressing, 40))
	s := reconciled(t, kube, canary)

	got := getIngress(t, kube, "web-canary")
	if diff := cmp.Diff(map[string]string{
		"external-dns.alpha.kubernetes.io/controller": "penstock",
		"penstock.dev/apex-annotations":               `{"zalando.org/skipper-predicate":"Method(\"GET\")"}`,
		"zalando.org/ratelimit":                       "ratelimit(9, \"1s\")",
		predicateKey:                                  `Weight(1) && Method("GET")`,
		weightsKey:                                    `{"app-canary":40,"app-primary":60}`,
	}, got.Annotations); diff != "" {
		t.Errorf("the weights stay, what was copied for other controllers goes; annotations -want +got:\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"team": "shop", "penstock.dev/canary": "app"}, got.Labels); diff != "" {
		t.Errorf("labels -want +got:\n%s", diff)
	}
	if len(got.OwnerReferences) != 0 {
		t.Errorf("the apex Ingress' owner must not collect the copy: %v", got.OwnerReferences)
	}
	if w := mustGet(t, s, canary); w != (weights{Primary: 60, Canary: 40}) {
		t.Errorf("GetRoutes: %+v", w)
	}
}

func TestSkipperSetsRoutesOnFlaggersIngressBeforeReconcileSawIt(t *testing.T) {
	t.Parallel()
	flaggers := newIngress(annotated(weightsKey, `{"app-canary":40,"app-primary":60}`, predicateKey, "Weight(100)"), withRules(newRule("www.example.com",
		newPath("/", networkingv1.PathTypePrefix, "app-primary"), newPath("/", networkingv1.PathTypePrefix, "app-canary"))))
	flaggers.Name = "web-canary"
	kube := fake.NewClientset(newIngress(), flaggers)
	canary := newCanary(inPhase(flaggerv1.CanaryPhaseProgressing, 40))
	s := newSkipper(t, kube, router.SkipperOptions{})
	mustSet(t, s, canary, 50, 50, false)
	wantAnnotation(t, getIngress(t, kube, "web-canary"), weightsKey, `{"app-canary":50,"app-primary":50}`)
}

func TestSkipperSettles(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		reason string
		before [2]int
		asked  [2]int
		want   time.Duration
	}{
		"Promotion":  {"The canary is scaled down next.", [2]int{50, 50}, [2]int{100, 0}, 6 * time.Second},
		"AllCanary":  {"The primary is replaced next.", [2]int{50, 50}, [2]int{0, 100}, 6 * time.Second},
		"Step":       {"Nothing is scaled down after a step.", [2]int{90, 10}, [2]int{80, 20}, 0},
		"Idle":       {"Nothing changes, and it settled long ago.", [2]int{100, 0}, [2]int{100, 0}, 0},
		"StillThere": {"Every iteration of an A/B test repeats it.", [2]int{0, 100}, [2]int{0, 100}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clk := newClock()
			s := newSkipper(t, fake.NewClientset(newIngress()), router.SkipperOptions{Clock: clk})
			canary := newCanary()
			mustReconcile(t, s, canary)
			mustSet(t, s, canary, tc.before[0], tc.before[1], false)
			clk.Advance(time.Minute)
			start := clk.Now()
			mustSet(t, s, canary, tc.asked[0], tc.asked[1], false)
			if got := clk.Since(start); got != tc.want {
				t.Errorf("%s\nSetRoutes(%d, %d) took %s, want %s", tc.reason, tc.asked[0], tc.asked[1], got, tc.want)
			}
		})
	}
}

// crash is a clock on which waiting never ends, as for a process that is killed while it waits.
type crash struct{ *vclock.Clock }

func (c crash) After(time.Duration) <-chan time.Time { return nil }

func TestSkipperSettlesTheRestAfterAProcessDiedWhileWaiting(t *testing.T) {
	t.Parallel()
	kube := fake.NewClientset(newIngress())
	canary := newCanary()
	mustSet(t, reconciled(t, kube, canary), canary, 50, 50, false)

	clk := newClock()
	ctx, cancel := context.WithCancel(t.Context())
	dying := router.NewSkipper(ctx, kube, nil, router.SkipperOptions{Clock: crash{clk}})
	kube.PrependReactor("update", "ingresses", func(ktesting.Action) (bool, runtime.Object, error) {
		defer time.AfterFunc(0, cancel) // ends the wait that follows this write
		return false, nil, nil
	})
	if err := dying.SetRoutes(canary, 100, 0, false); !errors.Is(err, context.Canceled) {
		t.Fatalf("SetRoutes of the dying process: %v, want %v", err, context.Canceled)
	}

	clk.Advance(2 * time.Second)
	start := clk.Now()
	next := newSkipper(t, kube, router.SkipperOptions{Clock: clk})
	requests(kube)
	mustSet(t, next, canary, 100, 0, false)
	if got, want := clk.Since(start), 4*time.Second; got != want {
		t.Errorf("the next process waited %s, want the rest of 6s: %s", got, want)
	}
	if diff := cmp.Diff(map[string]int{"get": 1}, requests(kube)); diff != "" {
		t.Errorf("waiting costs no write; -want +got:\n%s", diff)
	}
	start = clk.Now()
	mustSet(t, next, canary, 100, 0, false)
	if got := clk.Since(start); got != 0 {
		t.Errorf("a third call waited %s again", got)
	}
}

func TestSkipperSetRoutesRetriesOnConflictWithFreshRead(t *testing.T) {
	t.Parallel()
	kube := fake.NewClientset(newIngress())
	canary := newCanary()
	s := reconciled(t, kube, canary)
	conflicts := 0
	kube.PrependReactor("update", "ingresses", func(ktesting.Action) (bool, runtime.Object, error) {
		if conflicts++; conflicts > 2 {
			return false, nil, nil
		}
		return true, nil, apierrors.NewConflict(schema.GroupResource{Resource: "ingresses"}, "web-canary", errors.New("changed"))
	})
	requests(kube)
	mustSet(t, s, canary, 90, 10, false)
	if diff := cmp.Diff(map[string]int{"get": 3, "update": 3}, requests(kube)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestSkipperReportsErrorsOfTheAPI(t *testing.T) {
	t.Parallel()
	boom := errors.New("etcd is on fire")
	canary := newCanary(inPhase(flaggerv1.CanaryPhaseProgressing, 10))
	for name, tc := range map[string]struct {
		verb string
		do   func(*router.Skipper) error
	}{
		"Reconcile": {"get", func(s *router.Skipper) error { return s.Reconcile(canary) }},
		"GetRoutes": {"get", func(s *router.Skipper) error { _, _, _, err := s.GetRoutes(canary); return err }},
		"SetRoutes": {"update", func(s *router.Skipper) error { return s.SetRoutes(canary, 40, 60, false) }},
		"Finalize":  {"delete", func(s *router.Skipper) error { return s.Finalize(canary) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kube := fake.NewClientset(newIngress())
			s := reconciled(t, kube, canary)
			kube.PrependReactor(tc.verb, "ingresses", func(ktesting.Action) (bool, runtime.Object, error) { return true, nil, boom })
			if err := tc.do(s); !errors.Is(err, boom) || !strings.Contains(err.Error(), "ingress shop/web") {
				t.Errorf("%s: %v, want the cause and the object", name, err)
			}
		})
	}
}

func TestSkipperDoesNothingForACanaryThatIsBeingDeleted(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*flaggerv1.Canary){
		"Timestamp":   func(c *flaggerv1.Canary) { c.DeletionTimestamp = &metav1.Time{Time: epoch} },
		"Terminating": inPhase(flaggerv1.CanaryPhaseTerminating, 0),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kube := fake.NewClientset(newIngress())
			reconciled(t, kube, newCanary(change))
			if got := requests(kube); len(got) != 0 {
				t.Errorf("requests: %v; Reconcile would make again what Finalize removed", got)
			}
		})
	}
}

func TestSkipperForgetsTheWeightsOfAnEarlierCanary(t *testing.T) {
	t.Parallel()
	kube := fake.NewClientset(newIngress())
	mustSet(t, reconciled(t, kube, newCanary()), newCanary(), 30, 70, false)
	born := func(at time.Time) func(*flaggerv1.Canary) {
		return func(c *flaggerv1.Canary) { c.CreationTimestamp = metav1.NewTime(at) }
	}
	for _, tc := range []struct {
		reason string
		canary *flaggerv1.Canary
		want   weights
	}{
		{"It is as old as the weights.", newCanary(born(epoch)), weights{Primary: 30, Canary: 70}},
		{"It is younger, but traffic depends on it.", newCanary(born(epoch.Add(time.Hour)), inPhase(flaggerv1.CanaryPhaseProgressing, 70)), weights{Primary: 30, Canary: 70}},
		{"Flagger has scaled down what the weights lead to.", newCanary(born(epoch.Add(time.Hour))), weights{Primary: 100}},
	} {
		s := newSkipper(t, kube, router.SkipperOptions{})
		mustReconcile(t, s, tc.canary)
		if got := mustGet(t, s, tc.canary); got != tc.want {
			t.Errorf("%s\nGetRoutes says %+v, want %+v", tc.reason, got, tc.want)
		}
	}
}

func TestSkipperSetOwnerRefs(t *testing.T) {
	t.Parallel()
	kube := fake.NewClientset(newIngress())
	canary := newCanary()
	reconciled(t, kube, canary) // without
	s := newSkipper(t, kube, router.SkipperOptions{SetOwnerRefs: true})
	mustReconcile(t, s, canary)
	if !metav1.IsControlledBy(getIngress(t, kube, "web-canary"), canary) {
		t.Error("the canary Ingress is not controlled by the Canary")
	}
	requests(kube)
	mustReconcile(t, s, canary)
	if diff := cmp.Diff(map[string]int{"get": 2}, requests(kube)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestSkipperSyncKeys(t *testing.T) {
	t.Parallel()
	apex := newIngress(annotated("example.com/zone", "a", "other.example/x", "b"))
	apex.Labels = map[string]string{"skipper.example/group": "blue"}
	kube := fake.NewClientset(apex)
	s := newSkipper(t, kube, router.SkipperOptions{SyncKeys: []string{"example.com/zone", "skipper.example/"}})
	mustReconcile(t, s, newCanary())
	got := getIngress(t, kube, "web-canary")
	wantAnnotation(t, got, "example.com/zone", "a")
	wantAnnotation(t, got, "other.example/x", "")
	if got.Labels["skipper.example/group"] != "blue" {
		t.Errorf("labels: %v", got.Labels)
	}
}

// Bad input: one clear error that names object, field, value and remedy, and nothing written.
func TestSkipperRefusesBeforeInitialized(t *testing.T) {
	t.Parallel()
	exact, prefix := networkingv1.PathTypeExact, networkingv1.PathTypePrefix
	for name, tc := range map[string]struct {
		reason string
		apex   *networkingv1.Ingress
		canary *flaggerv1.Canary
		others []runtime.Object
		want   []string
	}{
		"NoIngressRef": {
			reason: "There is nothing to split.",
			canary: newCanary(func(c *flaggerv1.Canary) { c.Spec.IngressRef = nil }),
			want:   []string{"canary shop/app", "spec.ingressRef.name"},
		},
		"NoIngress": {
			reason: "The Ingress is the user's to make.",
			canary: newCanary(func(c *flaggerv1.Canary) { c.Spec.IngressRef.Name = "nope" }),
			want:   []string{"spec.ingressRef", "shop/nope", "not found"},
		},
		"NoRule": {
			reason: "D01: no rule has the apex Service.",
			apex:   newIngress(withRules(newRule("www.example.com", newPath("/", prefix, "other")))),
			want:   []string{"ingress shop/web", `"app"`, "spec.rules"},
		},
		"DefaultBackend": {
			reason: "D03: Skipper weighs no default backend.",
			apex: newIngress(func(i *networkingv1.Ingress) {
				i.Spec.DefaultBackend = &networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: "app"}}
			}),
			want: []string{"ingress shop/web", "spec.defaultBackend", `"app"`, "write a rule"},
		},
		"ExactAndPrefix": {
			reason: "D08: both give one route id.",
			apex:   newIngress(withRules(newRule("www.example.com", newPath("/a", exact, "app"), newPath("/a", prefix, "app")))),
			want:   []string{"spec.rules[0].http.paths[0]", "spec.rules[0].http.paths[1]", `"/a"`, "one route id"},
		},
		"SamePathOtherType": {
			reason: "D08: Skipper groups backends by path, whatever the type.",
			apex:   newIngress(withRules(newRule("www.example.com", newPath("/a", exact, "app"), newPath("/a", prefix, "other")))),
			want:   []string{"spec.rules[0].http.paths[0]", "spec.rules[0].http.paths[1]", "different types"},
		},
		"RouteID": {
			reason: "Skipper makes one id of a-b and a.b.",
			apex:   newIngress(withRules(newRule("a-b.example.com", newPath("/", prefix, "app")), newRule("a.b.example.com", newPath("/", prefix, "app")))),
			want:   []string{"a-b.example.com", "a.b.example.com", "one route id"},
		},
		"WeightsNoObject": {
			reason: "Skipper splits equally on what it cannot read.",
			apex:   newIngress(annotated(weightsKey, `[80,20]`)),
			want:   []string{"ingress shop/web", weightsKey, "[80,20]", "JSON object"},
		},
		"WeightString": {
			reason: "Skipper counts a string as 0.",
			apex:   newIngress(annotated(weightsKey, `{"app":"80"}`)),
			want:   []string{weightsKey, `"app"`, `"80"`},
		},
		"WeightNegative": {
			reason: "Skipper answers 404 to everyone with one of its algorithms.",
			apex:   newIngress(annotated(weightsKey, `{"app":-1}`)),
			want:   []string{weightsKey, "-1"},
		},
		"WeightOfAppMissing": {
			reason: "A share of nothing cannot be split.",
			apex: newIngress(annotated(weightsKey, `{"other":20}`),
				withRules(newRule("www.example.com", newPath("/", prefix, "app"), newPath("/", prefix, "other")))),
			want: []string{weightsKey, `"app"`, "give it one"},
		},
		"Predicate": {
			reason: "Skipper ignores the whole annotation.",
			apex:   newIngress(annotated(predicateKey, `Path("/a`)),
			want:   []string{"ingress shop/web", predicateKey, "closing"},
		},
		"Filter": {
			reason: "Skipper ignores the whole annotation.",
			apex:   newIngress(annotated(filterKey, `status(200) ->`)),
			want:   []string{"ingress shop/web", filterKey},
		},
		"Routes": {
			reason: "They have to be raised above the canary Ingress.",
			apex:   newIngress(annotated(routesKey, `a: True()`)),
			want:   []string{"ingress shop/web", routesKey},
		},
		"Foreign": {
			reason: "An Ingress of somebody else is never adopted.",
			others: []runtime.Object{newIngress(func(i *networkingv1.Ingress) { i.Name = "web-canary" })},
			want:   []string{"ingress shop/web-canary", `canary "app"`, "rename or delete"},
		},
		"ForeignController": {
			reason: "An Ingress that another object controls is never adopted.",
			others: []runtime.Object{newIngress(annotated(weightsKey, `{"app-canary":0,"app-primary":100}`), func(i *networkingv1.Ingress) {
				i.Name = "web-canary"
				i.OwnerReferences = []metav1.OwnerReference{{Kind: "Stack", Name: "shop", UID: "uid-of-stack", Controller: new(true)}}
			})},
			want: []string{"ingress shop/web-canary", `Stack "shop"`},
		},
		"SecondCanary": {
			reason: "D16: the first one keeps the Ingress.",
			others: []runtime.Object{newIngress(func(i *networkingv1.Ingress) {
				i.Name, i.Labels = "web-canary", map[string]string{"penstock.dev/canary": "first"}
			})},
			want: []string{"ingress shop/web-canary", `"first"`, `"app"`},
		},
		"Sibling": {
			reason: "D09: its requests would go to the canary Ingress.",
			others: []runtime.Object{newIngress(annotated(predicateKey, `Header("X-Beta", "1")`), func(i *networkingv1.Ingress) { i.Name = "beta" })},
			want:   []string{"ingress shop/beta", predicateKey, "www.example.com", "Weight(2)"},
		},
		"SiblingTie": {
			reason: "D09: as many predicates as the highest route of the canary Ingress, so Skipper's order is left to chance.",
			others: []runtime.Object{newIngress(annotated(predicateKey, `Header("X-Beta", "1") && Method("GET")`), func(i *networkingv1.Ingress) { i.Name = "beta" })},
			want:   []string{"ingress shop/beta", "Weight(1)"},
		},
		"SiblingRoutes": {
			reason: "D09: routes in an annotation have predicates too.",
			others: []runtime.Object{newIngress(annotated(routesKey, `a: Method("OPTIONS") -> <shunt>`), func(i *networkingv1.Ingress) { i.Name = "beta" })},
			want:   []string{"ingress shop/beta", routesKey, "Weight(2)"},
		},
		"MirrorAndThirdBackend": {
			reason: "Only app's requests may be mirrored.",
			canary: newCanary(withAnalysis(func(a *flaggerv1.CanaryAnalysis) { a.Mirror = true })),
			apex: newIngress(annotated(weightsKey, `{"app":80,"other":20}`),
				withRules(newRule("www.example.com", newPath("/", prefix, "app"), newPath("/", prefix, "other")))),
			want: []string{"ingress shop/web", "mirroring", `"app"`, "path of its own"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tc.apex == nil {
				tc.apex = newIngress()
			}
			if tc.canary == nil {
				tc.canary = newCanary()
			}
			kube := fake.NewClientset(append(tc.others, tc.apex)...)
			s := newSkipper(t, kube, router.SkipperOptions{})
			err := s.Reconcile(tc.canary)
			if err == nil {
				t.Fatalf("%s\nReconcile accepted it", tc.reason)
			}
			for _, part := range tc.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%s\nReconcile: %v\ndoes not name %q", tc.reason, err, part)
				}
			}
			for _, verb := range []string{"create", "update", "delete"} {
				if n := requests(kube)[verb]; n != 0 {
					t.Errorf("%d times %s: nothing may be half-written", n, verb)
				}
			}
		})
	}
}

func TestSkipperWarnsOnceInitializedAndKeepsWhatThereIs(t *testing.T) {
	t.Parallel()
	kube := fake.NewClientset(newIngress())
	canary := newCanary()
	mustSet(t, reconciled(t, kube, canary), canary, 80, 20, false)
	update(t, kube, "web", withRules(newRule("www.example.com", newPath("/", networkingv1.PathTypePrefix, "other"))))
	before := getIngress(t, kube, "web-canary")

	canary = newCanary(inPhase(flaggerv1.CanaryPhaseProgressing, 20))
	var warnings []string
	s := newSkipper(t, kube, router.SkipperOptions{Warn: func(_ *flaggerv1.Canary, reason, message string) {
		warnings = append(warnings, reason+": "+message)
	}})
	if err := s.Reconcile(canary); err != nil {
		t.Fatalf("Reconcile: %v; an error would keep Flagger from rolling back", err)
	}
	if len(warnings) != 1 || !strings.HasPrefix(warnings[0], "SkipperMisconfigured: ingress shop/web: no rule") {
		t.Errorf("warnings: %q", warnings)
	}
	if diff := cmp.Diff(before, getIngress(t, kube, "web-canary")); diff != "" {
		t.Errorf("-before +after:\n%s", diff)
	}
	mustSet(t, s, canary, 100, 0, false)
	wantAnnotation(t, getIngress(t, kube, "web-canary"), predicateKey, "False()")
}

func TestSkipperRollsBackHoweverWrongTheConfiguration(t *testing.T) {
	t.Parallel()
	broken := withAnalysis(func(a *flaggerv1.CanaryAnalysis) {
		a.MirrorWeight = 900
		a.SessionAffinity = &flaggerv1.SessionAffinity{}
	})
	for name, spoil := range map[string]func(*networkingv1.Ingress){
		"Snapshot":   annotated("penstock.dev/apex-annotations", "{"),
		"Predicate":  annotated("penstock.dev/apex-annotations", `{"zalando.org/skipper-predicate":"Path("}`),
		"Weights":    annotated(weightsKey, "nonsense"),
		"NoSnapshot": annotated("penstock.dev/apex-annotations", ""),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kube := fake.NewClientset(newIngress())
			mustSet(t, reconciled(t, kube, newCanary()), newCanary(), 50, 50, false)
			update(t, kube, "web-canary", spoil)
			update(t, kube, "web", annotated(predicateKey, "Path("))
			canary := newCanary(inPhase(flaggerv1.CanaryPhaseProgressing, 50), broken)
			s := newSkipper(t, kube, router.SkipperOptions{})
			mustSet(t, s, canary, 100, 0, false)
			wantAnnotation(t, getIngress(t, kube, "web-canary"), predicateKey, "False()")
			if got := mustGet(t, s, canary); got != (weights{Primary: 100}) {
				t.Errorf("GetRoutes: %+v", got)
			}
		})
	}
}

// Flagger asks GetRoutes on each tick before it can roll back.
func TestSkipperRollsBackAServiceThatIsRenamedInMidCanary(t *testing.T) {
	t.Parallel()
	kube := fake.NewClientset(newIngress())
	mustSet(t, reconciled(t, kube, newCanary()), newCanary(), 70, 30, false)
	canary := newCanary(inPhase(flaggerv1.CanaryPhaseProgressing, 30), func(c *flaggerv1.Canary) { c.Spec.Service.Name = "shop" }) // and the Ingress still names app
	before := getIngress(t, kube, "web-canary")
	var warnings []string
	s := newSkipper(t, kube, router.SkipperOptions{Warn: func(_ *flaggerv1.Canary, reason, _ string) { warnings = append(warnings, reason) }})
	mustReconcile(t, s, canary)
	if got := mustGet(t, s, canary); got != (weights{Primary: 70, Canary: 30}) {
		t.Errorf("GetRoutes: %+v, want what the Canary's status says", got)
	}
	if !slices.Contains(warnings, "SkipperMisconfigured") || !slices.Contains(warnings, "SkipperWeightsLost") {
		t.Errorf("warnings: %q", warnings)
	}
	if err := s.SetRoutes(canary, 60, 40, false); err == nil {
		t.Error("a step for Services that the canary Ingress does not name is accepted")
	}
	if diff := cmp.Diff(before, getIngress(t, kube, "web-canary")); diff != "" {
		t.Errorf("-before +after:\n%s", diff)
	}
	mustSet(t, s, canary, 100, 0, false)
	wantAnnotation(t, getIngress(t, kube, "web-canary"), predicateKey, "False()")
	if got := mustGet(t, s, canary); got != (weights{Primary: 100}) {
		t.Errorf("GetRoutes after the rollback: %+v", got)
	}
}

func TestSkipperSetRoutesRefusesWhatIsNoPairOfPercentages(t *testing.T) {
	t.Parallel()
	canary := newCanary()
	kube := fake.NewClientset(newIngress())
	s := reconciled(t, kube, canary)
	requests(kube)
	for _, pair := range [][2]int{{50, 49}, {-10, 110}, {101, -1}, {0, 0}} {
		err := s.SetRoutes(canary, pair[0], pair[1], false)
		if err == nil || !strings.Contains(err.Error(), "canary shop/app") || !strings.Contains(err.Error(), "100") {
			t.Errorf("SetRoutes(%d, %d): %v", pair[0], pair[1], err)
		}
	}
	if err := s.SetRoutes(canary, 90, 10, true); err == nil {
		t.Error("SetRoutes(90, 10, mirrored) was accepted")
	}
	if got := requests(kube); len(got) != 0 {
		t.Errorf("requests: %v", got)
	}
}

func TestSkipperFinalize(t *testing.T) {
	t.Parallel()
	foreign := func() *networkingv1.Ingress {
		return newIngress(func(i *networkingv1.Ingress) { i.Name = "web-canary--1" })
	}
	kube := fake.NewClientset(newIngress(), foreign())
	canary := newCanary(withAnalysis(func(a *flaggerv1.CanaryAnalysis) { a.Mirror = true }))
	s := reconciled(t, kube, canary)
	mustSet(t, s, canary, 100, 0, true)
	wantNames(t, kube, "web", "web-canary", "web-canary--1", "web-canary--mirror", "web-canary--shadow")
	for range 2 {
		if err := s.Finalize(canary); err != nil {
			t.Fatalf("Finalize: %v", err)
		}
		wantNames(t, kube, "web", "web-canary--1")
	}
}

func TestSkipperFinalizeDeletesOnlyTheObjectThatItRead(t *testing.T) {
	t.Parallel()
	kube := fake.NewClientset(newIngress())
	canary := newCanary()
	s := reconciled(t, kube, canary)
	update(t, kube, "web-canary", func(i *networkingv1.Ingress) { i.UID = "uid-read" })
	if err := s.Finalize(canary); err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(kube.Actions(), func(a ktesting.Action) bool { return a.GetVerb() == "delete" })
	if i < 0 {
		t.Fatal("nothing deleted")
	}
	options := kube.Actions()[i].(ktesting.DeleteActionImpl).DeleteOptions
	if options.Preconditions == nil || options.Preconditions.UID == nil || *options.Preconditions.UID != "uid-read" {
		t.Errorf("delete options: %+v, want the UID as a precondition", options)
	}
}

func TestSkipperFinalizeLeavesWhatBelongsToOthers(t *testing.T) {
	t.Parallel()
	foreign := newIngress(func(i *networkingv1.Ingress) { i.Name = "web-canary" })
	kube := fake.NewClientset(newIngress(), foreign)
	s := newSkipper(t, kube, router.SkipperOptions{})
	if err := s.Finalize(newCanary()); err != nil {
		t.Errorf("Finalize: %v; an error would leave the Canary hanging in deletion", err)
	}
	if err := s.Finalize(newCanary(func(c *flaggerv1.Canary) { c.Spec.IngressRef = nil })); err != nil {
		t.Errorf("Finalize without ingressRef: %v", err)
	}
	wantNames(t, kube, "web", "web-canary")
}
