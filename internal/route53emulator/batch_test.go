package route53emulator_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"
	"github.com/google/go-cmp/cmp"

	"github.com/penstock-dev/penstock/internal/route53emulator"
)

const (
	apiReference   = "https://docs.aws.amazon.com/Route53/latest/APIReference/"
	developerGuide = "https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/"
	balancerName   = "web-1.eu-west-1.elb.amazonaws.com"
	balancerZoneID = "Z32O12XQLNTSW2"
)

// seeds are what a zone has before each case of TestBatchRules.
func seeds(zoneID string) []types.ResourceRecordSet {
	return []types.ResourceRecordSet{
		a("simple.example.com", "192.0.2.1", "192.0.2.2"),
		weighted(a("weighted.example.com", "192.0.2.1"), "one", 10),
		weighted(a("weighted.example.com", "192.0.2.2"), "two", 90),
		simple("cname.example.com", types.RRTypeCname, "www.example.net"),
		alias("alias.example.com", zoneID, "simple.example.com", false),
	}
}

func TestBatchRules(t *testing.T) {
	t.Parallel()
	var hundred []types.Change
	for i := range 101 {
		hundred = append(hundred, create(weighted(a("many.example.com", fmt.Sprintf("192.0.2.%d", i)), fmt.Sprintf("id-%d", i), 1)))
	}
	withTTL := func(set types.ResourceRecordSet, ttl int64) types.ResourceRecordSet {
		set.TTL = &ttl
		return set
	}
	record := func(n int) []string {
		values := make([]string, n)
		for i := range values {
			values[i] = fmt.Sprintf("10.0.%d.%d", i/256, i%256)
		}
		return values
	}
	cases := map[string]struct {
		reason   string
		source   string
		changes  func(zoneID string) []types.Change
		wantCode string // empty: accepted
		wantText string // part of the error
	}{
		"CreateExisting": {
			reason: "CREATE is for what does not exist.", source: apiReference + "API_Change.html",
			changes:  func(string) []types.Change { return []types.Change{create(a("simple.example.com", "192.0.2.9"))} },
			wantCode: "InvalidChangeBatch", wantText: "already exists",
		},
		"UpsertExisting": {
			reason: "UPSERT updates what exists.", source: apiReference + "API_Change.html",
			changes: func(string) []types.Change { return []types.Change{upsert(a("simple.example.com", "192.0.2.9"))} },
		},
		"UpsertNew": {
			reason: "UPSERT creates what does not exist.", source: apiReference + "API_Change.html",
			changes: func(string) []types.Change { return []types.Change{upsert(a("new.example.com", "192.0.2.9"))} },
		},
		"DeleteExact": {
			reason: "A DELETE that repeats all values, in any order, letter case and with or without a dot, deletes.", source: apiReference + "API_ChangeResourceRecordSets.html",
			changes: func(string) []types.Change {
				return []types.Change{remove(a("Simple.EXAMPLE.com.", "192.0.2.2", "192.0.2.1"))}
			},
		},
		"DeleteMissing": {
			reason: "A DELETE of what does not exist fails.", source: apiReference + "API_ChangeResourceRecordSets.html",
			changes:  func(string) []types.Change { return []types.Change{remove(a("missing.example.com", "192.0.2.1"))} },
			wantCode: "InvalidChangeBatch", wantText: "did not find",
		},
		"DeleteOtherTTL": {
			reason: "A DELETE must repeat the TTL.", source: apiReference + "API_ChangeResourceRecordSets.html",
			changes: func(string) []types.Change {
				return []types.Change{remove(withTTL(a("simple.example.com", "192.0.2.1", "192.0.2.2"), 61))}
			},
			wantCode: "InvalidChangeBatch", wantText: "other values",
		},
		"DeleteOtherValues": {
			reason: "A DELETE must repeat all values.", source: apiReference + "API_ChangeResourceRecordSets.html",
			changes:  func(string) []types.Change { return []types.Change{remove(a("simple.example.com", "192.0.2.1"))} },
			wantCode: "InvalidChangeBatch", wantText: "other values",
		},
		"DeleteOtherWeight": {
			reason: "A DELETE must repeat the weight.", source: apiReference + "API_ChangeResourceRecordSets.html",
			changes: func(string) []types.Change {
				return []types.Change{remove(weighted(a("weighted.example.com", "192.0.2.1"), "one", 11))}
			},
			wantCode: "InvalidChangeBatch", wantText: "other values",
		},
		"DeleteOtherIdentifier": {
			reason: "The set identifier is part of what is deleted.", source: apiReference + "API_ResourceRecordSet.html",
			changes: func(string) []types.Change {
				return []types.Change{remove(weighted(a("weighted.example.com", "192.0.2.1"), "two", 10))}
			},
			wantCode: "InvalidChangeBatch", wantText: "other values",
		},
		"DeleteAliasOtherEvaluation": {
			reason: "A DELETE must repeat the alias target completely.", source: apiReference + "API_ChangeResourceRecordSets.html",
			changes: func(zoneID string) []types.Change {
				return []types.Change{remove(alias("alias.example.com", zoneID, "simple.example.com", true))}
			},
			wantCode: "InvalidChangeBatch", wantText: "other values",
		},
		"DeleteTwice": {
			reason: "One record set cannot be deleted twice in a batch.", source: apiReference + "API_ChangeResourceRecordSets.html",
			changes: func(string) []types.Change {
				c := remove(a("simple.example.com", "192.0.2.1", "192.0.2.2"))
				return []types.Change{c, c}
			},
			wantCode: "InvalidChangeBatch", wantText: "DELETE, DELETE",
		},
		"UpsertTwice": {
			reason: "Nor can one record set be changed twice.", source: apiReference + "API_ChangeResourceRecordSets.html",
			changes: func(string) []types.Change {
				return []types.Change{upsert(a("simple.example.com", "192.0.2.1")), upsert(a("simple.example.com", "192.0.2.3"))}
			},
			wantCode: "InvalidChangeBatch", wantText: "UPSERT, UPSERT",
		},
		"DeleteThenCreate": {
			reason: "DELETE and CREATE in one batch change what UPSERT cannot, such as the routing policy.", source: apiReference + "API_ChangeResourceRecordSets.html",
			changes: func(string) []types.Change {
				return []types.Change{
					remove(a("simple.example.com", "192.0.2.1", "192.0.2.2")),
					create(weighted(a("simple.example.com", "192.0.2.1"), "one", 1)),
				}
			},
		},
		"DeleteThenCreateSame": {
			reason: "The same record set may be deleted and created anew.", source: apiReference + "API_ChangeResourceRecordSets.html",
			changes: func(string) []types.Change {
				return []types.Change{remove(a("simple.example.com", "192.0.2.1", "192.0.2.2")), create(a("simple.example.com", "192.0.2.3"))}
			},
		},
		"CNAMEToAlias": {
			reason: "The documentation's own example of a transaction.", source: apiReference + "API_ChangeResourceRecordSets.html",
			changes: func(zoneID string) []types.Change {
				return []types.Change{
					remove(simple("cname.example.com", types.RRTypeCname, "www.example.net")),
					create(alias("cname.example.com", zoneID, "simple.example.com", false)),
				}
			},
		},
		"WeightZero": {
			reason: "Weights are 0 to 255.", source: apiReference + "API_ResourceRecordSet.html",
			changes: func(string) []types.Change {
				return []types.Change{upsert(weighted(a("weighted.example.com", "192.0.2.1"), "one", 0))}
			},
		},
		"WeightLargest": {
			reason: "Weights are 0 to 255.", source: apiReference + "API_ResourceRecordSet.html",
			changes: func(string) []types.Change {
				return []types.Change{upsert(weighted(a("weighted.example.com", "192.0.2.1"), "one", 255))}
			},
		},
		"WeightTooLarge": {
			reason: "Weights are 0 to 255.", source: apiReference + "API_ResourceRecordSet.html",
			changes: func(string) []types.Change {
				return []types.Change{upsert(weighted(a("weighted.example.com", "192.0.2.1"), "one", 256))}
			},
			wantCode: "InvalidInput", wantText: "256",
		},
		"WeightNegative": {
			reason: "Weights are 0 to 255.", source: apiReference + "API_ResourceRecordSet.html",
			changes: func(string) []types.Change {
				return []types.Change{upsert(weighted(a("weighted.example.com", "192.0.2.1"), "one", -1))}
			},
			wantCode: "InvalidInput", wantText: "-1",
		},
		"WeightWithoutIdentifier": {
			reason: "A weighted record set needs a set identifier.", source: apiReference + "API_ResourceRecordSet.html",
			changes: func(string) []types.Change {
				set := a("new.example.com", "192.0.2.1")
				set.Weight = aws.Int64(1)
				return []types.Change{create(set)}
			},
			wantCode: "InvalidInput", wantText: "set identifier",
		},
		"IdentifierWithoutWeight": {
			reason: "A set identifier goes with a routing policy.", source: apiReference + "API_ResourceRecordSet.html",
			changes: func(string) []types.Change {
				set := a("new.example.com", "192.0.2.1")
				set.SetIdentifier = aws.String("one")
				return []types.Change{create(set)}
			},
			wantCode: "InvalidInput", wantText: "routing policy",
		},
		"IdentifierTooLong": {
			reason: "A set identifier has at most 128 characters.", source: apiReference + "API_ResourceRecordSet.html",
			changes: func(string) []types.Change {
				return []types.Change{create(weighted(a("new.example.com", "192.0.2.1"), strings.Repeat("x", 129), 1))}
			},
			wantCode: "InvalidInput", wantText: "129",
		},
		"WeightedWithTwoValues": {
			reason: "A weighted record set has one resource record.", source: apiReference + "API_ResourceRecordSet.html",
			changes: func(string) []types.Change {
				return []types.Change{create(weighted(a("new.example.com", "192.0.2.1", "192.0.2.2"), "one", 1))}
			},
			wantCode: "InvalidChangeBatch", wantText: "one resource record",
		},
		"WeightedTTLDiffers": {
			reason: "All members of a weighted set have one TTL.", source: developerGuide + "resource-record-sets-values-weighted.html",
			changes: func(string) []types.Change {
				return []types.Change{upsert(withTTL(weighted(a("weighted.example.com", "192.0.2.1"), "one", 10), 30))}
			},
			wantCode: "InvalidChangeBatch", wantText: "one TTL",
		},
		"WeightedTTLOfAll": {
			reason: "The TTL of all members can change in one batch, because it is judged as a whole.", source: developerGuide + "resource-record-sets-values-weighted.html",
			changes: func(string) []types.Change {
				return []types.Change{
					upsert(withTTL(weighted(a("weighted.example.com", "192.0.2.1"), "one", 10), 30)),
					upsert(withTTL(weighted(a("weighted.example.com", "192.0.2.2"), "two", 90), 30)),
				}
			},
		},
		"WeightedAliasBesideTTL": {
			reason: "An alias has no TTL of its own, so it fits any weighted set.", source: developerGuide + "resource-record-sets-values-weighted-alias.html",
			changes: func(zoneID string) []types.Change {
				return []types.Change{create(weighted(alias("weighted.example.com", zoneID, "simple.example.com", true), "three", 1))}
			},
		},
		"Weighted100": {
			reason: "A name and type has at most 100 weighted record sets.", source: developerGuide + "DNSLimitations.html",
			changes: func(string) []types.Change { return hundred[:100] },
		},
		"Weighted101": {
			reason: "A name and type has at most 100 weighted record sets.", source: developerGuide + "DNSLimitations.html",
			changes:  func(string) []types.Change { return hundred },
			wantCode: "InvalidChangeBatch", wantText: "101",
		},
		"SimpleBesideWeighted": {
			reason: "No simple record set beside weighted ones.", source: developerGuide + "resource-record-sets-values-weighted-alias.html",
			changes:  func(string) []types.Change { return []types.Change{create(a("weighted.example.com", "192.0.2.3"))} },
			wantCode: "InvalidChangeBatch", wantText: "weighted record sets exclude a simple one",
		},
		"WeightedBesideSimple": {
			reason: "No weighted record set beside a simple one.", source: developerGuide + "resource-record-sets-values-weighted-alias.html",
			changes: func(string) []types.Change {
				return []types.Change{upsert(weighted(a("simple.example.com", "192.0.2.3"), "one", 1))}
			},
			wantCode: "InvalidChangeBatch", wantText: "weighted record sets exclude a simple one",
		},
		"OtherTypeBesideWeighted": {
			reason: "Types are independent of each other.", source: developerGuide + "resource-record-sets-values-weighted.html",
			changes: func(string) []types.Change {
				return []types.Change{create(simple("weighted.example.com", types.RRTypeAaaa, "2001:db8::1"))}
			},
		},
		"CNAMEBesideA": {
			reason: "A CNAME excludes other types.", source: developerGuide + "ResourceRecordTypes.html#CNAMEFormat",
			changes: func(string) []types.Change {
				return []types.Change{create(simple("simple.example.com", types.RRTypeCname, "www.example.net"))}
			},
			wantCode: "InvalidChangeBatch", wantText: "CNAME excludes",
		},
		"TXTBesideCNAME": {
			reason: "A CNAME excludes other types.", source: developerGuide + "ResourceRecordTypes.html#CNAMEFormat",
			changes: func(string) []types.Change {
				return []types.Change{create(simple("cname.example.com", types.RRTypeTxt, `"text"`))}
			},
			wantCode: "InvalidChangeBatch", wantText: "CNAME excludes",
		},
		"CNAMEAtApex": {
			reason: "No CNAME at the apex.", source: developerGuide + "ResourceRecordTypes.html#CNAMEFormat",
			changes: func(string) []types.Change {
				return []types.Change{create(simple("example.com", types.RRTypeCname, "www.example.net"))}
			},
			wantCode: "InvalidChangeBatch", wantText: "apex",
		},
		"CNAMEAliasAtApex": {
			reason: "No CNAME at the apex, not even as an alias.", source: apiReference + "API_AliasTarget.html",
			changes: func(zoneID string) []types.Change {
				set := alias("example.com", zoneID, "cname.example.com", false)
				set.Type = types.RRTypeCname
				return []types.Change{create(set)}
			},
			wantCode: "InvalidChangeBatch", wantText: "apex",
		},
		"CNAMEWithTwoValues": {
			reason: "A CNAME has one value.", source: developerGuide + "ResourceRecordTypes.html#CNAMEFormat",
			changes: func(string) []types.Change {
				return []types.Change{create(simple("new.example.com", types.RRTypeCname, "a.example.net", "b.example.net"))}
			},
			wantCode: "InvalidChangeBatch", wantText: "one resource record",
		},
		"AliasAtApex": {
			reason: "An alias may stand at the apex.", source: developerGuide + "resource-record-sets-choosing-alias-non-alias.html",
			changes: func(zoneID string) []types.Change {
				return []types.Change{create(alias("example.com", zoneID, "simple.example.com", false))}
			},
		},
		"AliasToMissing": {
			reason: "An alias target must exist.", source: apiReference + "API_AliasTarget.html",
			changes: func(zoneID string) []types.Change {
				return []types.Change{create(alias("new.example.com", zoneID, "missing.example.com", false))}
			},
			wantCode: "InvalidChangeBatch", wantText: "not found",
		},
		"AliasToCreatedBefore": {
			reason: "An earlier change of the batch may make the target.", source: apiReference + "API_AliasTarget.html",
			changes: func(zoneID string) []types.Change {
				return []types.Change{create(a("inner.example.com", "192.0.2.1")), create(alias("new.example.com", zoneID, "inner.example.com", false))}
			},
		},
		"AliasToCreatedAfter": {
			reason: "A later one may not: the stricter reading, see doc.go.", source: apiReference + "API_AliasTarget.html",
			changes: func(zoneID string) []types.Change {
				return []types.Change{create(alias("new.example.com", zoneID, "inner.example.com", false)), create(a("inner.example.com", "192.0.2.1"))}
			},
			wantCode: "InvalidChangeBatch", wantText: "not found",
		},
		"AliasToOtherType": {
			reason: "An alias has the type of its target.", source: apiReference + "API_ResourceRecordSet.html",
			changes: func(zoneID string) []types.Change {
				set := alias("new.example.com", zoneID, "simple.example.com", false)
				set.Type = types.RRTypeAaaa
				return []types.Change{create(set)}
			},
			wantCode: "InvalidChangeBatch", wantText: "not found",
		},
		"AliasToNS": {
			reason: "All types may be aliases except NS and SOA.", source: apiReference + "API_ResourceRecordSet.html",
			changes: func(zoneID string) []types.Change {
				set := alias("new.example.com", zoneID, "example.com", false)
				set.Type = types.RRTypeNs
				return []types.Change{create(set)}
			},
			wantCode: "InvalidChangeBatch", wantText: "cannot be an alias",
		},
		"AliasToOtherZone": {
			reason: "An alias cannot reference a record set of another hosted zone.", source: apiReference + "API_AliasTarget.html",
			changes: func(string) []types.Change {
				return []types.Change{create(alias("new.example.com", "Z0000000000099", "simple.example.com", false))}
			},
			wantCode: "InvalidChangeBatch", wantText: "does not lie in hosted zone",
		},
		"AliasOutsideOfZone": {
			reason: "The target lies in the hosted zone that is named.", source: apiReference + "API_AliasTarget.html",
			changes: func(zoneID string) []types.Change {
				return []types.Change{create(alias("new.example.com", zoneID, "www.example.net", false))}
			},
			wantCode: "InvalidChangeBatch", wantText: "outside of its hosted zone",
		},
		"AliasToItself": {
			reason: "An alias must lead somewhere.", source: apiReference + "API_AliasTarget.html",
			changes: func(zoneID string) []types.Change {
				return []types.Change{create(alias("new.example.com", zoneID, "new.example.com", false))}
			},
			wantCode: "InvalidChangeBatch", wantText: "leads back",
		},
		"AliasLoop": {
			reason: "An alias must lead somewhere.", source: apiReference + "API_AliasTarget.html",
			changes: func(zoneID string) []types.Change {
				return []types.Change{
					create(alias("outer.example.com", zoneID, "alias.example.com", false)),
					upsert(alias("alias.example.com", zoneID, "outer.example.com", false)),
				}
			},
			wantCode: "InvalidChangeBatch", wantText: "leads back",
		},
		"AliasWithTTL": {
			reason: "An alias has no TTL.", source: apiReference + "API_ResourceRecordSet.html",
			changes: func(zoneID string) []types.Change {
				return []types.Change{create(withTTL(alias("new.example.com", zoneID, "simple.example.com", false), 60))}
			},
			wantCode: "InvalidInput", wantText: "excludes a TTL",
		},
		"AliasToBalancer": {
			reason: "A load balancer is named with the hosted zone of its region.", source: "https://docs.aws.amazon.com/general/latest/gr/elb.html",
			changes: func(string) []types.Change {
				return []types.Change{create(alias("new.example.com", balancerZoneID, "dualstack."+balancerName, true))}
			},
		},
		"AliasToBalancerOfOtherRegion": {
			reason: "A load balancer is named with the hosted zone of its region.", source: "https://docs.aws.amazon.com/general/latest/gr/elb.html",
			changes: func(string) []types.Change {
				return []types.Change{create(alias("new.example.com", "Z35SXDOTRQ7X7K", balancerName, true))}
			},
			wantCode: "InvalidChangeBatch", wantText: "does not lie in hosted zone",
		},
		"AliasToMissingBalancer": {
			reason: "An alias target must exist.", source: apiReference + "API_AliasTarget.html",
			changes: func(string) []types.Change {
				return []types.Change{create(alias("new.example.com", balancerZoneID, "other-1.eu-west-1.elb.amazonaws.com", true))}
			},
			wantCode: "InvalidChangeBatch", wantText: "no such load balancer",
		},
		"AliasToBalancerTXT": {
			reason: "Aliases to load balancers are A or AAAA.", source: apiReference + "API_ResourceRecordSet.html",
			changes: func(string) []types.Change {
				set := alias("new.example.com", balancerZoneID, balancerName, true)
				set.Type = types.RRTypeTxt
				return []types.Change{create(set)}
			},
			wantCode: "InvalidChangeBatch", wantText: "type A or AAAA",
		},
		"UnknownHealthCheck": {
			reason: "A health check must exist.", source: apiReference + "API_ChangeResourceRecordSets.html",
			changes: func(string) []types.Change {
				return []types.Change{upsert(checked(weighted(a("weighted.example.com", "192.0.2.1"), "one", 10), "00000000-0000-4000-8000-999999999999"))}
			},
			wantCode: "NoSuchHealthCheck", wantText: "999999999999",
		},
		"OutsideOfZone": {
			reason: "Names lie in the hosted zone.", source: apiReference + "API_ChangeResourceRecordSets.html",
			changes:  func(string) []types.Change { return []types.Change{create(a("www.notexample.com", "192.0.2.1"))} },
			wantCode: "InvalidChangeBatch", wantText: "outside of hosted zone",
		},
		"EmptyLabel": {
			reason: "Labels have 1 to 63 bytes.", source: developerGuide + "DomainNameFormat.html",
			changes:  func(string) []types.Change { return []types.Change{create(a("a..example.com", "192.0.2.1"))} },
			wantCode: "InvalidChangeBatch", wantText: "empty",
		},
		"LongLabel": {
			reason: "Labels have 1 to 63 bytes.", source: developerGuide + "DomainNameFormat.html",
			changes: func(string) []types.Change {
				return []types.Change{create(a(strings.Repeat("x", 64)+".example.com", "192.0.2.1"))}
			},
			wantCode: "InvalidChangeBatch", wantText: "63",
		},
		"LongName": {
			reason: "Names have at most 255 bytes.", source: developerGuide + "DomainNameFormat.html",
			changes: func(string) []types.Change {
				return []types.Change{create(a(strings.Repeat(strings.Repeat("x", 60)+".", 4)+"example.com", "192.0.2.1"))}
			},
			wantCode: "InvalidChangeBatch", wantText: "255",
		},
		"WildcardNS": {
			reason: "No wildcard of type NS.", source: developerGuide + "DomainNameFormat.html#domain-name-format-asterisk",
			changes: func(string) []types.Change {
				return []types.Change{create(simple("*.example.com", types.RRTypeNs, "ns.example.net"))}
			},
			wantCode: "InvalidChangeBatch", wantText: "wildcard",
		},
		"WeightedNS": {
			reason: "NS has no routing policy but simple.", source: apiReference + "API_ResourceRecordSet.html",
			changes: func(string) []types.Change {
				return []types.Change{create(weighted(simple("sub.example.com", types.RRTypeNs, "ns.example.net"), "one", 1))}
			},
			wantCode: "InvalidChangeBatch", wantText: "no weighted routing",
		},
		"NotAnAddress": {
			reason: "A is an IPv4 address.", source: developerGuide + "ResourceRecordTypes.html#AFormat",
			changes:  func(string) []types.Change { return []types.Change{create(a("new.example.com", "2001:db8::1"))} },
			wantCode: "InvalidChangeBatch", wantText: "not an address of type A",
		},
		"SameValueTwice": {
			reason: "Values of a record set differ.", source: apiReference + "API_ResourceRecordSet.html",
			changes: func(string) []types.Change {
				return []types.Change{create(a("new.example.com", "192.0.2.1", "192.0.2.1"))}
			},
			wantCode: "InvalidChangeBatch", wantText: "twice",
		},
		"TXTWithoutQuotes": {
			reason: "Strings of TXT stand in quotation marks.", source: developerGuide + "ResourceRecordTypes.html#TXTFormat",
			changes: func(string) []types.Change {
				return []types.Change{create(simple("new.example.com", types.RRTypeTxt, "text"))}
			},
			wantCode: "InvalidChangeBatch", wantText: "quotation marks",
		},
		"TXTTooLong": {
			reason: "A string of TXT has at most 255 bytes.", source: developerGuide + "ResourceRecordTypes.html#TXTFormat",
			changes: func(string) []types.Change {
				return []types.Change{create(simple("new.example.com", types.RRTypeTxt, `"`+strings.Repeat("x", 256)+`"`))}
			},
			wantCode: "InvalidChangeBatch", wantText: "255",
		},
		"TXTLongest": {
			reason: "A value of TXT has at most 4,000 characters.", source: developerGuide + "ResourceRecordTypes.html#TXTFormat",
			changes: func(string) []types.Change {
				return []types.Change{create(simple("new.example.com", types.RRTypeTxt, strings.Repeat(`"xx"`, 1001)))}
			},
			wantCode: "InvalidChangeBatch", wantText: "4000",
		},
		"BadMX": {
			reason: "A value has the format of its type.", source: developerGuide + "ResourceRecordTypes.html#MXFormat",
			changes: func(string) []types.Change {
				return []types.Change{create(simple("new.example.com", types.RRTypeMx, "mail.example.com"))}
			},
			wantCode: "InvalidChangeBatch", wantText: "not a value of type MX",
		},
		"NegativeTTL": {
			reason: "A TTL is 0 to 2147483647.", source: apiReference + "API_ResourceRecordSet.html",
			changes: func(string) []types.Change {
				return []types.Change{create(withTTL(a("new.example.com", "192.0.2.1"), -1))}
			},
			wantCode: "InvalidInput", wantText: "-1",
		},
		"NoTTL": {
			reason: "Without an alias target a TTL is needed.", source: apiReference + "API_ResourceRecordSet.html",
			changes: func(string) []types.Change {
				set := a("new.example.com", "192.0.2.1")
				set.TTL = nil
				return []types.Change{create(set)}
			},
			wantCode: "InvalidInput", wantText: "TTL",
		},
		"UnknownType": {
			reason: "Types are those of the list.", source: developerGuide + "ResourceRecordTypes.html",
			changes:  func(string) []types.Change { return []types.Change{create(simple("new.example.com", "HINFO", "x"))} },
			wantCode: "InvalidInput", wantText: "HINFO",
		},
		"OtherRoutingPolicy": {
			reason: "What is not emulated is refused.", source: apiReference + "API_ResourceRecordSet.html",
			changes: func(string) []types.Change {
				set := a("new.example.com", "192.0.2.1")
				set.SetIdentifier, set.Region = aws.String("one"), types.ResourceRecordSetRegionEuWest1
				return []types.Change{create(set)}
			},
			wantCode: "InvalidInput", wantText: "not emulated",
		},
		"DeleteSOA": {
			reason: "The SOA of a hosted zone stays.", source: developerGuide + "SOA-NSrecords.html",
			changes: func(string) []types.Change {
				set := simple("example.com", types.RRTypeSoa, "ns-1.example.com. hostmaster.example.com. 1 7200 900 1209600 86400")
				return []types.Change{remove(withTTL(set, 900))}
			},
			wantCode: "InvalidChangeBatch", wantText: "must keep",
		},
		"DeleteNS": {
			reason: "The NS of a hosted zone stay.", source: developerGuide + "SOA-NSrecords.html",
			changes: func(string) []types.Change {
				return []types.Change{remove(withTTL(simple("example.com", types.RRTypeNs, "ns-1.example.com."), 172800))}
			},
			wantCode: "InvalidChangeBatch", wantText: "must keep",
		},
		"400Values": {
			reason: "A record set has at most 400 values.", source: developerGuide + "DNSLimitations.html",
			changes: func(string) []types.Change { return []types.Change{create(a("new.example.com", record(400)...))} },
		},
		"401Values": {
			reason: "A record set has at most 400 values.", source: developerGuide + "DNSLimitations.html",
			changes:  func(string) []types.Change { return []types.Change{create(a("new.example.com", record(401)...))} },
			wantCode: "InvalidChangeBatch", wantText: "400",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := start(t, route53emulator.Options{})
			if err := f.SetLoadBalancer(balancerName, "192.0.2.200"); err != nil {
				t.Fatal(err)
			}
			if err := f.Seed(f.zone, seeds(f.zone)...); err != nil {
				t.Fatal(err)
			}
			before := f.RecordSets(f.zone)
			_, err := f.change(tc.changes(f.zone)...)
			if got := code(t, err); got != tc.wantCode || err != nil && !strings.Contains(explain(err), tc.wantText) {
				t.Fatalf("%s (%s)\ngot %q (%v), want %q with %q", tc.reason, tc.source, got, explain(err), tc.wantCode, tc.wantText)
			}
			if diff := cmp.Diff(before, f.RecordSets(f.zone), cmpIgnoreUnexported()); (diff == "") != (tc.wantCode != "") {
				t.Errorf("%s (%s)\nthe zone changed although refused, or did not although accepted:\n%s", tc.reason, tc.source, diff)
			}
		})
	}
}

