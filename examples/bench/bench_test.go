// Package bench_test compares Flagger's own Skipper router with Penstock's, over the same API and in one run:
//
//	go test -run '^$' -bench . ./bench
//
// The API costs next to nothing and counts requests. A table of all results is printed at the end. The tests of the package hold
// the numbers of requests to what a replacement may cost.
package bench_test

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	flaggerrouter "github.com/fluxcd/flagger/pkg/router"
	"go.uber.org/zap"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-dev/penstock/examples/world"
	"github.com/penstock-dev/penstock/internal/vclock"
	"github.com/penstock-dev/penstock/router"
)

func TestMain(m *testing.M) {
	code := m.Run()
	results.print()
	os.Exit(code)
}

var begin = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// routers are the contestants, each with an API of its own.
var routers = []struct {
	name string
	make func(tb testing.TB, s *store) router.Interface
}{
	{"flagger", func(_ testing.TB, s *store) router.Interface {
		return flaggerrouter.NewFactory(nil, s.kube, nil, nil, "", "", zap.NewNop().Sugar(), nil, true).MeshRouter("skipper", "app")
	}},
	{"penstock", func(tb testing.TB, s *store) router.Interface {
		tb.Helper()
		return router.NewSkipper(tb.Context(), s.kube, zap.NewNop().Sugar(),
			router.SkipperOptions{SetOwnerRefs: true, Clock: vclock.New(begin)}) // waiting costs nothing
	}},
}

// operations are what Flagger does on a tick. Each is called again and again; the call's number tells the turn.
var operations = []struct {
	name string
	run  func(r router.Interface, c *flaggerv1.Canary, n int) error
	// Limits of requests, of docs and of what Flagger's own router makes.
	reads, writes int
}{
	{"idle Reconcile", func(r router.Interface, c *flaggerv1.Canary, _ int) error { return r.Reconcile(c) }, 2, 0},
	{"idle GetRoutes", func(r router.Interface, c *flaggerv1.Canary, _ int) error {
		_, _, _, err := r.GetRoutes(c)
		return err
	}, 1, 0},
	{"step", func(r router.Interface, c *flaggerv1.Canary, n int) error {
		return r.SetRoutes(c, 60-n%2*10, 40+n%2*10, false)
	}, 1, 1},
	{"repeated step", func(r router.Interface, c *flaggerv1.Canary, _ int) error { return r.SetRoutes(c, 60, 40, false) }, 1, 0},
}

// contest makes a store with a canary at 60/40.
func contest(tb testing.TB, build func(tb testing.TB, s *store) router.Interface) (*store, router.Interface, *flaggerv1.Canary) {
	tb.Helper()
	s := newStore(tb, apexIngress())
	r, c := build(tb, s), newCanary()
	if err := r.Reconcile(c); err != nil {
		tb.Fatal(err)
	}
	if err := r.SetRoutes(c, 60, 40, false); err != nil {
		tb.Fatal(err)
	}
	return s, r, c
}

func apexIngress() *networkingv1.Ingress {
	apex := world.Ingress("app", "app.example.com", world.Path("/", "app"))
	apex.Namespace = namespace
	apex.UID = "a9ex0000-0000-4000-8000-000000000001"
	apex.Annotations = map[string]string{"zalando.org/skipper-filter": `setRequestHeader("X-Shop", "yes")`}
	return apex
}

func newCanary() *flaggerv1.Canary {
	return &flaggerv1.Canary{
		ObjectMeta: metav1.ObjectMeta{Name: "app", Namespace: namespace, UID: "c0ffee00-0000-4000-8000-000000000001"},
		Spec: flaggerv1.CanarySpec{
			Provider:   "skipper",
			TargetRef:  flaggerv1.LocalObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "app"},
			IngressRef: &flaggerv1.LocalObjectReference{APIVersion: "networking.k8s.io/v1", Kind: "Ingress", Name: "app"},
			Service:    flaggerv1.CanaryService{Port: 80},
			Analysis:   &flaggerv1.CanaryAnalysis{Interval: "10s", Threshold: 2, StepWeight: 10, MaxWeight: 50},
		},
		Status: flaggerv1.CanaryStatus{Phase: flaggerv1.CanaryPhaseProgressing, CanaryWeight: 40},
	}
}

// TestRequests holds each operation to at most what Flagger's own router makes, and to no write without a change.
func TestRequests(t *testing.T) {
	t.Parallel()
	for _, op := range operations {
		t.Run(op.name, func(t *testing.T) {
			t.Parallel()
			for _, candidate := range routers {
				s, r, c := contest(t, candidate.make)
				for n := 1; n <= 4; n++ {
					reads, writes := s.counted(func() {
						if err := op.run(r, c, n); err != nil {
							t.Fatal(err)
						}
					})
					if candidate.name == "penstock" && (reads > op.reads || writes > op.writes) {
						t.Errorf("call %d: %d reads and %d writes, at most %d and %d are allowed", n, reads, writes, op.reads, op.writes)
					}
				}
			}
		})
	}
}

func BenchmarkSkipper(b *testing.B) {
	for _, op := range operations {
		for _, candidate := range routers {
			b.Run(op.name+"/"+candidate.name, func(b *testing.B) {
				s, r, c := contest(b, candidate.make)
				b.ReportAllocs()
				measure(b, s, op.name, candidate.name, func(n int) error { return op.run(r, c, n) })
			})
		}
	}
}

// idleReads is how many reads an idle tick of the dns-weighted router may cost beside a traffic controller.
const idleReads = 3

