package route53_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/route53/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/penstock-dev/penstock/dns"
	"github.com/penstock-dev/penstock/dns/route53"
	"github.com/penstock-dev/penstock/internal/route53emulator"
)

// Faults that pass are repeated within the call, at every operation, and leave the records as they should be.
func TestFaultsThatPass(t *testing.T) {
	t.Parallel()
	for _, operation := range []route53emulator.Operation{
		route53emulator.ListHostedZones, route53emulator.ListResourceRecordSets, route53emulator.ChangeResourceRecordSets, route53emulator.GetChange,
	} {
		for kind, name := range map[route53emulator.FaultKind]string{
			route53emulator.Throttled: "Throttled", route53emulator.Unavailable: "Unavailable", route53emulator.Busy: "Busy",
			route53emulator.DroppedBefore: "DroppedBefore", route53emulator.DroppedAfter: "DroppedAfter",
		} {
			t.Run(string(operation)+name, func(t *testing.T) {
				t.Parallel()
				r := newRig(t, route53.Options{}, route53emulator.Options{})
				r.aws.Inject(route53emulator.Fault{Kind: kind, Operation: operation, Times: 2})
				publications := many(3)
				for i, s := range r.must(publications...) {
					publications[i].Prior = s
				}
				for step := range 2 {
					for i := range publications {
						s := r.settled(publications[i])
						if !strings.HasPrefix(s.Change, "C") {
							t.Errorf("in sync without evidence: %+v", s)
						}
						publications[i].Prior = s
					}
					if got := r.zoneLines(); len(got) != 6 {
						t.Errorf("step %d: %d record sets, want 6: %v", step, len(got), got)
					}
				}
				if got := r.aws.Calls(operation); got < 3 {
					t.Errorf("the fault was not met: %d calls", got)
				}
			})
		}
	}
}

// A connection that is lost while records are deleted: they are gone, and nothing can prove since when.
func TestDeletionWithLostAnswer(t *testing.T) {
	t.Parallel()
	r := newRig(t, route53.Options{}, route53emulator.Options{})
	r.settled(publication(shop, a("www.example.com", 10, "192.0.2.1")))
	r.clock.Advance(time.Minute)
	r.aws.Inject(route53emulator.Fault{Kind: route53emulator.DroppedAfter, Operation: route53emulator.ChangeResourceRecordSets})
	s := r.must(publication(shop))[0]
	if len(r.zoneLines()) != 0 || !s.Assumed {
		t.Errorf("got %+v and %v", s, r.zoneLines())
	}
}

// Faults that last are said, with what to do, and nothing is half done.
func TestFaultsThatLast(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fault route53emulator.Fault
		words []string
	}{
		"ListThrottled": {
			route53emulator.Fault{Kind: route53emulator.Throttled, Operation: route53emulator.ListResourceRecordSets},
			[]string{"route 53 ListResourceRecordSets in hosted zone example.com (Z", "throttled by Route 53, which takes ten"},
		},
		"ChangeThrottled": {
			route53emulator.Fault{Kind: route53emulator.Throttled, Operation: route53emulator.ChangeResourceRecordSets},
			[]string{"route 53 ChangeResourceRecordSets in hosted zone example.com (Z", "throttled by Route 53, which takes ten"},
		},
		"ChangeBusy": {
			route53emulator.Fault{Kind: route53emulator.Busy, Operation: route53emulator.ChangeResourceRecordSets},
			[]string{"ChangeResourceRecordSets in hosted zone example.com", "an earlier change of the zone is still being processed"},
		},
		"ChangeUnavailable": {
			route53emulator.Fault{Kind: route53emulator.Unavailable, Operation: route53emulator.ChangeResourceRecordSets},
			[]string{"ChangeResourceRecordSets in hosted zone example.com", "Route 53 is not available"},
		},
		"ListDropped": {
			route53emulator.Fault{Kind: route53emulator.DroppedBefore, Operation: route53emulator.ListResourceRecordSets},
			[]string{"ListResourceRecordSets in hosted zone example.com", "no answer"},
		},
		"ListDenied": {
			route53emulator.Fault{Kind: route53emulator.Denied, Operation: route53emulator.ListResourceRecordSets},
			[]string{"hosted zone example.com (Z", "route53:ListResourceRecordSets on arn:aws:route53:::hostedzone/Z"},
		},
		"ChangeDenied": {
			route53emulator.Fault{Kind: route53emulator.Denied, Operation: route53emulator.ChangeResourceRecordSets},
			[]string{"hosted zone example.com (Z", "route53:ChangeResourceRecordSets on arn:aws:route53:::hostedzone/Z"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, route53.Options{}, route53emulator.Options{})
			tc.fault.Times = -1
			r.aws.Inject(tc.fault)
			started := r.clock.Now()
			statuses := r.publishAll(many(2)...)
			for _, s := range statuses {
				wantError(t, s.Err, name, tc.words...)
			}
			if took := r.clock.Since(started); took > 2*time.Minute {
				t.Errorf("it took %s, more than the timeouts of its calls", took)
			}
			if got := r.zoneLines(); len(got) != 0 {
				t.Errorf("written all the same: %v", got)
			}
			r.aws.ClearFaults()
			r.clock.Advance(time.Minute)
			r.must(many(2)...)
			if got := len(r.zoneLines()); got != 4 {
				t.Errorf("%d record sets once the fault is over, want 4", got)
			}
		})
	}
}

