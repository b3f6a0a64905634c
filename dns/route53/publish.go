package route53

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"
	"go.uber.org/zap"
	"golang.org/x/time/rate"
	ktypes "k8s.io/apimachinery/pkg/types"

	"github.com/penstock-dev/penstock/dns"
)

// Backend writes records through the Route 53 API. Use [New]. It may be used by several goroutines, and starts none.
type Backend struct {
	api      API
	log      *zap.SugaredLogger
	opts     Options
	external externalDNS
	limiter  *rate.Limiter
	retryer  *retry.Standard
	metrics  *metrics
	changes  changes

	zonesTurn  chan struct{} // holds one token, for who may use known
	known      *zoneSet
	zonesStale atomic.Bool // the list is to be renewed before its time

	mu     sync.Mutex // guards what follows
	memory map[owner]*memory
	zero   map[zeroSet]bool
}

// memory is what a Backend has last done for an owner. It spares calls; nothing depends on it.
type memory struct {
	records []dns.Record // those that were written or found last
	awaited awaited      // what made them stand
	failed  bool         // to write them, or others since
	since   time.Time    // when the records were first found as they should be
	pending bool
}

type zeroSet struct {
	zoneID string
	group  key // without a set identifier
}

var _ dns.Backend = (*Backend)(nil)

// New returns a Backend that calls client. It makes no call before the first one of the Backend.
func New(client API, log *zap.SugaredLogger, opts Options) *Backend {
	opts = opts.withDefaults()
	m, err := newMetrics(opts.Registerer)
	if err != nil {
		log.Warnw("route 53 metrics are not exported", "error", err)
	}
	return &Backend{
		api: client, log: log, opts: opts, metrics: m,
		external: externalDNS{opts.AdoptExternalDNS, opts.TXTPrefix, opts.TXTSuffix, opts.TXTWildcardReplacement},
		limiter:  rate.NewLimiter(opts.Rate, 1),
		retryer: retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxBackoff = maxBackoff
			o.Backoff = retry.NewExponentialJitterBackoff(maxBackoff)
		}),
		changes:   changes{byID: map[string]*knownChange{}},
		zonesTurn: make(chan struct{}, 1),
		memory:    map[owner]*memory{},
		zero:      map[zeroSet]bool{},
	}
}

// job is one publication on its way.
type job struct {
	index   int
	pub     dns.Publication
	owner   owner
	from    origins
	parts   map[*hostedZone]*zonePart
	awaited awaited
	// ofOthers is true if awaited is about other records than these.
	ofOthers bool
	// told is how far awaited is, once asked.
	asked   bool
	told    progress
	toldErr error
	written bool
	assumed bool // nothing can prove that it is in sync
	err     error
}

// zonePart is what a job has to do in one zone.
type zonePart struct {
	part
	names   []string // wanted or owned
	changes []types.Change
}

// Publish implements [dns.Backend]. A Publication with records in several zones is written zone after zone, since a change
// batch has one zone; everything else of it is refused or written as a whole.
func (b *Backend) Publish(ctx context.Context, publications ...dns.Publication) ([]dns.Status, error) {
	statuses := make([]dns.Status, len(publications))
	if len(publications) == 0 {
		return statuses, nil
	}
	zones, err := b.zones(ctx)
	if err != nil {
		for i := range statuses {
			statuses[i] = dns.Status{Change: publications[i].Prior.Change, Err: err}
		}
		return statuses, err
	}
	jobs := newJobs(zones, publications, b.origins())
	open := make([]*job, 0, len(jobs))
	for _, j := range jobs {
		if j.err == nil && !b.waits(ctx, j) {
			open = append(open, j)
		}
	}
	b.write(ctx, zones, open)
	for _, j := range jobs {
		statuses[j.index] = b.status(ctx, j)
		if credentials(j.err) {
			err = j.err
		}
	}
	b.countPending()
	return statuses, err
}

