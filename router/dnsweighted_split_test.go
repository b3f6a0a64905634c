package router_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	ktesting "k8s.io/client-go/testing"

	"github.com/penstock-dev/penstock/internal/state"
	"github.com/penstock-dev/penstock/router"
)

// rigs are both places where a publisher may run.
var rigs = map[string]func(*testing.T, ...func(*flaggerv1.Canary)) *rig{
	"PublisherInProcess":        newRig,
	"PublisherInAnotherProcess": newControlledRig,
}

// TestSplitRollout takes a canary in split mode from the start to the end, with a fresh router for each call.
func TestSplitRollout(t *testing.T) {
	t.Parallel()
	for name, newRig := range rigs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, split)
			r.initialize()
			r.wantRoutes(100, 0)
			r.wantShares(1, 0)

			r.phase(flaggerv1.CanaryPhaseProgressing)
			r.set(90, 10)
			r.wantRoutes(90, 10)
			r.wantShares(0.9, 0.1)

			err := r.router().SetRoutes(r.canary, 70, 30, false)
			if !errors.Is(err, router.ErrPending) {
				t.Errorf("a raise that is on its way: %v, want %v", err, router.ErrPending)
			}
			r.wantRoutes(90, 10)
			r.set(70, 30)
			r.wantRoutes(70, 30)
			r.wantShares(0.7, 0.3)

			r.phase(flaggerv1.CanaryPhasePromoting)
			r.set(100, 0)
			if r.mayAnswer(canaryAddress) {
				t.Error("SetRoutes(100, 0) returned nil while a resolver may still hand out the canary")
			}
			r.wantRoutes(100, 0)
			r.phase(flaggerv1.CanaryPhaseFinalising)
			r.ticks(3)
			if d, _ := r.wish(); !d.Attached {
				t.Error("detached in Finalising, where a promotion may still fail and need the inner set")
			}
			r.phase(flaggerv1.CanaryPhaseSucceeded)
			r.ticks(60)
			if d, o := r.wish(); d.Attached || o.Attached || !o.Done(d) {
				t.Errorf("after the canary: desired %+v, observed %+v; want the host at the load balancer, effectively", d, o)
			}
			r.wantShares(1, 0)
			r.wantRoutes(100, 0)
		})
	}
}

func TestSplitRollback(t *testing.T) {
	t.Parallel()
	for name, newRig := range rigs {
		for _, from := range []string{"FirstStepPending", "Effective", "RaisePending"} {
			t.Run(name+from, func(t *testing.T) {
				t.Parallel()
				r := newRig(t, split)
				r.initialize()
				r.phase(flaggerv1.CanaryPhaseProgressing)
				if from == "FirstStepPending" {
					r.backend.SetSyncDelay(time.Hour)
					if err := r.router().SetRoutes(r.canary, 90, 10, false); !errors.Is(err, router.ErrPending) {
						t.Fatalf("first step without DNS: %v, want %v", err, router.ErrPending)
					}
					r.backend.SetSyncDelay(syncDelay)
				} else {
					r.set(90, 10)
				}
				if from == "RaisePending" {
					if err := r.router().SetRoutes(r.canary, 80, 20, false); !errors.Is(err, router.ErrPending) {
						t.Fatalf("raise: %v, want %v", err, router.ErrPending)
					}
				}
				r.set(100, 0)
				if r.mayAnswer(canaryAddress) {
					t.Error("SetRoutes(100, 0) returned nil while a resolver may still hand out the canary")
				}
				r.phase(flaggerv1.CanaryPhaseFailed)
				r.ticks(60)
				if d, o := r.wish(); d.Attached || o.Attached || !o.Done(d) {
					t.Errorf("after the rollback: desired %+v, observed %+v; want the host at the load balancer, effectively", d, o)
				}
				r.wantShares(1, 0)
			})
		}
	}
}

