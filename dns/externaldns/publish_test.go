package externaldns_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clienttesting "k8s.io/client-go/testing"

	"github.com/penstock-dev/penstock/dns"
	"github.com/penstock-dev/penstock/dns/externaldns"
)

var update = flag.Bool("update", false, "rewrite testdata")

func hostRecord(weight int) dns.Record {
	return dns.Record{Name: "www.example.com", Type: dns.A, SetIdentifier: cluster, Weight: weight, Targets: []string{"192.0.2.10"}}
}

func member(id string, weight int, address string) dns.Record {
	return dns.Record{
		Name: "east._canary.www.example.com", Type: dns.A, SetIdentifier: id, Weight: weight,
		Targets: []string{address}, TTL: 30 * time.Second,
	}
}

// attached is what a canary in split mode publishes.
func attached(primary, canary int) []dns.Record {
	records := []dns.Record{
		{
			Name: "www.example.com", Type: dns.A, SetIdentifier: cluster, Weight: 50, Targets: []string{"east._canary.www.example.com"},
			Alias: true, EvaluateTargetHealth: true,
		},
		member(dns.Primary, primary, "192.0.2.10"),
	}
	if canary > 0 {
		records = append(records, member(dns.Canary, canary, "192.0.2.20"))
	}
	return records
}

var shapes = map[string][]dns.Record{
	"load-balancer": {{
		Name: "www.example.com", Type: dns.CNAME, SetIdentifier: cluster, Weight: 37,
		Targets: []string{"web-1234567890.eu-west-1.elb.amazonaws.com"}, HealthCheckID: "0d1e2f3a-0000-4000-8000-00000000000a",
	}},
	"wildcard": {{Name: "*.example.com", Type: dns.CNAME, SetIdentifier: cluster, Weight: 0, Targets: []string{"lb.example.net"}, TTL: time.Minute}},
	"split":    attached(95, 5),
	"addresses": {
		{Name: "www.example.com", Type: dns.A, SetIdentifier: cluster, Weight: 255, Targets: []string{"east._addresses.www.example.com"}, Alias: true},
		{Name: "east._addresses.www.example.com", Type: dns.A, Targets: []string{"192.0.2.10", "192.0.2.11"}, TTL: 30 * time.Second},
	},
}

func TestGoldenDNSEndpoints(t *testing.T) {
	t.Parallel()
	for name, records := range shapes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.publish(publication(records...))
			got, err := json.MarshalIndent(r.object().Object, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", name+".json")
			if *update {
				if err := os.WriteFile(file, append(got, '\n'), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)+"\n"); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			published, err := r.backend.Published(t.Context(), cluster, shop, nil)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(records, published); diff != "" {
				t.Errorf("what is published -want +got:\n%s", diff)
			}
			if other, err := r.backend.Published(t.Context(), "west", shop, nil); err != nil || len(other) > 0 {
				t.Errorf("published for another cluster: %v, error %v", other, err)
			}
		})
	}
}

func TestNothingIsWrittenTwice(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	pub := publication(attached(95, 5)...)
	for i, want := range []int{1, 0, 0} {
		if i == 2 {
			r.restart()
		}
		r.publish(pub)
		if got := r.writes(); got != want {
			t.Errorf("call %d: %d writes, want %d", i+1, got, want)
		}
	}
}

