package traffic

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/penstock-dev/penstock/controllers/store"
	"github.com/penstock-dev/penstock/dns"
	"github.com/penstock-dev/penstock/internal/dnstest"
	"github.com/penstock-dev/penstock/internal/state"
	"github.com/penstock-dev/penstock/internal/vclock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	cluster   = "east"
	namespace = "shop"
	syncDelay = 20 * time.Second
	hostTTL   = time.Minute
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// row is a store in memory that keeps the conditions of the real ones, and can fail.
type row struct {
	mu           sync.Mutex // guards the following
	row          *store.Row
	readErr      error
	writeErr     error
	acknowledged []store.Row // after each change of CurrentWeight
	writes       int         // of CurrentWeight, the Ramp, or both
}

var _ store.Store = (*row)(nil)

func (s *row) Read(context.Context) (store.Row, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.readErr != nil {
		return store.Row{}, s.readErr
	}
	if s.row == nil {
		return store.Row{}, store.ErrNotFound
	}
	return *s.row, nil
}

func (s *row) Create(_ context.Context, r store.Row) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.row == nil && s.writeErr == nil {
		s.row = &r
	}
	return s.writeErr
}

func (s *row) Acknowledge(_ context.Context, read, r store.Row) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writeErr != nil {
		return s.writeErr
	}
	if s.row == nil || s.row.DesiredWeight != read.DesiredWeight || s.row.CurrentWeight != read.CurrentWeight || s.row.Ramp != read.Ramp {
		return store.ErrConflict
	}
	s.row.CurrentWeight, s.row.Ramp = r.CurrentWeight, r.Ramp
	s.writes++
	if r.CurrentWeight != read.CurrentWeight {
		s.acknowledged = append(s.acknowledged, *s.row)
	}
	return nil
}

func (s *row) Desire(_ context.Context, weight int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.row.DesiredWeight = weight
	return nil
}

// remove is what somebody else does.
func (s *row) remove() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.row = nil
}

func (s *row) now() store.Row {
	s.mu.Lock()
	defer s.mu.Unlock()
	return *s.row
}

// notes records events.
type notes struct {
	mu    sync.Mutex // guards the following
	lines []string
}

func (n *notes) Eventf(regarding, _ runtime.Object, kind, reason, _, note string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	about := "controller"
	if object, ok := regarding.(client.Object); ok && object.GetObjectKind().GroupVersionKind().Kind == "Ingress" {
		about = object.GetNamespace() + "/" + object.GetName()
	}
	n.lines = append(n.lines, fmt.Sprintf("%s %s %s: %s", kind, reason, about, fmt.Sprintf(note, args...)))
}

func (n *notes) with(parts ...string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	found := 0
	for _, line := range n.lines {
		if !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(line, part) }) {
			found++
		}
	}
	return found
}

// rig is a controller on virtual time: caches are a fake client, DNS is a backend in memory.
type rig struct {
	*Controller

	t      *testing.T
	clock  *vclock.Clock
	jumped *jumping // the clock of the controller
	kube   client.WithWatch
	dns    *dnstest.Backend
	row    *row
	notes  *notes
	due    map[types.NamespacedName]time.Time
	steer  time.Time
}

// newRig starts a controller in a cluster that has the objects, with weight 100 served.
func newRig(t *testing.T, flags []string, objects ...client.Object) *rig {
	t.Helper()
	r := &rig{t: t, clock: vclock.New(start), row: &row{row: &store.Row{ClusterName: cluster, DesiredWeight: 100, CurrentWeight: 100}}, notes: &notes{}}
	r.kube = fake.NewClientBuilder().WithScheme(clientgoscheme.Scheme).WithObjects(objects...).
		WithIndex(&networkingv1.Ingress{}, byHost, hostsOf).WithIndex(&networkingv1.Ingress{}, byService, servicesOf).
		WithIndex(&discoveryv1.EndpointSlice{}, byService, serviceOfSlice).Build()
	r.dns, r.jumped = dnstest.NewBackend(r.clock, syncDelay), &jumping{Clock: r.clock}
	r.restart(flags...)
	t.Cleanup(r.documented)
	return r
}

// documented checks that the page of the controller has the reasons of the events.
func (r *rig) documented() {
	page, err := os.ReadFile(docsFile)
	if err != nil {
		r.t.Error(err)
	}
	r.notes.mu.Lock()
	defer r.notes.mu.Unlock()
	for _, line := range r.notes.lines {
		if reason := strings.Fields(line)[1]; !strings.Contains(string(page), "`"+reason+"`") {
			r.t.Errorf("%s has no event %s", docsFile, reason)
		}
	}
}

