package externaldns

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/penstock-dev/penstock/dns"
)

// patience is how long a marker may be missing before the reason says what to look at: external-dns' default interval is a minute, and
// Route 53 usually takes another one. https://kubernetes-sigs.github.io/external-dns/v0.21.0/docs/flags/
const patience = 3 * time.Minute

// progress is how far the last change of one Ingress is. It spares checks; after a restart they begin anew.
type progress struct {
	change string
	begun  time.Time // when this process wrote or found the change
	gone   []absence

	checked time.Time // the last check
	found   time.Time // the first of the checks that all found the change; zero after one that did not
	inSync  time.Time // zero while it is not
	reason  string
}

func (b *Backend) forget(key owner) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.progress, key)
}

func (b *Backend) countPending() {
	b.mu.Lock()
	defer b.mu.Unlock()
	pending := 0
	for _, p := range b.progress {
		if p.inSync.IsZero() {
			pending++
		}
	}
	b.metrics.pending.Set(float64(pending))
}

// follow tells how far a plan is that stands in the DNSEndpoint, and checks it when that is due.
func (b *Backend) follow(ctx context.Context, key owner, pub dns.Publication, p plan, written bool) dns.Status {
	now := b.opts.Clock.Now()
	state := b.recall(key, pub, p, written)
	switch {
	case !state.inSync.IsZero():
	case b.opts.AssumeSyncAfter > 0:
		if now.Sub(state.begun) >= b.opts.AssumeSyncAfter {
			state.inSync = now
		}
		state.reason = fmt.Sprintf("external-dns is assumed to need %s from the change on", b.opts.AssumeSyncAfter)
	case state.checked.IsZero() || now.Sub(state.checked) >= b.opts.CheckEvery:
		b.check(ctx, &state, pub, p)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.progress[key] = &state
	if state.inSync.IsZero() {
		return dns.Status{Change: p.change, Reason: state.reason}
	}
	return dns.Status{Change: p.change, InSync: true, InSyncSince: state.inSync, Assumed: b.opts.AssumeSyncAfter > 0}
}

// recall returns what is known of a plan before it is checked again.
func (b *Backend) recall(key owner, pub dns.Publication, p plan, written bool) progress {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.opts.Clock.Now()
	state := progress{change: p.change, begun: now, gone: p.gone}
	before := b.progress[key]
	switch {
	case before != nil && before.change == p.change:
		state = *before
	case before != nil:
		state.gone = stillGone(before.gone, state.gone, p.endpoints)
	}
	switch {
	case !state.inSync.IsZero():
	case pub.Prior.InSync && pub.Prior.Change == p.change:
		state.inSync = pub.Prior.InSyncSince
		if state.inSync.IsZero() {
			state.inSync = now
		}
	case before == nil && !written && !pub.Prove:
		state.inSync = now
	}
	return state
}

// stillGone adds what an earlier change took away and may not have been checked, without what has come back.
func stillGone(earlier, later []absence, wanted []endpoint) []absence {
	for _, a := range earlier {
		back := slices.ContainsFunc(wanted, func(e endpoint) bool {
			return a.value == "" && e.DNSName == a.name || slices.Contains(e.Targets, a.value)
		})
		if !back && !slices.Contains(later, a) {
			later = append(later, a)
		}
	}
	return later
}

// check asks DNS for the markers, and for what should have gone.
func (b *Backend) check(ctx context.Context, state *progress, pub dns.Publication, p plan) {
	now := b.opts.Clock.Now()
	state.checked = now
	state.reason = b.ask(ctx, pub, p.markers, state.gone)
	if state.reason != "" {
		state.found = time.Time{}
		if waited := now.Sub(state.begun); waited > patience {
			state.reason += fmt.Sprintf("; it is %s old: look whether external-dns runs with --source=crd, --provider=aws and --policy=sync, manages CNAME, A and AAAA records, "+
				"and has the host within its --domain-filter, and into its log", waited.Round(time.Second))
		}
		return
	}
	if state.found.IsZero() {
		state.found = now
	}
	if now.Sub(state.found) >= b.opts.Window {
		state.inSync, state.gone = now, nil
		return
	}
	state.reason = fmt.Sprintf("all name servers answer with the change; they must for %s, so far %s", b.opts.Window, now.Sub(state.found))
}

// maxQueries bounds the DNS queries that one check makes at the same time.
const maxQueries = 8

// ask returns what is missing, for people; empty when everything is there.
func (b *Backend) ask(ctx context.Context, pub dns.Publication, markers []marker, gone []absence) string {
	var missing []string
	var questions []func() error
	for _, m := range markers {
		servers, err := b.asker.serversOf(ctx, m)
		if err != nil {
			missing = append(missing, err.Error())
		}
		for _, s := range servers {
			questions = append(questions, func() error { return b.asker.hasMarker(ctx, s, m) })
		}
	}
	for _, a := range gone {
		zone, err := b.asker.zone(ctx, a.name)
		if err != nil {
			missing = append(missing, err.Error())
		}
		for _, s := range zone.servers {
			questions = append(questions, func() error { return b.asker.lacks(ctx, s, a) })
		}
	}
	answers := make([]error, len(questions))
	var group errgroup.Group
	group.SetLimit(maxQueries)
	for i, question := range questions {
		group.Go(func() error {
			answers[i] = question()
			return nil
		})
	}
	_ = group.Wait() // the errors are in answers
	for _, err := range answers {
		b.metrics.checked(err)
		if err != nil {
			missing = append(missing, err.Error())
		}
	}
	if len(missing) == 0 {
		return ""
	}
	slices.Sort(missing)
	missing = slices.Compact(missing)
	const shown = 3
	if more := len(missing) - shown; more > 0 {
		missing = append(missing[:shown], fmt.Sprintf("and %d more", more))
	}
	return fmt.Sprintf("dnsendpoint %s is not in sync: %s", pub.Ingress, strings.Join(missing, "; "))
}
