package router_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-dev/penstock/internal/state"
	"github.com/penstock-dev/penstock/router"
)

// losses are the ways in which the router's side of a ConfigMap goes. The second is what the error about a malformed one says.
var losses = map[string]func(*rig){
	"ConfigMap": func(r *rig) {
		if err := r.kube.CoreV1().ConfigMaps(namespace).Delete(r.t.Context(), "app-penstock", metav1.DeleteOptions{}); err != nil {
			r.t.Fatal(err)
		}
	},
	"Key": func(r *rig) {
		cm := r.configMap()
		delete(cm.Data, state.DesiredKey)
		if _, err := r.kube.CoreV1().ConfigMaps(namespace).Update(r.t.Context(), cm, metav1.UpdateOptions{}); err != nil {
			r.t.Fatal(err)
		}
	},
}

// halfway returns a canary that DNS splits 50/50, as its status says.
func halfway(t *testing.T, newRig func(*testing.T, ...func(*flaggerv1.Canary)) *rig) *rig {
	t.Helper()
	r := newRig(t, split)
	r.begin(50, 50)
	r.ticks(6)
	r.canary.Status.CanaryWeight = 50
	return r
}

// TestLostWishThenRollback: a process that publishes elsewhere may have begun to take the hosts back meanwhile, and resolvers still know the canary.
func TestLostWishThenRollback(t *testing.T) {
	t.Parallel()
	for where, newRig := range rigs {
		for what, lose := range losses {
			for name, tc := range map[string]struct {
				wait       time.Duration
				reconciled bool
			}{
				"AtOnce": {0, true}, "AfterOneSync": {11 * time.Second, true}, "After31s": {31 * time.Second, true}, "InMidTick": {0, false},
			} {
				t.Run(where+"/"+what+"/"+name, func(t *testing.T) {
					t.Parallel()
					r := halfway(t, newRig)
					lose(r)
					r.clock.Advance(tc.wait)
					if tc.reconciled {
						r.reconcile()
					}
					r.wantRoutes(50, 50)
					r.set(100, 0)
					if r.mayAnswer(canaryAddress) {
						t.Errorf("SetRoutes(100, 0) returned nil, so Flagger scales the canary down, while resolvers may hand it out (shares %v)", r.backend.Shares(host))
					}
					r.phase(flaggerv1.CanaryPhaseFailed)
					r.canary.Status.CanaryWeight = 0
					r.ticks(60)
					r.wantShares(1, 0)
					if d, o := r.wish(); d.Attached || !o.Done(d) {
						t.Errorf("after the rollback: desired %+v, observed %+v; want the host at the load balancer, effectively", d, o)
					}
				})
			}
		}
	}
}

// TestLostWishBeforeTheStatus: Flagger's status is one step behind when its process dies, so at 0 the canary may have its first share.
func TestLostWishBeforeTheStatus(t *testing.T) {
	t.Parallel()
	for where, newRig := range rigs {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			r := halfway(t, newRig)
			r.canary.Status.CanaryWeight = 0
			losses["ConfigMap"](r)
			r.reconcile()
			r.set(100, 0)
			if r.mayAnswer(canaryAddress) {
				t.Error("SetRoutes(100, 0) returned nil while resolvers may hand out the canary")
			}
		})
	}
}

// TestLostWishThenFinalized: a deletion in the foreground removes what the Canary owns before Flagger's finalizer runs, and as often as it is made again.
func TestLostWishThenFinalized(t *testing.T) {
	t.Parallel()
	for where, newRig := range rigs {
		for what, lose := range losses {
			for _, phase := range []flaggerv1.CanaryPhase{flaggerv1.CanaryPhaseProgressing, flaggerv1.CanaryPhaseTerminating} {
				t.Run(where+"/"+what+"/"+string(phase), func(t *testing.T) {
					t.Parallel()
					r := halfway(t, newRig)
					lose(r)
					err := router.ErrDraining
					for range 60 {
						if err = r.router().Finalize(r.canary); !errors.Is(err, router.ErrDraining) {
							break
						}
						r.phase(phase)
						r.canary.Status.CanaryWeight = 0
						if cm := r.configMap(); what == "ConfigMap" && cm != nil && len(cm.OwnerReferences) > 0 {
							lose(r)
						}
						r.clock.Advance(10 * time.Second)
					}
					if err != nil {
						t.Errorf("Finalize: %v", err)
					}
					if r.mayAnswer(canaryAddress) {
						t.Errorf("Finalize returned nil, so the Canary goes with its Services, while resolvers may hand the canary out (shares %v)", r.backend.Shares(host))
					}
					if r.configMap() != nil {
						t.Error("the ConfigMap is left")
					}
					r.clock.Advance(time.Hour)
					r.wantShares(1, 0)
				})
			}
		}
	}
}

