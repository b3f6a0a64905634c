package traffic

import (
	"testing"
	"time"

	"github.com/penstock-dev/penstock/controllers/store"
)

// A wish that is taken back before it was acknowledged leaves CurrentWeight as it was, and the row says that something else is published until DNS proves that
// it is not: whoever shuts a cluster down reads that. Another leader, with steps or without, sees it too.
func TestAWishThatIsTakenBack(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ flags, next []string }{
		"AtOnce":          {nil, nil},
		"Gradually":       {[]string{"-ramp-step", "100", "-ramp-interval", "1s"}, []string{"-ramp-step", "100", "-ramp-interval", "1s"}},
		"AtOnceFromSteps": {[]string{"-ramp-step", "100", "-ramp-interval", "1s"}, nil},
		"StepsFromAtOnce": {nil, []string{"-ramp-step", "10"}},
	} {
		for label, meanwhile := range map[string]func(r *rig){
			"SameLeader":    func(*rig) {},
			"AnotherLeader": func(r *rig) { r.restart(tc.next...) },
		} {
			t.Run(name+label, func(t *testing.T) {
				t.Parallel()
				r := newRig(t, tc.flags, app("one", "one.example.com")...)
				r.row.row.DesiredWeight, r.row.row.CurrentWeight = 0, 0
				r.run(5 * time.Minute)
				if row := r.row.now(); row.Moves() {
					t.Errorf("at rest the row moves: %+v", row)
				}
				r.desire(100)
				r.until("100 is published", func() bool { return r.published("one")["one.example.com"] == 100 })
				r.run(syncDelay - 2*time.Second)
				r.desire(0)
				if row := r.row.now(); row.CurrentWeight != 0 || !row.Moves() {
					t.Errorf("before the controller has seen the wish the row says that 0 is served: %+v", row)
				}
				meanwhile(r)
				r.moment()
				back := r.clock.Now()
				if got := r.published("one")["one.example.com"]; got != 0 {
					t.Errorf("published %d", got)
				}
				r.until("0 is served", func() bool { return !r.row.now().Moves() })
				if took := r.clock.Since(back); took < syncDelay {
					t.Errorf("0 is said to be served after %s, and DNS needs %s", took, syncDelay)
				}
				if row := r.row.now(); row.CurrentWeight != 0 || len(tc.flags)+len(tc.next) == 0 && row.Ramp != (store.Ramp{}) || len(r.row.acknowledged) > 0 {
					t.Errorf("row %+v, acknowledged %+v", row, r.row.acknowledged)
				}
			})
		}
	}
}

// Without a CurrentWeight nobody knows where a gradual move would begin, so the weight is DesiredWeight at once, and from there on it moves in steps.
func TestARowWithoutCurrentWeight(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		reason string
		row    *store.Row
		flags  []string
	}{
		"NoRow":    {"The weight was that of a flag, and now a row is made.", nil, []string{"-ramp-step", "10", "-initial-weight", "100"}},
		"ByPeople": {"People write DesiredWeight alone.", &store.Row{ClusterName: cluster, DesiredWeight: 100, CurrentWeight: store.Unknown}, []string{"-ramp-step", "10"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, nil, app("one", "one.example.com")...)
			r.run(5 * time.Minute)
			r.row.row = tc.row
			r.restart(tc.flags...)
			r.moment()
			r.desire(0)
			last := 100
			for range 3600 {
				r.run(time.Second)
				got := r.published("one")["one.example.com"]
				if got != last && got != last-10 {
					t.Fatalf("%s\nfrom %d to %d: %+v", tc.reason, last, got, r.row.now())
				}
				last = got
			}
			if row := r.row.now(); row.CurrentWeight != 0 || row.Ramp.Phase != store.Arrived {
				t.Errorf("%s\nafter an hour %+v", tc.reason, row)
			}
		})
	}
	t.Run("Replaced", func(t *testing.T) {
		t.Parallel()
		flags := []string{"-ramp-step", "10"}
		r := newRig(t, flags, app("one", "one.example.com")...)
		r.run(5 * time.Minute)
		r.row.mu.Lock()
		r.row.row = &store.Row{ClusterName: cluster, DesiredWeight: 90, CurrentWeight: store.Unknown}
		r.row.mu.Unlock()
		r.steer = time.Time{}
		r.moment()
		if got := r.published("one")["one.example.com"]; got != 90 {
			t.Errorf("a row that was replaced wants 90, and %d is published: %+v", got, r.row.now())
		}
		r.until("90 is served", func() bool { row := r.row.now(); return row.CurrentWeight == 90 && !row.Moves() })
	})
}

// An Ingress that is deleted and made again while a weight changes is waited for: DNS answers with what was published for the first one. That is so also if it
// was deleted a moment before.
func TestAnIngressThatIsMadeAgain(t *testing.T) {
	t.Parallel()
	for name, removedFirst := range map[string]bool{"InTheChange": false, "BeforeTheChange": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, nil, append(app("one", "one.example.com"), app("two", "two.example.com")...)...)
			r.run(5 * time.Minute)
			remove := func() {
				r.remove(app("one", "one.example.com")[0])
				r.run(time.Second)
			}
			if removedFirst {
				remove()
			}
			r.desire(0)
			r.moment()
			const slow = 3 * time.Minute
			r.dns.SetSyncDelay(slow)
			if !removedFirst {
				remove()
			}
			r.apply(app("one", "one.example.com")[0])
			if took := r.until("0 is acknowledged", func() bool { return r.row.now().CurrentWeight == 0 }); took < slow {
				t.Errorf("0 is acknowledged %s after the Ingress was made again, and DNS serves that after %s", took, slow)
			}
		})
	}
}

// What was withdrawn long ago is not remembered for ever.
func TestWithdrawnIngressesAreForgotten(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, append(app("one", "one.example.com"), app("two", "two.example.com")...)...)
	r.run(5 * time.Minute)
	r.remove(app("one", "one.example.com")[0])
	r.run(2 * remembered)
	r.remove(app("two", "two.example.com")[0])
	r.run(time.Minute)
	if n := len(r.served.ingresses); n != 1 {
		t.Errorf("%d names are remembered, want that of the last one", n)
	}
}
