package flaggersim

import (
	"context"
	"strings"
	"testing"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
)

// runTurns is about releases that do not go straight from their first step to the last.
func (s Subject) runTurns(t *testing.T) {
	t.Helper()
	for name, run := range map[string]func(*rollout){
		"RollbackSendsOneAlert":  rollbackSendsOneAlert,
		"NewRevisionInMidCanary": newRevision,
		"FailedPromotion":        failedPromotion,
		"SkipAnalysis":           skipAnalysis,
		"SkipAnalysisMidCanary":  skipAnalysisInMidCanary,
		"SuspendedInMidCanary":   suspended,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(begin(t, s, NewProcess(0, NoFault), nil))
		})
	}
}

func rollbackSendsOneAlert(r *rollout) {
	r.t.Helper()
	weighted.fail(r)
	alerts := 0
	for _, a := range r.driver.Alerts {
		if strings.Contains(a.Message, "threshold") {
			alerts++
		}
	}
	if alerts != 1 {
		r.t.Errorf("%d alerts of one rollback, want 1: %+v", alerts, r.driver.Alerts)
	}
	if r.driver.PreRollouts > 2 {
		r.t.Errorf("the pre-rollout webhook was called %d times", r.driver.PreRollouts)
	}
}

// newRevision begins again from nothing.
func newRevision(r *rollout) {
	r.t.Helper()
	r.driver.Hooks.Healthy = func(context.Context) bool {
		if r.driver.Weight == 20 {
			r.driver.Release("3")
		}
		return true
	}
	r.release(flaggerv1.CanaryPhaseSucceeded)
	r.saw(split(0, 0.2, 0.4, 0, 0.2, 0.4, 0))
}

// failedPromotion leaves everybody with the canary, the only healthy version, until the next release has repaired primary.
func failedPromotion(r *rollout) {
	r.t.Helper()
	r.driver.Hooks.PrimaryFailed = func() bool { return r.driver.Phase() == flaggerv1.CanaryPhasePromoting }
	r.release(flaggerv1.CanaryPhaseFailed)
	if got := r.driver.Canary.Status.CanaryWeight; got != 100 {
		r.t.Errorf("the status says canary weight %d, want 100", got)
	}
	r.saw(split(0, 0.2, 0.4, 1))

	r.driver.Hooks.PrimaryFailed = nil
	r.driver.Release("3")
	r.end(flaggerv1.CanaryPhaseSucceeded)
	r.saw(split(0, 0.2, 0.4, 1, 0))
}

func skipAnalysis(r *rollout) {
	r.t.Helper()
	r.driver.Canary.Spec.SkipAnalysis = true
	r.release(flaggerv1.CanaryPhaseSucceeded)
	r.settle()
	r.saw(split(0))
}

// skipAnalysisInMidCanary has Flagger scale down in the very tick in which it sets 100/0.
func skipAnalysisInMidCanary(r *rollout) {
	r.t.Helper()
	r.firstStep()
	r.driver.Canary.Spec.SkipAnalysis = true
	r.end(flaggerv1.CanaryPhaseSucceeded)
	r.settle()
	r.saw(split(0, 0.2, 0))
}

// suspended keeps the shares, for as long as there are no ticks and whatever is released meanwhile.
func suspended(r *rollout) {
	r.t.Helper()
	r.firstStep()
	r.driver.Canary.Spec.Suspend = true
	r.driver.Release("3")
	r.settle()
	r.saw(split(0, 0.2))
	r.driver.Canary.Spec.Suspend = false
	r.end(flaggerv1.CanaryPhaseSucceeded)
	r.saw(split(0, 0.2, 0, 0.2, 0.4, 0))
}
