package director

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"sync"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-dev/penstock/examples/demo/internal/measure"
	"github.com/penstock-dev/penstock/examples/world"
	"github.com/penstock-dev/penstock/internal/flaggersim"
	"github.com/penstock-dev/penstock/router"
	"github.com/penstock-dev/penstock/weights"
)

const (
	// Host is what users ask for.
	Host = "app.example.com"

	zone = "example.com" // its hosted zone

	app             = "app"      // the Deployment, its Canary, its apex Service and Ingress
	nextIngress     = "app-next" // the prepared Ingress of split mode
	nextClass       = "next"
	versionBefore   = "v1"
	versionAfter    = "v2"
	faultsOneIn     = 4 // of the failing version
	successRate     = 0.99
	failedChecksMax = 2
)

// addresses are those of the clusters' load balancers in DNS: the one of the apex Ingress, and the one of the prepared Ingress.
// The users' dialer maps them to loopback.
var addresses = map[string][2]netip.Addr{
	"east": {netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("192.0.2.20")},
	"west": {netip.MustParseAddr("198.51.100.10"), netip.MustParseAddr("198.51.100.20")},
}

// site is one cluster of the demo with its canary.
type site struct {
	name    string
	opts    Options
	cluster *world.Cluster
	// primary and next are the workloads; next is scaled to zero while no canary runs.
	primary, next *world.Workload
	// promoted is true once Flagger has copied the new version to the primary.
	promoted bool
	dial     map[netip.Addr]string
	ledger   *measure.Ledger
	router   router.Interface
	flagger  *flaggersim.Driver
	// canaryWeight is that of the step that is effective. The Canary's status has it only of steps that were never on their way.
	canaryWeight int
	seen         counts // of the new version, when Flagger last looked
	stop         func() // ends the controller

	mu      sync.Mutex // guards what follows
	weight  int        // the cluster weight in per cent
	problem error      // of the controller's last round
}

type counts struct{ requests, bad int }

// newSite starts a cluster with its traffic controller, and lets Flagger initialize its Canary. All of it ends with ctx, or with close.
func newSite(ctx context.Context, name string, weight int, opts Options, ledger *measure.Ledger, r *route53) (*site, error) {
	cluster, err := world.NewCluster(ctx, world.Options{Name: name, Poll: Poll})
	if err != nil {
		return nil, fmt.Errorf("cluster %s: %w", name, err)
	}
	s := &site{name: name, opts: opts, cluster: cluster, weight: weight, ledger: ledger, stop: func() {}}
	if err := s.build(ctx, r); err != nil {
		return nil, errors.Join(fmt.Errorf("cluster %s: %w", name, err), s.close())
	}
	return s, nil
}

func (s *site) build(ctx context.Context, r *route53) (err error) {
	if s.primary, err = s.cluster.AddWorkload(ctx, app+"-primary", versionBefore); err != nil {
		return err
	}
	if s.next, err = s.cluster.AddWorkload(ctx, app+"-canary", versionAfter); err != nil {
		return err
	}
	if s.opts.Fail {
		s.next.SetFaults(faultsOneIn)
	}
	// As Flagger leaves it before it asks the router for the first time: the apex Service selects the primary.
	if err := s.cluster.AddService(ctx, app, s.primary); err != nil {
		return err
	}
	s.dial = map[netip.Addr]string{addresses[s.name][0]: s.cluster.Address()}
	if err := s.cluster.CreateIngress(ctx, ingress(app, app, "skipper", addresses[s.name][0])); err != nil {
		return err
	}
	if s.opts.Mode == Split {
		address, err := s.cluster.AddProxy(ctx, nextClass)
		if err != nil {
			return err
		}
		s.dial[addresses[s.name][1]] = address
		if err := s.cluster.CreateIngress(ctx, ingress(nextIngress, app+"-canary", nextClass, addresses[s.name][1])); err != nil {
			return err
		}
	}
	if err := s.startController(ctx, r); err != nil {
		return err
	}
	s.flagger = s.newFlagger(ctx)
	if err := s.flagger.Tick(ctx); err != nil {
		return fmt.Errorf("initialize the canary: %w", err)
	}
	return nil
}

// close ends the cluster and its publisher.
func (s *site) close() error {
	s.stop()
	if err := s.cluster.Close(); err != nil {
		return fmt.Errorf("cluster %s: %w", s.name, err)
	}
	return nil
}

// ingress returns an Ingress of the host whose load balancer has an address.
func ingress(name, service, class string, address netip.Addr) *networkingv1.Ingress {
	i := world.Ingress(name, Host, world.Path("/", service))
	i.Spec.IngressClassName = &class
	i.Status.LoadBalancer.Ingress = []networkingv1.IngressLoadBalancerIngress{{IP: address.String()}}
	if name != app {
		i.Annotations = map[string]string{"external-dns.alpha.kubernetes.io/controller": "penstock"}
	}
	return i
}

// canary returns the Canary of the cluster.
func (s *site) canary() *flaggerv1.Canary {
	c := &flaggerv1.Canary{
		TypeMeta: metav1.TypeMeta{APIVersion: "flagger.app/v1beta1", Kind: flaggerv1.CanaryKind},
		ObjectMeta: metav1.ObjectMeta{
			Name: app, Namespace: world.Namespace, UID: "c0ffee00-0000-4000-8000-000000000001",
			Annotations: map[string]string{},
		},
		Spec: flaggerv1.CanarySpec{
			Provider:         "dns-weighted",
			TargetRef:        flaggerv1.LocalObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: app},
			IngressRef:       &flaggerv1.LocalObjectReference{APIVersion: "networking.k8s.io/v1", Kind: "Ingress", Name: app},
			Service:          flaggerv1.CanaryService{Port: world.ServicePort},
			RevertOnDeletion: s.opts.Mode == Split || s.opts.Exposure < 100,
			Analysis:         &flaggerv1.CanaryAnalysis{Interval: "1m", Threshold: failedChecksMax, StepWeights: s.opts.Steps},
		},
	}
	if s.opts.Mode == Split {
		c.Annotations["penstock.dev/canary-ingress"] = nextIngress
	} else if s.opts.Exposure < 100 {
		c.Annotations["penstock.dev/cluster-exposure"] = strconv.Itoa(s.opts.Exposure)
	}
	return c
}

// state returns what is intended for the cluster when its Canary is in a phase with a canary weight.
func (s *site) state(phase flaggerv1.CanaryPhase, canary int) measure.ClusterState {
	s.mu.Lock()
	weight := s.weight
	s.mu.Unlock()
	state := measure.ClusterState{
		Name: s.name, Phase: string(phase), Primary: 100 - canary, Canary: canary, Weight: weight, Exposure: 100,
	}
	if s.opts.Mode == Shared && phase == flaggerv1.CanaryPhaseProgressing {
		steps := s.opts.Steps
		state.Exposure = weights.Exposure(s.opts.Exposure, canary, steps[0], steps[len(steps)-1])
	}
	// The whole per cent, rounded up: what is not zero never becomes zero.
	state.Record = (weight*state.Exposure + 99) / 100
	return state
}

// versions are what primary and canary are meant to run.
func (s *site) versions() (primary, canary string) {
	if s.promoted {
		return versionAfter, versionAfter
	}
	return versionBefore, versionAfter
}
