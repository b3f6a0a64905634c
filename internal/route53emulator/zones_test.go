package route53emulator_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"
	"github.com/google/go-cmp/cmp"
	mdns "github.com/miekg/dns"

	"github.com/penstock-dev/penstock/internal/route53emulator"
)

// A new hosted zone has NS and SOA, is PENDING, and its caller reference is used up.
// https://docs.aws.amazon.com/Route53/latest/APIReference/API_CreateHostedZone.html
func TestCreateHostedZone(t *testing.T) {
	t.Parallel()
	f := start(t, route53emulator.Options{SyncDelay: time.Minute, NameServers: 2})
	input := &route53.CreateHostedZoneInput{
		Name: aws.String("Example.NET"), CallerReference: aws.String("ref"),
		HostedZoneConfig: &types.HostedZoneConfig{Comment: aws.String("ours")},
	}
	out, err := f.sdk.CreateHostedZone(t.Context(), input)
	if err != nil {
		t.Fatal(err)
	}
	z := out.HostedZone
	if !strings.HasPrefix(*z.Id, "/hostedzone/Z") || *z.Name != "example.net." || *z.ResourceRecordSetCount != 2 || *z.Config.Comment != "ours" ||
		out.ChangeInfo.Status != types.ChangeStatusPending || len(out.DelegationSet.NameServers) != 2 || !strings.HasSuffix(*out.Location, strings.TrimPrefix(*z.Id, "/")) {
		t.Errorf("got %+v of %+v", out, z)
	}
	if _, err := f.sdk.CreateHostedZone(t.Context(), input); code(t, err) != "HostedZoneAlreadyExists" {
		t.Errorf("the same caller reference again: %v", err)
	}
	if m := f.query("example.net", mdns.TypeSOA); m.Rcode != mdns.RcodeRefused {
		t.Errorf("a PENDING hosted zone answers %s", mdns.RcodeToString[m.Rcode])
	}
	f.clock.Advance(time.Minute)
	if m := f.query("example.net", mdns.TypeNS); len(m.Answer) != 2 || !m.Authoritative {
		t.Errorf("NS of a new hosted zone: %v", m)
	}
	got, err := f.sdk.GetHostedZone(t.Context(), &route53.GetHostedZoneInput{Id: z.Id})
	if err != nil || *got.HostedZone.CallerReference != "ref" {
		t.Errorf("GetHostedZone: %v, %v", got, err)
	}
	input.Name, input.CallerReference = aws.String("a..b"), aws.String("other")
	if _, err := f.sdk.CreateHostedZone(t.Context(), input); code(t, err) != "InvalidDomainName" {
		t.Errorf("a malformed name: %v", err)
	}
}

// Only a hosted zone with nothing but its NS and SOA can be deleted.
// https://docs.aws.amazon.com/Route53/latest/APIReference/API_DeleteHostedZone.html
func TestDeleteHostedZone(t *testing.T) {
	t.Parallel()
	f := start(t, route53emulator.Options{SyncDelay: time.Minute})
	set := a("www.example.com", "192.0.2.1")
	f.mustChange(create(set))
	input := &route53.DeleteHostedZoneInput{Id: &f.zone}
	if _, err := f.sdk.DeleteHostedZone(t.Context(), input); code(t, err) != "HostedZoneNotEmpty" {
		t.Errorf("a hosted zone with records: %v", err)
	}
	delegation := simple("sub.example.com", types.RRTypeNs, "ns.example.net")
	f.mustChange(remove(set), create(delegation))
	if _, err := f.sdk.DeleteHostedZone(t.Context(), input); code(t, err) != "HostedZoneNotEmpty" {
		t.Errorf("a hosted zone with NS other than its own: %v", err)
	}
	f.mustChange(remove(delegation))
	out, err := f.sdk.DeleteHostedZone(t.Context(), input)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.sdk.DeleteHostedZone(t.Context(), input); code(t, err) != "NoSuchHostedZone" {
		t.Errorf("deleted again: %v", err)
	}
	if m := f.query("example.com", mdns.TypeSOA); len(m.Answer) != 1 {
		t.Errorf("while the deletion is %s, the SOA is %v", f.status(out.ChangeInfo), m.Answer)
	}
	f.clock.Advance(time.Minute)
	if m := f.query("example.com", mdns.TypeSOA); m.Rcode != mdns.RcodeRefused {
		t.Errorf("after the deletion is %s, the answer is %s", f.status(out.ChangeInfo), mdns.RcodeToString[m.Rcode])
	}
}

