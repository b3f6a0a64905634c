package externaldns

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/utils/clock"

	"github.com/penstock-dev/penstock/dns"
)

// Options configure a Backend. The zero value asks the authoritative servers of each zone, which it finds through the
// system's resolvers.
type Options struct {
	// Resolvers are the name servers (host:port) that are asked for markers; empty means the authoritative ones of the zone. Name those
	// that clients use where the zone is private, or where only they can be reached.
	Resolvers []string
	// AssumeSyncAfter, where DNS cannot be asked at all, is how long after a change it is taken to be in sync. Zero means never. It must be
	// longer than external-dns' interval, and proves nothing: the Status says Assumed.
	AssumeSyncAfter time.Duration

	// Read, where a cache has the DNSEndpoints, returns the one of an Ingress, which belongs to the caller; a missing one is an error for which
	// apierrors.IsNotFound holds. It may be behind: the API server is asked instead while it lacks what was written here, and after a conflict.
	// Nil asks the API server always.
	Read func(ctx context.Context, ingress types.NamespacedName) (*unstructured.Unstructured, error)
	// Adopt takes over DNSEndpoints that lack our label, but are controlled by their Ingress and hold nothing but records with the cluster's set
	// identifier: those of an earlier traffic controller.
	Adopt bool

	// Window is how long all checks must have found a change before it is in sync; 30 s if zero.
	Window time.Duration
	// CheckEvery is the least time between two checks of one Ingress; 5 s if zero.
	CheckEvery time.Duration
	// QueryTimeout bounds one DNS query; 2 s if zero.
	QueryTimeout time.Duration

	// Clock is for tests; nil means the real one.
	Clock clock.PassiveClock
	// Registerer gets the metrics; nil means none.
	Registerer prometheus.Registerer
}

// parallel bounds how many Ingresses are worked on at the same time.
const parallel = 16

// Backend writes DNSEndpoints. Use [New]. It may be used by several goroutines, and leaves none behind.
type Backend struct {
	kube    dynamic.Interface
	log     *zap.SugaredLogger
	opts    Options
	asker   *asker
	metrics *metrics

	mu       sync.Mutex // guards the following
	progress map[owner]*progress
	written  map[types.NamespacedName]string // resource versions that Options.Read has not shown yet
}

type owner struct {
	cluster string
	ingress types.NamespacedName
}

var _ dns.Backend = (*Backend)(nil)

// New returns a Backend that writes through kube. It makes no call before the first one of the Backend. A nil log is silent.
func New(kube dynamic.Interface, log *zap.SugaredLogger, opts Options) *Backend {
	if log == nil {
		log = zap.NewNop().Sugar()
	}
	if opts.Window == 0 {
		opts.Window = 30 * time.Second
	}
	if opts.CheckEvery == 0 {
		opts.CheckEvery = 5 * time.Second
	}
	if opts.QueryTimeout == 0 {
		opts.QueryTimeout = 2 * time.Second
	}
	if opts.Clock == nil {
		opts.Clock = clock.RealClock{}
	}
	m, err := newMetrics(opts.Registerer)
	if err != nil {
		log.Warnw("metrics of dnsendpoints are not exported", "error", err)
	}
	return &Backend{
		kube: kube, log: log, opts: opts, metrics: m, progress: map[owner]*progress{}, written: map[types.NamespacedName]string{},
		asker: &asker{clock: opts.Clock, timeout: opts.QueryTimeout, resolvers: opts.Resolvers, recursive: len(opts.Resolvers) > 0},
	}
}

