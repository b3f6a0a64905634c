package ramp_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"github.com/penstock-dev/penstock/controllers/ramp"
	"github.com/penstock-dev/penstock/controllers/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	noon   = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	byTen  = ramp.Options{Step: 10, Interval: time.Minute, Failures: 3}
	errBad = fmt.Errorf("5xx are at 7 %%: %w", ramp.ErrRefused)
)

// ago is a time before noon.
func ago(d time.Duration) time.Time { return noon.Add(-d) }

// settled is a weight that may be stepped from.
func settled() ramp.Seen {
	return ramp.Seen{InSync: true, EffectiveSince: ago(time.Minute), Now: noon}
}

func TestNext(t *testing.T) {
	t.Parallel()
	moving := store.Ramp{Phase: store.Moving, From: 0, To: 100, Weight: 30, Since: ago(5 * time.Minute)}
	with := func(r store.Ramp, change func(*store.Ramp)) store.Ramp {
		change(&r)
		return r
	}
	refused := func(n int) store.Ramp {
		return with(moving, func(r *store.Ramp) { r.Phase, r.Failures = store.Holding, n })
	}
	holding := func(r *store.Ramp) { r.Phase, r.Since = store.Holding, noon }
	cases := map[string]struct {
		reason  string
		row     store.Row
		options ramp.Options
		seen    func(*ramp.Seen)
		due     bool
		rising  bool
		want    store.Row
		target  int // of the row that is stored
		after   time.Duration
		message string
	}{
		"ImmediateAcknowledges": {
			reason: "Without steps the weight is what people want; it is acknowledged, and nobody takes the ramp of another time for one of now.",
			row:    store.Row{DesiredWeight: 150, CurrentWeight: 20, Ramp: moving}, options: ramp.Options{},
			want: store.Row{DesiredWeight: 150, CurrentWeight: 100}, target: 100,
		},
		"ImmediateMoves": {
			reason:  "What is published is said until it is served: a wish that comes back to CurrentWeight is not served before.",
			row:     store.Row{DesiredWeight: 20, CurrentWeight: 20, Ramp: with(moving, func(r *store.Ramp) { r.To, r.Weight = 20, 20 })},
			options: ramp.Options{}, seen: func(s *ramp.Seen) { s.InSync = false },
			want: store.Row{DesiredWeight: 20, CurrentWeight: 20, Ramp: with(moving, func(r *store.Ramp) { r.To, r.Weight = 20, 20 })}, target: 20,
		},
		"ImmediateNotInSync": {
			reason: "What is not served is not acknowledged.",
			row:    store.Row{DesiredWeight: 70, CurrentWeight: 20}, options: ramp.Options{}, seen: func(s *ramp.Seen) { s.InSync = false },
			want: store.Row{DesiredWeight: 70, CurrentWeight: 20}, target: 70,
		},
		"Unknown": {
			reason: "Nobody knows where a move would begin, so there is none; gates are not asked.",
			row:    store.Row{DesiredWeight: 50, CurrentWeight: store.Unknown}, seen: func(s *ramp.Seen) { s.InSync = false },
			want: store.Row{DesiredWeight: 50, CurrentWeight: store.Unknown}, target: 50,
		},
		"UnknownInSync": {
			reason: "What is served becomes known.",
			row:    store.Row{DesiredWeight: 50, CurrentWeight: store.Unknown, Ramp: with(moving, func(r *store.Ramp) { r.From, r.To, r.Weight = 50, 50, 50 })},
			want:   store.Row{DesiredWeight: 50, CurrentWeight: 50, Ramp: store.Ramp{Phase: store.Arrived, From: 50, To: 50, Weight: 50, Since: noon}}, target: 50,
		},
		"UnknownElsewhere": {
			reason: "Another wish moves in steps from what is published, once that is effective, and what was served before is no way back.",
			row:    store.Row{DesiredWeight: 0, CurrentWeight: store.Unknown, Ramp: with(moving, func(r *store.Ramp) { r.From, r.To, r.Weight = 50, 50, 50 })},
			seen:   func(s *ramp.Seen) { s.InSync = false },
			want:   store.Row{DesiredWeight: 0, CurrentWeight: store.Unknown, Ramp: with(moving, func(r *store.Ramp) { r.From, r.To, r.Weight = 50, 0, 50 })},
			target: 50, after: time.Minute,
		},
		"UnknownArrived": {
			reason: "Somebody has removed CurrentWeight alone, which contradicts nothing.",
			row:    store.Row{DesiredWeight: 0, CurrentWeight: store.Unknown, Ramp: store.Ramp{Phase: store.Arrived, To: 30, Weight: 30, Since: ago(time.Hour)}},
			seen:   func(s *ramp.Seen) { s.InSync = false },
			want:   store.Row{DesiredWeight: 0, CurrentWeight: store.Unknown, Ramp: store.Ramp{Phase: store.Arrived, To: 30, Weight: 30, Since: ago(time.Hour)}},
			target: 30, after: time.Minute,
		},
		"InPlace": {
			reason: "A row that never moved is not given a ramp while there is nothing to do.",
			row:    store.Row{DesiredWeight: 50, CurrentWeight: 50}, want: store.Row{DesiredWeight: 50, CurrentWeight: 50}, target: 50,
		},
		"FirstMove": {
			reason: "The first move starts from CurrentWeight without waiting for DNS, whose state nobody has recorded, but not without the gates.",
			row:    store.Row{DesiredWeight: 100, CurrentWeight: 20}, seen: func(s *ramp.Seen) { s.InSync = false }, due: true, rising: true,
			want:   store.Row{DesiredWeight: 100, CurrentWeight: 20, Ramp: store.Ramp{Phase: store.Moving, From: 20, To: 100, Weight: 30, Since: noon}},
			target: 30, after: time.Minute, message: "weight 30: the next step follows",
		},
		"FirstMoveRefused": {
			reason: "A sick cluster gets no first step either.",
			row:    store.Row{DesiredWeight: 100, CurrentWeight: 20}, seen: func(s *ramp.Seen) { s.Gates = errBad }, due: true, rising: true,
			want: store.Row{DesiredWeight: 100, CurrentWeight: 20, Ramp: store.Ramp{
				Phase: store.Holding, From: 20, To: 100, Weight: 20, Failures: 1, Since: noon,
			}},
			target: 20, after: time.Minute, message: "weight 20 stays, refusal 1 of 3: 5xx are at 7 %",
		},
		"MoreThanHundred": {
			reason: "More than 100 counts as 100, on this path too.",
			row:    store.Row{DesiredWeight: 250, CurrentWeight: 95}, due: true, rising: true,
			want:   store.Row{DesiredWeight: 250, CurrentWeight: 95, Ramp: store.Ramp{Phase: store.Moving, From: 95, To: 100, Weight: 100, Since: noon}},
			target: 100, after: time.Minute, message: "weight 100: the move has arrived when every host is served with it",
		},
		"Drain": {
			reason: "A move down goes in steps like one up, and the gates know the direction.",
			row:    store.Row{DesiredWeight: 0, CurrentWeight: 15}, due: true,
			want:   store.Row{CurrentWeight: 15, Ramp: store.Ramp{Phase: store.Moving, From: 15, To: 0, Weight: 5, Since: noon}},
			target: 5, after: time.Minute, message: "weight 5",
		},
		"NotInSync": {
			reason: "A step that is not served is neither acknowledged nor followed by another.",
			row:    store.Row{DesiredWeight: 100, CurrentWeight: 20, Ramp: moving}, seen: func(s *ramp.Seen) { s.InSync = false },
			want: store.Row{DesiredWeight: 100, CurrentWeight: 20, Ramp: moving}, target: 30, after: time.Minute,
		},
		"InSyncNotEffective": {
			reason: "In sync is served, so it is acknowledged; but resolvers may still hold the weight before.",
			row:    store.Row{DesiredWeight: 100, CurrentWeight: 20, Ramp: moving}, seen: func(s *ramp.Seen) { s.EffectiveSince = ago(-time.Second) },
			want: store.Row{DesiredWeight: 100, CurrentWeight: 30, Ramp: moving}, target: 30, after: time.Minute,
		},
		"NotLongEffective": {
			reason: "A step shows what it does only after a while.",
			row:    store.Row{DesiredWeight: 100, CurrentWeight: 30, Ramp: moving}, seen: func(s *ramp.Seen) { s.EffectiveSince = ago(59 * time.Second) },
			want: store.Row{DesiredWeight: 100, CurrentWeight: 30, Ramp: moving}, target: 30, after: time.Second,
		},
		"NextStep": {
			reason: "Effective for the interval, and no objection: the next step, which the gates' agreement makes the first failure again.",
			row:    store.Row{DesiredWeight: 100, CurrentWeight: 30, Ramp: refused(2)}, due: true, rising: true,
			want: store.Row{DesiredWeight: 100, CurrentWeight: 30, Ramp: with(moving, func(r *store.Ramp) { r.Weight, r.Since = 40, noon })}, target: 40,
			after: time.Minute, message: "weight 40: the next step follows when this has been effective for 1m0s and no gate refuses",
		},
		"Refused": {
			reason: "A refusal holds the weight and counts.",
			row:    store.Row{DesiredWeight: 100, CurrentWeight: 30, Ramp: moving}, seen: func(s *ramp.Seen) { s.Gates = errBad }, due: true, rising: true,
			want: store.Row{DesiredWeight: 100, CurrentWeight: 30, Ramp: with(moving, func(r *store.Ramp) { holding(r); r.Failures = 1 })}, target: 30,
			after: time.Minute, message: "weight 30 stays, refusal 1 of 3: 5xx are at 7 %",
		},
		"AskedAMomentAgo": {
			reason: "Gates are asked once per interval; that they were is in the row, for a controller that has just started.",
			row: store.Row{
				DesiredWeight: 100, CurrentWeight: 30, Ramp: with(moving, func(r *store.Ramp) { r.Phase, r.Failures, r.Since = store.Holding, 1, ago(40*time.Second) }),
			},
			want: store.Row{
				DesiredWeight: 100, CurrentWeight: 30, Ramp: with(moving, func(r *store.Ramp) { r.Phase, r.Failures, r.Since = store.Holding, 1, ago(40*time.Second) }),
			}, target: 30, after: 20 * time.Second,
		},
		"RefusedTooOften": {
			reason: "The last refusal takes the move back to where it came from, at once.",
			row:    store.Row{DesiredWeight: 100, CurrentWeight: 30, Ramp: refused(2)}, seen: func(s *ramp.Seen) { s.Gates = errBad }, due: true, rising: true,
			want: store.Row{DesiredWeight: 100, CurrentWeight: 30, Ramp: store.Ramp{
				Phase: store.RolledBack, From: 0, To: 100, Weight: 0, Failures: 3, Since: noon,
			}},
			message: "went back from 30 to 0 after 3 refusals; penstock set-weight tries again, and so does another DesiredWeight: 5xx are at 7 %",
		},
		"FewerFailuresThanStored": {
			reason: "Options may have changed since: more refusals than are allowed are enough.",
			row:    store.Row{DesiredWeight: 100, CurrentWeight: 30, Ramp: refused(math.MaxInt)}, seen: func(s *ramp.Seen) { s.Gates = errBad },
			due: true, rising: true,
			want: store.Row{DesiredWeight: 100, CurrentWeight: 30, Ramp: store.Ramp{
				Phase: store.RolledBack, From: 0, To: 100, Weight: 0, Failures: 3, Since: noon,
			}},
			message: "went back from 30 to 0",
		},
		"CannotBeAsked": {
			reason: "Monitoring that is down holds the move, and is no reason to move traffic.",
			row:    store.Row{DesiredWeight: 100, CurrentWeight: 30, Ramp: refused(2)}, seen: func(s *ramp.Seen) { s.Gates = errors.New("no route to prometheus") },
			due: true, rising: true,
			want: store.Row{DesiredWeight: 100, CurrentWeight: 30, Ramp: with(refused(2), holding)}, target: 30, after: time.Minute,
			message: "weight 30 stays, a gate cannot be asked: no route to prometheus",
		},
		"SeveralGates": {
			reason: "A message is one line, whoever has refused.",
			row:    store.Row{DesiredWeight: 100, CurrentWeight: 30, Ramp: moving}, seen: func(s *ramp.Seen) { s.Gates = errors.Join(errBad, errBad) }, due: true, rising: true,
			want: store.Row{DesiredWeight: 100, CurrentWeight: 30, Ramp: with(moving, func(r *store.Ramp) { holding(r); r.Failures = 1 })}, target: 30,
			after: time.Minute, message: "weight 30 stays, refusal 1 of 3: 5xx are at 7 %: refused; 5xx are at 7 %",
		},
		"LongMessage": {
			reason: "A gate may quote any text; a store has limits, and holds UTF-8.",
			row:    store.Row{DesiredWeight: 100, CurrentWeight: 30, Ramp: moving}, seen: func(s *ramp.Seen) { s.Gates = errors.New(strings.Repeat("ä", 5000)) },
			due: true, rising: true,
			want: store.Row{DesiredWeight: 100, CurrentWeight: 30, Ramp: with(moving, holding)}, target: 30, after: time.Minute,
			message: "weight 30 stays, a gate cannot be asked: ä",
		},
		"StaysRolledBack": {
			reason: "What failed is not tried again until somebody says so.",
			row:    store.Row{DesiredWeight: 100, CurrentWeight: 30, Ramp: store.Ramp{Phase: store.RolledBack, To: 100, Since: ago(time.Hour)}},
			want:   store.Row{DesiredWeight: 100, CurrentWeight: 0, Ramp: store.Ramp{Phase: store.RolledBack, To: 100, Since: ago(time.Hour)}},
		},
		"TriedAgain": {
			reason: "A new DesiredWeight is somebody who says so.",
			row:    store.Row{DesiredWeight: 50, Ramp: store.Ramp{Phase: store.RolledBack, To: 100, Failures: 3, Since: ago(time.Hour)}}, due: true, rising: true,
			want:   store.Row{DesiredWeight: 50, Ramp: store.Ramp{Phase: store.Moving, To: 50, Weight: 10, Since: noon}},
			target: 10, after: time.Minute, message: "weight 10",
		},
		"NotWhileGoingBack": {
			reason: "Until the way back is served, a step from its end might be a jump.",
			row:    store.Row{DesiredWeight: 50, CurrentWeight: 30, Ramp: store.Ramp{Phase: store.RolledBack, To: 100, Failures: 3, Since: ago(time.Hour)}},
			seen:   func(s *ramp.Seen) { s.InSync = false },
			want:   store.Row{DesiredWeight: 50, CurrentWeight: 30, Ramp: store.Ramp{Phase: store.RolledBack, To: 100, Failures: 3, Since: ago(time.Hour)}},
			after:  time.Minute,
		},
		"RolledBackIsWanted": {
			reason: "Somebody who wants what the failed move came from has it.",
			row:    store.Row{DesiredWeight: 0, Ramp: store.Ramp{Phase: store.RolledBack, To: 100, Failures: 3, Since: ago(time.Hour)}},
			want:   store.Row{Ramp: store.Ramp{Phase: store.Arrived, Since: noon}},
		},
		"PublishedNotArrived": {
			reason: "All of the weight is arrived when it is served, not before.",
			row:    store.Row{DesiredWeight: 30, CurrentWeight: 20, Ramp: with(moving, func(r *store.Ramp) { r.To = 30 })}, seen: func(s *ramp.Seen) { s.InSync = false },
			want:   store.Row{DesiredWeight: 30, CurrentWeight: 20, Ramp: with(moving, func(r *store.Ramp) { r.To = 30 })},
			target: 30, after: time.Minute,
		},
		"ImmediateServed": {
			reason: "In sync is served, so it is acknowledged; whoever shuts the cluster down waits until no resolver holds an earlier answer.",
			row:    store.Row{DesiredWeight: 0, CurrentWeight: 20, Ramp: store.Ramp{Phase: store.Moving, From: 20, Since: ago(time.Minute)}}, options: ramp.Options{},
			seen: func(s *ramp.Seen) { s.EffectiveSince = ago(-time.Second) },
			want: store.Row{Ramp: store.Ramp{Phase: store.Moving, From: 20, Since: ago(time.Minute)}}, after: time.Second, message: "weight 0 is served; the move ends",
		},
		"Served": {
			reason: "A gradual move too has not arrived before.",
			row:    store.Row{DesiredWeight: 30, CurrentWeight: 20, Ramp: with(moving, func(r *store.Ramp) { r.To = 30 })}, seen: func(s *ramp.Seen) { s.EffectiveSince = ago(-time.Second) },
			want:   store.Row{DesiredWeight: 30, CurrentWeight: 30, Ramp: with(moving, func(r *store.Ramp) { r.To = 30 })},
			target: 30, after: time.Second, message: "weight 30 is served; the move ends",
		},
		"ServedOnTheWayBack": {
			reason: "Nor has one that was taken back, and is wished for now where it went back to.",
			row:    store.Row{DesiredWeight: 20, CurrentWeight: 30, Ramp: store.Ramp{Phase: store.RolledBack, From: 20, To: 80, Weight: 20, Since: ago(time.Minute)}},
			seen:   func(s *ramp.Seen) { s.EffectiveSince = ago(-time.Second) },
			want:   store.Row{DesiredWeight: 20, CurrentWeight: 20, Ramp: store.Ramp{Phase: store.Moving, From: 20, To: 20, Weight: 20, Since: ago(time.Minute)}},
			target: 20, after: time.Second, message: "weight 20 is served; the move ends",
		},
		"WentBack": {
			reason: "A move that went back has a weight that resolvers do not know yet, and whoever wishes for that now must not take it for effective.",
			row:    store.Row{DesiredWeight: 80, CurrentWeight: 30, Ramp: store.Ramp{Phase: store.RolledBack, From: 20, To: 80, Weight: 20, Since: ago(time.Minute)}},
			seen:   func(s *ramp.Seen) { s.EffectiveSince = ago(-time.Second) },
			want:   store.Row{DesiredWeight: 80, CurrentWeight: 30, Ramp: store.Ramp{Phase: store.RolledBack, From: 20, To: 80, Weight: 20, Since: ago(time.Minute)}},
			target: 20, after: time.Second,
		},
		"Arrived": {
			reason: "Effective is arrived; nobody is asked for that.",
			row:    store.Row{DesiredWeight: 30, CurrentWeight: 20, Ramp: with(moving, func(r *store.Ramp) { r.To = 30 })},
			want:   store.Row{DesiredWeight: 30, CurrentWeight: 30, Ramp: store.Ramp{Phase: store.Arrived, To: 30, Weight: 30, Since: noon}},
			target: 30,
		},
		"FromArrivedTooEarly": {
			reason: "Arriving at many small DesiredWeights must not be a way around the interval.",
			row:    store.Row{DesiredWeight: 40, CurrentWeight: 30, Ramp: store.Ramp{Phase: store.Arrived, To: 30, Weight: 30, Since: ago(time.Hour)}},
			seen:   func(s *ramp.Seen) { s.EffectiveSince = ago(time.Second) },
			want:   store.Row{DesiredWeight: 40, CurrentWeight: 30, Ramp: store.Ramp{Phase: store.Arrived, To: 30, Weight: 30, Since: ago(time.Hour)}},
			target: 30, after: 59 * time.Second,
		},
		"TurnsAround": {
			reason: "A new DesiredWeight behind turns the move at once, in steps, without asking: it goes to what was served a moment ago.",
			row:    store.Row{DesiredWeight: 0, CurrentWeight: 20, Ramp: refused(2)}, seen: func(s *ramp.Seen) { s.InSync = false },
			want:   store.Row{DesiredWeight: 0, CurrentWeight: 20, Ramp: store.Ramp{Phase: store.Moving, From: 20, To: 0, Weight: 20, Since: noon}},
			target: 20, after: time.Minute, message: "weight 20",
		},
		"TurnsUpNotBeyond": {
			reason: "Without the gates, no cluster rises above what it had.",
			row: store.Row{
				DesiredWeight: 100, CurrentWeight: 50, Ramp: store.Ramp{Phase: store.Moving, From: 50, To: 0, Weight: 45, Since: ago(time.Second)},
			}, seen: func(s *ramp.Seen) { s.InSync = false },
			want:   store.Row{DesiredWeight: 100, CurrentWeight: 50, Ramp: store.Ramp{Phase: store.Moving, From: 50, To: 100, Weight: 50, Since: noon}},
			target: 50, after: time.Minute, message: "weight 50",
		},
		"GoesOnElsewhere": {
			reason: "A new DesiredWeight ahead is no reason to step early, or to ask early; refusals were about the old one.",
			row: store.Row{
				DesiredWeight: 60, CurrentWeight: 30, Ramp: with(moving, func(r *store.Ramp) { r.Phase, r.Failures, r.Since = store.Holding, 2, ago(time.Second) }),
			},
			want: store.Row{
				DesiredWeight: 60, CurrentWeight: 30, Ramp: with(moving, func(r *store.Ramp) { r.Phase, r.To, r.Since = store.Holding, 60, ago(time.Second) }),
			}, target: 30, after: 59 * time.Second,
		},
		"SinceInTheFuture": {
			reason: "The clock went back: the interval is counted anew, instead of waiting for the old time to come.",
			row:    store.Row{DesiredWeight: 100, CurrentWeight: 30, Ramp: with(moving, func(r *store.Ramp) { r.Since = ago(-48 * time.Hour) })},
			want:   store.Row{DesiredWeight: 100, CurrentWeight: 30, Ramp: with(moving, func(r *store.Ramp) { r.Since = noon })},
			target: 30, after: time.Minute,
		},
		"EffectiveInTheFuture": {
			reason: "Until then, resolvers hold another weight, however far away that is.",
			row:    store.Row{DesiredWeight: 100, CurrentWeight: 30, Ramp: moving}, seen: func(s *ramp.Seen) { s.EffectiveSince = ago(-time.Hour) },
			want: store.Row{DesiredWeight: 100, CurrentWeight: 30, Ramp: moving}, target: 30, after: time.Minute,
		},
		"ClockFarAhead": {
			reason: "A jump forwards is one step early at most.",
			row:    store.Row{DesiredWeight: 100, CurrentWeight: 30, Ramp: with(moving, func(r *store.Ramp) { r.Since = noon.AddDate(-400, 0, 0) })},
			seen:   func(s *ramp.Seen) { s.EffectiveSince = time.Time{} }, due: true, rising: true,
			want:   store.Row{DesiredWeight: 100, CurrentWeight: 30, Ramp: with(moving, func(r *store.Ramp) { r.Weight, r.Since = 40, noon })},
			target: 40, after: time.Minute, message: "weight 40",
		},
		"LeftBehindArrived": {
			reason: "Without steps a cluster was drained meanwhile; its old ramp says 100, which would be a jump.",
			row:    store.Row{DesiredWeight: 0, CurrentWeight: 0, Ramp: store.Ramp{Phase: store.Arrived, To: 100, Weight: 100}},
			want:   store.Row{Ramp: store.Ramp{Phase: store.Arrived, Since: noon}},
		},
		"LeftBehindMoving": {
			reason: "The same in the middle of a move, which went on without steps to what people wanted, and back down since.",
			row:    store.Row{DesiredWeight: 80, CurrentWeight: 100, Ramp: moving}, due: true,
			seen:   func(s *ramp.Seen) { s.InSync = false },
			want:   store.Row{DesiredWeight: 80, CurrentWeight: 100, Ramp: store.Ramp{Phase: store.Moving, From: 100, To: 80, Weight: 90, Since: noon}},
			target: 90, after: time.Minute, message: "weight 90",
		},
		"LeftBehindRolledBack": {
			reason: "The same after a failed move that somebody finished without steps.",
			row:    store.Row{DesiredWeight: 100, CurrentWeight: 100, Ramp: store.Ramp{Phase: store.RolledBack, To: 100, Since: ago(time.Hour)}},
			want:   store.Row{DesiredWeight: 100, CurrentWeight: 100, Ramp: store.Ramp{Phase: store.Arrived, From: 100, To: 100, Weight: 100, Since: noon}},
			target: 100,
		},
		"OddNumbers": {
			reason: "People can write anything into a table.",
			row: store.Row{
				DesiredWeight: 100, CurrentWeight: -7,
				Ramp: store.Ramp{Phase: store.Moving, From: -300, To: 500, Weight: -20, Failures: -4, Since: ago(time.Hour)},
			}, seen: func(s *ramp.Seen) { s.Gates = errBad }, due: true, rising: true,
			want: store.Row{DesiredWeight: 100, Ramp: store.Ramp{Phase: store.Holding, To: 100, Failures: 1, Since: noon}}, after: time.Minute,
			message: "weight 0 stays, refusal 1 of 3",
		},
		"HugeStep": {
			reason: "A step is at most all there is; one that big must not overflow.", options: ramp.Options{Step: math.MaxInt},
			row: store.Row{DesiredWeight: 100, CurrentWeight: 50}, due: true, rising: true,
			want:   store.Row{DesiredWeight: 100, CurrentWeight: 50, Ramp: store.Ramp{Phase: store.Moving, From: 50, To: 100, Weight: 100, Since: noon}},
			target: 100, after: time.Minute, message: "weight 100",
		},
		"UnknownPhase": {
			reason: "A phase of a later version says nothing to this one, which goes by what is served.",
			row:    store.Row{DesiredWeight: 20, CurrentWeight: 20, Ramp: store.Ramp{Phase: "Paused", Weight: 70}},
			want:   store.Row{DesiredWeight: 20, CurrentWeight: 20, Ramp: store.Ramp{Phase: store.Arrived, From: 20, To: 20, Weight: 20, Since: noon}},
			target: 20,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			options, seen := byTen, settled()
			if strings.HasPrefix(name, "Immediate") || tc.options.Step != 0 {
				options = tc.options
			}
			if tc.seen != nil {
				tc.seen(&seen)
			}
			if due, rising := ramp.Due(tc.row, options, seen); due != tc.due || rising != tc.rising {
				t.Errorf("%s\nDue: got %t, rising %t, want %t, rising %t", tc.reason, due, rising, tc.due, tc.rising)
			}
			got, after := ramp.Next(tc.row, options, seen)
			if diff := cmp.Diff(tc.want, got, cmpopts.IgnoreFields(store.Ramp{}, "Message")); diff != "" {
				t.Errorf("%s\nNext -want +got:\n%s", tc.reason, diff)
			}
			if after != tc.after {
				t.Errorf("%s\nlook again after %s, want %s", tc.reason, after, tc.after)
			}
			if target := ramp.Target(got, options); target != tc.target {
				t.Errorf("%s\nTarget %d, want %d", tc.reason, target, tc.target)
			}
			if m := got.Ramp.Message; !strings.HasPrefix(m, tc.message) || tc.message == "" && m != "" || len(m) > 1000 {
				t.Errorf("%s\nMessage %q (%d bytes), want %q", tc.reason, m, len(m), tc.message)
			}
		})
	}
}

