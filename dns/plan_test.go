package dns_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-dev/penstock/dns"
	"github.com/penstock-dev/penstock/internal/dnstest"
	"github.com/penstock-dev/penstock/internal/state"
	"github.com/penstock-dev/penstock/weights"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// Each folder of testdata/plan holds a host and the records that are planned for it.
func TestPlanGolden(t *testing.T) {
	t.Parallel()
	inputs, err := filepath.Glob("testdata/plan/*.host.json")
	if err != nil || len(inputs) == 0 {
		t.Fatalf("no inputs (%v)", err)
	}
	for _, input := range inputs {
		name := strings.TrimSuffix(filepath.Base(input), ".host.json")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(input)
			if err != nil {
				t.Fatal(err)
			}
			var h dns.Host
			dec := json.NewDecoder(bytes.NewReader(text))
			dec.DisallowUnknownFields()
			if err := dec.Decode(&h); err != nil {
				t.Fatal(err)
			}
			records, err := dns.Plan(h)
			got := describe(records, err)
			if err := dnstest.Check(records); err != nil {
				t.Errorf("Route 53 would refuse this: %v", err)
			}
			golden := strings.TrimSuffix(input, ".host.json") + ".records.txt"
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
				t.Errorf("Plan of %s -want +got:\n%s", input, diff)
			}
		})
	}
}

func describe(records []dns.Record, err error) string {
	var b strings.Builder
	for _, r := range records {
		kind := string(r.Type)
		if r.Alias {
			kind += " alias"
		}
		fmt.Fprintf(&b, "%s %s %s", r.Name, kind, strings.Join(r.Targets, ","))
		if r.SetIdentifier != "" {
			fmt.Fprintf(&b, " id=%s weight=%d", r.SetIdentifier, r.Weight)
		}
		if r.TTL != 0 {
			fmt.Fprintf(&b, " ttl=%v", r.TTL)
		}
		if r.HealthCheckID != "" {
			fmt.Fprintf(&b, " health=%s", r.HealthCheckID)
		}
		if r.EvaluateTargetHealth {
			b.WriteString(" evaluate-target-health")
		}
		b.WriteByte('\n')
	}
	if err != nil {
		fmt.Fprintf(&b, "error: %v\n", err)
	}
	return b.String()
}

func TestInnerName(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		reason, cluster, host, want string
	}{
		{"A label stands for itself.", "east", "app.example.com", "east._canary.app.example.com"},
		{"A star may only be the first label of a name.", "east", "*.example.com", "east._canary._wildcard.example.com"},
		{"A name that is no label is hashed.", "east/1", "app.example.com", dns.ClusterLabel("east/1") + "._canary.app.example.com"},
	} {
		got, err := dns.InnerName(tc.cluster, tc.host)
		if err != nil || got != tc.want {
			t.Errorf("%s\nInnerName(%q, %q) = %q, %v, want %q", tc.reason, tc.cluster, tc.host, got, err, tc.want)
		}
	}
	if _, err := dns.InnerName("east", strings.Repeat("a234567890.", 22)+"com"); err == nil {
		t.Error("a name of more than 253 characters was accepted")
	}
}

func FuzzInnerName(f *testing.F) {
	f.Add("east", "app.example.com")
	f.Add("Östlich", "*.example.com")
	f.Add(strings.Repeat("x", 58), "a.b")
	f.Fuzz(func(t *testing.T, cluster, host string) {
		name, err := dns.NormalHost(host)
		if err != nil {
			return
		}
		if again, err := dns.NormalHost(name); err != nil || again != name {
			t.Errorf("NormalHost(%q) = %q, which becomes %q (%v)", host, name, again, err)
		}
		inner, err := dns.InnerName(cluster, name)
		if err != nil {
			return
		}
		if len(inner) > 253 || strings.Contains(inner, "*") {
			t.Errorf("InnerName(%q, %q) = %q", cluster, name, inner)
		}
		for label := range strings.SplitSeq(inner, ".") {
			if label == "" || len(label) > 63 {
				t.Errorf("InnerName(%q, %q) = %q has the label %q", cluster, name, inner, label)
			}
		}
	})
}

