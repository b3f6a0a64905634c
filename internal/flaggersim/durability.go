package flaggersim

import (
	"fmt"
	"testing"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
)

// runFaults lets each single write go wrong, in a rollout of its own.
func (s Subject) runFaults(t *testing.T) {
	t.Helper()
	killed := []Fault{KillBefore, KillAfter}
	for _, c := range []struct {
		name   string
		faults []Fault
		st     strategy
		run    func(*rollout)
	}{
		{"Canary", []Fault{KillBefore, KillAfter, Conflict, Throttle, ServerError, TimeoutAfter, OutOfTime, OutOfTimeAfter}, weighted, weighted.promote},
		{"Rollback", []Fault{KillBefore, KillAfter, OutOfTime, OutOfTimeAfter}, weighted, weighted.fail},
		{"StepwisePromotion", killed, stepwise, stepwise.promote},
		{"Mirror", killed, mirror, mirror.promote},
		{"ABTest", killed, abTest, abTest.promote},
		{"FailedPromotion", killed, weighted, failedPromotion},
		{"Deletion", killed, weighted, deleted},
	} {
		if s.DNS && c.st.field != "" {
			continue
		}
		for _, fault := range c.faults {
			t.Run(fmt.Sprintf("EachWriteOf%sMayBe%s", c.name, fault), func(t *testing.T) {
				t.Parallel()
				s.eachWrite(t, fault, c.st.change, c.run)
			})
		}
	}
	t.Run("TheAPIIsAwayForAWhile", func(t *testing.T) {
		t.Parallel()
		r := begin(t, s, NewProcess(0, NoFault), nil)
		r.firstStep()
		r.process.SetDown(true)
		r.driver.Run(t.Context(), 30, func() bool { return false })
		r.saw(split(0, 0.2))
		r.process.SetDown(false)
		r.end(flaggerv1.CanaryPhaseSucceeded)
		r.saw(weighted.promoted)
	})
}

// eachWrite runs again and again, each time with another write that meets the fault, until there is no such write any more. With -short, as under
// the race detector, which takes five times as long, it is every twelfth write.
func (s Subject) eachWrite(t *testing.T, fault Fault, change func(*flaggerv1.Canary), run func(*rollout)) {
	t.Helper()
	stride := 1
	if testing.Short() {
		stride = 12
	}
	for at, more := 1, true; more && !t.Failed(); at += stride {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			first := NewProcess(at, fault)
			r := begin(t, s, first, change)
			run(r)
			r.stop()
			more = first.Writes() >= at
		})
	}
}
