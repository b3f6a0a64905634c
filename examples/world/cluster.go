package world

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

const (
	// Namespace is where everything of a cluster lives.
	Namespace = "shop"
	// ServicePort is the port of every Service.
	ServicePort = 80

	// applyTime is how long Skipper may take to make a routing table of what it read; it takes milliseconds.
	applyTime = 100 * time.Millisecond
)

// Options are the choices about a cluster. The zero value is Skipper as it comes.
type Options struct {
	// Name is what the workloads call the cluster; empty means "cluster".
	Name string
	// Algorithm is how Skipper splits traffic.
	Algorithm Algorithm
	// Poll is how often Skipper reads the API; 0 means [DefaultPoll].
	Poll time.Duration
	// Transport wraps what Skipper sends requests with; nil wraps nothing.
	Transport func(http.RoundTripper) http.RoundTripper
	// Namespace is the only one that Skipper reads; empty means all.
	Namespace string
	// Routes has each answer say in [RouteHeader] by which of Skipper's routes it was served.
	Routes bool
}

// Cluster is a cluster in one process. Its methods may be called from several goroutines, but for those that add to it.
type Cluster struct {
	Name string
	// Kube is the API that Flagger and the routers use.
	Kube *fake.Clientset

	options   Options
	api       *api
	apiURL    string
	servers   []*http.Server // of the API and of the proxies
	skippers  []*Skipper
	address   string // of the first proxy
	workloads []*Workload
	running   sync.WaitGroup
}

// NewCluster starts a cluster. ctx bounds the start only; [Cluster.Close] ends what was started.
func NewCluster(ctx context.Context, o Options) (*Cluster, error) {
	if o.Name == "" {
		o.Name = "cluster"
	}
	if o.Poll == 0 {
		o.Poll = DefaultPoll
	}
	kube := newClientset()
	c := &Cluster{Name: o.Name, Kube: kube, options: o, api: &api{tracker: kube.Tracker()}}
	apiAddress, err := c.serve(ctx, c.api)
	if err != nil {
		return nil, err
	}
	c.apiURL = "http://" + apiAddress
	if c.address, err = c.AddProxy(ctx, ""); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// AddProxy starts another Skipper, a load balancer of its own, that serves the Ingresses of one class, and returns where it listens. The
// first proxy serves the class skipper. Ingresses without a class are served by all.
func (c *Cluster) AddProxy(ctx context.Context, class string) (address string, err error) {
	s, err := NewSkipper(ctx, c.apiURL, class, c.options)
	if err != nil {
		return "", fmt.Errorf("start a proxy of cluster %s: %w", c.Name, err)
	}
	c.skippers = append(c.skippers, s)
	return c.serve(ctx, s)
}

// newClientset returns a clientset that sets what an API server sets on creation: the UID and the time, by which objects are told apart.
func newClientset() *fake.Clientset {
	kube := fake.NewClientset()
	var created atomic.Int64
	kube.PrependReactor("create", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
		object, err := meta.Accessor(action.(clienttesting.CreateAction).GetObject())
		if err != nil {
			return true, nil, fmt.Errorf("create %s: %w", action.GetResource().Resource, err)
		}
		if object.GetUID() == "" {
			object.SetUID(types.UID(fmt.Sprintf("00000000-0000-4000-8000-%012d", created.Add(1))))
		}
		if created := object.GetCreationTimestamp(); created.IsZero() {
			object.SetCreationTimestamp(metav1.Now())
		}
		return false, nil, nil
	})
	return kube
}

// Address is where the cluster's ingress proxy listens, host:port on loopback.
func (c *Cluster) Address() string { return c.address }

// SetAPIDown lets the API answer Skipper with errors, as it does during an upgrade of the control plane. The clientset still works.
func (c *Cluster) SetAPIDown(down bool) { c.api.down.Store(down) }

// Settle returns once Skipper has read the API after the call and routes by what it read.
func (c *Cluster) Settle(ctx context.Context) error {
	// The poll under way may have read before the call, the next one has not; and when a second begins, what the first one read has been
	// handed over.
	until := c.api.polls.Load() + 2*int64(len(c.skippers))
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for c.api.polls.Load() < until {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for skipper's poll in cluster %s: %w", c.Name, ctx.Err())
		}
	}
	applied := time.NewTimer(applyTime)
	defer applied.Stop()
	select {
	case <-applied.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for skipper's routes in cluster %s: %w", c.Name, ctx.Err())
	}
}

// CreateIngress creates an Ingress in the cluster's namespace.
func (c *Cluster) CreateIngress(ctx context.Context, ingress *networkingv1.Ingress) error {
	if _, err := c.Kube.NetworkingV1().Ingresses(Namespace).Create(ctx, ingress, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create ingress %s: %w", ingress.Name, err)
	}
	return nil
}

// Ingress returns an Ingress with one rule.
func Ingress(name, host string, paths ...networkingv1.HTTPIngressPath) *networkingv1.Ingress {
	return &networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: Namespace},
		Spec: networkingv1.IngressSpec{Rules: []networkingv1.IngressRule{{
			Host:             host,
			IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{Paths: paths}},
		}}},
	}
}

// Path returns a path of type Prefix that a Service serves.
func Path(path, service string) networkingv1.HTTPIngressPath {
	prefix := networkingv1.PathTypePrefix
	return networkingv1.HTTPIngressPath{
		Path:     path,
		PathType: &prefix,
		Backend: networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{
			Name: service,
			Port: networkingv1.ServiceBackendPort{Number: ServicePort},
		}},
	}
}

// Close ends all that the cluster started, and waits for it.
func (c *Cluster) Close() error {
	var errs []error
	for _, server := range c.servers {
		errs = append(errs, server.Close())
	}
	for _, w := range c.workloads {
		w.mu.Lock()
		if w.server != nil {
			errs = append(errs, w.server.Close())
		}
		w.mu.Unlock()
	}
	for _, s := range c.skippers {
		s.Close()
	}
	c.running.Wait()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close cluster %s: %w", c.Name, err)
	}
	return nil
}

func (c *Cluster) serve(ctx context.Context, handler http.Handler) (address string, err error) {
	listener, err := listen(ctx)
	if err != nil {
		return "", err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	c.servers = append(c.servers, server)
	c.run(server, listener)
	return listener.Addr().String(), nil
}

func (c *Cluster) run(server *http.Server, listener net.Listener) {
	// Serve ends with ErrServerClosed on Close, and a listener on loopback has no other reason to end.
	c.running.Go(func() { _ = server.Serve(listener) })
}
