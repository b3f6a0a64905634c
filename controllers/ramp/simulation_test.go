package ramp_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/penstock-dev/penstock/controllers/ramp"
	"github.com/penstock-dev/penstock/controllers/store"
)

// world is a controller with a row, DNS, gates and a bad clock. Times without a word are those that really pass, since the start.
type world struct {
	t       *testing.T
	rand    *rand.Rand
	options ramp.Options
	maxStep int
	row     store.Row

	now   time.Duration
	clock time.Time // at now, on the controller's clock

	// DNS: what was written, when every server says so, and when no resolver can say anything else.
	published                  int
	publishedAt, delay, maxTTL time.Duration

	// What the controller remembers: when its target, which is in sync, becomes effective.
	remembers bool
	effective time.Time // on its clock

	// What happened, for the checks.
	askedAt, steppedAt     time.Duration
	jumpedAt               time.Duration // forwards
	asked                  bool
	mood                   int // of the gates
	steps, turns, backs    int
	holds, arrivals, early int
}

const never = -1 << 40 * time.Nanosecond

func newWorld(t *testing.T, seed uint64) *world {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 42))
	w := &world{
		t: t, rand: r, clock: noon, maxTTL: time.Duration(r.IntN(300)) * time.Second, askedAt: never, steppedAt: never, jumpedAt: never,
		options: ramp.Options{Step: 1 + r.IntN(40), Interval: time.Duration(1+r.IntN(120)) * time.Second, Failures: 1 + r.IntN(4)},
		row:     store.Row{ClusterName: "east", DesiredWeight: r.IntN(120), CurrentWeight: r.IntN(101)},
	}
	w.maxStep, w.published, w.publishedAt = w.options.Step, w.row.CurrentWeight, never
	if r.IntN(4) == 0 {
		w.row.CurrentWeight, w.published = store.Unknown, min(w.row.DesiredWeight, 100)
	}
	return w
}

func (w *world) pass(d time.Duration) {
	w.now += d
	w.clock = w.clock.Add(d)
}

// Check implements ramp.Gate.
func (w *world) Check(_ context.Context, rising bool) error {
	if since := w.now - w.askedAt; since < w.options.Interval && w.jumpedAt < w.askedAt {
		w.t.Errorf("%s: the gates are asked %s after the last time, the interval is %s: %+v", w.now, since, w.options.Interval, w.row)
	}
	w.askedAt, w.asked = w.now, true
	switch {
	case w.mood == 1 && rising, w.mood == 3 && w.rand.IntN(3) == 0:
		return errBad
	case w.mood == 2:
		return errors.New("no answer")
	case w.mood == 4:
		return errors.Join(errors.New("no answer"), errBad)
	}
	return nil
}

func (w *world) inSync() bool                  { return w.now >= w.publishedAt+w.delay }
func (w *world) effectiveSince() time.Duration { return w.publishedAt + w.delay + w.maxTTL }

// publish writes what the row says, as the first thing of each look. It may fail.
func (w *world) publish() {
	w.row = ramp.Begin(w.row, w.options, w.clock)
	target := ramp.Target(w.row, w.options)
	if target == w.published || w.mood != 0 && w.rand.IntN(10) == 0 {
		return
	}
	moved := max(target-w.published, w.published-target)
	if moved > w.maxStep && (w.row.Ramp.Phase != store.RolledBack || target != w.row.Ramp.From) {
		w.t.Errorf("%s: published %d after %d, steps are at most %d: %+v", w.now, target, w.published, w.maxStep, w.row)
	}
	w.published, w.publishedAt, w.delay = target, w.now, time.Duration(w.rand.IntN(120))*time.Second
	w.remembers = false
}

func (w *world) see() ramp.Seen {
	seen := ramp.Seen{Now: w.clock}
	if ramp.Target(w.row, w.options) != w.published || !w.inSync() {
		w.remembers = false
		return seen
	}
	if !w.remembers {
		w.remembers, w.effective = true, w.clock.Add(w.maxTTL)
	}
	seen.InSync, seen.EffectiveSince = true, w.effective
	return seen
}

// look is one pass of the controller.
func (w *world) look() time.Duration {
	w.publish()
	seen := w.see()
	before, target := w.row, ramp.Target(w.row, w.options)
	due, rising := ramp.Due(w.row, w.options, seen)
	w.asked = false
	if due {
		seen.Gates = ramp.Gates{w}.Check(w.t.Context(), rising)
	}
	next, after := ramp.Next(w.row, w.options, seen)
	w.check(before, next, target, seen, rising)
	data, err := json.Marshal(next)
	if err != nil {
		w.t.Fatal(err)
	}
	w.row = store.Row{}
	if err := json.Unmarshal(data, &w.row); err != nil {
		w.t.Fatal(err)
	}
	return after
}

