package router

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	"go.uber.org/zap"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

	"github.com/penstock-dev/penstock/internal/conflicts"
	"github.com/penstock-dev/penstock/internal/state"
)

const (
	defaultCallTimeout  = 10 * time.Second
	defaultPollInterval = 3 * time.Second // Skipper's -source-poll-timeout, 3000 ms
	remindInterval      = 90 * time.Second
)

// SkipperOptions configures a [Skipper]. The zero value works.
type SkipperOptions struct {
	// SetOwnerRefs makes the Canary the owner of the generated Ingresses. Flagger does so with what its routers make, unless its flag
	// -kubeconfig-service-mesh names another cluster.
	SetOwnerRefs bool
	// CallTimeout bounds each call of the Kubernetes API; 10 s if zero.
	CallTimeout time.Duration
	// PollInterval is how often Skipper reads Ingresses (its flag -source-poll-timeout); 3 s if zero.
	PollInterval time.Duration
	// Settle is how long a change of routes takes to reach every Skipper; twice PollInterval if zero.
	Settle time.Duration
	// Clock is the real one if nil.
	Clock clock.Clock
	// SyncKeys are further annotations and labels of the apex Ingress that generated Ingresses get too; a key that ends in "/"
	// stands for all with that prefix. Annotations under zalando.org/, kubernetes.io/ingress.class and labels without a prefix
	// are copied anyway.
	SyncKeys []string
	// Warn is told of what is wrong but must not stop Flagger: a reason in CamelCase and a message for people. It is logged in
	// any case.
	Warn func(canary *flaggerv1.Canary, reason, message string)
}

// Skipper is the router for Skipper's Ingress data client: it splits by the weights of a second Ingress that precedes the
// user's own. It remembers only what concerns this process, and may be used by several goroutines. docs/skipper.md is its page for users.
type Skipper struct {
	base context.Context //nolint:containedctx // Flagger's interface carries none; each call derives its own with a deadline
	kube kubernetes.Interface
	log  *zap.SugaredLogger
	opts SkipperOptions

	ticks      *memory[time.Time] // when Flagger's last tick was
	finalizing *memory[struct{}]  // Canaries for which Finalize was called
	refused    *memory[int]       // how often Finalize sent them back
	reverted   *memory[reverted]
}

var _ Interface = (*Skipper)(nil)

// NewSkipper returns a router that works until ctx ends. A nil log is silent.
func NewSkipper(ctx context.Context, kube kubernetes.Interface, log *zap.SugaredLogger, opts SkipperOptions) *Skipper {
	if log == nil {
		log = zap.NewNop().Sugar()
	}
	if opts.CallTimeout == 0 {
		opts.CallTimeout = defaultCallTimeout
	}
	if opts.PollInterval == 0 {
		opts.PollInterval = defaultPollInterval
	}
	if opts.Settle == 0 {
		opts.Settle = 2 * opts.PollInterval
	}
	if opts.Clock == nil {
		opts.Clock = clock.RealClock{}
	}
	return &Skipper{
		base: ctx, kube: kube, log: log, opts: opts,
		ticks: newMemory[time.Time](opts.Clock), finalizing: newMemory[struct{}](opts.Clock),
		refused: newMemory[int](opts.Clock), reverted: newMemory[reverted](opts.Clock),
	}
}

// Reconcile makes the generated Ingresses follow the apex Ingress and the Canary, at the weights that are set; it creates them
// at 100/0, or in the middle of a canary at the weights in the Canary's status. Weights that an earlier Canary of that name left are
// not kept, because Flagger begins by scaling the canary down. A configuration that cannot work is an error until the Canary is
// Initialized; later it is a warning, and what there is stays, because an error would keep Flagger from rolling back. For
// a Canary that is being deleted nothing is done, but that its apex Service stays at its target once it has been finalized.
func (s *Skipper) Reconcile(canary *flaggerv1.Canary) error {
	if s.ending(canary) {
		return s.tickBesideFinalizer(canary)
	}
	s.ticks.put(canary, s.opts.Clock.Now())
	if err := checkIngressRef(canary); err != nil {
		return s.refuse(canary, err)
	}
	strategy, err := newStrategy(canary)
	if err != nil {
		return s.refuse(canary, err)
	}
	apex, err := s.get(canary.Namespace, canary.Spec.IngressRef.Name)
	if err != nil {
		err = fmt.Errorf("spec.ingressRef of canary %s/%s: %w", canary.Namespace, canary.Name, err)
		if apierrors.IsNotFound(err) {
			return s.refuse(canary, err)
		}
		return err
	}
	err = conflicts.Retry(func() error {
		_, err := s.reconcile(canary, strategy, apex, nil)
		return err
	})
	if refused := (refusal{}); errors.As(err, &refused) {
		return s.refuse(canary, refused.cause)
	}
	return err
}