func TestBegin(t *testing.T) {
	t.Parallel()
	begun := func(from, weight int) store.Ramp {
		return store.Ramp{Phase: store.Moving, From: from, To: weight, Weight: weight, Since: noon}
	}
	published := begun(0, 100)
	published.Since = ago(time.Minute)
	rolledBack := store.Ramp{Phase: store.RolledBack, From: 20, To: 100, Weight: 20, Failures: 3}
	for name, tc := range map[string]struct {
		reason string
		row    store.Row
		steps  bool
		stays  bool
		begun  store.Ramp
	}{
		"Rest":         {reason: "What is served needs no word.", row: store.Row{DesiredWeight: 50, CurrentWeight: 50}, stays: true},
		"Changes":      {reason: "Before another weight is published, the row says so.", row: store.Row{DesiredWeight: 100}, begun: begun(0, 100)},
		"Above100":     {reason: "More than 100 counts as 100.", row: store.Row{DesiredWeight: 300}, begun: begun(0, 100)},
		"Said":         {reason: "Once is enough.", row: store.Row{DesiredWeight: 100, Ramp: published}, stays: true},
		"TurnsBack":    {reason: "CurrentWeight is what is wanted again, and is not served.", row: store.Row{Ramp: published}, begun: begun(0, 0)},
		"GoesBack":     {reason: "A move with steps was on its way back.", row: store.Row{DesiredWeight: 50, CurrentWeight: 50, Ramp: rolledBack}, begun: begun(50, 50)},
		"WentBack":     {reason: "It has got there.", row: store.Row{DesiredWeight: 20, CurrentWeight: 20, Ramp: rolledBack}, stays: true},
		"Unknown":      {reason: "A first weight is not known to be served.", row: store.Row{DesiredWeight: 30, CurrentWeight: store.Unknown}, begun: begun(30, 30)},
		"StepsUnknown": {reason: "With steps as well: they begin from what the row says.", row: store.Row{DesiredWeight: 30, CurrentWeight: store.Unknown}, steps: true, begun: begun(30, 30)},
		"StepsSaid":    {reason: "Once is enough.", row: store.Row{DesiredWeight: 0, CurrentWeight: store.Unknown, Ramp: published}, steps: true, stays: true},
		"Steps":        {reason: "Steps say what they publish, after the gates.", row: store.Row{DesiredWeight: 100}, steps: true, stays: true},
	} {
		options := ramp.Options{}
		if tc.steps {
			options = byTen
		}
		want := tc.row
		if !tc.stays {
			want.Ramp = tc.begun
		}
		got := ramp.Begin(tc.row, options, noon)
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(store.Ramp{}, "Message")); diff != "" {
			t.Errorf("%s: %s\n-want +got:\n%s", name, tc.reason, diff)
		}
		if !tc.stays && !strings.Contains(got.Ramp.Message, fmt.Sprintf("weight %d", want.Ramp.Weight)) {
			t.Errorf("%s: message %q", name, got.Ramp.Message)
		}
		if again := ramp.Begin(got, options, noon.Add(time.Hour)); again != got {
			t.Errorf("%s: a second time changes %+v to %+v", name, got, again)
		}
	}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	row := store.Row{DesiredWeight: 100, Ramp: store.Ramp{Phase: store.Holding, To: 100, Since: ago(time.Minute)}}
	seen := settled()
	seen.Gates = errBad
	for i := range 5 {
		if want := i; row.Ramp.Failures != want || row.Ramp.Phase != store.Holding {
			t.Fatalf("after %d refusals: %+v", i, row.Ramp)
		}
		var after time.Duration
		row, after = ramp.Next(row, ramp.Options{Step: 10}, seen)
		if want := time.Minute; after != want && i < 4 {
			t.Errorf("the interval is %s, want %s", after, want)
		}
		seen.Now = seen.Now.Add(time.Minute)
	}
	if row.Ramp.Phase != store.RolledBack {
		t.Errorf("five refusals take a move back unless told otherwise: %+v", row.Ramp)
	}
}

