package ramp

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ErrRefused says that a gate has been asked, and is against the next step.
var ErrRefused = errors.New("refused")

// refused returns an ErrRefused in words of its own.
func refused(format string, values ...any) error { return refusal(fmt.Sprintf(format, values...)) }

type refusal string

func (r refusal) Error() string { return string(r) }

func (refusal) Is(target error) bool { return target == ErrRefused }

// askTimeout is how long a gate may take to answer unless its options say otherwise: the controller does nothing else meanwhile.
const askTimeout = 10 * time.Second

// Gate is asked before a step.
type Gate interface {
	// Check returns nil if the next step may be taken, and an error that wraps ErrRefused if it must not be. Any other error says that the gate could not
	// be asked. It returns soon after ctx ends.
	Check(ctx context.Context, rising bool) error
}

// Gates is a Gate of several, of which each can refuse.
type Gates []Gate

// Check implements [Gate]. It asks all, so that people see all reasons at once: what one refuses is refused, whether others could be asked or not.
func (g Gates) Check(ctx context.Context, rising bool) error {
	errs := make([]error, len(g))
	for i, gate := range g {
		errs[i] = gate.Check(ctx, rising)
	}
	return errors.Join(errs...)
}
