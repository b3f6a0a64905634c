package conflicts_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/util/retry"

	"github.com/penstock-dev/penstock/internal/conflicts"
)

func TestRetry(t *testing.T) {
	t.Parallel()
	resource := schema.GroupResource{Resource: "objects"}
	changed, exists := apierrors.NewConflict(resource, "object", errors.New("changed meanwhile")), apierrors.NewAlreadyExists(resource, "object")
	late := fmt.Errorf("update object: %w", context.DeadlineExceeded)
	for name, tc := range map[string]struct {
		errs  []error // of the attempts, of which the last one is repeated
		calls int
		want  error
	}{
		"AtOnce":            {[]error{nil}, 1, nil},
		"AfterAConflict":    {[]error{changed, exists, nil}, 3, nil},
		"Always":            {[]error{changed}, retry.DefaultRetry.Steps, changed},
		"Another":           {[]error{errors.ErrUnsupported}, 1, errors.ErrUnsupported},
		"OutOfTime":         {[]error{late}, 1, context.DeadlineExceeded},
		"Cancelled":         {[]error{context.Canceled}, 1, context.Canceled},
		"ConflictThenLate":  {[]error{changed, late}, 2, context.DeadlineExceeded},
		"ConflictThenOther": {[]error{changed, errors.ErrUnsupported}, 2, errors.ErrUnsupported},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			calls := 0
			err := conflicts.Retry(func() error {
				calls++
				return tc.errs[min(calls, len(tc.errs))-1]
			})
			if !errors.Is(err, tc.want) || (err == nil) != (tc.want == nil) || calls != tc.calls {
				t.Errorf("%d attempts, error %v; want %d and %v", calls, err, tc.calls, tc.want)
			}
		})
	}
}
