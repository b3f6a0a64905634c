package traffic

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/penstock-dev/penstock/controllers/store"
	"github.com/penstock-dev/penstock/dns"
)

// The weight goes from the store to DNS and is acknowledged when every server answers with it, not before.
func TestAWeightIsAcknowledgedWhenItIsServed(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, append(app("one", "one.example.com"), app("two", "two.example.com", "three.example.com")...)...)
	r.run(5 * time.Minute)
	if got := len(r.row.acknowledged); got != 0 {
		t.Errorf("%d acknowledgements of a weight that was served from the beginning", got)
	}

	r.desire(40)
	r.moment()
	want := map[string]int{"one.example.com": 40, "two.example.com": 40, "three.example.com": 40}
	if diff := cmp.Diff(want, r.published("one", "two")); diff != "" {
		t.Errorf("published at once -want +got:\n%s", diff)
	}
	took := r.until("the weight is acknowledged", func() bool { return r.row.now().CurrentWeight == 40 })
	if took < syncDelay || took > syncDelay+2*lookAgain {
		t.Errorf("acknowledged after %s, and DNS needs %s", took, syncDelay)
	}
	r.run(5 * time.Minute)
	if got := len(r.row.acknowledged); got != 1 {
		t.Errorf("%d acknowledgements, want 1", got)
	}
}

// One Ingress that is not served keeps the whole weight from being acknowledged; one that nobody can publish does not.
func TestWhatAnAcknowledgementWaitsFor(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		err    error
		want   int
	}{
		"Fault":   {"A fault passes, and then the host is served with the weight.", errors.New("dns is away"), 100},
		"Refusal": {"Nothing but a change of somebody else helps this host, and the others are served.", dns.Refuse(errors.New("not ours")), 40},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, nil, append(app("one", "one.example.com"), app("two", "two.example.com")...)...)
			r.run(5 * time.Minute)
			r.dns.Fail("two", tc.err)
			r.desire(40)
			r.run(10 * time.Minute)
			if got := r.row.now().CurrentWeight; got != tc.want {
				t.Errorf("%s\nCurrentWeight %d, want %d", tc.reason, got, tc.want)
			}
			if r.notes.with("NotPublished", "shop/two", tc.err.Error()) != 1 {
				t.Errorf("events %q do not say once what is wrong with shop/two", r.notes.lines)
			}
			r.dns.Fail("two", nil)
			r.until("all is served", func() bool { return r.row.now().CurrentWeight == 40 && r.published("two")["two.example.com"] == 40 })
		})
	}
}

// A controller that dies at any moment of a change is followed by one that ends it, and none acknowledges too early.
func TestTheNextLeaderEndsAChange(t *testing.T) {
	t.Parallel()
	for seconds := range 60 {
		t.Run(fmt.Sprint(seconds), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, nil, append(app("one", "one.example.com"), app("two", "two.example.com")...)...)
			r.run(5 * time.Minute)
			r.desire(40)
			r.run(time.Duration(seconds) * time.Second)
			changed := r.clock.Now()
			acknowledged := len(r.row.acknowledged)
			r.restart()
			r.until("the weight is acknowledged", func() bool { return r.row.now().CurrentWeight == 40 })
			if acknowledged == 0 && r.clock.Since(changed) < syncDelay-time.Duration(seconds)*time.Second {
				t.Errorf("acknowledged after %s", r.clock.Since(changed))
			}
			if got := r.published("one", "two"); got["one.example.com"] != 40 || got["two.example.com"] != 40 {
				t.Errorf("published %v", got)
			}
			r.run(10 * time.Minute)
			if got := len(r.row.acknowledged); got != 1 {
				t.Errorf("%d acknowledgements, want 1", got)
			}
		})
	}
}

// Where everything is as it should be, a start writes nothing, neither records nor the row.
func TestAStartWithNothingToDoWritesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, append(app("one", "one.example.com"), app("two", "two.example.com")...)...)
	r.run(5 * time.Minute)
	writes := r.dns.Writes()
	r.restart()
	r.run(time.Hour)
	if got := r.dns.Writes() - writes; got != 0 || r.row.writes != 0 {
		t.Errorf("%d writes of records, %d of the row", got, r.row.writes)
	}
}

