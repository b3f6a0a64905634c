package flaggersim

import (
	"slices"
	"strings"
	"testing"
	"time"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func (s Subject) runDeletion(t *testing.T) {
	t.Helper()
	t.Run("DeletedInMidCanary", func(t *testing.T) {
		t.Parallel()
		deleted(begin(t, s, NewProcess(0, NoFault), nil))
	})
	t.Run("DeletedWithoutRevert", func(t *testing.T) {
		t.Parallel()
		r := begin(t, s, NewProcess(0, NoFault), func(c *flaggerv1.Canary) { c.Spec.RevertOnDeletion = false })
		if err := r.driver.Tick(t.Context()); err != nil {
			s.refusesForever(r, err)
			return
		}
		s.deletedWithoutRevert(r)
	})
}

// deleted is the deletion of a Canary with revertOnDeletion: nothing is left of it, and nobody is sent to its canary any more.
func deleted(r *rollout) {
	r.t.Helper()
	before := r.objects()
	r.driver.Canary.Spec.RevertOnDeletion = true
	r.firstStep()
	if !r.driver.Delete(r.t.Context(), 100) {
		r.t.Fatalf("the Canary hangs in deletion: %s", last(r.driver.Events))
	}
	r.world.Clock.Sleep(time.Minute)
	if r.world.MayReach(r.name) {
		r.t.Error("a minute after deletion requests may still be sent to the canary's Service")
	}
	if got := r.share(); got != 0 {
		r.t.Errorf("after deletion the canary's Service has the share %v", got)
	}
	if got := r.objects(); !slices.Equal(got, before) {
		r.t.Errorf("after deletion there are %v, before there were %v", got, before)
	}
	// As when Flagger could not remove its finalizer: what has ended ends once more, where need be after the publisher was asked anew.
	if !r.driver.Delete(r.t.Context(), 100) {
		r.t.Fatalf("the Canary hangs when it is finalized twice: %s", last(r.driver.Events))
	}
	if got := r.objects(); !slices.Equal(got, before) {
		r.t.Errorf("finalized twice, there are %v, before there were %v", got, before)
	}
}

// refusesForever checks the error of a router that could not give the traffic back to the target later.
func (s Subject) refusesForever(r *rollout, err error) {
	r.t.Helper()
	if !strings.Contains(err.Error(), "spec.revertOnDeletion") || !strings.Contains(err.Error(), r.name) {
		r.t.Errorf("the error is %v, want one that names the Canary and the field", err)
	}
	r.quiet("a Canary that is refused", func() { _ = r.driver.Tick(r.t.Context()) })
	if n := r.process.Writes(); n != 0 {
		r.t.Errorf("%d writes beside the error %v", n, err)
	}
}

// deletedWithoutRevert: the Canary is just gone, and what it owns goes with it. Then somebody makes it anew.
func (s Subject) deletedWithoutRevert(r *rollout) {
	r.t.Helper()
	r.firstStep()
	if !r.driver.Delete(r.t.Context(), 1) {
		r.t.Fatalf("the Canary hangs in deletion: %s", last(r.driver.Events))
	}
	r.collectGarbage()
	r.world.Clock.Sleep(10 * time.Minute)
	switch got := r.share(); {
	case s.DNS && (got != 0 || r.world.MayReach(r.name)):
		r.t.Errorf("the canary's load balancer still has the share %v, but its Service is gone", got)
	case got != 0 && got != 0.2:
		r.t.Errorf("the share became %v, want it left at 0.2, or taken back", got)
	}
	r.stop()

	process := NewProcess(0, NoFault)
	again := s.begin(r.t, r.world, r.name, process, r.world.Start(process), func(c *flaggerv1.Canary) {
		c.UID, c.CreationTimestamp = types.UID("uid-again"), metav1.NewTime(r.world.Clock.Now())
		c.Spec.RevertOnDeletion = false
	})
	// Flagger scales the canary down a moment before it calls the router, so that moment is not looked at.
	scale := again.driver.Hooks.ScaleToZero
	again.driver.Hooks.ScaleToZero = nil
	again.scale(false)
	again.initialize()
	again.settle()
	again.driver.Hooks.ScaleToZero = scale
	again.scale(true)
	if got := again.share(); got != 0 {
		r.t.Errorf("the Canary made anew begins with the share %v", got)
	}
	again.seen = nil
	weighted.promote(again)
}

// objects names what is in the cluster.
func (r *rollout) objects() []string {
	r.t.Helper()
	var names []string
	ingresses, err := r.world.Kube.NetworkingV1().Ingresses(metav1.NamespaceAll).List(r.t.Context(), metav1.ListOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	for _, i := range ingresses.Items {
		names = append(names, "ingress "+i.Namespace+"/"+i.Name)
	}
	configMaps, err := r.world.Kube.CoreV1().ConfigMaps(metav1.NamespaceAll).List(r.t.Context(), metav1.ListOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	for _, c := range configMaps.Items {
		names = append(names, "configmap "+c.Namespace+"/"+c.Name)
	}
	slices.Sort(names)
	return names
}

// collectGarbage deletes what the Canary owns, as Kubernetes does once that is gone.
func (r *rollout) collectGarbage() {
	r.t.Helper()
	canary := r.driver.Canary
	owned := func(refs []metav1.OwnerReference) bool {
		return slices.ContainsFunc(refs, func(ref metav1.OwnerReference) bool { return ref.UID == canary.UID })
	}
	ingresses := r.world.Kube.NetworkingV1().Ingresses(canary.Namespace)
	configMaps := r.world.Kube.CoreV1().ConfigMaps(canary.Namespace)
	ii, err := ingresses.List(r.t.Context(), metav1.ListOptions{})
	r.must(err)
	for _, i := range ii.Items {
		if owned(i.OwnerReferences) {
			r.must(ingresses.Delete(r.t.Context(), i.Name, metav1.DeleteOptions{}))
		}
	}
	cc, err := configMaps.List(r.t.Context(), metav1.ListOptions{})
	r.must(err)
	for _, c := range cc.Items {
		if owned(c.OwnerReferences) {
			r.must(configMaps.Delete(r.t.Context(), c.Name, metav1.DeleteOptions{}))
		}
	}
}
