package externaldns_test

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