func (w *world) check(before, next store.Row, target int, seen ramp.Seen, rising bool) {
	w.t.Helper()
	if next.CurrentWeight != before.CurrentWeight && (next.CurrentWeight != w.published || !w.inSync()) {
		w.t.Errorf("%s: acknowledged %d; DNS was told %d, in sync %t: %+v", w.now, next.CurrentWeight, w.published, w.inSync(), before)
	}
	if before.Moves() && !next.Moves() && seen.EffectiveSince.After(seen.Now) {
		w.t.Errorf("%s: the move has ended, and resolvers may hold another weight: %+v, then %+v", w.now, before, next)
	}
	if next.Ramp.Phase == store.Arrived && before.Ramp.Phase != store.Arrived {
		w.arrivals++
		if want := min(next.DesiredWeight, 100); next.CurrentWeight != want || !seen.InSync || seen.EffectiveSince.After(seen.Now) {
			w.t.Errorf("%s: arrived at %d, wanted is %d: %+v", w.now, next.CurrentWeight, want, next)
		}
	}
	if w.asked && !rising && w.mood == 1 && next.Ramp.Phase != store.Moving {
		w.t.Errorf("%s: a gate that minds rising holds a drain: %+v", w.now, next)
	}
	if next.Ramp.Phase == store.Holding {
		w.holds++
	}
	moved := ramp.Target(next, w.options) - target
	switch {
	case moved == 0:
		return
	case next.Ramp.Phase == store.RolledBack:
		w.backs++
	case !w.asked:
		w.turns++
		from, served, to := before.Ramp.From, next.CurrentWeight, target+moved
		if before.Ramp.To == min(before.DesiredWeight, 100) || to < min(from, served, target) || to > max(from, served, target) {
			w.t.Errorf("%s: a step of %d without the gates, which goes back to nothing that was served: %+v, then %+v", w.now, moved, before, next)
		}
	case before.Ramp.Phase == "": // the first move has no step before it
	default:
		w.steps++
		held := w.now - w.effectiveSince()
		switch {
		case held >= w.options.Interval:
		case w.jumpedAt >= w.steppedAt: // at most one early step after a jump
			w.early++
			w.jumpedAt = never
		default:
			w.t.Errorf("%s: a step after %s of being effective, the interval is %s: %+v, then %+v", w.now, held, w.options.Interval, before, next)
		}
	}
	if seen.Now.Before(next.Ramp.Since) {
		w.t.Errorf("%s: stored a time that has not come: %+v", w.now, next)
	}
	w.steppedAt = w.now
}

// back sets the clock back. What is effective is not put off by that: a process measures on a clock that does not jump, and what it finds of an earlier one it
// takes for a time that has come.
func (w *world) back(d int64) {
	w.clock, w.effective = w.clock.Add(-time.Duration(d)), w.effective.Add(-time.Duration(d))
}

// disturb makes something happen, now and then.
func (w *world) disturb() {
	switch w.rand.IntN(40) {
	case 0, 1: // people; a cluster that is where they now want it to be, by its row, needs no step
		w.row.DesiredWeight = w.rand.IntN(120)
	case 2, 3: // another leader, perhaps with other options
		w.remembers = false
		if w.rand.IntN(4) == 0 && w.row.Ramp.Phase == store.Arrived && w.inSync() {
			w.options.Step = 1 + w.rand.IntN(40)
			w.maxStep = w.options.Step
		}
	case 4, 5:
		w.mood = w.rand.IntN(5)
	case 6:
		w.back(w.rand.Int64N(int64(48 * time.Hour)))
	case 7:
		w.back(w.rand.Int64N(int64(2 * w.options.Interval)))
	case 8:
		w.clock = w.clock.Add(time.Duration(w.rand.Int64N(int64(48 * time.Hour))))
		w.jumpedAt = w.now
	}
}

// settle leaves people, gates and the clock alone, with one last wish, and returns when it has been served. It looks only when DNS changes, or when
// the ramp said it would.
func (w *world) settle() {
	w.t.Helper()
	wish := w.rand.IntN(101)
	for wish == w.row.Ramp.To { // which may have failed, and would stay so
		wish = w.rand.IntN(101)
	}
	w.row.DesiredWeight, w.mood = wish, 0
	started := w.now
	aStep := 3*w.options.Interval + 2*time.Minute + 2*w.maxTTL
	bound := time.Duration(100/w.options.Step+4) * aStep
	for w.row.CurrentWeight != wish || w.row.Ramp.Phase != store.Arrived && w.row.Ramp.Phase != "" {
		after := w.look()
		if ahead := w.publishedAt + w.delay - w.now; ahead > 0 && (after == 0 || after > ahead) {
			after = ahead
		}
		if after == 0 && ramp.Target(w.row, w.options) != w.published {
			after = time.Nanosecond // a stored row is a change
		}
		if w.now-started > bound || after == 0 && (w.row.CurrentWeight != wish) {
			w.t.Fatalf("%s: not at %d after %s, look again after %s: %+v, options %+v", w.now, wish, w.now-started, after, w.row, w.options)
		}
		w.pass(max(after, time.Nanosecond))
	}
}

func TestSimulation(t *testing.T) {
	t.Parallel()
	worlds := 60
	if testing.Short() {
		worlds = 20
	}
	var steps, turns, backs, holds, arrivals, early int
	for seed := range worlds {
		w := newWorld(t, uint64(seed))
		for range 3 {
			for range 400 {
				w.look()
				w.disturb()
				w.pass(time.Duration(1+w.rand.Int64N(int64(w.options.Interval)/2)) + time.Duration(w.rand.IntN(20))*time.Second)
			}
			w.settle()
		}
		steps, turns, backs, holds, arrivals, early = steps+w.steps, turns+w.turns, backs+w.backs, holds+w.holds, arrivals+w.arrivals, early+w.early
		if t.Failed() {
			t.Fatalf("seed %d, options %+v", seed, w.options)
		}
	}
	summary := fmt.Sprintf("%d steps, %d early ones after a jump of the clock, %d turns, %d moves that went back, %d holds, %d arrivals",
		steps, early, turns, backs, holds, arrivals)
	t.Log(summary)
	if steps < worlds || turns < worlds/4 || backs < worlds/4 || holds < worlds || arrivals < worlds || early == 0 {
		t.Errorf("the simulation has not seen enough: %s", summary)
	}
}
