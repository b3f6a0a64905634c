package router_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	k8stesting "k8s.io/client-go/testing"

	"github.com/penstock-dev/penstock/dns"
	"github.com/penstock-dev/penstock/internal/state"
	"github.com/penstock-dev/penstock/router"
)

// process is one process whose Canary has provider skipper, with what its router warns of.
type process struct {
	*rig
	router.Interface

	reasons []string
}

// skipperProvider returns the process after spec.provider has become skipper. A dnsErr says that dns-weighted cannot work there.
func (r *rig) skipperProvider(dnsErr error) *process {
	p := &process{rig: r}
	r.canary.Generation++
	told := func(_ *flaggerv1.Canary, reason, _ string) { p.reasons = append(p.reasons, reason) }
	p.Interface = router.NewTakeover(router.NewSkipper(r.base, r.kube, nil, router.SkipperOptions{Clock: r.clock, Warn: told}), r.router(), dnsErr)
	return p
}

// tick lets n ticks of the process pass, ten seconds apart.
func (p *process) tick(n int) {
	p.t.Helper()
	for range n {
		p.clock.Advance(10 * time.Second)
		if err := p.Reconcile(p.canary); err != nil {
			p.t.Fatalf("Reconcile in phase %q: %v", p.canary.Status.Phase, err)
		}
	}
}

// step repeats SetRoutes as Flagger does.
func (p *process) step(primary, canary int) {
	p.t.Helper()
	var err error
	for range 60 {
		if err = p.SetRoutes(p.canary, primary, canary, false); !errors.Is(err, router.ErrPending) && !errors.Is(err, router.ErrDraining) {
			break
		}
		p.tick(1)
	}
	if err != nil {
		p.t.Fatalf("SetRoutes(%d, %d): %v", primary, canary, err)
	}
	p.canary.Status.CanaryWeight = canary
}

// wantSplit checks what the router says, and what Skipper reads.
func (p *process) wantSplit(said, skipper int) {
	p.t.Helper()
	if _, canary, _, err := p.GetRoutes(p.canary); err != nil || canary != said {
		p.t.Errorf("GetRoutes says canary weight %d, %v; want %d", canary, err, said)
	}
	if canary := p.skipperCanary(); canary != skipper {
		p.t.Errorf("Skipper's canary weight %d, want %d", canary, skipper)
	}
}

// wantAlone checks that nothing of dns-weighted is left.
func (p *process) wantAlone() {
	p.t.Helper()
	if p.configMap() != nil {
		p.t.Error("the ConfigMap is left")
	}
	p.wantShares(1, 0)
	if w := p.hostWeight(); w != 100 {
		p.t.Errorf("record weight %d, want all of 100", w)
	}
	if names := p.ingressNames(); !slices.Contains(names, "web-canary") {
		p.t.Errorf("ingresses %q, want Skipper's beside the user's", names)
	}
}

// TestProviderSkipperAfterSplit: what DNS splits goes on until the canary is over.
func TestProviderSkipperAfterSplit(t *testing.T) {
	t.Parallel()
	for where, newRig := range rigs {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			p := halfway(t, newRig).skipperProvider(nil)
			p.tick(2)
			p.wantSplit(50, 50) // the second from the Canary's status: Skipper was given nothing
			if slices.Contains(p.ingressNames(), "web-canary") {
				t.Error("Skipper splits what DNS has split already")
			}
			if !slices.Contains(p.reasons, string(router.ReasonHeld)) {
				t.Errorf("warnings %q, want one that provider skipper has to wait", p.reasons)
			}
			p.step(40, 60)
			p.wantShares(0.4, 0.6)
			p.step(100, 0)
			if p.mayAnswer(canaryAddress) {
				t.Error("SetRoutes(100, 0) returned nil while resolvers may hand out the canary")
			}
			p.phase(flaggerv1.CanaryPhaseFailed)
			p.tick(1)
			if err := p.SetRoutes(p.canary, 90, 10, false); err == nil || !strings.Contains(err.Error(), "is still in use") {
				t.Errorf("a first step before the host is at its load balancer again: %v, want it refused", err)
			}
			p.tick(60)
			p.wantAlone()
			p.phase(flaggerv1.CanaryPhaseProgressing)
			p.step(90, 10)
			p.wantSplit(10, 10)
			p.wantShares(1, 0)
		})
	}
}

