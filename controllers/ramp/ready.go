package ramp

import (
	"context"
	"fmt"
)

// Endpoints returns how many endpoints of the cluster are ready, of how many.
type Endpoints func(ctx context.Context) (ready, all int, err error)

// Ready is a [Gate] that refuses to raise the weight of a cluster of which too few endpoints are ready. It has no objection to lowering it.
type Ready struct {
	count Endpoints
	least int
}

// NewReady returns a Ready that wants least per cent of the endpoints ready, 1 to 100. A cluster without endpoints has too few.
func NewReady(count Endpoints, least int) (*Ready, error) {
	if least < 1 || least > 100 {
		return nil, fmt.Errorf("ready endpoints: at least %d %%: a gate needs 1 to 100", least)
	}
	return &Ready{count, least}, nil
}

// Check implements [Gate].
func (r *Ready) Check(ctx context.Context, rising bool) error {
	if !rising {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	ready, all, err := r.count(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("ready endpoints: count them: %w", err)
	case ready < 0 || ready > all:
		return fmt.Errorf("ready endpoints: %d of %d makes no sense: see what counts them", ready, all)
	case all == 0 || ready*100 < all*r.least:
		return refused("ready endpoints: %d of %d, where at least %d %% must be: see to the pods", ready, all, r.least)
	}
	return nil
}
