package world_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/penstock-dev/penstock/examples/stats"
	"github.com/penstock-dev/penstock/examples/world"
)

func TestMain(m *testing.M) {
	world.QuietSkipper(nil)
	goleak.VerifyTestMain(m)
}

const host = "app.example.com"

// start returns a cluster whose Ingress splits between primary and canary by the annotation of its weights.
func start(t *testing.T, algorithm world.Algorithm, weights string) (*world.Cluster, map[string]*world.Workload) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cluster, err := world.NewCluster(ctx, world.Options{Algorithm: algorithm, Poll: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.Close(); err != nil {
			t.Error(err)
		}
	})
	workloads := map[string]*world.Workload{}
	for _, name := range []string{"app-primary", "app-canary"} {
		w, err := cluster.AddWorkload(ctx, name, "v1")
		if err != nil {
			t.Fatal(err)
		}
		workloads[name] = w
	}
	ingress := world.Ingress("app", host, world.Path("/", "app-primary"), world.Path("/", "app-canary"))
	class := "skipper"
	ingress.Spec.IngressClassName = &class
	ingress.Annotations = map[string]string{"zalando.org/backend-weights": weights}
	if err := cluster.CreateIngress(ctx, ingress); err != nil {
		t.Fatal(err)
	}
	if err := cluster.Settle(ctx); err != nil {
		t.Fatal(err)
	}
	return cluster, workloads
}

func count(t *testing.T, cluster *world.Cluster, n int) map[string]int {
	t.Helper()
	client := world.NewClient(10 * time.Second)
	defer client.Close()
	counts, err := client.Count(n, func() (*http.Request, error) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+cluster.Address()+"/", http.NoBody)
		if err == nil {
			r.Host = host
		}
		return r, err
	})
	if err != nil {
		t.Fatal(err)
	}
	return counts
}

func TestSkipperSplits(t *testing.T) {
	t.Parallel()
	for _, algorithm := range world.Algorithms {
		t.Run(algorithm.String(), func(t *testing.T) {
			t.Parallel()
			cluster, _ := start(t, algorithm, `{"app-primary":90,"app-canary":10}`)
			const n = 3000
			got := count(t, cluster, n)
			if err := (stats.Sample{Hits: got["app-canary"], Trials: n}).Check(0.1); err != nil {
				t.Errorf("the canary's share: %v", err)
			}
			if got["app-primary"]+got["app-canary"] != n {
				t.Errorf("answers %v, want %d from the two workloads", got, n)
			}
		})
	}
}

func TestWorkloadsFailAndStop(t *testing.T) {
	t.Parallel()
	cluster, workloads := start(t, world.Traffic, `{"app-primary":100,"app-canary":0}`)
	primary := workloads["app-primary"]

	primary.SetFaults(4)
	if diff := cmp.Diff(map[string]int{"app-primary": 30, "500": 10}, count(t, cluster, 40)); diff != "" {
		t.Errorf("every fourth request was to fail, -want +got:\n%s", diff)
	}
	primary.SetFaults(0)

	if err := primary.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]int{"502": 10}, count(t, cluster, 10)); diff != "" {
		t.Errorf("a stopped workload answers nobody, -want +got:\n%s", diff)
	}

	if err := primary.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := cluster.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]int{"app-primary": 10}, count(t, cluster, 10)); diff != "" {
		t.Errorf("a workload that started again answers, -want +got:\n%s", diff)
	}
}

func TestSkipperKeepsRoutesWithoutAPI(t *testing.T) {
	t.Parallel()
	cluster, _ := start(t, world.Traffic, `{"app-primary":100,"app-canary":0}`)
	cluster.SetAPIDown(true)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := cluster.Settle(ctx); err == nil {
		t.Error("Settle returned while the API was down")
	}
	if diff := cmp.Diff(map[string]int{"app-primary": 10}, count(t, cluster, 10)); diff != "" {
		t.Errorf("Skipper goes on with the routes it has, -want +got:\n%s", diff)
	}
}

func TestProxyOfAnotherClass(t *testing.T) {
	t.Parallel()
	cluster, _ := start(t, world.Traffic, `{"app-primary":100,"app-canary":0}`)
	address, err := cluster.AddProxy(t.Context(), "next")
	if err != nil {
		t.Fatal(err)
	}
	class := "next"
	ingress := world.Ingress("app-next", host, world.Path("/", "app-canary"))
	ingress.Spec.IngressClassName = &class
	if err := cluster.CreateIngress(t.Context(), ingress); err != nil {
		t.Fatal(err)
	}
	if err := cluster.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	client := world.NewClient(10 * time.Second)
	defer client.Close()
	for at, want := range map[string]string{cluster.Address(): "app-primary", address: "app-canary"} {
		answer, err := client.Get(t.Context(), at, host, "/", nil)
		if err != nil || answer.Workload != want {
			t.Errorf("the proxy at %s answered %+v, %v; want workload %s", at, answer, err, want)
		}
	}
}