// restart is a new process, or another leader: it knows what stands in the cluster, in DNS and in the store.
func (r *rig) restart(flags ...string) {
	r.t.Helper()
	if r.Controller != nil {
		r.queue.ShutDown()
	}
	opts := Options{clock: r.jumped}
	set := flag.NewFlagSet("penstock", flag.ContinueOnError)
	opts.AddFlags(set)
	if err := set.Parse(append([]string{"-cluster-name", cluster, "-host-ttl", hostTTL.String(), "-backend-type", "configmap"}, flags...)); err != nil {
		r.t.Fatal(err)
	}
	if err := opts.Complete(); err != nil {
		r.t.Fatal(err)
	}
	m, err := newMetrics(nil)
	if err != nil {
		r.t.Fatal(err)
	}
	queue, backoff := newQueue()
	r.Controller = &Controller{
		opts: opts, store: r.row, weight: &weight{}, served: newServed(), metrics: m, log: zaptest.NewLogger(r.t).Sugar(), queue: queue, backoff: backoff,
		events: newAnnouncer(r.notes, types.NamespacedName{}), changed: make(chan struct{}, 1), filling: &filling{},
		source: &source{caches: r.kube, filter: opts.filter, sole: opts.SolePublisher, answer: func(context.Context, *corev1.ConfigMap, string) error { return nil }},
	}
	r.t.Cleanup(r.queue.ShutDown)
	if r.gates, err = newGates(r.t.Context(), r.Controller); err != nil {
		r.t.Fatal(err)
	}
	if r.publisher, err = newPublisher(r.Controller, dated{r.dns, r.jumped}, nil); err != nil {
		r.t.Fatal(err)
	}
	r.due, r.steer = map[types.NamespacedName]time.Time{}, time.Time{}
	list := &networkingv1.IngressList{}
	if err := r.kube.List(r.t.Context(), list); err != nil {
		r.t.Fatal(err)
	}
	for i := range list.Items { // what the watches bring first
		r.queue.Add(client.ObjectKeyFromObject(&list.Items[i]))
	}
}

// jumping is a clock that somebody sets.
type jumping struct {
	*vclock.Clock

	mu     sync.Mutex // guards the following
	offset time.Duration
}

func (j *jumping) by(d time.Duration) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.offset += d
}

// Now implements clock.PassiveClock.
func (j *jumping) Now() time.Time {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.Clock.Now().Add(j.offset)
}

// Since implements clock.PassiveClock.
func (j *jumping) Since(at time.Time) time.Duration { return j.Now().Sub(at) }

// dated is a backend in the controller's process, whose times are on the same clock.
type dated struct {
	dns.Backend

	clock *jumping
}

// Publish implements dns.Backend.
func (d dated) Publish(ctx context.Context, publications ...dns.Publication) ([]dns.Status, error) {
	statuses, err := d.Backend.Publish(ctx, publications...)
	for i := range statuses {
		if since := &statuses[i].InSyncSince; !since.IsZero() {
			*since = since.Add(d.clock.Now().Sub(d.clock.Clock.Now()))
		}
	}
	return statuses, err
}

// moment does all that is due now.
func (r *rig) moment() {
	r.t.Helper()
	for range 5 {
		kicked := false
		select {
		case <-r.changed:
			kicked = true
		default:
		}
		if kicked || !r.clock.Now().Before(r.steer) {
			r.steer = r.clock.Now().Add(r.Controller.steer(r.t.Context()))
		}
		var batch []types.NamespacedName
		for r.queue.Len() > 0 {
			name, _ := r.queue.Get()
			r.queue.Done(name)
			batch = append(batch, name)
		}
		for name, at := range r.due {
			if !r.clock.Now().Before(at) && !slices.Contains(batch, name) {
				batch = append(batch, name)
			}
		}
		if len(batch) == 0 && len(r.changed) == 0 {
			return
		}
		for _, name := range batch {
			delete(r.due, name)
		}
		for name, after := range r.publish(r.t.Context(), batch) {
			if after == retry {
				after = r.retryAfter(name)
			} else {
				r.backoff.Forget(name)
			}
			r.due[name] = r.clock.Now().Add(after)
		}
	}
}