// The store is away, malformed, or refuses: the weight stays, people are told once, and when it is back all goes on.
func TestTheStoreFails(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"Away":      errors.New("dial tcp: connection refused"),
		"NoTable":   errors.New("the table does not exist"),
		"Malformed": fmt.Errorf("%w: attribute DesiredWeight is missing", store.ErrInvalid),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, nil, app("one", "one.example.com")...)
			r.run(time.Minute)
			r.row.readErr = err
			r.desire(40)
			r.run(time.Hour)
			if got := r.published("one")["one.example.com"]; got != 100 {
				t.Errorf("weight %d while the store cannot be read, want the last one, 100", got)
			}
			if r.notes.with("StoreFailed", err.Error()) != 1 {
				t.Errorf("events %q", r.notes.lines)
			}
			r.row.readErr = nil
			r.until("the weight is served", func() bool { return r.row.now().CurrentWeight == 40 })
		})
	}
	t.Run("AtTheStart", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, nil, app("one", "one.example.com")...)
		r.run(5 * time.Minute)
		r.row.readErr = errors.New("away")
		r.restart()
		r.desire(40)
		r.apply(app("two", "two.example.com")...)
		r.run(time.Hour)
		if diff := cmp.Diff(map[string]int{"one.example.com": 100}, r.published("one", "two")); diff != "" {
			t.Errorf("with a weight that is not known, records -want +got:\n%s", diff)
		}
		r.row.readErr = nil
		r.until("the weight is served", func() bool { return r.row.now().CurrentWeight == 40 })
		if diff := cmp.Diff(map[string]int{"one.example.com": 40, "two.example.com": 40}, r.published("one", "two")); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
	t.Run("WritesAreRefused", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, nil, app("one", "one.example.com")...)
		r.run(time.Minute)
		r.row.writeErr = errors.New("throttled")
		r.desire(40)
		r.run(time.Hour)
		if got := r.published("one")["one.example.com"]; got != 40 || r.row.now().CurrentWeight != 100 || r.notes.with("StoreFailed", "throttled") != 1 {
			t.Errorf("weight %d, row %+v, events %q", got, r.row.now(), r.notes.lines)
		}
		r.row.writeErr = nil
		r.until("the weight is acknowledged", func() bool { return r.row.now().CurrentWeight == 40 })
	})
}

// A weight that cannot be written into the row is published if it is lower, as that of a drain. One that is higher waits: if it were published, and the wish taken
// back, the row would say that no traffic is led here, while DNS leads traffic here. All else goes on.
func TestARaiseThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		reason  string
		before  int
		restart bool
		wishes  []int // the last one cannot be written
		want    int
	}{
		"Running":            {"It has published the weight before.", 0, false, []int{50}, 0},
		"Starting":           {"It has published nothing, and the row says what was served.", 0, true, []int{50}, 0},
		"StartingInBetween":  {"The row says what was on its way, and 60 is less.", 50, true, []int{80, 60}, 60},
		"StartingWithMore":   {"The row says what was on its way, and 90 is more.", 50, true, []int{80, 90}, 80},
		"StartingWithADrain": {"It is less than what was served.", 50, true, []int{0}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, nil, app("one", "one.example.com")...)
			r.desire(tc.before)
			r.until("the weight is served", func() bool { return r.row.now().CurrentWeight == tc.before })
			for i, wish := range tc.wishes {
				if i == len(tc.wishes)-1 {
					r.row.writeErr = errors.New("throttled")
					if tc.restart {
						r.restart()
					}
				}
				r.desire(wish)
				r.moment()
			}
			r.apply(app("two", "two.example.com")...)
			r.run(time.Hour)
			want := map[string]int{"one.example.com": tc.want, "two.example.com": tc.want}
			if diff := cmp.Diff(want, r.published("one", "two")); diff != "" || r.row.now().CurrentWeight != tc.before {
				t.Errorf("%s\nrow %+v, records -want +got:\n%s", tc.reason, r.row.now(), diff)
			}
			r.row.writeErr = nil
			last := tc.wishes[len(tc.wishes)-1]
			r.until("the weight is served", func() bool { return r.row.now().CurrentWeight == last })
			want = map[string]int{"one.example.com": last, "two.example.com": last}
			if diff := cmp.Diff(want, r.published("one", "two")); diff != "" {
				t.Errorf("%s\nin the end, records -want +got:\n%s", tc.reason, diff)
			}
		})
	}
}

