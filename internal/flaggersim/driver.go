package flaggersim

import (
	"context"
	"fmt"
	"time"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"

	"github.com/penstock-dev/penstock/router"
)

// finalizeRetry is how often Flagger tries again to finalize a Canary: its informers' resync.
const finalizeRetry = 30 * time.Second

// total is the sum of route weights (scheduler.go:53).
const total = 100

// Hooks are what surrounds the router in a real Flagger. A nil function does nothing, and says yes where it is asked.
type Hooks struct {
	// ScaleFromZero starts the canary's pods, ScaleToZero ends them.
	ScaleFromZero, ScaleToZero func(ctx context.Context) error
	// Promote copies the canary's template to primary.
	Promote func(ctx context.Context) error
	// RevertTarget gives the target its pods, and the apex Service its target, back, before the router is finalized.
	RevertTarget func(ctx context.Context) error
	// Healthy is the verdict of the metric checks and of the rollout webhooks.
	Healthy func(ctx context.Context) bool
	// PrimaryFailed and CanaryFailed tell that a workload has exceeded its progress deadline.
	PrimaryFailed, CanaryFailed func() bool
	// PreRollout is the pre-rollout webhook; each call is counted.
	PreRollout func() bool
	// ConfirmRollout, ConfirmIncrease and ConfirmPromotion are gates; Rollback is the manual rollback.
	ConfirmRollout, ConfirmIncrease, ConfirmPromotion func() bool
	Rollback                                          func() bool
	// SaveStatus is called before the Canary's status is stored. Its error loses the write.
	SaveStatus func(flaggerv1.CanaryStatus) error
	// Died tells that Flagger's process died in the tick. The first tick of the next one comes an interval later: it has to become the leader.
	Died func() bool
}

// Event is what Flagger would have recorded on the Canary.
type Event struct {
	At      time.Time
	Warning bool
	Message string
}

// Driver plays Flagger for one Canary. It is not for use by several goroutines, as Flagger does not do that either.
type Driver struct {
	// NewRouter is called on every tick, as Flagger's factory is.
	NewRouter func() router.Interface
	Hooks     Hooks
	Clock     clock.Clock
	// Canary is the object as it is stored: Spec is the test's to edit, Status is Flagger's.
	Canary *flaggerv1.Canary

	// Events, Alerts and PreRollouts are what users were told and asked.
	Events      []Event
	Alerts      []Event
	PreRollouts int
	// Weight is what Flagger's gauge says, the canary's route weight.
	Weight int

	target string // the revision of the target; Status.LastAppliedSpec holds the one that was analysed last
}

// New returns a Driver for a Canary whose target is at a first revision. A nil clock is the real one.
func New(canary *flaggerv1.Canary, newRouter func() router.Interface, hooks Hooks, c clock.Clock) *Driver {
	if c == nil {
		c = clock.RealClock{}
	}
	return &Driver{NewRouter: newRouter, Hooks: hooks, Clock: c, Canary: canary, target: "1"}
}

// Release changes the target, as a user does who deploys a new version.
func (d *Driver) Release(revision string) { d.target = revision }

// Phase returns the phase that is stored.
func (d *Driver) Phase() flaggerv1.CanaryPhase { return d.Canary.Status.Phase }

// Tick is one run of Flagger's advanceCanary. It returns the error that ended the tick, for observers: Flagger records it and ticks
// again after the interval.
func (d *Driver) Tick(ctx context.Context) error {
	canary := d.Canary.DeepCopy()
	if canary.Spec.Suspend { // :168
		return nil
	}
	t := &tick{Driver: d, canary: canary, router: d.NewRouter()}
	err := t.advance(ctx)
	if err != nil {
		d.event(true, "%v", err)
	}
	return err
}