// GetChange that fails leaves records that are written as they are: waiting goes on, and the reason says why. Without the
// right to ask there is no end to it, so that is an error.
func TestGetChangeFails(t *testing.T) {
	t.Parallel()
	for name, kind := range map[string]route53emulator.FaultKind{"Throttled": route53emulator.Throttled, "Denied": route53emulator.Denied} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, route53.Options{}, route53emulator.Options{})
			p := publication(shop, a("www.example.com", 10, "192.0.2.1"))
			p.Prior = r.must(p)[0]
			r.clock.Advance(time.Minute)
			r.aws.Inject(route53emulator.Fault{Kind: kind, Operation: route53emulator.GetChange, Times: -1})
			s := r.publish(p)
			if s.InSync || s.Change != p.Prior.Change || s.Reason == "" {
				t.Errorf("got %+v", s)
			}
			if kind == route53emulator.Denied {
				wantError(t, s.Err, "no right to ask", "route53:GetChange on arn:aws:route53:::change/*")
			} else if s.Err != nil {
				t.Errorf("throttling passes: %v", s.Err)
			}
			r.aws.ClearFaults()
			r.clock.Advance(time.Minute)
			if s := r.must(p)[0]; !s.InSync || s.Change != p.Prior.Change {
				t.Errorf("afterwards: %+v", s)
			}
		})
	}
}

// Credentials that see no zones, or may not list them, concern every Publication.
func TestNoZones(t *testing.T) {
	t.Parallel()
	r := newRig(t, route53.Options{}, route53emulator.Options{})
	r.aws.Deny(keyID, "")
	p := publication(shop, a("www.example.com", 10, "192.0.2.1"))
	statuses, err := r.Publish(t.Context(), p)
	wantError(t, err, "no right to list zones", "route53:ListHostedZones on *")
	wantError(t, statuses[0].Err, "the same for each", "route53:ListHostedZones on *")
	_, err = r.Published(t.Context(), cluster, shop, nil)
	wantError(t, err, "reading needs the zones too", "route53:ListHostedZones on *")
	r.aws.Allow(keyID, "")
	r.must(p)
	r.aws.Inject(route53emulator.Fault{Kind: route53emulator.Denied, Operation: route53emulator.ListHostedZones, Times: -1})
	r.clock.Advance(2 * time.Hour)
	r.must(p) // a list that cannot be renewed is used on
}

// Every refusal before the API is asked names the record, the value and the remedy.
func TestRefused(t *testing.T) {
	t.Parallel()
	www := a("www.example.com", 10, "192.0.2.1")
	with := func(change func(*dns.Record)) dns.Record {
		r := www
		change(&r)
		return r
	}
	for name, tc := range map[string]struct {
		record dns.Record
		words  []string
	}{
		"OutsideEveryZone": {with(func(r *dns.Record) { r.Name = "www.example.net" }), []string{"www.example.net", "outside of every hosted zone", "example.com (Z", "Zones"}},
		"NotASuffixLabel":  {with(func(r *dns.Record) { r.Name = "www.badexample.com" }), []string{"www.badexample.com", "outside of every hosted zone"}},
		"ApexCNAME":        {with(func(r *dns.Record) { r.Name, r.Type, r.Targets = "example.com", dns.CNAME, []string{"lb.example.net"} }), []string{"example.com CNAME", "apex", "lb.example.net"}},
		"NoTarget":         {with(func(r *dns.Record) { r.Targets = nil }), []string{"www.example.com A", "no target"}},
		"TwoTargets":       {with(func(r *dns.Record) { r.Targets = []string{"192.0.2.1", "192.0.2.2"} }), []string{"2 targets", "192.0.2.1, 192.0.2.2", "weighted record has one"}},
		"WeightTooLarge":   {with(func(r *dns.Record) { r.Weight = 256 }), []string{"weight 256", "0 to 255"}},
		"WeightNegative":   {with(func(r *dns.Record) { r.Weight = -1 }), []string{"weight -1"}},
		"WeightOfSimple":   {with(func(r *dns.Record) { r.SetIdentifier = "" }), []string{"weight 10 needs a set identifier"}},
		"Identifier":       {with(func(r *dns.Record) { r.SetIdentifier = strings.Repeat("x", 129) }), []string{"129 characters", "128"}},
		"TTL":              {with(func(r *dns.Record) { r.TTL = time.Millisecond }), []string{"TTL 1ms", "whole number of seconds"}},
		"Address":          {with(func(r *dns.Record) { r.Targets = []string{"2001:db8::1"} }), []string{`"2001:db8::1"`, "no address of type A"}},
		"Hostname":         {with(func(r *dns.Record) { r.Type, r.Targets = dns.CNAME, []string{"a b"} }), []string{`"a b"`, "no hostname"}},
		"Type":             {with(func(r *dns.Record) { r.Type = "MX" }), []string{`type "MX"`}},
		"AliasElsewhere":   {with(func(r *dns.Record) { r.Alias, r.Targets = true, []string{"www.example.net"} }), []string{"alias to www.example.net", "outside of every hosted zone"}},
		"AliasCNAME":       {with(func(r *dns.Record) { r.Alias, r.Type, r.Targets = true, dns.CNAME, []string{"x.example.com"} }), []string{"alias of type CNAME"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, route53.Options{}, route53emulator.Options{})
			statuses := r.publishAll(publication(shop, a("fine.example.com", 1, "192.0.2.1"), tc.record), many(1)[0])
			wantError(t, statuses[0].Err, name, tc.words...)
			if statuses[1].Err != nil {
				t.Errorf("the other Ingress is not to blame: %v", statuses[1].Err)
			}
			if got := len(r.zoneLines()); got != 2 {
				t.Errorf("%d record sets, want those of the other Ingress only: %v", got, r.zoneLines())
			}
		})
	}
}

