package traffic

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	sdkroute53 "github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/go-logr/zapr"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	crmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/penstock-dev/penstock/controllers/ramp"
	"github.com/penstock-dev/penstock/controllers/store"
	"github.com/penstock-dev/penstock/dns"
	"github.com/penstock-dev/penstock/dns/externaldns"
	"github.com/penstock-dev/penstock/dns/route53"
	"github.com/penstock-dev/penstock/internal/awsenv"
	"github.com/penstock-dev/penstock/internal/state"
)

// namespaceFile names the namespace of a Pod.
// https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/
const namespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

// Run is `penstock controller`: it works until ctx ends, or until it cannot.
func Run(ctx context.Context, config *rest.Config, opts Options, log *zap.SugaredLogger) error {
	if err := opts.Complete(); err != nil {
		return err
	}
	config = rest.CopyConfig(config)
	config.QPS, config.Burst = float32(opts.KubeAPIQPS), opts.KubeAPIBurst
	if opts.LeaderElection {
		opts.lease = &lease{clock: opts.clock}
		config.Wrap(opts.lease.kubernetes)
	}
	pod := types.NamespacedName{Namespace: podNamespace(), Name: os.Getenv("POD_NAME")}
	if err := reach(ctx, config); err != nil {
		return err
	}
	filling := &filling{}
	m, err := newManager(config, opts, filling, log)
	if err != nil {
		return err
	}
	kube, err := kubernetes.NewForConfigAndClient(config, m.GetHTTPClient())
	if err != nil {
		return fmt.Errorf("kubernetes client: %w", err)
	}
	if opts.Backend == BackendRoute53 {
		if opts.origin, err = originOf(ctx, kube); err != nil {
			return err
		}
	}
	c, err := newController(ctx, m, kube, opts, filling, pod, log)
	if err != nil {
		return err
	}
	if err := errors.Join(m.Add(c), m.AddMetricsServerExtraHandler(StatusPath, http.HandlerFunc(c.handleStatus))); err != nil {
		return fmt.Errorf("manager: %w", err)
	}
	if err := errors.Join(m.AddHealthzCheck("ping", healthz.Ping), m.AddReadyzCheck("ping", healthz.Ping)); err != nil {
		return fmt.Errorf("manager: %w", err)
	}
	log.Infow("starting", "version", Version(), "cluster", opts.ClusterName, "store", opts.Store, "dns_backend", opts.Backend)
	if err := m.Start(ctx); err != nil {
		return fmt.Errorf("manager: %w", err)
	}
	return nil
}

// reach returns an error if the API server does not answer. What the manager asks it while it is made has no deadline: it would wait in silence.
func reach(ctx context.Context, config *rest.Config) error {
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("kubernetes client: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	if _, err := kube.Discovery().RESTClient().Get().AbsPath("/version").DoRaw(ctx); err != nil {
		return fmt.Errorf("ask the API server at %s for its version: %w", config.Host, err)
	}
	return nil
}

func podNamespace() string {
	if namespace := os.Getenv("POD_NAMESPACE"); namespace != "" {
		return namespace
	}
	if text, err := os.ReadFile(namespaceFile); err == nil {
		return strings.TrimSpace(string(text))
	}
	return "default"
}

// shutdownTimeout is how long a controller that is told to end may take for what it has begun.
const shutdownTimeout = 20 * time.Second

func newManager(config *rest.Config, opts Options, filling *filling, log *zap.SugaredLogger) (manager.Manager, error) {
	caches, err := cacheOptions(filling)
	if err != nil {
		return nil, err
	}
	timeout, duration := shutdownTimeout, leaseDuration
	m, err := manager.New(config, manager.Options{
		Scheme:                        clientgoscheme.Scheme,
		Logger:                        zapr.NewLogger(log.Desugar().WithOptions(zap.WrapCore(newManagerCore))),
		Cache:                         caches,
		Metrics:                       metricsserver.Options{BindAddress: opts.MetricsAddr},
		HealthProbeBindAddress:        opts.HealthAddr,
		LeaderElection:                opts.LeaderElection,
		LeaderElectionID:              LeaseID,
		LeaderElectionNamespace:       leaseNamespace(opts),
		LeaderElectionReleaseOnCancel: true, // the process ends with Run
		LeaseDuration:                 &duration,
		GracefulShutdownTimeout:       &timeout,
	})
	if err != nil {
		return nil, fmt.Errorf("manager: %w", err)
	}
	return m, nil
}