// refusal is an error that lies in the configuration, not in the API.
type refusal struct{ cause error }

func (r refusal) Error() string { return r.cause.Error() }
func (r refusal) Unwrap() error { return r.cause }

// refuse returns err as long as nothing depends on the Canary yet, and else warns of it.
func (s *Skipper) refuse(canary *flaggerv1.Canary, err error) error {
	return s.refuseAs(canary, "SkipperMisconfigured", err)
}

// refuseAs is refuse with another reason of the warning.
func (s *Skipper) refuseAs(canary *flaggerv1.Canary, reason string, err error) error {
	if !initialized(canary) {
		return err
	}
	s.warn(canary, reason, err.Error())
	return nil
}

func (s *Skipper) warn(canary *flaggerv1.Canary, reason, message string) {
	s.logFor(canary).Warnw("skipper router", "reason", reason, "message", message)
	if s.opts.Warn != nil {
		s.opts.Warn(canary, reason, message)
	}
}

// reconcile is one attempt of Reconcile, from reading the canary Ingress on. Routes that are asked for take the place of the
// current ones. It tells whether it wrote anything.
func (s *Skipper) reconcile(canary *flaggerv1.Canary, strategy strategy, apex *networkingv1.Ingress, asked *routes) (changed bool, err error) {
	names := serviceNames(canary)
	main, err := s.getOrNil(canary.Namespace, canaryIngressName(apex.Name))
	if err != nil {
		return false, err
	}
	w := write{canary: canary, names: names, main: main, source: apex, drain: asked != nil && asked.drained()}
	current := recoverRoutes(canary)
	if main != nil {
		w.adopted = s.adopt(main, apex, names)
		if err := checkOwner(w.adopted, canary, names); err != nil {
			return false, refusal{err}
		}
		w.record = readRecord(main)
		current = s.currentRoutes(canary, main, names)
	}
	before := current
	switch {
	case asked != nil:
		current = *asked
	case !initialized(canary) && w.record.setBefore(canary.CreationTimestamp.Time): // by an earlier Canary of that name
		current = toPrimary // Flagger scales the canary down in this tick
	case w.record.matched && len(strategy.matches) == 0 && current.canary > 0 && analyzed(canary.Status.Phase):
		s.warn(canary, "SkipperWeightsLost", fmt.Sprintf("spec.analysis.match was removed, and %d/%d is not for everybody; the canary begins anew", current.primary, current.canary))
		current = toPrimary
	default:
		current.mirrored = current.mirrored && strategy.mirror // else it was switched off, and Flagger goes on with the first step
	}
	w.record.matched = len(strategy.matches) > 0
	if current != before {
		w.record.since = s.now()
	}
	view, highest, err := readApex(apex, names, strategy)
	if err != nil {
		return false, refusal{fmt.Errorf("ingress %s/%s: %w", apex.Namespace, apex.Name, err)}
	}
	if w.plan, err = newPlan(view, names, strategy, current); err != nil {
		return false, refusal{fmt.Errorf("ingress %s/%s: %w", apex.Namespace, apex.Name, err)}
	}
	if main == nil {
		was, err := newPlan(view, names, strategy, before)
		if err != nil {
			return false, refusal{fmt.Errorf("ingress %s/%s: %w", apex.Namespace, apex.Name, err)}
		}
		w.before = was.main.weights
	}
	w.record.apex, w.record.mirrored = snapshot(apex.Annotations), current.mirrored
	if main == nil || main.Annotations[apexAnnotation] != w.record.apex || !sameSpec(main.Spec, w.plan.main.spec) {
		if err := s.lookAround(&w, apex, highest); err != nil {
			return false, err
		}
	}
	changed, err = s.apply(w)
	if err == nil && changed {
		s.logFor(canary).Infow("canary ingress written", "ingress", canaryIngressName(apex.Name),
			"primary_percent", current.primary, "canary_percent", current.canary, "mirrored", current.mirrored)
	}
	return changed, err
}

