package router

import (
	"errors"
	"fmt"
	"strconv"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/penstock-dev/penstock/internal/state"
	"github.com/penstock-dev/penstock/weights"
)

// shapeOf returns what a Canary asks for that does not change from step to step.
func shapeOf(canary *flaggerv1.Canary) state.Desired {
	apex, _, _ := canary.GetServiceNames()
	d := state.Desired{Mode: state.Shared, Ingress: canary.Spec.IngressRef.Name, Service: apex}
	if name, ok := canary.Annotations[CanaryIngressAnnotation]; ok {
		d.Mode, d.CanaryIngress = state.Split, name
	}
	return d
}

// sameShape tells whether two wishes are about the same Ingresses in the same mode.
func sameShape(a, b state.Desired) bool {
	return a.Mode == b.Mode && a.Ingress == b.Ingress && a.Service == b.Service && a.CanaryIngress == b.CanaryIngress
}

// withShape returns d in the shape of another wish.
func withShape(d, shape state.Desired) state.Desired {
	d.Mode, d.Ingress, d.Service, d.CanaryIngress = shape.Mode, shape.Ingress, shape.Service, shape.CanaryIngress
	if d.Mode == state.Split {
		d.Weights, d.Effective, d.Exposure = allPrimary, allPrimary, 0
	} else {
		d.Weights, d.Effective = state.Weights{}, state.Weights{}
	}
	return d
}

// reconciled returns what is to be desired between two steps.
func (r *DNSWeighted) reconciled(canary *flaggerv1.Canary, w wish) (state.Desired, error) {
	if shape := shapeOf(canary); !sameShape(w.desired, shape) {
		until, err := r.reshape(canary, w, shape)
		switch {
		case err != nil:
			return state.Desired{}, err
		case until == "":
			return withShape(w.desired, shape), nil
		case until == unshared:
			return withExposure(w.desired, 100), nil
		}
		r.warn(canary, ReasonHeld, fmt.Sprintf("mode %s with ingress %q and canary ingress %q stays until %s; then mode %s with ingress %q and canary ingress %q follows",
			w.desired.Mode, w.desired.Ingress, w.desired.CanaryIngress, until, shape.Mode, shape.Ingress, shape.CanaryIngress))
	}
	d := w.desired
	if d.Mode == state.Shared {
		if !analyzed(canary.Status.Phase) {
			d.Exposure = 0
		} else if _, exposed := canary.Annotations[ExposureAnnotation]; exposed && exposureOf(d) < 100 && w.observed.Done(d) {
			return r.raised(canary, d), nil
		}
		return d, nil
	}
	if !initialized(canary) && d.Attached { // left by an earlier Canary of this name; Flagger has just scaled the target to zero
		d = w.asking(allPrimary)
	}
	if mayDetach(canary.Status.Phase) && w.situation() == drained {
		d = w.detached()
	}
	return d, nil
}

// raised returns a wish with the exposure of the weight that Skipper has, if that is more: the raise after a step may have failed, or the process have ended before it.
func (r *DNSWeighted) raised(canary *flaggerv1.Canary, d state.Desired) state.Desired {
	_, weight, _, err := r.skipper.GetRoutes(canary)
	if err != nil || weight == 0 { // it is tried again with the next tick; without a weight the first step is on its way
		return d
	}
	if exposure, err := exposureFor(canary, weight); err == nil && exposure > exposureOf(d) {
		return withExposure(d, exposure)
	}
	return d
}

// reshape returns until when a wish must not change its mode or its Ingresses: nothing of the earlier shape must be in use, and DNS must be able to split as
// the new one says. If nothing holds it up, it removes what the earlier shape had in the cluster.
func (r *DNSWeighted) reshape(canary *flaggerv1.Canary, w wish, shape state.Desired) (until string, err error) {
	if w.moves(shape) {
		return r.moved(canary, w)
	}
	const over = "the canary is over"
	if free, err := r.mayReshape(canary, w, shape); err != nil || !free {
		return over, err
	}
	if shape.Mode == state.Shared {
		return "", nil
	}
	if initialized(canary) { // else it was checked already
		if err := r.checkIdle(canary, wish{desired: shape}); err != nil {
			return "this is mended: " + err.Error(), nil //nolint:nilerr // it is what the change waits for
		}
	}
	if w.desired.Mode == state.Split {
		return "", nil
	}
	return "", r.skipper.deleteAll(canary)
}

