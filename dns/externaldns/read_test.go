package externaldns_test

import (
	"context"
	"strconv"
	"testing"

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

// cache is what a watch has brought so far: what stood there when refresh was called.
type cache struct {
	r      *rig
	object *unstructured.Unstructured
}

// newCachedRig is a rig whose backend reads from a cache, and whose API counts versions and refuses updates of old ones, as the real one does.
func newCachedRig(t *testing.T) (*rig, *cache) {
	t.Helper()
	r := newRig(t)
	c := &cache{r: r}
	version := 100
	r.kube.PrependReactor("*", "dnsendpoints", func(action clienttesting.Action) (bool, runtime.Object, error) {
		write, ok := action.(clienttesting.UpdateActionImpl)
		if ok {
			object := write.GetObject().(*unstructured.Unstructured)
			standing, err := r.kube.Tracker().Get(externaldns.Resource, shop.Namespace, shop.Name)
			if err != nil {
				return true, nil, err
			}
			if standing.(*unstructured.Unstructured).GetResourceVersion() != object.GetResourceVersion() {
				return true, nil, apierrors.NewConflict(externaldns.Resource.GroupResource(), shop.Name, nil)
			}
			version++
			object.SetResourceVersion(strconv.Itoa(version))
		}
		if create, ok := action.(clienttesting.CreateActionImpl); ok {
			version++
			create.GetObject().(*unstructured.Unstructured).SetResourceVersion(strconv.Itoa(version))
		}
		return false, nil, nil
	})
	r.opts.Read = func(context.Context, types.NamespacedName) (*unstructured.Unstructured, error) {
		if c.object == nil {
			return nil, apierrors.NewNotFound(externaldns.Resource.GroupResource(), shop.Name)
		}
		return c.object.DeepCopy(), nil
	}
	r.restart()
	return r, c
}

func (c *cache) refresh() { c.object = c.r.object() }

// calls counts the verbs that the API was asked for since the last call.
func (r *rig) calls() map[string]int {
	verbs := map[string]int{}
	for _, action := range r.kube.Actions() {
		verbs[action.GetVerb()]++
	}
	r.kube.ClearActions()
	return verbs
}

func TestACacheSparesReads(t *testing.T) {
	t.Parallel()
	r, cache := newCachedRig(t)
	expect := func(when string, want map[string]int) {
		t.Helper()
		if diff := cmp.Diff(want, r.calls()); diff != "" {
			t.Errorf("%s: calls -want +got:\n%s", when, diff)
		}
	}
	publish := func(weight int) {
		t.Helper()
		if _, err := r.backend.Published(t.Context(), cluster, shop, nil); err != nil {
			t.Fatal(err)
		}
		if status := r.publish(publication(hostRecord(weight))); status.Err != nil {
			t.Fatal(status.Err)
		}
	}
	publish(10)
	expect("the first time", map[string]int{"create": 1})
	publish(10)
	expect("while the cache lacks what was created", map[string]int{"get": 2})
	cache.refresh()
	r.calls()
	publish(10)
	expect("with nothing to do", map[string]int{})
	publish(20)
	expect("with a new weight", map[string]int{"update": 1})
	publish(30)
	expect("while the cache lacks what was updated", map[string]int{"get": 2, "update": 1})

	cache.refresh()
	object := r.object()
	object.SetLabels(map[string]string{externaldns.ManagedByLabel: "penstock", "team": "shop"})
	r.put(object)
	r.calls()
	publish(40)
	expect("while the cache lacks a change of somebody else", map[string]int{"get": 1, "update": 2})
	if r.object().GetLabels()["team"] != "shop" {
		t.Error("the change of somebody else is lost")
	}
}

func TestADeletionIsUndoneBehindACache(t *testing.T) {
	t.Parallel()
	for name, know := range map[string]func(c *cache){
		"the cache knows it":                func(c *cache) { c.object = nil },
		"the cache has what stood there":    func(*cache) {},
		"the cache was behind all the time": func(c *cache) { c.object = nil; c.r.restart() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, cache := newCachedRig(t)
			r.publish(publication(hostRecord(10)))
			cache.refresh()
			if err := r.kube.Tracker().Delete(externaldns.Resource, shop.Namespace, shop.Name); err != nil {
				t.Fatal(err)
			}
			know(cache)
			if status := r.publish(publication(hostRecord(20))); status.Err != nil {
				t.Fatal(status.Err)
			}
			r.object()
		})
	}
}

