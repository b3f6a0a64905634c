package router

import (
	"errors"
	"fmt"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"

	"github.com/penstock-dev/penstock/internal/state"
)

// takeover is the router of provider skipper for Canaries that may have been begun by dns-weighted. As long as DNS splits or an exposure is in use, calls
// go to that router, to which the Canary is one in shared mode without an exposure: it ends what it began, as after a change of the annotations. Then
// its ConfigMap goes, and Skipper's router takes over.
//
// That nothing is to be ended is remembered for as long as the generation of the Canary, whose spec names the provider, is the same.
type takeover struct {
	skipper *Skipper
	dns     *DNSWeighted
	dnsErr  error // why dns cannot work, but for reading a ConfigMap
	decided *memory[decision]
}

// decision is who serves a Canary of a generation.
type decision struct {
	generation int64
	dns        bool
}

var _ Interface = (*takeover)(nil)

// newTakeover returns a router for both; a dnsErr says that dns can do no more than read ConfigMaps. What the two remember of Flagger's calls is the same.
func newTakeover(skipper *Skipper, dns *DNSWeighted, dnsErr error) *takeover {
	skipper.ticks, skipper.finalizing, skipper.refused, skipper.reverted = dns.skipper.ticks, dns.skipper.finalizing, dns.skipper.refused, dns.skipper.reverted
	return &takeover{skipper: skipper, dns: dns, dnsErr: dnsErr, decided: newMemory[decision](skipper.opts.Clock)}
}

// Reconcile goes on with what dns-weighted began or, once that has ended, is Skipper's. For a Canary that is Initialized a ConfigMap that cannot be read or
// deleted is a warning, because an error would keep Flagger from rolling back, and the next tick tries again.
func (t *takeover) Reconcile(canary *flaggerv1.Canary) error {
	if d, ok := t.decision(canary); ok && !d.dns || t.skipper.ending(canary) {
		return t.skipper.Reconcile(canary)
	}
	w, used, err := t.read(canary)
	if err == nil && used {
		if err := t.before(canary).Reconcile(t.asBegun(canary, w)); err != nil {
			return err
		}
		w, used, err = t.read(canary)
	}
	if err != nil {
		return t.skipper.refuseAs(canary, string(ReasonReconcile), err)
	}
	if !used && w.cm != nil {
		if err := t.dns.drop(w.cm); err != nil { // it is not used any more, and nothing is decided as long as it is there
			t.decided.forget(canary)
			return errors.Join(t.skipper.refuseAs(canary, string(ReasonReconcile), err), t.skipper.Reconcile(canary))
		}
	}
	t.decided.put(canary, decision{canary.Generation, used})
	if used {
		t.skipper.warn(canary, string(ReasonHeld), fmt.Sprintf("provider skipper follows once nothing in DNS depends on the canary any more; until then "+
			"dns-weighted goes on with what it began, see configmap %s", state.Name(canary.Name)))
		return nil
	}
	return t.skipper.Reconcile(canary)
}

// SetRoutes is that of the router that the Canary is in. What is urgent is tried again until that can be found out.
func (t *takeover) SetRoutes(canary *flaggerv1.Canary, primaryWeight int, canaryWeight int, mirrored bool) error {
	r, as, err := t.router(canary)
	if err != nil && urgent(canary, routes{primary: primaryWeight, canary: canaryWeight}) {
		s := t.skipper
		warn := func(message string) { s.warn(canary, "SkipperDraining", message) }
		err = insist(s.base, s.opts.Clock, s.opts.PollInterval, remindInterval, warn, func() error {
			err := s.checkEnding(canary)
			if err == nil {
				r, as, err = t.router(canary)
			}
			return err
		})
	}
	if err != nil {
		return err
	}
	return r.SetRoutes(as, primaryWeight, canaryWeight, mirrored)
}

