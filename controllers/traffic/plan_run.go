package traffic

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/penstock-dev/penstock/controllers/ramp"
	"github.com/penstock-dev/penstock/controllers/store"
	"github.com/penstock-dev/penstock/dns"
	"github.com/penstock-dev/penstock/dns/externaldns"
	"github.com/penstock-dev/penstock/dns/route53"
	"github.com/penstock-dev/penstock/internal/state"
	"github.com/penstock-dev/penstock/weights"
)

// requestTimeout bounds one request to the API server where its configuration says nothing.
const requestTimeout = 30 * time.Second

// rowReader is all that a plan does with a store.
type rowReader interface {
	Read(ctx context.Context) (store.Row, error)
}

// reality is what a plan reads.
type reality struct {
	kube    kubernetes.Interface
	objects dynamic.Interface
	records route53.API
	row     rowReader
}

// Plan returns what a controller with these options would do next, as far as that can be told without asking DNS, and does nothing of it: no request
// that could change something leaves. The error says why there is no plan; what is not known of single Ingresses is among the problems.
func Plan(ctx context.Context, config *rest.Config, opts Options) (Planned, error) {
	if err := opts.Complete(); err != nil {
		return Planned{}, err
	}
	config = rest.CopyConfig(config)
	config.QPS, config.Burst = float32(opts.KubeAPIQPS), opts.KubeAPIBurst
	config.Timeout = cmp.Or(config.Timeout, requestTimeout)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return readOnly{next} })
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return Planned{}, fmt.Errorf("kubernetes client: %w", err)
	}
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		return Planned{}, fmt.Errorf("client of DNSEndpoints: %w", err)
	}
	if opts.Backend == BackendRoute53 {
		if opts.origin, err = originOf(ctx, kube); err != nil {
			return Planned{}, err
		}
	}
	row, err := OpenStore(kube, opts)
	if err != nil {
		return Planned{}, err
	}
	return plan(ctx, reality{kube, objects, route53.NewEnvironmentClient(), row}, opts)
}

// OpenStore returns the store of a cluster that [Options.Complete] has found nothing wrong with. Without Options.Namespace, a ConfigMap is in the
// namespace of the Pod.
func OpenStore(kube kubernetes.Interface, opts Options) (store.Store, error) {
	return newStore(kube, opts, podNamespace())
}

// plan is Plan with options that are complete.
func plan(ctx context.Context, r reality, opts Options) (Planned, error) {
	row, known, err := rowOf(ctx, r.row, opts)
	if err != nil {
		return Planned{}, err
	}
	p := Planned{Cluster: opts.ClusterName, Fixed: opts.Store == StoreFake, Changes: []PlannedChange{}}
	if !known {
		p.Notes = append(p.Notes, noRow(opts))
	}
	if known = known && !p.Fixed; known { // what a flag says now tells nothing of what is served
		p.Row = &row
	}
	next, notes := nextWeight(row, opts, opts.clock.Now())
	p.Notes = append(p.Notes, notes...)
	p.Weight = ramp.Target(next, opts.Ramp)
	will, err := weights.WholePercent(p.Weight)
	if err != nil {
		return Planned{}, fmt.Errorf("weight of cluster %s: %w", opts.ClusterName, err)
	}
	was, err := weights.WholePercent(min(max(row.CurrentWeight, 0), 100))
	if err != nil {
		return Planned{}, fmt.Errorf("weight of cluster %s: %w", opts.ClusterName, err)
	}

	var objects dynamic.Interface
	if opts.Backend == BackendExternalDNS {
		objects = r.objects
	}
	world, err := readSnapshot(ctx, r.kube, objects)
	if err != nil {
		return Planned{}, err
	}
	run := &rehearsal{
		opts: opts, world: world, answers: map[types.NamespacedName]string{},
		about: outlook{opts: opts, was: was, will: will, served: known && row.CurrentWeight != store.Unknown},
		seen:  &recorder{before: map[types.NamespacedName][]dns.Record{}, after: map[types.NamespacedName][]dns.Record{}},
	}
	run.source = &source{caches: world, filter: opts.filter, sole: opts.SolePublisher, answer: run.answer}
	run.backend(r)
	check := cmp.Or(row.HealthCheckID, opts.HealthCheckID)
	publisher, err := dns.NewPublisher(opts.ClusterName, run.source, run.seen, dns.StaticWeight(will), nil, dns.PublisherOptions{
		AnnotationPrefix: opts.AnnotationPrefix, HealthCheckID: check, HostTTL: opts.HostTTL, InnerTTL: opts.InnerTTL,
		Ready: run.source.ready, CallTimeout: publishTimeout, Clock: opts.clock,
	})
	if err != nil {
		return Planned{}, fmt.Errorf("cluster publisher: %w", err)
	}
	names, kept, err := run.names(ctx)
	if err != nil {
		return Planned{}, err
	}
	p.Problems = kept
	if world.unknown {
		p.Problems = append(p.Problems, PlannedProblem{Severity: Unknown, Message: externaldns.Resource.GroupResource().String() +
			": install the CustomResourceDefinition of external-dns, or publish with dns-backend route53"})
	}
	for batch := range slices.Chunk(names, batchSize) {
		results, _ := publisher.Sync(ctx, batch...) // the error repeats those of the results
		for _, result := range results {
			changes, problems := run.outcome(ctx, result)
			p.Changes = append(p.Changes, changes...)
			p.Problems = append(p.Problems, problems...)
		}
		if err := ctx.Err(); err != nil {
			return Planned{}, fmt.Errorf("plan of cluster %s: %w", opts.ClusterName, err)
		}
	}
	return p, nil
}

