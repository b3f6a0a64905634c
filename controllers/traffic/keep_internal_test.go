package traffic

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What comes out of the cache is what the API server has sent, whole numbers among it, but for the managed fields.
func TestADNSEndpointInTheCache(t *testing.T) {
	t.Parallel()
	for name, spec := range map[string]any{
		"Records": map[string]any{"endpoints": []any{map[string]any{
			"dnsName": "www.example.com", "recordTTL": int64(60), "targets": []any{"192.0.2.1"}, "providerSpecific": []any{map[string]any{"name": "aws/weight", "value": "5"}},
		}}},
		"Empty":   map[string]any{},
		"None":    nil,
		"Unicode": map[string]any{"endpoints": []any{map[string]any{"labels": map[string]any{"<&>": "\u00e4\u2028"}}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			object := newDNSEndpoint()
			object.SetName("web")
			object.SetAnnotations(map[string]string{"penstock.dev/cluster": "east"})
			if spec != nil {
				object.Object["spec"] = spec
			}
			want := object.DeepCopy()
			object.SetManagedFields([]metav1.ManagedFieldsEntry{{Manager: "penstock"}})
			for range 2 { // an informer may transform an object that it has transformed
				if _, err := keep(object); err != nil {
					t.Fatal(err)
				}
			}
			if _, isText := object.Object["spec"].(string); isText != (spec != nil) {
				t.Errorf("the cache keeps %T", object.Object["spec"])
			}
			if err := unpack(object); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want.Object, object.Object); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// A spec that is no object, which a CustomResourceDefinition without a schema would let through, is told and not lost.
func TestUnpackWhatIsNoSpec(t *testing.T) {
	t.Parallel()
	object := newDNSEndpoint()
	object.SetNamespace("shop")
	object.SetName("web")
	object.Object["spec"] = "nonsense"
	if err := unpack(object); err == nil || object.Object["spec"] != "nonsense" {
		t.Errorf("error %v, spec %v", err, object.Object["spec"])
	}
}

// What the controller looks at stays, and what may be as long as all the rest goes.
func TestKeep(t *testing.T) {
	t.Parallel()
	managed, yes, no := []metav1.ManagedFieldsEntry{{Manager: "kubectl"}}, true, false
	ingress := &networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{Name: "web", ManagedFields: managed, Annotations: map[string]string{
			"kubectl.kubernetes.io/last-applied-configuration": "{}", "dns.adevinta.com/traffic-weight": "5",
		}},
		Spec: networkingv1.IngressSpec{Rules: []networkingv1.IngressRule{{Host: "www.example.com"}}},
	}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Name: "web-1", ManagedFields: managed, Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
		Ports:      make([]discoveryv1.EndpointPort, 1),
		Endpoints: []discoveryv1.Endpoint{
			{Addresses: []string{"192.0.2.1"}, Conditions: discoveryv1.EndpointConditions{Ready: &no}},
			{Addresses: []string{"192.0.2.2"}, Conditions: discoveryv1.EndpointConditions{Ready: &yes}},
			{Addresses: []string{"192.0.2.3"}, Conditions: discoveryv1.EndpointConditions{Ready: &yes}},
		},
	}
	for _, tc := range []struct{ object, want any }{
		{ingress, &networkingv1.Ingress{
			ObjectMeta: metav1.ObjectMeta{Name: "web", Annotations: map[string]string{"dns.adevinta.com/traffic-weight": "5"}}, Spec: *ingress.Spec.DeepCopy(),
		}},
		{slice, &discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{Name: "web-1", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
			Endpoints:  []discoveryv1.Endpoint{{Conditions: discoveryv1.EndpointConditions{Ready: &yes}}},
		}},
	} {
		got, err := keep(tc.object)
		if diff := cmp.Diff(tc.want, got); err != nil || diff != "" {
			t.Errorf("error %v, -want +got:\n%s", err, diff)
		}
	}
}
