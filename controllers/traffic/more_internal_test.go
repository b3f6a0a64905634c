package traffic

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/penstock-dev/penstock/controllers/store"
	"github.com/penstock-dev/penstock/dns"
	"github.com/penstock-dev/penstock/internal/state"
)

// Two controllers of one cluster share it by their filters. Only the one whose Ingress it is answers a Canary.
func TestCanariesOfAnotherController(t *testing.T) {
	t.Parallel()
	wish := canary("one", state.Desired{Generation: 1, Mode: state.Shared, Ingress: "one", Service: "one"})
	for domain, want := range map[string]bool{"example.com": true, "example.org": false} {
		r := newRig(t, nil, append(app("one", "one.example.com"), wish.DeepCopy())...)
		r.restart("-binding-domain", domain)
		answered := false
		r.source.answer = func(context.Context, *corev1.ConfigMap, string) error { answered = true; return nil }
		r.changedObject(wish)
		r.run(time.Minute)
		if answered != want {
			t.Errorf("the controller of %s answered %t, want %t", domain, answered, want)
		}
	}
}

// granting is a publisher whose backend takes what it finds for in sync, unless it is asked for evidence, which takes a while.
type granting struct {
	rig    *rig
	proved time.Time // when evidence is there; zero until it is asked for
}

func (g *granting) Sync(_ context.Context, names ...types.NamespacedName) ([]dns.Result, error) {
	status := dns.Status{InSync: true, Assumed: true}
	if g.rig.weight.wanted() {
		if g.proved.IsZero() {
			g.proved = g.rig.clock.Now().Add(syncDelay)
		}
		status = dns.Status{InSync: !g.rig.clock.Now().Before(g.proved)}
	}
	var results []dns.Result
	for _, name := range names {
		results = append(results, dns.Result{Ingress: name, Status: status})
	}
	return results, nil
}

// After a restart nothing proves what was acknowledged before. That must not look pending for ever, nor keep a gradual move from beginning; but nothing new
// is acknowledged without evidence.
func TestWhatWasAcknowledgedNeedsNoProof(t *testing.T) {
	t.Parallel()
	flags := []string{"-ramp-step", "20", "-ramp-interval", "1m"}
	r := newRig(t, flags, app("one", "one.example.com")...)
	r.row.row.Ramp = store.Ramp{Phase: store.Arrived, From: 80, To: 100, Weight: 100}
	g := &granting{rig: r}
	r.publisher = g
	r.run(5 * time.Minute)
	generation, _ := r.weight.now()
	if p := r.served.of(generation, false); p.pending != 0 {
		t.Errorf("%d ingresses pending", p.pending)
	}
	r.desire(0)
	r.until("the first step is published", func() bool { return r.row.now().Ramp.Weight == 80 })
	if !g.proved.IsZero() && r.row.now().CurrentWeight != 100 {
		t.Errorf("acknowledged %d without evidence", r.row.now().CurrentWeight)
	}
	r.until("the step is acknowledged", func() bool { return r.row.now().CurrentWeight == 80 })
	if r.clock.Now().Before(g.proved) {
		t.Error("acknowledged before there was evidence")
	}
}
