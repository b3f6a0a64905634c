package traffic

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	crsource "sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/penstock-dev/penstock/dns/externaldns"
	"github.com/penstock-dev/penstock/internal/state"
)

type (
	queue   = workqueue.TypedRateLimitingInterface[types.NamespacedName]
	watched = crsource.TypedSyncingSource[types.NamespacedName]
)

// watch fills the queue with the Ingresses that an event concerns. It returns when all that exists is in the caches, and in the queue.
func (c *Controller) watch(ctx context.Context, caches cache.Cache) error {
	sources := map[string]watched{
		"ingresses":      crsource.TypedKind(caches, &networkingv1.Ingress{}, eachOf(c.ofIngress)),
		"endpointslices": crsource.TypedKind(caches, &discoveryv1.EndpointSlice{}, eachOf(c.ofEndpoints)),
		"configmaps":     crsource.TypedKind(caches, &corev1.ConfigMap{}, eachOf(c.ofCanary)),
	}
	if c.opts.Backend == BackendExternalDNS {
		sources["dnsendpoints"] = crsource.TypedKind(caches, newDNSEndpoint(), eachOf(ofDNSEndpoint))
	}
	for _, object := range []client.Object{&networkingv1.Ingress{}, &corev1.ConfigMap{}} { // what the handlers read, of which one may be called at once
		_, _ = caches.GetInformer(ctx, object, cache.BlockUntilSynced(false)) // the sources ask again, and wait
	}
	for kind, s := range sources {
		if err := s.Start(ctx, c.queue); err != nil {
			return fmt.Errorf("watch %s: %w", kind, err)
		}
	}
	for kind, s := range sources {
		if err := s.WaitForSync(ctx); err != nil {
			return fmt.Errorf("read all %s: %w", kind, err)
		}
	}
	return nil
}

func newDNSEndpoint() *unstructured.Unstructured {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(externaldns.Resource.GroupVersion().WithKind("DNSEndpoint"))
	return object
}

// eachOf queues the Ingresses that an object concerns, or concerned before it changed.
func eachOf[O client.Object](concerns func(ctx context.Context, object O) []types.NamespacedName) handler.TypedEventHandler[O, types.NamespacedName] {
	add := func(ctx context.Context, q queue, objects ...O) {
		for _, object := range objects {
			for _, name := range concerns(ctx, object) {
				q.Add(name)
			}
		}
	}
	return handler.TypedFuncs[O, types.NamespacedName]{
		CreateFunc: func(ctx context.Context, e event.TypedCreateEvent[O], q queue) { add(ctx, q, e.Object) },
		UpdateFunc: func(ctx context.Context, e event.TypedUpdateEvent[O], q queue) { add(ctx, q, e.ObjectOld, e.ObjectNew) },
		DeleteFunc: func(ctx context.Context, e event.TypedDeleteEvent[O], q queue) { add(ctx, q, e.Object) },
	}
}

// ofIngress concerns the Ingress itself, those that share a host with it, and the one whose canary it was prepared for.
func (c *Controller) ofIngress(ctx context.Context, ingress *networkingv1.Ingress) []types.NamespacedName {
	names := []types.NamespacedName{{Namespace: ingress.Namespace, Name: ingress.Name}}
	for _, host := range hostsOf(ingress) {
		names = appendIngresses(ctx, c, names, client.MatchingFields{byHost: host})
	}
	canaries, err := c.source.Canaries(ctx, ingress.Namespace)
	if err != nil {
		c.log.Warnw("canaries of an ingress are not known", "ingress", names[0].String(), "error", err)
	}
	for i := range canaries {
		if desired, _, err := state.Read(&canaries[i]); err == nil && desired.CanaryIngress == ingress.Name {
			names = append(names, types.NamespacedName{Namespace: ingress.Namespace, Name: desired.Ingress})
		}
	}
	return names
}

// ofEndpoints concerns the Ingresses that name the Service.
func (c *Controller) ofEndpoints(ctx context.Context, slice *discoveryv1.EndpointSlice) []types.NamespacedName {
	var names []types.NamespacedName
	for _, service := range serviceOfSlice(slice) {
		names = appendIngresses(ctx, c, names, client.InNamespace(slice.Namespace), client.MatchingFields{byService: service})
	}
	return names
}

// ofCanary concerns the Ingress that a Canary is about.
func (c *Controller) ofCanary(_ context.Context, configMap *corev1.ConfigMap) []types.NamespacedName {
	desired, _, err := state.Read(configMap)
	if desired.Ingress == "" {
		c.log.Warnw("configmap left out", "configmap", configMap.Namespace+"/"+configMap.Name, "reason", fmt.Sprint(err))
		return nil
	}
	names := []types.NamespacedName{{Namespace: configMap.Namespace, Name: desired.Ingress}}
	if desired.CanaryIngress != "" {
		names = append(names, types.NamespacedName{Namespace: configMap.Namespace, Name: desired.CanaryIngress})
	}
	return names
}

// ofDNSEndpoint concerns the Ingress of its name.
func ofDNSEndpoint(_ context.Context, object *unstructured.Unstructured) []types.NamespacedName {
	return []types.NamespacedName{{Namespace: object.GetNamespace(), Name: object.GetName()}}
}

func appendIngresses(ctx context.Context, c *Controller, names []types.NamespacedName, options ...client.ListOption) []types.NamespacedName {
	list := &networkingv1.IngressList{}
	if err := c.source.caches.List(ctx, list, options...); err != nil {
		c.log.Warnw("ingresses that an event concerns are not known", "error", err)
		return names
	}
	for i := range list.Items {
		name := types.NamespacedName{Namespace: list.Items[i].Namespace, Name: list.Items[i].Name}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}
