package flaggersim

import (
	"context"
	"fmt"
	"slices"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"

	"github.com/penstock-dev/penstock/router"
)

// tick is one call of advanceCanary: canary is the object as it was read at its start.
type tick struct {
	*Driver
	canary *flaggerv1.Canary
	router router.Interface
}

// advance repeats scheduler.go:156-476.
func (t *tick) advance(ctx context.Context) error {
	phase := t.canary.Status.Phase
	initializing := phase == "" || phase == flaggerv1.CanaryPhaseInitializing
	if initializing { // :250, after the apex Service points at primary
		if err := call(ctx, t.Hooks.ScaleToZero); err != nil {
			return err
		}
	}
	if err := t.router.Reconcile(t.canary); err != nil { // :268
		return fmt.Errorf("reconcile: %w", err)
	}
	if initializing { // :274, setPhaseInitialized
		if err := t.syncStatus(flaggerv1.CanaryStatus{Phase: flaggerv1.CanaryPhaseInitialized}); err != nil {
			return err
		}
		t.canary.Status = *t.Canary.Status.DeepCopy()
		t.event(false, "initialization done")
	}
	if !t.shouldAdvance() { // :285
		return nil
	}
	if !t.canary.SkipAnalysis() && told(t.Hooks.PrimaryFailed) { // :295
		if p := t.canary.Status.Phase; p == flaggerv1.CanaryPhasePromoting || p == flaggerv1.CanaryPhaseFinalising {
			return t.failPromotion()
		}
		return t.rollback(ctx)
	}
	primary, canary, mirrored, err := t.router.GetRoutes(t.canary) // :314
	if err != nil {
		return fmt.Errorf("get routes: %w", err)
	}
	t.Weight = canary // :320
	if done, err := t.begin(ctx); done || err != nil {
		return err
	}
	if t.revisionChanged() { // :328
		t.event(false, "new revision detected, restarting analysis")
		if err := t.setRoutes(total, 0, false); err != nil {
			return err
		}
		return t.syncStatus(flaggerv1.CanaryStatus{Phase: flaggerv1.CanaryPhaseProgressing})
	}
	if told(t.Hooks.CanaryFailed) { // :354
		return t.rollback(ctx)
	}
	if t.canary.SkipAnalysis() { // :364
		return t.skipAnalysis(ctx)
	}
	status := t.canary.Status
	working := []flaggerv1.CanaryPhase{flaggerv1.CanaryPhaseProgressing, flaggerv1.CanaryPhaseWaiting, flaggerv1.CanaryPhaseWaitingPromotion}
	if slices.Contains(working, status.Phase) && told(t.Hooks.Rollback) { // :372
		t.alert("rolling back: manual webhook invoked")
		return t.rollback(ctx)
	}
	switch status.Phase {
	case flaggerv1.CanaryPhasePromoting: // :380
		return t.promotionStep(primary, canary)
	case flaggerv1.CanaryPhaseFinalising: // :391
		if err := call(ctx, t.Hooks.ScaleToZero); err != nil {
			return err
		}
		t.alert("promotion finished")
		return t.setPhase(flaggerv1.CanaryPhaseSucceeded)
	default:
	}
	if status.FailedChecks >= t.canary.GetAnalysisThreshold() { // :428
		return t.rollback(ctx)
	}
	if ok, err := t.check(ctx, canary, mirrored); !ok || err != nil {
		return err
	}
	switch t.canary.DeploymentStrategy() { // :476
	case flaggerv1.DeploymentStrategyABTesting:
		return t.abTest(ctx)
	case flaggerv1.DeploymentStrategyBlueGreen:
		return t.blueGreen(ctx, mirrored)
	}
	if t.nextStep(canary) <= 0 { // :489
		return nil
	}
	if status.Phase != flaggerv1.CanaryPhaseWaitingPromotion && !mirrored && !agreed(t.Hooks.ConfirmIncrease) {
		return nil
	}
	return t.step(ctx, primary, canary, mirrored)
}

func (t *tick) setRoutes(primary, canary int, mirrored bool) error {
	if err := t.router.SetRoutes(t.canary, primary, canary, mirrored); err != nil {
		return fmt.Errorf("set routes %d/%d: %w", primary, canary, err)
	}
	t.Weight = canary
	return nil
}

