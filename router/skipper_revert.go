package router

import (
	"fmt"
	"maps"
	"time"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-dev/penstock/internal/conflicts"
)

// Flagger's ticks go on beside its finalizer, and each sets the apex Service to primary before it calls the router. One that comes between the
// finalizer's own change of the Service and the end of the Canary would leave it there, and primary goes with the Canary.
// https://github.com/fluxcd/flagger/blob/v1.44.0/pkg/controller/scheduler.go#L250
// https://github.com/fluxcd/flagger/blob/v1.44.0/pkg/controller/finalizer.go#L103

const (
	// tickMargin is how far the next tick must be for the end of a deletion: from the router's Finalize to the end of the Canary.
	tickMargin = 2 * time.Second
	// tickDelay is how late a tick may be.
	tickDelay = 2 * time.Second
	// tickTries is how many ticks a Finalize gives way to. More cannot come in the time that it waits, unless they come in no order.
	tickTries = 3
	// finalizeTries is how often the finalizer is sent back because of the apex Service. More often is no accident.
	finalizeTries = 3
)

// reverted is what is remembered of a Canary that has been finalized.
type reverted struct {
	apex, primary map[string]string // selectors of Services
}

// ending tells whether a Canary is being deleted, also if a tick that has taken long holds an older copy of it.
func (s *Skipper) ending(canary *flaggerv1.Canary) bool {
	_, finalizing := s.finalizing.get(canary)
	return finalizing || beingDeleted(canary)
}

// checkEnding returns an error if a Canary is being finalized: weights would make Ingresses that nobody removes.
func (s *Skipper) checkEnding(canary *flaggerv1.Canary) error {
	if _, finalizing := s.finalizing.get(canary); finalizing {
		return fmt.Errorf("canary %s/%s is being deleted: its routes are not set any more", canary.Namespace, canary.Name)
	}
	return nil
}

// tickBesideFinalizer is Reconcile for a Canary that is being deleted.
func (s *Skipper) tickBesideFinalizer(canary *flaggerv1.Canary) error {
	defer s.ticks.put(canary, s.opts.Clock.Now()) // the finalizer may go on once the Service is right
	return s.keepReverted(canary)
}

// keepReverted sets the apex Service of a Canary that has been finalized as it was then, if it has become primary's. What else has become of it is
// somebody's wish.
func (s *Skipper) keepReverted(canary *flaggerv1.Canary) error {
	was, ok := s.reverted.get(canary)
	if !ok {
		return nil
	}
	return conflicts.Retry(func() error {
		ctx, cancel := s.call()
		defer cancel()
		name := serviceNames(canary).apex
		api := s.kube.CoreV1().Services(canary.Namespace)
		service, err := api.Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) || err == nil && !maps.Equal(service.Spec.Selector, was.primary) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("get service %s/%s: %w", canary.Namespace, name, err)
		}
		service.Spec.Selector = was.apex
		if _, err := api.Update(ctx, service, metav1.UpdateOptions{}); err != nil {
			return fmt.Errorf("update service %s/%s: spec.selector: %w", canary.Namespace, name, err)
		}
		s.logFor(canary).Infow("apex service set to its target again, after a tick beside the finalizer", "service", name)
		return nil
	})
}

// endReverted returns when primary may go: all Skippers send requests to the target, and no tick is near that would change that. It takes
// notice of the apex Service as Flagger's finalizer has just set it, and returns an error if a tick was faster: Flagger finalizes it again.
func (s *Skipper) endReverted(canary *flaggerv1.Canary) error {
	if canary.Spec.TargetRef.Kind == "Service" { // of which Flagger reverts nothing: both Services select what the user said
		return nil
	}
	names := serviceNames(canary)
	apex, err := s.selector(canary, names.apex)
	if err != nil || apex == nil {
		return err
	}
	primary, err := s.selector(canary, names.primary)
	if err != nil {
		return err
	}
	if maps.Equal(apex, primary) {
		refused, _ := s.refused.get(canary)
		s.refused.put(canary, refused+1)
		if refused < finalizeTries {
			return fmt.Errorf("service %s/%s: spec.selector is that of primary, which ends with canary %s: it is finalized again, so that its target gets the traffic",
				canary.Namespace, names.apex, canary.Name)
		}
		s.logFor(canary).Warnw("apex service selects primary, which ends with the canary, as often as flagger sets it", "service", names.apex)
		return nil
	}
	s.reverted.put(canary, reverted{apex, primary})
	last, _ := s.ticks.get(canary)
	for range tickTries {
		if err := s.sleep(canary, s.opts.Settle, "on the target"); err != nil {
			return err
		}
		if err := s.giveWay(canary); err != nil {
			return err
		}
		now, _ := s.ticks.get(canary)
		if now.Equal(last) {
			break
		}
		last = now // it has set the Service back, which Skipper has to learn
	}
	return s.keepReverted(canary) // a tick may have come before the Service was noted
}

// giveWay waits for a tick that is near.
func (s *Skipper) giveWay(canary *flaggerv1.Canary) error {
	last, ok := s.ticks.get(canary)
	interval := canary.GetAnalysisInterval()
	if !ok || interval <= 0 {
		return nil
	}
	now := s.opts.Clock.Now()
	next := last.Add(interval)
	if missed := now.Sub(next) - tickDelay; missed > 0 { // ticks that Flagger left out
		next = next.Add((missed/interval + 1) * interval)
	}
	if next.Sub(now) > tickMargin {
		return nil
	}
	for end := next.Add(tickDelay); s.opts.Clock.Now().Before(end); {
		if tick, _ := s.ticks.get(canary); !tick.Equal(last) {
			return nil
		}
		if err := sleep(s.base, s.opts.Clock, tickDelay/20); err != nil {
			return fmt.Errorf("canary %s/%s: waiting for flagger's next tick: %w", canary.Namespace, canary.Name, err)
		}
	}
	return nil
}

// selector returns that of a Service; nil if there is none, or if it is the apex Service of a Canary that owns it, which Flagger leaves alone.
func (s *Skipper) selector(canary *flaggerv1.Canary, name string) (map[string]string, error) {
	ctx, cancel := s.call()
	defer cancel()
	service, err := s.kube.CoreV1().Services(canary.Namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get service %s/%s: %w", canary.Namespace, name, err)
	}
	if owner := metav1.GetControllerOf(service); name == serviceNames(canary).apex && owner != nil && owner.Kind == flaggerv1.CanaryKind {
		return nil, nil
	}
	return service.Spec.Selector, nil
}
