package router

import (
	"context"
	"errors"
	"fmt"
	"time"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

	"github.com/penstock-dev/penstock/dns"
	"github.com/penstock-dev/penstock/internal/state"
)

// Annotations on a Canary whose provider is dns-weighted.
const (
	// CanaryIngressAnnotation names the prepared Ingress of the canary and with it chooses split mode.
	CanaryIngressAnnotation = "penstock.dev/canary-ingress"
	// ExposureAnnotation is the per cent, 1 to 100, to which the cluster's weight is scaled at the first step of a canary in
	// shared mode.
	ExposureAnnotation = "penstock.dev/cluster-exposure"
)

var (
	// ErrPending is wrapped by SetRoutes while weights are on their way: repeating the call, as Flagger does, is all there is to do.
	ErrPending = errors.New("pending")
	// ErrDraining is wrapped by SetRoutes and Finalize while somebody may still be sent to the canary.
	ErrDraining = errors.New("draining")
)

// Publisher brings records into DNS; a *dns.Publisher is one.
type Publisher interface {
	// Sync brings the records of Ingresses forward by what can be done now, and answers in the ConfigMaps of their Canaries.
	Sync(ctx context.Context, ingresses ...types.NamespacedName) ([]dns.Result, error)
	// InnerWeights returns the route weights that are published for a Service of an Ingress; found is false when there is no inner set.
	InnerWeights(ctx context.Context, ingress types.NamespacedName, service string) (primary, canary int, found bool, err error)
}

// DNSWeightedOptions configures a [DNSWeighted]. The zero value works.
type DNSWeightedOptions struct {
	// Skipper configures the router that splits in shared mode.
	Skipper SkipperOptions
	// SetOwnerRefs makes the Canary the owner of the generated Ingresses, as in [SkipperOptions]. It owns its ConfigMap in any case.
	SetOwnerRefs bool
	// PollInterval is how often a call that waits looks again; 1 s if zero.
	PollInterval time.Duration
	// WaitMargin is how much longer than the largest TTL served a call waits, or a drain before it is an event; 90 s if zero. Route 53 usually needs up to 60 s to be in
	// sync, and external-dns looks once a minute.
	WaitMargin time.Duration
	// CallTimeout bounds each call of the Kubernetes API; 10 s if zero.
	CallTimeout time.Duration
	// SyncTimeout bounds each call of the Publisher; 60 s if zero.
	SyncTimeout time.Duration
	// Clock is the real one if nil.
	Clock clock.Clock
	// Registerer gets the metrics; nil is nobody.
	Registerer prometheus.Registerer
}

func (o DNSWeightedOptions) withDefaults() DNSWeightedOptions {
	defaults := []struct {
		value    *time.Duration
		fallback time.Duration
	}{
		{&o.PollInterval, time.Second},
		{&o.WaitMargin, 90 * time.Second},
		{&o.CallTimeout, defaultCallTimeout},
		{&o.SyncTimeout, time.Minute},
	}
	for _, d := range defaults {
		if *d.value == 0 {
			*d.value = d.fallback
		}
	}
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	if o.Skipper.Clock == nil {
		o.Skipper.Clock = o.Clock
	}
	o.Skipper.SetOwnerRefs = o.Skipper.SetOwnerRefs || o.SetOwnerRefs
	return o
}

// DNSWeighted is the router for clusters behind weighted DNS. What it wants of DNS stands in one ConfigMap per Canary; the cluster
// publisher makes it so and answers there. Beside that it remembers only what concerns this process, and may be used
// by several goroutines.
//
// In shared mode primary and canary sit behind one load balancer: Skipper splits, and DNS carries the cluster's exposure. In split
// mode the canary has a load balancer of its own, and DNS splits.
type DNSWeighted struct {
	base      context.Context //nolint:containedctx // Flagger's interface carries none; each call derives its own with a deadline
	kube      kubernetes.Interface
	publisher Publisher // nil: another process publishes
	source    *dns.KubeSource
	skipper   *Skipper
	log       *zap.SugaredLogger
	opts      DNSWeightedOptions
	events    *events
	metrics   *metrics
	waitedFor *memory[time.Time] // when the last step ended that Flagger had to wait for
}

var _ Interface = (*DNSWeighted)(nil)

