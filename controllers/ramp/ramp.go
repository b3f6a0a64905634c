package ramp

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/penstock-dev/penstock/controllers/store"
)

// Options are how a cluster's weight moves. With the zero value it moves at once.
type Options struct {
	// Step is the most per cent points of one step. Zero makes every change immediate: Row.Ramp then says what is published until that is effective, and is removed.
	Step int
	// Interval is the least time for which a step is effective before the next one, and between two askings of the gates; 1 min if zero.
	Interval time.Duration
	// Failures is after how many refusals in a row a move goes back; 5 if zero.
	Failures int
}

func (o Options) withDefaults() Options {
	o.Step = percent(o.Step)
	if o.Interval <= 0 {
		o.Interval = time.Minute
	}
	if o.Failures <= 0 {
		o.Failures = 5
	}
	return o
}

// Seen is what the controller knows of the weight that [Target] returns for the row. Due and Next of one look are given the same Seen, but for Gates.
type Seen struct {
	// InSync says that every host is served with the weight.
	InSync bool
	// EffectiveSince is from when on no resolver can hold an answer with another weight, which may be yet to come; zero is long ago. It counts once InSync.
	EffectiveSince time.Time
	// Gates is what the gates said when Due asked for them: nil if they agree, or if they were not asked.
	Gates error
	// Now is the time on the clock of the controller.
	Now time.Time
}

// effective says that no resolver holds an answer with another weight.
func (s Seen) effective() bool { return s.InSync && !s.EffectiveSince.After(s.Now) }

// maxMessage bounds Ramp.Message, because a gate may quote a whole answer and a ConfigMap or an item of DynamoDB has to hold it.
const maxMessage = 1000

// Target returns the weight to publish now, 0..100. It follows from what is stored alone, so a step is stored before it is published, and what [Begin]
// returns is too.
func Target(row store.Row, o Options) int {
	if o.withDefaults().Step == 0 {
		return percent(row.DesiredWeight)
	}
	weight, _ := locate(row)
	return weight
}

// Published returns the weight that a row tells others publish: that of a move that is under way, else CurrentWeight. It is false if the row tells nothing.
func Published(row store.Row) (weight int, known bool) {
	weight, at := locate(row)
	return weight, at != unmoved || row.CurrentWeight != store.Unknown
}

// Begin returns the row that must be stored before its Target is published. A Target that nobody has decided on in a step, as when weights change at once or
// CurrentWeight is not known, gets a Ramp that says so. Otherwise a wish that comes back to CurrentWeight before another was acknowledged would pass for one
// that is served, although that other is published.
func Begin(row store.Row, o Options, now time.Time) store.Row {
	if _, at := locate(row); o.withDefaults().Step > 0 && (at != unmoved || row.CurrentWeight != store.Unknown) {
		return row // Next decides
	}
	weight, desired, r := Target(row, o), percent(row.DesiredWeight), row.Ramp
	if row.CurrentWeight == weight && !row.Moves() || r.Phase == store.Moving && r.Weight == weight && r.To == desired {
		return row
	}
	from := weight
	if row.CurrentWeight != store.Unknown {
		from = percent(row.CurrentWeight)
	}
	row.Ramp = store.Ramp{
		Phase: store.Moving, From: from, To: desired, Weight: weight, Since: now,
		Message: fmt.Sprintf("weight %d is acknowledged when every host is served with it", weight),
	}
	return row
}

// Due tells whether the gates must be asked before Next is called, and whether the step that they are asked about raises the weight.
func Due(row store.Row, o Options, seen Seen) (due, rising bool) {
	next, due, _ := look(row, o.withDefaults(), seen)
	weight, _ := locate(next)
	return due, due && percent(row.DesiredWeight) > weight
}

