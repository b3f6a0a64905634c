package router_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/penstock-dev/penstock/dns"
	"github.com/penstock-dev/penstock/internal/dnstest"
	"github.com/penstock-dev/penstock/internal/state"
	"github.com/penstock-dev/penstock/internal/vclock"
	"github.com/penstock-dev/penstock/router"
	clusterweights "github.com/penstock-dev/penstock/weights"
)

const (
	primaryAddress = "192.0.2.1"
	canaryAddress  = "192.0.2.2"
	host           = "www.example.com"
	syncDelay      = 20 * time.Second
)

// rig is one cluster: an API server, DNS, a clock, and the Canary shop/app with its Ingresses.
type rig struct {
	t          *testing.T
	kube       *fake.Clientset
	clock      *vclock.Clock
	backend    *dnstest.Backend
	canary     *flaggerv1.Canary
	registry   *prometheus.Registry
	controller bool            // the publisher runs in another process
	base       context.Context // ends what the routers wait for
	stop       func()
}

// split makes the Canary one that DNS splits.
func split(c *flaggerv1.Canary) {
	c.Annotations = map[string]string{router.CanaryIngressAnnotation: "web-next"}
	c.Spec.RevertOnDeletion = true
}

// exposed gives the Canary an exposure.
func exposed(percent string) func(*flaggerv1.Canary) {
	return func(c *flaggerv1.Canary) {
		c.Annotations = map[string]string{router.ExposureAnnotation: percent}
		c.Spec.RevertOnDeletion = true
	}
}

// at sets the addresses of an Ingress' load balancer.
func at(addresses ...string) func(*networkingv1.Ingress) {
	return func(i *networkingv1.Ingress) {
		i.Status.LoadBalancer.Ingress = nil
		for _, address := range addresses {
			i.Status.LoadBalancer.Ingress = append(i.Status.LoadBalancer.Ingress, networkingv1.IngressLoadBalancerIngress{IP: address})
		}
	}
}

// named renames an Ingress.
func named(name string) func(*networkingv1.Ingress) {
	return func(i *networkingv1.Ingress) { i.Name, i.UID = name, types.UID("uid-of-"+name) }
}

// ingresses returns the apex Ingress and the prepared one, both with the annotation that keeps an external-dns which reads Ingresses away.
func ingresses() []runtime.Object {
	apart := annotated("external-dns.alpha.kubernetes.io/controller", "penstock")
	return []runtime.Object{
		newIngress(at(primaryAddress), apart),
		newIngress(named("web-next"), at(canaryAddress), withRules(newRule(host, newPath("/", networkingv1.PathTypePrefix, "app-canary"))), apart),
	}
}

// newRig returns a cluster whose publisher is in the router's process.
func newRig(t *testing.T, change ...func(*flaggerv1.Canary)) *rig {
	t.Helper()
	clock := newClock()
	return &rig{
		t: t, kube: fake.NewClientset(ingresses()...), clock: clock, backend: dnstest.NewBackend(clock, syncDelay),
		canary: newCanary(change...), registry: prometheus.NewRegistry(), base: t.Context(), stop: func() {},
	}
}

// newControlledRig returns a cluster whose publisher is in another process, which looks every ten seconds.
func newControlledRig(t *testing.T, change ...func(*flaggerv1.Canary)) *rig {
	t.Helper()
	r := newRig(t, change...)
	r.controller = true
	publisher := r.publisher()
	r.stop = r.clock.Every(10*time.Second, func() {
		_, _ = publisher.Sync(context.WithoutCancel(t.Context()), types.NamespacedName{Namespace: namespace, Name: "web"}) // as a controller: it tries again
	})
	t.Cleanup(r.stop)
	return r
}

