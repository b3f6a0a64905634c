package dns

import (
	"fmt"
	"slices"
	"time"

	"github.com/penstock-dev/penstock/internal/state"
)

// The members of an inner set.
const (
	Primary = "primary"
	Canary  = "canary"
)

// The times that an answer may be kept by a resolver.
const (
	// DefaultTTL is what external-dns, and our Route 53 backend, give a record without a TTL.
	// https://kubernetes-sigs.github.io/external-dns/v0.21.0/docs/advanced/ttl/
	DefaultTTL = 300 * time.Second
	// LoadBalancerTTL is the TTL of an alias to an AWS load balancer.
	// https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/resource-record-sets-choosing-alias-non-alias.html
	LoadBalancerTTL = 60 * time.Second
	// DefaultInnerTTL is short, because it delays each step of a canary.
	DefaultInnerTTL = 30 * time.Second
)

// Host is what one cluster wants for one host; [Plan] makes records of it.
type Host struct {
	Name    string // normalised: see NormalHost
	Cluster string
	// Weight is the record weight of the cluster, see weights.Record.
	Weight int
	// Target is where the Ingress' load balancer is.
	Target Target
	// Inner is the inner set of a canary in split mode; nil is none.
	Inner *Inner
	// AtInner points the host at Inner instead of Target.
	AtInner bool
	// TTL of the host's record; zero leaves it to the backend, because all clusters must agree on it.
	TTL time.Duration
	// InnerTTL is that of the records below the host; DefaultInnerTTL if zero.
	InnerTTL time.Duration
	// HealthCheckID is the health check of the cluster, on the records that name its load balancers.
	HealthCheckID string
}

// Inner is the inner weighted set of a canary.
type Inner struct {
	Primary, Canary Target
	Weights         state.Weights
}

// Plan returns the records of h: the host's own first, then those below it. A record without traffic is not in an inner set, since
// Route 53 serves records of weight zero when all others are unhealthy:
// https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/health-checks-how-route-53-chooses-records.html
func Plan(h Host) ([]Record, error) {
	var inner []Record
	var innerName string
	var err error
	if h.InnerTTL == 0 {
		h.InnerTTL = DefaultInnerTTL
	}
	if h.Inner != nil {
		if innerName, err = InnerName(h.Cluster, h.Name); err != nil {
			return nil, err
		}
		if inner, err = planInner(h, innerName); err != nil {
			return nil, err
		}
	}
	base := Record{Name: h.Name, SetIdentifier: h.Cluster, Weight: h.Weight, TTL: h.TTL}
	if h.AtInner {
		if h.Inner == nil {
			return nil, fmt.Errorf("host %q: it cannot point at an inner set that does not exist", h.Name)
		}
		base.EvaluateTargetHealth = true
		return append(pointAt(base, innerName, h.Inner.Primary.types()), inner...), nil
	}
	base.HealthCheckID = h.HealthCheckID
	if !h.Target.several() {
		return append(recordsFor(base, h.Target), inner...), nil
	}
	below, err := addressesName(h.Cluster, h.Name)
	if err != nil {
		return nil, err
	}
	all := recordsFor(Record{Name: below, TTL: h.InnerTTL}, h.Target)
	return slices.Concat(pointAt(base, below, h.Target.types()), all, inner), nil
}

func planInner(h Host, name string) ([]Record, error) {
	var records []Record
	for _, member := range []struct {
		id     string
		weight int
		target Target
	}{
		{Primary, h.Inner.Weights.Primary, h.Inner.Primary},
		{Canary, h.Inner.Weights.Canary, h.Inner.Canary},
	} {
		if member.weight == 0 {
			continue
		}
		records = append(records, recordsFor(Record{
			Name: name, SetIdentifier: member.id, Weight: member.weight, TTL: h.InnerTTL, HealthCheckID: h.HealthCheckID,
		}, member.target)...)
	}
	if len(records) == 0 {
		return nil, fmt.Errorf("host %q: route weights 0/0 would serve both versions equally: they must add up to 100", h.Name)
	}
	return records, nil
}

// recordsFor returns base for each type that a target needs. An AWS load balancer is written as a CNAME, which backends turn into
// aliases.
func recordsFor(base Record, t Target) []Record {
	if t.Hostname != "" {
		base.Type, base.Targets = CNAME, []string{t.Hostname}
		return []Record{base}
	}
	var records []Record
	for _, side := range []struct {
		kind      RecordType
		addresses []string
	}{{A, t.IPv4}, {AAAA, t.IPv6}} {
		if len(side.addresses) > 0 {
			r := base
			r.Type, r.Targets = side.kind, side.addresses
			records = append(records, r)
		}
	}
	return records
}

// pointAt returns base as records of the given types that lead to another name in the zone: aliases, since a CNAME cannot stand
// beside the A record of another cluster, but for a CNAME itself.
func pointAt(base Record, name string, types []RecordType) []Record {
	var records []Record
	for _, kind := range types {
		r := base
		r.Type, r.Targets = kind, []string{name}
		r.Alias = kind != CNAME
		if !r.Alias {
			r.EvaluateTargetHealth = false
		}
		records = append(records, r)
	}
	return records
}

// Equal tells whether two records are the same.
func (r Record) Equal(s Record) bool {
	return r.Name == s.Name && r.Type == s.Type && r.SetIdentifier == s.SetIdentifier && r.Weight == s.Weight && r.TTL == s.TTL &&
		r.Alias == s.Alias && r.EvaluateTargetHealth == s.EvaluateTargetHealth && r.HealthCheckID == s.HealthCheckID &&
		slices.Equal(r.Targets, s.Targets)
}

// Key identifies a record set in a zone.
type Key struct {
	Name          string
	Type          RecordType
	SetIdentifier string
}

// Key returns what identifies r.
func (r Record) Key() Key { return Key{r.Name, r.Type, r.SetIdentifier} }

// Change is one difference between what stands in DNS and what should: created if From is nil, deleted if To is nil.
type Change struct {
	From, To *Record
}

// Diff returns what turns current into desired, deletions first and each group in the order of its list. It takes time linear in
// the number of records; those that stand in the same place in both lists, which nearly all do, are compared without an index.
func Diff(current, desired []Record) []Change {
	var deleted, written []Change
	aligned := 0
	for aligned < min(len(current), len(desired)) && current[aligned].Key() == desired[aligned].Key() {
		if from, to := &current[aligned], &desired[aligned]; !from.Equal(*to) {
			written = append(written, Change{From: from, To: to})
		}
		aligned++
	}
	current, desired = current[aligned:], desired[aligned:]
	wanted := make(map[Key]bool, len(desired))
	for i := range desired {
		wanted[desired[i].Key()] = true
	}
	kept := make(map[Key]*Record, len(current))
	for i := range current {
		if key := current[i].Key(); wanted[key] {
			kept[key] = &current[i]
		} else {
			deleted = append(deleted, Change{From: &current[i]})
		}
	}
	for i := range desired {
		from := kept[desired[i].Key()]
		if from == nil || !from.Equal(desired[i]) {
			written = append(written, Change{From: from, To: &desired[i]})
		}
	}
	return append(deleted, written...)
}