func TestDriftIsUndone(t *testing.T) {
	t.Parallel()
	drifts := map[string]func(t *testing.T, object *unstructured.Unstructured, endpoints []any){
		"weight": func(_ *testing.T, _ *unstructured.Unstructured, endpoints []any) {
			endpoints[0].(map[string]any)["providerSpecific"].([]any)[0].(map[string]any)["value"] = "99"
		},
		"marker": func(_ *testing.T, _ *unstructured.Unstructured, endpoints []any) {
			endpoints[len(endpoints)-1].(map[string]any)["targets"] = []any{"else.example.com"}
		},
		"marker gone": func(t *testing.T, object *unstructured.Unstructured, endpoints []any) {
			t.Helper()
			if err := unstructured.SetNestedSlice(object.Object, endpoints[:len(endpoints)-1], "spec", "endpoints"); err != nil {
				t.Fatal(err)
			}
		},
		"owner": func(_ *testing.T, object *unstructured.Unstructured, _ []any) { object.SetOwnerReferences(nil) },
		"unknown": func(_ *testing.T, _ *unstructured.Unstructured, endpoints []any) {
			endpoints[0].(map[string]any)["labels"] = map[string]any{"a": "b"}
		},
		"cluster":  func(_ *testing.T, object *unstructured.Unstructured, _ []any) { object.SetAnnotations(nil) },
		"no space": func(_ *testing.T, object *unstructured.Unstructured, _ []any) { delete(object.Object, "spec") },
	}
	for name, drift := range drifts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			pub := publication(attached(95, 5)...)
			r.publish(pub)
			want := r.object()
			object := want.DeepCopy()
			endpoints := object.Object["spec"].(map[string]any)["endpoints"].([]any)
			drift(t, object, endpoints)
			r.put(object)
			r.writes()
			if status := r.publish(pub); status.Err != nil {
				t.Fatal(status.Err)
			}
			if got := r.writes(); got != 1 {
				t.Errorf("%d writes, want 1", got)
			}
			if diff := cmp.Diff(stripMarkers(want), stripMarkers(r.object())); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// stripMarkers returns a DNSEndpoint without what markers say, since they follow what stood before.
func stripMarkers(object *unstructured.Unstructured) map[string]any {
	for _, e := range object.Object["spec"].(map[string]any)["endpoints"].([]any) {
		if fields := e.(map[string]any); strings.Contains(fields["dnsName"].(string), "._penstock.") {
			fields["targets"] = "a hash"
		}
	}
	object.SetResourceVersion("")
	return object.Object
}

func (r *rig) put(object *unstructured.Unstructured) {
	r.t.Helper()
	if _, err := r.kube.Resource(externaldns.Resource).Namespace(shop.Namespace).Update(r.t.Context(), object, metav1.UpdateOptions{}); err != nil {
		r.t.Fatal(err)
	}
}

func foreign(name string) *unstructured.Unstructured {
	object := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"endpoints": []any{
		map[string]any{"dnsName": "www.example.com", "recordType": "A", "targets": []any{"192.0.2.99"}},
	}}}}
	object.SetAPIVersion("externaldns.k8s.io/v1alpha1")
	object.SetKind("DNSEndpoint")
	object.SetNamespace(shop.Namespace)
	object.SetName(name)
	return object
}

// Somebody who starts a cluster with a wrong name must not be told to delete what is served.
func TestObjectsOfAnotherSetIdentifier(t *testing.T) {
	t.Parallel()
	object := foreign(shop.Name)
	object.Object["spec"] = map[string]any{"endpoints": []any{
		map[string]any{"dnsName": "old.example.com", "recordType": "A", "targets": []any{"192.0.2.99"}},
		map[string]any{"dnsName": "www.example.com", "recordType": "CNAME", "setIdentifier": "prod01", "targets": []any{"lb.example.net"}},
	}}
	r := newRig(t, object)
	status := r.publish(publication(hostRecord(50)))
	want := fmt.Sprintf(`dnsendpoint shop/web: its endpoints have the set identifier "prod01", and this cluster is %q: correct the cluster's name if that is "prod01", `+
		"or leave the object to whom it belongs. Deleting it deletes its records", cluster)
	if status.Err == nil || !strings.Contains(status.Err.Error(), want) || !errors.Is(status.Err, dns.ErrRefused) {
		t.Errorf("error %v, want a refusal with %q", status.Err, want)
	}
	if got := r.writes(); got > 0 {
		t.Errorf("%d writes", got)
	}
}

func TestObjectsOfOthersAreLeftAlone(t *testing.T) {
	t.Parallel()
	r := newRig(t, foreign(shop.Name))
	before := r.object()
	records, err := r.backend.Published(t.Context(), cluster, shop, nil)
	if err != nil || len(records) > 0 {
		t.Errorf("published: %v, error %v", records, err)
	}
	status := r.publish(publication(hostRecord(50)))
	for _, part := range []string{"shop/web", "was not made by penstock", "app.kubernetes.io/managed-by", "delete the object, and its records with it"} {
		if status.Err == nil || !strings.Contains(status.Err.Error(), part) {
			t.Errorf("error %v does not say %q", status.Err, part)
		}
	}
	if !errors.Is(status.Err, dns.ErrRefused) {
		t.Errorf("error %v is not told to be a refusal", status.Err)
	}
	nothing := publication()
	nothing.Prove = false
	if status := r.publish(nothing); status.Err != nil || !status.InSync {
		t.Errorf("removing nothing: %+v", status)
	}
	if diff := cmp.Diff(before, r.object()); diff != "" {
		t.Errorf("it was changed:\n%s", diff)
	}
	if got := r.writes(); got > 0 {
		t.Errorf("%d writes", got)
	}
}

