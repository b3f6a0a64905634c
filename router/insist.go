package router

import (
	"context"
	"errors"
	"net"
	"time"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/clock"

	"github.com/penstock-dev/penstock/internal/state"
)

// urgent tells whether users are at a version that has failed, and Flagger sends an alert before each SetRoutes until one returns nil: a rollback takes all
// requests from the canary, a failed promotion sends them all there.
// https://github.com/fluxcd/flagger/blob/v1.44.0/pkg/controller/scheduler.go (rollback, handleFailedPromotion)
func urgent(canary *flaggerv1.Canary, asked routes) bool {
	return asked.drained() || failedPromotion(canary, state.Weights{Primary: asked.primary, Canary: asked.canary})
}

// insist repeats what is urgent for as long as the Kubernetes API fails in a way that passes, because an error would be one alert more. What keeps it
// waiting is said at once, and every now and then. Any other error is returned.
func insist(base context.Context, c clock.Clock, pause, remind time.Duration, warn func(message string), attempt func() error) error {
	var said time.Time
	for {
		err := attempt()
		if err == nil || !passes(err) {
			return err
		}
		if now := c.Now(); said.IsZero() || now.Sub(said) >= remind {
			warn(err.Error())
			said = now
		}
		if ended := sleep(base, c, pause); ended != nil {
			return errors.Join(ended, err)
		}
	}
}

// passes tells whether a call of the Kubernetes API may succeed when it is only repeated.
// https://github.com/kubernetes/community/blob/master/contributors/devel/sig-architecture/api-conventions.md#error-codes
func passes(err error) bool {
	var network net.Error
	return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsTooManyRequests(err) || apierrors.IsInternalError(err) ||
		apierrors.IsServiceUnavailable(err) || apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err) || apierrors.IsUnexpectedServerError(err) ||
		errors.Is(err, context.DeadlineExceeded) || errors.As(err, &network)
}
