package route53_test

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/route53/types"
	"github.com/google/go-cmp/cmp"
	ktypes "k8s.io/apimachinery/pkg/types"

	"github.com/penstock-dev/penstock/dns"
	"github.com/penstock-dev/penstock/dns/route53"
	"github.com/penstock-dev/penstock/internal/route53emulator"
)

// The life of a host: created, repeated, in sync, weight changed, split, drained, removed; with what each costs.
func TestPublishLife(t *testing.T) {
	t.Parallel()
	r := newRig(t, route53.Options{}, route53emulator.Options{})
	p := publication(shop, elb("www.example.com", 10))

	first := r.must(p)[0]
	r.expectCalls("zones 1, list 1, change 1, get 0", "a new host costs one page, which has its names and the ownership records, and one batch")
	want := []string{
		`www.east._penstock.example.com TXT ttl=300 "heritage=penstock,cluster=east,ingress=shop/web,records=A/east;AAAA/east"`,
		"www.example.com A east=10 alias Z32O12XQLNTSW2 " + balancer,
		"www.example.com AAAA east=10 alias Z32O12XQLNTSW2 " + balancer,
	}
	if diff := cmp.Diff(want, r.zoneLines()); diff != "" {
		t.Errorf("created, -want +got:\n%s", diff)
	}
	if first.InSync || first.Change == "" || first.Reason == "" {
		t.Errorf("a change that was just submitted is pending and says so, got %+v", first)
	}

	p.Prior = first
	if got := r.must(p)[0]; got.InSync || got.Change != first.Change {
		t.Errorf("still pending, got %+v", got)
	}
	r.expectCalls("zones 0, list 0, change 0, get 0", "within the poll interval nothing is asked")
	r.clock.Advance(3 * time.Second)
	r.must(p)
	r.expectCalls("zones 0, list 0, change 0, get 1", "while a change is on its way only GetChange is asked")

	r.clock.Advance(syncDelay)
	asked := r.clock.Now()
	inSync := r.must(p)[0]
	if !inSync.InSync || inSync.Change != first.Change || inSync.InSyncSince.Before(asked) || inSync.InSyncSince.After(r.clock.Now()) || inSync.Reason != "" {
		t.Errorf("in sync since now, got %+v", inSync)
	}
	r.expectCalls("zones 0, list 1, change 0, get 1", "in sync: asked once, and read once whether all still stands")

	p.Prior = inSync
	r.clock.Advance(time.Minute)
	if got := r.must(p)[0]; !got.InSyncSince.Equal(inSync.InSyncSince) || !got.InSync {
		t.Errorf("the time of a change that stays in sync must stay, got %+v", got)
	}
	r.expectCalls("zones 0, list 1, change 0, get 0", "idle: one read, no write")

	r.clock.Advance(time.Minute)
	r.must(publication(shop, elb("www.example.com", 30)))
	r.expectCalls("zones 0, list 1, change 1, get 0", "a weight costs one read and one batch")

	r.clock.Advance(time.Minute)
	r.settled(publication(shop, split("www.example.com", 30, 90, 10)...))
	want = []string{
		"east._canary.www.example.com A canary=10 ttl=30 192.0.2.2",
		"east._canary.www.example.com A primary=90 ttl=30 192.0.2.1",
		`www.east._penstock.example.com TXT ttl=300 "heritage=penstock,cluster=east,ingress=shop/web,records=A/east"`,
		`east._canary.www.east._penstock.example.com TXT ttl=300 "heritage=penstock,cluster=east,ingress=shop/web,records=A/canary;A/primary"`,
		"www.example.com A east=30 alias " + r.zone + " east._canary.www.example.com evaluated",
	}
	if diff := cmp.Diff(sorted(want), sorted(r.zoneLines())); diff != "" {
		t.Errorf("split, in one batch, -want +got:\n%s", diff)
	}

	r.clock.Advance(time.Minute)
	r.settled(publication(shop, split("www.example.com", 30, 100, 0)...))
	r.clock.Advance(time.Minute)
	r.settled(publication(shop, elb("www.example.com", 30)))
	if diff := cmp.Diff([]string{"www.example.com A", "www.example.com AAAA"}, r.namesWithout("TXT")); diff != "" {
		t.Errorf("the inner set goes with the batch that points away from it, -want +got:\n%s", diff)
	}
	r.clock.Advance(time.Minute)
	r.settled(publication(shop))
	if got := r.zoneLines(); len(got) != 0 {
		t.Errorf("an empty publication leaves %v", got)
	}
}