// rowOf reads the row, or says what the one would be that a controller would make.
func rowOf(ctx context.Context, from rowReader, opts Options) (row store.Row, known bool, err error) {
	row, err = from.Read(ctx)
	if errors.Is(err, store.ErrNotFound) {
		return store.Row{ClusterName: opts.ClusterName, DesiredWeight: opts.InitialWeight, CurrentWeight: store.Unknown}, false, nil
	}
	if err != nil {
		return store.Row{}, false, fmt.Errorf("read the row of cluster %s: %w", opts.ClusterName, err)
	}
	return row, true, nil
}

// noRow says where there is no row, and what a controller would do about that.
func noRow(opts Options) string {
	would := fmt.Sprintf("the controller would make one with the flag initial-weight, %d", opts.InitialWeight)
	if opts.Store == StoreConfigMap {
		return fmt.Sprintf("no ConfigMap %s/%s: %s; see the flags namespace and configmap", cmp.Or(opts.Namespace, podNamespace()), opts.ConfigMap, would)
	}
	return fmt.Sprintf("the store has no row for cluster %s: %s", opts.ClusterName, would)
}

// names returns the Ingresses that a controller would look at, in order, and those whose records it would keep although the flags leave them out.
func (r *rehearsal) names(ctx context.Context) (names []types.NamespacedName, kept []PlannedProblem, err error) {
	standing, err := r.owner.Ingresses(ctx, r.opts.ClusterName)
	if err != nil {
		return nil, nil, fmt.Errorf("list what cluster %s has records for: %w", r.opts.ClusterName, err)
	}
	for _, name := range r.world.names(standing) {
		switch {
		case !r.source.isTheirs(ctx, name):
			names = append(names, name)
		case slices.Contains(standing, name):
			kept = append(kept, PlannedProblem{Severity: Kept, Namespace: name.Namespace, Ingress: name.Name, Message: keptReason})
		}
	}
	return names, kept, nil
}

