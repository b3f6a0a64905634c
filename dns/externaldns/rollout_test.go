package externaldns_test

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/penstock-dev/penstock/dns"
	"github.com/penstock-dev/penstock/dns/externaldns"
	"github.com/penstock-dev/penstock/internal/state"
	"github.com/penstock-dev/penstock/weights"
)

const (
	interval  = time.Minute // external-dns' default
	primaryLB = "192.0.2.10"
	canaryLB  = "192.0.2.20"
)

func newIngress(name, service, address string) *networkingv1.Ingress {
	return &networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{Namespace: shop.Namespace, Name: name, UID: uid},
		Spec: networkingv1.IngressSpec{Rules: []networkingv1.IngressRule{{
			Host: "www.example.com",
			IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{{
				Path: "/", Backend: networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{
					Name: service, Port: networkingv1.ServiceBackendPort{Number: 80},
				}},
			}}}},
		}}},
		Status: networkingv1.IngressStatus{LoadBalancer: networkingv1.IngressLoadBalancerStatus{
			Ingress: []networkingv1.IngressLoadBalancerIngress{{IP: address}},
		}},
	}
}

// A canary in split mode goes its whole way through external-dns, and the cluster publisher dies before each of its calls.
func TestARolloutThroughExternalDNS(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	kube := fake.NewClientset(newIngress("web", "app", primaryLB), newIngress("web-next", "app-canary", canaryLB))
	published := false
	stop := r.clock.Every(interval, func() {
		if published {
			r.externalDNS(false)
		}
	})
	defer stop()
	publish := func() {
		r.restart()
		p, err := dns.NewPublisher(cluster, dns.NewKubeSource(kube, r.clock), r.backend, dns.StaticWeight(weights.Hundred), nil, dns.PublisherOptions{Clock: r.clock})
		if err != nil {
			t.Fatal(err)
		}
		// A process that lives for as long as a check takes: it begins anew with each step.
		for range 8 {
			results, err := p.Sync(t.Context(), shop)
			if err != nil || results[0].Status.Err != nil {
				t.Fatalf("%+v, error %v", results, err)
			}
			published = true
			r.clock.Advance(5 * time.Second)
		}
	}
	steps := []struct {
		name     string
		attached bool
		canary   int
		answers  []string // of the inner name; empty: it does not exist
		host     string
	}{
		{"first step", true, 10, []string{primaryLB, canaryLB}, inner},
		{"raise", true, 60, []string{primaryLB, canaryLB}, inner},
		{"drain", true, 0, []string{primaryLB}, inner},
		{"back to the load balancer", false, 0, nil, primaryLB},
	}
	for i, step := range steps {
		desired := state.Desired{
			Generation: int64(i + 1), Mode: state.Split, Ingress: "web", Service: "app", CanaryIngress: "web-next",
			Attached: step.attached, Weights: state.Weights{Primary: 100 - step.canary, Canary: step.canary},
		}
		writeWish(t, kube, desired)
		from := r.clock.Now()
		var o state.Observed
		for !o.Effective || o.Generation != desired.Generation {
			if r.clock.Since(from) > 30*time.Minute {
				t.Fatalf("%s: not effective after 30 minutes: %+v", step.name, o)
			}
			publish()
			o = readAnswer(t, kube)
		}
		t.Logf("%s took %s", step.name, r.clock.Since(from))
		r.server.set(func(s *nameServer) {
			if got := s.records[inner+" A"]; strings.Join(got, " ") != strings.Join(step.answers, " ") {
				t.Errorf("%s: inner set %v, want %v", step.name, got, step.answers)
			}
			if got := s.records["www.example.com A"]; len(got) != 1 || got[0] != step.host {
				t.Errorf("%s: the host points at %v, want %s", step.name, got, step.host)
			}
		})
	}
	if got := r.object().GetLabels()[externaldns.ManagedByLabel]; got != "penstock" {
		t.Errorf("label %q", got)
	}
}

