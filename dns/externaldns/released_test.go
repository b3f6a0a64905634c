package externaldns_test

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/penstock-dev/penstock/dns"
	"github.com/penstock-dev/penstock/internal/state"
	"github.com/penstock-dev/penstock/weights"
)

// A prepared Ingress whose records its heir took over is not counted as pending for ever, nor kept.
func TestAReleasedIngressIsNotPending(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	registry := prometheus.NewRegistry()
	r.opts.Registerer = registry
	r.restart()
	prepared := types.NamespacedName{Namespace: shop.Namespace, Name: "aa-next"} // it is first of the same age
	kube := fake.NewClientset(newIngress(shop.Name, "app", primaryLB), newIngress(prepared.Name, "app-canary", canaryLB))
	p, err := dns.NewPublisher(cluster, dns.NewKubeSource(kube, r.clock), r.backend, dns.StaticWeight(weights.Hundred), nil,
		dns.PublisherOptions{Clock: r.clock, Prove: func() bool { return true }})
	if err != nil {
		t.Fatal(err)
	}
	sync := func() {
		t.Helper()
		for range 100 {
			if _, err := p.Sync(t.Context(), shop, prepared); err != nil {
				t.Fatal(err)
			}
			r.externalDNS(false)
			r.clock.Advance(5 * time.Second)
		}
	}
	sync()
	writeWish(t, kube, state.Desired{
		Generation: 1, Mode: state.Split, Ingress: shop.Name, Service: "app", CanaryIngress: prepared.Name,
		Weights: state.Weights{Primary: 100}, Effective: state.Weights{Primary: 100},
	})
	sync()
	if err := testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP penstock_dnsendpoint_pending_publications Ingresses whose last change of DNS is not known to be in sync.
# TYPE penstock_dnsendpoint_pending_publications gauge
penstock_dnsendpoint_pending_publications 0
`), "penstock_dnsendpoint_pending_publications"); err != nil {
		t.Error(err)
	}
	if n := r.backend.Remembered(); n != 1 {
		t.Errorf("%d Ingresses are kept, want that of the Canary", n)
	}
}
