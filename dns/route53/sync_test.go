package route53_test

import (
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/route53/types"
	"github.com/google/go-cmp/cmp"

	"github.com/penstock-dev/penstock/dns"
	"github.com/penstock-dev/penstock/dns/route53"
	"github.com/penstock-dev/penstock/internal/route53emulator"
)

// A change that is PENDING for long is awaited, not repeated.
func TestPendingForLong(t *testing.T) {
	t.Parallel()
	r := newRig(t, route53.Options{}, route53emulator.Options{})
	r.aws.HoldChanges(true)
	p := publication(shop, a("www.example.com", 10, "192.0.2.1"))
	for range 20 {
		p.Prior = r.must(p)[0]
		if p.Prior.InSync || !contains(p.Prior.Reason, p.Prior.Change) {
			t.Fatalf("a held change is pending and the reason names it, got %+v", p.Prior)
		}
		r.clock.Advance(time.Minute)
	}
	if got := r.aws.Calls(route53emulator.ChangeResourceRecordSets); got != 1 {
		t.Errorf("%d batches, want 1", got)
	}
	r.aws.HoldChanges(false)
	r.clock.Advance(syncDelay)
	if s := r.must(p)[0]; !s.InSync || s.Change != p.Prior.Change {
		t.Errorf("in sync once it is let go, got %+v", s)
	}
}

// What a restarted process does with records that stand as they should.
func TestRestart(t *testing.T) {
	t.Parallel()
	records := []dns.Record{elb("www.example.com", 10)}
	for name, tc := range map[string]struct {
		reason  string
		after   time.Duration // between the write and the restart
		forget  bool          // Route 53 no longer knows the change
		prove   bool
		prior   func(written dns.Status) dns.Status
		inSync  bool // at once
		batches int  // until in sync
		gets    int  // of the first call
	}{
		"Remembered": {
			reason: "What was in sync stays so, without a call.",
			after:  time.Minute, prove: true, inSync: true,
			prior: func(w dns.Status) dns.Status {
				return dns.Status{Change: w.Change, InSync: true, InSyncSince: time.Unix(1, 0)}
			},
		},
		"RememberedPending": {
			reason: "A change that was pending is asked for.",
			after:  time.Second, prove: true, gets: 1,
			prior: func(w dns.Status) dns.Status { return w },
		},
		"RememberedPendingNowInSync": {
			reason: "It may have been in sync meanwhile.",
			after:  time.Minute, prove: true, inSync: true, gets: 1,
			prior: func(w dns.Status) dns.Status { return w },
		},
		"Forgotten": {
			reason: "A change that is no longer known says nothing: the same is submitted again and that awaited.",
			after:  time.Minute, forget: true, batches: 1, gets: 1,
			prior: func(w dns.Status) dns.Status { return w },
		},
		"NothingRemembered": {
			reason: "A process that died after the batch and before it wrote its id down: without evidence, evidence is made.",
			after:  time.Minute, prove: true, batches: 1,
		},
		"NothingRememberedWhilePending": {
			reason: "The same while the lost change is on its way.",
			after:  time.Second, prove: true, batches: 1,
		},
		"NothingToProve": {
			reason: "Nobody depends on it: what stands is taken for in sync.",
			after:  time.Minute, inSync: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, route53.Options{}, route53emulator.Options{})
			p := publication(shop, records...)
			written := r.must(p)[0]
			stands := r.zoneLines()
			r.clock.Advance(tc.after)
			if tc.forget {
				r.aws.ForgetChanges()
			}
			r.restart()
			r.calls()
			p.Prove = tc.prove
			if tc.prior != nil {
				p.Prior = tc.prior(written)
			}
			s := r.must(p)[0]
			if got := r.aws.Calls(route53emulator.GetChange); got != tc.gets {
				t.Errorf("%s\n%d GetChange, want %d", tc.reason, got, tc.gets)
			}
			if s.InSync != tc.inSync || s.InSync == s.InSyncSince.IsZero() || s.Assumed {
				t.Errorf("%s\ngot %+v", tc.reason, s)
			}
			if tc.batches == 0 && p.Prior.InSync && !s.InSyncSince.Equal(p.Prior.InSyncSince) {
				t.Errorf("%s\nin sync since %s, want %s", tc.reason, s.InSyncSince, p.Prior.InSyncSince)
			}
			if tc.batches > 0 && (s.Change == written.Change || s.Change == "") {
				t.Errorf("%s\nstill awaits %q", tc.reason, s.Change)
			}
			last := r.settled(remembering(p, s))
			if got := r.aws.Calls(route53emulator.ChangeResourceRecordSets); got != tc.batches {
				t.Errorf("%s\n%d batches, want %d", tc.reason, got, tc.batches)
			}
			if last.Change != s.Change {
				t.Errorf("%s\nawaited %q, then %q", tc.reason, s.Change, last.Change)
			}
			if diff := cmp.Diff(stands, r.zoneLines()); diff != "" {
				t.Errorf("%s\nthe records changed:\n%s", tc.reason, diff)
			}
		})
	}
}

// A caller that remembers nothing still gets there: what this process has submitted is not submitted again.
func TestProveWithoutMemoryOfTheCaller(t *testing.T) {
	t.Parallel()
	r := newRig(t, route53.Options{}, route53emulator.Options{})
	p := publication(shop, a("www.example.com", 10, "192.0.2.1"))
	r.must(p)
	r.restart()
	p.Prove = true
	for range 20 {
		r.must(p)
		r.clock.Advance(3 * time.Second)
	}
	s := r.must(p)[0]
	again := r.must(p)[0]
	if !s.InSync || !again.InSyncSince.Equal(s.InSyncSince) {
		t.Errorf("in sync, and since the same time on each call: got %+v, then %+v", s, again)
	}
	if got := r.aws.Calls(route53emulator.ChangeResourceRecordSets); got != 2 {
		t.Errorf("%d batches, want 2: the first, and one to prove it", got)
	}
}

