package route53emulator_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/route53/types"
	"github.com/google/go-cmp/cmp"
	mdns "github.com/miekg/dns"

	"github.com/penstock-dev/penstock/internal/route53emulator"
)

// seeded starts an emulator with record sets that are in sync.
func seeded(t *testing.T, sets ...types.ResourceRecordSet) *fixture {
	t.Helper()
	f := start(t, route53emulator.Options{Seed: 1})
	if err := f.Seed(f.zone, sets...); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	f := start(t, route53emulator.Options{})
	if err := f.SetLoadBalancer(balancerName, "192.0.2.200", "192.0.2.201", "2001:db8::200"); err != nil {
		t.Fatal(err)
	}
	loop := simple("loop.example.com", types.RRTypeCname, "loop.example.com")
	txtAlias := alias("alias-txt.example.com", f.zone, "text.example.com", false)
	txtAlias.Type = types.RRTypeTxt
	six := alias("balancer6.example.com", balancerZoneID, balancerName, false)
	six.Type = types.RRTypeAaaa
	for _, set := range []types.ResourceRecordSet{
		a("two.example.com", "192.0.2.1", "192.0.2.2"),
		simple("six.example.com", types.RRTypeAaaa, "2001:db8::1"),
		simple("text.example.com", types.RRTypeTxt, `"one" "two \"\303\244"`),
		simple("mail.example.com", types.RRTypeMx, "10 mx.example.com"),
		simple("cname.example.com", types.RRTypeCname, "Two.Example.com"),
		simple("chain.example.com", types.RRTypeCname, "cname.example.com."),
		simple("out.example.com", types.RRTypeCname, "www.example.net"),
		simple("dangling.example.com", types.RRTypeCname, "missing.example.com"),
		loop,
		a("*.wild.example.com", "192.0.2.3"),
		a("known.wild.example.com", "192.0.2.4"),
		a("deep.ent.example.com", "192.0.2.5"),
		a("a@b.example.com", "192.0.2.6"),
		alias("alias.example.com", f.zone, "two.example.com", false),
		alias("alias2.example.com", f.zone, "alias.example.com", false),
		alias("balancer.example.com", balancerZoneID, balancerName, false),
		alias("example.com", f.zone, "balancer.example.com", false),
		six,
		txtAlias,
		simple("sub.example.com", types.RRTypeNs, "ns.example.net"),
	} {
		if err := f.Seed(f.zone, set); err != nil {
			t.Fatal(err)
		}
	}
	cases := map[string]struct {
		reason    string
		name      string
		qtype     uint16
		want      []string
		wantRcode int
		wantNs    string // the first record of the authority section
		referral  bool
	}{
		"A":            {reason: "All values of a simple record set are answered.", name: "two.example.com.", qtype: mdns.TypeA, want: []string{"two.example.com. 60 IN A 192.0.2.1", "two.example.com. 60 IN A 192.0.2.2"}},
		"Case":         {reason: "Names are compared without regard to case, and the question's case is kept.", name: "TwO.Example.COM.", qtype: mdns.TypeA, want: []string{"TwO.Example.COM. 60 IN A 192.0.2.1", "TwO.Example.COM. 60 IN A 192.0.2.2"}},
		"AAAA":         {reason: "AAAA.", name: "six.example.com.", qtype: mdns.TypeAAAA, want: []string{"six.example.com. 60 IN AAAA 2001:db8::1"}},
		"TXT":          {reason: "Octal escape codes are bytes.", name: "text.example.com.", qtype: mdns.TypeTXT, want: []string{`text.example.com. 60 IN TXT "one" "two \"\195\164"`}},
		"MX":           {reason: "Other types are answered as they are.", name: "mail.example.com.", qtype: mdns.TypeMX, want: []string{"mail.example.com. 60 IN MX 10 mx.example.com."}},
		"SOA":          {reason: "The SOA's TTL is 900 s.", name: "example.com.", qtype: mdns.TypeSOA, want: []string{"example.com. 900 IN SOA ns-1.example.com. hostmaster.example.com. 1 7200 900 1209600 86400"}},
		"NS":           {reason: "The NS' TTL is two days.", name: "example.com.", qtype: mdns.TypeNS, want: []string{"example.com. 172800 IN NS ns-1.example.com."}},
		"CNAME":        {reason: "A CNAME is followed inside the zone.", name: "cname.example.com.", qtype: mdns.TypeA, want: []string{"cname.example.com. 60 IN CNAME two.example.com.", "two.example.com. 60 IN A 192.0.2.1", "two.example.com. 60 IN A 192.0.2.2"}},
		"CNAMEItself":  {reason: "A question for the CNAME is not followed.", name: "cname.example.com.", qtype: mdns.TypeCNAME, want: []string{"cname.example.com. 60 IN CNAME two.example.com."}},
		"Chain":        {reason: "Chains too.", name: "chain.example.com.", qtype: mdns.TypeA, want: []string{"chain.example.com. 60 IN CNAME cname.example.com.", "cname.example.com. 60 IN CNAME two.example.com.", "two.example.com. 60 IN A 192.0.2.1", "two.example.com. 60 IN A 192.0.2.2"}},
		"Outside":      {reason: "But not outside of it.", name: "out.example.com.", qtype: mdns.TypeA, want: []string{"out.example.com. 60 IN CNAME www.example.net."}},
		"Dangling":     {reason: "The code is that of the end of the chain (RFC 6604).", name: "dangling.example.com.", qtype: mdns.TypeA, want: []string{"dangling.example.com. 60 IN CNAME missing.example.com."}, wantRcode: mdns.RcodeNameError, wantNs: "SOA"},
		"NoData":       {reason: "A name without the type: NOERROR with SOA (RFC 2308).", name: "two.example.com.", qtype: mdns.TypeTXT, wantNs: "SOA"},
		"NXDOMAIN":     {reason: "No such name: NXDOMAIN with SOA (RFC 2308).", name: "missing.example.com.", qtype: mdns.TypeA, wantRcode: mdns.RcodeNameError, wantNs: "SOA"},
		"NonTerminal":  {reason: "A name with names below it exists (RFC 8020).", name: "ent.example.com.", qtype: mdns.TypeA, wantNs: "SOA"},
		"Wildcard":     {reason: "A wildcard answers for names that do not exist.", name: "Any.wild.example.com.", qtype: mdns.TypeA, want: []string{"Any.wild.example.com. 60 IN A 192.0.2.3"}},
		"WildcardDeep": {reason: "Of any depth.", name: "a.b.wild.example.com.", qtype: mdns.TypeA, want: []string{"a.b.wild.example.com. 60 IN A 192.0.2.3"}},
		"WildcardType": {reason: "A wildcard without the type: NODATA.", name: "any.wild.example.com.", qtype: mdns.TypeTXT, wantNs: "SOA"},
		"Specific":     {reason: "Not for names that exist (RFC 4592).", name: "known.wild.example.com.", qtype: mdns.TypeTXT, wantNs: "SOA"},
		"BelowKnown":   {reason: "Nor below them.", name: "x.known.wild.example.com.", qtype: mdns.TypeA, wantRcode: mdns.RcodeNameError, wantNs: "SOA"},
		"WildcardOwn":  {reason: "The wildcard can be asked for by its own name.", name: "*.wild.example.com.", qtype: mdns.TypeA, want: []string{"*.wild.example.com. 60 IN A 192.0.2.3"}},
		"Special":      {reason: "Names may have any character.", name: `a\@b.example.com.`, qtype: mdns.TypeA, want: []string{`a\@b.example.com. 60 IN A 192.0.2.6`}},
		"Alias":        {reason: "An alias answers with its target's values and TTL, under its own name.", name: "alias.example.com.", qtype: mdns.TypeA, want: []string{"alias.example.com. 60 IN A 192.0.2.1", "alias.example.com. 60 IN A 192.0.2.2"}},
		"AliasChain":   {reason: "Through several aliases.", name: "alias2.example.com.", qtype: mdns.TypeA, want: []string{"alias2.example.com. 60 IN A 192.0.2.1", "alias2.example.com. 60 IN A 192.0.2.2"}},
		"AliasTXT":     {reason: "Of all types but NS and SOA.", name: "alias-txt.example.com.", qtype: mdns.TypeTXT, want: []string{`alias-txt.example.com. 60 IN TXT "one" "two \"\195\164"`}},
		"AliasType":    {reason: "An alias answers for its type only.", name: "alias.example.com.", qtype: mdns.TypeAAAA, wantNs: "SOA"},
		"Balancer":     {reason: "A load balancer is answered with its addresses and 60 s.", name: "balancer.example.com.", qtype: mdns.TypeA, want: []string{"balancer.example.com. 60 IN A 192.0.2.200", "balancer.example.com. 60 IN A 192.0.2.201"}},
		"Balancer6":    {reason: "An alias of type AAAA has its IPv6 addresses.", name: "balancer6.example.com.", qtype: mdns.TypeAAAA, want: []string{"balancer6.example.com. 60 IN AAAA 2001:db8::200"}},
		"Apex":         {reason: "An alias may stand at the apex.", name: "example.com.", qtype: mdns.TypeA, want: []string{"example.com. 60 IN A 192.0.2.200", "example.com. 60 IN A 192.0.2.201"}},
		"BalancerName": {reason: "The load balancer's own name is answered too.", name: "dualstack." + balancerName + ".", qtype: mdns.TypeA, want: []string{"dualstack." + balancerName + ". 60 IN A 192.0.2.200", "dualstack." + balancerName + ". 60 IN A 192.0.2.201"}},
		"BalancerTXT":  {reason: "It has addresses only.", name: balancerName + ".", qtype: mdns.TypeTXT, wantNs: "SOA"},
		"Delegation":   {reason: "Names below a delegation are referred to its servers.", name: "www.sub.example.com.", qtype: mdns.TypeA, wantNs: "NS", referral: true},
		"Loop":         {reason: "A loop of CNAMEs ends.", name: "loop.example.com.", qtype: mdns.TypeA, wantRcode: mdns.RcodeServerFailure},
		"OtherZone":    {reason: "Unknown zones are REFUSED.", name: "www.example.net.", qtype: mdns.TypeA, wantRcode: mdns.RcodeRefused},
		"Root":         {reason: "So is the root.", name: ".", qtype: mdns.TypeNS, wantRcode: mdns.RcodeRefused},
		"Any":          {reason: "ANY is not implemented (RFC 8482).", name: "two.example.com.", qtype: mdns.TypeANY, wantRcode: mdns.RcodeNotImplemented},
		"AXFR":         {reason: "Zone transfers are refused.", name: "example.com.", qtype: mdns.TypeAXFR, wantRcode: mdns.RcodeRefused},
	}
	for name, tc := range cases {
		for _, network := range []string{"udp", "tcp"} {
			t.Run(name+"/"+network, func(t *testing.T) {
				t.Parallel()
				q := new(mdns.Msg).SetQuestion(tc.name, tc.qtype)
				m := f.queryAt(f.NameServers()[0], network, q)
				got := answers(m)
				if tc.wantRcode == mdns.RcodeServerFailure {
					got = nil
				}
				if diff := cmp.Diff(tc.want, got); diff != "" || m.Rcode != tc.wantRcode {
					t.Errorf("%s\ngot %s, want %s, -want +got:\n%s", tc.reason, mdns.RcodeToString[m.Rcode], mdns.RcodeToString[tc.wantRcode], diff)
				}
				var ns string
				if len(m.Ns) > 0 {
					ns = mdns.TypeToString[m.Ns[0].Header().Rrtype]
					if ns == "SOA" && !strings.HasSuffix(tc.name, "amazonaws.com.") && m.Ns[0].Header().Ttl != 900 {
						t.Errorf("%s\nthe negative TTL is %d, want 900", tc.reason, m.Ns[0].Header().Ttl)
					}
				}
				authoritative := tc.wantRcode == mdns.RcodeSuccess && !tc.referral
				if ns != tc.wantNs || authoritative && !m.Authoritative || tc.referral && m.Authoritative {
					t.Errorf("%s\nauthority %q, want %q; authoritative %t", tc.reason, ns, tc.wantNs, m.Authoritative)
				}
				if m.Question[0].Name != tc.name {
					t.Errorf("the question came back as %q", m.Question[0].Name)
				}
			})
		}
	}
}

