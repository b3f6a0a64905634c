package dns

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/penstock-dev/penstock/internal/state"
	"github.com/penstock-dev/penstock/weights"
)

// stage is where a host is on its way between its load balancer and an inner set.
type stage int

const (
	direct   stage = iota // the host points at the load balancer; there is no inner set
	prepared              // the inner set exists; the host points at the load balancer
	atInner               // the host points at the inner set
)

// wish is what one Canary wants of an Ingress.
type wish struct {
	configMap string
	desired   state.Desired
	observed  state.Observed
	hosts     []string
	// prepared is the Ingress of the canary in split mode, nil when it does not exist.
	prepared *networkingv1.Ingress
	// err is why nothing new is done for the Canary.
	err error
}

func (w *wish) attach() bool { return w.desired.Mode == state.Split && w.desired.Attached }

// The ranks of wishes for one host.
const (
	splitting = iota // its split is served
	leaving          // its split may still be served
	waiting          // it wants a split
	idle
)

func (w *wish) rank() int {
	switch {
	case w.desired.Mode != state.Split:
		return idle
	case w.observed.Attached && w.desired.Attached:
		return splitting
	case w.observed.Attached:
		return leaving
	case w.desired.Attached:
		return waiting
	}
	return idle
}

// world is what the step of one Ingress is decided from. It is read once; deciding does no I/O.
type world struct {
	cluster string
	ingress *networkingv1.Ingress
	hosts   []string
	// weight is the cluster's; weightErr says that it is not known, and what is published stays.
	weight    weights.Percent
	weightErr error
	// unready is why nobody can serve a host, or why that is not known.
	unready map[string]error
	// others is why a host may not be published here for the first time: it belongs to another Ingress. beside is what to say of a host that is
	// published here and that an older Ingress has too. shared names hosts that any other serves too.
	others map[string]error
	beside map[string]string
	shared map[string]error
	wishes []*wish
	// canaries are the names of the Ingresses in the namespace that have Canaries of their own.
	canaries map[string]bool
	// lost is why it is not known what some Canaries want whose hosts may point at inner sets, and exposed what such Canaries exposed last.
	lost      error
	exposed   []exposure
	published []Record
	opts      PublisherOptions
}

// exposure is how much of the cluster's weight some hosts have, in per cent, and why it stays so.
type exposure struct {
	hosts   []string
	percent int
	why     error
}

// step is the state of one host in one call.
type step struct {
	host  string
	wish  *wish
	own   []Record // published at the host itself
	below []Record // published below it
	inner []Record // those of below that are the inner set
	stage stage
	// held is why nobody knows what the Canary wants that has pointed the host at the inner set, which stays.
	held string
	// warning and err are about this host; with err, what is published stays, but for its weight. kept says that the weight stays too.
	warning string
	err     error
	kept    bool
}

// steps finds out where every host is, from what is published, and makes those moves that wait for nothing: an inner set may be
// prepared, and a host may point away from it, at any time.
func (w *world) steps() []*step {
	steps := make([]*step, 0, len(w.hosts))
	for _, host := range w.hosts {
		s := &step{host: host, wish: w.wishFor(host)}
		innerName, addresses, err := namesOf(w.cluster, host)
		if s.err = err; err == nil {
			s.err = w.others[host]
		}
		for _, r := range w.published {
			switch r.Name {
			case host:
				s.own = append(s.own, r)
			case innerName:
				s.inner = append(s.inner, r)
				s.below = append(s.below, r)
			case addresses:
				s.below = append(s.below, r)
			}
		}
		switch {
		case slices.ContainsFunc(s.own, func(r Record) bool { return slices.Contains(r.Targets, innerName) }):
			s.stage = atInner
		case len(s.inner) > 0:
			s.stage = prepared
		}
		if s.stage == atInner && (s.wish == nil || s.wish.rank() >= waiting) && w.lost != nil {
			s.wish, s.held = nil, w.lost.Error()
		}
		w.moveFreely(s)
		steps = append(steps, s)
	}
	return steps
}

func (w *world) wishFor(host string) *wish {
	for _, wish := range w.wishes {
		if wish.desired.Mode == state.Split && slices.Contains(wish.hosts, host) {
			return wish
		}
	}
	return nil
}

func (w *world) moveFreely(s *step) {
	attach := s.wish != nil && s.wish.attach()
	switch {
	case attach && s.stage == direct && s.wish.err == nil:
		if err := w.shared[s.host]; err != nil {
			s.wish.err = err
			return
		}
		s.stage = prepared
	case !attach && s.stage == atInner && s.held == "":
		s.stage = prepared
	}
}