// NewDNSWeighted returns a router that works until ctx ends. A nil publisher says that another process, the traffic controller,
// publishes and answers. A nil log is silent.
func NewDNSWeighted(ctx context.Context, kube kubernetes.Interface, publisher Publisher, log *zap.SugaredLogger, opts DNSWeightedOptions) *DNSWeighted {
	if log == nil {
		log = zap.NewNop().Sugar()
	}
	opts = opts.withDefaults()
	m := newMetrics(opts.Registerer, log)
	r := &DNSWeighted{
		base: ctx, kube: kube, publisher: publisher, source: dns.NewKubeSource(kube, opts.Clock), log: log, opts: opts,
		events:    newEvents(ctx, kube, log, opts.Clock, opts.CallTimeout, m),
		metrics:   m,
		waitedFor: newMemory[time.Time](opts.Clock),
	}
	if opts.Skipper.Warn == nil {
		opts.Skipper.Warn = func(canary *flaggerv1.Canary, reason, message string) { //nolint:contextcheck // events have the base context
			r.events.warn(canary, Reason(reason), message)
		}
	}
	r.skipper = NewSkipper(ctx, kube, log, opts.Skipper)
	return r
}

// Reconcile creates the ConfigMap at 100/0, follows what may be followed at any time, starts the way back to the load balancer once
// a canary is over, and lets the publisher, if it is in this process, go on. It never resets weights. A configuration that cannot
// work is an error until the Canary is Initialized; later everything is a warning, because an error would keep Flagger from rolling
// back. For a Canary that is being deleted nothing is done, but that its apex Service stays at its target once it has been finalized.
func (r *DNSWeighted) Reconcile(canary *flaggerv1.Canary) error {
	if r.skipper.ending(canary) {
		return r.skipper.tickBesideFinalizer(canary)
	}
	r.skipper.ticks.put(canary, r.opts.Clock.Now())
	err := r.reconcile(canary)
	if err == nil || !initialized(canary) {
		return err
	}
	r.warn(canary, ReasonReconcile, err.Error())
	return nil
}

func (r *DNSWeighted) reconcile(canary *flaggerv1.Canary) error {
	asked := canary
	canary, err := r.begun(canary)
	if err != nil {
		return err
	}
	if !initialized(canary) {
		if err := r.check(canary); err != nil {
			return err
		}
	}
	var skipperErr error
	w, err := r.change(canary, func(w wish) (state.Desired, error) {
		desired, err := r.reconciled(canary, w)
		if err == nil && desired.Mode == state.Shared {
			if skipperErr = r.skipper.Reconcile(canary); skipperErr != nil && !initialized(canary) {
				return state.Desired{}, skipperErr
			}
		}
		return desired, err
	})
	if err != nil {
		return errors.Join(err, skipperErr)
	}
	r.metrics.observe(canary, w, r.opts.Clock.Now())
	r.warnOf(canary, w)
	moves := w.moves(shapeOf(canary)) && exposureOf(w.desired) == 100
	published := r.sync(canary, w, moves)
	if published == nil && moves {
		if w, err = r.change(canary, func(w wish) (state.Desired, error) { return r.recover(canary, w) }); err == nil {
			published = r.publish(canary, w)
		}
	}
	errs := []error{skipperErr, err, published}
	if initialized(canary) {
		errs = append(errs, r.checkIdle(asked, w))
	}
	return errors.Join(errs...)
}

// SetRoutes asks for weights, and returns nil once they are effective: no resolver that obeys the TTL can hold an answer from
// before. The first step is waited for inside the call, for as long as that may take if all goes well; then the error wraps ErrPending. A drain
// is waited for without end, because Flagger would send an alert at each error; if the wish is changed by somebody else meanwhile, or the router
// ends, the error wraps ErrDraining. Any other step that is on its way is ErrPending at once, so that Flagger goes on checking metrics.
func (r *DNSWeighted) SetRoutes(canary *flaggerv1.Canary, primaryWeight int, canaryWeight int, mirrored bool) error {
	asked := routes{primary: primaryWeight, canary: canaryWeight, mirrored: mirrored}
	if err := checkRoutes(canary, asked); err != nil {
		return err
	}
	if !urgent(canary, asked) {
		return r.setRoutes(canary, asked)
	}
	return insist(r.base, r.opts.Clock, r.opts.PollInterval, r.opts.WaitMargin,
		func(message string) { r.warn(canary, ReasonDraining, message) }, func() error { return r.setRoutes(canary, asked) })
}