// TestProviderSkipperLosesTheWish: DNS splits, whoever has lost the wish and for however long it cannot be written.
func TestProviderSkipperLosesTheWish(t *testing.T) {
	t.Parallel()
	for where, newRig := range rigs {
		for what, lose := range losses {
			for name, reconciled := range map[string]bool{"InMidTick": false, "NotWritten": true} {
				t.Run(where+"/"+what+"/"+name, func(t *testing.T) {
					t.Parallel()
					p := halfway(t, newRig).skipperProvider(nil)
					p.tick(2)
					lose(p.rig)
					if reconciled {
						p.failWrites("configmaps", 5)
						p.tick(1)
					}
					p.wantSplit(50, 50)
					start := p.clock.Now()
					p.step(100, 0)
					if p.mayAnswer(canaryAddress) {
						t.Errorf("SetRoutes(100, 0) returned nil while resolvers may hand out the canary (shares %v)", p.backend.Shares(host))
					}
					if slices.Contains(p.ingressNames(), "web-canary") {
						t.Error("Skipper was given what DNS splits")
					}
					if took := p.clock.Since(start); took > 10*time.Minute {
						t.Errorf("the drain took %s", took)
					}
					p.phase(flaggerv1.CanaryPhaseFailed)
					p.tick(60)
					p.wantAlone()
				})
			}
		}
	}
}

// failWrites makes the next n creations and updates of a resource fail.
func (r *rig) failWrites(resource string, n int) {
	fail := func(k8stesting.Action) (bool, runtime.Object, error) {
		n--
		return n >= 0, nil, apierrors.NewInternalError(errors.New("webhook"))
	}
	r.kube.PrependReactor("create", resource, fail)
	r.kube.PrependReactor("update", resource, fail)
}

// TestProviderSkipperBesideAConfigMapThatStays: what is not used holds nothing up, and goes as soon as it may.
func TestProviderSkipperBesideAConfigMapThatStays(t *testing.T) {
	t.Parallel()
	for name, verb := range map[string]string{"NotDeleted": "delete", "NotRead": "get"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, plain)
			r.initialize()
			r.phase(flaggerv1.CanaryPhaseProgressing)
			r.set(70, 30)
			p := r.skipperProvider(nil)
			forbidden := true
			r.kube.PrependReactor(verb, "configmaps", func(k8stesting.Action) (bool, runtime.Object, error) {
				return forbidden, nil, apierrors.NewForbidden(corev1.Resource("configmaps"), "app-penstock", errors.New("no role"))
			})
			p.tick(2)
			if !slices.Contains(p.reasons, string(router.ReasonReconcile)) {
				t.Errorf("warnings %q, want one about the ConfigMap", p.reasons)
			}
			if verb == "delete" {
				p.step(60, 40)
				p.wantSplit(40, 40)
				p.step(100, 0)
			}
			forbidden = false
			p.tick(1)
			p.wantAlone()
			if err := p.SetRoutes(p.canary, 100, 0, false); err != nil {
				t.Errorf("rollback: %v", err)
			}
		})
	}
}

