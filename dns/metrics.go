package dns

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/penstock-dev/penstock/internal/prom"
)

// metrics are what a Publisher tells Prometheus. A nil registerer leaves them unseen.
type metrics struct {
	weight  *prometheus.GaugeVec
	pending *prometheus.GaugeVec
	refused *prometheus.GaugeVec
}

func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		weight: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "penstock_dns_record_weight", Help: "Published record weight of this cluster for a host.",
		}, []string{"namespace", "ingress", "host"}),
		pending: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "penstock_dns_effective_in_seconds", Help: "Seconds until no resolver can hold an answer from before the last change; -1 while it is not in sync.",
		}, []string{"namespace", "ingress"}),
		refused: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "penstock_dns_hosts_refused", Help: "Hosts of an Ingress that are not published as they should be; the log says why.",
		}, []string{"namespace", "ingress"}),
	}
	if err := errors.Join(prom.Register(registerer, &m.weight), prom.Register(registerer, &m.pending), prom.Register(registerer, &m.refused)); err != nil {
		return nil, err
	}
	return m, nil
}

func (m *metrics) observe(r Result, mem memory, now time.Time) {
	refused := 0
	for _, h := range r.Hosts {
		if h.Err != nil {
			refused++
		}
		m.weight.WithLabelValues(r.Ingress.Namespace, r.Ingress.Name, h.Host).Set(float64(h.Weight))
	}
	if r.Status.Err != nil {
		refused = len(r.Hosts)
	}
	m.refused.WithLabelValues(r.Ingress.Namespace, r.Ingress.Name).Set(float64(refused))
	left := -1.0
	if at := mem.effectiveAt(); !at.IsZero() {
		left = max(at.Sub(now).Seconds(), 0)
	}
	m.pending.WithLabelValues(r.Ingress.Namespace, r.Ingress.Name).Set(left)
}
