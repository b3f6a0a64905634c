package e2e_test

import (
	"cmp"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"testing"
	"time"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"

	"github.com/penstock-dev/penstock/e2e/internal/traffic"
)

// least is how many independent requests a share is judged by at least.
const least = 200

// patience is more than any canary needs.
const patience = 8 * time.Minute

// intended returns the shares of one cluster alone when its canary has a weight.
func intended(weight int) map[traffic.Cell]float64 {
	return map[traffic.Cell]float64{{Cluster: "east", Version: version}: 1 - float64(weight)/100, {Cluster: "east", Version: release}: float64(weight) / 100}
}

// failures checks that no request failed but those that a pod was told to fail.
func (a *app) failures() {
	a.t.Helper()
	failures := 0
	var first error
	samples := a.recorder.All()
	for _, sample := range samples {
		if sample.Err != nil {
			failures++
			first = cmp.Or(first, sample.Err)
		}
	}
	a.figures.requests, a.figures.failed = len(samples), failures
	if failures > 0 {
		a.t.Errorf("%d requests failed, the first: %v", failures, first)
	}
}

// untouched checks what must hold in every canary: no request failed, and nobody was sent to what had been scaled down.
func (a *app) untouched() {
	a.t.Helper()
	a.failures()
	down := 0
	for _, sample := range a.recorder.All() {
		if sample.ScaledDown && sample.Workload == name {
			down++
		}
	}
	if down > 0 {
		a.t.Errorf("%d requests reached a canary that had been scaled down", down)
	}
	for _, s := range a.sites {
		drains := 0
		for _, at := range s.history.downs() {
			until := a.recorder.UsableUntil(s.addresses[1], at)
			if until.IsZero() {
				continue // it has none of its own, or nobody was led there
			}
			drains++
			a.figures.drains = append(a.figures.drains, at.Sub(until))
			if until.After(at) {
				a.t.Errorf("cluster %s: the canary was scaled down at %s, and clients may use its load balancer until %s", s.Name, at, until)
			}
		}
		if due := s.history.drainsDue(); drains < due {
			a.t.Errorf("cluster %s: DNS led clients to %d canaries that have ended, and %d drains were seen", s.Name, due, drains)
		}
	}
}

// judge compares counts of independent requests with the shares that are intended.
func (a *app) judge(when string, counts map[traffic.Cell]int, intended map[traffic.Cell]float64) {
	a.t.Helper()
	a.t.Logf("%s: %v", when, counts)
	n := total(counts)
	if n < least {
		a.t.Errorf("%s: there are %d independent requests to judge shares by, want at least %d", when, n, least)
		return
	}
	deviation, err := traffic.Check(counts, intended)
	if err != nil {
		a.t.Errorf("%s: %v", when, err)
	}
	a.figures.judged(n, deviation)
}

func total(counts map[traffic.Cell]int) int {
	n := 0
	for _, hits := range counts {
		n += hits
	}
	return n
}

// shares checks the shares of every time that was steady for long enough, and that there was one at each weight.
func (s *site) shares(want map[int]map[traffic.Cell]float64) {
	s.sharesOf(want, traffic.Counts)
}

// sharesOf is shares, of what count makes of requests.
func (s *site) sharesOf(want map[int]map[traffic.Cell]float64, count func([]traffic.Sample) map[traffic.Cell]int) {
	t := s.app.t
	t.Helper()
	judged := map[int]bool{}
	for _, period := range s.history.steady(s.app.changedBefore) {
		counts := count(s.app.recorder.Between(period.from, period.to))
		if want[period.weight] == nil || total(counts) < least {
			continue
		}
		judged[period.weight] = true
		s.app.judge(period.String(), counts, want[period.weight])
	}
	for weight := range want {
		if !judged[weight] {
			t.Errorf("no time at canary weight %d had the %d independent requests that shares are judged by", weight, least)
		}
	}
}

// ends waits until the canaries of all clusters have ended in a phase.
func (a *app) ends(want flaggerv1.CanaryPhase) {
	a.t.Helper()
	for _, s := range a.sites {
		s.ends(want)
	}
}

func (s *site) ends(want flaggerv1.CanaryPhase) {
	t := s.app.t
	t.Helper()
	s.wait("the canary ends", patience, s.phase(flaggerv1.CanaryPhaseSucceeded, flaggerv1.CanaryPhaseFailed))
	if got := s.history.last().phase; got != want {
		t.Fatalf("cluster %s: phase %s, want %s", s.Name, got, want)
	}
}

// only checks that every request of the next seconds is answered by one workload at one version.
func (a *app) only(workload, version string) {
	a.t.Helper()
	now := time.Now()
	<-time.After(2 * time.Second)
	answered := 0
	for _, sample := range a.recorder.Between(now, time.Now()) {
		if sample.Err == nil {
			answered++
		}
		if sample.Err == nil && (sample.Workload != workload || sample.Cell.Version != version) {
			a.t.Errorf("a request was answered by %s at %s, want %s at %s", sample.Workload, sample.Cell.Version, workload, version)
			return
		}
	}
	if answered == 0 {
		a.t.Error("no client had an answer")
	}
}