// publisher returns a fresh publisher, which remembers nothing.
func (r *rig) publisher() *dns.Publisher {
	r.t.Helper()
	p, err := dns.NewPublisher("eu-1", dns.NewKubeSource(r.kube, r.clock), r.backend, dns.StaticWeight(clusterweights.Hundred), nil, dns.PublisherOptions{Clock: r.clock})
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

// router returns a fresh router, as after a restart of the process.
func (r *rig) router() *router.DNSWeighted {
	r.t.Helper()
	opts := router.DNSWeightedOptions{Clock: r.clock, Registerer: r.registry}
	if r.controller {
		return router.NewDNSWeighted(r.base, r.kube, nil, nil, opts)
	}
	return router.NewDNSWeighted(r.base, r.kube, r.publisher(), nil, opts)
}

// endAfter makes the next routers end after d. The returned function says that they may live on.
func (r *rig) endAfter(d time.Duration) (stop func()) {
	ctx, end := context.WithCancel(r.t.Context())
	r.base = ctx
	cancel := r.clock.AfterFunc(d, end)
	return func() { cancel(); end(); r.base = r.t.Context() }
}

// phase moves the Canary on.
func (r *rig) phase(phase flaggerv1.CanaryPhase) { r.canary.Status.Phase = phase }

// reconcile is one idle tick.
func (r *rig) reconcile() {
	r.t.Helper()
	if err := r.router().Reconcile(r.canary); err != nil {
		r.t.Fatalf("Reconcile in phase %q: %v", r.canary.Status.Phase, err)
	}
}

// ticks lets n idle ticks pass, ten seconds apart.
func (r *rig) ticks(n int) {
	r.t.Helper()
	for range n {
		r.clock.Advance(10 * time.Second)
		r.reconcile()
	}
}

// initialize takes the Canary to phase Initialized and DNS to what is then served.
func (r *rig) initialize() {
	r.t.Helper()
	r.reconcile()
	r.phase(flaggerv1.CanaryPhaseInitialized)
	r.canary.Status.LastAppliedSpec = "5f4dcc3b5a"
	r.ticks(5)
}

// begin takes the Canary to the first step of an analysis.
func (r *rig) begin(primary, canary int) {
	r.t.Helper()
	r.initialize()
	r.phase(flaggerv1.CanaryPhaseProgressing)
	r.set(primary, canary)
}

// set repeats SetRoutes as Flagger does, on ticks ten seconds apart and by a fresh router each time, until it returns nil.
func (r *rig) set(primary, canary int) {
	r.t.Helper()
	var err error
	for range 60 {
		if err = r.router().SetRoutes(r.canary, primary, canary, false); err == nil {
			return
		}
		if !errors.Is(err, router.ErrPending) && !errors.Is(err, router.ErrDraining) {
			break
		}
		r.clock.Advance(10 * time.Second)
		r.reconcile()
	}
	r.t.Fatalf("SetRoutes(%d, %d): %v", primary, canary, err)
}

// wantRoutes checks what GetRoutes says.
func (r *rig) wantRoutes(primary, canary int) {
	r.t.Helper()
	p, c, mirrored, err := r.router().GetRoutes(r.canary)
	if err != nil || p != primary || c != canary || mirrored {
		r.t.Errorf("GetRoutes in phase %q = %d/%d mirrored %t, %v; want %d/%d", r.canary.Status.Phase, p, c, mirrored, err, primary, canary)
	}
}

// wantShares checks what the authoritative servers answer.
func (r *rig) wantShares(primary, canary float64) {
	r.t.Helper()
	shares := r.backend.Shares(host)
	if shares[primaryAddress] != primary || shares[canaryAddress] != canary {
		r.t.Errorf("authoritative servers share %v, want %v for %s and %v for %s", shares, primary, primaryAddress, canary, canaryAddress)
	}
}

// mayAnswer tells whether a resolver may still hand out an address.
func (r *rig) mayAnswer(address string) bool {
	return slices.Contains(r.backend.MayAnswer(host), address)
}

// configMap returns the ConfigMap of the Canary, or nil. It does not count as a request, and reactors may call it.
func (r *rig) configMap() *corev1.ConfigMap {
	r.t.Helper()
	object, err := r.kube.Tracker().Get(corev1.SchemeGroupVersion.WithResource("configmaps"), namespace, "app-penstock")
	if apierrors.IsNotFound(err) {
		return nil
	}
	cm, ok := object.(*corev1.ConfigMap)
	if err != nil || !ok {
		r.t.Fatalf("read the ConfigMap: %T, %v", object, err)
	}
	return cm.DeepCopy()
}

// wish returns both sides of the ConfigMap, which must be there.
func (r *rig) wish() (state.Desired, state.Observed) {
	r.t.Helper()
	cm := r.configMap()
	if cm == nil {
		r.t.Fatal("there is no ConfigMap")
	}
	d, o, err := state.Read(cm)
	if err != nil {
		r.t.Fatal(err)
	}
	return d, o
}

// store puts a ConfigMap with both sides into the cluster, in the place of the one that is there.
func (r *rig) store(d state.Desired, o state.Observed, annotations ...string) {
	r.t.Helper()
	textD, err := state.Encode(d)
	if err != nil {
		r.t.Fatal(err)
	}
	textO, err := state.Encode(o)
	if err != nil {
		r.t.Fatal(err)
	}
	controller := true
	cm := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: "app-penstock", Labels: map[string]string{state.Label: "app"}, Annotations: map[string]string{},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "flagger.app/v1beta1", Kind: "Canary", Name: "app", UID: "uid-of-app", Controller: &controller}},
		},
		Data: map[string]string{state.DesiredKey: textD, state.ObservedKey: textO},
	}
	for i := 0; i+1 < len(annotations); i += 2 {
		cm.Annotations[annotations[i]] = annotations[i+1]
	}
	api := r.kube.CoreV1().ConfigMaps(namespace)
	if err := api.Delete(r.t.Context(), cm.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		r.t.Fatal(err)
	}
	if _, err := api.Create(r.t.Context(), cm, metav1.CreateOptions{}); err != nil {
		r.t.Fatal(err)
	}
}

// warnings returns the Canary's events.
func (r *rig) warnings() []corev1.Event {
	r.t.Helper()
	list, err := r.kube.CoreV1().Events(namespace).List(r.t.Context(), metav1.ListOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	return list.Items
}

// events returns the reasons of the Canary's events.
func (r *rig) events() []string {
	r.t.Helper()
	var reasons []string
	for _, e := range r.warnings() {
		reasons = append(reasons, e.Reason)
	}
	return reasons
}
