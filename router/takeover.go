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

// Reconcile goes on with what dns-weighted began or, once that has ended, is Skipper's.
func (t *takeover) Reconcile(canary *flaggerv1.Canary) error {
	if d, ok := t.decision(canary); ok && !d.dns || t.skipper.ending(canary) {
		return t.skipper.Reconcile(canary)
	}
	w, used, err := t.read(canary)
	if err == nil && used {
		asked := canary
		if !w.lost() { // else the annotations are all that is known
			asked = withoutDNS(canary)
		}
		if err = t.before(canary).Reconcile(asked); err == nil {
			w, used, err = t.read(canary)
		}
	}
	if err == nil && !used && w.cm != nil {
		err = t.dns.drop(w.cm)
	}
	if err != nil {
		return err
	}
	t.decided.put(canary, decision{canary.Generation, used})
	if used {
		t.skipper.warn(canary, string(ReasonHeld), fmt.Sprintf("provider skipper follows once nothing in DNS depends on the canary any more; until then "+
			"dns-weighted goes on with what it began, see configmap %s", state.Name(canary.Name)))
		return nil
	}
	return t.skipper.Reconcile(canary)
}

// SetRoutes is that of the router that the Canary is in.
func (t *takeover) SetRoutes(canary *flaggerv1.Canary, primaryWeight int, canaryWeight int, mirrored bool) error {
	r, canary := t.router(canary)
	return r.SetRoutes(canary, primaryWeight, canaryWeight, mirrored)
}

// GetRoutes is that of the router that the Canary is in.
func (t *takeover) GetRoutes(canary *flaggerv1.Canary) (primaryWeight int, canaryWeight int, mirrored bool, err error) {
	r, canary := t.router(canary)
	return r.GetRoutes(canary)
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

// look is read, if nothing has been decided yet.
func (t *takeover) look(canary *flaggerv1.Canary) (w wish, used bool, err error) {
	if d, ok := t.decision(canary); ok {
		return wish{}, d.dns, nil
	}
	return t.read(canary)
}

// router returns the router that a Canary is in, and the Canary as that one is to see it.
func (t *takeover) router(canary *flaggerv1.Canary) (Interface, *flaggerv1.Canary) {
	_, used, err := t.look(canary)
	switch {
	case err != nil:
		return misconfigured{err}, canary
	case used:
		return t.before(canary), withoutDNS(canary)
	default:
		return t.skipper, canary
	}
}

// before returns the router that began a Canary.
func (t *takeover) before(canary *flaggerv1.Canary) Interface {
	if t.dnsErr != nil {
		return misconfigured{fmt.Errorf("canary %s/%s was begun by provider dns-weighted, which has to end it (configmap %s), and cannot: %w",
			canary.Namespace, canary.Name, state.Name(canary.Name), t.dnsErr)}
	}
	return t.dns
}

// read returns the ConfigMap of a Canary, and whether dns-weighted may have something to end. What it cannot read it says itself.
func (t *takeover) read(canary *flaggerv1.Canary) (w wish, used bool, err error) {
	w, err = t.dns.read(canary)
	switch malformed := (*state.MalformedError)(nil); {
	case errors.As(err, &malformed):
		return wish{}, true, nil
	case errors.Is(err, errForeign):
		return wish{}, false, nil
	}
	return w, err == nil && w.used(), err
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
