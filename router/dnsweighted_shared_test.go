package router_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clienttesting "k8s.io/client-go/testing"

	"github.com/penstock-dev/penstock/dns"
	"github.com/penstock-dev/penstock/router"
)

// hostWeight returns the published record weight of the host.
func (r *rig) hostWeight() int {
	r.t.Helper()
	records, err := r.backend.Published(r.t.Context(), "eu-1", types.NamespacedName{Namespace: namespace, Name: "web"}, []string{host})
	if err != nil {
		r.t.Fatal(err)
	}
	for _, record := range records {
		if record.Name == host {
			return record.Weight
		}
	}
	return -1
}

// skipperCanary returns the canary weight that Skipper reads.
func (r *rig) skipperCanary() int {
	r.t.Helper()
	_, canary, _, err := router.NewSkipper(r.t.Context(), r.kube, nil, router.SkipperOptions{}).GetRoutes(r.canary)
	if err != nil {
		r.t.Fatal(err)
	}
	return canary
}

// TestExposure takes a canary in shared mode from the start to the end. Its steps are 10, 20, 30, 40 and 50 %.
func TestExposure(t *testing.T) {
	t.Parallel()
	for name, newRig := range rigs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, exposed("20"))
			r.initialize()
			if w := r.hostWeight(); w != 100 {
				t.Errorf("record weight of an idle canary %d, want all of 100", w)
			}
			r.phase(flaggerv1.CanaryPhaseProgressing)
			for _, step := range []struct{ canary, weight int }{{10, 20}, {20, 40}, {30, 60}, {40, 80}, {50, 100}} {
				r.set(100-step.canary, step.canary)
				r.wantRoutes(100-step.canary, step.canary)
				r.ticks(2)
				if w := r.hostWeight(); w != step.weight {
					t.Errorf("record weight at canary %d %%: %d, want %d", step.canary, w, step.weight)
				}
			}
			r.phase(flaggerv1.CanaryPhasePromoting)
			r.set(100, 0)
			r.phase(flaggerv1.CanaryPhaseSucceeded)
			r.ticks(2)
			if w := r.hostWeight(); w != 100 {
				t.Errorf("record weight after the canary %d, want all of 100", w)
			}
		})
	}
}

// TestExposureOrder watches both sides: a cluster takes less before its canary gets more of that, and more only afterwards.
func TestExposureOrder(t *testing.T) {
	t.Parallel()
	for name, newRig := range rigs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, exposed("20"))
			r.initialize()
			r.phase(flaggerv1.CanaryPhaseProgressing)
			var skipperAt time.Time
			skipperSettled := true
			r.kube.PrependReactor("update", "ingresses", func(clienttesting.Action) (bool, runtime.Object, error) {
				skipperAt = r.clock.Now()
				if _, o := r.wish(); skipperSettled && !o.Effective {
					t.Error("Skipper was written before the lower exposure was effective")
				}
				return false, nil, nil
			})
			r.backend.Intercept(func([]dns.Publication) error {
				if d, _ := r.wish(); d.Exposure == 40 && r.clock.Since(skipperAt) < 6*time.Second {
					t.Errorf("the exposure rose %s after Skipper was written, want it settled", r.clock.Since(skipperAt))
				}
				return nil
			}, nil)

			if err := r.router().SetRoutes(r.canary, 90, 10, false); err != nil && !errors.Is(err, router.ErrPending) {
				t.Fatal(err)
			}
			r.set(90, 10)
			if r.skipperCanary() != 10 {
				t.Errorf("Skipper's canary weight %d, want 10", r.skipperCanary())
			}
			skipperSettled = false // from here on the exposure rises
			before := r.clock.Now()
			if err := r.router().SetRoutes(r.canary, 80, 20, false); err != nil {
				t.Fatalf("a step with rising exposure: %v", err)
			}
			if waited := r.clock.Since(before); waited != 6*time.Second {
				t.Errorf("a step with rising exposure took %s, want Skipper's time to settle and no wait for DNS", waited)
			}
			r.wantRoutes(80, 20)
		})
	}
}

