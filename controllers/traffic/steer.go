package traffic

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/penstock-dev/penstock/controllers/ramp"
	"github.com/penstock-dev/penstock/controllers/store"
	"github.com/penstock-dev/penstock/internal/awserror"
	"github.com/penstock-dev/penstock/weights"
)

// rounds bounds how often the row is read anew at once because somebody else has changed it.
const rounds = 5

// steer reads the store, publishes the weight that follows from it, and acknowledges it when it is served. It returns when to look again at the latest.
// A store that cannot be read leaves the weight as it is.
func (c *Controller) steer(ctx context.Context) (after time.Duration) {
	round, cancel := context.WithTimeout(ctx, c.opts.steerTimeout())
	defer cancel()
	var err error
	var gates answer
	for range rounds {
		if after, err = c.steerOnce(round, &gates); !errors.Is(err, store.ErrConflict) {
			break
		}
	}
	if ctx.Err() != nil {
		return 0 // the controller ends, which is no failure of the store
	}
	c.storeFailed(ctx, err)
	if err != nil {
		return c.opts.PollInterval
	}
	if after == 0 || after > c.opts.PollInterval {
		return c.opts.PollInterval
	}
	return after
}

// storeFailed says once that the store has failed, and once that it works again.
func (c *Controller) storeFailed(ctx context.Context, err error) {
	c.metrics.stored(err)
	now := text(err)
	c.seenRow.Lock()
	before := c.seenRow.err
	c.seenRow.err = now
	c.seenRow.Unlock()
	if err == nil {
		if before != "" {
			c.log.Infow("the store works again")
		}
		c.events.controller("StoreFailed", "")
		return
	}
	effect := c.effect(ctx, err)
	if now != before {
		c.log.Warnw("the store failed", "effect", effect, "reason", now, "request_id", awserror.RequestID(err))
	}
	c.events.controller("StoreFailed", effect+": "+now)
}

// unwrittenError is a row that could not be written.
type unwrittenError struct{ error }

func (e unwrittenError) Unwrap() error { return e.error }

// effect says what a failure of the store does to the weight. One that could not be stored may be published, as that of a drain is.
func (c *Controller) effect(ctx context.Context, err error) string {
	c.seenRow.Lock()
	row := c.seenRow.row
	c.seenRow.Unlock()
	published, unknown := c.weight.ClusterWeight(ctx)
	if _, unwritten := errors.AsType[unwrittenError](err); unwritten && unknown == nil && published.String() != strconv.Itoa(row.CurrentWeight) {
		return fmt.Sprintf("weight %s is published, and not acknowledged", published)
	}
	return "the cluster's weight stays as it is"
}

// saw keeps a row that is in the store.
func (c *Controller) saw(row store.Row) {
	c.seenRow.Lock()
	defer c.seenRow.Unlock()
	c.seenRow.row = &row
}

// answer is what the gates have said about a step in one direction.
type answer struct {
	asked, rising bool
	err           error
}

// steerOnce does what steer does, once. The gates are asked for a direction that their answer is not about.
func (c *Controller) steerOnce(ctx context.Context, gates *answer) (time.Duration, error) {
	row, err := c.read(ctx)
	if err != nil {
		return 0, err
	}
	c.saw(row)
	if row.DesiredWeight > 100 {
		c.events.controller("WeightAbove100", fmt.Sprintf("DesiredWeight %d of cluster %s counts as 100, and 100 is acknowledged: correct it in the store",
			row.DesiredWeight, c.opts.ClusterName))
	} else {
		c.events.controller("WeightAbove100", "")
	}
	begun := ramp.Begin(row, c.opts.Ramp, c.opts.clock.Now())
	read := row
	switch row, err = c.stored(ctx, read, begun); {
	case errors.Is(err, store.ErrConflict):
		return 0, err
	case err != nil && ramp.Target(begun, c.opts.Ramp) > c.published(read): // nothing would tell of it, if the wish were taken back
		return 0, errors.Join(err, c.publishWeight(ctx, read, c.published(read)))
	case err != nil: // a cluster is drained all the same, and acknowledged when its row can be written
		return 0, errors.Join(err, c.apply(ctx, begun))
	}
	if err := c.apply(ctx, row); err != nil {
		return 0, err
	}
	seen := c.seen()
	due, rising := ramp.Due(row, c.opts.Ramp, seen)
	if due {
		if !gates.asked || gates.rising != rising {
			*gates = answer{true, rising, c.gates.Check(ctx, rising)}
			c.metrics.gated(gates.err)
		}
		seen.Gates = gates.err
	}
	next, after := ramp.Next(row, c.opts.Ramp, seen)
	if next, err = c.stored(ctx, row, next); err != nil {
		return 0, err
	}
	return after, c.apply(ctx, next)
}

// published returns the weight that this process publishes or, before it does, that a row says others do; 100, which is no less than any, if nobody knows.
func (c *Controller) published(row store.Row) int {
	if weight, known := c.weight.whole(); known {
		return weight
	}
	if weight, known := ramp.Published(row); known {
		return weight
	}
	return 100
}

// stored stores what follows from a row, if that is something else, and returns it.
func (c *Controller) stored(ctx context.Context, row, next store.Row) (store.Row, error) {
	if next == row {
		return row, nil
	}
	if err := c.store.Acknowledge(ctx, row, next); err != nil {
		return store.Row{}, unwrittenError{fmt.Errorf("write CurrentWeight and the move of cluster %s: %w", c.opts.ClusterName, err)}
	}
	c.saw(next)
	c.tell(row, next)
	return next, nil
}

