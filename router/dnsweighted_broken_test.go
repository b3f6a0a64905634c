package router_test

import (
	"slices"
	"strings"
	"testing"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/penstock-dev/penstock/internal/state"
	"github.com/penstock-dev/penstock/router"
)

// midway returns a canary at 30 %, and its Canary without spec.ingressRef.
func midway(t *testing.T, newRig func(*testing.T, ...func(*flaggerv1.Canary)) *rig, change func(*flaggerv1.Canary)) *rig {
	t.Helper()
	r := newRig(t, change, func(c *flaggerv1.Canary) { c.Spec.RevertOnDeletion = true })
	r.begin(70, 30)
	r.ticks(6)
	r.canary.Spec.IngressRef = nil
	return r
}

func plain(*flaggerv1.Canary) {}

// TestIngressRefRemovedInMidCanary: what was begun is known without it, so that traffic can be taken back; more is not given to the canary.
func TestIngressRefRemovedInMidCanary(t *testing.T) {
	t.Parallel()
	for where, newRig := range rigs {
		for name, mode := range map[string]func(*flaggerv1.Canary){"Shared": plain, "Exposed": exposed("20"), "Split": split} {
			t.Run(where+"/"+name, func(t *testing.T) {
				t.Parallel()
				r := midway(t, newRig, mode)
				r.ticks(2)
				r.wantRoutes(70, 30)
				if !slices.ContainsFunc(r.events(), func(reason string) bool { return reason == string(router.ReasonReconcile) }) {
					t.Errorf("events %q, want one that says what is wrong", r.events())
				}
				if err := r.router().SetRoutes(r.canary, 60, 40, false); err == nil || !strings.Contains(err.Error(), "spec.ingressRef.name is empty") {
					t.Errorf("a raise: %v, want an error that names the field", err)
				}
				r.set(100, 0)
				r.wantRoutes(100, 0)
				if r.mayAnswer(canaryAddress) {
					t.Error("resolvers may send clients to the canary after the drain")
				}
				r.phase(flaggerv1.CanaryPhaseFailed)
				r.ticks(20)
				r.wantShares(1, 0)
				if w := r.hostWeight(); w != 100 {
					t.Errorf("record weight %d, want all of 100", w)
				}
			})
			t.Run(where+"/"+name+"/Deleted", func(t *testing.T) {
				t.Parallel()
				r := midway(t, newRig, mode)
				r.finalize()
				r.ticks(20)
				r.wantShares(1, 0)
				if names := r.ingressNames(); len(names) != 2 {
					t.Errorf("ingresses %q are left, want those of the user", names)
				}
				if r.configMap() != nil {
					t.Error("the ConfigMap is left")
				}
				if w := r.hostWeight(); w != 100 {
					t.Errorf("record weight %d, want all of 100", w)
				}
			})
		}
	}
}

// TestSkipperIngressRefRemoved is the same for the Skipper router alone.
func TestSkipperIngressRefRemoved(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*testing.T, *router.Skipper, *flaggerv1.Canary){
		"RolledBack": func(t *testing.T, s *router.Skipper, c *flaggerv1.Canary) {
			t.Helper()
			if err := s.SetRoutes(c, 60, 40, false); err == nil || !strings.Contains(err.Error(), "spec.ingressRef.name is empty") {
				t.Errorf("a raise: %v, want an error that names the field", err)
			}
			if err := s.SetRoutes(c, 100, 0, false); err != nil {
				t.Error(err)
			}
			if p, w, _, err := s.GetRoutes(c); err != nil || p != 100 || w != 0 {
				t.Errorf("GetRoutes = %d/%d, %v; want 100/0", p, w, err)
			}
		},
		"Finalized": func(t *testing.T, s *router.Skipper, c *flaggerv1.Canary) {
			t.Helper()
			if err := s.Finalize(c); err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kube := fake.NewClientset(newIngress())
			s := newSkipper(t, kube, router.SkipperOptions{})
			c := newCanary(inPhase(flaggerv1.CanaryPhaseProgressing, 0))
			if err := s.Reconcile(c); err != nil {
				t.Fatal(err)
			}
			if err := s.SetRoutes(c, 70, 30, false); err != nil {
				t.Fatal(err)
			}
			c.Spec.IngressRef = nil
			if _, w, _, err := s.GetRoutes(c); err != nil || w != 30 {
				t.Errorf("GetRoutes says %d, %v; want 30, so that the analysis goes on", w, err)
			}
			end(t, s, c)
			if name == "Finalized" {
				wantNames(t, kube, "web")
			}
		})
	}
}

// TestMalformedWishKeepsNoRequestsAtTheCanary: in shared mode Skipper splits, and does not need the ConfigMap.
func TestMalformedWishKeepsNoRequestsAtTheCanary(t *testing.T) {
	t.Parallel()
	r := newRig(t, exposed("20"))
	r.begin(70, 30)
	cm := r.configMap()
	cm.Data[state.DesiredKey] = "mode: shared"
	if _, err := r.kube.CoreV1().ConfigMaps(namespace).Update(t.Context(), cm, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	r.wantRoutes(70, 30)
	if err := r.router().SetRoutes(r.canary, 60, 40, false); err == nil || !strings.Contains(err.Error(), "data.desired") {
		t.Errorf("a raise: %v, want an error that names the key", err)
	}
	if err := r.router().SetRoutes(r.canary, 100, 0, false); err != nil {
		t.Errorf("a drain: %v", err)
	}
	if w := r.skipperCanary(); w != 0 {
		t.Errorf("Skipper sends %d %% to the canary", w)
	}
	if text := r.configMap().Data[state.DesiredKey]; text != "mode: shared" {
		t.Errorf("desired was overwritten: %s", text)
	}
	if !slices.Contains(r.events(), string(router.ReasonReconcile)) {
		t.Errorf("events %q, want one that says what is wrong", r.events())
	}
}

// TestFinalizeGivesTheShareBackWithoutItsConfigMap: where the router publishes itself, nobody else would.
func TestFinalizeGivesTheShareBackWithoutItsConfigMap(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(*rig){
		"ConfigMap": func(r *rig) {
			if err := r.kube.CoreV1().ConfigMaps(namespace).Delete(t.Context(), "app-penstock", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		},
		"BothSides": func(r *rig) {
			cm := r.configMap()
			cm.Data = nil
			if _, err := r.kube.CoreV1().ConfigMaps(namespace).Update(t.Context(), cm, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, exposed("20"))
			r.begin(90, 10)
			if w := r.hostWeight(); w != 20 {
				t.Fatalf("record weight %d, want 20", w)
			}
			lose(r)
			r.finalize()
			if w := r.hostWeight(); w != 100 {
				t.Errorf("record weight %d after the Canary is gone, want all of 100", w)
			}
		})
	}
}

// finalize repeats Finalize as Flagger does.
func (r *rig) finalize() {
	r.t.Helper()
	var err error
	for range 20 {
		if err = r.router().Finalize(r.canary); err == nil {
			return
		}
		r.clock.Advance(30 * syncDelay / 20)
	}
	r.t.Fatalf("Finalize: %v", err)
}

// ingressNames returns the names of the Ingresses.
func (r *rig) ingressNames() []string {
	r.t.Helper()
	list, err := r.kube.NetworkingV1().Ingresses(namespace).List(r.t.Context(), metav1.ListOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		r.t.Fatal(err)
	}
	var names []string
	for _, i := range list.Items {
		names = append(names, i.Name)
	}
	return names
}
