package router

import (
	"context"
	"errors"
	"net"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/clock"
)

// insist repeats a drain for as long as the Kubernetes API fails in a way that passes: Flagger sends an alert before each SetRoutes of a rollback, so an
// error would be one more. What keeps it waiting is said at once, and every now and then. Any other error is returned.
func insist(base context.Context, c clock.Clock, pause, remind time.Duration, warn func(message string), drain func() error) error {
	var said time.Time
	for {
		err := drain()
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