// shouldAdvance is :815.
func (t *tick) shouldAdvance() bool {
	switch t.canary.Status.Phase {
	case flaggerv1.CanaryPhaseProgressing, flaggerv1.CanaryPhaseWaiting, flaggerv1.CanaryPhaseWaitingPromotion,
		flaggerv1.CanaryPhasePromoting, flaggerv1.CanaryPhaseFinalising:
		return true
	case flaggerv1.CanaryPhaseFailed: // the revision that failed is taken note of, and not tried again
		if t.canary.Status.LastAppliedSpec == t.target {
			return false
		}
	default:
	}
	return t.canary.Status.LastAppliedSpec != t.target
}

// begin is checkCanaryStatus, :858. It reports that the tick is over.
func (t *tick) begin(ctx context.Context) (over bool, err error) {
	switch t.canary.Status.Phase {
	case flaggerv1.CanaryPhaseProgressing, flaggerv1.CanaryPhaseWaitingPromotion, flaggerv1.CanaryPhasePromoting, flaggerv1.CanaryPhaseFinalising:
		return false, nil
	default:
	}
	if !agreed(t.Hooks.ConfirmRollout) {
		if t.canary.Status.Phase != flaggerv1.CanaryPhaseWaiting {
			t.alert("waiting for approval")
			return true, t.setPhase(flaggerv1.CanaryPhaseWaiting)
		}
		return true, nil
	}
	t.alert("new revision detected, progressing")
	if err := call(ctx, t.Hooks.ScaleFromZero); err != nil {
		return true, err
	}
	return true, t.syncStatus(flaggerv1.CanaryStatus{Phase: flaggerv1.CanaryPhaseProgressing})
}

// revisionChanged is :903.
func (t *tick) revisionChanged() bool {
	phase := t.canary.Status.Phase
	return (phase == flaggerv1.CanaryPhaseProgressing || phase == flaggerv1.CanaryPhaseWaitingPromotion) &&
		t.canary.Status.LastAppliedSpec != t.target
}

// check is :446-468. It reports whether the analysis may go on.
func (t *tick) check(ctx context.Context, canary int, mirrored bool) (bool, error) {
	status := t.canary.Status
	ok := true
	if canary == 0 && status.Iterations == 0 && !(t.canary.GetAnalysis().Mirror && mirrored) { //nolint:staticcheck // as Flagger has it
		t.PreRollouts++
		ok = agreed(t.Hooks.PreRollout)
	} else if t.Hooks.Healthy != nil {
		ok = t.Hooks.Healthy(ctx)
	}
	if ok {
		return true, nil
	}
	return false, t.save(func(s *flaggerv1.CanaryStatus) { s.FailedChecks = status.FailedChecks + 1 })
}

// promotionStep is runPromotionTrafficShift, :504.
func (t *tick) promotionStep(primary, canary int) error {
	step := t.canary.GetAnalysis().StepWeightPromotion
	if step == 0 {
		if err := t.setRoutes(total, 0, false); err != nil {
			return err
		}
		return t.setPhase(flaggerv1.CanaryPhaseFinalising)
	}
	if canary <= 0 {
		return nil
	}
	primary, canary = min(primary+step, total), max(canary-step, 0)
	if err := t.setRoutes(primary, canary, false); err != nil {
		return err
	}
	if primary == total {
		return t.setPhase(flaggerv1.CanaryPhaseFinalising)
	}
	return t.save(func(s *flaggerv1.CanaryStatus) { s.CanaryWeight = canary })
}

// step is runCanary, :566.
func (t *tick) step(ctx context.Context, primary, canary int, mirrored bool) error {
	if canary >= t.maxWeight() {
		return t.promote(ctx)
	}
	next := t.nextStep(canary)
	switch {
	case t.canary.GetAnalysis().Mirror && canary == 0 && !mirrored: // :577
		primary, canary, mirrored = total, 0, true
	case t.canary.GetAnalysis().Mirror && canary == 0:
		primary, canary, mirrored = total-next, next, false
	default:
		primary, canary = max(primary-next, 0), min(canary+next, total)
	}
	if err := t.setRoutes(primary, canary, mirrored); err != nil { // :601
		return err
	}
	return t.save(func(s *flaggerv1.CanaryStatus) { s.CanaryWeight = canary })
}

