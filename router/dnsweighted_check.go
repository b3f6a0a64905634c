package router

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/penstock-dev/penstock/dns"
	"github.com/penstock-dev/penstock/internal/state"
)

// errEmpty says that an annotation has no value.
var errEmpty = errors.New("is empty")

// checkSpec returns why a Canary cannot be what its annotations ask for, as far as it says so itself.
func checkSpec(canary *flaggerv1.Canary) error {
	object := "canary " + canary.Namespace + "/" + canary.Name
	if err := checkIngressRef(canary); err != nil {
		return err
	}
	if shapeOf(canary).Mode == state.Shared {
		_, _, err := exposureFloor(canary)
		return err
	}
	name := canary.Annotations[CanaryIngressAnnotation]
	switch name {
	case "":
		return fmt.Errorf("%s: annotation %s %w: name the prepared Ingress of the canary, or remove the annotation", object, CanaryIngressAnnotation, errEmpty)
	case canary.Spec.IngressRef.Name:
		return fmt.Errorf("%s: annotation %s is %q, which is spec.ingressRef itself: prepare a second Ingress with a load balancer of its own, or remove the annotation",
			object, CanaryIngressAnnotation, name)
	}
	const remedy = "remove it, or the annotation " + CanaryIngressAnnotation + " so that Skipper splits"
	if value, ok := canary.Annotations[ExposureAnnotation]; ok {
		return fmt.Errorf("%s: annotation %s %q: exposure is for canaries behind the cluster's one load balancer, but DNS splits this one: %s", object, ExposureAnnotation, value, remedy)
	}
	analysis := canary.GetAnalysis()
	if analysis == nil {
		return nil
	}
	switch {
	case len(analysis.Match) > 0:
		return fmt.Errorf("%s: spec.analysis.match has %d entries: DNS knows nothing of headers and cookies and would send every user to the canary: %s", object, len(analysis.Match), remedy)
	case analysis.Mirror:
		return fmt.Errorf("%s: spec.analysis.mirror is true: DNS cannot mirror requests: %s", object, remedy)
	case analysis.SessionAffinity != nil:
		return fmt.Errorf("%s: spec.analysis.sessionAffinity with cookie %q: DNS knows nothing of cookies: %s", object, analysis.SessionAffinity.CookieName, remedy)
	}
	return nil
}

// check returns why a Canary cannot begin as it asks: before it is Initialized, and before DNS is changed for its first step.
func (r *DNSWeighted) check(canary *flaggerv1.Canary) error {
	if err := r.checkCanary(canary); err != nil {
		return err
	}
	if shapeOf(canary).Mode == state.Shared {
		return r.checkExposed(canary)
	}
	hosts, err := r.checkIngresses(canary)
	if err != nil {
		return err
	}
	if err := r.checkAlone(canary, hosts); err != nil || initialized(canary) {
		return err
	}
	return r.checkOnly(canary, hosts)
}

// checkIdle looks again at what may have become wrong since the Canary was initialized.
func (r *DNSWeighted) checkIdle(canary *flaggerv1.Canary, w wish) error {
	err := r.checkCanary(canary)
	if err == nil && w.desired.Mode == state.Split && shapeOf(canary).Mode == state.Split {
		_, err = r.checkIngresses(canary)
	}
	return err
}

// checkCanary returns why a Canary cannot be what its annotations ask for in a cluster such as this one.
func (r *DNSWeighted) checkCanary(canary *flaggerv1.Canary) error {
	if err := checkSpec(canary); err != nil {
		return err
	}
	_, exposed := canary.Annotations[ExposureAnnotation]
	if r.publisher == nil || canary.Spec.RevertOnDeletion || !exposed && shapeOf(canary).Mode == state.Shared {
		return nil
	}
	return fmt.Errorf("canary %s/%s: spec.revertOnDeletion is false: without a traffic controller nobody would take the hosts back from the canary, "+
		"or give the cluster its full share back, once it is deleted: set it to true, or let a controller publish", canary.Namespace, canary.Name)
}

