package route53_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"
	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"
	ktypes "k8s.io/apimachinery/pkg/types"

	"github.com/penstock-dev/penstock/dns"
	"github.com/penstock-dev/penstock/dns/route53"
	"github.com/penstock-dev/penstock/internal/route53emulator"
	"github.com/penstock-dev/penstock/internal/vclock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	keyID    = "AKIDTEST"
	cluster  = "east"
	balancer = "web-1.eu-west-1.elb.amazonaws.com"
	// syncDelay of the emulator: GetChange is believed for two seconds, so it is asked once more before.
	syncDelay = 30 * time.Second
)

var (
	shop  = ktypes.NamespacedName{Namespace: "shop", Name: "web"}
	other = ktypes.NamespacedName{Namespace: "shop", Name: "other"}
)

// rig is a Backend on a strict Route 53 with the hosted zone example.com and a virtual clock.
type rig struct {
	*route53.Backend
	t     *testing.T
	aws   *route53emulator.Server
	clock *vclock.Clock
	zone  string
	opts  route53.Options
}

func newRig(t *testing.T, opts route53.Options, emulated route53emulator.Options) *rig {
	t.Helper()
	clk := vclock.New(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	emulated.Clock, opts.Clock = clk, clk
	if emulated.SyncDelay == 0 {
		emulated.SyncDelay = syncDelay
	}
	server, err := route53emulator.New(emulated)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	r := &rig{t: t, aws: server, clock: clk, opts: opts}
	r.zone = r.addZone("example.com")
	if err := server.SetLoadBalancer(balancer, "192.0.2.10", "2001:db8::10"); err != nil {
		t.Fatal(err)
	}
	r.restart()
	return r
}

func (r *rig) addZone(name string) string {
	r.t.Helper()
	id, err := r.aws.AddZone(name)
	if err != nil {
		r.t.Fatal(err)
	}
	return id
}

// restart replaces the Backend by one that remembers nothing.
func (r *rig) restart() { r.Backend = r.backend(r.opts) }

func (r *rig) backend(opts route53.Options) *route53.Backend {
	return route53.New(sdk.NewFromConfig(r.aws.Config(keyID)), zaptest.NewLogger(r.t).Sugar(), opts)
}

// publish publishes and returns the Status of the first Publication, without an error of the whole call.
func (r *rig) publish(publications ...dns.Publication) dns.Status {
	r.t.Helper()
	return r.publishAll(publications...)[0]
}

func (r *rig) publishAll(publications ...dns.Publication) []dns.Status {
	r.t.Helper()
	statuses, err := r.Publish(r.t.Context(), publications...)
	if err != nil {
		r.t.Fatalf("Publish: %v", err)
	}
	return statuses
}

// must publishes what has to be accepted.
func (r *rig) must(publications ...dns.Publication) []dns.Status {
	r.t.Helper()
	statuses := r.publishAll(publications...)
	for i, s := range statuses {
		if s.Err != nil {
			r.t.Fatalf("publication %d: %v", i, s.Err)
		}
	}
	return statuses
}

// settled publishes until in sync, as a publisher would, and returns the last Status.
func (r *rig) settled(p dns.Publication) dns.Status {
	r.t.Helper()
	for range 30 {
		s := r.must(p)[0]
		if s.InSync {
			return s
		}
		p.Prior = s
		r.clock.Advance(3 * time.Second)
	}
	r.t.Fatal("not in sync after 90 s")
	return dns.Status{}
}

// remembering is a publication with what the caller remembers.
func remembering(p dns.Publication, s dns.Status) dns.Publication {
	p.Prior = s
	return p
}

func publication(ingress ktypes.NamespacedName, records ...dns.Record) dns.Publication {
	return dns.Publication{Ingress: ingress, Cluster: cluster, Records: records}
}

// seed puts record sets into the zone as if they had always been there.
func (r *rig) seed(sets ...types.ResourceRecordSet) {
	r.t.Helper()
	if err := r.aws.Seed(r.zone, sets...); err != nil {
		r.t.Fatal(err)
	}
}

// change changes the zone behind the Backend's back.
func (r *rig) change(action types.ChangeAction, set types.ResourceRecordSet) {
	r.t.Helper()
	_, err := sdk.NewFromConfig(r.aws.Config(keyID)).ChangeResourceRecordSets(r.t.Context(), &sdk.ChangeResourceRecordSetsInput{
		HostedZoneId: &r.zone, ChangeBatch: &types.ChangeBatch{Changes: []types.Change{{Action: action, ResourceRecordSet: &set}}},
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

// zoneLines lists the zone without its NS and SOA, one record set a line.
func (r *rig) zoneLines() []string { return r.linesOf(r.zone) }

func (r *rig) linesOf(zone string) []string {
	var lines []string
	for _, set := range r.aws.RecordSets(zone) {
		if set.Type != types.RRTypeSoa && set.Type != types.RRTypeNs {
			lines = append(lines, line(set))
		}
	}
	return lines
}

// line is a record set as text.
func line(set types.ResourceRecordSet) string {
	text := []string{strings.TrimSuffix(aws.ToString(set.Name), "."), string(set.Type)}
	if set.SetIdentifier != nil {
		text = append(text, fmt.Sprintf("%s=%d", *set.SetIdentifier, aws.ToInt64(set.Weight)))
	}
	if set.AliasTarget != nil {
		text = append(text, "alias", *set.AliasTarget.HostedZoneId, strings.TrimSuffix(*set.AliasTarget.DNSName, "."))
		if set.AliasTarget.EvaluateTargetHealth {
			text = append(text, "evaluated")
		}
	} else {
		text = append(text, fmt.Sprintf("ttl=%d", aws.ToInt64(set.TTL)))
	}
	for _, value := range set.ResourceRecords {
		text = append(text, aws.ToString(value.Value))
	}
	if set.HealthCheckId != nil {
		text = append(text, "check="+*set.HealthCheckId)
	}
	return strings.Join(text, " ")
}

// calls returns how many requests arrived since the last call of calls, by operation.
func (r *rig) calls() string {
	var counts []string
	for _, op := range []route53emulator.Operation{
		route53emulator.ListHostedZones, route53emulator.ListResourceRecordSets,
		route53emulator.ChangeResourceRecordSets, route53emulator.GetChange,
	} {
		counts = append(counts, fmt.Sprintf("%s %d", strings.TrimSuffix(strings.TrimPrefix(string(op), "Change"), "RecordSets"), r.aws.Calls(op)))
	}
	r.aws.ResetCalls()
	return fmt.Sprintf("zones %s, list %s, change %s, get %s", last(counts[0]), last(counts[1]), last(counts[2]), last(counts[3]))
}

func last(text string) string { return text[strings.LastIndex(text, " ")+1:] }

func (r *rig) expectCalls(want, reason string) {
	r.t.Helper()
	if got := r.calls(); got != want {
		r.t.Errorf("%s\ncalls: %s, want %s", reason, got, want)
	}
}

// wantError checks that an error says what a reader needs.
func wantError(t *testing.T, err error, reason string, words ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s\nno error", reason)
		return
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%s\nthe error lacks %q: %v", reason, word, err)
		}
	}
}

// The record sets of the tests.

func simple(name string, recordType types.RRType, values ...string) types.ResourceRecordSet {
	set := types.ResourceRecordSet{Name: &name, Type: recordType, TTL: aws.Int64(300)}
	for _, value := range values {
		set.ResourceRecords = append(set.ResourceRecords, types.ResourceRecord{Value: aws.String(value)})
	}
	return set
}

func weighted(set types.ResourceRecordSet, identifier string, weight int64) types.ResourceRecordSet {
	set.SetIdentifier, set.Weight = &identifier, &weight
	return set
}

// externalTXT is a registry record of external-dns.
func externalTXT(name, owner string) types.ResourceRecordSet {
	return simple(name, types.RRTypeTxt, `"heritage=external-dns,external-dns/owner=`+owner+`,external-dns/resource=ingress/shop/web"`)
}

// The records of the tests.

// a is a weighted A record.
func a(name string, weight int, address string) dns.Record {
	return dns.Record{Name: name, Type: dns.A, SetIdentifier: cluster, Weight: weight, Targets: []string{address}}
}

// elb is a weighted record that points at the load balancer.
func elb(name string, weight int) dns.Record {
	return dns.Record{Name: name, Type: dns.CNAME, SetIdentifier: cluster, Weight: weight, Targets: []string{balancer}}
}

// split is a host above an inner set of two addresses.
func split(host string, weight, primary, canary int) []dns.Record {
	inner := cluster + "._canary." + strings.Replace(host, "*", "_wildcard", 1)
	records := []dns.Record{
		{Name: host, Type: dns.A, SetIdentifier: cluster, Weight: weight, Targets: []string{inner}, Alias: true, EvaluateTargetHealth: true},
		{Name: inner, Type: dns.A, SetIdentifier: dns.Primary, Weight: primary, Targets: []string{"192.0.2.1"}, TTL: 30 * time.Second},
		{Name: inner, Type: dns.A, SetIdentifier: dns.Canary, Weight: canary, Targets: []string{"192.0.2.2"}, TTL: 30 * time.Second},
	}
	return slices.DeleteFunc(records, func(r dns.Record) bool { return !r.Alias && r.Weight == 0 })
}

// published returns what the Backend says is published for shop, as a new process would.
func (r *rig) published(hosts ...string) []dns.Record {
	r.t.Helper()
	records, err := r.Published(r.t.Context(), cluster, shop, hosts)
	if err != nil {
		r.t.Fatal(err)
	}
	return records
}

// namesWithout lists names and types, without one type.
func (r *rig) namesWithout(recordType types.RRType) []string {
	var names []string
	for _, set := range r.aws.RecordSets(r.zone) {
		if set.Type != types.RRTypeSoa && set.Type != types.RRTypeNs && set.Type != recordType {
			names = append(names, strings.TrimSuffix(*set.Name, ".")+" "+string(set.Type))
		}
	}
	return names
}

func sorted(lines []string) []string { return slices.Sorted(slices.Values(lines)) }

func replaceZone(text, zone string) string { return strings.ReplaceAll(text, zone, "ZONE") }

// aliasSet is an alias; an empty zone is the one that the rig makes first.
func aliasSet(name string, recordType types.RRType, zone, target string) types.ResourceRecordSet {
	if zone == "" {
		zone = "Z0000000000001"
	}
	return types.ResourceRecordSet{Name: &name, Type: recordType, AliasTarget: &types.AliasTarget{HostedZoneId: &zone, DNSName: &target}}
}

func contains(text, part string) bool { return strings.Contains(text, part) }

// many are publications of one host each.
func many(n int) []dns.Publication {
	all := make([]dns.Publication, n)
	for i := range all {
		name := fmt.Sprintf("host-%04d", i)
		all[i] = publication(ktypes.NamespacedName{Namespace: "shop", Name: name}, a(name+".example.com", 10, "192.0.2.1"))
	}
	return all
}
