package dns

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"github.com/penstock-dev/penstock/internal/state"
)

// PublisherOptions configures a [Publisher]. The zero value works.
type PublisherOptions struct {
	// AnnotationPrefix of the Ingresses' traffic-weight; DefaultAnnotationPrefix if empty.
	AnnotationPrefix string
	// HealthCheckID of the cluster; empty is none.
	HealthCheckID string
	// HealthCheck, if it is not nil, returns the id that takes the place of HealthCheckID now.
	HealthCheck func() string
	// HostTTL is the TTL of the hosts' records. Zero leaves it to the backend, since all clusters of a host must have the same.
	HostTTL time.Duration
	// InnerTTL is the TTL of the records below a host; DefaultInnerTTL if zero.
	InnerTTL time.Duration
	// Ready tells whether a host of an Ingress has somebody to serve it; one that has not gets weight 0. When it returns an error, the published
	// weight stays. Nil takes every host for ready.
	Ready func(ctx context.Context, ingress *networkingv1.Ingress, host string) (bool, error)
	// Prove tells whether evidence that records are in sync is needed even where no Canary waits for it, by somebody who acknowledges what is served.
	// Nil says never.
	Prove func() bool
	// CallTimeout bounds one Sync; 60 s if zero.
	CallTimeout time.Duration
	// Clock is the real one if nil.
	Clock clock.PassiveClock
	// Registerer gets the metrics; nil is nobody.
	Registerer prometheus.Registerer
}

// Publisher is the one writer of a cluster's records. It starts no goroutine; whoever has something to wait for calls Sync again. It may be
// used by several goroutines: calls for the same Ingress follow each other.
type Publisher struct {
	cluster string
	source  Source
	backend Backend
	weight  WeightSource
	log     *zap.SugaredLogger
	opts    PublisherOptions
	metrics *metrics

	mu     sync.Mutex // guards the following
	locks  map[types.NamespacedName]*turn
	memory map[types.NamespacedName]memory
}

// turn is the lock of one Ingress, for as long as somebody holds it or waits for it.
type turn struct {
	sync.Mutex

	users int // guarded by Publisher.mu
}

// NewPublisher returns the publisher of a cluster, whose name is the set identifier of its records. A nil log is silent.
func NewPublisher(cluster string, source Source, backend Backend, weight WeightSource, log *zap.SugaredLogger, opts PublisherOptions) (*Publisher, error) {
	// https://docs.aws.amazon.com/Route53/latest/APIReference/API_ResourceRecordSet.html: SetIdentifier, 1 to 128 characters.
	if cluster == "" || len(cluster) > 128 {
		return nil, fmt.Errorf("cluster name %q: it is the set identifier of the cluster's records, so it needs 1 to 128 characters", cluster)
	}
	if log == nil {
		log = zap.NewNop().Sugar()
	}
	if opts.AnnotationPrefix == "" {
		opts.AnnotationPrefix = DefaultAnnotationPrefix
	}
	if opts.InnerTTL == 0 {
		opts.InnerTTL = DefaultInnerTTL
	}
	if opts.CallTimeout == 0 {
		opts.CallTimeout = time.Minute
	}
	if opts.Clock == nil {
		opts.Clock = clock.RealClock{}
	}
	m, err := newMetrics(opts.Registerer)
	if err != nil {
		return nil, err
	}
	return &Publisher{
		cluster: cluster, source: source, backend: backend, weight: weight, log: log, opts: opts, metrics: m,
		locks: map[types.NamespacedName]*turn{}, memory: map[types.NamespacedName]memory{},
	}, nil
}

// Result is what Sync found out about one Ingress.
type Result struct {
	Ingress types.NamespacedName
	Hosts   []HostResult
	Status  Status
	// Err is what went wrong with this Ingress beside what Status and Hosts say, such as a read that failed. It is in Sync's error too.
	Err error
	// AnswerErr is why Canaries of the Ingress were not told, which says nothing of its records. It is in Sync's error too.
	AnswerErr error
	// EffectiveAt is from when on no resolver that obeys the TTL can give an answer from before the last change, of weights too; zero while that is
	// not in sync.
	EffectiveAt time.Time
}

