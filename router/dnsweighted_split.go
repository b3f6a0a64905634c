package router

import (
	"fmt"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"

	"github.com/penstock-dev/penstock/internal/state"
)

// setSplit is SetRoutes in split mode.
func (r *DNSWeighted) setSplit(canary *flaggerv1.Canary, asked routes) error {
	if asked.mirrored {
		return fmt.Errorf("canary %s/%s: mirroring was asked for: DNS cannot mirror requests: remove spec.analysis.mirror, or the annotation %s so that Skipper splits",
			canary.Namespace, canary.Name, CanaryIngressAnnotation)
	}
	weights := state.Weights{Primary: asked.primary, Canary: asked.canary}
	var before situation
	w, err := r.change(canary, func(w wish) (state.Desired, error) {
		before = w.situation()
		return w.asking(weights), r.checkRaise(canary, w, weights)
	})
	if err != nil {
		return err
	}
	r.metrics.observe(canary, w, r.opts.Clock.Now())
	if failedPromotion(canary, weights) {
		// The canary is the only healthy version: Flagger waits for nothing here, and the next ticks go on with it.
		if err := r.publish(canary, w); err != nil {
			r.warn(canary, ReasonReconcile, err.Error())
		}
		return nil
	}
	switch now := w.situation(); now {
	case attaching, draining:
		if now == draining && before != draining {
			r.metrics.drain(canary, drainStarted)
		}
		return r.settleInside(canary, w, now)
	case moving:
		w, cause := r.look(canary, w)
		if w.situation() == effective {
			return nil
		}
		return r.notYet(canary, ErrPending, w, cause)
	default: // idle, effective, drained, detaching: nothing to wait for
		if w.released {
			r.warn(canary, ReasonReleased, releasedMessage(w))
		}
		return nil
	}
}

// checkRaise returns why the canary cannot have a share. Its first is refused for whatever makes a split impossible; later only for what
// DNS would ignore in silence.
func (r *DNSWeighted) checkRaise(canary *flaggerv1.Canary, w wish, weights state.Weights) error {
	switch {
	case weights.Canary == 0 || failedPromotion(canary, weights):
		return nil
	case w.desired.Attached && shapeOf(canary).Mode == state.Split:
		return checkSpec(canary)
	case w.desired.Attached: // the annotation was removed in mid-canary: the split goes on as it was begun
		return nil
	}
	if err := r.check(canary); err != nil {
		return err
	}
	if !sameShape(w.desired, shapeOf(canary)) {
		return fmt.Errorf("canary %s/%s: mode %s with ingress %q and canary ingress %q is still in use, and the Canary asks for another: it follows once the canary is over",
			canary.Namespace, canary.Name, w.desired.Mode, w.desired.Ingress, w.desired.CanaryIngress)
	}
	return nil
}

// settleInside waits for the first step or a drain.
func (r *DNSWeighted) settleInside(canary *flaggerv1.Canary, w wish, waiting situation) error {
	sentinel, why := ErrPending, waitFirstStep
	if waiting == draining {
		sentinel, why = ErrDraining, waitDrain
	}
	w, cause := r.await(canary, w, why, func(w wish) bool { return w.situation() != waiting })
	switch s := w.situation(); {
	case s == waiting || cause != nil:
		return r.notYet(canary, sentinel, w, cause)
	case s == drained && w.released:
		r.metrics.drain(canary, drainReleased)
		r.warn(canary, ReasonReleased, releasedMessage(w))
	case s == drained:
		r.metrics.drain(canary, drainEffective)
	}
	return nil
}

func releasedMessage(w wish) string {
	return fmt.Sprintf("the drain of generation %d counts as done because of the annotation %s on configmap %s, not because DNS says so",
		w.desired.Generation, state.DrainedAnnotation, w.cm.Name)
}

// finalizeSplit takes the hosts back to the load balancer of the Ingress, where the target serves them. It returns the ConfigMap to be dropped.
func (r *DNSWeighted) finalizeSplit(canary *flaggerv1.Canary, w wish) (wish, error) {
	if w.lost() {
		recovered, err := r.recover(canary, w)
		if err != nil {
			return wish{}, err
		}
		if w.cm == nil && !recovered.Attached {
			return wish{}, nil
		}
	}
	attached := false
	w, err := r.rewrite(canary, func(w wish) (state.Desired, error) {
		attached = w.desired.Attached
		return w.detached(), nil
	})
	if err != nil {
		return wish{}, err
	}
	if attached {
		r.metrics.drain(canary, drainStarted)
	}
	var cause error
	if w.situation() != idle {
		w, cause = r.look(canary, w)
	}
	r.metrics.observe(canary, w, r.opts.Clock.Now())
	if w.situation() != idle {
		return wish{}, r.notYet(canary, ErrDraining, w, cause)
	}
	if w.released {
		r.metrics.drain(canary, drainReleased)
		r.warn(canary, ReasonReleased, releasedMessage(w))
	} else if w.desired.Generation > 1 {
		r.metrics.drain(canary, drainEffective)
	}
	return w, nil
}