// Answers that are too large for UDP are truncated, and complete over TCP (RFC 2181 section 9, RFC 6891).
func TestTruncation(t *testing.T) {
	t.Parallel()
	values := make([]string, 100)
	for i := range values {
		values[i] = fmt.Sprintf("192.0.2.%d", i)
	}
	f := seeded(t, a("many.example.com", values...), a("some.example.com", values[:40]...))
	server := f.NameServers()[0]
	for _, tc := range []struct {
		reason        string
		name, network string
		edns          uint16
		wantTruncated bool
	}{
		{"512 bytes without EDNS", "some.example.com.", "udp", 0, true},
		{"more with EDNS", "some.example.com.", "udp", 4096, false},
		{"but no more than 1232", "many.example.com.", "udp", 4096, true},
		{"everything over TCP", "many.example.com.", "tcp", 0, false},
	} {
		q := new(mdns.Msg).SetQuestion(tc.name, mdns.TypeA)
		if tc.edns > 0 {
			q.SetEdns0(tc.edns, false)
		}
		m := f.queryAt(server, tc.network, q)
		if m.Truncated != tc.wantTruncated || (m.IsEdns0() != nil) != (tc.edns > 0) {
			t.Errorf("%s: truncated %t, EDNS %v", tc.reason, m.Truncated, m.IsEdns0())
		}
	}
	q := new(mdns.Msg).SetQuestion("some.example.com.", mdns.TypeA)
	q.SetEdns0(1232, false)
	q.IsEdns0().SetVersion(1)
	if m := f.queryAt(server, "udp", q); m.Rcode != mdns.RcodeBadVers || len(m.Answer) != 0 {
		t.Errorf("EDNS version 1: %s, want BADVERS", mdns.RcodeToString[m.Rcode])
	}
	q = new(mdns.Msg).SetQuestion("some.example.com.", mdns.TypeA)
	q.Opcode = mdns.OpcodeStatus
	if m := f.queryAt(server, "udp", q); m.Rcode != mdns.RcodeNotImplemented {
		t.Errorf("another opcode: %s", mdns.RcodeToString[m.Rcode])
	}
}

