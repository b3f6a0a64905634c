package router

import (
	"sync"
	"time"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
)

// memory is what a router remembers of a Canary for a while. It concerns what only this process does: another one begins without.
type memory[T any] struct {
	clock clock.PassiveClock

	mu       sync.Mutex // guards the following
	canaries map[types.UID]remembered[T]
}

type remembered[T any] struct {
	what T
	at   time.Time
}

// rememberFor is longer than any tick, and than an interval.
const rememberFor = 24 * time.Hour

func newMemory[T any](clock clock.PassiveClock) *memory[T] {
	return &memory[T]{clock: clock, canaries: map[types.UID]remembered[T]{}}
}

func (m *memory[T]) put(canary *flaggerv1.Canary, what T) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for uid, r := range m.canaries {
		if m.clock.Since(r.at) > rememberFor {
			delete(m.canaries, uid)
		}
	}
	m.canaries[canary.UID] = remembered[T]{what, m.clock.Now()}
}

func (m *memory[T]) forget(canary *flaggerv1.Canary) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.canaries, canary.UID)
}

func (m *memory[T]) get(canary *flaggerv1.Canary) (what T, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.canaries[canary.UID]
	return r.what, ok
}
