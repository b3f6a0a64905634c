package router

import (
	"time"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/penstock-dev/penstock/internal/prom"
	"github.com/penstock-dev/penstock/internal/state"
)

// Ends of a drain, and its start.
const (
	drainStarted   = "started"
	drainEffective = "effective"
	drainReleased  = "released" // by an operator's annotation
)

// metrics are what a router tells Prometheus. A nil registerer leaves them unseen.
type metrics struct {
	weights  *prometheus.GaugeVec
	pending  *prometheus.GaugeVec
	drains   *prometheus.CounterVec
	waits    *prometheus.HistogramVec
	writes   *prometheus.CounterVec
	warnings *prometheus.CounterVec
}

// newMetrics registers the metrics of a router, or finds those that another router has registered.
func newMetrics(registerer prometheus.Registerer, log *zap.SugaredLogger) *metrics {
	const prefix = "penstock_router_"
	byCanary := func(more ...string) []string { return append([]string{"namespace", "canary"}, more...) }
	return &metrics{
		weights: register(registerer, log, prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: prefix + "route_weight", Help: "Route weight in per cent: the target is what Flagger asked for last, the reported one what it was told.",
		}, byCanary("side", "version"))),
		pending: register(registerer, log, prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: prefix + "pending_seconds", Help: "Seconds since a change of DNS was begun that is not effective yet, and what it is for.",
		}, byCanary("why"))),
		drains: register(registerer, log, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: prefix + "drains_total", Help: "Drains of a canary in DNS: started, effective, or released by an operator.",
		}, byCanary("outcome"))),
		waits: register(registerer, log, prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: prefix + "wait_seconds", Help: "Seconds that calls of a router waited for DNS.",
			Buckets: []float64{1, 5, 15, 30, 60, 90, 120, 180, 240, 300, 400, 600},
		}, []string{"why", "outcome"})),
		writes: register(registerer, log, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: prefix + "api_writes_total", Help: "Writes to the Kubernetes API.",
		}, []string{"object", "outcome"})),
		warnings: register(registerer, log, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: prefix + "warnings_total", Help: "Warnings, also those whose event was not repeated.",
		}, byCanary("reason"))),
	}
}

// register returns a collector that counts: this one, or the one that was registered under its name before. A name that is taken by
// something else is logged, and the collector goes unseen.
func register[C prometheus.Collector](registerer prometheus.Registerer, log *zap.SugaredLogger, c C) C {
	if err := prom.Register(registerer, &c); err != nil {
		log.Warnw("metric not exported", "error", err)
	}
	return c
}

func (m *metrics) target(canary *flaggerv1.Canary, r routes) {
	m.weight(canary, "target", state.Weights{Primary: r.primary, Canary: r.canary})
}

func (m *metrics) reported(canary *flaggerv1.Canary, w state.Weights) {
	m.weight(canary, "reported", w)
}

func (m *metrics) weight(canary *flaggerv1.Canary, side string, w state.Weights) {
	m.weights.WithLabelValues(canary.Namespace, canary.Name, side, "primary").Set(float64(w.Primary))
	m.weights.WithLabelValues(canary.Namespace, canary.Name, side, "canary").Set(float64(w.Canary))
}

// observe notes for how long a wish has been on its way.
func (m *metrics) observe(canary *flaggerv1.Canary, w wish, now time.Time) {
	m.pending.DeletePartialMatch(prometheus.Labels{"namespace": canary.Namespace, "canary": canary.Name})
	if why := w.waitingFor(); why != "" {
		m.pending.WithLabelValues(canary.Namespace, canary.Name, why).Set(max(now.Sub(w.desired.Since).Seconds(), 0))
	}
}

// waitingFor names what a wish waits for; nothing is empty.
func (w wish) waitingFor() string {
	if w.desired.Mode == state.Shared {
		if w.desired.Generation > 1 && !w.observed.Done(w.desired) {
			return "exposure"
		}
		return ""
	}
	switch s := w.situation(); s {
	case attaching, moving, draining, detaching:
		return s.String()
	default:
		return ""
	}
}

func (m *metrics) drain(canary *flaggerv1.Canary, outcome string) {
	m.drains.WithLabelValues(canary.Namespace, canary.Name, outcome).Inc()
}

func (m *metrics) waited(why, outcome string, d time.Duration) {
	m.waits.WithLabelValues(why, outcome).Observe(d.Seconds())
}

func (m *metrics) wrote(object string, err error) {
	outcome := "ok"
	switch {
	case apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err):
		outcome = "conflict"
	case err != nil:
		outcome = "error"
	}
	m.writes.WithLabelValues(object, outcome).Inc()
}

func (m *metrics) warned(canary *flaggerv1.Canary, reason Reason) {
	m.warnings.WithLabelValues(canary.Namespace, canary.Name, string(reason)).Inc()
}

// forget drops what was said about a Canary that is gone.
func (m *metrics) forget(canary *flaggerv1.Canary) {
	labels := prometheus.Labels{"namespace": canary.Namespace, "canary": canary.Name}
	m.weights.DeletePartialMatch(labels)
	m.pending.DeletePartialMatch(labels)
	m.drains.DeletePartialMatch(labels)
	m.warnings.DeletePartialMatch(labels)
}
