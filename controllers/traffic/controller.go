package traffic

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"

	"github.com/penstock-dev/penstock/controllers/ramp"
	"github.com/penstock-dev/penstock/controllers/store"
	"github.com/penstock-dev/penstock/dns"
	"github.com/penstock-dev/penstock/internal/state"
)

// syncer is what a *dns.Publisher does for the controller.
type syncer interface {
	Sync(ctx context.Context, ingresses ...types.NamespacedName) ([]dns.Result, error)
}

// Controller carries the cluster's weight from its store to the records of every Ingress. [Run] makes one and all that it needs.
type Controller struct {
	opts      Options
	store     store.Store
	source    *source
	publisher syncer
	owner     owner
	gates     ramp.Gates
	queue     workqueue.TypedRateLimitingInterface[types.NamespacedName]
	backoff   workqueue.TypedRateLimiter[types.NamespacedName] // of what failed
	weight    *weight
	served    *served
	events    *announcer
	metrics   *metrics
	filling   *filling
	log       *zap.SugaredLogger

	changed chan struct{} // has room for one: something that steer looks at may have changed
	leads   atomic.Bool
	seenRow seenRow
	kept    string // what lookAround has told last
}

// seenRow is what steer saw of the store last.
type seenRow struct {
	sync.Mutex // guards the following

	row *store.Row // nil before it was read
	err string
}

// kick lets steer look soon.
func (c *Controller) kick() {
	select {
	case c.changed <- struct{}{}:
	default: // it will
	}
}

// NeedLeaderElection says that only the leader reads the store, publishes and acknowledges.
func (c *Controller) NeedLeaderElection() bool { return true }

// lead works until ctx ends: it steers the weight, and publishes what the watches put into the queue.
func (c *Controller) lead(ctx context.Context) error {
	c.leads.Store(true)
	defer c.leads.Store(false)
	ctx, end := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer c.queue.ShutDown()
	defer end() // a panic of steer is not held up by what waits for the end
	if watcher, ok := c.store.(store.Watcher); ok {
		running.Go(func() {
			if err := watcher.Watch(ctx, c.kick); err != nil && ctx.Err() == nil {
				c.log.Warnw("the store is not watched, but read each interval", "interval", c.opts.PollInterval.String(), "error", err)
			}
		})
	}
	after := c.steer(ctx) // nothing can be published before there is a weight
	running.Go(func() { c.publishAll(ctx) })
	running.Go(func() { c.lookAroundAlways(ctx) })
	c.steerAlways(ctx, after)
	return nil
}

// steerAlways steers when something has changed, when a step is due, and each interval, the first time after a while.
func (c *Controller) steerAlways(ctx context.Context, after time.Duration) {
	for ; ; after = c.steer(ctx) {
		timer := c.opts.clock.NewTimer(after)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C():
		case <-c.changed:
			timer.Stop()
		}
	}
}

// canaryOf returns the Canary that an Ingress is the apex of, empty if there is none.
func (c *Controller) canaryOf(ctx context.Context, name types.NamespacedName) string {
	configMaps, err := c.source.Canaries(ctx, name.Namespace)
	if err != nil {
		return ""
	}
	for i := range configMaps {
		if desired, _, _ := state.Read(&configMaps[i]); desired.Ingress == name.Name {
			return configMaps[i].Labels[state.Label]
		}
	}
	return ""
}

// readyHosts counts the hosts that somebody serves, for a gate: each once, and none for an Ingress that is not published for itself.
func (c *Controller) readyHosts(ctx context.Context) (ready, all int, err error) {
	names, err := c.ingresses(ctx)
	if err != nil {
		return 0, 0, err
	}
	prepared, err := c.prepared(ctx, names)
	if err != nil {
		return 0, 0, err
	}
	served := map[string]bool{}
	for _, name := range names {
		ingress, err := c.source.Ingress(ctx, name)
		if err != nil || dns.Generated(ingress) || prepared[name] {
			continue // also when it has just gone
		}
		hosts, _ := dns.HostsOf(ingress, "") // events say which is no name
		for _, host := range hosts {
			now, err := c.source.ready(ctx, ingress, host)
			if err != nil {
				return 0, 0, fmt.Errorf("host %q: %w", host, err)
			}
			served[host] = served[host] || now
		}
	}
	for _, now := range served {
		if now {
			ready++
		}
	}
	return ready, len(served), nil
}

// prepared returns the Ingresses of the canaries in the namespaces of others.
func (c *Controller) prepared(ctx context.Context, others []types.NamespacedName) (map[types.NamespacedName]bool, error) {
	prepared, asked := map[types.NamespacedName]bool{}, map[string]bool{}
	for _, name := range others {
		if asked[name.Namespace] {
			continue
		}
		asked[name.Namespace] = true
		canaries, err := c.source.Canaries(ctx, name.Namespace)
		if err != nil {
			return nil, err
		}
		for i := range canaries {
			if desired, _, _ := state.Read(&canaries[i]); desired.Mode == state.Split {
				prepared[types.NamespacedName{Namespace: name.Namespace, Name: desired.CanaryIngress}] = true
			}
		}
	}
	return prepared, nil
}

// The delays between two tries of an Ingress that failed.
const (
	firstRetry = time.Second
	lastRetry  = 5 * time.Minute
	// wantedRetry is the longest while a weight is on its way: a drain is to go on soon after an outage, however long that was.
	wantedRetry = 30 * time.Second
)

// newQueue returns a queue of Ingresses, and its delays.
func newQueue() (workqueue.TypedRateLimitingInterface[types.NamespacedName], workqueue.TypedRateLimiter[types.NamespacedName]) {
	backoff := workqueue.NewTypedItemExponentialFailureRateLimiter[types.NamespacedName](firstRetry, lastRetry)
	return workqueue.NewTypedRateLimitingQueueWithConfig(backoff, workqueue.TypedRateLimitingQueueConfig[types.NamespacedName]{Name: "ingresses"}), backoff
}