// HostResult is the state of one host, also of one that the Ingress does not serve any more while its records could not be withdrawn.
type HostResult struct {
	Host string
	// Weight is the published record weight; -1 when nothing is published.
	Weight int
	// Canary is true while the host points at an inner set.
	Canary bool
	// Warning says, for people, what was published in spite of something, such as an annotation that cannot be read.
	Warning string
	// Kept is true when Weight is the one of before, because Warning says why the one of now is not known.
	Kept bool
	// Err is why the host is not published as it should be. Other hosts do not wait for it.
	Err error
}

// InSync tells whether every host that can be published is in sync, which is what a cluster's weight is acknowledged by.
func (r Result) InSync() bool {
	return r.Err == nil && r.Status.Err == nil && r.Status.InSync && !r.Status.Assumed
}

// job is one Ingress on its way through Sync.
type job struct {
	name types.NamespacedName
	// heirs are the Ingresses of the Canaries that this one was prepared for.
	heirs      []types.NamespacedName
	world      *world
	configMaps map[string]*corev1.ConfigMap
	steps      []*step
	records    []Record
	memory     memory
	status     Status
}

// Sync brings each Ingress forward by what can be done now, and answers in the ConfigMaps of its Canaries. It never waits for DNS: call
// it again. Results leave out Ingresses that others publish, such as a canary's that has nothing published for itself. The error joins what
// went wrong with single Ingresses, which does not stop the others.
func (p *Publisher) Sync(ctx context.Context, ingresses ...types.NamespacedName) ([]Result, error) {
	ctx, cancel := context.WithTimeout(ctx, p.opts.CallTimeout)
	defer cancel()
	defer p.lock(ingresses)()

	var errs []error
	var jobs, prepared []*job
	var results []Result
	for _, name := range ingresses {
		switch j, err := p.read(ctx, name); {
		case err != nil:
			errs = append(errs, err)
			results = append(results, Result{Ingress: name, Err: err})
		case j == nil:
			p.metrics.forget(name)
		case len(j.heirs) > 0:
			prepared = append(prepared, j)
		default:
			jobs = append(jobs, j)
		}
	}
	errs = append(errs, p.publish(ctx, jobs))
	var moved []*job
	now := p.opts.Clock.Now()
	for _, j := range jobs {
		if j.status.written() && advance(j.steps, j.status.InSync, j.memory.effective(now)) {
			moved = append(moved, j)
		}
	}
	errs = append(errs, p.publish(ctx, moved))
	kept, err := p.release(ctx, prepared)
	results, errs = append(results, kept...), append(errs, err)
	for _, j := range jobs {
		result := p.result(j)
		p.remember(j)
		result.AnswerErr = p.answer(ctx, j)
		errs = append(errs, result.AnswerErr)
		results = append(results, result)
	}
	return results, errors.Join(errs...)
}

// lock takes the locks of the Ingresses, in one order for everybody, and returns what releases them.
func (p *Publisher) lock(ingresses []types.NamespacedName) (unlock func()) {
	ordered := slices.Clone(ingresses)
	slices.SortFunc(ordered, func(a, b types.NamespacedName) int { return strings.Compare(a.String(), b.String()) })
	ordered = slices.Compact(ordered)
	for _, name := range ordered {
		p.mu.Lock()
		l := p.locks[name]
		if l == nil {
			l = &turn{}
			p.locks[name] = l
		}
		l.users++
		p.mu.Unlock()
		l.Lock()
	}
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, name := range ordered {
			l := p.locks[name]
			l.Unlock()
			if l.users--; l.users == 0 {
				delete(p.locks, name)
			}
		}
	}
}

