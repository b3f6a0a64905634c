// Package conflicts repeats what somebody else's write to the Kubernetes API came before.
package conflicts

import (
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/util/retry"
)

// Retry calls attempt again, with pauses and a few times only, while it returns a conflict or that an object exists already. Each attempt reads afresh. It
// returns what the last attempt returned.
//
// https://pkg.go.dev/k8s.io/client-go/util/retry#OnError returns nil after an attempt whose error is that of a context: it takes that for the end of its own
// waiting. A write that ran out of time would count as done.
func Retry(attempt func() error) error {
	var last error
	_ = retry.OnError(retry.DefaultRetry, func(err error) bool { // last says more
		return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err)
	}, func() error {
		last = attempt()
		return last
	})
	return last
}