// run lets time pass, a second at a time.
func (r *rig) run(d time.Duration) {
	r.t.Helper()
	for end := r.clock.Now().Add(d); ; r.clock.Sleep(time.Second) {
		r.moment()
		if !r.clock.Now().Before(end) {
			return
		}
	}
}

// until lets time pass until something is true, and returns how long that took.
func (r *rig) until(what string, done func() bool) time.Duration {
	r.t.Helper()
	from := r.clock.Now()
	for range 3600 {
		r.moment()
		if done() {
			return r.clock.Since(from)
		}
		r.clock.Sleep(time.Second)
	}
	r.t.Fatalf("not in an hour: %s; the row is %+v", what, r.row.now())
	return 0
}

func (r *rig) desire(weight int) {
	r.t.Helper()
	if err := r.row.Desire(r.t.Context(), weight); err != nil {
		r.t.Fatal(err)
	}
	r.steer = time.Time{}
}

// apply creates or changes objects, as the watches see it.
func (r *rig) apply(objects ...client.Object) {
	r.t.Helper()
	for _, object := range objects {
		object.SetResourceVersion("")
		standing := object.DeepCopyObject().(client.Object)
		if err := r.kube.Get(r.t.Context(), client.ObjectKeyFromObject(object), standing); err == nil {
			r.remove(standing)
		}
		if err := r.kube.Create(r.t.Context(), object); err != nil {
			r.t.Fatal(err)
		}
		r.changedObject(object)
	}
}

func (r *rig) remove(object client.Object) {
	r.t.Helper()
	if err := r.kube.Delete(r.t.Context(), object); err != nil {
		r.t.Fatal(err)
	}
	r.changedObject(object)
}

// changedObject queues what the watches would.
func (r *rig) changedObject(object client.Object) {
	var names []types.NamespacedName
	switch o := object.(type) {
	case *networkingv1.Ingress:
		names = r.ofIngress(r.t.Context(), o)
	case *discoveryv1.EndpointSlice:
		names = r.ofEndpoints(r.t.Context(), o)
	case *corev1.ConfigMap:
		names = r.ofCanary(r.t.Context(), o)
	}
	for _, name := range names {
		r.queue.Add(name)
	}
}

// published returns the weights of this cluster's hosts.
func (r *rig) published(names ...string) map[string]int {
	r.t.Helper()
	all := map[string]int{}
	for _, name := range names {
		records, err := r.dns.Published(r.t.Context(), cluster, types.NamespacedName{Namespace: namespace, Name: name}, nil)
		if err != nil {
			r.t.Fatal(err)
		}
		for _, record := range records {
			if record.SetIdentifier == cluster {
				all[record.Name] = record.Weight
			}
		}
	}
	return all
}

// app returns an Ingress for hosts, each with a Service of the host's first label, and the EndpointSlices of these Services.
func app(name string, hosts ...string) []client.Object {
	ingress := &networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID("uid-" + name), CreationTimestamp: metav1.NewTime(start)},
	}
	ingress.Status.LoadBalancer.Ingress = []networkingv1.IngressLoadBalancerIngress{{Hostname: "lb.example.net"}}
	objects := []client.Object{ingress}
	var services []string
	for _, host := range hosts {
		service, _, _ := strings.Cut(host, ".")
		ingress.Spec.Rules = append(ingress.Spec.Rules, rule(host, service))
		if !slices.Contains(services, service) {
			services = append(services, service)
			objects = append(objects, endpoints(service, true))
		}
	}
	return objects
}

func rule(host string, services ...string) networkingv1.IngressRule {
	paths := make([]networkingv1.HTTPIngressPath, 0, len(services))
	for _, service := range services {
		paths = append(paths, networkingv1.HTTPIngressPath{
			Path: "/" + service, Backend: networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: service}},
		})
	}
	return networkingv1.IngressRule{Host: host, IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{Paths: paths}}}
}

// endpoints returns an EndpointSlice with one endpoint for each state.
func endpoints(service string, ready ...bool) *discoveryv1.EndpointSlice {
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: namespace, Name: service + "-1", Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4,
	}
	for i := range ready {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{"192.0.2.1"}, Conditions: discoveryv1.EndpointConditions{Ready: &ready[i]}})
	}
	return slice
}

func canary(name string, desired state.Desired) *corev1.ConfigMap {
	text, err := state.Encode(desired)
	if err != nil {
		panic(err)
	}
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: state.Name(name), Labels: map[string]string{state.Label: name}},
		Data:       map[string]string{state.DesiredKey: text},
	}
}
