package router

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/penstock-dev/penstock/dns"
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
		free, err := r.mayReshape(canary, w, shape)
		if err != nil {
			return state.Desired{}, err
		}
		if free {
			return withShape(w.desired, shape), nil
		}
		r.warn(canary, ReasonHeld, fmt.Sprintf("mode %s with ingress %q and canary ingress %q stays until the canary is over; then mode %s with ingress %q and canary ingress %q follows",
			w.desired.Mode, w.desired.Ingress, w.desired.CanaryIngress, shape.Mode, shape.Ingress, shape.CanaryIngress))
	}
	d := w.desired
	if d.Mode == state.Shared {
		if !exposing(canary.Status.Phase) {
			d.Exposure = 0
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

// mayReshape tells whether a wish may change its mode or its Ingresses now: nothing of the earlier shape must be in use. It removes what
// the earlier shape had in the cluster.
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
	if _, weight, _, err := r.skipper.GetRoutes(canary); err != nil || weight > 0 {
		return false, err
	}
	return true, r.skipper.deleteAll(canary)
}

// recover returns the wish of a Canary whose own was lost: in shared mode from Skipper's weights, in split mode from the published
// ones, else 100/0.
func (r *DNSWeighted) recover(canary *flaggerv1.Canary) (state.Desired, error) {
	d := withShape(state.Desired{}, shapeOf(canary))
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
	if r.publisher == nil { // the publisher takes the hosts back to the load balancer when it finds no wish
		return d, nil
	}
	ctx, cancel := r.syncCall()
	defer cancel()
	primary, weight, found, err := r.publisher.InnerWeights(ctx, types.NamespacedName{Namespace: canary.Namespace, Name: d.Ingress}, d.Service)
	if err != nil {
		return state.Desired{}, fmt.Errorf("canary %s/%s: read the published weights: %w", canary.Namespace, canary.Name, err)
	}
	if !found {
		return d, nil
	}
	d.Attached = true
	if primary >= 0 && weight >= 0 && primary+weight == 100 { // else somebody edited them
		d.Weights = state.Weights{Primary: primary, Canary: weight}
		d.Effective = d.Weights
	}
	return d, nil
}

// checkSpec returns why a Canary cannot be what its annotations ask for, as far as it says so itself.
func checkSpec(canary *flaggerv1.Canary) error {
	object := "canary " + canary.Namespace + "/" + canary.Name
	if err := checkIngressRef(canary); err != nil {
		return err
	}
	if shapeOf(canary).Mode == state.Shared {
		_, _, err := exposureFloor(canary)
		return err
	}
	name := canary.Annotations[CanaryIngressAnnotation]
	switch name {
	case "":
		return fmt.Errorf("%s: annotation %s is empty: name the prepared Ingress of the canary, or remove the annotation", object, CanaryIngressAnnotation)
	case canary.Spec.IngressRef.Name:
		return fmt.Errorf("%s: annotation %s is %q, which is spec.ingressRef itself: prepare a second Ingress with a load balancer of its own, or remove the annotation",
			object, CanaryIngressAnnotation, name)
	}
	const remedy = "remove it, or the annotation " + CanaryIngressAnnotation + " so that Skipper splits"
	if value, ok := canary.Annotations[ExposureAnnotation]; ok {
		return fmt.Errorf("%s: annotation %s %q: exposure is for canaries behind the cluster's one load balancer, but DNS splits this one: %s", object, ExposureAnnotation, value, remedy)
	}
	analysis := canary.GetAnalysis()
	if analysis == nil {
		return nil
	}
	switch {
	case len(analysis.Match) > 0:
		return fmt.Errorf("%s: spec.analysis.match has %d entries: DNS knows nothing of headers and cookies and would send every user to the canary: %s", object, len(analysis.Match), remedy)
	case analysis.Mirror:
		return fmt.Errorf("%s: spec.analysis.mirror is true: DNS cannot mirror requests: %s", object, remedy)
	case analysis.SessionAffinity != nil:
		return fmt.Errorf("%s: spec.analysis.sessionAffinity with cookie %q: DNS knows nothing of cookies: %s", object, analysis.SessionAffinity.CookieName, remedy)
	}
	return nil
}

// check returns why a Canary cannot be split as it asks; in split mode it looks at the Ingresses too.
func (r *DNSWeighted) check(canary *flaggerv1.Canary) error {
	if err := checkSpec(canary); err != nil {
		return err
	}
	mode := shapeOf(canary).Mode
	if _, exposed := canary.Annotations[ExposureAnnotation]; r.publisher != nil && !canary.Spec.RevertOnDeletion && (exposed || mode == state.Split) {
		return fmt.Errorf("canary %s/%s: spec.revertOnDeletion is false: without a traffic controller nobody would take the hosts back from the canary, "+
			"or give the cluster its full share back, once it is deleted: set it to true, or let a controller publish", canary.Namespace, canary.Name)
	}
	if mode == state.Shared {
		return nil
	}
	hosts, err := r.checkIngresses(canary)
	if err != nil {
		return err
	}
	return r.checkAlone(canary, hosts)
}

// checkIdle looks again at what may have become wrong since the Canary was initialized.
func (r *DNSWeighted) checkIdle(canary *flaggerv1.Canary, w wish) error {
	err := checkSpec(canary)
	if err == nil && w.desired.Mode == state.Split && shapeOf(canary).Mode == state.Split {
		_, err = r.checkIngresses(canary)
	}
	return err
}

// checkIngresses returns why DNS cannot split between the load balancers of the two Ingresses, or the hosts that it would split.
func (r *DNSWeighted) checkIngresses(canary *flaggerv1.Canary) ([]string, error) {
	shape := shapeOf(canary)
	apexService, _, canaryService := canary.GetServiceNames()
	apex, err := r.ingress(canary, shape.Ingress)
	if err != nil {
		return nil, fmt.Errorf("canary %s/%s: spec.ingressRef: %w", canary.Namespace, canary.Name, err)
	}
	prepared, err := r.ingress(canary, shape.CanaryIngress)
	if err != nil {
		return nil, fmt.Errorf("canary %s/%s: annotation %s: %w: create it with a load balancer of its own, or remove the annotation",
			canary.Namespace, canary.Name, CanaryIngressAnnotation, err)
	}
	if err := dns.CheckSplit(apex, prepared, apexService); err != nil {
		return nil, fmt.Errorf("canary %s/%s: %w", canary.Namespace, canary.Name, err)
	}
	hosts, err := dns.HostsOf(apex, apexService)
	if err != nil {
		return nil, fmt.Errorf("canary %s/%s: %w", canary.Namespace, canary.Name, err)
	}
	toCanary, err := dns.HostsOf(prepared, canaryService)
	if err != nil {
		return nil, fmt.Errorf("canary %s/%s: %w", canary.Namespace, canary.Name, err)
	}
	for _, host := range hosts {
		if !slices.Contains(toCanary, host) {
			return nil, fmt.Errorf("canary %s/%s: ingress %s/%s has no path of host %q to Service %q, so the canary would get no request of its share: add it to spec.rules",
				canary.Namespace, canary.Name, prepared.Namespace, prepared.Name, host, canaryService)
		}
	}
	return hosts, nil
}

// checkAlone returns an error if another Ingress serves one of the hosts too: DNS would take its traffic along.
func (r *DNSWeighted) checkAlone(canary *flaggerv1.Canary, hosts []string) error {
	ctx, cancel := r.call()
	defer cancel()
	shape := shapeOf(canary)
	for _, host := range hosts {
		serving, err := r.source.Serving(ctx, host)
		if err != nil {
			return fmt.Errorf("canary %s/%s: %w", canary.Namespace, canary.Name, err)
		}
		for _, other := range serving {
			own := other.Namespace == canary.Namespace &&
				(other.Name == shape.Ingress || other.Name == shape.CanaryIngress || other.Labels[canaryLabel] == labelValue(canary.Name))
			if !own && !dns.Generated(other) {
				return fmt.Errorf("canary %s/%s: host %q is served by ingress %s/%s too, whose traffic DNS would take along: give the Canary a host of its own",
					canary.Namespace, canary.Name, host, other.Namespace, other.Name)
			}
		}
	}
	return nil
}

func (r *DNSWeighted) ingress(canary *flaggerv1.Canary, name string) (*networkingv1.Ingress, error) {
	ctx, cancel := r.call()
	defer cancel()
	return r.source.Ingress(ctx, types.NamespacedName{Namespace: canary.Namespace, Name: name})
}

// exposing tells whether a canary in this phase may keep its cluster back.
func exposing(phase flaggerv1.CanaryPhase) bool {
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
	if err != nil || !set || analysis == nil || !exposing(canary.Status.Phase) ||
		canary.DeploymentStrategy() != flaggerv1.DeploymentStrategyCanary {
		return 100, err
	}
	first, last := firstWeight(analysis), analysis.MaxWeight
	if n := len(analysis.StepWeights); n > 0 {
		last = min(100, analysis.StepWeights[n-1])
	} else if last <= 0 {
		last = 100
	}
	return weights.Exposure(floor, weight, first, last), nil
}

// firstWeight is the weight of a canary's first step.
// https://github.com/fluxcd/flagger/blob/v1.44.0/pkg/controller/scheduler.go (nextStepWeight, maxWeight)
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
