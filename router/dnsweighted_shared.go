package router

import (
	"fmt"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"

	"github.com/penstock-dev/penstock/internal/state"
)

// setShared is SetRoutes in shared mode: Skipper splits, and the cluster's exposure follows the canary. A cluster that is to take less of
// the world's traffic does so before its canary gets more of that; one that is to take more does so afterwards.
func (r *DNSWeighted) setShared(canary *flaggerv1.Canary, w wish, asked routes) error {
	exposure, err := exposureFor(canary, asked.canary)
	if err != nil {
		if !urgent(canary, asked) && asked.canary > 0 {
			return err
		}
		exposure = 100 // what is urgent works however wrong the configuration has become
	}
	if err := r.checkBegin(canary, asked); err != nil {
		return err
	}
	if exposure < 100 {
		if exposureOf(w.desired) == 100 {
			if err := r.check(canary); err != nil {
				return err
			}
		}
		if err := r.lowerExposure(canary, w, exposure, asked); err != nil {
			return err
		}
	}
	if err := r.skipper.SetRoutes(canary, asked.primary, asked.canary, asked.mirrored); err != nil {
		return err
	}
	if exposureOf(w.desired) >= exposure {
		return nil
	}
	if asked.primary > 0 && !asked.drained() { // else Skipper's router has waited
		if err := sleep(r.base, r.opts.Clock, r.skipper.opts.Settle); err != nil {
			return fmt.Errorf("canary %s/%s: waiting for skipper to settle on %d/%d: %w", canary.Namespace, canary.Name, asked.primary, asked.canary, err)
		}
	}
	w, err = r.change(canary, func(w wish) (state.Desired, error) { return withExposure(w.desired, exposure), nil })
	if err == nil {
		r.metrics.observe(canary, w, r.opts.Clock.Now())
		err = r.publish(canary, w)
	}
	if err != nil { // the split is as asked; the cluster merely takes less than it should until the next step or Reconcile
		r.warn(canary, ReasonReconcile, err.Error())
	}
	return nil
}

// checkBegin returns why a canary cannot begin with Skipper: its Canary asks for a split in DNS, which cannot be done. One that has begun goes on.
func (r *DNSWeighted) checkBegin(canary *flaggerv1.Canary, asked routes) error {
	if asked.canary == 0 || urgent(canary, asked) || shapeOf(canary).Mode == state.Shared {
		return nil
	}
	if _, weight, _, err := r.skipper.GetRoutes(canary); err != nil || weight > 0 {
		return err
	}
	return r.check(canary)
}

// lowerExposure returns nil once the cluster takes as little as it must before Skipper may send more of that to the canary.
func (r *DNSWeighted) lowerExposure(canary *flaggerv1.Canary, w wish, exposure int, asked routes) error {
	falls := exposure < exposureOf(w.desired)
	if !falls && (exposure > exposureOf(w.desired) || w.observed.Done(w.desired)) {
		return nil
	}
	primary, weight, mirrored, err := r.skipper.GetRoutes(canary)
	if err != nil {
		return err
	}
	if !falls && asked == (routes{primary: primary, canary: weight, mirrored: mirrored}) {
		return nil // Skipper was written after the exposure was effective, or was to rise
	}
	w, err = r.change(canary, func(w wish) (state.Desired, error) { return withExposure(w.desired, exposure), nil })
	if err != nil {
		return err
	}
	r.metrics.observe(canary, w, r.opts.Clock.Now())
	done := func(w wish) bool { return w.observed.Done(w.desired) }
	var cause error
	if weight == 0 {
		w, cause = r.await(canary, w, waitExposure, done)
	} else {
		w, cause = r.look(canary, w)
	}
	if done(w) && cause == nil {
		return nil
	}
	return r.notYet(canary, ErrPending, w, cause)
}

// finalizeShared removes what Skipper was given, and gives the cluster its full share again. It returns the ConfigMap to be dropped.
func (r *DNSWeighted) finalizeShared(canary *flaggerv1.Canary, w wish) (wish, error) {
	if err := r.skipper.deleteAll(canary); err != nil {
		return wish{}, err
	}
	if r.publisher == nil { // another process gives the cluster its share once the ConfigMap is gone; this one is not called again
		return w, nil
	}
	return r.endExposure(canary, w)
}

// endExposure publishes the cluster's full share, if it may have had less.
func (r *DNSWeighted) endExposure(canary *flaggerv1.Canary, w wish) (wish, error) {
	if w.cm == nil {
		// Flagger notes what it applied when it has initialized a Canary.
		if _, exposed := canary.Annotations[ExposureAnnotation]; !exposed || canary.Status.LastAppliedSpec == "" {
			return w, nil
		}
		w.desired = shapeOf(canary) // without a ConfigMap the publisher knows of no exposure
		return wish{}, r.sync(canary, w, true)
	}
	lost := w.lost()
	w, err := r.rewrite(canary, func(w wish) (state.Desired, error) { return withExposure(w.desired, 100), nil })
	if err != nil || w.observed.Done(w.desired) || w.desired.Generation == 1 && !lost {
		return w, err
	}
	return w, r.sync(canary, w, true)
}
