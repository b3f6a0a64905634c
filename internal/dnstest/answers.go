package dnstest

import (
	"slices"
	"time"

	"github.com/penstock-dev/penstock/dns"
)

// Shares returns the share of the resolutions of a host, asked for now at the authoritative servers once all is in sync, that each
// target gets: the product of the weights on both levels, over all clusters that published the host.
func (b *Backend) Shares(host string) map[string]float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []dns.Record
	for key := range b.versions {
		all = append(all, b.current(key).records...)
	}
	shares := map[string]float64{}
	share(all, host, 1, shares)
	return shares
}

func share(all []dns.Record, name string, part float64, shares map[string]float64) {
	total, members := 0, []dns.Record{}
	for _, r := range all {
		if r.Name != name || slices.ContainsFunc(members, func(m dns.Record) bool { return m.SetIdentifier == r.SetIdentifier }) {
			continue // the other types of the same member get the same share
		}
		total += r.Weight
		members = append(members, r)
	}
	for _, m := range members {
		mine := part
		switch {
		case total > 0:
			mine *= float64(m.Weight) / float64(total)
		default: // all weights zero are served equally, and a simple record is alone
			mine /= float64(len(members))
		}
		if mine == 0 {
			continue
		}
		if below := m.Targets[0]; slices.ContainsFunc(all, func(r dns.Record) bool { return r.Name == below }) {
			share(all, below, mine, shares)
			continue
		}
		for _, target := range m.Targets {
			shares[target] += mine / float64(len(m.Targets))
		}
	}
}

// MayAnswer returns the targets that a resolver which obeys the TTL may hand out for a host now: those that some server may give,
// and those that it may have given so short a time ago that the answer has not expired.
func (b *Backend) MayAnswer(host string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.clock.Now()
	found := map[string]bool{}
	for _, versions := range b.versions {
		for i, v := range versions {
			for _, r := range v.records {
				if r.Name == host && weighted(v.records, r) && now.Before(expires(versions, i, ttl(v.records, r))) {
					reach(versions, i, r, now, found)
				}
			}
		}
	}
	targets := make([]string, 0, len(found))
	for target := range found {
		targets = append(targets, target)
	}
	slices.Sort(targets)
	return targets
}

// weighted tells whether a record is ever an answer: a zero weight is only served when all are zero.
func weighted(all []dns.Record, r dns.Record) bool {
	return r.SetIdentifier == "" || r.Weight > 0 ||
		!slices.ContainsFunc(all, func(o dns.Record) bool { return o.Name == r.Name && o.Type == r.Type && o.Weight > 0 })
}

// forever stands for the end of the version that is current.
var forever = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

// expires returns when the last answer of version i, given with a TTL, has gone from every cache.
func expires(versions []version, i int, ttl time.Duration) time.Time {
	if i+1 == len(versions) {
		return forever
	}
	return versions[i+1].inSync.Add(ttl)
}

// reach collects what a record of version i leads to. An alias is resolved by the server, together with what it points at. A CNAME is
// resolved by the resolver, which may look up its target later, in another version.
func reach(versions []version, i int, r dns.Record, now time.Time, found map[string]bool) {
	below := r.Targets[0]
	for j, v := range versions {
		if r.Alias && j != i {
			continue
		}
		for _, leaf := range v.records {
			if leaf.Name == below && serves(leaf, r.Type) && weighted(v.records, leaf) && now.Before(expires(versions, j, ttl(v.records, leaf))) {
				found[leaf.Targets[0]] = true
			}
		}
	}
	if !r.Alias && !slices.ContainsFunc(versions[i].records, func(o dns.Record) bool { return o.Name == below }) {
		for _, target := range r.Targets {
			found[target] = true
		}
	}
}

// ttl is what an answer from a record may be kept for.
func ttl(all []dns.Record, r dns.Record) time.Duration {
	switch {
	case r.Alias:
		var longest time.Duration
		for _, t := range all {
			if t.Name == r.Targets[0] && serves(t, r.Type) {
				longest = max(longest, ttl(all, t))
			}
		}
		return longest
	case loadBalancer(r):
		return dns.LoadBalancerTTL
	case r.TTL == 0:
		return dns.DefaultTTL
	default:
		return r.TTL
	}
}

// Stale tells whether some resolver may hold an answer for a host, or for a name below it, that the current records would not give. The
// weight of the host's own records is left out: it is about shares between clusters.
func (b *Backend) Stale(host string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.clock.Now()
	for key, versions := range b.versions {
		current := b.current(key).records
		for i, v := range versions {
			for _, r := range v.records {
				same := func(c dns.Record) bool {
					if r.Name == host {
						c.Weight = r.Weight
					}
					return c.Equal(r)
				}
				if !slices.ContainsFunc(current, same) && now.Before(expires(versions, i, ttl(v.records, r))) {
					return true
				}
			}
		}
	}
	return false
}
