package route53_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/route53/types"
	ktypes "k8s.io/apimachinery/pkg/types"

	"github.com/penstock-dev/penstock/dns"
	"github.com/penstock-dev/penstock/dns/route53"
	"github.com/penstock-dev/penstock/internal/route53emulator"
)

// Batches are filled to the documented limits, which the emulator enforces, and no Publication is torn over two.
func TestBatchesAreFull(t *testing.T) {
	t.Parallel()
	r := newRig(t, route53.Options{}, route53emulator.Options{})
	publications := many(600)
	weigh := func(weight int) {
		for i := range publications {
			publications[i].Records[0].Weight = weight
		}
	}
	// A record and its ownership record are two elements of one, and 9 + 79 characters: 32,000 / 88 = 363.
	r.must(publications...)
	r.expectCalls("zones 1, list 1, change 2, get 0", "600 new hosts are limited by characters: two batches")
	// An UPSERT of the record alone counts two elements and 18 characters: 1,000 / 2 = 500.
	r.clock.Advance(time.Hour - time.Second)
	weigh(20)
	r.must(publications...)
	r.expectCalls("zones 0, list 4, change 2, get 0", "600 weights are limited by elements: two batches, after one walk of 1,202 records")
	r.clock.Advance(time.Minute)
	weigh(30)
	r.must(publications[:500]...)
	if got := r.aws.Calls(route53emulator.ChangeResourceRecordSets); got != 1 {
		t.Errorf("500 weights fit into one batch exactly, took %d", got)
	}
	for i := range publications {
		publications[i].Records = nil
	}
	r.clock.Advance(time.Minute)
	r.calls()
	r.must(publications...)
	if got := r.aws.Calls(route53emulator.ChangeResourceRecordSets); got != 2 {
		t.Errorf("600 deletions count once: two batches, took %d", got)
	}
	if got := r.zoneLines(); len(got) != 0 {
		t.Errorf("left: %d record sets", len(got))
	}
}

// A Publication that no batch can hold is refused; the others are not.
func TestPublicationLargerThanABatch(t *testing.T) {
	t.Parallel()
	r := newRig(t, route53.Options{}, route53emulator.Options{})
	var records []dns.Record
	for i := range 501 {
		records = append(records, a(fmt.Sprintf("host-%d.example.com", i), 1, "192.0.2.1"))
	}
	statuses := r.publishAll(publication(shop, records...), publication(other, a("www.example.com", 1, "192.0.2.1")))
	wantError(t, statuses[0].Err, "too large", "ingress shop/web", "1002 elements of at most 1000", "fewer hosts")
	if statuses[1].Err != nil || len(r.zoneLines()) != 2 {
		t.Errorf("the other one: %v, %v", statuses[1].Err, r.zoneLines())
	}
}

// crowd fills the zone with n records of others, before and after those of the tests.
func (r *rig) crowd(n int) {
	r.t.Helper()
	var sets []types.ResourceRecordSet
	flush := func() {
		r.seed(sets...)
		sets = nil
	}
	for i := range n {
		sets = append(sets, simple(fmt.Sprintf("%c-crowd-%d.example.com", 'a'+i%26, i), types.RRTypeA, "192.0.2.9"))
		if len(sets) == 400 {
			flush()
		}
	}
	flush()
}

// Few names are read where they are; many cost no more than a walk through the zone.
func TestReadingALargeZone(t *testing.T) {
	t.Parallel()
	r := newRig(t, route53.Options{}, route53emulator.Options{})
	r.crowd(3000)
	p := publication(shop, split("www.example.com", 1, 90, 10)...)
	r.must(p)
	r.expectCalls("zones 1, list 2, change 1, get 0", "one page for the ownership records, one for the host and what is below it")
	r.clock.Advance(time.Minute)
	p.Records[0].Weight = 2
	r.must(p)
	r.expectCalls("zones 0, list 2, change 1, get 0", "a step")
	r.restart()
	if got := len(r.published("www.example.com")); got != 3 {
		t.Errorf("%d records found, want 3", got)
	}
	r.expectCalls("zones 1, list 2, change 0, get 0", "a new process needs no walk")

	publications := many(500)
	r.clock.Advance(time.Minute)
	r.must(publications...)
	r.clock.Advance(time.Minute)
	r.calls()
	for _, p := range publications {
		if records, err := r.Published(t.Context(), cluster, p.Ingress, nil); err != nil || len(records) != 1 {
			t.Fatalf("%v, %v", records, err)
		}
	}
	r.must(publications...)
	if got := r.aws.Calls(route53emulator.ListResourceRecordSets); got > 14 {
		t.Errorf("%d pages to read 500 Ingresses one by one and then all, the zone has 14", got)
	}
	if got := r.aws.Calls(route53emulator.ChangeResourceRecordSets); got != 0 {
		t.Errorf("%d batches, nothing differs", got)
	}
}

