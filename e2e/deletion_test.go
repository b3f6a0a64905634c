package e2e_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/penstock-dev/penstock/e2e/internal/gateway"
	"github.com/penstock-dev/penstock/internal/state"
)

// delete deletes the Canary, and waits until it is gone.
func (s *site) delete() {
	t := s.app.t
	t.Helper()
	api := s.Flagger.FlaggerV1beta1().Canaries(s.app.namespace)
	if err := api.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	s.wait("the Canary is gone", patience, func() bool {
		_, err := api.Get(t.Context(), name, metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
}

// gate is a webhook by which people let a canary go on. It is closed at first.
type gate struct {
	url  string
	open atomic.Bool
}

func newGate(t *testing.T) *gate {
	t.Helper()
	g := &gate{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !g.open.Load() {
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	t.Cleanup(server.Close)
	g.url = server.URL
	return g
}

// TestDeletion deletes the Canary with revertOnDeletion in every phase: traffic ends on the target, at the version that it runs.
func TestDeletion(t *testing.T) {
	t.Parallel()
	phases := map[flaggerv1.CanaryPhase]struct {
		change  func(*flaggerv1.Canary)
		gate    flaggerv1.HookType // where the canary is held up
		release bool
		faults  int
	}{
		flaggerv1.CanaryPhaseInitialized:      {},
		flaggerv1.CanaryPhaseWaiting:          {gate: flaggerv1.ConfirmRolloutHook, release: true},
		flaggerv1.CanaryPhaseProgressing:      {release: true},
		flaggerv1.CanaryPhaseWaitingPromotion: {gate: flaggerv1.ConfirmPromotionHook, release: true},
		flaggerv1.CanaryPhasePromoting:        {change: func(c *flaggerv1.Canary) { c.Spec.Analysis.StepWeightPromotion = 10 }, release: true},
		flaggerv1.CanaryPhaseFinalising:       {release: true},
		flaggerv1.CanaryPhaseSucceeded:        {release: true},
		flaggerv1.CanaryPhaseFailed:           {release: true, faults: 2},
	}
	for phase, tc := range phases {
		setups := maps.Clone(everySplit)
		if phase == flaggerv1.CanaryPhaseProgressing {
			setups["SplitExternalDNS"] = splitExternalDNS
		}
		t.Run(string(phase), func(t *testing.T) {
			t.Parallel()
			each(t, setups, func(t *testing.T, s setup) {
				a := newApp(t, s.with(func(c *flaggerv1.Canary) {
					c.Spec.RevertOnDeletion = true
					if tc.change != nil {
						tc.change(c)
					}
					if tc.gate != "" {
						c.Spec.Analysis.Webhooks = []flaggerv1.CanaryWebhook{{Name: "gate", Type: tc.gate, URL: newGate(t).url}}
					}
				}))
				east, ends := a.sites["east"], version
				if tc.release {
					ends = release
					east.release(release, tc.faults)
				}
				east.wait("it is time to delete the Canary", patience, func() bool {
					m := east.history.last()
					return m.phase == phase && (phase != flaggerv1.CanaryPhaseProgressing || m.weight() == 20 && m.effective())
				})
				east.delete()
				a.reverted(east, ends)
			})
		})
	}
	t.Run(string(flaggerv1.CanaryPhaseInitializing), func(t *testing.T) {
		t.Parallel()
		each(t, everySplit, func(t *testing.T, s setup) {
			a := prepareApp(t, s.with(func(c *flaggerv1.Canary) { c.Spec.RevertOnDeletion = true }))
			east := a.sites["east"]
			east.wait("Flagger has begun", patience, func() bool { return east.history.last().phase != "" })
			east.delete()
			east.wait("the target has its pods", patience, func() bool { return east.versions(1, nil)[version] == 1 })
			a.nothingLeft(east)
		})
	})
}

// replicas returns how many pods the target is to have.
func (s *site) replicas() int32 {
	t := s.app.t
	t.Helper()
	target, err := s.Kube.AppsV1().Deployments(s.app.namespace).Get(t.Context(), name, metav1.GetOptions{})
	must(t, err)
	return *target.Spec.Replicas
}

// ingresses returns the names of the Ingresses that there are.
func (s *site) ingresses() []string {
	t := s.app.t
	t.Helper()
	list, err := s.Kube.NetworkingV1().Ingresses(s.app.namespace).List(t.Context(), metav1.ListOptions{})
	must(t, err)
	var names []string
	for _, i := range list.Items {
		names = append(names, i.Name)
	}
	return names
}

// TestDeletionMeetsATick: Flagger's ticks go on beside its finalizer, and each sets the apex Service to primary, which goes with the Canary. One
// that comes when everything has been reverted must not leave the Service there.
func TestDeletionMeetsATick(t *testing.T) {
	t.Parallel()
	each(t, everySplit, func(t *testing.T, s setup) {
		a := newApp(t, s.with(func(c *flaggerv1.Canary) { c.Spec.RevertOnDeletion = true }))
		east := a.sites["east"]
		east.release(release, 0)
		a.ends(flaggerv1.CanaryPhaseSucceeded)
		ticked := make(chan struct{})
		var reverted atomic.Bool
		var once sync.Once
		east.gateway.Decide(func(r *http.Request) gateway.Fault {
			switch {
			case r.Method != http.MethodPut:
			case strings.HasSuffix(r.URL.Path, "/canaries/"+name): // the end of the finalizer
				reverted.Store(true)
				return gateway.Fault{Hold: ticked}
			case strings.HasSuffix(r.URL.Path, "/services/"+name) && reverted.Load():
				once.Do(func() { close(ticked) })
			}
			return gateway.Fault{}
		})
		east.delete()
		if !reverted.Load() {
			t.Error("the finalizer was not held up")
		}
		a.reverted(east, release)
	})
}

// reverted checks that traffic has ended on the target, at a version, and that all else is as it is without a canary.
func (a *app) reverted(s *site, version string) {
	a.t.Helper()
	<-time.After(settle + syncDelay + ttl)
	a.only(name, version)
	a.untouched()
	a.nothingLeft(s)
	if !a.restored() {
		a.t.Errorf("the host has the weights %v, want %d alone, at the load balancer of its Ingress", a.recordWeights(a.host), s.wholeWeight())
	}
}

// nothingLeft checks that what was generated is gone.
func (a *app) nothingLeft(s *site) {
	t := a.t
	t.Helper()
	want := []string{name}
	if a.setup.split {
		want = append(want, next)
	}
	if got := s.ingresses(); !slices.Equal(got, want) {
		t.Errorf("ingresses %v, want %v", got, want)
	}
	if _, err := s.Kube.CoreV1().ConfigMaps(a.namespace).Get(t.Context(), state.Name(name), metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the configmap %s is left (%v)", state.Name(name), err)
	}
	list, err := s.Dynamic.Resource(dnsEndpoints).Namespace(a.namespace).List(t.Context(), metav1.ListOptions{})
	must(t, err)
	for _, object := range list.Items {
		endpoints, _, err := unstructured.NestedSlice(object.Object, "spec", "endpoints")
		if err != nil || strings.Contains(fmt.Sprint(endpoints), innerLabel) {
			t.Errorf("dnsendpoint %s has records of the inner set: %v (%v)", object.GetName(), endpoints, err)
		}
	}
	if inner := a.inner(); len(inner) > 0 {
		t.Errorf("records of the inner set are left: %q", inner)
	}
}

var dnsEndpoints = schema.GroupVersionResource{Group: "externaldns.k8s.io", Version: "v1alpha1", Resource: "dnsendpoints"}

// TestDeletionWithoutRevert: Flagger leaves everything as it is, and Kubernetes collects what the Canary owns, primary among it. No record of
// DNS leads to what does not exist. Where DNS has a part in the canary, that takes a traffic controller, which stays.
func TestDeletionWithoutRevert(t *testing.T) {
	t.Parallel()
	withoutRevert := func(c *flaggerv1.Canary) { c.Spec.RevertOnDeletion = false }
	stepwise := func(c *flaggerv1.Canary) { c.Spec.Analysis.StepWeightPromotion = 10 }
	for label, tc := range map[string]struct {
		setup setup
		phase flaggerv1.CanaryPhase
		gated bool // before its promotion
	}{
		"Skipper":                {setup: skipperProvider, phase: flaggerv1.CanaryPhaseProgressing},
		"Shared":                 {setup: sharedRoute53, phase: flaggerv1.CanaryPhaseProgressing},
		"Exposure":               {setup: sharedController.exposing(50), phase: flaggerv1.CanaryPhaseProgressing},
		"Split":                  {setup: splitController, phase: flaggerv1.CanaryPhaseProgressing},
		"SplitPromoting":         {setup: splitController.with(stepwise), phase: flaggerv1.CanaryPhasePromoting},
		"SplitWaitingPromotion":  {setup: splitController, phase: flaggerv1.CanaryPhaseWaitingPromotion, gated: true},
		"SplitFailed":            {setup: splitController, phase: flaggerv1.CanaryPhaseFailed},
		"SharedWaitingPromotion": {setup: sharedController.exposing(50), phase: flaggerv1.CanaryPhaseWaitingPromotion, gated: true},
	} {
		t.Run(label, func(t *testing.T) {
			t.Parallel()
			a := newApp(t, tc.setup.with(func(c *flaggerv1.Canary) {
				withoutRevert(c)
				if tc.gated {
					c.Spec.Analysis.Webhooks = []flaggerv1.CanaryWebhook{{Name: "gate", Type: flaggerv1.ConfirmPromotionHook, URL: newGate(t).url}}
				}
			}))
			east := a.sites["east"]
			faults := 0
			if tc.phase == flaggerv1.CanaryPhaseFailed {
				faults = 2
			}
			east.release(release, faults)
			east.wait("it is time to delete the Canary", patience, func() bool {
				m := east.history.last()
				return m.phase == tc.phase && (m.phase != flaggerv1.CanaryPhaseProgressing || m.weight() == 20 && m.effective())
			})
			replicas := east.replicas()
			if tc.setup.split && tc.phase != flaggerv1.CanaryPhaseFailed && len(a.inner()) == 0 {
				t.Error("the canary is split, and has no inner set")
			}
			east.delete()
			own := []string{name}
			if tc.setup.split {
				own = append(own, next)
			}
			east.wait("what the Canary owns is collected", patience, func() bool { return slices.Equal(east.ingresses(), own) })
			// The host may have weight 0: its Service selects primary, which is gone, so nobody serves it here.
			a.wait("DNS leads to the load balancer of the apex Ingress alone", patience, func() bool {
				return maps.Equal(a.leads(), map[string]string{a.host + ".": east.addresses[0].String()})
			})
			if got := east.replicas(); got != replicas {
				t.Errorf("the target has %d replicas, and had %d when the Canary was deleted", got, replicas)
			}
			<-time.After(syncDelay + ttl + time.Second)
			now := time.Now()
			<-time.After(2 * time.Second)
			led := 0
			for _, sample := range a.recorder.Between(now, time.Now()) {
				switch sample.Address {
				case east.addresses[0]:
					led++
				case east.addresses[1]:
					t.Fatalf("a client was led to %s, want %s alone", sample.Address, east.addresses[0])
				}
			}
			if led == 0 {
				t.Error("no client was led anywhere")
			}
		})
	}
	t.Run("SplitIsRefused", func(t *testing.T) {
		t.Parallel()
		a := prepareApp(t, splitRoute53.with(func(c *flaggerv1.Canary) { c.Spec.RevertOnDeletion = false }))
		east := a.sites["east"]
		east.wait("the Canary says why it is refused", 2*time.Minute, east.said("spec.revertOnDeletion"))
		if phase := east.history.last().phase; phase == flaggerv1.CanaryPhaseInitialized {
			t.Errorf("phase %s", phase)
		}
	})
}
