package router_test

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ktesting "k8s.io/client-go/testing"

	"github.com/penstock-dev/penstock/internal/state"
	"github.com/penstock-dev/penstock/router"
)

// TestARollbackInsists: Flagger sends an alert before each SetRoutes of a rollback, so an API that fails for a while is waited for inside.
func TestARollbackInsists(t *testing.T) {
	t.Parallel()
	resource := schema.GroupResource{Resource: "objects"}
	for name, tc := range map[string]struct {
		mode     func(*flaggerv1.Canary)
		resource string
		failure  error
		event    string
		lasts    bool
	}{
		"Conflict":    {plain, "ingresses", apierrors.NewConflict(resource, "web-canary", errors.New("changed meanwhile")), "SkipperDraining", false},
		"Throttled":   {plain, "ingresses", apierrors.NewTooManyRequests("slow down", 1), "SkipperDraining", false},
		"ServerError": {split, "configmaps", apierrors.NewInternalError(errors.New("etcd has no leader")), "DNSDraining", false},
		"Timeout":     {split, "configmaps", apierrors.NewTimeoutError("no answer", 1), "DNSDraining", false},
		"NoAnswer":    {plain, "ingresses", &url.Error{Op: "Put", URL: "https://192.0.2.1/", Err: context.DeadlineExceeded}, "SkipperDraining", false},
		"NoAnswerDNS": {split, "configmaps", &url.Error{Op: "Put", URL: "https://192.0.2.1/", Err: context.DeadlineExceeded}, "DNSDraining", false},
		"Forbidden":   {split, "configmaps", apierrors.NewForbidden(resource, "app-penstock", errors.New("no role")), "", true},
		"Invalid":     {plain, "ingresses", apierrors.NewBadRequest("no such field"), "", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, tc.mode)
			r.begin(70, 30)
			failing := true
			r.kube.PrependReactor("update", tc.resource, func(ktesting.Action) (bool, runtime.Object, error) {
				return failing, nil, tc.failure
			})
			r.clock.AfterFunc(10*time.Minute, func() { failing = false })
			start := r.clock.Now()
			if err := r.router().SetRoutes(r.canary, 60, 40, false); err == nil || r.clock.Since(start) > time.Minute {
				t.Errorf("a raise: %v after %s, want the error at once", err, r.clock.Since(start))
			}
			err := r.router().SetRoutes(r.canary, 100, 0, false)
			if tc.lasts {
				if !errors.Is(err, tc.failure) {
					t.Errorf("a rollback: %v, want %v: repeating it does not help", err, tc.failure)
				}
				return
			}
			if err != nil || failing {
				t.Fatalf("a rollback while the API fails: %v after %s, want it done once the API works", err, r.clock.Since(start))
			}
			r.wantRoutes(100, 0)
			told := 0
			for _, e := range r.warnings() {
				if e.Reason == tc.event && strings.Contains(e.Message, tc.failure.Error()) {
					told++
				}
			}
			if told < 1 || told > 2 {
				t.Errorf("%d events say why the rollback waits, want one in ten minutes", told)
			}
		})
	}
}

// TestAFailedPromotionInsists: Flagger sends an alert before each SetRoutes here too, and all users are at a primary that is not ready.
func TestAFailedPromotionInsists(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		mode     func(*flaggerv1.Canary)
		resource string
		event    string
	}{
		"Shared": {plain, "ingresses", "SkipperDraining"},
		"Split":  {split, "configmaps", "DNSDraining"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, tc.mode)
			r.begin(50, 50)
			r.phase(flaggerv1.CanaryPhasePromoting)
			failing := true
			r.kube.PrependReactor("update", tc.resource, func(ktesting.Action) (bool, runtime.Object, error) {
				return failing, nil, apierrors.NewInternalError(errors.New("etcd has no leader"))
			})
			r.clock.AfterFunc(10*time.Minute, func() { failing = false })
			if err := r.router().SetRoutes(r.canary, 0, 100, false); err != nil || failing {
				t.Fatalf("SetRoutes(0, 100) while the API fails: %v, want it done once the API works", err)
			}
			if !slices.Contains(r.events(), tc.event) {
				t.Errorf("events %q, want %s", r.events(), tc.event)
			}
			r.phase(flaggerv1.CanaryPhaseFailed)
			r.ticks(20)
			r.wantRoutes(0, 100)
		})
	}
}

// TestAFailedPromotionHoweverWrongTheConfiguration: what would refuse a step must not keep users at a primary that is not ready.
func TestAFailedPromotionHoweverWrongTheConfiguration(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*rig){
		"Exposure":     func(r *rig) { r.canary.Annotations[router.ExposureAnnotation] = "a fifth" },
		"NoIngressRef": func(r *rig) { r.canary.Spec.IngressRef = nil },
		"Analysis":     func(r *rig) { r.canary.Spec.Analysis.MirrorWeight = 900 },
		"Weights":      func(r *rig) { r.edit("web-canary", annotated(weightsKey, "nonsense")) },
		"ConfigMap": func(r *rig) {
			cm := r.configMap()
			cm.Data[state.DesiredKey] = "mode: shared"
			if _, err := r.kube.CoreV1().ConfigMaps(namespace).Update(r.t.Context(), cm, metav1.UpdateOptions{}); err != nil {
				r.t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, exposed("20"))
			r.begin(50, 50)
			r.phase(flaggerv1.CanaryPhasePromoting)
			spoil(r)
			if err := r.router().SetRoutes(r.canary, 0, 100, false); err != nil {
				t.Errorf("SetRoutes(0, 100): %v", err)
			}
			r.canary.Status.CanaryWeight = 100
			r.wantRoutes(0, 100)
		})
	}
}

// TestADeletionEndsARollbackThatInsists: what Finalize has removed is not made again.
func TestADeletionEndsARollbackThatInsists(t *testing.T) {
	t.Parallel()
	for name, mode := range map[string]func(*flaggerv1.Canary){"Shared": plain, "Split": split} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, mode)
			r.begin(70, 30)
			failing, process := true, r.router()
			for _, resource := range []string{"ingresses", "configmaps"} {
				r.kube.PrependReactor("update", resource, func(ktesting.Action) (bool, runtime.Object, error) {
					return failing, nil, apierrors.NewInternalError(errors.New("etcd has no leader"))
				})
			}
			r.clock.AfterFunc(time.Minute, func() {
				failing = false
				for range 20 {
					if process.Finalize(r.canary) == nil {
						return
					}
					r.clock.Advance(30 * time.Second)
				}
			})
			if err := process.SetRoutes(r.canary, 100, 0, false); err == nil || !strings.Contains(err.Error(), "is being deleted") {
				t.Errorf("the rollback: %v, want an error that says that the Canary is being deleted", err)
			}
			if names := r.ingressNames(); len(names) != 2 || r.configMap() != nil {
				t.Errorf("ingresses %q and the ConfigMap %v are left", names, r.configMap())
			}
		})
	}
}
