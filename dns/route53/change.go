package route53

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"
)

// changeState is what Route 53 says of a change.
type changeState int

const (
	pending changeState = iota
	inSync
	// forgotten changes are no longer known to Route 53.
	forgotten
)

// keepChanges is how long the state of a change is remembered after it was last asked for.
const keepChanges = time.Hour

// changes remembers what GetChange said, so that one call serves all who wait for the same change.
type changes struct {
	mu   sync.Mutex // guards byID
	byID map[string]*knownChange
}

// knownChange is one change. Its turn holds one token, for who may ask and write the other fields.
type knownChange struct {
	turn        chan struct{}
	state       changeState
	asked       time.Time // zero: never
	inSyncSince time.Time
}

func (c *changes) get(id string, now time.Time) *knownChange {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.byID[id]
	if known == nil {
		for old, k := range c.byID {
			select {
			case k.turn <- struct{}{}:
				if now.Sub(k.asked) > keepChanges {
					delete(c.byID, old)
				}
				<-k.turn
			default: // somebody is asking for it
			}
		}
		known = &knownChange{turn: make(chan struct{}, 1)}
		known.asked = now.Add(-keepChanges)
		c.byID[id] = known
	}
	return known
}

func (k *knownChange) note(state changeState, now time.Time) {
	if state == inSync && k.state != inSync {
		k.inSyncSince = now
	}
	k.state, k.asked = state, now
}

// submitted notes the answer to a change batch and returns the change's id.
func (b *Backend) submitted(info *types.ChangeInfo) string {
	id := strings.TrimPrefix(aws.ToString(info.Id), "/change/")
	now := b.opts.Clock.Now()
	known := b.changes.get(id, now)
	known.turn <- struct{}{}
	defer func() { <-known.turn }()
	state := pending
	if info.Status == types.ChangeStatusInsync {
		state = inSync
	}
	known.note(state, now)
	return id
}

// changeState asks how far a change is, unless it was asked within the poll interval or is known to be in sync.
func (b *Backend) changeState(ctx context.Context, id string) (state changeState, inSyncSince time.Time, err error) {
	known := b.changes.get(id, b.opts.Clock.Now())
	select {
	case known.turn <- struct{}{}:
		defer func() { <-known.turn }()
	case <-ctx.Done():
		return pending, time.Time{}, fmt.Errorf("change %s: %w", id, ctx.Err())
	}
	if known.state == inSync || b.opts.Clock.Since(known.asked) < b.opts.PollInterval {
		return known.state, known.inSyncSince, nil
	}
	out, err := call(ctx, b, opGetChange, nil, func(ctx context.Context) (*sdk.GetChangeOutput, error) {
		return b.api.GetChange(ctx, &sdk.GetChangeInput{Id: aws.String(id)}, noRetries)
	})
	_, gone := errors.AsType[*types.NoSuchChange](err)
	switch {
	case gone:
		known.note(forgotten, b.opts.Clock.Now())
	case err != nil:
		return pending, time.Time{}, fmt.Errorf("change %s: %w", id, err)
	case out.ChangeInfo != nil && out.ChangeInfo.Status == types.ChangeStatusInsync:
		known.note(inSync, b.opts.Clock.Now())
	default:
		known.note(pending, b.opts.Clock.Now())
	}
	return known.state, known.inSyncSince, nil
}

// awaited are the changes that a publication waits for, by the zone in which they were made; those of an earlier process, of
// which the zone is not known, by themselves.
type awaited map[string]string

// unknown is in the place of the id of a change that was asked for and, as far as is known, not made.
const unknown = ""

func (a awaited) has(id string) bool { return slices.Contains(slices.Collect(maps.Values(a)), id) }

func (a awaited) ids() []string {
	var ids []string
	for _, id := range a {
		if id != unknown {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// String is what dns.Status.Change says: the id, or the ids of several zones.
func (a awaited) String() string { return strings.Join(a.ids(), ",") }

// fromStatus reads what String wrote.
func fromStatus(change string) awaited {
	a := awaited{}
	for id := range strings.SplitSeq(change, ",") {
		if id != "" {
			a[id] = id
		}
	}
	return a
}

// progress is how far all awaited changes are together: the one that is furthest behind. One that is unknown proves no more than one that is forgotten.
type progress struct {
	state changeState
	since time.Time // when the last one was in sync
	id    string    // of the change that is furthest behind
}

func (b *Backend) progress(ctx context.Context, a awaited) (progress, error) {
	p := progress{state: inSync}
	for _, id := range a.ids() {
		state, since, err := b.changeState(ctx, id)
		switch {
		case err != nil:
			return progress{state: pending, id: id}, err
		case state == forgotten:
			p.state, p.id = forgotten, id
		case state == pending && p.state == inSync:
			p.state, p.id = pending, id
		case since.After(p.since):
			p.since = since
		}
	}
	if a.has(unknown) {
		p.state = forgotten
	}
	return p, nil
}
