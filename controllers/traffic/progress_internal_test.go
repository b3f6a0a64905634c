package traffic

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/penstock-dev/penstock/controllers/store"
	"github.com/penstock-dev/penstock/dns"
	"github.com/penstock-dev/penstock/dns/externaldns"
)

// An Ingress loses the annotation of the filter after a weight has begun to wait for it, and before it was published for the first time: nobody publishes
// it, so nobody waits for it.
func TestAnIngressIsLeftOutBeforeItIsPublished(t *testing.T) {
	t.Parallel()
	ours := func(name string) []client.Object {
		objects := app(name, name+".example.com")
		objects[0].SetAnnotations(map[string]string{"team": "shop"})
		return objects
	}
	r := newRig(t, []string{"-annotation-filter", "team=shop"}, append(ours("one"), ours("two")...)...)
	r.desire(50)
	r.steer = r.clock.Now().Add(r.Controller.steer(t.Context()))
	generation, _ := r.weight.now()
	if p := r.served.of(generation, false); p.unserved != 2 {
		t.Fatalf("%d are waited for, so this test proves nothing", p.unserved)
	}
	r.apply(app("two", "two.example.com")[0])
	r.run(5 * time.Minute)
	if got := r.row.now().CurrentWeight; got != 50 {
		t.Errorf("CurrentWeight %d, want 50", got)
	}
	if got := valueOf(t, r.metrics.pending); got != 0 {
		t.Errorf("%v ingresses are pending", got)
	}
}

// Somebody has written into the controller's DNSEndpoint what cannot be understood. People are told, and no weight waits for it but a drain, because nobody
// knows what is published.
func TestADNSEndpointThatSomebodyBroke(t *testing.T) {
	t.Parallel()
	endpoint := func(weight string) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": externaldns.Resource.GroupVersion().String(), "kind": "DNSEndpoint",
			"metadata": map[string]any{
				"name": "one", "namespace": namespace,
				"labels": map[string]any{externaldns.ManagedByLabel: "penstock"}, "annotations": map[string]any{externaldns.ClusterAnnotation: cluster},
			},
			"spec": map[string]any{"endpoints": []any{map[string]any{
				"dnsName": "one.example.com", "recordType": "CNAME", "targets": []any{"lb.example.net"}, "setIdentifier": cluster,
				"providerSpecific": []any{map[string]any{"name": "aws/weight", "value": weight}},
			}}},
		}}
	}
	r := newRig(t, nil, app("one", "one.example.com")...)
	kinds := map[schema.GroupVersionResource]string{externaldns.Resource: "DNSEndpointList"}
	kube := dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), kinds, endpoint("many"))
	var err error
	backend := externaldns.New(kube, nil, externaldns.Options{Resolvers: []string{"127.0.0.1:1"}, Clock: r.jumped})
	if r.publisher, err = newPublisher(r.Controller, backend, nil); err != nil {
		t.Fatal(err)
	}
	r.run(time.Minute)
	r.desire(50)
	r.run(10 * time.Minute)
	if got := r.row.now().CurrentWeight; got != 50 {
		t.Errorf("CurrentWeight %d, want 50", got)
	}
	if got := valueOf(t, r.metrics.refused); got != 1 {
		t.Errorf("%v hosts are counted, want 1", got)
	}
	if r.notes.with("Warning NotPublished shop/one", "aws/weight") != 1 {
		t.Errorf("events %q", r.notes.lines)
	}
	r.desire(0)
	r.run(10 * time.Minute)
	if got := r.row.now().CurrentWeight; got != 50 {
		t.Errorf("%d is acknowledged, and nobody knows what is published", got)
	}
	if _, err := kube.Resource(externaldns.Resource).Namespace(namespace).Update(t.Context(), endpoint("128"), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	r.queue.Add(types.NamespacedName{Namespace: namespace, Name: "one"}) // as the watch does
	r.run(time.Minute)
	records, err := backend.Published(t.Context(), cluster, types.NamespacedName{Namespace: namespace, Name: "one"}, nil)
	if err != nil || len(records) != 1 || records[0].Weight != 0 || valueOf(t, r.metrics.refused) != 0 {
		t.Errorf("mended, records %+v (%v), and %v hosts are counted", records, err, valueOf(t, r.metrics.refused))
	}
}

// unread is a publisher that cannot read what is published, and says so in other words each time.
type unread struct{ again int }

func (u *unread) Sync(_ context.Context, names ...types.NamespacedName) ([]dns.Result, error) {
	results := make([]dns.Result, len(names))
	for i, name := range names {
		u.again++
		results[i] = dns.Result{Ingress: name, Err: errors.New("request " + strings.Repeat("i", u.again) + " timed out")}
	}
	return results, nil
}

// A fault that passes is told once, whatever its words, and not when the controller ends.
func TestAFaultThatPassesIsToldOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, app("one", "one.example.com")...)
	r.run(time.Minute)
	r.publisher = &unread{}
	name := types.NamespacedName{Namespace: namespace, Name: "one"}
	ctx, end := context.WithCancel(t.Context())
	end()
	r.publish(ctx, []types.NamespacedName{name})
	if r.notes.with("NotPublished") > 0 {
		t.Errorf("at the end, events %q", r.notes.lines)
	}
	r.queue.Add(name)
	r.run(time.Minute)
	if r.notes.with("Warning NotPublished shop/one", "timed out") != 1 {
		t.Errorf("events %q", r.notes.lines)
	}
}

