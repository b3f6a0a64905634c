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
	percent    int
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
	return weights.WholePercent(w.percent)
}

// whole returns the weight in per cent.
func (w *weight) whole() (percent int, known bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.percent, w.known
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

// isZero tells whether the cluster is to get nothing.
func (w *weight) isZero() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.known && w.percent == 0
}

// now returns the generation; known is false before the first weight.
func (w *weight) now() (generation int64, known bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.generation, w.known
}

// generationIsNot tells whether the weight has changed since a generation.
func (w *weight) generationIsNot(generation int64) bool {
	now, _ := w.now()
	return now != generation
}

// would tells whether set would change anything.
func (w *weight) would(percent int, check string, unserved bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.differs(percent, check, unserved)
}

// set changes the weight.
func (w *weight) set(percent int, check string, unserved bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.differs(percent, check, unserved) {
		w.generation++
	}
	w.percent, w.check, w.known, w.unserved = percent, check, true, unserved
}

// differs tells whether set would change anything: what was taken for served without evidence does not count once somebody asks for that.
func (w *weight) differs(percent int, check string, unserved bool) bool {
	return !w.known || w.percent != percent || w.check != check || unserved && !w.unserved
}