// TestProviderSkipperAfterASplitWhoseConfigMapStays: Skipper is who splits, although dns-weighted was until then.
func TestProviderSkipperAfterASplitWhoseConfigMapStays(t *testing.T) {
	t.Parallel()
	for where, newRig := range rigs {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			p := halfway(t, newRig).skipperProvider(nil)
			p.kube.PrependReactor("delete", "configmaps", func(k8stesting.Action) (bool, runtime.Object, error) {
				return true, nil, apierrors.NewForbidden(corev1.Resource("configmaps"), "app-penstock", errors.New("no role"))
			})
			p.tick(2)
			p.step(100, 0)
			p.phase(flaggerv1.CanaryPhaseFailed)
			p.tick(60)
			p.phase(flaggerv1.CanaryPhaseProgressing)
			p.step(90, 10)
			p.wantSplit(10, 10)
			p.wantShares(1, 0)
		})
	}
}

// TestProviderSkipperBeforeInitialized: a ConfigMap that cannot be read stops Flagger as long as nothing depends on the Canary.
func TestProviderSkipperBeforeInitialized(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{"get", "delete"} {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, plain)
			r.reconcile()
			p := r.skipperProvider(nil)
			r.kube.PrependReactor(verb, "configmaps", func(k8stesting.Action) (bool, runtime.Object, error) {
				return true, nil, apierrors.NewForbidden(corev1.Resource("configmaps"), "app-penstock", errors.New("no role"))
			})
			if err := p.Reconcile(p.canary); !apierrors.IsForbidden(err) {
				t.Errorf("Reconcile: %v, want the answer of the API server", err)
			}
		})
	}
}

// TestProviderSkipperAfterExposure: the cluster gets its full share back with the next step, whichever that is.
func TestProviderSkipperAfterExposure(t *testing.T) {
	t.Parallel()
	for where, newRig := range rigs {
		for name, next := range map[string]int{"Raise": 20, "Rollback": 0} {
			t.Run(where+"/"+name, func(t *testing.T) {
				t.Parallel()
				r := newRig(t, exposed("20"))
				r.initialize()
				r.phase(flaggerv1.CanaryPhaseProgressing)
				r.set(90, 10)
				p := r.skipperProvider(nil)
				p.tick(1)
				if w := p.hostWeight(); w != 20 || !slices.Contains(p.reasons, string(router.ReasonHeld)) {
					t.Errorf("record weight %d before the next step, warnings %q; want 20, and one that provider skipper has to wait", w, p.reasons)
				}
				p.wantSplit(10, 10)
				p.step(100-next, next)
				p.tick(60)
				p.wantAlone()
				p.wantSplit(next, next)
			})
		}
	}
}

// TestProviderSkipperAfterAFailedPublication: nobody would give the share back once the ConfigMap is gone.
func TestProviderSkipperAfterAFailedPublication(t *testing.T) {
	t.Parallel()
	r := newRig(t, exposed("20"))
	r.initialize()
	r.phase(flaggerv1.CanaryPhaseProgressing)
	r.set(90, 10)
	p := r.skipperProvider(nil)
	p.tick(1)
	r.backend.Intercept(func([]dns.Publication) error { return errors.New("throttled") }, nil)
	p.step(100, 0)
	p.phase(flaggerv1.CanaryPhaseFailed)
	p.tick(2)
	r.backend.Intercept(nil, nil)
	p.tick(60)
	p.wantAlone()
}

// TestProviderSkipperAtOnce where nothing in DNS depends on the Canary.
func TestProviderSkipperAtOnce(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		mode   func(*flaggerv1.Canary)
		weight int
	}{"Split": {split, 0}, "Exposed": {exposed("20"), 0}, "SharedInMidCanary": {plain, 30}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, tc.mode)
			r.initialize()
			if tc.weight > 0 {
				r.phase(flaggerv1.CanaryPhaseProgressing)
				r.set(100-tc.weight, tc.weight)
			}
			p := r.skipperProvider(nil)
			p.tick(1)
			p.wantAlone()
			p.wantSplit(tc.weight, tc.weight)
			if len(p.reasons) > 0 {
				t.Errorf("warnings %q, want none", p.reasons)
			}
		})
	}
}