// checkExposed returns an error if the cluster's exposure could not be published for all hosts, which a step waits for.
func (r *DNSWeighted) checkExposed(canary *flaggerv1.Canary) error {
	percent, ok := canary.Annotations[ExposureAnnotation]
	if !ok {
		return nil
	}
	shape := shapeOf(canary)
	apex, err := r.ingress(canary, shape.Ingress)
	if err != nil {
		return fmt.Errorf("canary %s/%s: spec.ingressRef: %w", canary.Namespace, canary.Name, err)
	}
	if _, err := dns.HostsOf(apex, shape.Service); err != nil {
		return fmt.Errorf("canary %s/%s: annotation %s %q: spec.rules[].host of %w; change the host, move its rule to an Ingress of its own, or remove the annotation",
			canary.Namespace, canary.Name, ExposureAnnotation, percent, err)
	}
	return nil
}

// checkIngresses returns why DNS cannot split between the load balancers of the two Ingresses, or the hosts that it would split.
func (r *DNSWeighted) checkIngresses(canary *flaggerv1.Canary) ([]string, error) {
	shape := shapeOf(canary)
	apexService, _, canaryService := canary.GetServiceNames()
	apex, err := r.ingress(canary, shape.Ingress)
	if err != nil {
		return nil, fmt.Errorf("canary %s/%s: spec.ingressRef: %w", canary.Namespace, canary.Name, err)
	}
	prepared, err := r.ingress(canary, shape.CanaryIngress)
	if err != nil {
		return nil, fmt.Errorf("canary %s/%s: annotation %s: %w: create it with a load balancer of its own, or remove the annotation",
			canary.Namespace, canary.Name, CanaryIngressAnnotation, err)
	}
	if err := dns.CheckSplit(apex, prepared, apexService); err != nil {
		return nil, fmt.Errorf("canary %s/%s: %w", canary.Namespace, canary.Name, err)
	}
	hosts, err := dns.HostsOf(apex, apexService)
	if err != nil {
		return nil, fmt.Errorf("canary %s/%s: %w", canary.Namespace, canary.Name, err)
	}
	toCanary, err := dns.HostsOf(prepared, canaryService)
	if err != nil {
		return nil, fmt.Errorf("canary %s/%s: %w", canary.Namespace, canary.Name, err)
	}
	for _, host := range hosts {
		if !slices.Contains(toCanary, host) {
			return nil, fmt.Errorf("canary %s/%s: ingress %s/%s has no path of host %q to Service %q, so the canary would get no request of its share: add it to spec.rules",
				canary.Namespace, canary.Name, prepared.Namespace, prepared.Name, host, canaryService)
		}
	}
	return hosts, nil
}

