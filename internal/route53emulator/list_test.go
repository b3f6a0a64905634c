package route53emulator_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"
	"github.com/google/go-cmp/cmp"

	"github.com/penstock-dev/penstock/internal/route53emulator"
)

// Record sets are listed in ASCII order of their names with the labels reversed and a trailing dot, then by type, then by
// set identifier. https://docs.aws.amazon.com/Route53/latest/APIReference/API_ListResourceRecordSets.html
func TestListOrder(t *testing.T) {
	t.Parallel()
	f := start(t, route53emulator.Options{})
	f.mustChange(
		create(a("b.example.com", "192.0.2.1")),
		create(a("x.a.example.com", "192.0.2.1")),
		create(a("a-b.example.com", "192.0.2.1")), // "-" is before "." in ASCII
		create(a("a.example.com", "192.0.2.1")),
		create(a("*.example.com", "192.0.2.1")),
		create(simple("www.example.com", types.RRTypeTxt, `"text"`)),
		create(weighted(a("www.example.com", "192.0.2.2"), "two", 1)),
		create(weighted(a("www.example.com", "192.0.2.1"), "one", 1)),
		create(simple("www.example.com", types.RRTypeAaaa, "2001:db8::1")),
	)
	want := []string{
		`\052.example.com. A`,
		"a-b.example.com. A",
		"a.example.com. A",
		"x.a.example.com. A",
		"b.example.com. A",
		"www.example.com. A one",
		"www.example.com. A two",
		"www.example.com. AAAA",
		"www.example.com. TXT",
	}
	if diff := cmp.Diff(want, f.listed()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// Names are stored in lower case with a trailing dot, and returned with escape codes for all but a-z, 0-9, "-" and "_".
// https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/DomainNameFormat.html
func TestNamesAreNormalised(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"WWW.Example.COM":     "www.example.com. A",
		"www.example.com.":    "www.example.com. A",
		"*.example.com":       `\052.example.com. A`,
		`\052.example.com`:    `\052.example.com. A`,
		"_x._tcp.example.com": "_x._tcp.example.com. A",
		`\101@b.example.com`:  `a\100b.example.com. A`,
		`a\056b.example.com`:  `a\056b.example.com. A`,
	} {
		f := start(t, route53emulator.Options{})
		f.mustChange(create(a(given, "192.0.2.1")))
		if diff := cmp.Diff([]string{want}, f.listed()); diff != "" {
			t.Errorf("%s -want +got:\n%s", given, diff)
		}
		if _, err := f.change(create(a(want[:len(want)-2], "192.0.2.1"))); code(t, err) != "InvalidChangeBatch" {
			t.Errorf("%s: the name as listed is not the same name: %v", given, err)
		}
	}
}

// A page has at most 300 record sets or MaxItems, and may end inside a weighted set: the next starts at NextRecordName,
// NextRecordType and NextRecordIdentifier. https://docs.aws.amazon.com/Route53/latest/APIReference/API_ListResourceRecordSets.html
func TestListPages(t *testing.T) {
	t.Parallel()
	f := start(t, route53emulator.Options{})
	f.mustChange(
		create(a("a.example.com", "192.0.2.1")),
		create(weighted(a("b.example.com", "192.0.2.1"), "one", 1)),
		create(weighted(a("b.example.com", "192.0.2.2"), "two", 1)),
		create(weighted(a("b.example.com", "192.0.2.3"), "three", 1)),
		create(simple("b.example.com", types.RRTypeTxt, `"text"`)),
	)
	all := []string{
		"example.com. NS", "example.com. SOA", "a.example.com. A", "b.example.com. A one", "b.example.com. A three",
		"b.example.com. A two", "b.example.com. TXT",
	}
	for size := int32(1); size <= 8; size++ {
		var got []string
		input := &route53.ListResourceRecordSetsInput{HostedZoneId: &f.zone, MaxItems: &size}
		for range all { // no more pages than record sets
			page, err := f.sdk.ListResourceRecordSets(t.Context(), input)
			if err != nil {
				t.Fatal(err)
			}
			if len(page.ResourceRecordSets) > int(size) || *page.MaxItems != size {
				t.Fatalf("a page of %d (MaxItems %d), asked for %d", len(page.ResourceRecordSets), *page.MaxItems, size)
			}
			for _, set := range page.ResourceRecordSets {
				got = append(got, line(set))
			}
			if !page.IsTruncated {
				break
			}
			input.StartRecordName, input.StartRecordType, input.StartRecordIdentifier = page.NextRecordName, page.NextRecordType, page.NextRecordIdentifier
		}
		if diff := cmp.Diff(all, got); diff != "" {
			t.Errorf("pages of %d -want +got:\n%s", size, diff)
		}
	}
}

func TestListStart(t *testing.T) {
	t.Parallel()
	f := start(t, route53emulator.Options{})
	f.mustChange(
		create(a("b.example.com", "192.0.2.1")),
		create(simple("b.example.com", types.RRTypeTxt, `"text"`)),
		create(weighted(a("d.example.com", "192.0.2.1"), "one", 1)),
		create(weighted(a("d.example.com", "192.0.2.2"), "two", 1)),
	)
	cases := map[string]struct {
		reason           string
		name, identifier string
		recordType       types.RRType
		want             string // first record set
		wantCode         string
	}{
		"Name":           {reason: "the first whose name is not before", name: "B.example.com", want: "b.example.com. A"},
		"NameBetween":    {reason: "the first whose name is not before", name: "c.example.com", want: "d.example.com. A one"},
		"Type":           {reason: "the type sorts within a name", name: "b.example.com", recordType: "SOA", want: "b.example.com. TXT"},
		"TypeOfEarlier":  {reason: "the type matters only for that very name", name: "c.example.com", recordType: "TXT", want: "d.example.com. A one"},
		"Identifier":     {reason: "the identifier sorts within a type", name: "d.example.com", recordType: "A", identifier: "two", want: "d.example.com. A two"},
		"TypeAlone":      {reason: "a type without a name is InvalidInput", recordType: "A", wantCode: "InvalidInput"},
		"IdentifierOnly": {reason: "an identifier without a type is InvalidInput", name: "d.example.com", identifier: "two", wantCode: "InvalidInput"},
		"BadName":        {reason: "the name must be one", name: "a..b", wantCode: "InvalidInput"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			input := &route53.ListResourceRecordSetsInput{HostedZoneId: &f.zone, StartRecordType: tc.recordType, MaxItems: aws.Int32(1)}
			if tc.name != "" {
				input.StartRecordName = &tc.name
			}
			if tc.identifier != "" {
				input.StartRecordIdentifier = &tc.identifier
			}
			out, err := f.sdk.ListResourceRecordSets(t.Context(), input)
			if got := code(t, err); got != tc.wantCode {
				t.Fatalf("%s: got %q, want %q", tc.reason, got, tc.wantCode)
			}
			if err == nil && line(out.ResourceRecordSets[0]) != tc.want {
				t.Errorf("%s: got %s, want %s", tc.reason, line(out.ResourceRecordSets[0]), tc.want)
			}
		})
	}
}

