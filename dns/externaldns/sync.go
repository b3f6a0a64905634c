package externaldns

import (
	"context"
	"errors"
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

// budget bounds what one publication spends on asking DNS at a time, and when all those of a call have to begin, so that name servers that do not answer cost
// no more.
const budget = 10 * time.Second

// unknownNames is how long resolvers are not asked for a name that is new: they would remember that it does not exist, for up to 15 minutes
// with the SOA record that Route 53 gives a zone. https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/SOA-NSrecords.html
const unknownNames = 90 * time.Second

// assumed precedes a change that was not seen to be in sync, so that nobody takes it for that later.
const assumed = "assumed "

// withdrawn precedes the time of a change that takes everything away.
const withdrawn = "withdrawn "

// progress is how far the last change of one Ingress is. It spares checks; after a restart they begin anew.
type progress struct {
	change string
	held   held
	begun  time.Time // when this process wrote or found the change

	notBefore time.Time // when the first check is due
	checked   time.Time // the last check
	found     time.Time // the first of the checks that all found the change; zero after one that did not
	inSync    time.Time // zero while it is not
	granted   bool      // it is taken for in sync because nobody asks for proof
	reason    string
}

func (b *Backend) forget(key owner) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.progress, key)
}

// remembered returns a copy of what this process knows of an Ingress, nil if that is nothing.
func (b *Backend) remembered(key owner) *progress {
	b.mu.Lock()
	defer b.mu.Unlock()
	if p := b.progress[key]; p != nil {
		known := *p
		return &known
	}
	return nil
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

// checked returns when an Ingress was checked last.
func (b *Backend) checked(pub dns.Publication) time.Time {
	if p := b.remembered(owner{pub.Cluster, pub.Ingress}); p != nil {
		return p.checked
	}
	return time.Time{}
}

// follow tells how far a plan is that stands in the DNSEndpoint, and checks it when that is due.
func (b *Backend) follow(ctx context.Context, key owner, pub dns.Publication, p plan, written, mayAsk bool) dns.Status {
	now := b.opts.Clock.Now()
	state := b.recall(key, pub, p, written)
	switch {
	case !state.inSync.IsZero():
	case b.opts.AssumeSyncAfter > 0:
		if now.Sub(state.begun) >= b.opts.AssumeSyncAfter {
			state.inSync = now
		}
		state.reason = fmt.Sprintf("external-dns is assumed to need %s from the change on", b.opts.AssumeSyncAfter)
	case now.Before(state.notBefore):
		state.reason = fmt.Sprintf("resolvers are asked for new names from %s on, since they remember what does not exist yet", state.notBefore.UTC().Format(time.RFC3339))
	case !state.checked.IsZero() && now.Sub(state.checked) < b.opts.CheckEvery:
	case mayAsk:
		b.check(ctx, &state, pub, p)
	case state.reason == "":
		state.reason = "name servers have not been asked yet, since they are slow to answer about others"
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.progress[key] = &state
	if strings.HasPrefix(p.change, withdrawn) && b.proven(pub) == p.change {
		delete(b.progress, key) // the caller remembers all that there is
	}
	change := p.change
	if state.granted || b.opts.AssumeSyncAfter > 0 {
		change = assumed + change
	}
	if state.inSync.IsZero() {
		return dns.Status{Change: change, Reason: state.reason}
	}
	return dns.Status{Change: change, InSync: true, InSyncSince: state.inSync, Assumed: change != p.change}
}

// recall returns what is known of a plan before it is checked again.
func (b *Backend) recall(key owner, pub dns.Publication, p plan, written bool) progress {
	now := b.opts.Clock.Now()
	state := progress{change: p.change, begun: now}
	before := b.remembered(key)
	switch {
	case before != nil && before.change == p.change && before.granted && pub.Prove:
	case before != nil && before.change == p.change:
		state = *before
	case b.asker.recursive && (written && p.fresh || !written && before != nil && before.held.lacks(p.markers)): // the answer to that write was lost
		state.notBefore = now.Add(unknownNames)
	}
	state.held = held{endpoints: p.endpoints, gone: p.gone}
	switch {
	case !state.inSync.IsZero():
	case b.proven(pub) == p.change:
		state.inSync = pub.Prior.InSyncSince
		if state.inSync.IsZero() {
			state.inSync = now
		}
	case before == nil && !written && !pub.Prove:
		state.inSync, state.granted = now, true
	}
	return state
}

// proven returns the change that the caller remembers to be in sync, empty if there is none.
func (b *Backend) proven(pub dns.Publication) string {
	switch {
	case !pub.Prior.InSync:
		return ""
	case b.opts.AssumeSyncAfter > 0:
		return strings.TrimPrefix(pub.Prior.Change, assumed)
	}
	return pub.Prior.Change
}

// check asks DNS for the markers, and for what should have gone.
func (b *Backend) check(ctx context.Context, state *progress, pub dns.Publication, p plan) {
	now := b.opts.Clock.Now()
	state.checked = now
	ctx, cancel := context.WithTimeout(ctx, budget)
	defer cancel()
	state.reason = b.ask(ctx, pub, p.markers, p.gone)
	if state.reason != "" {
		state.found = time.Time{}
		if waited := now.Sub(state.begun); waited > patience {
			state.reason += fmt.Sprintf("; it is %s old: look whether external-dns runs with --source=crd, --provider=aws and --policy=sync, manages CNAME, A and AAAA records, "+
				"and has the host within its --domain-filter, and into its log", waited.Truncate(time.Minute))
			if !b.asker.recursive {
				state.reason += "; or, where these name servers are not those of the host's zone, such as a private one, set resolvers (PENSTOCK_DNS_RESOLVERS) that clients use"
			}
		}
		return
	}
	if state.found.IsZero() {
		state.found = now
	}
	if now.Sub(state.found) >= b.opts.Window {
		state.inSync = now
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
		questions = append(questions, func() error {
			servers, err := b.asker.serversOf(ctx, m)
			return b.each(servers, err, func(s server) error { return b.asker.hasMarker(ctx, s, m) })
		})
	}
	for _, a := range gone {
		theirs := b.markerElsewhere(owner{pub.Cluster, pub.Ingress}, a.name)
		questions = append(questions, func() error {
			zone, err := b.asker.zone(ctx, a.name)
			return b.each(zone.servers, err, func(s server) error { return b.asker.lacks(ctx, s, a, theirs) })
		})
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
		if err != nil {
			missing = append(missing, strings.Split(err.Error(), "\n")...)
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

// markerElsewhere returns the target of a marker in the DNSEndpoint of another Ingress, which has taken the host over; empty if there is none.
func (b *Backend) markerElsewhere(than owner, name string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	for key, p := range b.progress {
		if key == than {
			continue
		}
		for _, e := range p.held.endpoints {
			if e.isMarker() && e.DNSName == name && len(e.Targets) == 1 {
				return e.Targets[0]
			}
		}
	}
	return ""
}

// each asks every server, and returns what they have to say against it, one a line.
func (b *Backend) each(servers []server, err error, question func(server) error) error {
	if err != nil {
		b.metrics.checked(err)
		return err
	}
	errs := make([]error, 0, len(servers))
	for _, s := range servers {
		err := question(s)
		b.metrics.checked(err)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
