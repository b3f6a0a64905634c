package traffic

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache/informertest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/penstock-dev/penstock/controllers/store"
)

// A change concerns what the object said before too: another Ingress may get the host that this one has given up.
func TestAChangeConcernsWhatWasBefore(t *testing.T) {
	t.Parallel()
	before := app("one", "shared.example.com")[0].(*networkingv1.Ingress)
	after := app("one", "one.example.com")[0].(*networkingv1.Ingress)
	r := newRig(t, nil, append(app("two", "shared.example.com"), after)...)
	r.moment() // takes what is queued
	eachOf(r.ofIngress).Update(t.Context(), event.TypedUpdateEvent[*networkingv1.Ingress]{ObjectOld: before, ObjectNew: after}, r.queue)
	queued := map[string]bool{}
	for r.queue.Len() > 0 {
		name, _ := r.queue.Get()
		r.queue.Done(name)
		queued[name.Name] = true
	}
	if !queued["one"] || !queued["two"] {
		t.Errorf("queued %v, want one and two", queued)
	}
}

// An Ingress that is being deleted, and is held by a finalizer, has no records any more, and a change of the weight does not count it.
func TestAnIngressThatIsBeingDeleted(t *testing.T) {
	t.Parallel()
	objects := app("one", "one.example.com")
	objects[0].SetFinalizers([]string{"example.com/balancer"})
	r := newRig(t, nil, append(objects, app("two", "two.example.com")...)...)
	r.run(5 * time.Minute)
	r.remove(objects[0])
	ingress := &networkingv1.Ingress{}
	if err := r.kube.Get(t.Context(), client.ObjectKeyFromObject(objects[0]), ingress); err != nil || ingress.DeletionTimestamp == nil {
		t.Fatalf("it is gone (%v), so this test proves nothing", err)
	}
	r.run(time.Minute)
	if got := r.published("one"); len(got) > 0 {
		t.Errorf("published %v", got)
	}
	names, err := r.ingresses(t.Context())
	if err != nil || len(names) != 1 || names[0] != (types.NamespacedName{Namespace: namespace, Name: "two"}) {
		t.Errorf("ingresses %v (%v)", names, err)
	}
}

// A fault of an Ingress that was deleted and made again is told on the new one, whether the controller has seen that it was gone or not.
func TestANewIngressIsToldAnew(t *testing.T) {
	t.Parallel()
	for name, gone := range map[string]time.Duration{"Seen": time.Minute, "NotSeen": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			malformed := func(uid types.UID) client.Object {
				o := app("one", "one.example.com")[0]
				o.SetAnnotations(map[string]string{"dns.adevinta.com/traffic-weight": "A"})
				o.SetUID(uid)
				return o
			}
			r := newRig(t, nil, append(app("one", "one.example.com")[1:], malformed("first"))...)
			r.run(time.Minute)
			r.remove(malformed("first"))
			if gone > 0 {
				r.run(gone)
			}
			r.apply(malformed("second"))
			r.run(time.Minute)
			if got := r.notes.with("NotPublished", "shop/one"); got != 2 {
				t.Errorf("%d events, want 2: %q", got, r.notes.lines)
			}
			if gone > 0 {
				r.remove(malformed("second"))
				r.run(time.Minute)
				if len(r.events.said) > 0 {
					t.Errorf("it is remembered: %v", r.events.said)
				}
			}
		})
	}
}

// A leader that is told to end tells nobody that its store has failed.
func TestTheEndIsNoFailure(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, app("one", "one.example.com")...)
	s, err := store.NewStatic(cluster, 100)
	if err != nil {
		t.Fatal(err)
	}
	r.store = s
	ctx, end := context.WithCancel(t.Context())
	end()
	r.Controller.steer(ctx)
	if r.notes.with("StoreFailed") > 0 {
		t.Errorf("events %q", r.notes.lines)
	}
}

// ordered keeps which kinds were asked for first.
type ordered struct {
	*informertest.FakeInformers

	mu    *sync.Mutex // guards the informers, and the following
	kinds *[]string
}

// GetInformer implements cache.Informers.
func (a ordered) GetInformer(ctx context.Context, object client.Object, options ...cache.InformerGetOption) (cache.Informer, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	*a.kinds = append(*a.kinds, kindOf(object))
	return a.FakeInformers.GetInformer(ctx, object, options...)
}

// The handler of an Ingress reads Ingresses and ConfigMaps, and may be called as soon as there is one: a cache refuses to be read of a kind that nobody has
// asked it for.
func TestWhatHandlersReadIsInTheCaches(t *testing.T) {
	t.Parallel()
	for range 20 { // the kinds are watched in any order
		r := newRig(t, nil)
		caches := ordered{&informertest.FakeInformers{Synced: new(true)}, &sync.Mutex{}, &[]string{}}
		if err := r.watch(t.Context(), caches); err != nil {
			t.Fatal(err)
		}
		if first := (*caches.kinds)[:2]; !slices.Contains(first, "*v1.Ingress") || !slices.Contains(first, "*v1.ConfigMap") {
			t.Fatalf("first are asked for %v", first)
		}
	}
}
