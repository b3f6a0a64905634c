package route53_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/route53/types"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	ktypes "k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/penstock-dev/penstock/dns"
	"github.com/penstock-dev/penstock/dns/route53"
	"github.com/penstock-dev/penstock/internal/route53emulator"
	"github.com/penstock-dev/penstock/internal/state"
	"github.com/penstock-dev/penstock/weights"
)

// next is the prepared Ingress of the canary of shop.
var next = ktypes.NamespacedName{Namespace: "shop", Name: "web-next"}

// clusterRig is a cluster whose publisher writes through the Backend.
type clusterRig struct {
	*rig
	kube      *fake.Clientset
	publisher *dns.Publisher
	weight    weights.Percent
}

func newClusterRig(t *testing.T, ingresses ...*networkingv1.Ingress) *clusterRig {
	t.Helper()
	objects := make([]runtime.Object, 0, len(ingresses))
	for _, ingress := range ingresses {
		objects = append(objects, ingress)
	}
	c := &clusterRig{rig: newRig(t, route53.Options{}, route53emulator.Options{}), kube: fake.NewClientset(objects...), weight: weights.Hundred}
	var err error
	c.publisher, err = dns.NewPublisher(cluster, dns.NewKubeSource(c.kube, c.clock), c.Backend, c, nil, dns.PublisherOptions{Clock: c.clock})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A prepared Ingress whose records its heir took over is not counted as pending for ever.
func TestAReleasedIngressIsNotPending(t *testing.T) {
	t.Parallel()
	c := newClusterRig(t, newIngress(next, time.Hour, "192.0.2.2", "www.example.com"), newIngress(shop, 0, "192.0.2.1", "www.example.com"))
	registry := prometheus.NewRegistry()
	c.opts.Registerer = registry
	c.restart()
	var err error
	c.publisher, err = dns.NewPublisher(cluster, dns.NewKubeSource(c.kube, c.clock), c.Backend, c, nil,
		dns.PublisherOptions{Clock: c.clock, Prove: func() bool { return true }})
	if err != nil {
		t.Fatal(err)
	}
	for range 200 {
		if _, err := c.publisher.Sync(t.Context(), shop, next); err != nil {
			t.Fatal(err)
		}
		c.desire(state.Desired{Generation: 1, Weights: state.Weights{Primary: 100}, Effective: state.Weights{Primary: 100}}) // its first change is pending
		c.clock.Advance(3 * time.Second)
	}
	if err := testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP penstock_route53_pending_publications Ingresses whose last change of DNS is not known to be in sync.
# TYPE penstock_route53_pending_publications gauge
penstock_route53_pending_publications 0
`), "penstock_route53_pending_publications"); err != nil {
		t.Error(err)
	}
}

// ClusterWeight implements dns.WeightSource.
func (c *clusterRig) ClusterWeight(context.Context) (weights.Percent, error) { return c.weight, nil }

// newIngress routes hosts to Service app.
func newIngress(name ktypes.NamespacedName, age time.Duration, address string, hosts ...string) *networkingv1.Ingress {
	ingress := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{
		Namespace: name.Namespace, Name: name.Name, UID: ktypes.UID(name.String()),
		CreationTimestamp: metav1.NewTime(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(-age)),
	}}
	for _, host := range hosts {
		ingress.Spec.Rules = append(ingress.Spec.Rules, networkingv1.IngressRule{
			Host: host,
			IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{{
				Path: "/", Backend: networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: "app"}},
			}}}},
		})
	}
	at := networkingv1.IngressLoadBalancerIngress{IP: address}
	if address == balancer {
		at = networkingv1.IngressLoadBalancerIngress{Hostname: balancer}
	}
	ingress.Status.LoadBalancer.Ingress = []networkingv1.IngressLoadBalancerIngress{at}
	return ingress
}

// desire writes what is desired of the canary of shop.
func (c *clusterRig) desire(d state.Desired) {
	c.t.Helper()
	d.Mode, d.Ingress, d.Service, d.CanaryIngress = state.Split, shop.Name, "app", next.Name
	text, err := state.Encode(d)
	if err != nil {
		c.t.Fatal(err)
	}
	client := c.kube.CoreV1().ConfigMaps(shop.Namespace)
	cm, err := client.Get(c.t.Context(), state.Name("app"), metav1.GetOptions{})
	if err == nil {
		cm.Data[state.DesiredKey] = text
		_, err = client.Update(c.t.Context(), cm, metav1.UpdateOptions{})
	} else {
		_, err = client.Create(c.t.Context(), &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: shop.Namespace, Name: state.Name("app"), Labels: map[string]string{state.Label: "app"}},
			Data:       map[string]string{state.DesiredKey: text},
		}, metav1.CreateOptions{})
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// until syncs the Ingresses until what is desired is effective.
func (c *clusterRig) until(d state.Desired, ingresses ...ktypes.NamespacedName) []dns.Result {
	c.t.Helper()
	c.desire(d)
	var o state.Observed
	for range 400 {
		results, err := c.publisher.Sync(c.t.Context(), ingresses...)
		if err != nil {
			c.t.Fatal(err)
		}
		cm, err := c.kube.CoreV1().ConfigMaps(shop.Namespace).Get(c.t.Context(), state.Name("app"), metav1.GetOptions{})
		if err != nil {
			c.t.Fatal(err)
		}
		if _, o, err = state.Read(cm); err != nil {
			c.t.Fatal(err)
		}
		if o.Done(d) {
			return results
		}
		c.clock.Advance(3 * time.Second)
	}
	c.t.Fatalf("generation %d is not effective after 20 minutes: %+v", d.Generation, o)
	return nil
}

// An older Ingress that gets the host of a canary neither freezes the canary nor, for that host, the rest of its own records.
func TestACanaryAndAnOlderIngress(t *testing.T) {
	t.Parallel()
	claimant := ktypes.NamespacedName{Namespace: "team", Name: "old"}
	c := newClusterRig(t,
		newIngress(shop, 0, "192.0.2.1", "www.example.com"),
		newIngress(next, 0, "192.0.2.2", "www.example.com"))
	c.until(state.Desired{Generation: 1, Attached: true, Weights: state.Weights{Primary: 50, Canary: 50}}, shop)
	old := newIngress(claimant, time.Hour, "192.0.2.9", "www.example.com", "own.example.com")
	if _, err := c.kube.NetworkingV1().Ingresses(claimant.Namespace).Create(t.Context(), old, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.clock.Advance(time.Minute)

	check := func(results []dns.Result) {
		t.Helper()
		ours, theirs := results[0], results[1]
		if ours.Hosts[0].Err != nil || !strings.Contains(ours.Hosts[0].Warning, "ingress team/old") {
			t.Errorf("the canary's host: %+v, want a warning of team/old", ours.Hosts[0])
		}
		if theirs.Status.Err != nil || theirs.Hosts[0].Err == nil || theirs.Hosts[1].Err != nil || theirs.Hosts[1].Weight < 0 {
			t.Errorf("the older one: %+v; want www.example.com refused, and own.example.com published", theirs)
		}
	}
	c.weight = percent(t, 20)
	check(c.until(state.Desired{Generation: 2, Attached: true, Weights: state.Weights{Primary: 100}}, shop, claimant))
	check(c.until(state.Desired{Generation: 3, Weights: state.Weights{Primary: 100}}, shop, claimant))
	want := []string{"own.example.com A east=20 ttl=300 192.0.2.9", "www.example.com A east=20 ttl=300 192.0.2.1"}
	got := slices.DeleteFunc(c.zoneLines(), func(line string) bool { return strings.Contains(line, " "+string(types.RRTypeTxt)+" ") })
	if !slices.Equal(want, sorted(got)) {
		t.Errorf("records %q, want %q", got, want)
	}
}

// A prepared Ingress that was published before there was a Canary gives the host to the Canary's in one change batch.
func TestAPreparedIngressThatWasPublishedFirst(t *testing.T) {
	t.Parallel()
	for name, order := range map[string][][]ktypes.NamespacedName{
		"the prepared one first": {{next, shop}},
		"the prepared one last":  {{shop, next}},
		"one after the other":    {{shop}, {next}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			prepared := newIngress(next, time.Hour, "192.0.2.2", "www.example.com")
			prepared.Status.LoadBalancer.Ingress = append(prepared.Status.LoadBalancer.Ingress, networkingv1.IngressLoadBalancerIngress{IP: "192.0.2.3"})
			c := newClusterRig(t, newIngress(shop, 0, "192.0.2.1", "www.example.com"), prepared)
			if results, err := c.publisher.Sync(t.Context(), next, shop); err != nil || results[0].Hosts[0].Err != nil || results[1].Hosts[0].Err == nil {
				t.Fatalf("results %+v, error %v; want the host to be the prepared one's", results, err)
			}
			c.clock.Advance(time.Minute)
			c.desire(state.Desired{Generation: 1, Weights: state.Weights{Primary: 100}})
			c.aws.ResetCalls()
			for i, batch := range order {
				results, err := c.publisher.Sync(t.Context(), batch...)
				if err != nil {
					t.Fatal(err)
				}
				if i == 0 && (len(results) != 1 || results[0].Status.Err != nil) {
					t.Errorf("results %+v", results)
				}
				if got := c.aws.Calls(route53emulator.ChangeResourceRecordSets); i == 0 && got != len(batch) {
					t.Errorf("%d change batches, want one that moves the host, and one for what it does not need", got)
				}
			}
			lines := sorted(c.zoneLines())
			if len(lines) != 2 || lines[1] != "www.example.com A east=100 ttl=300 192.0.2.1" || !strings.Contains(lines[0], "ingress=shop/web,") {
				t.Errorf("records %q, want the host at 192.0.2.1, owned by shop/web", lines)
			}
			c.restart()
			c.until(state.Desired{Generation: 2, Weights: state.Weights{Primary: 100}}, next, shop)
			if got := sorted(c.zoneLines()); !slices.Equal(got, lines) {
				t.Errorf("records %q, want %q", got, lines)
			}
		})
	}
}

func percent(t *testing.T, n int) weights.Percent {
	t.Helper()
	p, err := weights.WholePercent(n)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
