package router

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"

	"github.com/penstock-dev/penstock/dns"
	"github.com/penstock-dev/penstock/dns/externaldns"
	"github.com/penstock-dev/penstock/dns/route53"
)

// The providers of a Canary that a Factory knows.
const (
	SkipperProvider     = flaggerv1.SkipperProvider
	DNSWeightedProvider = "dns-weighted"
)

// factories are those that For made: Flagger builds its routers on every tick, and clients, request buckets, caches and locks must live longer.
var factories = struct {
	sync.Mutex

	made map[factoryKey]*Factory
}{made: map[factoryKey]*Factory{}}

type factoryKey struct {
	config       *rest.Config
	kube         kubernetes.Interface
	setOwnerRefs bool
}

// Factory picks a router by the name of its provider. Use [For]. It may be used by several goroutines.
//
// The provider of a Canary may change at any time between its two. Skipper goes on with the requests that it splits; where DNS splits, or an exposure is in
// use, provider skipper goes on with that until the canary is over. For this it reads the ConfigMap of a Canary once for each generation of its spec, and on
// each call only while there is something to be ended.
type Factory struct {
	skipper, dnsWeighted Interface
}

// For returns the Factory of a Flagger fork, the same one for the same arguments (log is that of the first call). It reads the environment
// variables that [Variables] lists, once, starts no goroutine, and makes no call before a router is used. What is wrong with the
// configuration is the error of every call of the routers that it concerns, so that Flagger shows it on each Canary.
//
// config and kube are those of the cluster in which Flagger runs; setOwnerRefs is the field of that name in Flagger's own factory, true
// unless its flag -kubeconfig-service-mesh names another cluster. The metrics go to Prometheus' default registerer, which Flagger serves.
func For(config *rest.Config, kube kubernetes.Interface, log *zap.SugaredLogger, setOwnerRefs bool) *Factory {
	factories.Lock()
	defer factories.Unlock()
	key := factoryKey{config, kube, setOwnerRefs}
	if f, ok := factories.made[key]; ok {
		return f
	}
	f := newFactory(config, kube, log, setOwnerRefs, os.Getenv, prometheus.DefaultRegisterer)
	factories.made[key] = f
	return f
}

// MeshRouter returns the router of a provider; false when it is none of Penstock's. labelSelector is part of the signature that Flagger's own
// factory has; these routers select no Pods.
func (f *Factory) MeshRouter(provider, _ string) (Interface, bool) {
	switch provider {
	case SkipperProvider:
		return f.skipper, true
	case DNSWeightedProvider:
		return f.dnsWeighted, true
	}
	return nil, false
}

func newFactory(config *rest.Config, kube kubernetes.Interface, log *zap.SugaredLogger, setOwnerRefs bool,
	lookup func(name string) string, registerer prometheus.Registerer,
) *Factory {
	if log == nil {
		log = zap.NewNop().Sugar()
	}
	c := readConfig(lookup)
	c.skipper.SetOwnerRefs = setOwnerRefs
	ctx := context.Background() // Flagger ends by ending its process
	before, err := c.newDNSWeighted(ctx, config, kube, log, setOwnerRefs, registerer)
	f := &Factory{skipper: misconfigured{c.skipperErr}, dnsWeighted: before}
	if err != nil {
		f.dnsWeighted, before = misconfigured{err}, NewDNSWeighted(ctx, kube, nil, log, DNSWeightedOptions{Skipper: c.skipper})
	}
	if c.skipperErr == nil {
		opts := c.skipper
		told := newEvents(ctx, kube, log, clock.RealClock{}, defaultCallTimeout, newMetrics(nil, log))
		opts.Warn = func(canary *flaggerv1.Canary, reason, message string) { told.warn(canary, Reason(reason), message) }
		f.skipper = newTakeover(NewSkipper(ctx, kube, log, opts), before, err)
	}
	return f
}

func (c config) newDNSWeighted(ctx context.Context, config *rest.Config, kube kubernetes.Interface, log *zap.SugaredLogger, setOwnerRefs bool,
	registerer prometheus.Registerer,
) (*DNSWeighted, error) {
	if c.dnsErr != nil {
		return nil, c.dnsErr
	}
	opts := DNSWeightedOptions{Skipper: c.skipper, SetOwnerRefs: setOwnerRefs, Registerer: registerer}
	if c.publisher == publisherController {
		return NewDNSWeighted(ctx, kube, nil, log, opts), nil
	}
	publisher, err := c.newPublisher(config, kube, log, registerer)
	if err != nil {
		return nil, err
	}
	return NewDNSWeighted(ctx, kube, publisher, log, opts), nil
}

func (c config) newPublisher(config *rest.Config, kube kubernetes.Interface, log *zap.SugaredLogger, registerer prometheus.Registerer) (*dns.Publisher, error) {
	backend, err := c.newBackend(config, log, registerer)
	if err != nil {
		return nil, err
	}
	opts := c.dns
	opts.Registerer = registerer
	publisher, err := dns.NewPublisher(c.cluster, dns.NewKubeSource(kube, clock.RealClock{}), backend, dns.StaticWeight(c.weight), log, opts)
	if err != nil {
		return nil, fmt.Errorf("cluster publisher: %w", err)
	}
	return publisher, nil
}

func (c config) newBackend(config *rest.Config, log *zap.SugaredLogger, registerer prometheus.Registerer) (dns.Backend, error) {
	if c.backend == backendRoute53 {
		opts := c.route53
		opts.Registerer = registerer
		return route53.New(route53.NewEnvironmentClient(), log, opts), nil
	}
	if config == nil {
		return nil, errors.New("the DNS backend externaldns needs the configuration of a Kubernetes client, and For was called without one")
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("client of DNSEndpoints: %w", err)
	}
	return externaldns.New(client, log, externaldns.Options{Resolvers: c.resolvers, AssumeSyncAfter: c.assumeAfter, Registerer: registerer}), nil
}

// misconfigured is a router that cannot work.
type misconfigured struct{ err error }

// Reconcile returns what is wrong.
func (m misconfigured) Reconcile(*flaggerv1.Canary) error { return m.err }

// SetRoutes returns what is wrong.
func (m misconfigured) SetRoutes(*flaggerv1.Canary, int, int, bool) error { return m.err }

// GetRoutes returns what is wrong.
func (m misconfigured) GetRoutes(*flaggerv1.Canary) (primaryWeight, canaryWeight int, mirrored bool, err error) {
	return 0, 0, false, m.err
}

// Finalize returns what is wrong.
func (m misconfigured) Finalize(*flaggerv1.Canary) error { return m.err }
