package router

import (
	"context"
	"fmt"
	"maps"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// reverted keeps the apex Services of Canaries that have been finalized at their targets. Flagger's ticks go on beside its finalizer, and each
// sets the apex Service to primary before it calls the router: one that comes between the finalizer's own change of the Service and the end of
// the Canary would leave it there, and primary goes with the Canary.
// https://github.com/fluxcd/flagger/blob/v1.44.0/pkg/controller/scheduler.go#L250
// https://github.com/fluxcd/flagger/blob/v1.44.0/pkg/controller/finalizer.go#L103
//
// Another process would finalize the Canary again.
type reverted struct {
	kube      kubernetes.Interface
	log       *zap.SugaredLogger
	selectors *memory[map[string]string] // of apex Services, as they must stay
}

// begin takes note that a Canary has been finalized. It returns an error if a tick was faster than that: Flagger finalizes it again.
func (r *reverted) begin(ctx context.Context, canary *flaggerv1.Canary) error {
	now, err := r.selector(ctx, canary)
	if err != nil || now == nil {
		return err
	}
	names := serviceNames(canary)
	primary, err := r.kube.CoreV1().Services(canary.Namespace).Get(ctx, names.primary, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("get service %s/%s: %w", canary.Namespace, names.primary, err)
	}
	if err == nil && maps.Equal(now, primary.Spec.Selector) {
		return fmt.Errorf("service %s/%s: spec.selector is that of primary, which ends with canary %s: it is finalized again, so that its target gets the traffic",
			canary.Namespace, names.apex, canary.Name)
	}
	r.selectors.put(canary, now)
	return r.keep(ctx, canary) // a tick may have come since the Service was read, and was told nothing
}

// keep sets the apex Service of a Canary that has been finalized as it was then. All others are left alone.
func (r *reverted) keep(ctx context.Context, canary *flaggerv1.Canary) error {
	selector, ok := r.selectors.get(canary)
	if !ok {
		return nil
	}
	return retryConflicts(func() error {
		names := serviceNames(canary)
		api := r.kube.CoreV1().Services(canary.Namespace)
		service, err := api.Get(ctx, names.apex, metav1.GetOptions{})
		if apierrors.IsNotFound(err) || err == nil && maps.Equal(service.Spec.Selector, selector) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("get service %s/%s: %w", canary.Namespace, names.apex, err)
		}
		service.Spec.Selector = selector
		if _, err := api.Update(ctx, service, metav1.UpdateOptions{}); err != nil {
			return fmt.Errorf("update service %s/%s: spec.selector: %w", canary.Namespace, names.apex, err)
		}
		r.log.Infow("apex service set to its target again, after a tick beside the finalizer",
			"canary", canary.Name+"."+canary.Namespace, "service", names.apex)
		return nil
	})
}

// selector returns that of the apex Service; nil if there is none, or if it goes with the Canary.
func (r *reverted) selector(ctx context.Context, canary *flaggerv1.Canary) (map[string]string, error) {
	names := serviceNames(canary)
	service, err := r.kube.CoreV1().Services(canary.Namespace).Get(ctx, names.apex, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get service %s/%s: %w", canary.Namespace, names.apex, err)
	}
	if owner := metav1.GetControllerOf(service); owner != nil && owner.UID == canary.UID {
		return nil, nil
	}
	return service.Spec.Selector, nil
}
