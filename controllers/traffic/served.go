package traffic

import (
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/penstock-dev/penstock/dns"
)

// served counts which Ingresses are served with the cluster's weight. It may be used by several goroutines.
type served struct {
	mu        sync.Mutex // guards the following
	ingresses map[types.NamespacedName]serving
	// owed is how far hosts were that an Ingress has lost: whichever has such a host next is not new, because DNS still answers with what was published before.
	owed  map[string]debt
	swept time.Time
}

// debt is the last generation that a host is known to have been served with, and when its Ingress lost it.
type debt struct {
	served int64
	since  time.Time
}

// serving is how far one Ingress is.
type serving struct {
	generation int64 // of the weight that it was last published with
	result     dns.Result
	done       bool      // in sync, or refused, which nobody waits for
	unproved   bool      // what was written last, over what may have led here, is not known to be in sync
	refused    int       // hosts
	gone       bool      // the Ingress, though DNS may still answer with its records
	leads      bool      // with gone: they lead to an Ingress that is there, though published no more, so that a drain waits for them
	since      time.Time // of gone, where its records are withdrawn
	// served is the last generation that it is known to be served with, or began with; effectiveAt is when that was effective. What else changes of an
	// Ingress is of no concern to the cluster's weight.
	served      int64
	effectiveAt time.Time
	flaps       map[string]flap // of hosts, while it is not known to be served
}

// flap is a host whose Services become ready and unready while a weight is on its way.
type flap struct {
	down  bool
	falls int
	since time.Time // the last fall
}

// A host that loses its endpoints and gets them back has other records each time, which DNS has to answer with first, so one that goes on like that would hold up the
// whole cluster for ever. From the manyFalls-th fall on, each within fallsWithin of the one before, it stays down until DNS answers, but not longer than heldFor.
const (
	manyFalls   = 3
	fallsWithin = 10 * time.Minute
	heldFor     = 5 * time.Minute
)

// pending tells whether an Ingress is not known to be served with a generation of the weight. With drain, which says that the weight is 0, that is also one that
// is published no more, while DNS leads to it.
func (s serving) pending(generation int64, drain bool) bool {
	if s.gone {
		return s.leads && drain
	}
	return s.generation < generation || !s.done
}

// progress is how far all Ingresses are with a generation of the weight.
type progress struct {
	pending, refused int       // Ingresses, whatever they wait for; hosts
	unserved         int       // Ingresses that were there before the generation, and are not known to be served with it
	effectiveAt      time.Time // of the generation; zero is long ago
}

func newServed() *served {
	return &served{ingresses: map[types.NamespacedName]serving{}, owed: map[string]debt{}}
}

// expect says that these Ingresses are all there are. One that is not known yet is waited for.
func (s *served) expect(names []types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range names {
		state, known := s.ingresses[name]
		if !known {
			state = serving{generation: -1, served: -1}
		}
		state.gone = false
		s.ingresses[name] = state
	}
}

// unknown returns those of which nothing is known.
func (s *served) unknown(names []types.NamespacedName) []types.NamespacedName {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(names, func(name types.NamespacedName) bool {
		_, known := s.ingresses[name]
		return known
	})
}

// knows tells whether an Ingress was published by this process.
func (s *served) knows(name types.NamespacedName) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	state, found := s.ingresses[name]
	return found && state.generation >= 0
}

// remembered is how long a name is kept after its records were withdrawn: long enough for DNS to forget them.
const remembered = time.Hour

// forget says that an Ingress has nothing to publish. What it was served with is remembered for a while: an Ingress that is made again soon is not a new one,
// because DNS still answers with what was published for the first.
func (s *served) forget(name types.NamespacedName, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	state, known := s.ingresses[name]
	if !known || state.gone && !state.since.IsZero() {
		return
	}
	s.owe(state, nil, now)
	s.ingresses[name] = serving{generation: -1, served: state.served, gone: true, since: now}
	s.sweep(now)
}