// A Ramp that CurrentWeight contradicts, as one that was left behind when another controller led, says nothing of what is published.
func TestAStaleRampIsNotWhatIsPublished(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, app("one", "one.example.com")...)
	r.run(5 * time.Minute)
	r.row.row.Ramp = store.Ramp{Phase: store.Moving, From: 50, To: 40, Weight: 40}
	r.row.writeErr = errors.New("AccessDenied")
	r.restart()
	r.run(time.Minute)
	if got := r.published("one")["one.example.com"]; got != 100 {
		t.Errorf("published with %d, and 100 was served", got)
	}
}

// A row that somebody removes while it is used, as GitOps that prunes or a table that is made anew, is made again as it was: nobody has said that the
// traffic is to move. So neither this leader nor the next one moves it, and a gradual move goes on where it was.
func TestARowThatIsRemoved(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		flags  []string
		desire int
		moving bool // at 90 when the row goes
		want   int
	}{
		"AtRest":       {nil, 100, false, 100},
		"InitialIsAll": {[]string{"-ramp-step", "10", "-initial-weight", "100"}, 100, false, 100},
		"InAMove":      {[]string{"-ramp-step", "10", "-initial-weight", "50"}, 0, true, 0},
		"Drained":      {[]string{"-initial-weight", "100"}, 0, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, tc.flags, app("one", "one.example.com")...)
			r.run(5 * time.Minute)
			r.desire(tc.desire)
			last := tc.desire
			if tc.moving {
				last = 90
				r.until("the first step", func() bool { return r.published("one")["one.example.com"] == last })
			} else {
				r.until("the weight is served", func() bool { return r.row.now().CurrentWeight == tc.desire })
			}
			before := r.row.now()
			r.row.remove()
			r.steer = time.Time{}
			r.moment()
			if got := r.row.now(); got != before {
				t.Errorf("the row is %+v, and was %+v", got, before)
			}
			if r.notes.with("Warning RowGone controller", fmt.Sprintf("DesiredWeight %d", tc.desire)) != 1 {
				t.Errorf("events %q do not say once that the row was gone", r.notes.lines)
			}
			r.restart(tc.flags...)
			for range 3600 {
				r.run(time.Second)
				got := r.published("one")["one.example.com"]
				if got != last && (!tc.moving || got != last-10) {
					t.Fatalf("from %d to %d", last, got)
				}
				last = got
			}
			if last != tc.want || r.row.now().CurrentWeight != tc.want {
				t.Errorf("after an hour %d is published, and the row is %+v", last, r.row.now())
			}
		})
	}
	t.Run("AndCannotBeMade", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, nil, app("one", "one.example.com")...)
		r.run(5 * time.Minute)
		r.row.remove()
		r.row.writeErr = errors.New("the namespace does not exist")
		r.steer = time.Time{}
		r.run(time.Hour)
		if got := r.published("one")["one.example.com"]; got != 100 || r.notes.with("StoreFailed", "the namespace does not exist") != 1 {
			t.Errorf("weight %d, events %q", got, r.notes.lines)
		}
		r.row.writeErr = nil
		r.run(time.Minute)
		if got := r.row.now(); got.DesiredWeight != 100 || got.CurrentWeight != 100 {
			t.Errorf("the row is %+v", got)
		}
	})
	t.Run("Twice", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, nil, app("one", "one.example.com")...)
		for range 2 {
			r.run(time.Minute)
			r.row.remove()
		}
		r.run(time.Minute)
		if r.notes.with("RowGone") != 2 {
			t.Errorf("events %q", r.notes.lines)
		}
	})
}

// A weight that changes again before it is served is never acknowledged.
func TestAWeightThatChangesAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, append(app("one", "one.example.com"), app("two", "two.example.com")...)...)
	r.run(5 * time.Minute)
	for _, weight := range []int{40, 70, 20} {
		r.desire(weight)
		r.run(syncDelay / 2)
	}
	r.until("the weight is acknowledged", func() bool { return r.row.now().CurrentWeight != 100 })
	if len(r.row.acknowledged) != 1 || r.row.now().CurrentWeight != 20 {
		t.Errorf("acknowledged %+v, want 20 alone", r.row.acknowledged)
	}
}

func TestTheRowIsMadeOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, app("one", "one.example.com")...)
	r.row.row = nil
	r.restart("-initial-weight", "30")
	r.run(5 * time.Minute)
	if got := r.row.now(); got.DesiredWeight != 30 || got.CurrentWeight != 30 {
		t.Errorf("row %+v, want 30 desired and served", got)
	}
	r.desire(50)
	r.restart("-initial-weight", "30")
	r.until("the store's weight is served", func() bool { return r.row.now().CurrentWeight == 50 })
}

// More than 100 counts as 100 on every path, and what is served is acknowledged.
func TestAWeightAbove100(t *testing.T) {
	t.Parallel()
	objects := append(app("plain", "plain.example.com"), app("annotated", "annotated.example.com")...)
	objects[2].SetAnnotations(map[string]string{"dns.adevinta.com/traffic-weight": "50"})
	r := newRig(t, nil, objects...)
	r.desire(300)
	r.run(5 * time.Minute)
	want := map[string]int{"plain.example.com": 100, "annotated.example.com": 50}
	if diff := cmp.Diff(want, r.published("plain", "annotated")); diff != "" || r.row.now().CurrentWeight != 100 {
		t.Errorf("row %+v, records -want +got:\n%s", r.row.now(), diff)
	}
	if r.notes.with("WeightAbove100", "DesiredWeight 300") != 1 {
		t.Errorf("events %q", r.notes.lines)
	}
}

func TestTheHealthCheckOfTheStoreComesFirst(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, app("one", "one.example.com")...)
	r.restart("-aws-health-check-id", "of-the-flag")
	check := func(want string) {
		t.Helper()
		r.steer = time.Time{}
		r.run(time.Minute)
		records, err := r.dns.Published(t.Context(), cluster, client.ObjectKeyFromObject(&networkingv1.Ingress{ObjectMeta: app("one")[0].(*networkingv1.Ingress).ObjectMeta}), nil)
		if err != nil || len(records) != 1 || records[0].HealthCheckID != want {
			t.Errorf("records %+v (%v), want health check %s", records, err, want)
		}
	}
	check("of-the-flag")
	r.row.row.HealthCheckID = "of-the-store"
	check("of-the-store")
}

// A gradual move: each step is effective before the next one, a restart in the middle goes on, a gate that refuses takes it back.
func TestAGradualMove(t *testing.T) {
	t.Parallel()
	flags := []string{"-ramp-step", "20", "-ramp-interval", "1m", "-ramp-failures", "3"}
	r := newRig(t, flags, app("one", "one.example.com")...)
	r.row.row.DesiredWeight, r.row.row.CurrentWeight = 0, 0
	r.run(5 * time.Minute)
	r.desire(100)
	last, changed := 0, r.clock.Now()
	for i := range 3000 {
		r.moment()
		if got := r.published("one")["one.example.com"]; got != last {
			if got != last+20 {
				t.Fatalf("from %d to %d", last, got)
			}
			if last > 0 && r.clock.Since(changed) < syncDelay+hostTTL+time.Minute {
				t.Errorf("the step to %d came %s after the one before, which was effective only then", got, r.clock.Since(changed))
			}
			last, changed = got, r.clock.Now()
		}
		if i%397 == 0 {
			r.restart(flags...)
		}
		r.clock.Sleep(time.Second)
	}
	if now := r.row.now(); now.CurrentWeight != 100 || now.Ramp.Phase != store.Arrived {
		t.Errorf("the row is %+v after 50 minutes", now)
	}
	r.shows(store.Arrived, 100, 0)
}

// shows checks what the metrics say of a gradual move.
func (r *rig) shows(phase store.Phase, weight, failures float64) {
	r.t.Helper()
	for _, p := range phases {
		want := 0.0
		if p == phase {
			want = 1
		}
		if got := valueOf(r.t, r.metrics.phase.WithLabelValues(string(p))); got != want {
			r.t.Errorf("the metric of phase %s is %v, want %v", p, got, want)
		}
	}
	if got := valueOf(r.t, r.metrics.rampWeight); got != weight {
		r.t.Errorf("the metric of the ramp's weight is %v, want %v", got, weight)
	}
	if got := valueOf(r.t, r.metrics.rampFailures); got != failures {
		r.t.Errorf("the metric of refusals is %v, want %v", got, failures)
	}
}

