package traffic

import (
	"context"
	"errors"
	"slices"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

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
	if after != retry {
		c.backoff.Forget(name)
	}
	switch {
	case found && after == retry:
		c.queue.AddAfter(name, c.retryAfter(name))
	case found:
		c.queue.AddAfter(name, after)
	}
}

// retryAfter returns when an Ingress that has failed once more is to be tried again.
func (c *Controller) retryAfter(name types.NamespacedName) time.Duration {
	after := c.backoff.When(name)
	if c.weight.wanted() && c.opts.AssumeSyncAfter == 0 { // where a weight is wanted for ever
		return min(after, wantedRetry)
	}
	return after
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
	waits := c.served.of(generation, drain).unserved > 0
	batch = slices.DeleteFunc(slices.Clone(batch), func(name types.NamespacedName) bool {
		theirs := c.isTheirs(ctx, name)
		if theirs { // it may be waited for since before the flags left it out
			c.forget(ctx, name)
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
			c.note(ctx, generation, r, proof, drain)
			c.events.ingress(ingress, r)
		case !apierrors.IsNotFound(err):
			c.note(ctx, generation, r, proof, drain)
		case r.Err != nil || r.Status.Err != nil:
			c.events.stuck(c.served.stuck(generation, r, c.source.exists(ctx, r.Ingress)))
		case c.source.unpublished(ctx, r.Ingress) && (!r.Status.InSync || r.EffectiveAt.After(now)):
			c.leaving(ctx, generation, r)
		default: // it is gone and serves nobody, or DNS has forgotten it, or it may be another publisher's
			c.forget(ctx, r.Ingress)
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
		c.forget(ctx, name)
	}
	if c.progress().unserved == 0 && waits { // the store is not read for anything less
		c.kick()
	}
	return again
}

// ready tells whether a host is to get traffic, as far as its endpoints say.
func (c *Controller) ready(ctx context.Context, ingress *networkingv1.Ingress, host string) (bool, error) {
	ready, err := c.source.ready(ctx, ingress, host)
	if err != nil || !c.weight.wanted() || c.opts.AssumeSyncAfter > 0 { // where no weight is ever known to be served
		return ready, err
	}
	generation, _ := c.weight.now()
	held := c.served.keepDown(client.ObjectKeyFromObject(ingress), host, ready, generation, c.opts.clock.Now())
	return ready && !held, nil
}

// note keeps what became of an Ingress.
func (c *Controller) note(ctx context.Context, generation int64, r dns.Result, proof, drain bool) {
	before := c.served.hosts(r.Ingress)
	if c.served.note(generation, r, proof, drain, c.opts.clock.Now()) {
		c.queue.Add(r.Ingress)
	}
	after := c.served.hosts(r.Ingress)
	c.bequeath(ctx, r.Ingress, slices.DeleteFunc(before, func(host string) bool { return slices.Contains(after, host) }))
}

// leaving keeps what became of an Ingress that is there, and is published no more.
func (c *Controller) leaving(ctx context.Context, generation int64, r dns.Result) {
	hosts := c.served.hosts(r.Ingress)
	c.served.leaving(generation, r, c.opts.clock.Now())
	c.bequeath(ctx, r.Ingress, hosts)
}

// forget says that an Ingress has nothing to publish.
func (c *Controller) forget(ctx context.Context, name types.NamespacedName) {
	hosts := c.served.hosts(name)
	c.served.forget(name, c.opts.clock.Now())
	c.bequeath(ctx, name, hosts)
	c.events.forget(name)
}

// bequeath has Ingresses that have hosts which another has lost be waited for at once.
func (c *Controller) bequeath(ctx context.Context, from types.NamespacedName, hosts []string) {
	for _, host := range hosts {
		heirs, err := c.source.Serving(ctx, host)
		if err != nil {
			c.log.Warnw("not known who has a host now", "host", host, "error", err)
			continue
		}
		for _, heir := range heirs {
			if name := client.ObjectKeyFromObject(heir); name != from {
				c.served.inherit(name, host)
				c.queue.Add(name)
			}
		}
	}
}

// isRefused tells whether nothing but a change of somebody else can help an Ingress. A read that failed for another reason says nothing about that.
func isRefused(r dns.Result) bool {
	return errors.Is(r.Err, dns.ErrRefused) || r.Err == nil && errors.Is(r.Status.Err, dns.ErrRefused)
}
