// Package skipper_test proves with real traffic that router.Skipper writes what the real Skipper needs, under both of its algorithms,
// and that it lives with Flagger's own router. Each defect of that router which traffic shows has a test here.
package skipper_test

import (
	"context"
	"maps"
	"net/http"
	"testing"
	"time"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-dev/penstock/examples/stats"
	"github.com/penstock-dev/penstock/examples/world"
	"github.com/penstock-dev/penstock/router"
)

func TestMain(m *testing.M) {
	world.QuietSkipper(nil)
	goleak.VerifyTestMain(m)
}

const (
	host = "app.example.com"

	weightsAnnotation   = "zalando.org/backend-weights"
	predicateAnnotation = "zalando.org/skipper-predicate"
	filterAnnotation    = "zalando.org/skipper-filter"
	routesAnnotation    = "zalando.org/skipper-routes"
)

// poll is short where settling is not what is tested; the router's settle time is left to [world.Cluster.Settle].
const poll = 30 * time.Millisecond

// rig is a cluster with the workloads of one Canary, the apex among them as one of its own, so that traffic shows which Service
// routed it, and the router under test.
type rig struct {
	*world.Cluster
	router    router.Interface
	canary    *flaggerv1.Canary
	workloads map[string]*world.Workload
	client    *world.Client
}

// newRig starts a cluster with the workloads app, app-primary, app-canary and other, and with the apex Ingress.
func newRig(t *testing.T, algorithm world.Algorithm, apex *networkingv1.Ingress) *rig {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cluster, err := world.NewCluster(ctx, world.Options{Algorithm: algorithm, Poll: poll})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{Cluster: cluster, canary: newCanary(), workloads: map[string]*world.Workload{}, client: world.NewClient(20 * time.Second)}
	t.Cleanup(func() {
		r.client.Close()
		if err := cluster.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, name := range []string{"app", "app-primary", "app-canary", "other"} {
		if r.workloads[name], err = cluster.AddWorkload(ctx, name, "v1"); err != nil {
			t.Fatal(err)
		}
	}
	if err := cluster.CreateIngress(ctx, apex); err != nil {
		t.Fatal(err)
	}
	r.router = newRouter(t, cluster)
	return r
}

// apexIngress returns an apex Ingress that serves the whole host.
func apexIngress() *networkingv1.Ingress { return world.Ingress("app", host, world.Path("/", "app")) }

// annotated returns the Ingress with an annotation.
func annotated(ingress *networkingv1.Ingress, key, value string) *networkingv1.Ingress {
	if ingress.Annotations == nil {
		ingress.Annotations = map[string]string{}
	}
	ingress.Annotations[key] = value
	return ingress
}

func newCanary() *flaggerv1.Canary {
	return &flaggerv1.Canary{
		ObjectMeta: metav1.ObjectMeta{Name: "app", Namespace: world.Namespace, UID: "c0ffee00-0000-4000-8000-000000000001"},
		Spec: flaggerv1.CanarySpec{
			Provider:   "skipper",
			TargetRef:  flaggerv1.LocalObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "app"},
			IngressRef: &flaggerv1.LocalObjectReference{APIVersion: "networking.k8s.io/v1", Kind: "Ingress", Name: "app"},
			Service:    flaggerv1.CanaryService{Port: world.ServicePort},
			Analysis:   &flaggerv1.CanaryAnalysis{Interval: "10s", Threshold: 2, StepWeight: 10, MaxWeight: 50},
		},
		Status: flaggerv1.CanaryStatus{Phase: flaggerv1.CanaryPhaseProgressing},
	}
}

func (r *rig) reconcile(t *testing.T) {
	t.Helper()
	if err := r.router.Reconcile(r.canary); err != nil {
		t.Fatalf("Reconcile: %v", err)
	}
}

// set does what Flagger does on a step, and returns when Skipper routes by it.
func (r *rig) set(t *testing.T, primary, canary int, mirrored bool) {
	t.Helper()
	if err := r.router.SetRoutes(r.canary, primary, canary, mirrored); err != nil {
		t.Fatalf("SetRoutes(%d, %d, %t): %v", primary, canary, mirrored, err)
	}
	r.canary.Status.CanaryWeight = canary
	r.settle(t)
}

func (r *rig) settle(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := r.Settle(ctx); err != nil {
		t.Fatal(err)
	}
}

func (r *rig) wantRoutes(t *testing.T, primary, canary int, mirrored bool) {
	t.Helper()
	p, c, m, err := r.router.GetRoutes(r.canary)
	if err != nil || p != primary || c != canary || m != mirrored {
		t.Errorf("GetRoutes = %d, %d, %t, %v; want %d, %d, %t", p, c, m, err, primary, canary, mirrored)
	}
}

// request is what a user asks for.
type request struct {
	method, path string
	header       http.Header
}

// count sends n requests and counts them by the workload that answered, or by status.
func (r *rig) count(t *testing.T, n int, q request) map[string]int {
	t.Helper()
	counts, err := r.client.Count(n, func() (*http.Request, error) {
		method, path := q.method, q.path
		if method == "" {
			method = http.MethodGet
		}
		if path == "" {
			path = "/"
		}
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+r.Address()+path, http.NoBody)
		if err != nil {
			return nil, err
		}
		req.Host = host
		req.Header = q.header.Clone()
		if req.Header == nil {
			req.Header = http.Header{}
		}
		return req, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return counts
}

// trials is how many requests measure a share: one standard error of 10 % is then 0.5 %.
const trials = 3000

// wantShares sends requests and compares the share of each workload (or status), in per cent, with what is wanted. What is not wanted
// may not occur at all.
func (r *rig) wantShares(t *testing.T, what string, q request, want map[string]float64) {
	t.Helper()
	got := r.count(t, trials, q)
	for name := range maps.Keys(got) {
		if _, ok := want[name]; !ok {
			t.Errorf("%s: %d of %d requests went to %s, none should", what, got[name], trials, name)
		}
	}
	for name, share := range want {
		if err := (stats.Sample{Hits: got[name], Trials: trials}).Check(share / 100); err != nil {
			t.Errorf("%s: the share of %s: %v", what, name, err)
		}
	}
}

// wantAll sends a few requests that all must end in one place.
func (r *rig) wantAll(t *testing.T, what string, q request, want string) {
	t.Helper()
	const n = 60
	if diff := cmp.Diff(map[string]int{want: n}, r.count(t, n, q)); diff != "" {
		t.Errorf("%s, -want +got:\n%s", what, diff)
	}
}