// What stands must read back exactly as it was given, or a publisher takes it for another plan.
func TestPublishedReturnsWhatWasGiven(t *testing.T) {
	t.Parallel()
	for name, records := range map[string][]dns.Record{
		"load balancer":        {elb("www.example.com", 10)},
		"load balancer, TTL":   {func() dns.Record { r := elb("www.example.com", 10); r.TTL = time.Minute; return r }()},
		"address, default TTL": {a("www.example.com", 10, "192.0.2.1")},
		"address, TTL 300":     {func() dns.Record { r := a("www.example.com", 10, "192.0.2.1"); r.TTL = dns.DefaultTTL; return r }()},
		"address, TTL 20":      {func() dns.Record { r := a("www.example.com", 0, "192.0.2.1"); r.TTL = 20 * time.Second; return r }()},
		"cname":                {{Name: "www.example.com", Type: dns.CNAME, SetIdentifier: cluster, Weight: 1, Targets: []string{"lb.example.net"}}},
		"split":                split("www.example.com", 3, 90, 10),
		"split wildcard":       split("*.example.com", 3, 90, 10),
		"split between balancers": {
			{Name: "www.example.com", Type: dns.A, SetIdentifier: cluster, Weight: 7, Targets: []string{"east._canary.www.example.com"}, Alias: true, EvaluateTargetHealth: true},
			{Name: "www.example.com", Type: dns.AAAA, SetIdentifier: cluster, Weight: 7, Targets: []string{"east._canary.www.example.com"}, Alias: true, EvaluateTargetHealth: true},
			{Name: "east._canary.www.example.com", Type: dns.CNAME, SetIdentifier: dns.Primary, Weight: 90, Targets: []string{balancer}},
			{Name: "east._canary.www.example.com", Type: dns.CNAME, SetIdentifier: dns.Canary, Weight: 10, Targets: []string{balancer}},
		},
		"wildcard": {elb("*.example.com", 255)},
		"apex":     {elb("example.com", 1)},
		"two addresses": {
			{Name: "www.example.com", Type: dns.A, SetIdentifier: cluster, Weight: 7, Targets: []string{"east._addresses.www.example.com"}, Alias: true},
			{Name: "www.example.com", Type: dns.AAAA, SetIdentifier: cluster, Weight: 7, Targets: []string{"east._addresses.www.example.com"}, Alias: true},
			{Name: "east._addresses.www.example.com", Type: dns.A, Targets: []string{"192.0.2.1", "192.0.2.2"}, TTL: 30 * time.Second},
			{Name: "east._addresses.www.example.com", Type: dns.AAAA, Targets: []string{"2001:db8::1"}, TTL: 30 * time.Second},
		},
		"two hosts": {elb("b.example.com", 10), a("a.example.com", 10, "192.0.2.1")},
		"txt":       {{Name: "note.example.com", Type: dns.TXT, Targets: []string{`a "quoted" \ text`}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, route53.Options{}, route53emulator.Options{})
			p := publication(shop, records...)
			r.must(p)
			hosts := []string{"b.example.com", "a.example.com", "www.example.com", "*.example.com", "example.com", "note.example.com"}
			r.restart()
			if diff := cmp.Diff(records, r.published(hosts...)); diff != "" {
				t.Errorf("Published, -given +got:\n%s", diff)
			}
			r.calls()
			r.clock.Advance(time.Hour)
			r.must(p)
			if got := r.aws.Calls(route53emulator.ChangeResourceRecordSets); got != 0 {
				t.Errorf("what stands was written again: %d batches", got)
			}
			r.must(publication(shop))
			if got := r.zoneLines(); len(got) != 0 {
				t.Errorf("removed, but left %v", got)
			}
		})
	}
}