// setRoutes is one attempt of SetRoutes.
func (r *DNSWeighted) setRoutes(canary *flaggerv1.Canary, asked routes) error {
	if err := r.skipper.checkEnding(canary); err != nil {
		return err
	}
	if err := checkIngressRef(canary); err != nil && !urgent(canary, asked) {
		return err
	}
	canary, err := r.begun(canary)
	if err != nil {
		return err
	}
	w, err := r.read(canary)
	if err != nil {
		if urgent(canary, asked) && r.skipper.splits(canary) { // its requests do not depend on the ConfigMap
			r.warn(canary, ReasonReconcile, err.Error())
			return r.skipper.SetRoutes(canary, asked.primary, asked.canary, asked.mirrored)
		}
		return err
	}
	mode, err := r.modeIn(canary, w)
	if err != nil {
		return err
	}
	r.metrics.target(canary, asked)
	called := r.opts.Clock.Now()
	if mode == state.Split {
		err = r.setSplit(canary, asked)
	} else {
		err = r.setShared(canary, w, asked)
	}
	if asked.canary > 0 && !errors.Is(err, ErrPending) && r.tookLong(canary, called) {
		r.waitedFor.put(canary, r.opts.Clock.Now()) // also with an error: what was written may have taken effect
	}
	return err
}

// tookLong tells whether Flagger may make up at once for a tick: the call, or the webhooks before it, took so much of the interval that the next tick may have been
// due meanwhile, also if this one was late itself.
func (r *DNSWeighted) tookLong(canary *flaggerv1.Canary, called time.Time) bool {
	interval := canary.GetAnalysisInterval()
	if r.opts.Clock.Since(called) >= interval/4 {
		return true
	}
	tick, ok := r.skipper.ticks.get(canary)
	return ok && r.opts.Clock.Since(tick) > interval-leastAnalysis(canary)
}

// leastAnalysis is how long a step must have been effective before it is judged.
func leastAnalysis(canary *flaggerv1.Canary) time.Duration {
	return min(canary.GetAnalysisInterval()/2, 30*time.Second)
}

// tooSoon returns an error in a tick that comes right after a step for which Flagger had to wait: its ticker makes up for one that was due
// meanwhile. Metrics know nothing of the step yet, and Flagger would take the lack of them for a failure, or the next step.
// https://github.com/fluxcd/flagger/blob/v1.44.0/pkg/controller/job.go
func (r *DNSWeighted) tooSoon(canary *flaggerv1.Canary) error {
	since, ok := r.waitedFor.get(canary)
	if !ok || canary.Status.Phase != flaggerv1.CanaryPhaseProgressing {
		return nil
	}
	if ago := r.opts.Clock.Since(since); ago < leastAnalysis(canary) {
		return fmt.Errorf("canary %s/%s: the step that Flagger waited for ended %s ago, and %s of spec.analysis.interval have to pass before it can be judged: this tick is left out",
			canary.Namespace, canary.Name, ago.Round(time.Millisecond), leastAnalysis(canary))
	}
	return nil
}

// GetRoutes returns the weights that are effective or, while they are on their way, those that the table of situations says. It never
// fails because DNS is slow; but a tick is left out that comes right after a step that was waited for. In split mode it asks the publisher for what is
// published, and fails with it, only while the wish is lost, which the next Reconcile writes anew.
func (r *DNSWeighted) GetRoutes(canary *flaggerv1.Canary) (primaryWeight int, canaryWeight int, mirrored bool, err error) {
	if err := r.tooSoon(canary); err != nil {
		return 0, 0, false, err
	}
	if canary, err = r.begun(canary); err != nil {
		return 0, 0, false, err
	}
	w, err := r.read(canary)
	if err != nil {
		if r.skipper.splits(canary) {
			return r.skipper.GetRoutes(canary)
		}
		return 0, 0, false, err
	}
	mode, err := r.modeIn(canary, w)
	if err != nil {
		return 0, 0, false, err
	}
	var now state.Weights
	if mode == state.Split {
		if w.lost() {
			if w.desired, err = r.recover(canary, w); err != nil {
				return 0, 0, false, err
			}
		}
		now = w.reported(canary.Status.Phase)
	} else if now.Primary, now.Canary, mirrored, err = r.skipper.GetRoutes(canary); err != nil {
		return 0, 0, false, err
	}
	now = forPromotion(canary, now)
	r.metrics.reported(canary, now)
	return now.Primary, now.Canary, mirrored, nil
}