// newJobs sorts records into zones and refuses what cannot be published, each publication by itself.
func newJobs(zones *zoneSet, publications []dns.Publication, from origins) []*job {
	type claimed struct{ cluster, name string }
	names := map[claimed]owner{}
	owners := map[owner]bool{}
	jobs := make([]*job, len(publications))
	for i, pub := range publications {
		j := &job{index: i, pub: pub, owner: owner{pub.Cluster, pub.Ingress, from.own}, from: from, parts: map[*hostedZone]*zonePart{}}
		jobs[i] = j
		switch {
		case pub.Cluster == "" || pub.Ingress.Name == "":
			j.err = dns.Refuse(fmt.Errorf("publication of ingress %q in cluster %q: both need a name", pub.Ingress, pub.Cluster))
			continue
		case owners[j.owner]:
			j.err = dns.Refuse(fmt.Errorf("%s is published twice in one call", j.owner))
			continue
		}
		owners[j.owner] = true
		if j.err = dns.Refuse(j.sort(zones)); j.err != nil {
			continue
		}
		for _, part := range j.parts {
			for name := range part.want {
				if other, taken := names[claimed{pub.Cluster, name}]; taken && j.err == nil {
					j.err = dns.Refuse(fmt.Errorf("name %s is published for %s and for %s: remove the host from one of them", name, other, j.owner))
				}
			}
		}
		for _, part := range j.parts {
			for name := range part.want {
				if j.err == nil {
					names[claimed{pub.Cluster, name}] = j.owner
				}
			}
		}
	}
	return jobs
}

// sort makes the record sets of each zone from the records.
func (j *job) sort(zones *zoneSet) error {
	seen := map[key]bool{}
	for _, r := range j.pub.Records {
		zone, err := zones.zoneOf(r.Name, dns.ClusterLabel(j.pub.Cluster))
		if err != nil {
			return fmt.Errorf("record %s %s: %w", r.Name, r.Type, err)
		}
		if r.Alias && len(r.Targets) == 1 {
			target, err := zones.zoneOf(r.Targets[0], dns.ClusterLabel(j.pub.Cluster))
			switch {
			case err != nil:
				return fmt.Errorf("record %s %s, an alias to %s: %w", r.Name, r.Type, r.Targets[0], err)
			case target != zone:
				return fmt.Errorf("record %s %s is an alias to %s, which is not in its hosted zone %s", r.Name, r.Type, r.Targets[0], zone)
			}
		}
		sets, err := recordSets(zone, r)
		if err != nil {
			return err
		}
		part := j.part(zone)
		for _, w := range sets {
			if seen[w.key] {
				return fmt.Errorf("%s is wanted twice for %s", w.key, j.owner)
			}
			seen[w.key] = true
			part.want[w.name] = append(part.want[w.name], w)
		}
	}
	return nil
}

func (j *job) part(zone *hostedZone) *zonePart {
	p := j.parts[zone]
	if p == nil {
		p = &zonePart{part: part{zone: zone, owner: j.owner, from: j.from, want: map[string][]wanted{}}}
		for _, ingress := range j.pub.Takes {
			p.takes = append(p.takes, owner{j.owner.cluster, ingress, j.owner.origin})
		}
		j.parts[zone] = p
	}
	return p
}

// waits finds out which changes a job waits for and how far they are. It reports whether that is all there is to do:
// these very records were written by this process, and are on their way.
func (b *Backend) waits(ctx context.Context, j *job) bool {
	b.mu.Lock()
	m := b.memory[j.owner]
	b.mu.Unlock()
	prior := j.pub.Prior
	j.awaited = fromStatus(prior.Change)
	written := false
	if m != nil {
		same := slices.EqualFunc(m.records, j.pub.Records, dns.Record.Equal)
		written = same && len(m.awaited) > 0 && !m.failed
		j.ofOthers = !same && prior.Change == ""
		if prior.Change == "" || m.awaited.String() == prior.Change || m.pending {
			j.awaited = awaited{}
			maps.Copy(j.awaited, m.awaited)
		}
	}
	switch {
	case isProved(prior) && prior.Change == j.awaited.String():
		j.asked, j.told = true, progress{state: inSync, since: prior.InSyncSince}
	case written || prior.Change != "": // else other records are wanted, and probably written
		b.ask(ctx, j)
	}
	return written && j.asked && j.toldErr == nil && j.told.state == pending
}