// explain is the text of an error with the messages of InvalidChangeBatch.
func explain(err error) string {
	if batch := new(types.InvalidChangeBatch); errors.As(err, &batch) {
		return strings.Join(batch.Messages, "; ")
	}
	return fmt.Sprint(err)
}

// A batch is applied completely or not at all, and each error has a message of its own.
// https://docs.aws.amazon.com/Route53/latest/APIReference/API_ChangeResourceRecordSets.html
func TestBatchIsAtomic(t *testing.T) {
	t.Parallel()
	f := start(t, route53emulator.Options{})
	f.mustChange(create(a("kept.example.com", "192.0.2.1")))
	_, err := f.change(
		create(a("new.example.com", "192.0.2.2")),
		upsert(a("kept.example.com", "192.0.2.2")),
		create(a("www.example.net", "192.0.2.2")),
		remove(a("missing.example.com", "192.0.2.2")),
	)
	var batch *types.InvalidChangeBatch
	if !errors.As(err, &batch) || len(batch.Messages) != 2 {
		t.Fatalf("got %v with %v, want InvalidChangeBatch with a message for each of two errors", err, explain(err))
	}
	if diff := cmp.Diff([]string{"kept.example.com. A"}, f.listed()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got := *f.RecordSets(f.zone)[2].ResourceRecords[0].Value; got != "192.0.2.1" {
		t.Errorf("the value is %s, want that from before the batch", got)
	}
}

// A batch has at most 1,000 ResourceRecord elements and 32,000 characters of values; UPSERT counts twice.
// https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/DNSLimitations.html#limits-api-requests-changeresourcerecordsets
func TestBatchLimits(t *testing.T) {
	t.Parallel()
	batch := func(n int, set func(i int) types.Change) []types.Change {
		changes := make([]types.Change, n)
		for i := range changes {
			changes[i] = set(i)
		}
		return changes
	}
	name := func(i int) string { return fmt.Sprintf("n%d.example.com", i) }
	text := func(i int) types.ResourceRecordSet { // 250 characters with the quotation marks
		return simple(name(i), types.RRTypeTxt, `"`+strings.Repeat("x", 248)+`"`)
	}
	cases := map[string]struct {
		reason   string
		changes  func(zoneID string) []types.Change
		wantCode string
	}{
		"1000Creates": {
			reason: "1,000 elements are allowed.",
			changes: func(string) []types.Change {
				return batch(1000, func(i int) types.Change { return create(a(name(i), "192.0.2.1")) })
			},
		},
		"1001Creates": {
			reason: "1,001 elements are not.",
			changes: func(string) []types.Change {
				return batch(1001, func(i int) types.Change { return create(a(name(i), "192.0.2.1")) })
			},
			wantCode: "InvalidChangeBatch",
		},
		"500Upserts": {
			reason: "An UPSERT counts twice.",
			changes: func(string) []types.Change {
				return batch(500, func(i int) types.Change { return upsert(a(name(i), "192.0.2.1")) })
			},
		},
		"501Upserts": {
			reason: "An UPSERT counts twice.",
			changes: func(string) []types.Change {
				return batch(501, func(i int) types.Change { return upsert(a(name(i), "192.0.2.1")) })
			},
			wantCode: "InvalidChangeBatch",
		},
		"501AliasUpserts": {
			reason: "Aliases count as elements.",
			changes: func(zoneID string) []types.Change {
				return batch(501, func(i int) types.Change { return upsert(alias(name(i), zoneID, "target.example.com", false)) })
			},
			wantCode: "InvalidChangeBatch",
		},
		"32000Characters": {
			reason:  "32,000 characters are allowed.",
			changes: func(string) []types.Change { return batch(128, func(i int) types.Change { return create(text(i)) }) },
		},
		"32250Characters": {
			reason:   "More are not.",
			changes:  func(string) []types.Change { return batch(129, func(i int) types.Change { return create(text(i)) }) },
			wantCode: "InvalidChangeBatch",
		},
		"32500UpsertCharacters": {
			reason:   "Characters of an UPSERT count twice.",
			changes:  func(string) []types.Change { return batch(65, func(i int) types.Change { return upsert(text(i)) }) },
			wantCode: "InvalidChangeBatch",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := start(t, route53emulator.Options{})
			if err := f.Seed(f.zone, a("target.example.com", "192.0.2.1")); err != nil {
				t.Fatal(err)
			}
			_, err := f.change(tc.changes(f.zone)...)
			if got := code(t, err); got != tc.wantCode {
				t.Errorf("%s: got %q (%s), want %q", tc.reason, got, explain(err), tc.wantCode)
			}
		})
	}
}

