package router

import (
	"fmt"
	"regexp"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
)

// canarySpec returns the Spec of the canary Ingress: the apex Ingress' own, with primary in the place of apex, and a path to
// canary added at the end of the rule. It is what Flagger's router writes, because that resets the weights when it finds
// another one.
func canarySpec(apex networkingv1.IngressSpec, names services) networkingv1.IngressSpec {
	spec := *apex.DeepCopy()
	for _, rule := range spec.Rules {
		if rule.HTTP == nil {
			continue
		}
		for i := range rule.HTTP.Paths {
			if serviceOf(rule.HTTP.Paths[i]) != names.apex {
				continue
			}
			rule.HTTP.Paths[i].Backend.Service.Name = names.primary
			toCanary := rule.HTTP.Paths[i].DeepCopy()
			toCanary.Backend.Service.Name = names.canary
			rule.HTTP.Paths = append(rule.HTTP.Paths, *toCanary)
		}
	}
	return spec
}

// onlyTo returns spec without the paths that lead elsewhere than to service. Further Ingresses are made of it: their filters must
// not touch what the Canary has nothing to do with.
func onlyTo(spec networkingv1.IngressSpec, service string) networkingv1.IngressSpec {
	out := networkingv1.IngressSpec{IngressClassName: spec.IngressClassName}
	for _, rule := range spec.Rules {
		if rule.HTTP == nil {
			continue
		}
		var paths []networkingv1.HTTPIngressPath
		for _, path := range rule.HTTP.Paths {
			if serviceOf(path) == service {
				paths = append(paths, *path.DeepCopy())
			}
		}
		if len(paths) > 0 {
			kept := networkingv1.IngressRule{Host: rule.Host}
			kept.HTTP = &networkingv1.HTTPIngressRuleValue{Paths: paths}
			out.Rules = append(out.Rules, kept)
		}
	}
	return out
}

// serviceOf returns the Service of a path; a resource backend has none.
func serviceOf(path networkingv1.HTTPIngressPath) string {
	if path.Backend.Service == nil {
		return ""
	}
	return path.Backend.Service.Name
}

// checkShape tells why an apex Ingress cannot be split correctly by Skipper, or returns nil.
func checkShape(apex networkingv1.IngressSpec, names services) error {
	if b := apex.DefaultBackend; b != nil && b.Service != nil && b.Service.Name == names.apex {
		return fmt.Errorf("spec.defaultBackend.service.name is %q: Skipper applies neither weights nor predicates to a default backend; write a rule for it", names.apex)
	}
	seen := map[string]string{} // what Skipper makes a route id of, and where it stands
	for i, rule := range apex.Rules {
		if rule.HTTP == nil {
			continue
		}
		for j, path := range rule.HTTP.Paths {
			if serviceOf(path) != names.apex {
				continue
			}
			where := fmt.Sprintf("spec.rules[%d].http.paths[%d] (host %q, path %q, %s)", i, j, rule.Host, path.Path, pathType(path))
			id := routeIDPart(rule.Host) + "__" + routeIDPart(path.Path)
			if other, ok := seen[id]; ok {
				return fmt.Errorf("%s and %s both lead to Service %q and give Skipper one route id, so one of them is dropped; "+
					"keep one, or move one to an Ingress of its own", other, where, names.apex)
			}
			seen[id] = where
			for k, other := range rule.HTTP.Paths {
				if other.Path == path.Path && pathType(other) != pathType(path) && serviceOf(other) != names.apex {
					return fmt.Errorf("%s and spec.rules[%d].http.paths[%d] (%s) share a path in different types: Skipper weighs them as one "+
						"group and the split goes wrong; move one to an Ingress of its own", where, i, k, pathType(other))
				}
			}
		}
	}
	if len(seen) == 0 {
		return fmt.Errorf("no rule has the Service %q as its backend; point a path of spec.rules at it, or correct the Canary's spec.service.name", names.apex)
	}
	return nil
}

var nonWord = regexp.MustCompile(`\W`)

// routeIDPart is what Skipper makes of a host or a path in a route id, the name under which one route replaces another.
// https://github.com/zalando/skipper/blob/v0.27.0/dataclients/kubernetes/ingress.go (routeID)
func routeIDPart(s string) string { return nonWord.ReplaceAllString(s, "_") }

func pathType(path networkingv1.HTTPIngressPath) networkingv1.PathType {
	if path.PathType == nil {
		return networkingv1.PathTypeImplementationSpecific
	}
	return *path.PathType
}

// sufficientWeight returns the least n for which Weight(n) puts every route of the canary Ingress before every route of the
// apex Ingress. Both have the same host, path and predicates. On top, Skipper's traffic algorithm gives the i-th of m backends
// of a path m-1-i predicates, so a route of the apex Ingress weighs at most m-1 more than the lightest of the canary Ingress.
// (The traffic-segment algorithm adds nothing.)
// https://github.com/zalando/skipper/blob/v0.27.0/dataclients/kubernetes/traffic.go
func sufficientWeight(canary networkingv1.IngressSpec, names services) int {
	most := 1
	for _, group := range pathGroups(canary) {
		most = max(most, len(slices.DeleteFunc(group, func(service string) bool { return service == names.canary })))
	}
	return most
}

// alone tells whether no third Service shares a path with primary and canary.
func alone(canary networkingv1.IngressSpec, names services) bool {
	for _, group := range pathGroups(canary) {
		if slices.Contains(group, names.primary) && len(group) > 2 {
			return false
		}
	}
	return true
}

// pathGroups returns the Services of the backends that Skipper weighs together: those of one path in one rule.
func pathGroups(spec networkingv1.IngressSpec) [][]string {
	var groups [][]string
	for _, rule := range spec.Rules {
		if rule.HTTP == nil {
			continue
		}
		byPath := map[string][]string{}
		for _, path := range rule.HTTP.Paths {
			byPath[path.Path] = append(byPath[path.Path], serviceOf(path))
		}
		for _, group := range byPath {
			groups = append(groups, group)
		}
	}
	return groups
}