// TestSplitFailedPromotion sends everybody to the canary after the drain, at once.
func TestSplitFailedPromotion(t *testing.T) {
	t.Parallel()
	for _, phase := range []flaggerv1.CanaryPhase{flaggerv1.CanaryPhasePromoting, flaggerv1.CanaryPhaseFinalising} {
		t.Run(string(phase), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, split)
			r.begin(50, 50)
			r.phase(flaggerv1.CanaryPhasePromoting)
			r.set(100, 0)
			r.phase(phase)
			before := r.clock.Now()
			if err := r.router().SetRoutes(r.canary, 0, 100, false); err != nil || !r.clock.Now().Equal(before) {
				t.Fatalf("SetRoutes(0, 100) = %v after %s, want nil at once", err, r.clock.Since(before))
			}
			r.phase(flaggerv1.CanaryPhaseFailed)
			r.canary.Status.CanaryWeight = 100
			r.ticks(20)
			r.wantShares(0, 1)
			r.wantRoutes(0, 100)
			if d, _ := r.wish(); !d.Attached {
				t.Error("detached although the canary is the only healthy version")
			}
		})
	}
}

// TestStepwisePromotion does what Flagger does with stepWeightPromotion, and loses the process between the last step and Flagger's status.
func TestStepwisePromotion(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*flaggerv1.Canary){"Split": split, "Shared": func(*flaggerv1.Canary) {}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, change, withAnalysis(func(a *flaggerv1.CanaryAnalysis) { a.StepWeightPromotion = 30 }))
			r.begin(50, 50)
			r.phase(flaggerv1.CanaryPhasePromoting)
			for range 200 {
				primary, canary, _, err := r.router().GetRoutes(r.canary)
				if err != nil {
					t.Fatal(err)
				}
				if canary == 0 {
					t.Fatalf("GetRoutes in Promoting = %d/%d: Flagger stops there for ever", primary, canary)
				}
				primary, canary = min(primary+30, 100), max(canary-30, 0)
				err = r.router().SetRoutes(r.canary, primary, canary, false)
				if err == nil && primary == 100 {
					break
				}
				r.clock.Advance(10 * time.Second)
				r.reconcile()
			}
			r.wantRoutes(99, 1) // the process died before Flagger's status
			if r.mayAnswer(canaryAddress) {
				t.Error("SetRoutes(100, 0) returned nil while a resolver may still hand out the canary")
			}
			before, writes := r.clock.Now(), r.backend.Writes()
			r.kube.ClearActions()
			if err := r.router().SetRoutes(r.canary, 100, 0, false); err != nil {
				t.Fatalf("repeated SetRoutes(100, 0): %v", err)
			}
			if n := writesOf(r); n != 0 || r.backend.Writes() != writes || r.clock.Since(before) > 0 {
				t.Errorf("repeated SetRoutes(100, 0) wrote %d objects and %d records and took %s, want a no-op", n, r.backend.Writes()-writes, r.clock.Since(before))
			}
			r.phase(flaggerv1.CanaryPhaseFinalising)
			r.wantRoutes(100, 0)
		})
	}
}

// writesOf counts what was written since the actions were cleared.
func writesOf(r *rig) int {
	n := 0
	for verb, count := range requests(r.kube) {
		if verb != "get" && verb != "list" {
			n += count
		}
	}
	return n
}

// A drain that cannot be published is said at once, once for each reason, and not when it has taken long.
func TestADrainThatCannotBePublished(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(r *rig, text string){
		"Refused": func(r *rig, text string) { r.backend.Fail("web", errors.New(text)) },
		"Unread": func(r *rig, text string) { // by the publisher, which so has nothing to answer
			r.kube.PrependReactor("get", "ingresses", func(ktesting.Action) (bool, runtime.Object, error) {
				return true, nil, apierrors.NewInternalError(errors.New(text))
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, split)
			r.begin(90, 10)
			said := func(what string) int {
				n := 0
				for _, e := range r.warnings() {
					if e.Reason == string(router.ReasonDraining) && strings.Contains(e.Message, what) {
						n++
					}
				}
				return n
			}
			fail(r, "throttled")
			r.clock.AfterFunc(20*time.Second, func() {
				if n := said("throttled"); n != 1 || r.warned(router.ReasonDraining) != 1 {
					t.Errorf("after 20 s %d events say what is wrong, in %v warnings, want one: %q", n, r.warned(router.ReasonDraining), r.events())
				}
				fail(r, "denied")
			})
			stop := r.endAfter(40 * time.Second)
			err := r.router().SetRoutes(r.canary, 100, 0, false)
			stop()
			if !errors.Is(err, router.ErrDraining) {
				t.Errorf("error %v, want %v", err, router.ErrDraining)
			}
			if n := said("denied"); n != 1 || r.warned(router.ReasonDraining) != 2 {
				t.Errorf("%d events say that it is denied, in %v warnings, want one of two: %q", n, r.warned(router.ReasonDraining), r.events())
			}
		})
	}
}

