package route53_test

import (
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"
	"github.com/google/go-cmp/cmp"

	"github.com/penstock-dev/penstock/dns"
	"github.com/penstock-dev/penstock/dns/route53"
	"github.com/penstock-dev/penstock/internal/route53emulator"
)

// The zone with the longest matching name gets the record.
func TestLongestZoneWins(t *testing.T) {
	t.Parallel()
	r := newRig(t, route53.Options{}, route53emulator.Options{})
	deeper := r.addZone("deep.example.com")
	r.must(publication(shop, a("www.deep.example.com", 1, "192.0.2.1"), a("deep.example.com", 1, "192.0.2.1"), a("shallow.example.com", 1, "192.0.2.1")))
	r.expectCalls("zones 1, list 2, change 2, get 0", "one batch for each zone")
	want := []string{
		"deep.example.com A east=1 ttl=300 192.0.2.1",
		`east._penstock.deep.example.com TXT ttl=300 "heritage=penstock,cluster=east,ingress=shop/web,records=A/east"`,
		`www.east._penstock.deep.example.com TXT ttl=300 "heritage=penstock,cluster=east,ingress=shop/web,records=A/east"`,
		"www.deep.example.com A east=1 ttl=300 192.0.2.1",
	}
	if diff := cmp.Diff(sorted(want), sorted(r.linesOf(deeper))); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// Two zones are two batches: in sync when both are, and nothing is written when one of them refuses.
func TestSeveralZones(t *testing.T) {
	t.Parallel()
	r := newRig(t, route53.Options{}, route53emulator.Options{})
	org := r.addZone("example.org")
	p := publication(shop, a("www.example.com", 1, "192.0.2.1"), a("www.example.org", 1, "192.0.2.1"))
	reaching := a("api.example.com", 1, "www.example.org")
	reaching.Alias = true
	wantError(t, r.publish(publication(other, reaching)).Err, "an alias stays in its zone", "api.example.com", "alias to www.example.org", "not in its hosted zone example.com")
	s := r.settled(p)
	if !contains(s.Change, ",") {
		t.Errorf("two changes are awaited, got %q", s.Change)
	}
	r.clock.Advance(time.Minute)
	r.restart()
	r.calls()
	p.Prove = true
	if again := r.must(remembering(p, s))[0]; !again.InSync || again.Change != s.Change {
		t.Errorf("remembered, got %+v", again)
	}
	r.expectCalls("zones 1, list 2, change 0, get 0", "remembered")

	if err := r.aws.Seed(org, simple("api.example.org", types.RRTypeA, "192.0.2.9")); err != nil {
		t.Fatal(err)
	}
	r.clock.Advance(time.Minute)
	before := append(r.zoneLines(), r.linesOf(org)...)
	wantError(t, r.publish(publication(shop, a("api.example.com", 1, "192.0.2.1"), a("api.example.org", 1, "192.0.2.1"))).Err,
		"a simple record in the way", "api.example.org")
	if diff := cmp.Diff(before, append(r.zoneLines(), r.linesOf(org)...)); diff != "" {
		t.Errorf("one zone refused, and yet, -before +after:\n%s", diff)
	}

	r.clock.Advance(time.Minute)
	changed := r.must(publication(shop, a("www.example.com", 2, "192.0.2.1"), a("www.example.org", 1, "192.0.2.1")))[0]
	r.clock.Advance(time.Minute)
	r.must(publication(shop, a("www.example.com", 2, "192.0.2.1")))
	if got := r.linesOf(org); len(got) != 1 {
		t.Errorf("after %+v, the zone without hosts keeps %v", changed, got)
	}
}

// A new process finds what its cluster has in zones that no record names any more.
func TestRemovedFromAZoneAfterRestart(t *testing.T) {
	t.Parallel()
	r := newRig(t, route53.Options{}, route53emulator.Options{})
	org := r.addZone("example.org")
	r.must(publication(shop, a("www.example.org", 1, "192.0.2.1")))
	r.clock.Advance(time.Minute)
	r.restart()
	if got := r.published("www.example.com"); len(got) != 1 {
		t.Errorf("what stands is reported, though its host is not asked for: %v", got)
	}
	r.restart()
	r.must(publication(shop, a("www.example.com", 1, "192.0.2.1")))
	if got := r.linesOf(org); len(got) != 0 {
		t.Errorf("left behind: %v", got)
	}
}

// An alias does not reach into a deeper zone, so names below a host must not fall into one.
func TestDeeperZoneRefused(t *testing.T) {
	t.Parallel()
	for _, deeper := range []string{"_canary.www.example.com", "east._canary.www.example.com"} {
		t.Run(deeper, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, route53.Options{}, route53emulator.Options{})
			r.addZone(deeper)
			wantError(t, r.publish(publication(shop, split("www.example.com", 1, 90, 10)...)).Err,
				"the inner name falls into a zone of its own", "east._canary.www.example.com", deeper+" (Z", "example.com (Z", "remove that hosted zone")
			if got := r.zoneLines(); len(got) != 0 {
				t.Errorf("written: %v", got)
			}
		})
	}
	t.Run("HostIsAZone", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, route53.Options{}, route53emulator.Options{})
		id := r.addZone("www.example.com")
		r.must(publication(shop, split("www.example.com", 1, 90, 10)...))
		if got := len(r.linesOf(id)); got != 5 {
			t.Errorf("host and inner set lie in the host's own zone, got %v", r.linesOf(id))
		}
	})
}

