package route53

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"
	"github.com/google/go-cmp/cmp"
	ktypes "k8s.io/apimachinery/pkg/types"

	"github.com/penstock-dev/penstock/dns"
)

var update = flag.Bool("update", false, "write the golden files anew")

var testZone = &hostedZone{id: "Z1EXAMPLE", name: "example.com"}

// Each file of testdata has records and, beside them, the record sets that they become, and must become them again.
func TestRecordSetsGolden(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal(err, files)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var given []dns.Record
			if err := json.Unmarshal(text, &given); err != nil {
				t.Fatal(err)
			}
			var lines []string
			var sets []*types.ResourceRecordSet
			ttls := map[key]time.Duration{}
			for _, r := range given {
				all, err := recordSets(testZone, r)
				if err != nil {
					t.Fatal(err)
				}
				for _, w := range all {
					lines = append(lines, text53(w.set))
					sets = append(sets, w.set)
					ttls[w.key] = w.ttl
				}
			}
			golden := strings.TrimSuffix(file, ".json") + ".golden"
			got := strings.Join(lines, "\n") + "\n"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			back := records(testZone, sets, ttls)
			arrange(back, nil, "east")
			arrange(given, nil, "east")
			if diff := cmp.Diff(given, back); diff != "" {
				t.Errorf("read back, -given +got:\n%s", diff)
			}
		})
	}
}

func text53(set *types.ResourceRecordSet) string {
	text := fmt.Sprintf("%s %s", *set.Name, set.Type)
	if set.SetIdentifier != nil {
		text += fmt.Sprintf(" SetIdentifier=%s Weight=%d", *set.SetIdentifier, *set.Weight)
	}
	if set.TTL != nil {
		text += fmt.Sprintf(" TTL=%d", *set.TTL)
	}
	if a := set.AliasTarget; a != nil {
		text += fmt.Sprintf(" AliasTarget={%s %s EvaluateTargetHealth=%t}", *a.HostedZoneId, *a.DNSName, a.EvaluateTargetHealth)
	}
	for _, value := range set.ResourceRecords {
		text += " " + *value.Value
	}
	if set.HealthCheckId != nil {
		text += " HealthCheckId=" + *set.HealthCheckId
	}
	return text
}

// Half of a pair, or a pair that differs, is no CNAME: the difference must show.
func TestRecordsDoNotFoldWhatDiffers(t *testing.T) {
	t.Parallel()
	pair := func(change func(aaaa *types.ResourceRecordSet)) []*types.ResourceRecordSet {
		all, err := recordSets(testZone, dns.Record{Name: "www.example.com", Type: dns.CNAME, SetIdentifier: "east", Weight: 3, Targets: []string{"web-1.eu-west-1.elb.amazonaws.com"}})
		if err != nil {
			t.Fatal(err)
		}
		change(all[1].set)
		return []*types.ResourceRecordSet{all[1].set, all[0].set}
	}
	for name, sets := range map[string][]*types.ResourceRecordSet{
		"weight": pair(func(aaaa *types.ResourceRecordSet) { aaaa.Weight = aws.Int64(4) }),
		"target": pair(func(aaaa *types.ResourceRecordSet) {
			aaaa.AliasTarget.DNSName = aws.String("web-2.eu-west-1.elb.amazonaws.com.")
		}),
		"health":     pair(func(aaaa *types.ResourceRecordSet) { aaaa.AliasTarget.EvaluateTargetHealth = true }),
		"identifier": pair(func(aaaa *types.ResourceRecordSet) { aaaa.SetIdentifier = aws.String("west") }),
		"alone":      pair(func(*types.ResourceRecordSet) {})[1:],
	} {
		for _, r := range records(testZone, sets, nil) {
			if r.Type == dns.CNAME {
				t.Errorf("%s: folded to %+v", name, r)
			}
		}
	}
	if got := records(testZone, pair(func(*types.ResourceRecordSet) {}), nil); len(got) != 1 || got[0].Type != dns.CNAME {
		t.Errorf("an equal pair is one CNAME, got %+v", got)
	}
}