// cacheOptions are those of the manager's caches, which hold what the controller looks at and no more.
func cacheOptions(filling *filling) (cache.Options, error) {
	canaries, err := labels.NewRequirement(state.Label, selection.Exists, nil)
	if err != nil {
		return cache.Options{}, fmt.Errorf("label %s: %w", state.Label, err)
	}
	return cache.Options{
		ReaderFailOnMissingInformer: true,
		DefaultTransform:            keep,
		DefaultWatchErrorHandler:    filling.watchFailed,
		ByObject:                    map[client.Object]cache.ByObject{&corev1.ConfigMap{}: {Label: labels.NewSelector().Add(*canaries)}},
	}, nil
}

func leaseNamespace(opts Options) string {
	if opts.LeaderElectionNamespace != "" {
		return opts.LeaderElectionNamespace
	}
	return podNamespace()
}

// newController makes the controller on a manager's caches.
func newController(
	ctx context.Context, m manager.Manager, kube kubernetes.Interface, opts Options, filling *filling, pod types.NamespacedName, log *zap.SugaredLogger,
) (*leader, error) {
	metrics, err := newMetrics(crmetrics.Registry)
	if err != nil {
		return nil, err
	}
	weights, err := newStore(kube, opts, pod.Namespace)
	if err != nil {
		return nil, err
	}
	queue, backoff := newQueue()
	c := &Controller{
		opts: opts, store: weights, weight: &weight{}, served: newServed(), metrics: metrics, log: log, filling: filling,
		source:  &source{caches: m.GetCache(), filter: opts.filter, sole: opts.SolePublisher, answer: dns.NewKubeSource(kube, opts.clock).Answer},
		queue:   queue,
		backoff: backoff,
		events:  newAnnouncer(m.GetEventRecorder("penstock"), pod),
		changed: make(chan struct{}, 1),
	}
	if c.gates, err = newGates(ctx, c); err != nil {
		return nil, err
	}
	backend, err := newBackend(m, opts, log)
	if err != nil {
		return nil, err
	}
	if c.publisher, err = newPublisher(c, backend, crmetrics.Registry); err != nil {
		return nil, err
	}
	var remembers bool
	if c.owner, remembers = backend.(owner); !remembers {
		c.owner = endpointOwner{m.GetCache()}
	}
	if err := index(ctx, m.GetFieldIndexer()); err != nil {
		return nil, err
	}
	return &leader{c, m.GetCache()}, nil
}

// newPublisher returns what writes the controller's weight to a backend.
func newPublisher(c *Controller, backend dns.Backend, registerer prometheus.Registerer) (*dns.Publisher, error) {
	publisher, err := dns.NewPublisher(c.opts.ClusterName, c.source, backend, c.weight, c.log, dns.PublisherOptions{
		AnnotationPrefix: c.opts.AnnotationPrefix, HealthCheck: c.weight.healthCheck, HostTTL: c.opts.HostTTL, InnerTTL: c.opts.InnerTTL,
		Ready: c.ready, Prove: c.weight.wanted, CallTimeout: publishTimeout, Clock: c.opts.clock, Registerer: registerer,
	})
	if err != nil {
		return nil, fmt.Errorf("cluster publisher: %w", err)
	}
	return publisher, nil
}

// publishTimeout bounds one call of the publisher, for a whole batch.
const publishTimeout = 3 * time.Minute

// leader is what the manager runs on the one that leads.
type leader struct {
	*Controller

	caches cache.Cache
}

