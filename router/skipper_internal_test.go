package router

import (
	"strings"
	"testing"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	istiov1alpha1 "github.com/fluxcd/flagger/pkg/apis/istio/common/v1alpha1"
	istiov1beta1 "github.com/fluxcd/flagger/pkg/apis/istio/v1beta1"
	"github.com/google/go-cmp/cmp"
)

func TestRecoverRoutes(t *testing.T) {
	t.Parallel()
	steps := flaggerv1.CanaryAnalysis{StepWeight: 20, MaxWeight: 50}
	ab := flaggerv1.CanaryAnalysis{Iterations: 5, Match: []istiov1beta1.HTTPMatchRequest{{}}}
	blueGreen := flaggerv1.CanaryAnalysis{Iterations: 5}
	for name, tc := range map[string]struct {
		reason   string
		analysis flaggerv1.CanaryAnalysis
		status   flaggerv1.CanaryStatus
		want     int
	}{
		"New":              {"Everything begins with the primary.", steps, flaggerv1.CanaryStatus{}, 0},
		"Initialized":      {"Nothing is under test.", steps, flaggerv1.CanaryStatus{Phase: "Initialized", CanaryWeight: 30}, 0},
		"Progressing":      {"Flagger writes the weight after each step.", steps, flaggerv1.CanaryStatus{Phase: "Progressing", CanaryWeight: 40}, 40},
		"Promoting":        {"The weight is kept during promotion.", steps, flaggerv1.CanaryStatus{Phase: "Promoting", CanaryWeight: 40}, 40},
		"PromotingAtGate":  {"The gate forgot the weight; the analysis ends at the first step that is not below maxWeight.", steps, flaggerv1.CanaryStatus{Phase: "Promoting"}, 60},
		"Waiting":          {"As above.", steps, flaggerv1.CanaryStatus{Phase: "WaitingPromotion"}, 60},
		"StepWeights":      {"The last step.", flaggerv1.CanaryAnalysis{StepWeights: []int{1, 10, 80}}, flaggerv1.CanaryStatus{Phase: "WaitingPromotion"}, 80},
		"StepsToTheLast":   {"The last of stepWeights ends the steps of stepWeight too.", flaggerv1.CanaryAnalysis{StepWeight: 10, StepWeights: []int{20, 60}}, flaggerv1.CanaryStatus{Phase: "WaitingPromotion"}, 60},
		"NoMax":            {"maxWeight is 100 by default.", flaggerv1.CanaryAnalysis{StepWeight: 30}, flaggerv1.CanaryStatus{Phase: "WaitingPromotion"}, 100},
		"Finalising":       {"All is back at the primary.", steps, flaggerv1.CanaryStatus{Phase: "Finalising", CanaryWeight: 40}, 0},
		"RolledBack":       {"All is back at the primary.", steps, flaggerv1.CanaryStatus{Phase: "Failed"}, 0},
		"FailedPromotion":  {"The canary is the only healthy copy.", steps, flaggerv1.CanaryStatus{Phase: "Failed", CanaryWeight: 100}, 100},
		"ABBefore":         {"No iteration yet.", ab, flaggerv1.CanaryStatus{Phase: "Progressing"}, 0},
		"AB":               {"Each iteration has 0/100.", ab, flaggerv1.CanaryStatus{Phase: "Progressing", Iterations: 1}, 100},
		"ABPromoting":      {"All who match are still at the canary.", ab, flaggerv1.CanaryStatus{Phase: "Promoting", Iterations: 5}, 100},
		"BlueGreen":        {"Tested without users.", blueGreen, flaggerv1.CanaryStatus{Phase: "Progressing", Iterations: 5}, 0},
		"BlueGreenSwapped": {"Flagger counts on once users are there.", blueGreen, flaggerv1.CanaryStatus{Phase: "Progressing", Iterations: 6}, 100},
		"BlueGreenGate":    {"The gate comes before the users.", blueGreen, flaggerv1.CanaryStatus{Phase: "WaitingPromotion", Iterations: 4}, 0},
		"OutOfRange":       {"A status that makes no sense is bounded.", steps, flaggerv1.CanaryStatus{Phase: "Progressing", CanaryWeight: 400}, 100},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			canary := &flaggerv1.Canary{Spec: flaggerv1.CanarySpec{Analysis: &tc.analysis}, Status: tc.status}
			if got := recoverRoutes(canary); got != toCanary(tc.want) {
				t.Errorf("%s\nrecoverRoutes = %+v, want canary %d", tc.reason, got, tc.want)
			}
		})
	}
	skipped := &flaggerv1.Canary{Status: flaggerv1.CanaryStatus{Phase: "Progressing", CanaryWeight: 10}}
	if got := recoverRoutes(skipped); got != toPrimary {
		t.Errorf("without an analysis: %+v", got)
	}
}