// isProved tells whether a change has made records what they are. What was found so at rest was granted without one, and may still be on its way.
func isProved(prior dns.Status) bool { return prior.InSync && prior.Change != "" }

func (b *Backend) ask(ctx context.Context, j *job) {
	j.asked = true
	j.told, j.toldErr = b.progress(ctx, j.awaited)
}

// status says how far a job is, and remembers it.
func (b *Backend) status(ctx context.Context, j *job) dns.Status {
	if j.err == nil && j.written {
		b.ask(ctx, j)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	m := b.memory[j.owner]
	if m == nil {
		m = &memory{}
		b.memory[j.owner] = m
	}
	s := dns.Status{Change: j.awaited.String(), Warning: b.zeroWarning(j)}
	switch {
	case j.err != nil:
		s.Err = j.err
		m.failed, m.since = true, time.Time{}
		if j.awaited.has(unknown) {
			m.records = append([]dns.Record{}, j.pub.Records...)
		}
		if j.awaited != nil {
			m.awaited = j.awaited
		}
		return s
	case j.toldErr != nil:
		s.Reason = j.toldErr.Error()
		if denied(j.toldErr) || credentials(j.toldErr) {
			s.Err = j.toldErr
		}
	case j.told.state != inSync:
		s.Reason = fmt.Sprintf("waiting for change %s to be INSYNC on all name servers of Route 53", j.told.id)
	default:
		s.InSync, s.Assumed = true, j.assumed
	}
	if !slices.EqualFunc(m.records, j.pub.Records, dns.Record.Equal) {
		m.since = time.Time{}
	}
	m.records, m.awaited, m.failed, m.pending = append([]dns.Record{}, j.pub.Records...), j.awaited, false, !s.InSync
	if s.InSync {
		s.InSyncSince = b.inSyncSince(j, m)
		m.since = s.InSyncSince
		if len(j.pub.Records) == 0 {
			delete(b.memory, j.owner)
		}
	}
	return s
}

// inSyncSince is when the records of a job were first known to be in sync; b.mu is held.
func (b *Backend) inSyncSince(j *job, m *memory) time.Time {
	prior := j.pub.Prior
	switch {
	case prior.InSync && prior.Change == j.awaited.String() && !prior.InSyncSince.IsZero():
		return prior.InSyncSince
	case !j.told.since.IsZero():
		return j.told.since
	case !m.since.IsZero():
		return m.since
	}
	return b.opts.Clock.Now()
}

func (b *Backend) countPending() {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for _, m := range b.memory {
		if m.pending {
			n++
		}
	}
	b.metrics.pending.Set(float64(n))
}

// Published implements [dns.Backend]. It finds all names that the Ingress owns, those of hosts that it serves no longer
// included.
func (b *Backend) Published(ctx context.Context, cluster string, ingress ktypes.NamespacedName, hosts []string) ([]dns.Record, error) {
	zones, err := b.zones(ctx)
	if err != nil {
		return nil, err
	}
	o := owner{cluster, ingress, b.opts.Origin}
	serves := map[*hostedZone]bool{}
	for _, host := range hosts {
		if zone, err := zones.find(host); err == nil { // a host outside of every zone has no records
			serves[zone] = true
		}
	}
	var all []dns.Record
	for _, zone := range zones.all {
		found, err := b.publishedIn(ctx, zone, o)
		if err != nil && (serves[zone] || !denied(err)) {
			return nil, fmt.Errorf("read the records of %s: %w", o, err)
		}
		all = append(all, found...)
	}
	arrange(all, hosts, dns.ClusterLabel(cluster))
	return all, nil
}

// Ingresses returns those that a cluster has records for, whether they exist or not, in the order of their names. Zones that the credentials may not
// read are left out.
func (b *Backend) Ingresses(ctx context.Context, cluster string) ([]ktypes.NamespacedName, error) {
	zones, err := b.zones(ctx)
	if err != nil {
		return nil, err
	}
	found := map[ktypes.NamespacedName]bool{}
	for _, zone := range zones.all {
		if err := b.ingressesIn(ctx, zone, cluster, found); err != nil && !denied(err) {
			return nil, fmt.Errorf("read what cluster %q owns: %w", cluster, err)
		}
	}
	return slices.SortedFunc(maps.Keys(found), func(a, b ktypes.NamespacedName) int { return cmp.Compare(a.String(), b.String()) }), nil
}

func (b *Backend) ingressesIn(ctx context.Context, zone *hostedZone, cluster string, found map[ktypes.NamespacedName]bool) error {
	if err := zone.lock(ctx); err != nil {
		return err
	}
	defer zone.unlock()
	in := snapshot{}
	if err := b.read(ctx, zone, in, nil, []string{ownershipRoot(zone, cluster)}); err != nil {
		return err
	}
	b.keepOwned(zone, cluster, in)
	b.mu.Lock()
	defer b.mu.Unlock()
	for ingress, names := range zone.owned[cluster].byOwner {
		if len(names) > 0 {
			found[ingress] = true
		}
	}
	return nil
}

// arrange orders records as dns.Plan does: host by host, its own records before those below it, primary before canary.
func arrange(all []dns.Record, hosts []string, clusterLabel string) {
	rank := make(map[string]int, len(hosts))
	for i, host := range hosts {
		rank[host] = i - len(hosts) // hosts that are served no longer come last
	}
	slices.SortFunc(all, func(a, b dns.Record) int {
		hostA, hostB := hostOf(a.Name, clusterLabel), hostOf(b.Name, clusterLabel)
		if hostA != hostB {
			return cmp.Or(cmp.Compare(rank[hostA], rank[hostB]), cmp.Compare(hostA, hostB))
		}
		if (a.Name == hostA) != (b.Name == hostB) {
			return cmp.Compare(len(a.Name), len(b.Name))
		}
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(b.SetIdentifier, a.SetIdentifier), cmp.Compare(a.Type, b.Type))
	})
}

func (b *Backend) publishedIn(ctx context.Context, zone *hostedZone, o owner) ([]dns.Record, error) {
	if err := zone.lock(ctx); err != nil {
		return nil, err
	}
	defer zone.unlock()
	in := snapshot{}
	names, err := b.load(ctx, zone, in, map[owner][]string{o: nil})
	if err != nil {
		return nil, err
	}
	var all []dns.Record
	for _, name := range names[o] {
		at, err := ownershipName(zone, o.cluster, name)
		if err != nil {
			return nil, err
		}
		held, _, err := readClaim(in[at], b.origins())
		if err != nil || held == nil || held.owner != o {
			continue // it was taken away meanwhile
		}
		all = append(all, recordsOf(zone, name, held, in)...)
	}
	return all, nil
}

// recordsOf returns the records that a claim names and that stand.
func recordsOf(zone *hostedZone, name string, held *claim, in snapshot) []dns.Record {
	var sets []*types.ResourceRecordSet
	ttls := map[key]time.Duration{}
	for _, set := range in[name] {
		if k := keyOf(set); held.owns(held.owner, k) {
			sets = append(sets, set)
			ttls[k] = held.records[key{kind: k.kind, id: k.id}]
		}
	}
	return records(zone, sets, ttls)
}