// readApex returns what a plan needs of the apex Ingress, and the highest weight of a route that the plan may have.
func readApex(apex *networkingv1.Ingress, names services, strategy strategy) (view apexView, highest int, err error) {
	if err := checkShape(apex.Spec, names); err != nil {
		return apexView{}, 0, err
	}
	spec := canarySpec(apex.Spec, names)
	if view, err = viewOf(apex.Annotations, spec, names); err != nil {
		return apexView{}, 0, err
	}
	if (strategy.mirror || strategy.affinity != nil) && !alone(spec, names) {
		return apexView{}, 0, fmt.Errorf("%w %q; give it a path of its own", errShare, names.apex)
	}
	highest = highestWeight(spec, names, strategy)
	view.routes, err = raisedRoutes(apex.Annotations[routesAnnotation], view.own, highest)
	if err != nil {
		return apexView{}, 0, fmt.Errorf("annotation %s: %w", routesAnnotation, err)
	}
	return view, highest, nil
}

// SetRoutes sets the weights, and returns nil when Skipper has them: at once, or, when a Service is left with no requests,
// after the time to settle, since Flagger then scales it down. Repeating it writes nothing. Setting 100/0, or 0/100 after a failed promotion, is
// tried again for as long as the API fails in a way that passes. Setting 100/0 works however wrong the configuration has become, if spec.ingressRef is gone, too.
func (s *Skipper) SetRoutes(canary *flaggerv1.Canary, primaryWeight int, canaryWeight int, mirrored bool) error {
	asked := routes{primary: primaryWeight, canary: canaryWeight, mirrored: mirrored}
	if err := checkRoutes(canary, asked); err != nil {
		return err
	}
	if err := s.checkEnding(canary); err != nil {
		return err
	}
	if err := checkIngressRef(canary); err != nil {
		if !urgent(canary, asked) {
			return err
		}
		if canary, err = s.begun(canary); err != nil {
			return err
		}
	}
	strategy, err := newStrategy(canary)
	if err != nil && !urgent(canary, asked) {
		return err
	}
	if asked.mirrored {
		if len(strategy.matches) > 0 {
			return fmt.Errorf("canary %s/%s: spec.analysis.match and mirroring do not go together; remove one", canary.Namespace, canary.Name)
		}
		strategy.mirror = true
	}
	var wait time.Duration
	attempt := func() error {
		return conflicts.Retry(func() error {
			if err := s.checkEnding(canary); err != nil {
				return err
			}
			var err error
			wait, err = s.setRoutes(canary, strategy, asked)
			return err
		})
	}
	if urgent(canary, asked) {
		err = insist(s.base, s.opts.Clock, s.opts.PollInterval, remindInterval, func(message string) { s.warn(canary, "SkipperDraining", message) }, attempt)
	} else {
		err = attempt()
	}
	if err != nil {
		return err
	}
	return s.settle(canary, asked, wait)
}

// setRoutes is one attempt of SetRoutes. It returns how long the routes have yet to settle.
func (s *Skipper) setRoutes(canary *flaggerv1.Canary, strategy strategy, asked routes) (time.Duration, error) {
	names := serviceNames(canary)
	main, err := s.getOrNil(canary.Namespace, canaryIngressName(canary.Spec.IngressRef.Name))
	if err != nil {
		return 0, err
	}
	if main == nil || main.Annotations[apexAnnotation] == "" {
		return s.setRoutesFromApex(canary, strategy, main, asked)
	}
	if err := checkOwner(main, canary, names); err != nil {
		if asked.drained() {
			return s.drainBegun(canary, err)
		}
		return 0, err
	}
	current, err := readRoutes(main, names)
	if err != nil && !urgent(canary, asked) {
		return 0, err
	}
	rec := readRecord(main)
	p, err := planFromSnapshot(main, names, strategy, asked)
	if err != nil && asked.drained() {
		s.warn(canary, "SkipperMisconfigured", err.Error())
		p, err = drainInPlace(main, names), nil
	}
	if err != nil {
		return 0, fmt.Errorf("ingress %s/%s: %w", main.Namespace, main.Name, err)
	}
	if current != asked {
		rec.since = s.now()
	}
	rec.mirrored, rec.matched = asked.mirrored, len(strategy.matches) > 0
	changed, err := s.apply(write{
		canary: canary, names: names, plan: p, main: main, adopted: main, source: main, record: rec, drain: asked.drained(),
	})
	if err != nil {
		return 0, err
	}
	if changed {
		s.logRoutes(canary, asked)
		return s.opts.Settle, nil
	}
	return settleLeft(rec.since, s.opts.Clock.Now(), s.opts.Settle), nil
}