// read returns the row, which it makes if there is none.
func (c *Controller) read(ctx context.Context) (store.Row, error) {
	row, err := c.store.Read(ctx)
	if errors.Is(err, store.ErrNotFound) {
		return c.create(ctx)
	}
	if err != nil {
		return store.Row{}, fmt.Errorf("read the row of cluster %s: %w", c.opts.ClusterName, err)
	}
	c.events.controller("RowGone", "")
	return row, nil
}

// create makes the row. One that was there a moment ago becomes what it was, because whoever removes a row has not said that the traffic is to move: this
// leader would keep the weight, and the next one could not know it.
func (c *Controller) create(ctx context.Context) (store.Row, error) {
	c.seenRow.Lock()
	last := c.seenRow.row
	c.seenRow.Unlock()
	row, gone := store.Row{ClusterName: c.opts.ClusterName, DesiredWeight: c.opts.InitialWeight, CurrentWeight: store.Unknown}, last != nil
	if gone {
		row = *last
	}
	if err := c.store.Create(ctx, row); err != nil {
		return store.Row{}, fmt.Errorf("create the row of cluster %s: %w", c.opts.ClusterName, err)
	}
	row, err := c.store.Read(ctx) // somebody else may have made it meanwhile
	if err != nil {
		return store.Row{}, fmt.Errorf("read the row of cluster %s: %w", c.opts.ClusterName, err)
	}
	if gone {
		message := fmt.Sprintf("the row of cluster %s was gone; it is made again as it was, with DesiredWeight %d: see who removed it, and drain a cluster with DesiredWeight 0",
			c.opts.ClusterName, row.DesiredWeight)
		c.log.Warnw("row created again", "cluster", c.opts.ClusterName, "desired_weight", row.DesiredWeight, "current_weight", row.CurrentWeight, "reason", message)
		c.events.controller("RowGone", message)
		return row, nil
	}
	c.log.Infow("row created", "cluster", c.opts.ClusterName, "desired_weight", row.DesiredWeight)
	return row, nil
}

// apply publishes what a row says.
func (c *Controller) apply(ctx context.Context, row store.Row) error {
	return c.publishWeight(ctx, row, ramp.Target(row, c.opts.Ramp))
}

// publishWeight publishes a weight, and all else that a row says.
func (c *Controller) publishWeight(ctx context.Context, row store.Row, target int) error {
	if _, err := weights.WholePercent(target); err != nil {
		return fmt.Errorf("weight of cluster %s: %w", c.opts.ClusterName, err)
	}
	check := c.opts.HealthCheckID
	if row.HealthCheckID != "" {
		check = row.HealthCheckID
	}
	c.metrics.weights(row, c.opts.Ramp.Step > 0)
	unserved := row.CurrentWeight != target || row.Moves()
	if !c.weight.would(target, check, unserved) {
		c.weight.set(target, check, unserved)
		return nil
	}
	names, err := c.ingresses(ctx)
	if err != nil {
		return err // before the weight is taken for one that all have been told of
	}
	c.log.Infow("weight to publish", "weight", target, "desired_weight", row.DesiredWeight, "current_weight", row.CurrentWeight, "ingresses", len(names))
	unpublished, err := c.source.allUnpublished(ctx)
	if err != nil {
		return err
	}
	// Nobody knows yet whether DNS leads to those that an earlier leader was to withdraw.
	names = append(names, c.served.unknown(unpublished)...)
	c.served.expect(names)
	c.weight.set(target, check, unserved)
	for _, name := range names {
		c.queue.Add(name)
	}
	return nil
}

// ingresses returns the names of those that are the controller's.
func (c *Controller) ingresses(ctx context.Context) ([]types.NamespacedName, error) {
	list := &networkingv1.IngressList{}
	if err := c.source.caches.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil { // nobody changes them here
		return nil, fmt.Errorf("list ingresses: %w", err)
	}
	names := make([]types.NamespacedName, 0, len(list.Items))
	for i := range list.Items {
		if ingress := &list.Items[i]; ingress.DeletionTimestamp == nil && c.source.filter.mine(ingress) {
			names = append(names, client.ObjectKeyFromObject(ingress))
		}
	}
	return names, nil
}

// seen tells how far the weight that is to be published is on its way.
func (c *Controller) seen() ramp.Seen {
	_, known := c.weight.now()
	p := c.progress()
	return ramp.Seen{Now: c.opts.clock.Now(), InSync: known && p.unserved == 0, EffectiveSince: p.effectiveAt}
}

// progress returns how far all Ingresses are with the weight, and shows that in the metrics, whatever the store does.
func (c *Controller) progress() progress {
	generation, _ := c.weight.now()
	p := c.served.of(generation, c.weight.isZero())
	c.metrics.progress(p)
	return p
}

// tell says what has been stored.
func (c *Controller) tell(before, after store.Row) {
	if before.CurrentWeight != after.CurrentWeight {
		c.log.Infow("weight served", "current_weight", after.CurrentWeight, "desired_weight", after.DesiredWeight)
	}
	if c.opts.Ramp.Step == 0 || before.Ramp.Phase == after.Ramp.Phase && before.Ramp.Weight == after.Ramp.Weight && before.Ramp.Failures == after.Ramp.Failures {
		return
	}
	r := after.Ramp
	c.log.Infow("ramp", "phase", r.Phase, "from", r.From, "to", r.To, "weight", r.Weight, "failures", r.Failures, "message", r.Message)
	switch r.Phase {
	case store.RolledBack:
		c.metrics.rollbacks.Inc()
		c.events.controller("RampHolding", "")
		c.events.controller("RampRolledBack", "") // another move has failed, though it be in the same words
		c.events.controller("RampRolledBack", r.Message)
	case store.Holding:
		c.events.controller("RampHolding", r.Message)
	case store.Moving, store.Arrived:
		c.events.controller("RampHolding", "") // it goes on, and may be held again in the same words
	}
}