// mayReshape tells whether nothing of the earlier shape is in use.
func (r *DNSWeighted) mayReshape(canary *flaggerv1.Canary, w wish, shape state.Desired) (bool, error) {
	if w.desired.Mode == state.Split {
		return w.situation() == idle, nil
	}
	if shape.Mode == state.Shared {
		return true, nil
	}
	if initialized(canary) && !mayDetach(canary.Status.Phase) {
		return false, nil
	}
	_, weight, _, err := r.skipper.GetRoutes(canary)
	return weight == 0, err
}

// unshared is until when a wish stays whose publisher, in this process, is called for the Ingress of the wish alone.
const unshared = "the hosts of the earlier ingress have their full share again"

// moved is reshape for a wish that moves.
func (r *DNSWeighted) moved(canary *flaggerv1.Canary, w wish) (until string, err error) {
	if exposureOf(w.desired) < 100 { // it belongs to what Skipper splits
		if err := r.skipper.Reconcile(canary); err != nil {
			return "", err
		}
		stands, err := r.skipper.stands(withIngressRef(canary, w.desired.Ingress))
		if err != nil || stands {
			return "skipper can split at ingress " + strconv.Quote(canary.Spec.IngressRef.Name), err
		}
	}
	if r.publisher == nil || w.fullShare() { // the publisher of another process sees all Ingresses
		return "", nil
	}
	return unshared, nil
}

// moves tells whether a shape is about other hosts in shared mode.
func (w wish) moves(shape state.Desired) bool {
	return w.desired.Mode == state.Shared && shape.Mode == state.Shared && w.desired.Ingress != shape.Ingress
}

// fullShare tells whether no exposure was published, or none is any more.
func (w wish) fullShare() bool {
	return exposureOf(w.desired) == 100 && (w.desired.Generation == 1 || w.observed.Done(w.desired))
}

// lostShape returns the shape of a wish that was lost: the one that is asked for, but shared mode while Skipper splits. It was begun so then, maybe by
// provider skipper, and must be ended so. Where DNS splits, and the annotation that names the canary's Ingress is gone too, nobody knows the shape.
func (r *DNSWeighted) lostShape(canary *flaggerv1.Canary, w wish) (state.Desired, error) {
	shape := shapeOf(canary)
	stands, err := r.skipper.stands(canary)
	switch {
	case err != nil:
		return state.Desired{}, err
	case shape.Mode == state.Split && stands:
		shape.Mode, shape.CanaryIngress = state.Shared, ""
		return shape, nil
	case shape.Mode == state.Split && shape.CanaryIngress == "":
		return state.Desired{}, checkSpec(canary)
	case shape.Mode == state.Split || !initialized(canary): // nothing was begun for this Canary yet
		return shape, nil
	}
	attached := w.observed.Attached
	if !attached && !stands { // as it does for each Canary in shared mode
		if _, _, attached, err = r.innerWeights(canary, shape); err != nil {
			return state.Desired{}, err
		}
	}
	if attached {
		return state.Desired{}, fmt.Errorf("canary %s/%s: DNS splits, but configmap %s does not say how (data.%s), nor does the annotation %s: set that to the canary's Ingress again until the canary is over",
			canary.Namespace, canary.Name, state.Name(canary.Name), state.DesiredKey, CanaryIngressAnnotation)
	}
	return shape, nil
}

// innerWeights returns what is published of a split; found is false without one, and where another process publishes.
func (r *DNSWeighted) innerWeights(canary *flaggerv1.Canary, shape state.Desired) (primary, weight int, found bool, err error) {
	if r.publisher == nil {
		return 0, 0, false, nil
	}
	ctx, cancel := r.syncCall()
	defer cancel()
	primary, weight, found, err = r.publisher.InnerWeights(ctx, types.NamespacedName{Namespace: canary.Namespace, Name: shape.Ingress}, shape.Service)
	if err != nil {
		return 0, 0, false, fmt.Errorf("canary %s/%s: read the published weights: %w", canary.Namespace, canary.Name, err)
	}
	return primary, weight, found, nil
}

