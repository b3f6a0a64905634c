package externaldns

import (
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	"github.com/penstock-dev/penstock/dns"
)

// get returns the DNSEndpoint of an Ingress, nil if there is none, or if it does not belong to the cluster's publisher, which foreign then says.
// fresh passes by the cache.
func (b *Backend) get(ctx context.Context, key owner, fresh bool) (object *unstructured.Unstructured, foreign error, err error) {
	object, err = b.read(ctx, key.ingress, fresh)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil, nil // also when the CRD is missing: creating says so
	case err != nil:
		return nil, nil, fmt.Errorf("get dnsendpoint %s: %w", key.ingress, err)
	case isOurs(object), b.opts.Adopt && adoptable(object, key.cluster):
		return object, nil, nil
	}
	if set := otherSet(object, key.cluster); set != "" {
		return nil, dns.Refuse(fmt.Errorf("dnsendpoint %s: its endpoints have the set identifier %q, and this cluster is %q: correct the cluster's name if that is %q, "+
			"or leave the object to whom it belongs. Deleting it deletes its records", key.ingress, set, key.cluster, set)), nil
	}
	return nil, dns.Refuse(fmt.Errorf("dnsendpoint %s exists and was not made by penstock: it lacks the label %s=%s; rename the ingress, which needs that name, or delete the object, and its records with it; "+
		"one that an earlier traffic controller made is taken over by penstock controller, so leave it to that",
		key.ingress, ManagedByLabel, managedBy)), nil
}

// read asks the cache if there is one, and the API server if the cache is known to be behind.
func (b *Backend) read(ctx context.Context, name types.NamespacedName, fresh bool) (*unstructured.Unstructured, error) {
	if b.opts.Read != nil && !fresh {
		object, err := b.opts.Read(ctx, name)
		if err != nil && !apierrors.IsNotFound(err) || !b.behind(name, object) {
			return object, err
		}
	}
	object, err := b.kube.Resource(Resource).Namespace(name.Namespace).Get(ctx, name.Name, metav1.GetOptions{})
	b.metrics.called("get", err)
	if apierrors.IsNotFound(err) {
		b.mu.Lock()
		delete(b.written, name) // somebody has deleted it since
		b.mu.Unlock()
	}
	return object, err //nolint:wrapcheck // get says what was asked for
}

// behind tells whether a cache that returns object, nil for none, lacks what was written here.
func (b *Backend) behind(name types.NamespacedName, object *unstructured.Unstructured) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	written, ok := b.written[name]
	if !ok {
		return false
	}
	if object != nil {
		if order, err := resourceversion.CompareResourceVersion(object.GetResourceVersion(), written); err != nil || order >= 0 {
			delete(b.written, name)
			return false
		}
	}
	return true
}

// wrote notes a version that the cache has to show.
func (b *Backend) wrote(object *unstructured.Unstructured) {
	if b.opts.Read == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.written[types.NamespacedName{Namespace: object.GetNamespace(), Name: object.GetName()}] = object.GetResourceVersion()
}

// isOurs tells whether this project made the object.
func isOurs(object *unstructured.Unstructured) bool {
	return object.GetLabels()[ManagedByLabel] == managedBy
}

// belongs tells whether an object that get returned holds the records of a cluster. An earlier traffic controller that was gone back to for a while has
// emptied the annotations and left the label: then the records say whose they are.
func belongs(object *unstructured.Unstructured, cluster string) bool {
	said, found := object.GetAnnotations()[ClusterAnnotation]
	return !isOurs(object) || said == cluster || !found && holdsOnly(object, cluster)
}

// holdsOnly tells whether all records of an object have a cluster's set identifier.
func holdsOnly(object *unstructured.Unstructured, cluster string) bool {
	endpoints, err := endpointsOf(object)
	return err == nil && !slices.ContainsFunc(endpoints, func(e endpoint) bool { return e.SetIdentifier != cluster })
}

// otherSet returns a set identifier of an object that is not a cluster's, empty if there is none.
func otherSet(object *unstructured.Unstructured, cluster string) string {
	endpoints, err := endpointsOf(object)
	if err != nil {
		return "" // whose it is cannot be told
	}
	for _, e := range endpoints {
		if e.SetIdentifier != "" && e.SetIdentifier != cluster {
			return e.SetIdentifier
		}
	}
	return ""
}

// adoptable tells whether an object is what an earlier traffic controller made for the Ingress of its name.
func adoptable(object *unstructured.Unstructured, cluster string) bool {
	owned := slices.ContainsFunc(object.GetOwnerReferences(), func(o metav1.OwnerReference) bool {
		return isController(o) && o.Kind == "Ingress" && o.Name == object.GetName()
	})
	return owned && object.GetLabels()[ManagedByLabel] == "" && holdsOnly(object, cluster)
}

func isController(o metav1.OwnerReference) bool { return o.Controller != nil && *o.Controller }