// The deepest zone that holds a name answers for it.
func TestZonesBelowEachOther(t *testing.T) {
	t.Parallel()
	f := seeded(t, a("www.sub.example.com", "192.0.2.1"))
	sub, err := f.AddZone("sub.example.com")
	if err != nil {
		t.Fatal(err)
	}
	if m := f.query("www.sub.example.com", mdns.TypeA); m.Rcode != mdns.RcodeNameError {
		t.Errorf("the parent's record was answered: %v", m.Answer)
	}
	if err := f.Seed(sub, a("www.sub.example.com", "192.0.2.2")); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"www.sub.example.com. 60 IN A 192.0.2.2"}, answers(f.query("www.sub.example.com", mdns.TypeA))); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// shares asks n times and counts the first values.
func (f *fixture) shares(name string, n int) map[string]int {
	f.t.Helper()
	client := &mdns.Client{}
	conn, err := client.DialContext(f.t.Context(), f.NameServers()[0])
	if err != nil {
		f.t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // it was only read from
	got := map[string]int{}
	for range n {
		m, _, err := client.ExchangeWithConnContext(f.t.Context(), new(mdns.Msg).SetQuestion(mdns.Fqdn(name), mdns.TypeA), conn)
		if err != nil || len(m.Answer) != 1 {
			f.t.Fatalf("query %s: %v, %v", name, m, err)
		}
		got[m.Answer[0].(*mdns.A).A.String()]++
	}
	return got
}

// member is one record of a weighted set.
type member struct {
	weight    int64
	health    string // "", "ok" or "bad": no health check, or its status
	wantShare float64
}

// TestWeightedShares asks 4,000 times and compares shares with those of the documentation, at 4.5 standard errors.
func TestWeightedShares(t *testing.T) {
	t.Parallel()
	const (
		weighting = developerGuide + "routing-policy-weighted.html"
		choosing  = developerGuide + "health-checks-how-route-53-chooses-records.html"
	)
	cases := map[string]struct {
		reason, source string
		members        []member
	}{
		"Proportional":    {"A record's share is its weight by the sum of weights.", weighting, []member{{10, "", 0.1}, {30, "", 0.3}, {60, "", 0.6}}},
		"1to255":          {"1 and 255 are 1/256 and 255/256.", weighting, []member{{1, "", 1.0 / 256}, {255, "", 255.0 / 256}}},
		"ZeroGetsNothing": {"Weight 0 ends the traffic to a record.", weighting, []member{{0, "", 0}, {5, "", 1}}},
		"AllZero":         {"When all weights are 0, all records are as likely.", apiReference + "API_ResourceRecordSet.html", []member{{0, "", 1.0 / 3}, {0, "", 1.0 / 3}, {0, "", 1.0 / 3}}},
		"Unhealthy":       {"An unhealthy record is not chosen; the others share by weight.", choosing, []member{{50, "bad", 0}, {10, "ok", 0.25}, {30, "ok", 0.75}}},
		"NoHealthCheck":   {"A record without a health check is always healthy.", choosing, []member{{50, "bad", 0}, {1, "", 1}}},
		"ZeroNotFirst":    {"Non-zero weights are considered first.", choosing, []member{{0, "ok", 0}, {1, "ok", 1}}},
		"ZeroWhenOthersAreUnhealthy": {"If all non-zero weights are unhealthy, those of 0 are considered.", choosing, []member{
			{100, "bad", 0}, {50, "bad", 0}, {0, "ok", 0.5}, {0, "", 0.5},
		}},
		"NoneHealthy":     {"If none is healthy, all count as healthy.", choosing, []member{{20, "bad", 0.2}, {80, "bad", 0.8}, {0, "bad", 0}}},
		"ZeroNoneHealthy": {"That holds with all weights 0, too.", choosing, []member{{0, "bad", 0.5}, {0, "bad", 0.5}}},
		"ZeroSomeHealthy": {"With all weights 0, the healthy ones are as likely.", choosing, []member{{0, "bad", 0}, {0, "ok", 0.5}, {0, "ok", 0.5}}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := start(t, route53emulator.Options{Seed: 1})
			for i, m := range tc.members {
				set := weighted(a("www.example.com", fmt.Sprintf("192.0.2.%d", i)), fmt.Sprint(i), m.weight)
				if m.health != "" {
					id := f.createHealthCheck(fmt.Sprint(i))
					if err := f.SetHealthCheck(id, m.health == "ok"); err != nil {
						t.Fatal(err)
					}
					set = checked(set, id)
				}
				if err := f.Seed(f.zone, set); err != nil {
					t.Fatal(err)
				}
			}
			const n = 4000
			got := f.shares("www.example.com", n)
			for i, m := range tc.members {
				f.checkShare(fmt.Sprintf("%s (%s) member %d", tc.reason, tc.source, i), got[fmt.Sprintf("192.0.2.%d", i)], n, m.wantShare)
			}
		})
	}
}