// FuzzNext looks at rows as people may leave them in a table.
func FuzzNext(f *testing.F) {
	f.Add(100, 0, "", 0, 0, 0, 0, int64(0), 10, int64(60), 3, byte(3), int64(-100), byte(0))
	f.Add(100, 20, "Moving", 0, 100, 30, 0, int64(-100), 10, int64(60), 3, byte(3), int64(-100), byte(1))
	f.Add(0, 300, "Holding", -5, 1000, 101, math.MaxInt, int64(1)<<40, 7, int64(1), 1, byte(3), int64(1)<<40, byte(2))
	f.Add(50, 50, "RolledBack", 50, 50, 20, -3, int64(math.MinInt64), math.MaxInt, int64(math.MaxInt64), math.MinInt, byte(1), int64(5), byte(0))
	f.Add(50, 40, "Arrived", 50, 50, 20, 2, int64(0), math.MinInt, int64(math.MinInt64), 0, byte(2), int64(5), byte(0))
	f.Add(31, 30, "Moving", 0, 100, 40, 0, int64(-5), 1, int64(60), 3, byte(0), int64(0), byte(0))
	f.Fuzz(anyRow)
}

// TestAnyRow is FuzzNext where numbers are near those that mean something.
func TestAnyRow(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(7, 7))
	weight := func() int { return r.IntN(13)*10 - 10 }
	long := func() int64 { return (r.Int64N(9) - 6) * int64(30*time.Second) }
	for range 20_000 {
		phase := []string{"", "Moving", "Moving", "Holding", "Arrived", "RolledBack"}[r.IntN(6)]
		current := weight()
		if r.IntN(8) == 0 {
			current = store.Unknown
		}
		anyRow(t, weight(), current, phase, weight(), weight(), weight(), r.IntN(6)-1, long(), r.IntN(40), int64(time.Minute), 3, byte(r.IntN(2)), long(), byte(r.IntN(3)))
	}
}

