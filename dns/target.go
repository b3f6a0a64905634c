package dns

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-dev/penstock/internal/state"
	"github.com/penstock-dev/penstock/weights"
)

// DefaultAnnotationPrefix is the prefix of the annotations on Ingresses.
const DefaultAnnotationPrefix = "dns.adevinta.com"

// Generated tells whether a router made an Ingress for a canary, which is not published for itself: ours is labelled, and one of Flagger's own belongs to
// its Canary. The annotation that keeps external-dns away says nothing, because people put it on what is published.
// https://github.com/fluxcd/flagger/blob/v1.44.0/pkg/router/skipper.go
func Generated(ingress *networkingv1.Ingress) bool {
	if ingress.Labels[state.Label] != "" {
		return true
	}
	owner := metav1.GetControllerOf(ingress)
	return owner != nil && owner.Kind == "Canary" && strings.HasPrefix(owner.APIVersion, "flagger.app/")
}

// Target is where a load balancer is: a hostname, or addresses.
type Target struct {
	Hostname string
	IPv4     []string
	IPv6     []string
}

// TargetOf returns where the load balancer of an Ingress is: the first hostname of its status, else all its addresses. Without either the
// error says which Ingress is waited for.
func TargetOf(ingress *networkingv1.Ingress) (Target, error) {
	var t Target
	for i, lb := range ingress.Status.LoadBalancer.Ingress {
		switch {
		case lb.Hostname != "":
			host, err := normalTarget(lb.Hostname)
			if err != nil {
				return Target{}, fmt.Errorf("ingress %s/%s: status.loadBalancer.ingress[%d].hostname: %w", ingress.Namespace, ingress.Name, i, err)
			}
			return Target{Hostname: host}, nil
		case lb.IP != "":
			addr, err := netip.ParseAddr(lb.IP)
			if err != nil {
				return Target{}, fmt.Errorf("ingress %s/%s: status.loadBalancer.ingress[%d].ip %q is no address: %w", ingress.Namespace, ingress.Name, i, lb.IP, err)
			}
			if addr = addr.Unmap(); addr.Is4() {
				t.IPv4 = append(t.IPv4, addr.String())
			} else {
				t.IPv6 = append(t.IPv6, addr.WithZone("").String())
			}
		}
	}
	for _, list := range []*[]string{&t.IPv4, &t.IPv6} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	if len(t.IPv4)+len(t.IPv6) == 0 {
		return Target{}, fmt.Errorf("ingress %s/%s has no load balancer address yet: waiting for its status.loadBalancer; look at the controller of its ingress class",
			ingress.Namespace, ingress.Name)
	}
	return t, nil
}

// Equal tells whether two targets are the same place.
func (t Target) Equal(u Target) bool {
	return t.Hostname == u.Hostname && slices.Equal(t.IPv4, u.IPv4) && slices.Equal(t.IPv6, u.IPv6)
}

// shared returns what two targets have in common.
func (t Target) shared(u Target) []string {
	theirs := u.places()
	return slices.DeleteFunc(t.places(), func(place string) bool { return !slices.Contains(theirs, place) })
}

func (t Target) places() []string {
	if t.Hostname != "" {
		return []string{t.Hostname}
	}
	return slices.Concat(t.IPv4, t.IPv6)
}

func (t Target) String() string {
	return strings.Join(t.places(), ", ")
}

// several tells whether one record cannot hold the target: a weighted record has one value.
// https://docs.aws.amazon.com/Route53/latest/APIReference/API_ResourceRecordSet.html
func (t Target) several() bool { return len(t.IPv4) > 1 || len(t.IPv6) > 1 }

// types returns the types of records that stand for the target once it is served; an AWS load balancer has an A and an AAAA alias.
func (t Target) types() []RecordType {
	if t.Hostname != "" {
		if _, elb := LoadBalancerZone(t.Hostname); elb {
			return []RecordType{A, AAAA}
		}
		return []RecordType{CNAME}
	}
	var types []RecordType
	if len(t.IPv4) > 0 {
		types = append(types, A)
	}
	if len(t.IPv6) > 0 {
		types = append(types, AAAA)
	}
	return types
}

