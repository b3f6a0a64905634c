package skipper_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-dev/penstock/examples/stats"
	"github.com/penstock-dev/penstock/examples/world"
)

func TestSplits(t *testing.T) {
	t.Parallel()
	for _, algorithm := range world.Algorithms {
		t.Run(algorithm.String(), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, algorithm, apexIngress())
			r.reconcile(t)
			r.settle(t)
			r.wantRoutes(t, 100, 0, false)
			idle := r.count(t, 60, request{})
			if idle["app"]+idle["app-primary"] != 60 {
				t.Errorf("before the canary requests ended at %v, want apex or primary", idle)
			}
			r.set(t, 90, 10, false)
			r.wantShares(t, "at 90/10", request{}, map[string]float64{"app-primary": 90, "app-canary": 10})
			r.set(t, 50, 50, false)
			r.wantShares(t, "at 50/50", request{}, map[string]float64{"app-primary": 50, "app-canary": 50})
			r.set(t, 0, 100, false)
			r.wantAll(t, "at 0/100", request{}, "app-canary")
			r.set(t, 100, 0, false)
			back := r.count(t, 60, request{})
			if back["app"]+back["app-primary"] != 60 {
				t.Errorf("after the canary requests ended at %v, want apex or primary", back)
			}
		})
	}
}

func TestSessionAffinity(t *testing.T) {
	t.Parallel()
	for _, algorithm := range world.Algorithms {
		t.Run(algorithm.String(), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, algorithm, apexIngress())
			r.canary.Spec.Analysis.SessionAffinity = &flaggerv1.SessionAffinity{CookieName: "flagger", MaxAge: 600, Path: "/", SameSite: "Lax"}
			r.reconcile(t)
			r.set(t, 80, 20, false)
			r.wantRoutes(t, 80, 20, false)
			newcomers := r.count(t, trials, request{})
			if err := share(newcomers["app-canary"], 20); err != nil {
				t.Errorf("the canary's share of new users: %v", err)
			}
			if newcomers["app-canary"]+newcomers["app-primary"]+newcomers["app"] != trials {
				t.Errorf("new users ended at %v, want canary, primary or apex", newcomers)
			}

			var cookie *http.Cookie
			for range 200 {
				answer, err := r.client.Get(t.Context(), r.Address(), host, "/", nil)
				if err != nil {
					t.Fatal(err)
				}
				cookies := (&http.Response{Header: answer.Header}).Cookies()
				if answer.Workload == "app-canary" && len(cookies) == 1 {
					cookie = cookies[0]
					break
				}
			}
			if cookie == nil {
				t.Fatal("no user of the canary got a cookie")
			}
			if cookie.Name != "flagger" || cookie.MaxAge != 600 || cookie.Path != "/" || cookie.SameSite != http.SameSiteLaxMode {
				t.Errorf("the cookie is %v, want name flagger, Max-Age 600, Path / and SameSite Lax", cookie)
			}
			loyal := http.Header{"Cookie": {cookie.Name + "=" + cookie.Value}}
			r.wantAll(t, "users with the canary's cookie", request{header: loyal}, "app-canary")

			r.set(t, 100, 0, false)
			back := r.count(t, 60, request{header: loyal})
			if back["app-canary"] > 0 || back["app"]+back["app-primary"] != 60 {
				t.Errorf("after the canary its users ended at %v, want apex or primary", back)
			}
		})
	}
}