// TestProviderSkipperDeletedInMidCanary: the hosts go back first, and an older copy of the Canary makes nothing again.
func TestProviderSkipperDeletedInMidCanary(t *testing.T) {
	t.Parallel()
	for where, newRig := range rigs {
		for name, ticks := range map[string]int{"AtOnce": 0, "AfterATick": 1} {
			t.Run(where+"/"+name, func(t *testing.T) {
				t.Parallel()
				p := halfway(t, newRig).skipperProvider(nil)
				p.tick(ticks)
				err := router.ErrDraining
				for range 60 {
					if err = p.Finalize(p.canary); !errors.Is(err, router.ErrDraining) {
						break
					}
					p.tick(1)
				}
				if len(p.reasons) != ticks {
					t.Errorf("warnings %q, want none in ticks beside the finalizer", p.reasons)
				}
				if err != nil || p.mayAnswer(canaryAddress) {
					t.Errorf("Finalize: %v, and a resolver may hand out the canary: %t", err, p.mayAnswer(canaryAddress))
				}
				p.tick(2)
				if names := p.ingressNames(); p.configMap() != nil || slices.Contains(names, "web-canary") {
					t.Errorf("after Finalize there are a ConfigMap: %t, ingresses %q", p.configMap() != nil, names)
				}
			})
		}
	}
}

// TestProviderSkipperWithoutDNSWeighted: the configuration of dns-weighted was taken away with the provider.
func TestProviderSkipperWithoutDNSWeighted(t *testing.T) {
	t.Parallel()
	missing := errors.New("PENSTOCK_CLUSTER_NAME is empty")
	p := halfway(t, newControlledRig).skipperProvider(missing)
	_, _, _, err := p.GetRoutes(p.canary)
	for name, err := range map[string]error{
		"GetRoutes": err, "SetRoutes": p.SetRoutes(p.canary, 100, 0, false), "Reconcile": p.Reconcile(p.canary), "Finalize": p.Finalize(p.canary),
	} {
		if !errors.Is(err, missing) || !strings.Contains(err.Error(), "canary shop/app") || !strings.Contains(err.Error(), "configmap app-penstock") {
			t.Errorf("%s: %v, want an error that names the Canary, its ConfigMap and what is wrong", name, err)
		}
	}
	r := newRig(t, split)
	r.initialize()
	p = r.skipperProvider(missing)
	p.tick(1)
	p.wantAlone()
}

// TestProviderSkipperReadsAConfigMapOnce for each generation of a Canary that dns-weighted never had.
func TestProviderSkipperReadsAConfigMapOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.skipperProvider(nil)
	reads := func() (n int) {
		for _, action := range r.kube.Actions() {
			if action.GetResource().Resource == "configmaps" {
				n++
			}
		}
		return n
	}
	for range 2 {
		r.kube.ClearActions()
		p.tick(3)
		p.step(90, 10)
		p.wantSplit(10, 10)
		if n := reads(); n != 1 {
			t.Errorf("%d requests for ConfigMaps at generation %d, want 1", n, r.canary.Generation)
		}
		r.canary.Generation++
	}
}

// TestProviderSkipperWithAConfigMapOfSomebody: a foreign one is left alone; one that cannot be read keeps from splitting twice.
func TestProviderSkipperWithAConfigMapOfSomebody(t *testing.T) {
	t.Parallel()
	edit := func(r *rig, change func(*metav1.ObjectMeta, map[string]string)) {
		cm := r.configMap()
		change(&cm.ObjectMeta, cm.Data)
		if _, err := r.kube.CoreV1().ConfigMaps(namespace).Update(t.Context(), cm, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	r := newRig(t)
	r.store(state.Desired{}, state.Observed{})
	edit(r, func(meta *metav1.ObjectMeta, _ map[string]string) { meta.Labels = nil })
	p := r.skipperProvider(nil)
	p.tick(1)
	if names := r.ingressNames(); r.configMap() == nil || !slices.Contains(names, "web-canary") {
		t.Errorf("the foreign ConfigMap is there: %t, ingresses %q", r.configMap() != nil, names)
	}

	for where, newRig := range rigs {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			r := halfway(t, newRig)
			edit(r, func(_ *metav1.ObjectMeta, data map[string]string) { data[state.DesiredKey] = "mode: split" })
			p := r.skipperProvider(nil)
			p.tick(2)
			if err := p.SetRoutes(r.canary, 100, 0, false); err == nil || !strings.Contains(err.Error(), "delete the key") {
				t.Errorf("SetRoutes(100, 0): %v, want an error that names the remedy", err)
			}
			if slices.Contains(r.ingressNames(), "web-canary") {
				t.Error("Skipper splits what DNS has split already")
			}
			losses["Key"](r)
			p.tick(1)
			p.wantSplit(50, 50)
			p.step(100, 0)
			if r.mayAnswer(canaryAddress) {
				t.Error("SetRoutes(100, 0) returned nil while resolvers may hand out the canary")
			}
		})
	}
}

