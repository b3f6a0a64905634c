package prometheus_test

import (
	"testing"
	"time"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	"github.com/fluxcd/flagger/pkg/metrics/observers"
	"github.com/fluxcd/flagger/pkg/metrics/providers"

	"github.com/penstock-dev/penstock/e2e/internal/prometheus"
	"github.com/penstock-dev/penstock/e2e/internal/traffic"
)

// newServer returns a stub of Prometheus that knows some requests, and Flagger's client of it.
func newServer(t *testing.T, samples ...traffic.Sample) (*prometheus.Server, *observers.Factory) {
	t.Helper()
	server, err := prometheus.New(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	recorder := &traffic.Recorder{}
	for _, s := range samples {
		recorder.Add(s)
	}
	t.Cleanup(server.Register(recorder))
	factory, err := observers.NewFactory(server.URL("east"))
	if err != nil {
		t.Fatal(err)
	}
	return server, factory
}

// sample is a request that ended a while ago.
func sample(route string, ago, took time.Duration, fault bool) traffic.Sample {
	end := time.Now().Add(-ago)
	return traffic.Sample{Start: end.Add(-took), End: end, Cell: traffic.Cell{Cluster: "east", Version: "v1"}, Route: route, Fault: fault}
}

const (
	canaryRoute  = "kube_my_shop__app_canary__app_example_com____app_canary"
	segmentRoute = "kube_my_shop__app_canary__app_example_com____app_canary_2"
	abRoute      = "kube_my_shop__app_canary__1__app_example_com____app_canary" // of app-canary--1, which an A/B test has for its second condition
	primaryRoute = "kube_my_shop__app_canary__app_example_com____app_primary"
)

var model = flaggerv1.MetricTemplateModel{Name: "app", Namespace: "my-shop", Target: "app", Service: "app", Ingress: "app", Interval: "10s"}

// Flagger's own observer for Skipper asks.
func TestFlaggersQueries(t *testing.T) {
	t.Parallel()
	elsewhere := sample(canaryRoute, time.Second, time.Second, true)
	elsewhere.Cell.Cluster = "west"
	server, factory := newServer(t,
		sample(canaryRoute, time.Second, 100*time.Millisecond, false),
		sample(canaryRoute, 2*time.Second, 200*time.Millisecond, true),
		sample(segmentRoute, time.Second, 300*time.Millisecond, false),
		sample(canaryRoute, time.Second, 400*time.Millisecond, false),
		sample(abRoute, time.Second, 500*time.Millisecond, false),
		sample(canaryRoute, time.Minute, time.Second, true),                                                 // long ago
		sample(primaryRoute, time.Second, time.Second, true),                                                // of primary
		sample("kube_my_shop__app__app_example_com____app_canary", time.Second, time.Second, true),          // of another Ingress
		sample("kube_my_shop_2__app_canary__app_example_com____app_canary", time.Second, time.Second, true), // of another namespace
		elsewhere,
	)
	observer := factory.Observer(flaggerv1.SkipperProvider)
	if rate, err := observer.GetRequestSuccessRate(model); err != nil || rate != 80 {
		t.Errorf("success rate %v (%v), want 80 of five requests", rate, err)
	}
	if took, err := observer.GetRequestDuration(model); err != nil || took != 300*time.Millisecond {
		t.Errorf("duration %v (%v), want the mean of 100, 200, 300, 400 and 500 ms", took, err)
	}
	if unknown := server.Unknown(); len(unknown) > 0 {
		t.Errorf("unknown queries %q", unknown)
	}
}

// Where nobody was served Flagger must hear that there is nothing, not that all is well.
func TestNothingMeasured(t *testing.T) {
	t.Parallel()
	_, factory := newServer(t)
	observer := factory.Observer(flaggerv1.SkipperProvider)
	if rate, err := observer.GetRequestSuccessRate(model); err == nil {
		t.Errorf("success rate %v of no request", rate)
	}
	online, err := factory.Client.IsOnline()
	if err != nil || !online {
		t.Errorf("Flagger believes that Prometheus is away: %v", err)
	}
}

// A query of another provider is noted, so that a run of tests fails which asked one.
func TestOtherQueries(t *testing.T) {
	t.Parallel()
	server, factory := newServer(t, sample(canaryRoute, time.Second, time.Second, false))
	if rate, err := factory.Observer(flaggerv1.IstioProvider).GetRequestSuccessRate(model); err == nil {
		t.Errorf("Istio's success rate is %v", rate)
	}
	provider, err := providers.NewPrometheusProvider(flaggerv1.MetricTemplateProvider{Type: "prometheus", Address: server.URL("east")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if value, err := provider.RunQuery("up"); err == nil {
		t.Errorf("up is %v", value)
	}
	if unknown := server.Unknown(); len(unknown) != 2 {
		t.Errorf("unknown queries %q, want two", unknown)
	}
}