// read collects what the step of an Ingress is decided from. It returns nil for an Ingress that is not published for itself, and of which nothing is.
func (p *Publisher) read(ctx context.Context, name types.NamespacedName) (*job, error) {
	w := &world{
		cluster: p.cluster, opts: p.opts, canaries: map[string]bool{},
		others: map[string]error{}, beside: map[string]string{}, shared: map[string]error{}, unready: map[string]error{},
	}
	j := &job{name: name, world: w, configMaps: map[string]*corev1.ConfigMap{}}
	var err error
	w.ingress, err = p.source.Ingress(ctx, name)
	switch {
	case apierrors.IsNotFound(err):
		w.ingress = &networkingv1.Ingress{}
		w.ingress.Namespace, w.ingress.Name = name.Namespace, name.Name
	case err != nil:
		return nil, err
	case Generated(w.ingress):
		return nil, nil //nolint:nilnil // nothing to do is no error
	}
	canaries, err := p.source.Canaries(ctx, name.Namespace)
	if err != nil {
		return nil, err
	}
	if err := p.readWishes(ctx, j, canaries); err != nil {
		return nil, err
	}
	var hostErr error
	if w.hosts, hostErr = HostsOf(w.ingress, ""); hostErr != nil {
		p.log.Warnw("hosts left out", "ingress", name.String(), "reason", hostErr.Error())
	}
	if w.published, err = p.backend.Published(ctx, p.cluster, name, w.hosts); err != nil {
		return nil, fmt.Errorf("read what is published for ingress %s: %w", name, err)
	}
	w.checkOverlap()
	if len(w.wishes) > 0 {
		j.heirs = nil // it has a Canary of its own, so it is published for itself
	}
	if len(j.heirs) > 0 && len(w.published) == 0 && !p.remembers(name) {
		return nil, nil //nolint:nilnil // nothing to do is no error
	}
	w.weight, w.weightErr = p.weight.ClusterWeight(ctx)
	if p.opts.HealthCheck != nil {
		w.opts.HealthCheckID = p.opts.HealthCheck()
	}
	for _, host := range w.hosts {
		p.askReady(ctx, w, host)
	}
	if err := p.readOthers(ctx, w); err != nil {
		return nil, err
	}
	j.memory = p.recall(name, w)
	j.steps = w.steps()
	return j, nil
}

// errUnready says that nobody is there to serve a host.
var errUnready = errors.New("no ready endpoints")

func (p *Publisher) askReady(ctx context.Context, w *world, host string) {
	if p.opts.Ready == nil {
		return
	}
	ready, err := p.opts.Ready(ctx, w.ingress, host)
	switch {
	case err != nil:
		w.unready[host] = fmt.Errorf("whether host %q has ready endpoints is not known: %w", host, err)
	case !ready:
		w.unready[host] = fmt.Errorf("host %q: %w", host, errUnready)
	}
}

// readWishes reads the Canaries' ConfigMaps.
func (p *Publisher) readWishes(ctx context.Context, j *job, canaries []corev1.ConfigMap) error {
	for i := range canaries {
		if desired, _, _ := state.Read(&canaries[i]); desired.Ingress != "" && canaries[i].DeletionTimestamp == nil { // malformed is said below
			j.world.canaries[desired.Ingress] = true
		}
	}
	for i := range canaries {
		cm := &canaries[i]
		desired, observed, err := state.Read(cm)
		if err != nil && desired.Mode == "" {
			p.log.Warnw("configmap left out", "configmap", cm.Namespace+"/"+cm.Name, "reason", err.Error())
		}
		if mine := observed.Ingress == "" || observed.Ingress == j.name.Name; mine && desired.Mode == "" && cm.DeletionTimestamp == nil {
			why := lostWish(cm, err)
			switch {
			case observed.Exposure > 0:
				j.world.exposed = append(j.world.exposed, exposure{observed.Hosts, observed.Exposure, why})
			case observed.Attached, err != nil && observed.Generation == 0:
				j.world.lost = errors.Join(j.world.lost, why)
			}
		}
		if desired.Mode == state.Split && desired.CanaryIngress == j.name.Name {
			j.heirs = append(j.heirs, types.NamespacedName{Namespace: j.name.Namespace, Name: desired.Ingress})
		}
		if desired.Ingress != j.name.Name || cm.DeletionTimestamp != nil {
			continue
		}
		wish := &wish{configMap: cm.Name, desired: desired, observed: observed}
		j.configMaps[cm.Name] = cm
		j.world.wishes = append(j.world.wishes, wish)
		wish.hosts, wish.err = HostsOf(j.world.ingress, desired.Service)
		if wish.err == nil {
			if err := p.readPrepared(ctx, j, wish); err != nil {
				return err
			}
		}
	}
	return nil
}

// lostWish returns why it is not known what a Canary wants.
func lostWish(cm *corev1.ConfigMap, malformed error) error {
	if malformed != nil {
		return malformed
	}
	return fmt.Errorf("configmap %s/%s: data.%s is missing: the router of the Canary writes it anew", cm.Namespace, cm.Name, state.DesiredKey)
}

