package dns_test

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-dev/penstock/dns"
)

// measured starts the publisher anew with metrics, and returns what counts the series of each by its host, or by nothing.
func (r *rig) measured() func() map[string]int {
	r.t.Helper()
	registry := prometheus.NewRegistry()
	p, err := dns.NewPublisher("east", dns.NewKubeSource(r.kube, r.clock), r.backend, r.weight, nil, dns.PublisherOptions{Clock: r.clock, Registerer: registry})
	if err != nil {
		r.t.Fatal(err)
	}
	r.publisher = p
	return func() map[string]int {
		r.t.Helper()
		families, err := registry.Gather()
		if err != nil {
			r.t.Fatal(err)
		}
		found := map[string]int{}
		for _, family := range families {
			for _, m := range family.GetMetric() {
				name := family.GetName()
				for _, label := range m.GetLabel() {
					if label.GetName() == "host" {
						name += " " + label.GetValue()
					}
				}
				found[name]++
			}
		}
		return found
	}
}

func TestMetricsOfWhatIsGone(t *testing.T) {
	t.Parallel()
	app := ingress("app", primaryLB)
	app.Spec.Rules = append(app.Spec.Rules, rule("other.example.com", "app"))
	r := newRig(t, app)
	series := r.measured()
	expect := func(when string, want ...string) {
		t.Helper()
		if got := slices.Sorted(maps.Keys(series())); !slices.Equal(got, want) {
			t.Errorf("%s: series %q, want %q", when, got, want)
		}
	}
	const pending, refused, weight = "penstock_dns_effective_in_seconds", "penstock_dns_hosts_refused", "penstock_dns_record_weight "
	r.sync()
	expect("two hosts", pending, refused, weight+host, weight+"other.example.com")

	app.Spec.Rules = app.Spec.Rules[1:]
	r.apply(app)
	r.sync()
	expect("one host", pending, refused, weight+"other.example.com")

	if err := r.kube.NetworkingV1().Ingresses(namespace).Delete(t.Context(), "app", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	r.sync()
	expect("no Ingress, and answers that may live", pending, refused)
	r.pass(10 * time.Minute)
	expect("nothing")
}

func TestMetricsOfAnIngressThatBecomesACanarys(t *testing.T) {
	t.Parallel()
	all := earlyIngress()
	all.Spec.Rules = all.Spec.Rules[:1]
	r := newRig(t, all, ingress("app", primaryLB))
	series := r.measured()
	for _, canarys := range []bool{false, true} {
		if canarys {
			r.wish(unattached(1, early.Name))
		}
		if _, err := r.publisher.Sync(t.Context(), apex, early); err != nil {
			t.Fatal(err)
		}
		if got, want := series()["penstock_dns_hosts_refused"], map[bool]int{false: 2, true: 1}[canarys]; got != want {
			t.Errorf("metrics of %d Ingresses, want %d: %v", got, want, series())
		}
	}
}

func TestMetricsOfRefusedHostsStay(t *testing.T) {
	t.Parallel()
	r := newRig(t, ingress("app", ""))
	series := r.measured()
	r.pass(10 * time.Minute)
	if got := series(); got["penstock_dns_hosts_refused"] != 1 {
		t.Errorf("series %v of an Ingress whose host waits for a load balancer", got)
	}
}
