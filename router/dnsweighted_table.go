package router

import (
	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"

	"github.com/penstock-dev/penstock/internal/state"
)

// situation is how far the split in DNS is on its way: a row of the table in docs/adr/0003-effective.md. It follows from the
// ConfigMap alone, so a fresh process is in the same one.
//
//	situation            GetRoutes                  SetRoutes(100,0)       SetRoutes(w)
//	idle                 100/0                      nil                    attach
//	attaching            100/0                      drain                  waits inside, then ErrPending
//	effective v          v                          drain                  v: nil; else move
//	moving v to w        the lower canary weight;   drain                  ErrPending at once
//	                     in Promoting v
//	draining             100/0; in Promoting v      waits inside, then     move
//	                                                ErrDraining
//	drained              100/0                      nil                    move
//	detaching            100/0                      nil                    attach
type situation int

const (
	// idle: the hosts point at the load balancer, for everybody.
	idle situation = iota
	// attaching: the canary is to get its first share, and Flagger must not believe in it yet.
	attaching
	// effective: every resolver that obeys the TTL has the weights.
	effective
	// moving: from one share of the canary to another.
	moving
	// draining: the canary is to get nothing, but somebody may still be sent there.
	draining
	// drained: nobody is sent to the canary any more; the inner set still stands, with primary alone in it.
	drained
	// detaching: as drained, and the hosts are on their way back to the load balancer.
	detaching
)

func (s situation) String() string {
	return [...]string{"idle", "attaching", "effective", "moving", "draining", "drained", "detaching"}[s]
}

// allPrimary is how every Canary begins and ends.
var allPrimary = state.Weights{Primary: 100}

// situation derives the row of the table.
func (w wish) situation() situation {
	d, o := w.desired, w.observed
	switch {
	case !d.Attached:
		neverAttached := d.Generation <= 1 && !o.Attached
		if neverAttached || o.Done(d) && !o.Attached || w.released {
			return idle
		}
		return detaching
	case d.Weights.Canary == 0:
		// What could not even be attached needs no draining: the answer is to this very wish, and no share of the canary ever was in DNS. A host that is
		// refused later may still lead resolvers to the canary.
		refused := o.Generation == d.Generation && o.Error != "" && !o.Attached && d.Effective.Canary == 0
		if o.Done(d) || w.released || refused {
			return drained
		}
		return draining
	case o.Done(d):
		return effective
	case d.Effective.Canary == 0:
		return attaching
	default:
		return moving
	}
}

// lastEffective returns the pair of those that Flagger set that became effective last.
func (w wish) lastEffective() state.Weights {
	switch w.situation() {
	case effective:
		return w.desired.Weights
	case attaching, moving, draining:
		if w.desired.Effective == (state.Weights{}) {
			return allPrimary
		}
		return w.desired.Effective
	default:
		return allPrimary
	}
}

// reported returns what GetRoutes says in a phase. It is always a pair that Flagger set.
func (w wish) reported(phase flaggerv1.CanaryPhase) state.Weights {
	last := w.lastEffective()
	switch w.situation() {
	case effective:
		return last
	case moving:
		if phase != flaggerv1.CanaryPhasePromoting && w.desired.Weights.Canary < last.Canary {
			return w.desired.Weights
		}
		return last
	case draining:
		if phase == flaggerv1.CanaryPhasePromoting {
			return last
		}
	case idle, attaching, drained, detaching:
	}
	return allPrimary
}

// asking returns what is to be desired once Flagger asks for weights. It is the same as before where the table says nil or wait.
func (w wish) asking(weights state.Weights) state.Desired {
	d := w.desired
	if s := w.situation(); weights.Canary == 0 && (s == idle || s == detaching) || weights == d.Weights && d.Attached {
		return d
	}
	d.Effective = w.lastEffective()
	d.Attached, d.Weights = true, weights
	return d
}

// detached returns what is to be desired to take the hosts back to the load balancer.
func (w wish) detached() state.Desired {
	d := w.desired
	if !d.Attached {
		return d
	}
	d.Effective = w.lastEffective()
	d.Attached, d.Weights = false, allPrimary
	return d
}

// mayDetach tells whether a canary is over, and no promotion can fail any more, which would need the inner set again at once.
func mayDetach(phase flaggerv1.CanaryPhase) bool {
	switch phase {
	case flaggerv1.CanaryPhaseInitialized, flaggerv1.CanaryPhaseSucceeded, flaggerv1.CanaryPhaseFailed:
		return true
	default:
		return false
	}
}

// initialized tells whether traffic depends on a Canary: from then on an error of Reconcile would keep Flagger from rolling back.
func initialized(canary *flaggerv1.Canary) bool {
	return canary.Status.Phase != "" && canary.Status.Phase != flaggerv1.CanaryPhaseInitializing
}

// failedPromotion tells whether Flagger asks to send everybody to the canary because the promoted primary is not ready. Nothing
// else raises the canary's weight in these phases:
// https://github.com/fluxcd/flagger/blob/v1.44.0/pkg/controller/scheduler.go (handleFailedPromotion)
func failedPromotion(canary *flaggerv1.Canary, weights state.Weights) bool {
	switch canary.Status.Phase {
	case flaggerv1.CanaryPhasePromoting, flaggerv1.CanaryPhaseFinalising:
		return weights.Canary == 100
	default:
		return false
	}
}

// forPromotion returns what GetRoutes says in place of w. While Flagger promotes step by step it acts only as long as it is told a
// canary weight above 0, so a process that died after the last step and before Flagger's status would leave the Canary in
// Promoting for ever. At 99/1 the next step is 100/0 again, whatever its size, and repeating that changes nothing.
// https://github.com/fluxcd/flagger/blob/v1.44.0/pkg/controller/scheduler.go (runPromotionTrafficShift)
func forPromotion(canary *flaggerv1.Canary, w state.Weights) state.Weights {
	analysis := canary.GetAnalysis()
	if w.Canary == 0 && canary.Status.Phase == flaggerv1.CanaryPhasePromoting && analysis != nil && analysis.StepWeightPromotion > 0 {
		return state.Weights{Primary: 99, Canary: 1}
	}
	return w
}