func TestLoadBalancerZone(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]string{
		"one-1.eu-west-1.elb.amazonaws.com":            "Z32O12XQLNTSW2",
		"dualstack.one-1.EU-west-1.elb.amazonaws.com.": "Z32O12XQLNTSW2",
		"one-1.elb.eu-west-1.amazonaws.com":            "Z2IFOLAFXWLO4F",
		"one-1.cn-north-1.elb.amazonaws.com.cn":        "Z1GDH35T77C1KE",
		"one-1.cn-north-1.elb.amazonaws.com":           "",
		"one-1.moon-1.elb.amazonaws.com":               "",
		"eu-west-1.elb.amazonaws.com":                  "",
		"lb.example.com":                               "",
		"":                                             "",
	} {
		got, ok := dns.LoadBalancerZone(host)
		if got != want || ok != (want != "") {
			t.Errorf("LoadBalancerZone(%q) = %q, %t, want %q", host, got, ok, want)
		}
	}
}

func TestDiff(t *testing.T) {
	t.Parallel()
	a := dns.Record{Name: "a.example.com", Type: dns.A, Targets: []string{"192.0.2.1"}}
	b := dns.Record{Name: "b.example.com", Type: dns.A, SetIdentifier: "east", Weight: 1, Targets: []string{"192.0.2.1"}}
	heavier := b
	heavier.Weight = 2
	c := dns.Record{Name: "c.example.com", Type: dns.A, Targets: []string{"192.0.2.1"}}
	got := dns.Diff([]dns.Record{a, b}, []dns.Record{heavier, c})
	want := []dns.Change{{From: &a}, {From: &b, To: &heavier}, {To: &c}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Diff -want +got:\n%s", diff)
	}
	if got := dns.Diff([]dns.Record{a, b}, []dns.Record{b, a}); len(got) != 0 {
		t.Errorf("another order is no difference: %+v", got)
	}
}

// The planning of many hosts with one host's weight changed: records of all, and what differs from what is published.
func BenchmarkPlan(b *testing.B) {
	for _, hosts := range []int{2_000, 20_000} {
		b.Run(fmt.Sprint(hosts), func(b *testing.B) {
			names := make([]string, hosts)
			for i := range names {
				names[i] = fmt.Sprintf("app-%d.example.com", i)
			}
			cluster, _ := weights.WholePercent(60)
			plan := func(changed int) []dns.Record {
				all := make([]dns.Record, 0, hosts+4)
				for i, name := range names {
					h := dns.Host{Name: name, Cluster: "east", Weight: weights.Record(cluster, weights.Hundred, 100), Target: dns.Target{Hostname: elbHostname}}
					if i == changed {
						h.Weight = 13
					}
					if i%1000 == 0 {
						h.AtInner = true
						h.Inner = &dns.Inner{Primary: dns.Target{IPv4: []string{primaryLB}}, Canary: dns.Target{IPv4: []string{canaryLB}}, Weights: state.Weights{Primary: 90, Canary: 10}}
					}
					records, err := dns.Plan(h)
					if err != nil {
						b.Fatal(err)
					}
					all = append(all, records...)
				}
				return all
			}
			published := plan(-1)
			b.ReportAllocs()
			for b.Loop() {
				if changes := dns.Diff(published, plan(hosts/2)); len(changes) != 1 {
					b.Fatalf("%d changes, want 1", len(changes))
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(hosts), "ns/host")
		})
	}
}

func ExamplePlan() {
	records, err := dns.Plan(dns.Host{
		Name: "app.example.com", Cluster: "east", Weight: 60, AtInner: true,
		Target: dns.Target{IPv4: []string{"192.0.2.1"}},
		Inner: &dns.Inner{
			Primary: dns.Target{IPv4: []string{"192.0.2.1"}},
			Canary:  dns.Target{IPv4: []string{"192.0.2.2"}},
			Weights: state.Weights{Primary: 90, Canary: 10},
		},
	})
	if err != nil {
		fmt.Println(err)
	}
	for _, r := range records {
		fmt.Println(r.Name, r.Type, r.SetIdentifier, r.Weight, strings.Join(r.Targets, " "))
	}
	// Output:
	// app.example.com A east 60 east._canary.app.example.com
	// east._canary.app.example.com A primary 90 192.0.2.1
	// east._canary.app.example.com A canary 10 192.0.2.2
}

func TestPlanIsPure(t *testing.T) {
	t.Parallel()
	h := dns.Host{Name: host, Cluster: "east", Weight: 60, Target: dns.Target{IPv4: []string{primaryLB}, IPv6: []string{"2001:db8::1"}}}
	first, err := dns.Plan(h)
	if err != nil {
		t.Fatal(err)
	}
	second, err := dns.Plan(h)
	if err != nil || !slices.EqualFunc(first, second, dns.Record.Equal) {
		t.Errorf("the same host gives %+v, then %+v (%v)", first, second, err)
	}
}