// setRoutesFromApex sets routes with the apex Ingress at hand: the canary Ingress was deleted a moment ago (main is nil), or
// Flagger's router made it and Reconcile has not seen it yet.
func (s *Skipper) setRoutesFromApex(canary *flaggerv1.Canary, strategy strategy, main *networkingv1.Ingress, asked routes) (time.Duration, error) {
	apex, err := s.get(canary.Namespace, canary.Spec.IngressRef.Name)
	if err == nil {
		changed := false
		if changed, err = s.reconcile(canary, strategy, apex, &asked); err == nil && !changed {
			return 0, nil
		}
	}
	refused := errors.As(err, new(refusal)) || apierrors.IsNotFound(err)
	if !refused || !asked.drained() {
		return s.opts.Settle, err
	}
	if main == nil || checkOwner(main, canary, serviceNames(canary)) != nil {
		return s.drainBegun(canary, err)
	}
	s.warn(canary, "SkipperMisconfigured", err.Error())
	return s.opts.Settle, s.drainAsItIs(canary, main)
}

// drainBegun takes all requests from what was generated for another Ingress, before the Canary came to name one that cannot be used, which cause says.
func (s *Skipper) drainBegun(canary *flaggerv1.Canary, cause error) (time.Duration, error) {
	s.warn(canary, "SkipperMisconfigured", cause.Error())
	siblings, err := s.list(canary.Namespace)
	if err != nil {
		return 0, err
	}
	if main, apex := s.generatedFor(canary, siblings); main != nil {
		return s.opts.Settle, s.drainAsItIs(withIngressRef(canary, apex), main)
	}
	// All other requests go to the apex Service already; since when is not known.
	return s.opts.Settle, s.deleteLeftovers(canary, siblings, nil)
}

// drainAsItIs takes all requests from a canary Ingress whatever else is wrong with it.
func (s *Skipper) drainAsItIs(canary *flaggerv1.Canary, main *networkingv1.Ingress) error {
	names, rec := serviceNames(canary), readRecord(main)
	if current, err := readRoutes(main, names); err != nil || current != toPrimary {
		rec.since = s.now()
	}
	rec.mirrored, rec.matched = false, false
	_, err := s.apply(write{canary: canary, names: names, plan: drainInPlace(main, names), main: main, adopted: main, source: main, record: rec, drain: true})
	return err
}

// now is the time as sinceAnnotation has it.
func (s *Skipper) now() string { return s.opts.Clock.Now().UTC().Format(time.RFC3339Nano) }

func (s *Skipper) logRoutes(canary *flaggerv1.Canary, r routes) {
	s.logFor(canary).Infow("weights set", "ingress", canaryIngressName(canary.Spec.IngressRef.Name),
		"primary_percent", r.primary, "canary_percent", r.canary, "mirrored", r.mirrored)
}

// GetRoutes returns the weights that were set last, but for the end of a stepwise promotion, where it says 99/1 for 100/0 (see
// forPromotion), and mirroring only while the analysis asks for it. They stand in the canary Ingress, or in that of the Ingress with which the Canary was
// begun; when that has been deleted, or they cannot be read there, those of the Canary's status are returned, with which Reconcile makes it again: an error
// would keep Flagger from rolling back.
func (s *Skipper) GetRoutes(canary *flaggerv1.Canary) (primaryWeight int, canaryWeight int, mirrored bool, err error) {
	if canary, err = s.begun(canary); err != nil {
		return 0, 0, false, err
	}
	names := serviceNames(canary)
	main, err := s.getOrNil(canary.Namespace, canaryIngressName(canary.Spec.IngressRef.Name))
	if err != nil {
		return 0, 0, false, err
	}
	r := recoverRoutes(canary)
	var refused error
	if main != nil {
		refused = checkOwner(main, canary, names)
	}
	if main == nil || refused != nil { // the Canary may have been begun with another Ingress
		siblings, err := s.list(canary.Namespace)
		if err != nil {
			return 0, 0, false, err
		}
		if begun, _ := s.generatedFor(canary, siblings); begun != nil {
			main, refused = begun, nil
		}
	}
	switch {
	case refused != nil:
		return 0, 0, false, refused
	case main != nil:
		r = s.currentRoutes(canary, main, names)
	}
	r.mirrored = r.mirrored && mirrors(canary)
	told := forPromotion(canary, state.Weights{Primary: r.primary, Canary: r.canary})
	return told.Primary, told.Canary, r.mirrored, nil
}

