package externaldns

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/penstock-dev/penstock/dns"
	"github.com/penstock-dev/penstock/internal/conflicts"
)

// Resource is that of DNSEndpoint, the custom resource of external-dns.
// https://kubernetes-sigs.github.io/external-dns/v0.21.0/docs/sources/crd/
var Resource = schema.GroupVersionResource{Group: "externaldns.k8s.io", Version: "v1alpha1", Resource: "dnsendpoints"}

const kind = "DNSEndpoint"

// An object with ManagedByLabel is ours; ClusterAnnotation names the cluster whose records it holds, and DeletedAnnotation, one a line, the
// answers that must be gone before its last change is in sync.
const (
	ManagedByLabel    = "app.kubernetes.io/managed-by"
	managedBy         = "penstock"
	ClusterAnnotation = "penstock.dev/cluster"
	DeletedAnnotation = "penstock.dev/deleted"
)

// errLeaving says that an object is on its way out, and nothing can be written into it.
var errLeaving = errors.New("it is being deleted")

// endpointsOf returns what a DNSEndpoint holds.
func endpointsOf(object *unstructured.Unstructured) ([]endpoint, error) {
	var typed struct {
		Spec struct {
			Endpoints []endpoint `json:"endpoints"`
		} `json:"spec"`
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &typed); err != nil {
		return nil, dns.Refuse(fmt.Errorf("dnsendpoint %s/%s: spec.endpoints is malformed: %w; delete the object, it is written again",
			object.GetNamespace(), object.GetName(), err))
	}
	return typed.Spec.Endpoints, nil
}

// fill makes object what p asks for, and keeps labels and annotations of others.
func fill(object *unstructured.Unstructured, pub dns.Publication, p plan) error {
	spec := struct {
		Endpoints []endpoint `json:"endpoints"`
	}{p.endpoints}
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&spec)
	if err != nil {
		return fmt.Errorf("dnsendpoint %s: %w", pub.Ingress, err)
	}
	object.SetAPIVersion(Resource.GroupVersion().String())
	object.SetKind(kind)
	object.SetNamespace(pub.Ingress.Namespace)
	object.SetName(pub.Ingress.Name)
	object.SetLabels(with(object.GetLabels(), ManagedByLabel, managedBy))
	annotations := with(object.GetAnnotations(), ClusterAnnotation, pub.Cluster)
	delete(annotations, DeletedAnnotation)
	if len(p.gone) > 0 {
		annotations[DeletedAnnotation] = formatAbsences(p.gone)
	}
	object.SetAnnotations(annotations)
	object.SetOwnerReferences(withController(object.GetOwnerReferences(), pub))
	object.Object["spec"] = fields
	return nil
}

// withController returns owner references with the Ingress as the controller, of which there can be one. Other owners stay.
func withController(owners []metav1.OwnerReference, pub dns.Publication) []metav1.OwnerReference {
	controller := true
	ingress := metav1.OwnerReference{APIVersion: "networking.k8s.io/v1", Kind: "Ingress", Name: pub.Ingress.Name, UID: pub.IngressUID, Controller: &controller}
	kept := []metav1.OwnerReference{ingress}
	for _, o := range owners {
		if o.UID != pub.IngressUID && !isController(o) {
			kept = append(kept, o)
		}
	}
	return kept
}

func with(values map[string]string, key, value string) map[string]string {
	if values == nil {
		values = map[string]string{}
	}
	values[key] = value
	return values
}