// The Ingress goes together with its Canary, before external-dns has looked. The way back is effective when nobody is led to the canary any more, and not before.
func TestAWayBackWithoutAHostIsProven(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	kube := fake.NewClientset(newIngress("web", "app", primaryLB), newIngress("web-next", "app-canary", canaryLB))
	p, err := dns.NewPublisher(cluster, dns.NewKubeSource(kube, r.clock), r.backend, dns.StaticWeight(weights.Hundred), nil, dns.PublisherOptions{Clock: r.clock})
	if err != nil {
		t.Fatal(err)
	}
	d := state.Desired{
		Generation: 1, Mode: state.Split, Ingress: "web", Service: "app", CanaryIngress: "web-next", Attached: true, Weights: state.Weights{Primary: 50, Canary: 50},
	}
	sync := func(done func(state.Observed) bool, externalDNS bool) bool {
		for range 100 {
			if _, err := p.Sync(t.Context(), shop); err != nil {
				t.Fatal(err)
			}
			if externalDNS {
				r.externalDNS(false)
			}
			if done(readAnswer(t, kube)) {
				return true
			}
			r.clock.Advance(5 * time.Second)
		}
		return false
	}
	writeWish(t, kube, d)
	if !sync(func(o state.Observed) bool { return o.Done(d) }, true) {
		t.Fatal("never attached")
	}
	if err := kube.NetworkingV1().Ingresses(shop.Namespace).Delete(t.Context(), "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	d.Generation, d.Attached, d.Weights = 2, false, state.Weights{Primary: 100}
	writeWish(t, kube, d)
	if sync(func(o state.Observed) bool { return o.Effective && o.Generation == 2 || !o.Attached }, false) {
		t.Errorf("%+v while name servers answer %v", readAnswer(t, kube), r.server.records[inner+" A"])
	}
	if !sync(func(o state.Observed) bool { return o.Done(d) && !o.Attached }, true) {
		t.Errorf("not effective, though external-dns has withdrawn the records: %+v", readAnswer(t, kube))
	}
}

func writeWish(t *testing.T, kube *fake.Clientset, d state.Desired) {
	t.Helper()
	text, err := state.Encode(d)
	if err != nil {
		t.Fatal(err)
	}
	client := kube.CoreV1().ConfigMaps(shop.Namespace)
	cm, err := client.Get(t.Context(), state.Name("app"), metav1.GetOptions{})
	if err == nil {
		cm.Data[state.DesiredKey] = text
		_, err = client.Update(t.Context(), cm, metav1.UpdateOptions{})
	} else {
		_, err = client.Create(t.Context(), &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: shop.Namespace, Name: state.Name("app"), UID: uid, Labels: map[string]string{state.Label: "app"}},
			Data:       map[string]string{state.DesiredKey: text},
		}, metav1.CreateOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
}

func readAnswer(t *testing.T, kube *fake.Clientset) state.Observed {
	t.Helper()
	cm, err := kube.CoreV1().ConfigMaps(shop.Namespace).Get(t.Context(), state.Name("app"), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, o, err := state.Read(cm)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// One DNSEndpoint alone has the host of a canary, also when an older Ingress gets it.
func TestACanaryAndAnOlderIngress(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	kube := fake.NewClientset(newIngress("web", "app", primaryLB), newIngress("web-next", "app-canary", canaryLB))
	publisher := func() *dns.Publisher {
		p, err := dns.NewPublisher(cluster, dns.NewKubeSource(kube, r.clock), r.backend, dns.StaticWeight(weights.Hundred), nil, dns.PublisherOptions{Clock: r.clock})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	p := publisher()
	until := func(d state.Desired, ingresses ...types.NamespacedName) []dns.Result {
		t.Helper()
		d.Mode, d.Ingress, d.Service, d.CanaryIngress = state.Split, "web", "app", "web-next"
		writeWish(t, kube, d)
		for range 400 {
			results, err := p.Sync(t.Context(), ingresses...)
			if err != nil {
				t.Fatal(err)
			}
			r.externalDNS(false)
			if readAnswer(t, kube).Done(d) {
				return results
			}
			r.clock.Advance(5 * time.Second)
		}
		t.Fatalf("generation %d is not effective: %+v", d.Generation, readAnswer(t, kube))
		return nil
	}
	until(state.Desired{Generation: 1, Attached: true, Weights: state.Weights{Primary: 50, Canary: 50}}, shop)

	old := newIngress("old", "old", "192.0.2.30")
	old.Namespace, old.UID, old.CreationTimestamp = "team", "uid-old", metav1.NewTime(begin.Add(-time.Hour))
	for _, name := range []string{"web", "web-next"} {
		younger, err := kube.NetworkingV1().Ingresses(shop.Namespace).Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		younger.CreationTimestamp = metav1.NewTime(begin)
		if _, err := kube.NetworkingV1().Ingresses(shop.Namespace).Update(t.Context(), younger, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := kube.NetworkingV1().Ingresses("team").Create(t.Context(), old, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	r.restart()
	p = publisher()
	claimant := types.NamespacedName{Namespace: "team", Name: "old"}
	for generation := int64(2); generation <= 3; generation++ {
		results := until(state.Desired{Generation: generation, Attached: generation == 2, Weights: state.Weights{Primary: 100}}, shop, claimant)
		if ours := results[0].Hosts[0]; ours.Err != nil || !strings.Contains(ours.Warning, "ingress team/old") {
			t.Errorf("generation %d: %+v, want a warning of team/old", generation, ours)
		}
		if theirs := results[1].Hosts[0]; theirs.Err == nil || !strings.Contains(theirs.Err.Error(), "ingress shop/web already") {
			t.Errorf("generation %d: the older one: %+v, want it refused", generation, theirs)
		}
	}
	objects, err := r.kube.Resource(externaldns.Resource).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(objects.Items) != 1 || objects.Items[0].GetName() != shop.Name {
		t.Errorf("%d dnsendpoints, error %v; want that of shop/web alone", len(objects.Items), err)
	}
}