// Published implements [dns.Backend]. A DNSEndpoint that is not ours holds nothing of ours.
func (b *Backend) Published(ctx context.Context, cluster string, ingress types.NamespacedName, _ []string) ([]dns.Record, error) {
	object, _, err := b.get(ctx, owner{cluster, ingress}, false)
	if err != nil || object == nil || !belongs(object, cluster) {
		return nil, err
	}
	endpoints, err := endpointsOf(object)
	if err != nil {
		return nil, err
	}
	var records []dns.Record
	for _, e := range endpoints {
		if e.isMarker() {
			continue
		}
		r, err := recordOf(e)
		switch {
		case err != nil && !isOurs(object): // it is written anew, from what is wanted
		case err != nil:
			return nil, dns.Refuse(fmt.Errorf("dnsendpoint %s: %w; correct it, or delete the object, it is written again", ingress, err))
		default:
			records = append(records, r)
		}
	}
	return records, nil
}

// Publish implements [dns.Backend]. What one Ingress waits for in DNS delays no write of another: all is written before name servers are asked, but for new
// names, about which they are asked first; and those who do not answer are given up soon.
func (b *Backend) Publish(ctx context.Context, publications ...dns.Publication) ([]dns.Status, error) {
	begun := make([]begun, len(publications))
	all := make([]int, len(publications))
	for i := range all {
		all[i] = i
	}
	b.inParallel(all, func(i int, _ bool) { begun[i] = b.begin(ctx, publications[i], errUnasked) })
	b.inParallel(all, func(i int, mayAsk bool) {
		if mayAsk && errors.Is(begun[i].err, errUnasked) {
			begun[i] = b.begin(ctx, publications[i], nil)
		}
	})
	slices.SortStableFunc(all, func(i, j int) int { return b.checked(publications[i]).Compare(b.checked(publications[j])) })
	statuses := make([]dns.Status, len(publications))
	b.inParallel(all, func(i int, mayAsk bool) { statuses[i] = b.end(ctx, publications[i], begun[i], mayAsk) })
	b.countPending()
	return statuses, nil
}

// inParallel calls work for each of some indexes, and tells it whether there is time left to begin questions to name servers.
func (b *Backend) inParallel(indexes []int, work func(i int, mayAsk bool)) {
	until := b.opts.Clock.Now().Add(budget)
	var group errgroup.Group
	group.SetLimit(parallel)
	for _, i := range indexes {
		group.Go(func() error {
			work(i, b.opts.Clock.Now().Before(until))
			return nil
		})
	}
	_ = group.Wait() // no work returns an error
}

// begun is a publication whose DNSEndpoint is as it should be, unless there is an err.
type begun struct {
	plan    plan
	written bool
	err     error
	ended   *dns.Status // there is nothing to ask
}

// begin writes or deletes the DNSEndpoint. With unasked, new names about which name servers have to be asked first are that error, and nothing is written.
func (b *Backend) begin(ctx context.Context, pub dns.Publication, unasked error) begun {
	if len(pub.Records) == 0 {
		return b.withdraw(ctx, pub)
	}
	for _, r := range pub.Records {
		if r.TTL%time.Second != 0 {
			return begun{err: dns.Refuse(fmt.Errorf("record %s %s: TTL %s: it must be whole seconds", r.Name, r.Type, r.TTL))}
		}
	}
	p, written, err := b.write(ctx, pub, unasked)
	if written {
		b.log.Infow("dnsendpoint written", "ingress", pub.Ingress.String(), "change", p.change, "records", len(pub.Records))
	}
	return begun{plan: p, written: written, err: err}
}

// end tells how far a publication that was begun is.
func (b *Backend) end(ctx context.Context, pub dns.Publication, done begun, mayAsk bool) dns.Status {
	switch {
	case done.ended != nil:
		return *done.ended
	case errors.Is(done.err, errLeaving), errors.Is(done.err, errUnasked):
		return dns.Status{Unwritten: true, Reason: done.err.Error()}
	case done.err != nil:
		return dns.Status{Err: done.err}
	}
	return b.follow(ctx, owner{pub.Cluster, pub.Ingress}, pub, done.plan, done.written, mayAsk)
}

// errUnasked says that nothing is written, since name servers have to be asked first.
var errUnasked = errors.New("name servers have not been asked about new names yet, since they are slow to answer about others")

