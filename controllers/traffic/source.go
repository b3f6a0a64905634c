package traffic

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/penstock-dev/penstock/dns"
	"github.com/penstock-dev/penstock/internal/state"
)

// The indexes of the caches.
const (
	byHost    = "penstock.host"    // Ingresses, by the normalised hosts of their rules
	byService = "penstock.service" // Ingresses, by the Services that their rules name; EndpointSlices, by their Service
)

func hostsOf(object client.Object) []string {
	ingress, ok := object.(*networkingv1.Ingress)
	if !ok {
		return nil
	}
	hosts, _ := dns.HostsOf(ingress, "") // the publisher says which host is no name
	return hosts
}

// servicesOf returns the Services of an Ingress' rules. Backends that are resources have no endpoints to look at.
func servicesOf(object client.Object) []string {
	ingress, ok := object.(*networkingv1.Ingress)
	if !ok {
		return nil
	}
	var services []string
	for _, rule := range ingress.Spec.Rules {
		services = appendServices(services, rule)
	}
	return services
}

func appendServices(services []string, rule networkingv1.IngressRule) []string {
	if rule.HTTP == nil {
		return services
	}
	for _, path := range rule.HTTP.Paths {
		if s := path.Backend.Service; s != nil && !slices.Contains(services, s.Name) {
			services = append(services, s.Name)
		}
	}
	return services
}

func serviceOfSlice(object client.Object) []string {
	if name := object.GetLabels()[discoveryv1.LabelServiceName]; name != "" {
		return []string{name}
	}
	return nil
}

// source shows a dns.Publisher the world of the caches as the flags filter it: what they leave out does not exist.
type source struct {
	caches client.Reader
	filter filter
	sole   bool // the cluster has no other publisher
	answer func(ctx context.Context, configMap *corev1.ConfigMap, observed string) error
}

var _ dns.Source = (*source)(nil)

// Ingress implements dns.Source.
func (s *source) Ingress(ctx context.Context, name types.NamespacedName) (*networkingv1.Ingress, error) {
	ingress := &networkingv1.Ingress{}
	if err := s.caches.Get(ctx, name, ingress); err != nil {
		return nil, fmt.Errorf("get ingress %s: %w", name, err)
	}
	if ingress = s.filter.ingress(ingress); ingress == nil {
		return nil, fmt.Errorf("the flags leave it out: %w", apierrors.NewNotFound(networkingv1.Resource("ingresses"), name.Name))
	}
	return ingress, nil
}

// exists tells whether there may be an Ingress, be it one that the flags leave out.
func (s *source) exists(ctx context.Context, name types.NamespacedName) bool {
	return !apierrors.IsNotFound(s.caches.Get(ctx, name, &networkingv1.Ingress{}))
}

// unpublished tells whether there is an Ingress that nobody publishes any more: one that a finalizer holds, or that the flags leave out where there is no other
// publisher.
func (s *source) unpublished(ctx context.Context, name types.NamespacedName) bool {
	ingress := &networkingv1.Ingress{}
	return s.caches.Get(ctx, name, ingress) == nil && s.isUnpublished(ingress)
}

func (s *source) isUnpublished(ingress *networkingv1.Ingress) bool {
	mine := s.filter.mine(ingress)
	return mine && ingress.DeletionTimestamp != nil || !mine && s.sole
}

// allUnpublished returns the names of all that are unpublished.
func (s *source) allUnpublished(ctx context.Context) ([]types.NamespacedName, error) {
	list := &networkingv1.IngressList{}
	if err := s.caches.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil { // nobody changes them here
		return nil, fmt.Errorf("list ingresses: %w", err)
	}
	var names []types.NamespacedName
	for i := range list.Items {
		if ingress := &list.Items[i]; s.isUnpublished(ingress) {
			names = append(names, client.ObjectKeyFromObject(ingress))
		}
	}
	return names, nil
}

// Serving implements dns.Source.
func (s *source) Serving(ctx context.Context, host string) ([]*networkingv1.Ingress, error) {
	list := &networkingv1.IngressList{}
	if err := s.caches.List(ctx, list, client.MatchingFields{byHost: host}); err != nil {
		return nil, fmt.Errorf("list ingresses with host %q: %w", host, err)
	}
	var serving []*networkingv1.Ingress
	for i := range list.Items {
		if ingress := s.filter.ingress(&list.Items[i]); ingress != nil {
			serving = append(serving, ingress)
		}
	}
	return serving, nil
}

// Canaries implements dns.Source. Those of an Ingress that is another controller's are left out: two that answer would contradict each other.
func (s *source) Canaries(ctx context.Context, namespace string) ([]corev1.ConfigMap, error) {
	list := &corev1.ConfigMapList{}
	if err := s.caches.List(ctx, list, client.InNamespace(namespace), client.HasLabels{state.Label}); err != nil {
		return nil, fmt.Errorf("list configmaps %s/* with label %s: %w", namespace, state.Label, err)
	}
	var mine []corev1.ConfigMap
	for i := range list.Items {
		desired, _, _ := state.Read(&list.Items[i]) // the publisher says what is wrong with it
		ingress := &networkingv1.Ingress{}
		err := s.caches.Get(ctx, types.NamespacedName{Namespace: namespace, Name: desired.Ingress}, ingress)
		if client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("get ingress %s/%s: %w", namespace, desired.Ingress, err)
		}
		if err != nil || s.filter.ingress(ingress) != nil {
			mine = append(mine, list.Items[i])
		}
	}
	return mine, nil
}

// Answer implements dns.Source.
func (s *source) Answer(ctx context.Context, configMap *corev1.ConfigMap, observed string) error {
	return s.answer(ctx, configMap, observed)
}

// ready tells whether every Service that an Ingress names for a host has an endpoint that is ready. A host without any Service has nobody. One Service that
// is not ready is enough to know, whatever is not known of the others.
func (s *source) ready(ctx context.Context, ingress *networkingv1.Ingress, host string) (bool, error) {
	var services []string
	for _, rule := range ingress.Spec.Rules {
		if name, err := dns.NormalHost(rule.Host); err == nil && name == host {
			services = appendServices(services, rule)
		}
	}
	var errs []error
	for _, service := range services {
		ready, err := s.serviceReady(ctx, types.NamespacedName{Namespace: ingress.Namespace, Name: service})
		if err == nil && !ready {
			return false, nil
		}
		errs = append(errs, err)
	}
	err := errors.Join(errs...)
	return len(services) > 0 && err == nil, err
}

func (s *source) serviceReady(ctx context.Context, service types.NamespacedName) (bool, error) {
	list := &discoveryv1.EndpointSliceList{}
	if err := s.caches.List(ctx, list, client.InNamespace(service.Namespace), client.MatchingFields{byService: service.Name}); err != nil {
		return false, fmt.Errorf("list endpointslices of service %s: %w", service, err)
	}
	return slices.ContainsFunc(list.Items, func(slice discoveryv1.EndpointSlice) bool {
		return slices.ContainsFunc(slice.Endpoints, isReady)
	}), nil
}

// isReady takes an endpoint whose state is not known for ready, as the API says.
// https://kubernetes.io/docs/reference/kubernetes-api/service-resources/endpoint-slice-v1/
func isReady(e discoveryv1.Endpoint) bool { return e.Conditions.Ready == nil || *e.Conditions.Ready }