// names returns the Ingresses that the controller's watches would bring, and those that have records, in order.
func (s *snapshot) names(standing []types.NamespacedName) []types.NamespacedName {
	all := slices.Clone(standing)
	for name := range s.named {
		all = append(all, name)
	}
	for name := range s.endpoints {
		all = append(all, name)
	}
	for namespace, configMaps := range s.configMaps {
		for _, configMap := range configMaps {
			desired, _, _ := state.Read(configMap) // the publisher leaves out what cannot be read
			for _, name := range []string{desired.Ingress, desired.CanaryIngress} {
				if name != "" {
					all = append(all, types.NamespacedName{Namespace: namespace, Name: name})
				}
			}
		}
	}
	slices.SortFunc(all, func(a, b types.NamespacedName) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(all)
}

// rehearsal is a publisher that plays to nobody.
type rehearsal struct {
	opts    Options
	world   *snapshot
	source  *source
	seen    *recorder
	owner   owner
	about   outlook
	answers map[types.NamespacedName]string // by ConfigMap
}

// backend puts the one of the options, on clients that write nothing, behind the recorder.
func (r *rehearsal) backend(from reality) {
	if r.opts.Backend == BackendRoute53 {
		dry := &dryRoute53{API: from.records, created: map[dns.Key]bool{}}
		if r.opts.Route53AdoptOwner != "" {
			r.about.takenOver = dry.takenOver
		}
		o := r.opts.route53()
		o.Clock = r.opts.clock
		backend := route53.New(dry, zap.NewNop().Sugar(), o)
		r.seen.Backend, r.owner = backend, backend
		return
	}
	// With AssumeSyncAfter no name server is asked, which would take up to ten seconds for each Ingress and cannot change what is planned.
	r.seen.Backend = externaldns.New(dryObjects{from.objects, r.world.unknown}, nil, externaldns.Options{
		AssumeSyncAfter: 24 * time.Hour, Read: r.world.dnsEndpoint, Adopt: true, Clock: r.opts.clock,
	})
	r.owner = endpointOwner{r.world}
}

// answer keeps what the publisher would tell a Canary.
func (r *rehearsal) answer(_ context.Context, configMap *corev1.ConfigMap, observed string) error {
	r.answers[types.NamespacedName{Namespace: configMap.Namespace, Name: configMap.Name}] = observed
	return nil
}

// outcome returns what would become of one Ingress.
func (r *rehearsal) outcome(ctx context.Context, result dns.Result) ([]PlannedChange, []PlannedProblem) {
	var problems []PlannedProblem
	note := func(severity Severity, host, canary, message string) {
		problems = append(problems, PlannedProblem{
			Severity: severity, Namespace: result.Ingress.Namespace, Ingress: result.Ingress.Name, Host: host, Canary: canary, Message: message,
		})
	}
	refused := false
	for _, h := range result.Hosts {
		if h.Err != nil {
			refused = true
			note(Refused, h.Host, "", text(h.Err))
		}
		if h.Warning != "" {
			note(Warned, h.Host, "", h.Warning)
		}
	}
	for _, err := range []error{result.Err, result.Status.Err} {
		switch {
		case err == nil:
			continue
		case r.world.unknown && apierrors.IsNotFound(err): // which is told once for all
		case errors.Is(err, dns.ErrRefused):
			note(Refused, "", "", text(err))
		default:
			note(Unknown, "", "", text(err))
		}
		refused = true
	}
	if result.Status.Warning != "" {
		note(Warned, "", "", result.Status.Warning)
	}
	about := r.about
	for _, configMap := range r.world.configMaps[result.Ingress.Namespace] {
		desired, _, _ := state.Read(configMap) // as in names
		if desired.Ingress != result.Ingress.Name {
			continue
		}
		about.canaries = append(about.canaries, configMap.Labels[state.Label])
		answered := configMap.DeepCopy()
		if observed, ok := r.answers[types.NamespacedName{Namespace: configMap.Namespace, Name: configMap.Name}]; ok {
			answered.Data[state.ObservedKey] = observed // there are data, since desired stands in them
		}
		if _, observed, _ := state.Read(answered); observed.Error != "" && !refused {
			note(Refused, "", configMap.Labels[state.Label], strings.ReplaceAll(observed.Error, "\n", "; "))
		}
	}
	if result.Err != nil || result.Status.Err != nil {
		return nil, problems // nothing is written for it
	}
	return r.changes(ctx, about, result), problems
}

func (r *rehearsal) changes(ctx context.Context, about outlook, result dns.Result) []PlannedChange {
	name := result.Ingress
	about.ingress = r.world.named[name]
	about.unready = map[string]bool{}
	if about.ingress != nil {
		about.shown = r.opts.filter.ingress(about.ingress.DeepCopy())
	}
	for _, h := range result.Hosts {
		if about.shown == nil {
			break
		}
		ready, err := r.source.ready(ctx, about.shown, h.Host)
		about.unready[h.Host] = err == nil && !ready
	}
	r.seen.mu.Lock()
	before, after := r.seen.before[name], r.seen.after[name]
	r.seen.mu.Unlock()
	// The backend returns the records of an object that lacks our label only where it adopts them.
	object := r.world.endpoints[name]
	about.adopted = object != nil && object.GetLabels()[externaldns.ManagedByLabel] == "" && len(before) > 0
	return about.changes(name.Namespace, name.Name, before, after)
}
