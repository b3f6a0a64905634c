package traffic

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdkroute53 "github.com/aws/aws-sdk-go-v2/service/route53"
	route53types "github.com/aws/aws-sdk-go-v2/service/route53/types"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/penstock-dev/penstock/dns"
	"github.com/penstock-dev/penstock/dns/route53"
)

// readOnly lets nothing but reads through to the API server, whatever the code above it does.
type readOnly struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (t readOnly) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		if r.Body != nil {
			_ = r.Body.Close() // a round tripper must, and nobody has written to it
		}
		return nil, fmt.Errorf("%s %s: a plan writes nothing", r.Method, r.URL.Path)
	}
	return t.RoundTripper.RoundTrip(r) //nolint:wrapcheck // it only stands between
}

// recorder notes what stands and what would, and hands both on: the backend behind it writes through clients that keep its writes to themselves, so it
// still says what it would refuse.
type recorder struct {
	dns.Backend

	mu            sync.Mutex // guards the following
	before, after map[types.NamespacedName][]dns.Record
}

// Published implements dns.Backend.
func (r *recorder) Published(ctx context.Context, cluster string, ingress types.NamespacedName, hosts []string) ([]dns.Record, error) {
	records, err := r.Backend.Published(ctx, cluster, ingress, hosts)
	if err == nil {
		r.mu.Lock()
		r.before[ingress] = records
		r.mu.Unlock()
	}
	return records, err
}

// Publish implements dns.Backend.
func (r *recorder) Publish(ctx context.Context, publications ...dns.Publication) ([]dns.Status, error) {
	r.mu.Lock()
	for _, p := range publications {
		r.after[p.Ingress] = p.Records
	}
	r.mu.Unlock()
	return r.Backend.Publish(ctx, publications...)
}

// dryObjects writes no object, and answers as if it had.
type dryObjects struct {
	dynamic.Interface

	unknown bool // the cluster does not know the resource
}

// Resource implements dynamic.Interface.
func (d dryObjects) Resource(resource schema.GroupVersionResource) dynamic.NamespaceableResourceInterface {
	return dryResource{d.Interface.Resource(resource), resource.GroupResource(), d.unknown}
}

type dryResource struct {
	dynamic.NamespaceableResourceInterface

	resource schema.GroupResource
	unknown  bool
}

// Namespace implements dynamic.NamespaceableResourceInterface.
func (d dryResource) Namespace(namespace string) dynamic.ResourceInterface {
	return dryNamespace{d.NamespaceableResourceInterface.Namespace(namespace), d.resource, d.unknown}
}

// dryNamespace has those writes that a backend uses; readOnly stops the others.
type dryNamespace struct {
	dynamic.ResourceInterface

	resource schema.GroupResource
	unknown  bool
}

// Create implements dynamic.ResourceInterface.
func (d dryNamespace) Create(_ context.Context, object *unstructured.Unstructured, _ metav1.CreateOptions, _ ...string) (*unstructured.Unstructured, error) {
	if d.unknown {
		return nil, apierrors.NewNotFound(d.resource, object.GetName()) //nolint:wrapcheck // it is the error that the API server would send
	}
	return object.DeepCopy(), nil
}

// Update implements dynamic.ResourceInterface.
func (d dryNamespace) Update(_ context.Context, object *unstructured.Unstructured, _ metav1.UpdateOptions, _ ...string) (*unstructured.Unstructured, error) {
	return object.DeepCopy(), nil
}

// Delete implements dynamic.ResourceInterface.
func (d dryNamespace) Delete(context.Context, string, metav1.DeleteOptions, ...string) error {
	return nil
}

// dryChange begins the ids of changes that were never submitted.
const dryChange = "PLANNED"

// dryRoute53 changes no record set, and answers as if it had.
type dryRoute53 struct {
	route53.API

	mu      sync.Mutex // guards the following
	batches int
	created map[dns.Key]bool // record sets that did not stand before
}

// ChangeResourceRecordSets implements route53.API.
func (d *dryRoute53) ChangeResourceRecordSets(_ context.Context, in *sdkroute53.ChangeResourceRecordSetsInput, _ ...func(*sdkroute53.Options)) (*sdkroute53.ChangeResourceRecordSetsOutput, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.batches++
	if in.ChangeBatch != nil {
		for _, c := range in.ChangeBatch.Changes {
			if c.Action == route53types.ChangeActionCreate && c.ResourceRecordSet != nil {
				d.created[keyOfSet(c.ResourceRecordSet)] = true
			}
		}
	}
	id := fmt.Sprintf("/change/%s%d", dryChange, d.batches)
	return &sdkroute53.ChangeResourceRecordSetsOutput{ChangeInfo: &route53types.ChangeInfo{Id: &id, Status: route53types.ChangeStatusPending}}, nil
}

// GetChange implements route53.API.
func (d *dryRoute53) GetChange(ctx context.Context, in *sdkroute53.GetChangeInput, opts ...func(*sdkroute53.Options)) (*sdkroute53.GetChangeOutput, error) {
	if id := strings.TrimPrefix(aws.ToString(in.Id), "/change/"); strings.HasPrefix(id, dryChange) {
		return &sdkroute53.GetChangeOutput{ChangeInfo: &route53types.ChangeInfo{Id: in.Id, Status: route53types.ChangeStatusPending}}, nil
	}
	return d.API.GetChange(ctx, in, opts...)
}

// takenOver tells whether a record that is about to be ours stands already, as somebody else's.
func (d *dryRoute53) takenOver(r dns.Record) bool {
	kinds := []dns.RecordType{r.Type}
	if r.Type == dns.CNAME && len(r.Targets) == 1 {
		if _, balancer := dns.LoadBalancerZone(r.Targets[0]); balancer {
			kinds = []dns.RecordType{dns.A, dns.AAAA}
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, kind := range kinds {
		if !d.created[dns.Key{Name: r.Name, Type: kind, SetIdentifier: r.SetIdentifier}] {
			return true
		}
	}
	return false
}

// keyOfSet returns the key of a record set in the words of records. The API writes a "*" as its octal code.
// https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/DomainNameFormat.html
func keyOfSet(set *route53types.ResourceRecordSet) dns.Key {
	name := strings.ReplaceAll(strings.ToLower(strings.TrimSuffix(aws.ToString(set.Name), ".")), `\052`, "*")
	return dns.Key{Name: name, Type: dns.RecordType(set.Type), SetIdentifier: aws.ToString(set.SetIdentifier)}
}
