package skipper_test

import (
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/penstock-dev/penstock/examples/world"
	"github.com/penstock-dev/penstock/router"
)

// newRouter returns the router under test for a rig, which itself waits for Skipper.
func newRouter(t *testing.T, cluster *world.Cluster) *router.Skipper {
	t.Helper()
	return newRouterWith(t, cluster, router.SkipperOptions{})
}

func newRouterWith(t *testing.T, cluster *world.Cluster, opts router.SkipperOptions) *router.Skipper {
	t.Helper()
	opts.Settle = 2 * poll
	return router.NewSkipper(t.Context(), cluster.Kube, zap.NewNop().Sugar(), opts)
}

// newSettlingRouter returns a router as it comes, for Skipper as it comes.
func newSettlingRouter(t *testing.T, cluster *world.Cluster) *router.Skipper {
	t.Helper()
	return router.NewSkipper(t.Context(), cluster.Kube, zap.NewNop().Sugar(), router.SkipperOptions{CallTimeout: 10 * time.Second})
}