// A fault may have other words each time, such as the port of a connection that is reset.
func TestADrainSaysFewOfManyFaults(t *testing.T) {
	t.Parallel()
	r := newRig(t, split)
	r.begin(90, 10)
	faults := 0
	r.kube.PrependReactor("get", "ingresses", func(ktesting.Action) (bool, runtime.Object, error) {
		faults++
		return true, nil, apierrors.NewInternalError(fmt.Errorf("read tcp 192.0.2.1:%d: connection reset by peer", faults))
	})
	stop := r.endAfter(time.Minute)
	err := r.router().SetRoutes(r.canary, 100, 0, false)
	stop()
	if n := r.warned(router.ReasonDraining); !errors.Is(err, router.ErrDraining) || faults < 20 || n < 2 || n > 5 {
		t.Errorf("error %v, %v warnings of %d faults in a minute, want 2 to 5", err, n, faults)
	}
}

// A first step that cannot be published is Flagger's to tell, by the error: nothing is draining.
func TestAFirstStepThatCannotBePublishedIsNoDrain(t *testing.T) {
	t.Parallel()
	r := newRig(t, split)
	r.initialize()
	r.phase(flaggerv1.CanaryPhaseProgressing)
	asked := false // the checks before that read, too
	r.kube.PrependReactor("update", "configmaps", func(ktesting.Action) (bool, runtime.Object, error) {
		asked = true
		return false, nil, nil
	})
	r.kube.PrependReactor("get", "ingresses", func(ktesting.Action) (bool, runtime.Object, error) {
		return asked, nil, apierrors.NewInternalError(errors.New("etcd has no leader"))
	})
	if err := r.router().SetRoutes(r.canary, 90, 10, false); err == nil {
		t.Error("a step that nobody could publish has succeeded")
	}
	if n := r.warned(router.ReasonDraining); n != 0 || !asked {
		t.Errorf("%v warnings of a drain: %q; asked for %t", n, r.events(), asked)
	}
}

// warned returns how often the router has warned for a reason.
func (r *rig) warned(reason router.Reason) float64 {
	r.t.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	total := 0.0
	for _, family := range families {
		if family.GetName() != "penstock_router_warnings_total" {
			continue
		}
		for _, metric := range family.GetMetric() {
			for _, label := range metric.GetLabel() {
				if label.GetName() == "reason" && label.GetValue() == string(reason) {
					total += metric.GetCounter().GetValue()
				}
			}
		}
	}
	return total
}

// TestDrainHasNoDeadline lets the publisher die in the middle of a drain.
func TestDrainHasNoDeadline(t *testing.T) {
	t.Parallel()
	r := newControlledRig(t, split)
	r.begin(90, 10)
	r.stop()
	stop := r.endAfter(time.Hour)
	err := r.router().SetRoutes(r.canary, 100, 0, false)
	stop()
	if !errors.Is(err, router.ErrDraining) || !errors.Is(err, context.Canceled) {
		t.Fatalf("SetRoutes(100, 0) without a publisher, by a router that ends: %v, want %v", err, router.ErrDraining)
	}
	told := 0
	for _, e := range r.warnings() {
		if e.Reason != string(router.ReasonDraining) {
			continue
		}
		told++
		for _, part := range []string{"canary shop/app", "route weights 100/0", "since 2026-", "is the traffic controller running?", `penstock.dev/drained: "3" on configmap app-penstock`} {
			if !strings.Contains(e.Message, part) {
				t.Errorf("event %q does not say %q", e.Message, part)
			}
		}
	}
	if told < 1 || told > 6 {
		t.Errorf("%d events in an hour say that the drain takes long, want at least one, and at most one in ten minutes", told)
	}
	r.clock.AfterFunc(time.Hour, func() {
		d, _ := r.wish()
		if d.Generation != 3 {
			t.Errorf("generation %d, want 3: the event named another", d.Generation)
		}
		annotate(r, state.DrainedAnnotation, "3")
	})
	before := r.clock.Now()
	if err := r.router().SetRoutes(r.canary, 100, 0, false); err != nil {
		t.Errorf("SetRoutes(100, 0) after the operator's word: %v", err)
	}
	if waited := r.clock.Since(before); waited < time.Hour || waited > time.Hour+10*time.Second {
		t.Errorf("the drain ended after %s, want the operator's word after an hour", waited)
	}
	if !slices.Contains(r.events(), string(router.ReasonReleased)) {
		t.Errorf("events %q, want one that says who ended the drain", r.events())
	}
}

