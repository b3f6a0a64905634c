package dns

import (
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
)

// InnerWeights returns the route weights that stand in the published inner set of a Service's hosts, for a router whose own memory was
// lost. A missing member has weight 0. found is false when there is no inner set.
func (p *Publisher) InnerWeights(ctx context.Context, ingress types.NamespacedName, service string) (primary, canary int, found bool, err error) {
	object, err := p.source.Ingress(ctx, ingress)
	if apierrors.IsNotFound(err) {
		return 0, 0, false, nil
	}
	if err != nil {
		return 0, 0, false, err
	}
	hosts, _ := HostsOf(object, service) // what cannot be published was not split
	if len(hosts) == 0 {
		return 0, 0, false, nil
	}
	records, err := p.backend.Published(ctx, p.cluster, ingress, hosts)
	if err != nil {
		return 0, 0, false, fmt.Errorf("read what is published for ingress %s: %w", ingress, err)
	}
	for _, host := range hosts {
		name, err := InnerName(p.cluster, host)
		if err != nil {
			return 0, 0, false, err
		}
		inner := slices.DeleteFunc(slices.Clone(records), func(r Record) bool { return r.Name != name })
		if primary, canary, found = innerWeights(inner); found {
			return primary, canary, true, nil
		}
	}
	return 0, 0, false, nil
}

// innerWeights returns the weights of an inner set. A member that is missing has 0.
func innerWeights(inner []Record) (primary, canary int, found bool) {
	for _, r := range inner {
		switch r.SetIdentifier {
		case Primary:
			primary, found = r.Weight, true
		case Canary:
			canary, found = r.Weight, true
		}
	}
	return primary, canary, found
}