// readPrepared reads the Ingress of a canary in split mode and checks that DNS can split at all.
func (p *Publisher) readPrepared(ctx context.Context, j *job, w *wish) error {
	if w.desired.Mode != state.Split || !w.attach() {
		return nil
	}
	name := types.NamespacedName{Namespace: j.name.Namespace, Name: w.desired.CanaryIngress}
	ingress, err := p.source.Ingress(ctx, name)
	if apierrors.IsNotFound(err) {
		w.err = fmt.Errorf("ingress %s, which the annotation penstock.dev/canary-ingress of the Canary names, does not exist: create it, or remove the annotation", name)
		return nil
	}
	if err != nil {
		return err
	}
	if j.world.canaries[ingress.Name] {
		w.err = fmt.Errorf("ingress %s, which the annotation penstock.dev/canary-ingress of the Canary names, has a Canary of its own: name one that has none", name)
		return nil
	}
	w.prepared = ingress
	w.err = CheckSplit(j.world.ingress, ingress, w.desired.Service)
	return nil
}

// checkOverlap gives a host that several Canaries would split to one of them: the one that splits it, then one whose split may still be served, then one that
// wants it, and one that does neither is in nobody's way. What another Canary splits of a host of its own goes on.
func (w *world) checkOverlap() {
	slices.SortFunc(w.wishes, func(a, b *wish) int {
		return cmp.Or(a.rank()-b.rank(), w.leads(b)-w.leads(a), strings.Compare(a.configMap, b.configMap))
	})
	for i, second := range w.wishes {
		for _, first := range w.wishes[:i] {
			for _, host := range slices.Clone(second.hosts) {
				if second.attach() && slices.Contains(first.hosts, host) {
					keeper, other := first, second
					if second.splits(host) && !first.splits(host) {
						keeper, other = second, first
					}
					other.yield(host, keeper)
				}
			}
		}
	}
}

// leads counts the hosts whose inner set leads to a Canary's prepared Ingress. It tells whose they are where what was observed is lost.
func (w *world) leads(to *wish) int {
	if to.prepared == nil {
		return 0
	}
	target, err := TargetOf(to.prepared)
	if err != nil {
		return 0 // it leads nowhere
	}
	n := 0
	for _, host := range to.hosts {
		inner, _, err := namesOf(w.cluster, host)
		at := slices.DeleteFunc(slices.Clone(w.published), func(r Record) bool { return r.Name != inner })
		if err == nil && len(published(at, nil, Canary).shared(target)) > 0 {
			n++
		}
	}
	return n
}

// splits tells whether a host was seen to be split for the Canary.
func (w *wish) splits(host string) bool {
	return w.rank() <= leaving && slices.Contains(w.observed.Hosts, host)
}

// yield leaves a host to another Canary. One that splits nothing yet has to wait.
func (w *wish) yield(host string, to *wish) {
	w.err = fmt.Errorf("configmap %s: configmap %s splits the same host, %q, and DNS can split a host for one Canary at a time: "+
		"this one goes on when that one has ended; or give it a host of its own", w.configMap, to.configMap, host)
	w.hosts = slices.DeleteFunc(slices.Clone(w.hosts), func(h string) bool { return h == host || w.rank() > leaving })
}