// checkShare fails if got of n is more than 4.5 standard errors from want.
func (f *fixture) checkShare(what string, got, n int, want float64) {
	f.t.Helper()
	share := float64(got) / float64(n)
	if limit := 4.5 * math.Sqrt(want*(1-want)/float64(n)); math.Abs(share-want) > limit {
		f.t.Errorf("%s: share %.4f, want %.4f +- %.4f", what, share, want, limit)
	}
}

// The same seed gives the same answers.
func TestSeedIsReproducible(t *testing.T) {
	t.Parallel()
	var runs []string
	for _, seed := range []uint64{7, 7, 8} {
		f := start(t, route53emulator.Options{Seed: seed})
		if err := f.Seed(f.zone, weighted(a("www.example.com", "192.0.2.1"), "one", 50), weighted(a("www.example.com", "192.0.2.2"), "two", 50)); err != nil {
			t.Fatal(err)
		}
		var run strings.Builder
		for range 64 {
			run.WriteString(f.query("www.example.com", mdns.TypeA).Answer[0].(*mdns.A).A.String()[8:])
		}
		runs = append(runs, run.String())
	}
	if runs[0] != runs[1] || runs[0] == runs[2] {
		t.Errorf("answers by seed 7, 7, 8:\n%s", strings.Join(runs, "\n"))
	}
}

