package stats_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/penstock-dev/penstock/examples/stats"
)

func TestInterval(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		reason    string
		sample    stats.Sample
		low, high float64
	}{
		"Ten of a hundred": {
			reason: "A published value of Wilson's interval: 10/100 is 5.52 % to 17.44 %.",
			sample: stats.Sample{Hits: 10, Trials: 100}, low: 0.0552, high: 0.1744,
		},
		"None of ten":   {reason: "No hit does not prove a share of zero.", sample: stats.Sample{Hits: 0, Trials: 10}, low: 0, high: 0.2775},
		"All of ten":    {reason: "It is symmetric.", sample: stats.Sample{Hits: 10, Trials: 10}, low: 0.7225, high: 1},
		"Nothing known": {reason: "Without trials every share is possible.", sample: stats.Sample{}, low: 0, high: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			low, high := tc.sample.Interval()
			if math.Abs(low-tc.low) > 5e-5 || math.Abs(high-tc.high) > 5e-5 {
				t.Errorf("%s\n%+v.Interval() = %.4f, %.4f; want %.4f, %.4f", tc.reason, tc.sample, low, high, tc.low, tc.high)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		reason   string
		sample   stats.Sample
		intended float64
		wrong    bool
	}{
		"Exact":              {reason: "What is as intended is right.", sample: stats.Sample{Hits: 100, Trials: 1000}, intended: 0.1},
		"Within":             {reason: "At 10 % of 10,000 one standard error is 0.3 %: 4.4 of them are chance.", sample: stats.Sample{Hits: 1132, Trials: 10000}, intended: 0.1},
		"Beyond":             {reason: "4.6 of them are not.", sample: stats.Sample{Hits: 1138, Trials: 10000}, intended: 0.1, wrong: true},
		"Below":              {reason: "Too little is as wrong as too much.", sample: stats.Sample{Hits: 862, Trials: 10000}, intended: 0.1, wrong: true},
		"One that is none":   {reason: "A version that should get nothing got one request.", sample: stats.Sample{Hits: 1, Trials: 10000}, intended: 0, wrong: true},
		"All but one of all": {reason: "And the same at the other end.", sample: stats.Sample{Hits: 9999, Trials: 10000}, intended: 1, wrong: true},
		"None":               {reason: "Nothing intended, nothing measured.", sample: stats.Sample{Trials: 10}, intended: 0},
		"No trials":          {reason: "Nothing can be said.", sample: stats.Sample{}, intended: 0.5},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := tc.sample.Check(tc.intended); (err != nil) != tc.wrong {
				t.Errorf("%s\n%+v.Check(%v) = %v, want an error: %t", tc.reason, tc.sample, tc.intended, err, tc.wrong)
			}
		})
	}
}

func TestCheckHoldsForChance(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		intended := random.Float64()
		s := stats.Sample{Trials: 2000}
		for range s.Trials {
			if random.Float64() < intended {
				s.Hits++
			}
		}
		if err := s.Check(intended); err != nil {
			t.Errorf("an honest coin was called wrong: %v", err)
		}
	}
}

func ExampleSample_Check() {
	fmt.Println(stats.Sample{Hits: 98, Trials: 1000}.Check(0.1))
	fmt.Println(stats.Sample{Hits: 250, Trials: 1000}.Check(0.1))
	// Output:
	// <nil>
	// measured 25.00 % (250 of 1000), intended 10.00 %: 15.8 standard errors off, at most 4.5 are chance
}