// Run ticks at the Canary's interval until done says so or the limit of ticks is reached. It returns false in the latter case. As Flagger's
// ticker does, it makes up at once for one tick that was due during another, and then goes on at the times that it began with (job.go).
func (d *Driver) Run(ctx context.Context, ticks int, done func() bool) bool {
	due := d.Clock.Now()
	for range ticks {
		if done() {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		_ = d.Tick(ctx) // an error ends a tick, not the Canary
		interval := d.Canary.GetAnalysisInterval()
		if told(d.Hooks.Died) {
			due = d.Clock.Now()
		}
		due = due.Add(interval)
		left := due.Sub(d.Clock.Now())
		if missed := -left / interval; missed > 0 {
			due = due.Add(missed * interval)
		}
		if left <= 0 {
			continue
		}
		select {
		case <-ctx.Done():
			return false
		case <-d.Clock.After(left):
		}
	}
	return done()
}

// In returns a condition for Run: the Canary is in one of the phases.
func (d *Driver) In(phases ...flaggerv1.CanaryPhase) func() bool {
	return func() bool {
		for _, phase := range phases {
			if d.Phase() == phase {
				return true
			}
		}
		return false
	}
}

// Delete plays the deletion of the Canary by a user: with revertOnDeletion Flagger's finalizer runs until the router agrees, while ticks go
// on; without it the object is just gone (finalizer.go). It reports whether the Canary is gone after that many tries.
func (d *Driver) Delete(ctx context.Context, tries int) bool {
	if !d.Canary.Spec.RevertOnDeletion {
		return true
	}
	now := metav1.NewTime(d.Clock.Now())
	d.Canary.DeletionTimestamp = &now
	for range tries {
		if err := d.finalize(ctx); err == nil {
			return true
		}
		_ = d.Tick(ctx) // :268, ticks go on while a Canary is Terminating
		select {
		case <-ctx.Done():
			return false
		case <-d.Clock.After(finalizeRetry):
		}
	}
	return false
}

// finalize is one attempt of finalizer.go.
func (d *Driver) finalize(ctx context.Context) error {
	t := &tick{Driver: d, canary: d.Canary.DeepCopy(), router: d.NewRouter()}
	if d.Phase() != flaggerv1.CanaryPhaseTerminating {
		if err := t.setPhase(flaggerv1.CanaryPhaseTerminating); err != nil {
			return err
		}
	}
	if err := call(ctx, d.Hooks.RevertTarget); err != nil {
		return err
	}
	if err := t.router.Finalize(d.Canary.DeepCopy()); err != nil {
		d.event(true, "%v", err)
		return fmt.Errorf("finalize: %w", err)
	}
	return nil
}

func (d *Driver) event(warning bool, format string, args ...any) {
	d.Events = append(d.Events, Event{At: d.Clock.Now(), Warning: warning, Message: fmt.Sprintf(format, args...)})
}

func (d *Driver) alert(message string) {
	d.Alerts = append(d.Alerts, Event{At: d.Clock.Now(), Message: message})
}

// save stores a status, unless the hook loses the write.
func (d *Driver) save(change func(*flaggerv1.CanaryStatus)) error {
	status := *d.Canary.Status.DeepCopy()
	change(&status)
	if d.Hooks.SaveStatus != nil {
		if err := d.Hooks.SaveStatus(status); err != nil {
			return fmt.Errorf("save status: %w", err)
		}
	}
	d.Canary.Status = status
	return nil
}

// setPhase is pkg/canary/status.go, setStatusPhase.
func (d *Driver) setPhase(phase flaggerv1.CanaryPhase) error {
	return d.save(func(s *flaggerv1.CanaryStatus) {
		s.Phase = phase
		switch phase {
		case flaggerv1.CanaryPhaseProgressing, flaggerv1.CanaryPhaseWaiting, flaggerv1.CanaryPhasePromoting:
		case flaggerv1.CanaryPhaseWaitingPromotion:
			s.CanaryWeight, s.Iterations = 0, d.Canary.GetAnalysis().Iterations-1
		default:
			s.CanaryWeight, s.Iterations = 0, 0
		}
	})
}

// syncStatus is pkg/canary/status.go, syncCanaryStatus: it also notes the revision that is being worked on.
func (d *Driver) syncStatus(status flaggerv1.CanaryStatus) error {
	revision := d.target
	return d.save(func(s *flaggerv1.CanaryStatus) {
		s.Phase, s.CanaryWeight, s.FailedChecks, s.Iterations = status.Phase, status.CanaryWeight, status.FailedChecks, status.Iterations
		s.LastAppliedSpec = revision
	})
}

func call(ctx context.Context, hook func(context.Context) error) error {
	if hook == nil {
		return nil
	}
	return hook(ctx)
}

func agreed(hook func() bool) bool { return hook == nil || hook() }

func told(hook func() bool) bool { return hook != nil && hook() }