// Next returns the row to store, which is equal to row when there is nothing to store, and when to look again at the latest, even if nothing changes;
// zero is not before something does.
//
// CurrentWeight becomes the Target once that is in sync, or effective after a move that went back. The Ramp of an immediate change goes once that is
// effective. With steps, a move is, where d is DesiredWeight, at most 100:
//
//	no move yet, d differs         gates are asked at once; a step is taken from CurrentWeight
//	rest, d differs                a step is taken when the weight has been effective for Interval and the gates agree
//	under way                      the same
//	under way, d is now behind     a step back at once, without gates, but not past what was served before
//	under way, d is now elsewhere  goes on, towards it
//	the gates refuse               Holding, and RolledBack to From after Options.Failures times in a row
//	the gates cannot be asked      Holding
//	d is published and effective   Arrived
//	RolledBack                     nothing, until d changes
//
// Times are not trusted, since they come from several controllers and clocks jump. A Since in the future is replaced by now, so that it delays by one
// Interval at most. A jump forwards can make one step early, which is still one step of Options.Step: the next one is counted from the time after the jump.
func Next(row store.Row, o Options, seen Seen) (next store.Row, after time.Duration) {
	o = o.withDefaults()
	next, due, after := look(row, o, seen)
	if !due {
		return next, after
	}
	desired := percent(next.DesiredWeight)
	weight, _ := locate(next)
	begin(&next)
	r := &next.Ramp
	r.Since = seen.Now // also when nothing else changes: the gates were asked
	switch {
	case seen.Gates == nil:
		r.Weight = towards(weight, desired, o.Step)
		// The way may lead past From when DesiredWeight has changed. Going back would then be going on.
		if !within(weight, r.From, r.Weight) {
			r.From = weight
		}
		r.Phase, r.Failures, r.Message = store.Moving, 0, o.waiting(r.Weight, desired)
	case !errors.Is(seen.Gates, ErrRefused):
		r.Phase, r.Message = store.Holding, message("weight %d stays, a gate cannot be asked: %v", weight, seen.Gates)
	default:
		r.Failures = min(max(r.Failures, 0), o.Failures-1) + 1
		if r.Failures < o.Failures {
			r.Phase = store.Holding
			r.Message = message("weight %d stays, refusal %d of %d: %v", weight, r.Failures, o.Failures, seen.Gates)
			break
		}
		r.Phase, r.Weight = store.RolledBack, r.From
		way := fmt.Sprintf("went back from %d to %d", weight, r.From)
		if weight == r.From {
			way = fmt.Sprintf("did not leave %d", weight)
		}
		r.Message = message("%s after %d refusals; penstock set-weight tries again, and so does another DesiredWeight: %v", way, r.Failures, seen.Gates)
	}
	if r.Phase == store.RolledBack {
		return next, 0
	}
	return next, o.Interval
}

// place is what a row says about its weight.
type place int

const (
	unmoved place = iota // there is no Ramp that holds: the row rests at CurrentWeight, or at DesiredWeight if that is not known
	resting              // Arrived or RolledBack
	moving               // Moving or Holding
)

// locate returns the weight that a row is at, 0..100. A Ramp that CurrentWeight contradicts does not hold: it is from before somebody went back to an
// earlier traffic controller, which does not know it. Publishing its weight would be a jump. A CurrentWeight that is not known contradicts nothing; without
// a Ramp as well, a step from it could only begin at a guess, which would be a jump too.
func locate(row store.Row) (int, place) {
	desired, current, known := percent(row.DesiredWeight), percent(row.CurrentWeight), row.CurrentWeight != store.Unknown
	from, to, weight := percent(row.Ramp.From), percent(row.Ramp.To), percent(row.Ramp.Weight)
	switch row.Ramp.Phase {
	case store.Moving, store.Holding:
		// What is acknowledged in a move lies between From, where it began, and Weight. DesiredWeight is acknowledged when Weight is there.
		if !known || within(current, from, weight) && (current != desired || weight == desired) {
			return weight, moving
		}
	case store.RolledBack:
		// A move that is refused has not got to where it went.
		if !known || current != desired || to != desired {
			return weight, resting
		}
	case store.Arrived:
		if !known || current == weight {
			return weight, resting
		}
	}
	if !known {
		return desired, unmoved
	}
	return current, unmoved
}

