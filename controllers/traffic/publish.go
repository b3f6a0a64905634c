package traffic

import (
	"context"
	"errors"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/penstock-dev/penstock/dns"
)

const (
	// batchSize is how many Ingresses are published at once: enough to fill change batches of Route 53, and little enough that one call stays short.
	batchSize = 500
	// lookAgain is when a change that is not in sync is looked at again.
	lookAgain = 5 * time.Second
)

// publishAll publishes what the queue brings, until that is shut down.
func (c *Controller) publishAll(ctx context.Context) {
	for {
		first, shutdown := c.queue.Get()
		if shutdown {
			return
		}
		batch := []types.NamespacedName{first}
		for len(batch) < batchSize && c.queue.Len() > 0 { // nobody else takes any, so Get returns at once
			name, shutdown := c.queue.Get()
			if shutdown {
				return
			}
			batch = append(batch, name)
		}
		again := c.publish(ctx, batch)
		for _, name := range batch {
			c.requeue(name, again)
			c.queue.Done(name)
		}
	}
}

// retry says that a fault is tried again with backoff.
const retry time.Duration = -1

func (c *Controller) requeue(name types.NamespacedName, again map[types.NamespacedName]time.Duration) {
	after, found := again[name]
	switch {
	case found && after == retry:
		c.queue.AddRateLimited(name)
	case found:
		c.queue.Forget(name)
		c.queue.AddAfter(name, after)
	default:
		c.queue.Forget(name)
	}
}

// publish brings Ingresses forward by what can be done now, and returns which of them to look at again, and when.
func (c *Controller) publish(ctx context.Context, batch []types.NamespacedName) map[types.NamespacedName]time.Duration {
	again := map[types.NamespacedName]time.Duration{}
	generation, known := c.weight.now()
	proof, drain := c.weight.wanted(), c.weight.isZero()
	if !known {
		for _, name := range batch {
			again[name] = lookAgain
		}
		return again
	}
	waits := proof || c.served.of(generation).unserved > 0
	batch = slices.DeleteFunc(slices.Clone(batch), func(name types.NamespacedName) bool {
		theirs := c.isTheirs(ctx, name)
		if theirs { // it may be waited for since before the flags left it out
			c.forget(name)
		}
		return theirs
	})
	results, err := c.publisher.Sync(ctx, batch...)
	if ctx.Err() != nil {
		return again // the controller ends, which is no failure of an Ingress
	}
	if err != nil {
		c.log.Warnw("not all ingresses were published", "error", err)
	}
	theirs := map[types.NamespacedName]bool{}
	for _, name := range batch {
		theirs[name] = true
	}
	now := c.opts.clock.Now()
	for _, r := range results {
		delete(theirs, r.Ingress)
		ingress, err := c.source.Ingress(ctx, r.Ingress)
		switch {
		case err == nil:
			c.served.note(generation, r, proof, drain)
			c.events.ingress(ingress, r)
		case !apierrors.IsNotFound(err):
			c.served.note(generation, r, proof, drain)
		case r.Err != nil || r.Status.Err != nil:
			c.events.stuck(c.served.stuck(generation, r))
		default: // what it had is withdrawn, and no share of the traffic depends on when that is in sync
			c.forget(r.Ingress)
		}
		switch {
		case c.weight.generationIsNot(generation): // it may have been published with the weight before
			again[r.Ingress] = 0
		case r.Err != nil || r.Status.Err != nil:
			again[r.Ingress] = retry
		case !r.Status.InSync:
			again[r.Ingress] = lookAgain
		case r.AnswerErr != nil:
			again[r.Ingress] = retry
		case r.EffectiveAt.After(now):
			again[r.Ingress] = r.EffectiveAt.Sub(now)
		}
	}
	for name := range theirs { // others publish them
		c.forget(name)
	}
	c.progress()
	if waits { // at rest, nothing follows from it
		c.kick()
	}
	return again
}

// forget says that an Ingress has nothing to publish.
func (c *Controller) forget(name types.NamespacedName) {
	c.served.forget(name, c.opts.clock.Now())
	c.events.forget(name)
}

// isRefused tells whether nothing but a change of somebody else can help an Ingress. A read that failed for another reason says nothing about that.
func isRefused(r dns.Result) bool {
	return errors.Is(r.Err, dns.ErrRefused) || r.Err == nil && errors.Is(r.Status.Err, dns.ErrRefused)
}
