package e2e_test

import (
	"context"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-dev/penstock/e2e/internal/gateway"
	"github.com/penstock-dev/penstock/e2e/internal/traffic"
	"github.com/penstock-dev/penstock/internal/route53emulator"
)

// ofRoutes tells whether a request is about what the routers read and write.
func ofRoutes(r *http.Request) bool {
	return strings.Contains(r.URL.Path, "/ingresses") || strings.Contains(r.URL.Path, "/configmaps")
}

// TestTheAPIFails lets every other write of routes go wrong, each in another way, and some reads, throughout a canary.
func TestTheAPIFails(t *testing.T) {
	t.Parallel()
	each(t, everySplit, func(t *testing.T, s setup) {
		a := newApp(t, s)
		east := a.sites["east"]
		faults := []gateway.Fault{
			{Status: http.StatusConflict}, {Status: http.StatusInternalServerError}, {Lost: true}, {Status: http.StatusTooManyRequests}, {Status: http.StatusServiceUnavailable},
		}
		var writes, refused, lost atomic.Int64
		east.gateway.Decide(func(r *http.Request) gateway.Fault {
			switch {
			case !ofRoutes(r):
				return gateway.Fault{}
			case r.Method == http.MethodGet:
				if rand.IntN(10) == 0 { // a tick makes as many as another, so that those at fixed distances would be the same each time
					return gateway.Fault{Status: http.StatusInternalServerError}
				}
				return gateway.Fault{}
			}
			n := int(writes.Add(1))
			if n%2 == 0 {
				return gateway.Fault{}
			}
			fault := faults[n/2%len(faults)]
			if fault.Lost {
				lost.Add(1)
			} else {
				refused.Add(1)
			}
			return fault
		})
		east.release(release, 0)
		a.ends(flaggerv1.CanaryPhaseSucceeded)
		if refused.Load() < 2 || lost.Load() < 1 {
			t.Errorf("of %d writes %d were refused, and of %d the answer was lost: there are two steps and their end to go wrong", writes.Load(), refused.Load(), lost.Load())
		}
		a.figures.note("of %d writes %d were refused, and of %d the answer was lost", writes.Load(), refused.Load(), lost.Load())
		if alerts := east.alerts("danger"); len(alerts) > 0 {
			t.Errorf("alerts of steps that wait: %q", alerts)
		}
		a.only(primary, release)
		a.untouched()
	})
}

// A failure of the API, always in the same way.
type failure struct {
	fault  gateway.Fault
	writes bool   // it is about writes alone
	say    string // what the Canary's events say meanwhile
}

var apiFailures = map[string]failure{
	"Conflict": {gateway.Fault{Status: http.StatusConflict}, true, gateway.Message},
	// The client waits as it is told, and tries again until its time is over.
	"TooManyRequests":     {gateway.Fault{Status: http.StatusTooManyRequests}, false, context.DeadlineExceeded.Error()},
	"InternalServerError": {gateway.Fault{Status: http.StatusInternalServerError}, false, gateway.Message},
	"NoAnswer":            {gateway.Fault{Hold: make(chan struct{})}, false, context.DeadlineExceeded.Error()},
}

// decide is what a gateway does about it.
func (f failure) decide(r *http.Request) gateway.Fault {
	if !ofRoutes(r) || f.writes && r.Method == http.MethodGet {
		return gateway.Fault{}
	}
	return f.fault
}

// TestTheAPIRefuses: the API fails for a while. The canary stays where it is and says why, and then it goes on.
func TestTheAPIRefuses(t *testing.T) {
	t.Parallel()
	for label, failure := range apiFailures {
		t.Run(label, func(t *testing.T) {
			t.Parallel()
			each(t, map[string]setup{"Skipper": skipperProvider, "Split": splitRoute53}, func(t *testing.T, s setup) {
				a := newApp(t, s.judged())
				east := a.sites["east"]
				east.release(release, 0)
				east.wait("the canary has its first share", patience, east.atWeight(20))
				east.gateway.Decide(failure.decide)
				east.wait("the canary says what is wrong", patience, east.said(failure.say))
				if m := east.history.last(); m.phase != flaggerv1.CanaryPhaseProgressing || m.weight() != 20 {
					t.Errorf("phase %s with canary weight %d while the API fails, want Progressing with 20", m.phase, m.weight())
				}
				if alerts := east.alerts("danger"); len(alerts) > 0 {
					t.Errorf("alerts of a step that waits: %q", alerts)
				}
				east.gateway.Decide(nil)
				a.ends(flaggerv1.CanaryPhaseSucceeded)
				east.shares(map[int]map[traffic.Cell]float64{20: intended(20), 40: intended(40)})
				a.untouched()
			})
		})
	}
}

