package router

import (
	"errors"
	"fmt"
	"strconv"

	networkingv1 "k8s.io/api/networking/v1"
)

// Suffixes of the Ingresses beside the canary Ingress; further matches are "1", "2" and so on.
const (
	mirrorSuffix        = "mirror"         // primary, and a copy of each request to shadow
	shadowSuffix        = "shadow"         // the copies, to canary
	stickySuffix        = "sticky"         // users with the canary's cookie
	stickyPrimarySuffix = "sticky-primary" // users with the primary's cookie
	weightedSuffix      = "weighted"       // new users that get the canary
	remainderSuffix     = "remainder"      // new users that get the primary
)

// apexView is what the plan needs to know of the apex Ingress.
type apexView struct {
	canary  networkingv1.IngressSpec // the Spec that follows from it
	own     []predicate              // its predicates
	filters string
	weights backendWeights // nil without the annotation
	routes  string         // raised by raisedRoutes
}

// generated is one Ingress as the plan wants it.
type generated struct {
	suffix    string // empty for the canary Ingress itself
	spec      networkingv1.IngressSpec
	predicate string
	filters   string
	weights   string
	routes    string
}

// plan is all that a Canary has in the cluster for one pair of weights. It is pure.
//
// The canary Ingress always exists and its backend weights are always those that Flagger set, so it answers GetRoutes, for
// Flagger's own router too. What serves the requests depends on the routes and the strategy; each line is tried before the next:
//
//	drained               apex Ingress (the canary Ingress has False())
//	weights               canary Ingress | apex Ingress
//	weights, match        canary Ingress with the first match, one Ingress for each other match | apex Ingress
//	mirrored              shadow (copies only) | mirror | apex Ingress
//	weights, affinity     sticky | sticky-primary | weighted | remainder | apex Ingress
//	all, affinity         sticky | weighted | apex Ingress
//	drained, affinity     sticky, which deletes the cookie | apex Ingress
//
// At canary weight 0 requests reach the apex Service. That is safe only while it selects primary pods, and Flagger sees to
// that before it calls a router for the first time.
type plan struct {
	main   generated
	extras []generated // in the order of creation
}

// errShare refuses what takes more than the weights of one Ingress where a third Service is to keep its share.
var errShare = errors.New("mirroring and session affinity do not keep the share of another Service that has a path in common with Service")

func newPlan(apex apexView, names services, s strategy, r routes) (plan, error) {
	n := sufficientWeight(apex.canary, names)
	isAlone := alone(apex.canary, names)
	if !isAlone && (r.mirrored || s.affinity != nil && !r.drained()) {
		return plan{}, fmt.Errorf("%w %q; give it a path of its own", errShare, names.apex)
	}
	if apex.weights == nil {
		apex.weights = equalWeights(apex.canary, names, isAlone)
	}
	main := generated{
		spec:    apex.canary,
		filters: apex.filters,
		weights: apex.weights.split(names, isAlone, r).String(),
		routes:  apex.routes,
	}
	b := builder{apex: apex, names: names, weight: n}

	p := plan{main: main}
	enable := false
	switch {
	case r.drained():
		if s.affinity != nil && isAlone {
			p.extras = append(p.extras, b.forget(*s.affinity))
		}
	case r.mirrored:
		p.extras = append(p.extras, b.mirror(s.mirrorWeight)...)
	case s.affinity != nil:
		p.extras = append(p.extras, b.affine(*s.affinity, r)...)
	default:
		enable = true
	}
	if !enable {
		p.main.predicate = joinPredicates(append([]string{disabled}, texts(apex.own)...)...)
		return p, nil
	}
	if len(s.matches) == 0 {
		s.matches = [][]string{nil}
	}
	for i, match := range s.matches {
		g := main
		g.predicate = b.predicate(0, match...)
		if i == 0 {
			p.main = g
			continue
		}
		g.suffix, g.routes = strconv.Itoa(i), ""
		p.extras = append(p.extras, g)
	}
	return p, nil
}

// disabled keeps Skipper from using any route of an Ingress.
const disabled = "False()"

// equalWeights stands for a missing annotation, which Skipper takes for an equal split: nothing to say when the apex Service has
// its paths for itself.
func equalWeights(canary networkingv1.IngressSpec, names services, isAlone bool) backendWeights {
	weights := backendWeights{}
	if isAlone {
		return weights
	}
	for _, group := range pathGroups(canary) {
		for _, service := range group {
			weights[service] = share(hundred, 100)
		}
	}
	weights[names.apex] = share(hundred, 100)
	return weights
}

