package router_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	ktesting "k8s.io/client-go/testing"

	"github.com/penstock-dev/penstock/router"
)

// newService returns a Service of namespace shop that selects an application.
func newService(name, selects string, owners ...metav1.OwnerReference) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, OwnerReferences: owners},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": selects}},
	}
}

// wantSelected checks which application the apex Service selects.
func wantSelected(t *testing.T, kube *fake.Clientset, want string) {
	t.Helper()
	service, err := kube.CoreV1().Services(namespace).Get(t.Context(), "app", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"app": want}, service.Spec.Selector); diff != "" {
		t.Errorf("selector of the apex Service, -want +got:\n%s", diff)
	}
}

// tick is what Flagger does in each tick, also beside its finalizer.
func tick(t *testing.T, kube *fake.Clientset, r router.Interface, canary *flaggerv1.Canary) error {
	t.Helper()
	if _, err := kube.CoreV1().Services(namespace).Update(t.Context(), newService("app", "app-primary"), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	return r.Reconcile(canary)
}

// Finalize returns when no tick is near and Skipper has had its time since the last one.
func TestFinalizeGivesWayToTicks(t *testing.T) {
	t.Parallel()
	const settle, interval = 6 * time.Second, 10 * time.Second
	for name, tc := range map[string]struct {
		begin time.Duration   // after a tick
		ticks []time.Duration // after that one
		want  time.Duration   // when Finalize returns, at the earliest and within a second
	}{
		"NoneNear":         {begin: 0, want: settle},
		"DuringTheWait":    {begin: 5 * time.Second, ticks: []time.Duration{interval}, want: 5*time.Second + 2*settle},
		"SoonAfterTheWait": {begin: 2 * time.Second, ticks: []time.Duration{interval}, want: interval + settle},
		"OneThatIsLate":    {begin: 2 * time.Second, ticks: []time.Duration{interval + time.Second}, want: interval + time.Second + settle},
		"OneThatStaysAway": {begin: 2 * time.Second, want: interval + 2*time.Second},
		"LongAgo":          {begin: 10 * interval, want: 10*interval + settle},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clock := newClock()
			kube := fake.NewClientset(newIngress(), newService("app", "app"), newService("app-primary", "app-primary"))
			s := newSkipper(t, kube, router.SkipperOptions{Clock: clock})
			canary := newCanary()
			mustReconcile(t, s, canary)
			start := clock.Now()
			canary.DeletionTimestamp = &metav1.Time{Time: start}
			for _, at := range tc.ticks {
				clock.AfterFunc(at, func() {
					if err := tick(t, kube, s, canary); err != nil {
						t.Error(err)
					}
				})
			}
			clock.Advance(tc.begin)
			if err := s.Finalize(canary); err != nil {
				t.Fatal(err)
			}
			if took := clock.Since(start); took < tc.want || took > tc.want+time.Second {
				t.Errorf("Finalize returned after %s, want %s", took, tc.want)
			}
			wantSelected(t, kube, "app")
		})
	}
}

// deletion returns a cluster in which Flagger has pointed the apex Service back at the target, a router of each kind, and the Canary that is
// being deleted.
func deletion(t *testing.T, run func(t *testing.T, kube *fake.Clientset, r router.Interface, canary *flaggerv1.Canary)) {
	t.Helper()
	for name, newRouter := range map[string]func(*fake.Clientset) router.Interface{
		"Skipper": func(kube *fake.Clientset) router.Interface {
			return router.NewSkipper(t.Context(), kube, nil, router.SkipperOptions{Clock: newClock()})
		},
		"DNSWeighted": func(kube *fake.Clientset) router.Interface {
			return router.NewDNSWeighted(t.Context(), kube, nil, nil, router.DNSWeightedOptions{Clock: newClock()})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kube := fake.NewClientset(newIngress(), newService("app", "app"), newService("app-primary", "app-primary"))
			r, canary := newRouter(kube), newCanary()
			if err := r.Reconcile(canary); err != nil {
				t.Fatal(err)
			}
			canary.DeletionTimestamp = &metav1.Time{Time: epoch}
			run(t, kube, r, canary)
		})
	}
}

func TestATickAfterFinalizeLeavesTheServiceAtTheTarget(t *testing.T) {
	t.Parallel()
	deletion(t, func(t *testing.T, kube *fake.Clientset, r router.Interface, canary *flaggerv1.Canary) {
		t.Helper()
		if err := tick(t, kube, r, canary); err != nil {
			t.Fatal(err)
		}
		wantSelected(t, kube, "app-primary") // the target may not be ready yet
		err := r.Finalize(canary)
		if err == nil || !strings.Contains(err.Error(), "service shop/app: spec.selector") {
			t.Errorf("Finalize after a tick: %v, want an error, upon which Flagger sets the Service again", err)
		}
		selectInstead(t, kube, "app")
		if err := r.Finalize(canary); err != nil {
			t.Errorf("Finalize: %v", err)
		}
		for range 2 {
			if err := tick(t, kube, r, canary); err != nil {
				t.Errorf("Reconcile: %v", err)
			}
			wantSelected(t, kube, "app")
		}
		next := canary.DeepCopy() // made anew under the same name
		next.UID = types.UID("uid-of-another")
		if err := tick(t, kube, r, next); err != nil {
			t.Error(err)
		}
		wantSelected(t, kube, "app-primary")
	})
}