func TestMatchPredicates(t *testing.T) {
	t.Parallel()
	header := func(name string, m istiov1alpha1.StringMatch) istiov1beta1.HTTPMatchRequest {
		return istiov1beta1.HTTPMatchRequest{Headers: map[string]istiov1alpha1.StringMatch{name: m}}
	}
	for name, tc := range map[string]struct {
		reason string
		match  istiov1beta1.HTTPMatchRequest
		want   string
	}{
		"Exact":        {"The whole value.", header("x-a", istiov1alpha1.StringMatch{Exact: "a.b"}), `HeaderRegexp("X-A", "^a\\.b$")`},
		"Prefix":       {"The beginning.", header("x-a", istiov1alpha1.StringMatch{Prefix: "a."}), `HeaderRegexp("X-A", "^a\\.")`},
		"Suffix":       {"The end.", header("x-a", istiov1alpha1.StringMatch{Suffix: ".b"}), `HeaderRegexp("X-A", "\\.b$")`},
		"Regex":        {"Istio matches the whole value, Skipper any part.", header("x-a", istiov1alpha1.StringMatch{Regex: `a|b\d`}), `HeaderRegexp("X-A", "^(?:a|b\\d)$")`},
		"Present":      {"An empty condition asks for the header.", header("x-a", istiov1alpha1.StringMatch{}), `HeaderRegexp("X-A", ".*")`},
		"CookieDocs":   {"The form of Flagger's documentation, which misses the space of real browsers.", header("cookie", istiov1alpha1.StringMatch{Regex: `^(.*?;)?(canary=always)(;.*)?$`}), `Cookie("canary", "^(?:always)$")`},
		"CookieSpace":  {"The same with the space.", header("Cookie", istiov1alpha1.StringMatch{Regex: `^(.*?;\s*)?(user=(jason|ann))(;.*)?$`}), `Cookie("user", "^(?:(jason|ann))$")`},
		"CookieExact":  {"One of the cookies, not the whole header.", header("cookie", istiov1alpha1.StringMatch{Exact: "canary=a.b; x=1"}), `Cookie("canary", "^a\\.b$") && Cookie("x", "^1$")`},
		"CookiePrefix": {"The beginning of one of the cookies.", header("cookie", istiov1alpha1.StringMatch{Prefix: "canary=al"}), `Cookie("canary", "^al")`},
		"CookieOther":  {"What names no cookie is asked of the header.", header("cookie", istiov1alpha1.StringMatch{Regex: ".*canary=always.*"}), `HeaderRegexp("Cookie", "^(?:.*canary=always.*)$")`},
		"URIPrefix":    {"PathRegexp adds to the path of the rule.", istiov1beta1.HTTPMatchRequest{Uri: &istiov1alpha1.StringMatch{Prefix: "/v2"}, IgnoreUriCase: true}, `PathRegexp("(?i)^/v2")`},
		"Method":       {"One method.", istiov1beta1.HTTPMatchRequest{Method: &istiov1alpha1.StringMatch{Exact: "POST"}}, `Methods("POST")`},
		"Query": {"All parameters, in a stable order.", istiov1beta1.HTTPMatchRequest{QueryParams: map[string]istiov1alpha1.StringMatch{
			"b": {}, "a": {Exact: "1"},
		}}, `QueryParam("a", "^1$") && QueryParam("b")`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := matchPredicates("match[0]", tc.match)
			if err != nil || joinPredicates(got...) != tc.want {
				t.Errorf("%s\nmatchPredicates = %s, %v; want %s", tc.reason, joinPredicates(got...), err, tc.want)
			}
			if _, err := parsePredicates(joinPredicates(got...)); err != nil {
				t.Errorf("Skipper cannot read it: %v", err)
			}
		})
	}
}

