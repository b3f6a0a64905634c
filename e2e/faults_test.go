package e2e_test

import (
	"context"
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

// TestTheAPIFails lets every fifth request for routes go wrong, each in another way, throughout a canary.
func TestTheAPIFails(t *testing.T) {
	t.Parallel()
	each(t, everySplit, func(t *testing.T, s setup) {
		a := newApp(t, s)
		east := a.sites["east"]
		faults := []gateway.Fault{
			{Status: http.StatusConflict}, {Status: http.StatusTooManyRequests}, {Status: http.StatusInternalServerError}, {Lost: true}, {Status: http.StatusServiceUnavailable},
		}
		var requests, failed atomic.Int64
		east.gateway.Decide(func(r *http.Request) gateway.Fault {
			if !ofRoutes(r) {
				return gateway.Fault{}
			}
			n := int(requests.Add(1))
			fault := faults[n/5%len(faults)]
			if n%5 != 0 || fault.Status == http.StatusConflict && r.Method == http.MethodGet {
				return gateway.Fault{}
			}
			failed.Add(1)
			return fault
		})
		east.release(release, 0)
		a.ends(flaggerv1.CanaryPhaseSucceeded)
		if failed.Load() == 0 {
			t.Error("no request went wrong")
		}
		a.figures.note("%d of %d requests to the API went wrong", failed.Load(), requests.Load())
		a.untouched()
	})
}

// TestTheAPIRefuses: the API fails for a while, always in the same way. The canary stays where it is and says why, and then it goes on.
func TestTheAPIRefuses(t *testing.T) {
	t.Parallel()
	for label, tc := range map[string]struct {
		fault  gateway.Fault
		writes bool // it is about writes alone
		say    string
	}{
		"Conflict": {gateway.Fault{Status: http.StatusConflict}, true, gateway.Message},
		// The client waits as it is told, and tries again until its time is over.
		"TooManyRequests":     {gateway.Fault{Status: http.StatusTooManyRequests}, false, context.DeadlineExceeded.Error()},
		"InternalServerError": {gateway.Fault{Status: http.StatusInternalServerError}, false, gateway.Message},
		"NoAnswer":            {gateway.Fault{Hold: make(chan struct{})}, false, context.DeadlineExceeded.Error()},
	} {
		t.Run(label, func(t *testing.T) {
			t.Parallel()
			each(t, map[string]setup{"Skipper": skipperProvider, "Split": splitRoute53}, func(t *testing.T, s setup) {
				a := newApp(t, s)
				east := a.sites["east"]
				east.release(release, 0)
				east.wait("the canary has its first share", patience, east.atWeight(20))
				east.gateway.Decide(func(r *http.Request) gateway.Fault {
					if !ofRoutes(r) || tc.writes && r.Method == http.MethodGet {
						return gateway.Fault{}
					}
					return tc.fault
				})
				east.wait("the canary says what is wrong", patience, east.said(tc.say))
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

// TestRollbackWhileRoute53Waits: the version fails while its drain cannot be in sync. It keeps its pods, and people get one alert.
func TestRollbackWhileRoute53Waits(t *testing.T) {
	t.Parallel()
	a := newApp(t, splitRoute53)
	east := a.sites["east"]
	east.release(release, 2)
	east.wait("the canary has its first share", patience, east.atWeight(20))
	a.route53.HoldChanges(true)
	east.wait("Flagger drains", patience, func() bool {
		m := east.history.last()
		return m.desired.Generation > 1 && m.desired.Weights.Canary == 0
	})
	<-time.After(time.Minute)
	if m := east.history.last(); m.replicas == 0 {
		t.Error("the canary was scaled down while its drain was not in sync")
	}
	if alerts := east.alerts("danger"); len(alerts) != 1 {
		t.Errorf("%d alerts of one rollback, want 1: %q", len(alerts), alerts)
	}
	a.route53.HoldChanges(false)
	a.ends(flaggerv1.CanaryPhaseFailed)
	a.untouched()
}