// What Route 53 returns in another form is the same; what says something else is not.
func TestSame(t *testing.T) {
	t.Parallel()
	want, err := recordSets(testZone, dns.Record{Name: "www.example.com", Type: dns.AAAA, SetIdentifier: "east", Weight: 3, Targets: []string{"2001:db8::1"}})
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		change func(*types.ResourceRecordSet)
		want   bool
	}{
		"Equal":       {func(*types.ResourceRecordSet) {}, true},
		"LongAddress": {func(s *types.ResourceRecordSet) { s.ResourceRecords[0].Value = aws.String("2001:DB8:0:0:0:0:0:1") }, true},
		"Address":     {func(s *types.ResourceRecordSet) { s.ResourceRecords[0].Value = aws.String("2001:db8::2") }, false},
		"Weight":      {func(s *types.ResourceRecordSet) { s.Weight = aws.Int64(0) }, false},
		"NoWeight":    {func(s *types.ResourceRecordSet) { s.Weight = nil }, false},
		"TTL":         {func(s *types.ResourceRecordSet) { s.TTL = aws.Int64(60) }, false},
		"HealthCheck": {func(s *types.ResourceRecordSet) { s.HealthCheckId = aws.String("x") }, false},
		"Region":      {func(s *types.ResourceRecordSet) { s.Region = types.ResourceRecordSetRegionEuWest1 }, false},
		"Alias": {func(s *types.ResourceRecordSet) {
			s.AliasTarget = &types.AliasTarget{HostedZoneId: aws.String("Z1EXAMPLE"), DNSName: aws.String("x.example.com.")}
		}, false},
	} {
		read := *want[0].set
		read.ResourceRecords = append([]types.ResourceRecord{}, read.ResourceRecords...)
		tc.change(&read)
		if got := same(&read, want[0].set); got != tc.want {
			t.Errorf("%s: same is %t, want %t", name, got, tc.want)
		}
	}
}

// A record with another routing policy at our identity cannot be changed in place.
func TestPlanReplacesAnotherRoutingPolicy(t *testing.T) {
	t.Parallel()
	o := owner{cluster: "east", ingress: ktypes.NamespacedName{Namespace: "shop", Name: "web"}}
	want, err := recordSets(testZone, dns.Record{Name: "www.example.com", Type: dns.A, SetIdentifier: "east", Weight: 3, Targets: []string{"192.0.2.1"}})
	if err != nil {
		t.Fatal(err)
	}
	stands := *want[0].set
	stands.Weight, stands.Region = nil, types.ResourceRecordSetRegionEuWest1
	at, err := ownershipName(testZone, "east", "www.example.com")
	if err != nil {
		t.Fatal(err)
	}
	in := snapshot{"www.example.com": {&stands}, at: {ownershipSet(at, newClaim(o, want))}}
	p := &part{zone: testZone, owner: o, want: map[string][]wanted{"www.example.com": want}}
	changes, err := plan(p, []string{"www.example.com"}, in, externalDNS{})
	if err != nil || len(changes) != 2 || changes[0].Action != types.ChangeActionDelete || changes[1].Action != types.ChangeActionCreate {
		t.Errorf("want DELETE and CREATE, got %v, %v", changes, err)
	}
	latency := stands
	latency.SetIdentifier = aws.String("west")
	in["www.example.com"] = []*types.ResourceRecordSet{&latency}
	if _, err := plan(p, []string{"www.example.com"}, in, externalDNS{}); err == nil || !strings.Contains(err.Error(), "another routing policy") {
		t.Errorf("a foreign latency record excludes weights, got %v", err)
	}
}