// A host whose weighted aliases lead to the inner weighted sets of two clusters: the shares multiply, and health rises through
// aliases that evaluate it. https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/dns-failover-complex-configs.html
func TestHealthThroughAliases(t *testing.T) {
	t.Parallel()
	// Host: east 30 and west 70. East: primary 80 and canary 20, each with a health check. West: one record.
	const (
		primary = "192.0.2.1"
		canary  = "192.0.2.2"
		west    = "192.0.2.3"
	)
	cases := map[string]struct {
		reason    string
		evaluate  bool
		unhealthy []string
		want      map[string]float64
	}{
		"AllHealthy":     {"Shares multiply.", true, nil, map[string]float64{primary: 0.24, canary: 0.06, west: 0.7}},
		"CanaryBad":      {"An unhealthy leaf leaves its branch to the others.", true, []string{"canary"}, map[string]float64{primary: 0.3, west: 0.7}},
		"EastBad":        {"A branch without a healthy leaf is left.", true, []string{"primary", "canary"}, map[string]float64{west: 1}},
		"EastNotEvalled": {"Without evaluation the branch stays, and all its leaves count as healthy.", false, []string{"primary", "canary"}, map[string]float64{primary: 0.24, canary: 0.06, west: 0.7}},
		"AliasCheckBad":  {"A health check of the alias itself counts as well.", true, []string{"alias"}, map[string]float64{west: 1}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := start(t, route53emulator.Options{Seed: 3})
			checks := map[string]string{}
			for _, check := range []string{"primary", "canary", "alias"} {
				checks[check] = f.createHealthCheck(check)
			}
			for _, set := range []types.ResourceRecordSet{
				checked(weighted(a("east.example.com", primary), "primary", 80), checks["primary"]),
				checked(weighted(a("east.example.com", canary), "canary", 20), checks["canary"]),
				checked(weighted(alias("www.example.com", f.zone, "east.example.com", tc.evaluate), "east", 30), checks["alias"]),
				weighted(a("www.example.com", west), "west", 70),
			} {
				if err := f.Seed(f.zone, set); err != nil {
					t.Fatal(err)
				}
			}
			for _, check := range tc.unhealthy {
				if err := f.SetHealthCheck(checks[check], false); err != nil {
					t.Fatal(err)
				}
			}
			const n = 4000
			got := f.shares("www.example.com", n)
			for _, address := range []string{primary, canary, west} {
				f.checkShare(tc.reason+" "+address, got[address], n, tc.want[address])
			}
		})
	}
}

