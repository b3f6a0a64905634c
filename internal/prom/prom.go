// Package prom registers Prometheus collectors for code that may be built several times with one registerer.
package prom

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// Register registers a collector, or replaces it by the equal one that is registered already. A nil registerer gets nothing.
func Register[C prometheus.Collector](registerer prometheus.Registerer, collector *C) error {
	if registerer == nil {
		return nil
	}
	err := registerer.Register(*collector)
	if already, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		if existing, ok := already.ExistingCollector.(C); ok {
			*collector = existing
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("register metric: %w", err)
	}
	return nil
}