// One bad Publication in a batch does not hold up the others; its error has Route 53's own words.
func TestBadPublicationAmongGood(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*dns.Record){
		"NoSuchHealthCheck":  func(r *dns.Record) { r.HealthCheckID = "00000000-0000-4000-8000-00000000beef" },
		"InvalidChangeBatch": func(r *dns.Record) { r.Alias, r.Targets = true, []string{"missing.example.com"} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, route53.Options{}, route53emulator.Options{})
			publications := many(40)
			spoil(&publications[17].Records[0])
			for i, s := range r.publishAll(publications...) {
				if (s.Err != nil) != (i == 17) {
					t.Errorf("publication %d: %v", i, s.Err)
				}
				var api smithy.APIError
				if i == 17 && (!errors.As(s.Err, &api) || api.ErrorCode() != name) {
					t.Errorf("the error is not Route 53's: %v", s.Err)
				}
			}
			if got := len(r.zoneLines()); got != 78 {
				t.Errorf("%d record sets, want those of 39 Ingresses", got)
			}
			if got := r.aws.Calls(route53emulator.ChangeResourceRecordSets); got > 14 {
				t.Errorf("%d batches to find one of 40", got)
			}
		})
	}
}

// Somebody changes a record between our read and our batch: read again, once more.
func TestDeleteThatDoesNotMatch(t *testing.T) {
	t.Parallel()
	r := newRig(t, route53.Options{}, route53emulator.Options{})
	r.settled(publication(shop, a("www.example.com", 10, "192.0.2.1"), a("api.example.com", 10, "192.0.2.1")))
	// What is read now is used for five seconds.
	r.clock.Advance(time.Minute)
	r.published("www.example.com")
	r.change(types.ChangeActionUpsert, weighted(simple("api.example.com", types.RRTypeA, "192.0.2.77"), cluster, 42))
	r.calls()
	r.must(publication(shop, a("www.example.com", 10, "192.0.2.1")))
	r.expectCalls("zones 0, list 1, change 2, get 0", "refused, read again, deleted as it is now")
	if got := r.namesWithout("TXT"); !slices.Equal(got, []string{"www.example.com A"}) {
		t.Errorf("got %v", got)
	}
}

// A name that another process of the cluster claims between our read and our batch is not overwritten.
func TestClaimedMeanwhile(t *testing.T) {
	t.Parallel()
	r := newRig(t, route53.Options{}, route53emulator.Options{})
	r.published("www.example.com")
	first := r.backend(r.opts)
	if s, err := first.Publish(t.Context(), publication(other, a("www.example.com", 5, "192.0.2.5"))); err != nil || s[0].Err != nil {
		t.Fatal(err, s)
	}
	before := r.zoneLines()
	wantError(t, r.publish(publication(shop, a("www.example.com", 10, "192.0.2.1"))).Err,
		"CREATE finds out what the read did not", `ingress shop/other of cluster "east"`)
	if diff := cmp.Diff(before, r.zoneLines()); diff != "" {
		t.Errorf("-before +after:\n%s", diff)
	}
}