// TestLostWishAfterAFailedPromotion: all requests are at the canary, the only healthy version.
func TestLostWishAfterAFailedPromotion(t *testing.T) {
	t.Parallel()
	for where, newRig := range rigs {
		for what, lose := range losses {
			t.Run(where+"/"+what, func(t *testing.T) {
				t.Parallel()
				r := halfway(t, newRig)
				r.phase(flaggerv1.CanaryPhasePromoting)
				r.set(0, 100)
				r.phase(flaggerv1.CanaryPhaseFailed)
				r.canary.Status.CanaryWeight = 100
				r.ticks(30)
				r.wantShares(0, 1)
				lose(r)
				r.ticks(30)
				r.wantShares(0, 1)
				r.wantRoutes(0, 100)
			})
		}
	}
}

// TestLostWishOfAnIdleCanary is not attached for it.
func TestLostWishOfAnIdleCanary(t *testing.T) {
	t.Parallel()
	for where, newRig := range rigs {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, split)
			r.initialize()
			losses["ConfigMap"](r)
			writes := r.backend.Writes()
			r.ticks(2)
			r.wantRoutes(100, 0)
			if d, o := r.wish(); d.Attached || !o.Done(d) || r.backend.Writes() != writes {
				t.Errorf("desired %+v, observed %+v, %d records written; want 100/0 and nothing", d, o, r.backend.Writes()-writes)
			}
			losses["ConfigMap"](r)
			if err := r.router().Finalize(r.canary); err != nil {
				t.Errorf("Finalize: %v", err)
			}
			if r.configMap() != nil {
				t.Error("Finalize made a ConfigMap")
			}
		})
	}
}

// TestLostWishWithoutItsAnnotation: what DNS splits is known by what is published, and nobody knows with which Ingress. Only one whose ConfigMap
// is gone leaves nothing to a process that does not publish.
func TestLostWishWithoutItsAnnotation(t *testing.T) {
	t.Parallel()
	for where, newRig := range rigs {
		for what, lose := range losses {
			if where == "PublisherInAnotherProcess" && what == "ConfigMap" {
				continue
			}
			for name, change := range map[string]func(map[string]string){
				"Removed": func(a map[string]string) { delete(a, router.CanaryIngressAnnotation) },
				"Emptied": func(a map[string]string) { a[router.CanaryIngressAnnotation] = "" },
			} {
				t.Run(where+"/"+what+"/"+name, func(t *testing.T) {
					t.Parallel()
					r := halfway(t, newRig)
					change(r.canary.Annotations)
					r.ticks(1)
					lose(r)
					r.ticks(2)
					_, _, _, err := r.router().GetRoutes(r.canary)
					for call, err := range map[string]error{
						"GetRoutes": err, "SetRoutes": r.router().SetRoutes(r.canary, 100, 0, false), "Finalize": r.router().Finalize(r.canary),
					} {
						if err == nil || !strings.Contains(err.Error(), "canary shop/app") || !strings.Contains(err.Error(), router.CanaryIngressAnnotation) {
							t.Errorf("%s while DNS sends requests to the canary: %v, want an error that names the Canary and the annotation", call, err)
						}
					}
					if !slices.Contains(r.events(), string(router.ReasonReconcile)) {
						t.Errorf("events %q, want one that says what is wrong", r.events())
					}
					if names := r.ingressNames(); slices.Contains(names, "web-canary") {
						t.Errorf("ingresses %q: Skipper was given what DNS splits", names)
					}
					if cm := r.configMap(); cm != nil && cm.Data[state.DesiredKey] != "" {
						t.Errorf("written: %s", cm.Data[state.DesiredKey])
					}
					split(r.canary)
					r.set(100, 0)
					if r.mayAnswer(canaryAddress) {
						t.Error("SetRoutes(100, 0) returned nil while resolvers may hand out the canary")
					}
				})
			}
		}
	}
}

// TestLostWishInSharedMode is derived again, whatever DNS can be asked.
func TestLostWishInSharedMode(t *testing.T) {
	t.Parallel()
	for where, newRig := range rigs {
		for what, lose := range losses {
			t.Run(where+"/"+what, func(t *testing.T) {
				t.Parallel()
				r := newRig(t, plain)
				r.begin(70, 30)
				lose(r)
				r.ticks(1)
				r.wantRoutes(70, 30)
				lose(r)
				r.remove("web-canary")
				r.canary.Status.CanaryWeight = 30
				r.ticks(1)
				r.wantRoutes(70, 30)
				r.set(100, 0)
				if d, _ := r.wish(); d.Mode != state.Shared {
					t.Errorf("wish %+v, want shared mode", d)
				}
			})
		}
	}
}

// TestLostWishOfAnEarlierCanary: a Canary that is made anew in shared mode need not know how the one before was split.
func TestLostWishOfAnEarlierCanary(t *testing.T) {
	t.Parallel()
	for where, newRig := range rigs {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			r := halfway(t, newRig)
			losses["Key"](r)
			r.canary.UID, r.canary.Annotations, r.canary.Status = "another", nil, flaggerv1.CanaryStatus{}
			r.initialize()
			r.ticks(60)
			r.wantShares(1, 0)
		})
	}
}
