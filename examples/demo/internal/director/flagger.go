package director

import (
	"context"
	"errors"
	"fmt"
	"time"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	"go.uber.org/zap"

	"github.com/penstock-dev/penstock/examples/demo/internal/measure"
	"github.com/penstock-dev/penstock/internal/flaggersim"
	"github.com/penstock-dev/penstock/router"
)

// tickInterval is how often Flagger looks at a Canary while a step is not done; in production it is 10 s or more.
const tickInterval = 500 * time.Millisecond

// newFlagger returns the driver that plays Flagger for the cluster's Canary, with a router that leaves publishing to the traffic controller.
func (s *site) newFlagger(ctx context.Context) *flaggersim.Driver {
	r := router.NewDNSWeighted(ctx, s.cluster.Kube, nil, zap.NewNop().Sugar(), router.DNSWeightedOptions{
		Skipper:      router.SkipperOptions{PollInterval: Poll, Settle: Settle},
		PollInterval: controllerPause,
		WaitMargin:   stepTimeout / 2,
	})
	hooks := flaggersim.Hooks{
		ScaleFromZero: func(ctx context.Context) error {
			if err := s.next.Start(ctx); err != nil {
				return fmt.Errorf("scale from zero: %w", err)
			}
			return s.cluster.Settle(ctx) // ready is what Skipper knows
		},
		ScaleToZero: s.next.Stop,
		Promote: func(context.Context) error {
			s.primary.SetVersion(versionAfter)
			s.promoted = true
			return nil
		},
		Healthy: func(context.Context) bool { return s.healthy() },
	}
	return flaggersim.New(s.canary(), func() router.Interface { return r }, hooks, nil)
}

// advance ticks until the Canary has made a step: another weight of its analysis, or its end. The first call begins the canary.
func (s *site) advance(ctx context.Context) error {
	before := s.canaryWeight()
	s.flagger.Release(versionAfter)
	for {
		err := s.flagger.Tick(ctx)
		if s.finished() || s.flagger.Phase() == flaggerv1.CanaryPhaseProgressing && s.canaryWeight() != before {
			return nil
		}
		if waitErr := wait(ctx, tickInterval); waitErr != nil {
			return fmt.Errorf("canary of cluster %s, phase %s: %w", s.name, s.flagger.Phase(), errors.Join(waitErr, err))
		}
	}
}

// canaryWeight is that of the step that is done.
func (s *site) canaryWeight() int { return s.flagger.Canary.Status.CanaryWeight }

func (s *site) finished() bool {
	return s.flagger.In(flaggerv1.CanaryPhaseSucceeded, flaggerv1.CanaryPhaseFailed)()
}

func (s *site) started() bool { return s.flagger.Phase() != flaggerv1.CanaryPhaseInitialized }

// healthy is the metric check: it asks how many of the requests to the new version, since it last asked, succeeded.
func (s *site) healthy() bool {
	requests, bad := s.ledger.Counts(measure.Cell{Cluster: s.name, Version: versionAfter})
	fresh := counts{requests - s.seen.requests, bad - s.seen.bad}
	s.seen = counts{requests, bad}
	return fresh.requests > 0 && float64(fresh.requests-fresh.bad) >= successRate*float64(fresh.requests)
}