// promote is :615, and the same lines of the other strategies.
func (t *tick) promote(ctx context.Context) error {
	if !agreed(t.Hooks.ConfirmPromotion) {
		if t.canary.Status.Phase != flaggerv1.CanaryPhaseWaitingPromotion {
			t.alert("waiting for promotion approval")
			return t.setPhase(flaggerv1.CanaryPhaseWaitingPromotion)
		}
		return t.save(func(s *flaggerv1.CanaryStatus) { s.Iterations = t.canary.GetAnalysis().Iterations - 1 })
	}
	if err := call(ctx, t.Hooks.Promote); err != nil {
		return err
	}
	return t.setPhase(flaggerv1.CanaryPhasePromoting)
}

// abTest is runAB, :638.
func (t *tick) abTest(ctx context.Context) error {
	if t.canary.GetAnalysis().Iterations > t.canary.Status.Iterations {
		if err := t.setRoutes(0, total, false); err != nil {
			return err
		}
		return t.iterate()
	}
	return t.promote(ctx)
}

// blueGreen is runBlueGreen, :684.
func (t *tick) blueGreen(ctx context.Context, mirrored bool) error {
	analysis, iterations := t.canary.GetAnalysis(), t.canary.Status.Iterations
	if analysis.Iterations > iterations {
		if analysis.Mirror && !mirrored {
			if err := t.setRoutes(total, 0, true); err != nil {
				t.event(true, "%v", err) // :692: said, and gone on
			}
		}
		return t.iterate()
	}
	if analysis.Iterations == iterations {
		if !agreed(t.Hooks.ConfirmPromotion) {
			return t.promote(ctx) // the gate comes before the switch, :709
		}
		if err := t.setRoutes(0, total, false); err != nil {
			return err
		}
		return t.iterate()
	}
	return t.promote(ctx)
}

func (t *tick) iterate() error {
	return t.save(func(s *flaggerv1.CanaryStatus) { s.Iterations = t.canary.Status.Iterations + 1 })
}

// skipAnalysis is :777.
func (t *tick) skipAnalysis(ctx context.Context) error {
	if err := t.setRoutes(total, 0, false); err != nil { // :795
		return err
	}
	if err := call(ctx, t.Hooks.Promote); err != nil {
		return err
	}
	if err := call(ctx, t.Hooks.ScaleToZero); err != nil {
		return err
	}
	t.alert("analysis was skipped, promotion finished")
	return t.setPhase(flaggerv1.CanaryPhaseSucceeded)
}

// rollback is :947: the alert goes out on every attempt.
func (t *tick) rollback(ctx context.Context) error {
	if t.canary.Status.FailedChecks >= t.canary.GetAnalysisThreshold() {
		t.alert("failed checks threshold reached")
	}
	if err := t.setRoutes(total, 0, false); err != nil { // :960
		return err
	}
	t.event(true, "canary failed, scaling down")
	if err := call(ctx, t.Hooks.ScaleToZero); err != nil {
		return err
	}
	return t.syncStatus(flaggerv1.CanaryStatus{Phase: flaggerv1.CanaryPhaseFailed})
}

// failPromotion is handleFailedPromotion, :1004.
func (t *tick) failPromotion() error {
	t.alert("promotion failed, primary not ready")
	if err := t.setRoutes(0, total, false); err != nil { // :1014
		return err
	}
	return t.syncStatus(flaggerv1.CanaryStatus{Phase: flaggerv1.CanaryPhaseFailed, CanaryWeight: total})
}

// maxWeight is :38.
func (t *tick) maxWeight() int {
	analysis := t.canary.GetAnalysis()
	switch n := len(analysis.StepWeights); {
	case n > 0:
		return min(total, analysis.StepWeights[n-1])
	case analysis.MaxWeight > 0:
		return analysis.MaxWeight
	default:
		return total
	}
}

// nextStep is :58.
func (t *tick) nextStep(canary int) int {
	analysis := t.canary.GetAnalysis()
	steps := analysis.StepWeights
	if analysis.StepWeight > 0 || len(steps) == 0 {
		return analysis.StepWeight
	}
	left := total - canary
	if left == 0 {
		return 1
	}
	if canary == 0 {
		return min(left, steps[0])
	}
	for i := range len(steps) - 1 {
		if steps[i] == canary {
			return min(left, steps[i+1]-canary)
		}
	}
	return left
}