// sweep forgets, now and then, what was remembered for long enough; s.mu is held.
func (s *served) sweep(now time.Time) {
	if now.Sub(s.swept) < remembered {
		return
	}
	s.swept = now
	maps.DeleteFunc(s.owed, func(_ string, d debt) bool { return now.Sub(d.since) > remembered })
	maps.DeleteFunc(s.ingresses, func(_ types.NamespacedName, state serving) bool {
		return state.gone && !state.since.IsZero() && now.Sub(state.since) > remembered
	})
}

// keepDown counts how often a host falls while a generation of the weight is on its way, and tells whether one that is ready now is to stay without traffic until
// DNS answers with that.
func (s *served) keepDown(name types.NamespacedName, host string, ready bool, generation int64, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	state, known := s.ingresses[name]
	if !known || state.served >= generation {
		return false
	}
	f := state.flaps[host]
	switch {
	case !ready && !f.down && now.Sub(f.since) > fallsWithin:
		f = flap{down: true, falls: 1, since: now}
	case !ready && !f.down:
		f = flap{down: true, falls: f.falls + 1, since: now}
	case ready && (f.falls < manyFalls || now.Sub(f.since) > heldFor):
		f.down = false
	}
	if state.flaps = maps.Clone(state.flaps); state.flaps == nil {
		state.flaps = map[string]flap{}
	}
	state.flaps[host] = f
	s.ingresses[name] = state
	return ready && f.down
}

// keptDown tells whether a host may be one that stays without traffic though it is ready.
func (s *served) keptDown(name types.NamespacedName, host string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.ingresses[name].flaps[host]
	return f.down && f.falls >= manyFalls
}

// owe notes hosts that an Ingress has no more; s.mu is held.
func (s *served) owe(before serving, now []dns.HostResult, at time.Time) {
	for _, lost := range before.result.Hosts {
		if lost.Err != nil || slices.ContainsFunc(now, func(h dns.HostResult) bool { return h.Host == lost.Host }) {
			continue
		}
		owes := debt{before.served, at}
		if older, found := s.owed[lost.Host]; found {
			owes.served = min(owes.served, older.served)
		}
		s.owed[lost.Host] = owes
	}
}

// inherit says that an Ingress has a host that another one has just lost.
func (s *served) inherit(name types.NamespacedName, host string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	owes, found := s.owed[host]
	if !found {
		return
	}
	state, known := s.ingresses[name]
	if !known {
		state = serving{generation: -1, served: owes.served}
	}
	state.served = min(state.served, owes.served)
	s.ingresses[name] = state
}

// hosts returns those that an Ingress was last seen with.
func (s *served) hosts(name types.NamespacedName) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var hosts []string
	for _, h := range s.ingresses[name].result.Hosts {
		hosts = append(hosts, h.Host)
	}
	return hosts
}

// leaving keeps what became of an Ingress that is there, and not published any more, while DNS may still answer with its records.
func (s *served) leaving(generation int64, r dns.Result, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	state := s.ingresses[r.Ingress]
	s.owe(state, nil, now)
	s.ingresses[r.Ingress] = serving{generation: generation, served: state.served, result: r, gone: true, leads: !r.Status.InSync, effectiveAt: r.EffectiveAt}
}

// stuck keeps what became of an Ingress that is gone, or left out, and whose records could not be withdrawn. One that is gone serves nobody any more, so no
// weight waits for it; for one that is there a drain does. What the result does not know of its hosts, because they could not be read, is added.
func (s *served) stuck(generation int64, r dns.Result, there bool) dns.Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	state := s.ingresses[r.Ingress]
	if len(r.Hosts) == 0 {
		r.Hosts = state.result.Hosts
	}
	// It leads here as long as DNS may answer with more than the weight: from before it was withdrawn, or was served with this one.
	leads := state.gone && state.leads || !state.gone && state.served < generation
	state.since = time.Time{}
	state.generation, state.result, state.gone, state.refused = generation, r, true, max(len(r.Hosts), 1)
	state.leads = there && (leads || slices.ContainsFunc(r.Hosts, func(host dns.HostResult) bool { return host.Weight > 0 }))
	s.ingresses[r.Ingress] = state
	return r
}