// TestSplitAfterProviderSkipper: requests that Skipper splits go on, and DNS splits the next canary.
func TestSplitAfterProviderSkipper(t *testing.T) {
	t.Parallel()
	for where, newRig := range rigs {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, func(c *flaggerv1.Canary) { c.Spec.RevertOnDeletion = true })
			p := r.skipperProvider(nil)
			p.tick(1)
			p.phase(flaggerv1.CanaryPhaseProgressing)
			p.step(70, 30)
			split(r.canary)
			r.ticks(3)
			r.wantRoutes(70, 30)
			if !slices.Contains(r.events(), string(router.ReasonHeld)) {
				t.Errorf("events %q, want one that split mode has to wait", r.events())
			}
			r.set(60, 40)
			if w := r.skipperCanary(); w != 40 {
				t.Errorf("Skipper's canary weight %d, want 40", w)
			}
			r.wantShares(1, 0)
			r.set(100, 0)
			r.phase(flaggerv1.CanaryPhaseFailed)
			r.canary.Status.CanaryWeight = 0
			r.ticks(3)
			if names := r.ingressNames(); slices.Contains(names, "web-canary") {
				t.Errorf("ingresses %q after the canary, want those of Skipper's router gone", names)
			}
			r.phase(flaggerv1.CanaryPhaseProgressing)
			r.set(90, 10)
			r.wantShares(0.9, 0.1)
		})
	}
}

// Whether dns-weighted has anything to end cannot be read for a while, and a rollback or a failed promotion waits for that inside, as for all else.
func TestWhatIsUrgentInsistsWhoeverServesIt(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		phase           flaggerv1.CanaryPhase
		primary, canary int
	}{
		"Rollback":        {flaggerv1.CanaryPhaseProgressing, 100, 0},
		"FailedPromotion": {flaggerv1.CanaryPhasePromoting, 0, 100},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, plain)
			r.initialize()
			p := r.skipperProvider(nil)
			p.phase(flaggerv1.CanaryPhaseProgressing)
			p.tick(1)
			p.step(50, 50)
			p.phase(tc.phase)
			p.canary.Generation++ // nothing is decided of the Canary as it is now
			failing := true
			r.kube.PrependReactor("get", "configmaps", func(k8stesting.Action) (bool, runtime.Object, error) {
				return failing, nil, apierrors.NewTooManyRequests("slow down", 1)
			})
			r.clock.AfterFunc(5*time.Minute, func() { failing = false })
			if err := p.SetRoutes(p.canary, tc.primary, tc.canary, false); err != nil || failing {
				t.Fatalf("%v, failing %t", err, failing)
			}
			p.wantSplit(tc.canary, tc.canary)
			if n := len(p.reasons) - len(slices.DeleteFunc(slices.Clone(p.reasons), func(r string) bool { return r == "SkipperDraining" })); n < 1 || n > 4 {
				t.Errorf("%d warnings in five minutes, want a few: %q", n, p.reasons)
			}
		})
	}
}
