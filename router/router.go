package router

import flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"

// Interface is Flagger's router interface, declared again because Flagger's package imports ours:
// https://github.com/fluxcd/flagger/blob/v1.44.0/pkg/router/router.go
//
// Flagger calls it for different Canaries at the same time, and for one Canary from one goroutine.
type Interface interface {
	// Reconcile runs on every tick, in the middle of a canary too. It creates what is missing at weights 100/0 and
	// otherwise keeps the weights as they are.
	Reconcile(canary *flaggerv1.Canary) error
	// SetRoutes asks for route weights in percent; they add up to 100. An error ends Flagger's tick, and the call is repeated
	// on the next one.
	SetRoutes(canary *flaggerv1.Canary, primaryWeight int, canaryWeight int, mirrored bool) error
	// GetRoutes is Flagger's only source of the current route weights.
	GetRoutes(canary *flaggerv1.Canary) (primaryWeight int, canaryWeight int, mirrored bool, err error)
	// Finalize removes what the router made, when a Canary with revertOnDeletion goes. It may be called again, and what is
	// gone already counts as removed.
	Finalize(canary *flaggerv1.Canary) error
}