// A change at once is no gradual move.
func TestMetricsOfAChangeAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, app("one", "one.example.com")...)
	r.run(5 * time.Minute)
	r.desire(40)
	r.run(time.Second)
	if r.row.now().Ramp.Phase != store.Moving {
		t.Fatalf("row %+v", r.row.now())
	}
	r.shows("", 0, 0)
}

// A move that is held again in the same words is told again.
func TestEachHoldIsTold(t *testing.T) {
	t.Parallel()
	flags := []string{"-ramp-step", "20", "-ramp-interval", "1m", "-ramp-failures", "5", "-ramp-ready", "100"}
	r := newRig(t, flags, app("one", "one.example.com", "two.example.com")...)
	r.row.row.DesiredWeight, r.row.row.CurrentWeight = 20, 20
	r.restart(flags...)
	r.run(5 * time.Minute)
	for n := 1; n <= 2; n++ {
		r.desire(100)
		r.until("the first step", func() bool { return r.published("one")["one.example.com"] == 40 })
		r.apply(endpoints("two", false))
		r.until("it is held", func() bool { return r.row.now().Ramp.Phase == store.Holding })
		r.moment()
		if got := r.notes.with("RampHolding", "refusal 1 of 5"); got != n {
			t.Errorf("hold %d: %d events, %q", n, got, r.notes.lines)
		}
		r.shows(store.Holding, 40, 1)
		r.apply(endpoints("two", true))
		r.desire(20)
		r.until("it is back", func() bool { now := r.row.now(); return now.CurrentWeight == 20 && !now.Moves() })
		r.run(5 * time.Minute)
	}
}

// The prefix of the annotations is that of the flag, and no other.
func TestAnnotationPrefix(t *testing.T) {
	t.Parallel()
	objects := append(app("one", "one.example.com"), app("two", "two.example.com")...)
	objects[0].SetAnnotations(map[string]string{"weights.example.com/traffic-weight": "50"})
	objects[2].SetAnnotations(map[string]string{"dns.adevinta.com/traffic-weight": "50"})
	r := newRig(t, []string{"-annotation-prefix", "weights.example.com"}, objects...)
	r.run(time.Minute)
	if got := r.published("one", "two"); got["one.example.com"] != 50 || got["two.example.com"] != 100 {
		t.Errorf("published %v, want half for the one with the annotation", got)
	}
}

func TestAGateTakesAMoveBack(t *testing.T) {
	t.Parallel()
	flags := []string{"-ramp-step", "20", "-ramp-interval", "1m", "-ramp-failures", "3", "-ramp-ready", "100"}
	r := newRig(t, flags, app("one", "one.example.com", "two.example.com")...)
	r.row.row.DesiredWeight, r.row.row.CurrentWeight = 20, 20
	r.restart(flags...)
	r.run(5 * time.Minute)
	r.desire(100)
	r.until("the first step", func() bool { return r.published("one")["one.example.com"] == 40 })
	r.apply(endpoints("two", false))
	r.until("it went back", func() bool { return r.row.now().Ramp.Phase == store.RolledBack })
	r.run(10 * time.Minute)
	if got := r.published("one"); got["one.example.com"] != 20 || got["two.example.com"] != 0 || r.row.now().CurrentWeight != 20 {
		t.Errorf("published %v, row %+v", got, r.row.now())
	}
	r.shows(store.RolledBack, 20, 3)
	if agreed, refused := valueOf(t, r.metrics.gates.WithLabelValues("agreed")), valueOf(t, r.metrics.gates.WithLabelValues("refused")); agreed != 1 || refused != 3 {
		t.Errorf("gates have agreed %v times and refused %v times by their metric", agreed, refused)
	}
	if r.notes.with("RampRolledBack", "1 of 2") != 1 || r.notes.with("RampHolding") == 0 {
		t.Errorf("events %q", r.notes.lines)
	}
	// A sick cluster can always be drained.
	r.desire(0)
	r.until("the cluster is drained", func() bool { return r.row.now().CurrentWeight == 0 })
}