// TestExposureInMidCanary: only the first step is waited for inside, and a step that Skipper has is done however slow the rise is.
func TestExposureInMidCanary(t *testing.T) {
	t.Parallel()
	r := newRig(t, exposed("20"))
	r.begin(90, 10)
	r.backend.SetSyncDelay(24 * time.Hour)
	if err := r.router().SetRoutes(r.canary, 80, 20, false); err != nil {
		t.Fatal(err)
	}
	before := r.clock.Now()
	if err := r.router().SetRoutes(r.canary, 80, 20, false); err != nil || r.clock.Since(before) > 0 {
		t.Errorf("the step again, while the exposure rises: %v after %s, want nil at once", err, r.clock.Since(before))
	}
	if err := r.router().SetRoutes(r.canary, 90, 10, false); !errors.Is(err, router.ErrPending) || r.clock.Since(before) > 0 {
		t.Errorf("a step back, for which the exposure falls: %v after %s, want %v at once", err, r.clock.Since(before), router.ErrPending)
	}
	if w := r.skipperCanary(); w != 20 {
		t.Errorf("Skipper's canary weight %d while the exposure falls, want 20", w)
	}
}

func TestExposurePendingKeepsSkipper(t *testing.T) {
	t.Parallel()
	r := newRig(t, exposed("20"))
	r.initialize()
	r.phase(flaggerv1.CanaryPhaseProgressing)
	r.backend.SetSyncDelay(24 * time.Hour)
	for range 3 {
		before := r.clock.Now()
		err := r.router().SetRoutes(r.canary, 90, 10, false)
		if !errors.Is(err, router.ErrPending) {
			t.Fatalf("SetRoutes while DNS hangs: %v, want %v", err, router.ErrPending)
		}
		if waited := r.clock.Since(before); waited != 300*time.Second+90*time.Second {
			t.Errorf("the first step waited %s inside, want the TTL of 300s and the margin", waited)
		}
		r.wantRoutes(100, 0)
		r.ticks(1)
		if d, _ := r.wish(); d.Exposure != 20 {
			t.Fatalf("exposure %d after a tick, want the pending 20", d.Exposure)
		}
	}
	before := r.clock.Now()
	if err := r.router().SetRoutes(r.canary, 100, 0, false); err != nil || r.clock.Since(before) > 10*time.Second {
		t.Errorf("a rollback while DNS hangs: %v after %s, want nil at once", err, r.clock.Since(before))
	}
	if d, _ := r.wish(); d.Exposure != 0 {
		t.Errorf("exposure %d after the rollback, want none", d.Exposure)
	}
}

// TestExposureRiseIsNotAwaited: a drain in shared mode is Skipper's alone.
func TestSharedDrainDoesNotWaitForDNS(t *testing.T) {
	t.Parallel()
	r := newRig(t, exposed("20"))
	r.begin(90, 10)
	r.backend.SetSyncDelay(24 * time.Hour)
	r.backend.Intercept(func([]dns.Publication) error { return errors.New("throttled") }, nil)
	before := r.clock.Now()
	if err := r.router().SetRoutes(r.canary, 100, 0, false); err != nil {
		t.Fatalf("rollback while DNS cannot be written: %v", err)
	}
	if waited := r.clock.Since(before); waited != 6*time.Second {
		t.Errorf("rollback took %s, want Skipper's time to settle", waited)
	}
	r.backend.Intercept(nil, nil)
	r.phase(flaggerv1.CanaryPhaseFailed)
	r.ticks(1)
	if w := r.hostWeight(); w != 100 {
		t.Errorf("record weight after the rollback %d, want all of 100", w)
	}
}

