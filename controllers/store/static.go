package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// errFlag says that a Static cannot be told another weight.
var errFlag = errors.New("the weight is that of the flag --initial-weight: start the controller with another one, or keep the weight in a store that " +
	"people can change, with --backend-type configmap or dynamodb")

// Static is the weight of a flag, for a cluster whose weight does not change while the controller runs; the flag calls it "fake". It begins as
// acknowledged, since nobody can wait for a change. What is acknowledged is kept in memory: a restart forgets it, and replicas do not see each other's.
type Static struct {
	cluster string

	mu  sync.Mutex // guards row
	row Row
}

var _ Store = (*Static)(nil)

// NewStatic returns a Static with a weight in per cent, of which more than 100 counts as 100. It returns ErrInvalid for a negative weight and for an
// empty cluster name.
func NewStatic(cluster string, weight int) (*Static, error) {
	row := Row{ClusterName: cluster, DesiredWeight: weight, CurrentWeight: min(weight, 100)}
	err := named([2]string{"cluster name", cluster})
	if err == nil {
		err = writable(row)
	}
	if err != nil {
		return nil, fmt.Errorf("static weight of cluster %q: %w", cluster, err)
	}
	return &Static{cluster: cluster, row: row}, nil
}

// Read implements Store.
func (s *Static) Read(ctx context.Context) (Row, error) {
	if err := ctx.Err(); err != nil {
		return Row{}, fmt.Errorf("read static weight: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.row, nil
}

// Create implements Store. There always is a row, so it changes nothing.
func (s *Static) Create(ctx context.Context, row Row) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("create static weight: %w", err)
	}
	if _, err := newRow(s.cluster, row); err != nil {
		return fmt.Errorf("create static weight of cluster %q: %w", s.cluster, err)
	}
	return nil
}

// Acknowledge implements Store, in memory.
func (s *Static) Acknowledge(ctx context.Context, read, row Row) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("acknowledge static weight: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	next := s.row
	next.CurrentWeight, next.Ramp = row.CurrentWeight, row.Ramp
	err := writable(next)
	if err == nil {
		err = conflict(read, s.row)
	}
	if err != nil {
		return fmt.Errorf("acknowledge static weight of cluster %q: %w", s.cluster, err)
	}
	s.row = next
	return nil
}

// Desire implements Store by an error that says where the weight comes from.
func (s *Static) Desire(ctx context.Context, weight int) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("desire weight %d: %w", weight, err)
	}
	return fmt.Errorf("desire weight %d of cluster %q: %w", weight, s.cluster, errFlag)
}