// Start implements manager.Runnable.
func (l *leader) Start(leading context.Context) error {
	ctx, end := context.WithCancel(leading)
	defer end()
	giveUp := time.AfterFunc(fillTimeout, end)
	l.filling.begin(func(why string) { l.events.controller("CachesNotFilled", why) })
	err := l.watch(ctx, asked{l.caches, l.filling})
	l.filling.end()
	inTime := giveUp.Stop()
	switch {
	case leading.Err() != nil: // it is told to end
		err = nil
	case !inTime:
		err = l.filling.notFilled()
	case err == nil:
		return l.lead(ctx)
	}
	l.queue.ShutDown()
	return err
}

func index(ctx context.Context, indexer client.FieldIndexer) error {
	for _, i := range []struct {
		object client.Object
		field  string
		values client.IndexerFunc
	}{
		{&networkingv1.Ingress{}, byHost, hostsOf},
		{&networkingv1.Ingress{}, byService, servicesOf},
		{&discoveryv1.EndpointSlice{}, byService, serviceOfSlice},
	} {
		if err := indexer.IndexField(ctx, i.object, i.field, i.values); err != nil {
			return fmt.Errorf("index %s: %w", i.field, err)
		}
	}
	return nil
}

func newStore(kube kubernetes.Interface, opts Options, namespace string) (store.Store, error) {
	switch opts.Store {
	case StoreDynamoDB:
		return store.NewDynamoDB(store.NewEnvironmentClient(opts.AWSRegion), opts.TableName, opts.ClusterName, store.Options{})
	case StoreConfigMap:
		if opts.Namespace != "" {
			namespace = opts.Namespace
		}
		return store.NewConfigMap(kube, types.NamespacedName{Namespace: namespace, Name: opts.ConfigMap}, opts.ClusterName, store.Options{})
	default:
		return store.NewStatic(opts.ClusterName, opts.InitialWeight)
	}
}

func newGates(ctx context.Context, c *Controller) (ramp.Gates, error) {
	var gates ramp.Gates
	if query, err := c.opts.query(); err != nil {
		return nil, fmt.Errorf("flag ramp-query: %w", err)
	} else if query != nil {
		gates = append(gates, query)
	}
	if c.opts.RampHealthCheck {
		// Route 53 is global, and signed for in this region.
		config, err := awsenv.Load(ctx, awsconfig.WithRegion("us-east-1"))
		if err != nil {
			return nil, fmt.Errorf("flag ramp-health-check: %w", err)
		}
		gates = append(gates, ramp.NewHealthCheck(sdkroute53.NewFromConfig(config), c.weight.healthCheck))
	}
	if c.opts.RampReady > 0 {
		ready, err := ramp.NewReady(c.readyHosts, c.opts.RampReady)
		if err != nil {
			return nil, fmt.Errorf("flag ramp-ready: %w", err)
		}
		gates = append(gates, ready)
	}
	return gates, nil
}

func newBackend(m manager.Manager, opts Options, log *zap.SugaredLogger) (dns.Backend, error) {
	if opts.Backend == BackendRoute53 {
		o := opts.route53()
		o.Registerer = crmetrics.Registry
		api := route53.NewEnvironmentClient()
		if opts.lease != nil {
			api = whileLeading{api, opts.lease}
		}
		return route53.New(api, log, o), nil
	}
	client, err := dynamic.NewForConfigAndClient(m.GetConfig(), m.GetHTTPClient())
	if err != nil {
		return nil, fmt.Errorf("client of DNSEndpoints: %w", err)
	}
	read := func(ctx context.Context, name types.NamespacedName) (*unstructured.Unstructured, error) {
		object := newDNSEndpoint()
		if err := m.GetCache().Get(ctx, name, object); err != nil {
			return nil, err //nolint:wrapcheck // the backend says what was asked for
		}
		if err := unpack(object); err != nil {
			return nil, err
		}
		return object, nil
	}
	return externaldns.New(client, log, externaldns.Options{
		Resolvers: opts.Resolvers, AssumeSyncAfter: opts.AssumeSyncAfter, Read: read, Adopt: true, Registerer: crmetrics.Registry,
	}), nil
}
