package dns_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/penstock-dev/penstock/dns"
)

// withReadiness starts the publisher anew, with what ready says.
func (r *rig) withReadiness(ready func(host string) (bool, error)) {
	r.t.Helper()
	p, err := dns.NewPublisher("east", dns.NewKubeSource(r.kube, r.clock), r.backend, r.weight, nil, dns.PublisherOptions{
		Clock: r.clock, Prove: func() bool { return true },
		Ready: func(_ context.Context, _ *networkingv1.Ingress, host string) (bool, error) { return ready(host) },
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.publisher = p
}

func weightsByHost(results []dns.Result) map[string]int {
	got := map[string]int{}
	for _, h := range results[0].Hosts {
		got[h.Host] = h.Weight
	}
	return got
}

func TestAHostWithoutEndpointsGetsNothing(t *testing.T) {
	t.Parallel()
	hosts := []string{"one.example.com", "two.example.com", "three.example.com"}
	app := ingress("app", primaryLB)
	app.Spec.Rules = nil
	for _, h := range hosts {
		app.Spec.Rules = append(app.Spec.Rules, rule(h, "app"))
	}
	r := newRig(t, app)
	down := map[string]bool{}
	var unknown error
	r.withReadiness(func(host string) (bool, error) { return !down[host], unknown })
	for _, absent := range append(hosts, "") {
		clear(down)
		down[absent] = true
		got := weightsByHost(r.sync())
		for _, h := range hosts {
			want := 60
			if h == absent {
				want = 0
			}
			if got[h] != want {
				t.Errorf("while %q has no endpoints, %s has weight %d, want %d", absent, h, got[h], want)
			}
		}
	}
	unknown = errors.New("the cache is away")
	down[hosts[0]] = true
	r.weight.percent = whole(t, 10)
	results := r.sync()
	for _, h := range results[0].Hosts {
		if h.Weight != 60 || !strings.Contains(h.Warning, "the cache is away") {
			t.Errorf("when it is not known who is ready, %s has weight %d and warning %q; the published weight stays", h.Host, h.Weight, h.Warning)
		}
	}
}

func TestWhenAChangeIsEffective(t *testing.T) {
	t.Parallel()
	r := newRig(t, ingress("app", primaryLB))
	r.withReadiness(func(string) (bool, error) { return true, nil })
	r.sync()
	r.clock.Sleep(time.Hour)
	r.sync()
	r.weight.percent = whole(t, 20)
	if at := r.sync()[0].EffectiveAt; !at.IsZero() {
		t.Errorf("effective at %s, though it is not in sync", at)
	}
	r.clock.Sleep(syncDelay)
	result := r.sync()[0]
	if want := r.clock.Now().Add(dns.DefaultTTL); !result.InSync() || !result.EffectiveAt.Equal(want) {
		t.Errorf("in sync %t, effective at %s, want when answers with the weight before have expired: %s", result.InSync(), result.EffectiveAt, want)
	}
}

func TestTargetOf(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"localhost":       "localhost",
		"LB.Example.NET.": "lb.example.net",
		"192.0.2.7":       "192.0.2.7",
		"lb..example":     "",
		"-x":              "",
	} {
		got, err := dns.TargetOf(ingress("app", address))
		if got.String() != want || (err != nil) != (want == "") {
			t.Errorf("load balancer %q: target %q, error %v; want %q", address, got, err, want)
		}
	}
}

func TestTheHealthCheckMayChange(t *testing.T) {
	t.Parallel()
	r := newRig(t, ingress("app", primaryLB))
	id := "one"
	p, err := dns.NewPublisher("east", dns.NewKubeSource(r.kube, r.clock), r.backend, r.weight, nil, dns.PublisherOptions{
		Clock: r.clock, HealthCheckID: "never", HealthCheck: func() string { return id },
	})
	if err != nil {
		t.Fatal(err)
	}
	r.publisher = p
	for _, id = range []string{"one", "two", ""} {
		r.sync()
		if got := r.records()[0].HealthCheckID; got != id {
			t.Errorf("health check %q, want %q", got, id)
		}
	}
}
