package dns_test

import (
	"context"
	"testing"
	"time"

	"github.com/penstock-dev/penstock/dns"
)

// busy is a Backend that cannot write for now.
type busy struct {
	dns.Backend

	on bool
}

func (b *busy) Publish(ctx context.Context, publications ...dns.Publication) ([]dns.Status, error) {
	if !b.on {
		return b.Backend.Publish(ctx, publications...)
	}
	statuses := make([]dns.Status, len(publications))
	for i := range statuses {
		statuses[i] = dns.Status{Unwritten: true, Reason: "it is being deleted"}
	}
	return statuses, nil
}

// onBusy starts the publisher anew, with a backend that can be made busy.
func (r *rig) onBusy() *busy {
	r.t.Helper()
	b := &busy{Backend: r.backend}
	p, err := dns.NewPublisher("east", dns.NewKubeSource(r.kube, r.clock), b, r.weight, nil, dns.PublisherOptions{Clock: r.clock})
	if err != nil {
		r.t.Fatal(err)
	}
	r.publisher = p
	return b
}

// What is not written yet is neither published nor effective, is told with its reason, and makes a drain no longer than it is.
func TestWhatIsNotWrittenYet(t *testing.T) {
	t.Parallel()
	r := newRig(t, ingress("app", primaryLB), preparedIngress(canaryLB))
	b := r.onBusy()
	r.wish(split(1, 30))
	r.until(effective(1))
	r.clock.Sleep(time.Hour)
	r.wish(split(2, 0))
	r.weight.percent = whole(t, 0)
	b.on = true
	for range 10 {
		result := r.sync()[0]
		if result.Hosts[0].Weight != 60 || result.Status.Err != nil || result.InSync() {
			t.Errorf("result %+v, want the weight 60 that is published, no error, and not in sync", result)
		}
		if o := r.observed(); o.Effective || o.Error != "" || o.Pending != "it is being deleted" {
			t.Errorf("observed %+v, want that it is not effective, and why", o)
		}
		r.clock.Sleep(time.Second)
	}
	b.on = false
	if took := r.until(effective(2)); took > syncDelay+dns.DefaultInnerTTL+5*time.Second {
		t.Errorf("the drain takes %s from when it is written", took)
	}
}

// An inner set is not removed before the host is seen to point away from it.
func TestAnEndThatIsNotWrittenYet(t *testing.T) {
	t.Parallel()
	r := newRig(t, ingress("app", primaryLB), preparedIngress(canaryLB))
	b := r.onBusy()
	r.wish(split(1, 0))
	r.until(effective(1))
	r.clock.Sleep(time.Hour)
	d := split(2, 0)
	d.Attached = false
	r.wish(d)
	b.on = true
	r.sync()
	if o := r.observed(); !o.Attached {
		t.Errorf("observed %+v, want it attached", o)
	}
	first := 0
	r.backend.Intercept(nil, func(publications []dns.Publication) error {
		if first == 0 {
			first = len(publications[0].Records)
		}
		return nil
	})
	b.on = false
	r.until(effective(2))
	if first < 2 || r.backend.Stale(host) {
		t.Errorf("%d records while resolvers may ask for the inner set", first)
	}
}

// A canary that is served is so while the next change waits.
func TestAWeightThatIsNotWrittenYetLeavesTheCanaryEffective(t *testing.T) {
	t.Parallel()
	r := newRig(t, ingress("app", primaryLB), preparedIngress(canaryLB))
	b := r.onBusy()
	r.wish(split(1, 30))
	r.until(effective(1))
	r.weight.percent, b.on = whole(t, 20), true
	r.sync()
	if o := r.observed(); !effective(1)(o) {
		t.Errorf("observed %+v, want it effective", o)
	}
}