// Finalize deletes the generated Ingresses; what is gone, or belongs to somebody else, is left alone. Flagger calls it after it
// has scaled the target up and pointed the apex Service back at it, so the apex Ingress takes over without a gap; it returns once no Skipper
// sends anybody to primary any more, which ends with the Canary.
func (s *Skipper) Finalize(canary *flaggerv1.Canary) error {
	s.finalizing.put(canary, struct{}{})
	if err := s.deleteAll(canary); err != nil {
		return err
	}
	return s.endReverted(canary)
}

// deleteAll deletes the generated Ingresses. The canary Ingress goes last, because it knows the others.
func (s *Skipper) deleteAll(canary *flaggerv1.Canary) error {
	var main *networkingv1.Ingress
	if checkIngressRef(canary) == nil {
		var err error
		if main, err = s.getOrNil(canary.Namespace, canaryIngressName(canary.Spec.IngressRef.Name)); err != nil {
			return err
		}
	}
	if main != nil {
		if err := checkOwner(main, canary, serviceNames(canary)); err != nil {
			s.logFor(canary).Infow("canary ingress left alone", "ingress", main.Name, "reason", err.Error())
			main = nil
		}
	}
	if main == nil { // spec.ingressRef was changed or removed, perhaps, so what was generated is known by its label alone
		siblings, err := s.list(canary.Namespace)
		if err != nil {
			return err
		}
		return s.deleteLeftovers(canary, siblings, nil)
	}
	if err := s.deleteExtras(canary, readRecord(main).extras); err != nil {
		return err
	}
	if err := s.delete(main); err != nil {
		return err
	}
	s.logFor(canary).Infow("canary ingress deleted", "ingress", main.Name)
	return nil
}

// settle waits until no Skipper acts on earlier routes any more, if these leave a Service without requests.
func (s *Skipper) settle(canary *flaggerv1.Canary, r routes, wait time.Duration) error {
	if wait <= 0 || r.primary > 0 && !r.drained() {
		return nil
	}
	return s.sleep(canary, wait, fmt.Sprintf("on %d/%d", r.primary, r.canary))
}

// sleep waits for Skipper.
func (s *Skipper) sleep(canary *flaggerv1.Canary, wait time.Duration, on string) error {
	s.logFor(canary).Infow("waiting for skipper to settle", "seconds", wait.Seconds())
	if err := sleep(s.base, s.opts.Clock, wait); err != nil {
		return fmt.Errorf("canary %s/%s: waiting %s for skipper to settle %s: %w", canary.Namespace, canary.Name, wait, on, err)
	}
	return nil
}

// sleep returns an error if the router ends meanwhile.
func sleep(base context.Context, c clock.Clock, d time.Duration) error {
	select {
	case <-c.After(d):
	case <-base.Done():
	}
	if err := base.Err(); err != nil {
		return fmt.Errorf("the router ends: %w", err)
	}
	return nil
}

func (s *Skipper) logFor(canary *flaggerv1.Canary) *zap.SugaredLogger {
	return s.log.With("canary", canary.Name+"."+canary.Namespace)
}

func serviceNames(canary *flaggerv1.Canary) services {
	apex, primary, c := canary.GetServiceNames()
	return services{apex: apex, primary: primary, canary: c}
}

func beingDeleted(canary *flaggerv1.Canary) bool {
	return canary.DeletionTimestamp != nil ||
		canary.Status.Phase == flaggerv1.CanaryPhaseTerminating || canary.Status.Phase == flaggerv1.CanaryPhaseTerminated
}

var errNoIngressRef = errors.New("spec.ingressRef.name is empty: name the Ingress whose traffic is to be split")

func checkIngressRef(canary *flaggerv1.Canary) error {
	if canary.Spec.IngressRef == nil || canary.Spec.IngressRef.Name == "" {
		return fmt.Errorf("canary %s/%s: %w", canary.Namespace, canary.Name, errNoIngressRef)
	}
	return nil
}