// advance makes the moves that must wait: to the inner set when it is in sync, and its removal when pointing away from it is
// effective. It reports whether anything moved.
func advance(steps []*step, inSync, effective bool) bool {
	moved := false
	for _, s := range steps {
		if s.err != nil || s.stage != prepared {
			continue
		}
		attach := s.wish != nil && s.wish.attach()
		if attach && s.wish.err == nil && inSync {
			s.stage, moved = atInner, true
		}
		if !attach && effective {
			s.stage, moved = direct, true
		}
	}
	return moved
}

// records returns what should be published for the Ingress with its hosts where they are. What cannot be planned stays as it is
// published, but for its weight, and says why in its step.
func (w *world) records(steps []*step) []Record {
	var all []Record
	for _, s := range steps {
		s.warning = w.beside[s.host]
		if s.err == nil {
			records, err := w.hostRecords(s)
			if err == nil {
				all = append(all, records...)
				continue
			}
			s.err = err
		}
		all = append(append(all, w.reweighted(s)...), s.below...)
	}
	return all
}

// reweighted returns a host's own records as they are published, with the weight that they should have: a cluster is drained whatever else is wrong.
func (w *world) reweighted(s *step) []Record {
	s.warning = w.beside[s.host]
	weight, err := w.recordWeight(s)
	if err != nil {
		return s.own
	}
	return withWeight(s.own, weight)
}

func (w *world) hostRecords(s *step) ([]Record, error) {
	weight, err := w.recordWeight(s)
	if err != nil {
		return nil, err
	}
	target, warning, err := holdTarget(w.ingress, published(s.own, s.below, ""), s.stage != direct)
	if err != nil {
		return nil, err
	}
	s.warning = join(s.warning, warning)
	if s.held != "" {
		s.warning = join(s.warning, s.held+": the split stays as it is")
		return slices.Concat(withWeight(s.own, weight), s.below), nil
	}
	h := Host{
		Name: s.host, Cluster: w.cluster, Weight: weight, Target: target,
		TTL: w.opts.HostTTL, InnerTTL: w.opts.InnerTTL, HealthCheckID: w.opts.HealthCheckID,
	}
	if s.stage == direct {
		return Plan(h)
	}
	if s.wish == nil || !s.wish.attach() { // on the way back: the inner set stays as it is until nobody asks for it
		records, err := Plan(h)
		return append(records, s.inner...), err
	}
	inner, err := w.inner(s)
	if err != nil {
		if len(s.inner) == 0 {
			s.stage, s.wish.err = direct, err
			return Plan(h)
		}
		return nil, err
	}
	h.Inner, h.AtInner = inner, s.stage == atInner
	return Plan(h)
}

// withWeight returns the records of a host with another weight.
func withWeight(own []Record, weight int) []Record {
	own = slices.Clone(own)
	for i := range own {
		own[i].Weight = weight
	}
	return own
}

// inner returns the inner set that a Canary wishes, at the addresses of now or, where these cannot be followed, of before.
func (w *world) inner(s *step) (*Inner, error) {
	primary, warning, err := holdTarget(w.ingress, published(s.inner, nil, Primary), len(s.inner) > 0)
	if err != nil {
		return nil, err
	}
	inner := &Inner{Primary: primary, Weights: s.wish.desired.Weights}
	last := published(s.inner, nil, Canary)
	switch {
	case s.wish.prepared == nil && last.empty() && inner.Weights.Canary > 0:
		return nil, s.wish.err
	case s.wish.prepared == nil:
		inner.Canary = last
	default:
		var more string
		inner.Canary, more, err = holdTarget(s.wish.prepared, last, len(s.inner) > 0)
		if err != nil && inner.Weights.Canary > 0 {
			return nil, err
		}
		warning = join(warning, more)
	}
	s.warning = join(s.warning, warning)
	if inner.Weights.Canary == 0 || inner.Weights.Primary == 0 {
		return inner, nil
	}
	if len(inner.Primary.shared(inner.Canary)) > 0 || !slices.Equal(inner.Primary.types(), inner.Canary.types()) {
		return nil, checkTargets(w.ingress, inner.Primary, s.wish.prepared, inner.Canary)
	}
	return inner, nil
}

// join puts two messages for people together.
func join(a, b string) string {
	switch {
	case a == "" || a == b:
		return b
	case b == "":
		return a
	default:
		return a + "; " + b
	}
}

