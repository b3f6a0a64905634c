package router

import (
	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
)

// recoverRoutes returns the routes that a Canary should have when its canary Ingress is gone or cannot be read. The source is
// the Canary's status, which Flagger writes after each SetRoutes, so a process that died between the two leaves it one step
// behind. It does not know about mirroring, which is therefore started again by Flagger, and it forgets the weight while the
// Canary waits for promotion, where the weight that ended the analysis is taken instead.
// https://github.com/fluxcd/flagger/blob/v1.44.0/pkg/canary/status.go (setStatusPhase)
func recoverRoutes(canary *flaggerv1.Canary) routes {
	analysis := canary.GetAnalysis()
	if analysis == nil || canary.Spec.SkipAnalysis {
		return toPrimary
	}
	status := canary.Status
	switch status.Phase {
	case flaggerv1.CanaryPhaseProgressing, flaggerv1.CanaryPhaseWaiting:
		switch canary.DeploymentStrategy() {
		case flaggerv1.DeploymentStrategyABTesting:
			if status.Iterations > 0 {
				return toCanary(100)
			}
			return toPrimary
		case flaggerv1.DeploymentStrategyBlueGreen:
			if status.Iterations > analysis.Iterations {
				return toCanary(100)
			}
			return toPrimary
		default:
			return toCanary(status.CanaryWeight)
		}
	case flaggerv1.CanaryPhaseWaitingPromotion, flaggerv1.CanaryPhasePromoting:
		if status.CanaryWeight > 0 {
			return toCanary(status.CanaryWeight)
		}
		if status.Phase == flaggerv1.CanaryPhaseWaitingPromotion && canary.DeploymentStrategy() == flaggerv1.DeploymentStrategyBlueGreen {
			return toPrimary // the gate comes before all traffic goes to the canary
		}
		return toCanary(lastWeight(canary, analysis))
	case flaggerv1.CanaryPhaseFailed:
		return toCanary(status.CanaryWeight) // 100 after a failed promotion, else 0
	default:
		return toPrimary
	}
}

// lastWeight is the canary weight with which an analysis ends: the first step that is not below [maxWeight].
func lastWeight(canary *flaggerv1.Canary, analysis *flaggerv1.CanaryAnalysis) int {
	if canary.DeploymentStrategy() != flaggerv1.DeploymentStrategyCanary {
		return 100
	}
	last := maxWeight(analysis)
	if step := analysis.StepWeight; step > 0 {
		return (last + step - 1) / step * step
	}
	return last
}

// maxWeight is the canary weight at which the steps of an analysis end. The last of stepWeights counts, also beside a stepWeight, which gives the steps.
// https://github.com/fluxcd/flagger/blob/v1.44.0/pkg/controller/scheduler.go (maxWeight, nextStepWeight)
func maxWeight(analysis *flaggerv1.CanaryAnalysis) int {
	switch n := len(analysis.StepWeights); {
	case n > 0:
		return min(100, analysis.StepWeights[n-1])
	case analysis.MaxWeight > 0:
		return analysis.MaxWeight
	default:
		return 100
	}
}

// toCanary returns the routes with weight per cent to the canary.
func toCanary(weight int) routes {
	weight = min(max(weight, 0), 100)
	return routes{primary: 100 - weight, canary: weight}
}
