package traffic

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/pager"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/penstock-dev/penstock/dns/externaldns"
	"github.com/penstock-dev/penstock/internal/state"
)

// snapshot is what the controller's caches would hold, listed once. It is not changed after it was read, and answers what a source asks.
type snapshot struct {
	ingresses  []*networkingv1.Ingress
	configMaps map[string][]*corev1.ConfigMap // by namespace; those of Canaries
	named      map[types.NamespacedName]*networkingv1.Ingress
	served     map[string][]*networkingv1.Ingress // by host
	slices     map[types.NamespacedName][]*discoveryv1.EndpointSlice
	endpoints  map[types.NamespacedName]*unstructured.Unstructured
	// unknown says that the cluster does not know DNSEndpoints.
	unknown bool
}

var _ client.Reader = (*snapshot)(nil)

// readSnapshot lists everything. DNSEndpoints are left out without a client for them.
func readSnapshot(ctx context.Context, kube kubernetes.Interface, objects dynamic.Interface) (*snapshot, error) {
	s := &snapshot{
		configMaps: map[string][]*corev1.ConfigMap{}, named: map[types.NamespacedName]*networkingv1.Ingress{},
		served: map[string][]*networkingv1.Ingress{}, slices: map[types.NamespacedName][]*discoveryv1.EndpointSlice{},
		endpoints: map[types.NamespacedName]*unstructured.Unstructured{},
	}
	err := each(ctx, metav1.ListOptions{}, func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		return kube.NetworkingV1().Ingresses(metav1.NamespaceAll).List(ctx, o)
	}, s.addIngress)
	if err != nil {
		return nil, fmt.Errorf("list ingresses: %w", err)
	}
	err = each(ctx, metav1.ListOptions{}, func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		return kube.DiscoveryV1().EndpointSlices(metav1.NamespaceAll).List(ctx, o)
	}, s.addSlice)
	if err != nil {
		return nil, fmt.Errorf("list endpointslices: %w", err)
	}
	err = each(ctx, metav1.ListOptions{LabelSelector: state.Label}, func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		return kube.CoreV1().ConfigMaps(metav1.NamespaceAll).List(ctx, o)
	}, func(c *corev1.ConfigMap) { s.configMaps[c.Namespace] = append(s.configMaps[c.Namespace], c) })
	if err != nil {
		return nil, fmt.Errorf("list configmaps with label %s: %w", state.Label, err)
	}
	if objects == nil {
		return s, nil
	}
	err = each(ctx, metav1.ListOptions{}, func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		return objects.Resource(externaldns.Resource).List(ctx, o)
	}, func(u *unstructured.Unstructured) {
		s.endpoints[types.NamespacedName{Namespace: u.GetNamespace(), Name: u.GetName()}] = u
	})
	if apierrors.IsNotFound(err) {
		s.unknown = true
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list dnsendpoints: %w", err)
	}
	return s, nil
}

// each lists page by page.
func each[O runtime.Object](ctx context.Context, opts metav1.ListOptions, page pager.ListPageFunc, add func(object O)) error {
	list, _, err := pager.New(page).List(ctx, opts)
	if err != nil {
		return err //nolint:wrapcheck // the callers say what was listed
	}
	err = meta.EachListItem(list, func(object runtime.Object) error {
		typed, ok := object.(O)
		if !ok {
			return fmt.Errorf("a list holds a %T", object)
		}
		add(typed)
		return nil
	})
	return err //nolint:wrapcheck // as above
}

func (s *snapshot) addIngress(ingress *networkingv1.Ingress) {
	s.ingresses = append(s.ingresses, ingress)
	s.named[client.ObjectKeyFromObject(ingress)] = ingress
	for _, host := range hostsOf(ingress) {
		s.served[host] = append(s.served[host], ingress)
	}
}

func (s *snapshot) addSlice(slice *discoveryv1.EndpointSlice) {
	for _, service := range serviceOfSlice(slice) {
		name := types.NamespacedName{Namespace: slice.Namespace, Name: service}
		s.slices[name] = append(s.slices[name], slice)
	}
}

// Get implements client.Reader for Ingresses.
func (s *snapshot) Get(_ context.Context, name client.ObjectKey, object client.Object, _ ...client.GetOption) error {
	into, ok := object.(*networkingv1.Ingress)
	if !ok {
		return fmt.Errorf("a plan has read no %T", object)
	}
	ingress := s.named[name]
	if ingress == nil {
		return apierrors.NewNotFound(networkingv1.Resource("ingresses"), name.Name) //nolint:wrapcheck // it is the error that a cache would return
	}
	ingress.DeepCopyInto(into) // the filter changes what it is given
	return nil
}

// List implements client.Reader for the lists that a source asks for.
func (s *snapshot) List(_ context.Context, list client.ObjectList, options ...client.ListOption) error {
	var o client.ListOptions
	o.ApplyOptions(options)
	field, value := "", ""
	if o.FieldSelector != nil {
		requirements := o.FieldSelector.Requirements()
		if len(requirements) != 1 {
			return fmt.Errorf("a plan cannot list a %T with the fields %s", list, o.FieldSelector)
		}
		field, value = requirements[0].Field, requirements[0].Value
	}
	switch into := list.(type) {
	case *networkingv1.IngressList:
		found := s.ingresses
		if field == byHost {
			found = s.served[value]
		} else if field != "" {
			return fmt.Errorf("a plan cannot list ingresses by %s", field)
		}
		for _, ingress := range found {
			if o.Namespace == "" || o.Namespace == ingress.Namespace {
				into.Items = append(into.Items, *ingress.DeepCopy())
			}
		}
	case *discoveryv1.EndpointSliceList:
		if field != byService || o.Namespace == "" {
			return fmt.Errorf("a plan cannot list endpointslices but those of a Service, and not by %q", field)
		}
		for _, slice := range s.slices[types.NamespacedName{Namespace: o.Namespace, Name: value}] {
			into.Items = append(into.Items, *slice) // nobody changes them
		}
	case *corev1.ConfigMapList:
		if field != "" || o.Namespace == "" {
			return fmt.Errorf("a plan cannot list configmaps but those of a namespace, and not by %q", field)
		}
		for _, configMap := range s.configMaps[o.Namespace] {
			into.Items = append(into.Items, *configMap.DeepCopy())
		}
	case *unstructured.UnstructuredList:
		if into.GetKind() != newDNSEndpoint().GetKind()+"List" || field != "" || o.Namespace != "" {
			return fmt.Errorf("a plan cannot list %s but all of them, and not by %q", into.GetKind(), field)
		}
		for _, object := range s.endpoints {
			into.Items = append(into.Items, *object) // nobody changes them
		}
	default:
		return fmt.Errorf("a plan has read no %T", list)
	}
	return nil
}

// dnsEndpoint is externaldns.Options.Read.
func (s *snapshot) dnsEndpoint(_ context.Context, name types.NamespacedName) (*unstructured.Unstructured, error) {
	object := s.endpoints[name]
	if object == nil {
		return nil, apierrors.NewNotFound(externaldns.Resource.GroupResource(), name.Name) //nolint:wrapcheck // as in Get
	}
	return object.DeepCopy(), nil
}
