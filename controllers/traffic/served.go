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
	swept     time.Time
}

// serving is how far one Ingress is.
type serving struct {
	generation int64 // of the weight that it was last published with
	result     dns.Result
	done       bool      // in sync, or refused, which nobody waits for
	refused    int       // hosts
	gone       bool      // the Ingress, though DNS may still answer with its records
	since      time.Time // of gone, where its records are withdrawn
	// served is the last generation that it is known to be served with, or began with; effectiveAt is when that was effective. What else changes of an
	// Ingress is of no concern to the cluster's weight.
	served      int64
	effectiveAt time.Time
}

// pending tells whether an Ingress is there, and not known to be served with a generation of the weight.
func (s serving) pending(generation int64) bool {
	return !s.gone && (s.generation < generation || !s.done)
}

// progress is how far all Ingresses are with a generation of the weight.
type progress struct {
	pending, refused int       // Ingresses, whatever they wait for; hosts
	unserved         int       // Ingresses that were there before the generation, and are not known to be served with it
	effectiveAt      time.Time // of the generation; zero is long ago
}

func newServed() *served { return &served{ingresses: map[types.NamespacedName]serving{}} }

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
	s.ingresses[name] = serving{generation: -1, served: state.served, gone: true, since: now}
	if now.Sub(s.swept) < remembered {
		return
	}
	s.swept = now
	maps.DeleteFunc(s.ingresses, func(_ types.NamespacedName, state serving) bool {
		return state.gone && !state.since.IsZero() && now.Sub(state.since) > remembered
	})
}

// stuck keeps what became of an Ingress that is gone and whose records could not be withdrawn. It serves nobody any more, so no weight waits for it. What
// the result does not know of its hosts, because they could not be read, is added.
func (s *served) stuck(generation int64, r dns.Result) dns.Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	state := s.ingresses[r.Ingress]
	if len(r.Hosts) == 0 {
		r.Hosts = state.result.Hosts
	}
	state.generation, state.result, state.gone, state.refused = generation, r, true, max(len(r.Hosts), 1)
	s.ingresses[r.Ingress] = state
	return r
}

// note keeps what became of an Ingress that was published with a generation of the weight, or a later one. Where nobody waits for evidence, because the
// weight is acknowledged, what a backend takes for in sync counts. Nobody waits for what is refused, but with drain, which says that the weight is 0: it must
// not be taken for served while a host has more, or may have because what is published cannot be read.
func (s *served) note(generation int64, r dns.Result, proof, drain bool) {
	done := r.InSync() || !proof && r.Err == nil && r.Status.Err == nil && r.Status.InSync
	s.mu.Lock()
	defer s.mu.Unlock()
	before, known := s.ingresses[r.Ingress]
	if r.Err != nil && len(r.Hosts) == 0 { // nothing new is known of it
		r.Hosts, r.Status = before.result.Hosts, before.result.Status
	}
	at := r.EffectiveAt
	state := serving{generation: generation, result: r, done: done}
	for _, host := range r.Hosts {
		if host.Err != nil || host.Kept {
			state.refused++
		}
	}
	if isRefused(r) {
		traffic := r.Err != nil || slices.ContainsFunc(r.Hosts, func(host dns.HostResult) bool { return host.Weight > 0 })
		state.done, state.refused, at = !drain || !traffic, max(len(r.Hosts), 1), time.Time{}
	}
	switch {
	case !known: // it has never been served with another weight
		state.served = generation
	case state.done && before.served < generation:
		state.served, state.effectiveAt = generation, at
	default:
		state.served, state.effectiveAt = before.served, before.effectiveAt
	}
	s.ingresses[r.Ingress] = state
}

// of returns how far all are with a generation of the weight.
func (s *served) of(generation int64) progress {
	s.mu.Lock()
	defer s.mu.Unlock()
	var p progress
	for _, state := range s.ingresses {
		p.refused += state.refused
		if state.gone {
			continue
		}
		if state.pending(generation) {
			p.pending++
		}
		if state.served < generation {
			p.unserved++
		}
		if state.effectiveAt.After(p.effectiveAt) {
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
func (s *served) outcomes(generation int64) []outcome {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]outcome, 0, len(s.ingresses))
	for name, state := range s.ingresses {
		if state.gone && state.generation < 0 {
			continue // its records are withdrawn
		}
		state.result.Ingress = name
		all = append(all, outcome{state.result, state.pending(generation), !state.gone && state.generation < generation})
	}
	return all
}
