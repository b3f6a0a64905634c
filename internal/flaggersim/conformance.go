package flaggersim

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/penstock-dev/penstock/internal/vclock"
	"github.com/penstock-dev/penstock/router"
)

// Subject is a router under test, in a world of its own for each case.
type Subject struct {
	// NewWorld returns a fresh cluster with the objects that the Canary needs.
	NewWorld func(t *testing.T, canary *flaggerv1.Canary) *World
	// Canary returns the Canary as a user would write it.
	Canary func() *flaggerv1.Canary
	// DNS says that the canary is split in DNS, which can neither mirror nor match.
	DNS bool
}

// World is one cluster: objects that last, and what users meet.
type World struct {
	Clock *vclock.Clock
	Kube  *fake.Clientset
	// Start returns the router of a process that starts now and remembers nothing.
	Start func(p *Process) router.Interface
	// MayReach tells whether a user, whose resolver obeys the TTL and whose proxy polls as configured, may be sent to the canary now.
	MayReach func() bool
	// Share is the share of users that the canary gets once everything has arrived.
	Share func() float64
	// Written counts the writes of all processes to what is not in Kube, such as DNS.
	Written func() int
}

// rollout is a whole canary, from the first tick to its end, in a world with processes that may die.
type rollout struct {
	t       *testing.T
	world   *World
	driver  *Driver
	process *Process
	router  router.Interface
	down    bool // the canary has no pods
	shares  []float64
	stop    func()
}

func begin(t *testing.T, s Subject, process *Process, change func(*flaggerv1.Canary)) *rollout {
	t.Helper()
	canary := s.Canary()
	if change != nil {
		change(canary)
	}
	r := &rollout{t: t, world: s.NewWorld(t, canary), process: process, down: true}
	r.router = r.world.Start(process)
	r.driver = New(canary, func() router.Interface { return r.alive() }, Hooks{
		ScaleFromZero: func(context.Context) error { r.down = false; return nil },
		ScaleToZero:   func(context.Context) error { r.down = true; r.look(); return nil },
		SaveStatus: func(flaggerv1.CanaryStatus) error {
			return r.process.Write(func() error { return nil })
		},
	}, r.world.Clock)
	r.stop = r.world.Clock.Every(time.Second, r.look)
	t.Cleanup(r.stop)
	return r
}

// alive returns the router, of a new process if the last one was killed.
func (r *rollout) alive() router.Interface {
	if r.process.Dead() {
		r.process = NewProcess(0, NoFault)
		r.router = r.world.Start(r.process)
	}
	return r.router
}

// look checks what must hold at every moment, and notes the share.
func (r *rollout) look() {
	if r.down && r.world.MayReach() {
		r.t.Errorf("%v: the canary has no pods, and users may still be sent to it; phase %s", r.world.Clock.Now().Format(time.TimeOnly), r.driver.Phase())
		r.stop()
	}
	share := r.world.Share()
	if n := len(r.shares); n == 0 || r.shares[n-1] != share {
		r.shares = append(r.shares, share)
	}
}

// release deploys a revision and runs until the canary ends.
func (r *rollout) release(revision string, ticks int) flaggerv1.CanaryPhase {
	r.t.Helper()
	r.driver.Run(r.t.Context(), 10, r.driver.In(flaggerv1.CanaryPhaseInitialized))
	r.driver.Release(revision)
	begun := false
	r.driver.Run(r.t.Context(), ticks, func() bool {
		ended := r.driver.In(flaggerv1.CanaryPhaseSucceeded, flaggerv1.CanaryPhaseFailed)()
		begun = begun || !ended && r.driver.Phase() != flaggerv1.CanaryPhaseInitialized
		return begun && ended
	})
	return r.driver.Phase()
}

func (r *rollout) settle() {
	// Ticks go on after the end: a split in DNS is taken back only then.
	for range 60 {
		_ = r.driver.Tick(r.t.Context())
		r.world.Clock.Sleep(r.driver.Canary.GetAnalysisInterval())
	}
}

// ticks is more than any rollout of the suite needs.
const ticks = 400

