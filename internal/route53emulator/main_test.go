package route53emulator_test

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	mdns "github.com/miekg/dns"
	"go.uber.org/goleak"

	"github.com/penstock-dev/penstock/internal/route53emulator"
	"github.com/penstock-dev/penstock/internal/vclock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is an emulator with one hosted zone, example.com, on a virtual clock.
type fixture struct {
	*route53emulator.Server
	t     *testing.T
	sdk   *route53.Client
	clock *vclock.Clock
	zone  string
}

func start(t *testing.T, opts route53emulator.Options) *fixture {
	t.Helper()
	f := &fixture{t: t, clock: vclock.New(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))}
	if opts.Clock == nil {
		opts.Clock = f.clock
	}
	var err error
	if f.Server, err = route53emulator.New(opts); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	if f.zone, err = f.AddZone("example.com"); err != nil {
		t.Fatal(err)
	}
	f.sdk = route53.NewFromConfig(f.Config("AKIDTEST"))
	return f
}

// change submits a batch.
func (f *fixture) change(changes ...types.Change) (*types.ChangeInfo, error) {
	out, err := f.sdk.ChangeResourceRecordSets(f.t.Context(), &route53.ChangeResourceRecordSetsInput{
		HostedZoneId: &f.zone, ChangeBatch: &types.ChangeBatch{Changes: changes},
	})
	if err != nil {
		return nil, err
	}
	return out.ChangeInfo, nil
}

// mustChange submits a batch that has to be accepted.
func (f *fixture) mustChange(changes ...types.Change) *types.ChangeInfo {
	f.t.Helper()
	info, err := f.change(changes...)
	if err != nil {
		f.t.Fatal(err)
	}
	return info
}

// status asks GetChange.
func (f *fixture) status(info *types.ChangeInfo) types.ChangeStatus {
	f.t.Helper()
	out, err := f.sdk.GetChange(f.t.Context(), &route53.GetChangeInput{Id: info.Id})
	if err != nil {
		f.t.Fatal(err)
	}
	return out.ChangeInfo.Status
}

// listed returns all record sets but the zone's own NS and SOA, one line each.
func (f *fixture) listed() []string {
	f.t.Helper()
	var lines []string
	pages := route53.NewListResourceRecordSetsPaginator(f.sdk, &route53.ListResourceRecordSetsInput{HostedZoneId: &f.zone})
	for pages.HasMorePages() {
		page, err := pages.NextPage(f.t.Context())
		if err != nil {
			f.t.Fatal(err)
		}
		for _, set := range page.ResourceRecordSets {
			if set.Type != types.RRTypeSoa && set.Type != types.RRTypeNs {
				lines = append(lines, line(set))
			}
		}
	}
	return lines
}

// line is "name type [identifier]".
func line(set types.ResourceRecordSet) string {
	return strings.TrimSpace(*set.Name + " " + string(set.Type) + " " + aws.ToString(set.SetIdentifier))
}

// query asks the first name server over UDP.
func (f *fixture) query(name string, recordType uint16) *mdns.Msg {
	f.t.Helper()
	return f.queryAt(f.NameServers()[0], "udp", new(mdns.Msg).SetQuestion(mdns.Fqdn(name), recordType))
}

func (f *fixture) queryAt(server, network string, q *mdns.Msg) *mdns.Msg {
	f.t.Helper()
	client := &mdns.Client{Net: network, Timeout: 5 * time.Second, UDPSize: mdns.DefaultMsgSize}
	m, _, err := client.ExchangeContext(f.t.Context(), q, server)
	if err != nil {
		f.t.Fatalf("query %s %s: %v", network, q.Question[0].Name, err)
	}
	return m
}

// answers are the answer section, one record a line, with single spaces.
func answers(m *mdns.Msg) []string {
	var lines []string
	for _, rr := range m.Answer {
		lines = append(lines, strings.Join(strings.Fields(rr.String()), " "))
	}
	return lines
}

// The changes of the tests.

func create(set types.ResourceRecordSet) types.Change {
	return types.Change{Action: types.ChangeActionCreate, ResourceRecordSet: &set}
}

func upsert(set types.ResourceRecordSet) types.Change {
	return types.Change{Action: types.ChangeActionUpsert, ResourceRecordSet: &set}
}

func remove(set types.ResourceRecordSet) types.Change {
	return types.Change{Action: types.ChangeActionDelete, ResourceRecordSet: &set}
}

// simple is a record set with a TTL of 60 s.
func simple(name string, recordType types.RRType, values ...string) types.ResourceRecordSet {
	set := types.ResourceRecordSet{Name: &name, Type: recordType, TTL: aws.Int64(60)}
	for _, value := range values {
		set.ResourceRecords = append(set.ResourceRecords, types.ResourceRecord{Value: &value})
	}
	return set
}

// a is a simple record set of type A.
func a(name string, values ...string) types.ResourceRecordSet {
	return simple(name, types.RRTypeA, values...)
}

// weighted makes a record set the member of a weighted set.
func weighted(set types.ResourceRecordSet, identifier string, weight int64) types.ResourceRecordSet {
	set.SetIdentifier, set.Weight = &identifier, &weight
	return set
}

// alias is an alias of type A.
func alias(name, zoneID, target string, evaluateTargetHealth bool) types.ResourceRecordSet {
	return types.ResourceRecordSet{Name: &name, Type: types.RRTypeA, AliasTarget: &types.AliasTarget{
		HostedZoneId: &zoneID, DNSName: &target, EvaluateTargetHealth: evaluateTargetHealth,
	}}
}

// checked gives a record set a health check.
func checked(set types.ResourceRecordSet, healthCheck string) types.ResourceRecordSet {
	set.HealthCheckId = &healthCheck
	return set
}

// code is the error code of an API error; empty without an error.
func code(t *testing.T, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	var apiErr smithy.APIError
	if !errors.As(err, &apiErr) {
		t.Fatalf("%v is no API error", err)
	}
	return apiErr.ErrorCode()
}

// unreachable reports whether err says that the connection was cut.
func unreachable(err error) bool {
	var netErr *net.OpError
	return err != nil && (errors.As(err, &netErr) || strings.Contains(err.Error(), "EOF"))
}

// cmpIgnoreUnexported lets go-cmp look at the SDK's types.
func cmpIgnoreUnexported() cmp.Option {
	return cmpopts.IgnoreUnexported(types.ResourceRecordSet{}, types.ResourceRecord{}, types.AliasTarget{})
}