// Hosted zones are listed in pages of at most 100, by id, or by name with the labels reversed.
// https://docs.aws.amazon.com/Route53/latest/APIReference/API_ListHostedZonesByName.html
func TestListHostedZones(t *testing.T) {
	t.Parallel()
	f := start(t, route53emulator.Options{})
	for _, name := range []string{"b.example.com", "example.net", "a.example.com"} {
		if _, err := f.AddZone(name); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	pages := route53.NewListHostedZonesPaginator(f.sdk, &route53.ListHostedZonesInput{MaxItems: aws.Int32(3)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, z := range page.HostedZones {
			got = append(got, *z.Name)
		}
	}
	if diff := cmp.Diff([]string{"example.com.", "b.example.com.", "example.net.", "a.example.com."}, got); diff != "" {
		t.Errorf("by id -want +got:\n%s", diff)
	}

	got = nil
	input := &route53.ListHostedZonesByNameInput{MaxItems: aws.Int32(1)}
	for range 4 { // no more pages than hosted zones
		page, err := f.sdk.ListHostedZonesByName(t.Context(), input)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, *page.HostedZones[0].Name)
		if !page.IsTruncated {
			break
		}
		input.DNSName, input.HostedZoneId = page.NextDNSName, page.NextHostedZoneId
	}
	if diff := cmp.Diff([]string{"example.com.", "a.example.com.", "b.example.com.", "example.net."}, got); diff != "" {
		t.Errorf("by name -want +got:\n%s", diff)
	}
	if _, err := f.sdk.ListHostedZonesByName(t.Context(), &route53.ListHostedZonesByNameInput{HostedZoneId: &f.zone}); code(t, err) != "InvalidInput" {
		t.Errorf("an id to start from without a name: %v", err)
	}
}

// Tags of up to ten hosted zones can be read at once.
// https://docs.aws.amazon.com/Route53/latest/APIReference/API_ListTagsForResources.html
func TestTags(t *testing.T) {
	t.Parallel()
	f := start(t, route53emulator.Options{})
	change := func(input *route53.ChangeTagsForResourceInput) {
		t.Helper()
		input.ResourceId, input.ResourceType = &f.zone, types.TagResourceTypeHostedzone
		if _, err := f.sdk.ChangeTagsForResource(t.Context(), input); err != nil {
			t.Fatal(err)
		}
	}
	change(&route53.ChangeTagsForResourceInput{AddTags: []types.Tag{
		{Key: aws.String("env"), Value: aws.String("test")}, {Key: aws.String("team"), Value: aws.String("dns")},
	}})
	change(&route53.ChangeTagsForResourceInput{RemoveTagKeys: []string{"team"}})
	one, err := f.sdk.ListTagsForResource(t.Context(), &route53.ListTagsForResourceInput{ResourceId: &f.zone, ResourceType: types.TagResourceTypeHostedzone})
	if err != nil {
		t.Fatal(err)
	}
	many := func(ids ...string) (*route53.ListTagsForResourcesOutput, error) {
		return f.sdk.ListTagsForResources(t.Context(), &route53.ListTagsForResourcesInput{ResourceIds: ids, ResourceType: types.TagResourceTypeHostedzone})
	}
	out, err := many(f.zone)
	if err != nil {
		t.Fatal(err)
	}
	for _, set := range []types.ResourceTagSet{*one.ResourceTagSet, out.ResourceTagSets[0]} {
		if len(set.Tags) != 1 || *set.Tags[0].Key != "env" || *set.Tags[0].Value != "test" || *set.ResourceId != f.zone {
			t.Errorf("got tags %+v of %s", set.Tags, aws.ToString(set.ResourceId))
		}
	}
	if _, err := many("Z9"); code(t, err) != "NoSuchHostedZone" {
		t.Errorf("tags of an unknown hosted zone: %v", err)
	}
	if _, err := many(strings.Fields(strings.Repeat(f.zone+" ", 11))...); code(t, err) != "InvalidInput" {
		t.Errorf("tags of 11 hosted zones: %v", err)
	}
}

func TestSeedFollowsTheRules(t *testing.T) {
	t.Parallel()
	f := start(t, route53emulator.Options{SyncDelay: time.Hour})
	if err := f.Seed(f.zone, a("www.example.com", "192.0.2.1")); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"www.example.com. 60 IN A 192.0.2.1"}, answers(f.query("www.example.com", mdns.TypeA))); diff != "" {
		t.Errorf("what is seeded is in sync at once -want +got:\n%s", diff)
	}
	if err := f.Seed(f.zone, a("www.example.net", "192.0.2.1")); err == nil || !strings.Contains(err.Error(), "outside of hosted zone") {
		t.Errorf("a name outside of the hosted zone: %v", err)
	}
	if err := f.Seed("Z9"); err == nil || !strings.Contains(err.Error(), "Z9") {
		t.Errorf("an unknown hosted zone: %v", err)
	}
	if got := f.RecordSets("Z9"); got != nil {
		t.Errorf("record sets of an unknown hosted zone: %v", got)
	}
	if _, err := f.AddZone("a..b"); err == nil || !strings.Contains(fmt.Sprint(err), "a..b") {
		t.Errorf("a malformed hosted zone: %v", err)
	}
}