// begun returns the Canary as it was begun: if it names no Ingress any more, with the one whose generated Ingresses there are, because those must
// be drained and removed all the same. If there are none, the error wraps errNoIngressRef.
func (s *Skipper) begun(canary *flaggerv1.Canary) (*flaggerv1.Canary, error) {
	missing := checkIngressRef(canary)
	if missing == nil {
		return canary, nil
	}
	siblings, err := s.list(canary.Namespace)
	if err != nil {
		return nil, err
	}
	if main, apex := s.generatedFor(canary, siblings); main != nil {
		return withIngressRef(canary, apex), nil
	}
	return nil, missing
}

// generatedFor returns the canary Ingress that a Canary has among others, and the name of the Ingress for which it was generated; nil if there is none.
func (s *Skipper) generatedFor(canary *flaggerv1.Canary, siblings []networkingv1.Ingress) (main *networkingv1.Ingress, apex string) {
	for i := range siblings {
		ingress := &siblings[i]
		apex, ok := strings.CutSuffix(ingress.Name, canaryIngressName(""))
		if ok && ingress.Labels[canaryLabel] == labelValue(canary.Name) && checkOwner(ingress, canary, serviceNames(canary)) == nil {
			return ingress, apex
		}
	}
	return nil, ""
}

// mirrors tells whether a Canary is to mirror requests.
func mirrors(canary *flaggerv1.Canary) bool {
	analysis := canary.GetAnalysis()
	return analysis != nil && analysis.Mirror
}

// splits tells whether requests are known to be split here.
func (s *Skipper) splits(canary *flaggerv1.Canary) bool {
	stands, err := s.stands(canary)
	return err == nil && stands
}

// stands tells whether the canary Ingress is there.
func (s *Skipper) stands(canary *flaggerv1.Canary) (bool, error) {
	main, err := s.getOrNil(canary.Namespace, canaryIngressName(canary.Spec.IngressRef.Name))
	return err == nil && main != nil && checkOwner(main, canary, serviceNames(canary)) == nil, err
}

// withIngressRef returns a copy of the Canary that names an Ingress.
func withIngressRef(canary *flaggerv1.Canary, name string) *flaggerv1.Canary {
	canary = canary.DeepCopy()
	canary.Spec.IngressRef = &flaggerv1.LocalObjectReference{APIVersion: "networking.k8s.io/v1", Kind: "Ingress", Name: name}
	return canary
}

func checkRoutes(canary *flaggerv1.Canary, r routes) error {
	if r.primary < 0 || r.canary < 0 || r.primary+r.canary != 100 {
		return fmt.Errorf("canary %s/%s: route weights %d (primary) and %d (canary) are not two percentages that add up to 100", canary.Namespace, canary.Name, r.primary, r.canary)
	}
	if r.mirrored && r.canary != 0 {
		return fmt.Errorf("canary %s/%s: mirroring at canary weight %d: requests are mirrored only while the canary has weight 0", canary.Namespace, canary.Name, r.canary)
	}
	return nil
}

// currentRoutes returns what was set last on a canary Ingress or, if that cannot be read, what the Canary's status says.
func (s *Skipper) currentRoutes(canary *flaggerv1.Canary, main *networkingv1.Ingress, names services) routes {
	r, err := readRoutes(main, names)
	if err != nil {
		r = recoverRoutes(canary)
		s.warn(canary, "SkipperWeightsLost", fmt.Sprintf("%v; %d/%d is taken from the Canary's status", err, r.primary, r.canary))
	}
	return r
}

// readRoutes returns what was set last on a canary Ingress.
func readRoutes(main *networkingv1.Ingress, names services) (routes, error) {
	object := fmt.Sprintf("ingress %s/%s: annotation %s", main.Namespace, main.Name, backendWeightsAnnotation)
	weights, err := parseBackendWeights(main.Annotations[backendWeightsAnnotation], ourDigits)
	if err != nil {
		return routes{}, fmt.Errorf("%s: %w", object, err)
	}
	r, err := weights.routes(names)
	if err != nil {
		return routes{}, fmt.Errorf("%s: %w", object, err)
	}
	r.mirrored = r.canary == 0 && readRecord(main).mirrored
	return r, nil
}