// What a fresh process found at rest was granted without evidence: another one may have written it a moment before. That the caller remembers it changes nothing.
func TestWhatWasGrantedAtRestIsProved(t *testing.T) {
	t.Parallel()
	r := newRig(t, route53.Options{}, route53emulator.Options{})
	p := publication(shop, a("www.example.com", 0, "192.0.2.1"))
	r.must(p)
	begun := r.clock.Now()
	r.restart()
	p.Prior = r.must(p)[0]
	if !p.Prior.InSync {
		t.Fatalf("got %+v at rest, want in sync", p.Prior)
	}
	p.Prove = true
	if s := r.must(p)[0]; s.InSync {
		t.Errorf("got %+v %s after it was written, and Route 53 needs %s", s, r.clock.Since(begun), syncDelay)
	}
	s := r.settled(p)
	p.Prior = dns.Status{Change: s.Change, InSync: true, InSyncSince: s.InSyncSince}
	calls := r.aws.Calls(route53emulator.ChangeResourceRecordSets)
	for range 3 {
		r.must(p)
	}
	if got := r.aws.Calls(route53emulator.ChangeResourceRecordSets) - calls; got != 0 {
		t.Errorf("%d more changes of what is proved", got)
	}
}

// There is nothing that could be submitted again for an Ingress that has no records.
func TestNothingToProve(t *testing.T) {
	t.Parallel()
	r := newRig(t, route53.Options{}, route53emulator.Options{})
	p := publication(shop)
	p.Prove = true
	if s := r.must(p)[0]; !s.InSync || !s.Assumed {
		t.Errorf("got %+v, want assumed", s)
	}
	p.Prove = false
	granted := r.must(p)[0]
	if !granted.InSync || granted.Assumed {
		t.Errorf("got %+v, want in sync", granted)
	}
	p.Prove, p.Prior = true, granted
	if s := r.must(p)[0]; !s.InSync || s.Assumed {
		t.Errorf("got %+v of what was granted, want in sync", s)
	}
	p.Prove, p.Prior = false, dns.Status{}
	r.calls()
	for range 5 {
		r.clock.Advance(time.Minute)
		r.must(p)
	}
	r.expectCalls("zones 0, list 0, change 0, get 0", "an Ingress without records costs nothing")
}

// One GetChange serves all Publications that wait for the same change.
func TestGetChangeIsShared(t *testing.T) {
	t.Parallel()
	r := newRig(t, route53.Options{}, route53emulator.Options{})
	publications := many(40)
	for i, s := range r.must(publications...) {
		publications[i].Prior = s
	}
	r.calls()
	r.clock.Advance(3 * time.Second)
	r.must(publications...)
	r.expectCalls("zones 0, list 0, change 0, get 1", "40 wait for one change")
	r.clock.Advance(3 * time.Second)
	var wg sync.WaitGroup
	for _, p := range publications {
		wg.Go(func() {
			if _, err := r.Publish(t.Context(), p); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	r.expectCalls("zones 0, list 0, change 0, get 1", "asked one by one at the same time")
	r.clock.Advance(syncDelay)
	since := time.Time{}
	for i, s := range r.must(publications...) {
		if !s.InSync || i > 0 && !s.InSyncSince.Equal(since) {
			t.Errorf("publication %d: %+v, others since %s", i, s, since)
		}
		since = s.InSyncSince
	}
}

// A drift is repaired, and counts as a change that is awaited anew.
func TestDrift(t *testing.T) {
	t.Parallel()
	r := newRig(t, route53.Options{}, route53emulator.Options{})
	p := publication(shop, a("www.example.com", 10, "192.0.2.1"))
	p.Prior = r.settled(p)
	for name, set := range map[string]types.ResourceRecordSet{
		"weight":  weighted(simple("www.example.com", types.RRTypeA, "192.0.2.1"), cluster, 99),
		"address": weighted(simple("www.example.com", types.RRTypeA, "192.0.2.66"), cluster, 10),
	} {
		r.clock.Advance(time.Minute)
		r.change(types.ChangeActionUpsert, set)
		s := r.must(p)[0]
		if s.InSync || s.Change == p.Prior.Change {
			t.Errorf("%s: a repair is pending, got %+v", name, s)
		}
		p.Prior = r.settled(remembering(p, s))
		if want := "www.example.com A east=10 ttl=300 192.0.2.1"; r.zoneLines()[1] != want {
			t.Errorf("%s: got %v", name, r.zoneLines())
		}
	}
	r.clock.Advance(time.Minute)
	r.change(types.ChangeActionDelete, weighted(simple("www.example.com", types.RRTypeA, "192.0.2.1"), cluster, 10))
	p.Prior = r.settled(p)
	if got := len(r.zoneLines()); got != 2 {
		t.Errorf("a deleted record comes back, got %v", r.zoneLines())
	}
	r.clock.Advance(time.Minute)
	r.change(types.ChangeActionDelete, simple("www.east._penstock.example.com", types.RRTypeTxt, `"heritage=penstock,cluster=east,ingress=shop/web,records=A/east"`))
	wantError(t, r.publish(publication(shop, a("www.example.com", 20, "192.0.2.1"))).Err,
		"without its ownership record a record is nobody's", "no record says whose it is")
}
