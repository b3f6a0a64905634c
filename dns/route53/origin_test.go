package route53_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-dev/penstock/dns"
	"github.com/penstock-dev/penstock/dns/route53"
	"github.com/penstock-dev/penstock/internal/route53emulator"
)

// Two clusters have one name, and Ingresses of one name. Neither writes over the other's records, or withdraws them, and the error says what is the matter.
func TestTwoClustersOfOneName(t *testing.T) {
	t.Parallel()
	r := newRig(t, route53.Options{Origin: "uid-1"}, route53emulator.Options{})
	r.must(publication(shop, a("www.example.com", 10, "192.0.2.1")))
	before := r.zoneLines()
	second := r.opts
	second.Origin = "uid-2"
	r.Backend = r.backend(second)

	if names, err := r.Ingresses(t.Context(), cluster); err != nil || len(names) > 0 {
		t.Errorf("the second cluster takes ingresses %v for its own, error %v", names, err)
	}
	if got := r.published("www.example.com"); len(got) > 0 {
		t.Errorf("the second cluster takes records %v for its own", got)
	}
	status := r.publish(publication(shop, a("www.example.com", 20, "192.0.2.2"), a("free.example.com", 1, "192.0.2.2")))
	for _, part := range []string{"www.example.com", `called "east" too`, "uid-1", "www.east._penstock.example.com TXT", "a name of its own", "AdoptOrigin"} {
		if status.Err == nil || !strings.Contains(status.Err.Error(), part) {
			t.Errorf("error %v does not say %q", status.Err, part)
		}
	}
	if !errors.Is(status.Err, dns.ErrRefused) {
		t.Errorf("error %v is not told to be a refusal", status.Err)
	}
	r.must(publication(shop))
	if diff := cmp.Diff(before, r.zoneLines()); diff != "" {
		t.Errorf("the second cluster has changed the zone -before +after:\n%s", diff)
	}

	second.AdoptOrigin = "uid-1"
	r.Backend = r.backend(second)
	r.must(publication(shop, a("www.example.com", 20, "192.0.2.2")))
	r.restart()
	if status := r.publish(publication(shop, a("www.example.com", 10, "192.0.2.1"))); status.Err == nil || !strings.Contains(status.Err.Error(), "uid-2") {
		t.Errorf("after the second cluster has taken over, the first one is told %v", status.Err)
	}
}

// Who does not know its origin, as a router, and a record that does not name one, are as they were before there were origins.
func TestNoOrigin(t *testing.T) {
	t.Parallel()
	r := newRig(t, route53.Options{}, route53emulator.Options{})
	r.must(publication(shop, a("www.example.com", 10, "192.0.2.1")))
	named := r.opts
	named.Origin = "uid-1"
	for _, step := range []struct {
		reason string
		opts   route53.Options
		weight int
	}{
		{"A record that names no origin is taken over.", named, 20},
		{"Who knows no origin takes the records of all.", r.opts, 30},
		{"And has left the origin in the ownership record.", named, 40},
	} {
		r.Backend = r.backend(step.opts)
		if got := r.published("www.example.com"); len(got) != 1 {
			t.Errorf("%s\nbefore: %v", step.reason, got)
		}
		r.must(publication(shop, a("www.example.com", step.weight, "192.0.2.1")))
		if text := strings.Join(r.zoneLines(), "\n"); !strings.Contains(text, "ingress=shop/web,origin=uid-1,records") {
			t.Errorf("%s\n%s", step.reason, text)
		}
	}
}