func TestListPageOf300(t *testing.T) {
	t.Parallel()
	f := start(t, route53emulator.Options{})
	var changes []types.Change
	for i := range 400 {
		changes = append(changes, create(a(fmt.Sprintf("n%d.example.com", i), "192.0.2.1")))
	}
	f.mustChange(changes...)
	out, err := f.sdk.ListResourceRecordSets(t.Context(), &route53.ListResourceRecordSetsInput{HostedZoneId: &f.zone, MaxItems: aws.Int32(1000)})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.ResourceRecordSets) != 300 || !out.IsTruncated {
		t.Errorf("%d record sets in a page, truncated %t; want 300 of 402", len(out.ResourceRecordSets), out.IsTruncated)
	}
	if got := len(f.listed()); got != 400 {
		t.Errorf("%d record sets in all pages, want 400", got)
	}
}

// What was written is what is listed.
func TestListReturnsAllFields(t *testing.T) {
	t.Parallel()
	f := start(t, route53emulator.Options{})
	if err := f.SetLoadBalancer(balancerName, "192.0.2.200"); err != nil {
		t.Fatal(err)
	}
	check := f.createHealthCheck("one")
	sets := []types.ResourceRecordSet{
		a("a.example.com.", "192.0.2.1", "192.0.2.2"),
		checked(weighted(a("b.example.com.", "192.0.2.1"), "zero", 0), check),
		weighted(alias("b.example.com.", balancerZoneID, balancerName+".", true), "balancer", 255),
		alias("c.example.com.", f.zone, "a.example.com.", false),
		simple("d.example.com.", types.RRTypeTxt, `"a & <b>" "c\""`),
	}
	for _, set := range sets {
		f.mustChange(create(set))
	}
	out, err := f.sdk.ListResourceRecordSets(t.Context(), &route53.ListResourceRecordSetsInput{HostedZoneId: &f.zone})
	if err != nil {
		t.Fatal(err)
	}
	byLine := func(a, b types.ResourceRecordSet) int { return strings.Compare(line(a), line(b)) }
	slices.SortFunc(sets, byLine)
	got := out.ResourceRecordSets[2:]
	slices.SortFunc(got, byLine)
	if diff := cmp.Diff(sets, got, cmpIgnoreUnexported()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if diff := cmp.Diff(out.ResourceRecordSets, f.RecordSets(f.zone), cmpIgnoreUnexported()); diff != "" {
		t.Errorf("RecordSets differs from ListResourceRecordSets:\n%s", diff)
	}
}
