package route53

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/penstock-dev/penstock/internal/prom"
)

// metrics of a Backend. Several Backends with one registerer share them.
type metrics struct {
	calls     *prometheus.CounterVec
	throttles *prometheus.CounterVec
	pending   prometheus.Gauge
	allZero   *prometheus.GaugeVec
}

func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "penstock_route53_api_calls_total",
			Help: "Calls of the Route 53 API, each attempt counted, by operation and outcome: ok, throttled, busy, denied, refused, unavailable, error.",
		}, []string{"operation", "outcome"}),
		throttles: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "penstock_route53_throttles_total", Help: "Calls that Route 53 throttled, by operation.",
		}, []string{"operation"}),
		pending: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "penstock_route53_pending_publications", Help: "Ingresses whose last change of DNS is not known to be in sync.",
		}),
		allZero: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "penstock_route53_all_weights_zero", Help: "1 for each weighted set whose weights are all zero, which Route 53 serves equally.",
		}, []string{"hosted_zone", "name", "type"}),
	}
	return m, errors.Join(prom.Register(registerer, &m.calls), prom.Register(registerer, &m.throttles),
		prom.Register(registerer, &m.pending), prom.Register(registerer, &m.allZero))
}

// called counts one attempt.
func (m *metrics) called(operation string, err error) {
	outcome := "error"
	switch {
	case err == nil:
		outcome = "ok"
	case throttled(err):
		outcome = "throttled"
		m.throttles.WithLabelValues(operation).Inc()
	case busy(err):
		outcome = "busy"
	case denied(err), credentials(err):
		outcome = "denied"
	case refused(err):
		outcome = "refused"
	case !answered(err):
		outcome = "unavailable"
	}
	m.calls.WithLabelValues(operation, outcome).Inc()
}
