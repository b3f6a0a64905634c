package route53_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/route53/types"
	"github.com/google/go-cmp/cmp"

	"github.com/penstock-dev/penstock/dns"
	"github.com/penstock-dev/penstock/dns/route53"
	"github.com/penstock-dev/penstock/internal/route53emulator"
)

// What is not ours is never changed or deleted, and the error says what is in the way, where, and whose it is.
func TestOwnership(t *testing.T) {
	t.Parallel()
	www := weighted(simple("www.example.com", types.RRTypeA, "192.0.2.9"), cluster, 5)
	for name, tc := range map[string]struct {
		reason  string
		present []types.ResourceRecordSet
		records []dns.Record
		words   []string
	}{
		"Nobody": {
			reason:  "A record with our identifier that nobody has claimed may be anybody's.",
			present: []types.ResourceRecordSet{www},
			words:   []string{`record www.example.com A "east"`, "example.com (Z", "no record says whose it is"},
		},
		"ExternalDNS": {
			reason:  "The TXT record of external-dns says who has it.",
			present: []types.ResourceRecordSet{www, weighted(externalTXT("a-www.example.com", "blue"), cluster, 5)},
			words:   []string{`record www.example.com A "east"`, `external-dns with the owner id "blue"`, "AdoptExternalDNS"},
		},
		"ExternalDNSOldFormat": {
			reason:  "Before 0.12 the TXT record had the name of the record.",
			present: []types.ResourceRecordSet{www, weighted(externalTXT("www.example.com", "blue"), cluster, 5)},
			words:   []string{`external-dns with the owner id "blue"`},
		},
		"ExternalDNSAlias": {
			reason: "external-dns counts an alias as a CNAME.",
			present: []types.ResourceRecordSet{
				simple("inner.example.com", types.RRTypeA, "192.0.2.9"),
				weighted(aliasSet("www.example.com", types.RRTypeA, "", "inner.example.com"), cluster, 5),
				weighted(externalTXT("cname-www.example.com", "blue"), cluster, 5),
			},
			words: []string{`external-dns with the owner id "blue"`},
		},
		"OtherCluster": {
			reason: "A cluster whose name differs but hashes, or was edited, to our place.",
			present: []types.ResourceRecordSet{
				www, simple("www.east._penstock.example.com", types.RRTypeTxt, `"heritage=penstock,cluster=west,ingress=shop/web,records=A/east"`),
			},
			words: []string{"www.example.com", `ingress shop/web of cluster "west"`, "www.east._penstock.example.com TXT"},
		},
		"OtherIngress": {
			reason: "Two Ingresses cannot publish one host.",
			present: []types.ResourceRecordSet{
				www, simple("www.east._penstock.example.com", types.RRTypeTxt, `"heritage=penstock,cluster=east,ingress=shop/other,records=A/east"`),
			},
			words: []string{"www.example.com", `ingress shop/other of cluster "east"`, `ingress shop/web of cluster "east"`, "remove the host"},
		},
		"OwnershipUnreadable": {
			reason:  "A text at the place of our ownership record that we cannot read.",
			present: []types.ResourceRecordSet{simple("www.east._penstock.example.com", types.RRTypeTxt, `"hands off"`)},
			words:   []string{"www.east._penstock.example.com TXT cannot be read", "correct or delete it"},
		},
		"ClaimsLess": {
			reason: "Our ownership record does not make ours what it does not name.",
			present: []types.ResourceRecordSet{
				www, simple("www.east._penstock.example.com", types.RRTypeTxt, `"heritage=penstock,cluster=east,ingress=shop/web,records=AAAA/east"`),
			},
			words: []string{`record www.example.com A "east"`, "no record says whose it is"},
		},
		"Simple": {
			reason:  "A weighted record cannot stand beside a simple one.",
			present: []types.ResourceRecordSet{simple("www.example.com", types.RRTypeA, "192.0.2.9")},
			words:   []string{"record www.example.com A in hosted zone example.com (Z", "a simple record, is in the way of", `record www.example.com A "east"`, "delete it"},
		},
		"CNAME": {
			reason:  "No A record beside the CNAME of another cluster.",
			present: []types.ResourceRecordSet{weighted(simple("www.example.com", types.RRTypeCname, "lb.example.net"), "west", 5)},
			words:   []string{`record www.example.com CNAME "west"`, "of another type, is in the way of"},
		},
		"NoCNAMEBesideA": {
			reason:  "No CNAME beside the A record of another cluster.",
			present: []types.ResourceRecordSet{weighted(simple("www.example.com", types.RRTypeA, "192.0.2.9"), "west", 5)},
			records: []dns.Record{{Name: "www.example.com", Type: dns.CNAME, SetIdentifier: cluster, Weight: 1, Targets: []string{"lb.example.net"}}},
			words:   []string{`record www.example.com A "west"`, "of another type, is in the way of", `record www.example.com CNAME "east"`},
		},
		"NoSimpleBesideWeighted": {
			reason:  "A simple inner name cannot stand where there is a weighted set.",
			present: []types.ResourceRecordSet{weighted(simple("www.example.com", types.RRTypeA, "192.0.2.9"), "west", 5)},
			records: []dns.Record{{Name: "www.example.com", Type: dns.A, Targets: []string{"192.0.2.1"}}},
			words:   []string{`record www.example.com A "west"`, "is in the way of record www.example.com A"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, route53.Options{}, route53emulator.Options{})
			r.seed(tc.present...)
			before := r.zoneLines()
			if tc.records == nil {
				tc.records = []dns.Record{a("www.example.com", 10, "192.0.2.1")}
			}
			p := publication(shop, append(tc.records, a("free.example.com", 1, "192.0.2.1"))...)
			wantError(t, r.publish(p).Err, tc.reason, tc.words...)
			wantError(t, r.publish(p).Err, "and again", tc.words...)
			if err := r.publish(p).Err; !errors.Is(err, dns.ErrRefused) {
				t.Errorf("%s\nerror %v is not told to be a refusal", tc.reason, err)
			}
			if diff := cmp.Diff(before, r.zoneLines()); diff != "" {
				t.Errorf("%s\nthe zone changed, -before +after:\n%s", tc.reason, diff)
			}
			if got := r.published("www.example.com"); name != "ClaimsLess" && len(got) > 0 {
				t.Errorf("%s\nPublished claims %v", tc.reason, got)
			}
			r.must(publication(shop))
			if diff := cmp.Diff(before, r.zoneLines()); name != "ClaimsLess" && diff != "" {
				t.Errorf("%s\nremoving took away what is not ours, -before +after:\n%s", tc.reason, diff)
			}
		})
	}
}