// A page may end within a weighted set, and the set goes on by type and identifier.
func TestPageEndsInAWeightedSet(t *testing.T) {
	t.Parallel()
	for crowd := 205; crowd <= 305; crowd += 25 {
		r := newRig(t, route53.Options{}, route53emulator.Options{})
		var sets []types.ResourceRecordSet
		for i := range crowd {
			sets = append(sets, simple(fmt.Sprintf("%04d.east._penstock.example.com", i), types.RRTypeTxt,
				fmt.Sprintf(`"heritage=penstock,cluster=east,ingress=shop/i%d,records=A/east"`, i)))
			if len(sets) == 150 {
				r.seed(sets...)
				sets = nil
			}
		}
		r.seed(sets...)
		sets = nil
		for i := range 99 {
			for _, kind := range []types.RRType{types.RRTypeA, types.RRTypeAaaa} {
				value := map[types.RRType]string{types.RRTypeA: "192.0.2.9", types.RRTypeAaaa: "2001:db8::9"}[kind]
				sets = append(sets, weighted(simple("www.example.com", kind, value), fmt.Sprintf("a-%02d", i), 1))
			}
		}
		r.seed(sets...)
		ours := a("www.example.com", 7, "192.0.2.1")
		six := ours
		six.Type, six.Targets = dns.AAAA, []string{"2001:db8::1"}
		p := publication(shop, ours, six)
		r.must(p)
		r.restart()
		if got := r.published("www.example.com"); len(got) != 2 {
			t.Errorf("crowd of %d: found %v", crowd, got)
		}
		r.calls()
		r.clock.Advance(time.Minute)
		r.must(p)
		if got := r.aws.Calls(route53emulator.ChangeResourceRecordSets); got != 0 {
			t.Errorf("crowd of %d: what stands was not seen", crowd)
		}
		p.Records = nil
		r.must(p)
		if got := len(r.zoneLines()); got != crowd+198 {
			t.Errorf("crowd of %d: %d record sets left", crowd, got)
		}
	}
}

// Cluster names that are no DNS label, and identifiers with characters that mean something in texts, names and values.
func TestUnusualNames(t *testing.T) {
	t.Parallel()
	r := newRig(t, route53.Options{}, route53emulator.Options{})
	long := strings.Repeat("x", 128)
	for i, name := range []string{"East EU", "a,b=c;d/e:f", `quote"back\slash`, "ümlaut", "under_score", long} {
		host := fmt.Sprintf("host-%d.example.com", i)
		p := dns.Publication{Ingress: ktypes.NamespacedName{Namespace: strings.Repeat("n", 63), Name: strings.Repeat("i", 253)}, Cluster: name}
		p.Records = []dns.Record{{Name: host, Type: dns.A, SetIdentifier: name, Weight: 1, Targets: []string{"192.0.2.1"}}}
		if name == "ümlaut" {
			p.Records[0].SetIdentifier = "umlaut" // Route 53 takes printable ASCII
		}
		r.must(p)
		b := r.backend(r.opts)
		records, err := b.Published(t.Context(), name, p.Ingress, []string{host})
		if err != nil || len(records) != 1 || !records[0].Equal(p.Records[0]) {
			t.Errorf("%q: %v, %v", name, records, err)
		}
		p.Records = nil
		if s, err := b.Publish(t.Context(), p); err != nil || s[0].Err != nil {
			t.Errorf("%q: %v, %v", name, s, err)
		}
	}
	if got := r.zoneLines(); len(got) != 0 {
		t.Errorf("left: %v", got)
	}
}