func TestParseBackendWeightsRefuses(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "null", "[]", "1", `"a"`, `{"a":"1"}`, `{"a":null}`, `{"a":true}`, `{"a":-1}`, `{"a":-0.1}`, `{"a":{}}`, `{"a":NaN}`,
		`{"a":1}x`, `{"a":1} {}`, `{"a":1e99}`, `{"a":1e-9999999999}`, `{"a":` + strings.Repeat("9", 40) + `}`, `{"a":0x1}`, `{a:1}`,
	} {
		if got, err := parseBackendWeights(text, userDigits); err == nil {
			t.Errorf("parseBackendWeights(%q) = %v, want an error", text, got)
		}
	}
}

func TestBackendWeightsRoutes(t *testing.T) {
	t.Parallel()
	names := services{apex: "app", primary: "p", canary: "c"}
	for text, want := range map[string]int{
		`{"p":60,"c":40}`:               40,
		`{"p":1,"c":2}`:                 67, // not ours: rounded
		`{"p":999999,"c":1}`:            1,  // never to nothing
		`{"p":1,"c":999999}`:            99,
		`{"p":0.07,"c":0.03,"x":0.7}`:   30,
		`{"p":0,"c":5}`:                 100,
		`{"p":0.00001,"c":0.00001e0}`:   50,
		`{"p":29.6,"c":50.4,"other":2}`: 63,
	} {
		w, err := parseBackendWeights(text, userDigits)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if got, err := w.routes(names); err != nil || got.canary != want || got.primary != 100-want {
			t.Errorf("%s: %+v, %v; want canary %d", text, got, err, want)
		}
	}
	for _, text := range []string{`{"p":0,"c":0}`, `{"p":100}`, `{"c":100}`, `{}`} {
		w, err := parseBackendWeights(text, userDigits)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := w.routes(names); err == nil {
			t.Errorf("%s: %+v, want an error", text, got)
		}
	}
}

func FuzzBackendWeights(f *testing.F) {
	for _, seed := range []string{`{"app":80,"other":20}`, `{"app":0.1}`, `{"app":8e1,"b":1E-3}`, `[]`} {
		f.Add(seed, 30)
	}
	names := services{apex: "app", primary: "p", canary: "c"}
	f.Fuzz(func(t *testing.T, text string, percent int) {
		w, err := parseBackendWeights(text, userDigits)
		if err != nil || w["app"] == nil || w["app"].Sign() == 0 || percent < 0 || percent > 100 {
			return
		}
		want := toCanary(percent)
		written := w.split(names, false, want).String()
		back, err := parseBackendWeights(written, ourDigits)
		if err != nil {
			t.Fatalf("%q became %q: %v", text, written, err)
		}
		got, err := back.routes(names)
		if err != nil || got != want {
			t.Errorf("%q became %q, then %+v, %v; want %+v", text, written, got, err, want)
		}
		for service, weight := range w {
			if service != "app" && service != "p" && service != "c" && back[service].Cmp(weight) != 0 {
				t.Errorf("%q became %q: %q changed", text, written, service)
			}
		}
	})
}

func TestLabelValue(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 54) + "." + strings.Repeat("b", 60)
	if diff := cmp.Diff("app", labelValue("app")); diff != "" {
		t.Error(diff)
	}
	if got := labelValue(long); len(got) > 63 || strings.Contains(got, ".-") || got == labelValue(long+"c") {
		t.Errorf("labelValue of a long name = %q", got)
	}
}