// TestSettlesAtDefaultPoll sends requests all through a promotion and a rollback at Skipper's own poll of 3 s, and stops the backend that
// got weight 0 the moment SetRoutes returns. A router that does not settle fails here.
func TestSettlesAtDefaultPoll(t *testing.T) {
	t.Parallel()
	for _, algorithm := range world.Algorithms {
		t.Run(algorithm.String(), func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			cluster, err := world.NewCluster(ctx, world.Options{Algorithm: algorithm})
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := cluster.Close(); err != nil {
					t.Error(err)
				}
			}()
			workloads := map[string]*world.Workload{}
			for _, name := range []string{"app-primary", "app-canary"} {
				if workloads[name], err = cluster.AddWorkload(ctx, name, "v1"); err != nil {
					t.Fatal(err)
				}
			}
			// As Flagger leaves it: the apex Service selects the primary.
			if err := cluster.AddService(ctx, "app", workloads["app-primary"]); err != nil {
				t.Fatal(err)
			}
			if err := cluster.CreateIngress(ctx, apexIngress()); err != nil {
				t.Fatal(err)
			}
			r := &rig{Cluster: cluster, router: newSettlingRouter(t, cluster), canary: newCanary(), workloads: workloads}
			r.reconcile(t)
			r.settle(t)

			finish := traffic(t, cluster)
			step := func(primary, canary int) {
				t.Helper()
				if err := r.router.SetRoutes(r.canary, primary, canary, false); err != nil {
					t.Fatalf("SetRoutes(%d, %d): %v", primary, canary, err)
				}
				r.canary.Status.CanaryWeight = canary
			}
			stop := func(name string) {
				t.Helper()
				if err := workloads[name].Stop(ctx); err != nil {
					t.Fatal(err)
				}
			}
			step(50, 50)
			r.settle(t)
			step(0, 100) // primary to zero: gone the moment it returns
			stop("app-primary")
			if err := workloads["app-primary"].Start(ctx); err != nil {
				t.Fatal(err)
			}
			r.settle(t) // Skipper knows the new address, as Flagger's readiness check makes sure
			r.canary.Status.Phase = flaggerv1.CanaryPhasePromoting
			step(100, 0) // promotion, or rollback: to Skipper they are the same
			stop("app-canary")
			if err := finish(); err != nil {
				t.Error(err)
			}
		})
	}
}

// traffic sends requests until the returned function is called, which reports the first failure, and what was seen.
func traffic(t *testing.T, cluster *world.Cluster) (finish func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	client := world.NewClient(20 * time.Second)
	go func() {
		sent, seen := 0, map[string]int{}
		var failure error
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				if failure == nil && (sent < 500 || seen["app-primary"] == 0 || seen["app-canary"] == 0) {
					failure = fmt.Errorf("%d requests ended at %v, want many at both", sent, seen)
				}
				done <- failure
				return
			case <-tick.C:
			}
			answer, err := client.Get(context.WithoutCancel(ctx), cluster.Address(), host, "/", nil)
			sent++
			seen[answer.Workload]++
			if err == nil && answer.Status != http.StatusOK {
				err = fmt.Errorf("status %d", answer.Status)
			}
			if err != nil && failure == nil {
				failure = fmt.Errorf("request %d failed: %w", sent, err)
			}
		}
	}()
	return func() error {
		cancel()
		err := <-done
		client.Close()
		return err
	}
}

func (r *rig) apex(t *testing.T) *networkingv1.Ingress {
	t.Helper()
	apex, err := r.Kube.NetworkingV1().Ingresses(world.Namespace).Get(t.Context(), "app", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return apex
}

func (r *rig) update(t *testing.T, ingress *networkingv1.Ingress) {
	t.Helper()
	if _, err := r.Kube.NetworkingV1().Ingresses(world.Namespace).Update(t.Context(), ingress, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func (r *rig) wantNoCanaryIngress(t *testing.T) {
	t.Helper()
	_, err := r.Kube.NetworkingV1().Ingresses(world.Namespace).Get(t.Context(), "app-canary", metav1.GetOptions{})
	if !apierrors.IsNotFound(err) {
		t.Errorf("Ingress app-canary: %v, want it not to be there: nothing may be half-written", err)
	}
}

// mirrored returns how many requests have been mirrored to the canary since it had before of them. Skipper does not wait for the
// answers to mirrored requests, so the last of them may come late.
func (r *rig) mirrored(t *testing.T, before int64, percent float64) int {
	t.Helper()
	deadline := time.NewTimer(10 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	last := int64(-1)
	for quiet := 0; quiet < 10; {
		select {
		case <-deadline.C:
			t.Fatalf("mirrored requests go on and on, %.0f %% were wanted", percent)
		case <-tick.C:
		}
		now := r.workloads["app-canary"].Requests() - before
		if now == last {
			quiet++
		} else {
			quiet = 0
		}
		last = now
	}
	return int(last)
}

func share(hits int, percent float64) error {
	return stats.Sample{Hits: hits, Trials: trials}.Check(percent / 100)
}

func TestErrorsNameTheIngress(t *testing.T) {
	t.Parallel()
	r := newRig(t, world.Traffic, apexIngress())
	r.canary.Status.Phase = flaggerv1.CanaryPhaseInitializing
	r.canary.Spec.IngressRef.Name = "elsewhere"
	if err := r.router.Reconcile(r.canary); err == nil || !strings.Contains(err.Error(), "elsewhere") {
		t.Errorf("Reconcile with an Ingress that is not there: %v, want an error that names it", err)
	}
}