// Several goroutines, each with Ingresses of its own, beside PriorRequestNotComplete and throttling.
func TestConcurrentPublish(t *testing.T) {
	t.Parallel()
	r := newRig(t, route53.Options{}, route53emulator.Options{ProcessingTime: 300 * time.Millisecond, Throttle: true})
	r.addZone("example.org")
	publications := many(24)
	for i := range publications {
		publications[i].Records = append(publications[i].Records, a(fmt.Sprintf("host-%d.example.org", i), 1, "192.0.2.1"))
	}
	var wg sync.WaitGroup
	for i := range publications {
		wg.Go(func() {
			for weight := range 3 {
				p := publications[i]
				p.Records = slices.Clone(p.Records)
				p.Records[0].Weight = weight
				statuses, err := r.Publish(t.Context(), p)
				if err != nil || statuses[0].Err != nil {
					t.Errorf("publication %d: %v, %v", i, err, statuses[0].Err)
				}
				if records, err := r.Published(t.Context(), cluster, p.Ingress, nil); err != nil || len(records) != 2 {
					t.Errorf("published %d: %v, %v", i, records, err)
				}
			}
		})
	}
	wg.Wait()
	if got := len(r.zoneLines()); got != 48 {
		t.Errorf("%d record sets, want 48", got)
	}
}

// Requests stay below the rate, with all that share the Backend.
func TestRate(t *testing.T) {
	t.Parallel()
	r := newRig(t, route53.Options{}, route53emulator.Options{})
	started := r.clock.Now()
	for _, p := range many(20) {
		r.must(p)
	}
	calls, took := r.aws.Calls(""), r.clock.Since(started)
	if rate := float64(calls) / took.Seconds(); rate > 4.2 {
		t.Errorf("%d calls in %s are %.1f a second, want at most 4", calls, took, rate)
	}
	deadline, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	for range 3 {
		statuses, err := r.Publish(deadline, many(21)[20])
		if err = errors.Join(err, statuses[0].Err); err != nil {
			wantError(t, err, "a deadline that ends before a token comes", "client-side request rate")
			return
		}
	}
	t.Error("three calls at once within 10 ms")
}

// API calls, throttles, what is pending, and weights that are all zero are counted.
func TestMetrics(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	r := newRig(t, route53.Options{Registerer: registry}, route53emulator.Options{})
	r.restart() // a second Backend shares the collectors
	r.seed(weighted(simple("www.example.com", types.RRTypeA, "192.0.2.9"), "west", 0))
	r.aws.Inject(route53emulator.Fault{Kind: route53emulator.Throttled, Operation: route53emulator.ListResourceRecordSets})
	p := publication(shop, a("www.example.com", 0, "192.0.2.1"))
	if status := r.must(p)[0]; !strings.Contains(status.Warning, "www.example.com A are zero") {
		t.Errorf("warning %q", status.Warning)
	}
	want := `
# HELP penstock_route53_all_weights_zero 1 for each weighted set whose weights are all zero, which Route 53 serves equally.
# TYPE penstock_route53_all_weights_zero gauge
penstock_route53_all_weights_zero{hosted_zone="` + r.zone + `",name="www.example.com",type="A"} 1
# HELP penstock_route53_api_calls_total Calls of the Route 53 API, each attempt counted, by operation and outcome: ok, throttled, busy, denied, refused, unavailable, error.
# TYPE penstock_route53_api_calls_total counter
penstock_route53_api_calls_total{operation="ChangeResourceRecordSets",outcome="ok"} 1
penstock_route53_api_calls_total{operation="ListHostedZones",outcome="ok"} 1
penstock_route53_api_calls_total{operation="ListResourceRecordSets",outcome="ok"} 1
penstock_route53_api_calls_total{operation="ListResourceRecordSets",outcome="throttled"} 1
# HELP penstock_route53_pending_publications Ingresses whose last change of DNS is not known to be in sync.
# TYPE penstock_route53_pending_publications gauge
penstock_route53_pending_publications 1
# HELP penstock_route53_throttles_total Calls that Route 53 throttled, by operation.
# TYPE penstock_route53_throttles_total counter
penstock_route53_throttles_total{operation="ListResourceRecordSets"} 1
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
	r.settled(p)
	if status := r.settled(publication(shop, a("www.example.com", 3, "192.0.2.1"))); status.Warning != "" {
		t.Errorf("warning %q, but east has 3", status.Warning)
	}
	if got := testutil.CollectAndCount(registry, "penstock_route53_all_weights_zero"); got != 0 {
		t.Errorf("%d sets are all zero, want none: east has 3", got)
	}
	if err := testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP penstock_route53_pending_publications Ingresses whose last change of DNS is not known to be in sync.
# TYPE penstock_route53_pending_publications gauge
penstock_route53_pending_publications 0
`), "penstock_route53_pending_publications"); err != nil {
		t.Error(err)
	}
}