// Records that others have beside ours stay as they are.
func TestNeighboursStay(t *testing.T) {
	t.Parallel()
	r := newRig(t, route53.Options{}, route53emulator.Options{})
	neighbours := []types.ResourceRecordSet{
		weighted(simple("www.example.com", types.RRTypeA, "192.0.2.9"), "west", 5),
		simple("www.example.com", types.RRTypeTxt, `"some text"`),
		simple("api.www.example.com", types.RRTypeA, "192.0.2.8"),
		weighted(simple("west._canary.www.example.com", types.RRTypeA, "192.0.2.7"), "primary", 5),
		simple("www.west._penstock.example.com", types.RRTypeTxt, `"heritage=penstock,cluster=west,ingress=shop/web,records=A/west"`),
	}
	r.seed(neighbours...)
	before := r.zoneLines()
	r.must(publication(shop, split("www.example.com", 10, 90, 10)...))
	r.must(publication(shop, a("www.example.com", 10, "192.0.2.1")))
	r.must(publication(shop))
	if diff := cmp.Diff(before, r.zoneLines()); diff != "" {
		t.Errorf("-before +after:\n%s", diff)
	}
}

// Two Ingresses of one call that want one name: the first gets it, the second is told.
func TestTwoIngressesOneHost(t *testing.T) {
	t.Parallel()
	r := newRig(t, route53.Options{}, route53emulator.Options{})
	statuses := r.publishAll(
		publication(shop, a("www.example.com", 10, "192.0.2.1")),
		publication(other, a("www.example.com", 10, "192.0.2.2")),
		publication(shop, a("api.example.com", 10, "192.0.2.1")),
	)
	if statuses[0].Err != nil {
		t.Errorf("the first has the name, got %v", statuses[0].Err)
	}
	wantError(t, statuses[1].Err, "the second is refused", "www.example.com", "shop/web", "shop/other")
	wantError(t, statuses[2].Err, "an Ingress has one publication", "published twice")
}

