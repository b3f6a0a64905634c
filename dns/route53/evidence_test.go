package route53_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/route53/types"

	"github.com/penstock-dev/penstock/dns"
	"github.com/penstock-dev/penstock/dns/route53"
	"github.com/penstock-dev/penstock/internal/route53emulator"
)

// A caller that has missed the answer to its last change is not told of the one before.
func TestAnEarlierChangeProvesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, route53.Options{}, route53emulator.Options{})
	before := r.settled(publication(shop, a("www.example.com", 10, "192.0.2.1")))
	r.clock.Advance(time.Minute)
	now := publication(shop, a("www.example.com", 10, "192.0.2.2"))
	missed := r.must(now)[0]
	r.clock.Advance(time.Second)
	if s := r.must(remembering(now, before))[0]; s.InSync || s.Change != missed.Change {
		t.Errorf("got %+v, want to wait for %s", s, missed.Change)
	}
}

// What is found as it should be is not in sync from before on, when it was something else.
func TestWhatOthersHaveWrittenIsInSyncFromNowOn(t *testing.T) {
	t.Parallel()
	r := newRig(t, route53.Options{}, route53emulator.Options{})
	r.must(publication(shop, a("www.example.com", 10, "192.0.2.1")))
	r.restart()
	r.must(publication(shop, a("www.example.com", 10, "192.0.2.1")))
	r.clock.Advance(time.Hour)
	r.change(types.ChangeActionUpsert, weighted(simple("www.example.com", types.RRTypeA, "192.0.2.2"), cluster, 10))
	written := r.clock.Now()
	if s := r.must(publication(shop, a("www.example.com", 10, "192.0.2.2")))[0]; s.InSyncSince.Before(written) {
		t.Errorf("in sync since %v, which was written at %v", s.InSyncSince, written)
	}
}

// The change before proves nothing about records whose change has no answer, or which somebody else has made: they are submitted once more, and what makes them
// be in sync is younger than they are.
func TestTheChangeBeforeProvesNothing(t *testing.T) {
	t.Parallel()
	const times = -1
	drop := route53emulator.Fault{Kind: route53emulator.DroppedAfter, Operation: route53emulator.ChangeResourceRecordSets}
	for name, tc := range map[string]struct {
		faults []route53emulator.Fault
		others bool
	}{
		"LostInEveryRound": {faults: []route53emulator.Fault{{Kind: drop.Kind, Operation: drop.Operation, Times: times}}},
		"NotReadAgain":     {faults: []route53emulator.Fault{drop, {Kind: route53emulator.Unavailable, Operation: route53emulator.ListResourceRecordSets, Skip: 1, Times: times}}},
		"MadeByOthers":     {others: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, route53.Options{}, route53emulator.Options{})
			r.settled(publication(shop, a("www.example.com", 10, "192.0.2.1")))
			r.clock.Advance(10 * time.Minute)
			now := publication(shop, a("www.example.com", 0, "192.0.2.1"))
			now.Prove = true
			begun := r.clock.Now()
			if tc.others {
				r.change(types.ChangeActionUpsert, weighted(simple("www.example.com", types.RRTypeA, "192.0.2.1"), cluster, 0))
			} else {
				r.aws.Inject(tc.faults...)
				if s := r.publish(now); s.Err == nil {
					t.Fatalf("the fault was not met: %+v", s)
				}
				r.aws.ClearFaults()
			}
			if got := r.zoneLines(); !slices.Contains(got, "www.example.com A east=0 ttl=300 192.0.2.1") {
				t.Fatalf("the change was not made: %q", got)
			}
			calls := r.aws.Calls(route53emulator.ChangeResourceRecordSets)
			if s := r.settled(now); s.InSyncSince.Sub(begun) < syncDelay {
				t.Errorf("in sync since %s after it was written, want %s at least", s.InSyncSince.Sub(begun), syncDelay)
			}
			if got := r.aws.Calls(route53emulator.ChangeResourceRecordSets) - calls; got != 1 {
				t.Errorf("%d changes to prove it, want 1", got)
			}
		})
	}
}

// Of two zones the answer to the change of one is lost. Then both are submitted again, whoever waits, and the publication is in sync when both are.
func TestALostAnswerOfOneZone(t *testing.T) {
	t.Parallel()
	for name, prove := range map[string]bool{"Waited": true, "NotWaited": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, route53.Options{}, route53emulator.Options{})
			r.addZone("example.org")
			r.settled(publication(shop, a("www.example.com", 10, "192.0.2.1"), a("www.example.org", 10, "192.0.2.1")))
			r.clock.Advance(10 * time.Minute)
			now := publication(shop, a("www.example.com", 0, "192.0.2.1"), a("www.example.org", 0, "192.0.2.1"))
			now.Prove = prove
			r.aws.Inject(route53emulator.Fault{Kind: route53emulator.DroppedAfter, Operation: route53emulator.ChangeResourceRecordSets, Skip: 1, Times: -1})
			if s := r.publish(now); s.Err == nil {
				t.Fatalf("the fault was not met: %+v", s)
			}
			r.aws.ClearFaults()
			r.clock.Advance(10 * time.Minute)
			begun, calls := r.clock.Now(), r.aws.Calls(route53emulator.ChangeResourceRecordSets)
			if s := r.settled(now); s.InSyncSince.Sub(begun) < syncDelay || strings.Count(s.Change, ",") != 1 {
				t.Errorf("in sync by %q since %s after it was written again, want two changes, and %s at least", s.Change, s.InSyncSince.Sub(begun), syncDelay)
			}
			if got := r.aws.Calls(route53emulator.ChangeResourceRecordSets) - calls; got != 2 {
				t.Errorf("%d changes, want one in each zone", got)
			}
		})
	}
}

