// Package stats judges measured shares of traffic: how far a share is from what was intended, and how sure one can be of it.
package stats

import (
	"fmt"
	"math"
)

// Sigmas is how many standard errors a share may be off before it counts as wrong. By chance alone that happens once in about 150,000
// comparisons (two-sided tail of the normal distribution at 4.5), so that a test which compares a hundred shares is no coin toss.
const Sigmas = 4.5

// Sample is a number of independent trials and how many of them had an outcome.
type Sample struct {
	Hits, Trials int
}

// Share returns the measured share, 0 to 1; 0 without trials.
func (s Sample) Share() float64 {
	if s.Trials == 0 {
		return 0
	}
	return float64(s.Hits) / float64(s.Trials)
}

// StandardErrors returns how many standard errors the measured share lies from the intended one, 0 to 1. The standard error is that of
// the intended share, so at 0 and 1 it is zero: then a single trial that should not be is infinitely far off. Without trials nothing is
// off.
func (s Sample) StandardErrors(intended float64) float64 {
	off := math.Abs(s.Share() - intended)
	if s.Trials == 0 || off < 1e-12 {
		return 0
	}
	return off / math.Sqrt(intended*(1-intended)/float64(s.Trials))
}

// Check returns an error that names both shares if the measured one is more than [Sigmas] standard errors from the intended one.
func (s Sample) Check(intended float64) error {
	if n := s.StandardErrors(intended); n > Sigmas {
		return fmt.Errorf("measured %.2f %% (%d of %d), intended %.2f %%: %.1f standard errors off, at most %.1f are chance",
			100*s.Share(), s.Hits, s.Trials, 100*intended, n, Sigmas)
	}
	return nil
}

// Interval returns the 95 % confidence interval of the share by Wilson's method, which stays within 0 and 1 and makes sense for few
// trials and for shares near the ends: https://en.wikipedia.org/wiki/Binomial_proportion_confidence_interval#Wilson_score_interval
func (s Sample) Interval() (low, high float64) {
	if s.Trials == 0 {
		return 0, 1
	}
	const z = 1.959963984540054 // the 97.5th percentile of the normal distribution
	n, p := float64(s.Trials), s.Share()
	centre := p + z*z/(2*n)
	margin := z * math.Sqrt(p*(1-p)/n+z*z/(4*n*n))
	scale := 1 + z*z/n
	return max(0, (centre-margin)/scale), min(1, (centre+margin)/scale)
}