// recordWeight returns the weight of a host's record: 0 where nobody can serve it. Where a factor is not known, the published weight stays, unless the
// cluster's is 0: that times anything is 0.
func (w *world) recordWeight(s *step) (int, error) {
	unready := w.unready[s.host]
	if errors.Is(unready, errUnready) {
		return 0, nil
	}
	for _, e := range w.exposed {
		if slices.Contains(e.hosts, s.host) {
			s.warning = join(s.warning, fmt.Sprintf("%s: the exposure stays at %d %%", e.why, e.percent))
		}
	}
	share, err := IngressWeight(w.ingress, w.opts.AnnotationPrefix)
	err = errors.Join(w.weightErr, err, unready)
	switch {
	case err == nil:
		return weights.Record(w.weight, share, w.exposure(s.host)), nil
	case len(s.own) == 0:
		return 0, err
	case w.weightErr == nil && w.weight.IsZero():
		s.warning = join(s.warning, err.Error())
		return 0, nil
	}
	s.warning, s.kept = join(s.warning, err.Error()+": the published weight stays"), true
	return s.own[0].Weight, nil
}

// exposure is the lowest that a Canary on this host asks for.
func (w *world) exposure(host string) int {
	lowest := 100
	for _, wish := range w.wishes {
		if wish.desired.Mode == state.Shared && wish.desired.Exposure > 0 && slices.Contains(wish.hosts, host) {
			lowest = min(lowest, wish.desired.Exposure)
		}
	}
	for _, e := range w.exposed {
		if slices.Contains(e.hosts, host) {
			lowest = min(lowest, e.percent)
		}
	}
	return lowest
}

// holdTarget returns where the load balancer of an Ingress is, or where it was last published when there is none now. During a canary
// a load balancer of another type is not followed either, because all records of the host would have to change at once.
func holdTarget(ingress *networkingv1.Ingress, last Target, canary bool) (target Target, warning string, err error) {
	target, noTarget := TargetOf(ingress)
	switch {
	case noTarget != nil && last.empty():
		return Target{}, "", noTarget
	case noTarget != nil:
		return last, noTarget.Error() + ": its last address stays", nil //nolint:nilerr // it is told as a warning
	case canary && !last.empty() && (target.several() || !slices.Equal(target.types(), last.types())):
		return last, fmt.Sprintf("the load balancer of ingress %s/%s changed from %s to %s, which needs records of another type: followed when the canary has ended",
			ingress.Namespace, ingress.Name, last, target), nil
	}
	return target, "", nil
}

func (t Target) empty() bool { return t.Hostname == "" && len(t.IPv4)+len(t.IPv6) == 0 }

// published returns the target that records stand for: those with a set identifier, or all when it is empty. Aliases within the zone
// are followed into below.
func published(records, below []Record, identifier string) Target {
	var t Target
	for _, r := range records {
		switch {
		case identifier != "" && r.SetIdentifier != identifier:
		case r.Alias || r.Type == CNAME && slices.ContainsFunc(below, func(b Record) bool { return b.Name == r.Targets[0] }):
			var simple []Record
			for _, b := range below {
				// At a load balancer of AWS the aliases are A and AAAA, and what they lead to has its hostname.
				if b.Name == r.Targets[0] && (b.Type == r.Type || b.Type == CNAME) && (b.SetIdentifier == "" || b.SetIdentifier == Primary) {
					simple = append(simple, b)
				}
			}
			under := published(simple, nil, "")
			t = Target{Hostname: cmp.Or(under.Hostname, t.Hostname), IPv4: append(t.IPv4, under.IPv4...), IPv6: append(t.IPv6, under.IPv6...)}
		case r.Type == CNAME:
			t.Hostname = r.Targets[0]
		case r.Type == A:
			t.IPv4 = r.Targets
		case r.Type == AAAA:
			t.IPv6 = r.Targets
		}
	}
	return t
}