// A change that nobody has made is waited for by nobody: a zone whose change was denied, or whose answer was lost, is left out again. The publication goes on
// in the others, and is in sync with no more changes than that takes.
func TestAZoneThatIsLeftOutAgain(t *testing.T) {
	t.Parallel()
	for name, kind := range map[string]route53emulator.FaultKind{"Denied": route53emulator.Denied, "NotMade": route53emulator.DroppedBefore, "Made": route53emulator.DroppedAfter} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, route53.Options{}, route53emulator.Options{})
			zones := []string{r.zone, r.addZone("example.org"), r.addZone("example.net")}
			in := func(weight int, hosts ...string) dns.Publication {
				var records []dns.Record
				for _, host := range hosts {
					records = append(records, a(host, weight, "192.0.2.1"))
				}
				p := publication(shop, records...)
				p.Prove = true
				return p
			}
			before := in(10, "www.example.com", "www.example.org")
			settled := r.settled(before)
			r.aws.Inject(route53emulator.Fault{Kind: kind, Operation: route53emulator.ChangeResourceRecordSets, Times: -1})
			if s := r.publish(in(10, "www.example.com", "www.example.org", "www.example.net")); s.Err == nil {
				t.Fatalf("the fault was not met: %+v", s)
			}
			r.aws.ClearFaults()
			r.clock.Advance(10 * time.Minute)
			r.settled(remembering(before, settled))
			calls := r.aws.Calls(route53emulator.ChangeResourceRecordSets)
			begun := r.clock.Now()
			if s := r.settled(in(20, "www.example.com", "www.example.org")); s.InSyncSince.Sub(begun) < syncDelay {
				t.Errorf("in sync since %s after it was written, want %s at least", s.InSyncSince.Sub(begun), syncDelay)
			}
			if got := r.aws.Calls(route53emulator.ChangeResourceRecordSets) - calls; got != 2 {
				t.Errorf("%d changes of two zones, want 2", got)
			}
			if left := r.linesOf(zones[2]); len(left) > 0 {
				t.Errorf("left in the third zone: %q", left)
			}
		})
	}
}

// Route 53 has forgotten the changes that a caller remembers of two zones. Both are submitted once more, and that is all.
func TestForgottenChangesOfTwoZones(t *testing.T) {
	t.Parallel()
	r := newRig(t, route53.Options{}, route53emulator.Options{})
	r.addZone("example.org")
	p := publication(shop, a("www.example.com", 10, "192.0.2.1"), a("www.example.org", 10, "192.0.2.1"))
	p.Prove = true
	p.Prior = r.must(p)[0]
	r.restart()
	r.aws.ForgetChanges()
	calls := r.aws.Calls(route53emulator.ChangeResourceRecordSets)
	if s := r.settled(p); strings.Contains(s.Change, p.Prior.Change) || strings.Count(s.Change, ",") != 1 {
		t.Errorf("in sync by %q, want two changes that are others than %q", s.Change, p.Prior.Change)
	}
	if got := r.aws.Calls(route53emulator.ChangeResourceRecordSets) - calls; got != 2 {
		t.Errorf("%d changes, want one in each zone", got)
	}
}

// Records in several zones are in sync when the last of them is.
func TestTheLastZoneCounts(t *testing.T) {
	t.Parallel()
	r := newRig(t, route53.Options{}, route53emulator.Options{})
	r.addZone("example.org")
	first := r.settled(publication(shop, a("www.example.com", 10, "192.0.2.1"), a("www.example.org", 10, "192.0.2.1")))
	r.clock.Advance(time.Hour)
	begun := r.clock.Now()
	second := r.settled(publication(shop, a("www.example.com", 10, "192.0.2.1"), a("www.example.org", 10, "192.0.2.2")))
	if since := second.InSyncSince.Sub(begun); since < syncDelay || second.InSyncSince.Equal(first.InSyncSince) {
		t.Errorf("in sync since %v after the change of one zone, want %v at least", since, syncDelay)
	}
}

// What cannot be read is not taken for nothing where the host lies.
func TestAHostsZoneMustBeRead(t *testing.T) {
	t.Parallel()
	r := newRig(t, route53.Options{}, route53emulator.Options{})
	r.addZone("example.org")
	r.must(publication(shop, a("www.example.com", 10, "192.0.2.1"), a("www.example.org", 10, "192.0.2.1")))
	r.restart()
	r.aws.Deny(keyID, r.zone)
	_, err := r.Published(t.Context(), cluster, shop, []string{"www.example.com"})
	wantError(t, err, "the host's own zone", "ingress shop/web", "route53:ListResourceRecordSets")
	records, err := r.Published(t.Context(), cluster, shop, []string{"www.example.org"})
	if err != nil || len(records) != 1 || records[0].Name != "www.example.org" {
		t.Errorf("a zone that is of no concern: %v, error %v", records, err)
	}
}

// A name that now is another Ingress' is not published for the one that had it, whatever this process remembers.
func TestPublishedIsWhatIsOwnedNow(t *testing.T) {
	t.Parallel()
	r := newRig(t, route53.Options{}, route53emulator.Options{})
	r.must(publication(shop, a("www.example.com", 10, "192.0.2.1")))
	process := r.backend(r.opts)
	for _, p := range []dns.Publication{publication(shop), publication(other, a("www.example.com", 10, "192.0.2.2"))} {
		if statuses, err := process.Publish(t.Context(), p); err != nil || statuses[0].Err != nil {
			t.Fatalf("%+v, error %v", statuses, err)
		}
		r.clock.Advance(time.Minute)
	}
	if got := r.published("www.example.com"); len(got) != 0 {
		t.Errorf("published for %v: %v, which is of %v", shop, got, other)
	}
}