// legacy is the DNSEndpoint that an earlier traffic controller made.
func legacy(change func(object *unstructured.Unstructured, endpoint map[string]any)) *unstructured.Unstructured {
	object := foreign(shop.Name)
	controller := true
	object.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: "networking.k8s.io/v1", Kind: "Ingress", Name: shop.Name, UID: uid, Controller: &controller}})
	endpoint := map[string]any{
		"dnsName": "www.example.com", "recordType": "CNAME", "targets": []any{"lb.example.net"}, "setIdentifier": cluster,
		"providerSpecific": []any{map[string]any{"name": "aws/weight", "value": "37"}},
	}
	change(object, endpoint)
	object.Object["spec"] = map[string]any{"endpoints": []any{endpoint}}
	return object
}

// Somebody went back to an earlier traffic controller for a while, which writes its records into our object, empties the annotations and leaves the label.
func TestAnObjectThatAnEarlierControllerHadMeanwhile(t *testing.T) {
	t.Parallel()
	for set, known := range map[string]int{cluster: 1, "west": 0} {
		object := legacy(func(o *unstructured.Unstructured, e map[string]any) {
			o.SetLabels(map[string]string{externaldns.ManagedByLabel: "penstock"})
			e["setIdentifier"] = set
		})
		r := newRig(t, object)
		records, err := r.backend.Published(t.Context(), cluster, shop, nil)
		if err != nil || len(records) != known {
			t.Errorf("with the records of %s, known are %v (%v), want %d", set, records, err, known)
		}
		nothing := publication()
		nothing.Prove = false
		if status := r.publish(nothing); status.Err != nil {
			t.Error(status.Err)
		}
		if got := r.writes(); got != known {
			t.Errorf("with the records of %s, %d writes when the host goes, want %d", set, got, known)
		}
	}
}

func TestAdoption(t *testing.T) {
	t.Parallel()
	record := dns.Record{Name: "www.example.com", Type: dns.CNAME, SetIdentifier: cluster, Weight: 37, Targets: []string{"lb.example.net"}}
	cases := map[string]struct {
		reason  string
		without bool // the option
		change  func(object *unstructured.Unstructured, endpoint map[string]any)
		adopted bool
		known   int // records that are known before
	}{
		"Legacy": {
			reason: "What the controller before made for this Ingress goes on with its weight.",
			change: func(*unstructured.Unstructured, map[string]any) {}, adopted: true, known: 1,
		},
		"NotAsked": {
			reason: "Nothing is taken over that nobody said.", without: true,
			change: func(*unstructured.Unstructured, map[string]any) {},
		},
		"AnotherCluster": {
			reason: "A record of another cluster is another one's.",
			change: func(_ *unstructured.Unstructured, e map[string]any) { e["setIdentifier"] = "west" },
		},
		"NoOwner": {
			reason: "A person made it.",
			change: func(o *unstructured.Unstructured, _ map[string]any) { o.SetOwnerReferences(nil) },
		},
		"AnotherManager": {
			reason: "Something else says that it manages it.",
			change: func(o *unstructured.Unstructured, _ map[string]any) {
				o.SetLabels(map[string]string{externaldns.ManagedByLabel: "Helm"})
			},
		},
		"Malformed": {
			reason: "A negative weight was written as 2^64-1; it is written anew.",
			change: func(_ *unstructured.Unstructured, e map[string]any) {
				e["providerSpecific"] = []any{map[string]any{"name": "aws/weight", "value": "18446744073709551615"}}
			},
			adopted: true,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := legacy(tc.change)
			other := metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "other", UID: "u2"}
			before.SetOwnerReferences(append(before.GetOwnerReferences(), other))
			r := newRig(t, before.DeepCopy())
			r.opts.Adopt = !tc.without
			r.restart()
			known, err := r.backend.Published(t.Context(), cluster, shop, nil)
			if err != nil || len(known) != tc.known {
				t.Errorf("%s\npublished: %v, error %v; want %d records", tc.reason, known, err, tc.known)
			}
			status := r.publish(publication(record))
			if adopted := status.Err == nil; adopted != tc.adopted {
				t.Fatalf("%s\nadopted: %t (%v), want %t", tc.reason, adopted, status.Err, tc.adopted)
			}
			after := r.object()
			if !tc.adopted {
				if diff := cmp.Diff(before, after); diff != "" {
					t.Errorf("%s\nit was changed:\n%s", tc.reason, diff)
				}
				return
			}
			if after.GetLabels()[externaldns.ManagedByLabel] != "penstock" || after.GetAnnotations()[externaldns.ClusterAnnotation] != cluster {
				t.Errorf("%s\nlabels %v, annotations %v", tc.reason, after.GetLabels(), after.GetAnnotations())
			}
			if owners := after.GetOwnerReferences(); len(owners) != 2 || owners[0].UID != uid || owners[1].UID != other.UID {
				t.Errorf("%s\nowners %v", tc.reason, owners)
			}
		})
	}
}
