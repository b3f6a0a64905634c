package traffic

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/controller-runtime/pkg/cache"
)

// keep is the transformation of all that goes into the caches: of objects that there are thousands of stays what somebody looks at.
func keep(object any) (any, error) {
	switch o := object.(type) {
	case *networkingv1.Ingress:
		delete(o.Annotations, corev1.LastAppliedConfigAnnotation) // as long as the rest
	case *discoveryv1.EndpointSlice:
		o.Annotations, o.OwnerReferences, o.Ports, o.Endpoints = nil, nil, nil, oneReady(o.Endpoints)
	case *unstructured.Unstructured:
		if err := pack(o); err != nil {
			return nil, err
		}
	}
	return cache.TransformStripManagedFields()(object)
}

// oneReady tells whether anybody is ready, since there are as many addresses as Pods.
func oneReady(endpoints []discoveryv1.Endpoint) []discoveryv1.Endpoint {
	for _, e := range endpoints {
		if isReady(e) {
			return []discoveryv1.Endpoint{{Conditions: e.Conditions}}
		}
	}
	return nil
}

// pack makes the spec of a DNSEndpoint its text, which takes much less memory than the maps and slices that it is parsed into. There is one for each
// Ingress, and nobody looks into it until its records change.
func pack(endpoint *unstructured.Unstructured) error {
	spec, ok := endpoint.Object["spec"].(map[string]any)
	if !ok { // there is none, or it has been packed
		return nil
	}
	text, err := json.Marshal(spec)
	if err != nil {
		return fmt.Errorf("dnsendpoint %s/%s: write the spec: %w", endpoint.GetNamespace(), endpoint.GetName(), err)
	}
	endpoint.Object["spec"] = string(text)
	return nil
}

// unpack gives a DNSEndpoint of the cache its spec back.
func unpack(endpoint *unstructured.Unstructured) error {
	text, ok := endpoint.Object["spec"].(string)
	if !ok {
		return nil
	}
	var spec map[string]any
	if err := json.Unmarshal([]byte(text), &spec); err != nil {
		return fmt.Errorf("dnsendpoint %s/%s: read the spec: %w", endpoint.GetNamespace(), endpoint.GetName(), err)
	}
	endpoint.Object["spec"] = spec
	return nil
}
