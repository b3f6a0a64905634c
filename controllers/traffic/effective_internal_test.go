package traffic

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"

	"github.com/penstock-dev/penstock/controllers/store"
	"github.com/penstock-dev/penstock/dns"
)

// Whoever waits until a move has ended may shut the cluster down: no resolver can lead anybody there any more, be it to an Ingress that was withdrawn meanwhile.
func TestAMoveEndsWhenItIsEffective(t *testing.T) {
	t.Parallel()
	held := func(r *rig) {
		one := app("one", "one.example.com")[0]
		one.SetFinalizers([]string{"example.com/balancer"})
		r.apply(one)
		r.remove(one)
	}
	for name, tc := range map[string]struct {
		flags []string
		after time.Duration // of the wish
		meet  func(r *rig)
	}{
		"AtOnce":     {nil, 0, func(*rig) {}},
		"Gradual":    {[]string{"-ramp-step", "100"}, 0, func(*rig) {}},
		"Restart":    {nil, syncDelay + 5*time.Second, func(r *rig) { r.restart() }},
		"Withdrawal": {nil, time.Second, held},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, tc.flags, app("one", "one.example.com")...)
			r.restart(tc.flags...)
			r.run(5 * time.Minute)
			r.desire(0)
			r.run(tc.after)
			tc.meet(r)
			r.until("0 is acknowledged", func() bool { return r.row.now().CurrentWeight == 0 })
			if !r.row.now().Moves() {
				t.Error("the move has ended with the acknowledgement")
			}
			status := r.status(httptest.NewRequestWithContext(t.Context(), http.MethodGet, StatusPath, nil))
			if len(status.Hosts) != 1 || status.Hosts[0].EffectiveAt == nil {
				t.Errorf("the status does not say until when: %+v", status.Hosts)
			}
			r.until("the move ends", func() bool { return !r.row.now().Moves() })
			if got := r.dns.MayAnswer("one.example.com"); len(got) > 0 && r.dns.Stale("one.example.com") {
				t.Errorf("a resolver may still answer %v", got)
			}
		})
	}
}

// A leader that starts when nobody but Ingresses that are published no more is left, and their records were not withdrawn, does not take the cluster for drained.
func TestALeaderStartsWithRecordsToWithdraw(t *testing.T) {
	t.Parallel()
	filter := []string{"-annotation-filter", "team=shop", "-sole-publisher"}
	for name, leave := range map[string]func(r *rig){
		"Finalizer": func(r *rig) {
			held := app("one", "one.example.com")[0]
			held.SetAnnotations(map[string]string{"team": "shop"})
			held.SetFinalizers([]string{"example.com/balancer"})
			r.apply(held)
			r.remove(held)
		},
		"LeftOut": func(r *rig) { r.apply(app("one", "one.example.com")[0]) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			objects := app("one", "one.example.com")
			objects[0].SetAnnotations(map[string]string{"team": "shop"})
			r := newRig(t, filter, objects...)
			r.restart(filter...)
			r.run(5 * time.Minute)
			r.dns.Fail("one", errors.New("throttled"))
			leave(r)
			r.desire(0)
			r.restart(filter...)
			r.run(5 * time.Minute)
			if got := r.row.now().CurrentWeight; got != 100 {
				t.Errorf("%d is acknowledged, and DNS has %v", got, r.published("one"))
			}
			r.dns.Fail("one", nil)
			if took := r.until("0 is acknowledged", func() bool { return r.row.now().CurrentWeight == 0 }); took < syncDelay || took > syncDelay+wantedRetry+2*lookAgain {
				t.Errorf("acknowledged after %s, and DNS needs %s", took, syncDelay)
			}
		})
	}
}

// A host that is refused when 0 was written a moment ago: nobody knows when DNS answers with that.
func TestARefusalAfterADrainWasWritten(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, app("one", "one.example.com")...)
	r.run(5 * time.Minute)
	r.desire(0)
	r.moment()
	if diff := cmp.Diff(map[string]int{"one.example.com": 0}, r.published("one")); diff != "" {
		t.Fatalf("published -want +got:\n%s", diff)
	}
	r.dns.Fail("one", dns.Refuse(errors.New("another host of it has a record in the way")))
	r.run(10 * time.Minute)
	if got := r.row.now().CurrentWeight; got != 100 {
		t.Errorf("%d is acknowledged without evidence", got)
	}
	r.dns.Fail("one", nil)
	r.until("0 is acknowledged", func() bool { return r.row.now().CurrentWeight == 0 })
}