// The tick comes between what Finalize reads of the Service and the moment from which ticks take notice.
func TestATickWithinFinalizeLeavesTheServiceAtTheTarget(t *testing.T) {
	t.Parallel()
	deletion(t, func(t *testing.T, kube *fake.Clientset, r router.Interface, canary *flaggerv1.Canary) {
		t.Helper()
		done := false
		kube.PrependReactor("get", "services", func(action ktesting.Action) (bool, runtime.Object, error) {
			if get, ok := action.(ktesting.GetAction); ok && get.GetName() == "app-primary" && !done {
				done = true // and its call of Reconcile, which knows nothing yet, does nothing
				if err := kube.Tracker().Update(corev1.SchemeGroupVersion.WithResource("services"), newService("app", "app-primary"), namespace); err != nil {
					t.Error(err)
				}
			}
			return false, nil, nil
		})
		if err := r.Finalize(canary); err != nil || !done {
			t.Errorf("Finalize: %v", err)
		}
		wantSelected(t, kube, "app")
	})
}

func TestFinalizeLeavesServicesAlone(t *testing.T) {
	t.Parallel()
	canary := newCanary()
	owner := *metav1.NewControllerRef(canary, flaggerv1.SchemeGroupVersion.WithKind("Canary"))
	for name, services := range map[string][]runtime.Object{
		"OfTheCanary": {newService("app", "app-primary", owner), newService("app-primary", "app-primary", owner)},
		"None":        {},
		"NoPrimary":   {newService("app", "app")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kube := fake.NewClientset(append(services, newIngress())...)
			s := reconciled(t, kube, canary)
			requests(kube)
			if err := s.Finalize(canary); err != nil {
				t.Errorf("Finalize: %v", err)
			}
			deleted := newCanary(inPhase(flaggerv1.CanaryPhaseTerminating, 0))
			mustReconcile(t, s, deleted)
			if got := requests(kube)["update"]; got != 0 {
				t.Errorf("%d updates", got)
			}
		})
	}
}

// Whatever keeps the apex Service at primary, a deletion ends.
func TestFinalizeEndsWhoeverKeepsTheServiceAtPrimary(t *testing.T) {
	t.Parallel()
	kube := fake.NewClientset(newIngress(), newService("app", "app-primary"), newService("app-primary", "app-primary"))
	canary := newCanary()
	s := reconciled(t, kube, canary)
	refused := 0
	for ; refused < 10 && s.Finalize(canary) != nil; refused++ {
	}
	if refused != 3 {
		t.Errorf("Finalize sent Flagger back %d times, want 3", refused)
	}
	service := newCanary(func(c *flaggerv1.Canary) { c.Spec.TargetRef.Kind, c.UID = "Service", "uid-of-another" })
	if err := s.Finalize(service); err != nil {
		t.Errorf("Finalize of a Canary whose target is a Service, which Flagger does not revert: %v", err)
	}
}

// What people make of the Service is theirs.
func TestATickLeavesTheUsersSelectorAlone(t *testing.T) {
	t.Parallel()
	deletion(t, func(t *testing.T, kube *fake.Clientset, r router.Interface, canary *flaggerv1.Canary) {
		t.Helper()
		if err := r.Finalize(canary); err != nil {
			t.Fatal(err)
		}
		selectInstead(t, kube, "app-v2")
		if err := r.Reconcile(canary); err != nil {
			t.Error(err)
		}
		wantSelected(t, kube, "app-v2")
	})
}

// A tick that takes long holds the Canary as it was before somebody deleted it. What it made nobody would remove.
func TestAnOldTickMakesNothingAfterFinalize(t *testing.T) {
	t.Parallel()
	deletion(t, func(t *testing.T, kube *fake.Clientset, r router.Interface, canary *flaggerv1.Canary) {
		t.Helper()
		old := newCanary(inPhase(flaggerv1.CanaryPhaseProgressing, 10))
		if err := r.Finalize(canary); err != nil {
			t.Fatal(err)
		}
		if err := tick(t, kube, r, old); err != nil {
			t.Errorf("Reconcile: %v", err)
		}
		wantSelected(t, kube, "app")
		if err := r.SetRoutes(old, 80, 20, false); err == nil || !strings.Contains(err.Error(), "canary shop/app is being deleted") {
			t.Errorf("SetRoutes: %v, want an error that says that the Canary is being deleted", err)
		}
		wantNames(t, kube, "web")
	})
}

func TestTheServiceCannotBeSetToTheTarget(t *testing.T) {
	t.Parallel()
	deletion(t, func(t *testing.T, kube *fake.Clientset, r router.Interface, canary *flaggerv1.Canary) {
		t.Helper()
		if err := r.Finalize(canary); err != nil {
			t.Fatal(err)
		}
		if err := tick(t, kube, &recorder{}, canary); err != nil {
			t.Fatal(err)
		}
		boom := errors.New("etcd is on fire")
		conflicts := 0
		kube.PrependReactor("update", "services", func(ktesting.Action) (bool, runtime.Object, error) {
			if conflicts++; conflicts <= 2 {
				return true, nil, apierrors.NewConflict(schema.GroupResource{Resource: "services"}, "app", boom)
			}
			return conflicts == 3, nil, boom
		})
		if err := r.Reconcile(canary); !errors.Is(err, boom) || !strings.Contains(err.Error(), "service shop/app") {
			t.Errorf("Reconcile: %v, want the cause and the object", err)
		}
		if err := r.Reconcile(canary); err != nil {
			t.Errorf("Reconcile: %v", err)
		}
		wantSelected(t, kube, "app")
	})
}

// selectInstead sets the selector of the apex Service, as a user or Flagger does.
func selectInstead(t *testing.T, kube *fake.Clientset, app string) {
	t.Helper()
	if _, err := kube.CoreV1().Services(namespace).Update(t.Context(), newService("app", app), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// recorder is a router that does nothing.
type recorder struct{ router.Interface }

func (*recorder) Reconcile(*flaggerv1.Canary) error { return nil }