// GetRoutes is that of the router that the Canary is in.
func (t *takeover) GetRoutes(canary *flaggerv1.Canary) (primaryWeight int, canaryWeight int, mirrored bool, err error) {
	r, as, err := t.router(canary)
	if err != nil {
		return 0, 0, false, err
	}
	return r.GetRoutes(as)
}

// Finalize is that of the router that the Canary is in.
func (t *takeover) Finalize(canary *flaggerv1.Canary) error {
	w, used, err := t.look(canary)
	switch {
	case err != nil:
		return err
	case used:
		return t.before(canary).Finalize(canary) // with its annotations, which are all that is known where the wish is lost
	}
	if err = t.skipper.Finalize(canary); err == nil && w.cm != nil {
		err = t.dns.drop(w.cm)
	}
	return err
}

// decision returns what was decided on a Canary; ok is false if its spec has changed since.
func (t *takeover) decision(canary *flaggerv1.Canary) (d decision, ok bool) {
	d, ok = t.decided.get(canary)
	return d, ok && d.generation == canary.Generation
}

// look is read, unless nothing can be left to end. As long as Reconcile has not found out that it has ended, it has not.
func (t *takeover) look(canary *flaggerv1.Canary) (w wish, used bool, err error) {
	switch d, ok := t.decision(canary); {
	case ok && !d.dns:
		return wish{}, false, nil
	case ok:
		w, _, _ = t.read(canary) // the router that is asked says what it cannot read
		return w, true, nil
	}
	return t.read(canary)
}

// router returns the router that a Canary is in, and the Canary as that one is to see it.
func (t *takeover) router(canary *flaggerv1.Canary) (r Interface, as *flaggerv1.Canary, err error) {
	w, used, err := t.look(canary)
	switch {
	case err != nil:
		return nil, nil, err
	case used:
		return t.before(canary), t.asBegun(canary, w), nil
	default:
		return t.skipper, canary, nil
	}
}

// asBegun returns the Canary as dns-weighted is to see it.
func (t *takeover) asBegun(canary *flaggerv1.Canary, w wish) *flaggerv1.Canary {
	if w.lost() { // its annotations are all that is known
		return canary
	}
	return withoutDNS(canary)
}

// before returns the router that began a Canary.
func (t *takeover) before(canary *flaggerv1.Canary) Interface {
	if t.dnsErr != nil {
		return misconfigured{fmt.Errorf("canary %s/%s was begun by provider dns-weighted, which has to end it (configmap %s), and cannot: %w",
			canary.Namespace, canary.Name, state.Name(canary.Name), t.dnsErr)}
	}
	return t.dns
}

// read returns the ConfigMap of a Canary, and whether dns-weighted may have something to end, which it has also where a ConfigMap that was in use is gone.
// What it cannot read it says itself.
func (t *takeover) read(canary *flaggerv1.Canary) (w wish, used bool, err error) {
	w, err = t.dns.read(canary)
	switch malformed := (*state.MalformedError)(nil); {
	case errors.As(err, &malformed):
		return wish{}, true, nil
	case errors.Is(err, errForeign):
		return wish{}, false, nil
	}
	d, decided := t.decision(canary)
	return w, err == nil && (w.used() || w.cm == nil && decided && d.dns), err
}

// used tells whether something in DNS depends on a wish, or may, because it is lost.
func (w wish) used() bool {
	switch d := w.desired; {
	case w.cm == nil:
		return false
	case w.lost():
		return true
	case d.Mode == state.Split:
		return w.situation() != idle
	default:
		return exposureOf(d) < 100 || d.Generation > 1 && !w.observed.Done(d)
	}
}

// withoutDNS returns a copy of the Canary that asks for nothing of DNS, as provider skipper means it.
func withoutDNS(canary *flaggerv1.Canary) *flaggerv1.Canary {
	canary = canary.DeepCopy()
	delete(canary.Annotations, CanaryIngressAnnotation)
	delete(canary.Annotations, ExposureAnnotation)
	return canary
}