func anyRow(t *testing.T, desired, current int, phase string, from, to, weight, failures int, since int64, step int, interval int64, limit int,
	flags byte, effective int64, gates byte,
) {
	t.Helper()
	row := store.Row{DesiredWeight: desired, CurrentWeight: current, Ramp: store.Ramp{
		Phase: store.Phase(phase), From: from, To: to, Weight: weight, Failures: failures, Since: noon.Add(time.Duration(since)),
	}}
	options := ramp.Options{Step: step, Interval: time.Duration(interval), Failures: limit}
	seen := ramp.Seen{InSync: flags&1 != 0, EffectiveSince: noon.Add(time.Duration(effective)), Now: noon}
	published := ramp.Target(row, options)
	if row = ramp.Begin(row, options, noon); ramp.Target(row, options) != published {
		t.Errorf("%+v: Begin has moved the weight, which was %d", row, published)
	}
	due, rising := ramp.Due(row, options, seen)
	if due {
		seen.Gates = []error{nil, errBad, errors.New("cannot be asked")}[gates%3]
	}
	next, after := ramp.Next(row, options, seen)
	target := ramp.Target(next, options)
	if published < 0 || published > 100 || target < 0 || target > 100 {
		t.Fatalf("%+v: weights out of range: %d, then %d", row, published, target)
	}
	if after < 0 {
		t.Errorf("%+v: look again after %s", row, after)
	}
	if moved := target - published; moved != 0 && step > 0 {
		if next.Ramp.Phase == store.RolledBack {
			if target != next.Ramp.From {
				t.Errorf("%+v: back to %d, which is not From: %+v", row, target, next)
			}
		} else if max(moved, -moved) > step {
			t.Errorf("%+v: from %d to %d with steps of %d: %+v", row, published, target, step, next)
		}
		if due && seen.Gates == nil && rising != (moved > 0) {
			t.Errorf("%+v: the gates were asked about rising %t, and the weight went from %d to %d", row, rising, published, target)
		}
	}
	wentBack := next.Ramp.Phase == store.RolledBack && seen.EffectiveSince.After(seen.Now) // acknowledged when that is effective
	if seen.InSync && next.CurrentWeight != published && !wentBack || !seen.InSync && next.CurrentWeight != row.CurrentWeight {
		t.Errorf("%+v: acknowledged %d, published is %d", row, next.CurrentWeight, published)
	}
	// Nothing new is seen: the same, or, of a weight that nobody has published yet, nothing.
	seen.Gates = nil
	if target != published {
		seen.InSync = false
	}
	again, _ := ramp.Next(next, options, seen)
	if diff := cmp.Diff(next, again); diff != "" {
		t.Errorf("%+v: a second look with nothing new changes:\n%s", row, diff)
	}
	if due, _ := ramp.Due(next, options, seen); due {
		t.Errorf("%+v: the gates are asked again at once", row)
	}
}
