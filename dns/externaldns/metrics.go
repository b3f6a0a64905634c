package externaldns

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/penstock-dev/penstock/internal/prom"
)

// metrics of a Backend. Several Backends with one registerer share them.
type metrics struct {
	calls   *prometheus.CounterVec
	checks  *prometheus.CounterVec
	pending prometheus.Gauge
}

func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "penstock_dnsendpoint_calls_total",
			Help: "Calls of the Kubernetes API for DNSEndpoints, by operation and outcome: ok, not_found, conflict, throttled, denied, error.",
		}, []string{"operation", "outcome"}),
		checks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "penstock_dnsendpoint_checks_total",
			Help: "Checks of convergence markers, by outcome: current, stale (another answer), unanswered.",
		}, []string{"outcome"}),
		pending: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "penstock_dnsendpoint_pending_publications", Help: "Ingresses whose last change of DNS is not known to be in sync.",
		}),
	}
	return m, errors.Join(prom.Register(registerer, &m.calls), prom.Register(registerer, &m.checks), prom.Register(registerer, &m.pending))
}

func (m *metrics) called(operation string, err error) {
	outcome := "error"
	switch {
	case err == nil:
		outcome = "ok"
	case apierrors.IsNotFound(err):
		outcome = "not_found"
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err):
		outcome = "conflict"
	case apierrors.IsTooManyRequests(err):
		outcome = "throttled"
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
		outcome = "denied"
	}
	m.calls.WithLabelValues(operation, outcome).Inc()
}

// checked counts one question to a name server.
func (m *metrics) checked(err error) {
	outcome := "current"
	switch {
	case errors.Is(err, errUnanswered):
		outcome = "unanswered"
	case err != nil:
		outcome = "stale"
	}
	m.checks.WithLabelValues(outcome).Inc()
}