func TestNoRecordsDeleteTheObject(t *testing.T) {
	t.Parallel()
	r := newRig(t, foreign("other"))
	r.publish(publication(hostRecord(50)))
	object := r.object()
	object.SetUID("a-uid")
	object.SetResourceVersion("7")
	r.put(object)
	r.writes()
	nothing := publication()
	nothing.Prove = false
	for range 2 {
		if status := r.publish(nothing); status.Err != nil || !status.InSync {
			t.Fatalf("%+v", status)
		}
	}
	var deletes []clienttesting.DeleteActionImpl
	for _, action := range r.kube.Actions() {
		if d, ok := action.(clienttesting.DeleteActionImpl); ok {
			deletes = append(deletes, d)
		}
	}
	if len(deletes) != 1 || deletes[0].Name != shop.Name {
		t.Fatalf("deletions: %v", deletes)
	}
	if p := deletes[0].DeleteOptions.Preconditions; p == nil || p.UID == nil || *p.UID != "a-uid" || p.ResourceVersion == nil || *p.ResourceVersion != "7" {
		t.Errorf("preconditions %+v: an object that came in between would be deleted", p)
	}
}

func TestAnotherClustersObjectIsNotDeleted(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.publish(publication(hostRecord(50)))
	r.writes()
	pub := publication()
	pub.Cluster = "west"
	if status := r.publish(pub); status.Err != nil {
		t.Fatal(status.Err)
	}
	if got := r.writes(); got > 0 {
		t.Errorf("%d writes", got)
	}
}

func TestAnObjectThatIsBeingDeletedIsWaitedFor(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.publish(publication(hostRecord(50)))
	object := r.object()
	now := metav1.NewTime(begin)
	object.SetDeletionTimestamp(&now)
	object.SetFinalizers([]string{"example.com/hold"})
	r.put(object)
	r.writes()
	status := r.publish(publication(hostRecord(60)))
	if status.Err != nil || status.InSync || !status.Unwritten || !strings.Contains(status.Reason, "being deleted") {
		t.Errorf("%+v", status)
	}
	if got := r.writes(); got > 0 {
		t.Errorf("%d writes", got)
	}
}

func TestFaultsOfTheAPI(t *testing.T) {
	t.Parallel()
	resource := externaldns.Resource.GroupResource()
	conflict := apierrors.NewConflict(resource, shop.Name, errors.New("changed"))
	// What an API server without the CRD answers, seen through client-go.
	unknown := apierrors.NewGenericServerResponse(404, "post", resource, "", "404 page not found", 0, true)
	tests := map[string]struct {
		verb     string
		failures []error
		want     string // empty: it succeeds
	}{
		"conflict, twice":      {"update", []error{conflict, conflict}, ""},
		"created by another":   {"create", []error{apierrors.NewAlreadyExists(resource, shop.Name)}, ""},
		"no such resource":     {"create", []error{unknown}, "install the CustomResourceDefinition of external-dns"},
		"refused":              {"update", []error{apierrors.NewForbidden(resource, shop.Name, errors.New("no rights"))}, "no rights"},
		"cannot be read":       {"get", []error{apierrors.NewInternalError(errors.New("etcd has no leader"))}, "etcd has no leader"},
		"no answer":            {"update", []error{&url.Error{Op: "Put", URL: "https://192.0.2.1/", Err: context.DeadlineExceeded}}, "deadline exceeded"},
		"no answer, at first":  {"create", []error{&url.Error{Op: "Post", URL: "https://192.0.2.1/", Err: context.DeadlineExceeded}}, "deadline exceeded"},
		"conflict, for ever":   {"update", slices.Repeat([]error{conflict}, 99), "changed"},
		"throttled on reading": {"get", []error{apierrors.NewTooManyRequests("slow down", 1)}, "slow down"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			if test.verb == "update" {
				r.publish(publication(hostRecord(50)))
			}
			failures := test.failures
			r.kube.PrependReactor(test.verb, "dnsendpoints", func(clienttesting.Action) (bool, runtime.Object, error) {
				if len(failures) == 0 {
					return false, nil, nil
				}
				err := failures[0]
				failures = failures[1:]
				return true, nil, err
			})
			status := r.publish(publication(hostRecord(60)))
			if test.want != "" {
				if status.Err == nil || !strings.Contains(status.Err.Error(), test.want) || !strings.Contains(status.Err.Error(), "shop/web") {
					t.Errorf("error %v, want one that says %q and names shop/web", status.Err, test.want)
				}
				if errors.Is(status.Err, dns.ErrRefused) {
					t.Errorf("error %v is told to be a refusal, but it may pass", status.Err)
				}
				return
			}
			if status.Err != nil {
				t.Fatal(status.Err)
			}
			records, err := r.backend.Published(t.Context(), cluster, shop, nil)
			if diff := cmp.Diff([]dns.Record{hostRecord(60)}, records); err != nil || diff != "" {
				t.Errorf("error %v, -want +got:\n%s", err, diff)
			}
		})
	}
}