// publish hands the records of the jobs, with their hosts where they are now, to the backend, and notes how far they are.
//
// An error that concerns all is in each job's status too, so that every Canary is told.
func (p *Publisher) publish(ctx context.Context, jobs []*job) error {
	if len(jobs) == 0 {
		return nil
	}
	publications, before, published := make([]Publication, len(jobs)), make([]memory, len(jobs)), make([][]Record, len(jobs))
	for i, j := range jobs {
		before[i] = j.memory
		from := j.world.published
		if j.records != nil {
			from = j.records
		}
		published[i] = from
		j.records = append([]Record{}, j.world.records(j.steps)...)
		j.memory = j.memory.follow(from, j.records, j.world.countWeights(), p.opts)
		nothing := before[i].isNothing(from, j.records)
		publications[i] = Publication{
			Ingress: j.name, IngressUID: j.world.ingress.UID, Cluster: p.cluster, Records: j.records,
			Prove: j.world.prove(j.steps, nothing) || p.opts.Prove != nil && p.opts.Prove() && !nothing && !j.isReleased(),
			Takes: j.world.preparedIngresses(),
			Prior: Status{Change: j.memory.change, InSync: !j.memory.inSyncSince.IsZero(), InSyncSince: j.memory.inSyncSince},
		}
	}
	statuses, err := p.backend.Publish(ctx, publications...)
	if err == nil && len(statuses) != len(jobs) {
		err = fmt.Errorf("the backend reported on %d of %d ingresses", len(statuses), len(jobs))
	}
	if err != nil {
		err = fmt.Errorf("publish the records of %d ingresses: %w", len(jobs), err)
		statuses = slices.Repeat([]Status{{Err: err}}, len(jobs))
	}
	for i, j := range jobs {
		j.status = statuses[i]
		if !j.status.written() { // what is remembered is still about what is published
			if j.status.Err != nil {
				p.log.Warnw("records not published", "ingress", j.name.String(), "reason", j.status.Err.Error())
			}
			j.memory, j.records = before[i], published[i]
			continue
		}
		j.memory.change = j.status.Change
		switch {
		case !j.status.InSync:
			j.memory.inSyncSince = time.Time{}
		case j.memory.inSyncSince.IsZero():
			j.memory.inSyncSince = j.status.InSyncSince
			if j.memory.inSyncSince.IsZero() {
				j.memory.inSyncSince = p.opts.Clock.Now()
			}
		}
	}
	return err
}

// countWeights tells whether the shares between clusters matter to a canary: they do when it changes them itself.
func (w *world) countWeights() bool {
	return slices.ContainsFunc(w.wishes, func(wish *wish) bool { return wish.desired.Mode == state.Shared })
}

// prove tells whether somebody depends on the records being in sync. An exposure of nothing needs no evidence, and there is none; a split may have records that
// nobody remembers.
func (w *world) prove(steps []*step, nothing bool) bool {
	return slices.ContainsFunc(steps, func(s *step) bool { return s.stage != direct }) ||
		slices.ContainsFunc(w.wishes, func(wish *wish) bool {
			waiting := wish.observed.Generation != wish.desired.Generation || !wish.observed.Effective
			return waiting && (wish.attach() || wish.observed.Attached || wish.desired.Exposure > 0 && !nothing)
		})
}

// answer writes what was observed into the ConfigMaps of the Canaries, where it differs from what stands there.
func (p *Publisher) answer(ctx context.Context, j *job) error {
	var errs []error
	for _, w := range j.world.wishes {
		o := w.answer(j.steps, j.memory, j.status, p.opts.Clock.Now())
		text, err := state.Encode(o)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		cm := j.configMaps[w.configMap]
		if cm.Data[state.ObservedKey] == text {
			continue
		}
		p.log.Infow("canary observed", "ingress", j.name.String(), "configmap", w.configMap, "generation", o.Generation,
			"effective", o.Effective, "attached", o.Attached, "pending", o.Pending, "error", o.Error, "warning", o.Warning)
		errs = append(errs, p.source.Answer(ctx, cm, text))
	}
	return errors.Join(errs...)
}

// effectiveAt counts the weights of the hosts too, which a canary does not wait for.
func (j *job) effectiveAt() time.Time {
	at := j.memory.effectiveAt()
	if at.IsZero() {
		return at
	}
	for _, r := range j.records {
		if served := j.memory.inSyncSince.Add(servedTTL(r, j.records)); r.SetIdentifier == j.world.cluster && served.After(at) {
			at = served
		}
	}
	return at
}

func (p *Publisher) result(j *job) Result {
	r := Result{Ingress: j.name, Status: j.status, EffectiveAt: j.effectiveAt()}
	for _, s := range j.steps {
		r.Hosts = append(r.Hosts, HostResult{Host: s.host, Weight: -1, Canary: s.stage == atInner, Warning: s.warning, Kept: s.kept, Err: s.err})
	}
	for _, record := range j.records {
		if _, below := Above(record.Name); below || record.SetIdentifier != p.cluster {
			continue
		}
		i := slices.IndexFunc(r.Hosts, func(h HostResult) bool { return h.Host == record.Name })
		if i < 0 {
			i = len(r.Hosts)
			r.Hosts = append(r.Hosts, HostResult{Host: record.Name})
		}
		r.Hosts[i].Weight = record.Weight
	}
	p.metrics.observe(r, j.memory, p.opts.Clock.Now())
	return r
}
