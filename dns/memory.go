package dns

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/penstock-dev/penstock/internal/state"
)

// memory is what is known about the way of one plan to resolvers. It is kept in the Canaries' ConfigMaps and in the process.
type memory struct {
	plan        string
	change      string
	inSyncSince time.Time
	ttl         time.Duration // the largest of the answers that the plan, or one before it that was never in sync, replaced
	notBefore   time.Time     // when the plans before are effective
	served      time.Duration // the largest TTL of the answers that the plan gives
}

func (m memory) effectiveAt() time.Time {
	if m.inSyncSince.IsZero() {
		return time.Time{}
	}
	at := m.inSyncSince.Add(m.ttl)
	if m.notBefore.After(at) {
		return m.notBefore
	}
	return at
}

func (m memory) effective(now time.Time) bool {
	return !m.inSyncSince.IsZero() && !now.Before(m.effectiveAt())
}

// isNothing tells whether there was nothing to publish for an Ingress, as far as anybody knows, and is nothing now: that needs no evidence.
func (m memory) isNothing(from, to []Record) bool {
	return len(from)+len(to) == 0 && m.change == "" && m.plan != unknownPlan
}

// follow returns the memory for the plan that comes after m. When it is not known what m stands for, the answers of any record
// that may have been published are counted.
func (m memory) follow(from, to []Record, countWeights bool, opts PublisherOptions) memory {
	plan := planHash(to)
	if m.plan == plan {
		return m
	}
	next := memory{plan: plan, ttl: replacedTTL(from, to, countWeights), notBefore: m.notBefore}
	for _, r := range to {
		next.served = max(next.served, servedTTL(r, to))
	}
	switch {
	case m.plan != planHash(from):
		if m.plan != "" || slices.ContainsFunc(from, func(r Record) bool { return r.SetIdentifier == Primary || r.SetIdentifier == Canary }) {
			next.ttl = max(next.ttl, m.ttl, m.served, DefaultTTL, opts.HostTTL, opts.InnerTTL)
		}
		if at := m.effectiveAt(); at.After(next.notBefore) {
			next.notBefore = at
		}
	case m.inSyncSince.IsZero():
		next.ttl = max(next.ttl, m.ttl)
	default:
		next.notBefore = m.effectiveAt()
	}
	return next
}

// planHash identifies a list of records.
func planHash(records []Record) string {
	h := sha256.New()
	for _, r := range records {
		_, _ = fmt.Fprintf(h, "%q %q %q %d %q %d %t %t %q\n", r.Name, r.Type, r.SetIdentifier, r.Weight, r.Targets, r.TTL, r.Alias, r.EvaluateTargetHealth, r.HealthCheckID) // a hash takes everything
	}
	return hex.EncodeToString(h.Sum(nil)[:10])
}

// replacedTTL returns the largest TTL under which a resolver may hold an answer that to does not give any more. A changed weight
// counts within inner sets, and for hosts if countWeights is set: the shares between clusters do not concern a canary that is
// split below them.
func replacedTTL(from, to []Record, countWeights bool) time.Duration {
	var ttl time.Duration
	for _, change := range Diff(from, to) {
		if change.From == nil {
			continue
		}
		old := *change.From
		if change.To != nil && !countWeights && old.SetIdentifier != Primary && old.SetIdentifier != Canary {
			same := old
			same.Weight, same.HealthCheckID = change.To.Weight, change.To.HealthCheckID
			if same.Equal(*change.To) {
				continue
			}
		}
		ttl = max(ttl, servedTTL(old, from))
	}
	return ttl
}

// servedTTL is the TTL of the answers that a record gives: for an alias, that of what it points at.
func servedTTL(r Record, all []Record) time.Duration {
	if r.Alias {
		var ttl time.Duration
		for _, t := range all {
			if t.Name == r.Targets[0] && !t.Alias {
				ttl = max(ttl, servedTTL(t, all))
			}
		}
		return ttl
	}
	if r.Type == CNAME && len(r.Targets) == 1 {
		if _, elb := LoadBalancerZone(r.Targets[0]); elb {
			return LoadBalancerTTL
		}
	}
	if r.TTL == 0 {
		return DefaultTTL
	}
	return r.TTL
}

// unknownPlan is no hash: what is published is not what is remembered, because the answer to a write was lost, or somebody else has written.
const unknownPlan = "unknown"

// recall returns what is remembered of the published records, in this process or in a ConfigMap. Memory of other records tells
// until when answers from before them live, and for how long resolvers may hold those.
func (p *Publisher) recall(name types.NamespacedName, w *world) memory {
	p.mu.Lock()
	candidates := []memory{p.memory[name]}
	p.mu.Unlock()
	now := p.opts.Clock.Now()
	answered := true // but for the last wish; else what is remembered may be of an earlier plan that was the same
	for _, wish := range w.wishes {
		candidates = append(candidates, remembered(wish.observed).anchored(now))
		answered = answered && wish.desired.Generation-wish.observed.Generation <= 1
	}
	plan := planHash(w.published)
	var unknown memory
	for i, m := range candidates {
		if m.plan == plan && (i == 0 || answered) {
			return m
		}
		if m.plan != "" {
			unknown.plan = unknownPlan
			unknown.served = max(unknown.served, m.served)
		}
		if m.inSyncSince.IsZero() {
			unknown.ttl = max(unknown.ttl, m.ttl)
		}
		for _, at := range []time.Time{m.notBefore, m.effectiveAt()} {
			if at.After(unknown.notBefore) {
				unknown.notBefore = at
			}
		}
	}
	return unknown
}

// remembered is the memory that an answer keeps.
func remembered(o state.Observed) memory {
	m := memory{
		plan: o.Plan, change: o.Change, ttl: time.Duration(o.TTLSeconds) * time.Second, served: time.Duration(o.ServedTTLSeconds) * time.Second,
	}
	if o.InSyncSince != nil {
		m.inSyncSince = *o.InSyncSince
	}
	if o.NotBefore != nil {
		m.notBefore = *o.NotBefore
	}
	return m
}

// anchored returns what an earlier process remembered, with the monotonic reading of now: from here on its times keep their distance, whatever is done to
// the machine's clock. In sync in the future is what no process has seen, so the clock was set back since; then all times move until it is now, and what
// was left to wait is waited for, at most once more. A clock that was set forward while no process ran cannot be told from time that has passed.
// https://pkg.go.dev/time#hdr-Monotonic_Clocks
func (m memory) anchored(now time.Time) memory {
	back := max(m.inSyncSince.Sub(now), 0)
	for _, at := range []*time.Time{&m.inSyncSince, &m.notBefore} {
		if !at.IsZero() {
			*at = now.Add(at.Sub(now) - back)
		}
	}
	return m
}

// remembers tells whether answers of an Ingress may still live, as far as this process knows.
func (p *Publisher) remembers(name types.NamespacedName) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, known := p.memory[name]
	return known
}

// remember keeps what is known of a job for the next call, and nothing of an Ingress whose last answers are gone.
func (p *Publisher) remember(j *job) {
	done := len(j.records) == 0 && j.status.InSync && j.memory.effective(p.opts.Clock.Now())
	p.mu.Lock()
	defer p.mu.Unlock()
	if done {
		delete(p.memory, j.name)
		if len(j.steps) == 0 {
			p.metrics.forget(j.name)
		}
		return
	}
	p.memory[j.name] = j.memory
}
