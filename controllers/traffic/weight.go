package traffic

import (
	"context"
	"errors"
	"sync"

	"github.com/penstock-dev/penstock/dns"
	"github.com/penstock-dev/penstock/weights"
)

// errUnknown says that no weight is known, so that what is published stays.
var errUnknown = errors.New("the cluster's weight has not been read from its store yet")

// weight is the cluster's weight as it is to be published now. It may be used by several goroutines.
type weight struct {
	mu         sync.Mutex // guards the following
	percent    weights.Percent
	known      bool
	generation int64 // counts how often it changed
	check      string
	unserved   bool // somebody waits for it to be served
}

var _ dns.WeightSource = (*weight)(nil)

// ClusterWeight implements dns.WeightSource.
func (w *weight) ClusterWeight(context.Context) (weights.Percent, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.known {
		return weights.Percent{}, errUnknown
	}
	return w.percent, nil
}

// healthCheck returns the id of the health check that the records get.
func (w *weight) healthCheck() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.check
}

// wanted tells whether somebody waits until the weight is served.
func (w *weight) wanted() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.unserved
}

// now returns the generation; known is false before the first weight.
func (w *weight) now() (generation int64, known bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.generation, w.known
}

// set changes the weight and tells whether anything is to be published, or proved, for that.
func (w *weight) set(percent weights.Percent, check string, unserved bool) (changed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	changed = !w.known || w.percent != percent || w.check != check
	if changed {
		w.generation++
	}
	proof := unserved && !w.unserved
	w.percent, w.check, w.known, w.unserved = percent, check, true, unserved
	return changed || proof
}
