package route53

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"

	"github.com/penstock-dev/penstock/dns"
)

// key identifies a record set in a hosted zone.
type key struct {
	name string
	kind types.RRType
	id   string // set identifier; empty for a simple record
}

func (k key) String() string {
	if k.id == "" {
		return fmt.Sprintf("record %s %s", k.name, k.kind)
	}
	return fmt.Sprintf("record %s %s %q", k.name, k.kind, k.id)
}

func compareKeys(a, b key) int {
	return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.kind, b.kind), cmp.Compare(a.id, b.id))
}

func keyOf(set *types.ResourceRecordSet) key {
	return key{plainName(aws.ToString(set.Name)), set.Type, aws.ToString(set.SetIdentifier)}
}

// wanted is a record set that is to stand in a zone.
type wanted struct {
	key
	set *types.ResourceRecordSet
	// ttl is that of the dns.Record where it cannot be seen in the record set; zero otherwise.
	ttl time.Duration
}

// limits of a record set: https://docs.aws.amazon.com/Route53/latest/APIReference/API_ResourceRecordSet.html
const (
	maxWeight        = 255
	maxSetIdentifier = 128
	maxTTL           = math.MaxInt32 * time.Second
)

// recordSets returns the record sets that a record becomes in a zone: an alias of type A and one of type AAAA for the
// hostname of an AWS load balancer, one record set for everything else.
func recordSets(zone *hostedZone, r dns.Record) ([]wanted, error) {
	k := key{r.Name, types.RRType(r.Type), r.SetIdentifier}
	if err := check(zone, r); err != nil {
		return nil, fmt.Errorf("%s: %w", k, err)
	}
	set := types.ResourceRecordSet{Name: aws.String(apiName(r.Name)), Type: k.kind}
	if r.SetIdentifier != "" {
		set.SetIdentifier, set.Weight = aws.String(r.SetIdentifier), aws.Int64(int64(r.Weight))
	}
	if r.HealthCheckID != "" {
		set.HealthCheckId = aws.String(r.HealthCheckID)
	}
	balancer, isBalancer := dns.LoadBalancerZone(r.Targets[0])
	switch {
	case r.Type == dns.CNAME && isBalancer:
		a := alias(k, set, types.RRTypeA, balancer, r)
		aaaa := alias(k, set, types.RRTypeAaaa, balancer, r)
		return []wanted{a, aaaa}, nil
	case r.Alias:
		return []wanted{alias(k, set, k.kind, zone.id, r)}, nil
	}
	w := wanted{key: k, set: &set}
	ttl := r.TTL
	if ttl == dns.DefaultTTL {
		w.ttl = ttl
	}
	if ttl == 0 {
		ttl = dns.DefaultTTL
	}
	set.TTL = aws.Int64(int64(ttl / time.Second))
	for _, target := range r.Targets {
		value, err := valueOf(r.Type, target)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", k, err)
		}
		set.ResourceRecords = append(set.ResourceRecords, types.ResourceRecord{Value: &value})
	}
	return []wanted{w}, nil
}

// alias completes set, a copy, as an alias of type kind to the target of r in a zone. An alias has the TTL of its target.
func alias(k key, set types.ResourceRecordSet, kind types.RRType, zoneID string, r dns.Record) wanted {
	k.kind, set.Type = kind, kind
	set.AliasTarget = &types.AliasTarget{
		HostedZoneId: aws.String(zoneID), DNSName: aws.String(apiName(normalTarget(r.Targets[0]))),
		EvaluateTargetHealth: r.EvaluateTargetHealth,
	}
	return wanted{key: k, set: &set, ttl: r.TTL}
}

// check refuses what Route 53 refuses, in words that name the remedy, before anything is sent.
func check(zone *hostedZone, r dns.Record) error {
	_, isBalancer := dns.LoadBalancerZone(strings.Join(r.Targets, " "))
	switch {
	case len(r.Targets) == 0:
		return fmt.Errorf("it has no target: give it an address or a hostname")
	case r.Type != dns.A && r.Type != dns.AAAA && r.Type != dns.CNAME && r.Type != dns.TXT:
		return fmt.Errorf("type %q is none of A, AAAA, CNAME and TXT", r.Type)
	case r.SetIdentifier != "" && (r.Weight < 0 || r.Weight > maxWeight):
		return fmt.Errorf("weight %d is outside of 0 to %d", r.Weight, maxWeight)
	case r.SetIdentifier == "" && r.Weight != 0:
		return fmt.Errorf("weight %d needs a set identifier", r.Weight)
	case len(r.SetIdentifier) > maxSetIdentifier:
		return fmt.Errorf("the set identifier has %d characters, at most %d are allowed: shorten the cluster's name", len(r.SetIdentifier), maxSetIdentifier)
	case r.SetIdentifier != "" && len(r.Targets) > 1:
		return fmt.Errorf("it has %d targets (%s), and a weighted record has one: point it at a simple record that holds them all", len(r.Targets), strings.Join(r.Targets, ", "))
	case r.TTL < 0 || r.TTL > maxTTL || r.TTL%time.Second != 0:
		return fmt.Errorf("TTL %s is not a whole number of seconds from 0 to %d", r.TTL, maxTTL/time.Second)
	case r.Type == dns.CNAME && len(r.Targets) > 1:
		return fmt.Errorf("a CNAME has one target, not %d (%s)", len(r.Targets), strings.Join(r.Targets, ", "))
	case r.Type == dns.CNAME && !isBalancer && r.Name == zone.name:
		return fmt.Errorf("a CNAME to %s cannot stand at the apex of hosted zone %s: use a load balancer of AWS or one with addresses, or a host below the apex", r.Targets[0], zone)
	case r.Alias && r.Type != dns.A && r.Type != dns.AAAA:
		return fmt.Errorf("an alias of type %s is not supported: use A or AAAA", r.Type)
	case r.Alias && len(r.Targets) > 1:
		return fmt.Errorf("an alias has one target, not %d (%s)", len(r.Targets), strings.Join(r.Targets, ", "))
	}
	return nil
}

