package dns_test

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/penstock-dev/penstock/dns"
	"github.com/penstock-dev/penstock/internal/dnstest"
	"github.com/penstock-dev/penstock/internal/state"
	"github.com/penstock-dev/penstock/internal/vclock"
	"github.com/penstock-dev/penstock/weights"
)

const (
	namespace   = "shop"
	host        = "app.example.com"
	primaryLB   = "192.0.2.1"
	canaryLB    = "192.0.2.2"
	syncDelay   = 20 * time.Second
	elbHostname = "one-1234.eu-west-1.elb.amazonaws.com"
)

var (
	start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	apex  = types.NamespacedName{Namespace: namespace, Name: "app"}
)

// rig is one cluster: a fake API, a backend in memory, and a publisher that can be started anew.
type rig struct {
	t         *testing.T
	clock     *vclock.Clock
	kube      *fake.Clientset
	backend   *dnstest.Backend
	weight    *weightSource
	publisher *dns.Publisher
}

type weightSource struct {
	percent weights.Percent
	err     error
}

func (w *weightSource) ClusterWeight(context.Context) (weights.Percent, error) {
	return w.percent, w.err
}

func newRig(t *testing.T, ingresses ...*networkingv1.Ingress) *rig {
	t.Helper()
	r := &rig{t: t, clock: vclock.New(start), kube: fake.NewClientset(), weight: &weightSource{percent: whole(t, 60)}}
	r.backend = dnstest.NewBackend(r.clock, syncDelay)
	for _, ingress := range ingresses {
		r.apply(ingress)
	}
	r.restart()
	return r
}

// restart forgets all that the publisher's process remembered.
func (r *rig) restart() {
	r.t.Helper()
	p, err := dns.NewPublisher("east", dns.NewKubeSource(r.kube, r.clock), r.backend, r.weight, nil, dns.PublisherOptions{Clock: r.clock})
	if err != nil {
		r.t.Fatal(err)
	}
	r.publisher = p
}

func (r *rig) apply(ingress *networkingv1.Ingress) {
	r.t.Helper()
	client := r.kube.NetworkingV1().Ingresses(ingress.Namespace)
	_, err := client.Update(r.t.Context(), ingress, metav1.UpdateOptions{})
	if apierrors.IsNotFound(err) {
		_, err = client.Create(r.t.Context(), ingress, metav1.CreateOptions{})
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// wish writes what a router desires for the Canary "app".
func (r *rig) wish(d state.Desired) {
	r.t.Helper()
	r.wishFor("app", d)
}

func (r *rig) wishFor(canary string, d state.Desired) {
	r.t.Helper()
	if d.Ingress == "" {
		d.Ingress = apex.Name
	}
	if d.Service == "" {
		d.Service = "app"
	}
	text, err := state.Encode(d)
	if err != nil {
		r.t.Fatal(err)
	}
	client := r.kube.CoreV1().ConfigMaps(namespace)
	cm, err := client.Get(r.t.Context(), state.Name(canary), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		cm = &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: state.Name(canary), Labels: map[string]string{state.Label: canary}}}
		cm.Data = map[string]string{state.DesiredKey: text}
		_, err = client.Create(r.t.Context(), cm, metav1.CreateOptions{})
	} else if err == nil {
		cm.Data[state.DesiredKey] = text
		_, err = client.Update(r.t.Context(), cm, metav1.UpdateOptions{})
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) observed() state.Observed {
	r.t.Helper()
	return r.observedFor("app")
}

func (r *rig) observedFor(canary string) state.Observed {
	r.t.Helper()
	cm, err := r.kube.CoreV1().ConfigMaps(namespace).Get(r.t.Context(), state.Name(canary), metav1.GetOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	_, o, err := state.Read(cm)
	if err != nil {
		r.t.Fatal(err)
	}
	return o
}

func (r *rig) sync() []dns.Result {
	r.t.Helper()
	results, err := r.publisher.Sync(r.t.Context(), apex)
	if err != nil {
		r.t.Fatalf("Sync: %v", err)
	}
	return results
}

// until syncs each second until the Canary's generation is effective, and returns how long that took.
func (r *rig) until(done func(state.Observed) bool) time.Duration {
	r.t.Helper()
	begin := r.clock.Now()
	for range 2000 {
		r.sync()
		if done(r.observed()) {
			return r.clock.Since(begin)
		}
		r.clock.Sleep(time.Second)
	}
	r.t.Fatalf("not done after %v: %+v", r.clock.Since(begin), r.observed())
	return 0
}

func effective(generation int64) func(state.Observed) bool {
	return func(o state.Observed) bool { return o.Generation == generation && o.Effective }
}

func (r *rig) records() []dns.Record {
	r.t.Helper()
	records, err := r.backend.Published(r.t.Context(), "east", apex, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return records
}

func whole(t *testing.T, n int) weights.Percent {
	t.Helper()
	p, err := weights.WholePercent(n)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// ingress returns an Ingress with one host that routes to Service app.
func ingress(name, address string) *networkingv1.Ingress {
	i := &networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: name, UID: types.UID("uid-" + name), CreationTimestamp: metav1.NewTime(start),
		},
		Spec: networkingv1.IngressSpec{Rules: []networkingv1.IngressRule{rule(host, "app")}},
	}
	if address != "" {
		i.Status.LoadBalancer.Ingress = []networkingv1.IngressLoadBalancerIngress{loadBalancer(address)}
	}
	return i
}

func loadBalancer(address string) networkingv1.IngressLoadBalancerIngress {
	for _, c := range address {
		if c >= 'g' && c <= 'z' {
			return networkingv1.IngressLoadBalancerIngress{Hostname: address}
		}
	}
	return networkingv1.IngressLoadBalancerIngress{IP: address}
}

func rule(host, service string) networkingv1.IngressRule {
	prefix := networkingv1.PathTypePrefix
	return networkingv1.IngressRule{Host: host, IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{
		Paths: []networkingv1.HTTPIngressPath{{
			Path: "/", PathType: &prefix,
			Backend: networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: service, Port: networkingv1.ServiceBackendPort{Number: 80}}},
		}},
	}}}
}

// preparedIngress is the canary's in split mode.
func preparedIngress(address string) *networkingv1.Ingress {
	i := ingress("app-new", address)
	i.CreationTimestamp = metav1.NewTime(start.Add(time.Hour))
	i.Spec.Rules[0].HTTP.Paths[0].Backend.Service.Name = "app-canary"
	return i
}

func split(generation int64, canary int) state.Desired {
	return state.Desired{
		Generation: generation, Mode: state.Split, CanaryIngress: "app-new", Attached: true,
		Weights: state.Weights{Primary: 100 - canary, Canary: canary},
	}
}
