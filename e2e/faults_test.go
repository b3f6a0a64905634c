package e2e_test

import (
	"context"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
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

// ofRoutes tells whether a request is about what the routers read and write. DNSEndpoints, which external-dns reads, are written by them alone.
func ofRoutes(r *http.Request) bool {
	switch path := r.URL.Path; {
	case strings.Contains(path, "/dnsendpoints"):
		return r.Method != http.MethodGet && !strings.HasSuffix(path, "/status")
	default:
		return strings.Contains(path, "/ingresses") || strings.Contains(path, "/configmaps")
	}
}

// TestTheAPIFails lets every other write of routes go wrong, each in another way, and some reads, throughout a canary; and once the Canary's status
// after a step, of which Flagger writes none if the step itself had an error.
func TestTheAPIFails(t *testing.T) {
	t.Parallel()
	setups := maps.Clone(everySplit)
	setups["ExternalDNS"] = sharedExternalDNS.exposing(50)
	each(t, setups, func(t *testing.T, s setup) {
		a := newApp(t, s)
		east := a.sites["east"]
		faults := []gateway.Fault{
			{Status: http.StatusConflict}, {Status: http.StatusInternalServerError}, {Lost: true}, {Status: http.StatusTooManyRequests}, {Status: http.StatusServiceUnavailable},
		}
		var writes, refused, lost, endpoints, statuses atomic.Int64
		east.gateway.Decide(func(r *http.Request) gateway.Fault {
			switch {
			case r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/canaries/app/status") && east.history.last().weight() > 0 && statuses.Add(1) == 1:
				return gateway.Fault{Status: http.StatusInternalServerError}
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
			if strings.Contains(r.URL.Path, "/dnsendpoints") {
				endpoints.Add(1)
			}
			if fault.Lost {
				lost.Add(1)
			} else {
				refused.Add(1)
			}
			return fault
		})
		east.release(release, 0)
		// Where the answer to a write of records is lost, whatever may have been published is waited for, which is five minutes.
		east.wait("the canary ends", 2*patience, east.phase(flaggerv1.CanaryPhaseSucceeded, flaggerv1.CanaryPhaseFailed))
		a.ends(flaggerv1.CanaryPhaseSucceeded)
		if refused.Load() < 2 || lost.Load() < 1 {
			t.Errorf("of %d writes %d were refused, and of %d the answer was lost: there are two steps and their end to go wrong", writes.Load(), refused.Load(), lost.Load())
		}
		if statuses.Load() == 0 || s.backend == "externaldns" && endpoints.Load() == 0 {
			t.Errorf("%d writes of the status after a step, of which one fails, and %d of a DNSEndpoint failed", statuses.Load(), endpoints.Load())
		}
		a.figures.note("of %d writes %d were refused, and of %d the answer was lost", writes.Load(), refused.Load(), lost.Load())
		if alerts := east.alerts("danger"); len(alerts) > 0 {
			t.Errorf("alerts of steps that wait: %q", alerts)
		}
		if got := slices.Max(east.weights()); got != 40 {
			t.Errorf("the canary had weight %d at most, want 40", got)
		}
		a.only(primary, release)
		a.untouched()
	})
}

// A failure of the API, always in the same way.
type failure struct {
	fault gateway.Fault
	reads bool   // reads fail as well as writes
	say   string // what the Canary's events say meanwhile
}

var apiFailures = map[string]failure{
	"Conflict": {gateway.Fault{Status: http.StatusConflict}, false, gateway.Message},
	// The client waits as it is told, and tries again until its time is over.
	"TooManyRequests":     {gateway.Fault{Status: http.StatusTooManyRequests}, false, context.DeadlineExceeded.Error()},
	"InternalServerError": {gateway.Fault{Status: http.StatusInternalServerError}, false, gateway.Message},
	"NoAnswer":            {gateway.Fault{Hold: make(chan struct{})}, false, context.DeadlineExceeded.Error()},
	"NoReads":             {gateway.Fault{Status: http.StatusInternalServerError}, true, gateway.Message},
	"NothingIsAnswered":   {gateway.Fault{Hold: make(chan struct{})}, true, context.DeadlineExceeded.Error()},
}

// decide is what a gateway does about it.
func (f failure) decide(r *http.Request) gateway.Fault {
	if !ofRoutes(r) || !f.reads && r.Method == http.MethodGet {
		return gateway.Fault{}
	}
	return f.fault
}

// awhile is for how long a failure lasts, in which Flagger tries again each 10 s.
const awhile = 30 * time.Second

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
				<-time.After(awhile)
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
		"NothingIsAnswered":   {"Skipper": skipperProvider},
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
				<-time.After(awhile)
				if met.Load() == before {
					t.Error("nobody asked the API while it failed")
				}
				if m := east.history.last(); m.phase != flaggerv1.CanaryPhaseProgressing || m.replicas == 0 {
					t.Errorf("phase %s with %d replicas of the canary while the API fails, want Progressing with some", m.phase, m.replicas)
				}
				// Flagger alerts when it begins to roll back, which takes a read.
				if alerts, want := east.alerts("danger"), map[bool]int{false: 1}[apiFailures[label].reads]; len(alerts) != want {
					t.Errorf("%d alerts while the API fails, want %d: %q", len(alerts), want, alerts)
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

// dnsTrouble is something that keeps DNS from being changed.
type dnsTrouble struct {
	begin, end func(*site)
	say        string // what the Canary's events say meanwhile
}

// refusing is Route 53 that answers changes with a fault.
func refusing(kind route53emulator.FaultKind, say string) dnsTrouble {
	return dnsTrouble{
		begin: func(s *site) {
			s.app.route53.Inject(route53emulator.Fault{Kind: kind, Operation: route53emulator.ChangeResourceRecordSets, Times: -1})
		},
		end: func(s *site) { s.app.route53.ClearFaults() },
		say: say,
	}
}

var (
	throttles    = refusing(route53emulator.Throttled, "Throttling")
	unavailable  = refusing(route53emulator.Unavailable, "ServiceUnavailable")
	staysPending = dnsTrouble{
		begin: func(s *site) { s.app.route53.HoldChanges(true) },
		end:   func(s *site) { s.app.route53.HoldChanges(false) },
		say:   "INSYNC",
	}
	noExternalDNS = dnsTrouble{
		begin: func(s *site) { s.externalDNS.Kill() },
		end:   func(s *site) { s.startExternalDNS() },
		say:   "answers with an earlier change",
	}
)

// margin is what the router gives Route 53 beside the TTL before it says that it waits.
const margin = 90 * time.Second

func TestRoute53Fails(t *testing.T) {
	t.Parallel()
	for label, tc := range map[string]struct {
		dnsTrouble

		first bool // from before the first step, which waits for DNS inside of one call
		lasts time.Duration
	}{
		"Throttles":                 {throttles, false, time.Minute},
		"Unavailable":               {unavailable, false, time.Minute},
		"StaysPending":              {staysPending, false, time.Minute},
		"StaysPendingFromTheFirst":  {staysPending, true, ttl + margin + 20*time.Second},
		"IsUnavailableFromTheFirst": {unavailable, true, time.Minute},
	} {
		t.Run(label, func(t *testing.T) {
			t.Parallel()
			s := splitRoute53
			s.patient = tc.first
			a := newApp(t, s)
			east := a.sites["east"]
			if tc.first {
				tc.begin(east)
			}
			east.release(release, 0)
			if tc.first {
				east.wait("the first share is asked for", patience, func() bool { return east.history.last().weight() == 20 })
			} else {
				east.wait("the canary has its first share", patience, east.atWeight(20))
				tc.begin(east)
			}
			east.wait("the canary says what it waits for", patience, east.said(tc.say))
			<-time.After(tc.lasts)
			if m := east.history.last(); m.phase != flaggerv1.CanaryPhaseProgressing || tc.first && (m.weight() != 20 || m.effective()) {
				t.Errorf("phase %s with weight %d, effective %t, while DNS cannot be changed, want Progressing, and no step further", m.phase, m.weight(), m.effective())
			}
			if tc.first && a.answeredBy(release) > 0 {
				t.Error("the new version has answered before DNS led to it")
			}
			if alerts := east.alerts("danger"); len(alerts) > 0 {
				t.Errorf("alerts of a step that waits: %q", alerts)
			}
			tc.end(east)
			a.ends(flaggerv1.CanaryPhaseSucceeded)
			a.untouched()
		})
	}
}

// TestRollbackWhileDNSWaits: the version fails while its drain cannot be published, or be in sync, in one case for longer than twice what Route 53 and the
// TTL may take. It keeps its pods and says why, and people get one alert.
func TestRollbackWhileDNSWaits(t *testing.T) {
	t.Parallel()
	for label, tc := range map[string]struct {
		dnsTrouble

		setup setup
		lasts time.Duration
	}{
		"StaysPending": {staysPending, splitRoute53, 2*(ttl+margin) + 10*time.Second},
		"Throttles":    {throttles, splitRoute53, time.Minute},
		"Unavailable":  {unavailable, splitRoute53, time.Minute},
		"ExternalDNS":  {noExternalDNS, splitExternalDNS, ttl + margin + 20*time.Second},
	} {
		t.Run(label, func(t *testing.T) {
			t.Parallel()
			tc.setup.patient = true
			a := newApp(t, tc.setup)
			east := a.sites["east"]
			east.release(release, 2)
			east.wait("the canary has its first share", patience, east.atWeight(20))
			tc.begin(east)
			east.wait("Flagger drains", patience, func() bool {
				m := east.history.last()
				return m.desired.Generation > 1 && m.desired.Weights.Canary == 0
			})
			<-time.After(tc.lasts)
			if m := east.history.last(); m.phase != flaggerv1.CanaryPhaseProgressing || m.replicas == 0 {
				t.Errorf("phase %s with %d replicas of the canary while its drain is not in sync, want Progressing with some", m.phase, m.replicas)
			}
			if !east.said("draining")() || !east.said(tc.say)() {
				t.Errorf("the Canary's events do not say that it is draining, and what keeps it, %s: %q", tc.say, east.events())
			}
			if alerts := east.alerts("danger"); len(alerts) != 1 {
				t.Errorf("%d alerts while a rollback waits, want 1: %q", len(alerts), alerts)
			}
			tc.end(east)
			a.ends(flaggerv1.CanaryPhaseFailed)
			if alerts := east.alerts("danger"); len(alerts) != 1 {
				t.Errorf("%d alerts of one rollback, want 1: %q", len(alerts), alerts)
			}
			a.untouched()
		})
	}
}