// answer returns what is observed of a wish.
func (w *wish) answer(steps []*step, m memory, st Status, now time.Time) state.Observed {
	o := state.Observed{
		Generation: w.desired.Generation, Plan: m.plan, Change: m.change, TTLSeconds: seconds(m.ttl), ServedTTLSeconds: seconds(m.served),
		Assumed: st.Assumed, Warning: st.Warning, Ingress: w.desired.Ingress,
	}
	if w.desired.Mode == state.Shared && w.desired.Exposure%100 != 0 {
		o.Exposure, o.Hosts = w.desired.Exposure, w.hosts
	}
	if !m.inSyncSince.IsZero() {
		since, at := m.inSyncSince.UTC(), m.effectiveAt().UTC() // the same text wherever it is read and written again
		o.InSyncSince, o.EffectiveAt = &since, &at
	}
	if !m.notBefore.IsZero() {
		at := m.notBefore.UTC()
		o.NotBefore = &at
	}
	sticky := w.observed.Generation == w.desired.Generation && w.observed.Effective
	refused, split, less := w.refused(steps), false, false
	err, done := st.Err, st.Err == nil && !refused
	if refused {
		err = errors.Join(w.err, err)
	} else if w.err != nil {
		o.Warning = join(o.Warning, w.err.Error())
	}
	for _, s := range steps {
		if !slices.Contains(w.hosts, s.host) {
			continue
		}
		o.Warning = join(o.Warning, s.warning)
		if s.err != nil && w.desired.Mode == state.Split && w.desired.Weights.Canary == 0 && len(s.own) == 0 { // a host that cannot be published leads nobody to the canary
			o.Warning = join(o.Warning, s.err.Error())
			continue
		}
		if s.kept && !sticky && (o.Exposure > 0 || w.observed.Exposure > 0) { // the shares between clusters are not as the Canary wants
			err, done = errors.Join(err, fmt.Errorf("the exposure of host %q cannot be published: %s", s.host, s.warning)), false
			o.Exposure, o.Hosts = w.observed.Exposure, w.observed.Hosts
		}
		err = errors.Join(err, s.err)
		done = done && s.err == nil
		if w.desired.Mode != state.Split || s.wish != w { // another Canary splits the host
			continue
		}
		split, less = split || s.stage == atInner, less || s.stage == atInner && s.err != nil && !s.has(w.desired.Weights)
		if s.stage == atInner || s.stage == prepared && (w.observed.Attached || !w.attach()) {
			o.Attached, o.Hosts = true, append(o.Hosts, s.host)
		}
		switch {
		case !w.attach():
			done = done && s.stage == direct
		case w.err != nil && w.desired.Weights.Canary == 0: // a host that may not point at the inner set leads nobody to the canary
		default:
			done = done && s.stage == atInner
		}
	}
	if err != nil {
		o.Error = err.Error()
	}
	// What goes wrong does not take away a share that the canary has, of the hosts that can be split, and Flagger has to judge it. Nor does it undo a drain.
	served := w.attach() && (sticky && (split || w.desired.Weights.Canary == 0) ||
		split && !less && w.desired.Weights.Canary > 0 && err != nil && st.Err == nil && !st.Unwritten && m.effective(now))
	o.Effective = served || done && (sticky || !st.Unwritten && m.effective(now))
	if !o.Effective {
		// A host that the Ingress has lost is withdrawn first, and resolvers hold what it answered.
		o.Attached = o.Attached || w.observed.Attached && w.desired.Mode == state.Split
		o.Pending = w.pending(done, m, st)
	}
	return o
}

// has tells whether the inner set is published with weights.
func (s *step) has(weights state.Weights) bool {
	primary, canary, found := innerWeights(s.inner)
	return found && primary == weights.Primary && canary == weights.Canary
}

// seconds returns whole seconds that are no less than d.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// refused tells whether what is wrong keeps from being done what is desired. What keeps a canary from getting traffic must not keep one from ending: one that
// wants none, whose hosts are to point elsewhere, or whose hosts all point at the inner set already.
func (w *wish) refused(steps []*step) bool {
	switch {
	case w.err == nil:
		return false
	case !w.attach():
		return w.desired.Mode == state.Shared
	case w.desired.Weights.Canary == 0:
		return false
	}
	return len(w.hosts) == 0 || slices.ContainsFunc(steps, func(s *step) bool { return slices.Contains(w.hosts, s.host) && s.stage != atInner })
}

func (w *wish) pending(done bool, m memory, st Status) string {
	switch {
	case st.Reason != "" && (st.Unwritten || m.inSyncSince.IsZero()):
		return st.Reason
	case m.inSyncSince.IsZero():
		return "not in sync yet"
	case !done && w.attach():
		return "the inner set is in sync; the hosts are being pointed at it"
	default:
		return fmt.Sprintf("in sync since %s; resolvers may answer from before until %s (TTL %s)",
			m.inSyncSince.UTC().Format(time.RFC3339), m.effectiveAt().UTC().Format(time.RFC3339), m.ttl)
	}
}