// withdraw deletes the DNSEndpoint, whose plan is that nobody answers with what it held. Where the object is gone already, as it is soon
// after its Ingress, this process remembers what that was.
func (b *Backend) withdraw(ctx context.Context, pub dns.Publication) begun {
	key := owner{pub.Cluster, pub.Ingress}
	held, found, err := b.remove(ctx, pub)
	if err != nil {
		return begun{err: err}
	}
	if !pub.Prove {
		b.forget(key)
		return begun{ended: &dns.Status{InSync: true, InSyncSince: b.opts.Clock.Now()}}
	}
	before := b.remembered(key)
	p := plan{change: withdrawn + b.opts.Clock.Now().UTC().Format(time.RFC3339Nano)}
	switch {
	case found:
		p.gone = held.without(nil)
	case before != nil && strings.HasPrefix(before.change, withdrawn):
		p.change, p.gone = before.change, before.held.gone
	case before != nil:
		p.gone = before.held.without(nil)
	case strings.HasPrefix(b.proven(pub), withdrawn):
		p.change = b.proven(pub)
	case b.opts.AssumeSyncAfter > 0: // nothing is asked, so nothing need be remembered
	default:
		return begun{ended: &dns.Status{Reason: fmt.Sprintf("dnsendpoint %s is gone, and nobody remembers what it held, so nothing proves that name servers have "+
			"forgotten it: look into the zone, and then tell so by the annotation that ends a drain", pub.Ingress)}}
	}
	return begun{plan: p, written: found}
}

// refuse returns why new records cannot be published, as far as their zones show. Where a zone cannot be found out, the marker will tell
// that nothing was published. With unasked, that is the error where zones have to be asked.
func (b *Backend) refuse(ctx context.Context, records []dns.Record, current []endpoint, unasked error) error {
	if b.opts.AssumeSyncAfter > 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, budget)
	defer cancel()
	for _, r := range records {
		if slices.ContainsFunc(current, func(e endpoint) bool { return e.DNSName == r.Name && e.RecordType == string(r.Type) }) {
			continue
		}
		if unasked != nil {
			return unasked
		}
		if err := errors.Join(b.refuseApex(ctx, r), b.refuseDeeper(ctx, r)); err != nil {
			return dns.Refuse(err)
		}
	}
	return nil
}

// refuseApex refuses a CNAME where it would stand beside a zone's SOA and NS records.
// https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/ResourceRecordTypes.html#CNAMEFormat
func (b *Backend) refuseApex(ctx context.Context, r dns.Record) error {
	if r.Type != dns.CNAME {
		return nil
	}
	if _, alias := dns.LoadBalancerZone(r.Targets[0]); alias {
		return nil
	}
	if zone, err := b.asker.zone(ctx, r.Name); err == nil && zone.name == r.Name {
		return fmt.Errorf("host %q is the apex of its zone, where no CNAME to %q can stand: use another host, or a load balancer that is one of AWS or has addresses", r.Name, r.Targets[0])
	}
	return nil
}

// refuseDeeper refuses a name below a host that does not lie in the host's zone, since an alias leads to names of its own zone only.
// https://docs.aws.amazon.com/Route53/latest/APIReference/API_AliasTarget.html
func (b *Backend) refuseDeeper(ctx context.Context, r dns.Record) error {
	host, below := dns.Above(r.Name)
	if !below || b.asker.recursive {
		return nil
	}
	above, err := b.asker.zone(ctx, host)
	if err != nil {
		return nil //nolint:nilerr // nothing is known that would refuse it
	}
	if deeper, err := b.asker.deeper(ctx, above, r.Name); err == nil && deeper != "" {
		return fmt.Errorf("%s would lie in zone %s, but host %s is in zone %s: remove the deeper zone", r.Name, deeper, host, above.name)
	}
	return nil
}