// highestWeight returns the most that a route of any generated Ingress weighs more than the apex Ingress' own predicates, its
// host and its path do.
func highestWeight(canary networkingv1.IngressSpec, names services, s strategy) int {
	bonus := 0 // of the traffic algorithm
	for _, group := range pathGroups(canary) {
		bonus = max(bonus, len(group)-1)
	}
	conditions := 0
	for _, match := range s.matches {
		conditions = max(conditions, len(match))
	}
	more := bonus + conditions
	if s.mirror {
		more = max(more, 3) // shadow
	}
	if s.affinity != nil {
		more = max(more, 4) // sticky
	}
	return sufficientWeight(canary, names) + more
}

// raisedRoutes returns the annotation zalando.org/skipper-routes for the canary Ingress. Its routes precede the apex Ingress by
// predicates of their own, and have to precede the canary Ingress by as many.
func raisedRoutes(document string, own []predicate, by int) (string, error) {
	if document == "" {
		return "", nil
	}
	return raiseRoutes(document, by, func(r route) bool { return routeWeight(r.predicates) > routeWeight(own) })
}

// builder makes the Ingresses beside the canary Ingress.
type builder struct {
	apex   apexView
	names  services
	weight int // sufficientWeight
}

// predicate joins the weight that precedes the apex Ingress (and, by more, others of ours), the user's own predicates, and more.
func (b builder) predicate(more int, predicates ...string) string {
	all := append([]string{weightPredicate(b.weight + more)}, texts(b.apex.own)...)
	return joinPredicates(append(all, predicates...)...)
}

// to makes an Ingress with the paths of the apex Service alone, all of them to one Service.
func (b builder) to(suffix, service, predicate string, filters ...string) generated {
	if b.apex.filters != "" {
		filters = append(filters, b.apex.filters)
	}
	return generated{
		suffix:    suffix,
		spec:      onlyTo(b.apex.canary, service),
		predicate: predicate,
		filters:   joinFilters(filters...),
	}
}

// mirror copies percent of the requests. A copy comes in again with a header that the shadow route asks for; the shadow route
// weighs more than the mirror route, or the copy would be copied again. The filter comes first, so that the copy meets the
// user's own filters once.
// https://opensource.zalando.com/skipper/tutorials/shadow-traffic/
func (b builder) mirror(percent int) []generated {
	key := b.names.canary
	var some []string
	if percent < 100 {
		some = append(some, traffic(percent))
	}
	return []generated{
		b.to(shadowSuffix, b.names.canary, b.predicate(1+len(some), call("Tee", key))),
		b.to(mirrorSuffix, b.names.primary, b.predicate(0, some...), call("teeLoopback", key)),
	}
}

// affine sends users by their cookies, and new ones by the weights. The weights fall, and each line adds as many predicates as
// the one before or fewer.
func (b builder) affine(a affinity, r routes) []generated {
	cookie, primaryCookie := a.spec.CookieName, a.spec.PrimaryCookieName
	out := []generated{
		b.to(stickySuffix, b.names.canary, b.predicate(3, a.has(cookie)), a.set(cookie, a.spec.GetMaxAge())),
	}
	if primaryCookie != "" && r.primary > 0 { // else primary may be what has failed
		out = append(out, b.to(stickyPrimarySuffix, b.names.primary, b.predicate(2, a.has(primaryCookie))))
	}
	out = append(out, b.to(weightedSuffix, b.names.canary, b.predicate(1, traffic(r.canary)), a.set(cookie, a.spec.GetMaxAge())))
	if primaryCookie != "" && r.primary > 0 {
		out = append(out, b.to(remainderSuffix, b.names.primary, b.predicate(0), a.set(primaryCookie, a.primarySecond)))
	}
	return out
}

// forget serves users who still have a cookie of a canary that has ended, and deletes it.
func (b builder) forget(a affinity) generated {
	cookie := a.spec.CookieName
	return b.to(stickySuffix, b.names.primary, b.predicate(3, call("Cookie", cookie, ".*")), a.forget(cookie))
}

// traffic matches percent of the requests. eskip wants a number from 0 to 1 without a sign or an exponent.
func traffic(percent int) string {
	return "Traffic(" + decimal(share(one, percent)) + ")"
}