// Run runs the suite. Each property is a subtest.
func Run(t *testing.T, s Subject) { //nolint:thelper // it is the suite, not a helper
	t.Run("ARolloutReachesItsEndThroughTheSharesThatWereSet", func(t *testing.T) {
		t.Parallel()
		r := begin(t, s, NewProcess(0, NoFault), nil)
		if phase := r.release("2", ticks); phase != flaggerv1.CanaryPhaseSucceeded {
			t.Fatalf("phase %s, want Succeeded; the last events: %+v", phase, last(r.driver.Events))
		}
		r.settle()
		if want := []float64{0, 0.2, 0.4, 0}; !reflect.DeepEqual(r.shares, want) {
			t.Errorf("shares %v, want %v: no jump, and back to nothing", r.shares, want)
		}
	})
	t.Run("StepwisePromotion", func(t *testing.T) {
		t.Parallel()
		r := begin(t, s, NewProcess(0, NoFault), stepwise)
		if phase := r.release("2", ticks); phase != flaggerv1.CanaryPhaseSucceeded {
			t.Fatalf("phase %s, want Succeeded; the last events: %+v", phase, last(r.driver.Events))
		}
		if want := []float64{0, 0.2, 0.4, 0.1, 0}; !reflect.DeepEqual(r.shares, want) {
			t.Errorf("shares %v, want %v", r.shares, want)
		}
	})
	t.Run("RollbackSendsOneAlert", func(t *testing.T) {
		t.Parallel()
		r := begin(t, s, NewProcess(0, NoFault), nil)
		r.driver.Hooks.Healthy = func(context.Context) bool { return r.driver.Weight < 40 }
		if phase := r.release("2", ticks); phase != flaggerv1.CanaryPhaseFailed {
			t.Fatalf("phase %s, want Failed; the last events: %+v", phase, last(r.driver.Events))
		}
		alerts := 0
		for _, a := range r.driver.Alerts {
			if strings.Contains(a.Message, "threshold") {
				alerts++
			}
		}
		if alerts != 1 {
			t.Errorf("%d alerts of one rollback, want 1: %+v", alerts, r.driver.Alerts)
		}
		if r.driver.PreRollouts > 2 {
			t.Errorf("the pre-rollout webhook was called %d times", r.driver.PreRollouts)
		}
	})
	t.Run("BlueGreen", func(t *testing.T) {
		t.Parallel()
		r := begin(t, s, NewProcess(0, NoFault), func(c *flaggerv1.Canary) {
			c.Spec.Analysis.StepWeight, c.Spec.Analysis.MaxWeight, c.Spec.Analysis.Iterations = 0, 0, 2
		})
		if phase := r.release("2", ticks); phase != flaggerv1.CanaryPhaseSucceeded {
			t.Fatalf("phase %s, want Succeeded; the last events: %+v", phase, last(r.driver.Events))
		}
		if want := []float64{0, 1, 0}; !reflect.DeepEqual(r.shares, want) {
			t.Errorf("shares %v, want %v", r.shares, want)
		}
	})
	t.Run("SkipAnalysis", func(t *testing.T) {
		t.Parallel()
		r := begin(t, s, NewProcess(0, NoFault), func(c *flaggerv1.Canary) { c.Spec.SkipAnalysis = true })
		if phase := r.release("2", ticks); phase != flaggerv1.CanaryPhaseSucceeded {
			t.Fatalf("phase %s, want Succeeded", phase)
		}
		if want := []float64{0}; !reflect.DeepEqual(r.shares, want) {
			t.Errorf("shares %v, want none for the canary", r.shares)
		}
	})
	t.Run("NewRevisionInMidCanary", func(t *testing.T) {
		t.Parallel()
		r := begin(t, s, NewProcess(0, NoFault), nil)
		r.driver.Hooks.Healthy = func(context.Context) bool {
			if r.driver.Weight == 20 {
				r.driver.Release("3")
			}
			return true
		}
		if phase := r.release("2", ticks); phase != flaggerv1.CanaryPhaseSucceeded {
			t.Fatalf("phase %s, want Succeeded; the last events: %+v", phase, last(r.driver.Events))
		}
		if n := len(r.shares); n < 5 || r.shares[n-1] != 0 {
			t.Errorf("shares %v, want the new revision to begin again from nothing", r.shares)
		}
	})
	t.Run("FailedPromotion", func(t *testing.T) {
		t.Parallel()
		r := begin(t, s, NewProcess(0, NoFault), nil)
		r.driver.Hooks.PrimaryFailed = func() bool { return r.driver.Phase() == flaggerv1.CanaryPhasePromoting }
		if phase := r.release("2", ticks); phase != flaggerv1.CanaryPhaseFailed {
			t.Fatalf("phase %s, want Failed; the last events: %+v", phase, last(r.driver.Events))
		}
		if got := r.driver.Canary.Status.CanaryWeight; got != 100 {
			t.Errorf("the status says canary weight %d, want 100", got)
		}
	})
	t.Run("SuspendedInMidCanary", func(t *testing.T) {
		t.Parallel()
		r := begin(t, s, NewProcess(0, NoFault), nil)
		r.driver.Run(t.Context(), 10, r.driver.In(flaggerv1.CanaryPhaseInitialized))
		r.driver.Release("2")
		r.driver.Run(t.Context(), ticks, func() bool { return r.driver.Canary.Status.CanaryWeight == 20 })
		r.driver.Canary.Spec.Suspend = true
		r.driver.Run(t.Context(), 100, func() bool { return false })
		if got := r.world.Share(); got != 0.2 {
			t.Errorf("a suspended canary has the share %v, want 0.2", got)
		}
		r.driver.Canary.Spec.Suspend = false
		if phase := r.release("2", ticks); phase != flaggerv1.CanaryPhaseSucceeded {
			t.Errorf("phase %s, want Succeeded", phase)
		}
	})
	t.Run("DeletedInMidCanary", func(t *testing.T) {
		t.Parallel()
		r := begin(t, s, NewProcess(0, NoFault), func(c *flaggerv1.Canary) { c.Spec.RevertOnDeletion = true })
		r.driver.Run(t.Context(), 10, r.driver.In(flaggerv1.CanaryPhaseInitialized))
		r.driver.Release("2")
		r.driver.Run(t.Context(), ticks, func() bool { return r.driver.Canary.Status.CanaryWeight == 40 })
		if !r.driver.Delete(t.Context(), 100) {
			t.Fatalf("the Canary hangs in deletion: %+v", last(r.driver.Events))
		}
		r.world.Clock.Sleep(time.Minute)
		if r.world.MayReach() {
			t.Error("a minute after deletion users may still be sent to the canary's Service")
		}
		if got := r.world.Share(); got != 0 {
			t.Errorf("after deletion the canary's Service has the share %v", got)
		}
		if err := r.alive().Finalize(r.driver.Canary); err != nil {
			t.Errorf("finalizing twice: %v", err)
		}
	})
	t.Run("IdleAndRepeatedCallsWriteNothing", func(t *testing.T) {
		t.Parallel()
		r := begin(t, s, NewProcess(0, NoFault), nil)
		r.driver.Run(t.Context(), 10, r.driver.In(flaggerv1.CanaryPhaseInitialized))
		r.settle()
		r.quiet("idle", func() { _ = r.driver.Tick(t.Context()) })
		r.driver.Release("2")
		r.driver.Run(t.Context(), ticks, func() bool { return r.driver.Canary.Status.CanaryWeight == 20 })
		r.quiet("a repeated Reconcile", func() { r.must(r.router.Reconcile(r.driver.Canary)) })
		r.quiet("a repeated SetRoutes", func() { r.must(r.router.SetRoutes(r.driver.Canary, 80, 20, false)) })
	})
	t.Run("WeightsThatMakeNoSense", func(t *testing.T) {
		t.Parallel()
		r := begin(t, s, NewProcess(0, NoFault), nil)
		r.driver.Run(t.Context(), 10, r.driver.In(flaggerv1.CanaryPhaseInitialized))
		r.quiet("refused weights", func() {
			for _, pair := range [][2]int{{50, 60}, {-10, 110}, {0, 0}, {100, 100}, {1 << 40, 0}} {
				if err := r.router.SetRoutes(r.driver.Canary, pair[0], pair[1], false); err == nil {
					t.Errorf("route weights %d/%d were accepted", pair[0], pair[1])
				}
			}
		})
	})
	t.Run("WhatFlaggerForgot", func(t *testing.T) {
		t.Parallel()
		for name, change := range map[string]func(*flaggerv1.Canary){
			"no ingressRef":      func(c *flaggerv1.Canary) { c.Spec.IngressRef = nil },
			"an empty name":      func(c *flaggerv1.Canary) { c.Spec.IngressRef.Name = "" },
			"no such Ingress":    func(c *flaggerv1.Canary) { c.Spec.IngressRef.Name = "absent" },
			"no rule for it":     func(c *flaggerv1.Canary) { c.Spec.Service.Name = "absent" },
			"no analysis at all": func(c *flaggerv1.Canary) { c.Spec.Analysis = nil },
		} {
			canary := s.Canary()
			change(canary)
			w := s.NewWorld(t, s.Canary())
			process := NewProcess(0, NoFault)
			err := w.Start(process).Reconcile(canary)
			if (err == nil) != (canary.Spec.Analysis == nil) {
				t.Errorf("%s: Reconcile returns %v", name, err)
			}
			if err != nil && process.Writes() != 0 {
				t.Errorf("%s: %d writes beside the error %v", name, process.Writes(), err)
			}
		}
	})
	t.Run("EachWriteMayFail", func(t *testing.T) {
		t.Parallel()
		for _, fault := range []Fault{KillBefore, KillAfter, Conflict, Throttle, ServerError, TimeoutAfter} {
			t.Run(fault.String(), func(t *testing.T) {
				t.Parallel()
				s.everyWrite(t, fault, nil)
			})
		}
	})
	t.Run("EachWriteOfAStepwisePromotionMayBeTheLast", func(t *testing.T) {
		t.Parallel()
		s.everyWrite(t, KillAfter, stepwise)
	})
	t.Run("TheAPIIsAwayForAWhile", func(t *testing.T) {
		t.Parallel()
		r := begin(t, s, NewProcess(0, NoFault), nil)
		r.driver.Run(t.Context(), 10, r.driver.In(flaggerv1.CanaryPhaseInitialized))
		r.driver.Release("2")
		r.driver.Run(t.Context(), ticks, func() bool { return r.driver.Canary.Status.CanaryWeight == 20 })
		r.process.SetDown(true)
		r.driver.Run(t.Context(), 30, func() bool { return false })
		if got := r.world.Share(); got != 0.2 {
			t.Errorf("while the API was away the share became %v", got)
		}
		r.process.SetDown(false)
		if phase := r.release("2", ticks); phase != flaggerv1.CanaryPhaseSucceeded {
			t.Errorf("phase %s, want Succeeded", phase)
		}
	})
}