// look returns row with all that needs no gate, whether a step is due that does, and otherwise when to look again.
func look(row store.Row, o Options, seen Seen) (next store.Row, due bool, after time.Duration) {
	goesBack := o.Step > 0 && row.Ramp.Phase == store.RolledBack // which ends with the acknowledgement
	if seen.effective() || seen.InSync && !goesBack {
		row.CurrentWeight = Target(row, o)
	}
	if o.Step == 0 {
		switch {
		case seen.effective(), !row.Moves():
			row.Ramp = store.Ramp{} // people would take it for a move that is on its way
		case seen.InSync:
			row.Ramp.Message = served(row.CurrentWeight)
			return row, false, seen.EffectiveSince.Sub(seen.Now)
		}
		return row, false, 0
	}
	r := &row.Ramp
	if r.Since.After(seen.Now) {
		r.Since = seen.Now
	}
	desired := percent(row.DesiredWeight)
	weight, at := locate(row)
	switch {
	case weight == desired && (r.Phase == "" || r.Phase == store.Arrived && at == resting):
		return row, false, 0
	case weight == desired && seen.effective():
		begin(&row)
		r.Phase, r.Failures, r.Since, r.Message = store.Arrived, 0, seen.Now, ""
		return row, false, 0
	case weight == desired && seen.InSync:
		row.CurrentWeight = weight
		begin(&row)
		r.Phase, r.Failures, r.Message = store.Moving, 0, served(weight)
		return row, false, seen.EffectiveSince.Sub(seen.Now)
	case r.Phase == store.RolledBack && at == resting && percent(r.To) == desired:
		if seen.InSync && !seen.effective() {
			return row, false, seen.EffectiveSince.Sub(seen.Now)
		}
		return row, false, 0
	case at == moving && percent(r.To) != desired:
		if back := turn(row, weight, o.Step); back != weight {
			*r = store.Ramp{
				Phase: store.Moving, From: percent(row.CurrentWeight), To: desired, Weight: back, Since: seen.Now, Message: o.waiting(back, desired),
			}
			return row, false, o.Interval
		}
		r.To, r.Failures = desired, 0 // Since stays: it says when the gates were asked
	}
	if weight == desired {
		return row, false, o.Interval
	}
	wait := o.Interval - seen.Now.Sub(r.Since)
	if at != unmoved { // a CurrentWeight that no move of ours has made is taken for long effective
		if !seen.effective() {
			return row, false, o.Interval
		}
		wait = max(wait, o.Interval+seen.EffectiveSince.Sub(seen.Now))
	}
	if wait > 0 {
		return row, false, min(wait, o.Interval)
	}
	return row, true, 0
}

// begin makes a row that rests one that is about to move, and leaves one that moves as it is, in range.
func begin(row *store.Row) {
	weight, at := locate(*row)
	if at != moving {
		row.Ramp = store.Ramp{From: weight, Since: row.Ramp.Since}
	}
	row.Ramp.From, row.Ramp.To, row.Ramp.Weight = percent(row.Ramp.From), percent(row.DesiredWeight), weight
}

// turn returns the weight one step back from weight towards a new DesiredWeight, or weight if that does not lie behind. Such a step waits for nothing,
// because it returns to what was served a moment ago: so it goes no further than that.
func turn(row store.Row, weight, step int) int {
	desired, from, current := percent(row.DesiredWeight), percent(row.Ramp.From), percent(row.CurrentWeight)
	if row.CurrentWeight == store.Unknown {
		current = from
	}
	if desired > weight {
		return towards(weight, max(weight, min(desired, max(from, current))), step)
	}
	return towards(weight, min(weight, max(desired, min(from, current))), step)
}

// waiting says what a move that is at a weight waits for.
func (o Options) waiting(weight, desired int) string {
	if weight == desired {
		return fmt.Sprintf("weight %d: the move has arrived when every host is served with it, and no resolver holds an earlier answer", weight)
	}
	return fmt.Sprintf("weight %d: the next step follows when this has been effective for %s and no gate refuses", weight, o.Interval)
}

// served says what a move still waits for once its last weight is acknowledged.
func served(weight int) string {
	return fmt.Sprintf("weight %d is served; the move ends when no resolver can hold an earlier answer", weight)
}

func message(format string, values ...any) string {
	text := strings.ReplaceAll(fmt.Sprintf(format, values...), "\n", "; ") // of several gates
	if len(text) > maxMessage {
		text = text[:maxMessage]
	}
	return strings.ToValidUTF8(text, "")
}

// percent returns n as a weight: what is outside of 0..100 counts as the nearest end.
func percent(n int) int { return min(max(n, 0), 100) }

// towards returns what is one step from weight towards aim.
func towards(weight, aim, step int) int { return min(max(aim, weight-step), weight+step) }

// within tells whether n lies between a and b, which may be in any order; the ends count.
func within(n, a, b int) bool { return min(a, b) <= n && n <= max(a, b) }