func TestExposureByStrategy(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		reason   string
		analysis func(*flaggerv1.CanaryAnalysis)
		phase    flaggerv1.CanaryPhase
		canary   int
		want     int
	}{
		"First":            {"The first step is at the floor.", nil, flaggerv1.CanaryPhaseProgressing, 10, 20},
		"Waiting":          {"Waiting for approval is part of the way.", nil, flaggerv1.CanaryPhaseWaiting, 30, 60},
		"WaitingPromotion": {"Waiting for promotion is part of the way.", nil, flaggerv1.CanaryPhaseWaitingPromotion, 40, 80},
		"Promoting":        {"From promotion on the cluster has its full share.", nil, flaggerv1.CanaryPhasePromoting, 10, 0},
		"RoundedUp": {
			"20 + 80 x (21 - 10) / (70 - 10) = 34.7", func(a *flaggerv1.CanaryAnalysis) { a.StepWeight, a.StepWeights = 0, []int{10, 21, 70} },
			flaggerv1.CanaryPhaseProgressing, 21, 35,
		},
		"StepWeights": {
			"The last of stepWeights is the end of the way, whatever maxWeight says.",
			func(a *flaggerv1.CanaryAnalysis) {
				a.StepWeight, a.MaxWeight, a.StepWeights = 0, 100, []int{10, 30, 50}
			},
			flaggerv1.CanaryPhaseProgressing, 30, 60,
		},
		"StepWeightToTheLast": {
			"20 + 80 x (35 - 10) / (60 - 10), because Flagger's maximum is the last of stepWeights", func(a *flaggerv1.CanaryAnalysis) { a.MaxWeight, a.StepWeights = 0, []int{20, 60} },
			flaggerv1.CanaryPhaseProgressing, 35, 60,
		},
		"OneStep": {
			"There is no way to go.", func(a *flaggerv1.CanaryAnalysis) { a.StepWeight, a.MaxWeight = 50, 50 },
			flaggerv1.CanaryPhaseProgressing, 50, 0,
		},
		"BlueGreen": {
			"Blue/green has no steps.", func(a *flaggerv1.CanaryAnalysis) { a.StepWeight, a.MaxWeight, a.Iterations = 0, 0, 5 },
			flaggerv1.CanaryPhaseProgressing, 100, 0,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, exposed("20"))
			if tc.analysis != nil {
				tc.analysis(r.canary.Spec.Analysis)
			}
			r.initialize()
			r.phase(tc.phase)
			r.set(100-tc.canary, tc.canary)
			if d, _ := r.wish(); d.Exposure != tc.want {
				t.Errorf("%s\nexposure %d at canary weight %d, want %d", tc.reason, d.Exposure, tc.canary, tc.want)
			}
		})
	}
}

func TestMirroredInSharedMode(t *testing.T) {
	t.Parallel()
	r := newRig(t, exposed("20"), withAnalysis(func(a *flaggerv1.CanaryAnalysis) { a.Mirror = true }))
	r.initialize()
	r.phase(flaggerv1.CanaryPhaseProgressing)
	if err := r.router().SetRoutes(r.canary, 100, 0, true); err != nil {
		t.Fatal(err)
	}
	if _, _, mirrored, err := r.router().GetRoutes(r.canary); err != nil || !mirrored {
		t.Errorf("mirrored = %t, %v; want true, or Flagger mirrors for ever", mirrored, err)
	}
	r.backend.SetSyncDelay(24 * time.Hour)
	if err := r.router().SetRoutes(r.canary, 90, 10, false); !errors.Is(err, router.ErrPending) {
		t.Fatalf("first step while DNS hangs: %v, want %v", err, router.ErrPending)
	}
	if p, c, mirrored, err := r.router().GetRoutes(r.canary); err != nil || p != 100 || c != 0 || !mirrored {
		t.Errorf("GetRoutes while the first step is pending = %d/%d mirrored %t, %v; want what was last effective, 100/0 mirrored", p, c, mirrored, err)
	}
}

// TestModeChange: the annotations may change at any time, and are followed when nothing depends on them.
func TestModeChange(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.canary.Spec.RevertOnDeletion = true
	r.begin(90, 10)
	r.canary.Annotations = map[string]string{router.CanaryIngressAnnotation: "web-next"}
	r.ticks(2)
	if d, _ := r.wish(); d.Mode != "shared" {
		t.Errorf("mode %q in mid-canary, want the one that it began in", d.Mode)
	}
	r.wantRoutes(90, 10)
	r.set(100, 0)
	r.phase(flaggerv1.CanaryPhaseFailed)
	r.ticks(2)
	if d, _ := r.wish(); d.Mode != "split" || d.CanaryIngress != "web-next" {
		t.Errorf("wish %+v after the canary, want split mode", d)
	}
	if names := ingressNames(t, r.kube); fmt.Sprint(names) != "[web web-next]" {
		t.Errorf("ingresses %q, want those of Skipper's router gone", names)
	}
	r.phase(flaggerv1.CanaryPhaseProgressing)
	r.set(90, 10)
	r.wantShares(0.9, 0.1)
	r.canary.Annotations = nil
	r.ticks(2)
	r.set(80, 20)
	r.wantShares(0.8, 0.2)
	r.set(100, 0)
	r.phase(flaggerv1.CanaryPhaseFailed)
	r.ticks(60)
	if d, o := r.wish(); d.Mode != "shared" || o.Attached {
		t.Errorf("wish %+v, observed %+v after the canary, want shared mode and no inner set", d, o)
	}
	if _, err := r.kube.NetworkingV1().Ingresses(namespace).Get(t.Context(), "web-canary", metav1.GetOptions{}); err != nil {
		t.Errorf("Skipper's canary ingress: %v", err)
	}
}
