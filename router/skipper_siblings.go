package router

import (
	"fmt"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
)

// lookAround reads the other Ingresses of the namespace before the canary Ingress is created or follows a change of the apex
// Ingress: some may lose their requests to it, and some may be left over from one that was deleted.
func (s *Skipper) lookAround(w *write, apex *networkingv1.Ingress, highest int) error {
	siblings, err := s.list(apex.Namespace)
	if err != nil {
		return err
	}
	for _, sibling := range siblings {
		if err := conflict(&sibling, apex, w.names, highest); err != nil {
			if err := s.refuse(w.canary, err); err != nil {
				return refusal{err}
			}
		}
	}
	if w.main != nil {
		return nil
	}
	return s.deleteLeftovers(w.canary, siblings, w.plan.extras)
}

// conflict tells whether a generated Ingress would take requests from a sibling: one that has routes for a host and a path of
// the Canary, which precede the apex Ingress by more predicates, but not the generated ones. It sees one namespace, paths that
// are spelled alike, and predicates; what is hidden in Skipper's own flags it does not see.
func conflict(sibling, apex *networkingv1.Ingress, names services, highest int) error {
	if sibling.Name == apex.Name || sibling.Labels[canaryLabel] != "" || sibling.Name == canaryIngressName(apex.Name) {
		return nil
	}
	shared := sharedPath(sibling, apex)
	if shared == "" {
		return nil
	}
	own, err := parsePredicates(apex.Annotations[predicateAnnotation])
	if err != nil {
		return nil //nolint:nilerr // the apex Ingress is checked elsewhere
	}
	base := routeWeight(own)
	report := func(annotation string, predicates []predicate) error {
		weight := routeWeight(predicates)
		if weight <= base || weight > base+highest {
			return nil
		}
		return fmt.Errorf("ingress %s/%s: %s shares %s with ingress %q, and during a canary its requests would go to %q or %q; add Weight(%d) to its predicates",
			sibling.Namespace, sibling.Name, annotation, shared, apex.Name, names.primary, names.canary, base+highest-weight+1)
	}
	// Skipper ignores what it cannot parse.
	if predicates, err := parsePredicates(sibling.Annotations[predicateAnnotation]); err == nil {
		if err := report(predicateAnnotation, predicates); err != nil {
			return err
		}
	}
	routes, err := parseRoutes(sibling.Annotations[routesAnnotation])
	if err != nil {
		return nil //nolint:nilerr // Skipper ignores it too
	}
	for _, r := range routes {
		if err := report(routesAnnotation, r.predicates); err != nil {
			return err
		}
	}
	return nil
}

// sharedPath names a host and path that two Ingresses have in common, or is empty.
func sharedPath(a, b *networkingv1.Ingress) string {
	type place struct{ host, path string }
	places := func(ingress *networkingv1.Ingress) []place {
		var out []place
		for _, rule := range ingress.Spec.Rules {
			if rule.HTTP == nil {
				continue
			}
			for _, path := range rule.HTTP.Paths {
				out = append(out, place{rule.Host, path.Path})
			}
		}
		return out
	}
	theirs := places(b)
	for _, p := range places(a) {
		if slices.Contains(theirs, p) {
			return fmt.Sprintf("host %q and path %q", p.host, p.path)
		}
	}
	return ""
}
