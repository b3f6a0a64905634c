package flaggersim

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-dev/penstock/router"
)

// runSharing is about a router that is not alone: with other Canaries, other processes, and the objects of others.
func (s Subject) runSharing(t *testing.T) {
	t.Helper()
	t.Run("ManyCanariesAtOnce", func(t *testing.T) {
		t.Parallel()
		s.manyAtOnce(t)
	})
	t.Run("TwoProcessesAtOnce", func(t *testing.T) {
		t.Parallel()
		twoProcesses(begin(t, s, NewProcess(0, NoFault), nil))
	})
	for _, taken := range s.Made {
		t.Run("ForeignObject/"+taken(app).GetName(), func(t *testing.T) {
			t.Parallel()
			s.foreign(t, taken(app))
		})
	}
}

// manyAtOnce: Flagger calls the routers of different Canaries at the same time. Every other Canary is rolled back.
func (s Subject) manyAtOnce(t *testing.T) {
	t.Helper()
	var names []string
	for i := range 8 {
		names = append(names, fmt.Sprintf("app-%d", i))
	}
	world, process := s.NewWorld(t, names...), NewProcess(0, NoFault)
	newRouter := world.Start(process)
	var (
		running  sync.WaitGroup
		rollouts []*rollout
	)
	for i, name := range names {
		r := s.begin(t, world, name, process, newRouter, nil)
		if i%2 == 1 {
			r.driver.Hooks.Healthy = func(context.Context) bool { return r.share() == 0 }
		}
		rollouts = append(rollouts, r)
	}
	for _, r := range rollouts {
		running.Go(func() {
			r.driver.Run(t.Context(), 10, r.driver.In(flaggerv1.CanaryPhaseInitialized))
			r.driver.Release("2")
			r.driver.Run(t.Context(), ticks, r.driver.In(flaggerv1.CanaryPhaseSucceeded, flaggerv1.CanaryPhaseFailed))
		})
	}
	running.Wait()
	for i, r := range rollouts {
		phase, seen := flaggerv1.CanaryPhaseSucceeded, weighted.promoted
		if i%2 == 1 {
			phase, seen = flaggerv1.CanaryPhaseFailed, weighted.failed
		}
		if got := r.driver.Phase(); got != phase {
			t.Errorf("%s: phase %s, want %s; the last events: %s", r.name, got, phase, last(r.driver.Events))
		}
		r.saw(seen)
	}
}

// twoProcesses both believe to be the leader for a while.
func twoProcesses(r *rollout) {
	r.t.Helper()
	r.firstStep()
	var running sync.WaitGroup
	for range 2 {
		newRouter := r.world.Start(NewProcess(0, NoFault))
		running.Go(func() {
			for range 5 {
				canary := r.driver.Canary.DeepCopy()
				r.must(newRouter().Reconcile(canary))
				if err := newRouter().SetRoutes(canary, 60, 40, false); err != nil && !errors.Is(err, router.ErrPending) {
					r.t.Error(err)
				}
			}
		})
	}
	running.Wait()
	r.end(flaggerv1.CanaryPhaseSucceeded)
	r.settle()
	r.saw(weighted.promoted)
}

// foreign checks that an object that somebody else made, where the router would make its own, is named and left alone.
func (s Subject) foreign(t *testing.T, object metav1.Object) {
	t.Helper()
	r := begin(t, s, NewProcess(0, NoFault), nil)
	kube := r.world.Kube
	var now func() (metav1.Object, error)
	var err error
	switch o := object.(type) {
	case *networkingv1.Ingress:
		api := kube.NetworkingV1().Ingresses(o.Namespace)
		_, err = api.Create(t.Context(), o, metav1.CreateOptions{})
		now = func() (metav1.Object, error) { return api.Get(t.Context(), o.Name, metav1.GetOptions{}) }
	case *corev1.ConfigMap:
		api := kube.CoreV1().ConfigMaps(o.Namespace)
		_, err = api.Create(t.Context(), o, metav1.CreateOptions{})
		now = func() (metav1.Object, error) { return api.Get(t.Context(), o.Name, metav1.GetOptions{}) }
	default:
		t.Fatalf("the suite cannot create a %T", object)
	}
	r.must(err)
	before, err := now()
	r.must(err)
	r.quiet("beside an object of somebody else", func() {
		calls := map[string]error{
			"Reconcile": r.router().Reconcile(r.driver.Canary),
			"SetRoutes": r.router().SetRoutes(r.driver.Canary, 80, 20, false),
		}
		_, _, _, calls["GetRoutes"] = r.router().GetRoutes(r.driver.Canary)
		for call, err := range calls {
			if err == nil || !strings.Contains(err.Error(), object.GetNamespace()+"/"+object.GetName()) {
				t.Errorf("%s returns %v, want an error that names %s/%s", call, err, object.GetNamespace(), object.GetName())
			}
		}
	})
	_ = r.router().Finalize(r.driver.Canary) // deletion must not hang on it for ever; whether it says so is the router's choice
	after, err := now()
	if err != nil || !equality.Semantic.DeepEqual(before, after) {
		t.Errorf("it was\n%+v\nand became\n%+v (%v)", before, after, err)
	}
}