// Nor does a refusal hold up a drain where nothing was written, or nothing that led here: nobody can ever know more of that.
func TestARefusalOfWhatNeverLedHere(t *testing.T) {
	t.Parallel()
	one := types.NamespacedName{Namespace: namespace, Name: "one"}
	host := func(weight int) []dns.HostResult { return []dns.HostResult{{Host: "one.example.com", Weight: weight}} }
	for name, tc := range map[string]struct {
		expected bool
		first    dns.Result
	}{
		"Unwritten": {true, dns.Result{Ingress: one, Hosts: host(-1), Status: dns.Status{Unwritten: true}}},
		"NewAtZero": {false, dns.Result{Ingress: one, Hosts: host(0)}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServed()
			if tc.expected {
				s.expect([]types.NamespacedName{one})
			}
			s.note(1, tc.first, true, false, start)
			refused := dns.Result{Ingress: one, Hosts: tc.first.Hosts, Status: dns.Status{Err: dns.Refuse(errors.New("a record in the way"))}}
			s.note(2, refused, true, true, start)
			if got := s.of(2, true); got.unserved != 0 || got.refused != 1 {
				t.Errorf("%+v, want one refused, and nobody waited for", got)
			}
		})
	}
}

// Where DNS is not asked, a weight is wanted for ever, and that is no reason to try what fails more often.
func TestRetriesWithAssumedSync(t *testing.T) {
	t.Parallel()
	for flag, want := range map[string]time.Duration{"": wantedRetry, "-assume-sync-after=1m": lastRetry} {
		r := newRig(t, nil, app("one", "one.example.com")...)
		if flag != "" {
			r.restart(flag)
		}
		r.run(time.Minute)
		r.desire(0)
		r.run(time.Minute)
		r.weight.set(0, "", true)
		var last time.Duration
		for range 20 {
			last = r.retryAfter(types.NamespacedName{Namespace: namespace, Name: "one"})
		}
		if last != want {
			t.Errorf("flag %q: tried again after %s, want %s", flag, last, want)
		}
	}
}

// A drain goes on soon after an outage, however long that was.
func TestADrainAfterALongOutage(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, app("one", "one.example.com")...)
	r.run(5 * time.Minute)
	r.dns.Fail("one", errors.New("throttled"))
	r.desire(0)
	r.run(time.Hour)
	r.dns.Fail("one", nil)
	if took := r.until("0 is acknowledged", func() bool { return r.row.now().CurrentWeight == 0 }); took > wantedRetry+syncDelay+2*lookAgain {
		t.Errorf("acknowledged %s after the outage, want at most %s", took, wantedRetry+syncDelay+2*lookAgain)
	}
}

// Each read of a DynamoDB table costs, also in a move: events of Ingresses and endpoints cause none.
func TestReadsOfTheStoreInAMove(t *testing.T) {
	t.Parallel()
	flags := []string{"-ramp-step", "10", "-ramp-interval", "10m"}
	r := newRig(t, flags, app("one", "one.example.com")...)
	r.restart(flags...)
	r.run(10 * time.Minute)
	r.desire(0)
	r.run(5 * time.Minute)
	if row := r.row.now(); row.Ramp.Phase != store.Moving || row.CurrentWeight == 0 {
		t.Fatalf("row %+v, want a move on its way", row)
	}
	if reads, most := r.readsInAMinute(); reads > most {
		t.Errorf("%d reads in a minute with an event a second, want %d at most", reads, most)
	}
}

// What kept a cache from being filled before anybody waited for it is no news.
func TestAFaultFromBeforeTheCachesAreWaitedFor(t *testing.T) {
	t.Parallel()
	f := &filling{}
	f.note("*v1.Ingress", errors.New("the API server did not answer"))
	var told []string
	f.begin(func(why string) { told = append(told, why) })
	if slices.ContainsFunc(told, func(why string) bool { return why != "" }) {
		t.Errorf("told %q", told)
	}
}
