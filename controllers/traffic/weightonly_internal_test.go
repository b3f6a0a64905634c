package traffic

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/penstock-dev/penstock/controllers/ramp"
	"github.com/penstock-dev/penstock/controllers/store"
	"github.com/penstock-dev/penstock/dns"
)

// What comes and changes beside the weight, in a cluster where people deploy all day, keeps no gradual move from going on, nor a weight from being acknowledged.
func TestABusyClusterMoves(t *testing.T) {
	t.Parallel()
	for label, flags := range map[string][]string{"AtOnce": nil, "Gradually": {"-ramp-step", "20", "-ramp-interval", "1m"}} {
		t.Run(label, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, flags, app("one", "one.example.com")...)
			r.restart(flags...)
			r.run(5 * time.Minute)
			r.desire(20)
			r.moment()
			for i := range 300 { // always something that is not in sync yet
				r.apply(app(fmt.Sprintf("new-%d", i), fmt.Sprintf("new-%d.example.com", i))...)
				if i >= 3 {
					r.remove(app(fmt.Sprintf("new-%d", i-3))[0])
				}
				r.run(5 * time.Second)
				if r.row.now().CurrentWeight == 20 {
					break
				}
			}
			if got := r.row.now().CurrentWeight; got != 20 {
				t.Errorf("%d is served after 25 minutes in which there always was a new Ingress", got)
			}
			if pending := valueOf(t, r.metrics.pending); pending == 0 {
				t.Error("the new Ingresses do not count as pending, so this test proves nothing")
			}
		})
	}
}

// An Ingress that was there before the weight changed is waited for, however much else changes meanwhile.
func TestAnIngressThatIsNotServedIsWaitedFor(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, append(app("one", "one.example.com"), app("two", "two.example.com")...)...)
	r.run(5 * time.Minute)
	r.dns.Fail("two", context.DeadlineExceeded)
	r.desire(40)
	for i := range 6 {
		r.apply(endpoints("one", i%2 == 0))
		r.apply(app(fmt.Sprintf("new-%d", i), fmt.Sprintf("new-%d.example.com", i))...)
		r.run(time.Minute)
		if got := r.row.now().CurrentWeight; got != 100 {
			t.Fatalf("%d is acknowledged, and shop/two is served with 100", got)
		}
	}
	r.dns.Fail("two", nil)
	r.until("the weight is acknowledged", func() bool { return r.row.now().CurrentWeight == 40 })
}

// meddling is a gate that is asked while somebody changes the row.
type meddling struct {
	row   *row
	asked int
}

func (m *meddling) Check(ctx context.Context, _ bool) error {
	m.asked++
	return m.row.Desire(ctx, 100-m.asked)
}

// A row that changed meanwhile is read and judged anew, with what the gates have just said.
func TestAConflictAsksNoGateAgain(t *testing.T) {
	t.Parallel()
	flags := []string{"-ramp-step", "20", "-ramp-interval", "1m"}
	r := newRig(t, flags, app("one", "one.example.com")...)
	r.restart(flags...)
	r.row.row = &store.Row{ClusterName: cluster, DesiredWeight: 20, CurrentWeight: 20}
	r.run(5 * time.Minute)
	gate := &meddling{row: r.row}
	r.gates = ramp.Gates{gate}
	r.desire(100)
	r.moment()
	if row := r.row.now(); gate.asked != 1 || row.DesiredWeight != 99 || row.Ramp.Weight != 40 || row.Ramp.To != 99 {
		t.Errorf("asked %d times, row %+v", gate.asked, row)
	}
}

// With steps of 0 nothing is left in the row that looks like a move on its way.
func TestAMoveOfAnotherTimeIsForgotten(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, app("one", "one.example.com")...)
	r.row.row.Ramp = store.Ramp{Phase: store.Holding, From: 20, To: 100, Weight: 60, Failures: 2, Message: "refused"}
	r.run(3 * time.Minute)
	if row := r.row.now(); row.Ramp != (store.Ramp{}) || row.CurrentWeight != 100 {
		t.Errorf("row %+v", row)
	}
}

// A change of the weight while an Ingress is being published: what was published with the weight before is published again.
func TestAWeightThatChangesMeanwhile(t *testing.T) {
	t.Parallel()
	late := app("late", "late.example.com")
	r := newRig(t, nil, append(app("one", "one.example.com"), late...)...)
	r.run(5 * time.Minute)
	var once, unseen bool
	r.source.caches = interceptor.NewClient(r.kube, interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			err := c.List(ctx, list, opts...)
			if ingresses, ok := list.(*networkingv1.IngressList); ok && unseen {
				ingresses.Items = slices.DeleteFunc(ingresses.Items, func(i networkingv1.Ingress) bool { return i.Name == "late" })
			}
			return err
		},
	})
	r.dns.Intercept(func([]dns.Publication) error {
		if once {
			return nil
		}
		once, unseen = true, true
		if err := r.row.Desire(t.Context(), 40); err != nil {
			return err
		}
		r.Controller.steer(t.Context()) // which lists the Ingresses while there is none of that name
		unseen = false
		return nil
	}, nil)
	r.changedObject(late[0]) // it was deleted and made anew, say
	r.run(5 * time.Minute)
	if got := r.published("one", "late"); got["one.example.com"] != 40 || got["late.example.com"] != 40 || r.row.now().CurrentWeight != 40 {
		t.Errorf("published %v, row %+v", got, r.row.now())
	}
}