// A zone that the credentials cannot read concerns only those who need it; the error names zone and IAM action.
func TestDeniedZone(t *testing.T) {
	t.Parallel()
	r := newRig(t, route53.Options{}, route53emulator.Options{})
	secret := r.addZone("example.org")
	r.aws.Deny(keyID, secret)
	statuses := r.publishAll(
		publication(shop, a("www.example.com", 1, "192.0.2.1")),
		publication(other, a("www.example.org", 1, "192.0.2.1")),
	)
	if statuses[0].Err != nil {
		t.Errorf("example.com can be written: %v", statuses[0].Err)
	}
	wantError(t, statuses[1].Err, "example.org cannot", "example.org ("+secret+")", "route53:ListResourceRecordSets on arn:aws:route53:::hostedzone/"+secret)
	r.calls()
	for range 3 {
		r.clock.Advance(time.Minute)
		r.must(publication(shop, a("www.example.com", 1, "192.0.2.1")))
	}
	r.expectCalls("zones 0, list 3, change 0, get 1", "a zone that cannot be read is not asked for on each call")
	if _, err := r.Published(t.Context(), cluster, shop, []string{"www.example.com"}); err != nil {
		t.Errorf("reading www.example.com needs no other zone: %v", err)
	}
}

// A zone that cannot be searched just now holds up only the removal of everything.
func TestUnsearchableZone(t *testing.T) {
	t.Parallel()
	r := newRig(t, route53.Options{}, route53emulator.Options{})
	r.addZone("example.org")
	fault := route53emulator.Fault{Kind: route53emulator.Unavailable, Operation: route53emulator.ListResourceRecordSets, Skip: 1, Times: -1}
	r.aws.Inject(fault)
	if s := r.publish(publication(shop, a("www.example.com", 1, "192.0.2.1"))); s.Err != nil || s.Change == "" {
		t.Errorf("its own zone is fine: %+v", s)
	}
	r.restart()
	wantError(t, r.publish(publication(other)).Err, "nobody knows whether there is anything to remove", "look for records of ingress shop/other", "not available")
	r.aws.ClearFaults()
	r.clock.Advance(time.Minute)
	r.must(publication(other))
}

// The option Zones restricts, and names what is not there.
func TestOptionZones(t *testing.T) {
	t.Parallel()
	r := newRig(t, route53.Options{}, route53emulator.Options{})
	org := r.addZone("example.org")
	r.opts.Zones = []string{"/hostedzone/" + org}
	r.restart()
	wantError(t, r.publish(publication(shop, a("www.example.com", 1, "192.0.2.1"))).Err, "not among the zones", "www.example.com", "example.org ("+org+")")
	r.must(publication(shop, a("www.example.org", 1, "192.0.2.1")))
	r.opts.Zones = []string{"ZMISSING"}
	r.restart()
	_, err := r.Publish(t.Context(), publication(shop))
	wantError(t, err, "an id that is not there", "ZMISSING", "option Zones")
}

// Two zones of one name are told apart by the option Zones alone.
func TestTwoZonesOfOneName(t *testing.T) {
	t.Parallel()
	r := newRig(t, route53.Options{}, route53emulator.Options{})
	second := r.addZone("example.com")
	wantError(t, r.publish(publication(shop, a("www.example.com", 1, "192.0.2.1"))).Err,
		"either may be meant", "several hosted zones", r.zone, second, "option Zones")
	r.opts.Zones = []string{second}
	r.restart()
	r.must(publication(shop, a("www.example.com", 1, "192.0.2.1")))
	if len(r.linesOf(second)) != 2 || len(r.zoneLines()) != 0 {
		t.Errorf("written to the wrong one: %v, %v", r.linesOf(second), r.zoneLines())
	}
}

// A zone that appears later is found when the list is renewed.
func TestZoneCache(t *testing.T) {
	t.Parallel()
	r := newRig(t, route53.Options{ZoneCacheTTL: 10 * time.Minute}, route53emulator.Options{})
	p := publication(shop, dns.Record{Name: "www.example.org", Type: dns.A, SetIdentifier: cluster, Weight: 1, Targets: []string{"192.0.2.1"}})
	wantError(t, r.publish(p).Err, "no such zone yet", "www.example.org")
	r.addZone("example.org")
	wantError(t, r.publish(p).Err, "the list is remembered", "www.example.org")
	r.clock.Advance(11 * time.Minute)
	r.must(p)
	r.clock.Advance(11 * time.Minute)
	r.must(p) // what the cluster owns is listed again too
	r.must(publication(shop))
	if got := len(r.zoneLines()); got != 0 {
		t.Errorf("left: %v", r.zoneLines())
	}
}

// A zone that was deleted is said to be gone, and looked for again.
func TestZoneDeleted(t *testing.T) {
	t.Parallel()
	r := newRig(t, route53.Options{}, route53emulator.Options{})
	org := r.addZone("example.org")
	p := publication(shop, a("www.example.org", 1, "192.0.2.1"))
	r.must(p)
	r.must(publication(shop))
	if _, err := sdk.NewFromConfig(r.aws.Config(keyID)).DeleteHostedZone(t.Context(), &sdk.DeleteHostedZoneInput{Id: &org}); err != nil {
		t.Fatal(err)
	}
	r.clock.Advance(time.Minute)
	wantError(t, r.publish(p).Err, "gone", "example.org ("+org+")", "the hosted zone is gone")
	wantError(t, r.publish(p).Err, "the list was renewed", "www.example.org", "outside of every hosted zone")
	again := r.addZone("example.org")
	r.clock.Advance(2 * time.Hour)
	r.must(p)
	if got := len(r.linesOf(again)); got != 2 {
		t.Errorf("got %v", r.linesOf(again))
	}
}