// An unknown hosted zone is NoSuchHostedZone; a batch without changes and one that is no XML are InvalidInput.
// https://docs.aws.amazon.com/Route53/latest/APIReference/API_ChangeResourceRecordSets.html#API_ChangeResourceRecordSets_Errors
func TestBatchRequestErrors(t *testing.T) {
	t.Parallel()
	f := start(t, route53emulator.Options{})
	if _, err := f.change([]types.Change{}...); code(t, err) != "InvalidInput" {
		t.Errorf("an empty batch: %v", err)
	}
	f.zone = "Z9999999999999"
	if _, err := f.change(create(a("www.example.com", "192.0.2.1"))); code(t, err) != "NoSuchHostedZone" {
		t.Errorf("an unknown hosted zone: %v", err)
	}
}

// Requests for one zone that overlap may get PriorRequestNotComplete, and can then be repeated.
// https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/DNSLimitations.html
func TestPriorRequestNotComplete(t *testing.T) {
	t.Parallel()
	f := start(t, route53emulator.Options{ProcessingTime: time.Second})
	f.mustChange(create(a("a.example.com", "192.0.2.1")))
	if _, err := f.change(create(a("b.example.com", "192.0.2.1"))); code(t, err) != "PriorRequestNotComplete" {
		t.Errorf("a change right after another: %v", err)
	}
	other := *f
	var err error
	if other.zone, err = f.AddZone("example.net"); err != nil {
		t.Fatal(err)
	}
	other.mustChange(create(a("a.example.net", "192.0.2.1")))
	f.clock.Advance(time.Second)
	f.mustChange(create(a("b.example.com", "192.0.2.1")))
}