// note keeps what became of an Ingress that was published with a generation of the weight, or a later one. Where nobody waits for evidence, because the
// weight is acknowledged, what a backend takes for in sync counts. Nobody waits for what is refused, but with drain, which says that the weight is 0: it must
// not be taken for served while a host has more, or may have because what is published cannot be read, or was written a moment ago.
//
// It tells whether hosts may have been held that need not be any more.
func (s *served) note(generation int64, r dns.Result, proof, drain bool, now time.Time) (released bool) {
	done := r.InSync() || !proof && r.Err == nil && r.Status.Err == nil && r.Status.InSync
	s.mu.Lock()
	defer s.mu.Unlock()
	before, known := s.ingresses[r.Ingress]
	if r.Err != nil && len(r.Hosts) == 0 { // nothing new is known of it
		r.Hosts, r.Status = before.result.Hosts, before.result.Status
	}
	at := r.EffectiveAt
	state := serving{generation: generation, result: r, done: done, unproved: before.unproved}
	if r.Err == nil && r.Status.Err == nil && !r.Status.Unwritten {
		led := before.unproved || before.generation < 0 || slices.ContainsFunc(before.result.Hosts, func(host dns.HostResult) bool { return host.Weight > 0 })
		state.unproved = led && !r.Status.InSync
	}
	for _, host := range r.Hosts {
		if host.Err != nil || host.Kept {
			state.refused++
		}
	}
	if isRefused(r) {
		traffic := r.Err != nil || slices.ContainsFunc(r.Hosts, func(host dns.HostResult) bool { return host.Weight > 0 })
		state.done, state.refused, at = !drain || !traffic && !state.unproved, max(len(r.Hosts), 1), time.Time{}
	}
	s.owe(before, r.Hosts, now)
	s.sweep(now)
	last := before.served
	if !known { // it has never been served with another weight
		last = generation
	}
	for _, host := range r.Hosts {
		if owes, found := s.owed[host.Host]; found && host.Err == nil {
			last = min(last, owes.served)
			if state.done {
				delete(s.owed, host.Host)
			}
		}
	}
	if state.done && last < generation {
		state.served, state.effectiveAt = generation, at
	} else {
		state.served, state.effectiveAt = last, before.effectiveAt
	}
	held := slices.ContainsFunc(slices.Collect(maps.Values(before.flaps)), func(f flap) bool { return f.down })
	if state.served < generation {
		state.flaps, held = before.flaps, false
	}
	s.ingresses[r.Ingress] = state
	return held
}

// of returns how far all are with a generation of the weight.
func (s *served) of(generation int64, drain bool) progress {
	s.mu.Lock()
	defer s.mu.Unlock()
	var p progress
	for _, state := range s.ingresses {
		p.refused += state.refused
		pending := state.pending(generation, drain)
		if pending {
			p.pending++
		}
		if state.gone && pending || !state.gone && state.served < generation {
			p.unserved++
		}
		if (drain || !state.gone) && state.effectiveAt.After(p.effectiveAt) {
			p.effectiveAt = state.effectiveAt
		}
	}
	return p
}

// outcome is what became of an Ingress. One that waits was not published with the weight yet, and perhaps never before; one that is pending is not known to be
// served with it.
type outcome struct {
	dns.Result
	pending, waits bool
}

// outcomes returns what became of each Ingress up to a generation of the weight.
func (s *served) outcomes(generation int64, drain bool) []outcome {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]outcome, 0, len(s.ingresses))
	for name, state := range s.ingresses {
		if state.gone && state.generation < 0 {
			continue // its records are withdrawn
		}
		state.result.Ingress = name
		all = append(all, outcome{state.result, state.pending(generation, drain), !state.gone && state.generation < generation})
	}
	return all
}
