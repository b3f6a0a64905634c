package route53emulator

import (
	"cmp"
	"slices"
)

// recordSet is one record set. It is never changed once it is part of a state.
type recordSet struct {
	key
	weighted bool
	weight   int64
	ttl      int64 // seconds; 0 for an alias
	values   []string
	alias    *aliasTarget // nil unless an alias
	// healthCheck is the id of a health check, or empty.
	healthCheck string
}

// key identifies a record set within its zone.
type key struct {
	name          name
	recordType    string
	setIdentifier string
}

// aliasTarget is what an alias points at: a record set of the same zone, or a load balancer.
type aliasTarget struct {
	zoneID               string
	name                 name
	evaluateTargetHealth bool
}

// equal reports whether two record sets are the same in all that a DELETE has to repeat.
func (r *recordSet) equal(other *recordSet) bool {
	if (r.alias == nil) != (other.alias == nil) || r.alias != nil && *r.alias != *other.alias {
		return false
	}
	return r.key == other.key && r.weighted == other.weighted && r.weight == other.weight && r.ttl == other.ttl &&
		r.healthCheck == other.healthCheck && slices.Equal(slices.Sorted(slices.Values(r.values)), slices.Sorted(slices.Values(other.values)))
}

// compareKeys orders record sets of one name as they are listed.
func compareKeys(a, b *recordSet) int {
	return cmp.Or(cmp.Compare(a.recordType, b.recordType), cmp.Compare(a.setIdentifier, b.setIdentifier))
}