func TestConcurrentChangesOfOneZone(t *testing.T) {
	t.Parallel()
	f := start(t, route53emulator.Options{})
	const writers, rounds = 8, 10
	var wg sync.WaitGroup
	errs := make([]error, writers)
	for w := range writers {
		wg.Go(func() {
			for i := range rounds {
				_, err := f.change(
					upsert(weighted(a("www.example.com", fmt.Sprintf("192.0.2.%d", w)), fmt.Sprint("cluster-", w), int64(i))),
					upsert(simple(fmt.Sprintf("owner-%d.example.com", w), types.RRTypeTxt, fmt.Sprintf(`"%d"`, i))),
				)
				errs[w] = errors.Join(errs[w], err)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	for _, set := range f.RecordSets(f.zone) {
		if set.Weight != nil && *set.Weight != rounds-1 || set.Type == types.RRTypeTxt && *set.ResourceRecords[0].Value != `"9"` {
			t.Errorf("%s does not have its writer's last value: %v", line(set), set)
		}
	}
	if got := f.Calls(route53emulator.ChangeResourceRecordSets); got != writers*rounds {
		t.Errorf("%d calls were counted, want %d", got, writers*rounds)
	}
	if got := len(f.listed()); got != 2*writers {
		t.Errorf("%d record sets, want %d", got, 2*writers)
	}
}

// Of several CREATEs of one record set, one wins.
func TestConcurrentCreates(t *testing.T) {
	t.Parallel()
	f := start(t, route53emulator.Options{})
	results := make([]error, 8)
	var wg sync.WaitGroup
	for i := range results {
		wg.Go(func() { _, results[i] = f.change(create(a("www.example.com", "192.0.2.1"))) })
	}
	wg.Wait()
	won := len(slices.DeleteFunc(results, func(err error) bool { return err != nil }))
	if won != 1 {
		t.Errorf("%d of 8 CREATEs of one record set succeeded", won)
	}
}

func TestSDKErrorTypes(t *testing.T) {
	t.Parallel()
	f := start(t, route53emulator.Options{})
	_, err := f.sdk.GetHostedZone(t.Context(), &route53.GetHostedZoneInput{Id: aws.String("Z9")})
	if want := new(types.NoSuchHostedZone); !errors.As(err, &want) || want.Message == nil {
		t.Errorf("got %v, want the SDK's own type with a message", err)
	}
}