// Finalize gives the traffic back to the target: in split mode the hosts point at the Ingress' load balancer again, in shared mode the
// generated Ingresses go. It waits for Skipper alone: what takes time in DNS is started durably, and ErrDraining is returned until it is done.
// What is gone already counts as done.
func (r *DNSWeighted) Finalize(canary *flaggerv1.Canary) error {
	r.skipper.finalizing.put(canary, struct{}{})
	canary, err := r.begun(canary)
	if errors.Is(err, errNoIngressRef) {
		return r.skipper.endReverted(canary) // nothing else was made
	}
	if err != nil {
		return err
	}
	w, err := r.read(canary)
	if err != nil {
		return err
	}
	if w.cm == nil && errors.Is(checkSpec(canary), errEmpty) { // refused from the start, unless it had a name there before
		_, _, found, err := r.innerWeights(canary, shapeOf(canary))
		if err == nil && !found {
			return r.skipper.endReverted(canary)
		}
	}
	mode, err := r.modeIn(canary, w)
	if err != nil {
		return err
	}
	if mode == state.Split {
		w, err = r.finalizeSplit(canary, w)
	} else {
		w, err = r.finalizeShared(canary, w)
	}
	if err != nil {
		return err
	}
	r.metrics.forget(canary)
	if err := r.skipper.endReverted(canary); err != nil {
		return err
	}
	if w.cm == nil {
		return nil
	}
	return r.drop(w.cm) // last, because without it a further call would have to find out anew what has ended
}

// begun returns the Canary as it was begun: if it names no Ingress any more, with the one that the ConfigMap knows, or Skipper. If neither knows one,
// the error wraps errNoIngressRef.
func (r *DNSWeighted) begun(canary *flaggerv1.Canary) (*flaggerv1.Canary, error) {
	if checkIngressRef(canary) == nil {
		return canary, nil
	}
	w, err := r.read(canary)
	switch {
	case err == nil && !w.lost():
		return withIngressRef(canary, w.desired.Ingress), nil
	case err == nil && w.observed.Ingress != "":
		return withIngressRef(canary, w.observed.Ingress), nil
	}
	begun, missing := r.skipper.begun(canary)
	if missing != nil && err != nil {
		return nil, err // it is not known that there is nothing
	}
	return begun, missing
}

// modeIn returns the mode that a Canary is in: the one that was begun.
func (r *DNSWeighted) modeIn(canary *flaggerv1.Canary, w wish) (state.Mode, error) {
	if !w.lost() {
		return w.desired.Mode, nil
	}
	shape, err := r.lostShape(canary, w)
	return shape.Mode, err
}

// publish lets the publisher, if it is in this process, go on with the Ingress of a wish. The error is what keeps it from publishing.
func (r *DNSWeighted) publish(canary *flaggerv1.Canary, w wish) error {
	return r.sync(canary, w, false)
}

// sync is publish. If it is for the last time, it is an error that a weight stays, or that something waits, because nobody comes back to it; and none that a
// host is refused, which has no weight here or its full one.
func (r *DNSWeighted) sync(canary *flaggerv1.Canary, w wish, last bool) error {
	if r.publisher == nil {
		return nil
	}
	ctx, cancel := r.syncCall()
	defer cancel()
	results, err := r.publisher.Sync(ctx, types.NamespacedName{Namespace: canary.Namespace, Name: w.desired.Ingress})
	errs := []error{err}
	for _, result := range results {
		errs = append(errs, result.Status.Err)
		if last && result.Status.Unwritten {
			errs = append(errs, errors.New(result.Status.Reason))
		}
		for _, host := range result.Hosts {
			switch {
			case !last:
				errs = append(errs, host.Err)
			case host.Kept:
				errs = append(errs, fmt.Errorf("host %q: %s", host.Host, host.Warning))
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("publish ingress %s/%s: %w", canary.Namespace, w.desired.Ingress, err)
	}
	return nil
}

// syncCall returns the context of one call of the publisher.
func (r *DNSWeighted) syncCall() (context.Context, context.CancelFunc) {
	return context.WithTimeout(r.base, r.opts.SyncTimeout)
}

// warn tells people what is wrong and must not stop Flagger.
func (r *DNSWeighted) warn(canary *flaggerv1.Canary, reason Reason, message string) {
	r.logFor(canary).Warnw("dns-weighted router", "reason", reason, "message", message)
	r.events.warn(canary, reason, message)
}

// warnOf passes on what the publisher has to say.
func (r *DNSWeighted) warnOf(canary *flaggerv1.Canary, w wish) {
	if w.observed.Error != "" {
		r.warn(canary, ReasonRefused, w.observed.Error)
	}
	if w.observed.Warning != "" {
		r.warn(canary, ReasonPublisher, w.observed.Warning)
	}
}

func (r *DNSWeighted) logFor(canary *flaggerv1.Canary) *zap.SugaredLogger {
	return r.log.With("canary", canary.Name+"."+canary.Namespace)
}