func stepwise(c *flaggerv1.Canary) { c.Spec.Analysis.StepWeightPromotion = 30 }

// everyWrite runs whole rollouts, each with another write that meets the fault, until a rollout has no such write any more.
func (s Subject) everyWrite(t *testing.T, fault Fault, change func(*flaggerv1.Canary)) {
	t.Helper()
	for at := 1; ; at++ {
		first := NewProcess(at, fault)
		r := begin(t, s, first, change)
		phase := r.release("2", ticks)
		r.stop()
		if phase != flaggerv1.CanaryPhaseSucceeded {
			t.Fatalf("write %d %s: phase %s, want Succeeded; the last events: %+v", at, fault, phase, last(r.driver.Events))
		}
		for i, share := range r.shares {
			if share != 0 && i > 0 && share < r.shares[i-1] && change == nil {
				t.Errorf("write %d %s: shares %v fall in mid-canary", at, fault, r.shares)
			}
		}
		if t.Failed() {
			t.Fatalf("write %d %s", at, fault)
		}
		if first.Writes() < at {
			return
		}
	}
}

// quiet fails the test if something is written meanwhile.
func (r *rollout) quiet(what string, run func()) {
	r.t.Helper()
	writes, written := r.process.Writes(), r.world.Written()
	run()
	if got := r.process.Writes() - writes; got != 0 {
		r.t.Errorf("%s: %d writes", what, got)
	}
	if got := r.world.Written() - written; got != 0 {
		r.t.Errorf("%s: %d writes of DNS", what, got)
	}
}

func (r *rollout) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Error(err)
	}
}

func last(events []Event) string {
	var text []string
	for _, e := range events[max(len(events)-3, 0):] {
		text = append(text, fmt.Sprintf("%s %s", e.At.Format(time.TimeOnly), e.Message))
	}
	return strings.Join(text, "; ")
}