// The metrics say what becomes of Ingresses while the store is away.
func TestMetricsWhileTheStoreIsAway(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, append(app("one", "one.example.com"), app("two", "two.example.com")...)...)
	r.run(5 * time.Minute)
	r.row.readErr = errors.New("away")
	r.run(time.Minute)
	r.dns.Fail("two", dns.Refuse(errors.New("not ours")))
	r.changedObject(app("two", "two.example.com")[0])
	r.moment()
	if got := valueOf(t, r.metrics.refused); got != 1 {
		t.Errorf("%v hosts are counted, want 1", got)
	}
	r.dns.Fail("two", nil)
	generation, _ := r.weight.now()
	r.served.note(generation, dns.Result{Ingress: types.NamespacedName{Namespace: namespace, Name: "three"}}, true, false, r.clock.Now()) // as if another one were not in sync
	r.run(2 * r.opts.PollInterval)
	if got := valueOf(t, r.metrics.pending); got != 1 {
		t.Errorf("%v ingresses are pending, want 1", got)
	}
}

// countingRow counts how often the row is read.
type countingRow struct {
	*row

	reads int
}

// Read implements store.Store.
func (c *countingRow) Read(ctx context.Context) (store.Row, error) {
	c.reads++
	return c.row.Read(ctx)
}

// readsInAMinute counts the reads of the store in a minute with an event each second, and returns the most that the interval explains.
func (r *rig) readsInAMinute() (reads, most int) {
	r.t.Helper()
	counted := &countingRow{row: r.row}
	before := r.store
	r.store = counted
	for range 60 {
		r.apply(endpoints("one", true))
		r.run(0)
		r.clock.Sleep(time.Second)
	}
	r.store = before
	return counted.reads, int(time.Minute/r.opts.PollInterval) + 1
}

// At rest, the store is read once an interval, however often something is published. A weight that is waited for is acknowledged at once.
func TestReadsOfTheStore(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, app("one", "one.example.com")...)
	r.run(10 * time.Minute)
	if reads, most := r.readsInAMinute(); reads > most {
		t.Errorf("%d reads in a minute with an event a second, want %d at most", reads, most)
	}
	r.desire(40)
	if took := r.until("it is served", func() bool { return r.row.now().CurrentWeight == 40 }); took > syncDelay+lookAgain {
		t.Errorf("acknowledged after %s, and DNS needs %s", took, syncDelay)
	}
}

// The event says what a failure of the store does: a drain is published and not acknowledged, while the row and a step stay as they are. The status shows
// the row as it is stored.
func TestWhatAFailureOfTheStoreDoes(t *testing.T) {
	t.Parallel()
	failed := errors.New("away")
	for name, tc := range map[string]struct {
		reason string
		flags  []string
		fail   func(r *rig)
		want   string // in the event
	}{
		"ADrainIsNotWritten": {"It is published all the same.", nil, func(r *rig) { r.row.writeErr = failed }, "weight 0 is published, and not acknowledged: write"},
		"AStepIsNotWritten": {
			reason: "A step is stored before it is published.", flags: []string{"-ramp-step", "10"}, fail: func(r *rig) { r.row.writeErr = failed },
			want: "the cluster's weight stays as it is: write",
		},
		"NotRead": {"Nobody knows what is wanted.", nil, func(r *rig) { r.row.readErr = failed }, "the cluster's weight stays as it is: read"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, tc.flags, app("one", "one.example.com")...)
			r.run(5 * time.Minute)
			tc.fail(r)
			r.desire(0)
			r.run(5 * time.Minute)
			if r.notes.with("Warning StoreFailed controller", tc.want) != 1 || r.notes.with("StoreFailed") != 1 {
				t.Errorf("%s\nevents %q, want one with %q", tc.reason, r.notes.lines, tc.want)
			}
			status := r.status(httptest.NewRequestWithContext(t.Context(), http.MethodGet, StatusPath, nil))
			want := r.row.now()
			if r.row.readErr != nil {
				want.DesiredWeight = 100 // as it was read last
			}
			if status.Row == nil || *status.Row != want {
				t.Errorf("%s\nthe status has row %+v, and in the store was %+v", tc.reason, status.Row, want)
			}
		})
	}
}

// Another move that fails in the same words is told, and counted.
func TestEachRollBackIsTold(t *testing.T) {
	t.Parallel()
	r := newRig(t, []string{"-ramp-step", "20", "-ramp-failures", "1", "-ramp-ready", "100"}, app("one", "one.example.com")[0], endpoints("one", false))
	r.row.row = &store.Row{ClusterName: cluster, DesiredWeight: 50, CurrentWeight: 50}
	r.run(2 * time.Minute)
	r.desire(90)
	for range 2 {
		r.until("the move failed", func() bool { return r.row.now().Ramp.Phase == store.RolledBack })
		r.run(time.Minute)
		anew := r.row.now()
		anew.Ramp = store.Ramp{} // as penstock set-weight does
		if err := r.row.Acknowledge(t.Context(), r.row.now(), anew); err != nil {
			t.Fatal(err)
		}
		r.steer = time.Time{}
	}
	if r.notes.with("Warning RampRolledBack controller", "did not leave 50") != 2 || valueOf(t, r.metrics.rollbacks) != 2 {
		t.Errorf("events %q, want two", r.notes.lines)
	}
}