// An alias to a load balancer that evaluates its target's health follows the health of the load balancer.
// https://docs.aws.amazon.com/Route53/latest/APIReference/API_AliasTarget.html
func TestLoadBalancerHealth(t *testing.T) {
	t.Parallel()
	f := start(t, route53emulator.Options{})
	if err := f.SetLoadBalancer("dualstack."+balancerName, "192.0.2.200"); err != nil {
		t.Fatal(err)
	}
	if err := f.Seed(f.zone,
		weighted(alias("www.example.com", balancerZoneID, balancerName, true), "east", 1),
		weighted(a("www.example.com", "192.0.2.1"), "west", 0),
	); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		set  func() error
		want string
	}{
		{func() error { return nil }, "192.0.2.200"},
		{func() error { return f.SetLoadBalancerHealth(balancerName, false) }, "192.0.2.1"},
		{func() error { return f.SetLoadBalancerHealth(balancerName, true) }, "192.0.2.200"},
		{func() error { return f.SetLoadBalancer(balancerName, "192.0.2.201") }, "192.0.2.201"},
		{func() error { return f.SetLoadBalancer(balancerName) }, "192.0.2.1"}, // no targets: unhealthy
	} {
		if err := step.set(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"www.example.com. 60 IN A " + step.want}, answers(f.query("www.example.com", mdns.TypeA))); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
	for hostname, want := range map[string]string{
		"www.example.com":                    "none of Elastic Load Balancing",
		"web-1.mars-1.elb.amazonaws.com":     "none of Elastic Load Balancing",
		"web-1..eu-west-1.elb.amazonaws.com": "empty",
	} {
		if err := f.SetLoadBalancer(hostname, "192.0.2.1"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("load balancer %s: %v, want %q", hostname, err, want)
		}
	}
	if err := f.SetLoadBalancer("net-1.elb.eu-west-1.amazonaws.com", "not an address"); err == nil {
		t.Error("a load balancer with a malformed address was registered")
	}
	if err := f.SetLoadBalancerHealth("net-1.elb.eu-west-1.amazonaws.com", false); err == nil || !strings.Contains(err.Error(), "SetLoadBalancer first") {
		t.Errorf("the health of an unknown load balancer: %v", err)
	}
}

// Deleting the target of an alias is not refused; the alias then has no answer.
func TestDanglingAlias(t *testing.T) {
	t.Parallel()
	target := a("target.example.com", "192.0.2.1")
	f := seeded(t, target)
	f.mustChange(create(alias("www.example.com", f.zone, "target.example.com", true)))
	f.mustChange(remove(target))
	if m := f.query("www.example.com", mdns.TypeA); len(m.Answer) != 0 || m.Rcode != mdns.RcodeSuccess {
		t.Errorf("got %v", m)
	}
}