// write makes the DNSEndpoint of a Publication hold its records, and tells whether something had to be written for that. A conflict is
// planned anew, from what stands there then.
func (b *Backend) write(ctx context.Context, pub dns.Publication, unasked error) (p plan, written bool, err error) {
	fresh := false
	err = conflicts.Retry(func() error {
		object, foreign, err := b.get(ctx, owner{pub.Cluster, pub.Ingress}, fresh)
		if err := errors.Join(err, foreign); err != nil {
			return err
		}
		fresh = true // if there is another time
		exists := object != nil
		if !exists {
			object = &unstructured.Unstructured{Object: map[string]any{}}
		}
		current, err := b.held(pub, object)
		if err != nil {
			return err
		}
		if p, err = newPlan(pub.Cluster, pub.Records, current, b.opts.Clock.Now().UTC().Format(time.RFC3339Nano)); err != nil {
			return dns.Refuse(err)
		}
		before := object.DeepCopy()
		if err := fill(object, pub, p); err != nil {
			return err
		}
		if reflect.DeepEqual(before.Object, object.Object) {
			return nil
		}
		if before.GetDeletionTimestamp() != nil {
			return fmt.Errorf("dnsendpoint %s: %w", pub.Ingress, errLeaving)
		}
		if err := b.refuse(ctx, pub.Records, current.endpoints, unasked); err != nil {
			return err
		}
		written = true
		return b.put(ctx, object, exists)
	})
	if err != nil {
		return plan{}, false, err // each of them names the object
	}
	return p, written, nil
}

func (b *Backend) put(ctx context.Context, object *unstructured.Unstructured, exists bool) error {
	client := b.kube.Resource(Resource).Namespace(object.GetNamespace())
	name := object.GetNamespace() + "/" + object.GetName()
	if exists {
		stored, err := client.Update(ctx, object, metav1.UpdateOptions{FieldManager: managedBy})
		b.metrics.called("update", err)
		if apierrors.IsNotFound(err) { // it has just been deleted
			err = apierrors.NewConflict(Resource.GroupResource(), object.GetName(), err)
		}
		if err != nil {
			return fmt.Errorf("update dnsendpoint %s: %w", name, err)
		}
		b.wrote(stored)
		return nil
	}
	stored, err := client.Create(ctx, object, metav1.CreateOptions{FieldManager: managedBy})
	b.metrics.called("create", err)
	switch {
	case apierrors.IsAlreadyExists(err): // somebody was faster: plan from what stands there
		return fmt.Errorf("create dnsendpoint %s: %w", name, apierrors.NewConflict(Resource.GroupResource(), object.GetName(), err))
	case apierrors.IsNotFound(err):
		return fmt.Errorf("create dnsendpoint %s: the cluster does not know the resource %s, or the namespace: install the CustomResourceDefinition of external-dns, "+
			"or publish with the route53 backend: %w", name, Resource.GroupResource(), err)
	case err != nil:
		return fmt.Errorf("create dnsendpoint %s: %w", name, err)
	}
	b.wrote(stored)
	return nil
}

// held returns what a DNSEndpoint holds, and whether this process knows that it is in sync.
func (b *Backend) held(pub dns.Publication, object *unstructured.Unstructured) (held, error) {
	endpoints, err := endpointsOf(object)
	if err != nil {
		return held{}, err
	}
	h := held{endpoints: endpoints, gone: parseAbsences(object.GetAnnotations()[DeletedAnnotation])}
	b.mu.Lock()
	defer b.mu.Unlock()
	before := b.progress[owner{pub.Cluster, pub.Ingress}]
	h.proven = before != nil && before.change == changeOf(endpoints) && !before.inSync.IsZero() && !before.granted
	return h, nil
}

// remove deletes the DNSEndpoint of an Ingress, if it is ours and that of the cluster, as it was read, and returns what it held; found
// is false when there was none.
func (b *Backend) remove(ctx context.Context, pub dns.Publication) (h held, found bool, err error) {
	fresh := false
	err = conflicts.Retry(func() error {
		object, _, err := b.get(ctx, owner{pub.Cluster, pub.Ingress}, fresh)
		if err != nil || object == nil || !belongs(object, pub.Cluster) {
			return err
		}
		fresh = true
		if h, err = b.held(pub, object); err != nil {
			return err
		}
		found = true
		if object.GetDeletionTimestamp() != nil {
			return nil
		}
		uid, version := object.GetUID(), object.GetResourceVersion()
		err = b.kube.Resource(Resource).Namespace(pub.Ingress.Namespace).Delete(ctx, pub.Ingress.Name, metav1.DeleteOptions{
			Preconditions: &metav1.Preconditions{UID: &uid, ResourceVersion: &version},
		})
		b.metrics.called("delete", err)
		return err //nolint:wrapcheck // it is below
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return held{}, false, fmt.Errorf("delete dnsendpoint %s: %w", pub.Ingress, err)
	}
	return h, found, nil
}