// HostsOf returns the hosts of the rules that route to a Service, or all hosts when service is empty: normalised, without
// repetition, in the order of the rules. Rules without a host are for every host and name none. Hosts that cannot be published are in the error.
func HostsOf(ingress *networkingv1.Ingress, service string) ([]string, error) {
	var hosts []string
	var bad []string
	for _, rule := range ingress.Spec.Rules {
		if rule.Host == "" || service != "" && !routesTo(rule, service) {
			continue
		}
		host, err := NormalHost(rule.Host)
		if err != nil {
			bad = append(bad, err.Error())
			continue
		}
		if !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	if len(bad) > 0 {
		return hosts, fmt.Errorf("ingress %s/%s: %s", ingress.Namespace, ingress.Name, strings.Join(bad, "; "))
	}
	return hosts, nil
}

func routesTo(rule networkingv1.IngressRule, service string) bool {
	return rule.HTTP != nil && slices.ContainsFunc(rule.HTTP.Paths, func(p networkingv1.HTTPIngressPath) bool {
		return p.Backend.Service != nil && p.Backend.Service.Name == service
	})
}

// IngressWeight returns the share of its cluster's weight that an Ingress asks for with the annotation `<prefix>/traffic-weight`;
// without it, all. More than 100 counts as 100, as it always has.
func IngressWeight(ingress *networkingv1.Ingress, prefix string) (weights.Percent, error) {
	key := prefix + "/traffic-weight"
	text, ok := ingress.Annotations[key]
	if !ok {
		return weights.Hundred, nil
	}
	p, err := weights.ParseAtMost100(text)
	if err != nil {
		return weights.Percent{}, fmt.Errorf("ingress %s/%s: annotation %s: %w", ingress.Namespace, ingress.Name, key, err)
	}
	return p, nil
}

// CheckSplit returns why DNS cannot split the hosts of a Service between the load balancers of two Ingresses: apex, and the one
// prepared for the canary.
func CheckSplit(apex, prepared *networkingv1.Ingress, service string) error {
	hosts, err := HostsOf(apex, service)
	if err != nil {
		return err
	}
	if len(hosts) == 0 {
		return fmt.Errorf("ingress %s/%s: no rule with a host routes to Service %q, so there is no name to split: add spec.rules[].host", apex.Namespace, apex.Name, service)
	}
	served, err := HostsOf(prepared, "")
	if err != nil {
		return err
	}
	for _, host := range hosts {
		if !slices.Contains(served, host) {
			return fmt.Errorf("ingress %s/%s has no rule for host %q of ingress %s/%s: its load balancer would answer 404; add the rule",
				prepared.Namespace, prepared.Name, host, apex.Namespace, apex.Name)
		}
	}
	primary, err := TargetOf(apex)
	if err != nil {
		return err
	}
	canary, err := TargetOf(prepared)
	if err != nil {
		return err
	}
	return checkTargets(apex, primary, prepared, canary)
}

func checkTargets(apex *networkingv1.Ingress, primary Target, prepared *networkingv1.Ingress, canary Target) error {
	for _, side := range []struct {
		ingress *networkingv1.Ingress
		target  Target
	}{{apex, primary}, {prepared, canary}} {
		if side.target.several() {
			return fmt.Errorf("ingress %s/%s has several load balancer addresses (%s), and a weighted record holds one: use a load balancer with one address or a hostname, or remove the annotation penstock.dev/canary-ingress",
				side.ingress.Namespace, side.ingress.Name, side.target)
		}
	}
	if both := primary.shared(canary); len(both) > 0 {
		return fmt.Errorf("ingresses %s/%s and %s/%s have the same load balancer address (%s), so DNS cannot tell them apart: give the second a load balancer of its own, or remove the annotation penstock.dev/canary-ingress",
			apex.Namespace, apex.Name, prepared.Namespace, prepared.Name, strings.Join(both, ", "))
	}
	if !slices.Equal(primary.types(), canary.types()) {
		return fmt.Errorf("ingresses %s/%s (%s) and %s/%s (%s) need records of different types (%v and %v), which cannot be one weighted set: use load balancers of one kind",
			apex.Namespace, apex.Name, primary, prepared.Namespace, prepared.Name, canary, primary.types(), canary.types())
	}
	return nil
}