// checkAlone returns an error if DNS would take the traffic of another Ingress along: one that serves one of the hosts too, or, where nobody publishes it,
// a host that only a wildcard leads to.
func (r *DNSWeighted) checkAlone(canary *flaggerv1.Canary, hosts []string) error {
	ctx, cancel := r.call()
	defer cancel()
	shape := shapeOf(canary)
	for _, host := range hosts {
		serving, err := r.source.Serving(ctx, host)
		if err != nil {
			return fmt.Errorf("canary %s/%s: %w", canary.Namespace, canary.Name, err)
		}
		for _, other := range serving {
			own := other.Namespace == canary.Namespace &&
				(other.Name == shape.Ingress || other.Name == shape.CanaryIngress || other.Labels[canaryLabel] == labelValue(canary.Name))
			if !own && !dns.Generated(other) {
				return fmt.Errorf("canary %s/%s: host %q is served by ingress %s/%s too, whose traffic DNS would take along: give the Canary a host of its own",
					canary.Namespace, canary.Name, host, other.Namespace, other.Name)
			}
		}
		if strings.HasPrefix(host, "*.") && r.publisher != nil { // a controller publishes every host
			if err := r.checkBelow(canary, host); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkBelow returns an error if another Ingress has a host below a wildcard that neither a Canary has published nor the prepared Ingress knows. Whether somebody else
// publishes it cannot be seen here.
func (r *DNSWeighted) checkBelow(canary *flaggerv1.Canary, wildcard string) error {
	ctx, cancel := r.call()
	defer cancel()
	list, err := r.kube.NetworkingV1().Ingresses(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("canary %s/%s: list ingresses of all namespaces, to see which hosts are below %q: %w", canary.Namespace, canary.Name, wildcard, err)
	}
	wishes, err := r.wishes(metav1.NamespaceAll)
	if err != nil {
		return fmt.Errorf("canary %s/%s: %w", canary.Namespace, canary.Name, err)
	}
	own := otherWish{namespace: canary.Namespace, desired: shapeOf(canary)}
	var known []string
	below := map[string]*networkingv1.Ingress{}
	for i := range list.Items {
		ingress := &list.Items[i]
		published := slices.ContainsFunc(append(wishes, own), func(o otherWish) bool { return o.uses(ingress) })
		hosts, _ := dns.HostsOf(ingress, "") // what cannot be published is in the error
		for _, host := range hosts {
			if published {
				known = append(known, host)
			} else if strings.HasSuffix(host, wildcard[1:]) && !dns.Generated(ingress) {
				below[host] = ingress
			}
		}
	}
	for _, host := range slices.Sorted(maps.Keys(below)) {
		if !slices.Contains(known, host) {
			return fmt.Errorf("canary %s/%s: host %q of ingress %s/%s has no record of its own here, so DNS would take its traffic along with %q to ingress %q, which has no rule for it: "+
				"add one to its spec.rules, or let a traffic controller publish, which gives each host a record",
				canary.Namespace, canary.Name, host, below[host].Namespace, below[host].Name, wildcard, own.desired.CanaryIngress)
		}
	}
	return nil
}

// checkOnly returns an error if another Canary splits one of the hosts: DNS can do that for one. Of two that are made at the same moment, of which neither sees the other's
// ConfigMap, the publisher chooses one.
func (r *DNSWeighted) checkOnly(canary *flaggerv1.Canary, hosts []string) error {
	wishes, err := r.wishes(canary.Namespace)
	if err != nil {
		return fmt.Errorf("canary %s/%s: %w", canary.Namespace, canary.Name, err)
	}
	if slices.ContainsFunc(wishes, func(o otherWish) bool { return o.configMap == state.Name(canary.Name) }) {
		return nil
	}
	apex, err := r.ingress(canary, canary.Spec.IngressRef.Name)
	if err != nil {
		return fmt.Errorf("canary %s/%s: spec.ingressRef: %w", canary.Namespace, canary.Name, err)
	}
	for _, other := range wishes {
		if other.desired.Mode != state.Split || other.desired.Ingress != apex.Name {
			continue
		}
		theirs, _ := dns.HostsOf(apex, other.desired.Service) // what cannot be published cannot be split
		for _, host := range hosts {
			if slices.Contains(theirs, host) {
				return fmt.Errorf("canary %s/%s: host %q of ingress %s/%s is split for another Canary (configmap %s), and DNS can split it for one: give this Canary a host of its own",
					canary.Namespace, canary.Name, host, apex.Namespace, apex.Name, other.configMap)
			}
		}
	}
	return nil
}

// otherWish is what a Canary desires, by its ConfigMap.
type otherWish struct {
	namespace, configMap string
	desired              state.Desired
}

// uses tells whether an Ingress is one of the Canary's.
func (o otherWish) uses(ingress *networkingv1.Ingress) bool {
	return ingress.Namespace == o.namespace && (ingress.Name == o.desired.Ingress || ingress.Name == o.desired.CanaryIngress)
}

// wishes returns what the Canaries of a namespace desire; those that cannot be read are left out, as the publisher does.
func (r *DNSWeighted) wishes(namespace string) ([]otherWish, error) {
	ctx, cancel := r.call()
	defer cancel()
	configMaps, err := r.source.Canaries(ctx, namespace)
	if err != nil {
		return nil, err
	}
	wishes := make([]otherWish, 0, len(configMaps)+1)
	for i := range configMaps {
		cm := &configMaps[i]
		if desired, _, err := state.Read(cm); err == nil || desired.Mode != "" {
			wishes = append(wishes, otherWish{cm.Namespace, cm.Name, desired})
		}
	}
	return wishes, nil
}

func (r *DNSWeighted) ingress(canary *flaggerv1.Canary, name string) (*networkingv1.Ingress, error) {
	ctx, cancel := r.call()
	defer cancel()
	return r.source.Ingress(ctx, types.NamespacedName{Namespace: canary.Namespace, Name: name})
}