// atWeight returns a condition: the canary has a weight, and clients get it.
func (s *site) atWeight(weight int) func() bool {
	return func() bool {
		m := s.history.last()
		return m.phase == flaggerv1.CanaryPhaseProgressing && m.weight() == weight && m.effective()
	}
}

// The ways in which a canary may be split and published.
var (
	skipperProvider   = setup{provider: "skipper"}
	sharedRoute53     = setup{provider: "dns-weighted", backend: "route53"}
	splitRoute53      = setup{provider: "dns-weighted", backend: "route53", split: true}
	sharedExternalDNS = setup{provider: "dns-weighted", backend: "externaldns"}
	splitExternalDNS  = setup{provider: "dns-weighted", backend: "externaldns", split: true}
)

var (
	everyWay = map[string]setup{
		"Skipper": skipperProvider, "SharedRoute53": sharedRoute53, "SplitRoute53": splitRoute53,
		"SharedExternalDNS": sharedExternalDNS, "SplitExternalDNS": splitExternalDNS,
	}
	// everySplit leaves out external-dns, for what is the same with it. In shared mode DNS has to carry the exposure.
	everySplit = map[string]setup{"Skipper": skipperProvider, "Shared": sharedRoute53.exposing(50), "Split": splitRoute53}
)

// with returns the setup with a Canary that is changed before it is created.
func (s setup) with(change func(*flaggerv1.Canary)) setup {
	before := s.change
	s.change = func(c *flaggerv1.Canary) {
		if before != nil {
			before(c)
		}
		change(c)
	}
	return s
}

// judged returns the setup with a Canary whose steps last until there are the requests that shares are judged by, however slow the machine is.
func (s setup) judged() setup {
	s.steps = true
	return s
}

// startApproval starts a webhook that lets a canary go on from a weight when the weight is approved.
func (s *site) startApproval(approved func(weight int) bool) flaggerv1.CanaryWebhook {
	t := s.app.t
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if weight := s.history.last().weight(); weight > 0 && !approved(weight) {
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	t.Cleanup(server.Close)
	return flaggerv1.CanaryWebhook{Name: "approval", Type: flaggerv1.ConfirmTrafficIncreaseHook, URL: server.URL, MuteAlert: true}
}

// judgeable tells whether the canary has had a weight until now for as many requests as it is judged by.
func (s *site) judgeable(weight int) bool {
	periods := s.history.steady(s.app.changedBefore)
	if len(periods) == 0 {
		return false
	}
	now := periods[len(periods)-1]
	return now.weight == weight && s.history.last().effective() && total(traffic.Counts(s.app.recorder.Between(now.from, now.to))) >= least
}

// exposing returns the setup with a Canary at whose first step the cluster has a part of its weight, in per cent.
func (s setup) exposing(percent int) setup {
	return s.with(func(c *flaggerv1.Canary) {
		c.Annotations["penstock.dev/cluster-exposure"] = strconv.Itoa(percent)
		c.Spec.RevertOnDeletion = true // without which nobody would give the cluster its weight back
	})
}

// each runs a test for each of the setups.
func each(t *testing.T, setups map[string]setup, run func(t *testing.T, s setup)) {
	t.Helper()
	for label, s := range setups {
		t.Run(label, func(t *testing.T) {
			t.Parallel()
			run(t, s)
		})
	}
}

func TestPromotion(t *testing.T) {
	t.Parallel()
	each(t, everyWay, func(t *testing.T, s setup) {
		a := newApp(t, s.judged())
		east := a.sites["east"]
		east.release(release, 0)
		a.ends(flaggerv1.CanaryPhaseSucceeded)
		east.shares(map[int]map[traffic.Cell]float64{20: intended(20), 40: intended(40)})
		a.only(primary, release)
		a.untouched()
	})
}

func TestRollback(t *testing.T) {
	t.Parallel()
	each(t, everyWay, func(t *testing.T, s setup) {
		a := newApp(t, s)
		east := a.sites["east"]
		east.release(release, 2)
		a.ends(flaggerv1.CanaryPhaseFailed)
		a.only(primary, version)
		a.untouched()
		if alerts := east.alerts("threshold reached"); len(alerts) != 1 {
			t.Errorf("%d alerts of one rollback, want 1: %q", len(alerts), alerts)
		}
		met := slices.ContainsFunc(a.recorder.All(), func(s traffic.Sample) bool { return s.Fault && s.Cell.Version == release })
		if !met || !east.said("advancement success rate")() {
			t.Errorf("errors of the new version were met: %t; it is to be rolled back for these: %q", met, east.events())
		}
	})
}