// A drain, a removed host, a changed identifier and type: each is one batch.
func TestPublishIsOneBatch(t *testing.T) {
	t.Parallel()
	cname := dns.Record{Name: "www.example.com", Type: dns.CNAME, SetIdentifier: cluster, Weight: 10, Targets: []string{"lb.example.net"}}
	renamed := a("www.example.com", 10, "192.0.2.1")
	renamed.SetIdentifier = "east-2"
	for name, tc := range map[string]struct {
		reason   string
		from, to []dns.Record
		want     []string
	}{
		"SetIdentifier": {
			reason: "An identifier cannot be changed in place.",
			from:   []dns.Record{a("www.example.com", 10, "192.0.2.1")}, to: []dns.Record{renamed},
			want: []string{"www.example.com A east-2=10 ttl=300 192.0.2.1"},
		},
		"Type": {
			reason: "A CNAME cannot stand beside an A record, so it goes before that comes.",
			from:   []dns.Record{cname}, to: []dns.Record{a("www.example.com", 10, "192.0.2.1")},
			want: []string{"www.example.com A east=10 ttl=300 192.0.2.1"},
		},
		"TypeBack": {
			reason: "And the other way around.",
			from:   []dns.Record{elb("www.example.com", 10)}, to: []dns.Record{cname},
			want: []string{"www.example.com CNAME east=10 ttl=300 lb.example.net"},
		},
		"Host": {
			reason: "A host that the Ingress serves no longer goes, though nobody names it any more.",
			from:   []dns.Record{a("www.example.com", 10, "192.0.2.1"), a("api.example.com", 10, "192.0.2.1")}, to: []dns.Record{a("www.example.com", 10, "192.0.2.1")},
			want: []string{"www.example.com A east=10 ttl=300 192.0.2.1"},
		},
		"AllHosts": {
			reason: "The same when no host is left of those before.",
			from:   []dns.Record{a("api.example.com", 10, "192.0.2.1")}, to: []dns.Record{a("www.example.com", 10, "192.0.2.1")},
			want: []string{"www.example.com A east=10 ttl=300 192.0.2.1"},
		},
		"Detach": {
			reason: "What an alias points at is deleted after the alias points elsewhere.",
			from:   split("www.example.com", 10, 90, 10), to: []dns.Record{a("www.example.com", 10, "192.0.2.1")},
			want: []string{"www.example.com A east=10 ttl=300 192.0.2.1"},
		},
		"HealthCheck": {
			reason: "The members of a set are changed in place.",
			from:   split("www.example.com", 10, 90, 10), to: split("www.example.com", 20, 50, 50),
			want: []string{
				"east._canary.www.example.com A canary=50 ttl=30 192.0.2.2", "east._canary.www.example.com A primary=50 ttl=30 192.0.2.1",
				"www.example.com A east=20 alias ZONE east._canary.www.example.com evaluated",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, restart := range []bool{false, true} {
				r := newRig(t, route53.Options{}, route53emulator.Options{})
				r.must(publication(shop, tc.from...))
				r.calls()
				if restart {
					r.restart()
				}
				r.must(publication(shop, tc.to...))
				if got := r.aws.Calls(route53emulator.ChangeResourceRecordSets); got != 1 {
					t.Errorf("%s\n%d batches, want 1", tc.reason, got)
				}
				var got []string
				for _, set := range r.aws.RecordSets(r.zone) {
					if set.Type != types.RRTypeNs && set.Type != types.RRTypeSoa && set.Type != types.RRTypeTxt {
						got = append(got, replaceZone(line(set), r.zone))
					}
				}
				if diff := cmp.Diff(sorted(tc.want), sorted(got)); diff != "" {
					t.Errorf("%s\nrestarted %t, -want +got:\n%s", tc.reason, restart, diff)
				}
			}
		})
	}
}

func TestIngresses(t *testing.T) {
	t.Parallel()
	r := newRig(t, route53.Options{}, route53emulator.Options{})
	r.must(publication(shop, a("www.example.com", 1, "192.0.2.1")), publication(other, a("other.example.com", 1, "192.0.2.2")))
	west := publication(shop, a("www.example.com", 1, "192.0.2.3"))
	west.Cluster, west.Records[0].SetIdentifier = "west", "west"
	r.must(west)
	for range 2 {
		got, err := r.Ingresses(t.Context(), cluster)
		if diff := cmp.Diff([]ktypes.NamespacedName{other, shop}, got); err != nil || diff != "" {
			t.Errorf("error %v, -want +got:\n%s", err, diff)
		}
		r.restart()
	}
	r.must(publication(other))
	if got, err := r.Ingresses(t.Context(), cluster); err != nil || len(got) != 1 || got[0] != shop {
		t.Errorf("after one was removed: %v, %v", got, err)
	}
}
