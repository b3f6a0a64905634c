package traffic

import (
	"fmt"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/penstock-dev/penstock/dns"
)

// devTarget is where all records lead with Options.DevMode.
const devTarget = "devmode"

// filter says which Ingresses and hosts are the controller's.
type filter struct {
	key, value string // of the annotation that an Ingress must have; an empty key is none
	domain     string // that hosts must be in; empty is any
	devMode    bool
}

// newFilter reads the flags annotation-filter and binding-domain. A filter that cannot be understood must not become one that matches everything.
func newFilter(annotation, domain string, devMode bool) (filter, error) {
	f := filter{devMode: devMode}
	if annotation != "" {
		key, value, found := strings.Cut(annotation, "=")
		if !found || len(validation.IsQualifiedName(strings.ToLower(key))) > 0 || strings.Contains(value, "=") {
			return filter{}, fmt.Errorf("flag annotation-filter %q: write key=value without spaces, the annotation that an Ingress must have, or leave it empty", annotation)
		}
		f.key, f.value = key, value
	}
	if domain != "" {
		name := strings.TrimPrefix(domain, ".")
		if below, wildcard := strings.CutPrefix(name, "*."); wildcard {
			return filter{}, fmt.Errorf("flag binding-domain %q: write %s, which is for all hosts in it", domain, below)
		}
		const in = "any." // a domain may be a single label, and a host may not
		host, err := dns.NormalHost(in + name)
		if err != nil {
			return filter{}, fmt.Errorf("flag binding-domain %q: write a domain such as example.com, or leave it empty", domain)
		}
		f.domain = strings.TrimPrefix(host, in)
	}
	return f, nil
}

// mine tells whether an Ingress is the controller's: it has the annotation, and not all of its hosts are another controller's.
func (f filter) mine(ingress *networkingv1.Ingress) bool {
	value, found := ingress.Annotations[f.key]
	if f.key != "" && (!found || value != f.value) {
		return false
	}
	return len(ingress.Spec.Rules) == 0 || slices.ContainsFunc(ingress.Spec.Rules, func(rule networkingv1.IngressRule) bool { return f.host(rule.Host) })
}

// ingress returns an Ingress as it concerns the controller, nil if it does not. The one that is handed in may be changed.
func (f filter) ingress(ingress *networkingv1.Ingress) *networkingv1.Ingress {
	if !f.mine(ingress) || ingress.DeletionTimestamp != nil {
		return nil
	}
	ingress.Spec.Rules = slices.DeleteFunc(ingress.Spec.Rules, func(rule networkingv1.IngressRule) bool { return !f.host(rule.Host) })
	if f.devMode {
		ingress.Status.LoadBalancer.Ingress = []networkingv1.IngressLoadBalancerIngress{{Hostname: devTarget}}
	}
	return ingress
}

// host tells whether a rule's host is the domain or in it. What is no name is left to the publisher, which says so.
func (f filter) host(host string) bool {
	if f.domain == "" {
		return true
	}
	name, err := dns.NormalHost(host)
	return err == nil && (name == f.domain || strings.HasSuffix(name, "."+f.domain))
}
