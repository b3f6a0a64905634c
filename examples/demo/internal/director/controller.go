package director

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/types"

	"github.com/penstock-dev/penstock/dns"
	route53backend "github.com/penstock-dev/penstock/dns/route53"
	"github.com/penstock-dev/penstock/examples/world"
	"github.com/penstock-dev/penstock/weights"
)

const (
	// controllerPause is how long the controller rests between two rounds.
	controllerPause = 200 * time.Millisecond
	// apiRate is how many calls of Route 53 each cluster makes a second at most. An account of Route 53 has 10.
	apiRate = 20
)

// startController starts the traffic controller of the cluster: the cluster publisher, called again and again. It ends by s.stop.
func (s *site) startController(ctx context.Context, r *route53) error {
	log := zap.NewNop().Sugar()
	backend := route53backend.New(r.client(s.name), log, route53backend.Options{Rate: apiRate, PollInterval: controllerPause})
	publisher, err := dns.NewPublisher(s.name, dns.NewKubeSource(s.cluster.Kube, nil), backend, s, log, dns.PublisherOptions{HostTTL: TTL, InnerTTL: TTL})
	if err != nil {
		return fmt.Errorf("publisher of cluster %s: %w", s.name, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	s.stop = func() {
		cancel()
		<-ended
	}
	go func() {
		defer close(ended)
		for {
			_, err := publisher.Sync(ctx, types.NamespacedName{Namespace: world.Namespace, Name: app})
			s.mu.Lock()
			s.problem = err
			s.mu.Unlock()
			if wait(ctx, controllerPause) != nil {
				return
			}
		}
	}()
	return nil
}

// controllerProblem is what went wrong in the controller's last round, or nil.
func (s *site) controllerProblem() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.problem == nil {
		return nil
	}
	return fmt.Errorf("traffic controller of cluster %s: %w", s.name, s.problem)
}

// ClusterWeight implements [dns.WeightSource].
func (s *site) ClusterWeight(context.Context) (weights.Percent, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return weights.WholePercent(s.weight)
}

// setWeight changes the cluster weight.
func (s *site) setWeight(percent int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.weight = percent
}
