// Package dnstest holds a dns.Backend in memory for tests. It keeps the rules of weighted records, takes a configurable time until a
// change is in sync, remembers everything that was ever published, and so can tell which load balancers a resolver that obeys the
// TTL may still hand out.
package dnstest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"github.com/penstock-dev/penstock/dns"
)

// Backend implements dns.Backend. Use [NewBackend]. It may be used by several goroutines.
type Backend struct {
	clock clock.PassiveClock

	mu        sync.Mutex // guards the following
	syncDelay time.Duration
	versions  map[owner][]version
	submitted int
	publishes int
	failing   map[string]error // by the name of the Ingress
	before    func(publications []dns.Publication) error
	after     func(publications []dns.Publication) error
}

type owner struct {
	cluster string
	ingress types.NamespacedName
}

// version is one state of an Ingress' records: the servers may answer with it from at on, and must from inSync on.
type version struct {
	records    []dns.Record
	change     string
	at, inSync time.Time
}

var _ dns.Backend = (*Backend)(nil)

// NewBackend returns a Backend whose changes are in sync after syncDelay.
func NewBackend(clock clock.PassiveClock, syncDelay time.Duration) *Backend {
	return &Backend{clock: clock, syncDelay: syncDelay, versions: map[owner][]version{}}
}

// SetSyncDelay changes how long changes made from now on take to be in sync.
func (b *Backend) SetSyncDelay(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.syncDelay = d
}

// Intercept sets functions that are called before a Publish takes effect, and after. Their error is what Publish returns: the first
// keeps it from having an effect, the second loses only the answer. Either may be nil.
func (b *Backend) Intercept(before, after func(publications []dns.Publication) error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.before, b.after = before, after
}

// Fail makes every Publication of the Ingresses with a name end with an error, until it is nil again. Nothing is changed for them.
func (b *Backend) Fail(ingress string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failing == nil {
		b.failing = map[string]error{}
	}
	b.failing[ingress] = err
}

// Writes returns how many changes were submitted so far.
func (b *Backend) Writes() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.submitted
}

// Publishes returns how many times Publish was called.
func (b *Backend) Publishes() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.publishes
}

// Published implements dns.Backend.
func (b *Backend) Published(_ context.Context, cluster string, ingress types.NamespacedName, _ []string) ([]dns.Record, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.current(owner{cluster, ingress}).records), nil
}

// Publish implements dns.Backend.
func (b *Backend) Publish(ctx context.Context, publications ...dns.Publication) ([]dns.Status, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("publish: %w", err)
	}
	b.mu.Lock()
	before, after := b.before, b.after
	b.publishes++
	b.mu.Unlock()
	if before != nil {
		if err := before(publications); err != nil {
			return nil, err
		}
	}
	b.mu.Lock()
	statuses := make([]dns.Status, len(publications))
	for i, p := range publications {
		statuses[i] = b.publish(p)
	}
	b.mu.Unlock()
	if after != nil {
		if err := after(publications); err != nil {
			return nil, err
		}
	}
	return statuses, nil
}

func (b *Backend) publish(p dns.Publication) dns.Status {
	if err := b.failing[p.Ingress.Name]; err != nil {
		return dns.Status{Err: err}
	}
	if err := Check(p.Records); err != nil {
		return dns.Status{Err: err}
	}
	key, now := owner{p.Cluster, p.Ingress}, b.clock.Now()
	v := b.current(key)
	if !slices.EqualFunc(v.records, p.Records, dns.Record.Equal) {
		b.submitted++
		v = version{records: p.Records, change: fmt.Sprintf("change-%d", b.submitted), at: now, inSync: now.Add(b.syncDelay)}
		b.versions[key] = append(b.versions[key], v)
	}
	if now.Before(v.inSync) {
		return dns.Status{Change: v.change, Reason: fmt.Sprintf("%s is pending", v.change)}
	}
	since := now
	if p.Prior.InSync && p.Prior.Change == v.change {
		since = p.Prior.InSyncSince
	}
	return dns.Status{Change: v.change, InSync: true, InSyncSince: since}
}

func (b *Backend) current(key owner) version {
	versions := b.versions[key]
	if len(versions) == 0 {
		return version{}
	}
	return versions[len(versions)-1]
}

// Check returns how records break Route 53's rules for sets, if they do.
// https://docs.aws.amazon.com/Route53/latest/APIReference/API_ResourceRecordSet.html
func Check(records []dns.Record) error {
	var errs []error
	seen := map[dns.Key]bool{}
	simple := map[string]bool{}
	for _, r := range records {
		if seen[r.Key()] {
			errs = append(errs, fmt.Errorf("%v is there twice", r.Key()))
		}
		seen[r.Key()] = true
		name := r.Name + " " + string(r.Type)
		if was, ok := simple[name]; ok && (was || r.SetIdentifier == "") {
			errs = append(errs, fmt.Errorf("%v: a simple record stands beside another", r.Key()))
		}
		simple[name] = r.SetIdentifier == ""
		if r.Weight < 0 || r.Weight > 255 {
			errs = append(errs, fmt.Errorf("%v: weight %d", r.Key(), r.Weight))
		}
		if len(r.Targets) == 0 || len(r.Targets) > 1 && (r.SetIdentifier != "" || r.Type == dns.CNAME || r.Alias) {
			errs = append(errs, fmt.Errorf("%v: targets %q", r.Key(), r.Targets))
		}
		for _, target := range r.Targets {
			addr, err := netip.ParseAddr(target)
			if isAddress := err == nil; isAddress != (!r.Alias && r.Type != dns.CNAME) || isAddress && addr.Is4() != (r.Type == dns.A) {
				errs = append(errs, fmt.Errorf("%v: target %q does not fit the type", r.Key(), target))
			}
		}
		if r.Alias && !slices.ContainsFunc(records, func(t dns.Record) bool { return t.Name == r.Targets[0] && serves(t, r.Type) }) {
			errs = append(errs, fmt.Errorf("%v: alias to %q, which does not exist", r.Key(), r.Targets[0]))
		}
		for _, other := range records {
			if other.Name == r.Name && r.Type == dns.CNAME && !loadBalancer(r) && other.Type != dns.CNAME {
				errs = append(errs, fmt.Errorf("%v: a CNAME stands beside %s", r.Key(), other.Type))
			}
		}
	}
	return errors.Join(errs...)
}

// serves tells whether a record answers queries of a type; one for an AWS load balancer answers both kinds of addresses.
func serves(r dns.Record, kind dns.RecordType) bool {
	return r.Type == kind || loadBalancer(r) && (kind == dns.A || kind == dns.AAAA)
}

func loadBalancer(r dns.Record) bool {
	if r.Type != dns.CNAME || len(r.Targets) != 1 {
		return false
	}
	_, ok := dns.LoadBalancerZone(r.Targets[0])
	return ok
}