func FuzzClaim(f *testing.F) {
	f.Add("east", "shop", "web", "east", 300)
	f.Add(`q"\,=;/:`, "n", "i", "a b+c%20", 0)
	f.Add("ümlaut", "n", "i", "", 2147483647)
	f.Fuzz(func(t *testing.T, cluster, namespace, name, id string, ttl int) {
		if cluster == "" || name == "" || strings.ContainsAny(namespace+name, ",/=") || ttl < 0 || ttl > 1<<31-1 {
			return // Kubernetes and Route 53 refuse these
		}
		c := claim{owner: owner{cluster: cluster, ingress: ktypes.NamespacedName{Namespace: namespace, Name: name}, origin: id}, written: id, records: map[key]time.Duration{
			{kind: "A", id: id}: time.Duration(ttl) * time.Second, {kind: "AAAA", id: id}: 0,
		}}
		value := quote(c.text())
		text, err := unquote(value)
		if err != nil || text != c.text() {
			t.Fatalf("%q became %q, then %q (%v)", c.text(), value, text, err)
		}
		back, err := parseClaim(text)
		if err != nil || back.owner != c.owner || !cmp.Equal(back.records, c.records, cmp.AllowUnexported(key{})) {
			t.Errorf("%q became %+v (%v)", text, back, err)
		}
		for part := range strings.SplitSeq(value, `" "`) {
			if len(part) > maxString*4+2 {
				t.Errorf("a string of %d characters in %q", len(part), value)
			}
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		`"heritage=penstock,cluster=east,ingress=shop/web,records=A/east;AAAA:60/east"`, `"heritage=penstock,cluster=%zz,ingress=a/b"`,
		`"heritage=penstock,cluster=e,ingress=a/b,records=A"`, `"heritage=penstock,cluster=e,ingress=a/b,records=A:x/e"`,
		`"heritage=external-dns,external-dns/owner=blue"`, `"a" "b\"c\\\101"`, `"`, `\052.example.com.`, `a\`, `a\05`, `a\056b.`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if text, err := unquote(value); err == nil {
			if again, err := unquote(quote(text)); err != nil || again != text {
				t.Errorf("%q read as %q, written and read as %q (%v)", value, text, again, err)
			}
			if c, err := parseClaim(text); err == nil {
				if again, err := parseClaim(c.text()); err != nil || again.owner != c.owner && !strings.Contains(c.ingress.String(), ",") {
					t.Errorf("%q read as %+v, then %+v (%v)", text, c, again, err)
				}
			}
			if owner, ok := parseExternalDNS(value); ok && owner == "" {
				t.Errorf("%q has an owner without a name", value)
			}
		}
		name := plainName(value)
		if !strings.Contains(value, `\`) && plainName(apiName(name)) != strings.TrimSuffix(name, ".") && !strings.HasSuffix(name, ".") {
			t.Errorf("%q read as %q, written as %q", value, name, apiName(name))
		}
	})
}

// The list's order: labels reversed, with a dot behind the last.
func TestSortKey(t *testing.T) {
	t.Parallel()
	ordered := []string{"example.com", "*.example.com", "www-2.example.com", "www.example.com", "east._canary.www.example.com", "a.www.example.com", "wwwa.example.com"}
	for i := 1; i < len(ordered); i++ {
		if sortKey(ordered[i-1]) >= sortKey(ordered[i]) {
			t.Errorf("%s does not come before %s", ordered[i-1], ordered[i])
		}
	}
	s := span{"www.example.com", sortKey("www.example.com"), true}
	for _, name := range ordered {
		inside := sortKey(name) >= s.key && sortKey(name) < s.end()
		if inside != within(name, "www.example.com") {
			t.Errorf("%s: by its key inside %t", name, inside)
		}
	}
}

func TestOwnedNameIsTheReverse(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"example.com", "www.example.com", "*.example.com", "*.a.example.com", "east._canary._wildcard.example.com", "east.east._penstock.example.com"} {
		at, err := ownershipName(testZone, "east", name)
		if err != nil || ownedName(testZone, "east", at) != name {
			t.Errorf("%s became %s, then %s (%v)", name, at, ownedName(testZone, "east", at), err)
		}
	}
}

func TestPack(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		reason string
		sizes  []size
		want   [][]int
	}{
		"Empty":      {"Nothing needs no batch.", nil, nil},
		"Exact":      {"Limits are inclusive.", []size{{600, 16000}, {400, 16000}}, [][]int{{0, 1}}},
		"Elements":   {"One element too many.", []size{{600, 1}, {401, 1}}, [][]int{{0}, {1}}},
		"Characters": {"One character too many.", []size{{1, 16000}, {1, 16001}}, [][]int{{0}, {1}}},
		"FirstFit":   {"A later part fills the first batch up.", []size{{700, 1}, {600, 1}, {300, 1}, {400, 1}}, [][]int{{0, 2}, {1, 3}}},
	} {
		if diff := cmp.Diff(tc.want, pack(tc.sizes)); diff != "" {
			t.Errorf("%s: %s\n-want +got:\n%s", name, tc.reason, diff)
		}
	}
	got := sizeOf([]types.Change{
		change(types.ChangeActionUpsert, &types.ResourceRecordSet{ResourceRecords: []types.ResourceRecord{{Value: aws.String("192.0.2.1")}, {Value: aws.String("192.0.2.2")}}}),
		change(types.ChangeActionCreate, &types.ResourceRecordSet{ResourceRecords: []types.ResourceRecord{{Value: aws.String("192.0.2.1")}}}),
		change(types.ChangeActionUpsert, &types.ResourceRecordSet{AliasTarget: &types.AliasTarget{}}),
		change(types.ChangeActionDelete, &types.ResourceRecordSet{AliasTarget: &types.AliasTarget{}}),
	})
	if want := (size{4 + 1 + 2 + 1, 36 + 9}); got != want {
		t.Errorf("an UPSERT counts twice, an alias one element: got %+v, want %+v", got, want)
	}
}
