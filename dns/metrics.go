package dns

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"

	"github.com/penstock-dev/penstock/internal/prom"
)

// metrics are what a Publisher tells Prometheus. A nil registerer leaves them unseen.
type metrics struct {
	weight  *prometheus.GaugeVec
	pending *prometheus.GaugeVec
	refused *prometheus.GaugeVec

	mu    sync.Mutex                        // guards the following
	hosts map[types.NamespacedName][]string // that have a weight
}

func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		hosts: map[types.NamespacedName][]string{},
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
	m.keep(r.Ingress, r.Hosts)
	for _, h := range r.Hosts {
		if h.Err != nil || h.Kept {
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

// keep removes the weights of hosts that an Ingress had and has no more. What stays is not touched, so that it is there at any time.
func (m *metrics) keep(ingress types.NamespacedName, now []HostResult) {
	m.mu.Lock()
	defer m.mu.Unlock()
	hosts := make([]string, 0, len(now))
	for _, h := range now {
		hosts = append(hosts, h.Host)
	}
	for _, host := range m.hosts[ingress] {
		if !slices.Contains(hosts, host) {
			m.weight.DeleteLabelValues(ingress.Namespace, ingress.Name, host)
		}
	}
	if m.hosts[ingress] = hosts; len(hosts) == 0 {
		delete(m.hosts, ingress)
	}
}

// forget removes all that is told of an Ingress.
func (m *metrics) forget(ingress types.NamespacedName) {
	m.keep(ingress, nil)
	m.pending.DeleteLabelValues(ingress.Namespace, ingress.Name)
	m.refused.DeleteLabelValues(ingress.Namespace, ingress.Name)
}