func TestMalformedObjectsAreNamed(t *testing.T) {
	t.Parallel()
	tests := map[string]any{
		"endpoints": "text",
		"weight":    []any{map[string]any{"dnsName": "a.example.com", "targets": []any{"192.0.2.1"}, "setIdentifier": "east", "providerSpecific": []any{map[string]any{"name": "aws/weight", "value": "many"}}}},
		"heavy":     []any{map[string]any{"dnsName": "a.example.com", "targets": []any{"192.0.2.1"}, "setIdentifier": "east", "providerSpecific": []any{map[string]any{"name": "aws/weight", "value": "256"}}}},
		"no weight": []any{map[string]any{"dnsName": "a.example.com", "targets": []any{"192.0.2.1"}, "setIdentifier": "east"}},
		"no target": []any{map[string]any{"dnsName": "a.example.com", "recordType": "CNAME"}},
		"empty":     []any{map[string]any{"dnsName": "a.example.com", "recordType": "A", "targets": []any{""}}},
		"two CNAME": []any{map[string]any{"dnsName": "a.example.com", "recordType": "CNAME", "targets": []any{"b.example.com", "c.example.com"}}},
		"alias":     []any{map[string]any{"dnsName": "a.example.com", "targets": []any{"192.0.2.1"}, "providerSpecific": []any{map[string]any{"name": "alias", "value": "perhaps"}}}},
	}
	for name, endpoints := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			object := foreign(shop.Name)
			object.SetLabels(map[string]string{externaldns.ManagedByLabel: "penstock"})
			object.SetAnnotations(map[string]string{externaldns.ClusterAnnotation: cluster})
			object.Object["spec"].(map[string]any)["endpoints"] = endpoints
			r := newRig(t, object)
			_, err := r.backend.Published(t.Context(), cluster, shop, nil)
			if err == nil || !strings.Contains(err.Error(), "shop/web") || !strings.Contains(err.Error(), "delete the object") {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestALongNameIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	record := hostRecord(50)
	record.Name = strings.Repeat("a.", 110) + "an-example.example.com"
	if status := r.publish(publication(record)); status.Err == nil || !strings.Contains(status.Err.Error(), "253") {
		t.Errorf("error %v", status.Err)
	}
	record.Name = record.Name[len(record.Name)-234:] // its marker has 249 characters, and the TXT record of that six more
	if status := r.publish(publication(record)); status.Err == nil || !strings.Contains(status.Err.Error(), "at most 247") {
		t.Errorf("error %v", status.Err)
	}
	record = hostRecord(50)
	record.TTL = 1500 * time.Millisecond
	if status := r.publish(publication(record)); status.Err == nil || !strings.Contains(status.Err.Error(), "whole seconds") {
		t.Errorf("error %v", status.Err)
	}
	if got := r.writes(); got > 0 {
		t.Errorf("%d writes", got)
	}
}

func TestManyAtTheSameTime(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const n = 40
	pubs := make([]dns.Publication, n)
	for i := range pubs {
		pubs[i] = publication(hostRecord(i))
		pubs[i].Ingress.Name = "web-" + strings.Repeat("x", i+1)
	}
	statuses, err := r.backend.Publish(t.Context(), pubs...)
	if err != nil {
		t.Fatal(err)
	}
	for i, pub := range pubs {
		records, err := r.backend.Published(t.Context(), cluster, pub.Ingress, nil)
		if err != nil || statuses[i].Err != nil || len(records) != 1 || records[0].Weight != i {
			t.Errorf("ingress %d: %+v, error %v, status %+v", i, records, err, statuses[i])
		}
	}
}

// FuzzRoundTrip: what a record becomes is read back as that record.
func FuzzRoundTrip(f *testing.F) {
	f.Add("www.example.com", "A", "east", uint8(50), "192.0.2.10", uint16(30), true, false, "")
	f.Add("*.example.com", "CNAME", "", uint8(0), "lb.example.net", uint16(0), false, true, "an-id")
	f.Fuzz(func(t *testing.T, name, kind, id string, weight uint8, target string, ttl uint16, alias, evaluate bool, check string) {
		record := dns.Record{
			Name: name, Type: dns.RecordType(kind), SetIdentifier: id, Targets: []string{target}, TTL: time.Duration(ttl) * time.Second,
			Alias: alias, EvaluateTargetHealth: evaluate, HealthCheckID: check,
		}
		if id != "" {
			record.Weight = int(weight)
		}
		got, err := externaldns.RecordOf(externaldns.EndpointOf(record))
		if target == "" {
			if err == nil {
				t.Error("a record without a target was read")
			}
			return
		}
		if err != nil || !record.Equal(got) {
			t.Errorf("%+v became %+v, error %v", record, got, err)
		}
	})
}

// What a call changes is written before name servers are asked about any of it, so that those who do not answer hold up no weight. When there is no time left
// to ask, nothing counts as in sync, and the next call begins with those who were not asked.
func TestWritesWaitForNoNameServer(t *testing.T) {
	t.Parallel()
	const n = 100
	r := newRig(t)
	ingress := func(i int) types.NamespacedName {
		return types.NamespacedName{Namespace: "shop", Name: fmt.Sprintf("web-%02d", i)}
	}
	marker := func(i int) string { return "east._penstock." + ingress(i).Name + ".example.com" }
	publish := func(weight int) (asked map[int]bool) {
		t.Helper()
		all := make([]dns.Publication, n)
		for i := range all {
			record := hostRecord(weight)
			record.Name = ingress(i).Name + ".example.com"
			all[i] = publication(record)
			all[i].Ingress = ingress(i)
		}
		statuses, err := r.backend.Publish(t.Context(), all...)
		if err != nil {
			t.Fatal(err)
		}
		asked = map[int]bool{}
		for i, status := range statuses {
			if status.Err != nil || status.InSync || status.Reason == "" {
				t.Errorf("status of %s: %+v", ingress(i), status)
			}
			if !strings.Contains(status.Reason, "have not been asked yet") {
				asked[i] = true
			}
		}
		return asked
	}
	if asked := publish(100); len(asked) != n {
		t.Errorf("asked about %d", len(asked))
	}
	r.clock.Advance(time.Minute)

	var written, questions atomic.Int32
	r.kube.PrependReactor("update", "dnsendpoints", func(clienttesting.Action) (bool, runtime.Object, error) {
		written.Add(1)
		return false, nil, nil
	})
	early := 0
	r.server.set(func(s *nameServer) {
		s.watch = func() {
			if questions.Add(1); written.Load() < n {
				early++
			}
			r.clock.Advance(time.Second) // as slow name servers do
		}
	})
	first := publish(0)
	if written.Load() != n || early > 0 {
		t.Errorf("%d of %d are written, %d questions came before the last one", written.Load(), n, early)
	}
	if len(first) == 0 || len(first) > n/2 {
		t.Fatalf("asked about %d with %d questions, and there was no time for half of them", len(first), questions.Load())
	}
	r.clock.Advance(time.Minute)
	before := map[int]int{}
	for i := range first {
		before[i] = r.server.questions(marker(i), "CNAME")
	}
	if second := publish(0); len(second) <= len(first) {
		t.Errorf("still asked about no more than %d", len(second))
	}
	for i := range first {
		if r.server.questions(marker(i), "CNAME") != before[i] {
			t.Errorf("asked about %s again, when others were not asked about yet", ingress(i))
		}
	}
}