// dnsOperations are what Flagger does on a tick without a step. While nothing is to be done it is Reconcile alone: the tick ends before
// GetRoutes, https://github.com/fluxcd/flagger/blob/v1.44.0/pkg/controller/scheduler.go#L285
var dnsOperations = []struct {
	name string
	run  func(r router.Interface, c *flaggerv1.Canary) error
}{
	{"idle tick", func(r router.Interface, c *flaggerv1.Canary) error { return r.Reconcile(c) }},
	{"GetRoutes", func(r router.Interface, c *flaggerv1.Canary) error {
		_, _, _, err := r.GetRoutes(c)
		return err
	}},
}

// dnsContest makes a store with a dns-weighted Canary that is initialized, beside a traffic controller, which is elsewhere.
func dnsContest(tb testing.TB, mode string) (*store, router.Interface, *flaggerv1.Canary) {
	tb.Helper()
	next := apexIngress()
	next.Name, next.UID = "app-next", "a9ex0000-0000-4000-8000-000000000002"
	next.Annotations = map[string]string{"external-dns.alpha.kubernetes.io/controller": "penstock"}
	next.Spec.Rules[0].HTTP.Paths[0].Backend.Service.Name = "app-canary"
	apex := apexIngress()
	apex.Status.LoadBalancer.Ingress = []networkingv1.IngressLoadBalancerIngress{{IP: "192.0.2.10"}}
	next.Status.LoadBalancer.Ingress = []networkingv1.IngressLoadBalancerIngress{{IP: "192.0.2.20"}}
	s, c := newStore(tb, apex, next), newCanary()
	c.Spec.Provider, c.Spec.RevertOnDeletion = "dns-weighted", true
	c.Annotations = map[string]string{router.ExposureAnnotation: "20"}
	if mode == "split" {
		c.Annotations = map[string]string{router.CanaryIngressAnnotation: "app-next"}
	}
	c.Status = flaggerv1.CanaryStatus{Phase: flaggerv1.CanaryPhaseInitializing}
	r := router.NewDNSWeighted(tb.Context(), s.kube, nil, zap.NewNop().Sugar(), router.DNSWeightedOptions{Clock: vclock.New(begin)})
	if err := r.Reconcile(c); err != nil {
		tb.Fatal(err)
	}
	c.Status.Phase = flaggerv1.CanaryPhaseInitialized
	return s, r, c
}

// modes are those of the dns-weighted router.
var modes = []string{"shared", "split"}

func TestIdleDNSWeighted(t *testing.T) {
	t.Parallel()
	for _, mode := range modes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			s, r, c := dnsContest(t, mode)
			for _, op := range dnsOperations {
				for n := 1; n <= 4; n++ {
					reads, writes := s.counted(func() {
						if err := op.run(r, c); err != nil {
							t.Fatal(err)
						}
					})
					if reads > idleReads || writes > 0 {
						t.Errorf("%s, call %d: %d reads and %d writes, at most %d and none are allowed", op.name, n, reads, writes, idleReads)
					}
				}
			}
		})
	}
}

func BenchmarkIdleDNSWeighted(b *testing.B) {
	for _, op := range dnsOperations {
		for _, mode := range modes {
			b.Run(op.name+"/"+mode, func(b *testing.B) {
				s, r, c := dnsContest(b, mode)
				b.ReportAllocs()
				measure(b, s, op.name, "dns-weighted "+mode, func(int) error { return op.run(r, c) })
			})
		}
	}
}

// measure runs f for the benchmark and keeps the result for the table.
func measure(b *testing.B, s *store, operation, candidate string, f func(n int) error) {
	b.Helper()
	var before, after runtime.MemStats
	reads, writes, n := 0, 0, 0
	runtime.ReadMemStats(&before)
	for b.Loop() {
		n++
		r, w := s.counted(func() {
			if err := f(n); err != nil {
				b.Fatal(err)
			}
		})
		reads, writes = reads+r, writes+w
	}
	runtime.ReadMemStats(&after)
	each := result{
		operation: operation, candidate: candidate,
		reads: float64(reads) / float64(n), writes: float64(writes) / float64(n),
		time:   b.Elapsed() / time.Duration(n),
		allocs: float64(after.Mallocs-before.Mallocs) / float64(n),
		bytes:  float64(after.TotalAlloc-before.TotalAlloc) / float64(n),
	}
	b.ReportMetric(each.reads, "reads/op")
	b.ReportMetric(each.writes, "writes/op")
	results.add(each)
}

type result struct {
	operation, candidate string
	reads, writes        float64
	time                 time.Duration
	allocs, bytes        float64
}

// results are those of the run, for the table at its end.
var results table

type table struct {
	mu   sync.Mutex
	rows []result
}

func (t *table) add(r result) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rows = append(t.rows, r)
}

func (t *table) print() {
	if len(t.rows) == 0 {
		return
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight|tabwriter.DiscardEmptyColumns)
	_, _ = fmt.Fprintln(w, "\noperation\trouter\treads\twrites\ttime\tallocations\tkB\t")
	for _, r := range t.rows {
		_, _ = fmt.Fprintf(w, "%s\t%s\t%.0f\t%.0f\t%s\t%.0f\t%.1f\t\n", r.operation, r.candidate, r.reads, r.writes,
			r.time.Round(100*time.Nanosecond), r.allocs, r.bytes/1000)
	}
	if err := w.Flush(); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "print the table:", err)
	}
}