// A record of external-dns is taken over, with its TXT records, only when its owner id is named.
func TestAdoption(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		reason  string
		opts    route53.Options
		present []types.ResourceRecordSet
		records []dns.Record
		want    []string
	}{
		"Weighted": {
			reason:  "The same identifier: changed in place.",
			present: []types.ResourceRecordSet{weighted(simple("www.example.com", types.RRTypeA, "192.0.2.9"), cluster, 5), weighted(externalTXT("a-www.example.com", "blue"), cluster, 5)},
			want:    []string{"www.example.com A east=10 ttl=300 192.0.2.1"},
		},
		"BothFormats": {
			reason: "TXT records of old and of new versions go together.",
			present: []types.ResourceRecordSet{
				weighted(simple("www.example.com", types.RRTypeA, "192.0.2.9"), cluster, 5),
				weighted(externalTXT("a-www.example.com", "blue"), cluster, 5), weighted(externalTXT("www.example.com", "blue"), cluster, 5),
			},
			want: []string{"www.example.com A east=10 ttl=300 192.0.2.1"},
		},
		"Simple": {
			reason:  "A simple record is replaced by a weighted one in one batch.",
			present: []types.ResourceRecordSet{simple("www.example.com", types.RRTypeA, "192.0.2.9"), externalTXT("a-www.example.com", "blue")},
			want:    []string{"www.example.com A east=10 ttl=300 192.0.2.1"},
		},
		"CNAME": {
			reason:  "So is one of another type.",
			present: []types.ResourceRecordSet{weighted(simple("www.example.com", types.RRTypeCname, "lb.example.net"), cluster, 5), weighted(externalTXT("cname-www.example.com", "blue"), cluster, 5)},
			want:    []string{"www.example.com A east=10 ttl=300 192.0.2.1"},
		},
		"Aliases": {
			reason: "A load balancer has two aliases with a TXT record each.",
			present: []types.ResourceRecordSet{
				weighted(aliasSet("www.example.com", types.RRTypeA, "Z32O12XQLNTSW2", balancer), cluster, 5), weighted(externalTXT("cname-www.example.com", "blue"), cluster, 5),
				weighted(aliasSet("www.example.com", types.RRTypeAaaa, "Z32O12XQLNTSW2", balancer), cluster, 5), weighted(externalTXT("aaaa-www.example.com", "blue"), cluster, 5),
			},
			records: []dns.Record{elb("www.example.com", 10)},
			want:    []string{"www.example.com A east=10 alias Z32O12XQLNTSW2 " + balancer, "www.example.com AAAA east=10 alias Z32O12XQLNTSW2 " + balancer},
		},
		"Unchanged": {
			reason:  "Nothing to write but whose it is.",
			present: []types.ResourceRecordSet{weighted(simple("www.example.com", types.RRTypeA, "192.0.2.1"), cluster, 10), weighted(externalTXT("a-www.example.com", "blue"), cluster, 10)},
			want:    []string{"www.example.com A east=10 ttl=300 192.0.2.1"},
		},
		"Prefix": {
			reason:  "external-dns may put a prefix before the name.",
			opts:    route53.Options{TXTPrefix: "Ext-"},
			present: []types.ResourceRecordSet{weighted(simple("www.example.com", types.RRTypeA, "192.0.2.9"), cluster, 5), weighted(externalTXT("ext-a-www.example.com", "blue"), cluster, 5)},
			want:    []string{"www.example.com A east=10 ttl=300 192.0.2.1"},
		},
		"Template": {
			reason:  "The type may stand in the prefix, which may be a label of its own.",
			opts:    route53.Options{TXTPrefix: "ext-%{record_type}."},
			present: []types.ResourceRecordSet{weighted(simple("www.example.com", types.RRTypeA, "192.0.2.9"), cluster, 5), weighted(externalTXT("ext-a.www.example.com", "blue"), cluster, 5)},
			want:    []string{"www.example.com A east=10 ttl=300 192.0.2.1"},
		},
		"Suffix": {
			reason:  "Or a suffix behind the first label.",
			opts:    route53.Options{TXTSuffix: "-ext"},
			present: []types.ResourceRecordSet{weighted(simple("www.example.com", types.RRTypeA, "192.0.2.9"), cluster, 5), weighted(externalTXT("a-www-ext.example.com", "blue"), cluster, 5)},
			want:    []string{"www.example.com A east=10 ttl=300 192.0.2.1"},
		},
		"Wildcard": {
			reason:  "The asterisk may be replaced.",
			opts:    route53.Options{TXTWildcardReplacement: "any"},
			present: []types.ResourceRecordSet{weighted(simple("*.example.com", types.RRTypeA, "192.0.2.9"), cluster, 5), weighted(externalTXT("a-any.example.com", "blue"), cluster, 5)},
			records: []dns.Record{a("*.example.com", 10, "192.0.2.1")},
			want:    []string{`\052.example.com A east=10 ttl=300 192.0.2.1`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tc.opts.AdoptExternalDNS = "blue"
			r := newRig(t, tc.opts, route53emulator.Options{})
			stays := weighted(simple("other.example.com", types.RRTypeA, "192.0.2.9"), cluster, 5)
			r.seed(append(tc.present, stays, weighted(externalTXT("a-other.example.com", "green"), cluster, 5))...)
			if tc.records == nil {
				tc.records = []dns.Record{a("www.example.com", 10, "192.0.2.1")}
			}
			p := publication(shop, tc.records...)
			if name == "Weighted" {
				unasked := r.opts
				unasked.AdoptExternalDNS = ""
				before := r.zoneLines()
				statuses, err := r.backend(unasked).Publish(t.Context(), p)
				if err != nil || statuses[0].Err == nil || cmp.Diff(before, r.zoneLines()) != "" {
					t.Errorf("adopted without being told to: %+v, %v, %v", statuses, err, r.zoneLines())
				}
			}
			r.must(p)
			if got := r.aws.Calls(route53emulator.ChangeResourceRecordSets); got != 1 {
				t.Errorf("%s\n%d batches, want 1", tc.reason, got)
			}
			want := append(slices.Clone(tc.want), "other.example.com A east=5 ttl=300 192.0.2.9",
				`a-other.example.com TXT east=5 ttl=300 "heritage=external-dns,external-dns/owner=green,external-dns/resource=ingress/shop/web"`)
			var got []string
			for _, l := range r.zoneLines() {
				if !contains(l, "heritage=penstock") {
					got = append(got, l)
				}
			}
			if diff := cmp.Diff(sorted(want), sorted(got)); diff != "" {
				t.Errorf("%s\n-want +got:\n%s", tc.reason, diff)
			}
			r.restart()
			r.clock.Advance(time.Hour)
			r.must(p)
			if got := r.aws.Calls(route53emulator.ChangeResourceRecordSets); got != 1 {
				t.Errorf("%s\nafter a restart it is written again", tc.reason)
			}
			wantError(t, r.publish(publication(shop, append(tc.records, a("other.example.com", 1, "192.0.2.1"))...)).Err,
				"records of another owner id stay", "other.example.com", "is not Penstock's")
		})
	}
}

// A name that is longer than DNS allows with its ownership record is refused in words.
func TestOwnershipNameTooLong(t *testing.T) {
	t.Parallel()
	r := newRig(t, route53.Options{}, route53emulator.Options{})
	label := "a123456789-123456789-123456789-123456789-123456789-123456789"
	host := label + "." + label + "." + label + "." + label[:50] + ".example.com"
	wantError(t, r.publish(publication(shop, a(host, 1, "192.0.2.1"))).Err, "longer than 253", host, "253", "shorten")
}
