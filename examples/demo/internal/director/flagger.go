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
	s.router = router.NewDNSWeighted(ctx, s.cluster.Kube, nil, zap.NewNop().Sugar(), router.DNSWeightedOptions{
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
	return flaggersim.New(s.canary(), func() router.Interface { return s.router }, hooks, nil)
}

// advance ticks until the Canary has made a step: another weight of its analysis is effective, or it has ended. The first call begins the
// canary.
func (s *site) advance(ctx context.Context) error {
	s.flagger.Release(versionAfter)
	var tickErr error
	for onTheWay := false; ; {
		if !onTheWay {
			tickErr = s.flagger.Tick(ctx)
			// A split arrives by itself, and the tick that finds it there takes the next step at once: users had no time to be measured.
			onTheWay = s.opts.Mode == Split && errors.Is(tickErr, router.ErrPending)
		}
		_, canary, _, err := s.router.GetRoutes(s.flagger.Canary)
		switch progressing := s.flagger.Phase() == flaggerv1.CanaryPhaseProgressing; {
		case s.finished():
			s.canaryWeight = 0
			return nil
		case err == nil && progressing && canary != s.canaryWeight:
			s.canaryWeight = canary
			return nil
		}
		if waitErr := wait(ctx, tickInterval); waitErr != nil {
			return fmt.Errorf("canary of cluster %s, phase %s: %w", s.name, s.flagger.Phase(), errors.Join(waitErr, tickErr, err))
		}
	}
}

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
