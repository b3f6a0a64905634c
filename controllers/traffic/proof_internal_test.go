package traffic

import (
	"context"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/penstock-dev/penstock/controllers/ramp"
	"github.com/penstock-dev/penstock/controllers/store"
	"github.com/penstock-dev/penstock/dns"
)

// assuming is a publisher of a backend that assumes what is in sync.
type assuming struct{}

func (assuming) Sync(_ context.Context, names ...types.NamespacedName) (results []dns.Result, _ error) {
	for _, name := range names {
		results = append(results, dns.Result{Ingress: name, Status: dns.Status{InSync: true, Assumed: true}})
	}
	return results, nil
}

func TestAssumedSyncIsNeverAcknowledged(t *testing.T) {
	t.Parallel()
	r := newRig(t, []string{"-assume-sync-after", "2m"}, app("one", "one.example.com")...)
	r.publisher = assuming{}
	r.run(5 * time.Minute)
	r.desire(0)
	r.run(time.Hour)
	if row := r.row.now(); len(r.row.acknowledged) > 0 || !row.Moves() {
		t.Errorf("acknowledged %+v, row %+v", r.row.acknowledged, row)
	}
}

// What was granted without evidence is not evidence when somebody asks for it.
func TestWhatWasGrantedIsNoEvidence(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, app("one", "one.example.com")...)
	g := &granting{rig: r}
	r.publisher = g
	r.run(5 * time.Minute)
	r.row.row.CurrentWeight = 50 // somebody corrects it by hand
	r.until("100 is acknowledged", func() bool { return r.row.now().CurrentWeight == 100 })
	if g.proved.IsZero() || r.clock.Now().Before(g.proved) {
		t.Errorf("acknowledged without evidence (%s, now %s)", g.proved, r.clock.Now())
	}
}

// A health check that changes while the weight rests is published: nothing else brings the Ingresses to the queue.
func TestTheHealthCheckChangesAtRest(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, app("one", "one.example.com")...)
	r.run(30 * time.Minute)
	r.row.row.HealthCheckID = "of-the-store"
	r.run(time.Minute)
	records, err := r.dns.Published(t.Context(), cluster, client.ObjectKeyFromObject(app("one")[0]), nil)
	if err != nil || len(records) != 1 || records[0].HealthCheckID != "of-the-store" {
		t.Errorf("records %+v (%v)", records, err)
	}
}

// A step that is in sync is not followed by the next one while resolvers may hold the weight before, however short the interval is.
func TestStepsWaitForTheTTL(t *testing.T) {
	t.Parallel()
	const ttl = 5 * time.Minute
	r := newRig(t, []string{"-ramp-step", "50", "-ramp-interval", "1m", "-host-ttl", ttl.String()}, app("one", "one.example.com")...)
	r.run(10 * time.Minute)
	r.desire(0)
	r.until("the first step", func() bool { return r.published("one")["one.example.com"] == 50 })
	if took := r.until("the second step", func() bool { return r.published("one")["one.example.com"] == 0 }); took < syncDelay+ttl+time.Minute {
		t.Errorf("the second step came after %s", took)
	}
}

// The next step waits for the weight, and not for what changes of an Ingress since that was served.
func TestStepsWaitForTheWeightAlone(t *testing.T) {
	t.Parallel()
	r := newRig(t, []string{"-ramp-step", "20", "-ramp-interval", "1m", "-host-ttl", "5m"}, append(app("one", "one.example.com"), app("two", "two.example.com")...)...)
	r.run(10 * time.Minute)
	r.desire(80)
	r.until("the step is acknowledged", func() bool { return r.row.now().CurrentWeight == 80 })
	r.desire(60)
	from := r.clock.Now()
	for i := 0; r.row.now().Ramp.Weight != 60; i++ {
		r.apply(endpoints("two", i%2 == 0))
		r.run(time.Minute)
		if took := r.clock.Since(from); took > 10*time.Minute {
			t.Fatalf("after %s: %+v", took, r.row.now())
		}
	}
}

// asking is a gate that keeps what it was asked, and has the row changed the first time.
type asking struct {
	row    *row
	desire int
	rising []bool
	ctx    func(ctx context.Context)
}

func (a *asking) Check(ctx context.Context, rising bool) error {
	a.rising = append(a.rising, rising)
	if a.ctx != nil {
		a.ctx(ctx)
	}
	if len(a.rising) > 1 {
		return nil
	}
	return a.row.Desire(ctx, a.desire)
}

// What a gate has said of one direction is no answer about the other.
func TestAConflictThatTurnsAsksAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t, []string{"-ramp-step", "20", "-ramp-interval", "1m"}, app("one", "one.example.com")...)
	r.row.row = &store.Row{ClusterName: cluster, DesiredWeight: 50, CurrentWeight: 50}
	r.run(5 * time.Minute)
	gate := &asking{row: r.row, desire: 10}
	r.gates = ramp.Gates{gate}
	r.desire(90)
	r.moment()
	if len(gate.rising) != 2 || !gate.rising[0] || gate.rising[1] || r.row.now().Ramp.Weight != 30 {
		t.Errorf("asked whether it may rise: %v; row %+v", gate.rising, r.row.now())
	}
}

// A store or a gate that does not answer holds up one round, not the controller.
func TestARoundHasADeadline(t *testing.T) {
	t.Parallel()
	r := newRig(t, []string{"-ramp-step", "20"}, app("one", "one.example.com")...)
	r.run(5 * time.Minute)
	bounded := false
	r.gates = ramp.Gates{&asking{row: r.row, desire: 0, ctx: func(ctx context.Context) {
		_, bounded = ctx.Deadline()
	}}}
	r.desire(0)
	r.moment()
	if !bounded {
		t.Error("nothing ends a round")
	}
}

// A leader that finds a wish which was taken back takes nothing for granted, although CurrentWeight is what it publishes.
func TestAWishThatIsTakenBackNeedsEvidence(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, app("one", "one.example.com")...)
	r.row.row.Ramp = store.Ramp{Phase: store.Moving, From: 100, To: 0, Weight: 0}
	g := &granting{rig: r}
	r.publisher = g
	r.until("100 is said to be served", func() bool { return !r.row.now().Moves() })
	if g.proved.IsZero() || r.clock.Now().Before(g.proved) {
		t.Errorf("said without evidence (%s, now %s)", g.proved, r.clock.Now())
	}
}
