// Package vclock is a clock for tests that moves only when somebody waits on it: waiting runs everything that was
// scheduled until then, in the order of time, and returns at once. A whole rollout takes milliseconds and is the same on
// each run.
package vclock

import (
	"sort"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// Clock implements [clock.Clock] on virtual time. Use [New]. It may be used by several goroutines, but waiting moves time for
// all of them.
type Clock struct {
	mu     sync.Mutex
	now    time.Time
	seq    int
	events []event // sorted by (at, seq)
}

type event struct {
	at  time.Time
	seq int
	run func()
}

var _ clock.Clock = (*Clock)(nil)

// New returns a Clock that stands at start.
func New(start time.Time) *Clock { return &Clock{now: start} }

// Now returns the virtual time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Since returns the virtual time that has passed since t.
func (c *Clock) Since(t time.Time) time.Duration { return c.Now().Sub(t) }

// AfterFunc schedules f to run, on the goroutine that moves the clock, once d has passed. f may schedule again.
// The returned function cancels it and tells whether that was in time.
func (c *Clock) AfterFunc(d time.Duration, f func()) (cancel func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seq++
	e := event{at: c.now.Add(d), seq: c.seq, run: f}
	i := sort.Search(len(c.events), func(i int) bool { return c.events[i].at.After(e.at) })
	c.events = append(c.events, event{})
	copy(c.events[i+1:], c.events[i:])
	c.events[i] = e
	return func() bool { return c.cancel(e.seq) }
}

func (c *Clock) cancel(seq int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, e := range c.events {
		if e.seq == seq {
			c.events = append(c.events[:i], c.events[i+1:]...)
			return true
		}
	}
	return false
}

// Every runs f each time that d has passed, until the returned function is called.
func (c *Clock) Every(d time.Duration, f func()) (stop func()) {
	var mu sync.Mutex
	stopped := false
	var next func()
	next = func() {
		mu.Lock()
		done := stopped
		mu.Unlock()
		if done {
			return
		}
		f()
		c.AfterFunc(d, next)
	}
	c.AfterFunc(d, next)
	return func() {
		mu.Lock()
		defer mu.Unlock()
		stopped = true
	}
}

// Advance moves the clock by d and runs what was scheduled until then. Events see the time they were scheduled for. An event
// may itself wait; time then moves on from within it, and never backwards.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	until := c.now.Add(d)
	for len(c.events) > 0 && !c.events[0].at.After(until) {
		e := c.events[0]
		c.events = c.events[1:]
		if e.at.After(c.now) {
			c.now = e.at
		}
		c.mu.Unlock()
		e.run()
		c.mu.Lock()
	}
	if until.After(c.now) {
		c.now = until
	}
	c.mu.Unlock()
}

// Sleep moves the clock by d.
func (c *Clock) Sleep(d time.Duration) { c.Advance(d) }

// After moves the clock by d and returns a channel that is ready.
func (c *Clock) After(d time.Duration) <-chan time.Time {
	c.Advance(d)
	ch := make(chan time.Time, 1)
	ch <- c.Now()
	return ch
}

// Tick is part of [clock.Clock]; the channel is ready once, after d.
func (c *Clock) Tick(d time.Duration) <-chan time.Time { return c.After(d) }

// NewTimer returns a timer that fires when the clock, moved by others, reaches d from now.
func (c *Clock) NewTimer(d time.Duration) clock.Timer {
	t := &timer{clock: c, ch: make(chan time.Time, 1)}
	t.Reset(d)
	return t
}

type timer struct {
	clock  *Clock
	ch     chan time.Time
	cancel func() bool
}

func (t *timer) C() <-chan time.Time { return t.ch }

func (t *timer) Stop() bool { return t.cancel() }

func (t *timer) Reset(d time.Duration) bool {
	active := t.cancel != nil && t.cancel()
	t.cancel = t.clock.AfterFunc(d, func() {
		select {
		case t.ch <- t.clock.Now():
		default:
		}
	})
	return active
}