// TestRollbackWhileTheAPIFails: the version has failed, and the API fails before Flagger can take its traffic away. The canary keeps its pods, says
// why, and is rolled back when the API is well. People get one alert.
func TestRollbackWhileTheAPIFails(t *testing.T) {
	t.Parallel()
	for label, setups := range map[string]map[string]setup{
		"Conflict":            {"Skipper": skipperProvider, "Split": splitRoute53},
		"TooManyRequests":     {"Skipper": skipperProvider},
		"InternalServerError": {"Shared": sharedRoute53.exposing(50)},
		"NoAnswer":            {"Split": splitRoute53},
	} {
		t.Run(label, func(t *testing.T) {
			t.Parallel()
			each(t, setups, func(t *testing.T, s setup) {
				a := newApp(t, s)
				east := a.sites["east"]
				east.release(release, 2)
				east.wait("the checks have failed", patience, func() bool { return east.history.last().failed == 2 })
				var met atomic.Int64
				east.gateway.Decide(func(r *http.Request) gateway.Fault {
					fault := apiFailures[label].decide(r)
					if fault != (gateway.Fault{}) {
						met.Add(1)
					}
					return fault
				})
				east.wait("the canary says what is wrong", patience, east.said(apiFailures[label].say))
				before := met.Load()
				<-time.After(30 * time.Second) // of which Flagger tries again each 10
				if met.Load() == before {
					t.Error("nobody asked the API while it failed")
				}
				if m := east.history.last(); m.phase != flaggerv1.CanaryPhaseProgressing || m.replicas == 0 {
					t.Errorf("phase %s with %d replicas of the canary while the API fails, want Progressing with some", m.phase, m.replicas)
				}
				east.gateway.Decide(nil)
				a.ends(flaggerv1.CanaryPhaseFailed)
				if alerts := east.alerts("danger"); len(alerts) != 1 {
					t.Errorf("%d alerts of one rollback, want 1: %q", len(alerts), alerts)
				}
				a.only(primary, version)
				a.untouched()
			})
		})
	}
}

// events returns the texts of the warnings on the Canary.
func (s *site) events() []string {
	t := s.app.t
	t.Helper()
	list, err := s.Kube.CoreV1().Events(s.app.namespace).List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.kind=Canary"})
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, event := range list.Items {
		if event.Type == "Warning" {
			texts = append(texts, event.Message)
		}
	}
	return texts
}

// said returns a condition: a warning on the Canary says something.
func (s *site) said(text string) func() bool {
	return func() bool {
		for _, event := range s.events() {
			if strings.Contains(event, text) {
				return true
			}
		}
		return false
	}
}

func TestRoute53Fails(t *testing.T) {
	t.Parallel()
	change := route53emulator.ChangeResourceRecordSets
	for label, tc := range map[string]struct {
		begin func(*route53emulator.Server)
		say   string // what the Canary's events say meanwhile
	}{
		"Throttles": {func(r *route53emulator.Server) {
			r.Inject(route53emulator.Fault{Kind: route53emulator.Throttled, Operation: change, Times: -1})
		}, "Throttling"},
		"Unavailable": {func(r *route53emulator.Server) {
			r.Inject(route53emulator.Fault{Kind: route53emulator.Unavailable, Operation: change, Times: -1})
		}, "ServiceUnavailable"},
		"StaysPending": {func(r *route53emulator.Server) { r.HoldChanges(true) }, "INSYNC"},
	} {
		t.Run(label, func(t *testing.T) {
			t.Parallel()
			a := newApp(t, splitRoute53)
			east := a.sites["east"]
			east.release(release, 0)
			east.wait("the canary has its first share", patience, east.atWeight(20))
			tc.begin(a.route53)
			east.wait("the canary says what it waits for", patience, east.said(tc.say))
			<-time.After(time.Minute)
			if m := east.history.last(); m.phase != flaggerv1.CanaryPhaseProgressing {
				t.Errorf("phase %s while DNS cannot be changed, want Progressing", m.phase)
			}
			if alerts := east.alerts("danger"); len(alerts) > 0 {
				t.Errorf("alerts of a step that waits: %q", alerts)
			}
			a.route53.ClearFaults()
			a.route53.HoldChanges(false)
			a.ends(flaggerv1.CanaryPhaseSucceeded)
			a.untouched()
		})
	}
}

// TestRollbackWhileRoute53Waits: the version fails while its drain cannot be in sync, for longer than twice what Route 53 and the TTL may take. It
// keeps its pods and says why, and people get one alert.
func TestRollbackWhileRoute53Waits(t *testing.T) {
	t.Parallel()
	const margin = 90 * time.Second // the router's for Route 53
	s := splitRoute53
	s.patient = true
	a := newApp(t, s)
	east := a.sites["east"]
	east.release(release, 2)
	east.wait("the canary has its first share", patience, east.atWeight(20))
	a.route53.HoldChanges(true)
	east.wait("Flagger drains", patience, func() bool {
		m := east.history.last()
		return m.desired.Generation > 1 && m.desired.Weights.Canary == 0
	})
	<-time.After(2*(ttl+margin) + 10*time.Second)
	if m := east.history.last(); m.phase != flaggerv1.CanaryPhaseProgressing || m.replicas == 0 {
		t.Errorf("phase %s with %d replicas of the canary while its drain is not in sync, want Progressing with some", m.phase, m.replicas)
	}
	if !east.said("draining")() {
		t.Errorf("the Canary's events do not say that it is draining: %q", east.events())
	}
	a.route53.HoldChanges(false)
	a.ends(flaggerv1.CanaryPhaseFailed)
	if alerts := east.alerts("danger"); len(alerts) != 1 {
		t.Errorf("%d alerts of one rollback, want 1: %q", len(alerts), alerts)
	}
	a.untouched()
}