// TestSomebodyElseOvertakesADrain: what is waited for is not what the ConfigMap says any more, so that Flagger must ask again.
func TestSomebodyElseOvertakesADrain(t *testing.T) {
	t.Parallel()
	r := newControlledRig(t, split)
	r.begin(90, 10)
	r.stop()
	r.clock.AfterFunc(5*time.Second, func() {
		d, _ := r.wish()
		d.Generation += 4
		d.Attached, d.Weights = false, state.Weights{Primary: 100}
		r.store(d, state.Observed{Generation: d.Generation, Effective: true})
	})
	before := r.clock.Now()
	err := r.router().SetRoutes(r.canary, 100, 0, false)
	if !errors.Is(err, router.ErrDraining) || !strings.Contains(err.Error(), "changed by somebody else") {
		t.Errorf("SetRoutes(100, 0): %v, want an error that says that the wish was overtaken", err)
	}
	if waited := r.clock.Since(before); waited > 10*time.Second {
		t.Errorf("it waited for %s, want until the next look", waited)
	}
}

// TestGenerationsGoOnAboveTheAnswers: an answer to a wish that was lost must not count for another one.
func TestGenerationsGoOnAboveTheAnswers(t *testing.T) {
	t.Parallel()
	r := newControlledRig(t, split)
	r.begin(90, 10)
	r.stop()
	_, o := r.wish()
	cm := r.configMap()
	delete(cm.Data, state.DesiredKey)
	if _, err := r.kube.CoreV1().ConfigMaps(namespace).Update(t.Context(), cm, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	stop := r.endAfter(time.Minute)
	err := r.router().SetRoutes(r.canary, 90, 10, false)
	stop()
	if d, _ := r.wish(); d.Generation != o.Generation+1 || err == nil {
		t.Errorf("generation %d after an answer to %d, error %v; want the next one, which nobody has answered", d.Generation, o.Generation, err)
	}
}

// annotate sets an annotation of the ConfigMap, as an operator does.
func annotate(r *rig, key, value string) {
	r.t.Helper()
	cm := r.configMap()
	if cm.Annotations == nil {
		cm.Annotations = map[string]string{}
	}
	cm.Annotations[key] = value
	if _, err := r.kube.CoreV1().ConfigMaps(namespace).Update(r.t.Context(), cm, metav1.UpdateOptions{}); err != nil {
		r.t.Fatal(err)
	}
}

// TestRollbackOfWhatNeverAttached must not wait for a split that cannot be made.
func TestRollbackOfWhatNeverAttached(t *testing.T) {
	t.Parallel()
	r := newRig(t, split)
	r.initialize()
	r.phase(flaggerv1.CanaryPhaseProgressing)
	r.backend.SetSyncDelay(time.Hour)
	if err := r.router().SetRoutes(r.canary, 90, 10, false); !errors.Is(err, router.ErrPending) {
		t.Fatalf("first step: %v, want %v", err, router.ErrPending)
	}
	if err := r.kube.NetworkingV1().Ingresses(namespace).Delete(t.Context(), "web-next", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	r.backend.SetSyncDelay(syncDelay)
	r.set(100, 0)
	if r.mayAnswer(canaryAddress) {
		t.Error("SetRoutes(100, 0) returned nil while a resolver may still hand out the canary")
	}
}
