package world

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/zalando/skipper/dataclients/kubernetes"
	"github.com/zalando/skipper/eskip"
	"github.com/zalando/skipper/filters"
	"github.com/zalando/skipper/filters/builtin"
	"github.com/zalando/skipper/loadbalancer"
	"github.com/zalando/skipper/predicates/cookie"
	"github.com/zalando/skipper/predicates/host"
	"github.com/zalando/skipper/predicates/methods"
	"github.com/zalando/skipper/predicates/primitive"
	"github.com/zalando/skipper/predicates/query"
	"github.com/zalando/skipper/predicates/tee"
	"github.com/zalando/skipper/predicates/traffic"
	"github.com/zalando/skipper/proxy"
	"github.com/zalando/skipper/routing"
)

// DefaultPoll is how often Skipper reads the API when nothing else is said:
// https://github.com/zalando/skipper/blob/v0.27.0/config/config.go (source-poll-timeout).
const DefaultPoll = 3 * time.Second

// Algorithm is how Skipper splits traffic between the backends of a path.
type Algorithm = kubernetes.BackendTrafficAlgorithm

// The algorithms of Skipper: Traffic is its default, TrafficSegment what its makers run.
const (
	Traffic        = kubernetes.TrafficPredicateAlgorithm
	TrafficSegment = kubernetes.TrafficSegmentPredicateAlgorithm
)

// Algorithms are all of them, for tests that hold under each.
var Algorithms = []Algorithm{Traffic, TrafficSegment}

// QuietSkipper sends Skipper's log, which is one per process, to out; nil discards it. Call it once, before the first cluster.
func QuietSkipper(out io.Writer) {
	if out == nil {
		out = io.Discard
	}
	logrus.SetOutput(out)
}

// Skipper is the proxy of a cluster with what it is made of, as the skipper binary puts it together, less what needs flags:
// https://github.com/zalando/skipper/blob/v0.27.0/skipper.go
type Skipper struct {
	client  *kubernetes.Client
	routing *routing.Routing
	proxy   *proxy.Proxy
}

// NewSkipper starts a Skipper that reads a Kubernetes API by plain HTTP, and returns once it has its first routes. It serves the Ingresses
// of a class, "skipper" if that is empty. The caller must Close it.
func NewSkipper(ctx context.Context, apiURL, class string, o Options) (*Skipper, error) {
	if o.Poll == 0 {
		o.Poll = DefaultPoll
	}
	if class != "" {
		class = "^" + regexp.QuoteMeta(class) + "$"
	}
	client, err := kubernetes.New(kubernetes.Options{
		KubernetesURL:                  apiURL,
		KubernetesEnableEndpointslices: true,
		BackendTrafficAlgorithm:        o.Algorithm,
		IngressClass:                   class,
		KubernetesNamespace:            o.Namespace,
	})
	if err != nil {
		return nil, fmt.Errorf("skipper's kubernetes client: %w", err)
	}
	var tellRoutes []routing.PreProcessor
	if o.Routes {
		tellRoutes = append(tellRoutes, routeTeller{})
	}
	registry := routing.NewEndpointRegistry(routing.RegistryOptions{})
	routes := routing.New(routing.Options{
		FilterRegistry: builtin.MakeRegistry(),
		PollTimeout:    o.Poll,
		DataClients:    []routing.DataClient{client},
		Predicates: []routing.PredicateSpec{
			traffic.New(), traffic.NewSegment(), primitive.NewTrue(), primitive.NewFalse(),
			cookie.New(), query.New(), methods.New(), host.NewAny(), tee.New(),
		},
		PreProcessors:   tellRoutes,
		PostProcessors:  []routing.PostProcessor{loadbalancer.NewAlgorithmProvider(), registry},
		SignalFirstLoad: true,
		SuppressLogs:    true,
	})
	s := &Skipper{
		client:  client,
		routing: routes,
		proxy: proxy.WithParams(proxy.Params{
			Routing:                    routes,
			EndpointRegistry:           registry,
			AccessLogDisabled:          true,
			CustomHttpRoundTripperWrap: o.Transport,
		}),
	}
	select {
	case <-routes.FirstLoad():
		return s, nil
	case <-ctx.Done():
		s.Close()
		return nil, fmt.Errorf("skipper's first load of routes: %w", ctx.Err())
	}
}

// routeTeller adds a filter to each route, which tells its id.
type routeTeller struct{}

// Do implements [routing.PreProcessor].
func (routeTeller) Do(routes []*eskip.Route) []*eskip.Route {
	out := make([]*eskip.Route, 0, len(routes))
	for _, r := range routes {
		told := *r // the routes are kept, and come again
		told.Filters = append(slices.Clone(r.Filters), &eskip.Filter{Name: filters.SetResponseHeaderName, Args: []any{RouteHeader, r.Id}})
		out = append(out, &told)
	}
	return out
}

// ServeHTTP proxies a request.
func (s *Skipper) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.proxy.ServeHTTP(w, r) }

// Close ends it.
func (s *Skipper) Close() {
	_ = s.proxy.Close() // always nil; closes the endpoint registry too
	s.routing.Close()
	s.client.Close()
	// The data client reads the API through the default client, which would keep its connections.
	http.DefaultClient.CloseIdleConnections()
}