// A sick host that is ready and unready by turns has other records each time, and DNS never answers with the last ones. It is held without traffic until DNS does,
// so that a cluster can be moved, and drained, whatever its hosts do. One that falls a few times gets its traffic back as ever.
func TestAHostThatIsReadyByTurnsHoldsUpNoMove(t *testing.T) {
	t.Parallel()
	flags := []string{"-ramp-step", "50", "-ramp-interval", "1m"}
	for name, to := range map[string]int{"Drain": 0, "Less": 40} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, flags, append(app("one", "one.example.com"), app("two", "two.example.com")...)...)
			r.run(5 * time.Minute)
			r.desire(to)
			flips := 0
			for r.row.now().CurrentWeight != to {
				if flips++; flips > 120 {
					t.Fatalf("after %d turns, in %s: %+v", flips, time.Duration(flips)*10*time.Second, r.row.now())
				}
				r.apply(endpoints("two", flips%2 == 0))
				r.run(10 * time.Second) // DNS needs 20 s
			}
			r.apply(endpoints("two", true))
			r.run(time.Minute)
			if got := r.published("two")["two.example.com"]; got != to {
				t.Errorf("served, ready, and published with %d, want %d", got, to)
			}
		})
	}
	t.Run("Held", func(t *testing.T) { // it is ready, and nothing happens any more but that DNS answers
		t.Parallel()
		r := newRig(t, nil, app("one", "one.example.com")...)
		r.run(5 * time.Minute)
		r.dns.SetSyncDelay(time.Minute)
		r.desire(40)
		for turn := range 6 {
			r.apply(endpoints("one", turn%2 == 1))
			r.run(10 * time.Second)
		}
		if got := r.published("one")["one.example.com"]; got != 0 || r.row.now().CurrentWeight != 100 {
			t.Errorf("published with %d, row %+v, want 0 until DNS answers", got, r.row.now())
		}
		r.until("the weight is served", func() bool { return r.row.now().CurrentWeight == 40 })
		r.run(10 * time.Second)
		if got := r.published("one")["one.example.com"]; got != 40 {
			t.Errorf("served, ready, and published with %d, want 40", got)
		}
	})
	t.Run("Few", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, flags, app("one", "one.example.com")...)
		r.run(5 * time.Minute)
		r.dns.SetSyncDelay(time.Hour)
		r.desire(40)
		r.run(2 * time.Minute)
		for turn := range 2 {
			r.apply(endpoints("one", false))
			r.moment()
			if got := r.published("one")["one.example.com"]; got != 0 {
				t.Errorf("turn %d: published with %d while nobody is ready", turn, got)
			}
			r.apply(endpoints("one", true))
			r.moment()
			if got := r.published("one")["one.example.com"]; got != 50 {
				t.Errorf("turn %d: published with %d, want 50, the first step", turn, got)
			}
		}
	})
}

// assumedSync is a backend whose changes are never seen to be in sync.
type assumedSync struct{ dns.Backend }

func (a assumedSync) Publish(ctx context.Context, publications ...dns.Publication) ([]dns.Status, error) {
	statuses, err := a.Backend.Publish(ctx, publications...)
	for i := range statuses {
		statuses[i].Assumed = statuses[i].InSync
	}
	return statuses, err
}

// Where a weight is on its way for ever, because DNS is not asked, or never answers with it, a host gets its traffic back.
func TestAHostIsNotHeldForEver(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		flags []string
		sync  func(r *rig)
		hold  time.Duration
	}{
		"Assumed": {[]string{"-assume-sync-after", "2m"}, func(r *rig) {
			var err error
			if r.publisher, err = newPublisher(r.Controller, assumedSync{r.dns}, nil); err != nil {
				r.t.Fatal(err)
			}
		}, 0},
		"Never": {nil, func(r *rig) { r.dns.SetSyncDelay(100 * time.Hour) }, heldFor},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, tc.flags, app("one", "one.example.com")...)
			r.run(5 * time.Minute)
			tc.sync(r)
			r.desire(40)
			r.run(5 * time.Minute)
			for range 5 {
				r.apply(endpoints("one", false))
				r.run(time.Minute)
				r.apply(endpoints("one", true))
				r.run(time.Minute)
			}
			r.run(tc.hold)
			if got := r.published("one")["one.example.com"]; got != 40 {
				t.Errorf("ready for %s, published with %d, want 40", tc.hold+time.Minute, got)
			}
			for range 5 { // rarely
				r.run(fallsWithin)
				r.apply(endpoints("one", false))
				r.run(time.Minute)
				r.apply(endpoints("one", true))
				r.run(10 * time.Second)
				if got := r.published("one")["one.example.com"]; got != 40 {
					t.Errorf("a rare fall, ready, and published with %d, want 40", got)
				}
			}
		})
	}
}
