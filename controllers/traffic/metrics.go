package traffic

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/penstock-dev/penstock/controllers/ramp"
	"github.com/penstock-dev/penstock/controllers/store"
)

// metrics are what the controller tells Prometheus, beside what the publisher and its backend do.
type metrics struct {
	desired, current         prometheus.Gauge
	pending, refused         prometheus.Gauge
	rampWeight, rampFailures prometheus.Gauge
	phase                    *prometheus.GaugeVec
	reads, gates             *prometheus.CounterVec
	rollbacks                prometheus.Counter
	kept                     prometheus.Gauge

	known atomic.Bool // a row was seen, as only the one that leads does
}

// ofLeader shows nothing before a row was seen: 0 would be taken for a cluster without traffic.
type ofLeader struct {
	prometheus.Collector

	known *atomic.Bool
}

// Collect implements prometheus.Collector.
func (o ofLeader) Collect(metrics chan<- prometheus.Metric) {
	if o.known.Load() {
		o.Collector.Collect(metrics)
	}
}

// phases are the values of the label of penstock_traffic_ramp_phase.
var phases = []store.Phase{store.Moving, store.Holding, store.Arrived, store.RolledBack}

func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	m := &metrics{
		desired:      gauge("cluster_traffic_controller_ingress_weight_desired", "Weight that the store wants the cluster to have, in per cent."),
		current:      gauge("cluster_traffic_controller_ingress_weight_current", "Weight that is served, in per cent; -1 while that is not known, in a row that has none yet."),
		pending:      gauge("penstock_traffic_pending_ingresses", "Ingresses that are not known to be served with the cluster's weight."),
		refused:      gauge("penstock_traffic_refused_hosts", "Hosts that are not published as they should be, or cannot be withdrawn; events say why."),
		rampWeight:   gauge("penstock_traffic_ramp_weight", "Weight that a gradual move has published, or is about to, in per cent."),
		rampFailures: gauge("penstock_traffic_ramp_failures", "Refusals of gates in a row."),
		phase: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "penstock_traffic_ramp_phase", Help: "1 for the phase that a gradual move is in.",
		}, []string{"phase"}),
		reads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "penstock_traffic_store_rounds_total", Help: "Rounds of reading and acknowledging the weight, by outcome: ok, missing, invalid, conflict, error.",
		}, []string{"outcome"}),
		gates: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "penstock_traffic_gate_checks_total", Help: "Askings of gates, by outcome: agreed, refused, unknown.",
		}, []string{"outcome"}),
		rollbacks: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "penstock_traffic_ramp_rollbacks_total", Help: "Gradual moves that went back to where they came from.",
		}),
		kept: gauge("penstock_traffic_kept_ingresses", "Ingresses that the flags leave out and whose records stay; the log names them."),
	}
	if registerer == nil {
		return m, nil
	}
	var errs []error
	for _, c := range []prometheus.Collector{m.desired, m.current, m.pending, m.refused, m.kept, m.rampWeight, m.rampFailures, m.phase} {
		errs = append(errs, registerer.Register(ofLeader{c, &m.known}))
	}
	for _, c := range []prometheus.Collector{m.reads, m.gates, m.rollbacks} {
		errs = append(errs, registerer.Register(c))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	return m, nil
}

// weights shows a row. Without ramps, what its Ramp says is no gradual move.
func (m *metrics) weights(row store.Row, ramps bool) {
	m.desired.Set(float64(row.DesiredWeight))
	m.current.Set(float64(row.CurrentWeight))
	if !ramps {
		row.Ramp = store.Ramp{}
	}
	m.rampWeight.Set(float64(row.Ramp.Weight))
	m.rampFailures.Set(float64(row.Ramp.Failures))
	for _, phase := range phases {
		value := 0.0
		if phase == row.Ramp.Phase {
			value = 1
		}
		m.phase.WithLabelValues(string(phase)).Set(value)
	}
	m.known.Store(true)
}

func (m *metrics) progress(p progress) {
	m.pending.Set(float64(p.pending))
	m.refused.Set(float64(p.refused))
}

func (m *metrics) stored(err error) {
	outcome := "error"
	switch {
	case err == nil:
		outcome = "ok"
	case errors.Is(err, store.ErrNotFound):
		outcome = "missing"
	case errors.Is(err, store.ErrInvalid):
		outcome = "invalid"
	case errors.Is(err, store.ErrConflict):
		outcome = "conflict"
	}
	m.reads.WithLabelValues(outcome).Inc()
}

func (m *metrics) gated(err error) {
	outcome := "unknown"
	switch {
	case err == nil:
		outcome = "agreed"
	case errors.Is(err, ramp.ErrRefused):
		outcome = "refused"
	}
	m.gates.WithLabelValues(outcome).Inc()
}
