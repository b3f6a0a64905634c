package e2e_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	istiov1alpha1 "github.com/fluxcd/flagger/pkg/apis/istio/common/v1alpha1"
	istiov1beta1 "github.com/fluxcd/flagger/pkg/apis/istio/v1beta1"

	"github.com/penstock-dev/penstock/e2e/internal/traffic"
	exampleworld "github.com/penstock-dev/penstock/examples/world"
)

// versions asks the load balancer for a number of answers to requests with a header, and counts them by version.
func (s *site) versions(n int, header http.Header) map[string]int {
	t := s.app.t
	t.Helper()
	client := exampleworld.NewClient(requestTimeout)
	defer client.Close()
	counts := map[string]int{}
	for range n {
		answer, err := client.Get(t.Context(), s.listeners[s.addresses[0]], s.app.host, "/", header.Clone())
		if err != nil {
			t.Fatal(err)
		}
		counts[answer.Version]++
	}
	return counts
}

// matching returns the setup with an A/B test.
func (s setup) matching() setup {
	s.matches = true
	return s.with(func(c *flaggerv1.Canary) {
		analysis := c.Spec.Analysis
		analysis.StepWeight, analysis.MaxWeight, analysis.Iterations, analysis.Metrics = 0, 0, 3, nil
		for header, value := range map[string]istiov1alpha1.StringMatch{
			"x-canary": {Exact: "always"}, "cookie": {Regex: "^(.*?;)?(canary=always)(;.*)?$"},
		} {
			analysis.Match = append(analysis.Match, istiov1beta1.HTTPMatchRequest{Headers: map[string]istiov1alpha1.StringMatch{header: value}})
		}
	})
}

// TestABTest: who meets a condition gets the new version, and nobody else does.
func TestABTest(t *testing.T) {
	t.Parallel()
	for label, s := range map[string]setup{"Skipper": skipperProvider, "Shared": sharedRoute53} {
		t.Run(label, func(t *testing.T) {
			t.Parallel()
			promotion := newGate(t)
			a := newApp(t, s.matching().with(func(c *flaggerv1.Canary) {
				c.Spec.Analysis.Webhooks = []flaggerv1.CanaryWebhook{{Name: "promotion", Type: flaggerv1.ConfirmPromotionHook, URL: promotion.url}}
			}))
			east := a.sites["east"]
			east.release(release, 0)
			header, cookie := http.Header{"X-Canary": {"always"}}, http.Header{"Cookie": {"a=b; canary=always"}}
			east.wait("who matches gets the canary", patience, func() bool { // each condition has an Ingress, and Skipper may read between them
				return east.versions(1, header)[release] == 1 && east.versions(1, cookie)[release] == 1
			})
			for what, tc := range map[string]struct {
				header http.Header
				want   string
			}{
				"the header":     {header, release},
				"the cookie":     {cookie, release},
				"another header": {http.Header{"X-Canary": {"never"}}, version},
				"nothing":        {http.Header{}, version},
			} {
				if got := east.versions(50, tc.header); got[tc.want] != 50 {
					t.Errorf("with %s: %v, want all of 50 at %s", what, got, tc.want)
				}
			}
			promotion.open.Store(true)
			a.ends(flaggerv1.CanaryPhaseSucceeded)
			a.only(primary, release)
			a.untouched()
		})
	}
}

// TestSplitRefuses what DNS cannot do, before the Canary is Initialized.
func TestSplitRefuses(t *testing.T) {
	t.Parallel()
	for label, tc := range map[string]struct {
		change func(*flaggerv1.Canary)
		field  string
	}{
		"Match": {func(c *flaggerv1.Canary) {
			c.Spec.Analysis.StepWeight, c.Spec.Analysis.MaxWeight, c.Spec.Analysis.Iterations = 0, 0, 2
			c.Spec.Analysis.Match = []istiov1beta1.HTTPMatchRequest{{Headers: map[string]istiov1alpha1.StringMatch{"x-canary": {Exact: "always"}}}}
		}, "spec.analysis.match"},
		"Mirror": {func(c *flaggerv1.Canary) { c.Spec.Analysis.Mirror = true }, "spec.analysis.mirror"},
		"SessionAffinity": {func(c *flaggerv1.Canary) {
			c.Spec.Analysis.SessionAffinity = &flaggerv1.SessionAffinity{CookieName: "flagger-cookie", MaxAge: 3600}
		}, "spec.analysis.sessionAffinity"},
	} {
		t.Run(label, func(t *testing.T) {
			t.Parallel()
			s := splitRoute53
			s.change = tc.change
			a := prepareApp(t, s)
			east := a.sites["east"]
			east.wait("the Canary says why it is refused", patience, east.said(tc.field))
			<-time.After(awhile)
			if phase := east.history.last().phase; phase == flaggerv1.CanaryPhaseInitialized {
				t.Errorf("phase %s", phase)
			}
			if sets := a.route53.RecordSets(a.zoneID); len(sets) > 2 { // its SOA and NS
				t.Errorf("%d record sets were written", len(sets))
			}
		})
	}
}

// TestMirror: the canary gets copies of requests before it gets a share of them.
func TestMirror(t *testing.T) {
	t.Parallel()
	s := skipperProvider
	s.change = func(c *flaggerv1.Canary) {
		c.Spec.Analysis.Mirror, c.Spec.Analysis.MirrorWeight, c.Spec.Analysis.Metrics = true, 100, nil
	}
	a := newApp(t, s.judged())
	east := a.sites["east"]
	east.release(release, 0)
	east.wait("the canary gets copies", patience, func() bool { return east.Node.Requests(a.namespace, name, release) > 100 })
	if got := a.answeredBy(release); got > 0 {
		t.Errorf("%d users were answered by the version that gets copies", got)
	}
	a.ends(flaggerv1.CanaryPhaseSucceeded)
	east.shares(map[int]map[traffic.Cell]float64{20: intended(20), 40: intended(40)})
	a.untouched()
}

// answeredBy counts the answers of a version.
func (a *app) answeredBy(version string) int {
	n := 0
	for _, sample := range a.recorder.All() {
		if sample.Cell.Version == version {
			n++
		}
	}
	return n
}

// TestSessionAffinity: who has met the new version keeps it.
func TestSessionAffinity(t *testing.T) {
	t.Parallel()
	s := skipperProvider
	s.change = func(c *flaggerv1.Canary) {
		c.Spec.Analysis.SessionAffinity = &flaggerv1.SessionAffinity{CookieName: "flagger-cookie", MaxAge: 3600}
	}
	a := newApp(t, s)
	east := a.sites["east"]
	east.release(release, 0)
	east.wait("the canary has its first share", patience, east.atWeight(20))
	client := exampleworld.NewClient(requestTimeout)
	defer client.Close()
	cookie := ""
	east.wait("somebody meets the canary", patience, func() bool {
		answer, err := client.Get(t.Context(), east.listeners[east.addresses[0]], a.host, "/", nil)
		if err == nil && answer.Version == release {
			cookie, _, _ = strings.Cut(answer.Header.Get("Set-Cookie"), ";")
		}
		return cookie != ""
	})
	if got := east.versions(50, http.Header{"Cookie": {cookie}}); got[release] != 50 {
		t.Errorf("with the cookie %q: %v, want all of 50 at %s", cookie, got, release)
	}
	a.ends(flaggerv1.CanaryPhaseSucceeded)
	a.only(primary, release)
	a.untouched()
}
