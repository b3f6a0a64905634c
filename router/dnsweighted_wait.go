package router

import (
	"errors"
	"fmt"
	"time"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"

	"github.com/penstock-dev/penstock/internal/state"
)

// What is waited for, as metrics and logs say.
const (
	waitFirstStep = "first step"
	waitDrain     = "drain"
	waitExposure  = "exposure"
)

// faultInterval is the least time between two warnings of a drain that is kept by one fault and then by another, since some faults have other words each time.
const faultInterval = 15 * time.Second

// errOvertaken says that a wish is not the one that is waited for any more.
var errOvertaken = errors.New("deleted or changed by somebody else meanwhile")

// look lets the publisher go on and reads how far it is. On an error the wish is as it was before.
func (r *DNSWeighted) look(canary *flaggerv1.Canary, w wish) (wish, error) {
	publishErr := r.publish(canary, w)
	now, err := r.read(canary)
	switch {
	case err != nil:
		return w, err
	case now.desired.Generation != w.desired.Generation:
		return w, fmt.Errorf("configmap %s/%s: %w", canary.Namespace, state.Name(canary.Name), errOvertaken)
	}
	r.metrics.observe(canary, now, r.opts.Clock.Now())
	return now, publishErr
}

// await looks again and again until done, but not longer than the largest TTL served and the margin, and not when the publisher has failed to do a
// raise: people are to see that at once, by the error. The error is that of the last look; it is nil when done. A drain has no end before it is effective: with
// each error that Flagger gets during a rollback it would send an alert, so what fails, and what takes long, is said in warnings.
func (r *DNSWeighted) await(canary *flaggerv1.Canary, w wish, why string, done func(wish) bool) (wish, error) {
	start := r.opts.Clock.Now()
	from, ttl, said, saidAt := start, time.Duration(0), "", time.Time{}
	for {
		var err error
		if w, err = r.look(canary, w); done(w) {
			r.metrics.waited(why, "done", r.opts.Clock.Since(start))
			return w, nil
		}
		answered := w.observed.Generation == w.desired.Generation
		if answered {
			ttl = max(ttl, time.Duration(w.observed.TTLSeconds)*time.Second)
		}
		now := r.opts.Clock.Now()
		left := from.Add(ttl + r.opts.WaitMargin).Sub(now)
		refused, fault := answered && w.observed.Error != "", ""
		switch {
		case refused:
			fault = w.observed.Error
		case err != nil:
			fault = err.Error()
		}
		if errors.Is(err, errOvertaken) || why != waitDrain && (left <= 0 || refused) {
			r.metrics.waited(why, "not yet", now.Sub(start))
			return w, err
		}
		if left <= 0 || why == waitDrain && fault != "" && fault != said && now.Sub(saidAt) >= faultInterval {
			r.warn(canary, ReasonDraining, r.notYet(canary, ErrDraining, w, err).Error())
			said, saidAt = fault, now
		}
		if left <= 0 {
			from, left = now, ttl+r.opts.WaitMargin
		}
		if now.Equal(start) {
			r.logFor(canary).Infow("waiting for dns", "for", why, "at_most_seconds", left.Seconds(), "pending", r.reason(w, err))
		}
		if err := sleep(r.base, r.opts.Clock, min(left, r.pause(w, now))); err != nil {
			return w, err
		}
	}
}

// pause is how long there is nothing new to see: a second or so or, when only a TTL has to pass, up to ten times that.
func (r *DNSWeighted) pause(w wish, now time.Time) time.Duration {
	pause := r.opts.PollInterval
	if o := w.observed; o.Generation == w.desired.Generation && o.EffectiveAt != nil {
		pause = min(max(pause, o.EffectiveAt.Sub(now)), 10*pause)
	}
	return pause
}

// notYet returns the error that says what is waited for, since when and until when.
func (r *DNSWeighted) notYet(canary *flaggerv1.Canary, sentinel error, w wish, cause error) error {
	d := w.desired
	what := fmt.Sprintf("route weights %d/%d", d.Weights.Primary, d.Weights.Canary)
	if d.Mode == state.Shared {
		what = fmt.Sprintf("cluster exposure %d %%", exposureOf(d))
	}
	remedy := ""
	if sentinel == ErrDraining { //nolint:errorlint // it is one of the two, never wrapped
		remedy = fmt.Sprintf("; if nobody can be sent to the canary any more, say so by the annotation %s: %q on configmap %s",
			state.DrainedAnnotation, fmt.Sprint(d.Generation), state.Name(canary.Name))
	}
	err := fmt.Errorf("canary %s/%s: %s: %w since %s: %s%s",
		canary.Namespace, canary.Name, what, sentinel, d.Since.UTC().Format(time.RFC3339), r.reason(w, cause), remedy)
	if cause != nil {
		return fmt.Errorf("%w: %w", err, cause)
	}
	return err
}

// reason says for people what keeps a wish from being effective.
func (r *DNSWeighted) reason(w wish, cause error) string {
	o := w.observed
	switch {
	case o.Generation == w.desired.Generation && o.Error != "":
		return o.Error
	case o.Generation == w.desired.Generation && o.Pending != "":
		return o.Pending
	case o.Generation == w.desired.Generation && o.EffectiveAt != nil:
		return "effective at " + o.EffectiveAt.UTC().Format(time.RFC3339)
	case cause != nil:
		return "the cluster publisher could not go on"
	case r.publisher == nil:
		return fmt.Sprintf("the cluster publisher has not answered generation %d yet: is the traffic controller running?", w.desired.Generation)
	default:
		return fmt.Sprintf("generation %d has not been published yet", w.desired.Generation)
	}
}