// recover returns the wish of a Canary whose own was lost: in shared mode from Skipper's weights, in split mode from the published
// ones or, if another process publishes, from the Canary's status, else 100/0.
func (r *DNSWeighted) recover(canary *flaggerv1.Canary, w wish) (state.Desired, error) {
	shape, err := r.lostShape(canary, w)
	if err != nil {
		return state.Desired{}, err
	}
	d := withShape(state.Desired{}, shape)
	if d.Mode == state.Shared {
		_, weight, _, err := r.skipper.GetRoutes(canary)
		if err != nil {
			return state.Desired{}, err
		}
		exposure, err := exposureFor(canary, weight)
		if err != nil { // Reconcile says so
			exposure = 100
		}
		return withExposure(d, exposure), nil
	}
	if r.publisher == nil { // it takes the hosts back to the load balancer when it finds no wish, but nobody knows how far that is
		if now := recoverRoutes(canary); initialized(canary) && (now != toPrimary || !mayDetach(canary.Status.Phase)) {
			d.Attached = true
			d.Weights = state.Weights{Primary: now.primary, Canary: now.canary}
			d.Effective = d.Weights
		}
		return d, nil
	}
	primary, weight, found, err := r.innerWeights(canary, d)
	if err != nil || !found {
		return d, err
	}
	d.Attached = true
	if primary >= 0 && weight >= 0 && primary+weight == 100 { // else somebody edited them
		d.Weights = state.Weights{Primary: primary, Canary: weight}
		d.Effective = d.Weights
	}
	return d, nil
}

// analyzed tells whether Flagger judges a canary in this phase, and has not begun to promote it: until then it may keep its cluster back.
func analyzed(phase flaggerv1.CanaryPhase) bool {
	switch phase {
	case flaggerv1.CanaryPhaseProgressing, flaggerv1.CanaryPhaseWaiting, flaggerv1.CanaryPhaseWaitingPromotion:
		return true
	default:
		return false
	}
}

var errExposure = errors.New(`write a whole percentage from 1 to 100 such as "20", or remove the annotation`)

// exposureFloor reads the annotation; set is false without one.
func exposureFloor(canary *flaggerv1.Canary) (percent int, set bool, err error) {
	text, ok := canary.Annotations[ExposureAnnotation]
	if !ok {
		return 100, false, nil
	}
	percent, err = strconv.Atoi(text)
	if err != nil || percent < 1 || percent > 100 || strconv.Itoa(percent) != text {
		return 0, true, fmt.Errorf("canary %s/%s: annotation %s %q: %w", canary.Namespace, canary.Name, ExposureAnnotation, text, errExposure)
	}
	return percent, true, nil
}

// exposureFor returns the per cent to which the cluster's weight is scaled while the canary has a weight.
func exposureFor(canary *flaggerv1.Canary, weight int) (int, error) {
	floor, set, err := exposureFloor(canary)
	analysis := canary.GetAnalysis()
	if err != nil || !set || analysis == nil || !analyzed(canary.Status.Phase) ||
		canary.DeploymentStrategy() != flaggerv1.DeploymentStrategyCanary {
		return 100, err
	}
	return weights.Exposure(floor, weight, firstWeight(analysis), maxWeight(analysis)), nil
}

// firstWeight is the weight of a canary's first step.
// https://github.com/fluxcd/flagger/blob/v1.44.0/pkg/controller/scheduler.go (nextStepWeight)
func firstWeight(analysis *flaggerv1.CanaryAnalysis) int {
	if analysis.StepWeight > 0 || len(analysis.StepWeights) == 0 {
		return analysis.StepWeight
	}
	return analysis.StepWeights[0]
}

// exposureOf returns what a wish says, in per cent.
func exposureOf(d state.Desired) int {
	if d.Exposure == 0 {
		return 100
	}
	return d.Exposure
}

// withExposure returns d with an exposure; 100 is written as none.
func withExposure(d state.Desired, percent int) state.Desired {
	d.Exposure = percent % 100
	return d
}