// valueOf returns a target as the value of a resource record.
func valueOf(kind dns.RecordType, target string) (string, error) {
	switch kind {
	case dns.A, dns.AAAA:
		addr, err := netip.ParseAddr(target)
		if err != nil || addr.Zone() != "" || addr.Is4() != (kind == dns.A) {
			return "", fmt.Errorf("target %q is no address of type %s", target, kind)
		}
		return addr.String(), nil
	case dns.CNAME:
		if target == "" || strings.ContainsAny(target, " \t\n\"") {
			return "", fmt.Errorf("target %q is no hostname", target)
		}
		return normalTarget(target), nil
	case dns.TXT:
		return quote(target), nil
	}
	return "", fmt.Errorf("type %q is none of A, AAAA, CNAME and TXT", kind)
}

func normalTarget(hostname string) string { return strings.ToLower(strings.TrimSuffix(hostname, ".")) }

// records is the reverse of recordSets for the record sets of one owner: two aliases to one load balancer become the CNAME
// that they were made of. ttls are those that cannot be seen in the record sets.
func records(zone *hostedZone, sets []*types.ResourceRecordSet, ttls map[key]time.Duration) []dns.Record {
	var all []dns.Record
	at := map[key]int{} // index of the folded record in all
	for _, set := range slices.SortedFunc(slices.Values(sets), func(a, b *types.ResourceRecordSet) int { return compareKeys(keyOf(a), keyOf(b)) }) {
		r := record(set, ttls[keyOf(set)])
		if set.AliasTarget == nil || aws.ToString(set.AliasTarget.HostedZoneId) == zone.id {
			all = append(all, r)
			continue
		}
		pair := key{name: r.Name, id: r.SetIdentifier}
		first, found := at[pair]
		folded := r
		folded.Type, folded.Alias = dns.CNAME, false
		if found && r.Type == dns.AAAA {
			if other := all[first]; other.Type == dns.A {
				other.Type, other.Alias = dns.CNAME, false
				if other.Equal(folded) {
					all[first] = folded
					continue
				}
			}
		}
		at[pair] = len(all)
		all = append(all, r)
	}
	return all
}

// record returns a record set as a dns.Record, not folded.
func record(set *types.ResourceRecordSet, ttl time.Duration) dns.Record {
	k := keyOf(set)
	r := dns.Record{
		Name: k.name, Type: dns.RecordType(k.kind), SetIdentifier: k.id, Weight: int(aws.ToInt64(set.Weight)),
		HealthCheckID: aws.ToString(set.HealthCheckId), TTL: ttl,
	}
	if target := set.AliasTarget; target != nil {
		r.Alias, r.EvaluateTargetHealth = true, target.EvaluateTargetHealth
		r.Targets = []string{plainName(aws.ToString(target.DNSName))}
		return r
	}
	if written := time.Duration(aws.ToInt64(set.TTL)) * time.Second; r.TTL == 0 && written != dns.DefaultTTL {
		r.TTL = written
	}
	for _, value := range set.ResourceRecords {
		r.Targets = append(r.Targets, targetOf(r.Type, aws.ToString(value.Value)))
	}
	return r
}

func targetOf(kind dns.RecordType, value string) string {
	if kind == dns.CNAME {
		return normalTarget(value)
	}
	if text, err := unquote(value); kind == dns.TXT && err == nil {
		return text
	}
	return value
}

// same reports whether a record set that was read says what one that is wanted says.
func same(read, want *types.ResourceRecordSet) bool {
	if !plainPolicy(read) || (read.Weight == nil) != (want.Weight == nil) || (read.AliasTarget == nil) != (want.AliasTarget == nil) {
		return false
	}
	if read.AliasTarget != nil && aws.ToString(read.AliasTarget.HostedZoneId) != aws.ToString(want.AliasTarget.HostedZoneId) {
		return false
	}
	if aws.ToInt64(read.TTL) != aws.ToInt64(want.TTL) {
		return false
	}
	a, b := record(read, 0), record(want, 0)
	for _, r := range []*dns.Record{&a, &b} {
		for i, target := range r.Targets {
			if addr, err := netip.ParseAddr(target); err == nil {
				r.Targets[i] = addr.String()
			}
		}
		slices.Sort(r.Targets)
	}
	return a.Equal(b)
}

// plainPolicy reports whether a record set has simple or weighted routing, and no other.
func plainPolicy(set *types.ResourceRecordSet) bool {
	return set.Region == "" && set.Failover == "" && set.GeoLocation == nil && set.GeoProximityLocation == nil &&
		set.MultiValueAnswer == nil && set.CidrRoutingConfig == nil && set.TrafficPolicyInstanceId == nil
}
