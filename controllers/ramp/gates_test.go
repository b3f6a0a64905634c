package ramp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/route53"

	"github.com/penstock-dev/penstock/controllers/ramp"
)

var (
	_ ramp.Gate           = ramp.Gates{}
	_ ramp.Gate           = (*ramp.Query)(nil)
	_ ramp.Gate           = (*ramp.HealthCheck)(nil)
	_ ramp.Gate           = (*ramp.Ready)(nil)
	_ ramp.HealthCheckAPI = (*route53.Client)(nil)
)

type gateFunc func(rising bool) error

func (f gateFunc) Check(_ context.Context, rising bool) error { return f(rising) }

// checkError compares an error with what it has to say; a want that is empty is no error.
func checkError(t *testing.T, reason string, err error, refused bool, want ...string) {
	t.Helper()
	if (err != nil) != (len(want) > 0) || errors.Is(err, ramp.ErrRefused) != refused {
		t.Fatalf("%s\ngot %v, want refused %t, with %q", reason, err, refused, want)
	}
	for _, text := range want {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%s\n%q does not say %q", reason, err, text)
		}
	}
}

// checkRefusal compares an error of a gate of this package, which leaves it to its caller to say that it is a refusal.
func checkRefusal(t *testing.T, reason string, err error, refused bool, want ...string) {
	t.Helper()
	checkError(t, reason, err, refused, want...)
	if err != nil && strings.Contains(err.Error(), ramp.ErrRefused.Error()) {
		t.Errorf("%s\n%q says once more that it is refused", reason, err)
	}
}

func TestGates(t *testing.T) {
	t.Parallel()
	asked := 0
	agree := gateFunc(func(bool) error { asked++; return nil })
	refuse := gateFunc(func(bool) error { asked++; return errBad })
	down := gateFunc(func(bool) error { asked++; return errors.New("down") })
	for _, tc := range []struct {
		reason  string
		gates   ramp.Gates
		refused bool
		want    []string
	}{
		{"No gate has no objection.", nil, false, nil},
		{"All agree.", ramp.Gates{agree, agree}, false, nil},
		{"One refuses, and all are asked.", ramp.Gates{refuse, agree, refuse}, true, []string{"7 %"}},
		{"What one refuses is refused, whether others could be asked or not.", ramp.Gates{down, refuse}, true, []string{"down", "7 %"}},
		{"One that could not be asked is no refusal.", ramp.Gates{agree, down}, false, []string{"down"}},
	} {
		asked = 0
		checkError(t, tc.reason, tc.gates.Check(t.Context(), true), tc.refused, tc.want...)
		if asked != len(tc.gates) {
			t.Errorf("%s\nasked %d of %d", tc.reason, asked, len(tc.gates))
		}
	}
}

// prometheus is a server of the instant query API that takes nothing else: https://prometheus.io/docs/prometheus/latest/querying/api/#instant-queries
type prometheus struct {
	t       *testing.T
	query   string // what must be asked
	getOnly bool   // like a proxy that allows reading only
	status  int
	body    string
	hang    bool
}

func (p *prometheus) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/prom/api/v1/query" {
		http.NotFound(w, r)
		return
	}
	if r.Method != http.MethodGet && (r.Method != http.MethodPost || p.getOnly) {
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	if r.Method == http.MethodPost && r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" {
		http.Error(w, "not a form", http.StatusUnsupportedMediaType)
		return
	}
	if err := r.ParseForm(); err != nil {
		p.t.Error(err)
	}
	for name, values := range r.Form {
		switch name {
		case "query", "timeout", "limit":
		default:
			p.t.Errorf("parameter %s=%q: the gate must not depend on a clock", name, values)
		}
	}
	if got := r.Form.Get("query"); got != p.query {
		p.t.Errorf("asked for %q, want %q", got, p.query)
	}
	if _, err := time.ParseDuration(r.Form.Get("timeout")); err != nil {
		p.t.Errorf("timeout: %v", err)
	}
	if p.hang {
		<-r.Context().Done()
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(p.status)
	_, _ = io.WriteString(w, p.body)
}

// transport is a client's own, so that its connections end with the test. It fails the test at requests that could wait for ever.
func transport(t *testing.T) http.RoundTripper {
	t.Helper()
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return urgent{t, tr}
}

type urgent struct {
	t *testing.T
	*http.Transport
}

func (u urgent) RoundTrip(r *http.Request) (*http.Response, error) {
	if _, found := r.Context().Deadline(); !found {
		u.t.Errorf("%s %s has no deadline", r.Method, r.URL)
	}
	return u.Transport.RoundTrip(r)
}

func success(kind, result, more string) string {
	return fmt.Sprintf(`{"status":"success","data":{"resultType":%q,"result":%s}%s}`, kind, result, more)
}

func TestQuery(t *testing.T) {
	t.Parallel()
	const query = `sum(rate(errors{code=~"5.."}[1m])) / 2`
	vector := func(samples ...string) string {
		list := make([]string, len(samples))
		for i, s := range samples {
			list[i] = fmt.Sprintf(`{"metric":{"__name__":"errors","pod":"p%d"},"value":[1700000000.123,%q]}`, i, s)
		}
		return success("vector", "["+strings.Join(list, ",")+"]", "")
	}
	low, high := 0.5, 2.0
	cases := map[string]struct {
		reason   string
		status   int
		body     string
		min, max *float64
		getOnly  bool
		hang     bool
		refused  bool
		want     []string
	}{
		"Within":        {reason: "All samples are in range; the ends count.", body: vector("0.5", "1", "2"), min: &low, max: &high},
		"Scalar":        {reason: "A scalar is one sample.", body: success("scalar", `[1700000000,"1.5"]`, ""), max: &high},
		"GetOnly":       {reason: "A proxy may allow GET only.", body: vector("1"), max: &high, getOnly: true},
		"OneAbove":      {reason: "Every sample counts.", body: vector("1", "2.5"), max: &high, refused: true, want: []string{query, `errors{pod="p1"}`, "2.5", "at most 2"}},
		"Below":         {reason: "A minimum is for what should be there.", body: vector("0.25"), min: &low, refused: true, want: []string{"0.25", "at least 0.5"}},
		"Both":          {reason: "The error names the whole range.", body: vector("3"), min: &low, max: &high, refused: true, want: []string{"from 0.5 to 2"}},
		"ScalarAbove":   {reason: "A scalar has no labels to name.", body: success("scalar", `[1700000000,"7"]`, ""), max: &high, refused: true, want: []string{"the value is 7"}},
		"Infinite":      {reason: "Something divided by nothing is above each maximum.", body: vector("+Inf"), max: &high, refused: true, want: []string{"+Inf"}},
		"Empty":         {reason: "No data says nothing about the cluster.", body: vector(), max: &high, want: []string{query, "empty", "at most 2", "vector(0)"}},
		"NaN":           {reason: "Nothing divided by nothing neither.", body: vector("NaN"), max: &high, want: []string{"NaN", "divides by zero"}},
		"NaNAndAbove":   {reason: "One bad value is enough to refuse.", body: vector("NaN", "9"), max: &high, refused: true, want: []string{"9"}},
		"NaNAndWithin":  {reason: "One good value is not enough to agree.", body: vector("NaN", "1"), max: &high, want: []string{"NaN"}},
		"Warnings":      {reason: "A part of the data may look bad, or good, without being so.", body: success("vector", `[{"metric":{},"value":[1,"9"]}]`, `,"warnings":["a store is down"]`), max: &high, want: []string{"a store is down"}},
		"Infos":         {reason: "A remark about style is no warning.", body: success("vector", `[{"metric":{},"value":[1,"1"]}]`, `,"infos":["metric might not be a counter"]`), max: &high},
		"Histogram":     {reason: "A histogram has no one value.", body: success("vector", `[{"metric":{},"histogram":[1,{"count":"1","sum":"1"}]}]`, ""), max: &high, want: []string{"histogram", "quantile"}},
		"Matrix":        {reason: "A range vector has many values.", body: success("matrix", `[{"metric":{},"values":[[1,"1"]]}]`, ""), max: &high, want: []string{"matrix"}},
		"String":        {reason: "A text has none.", body: success("string", `[1,"x"]`, ""), max: &high, want: []string{"string"}},
		"BadQuery":      {reason: "What Prometheus says about a query reaches people.", status: 400, body: `{"status":"error","errorType":"bad_data","error":"parse error: unclosed"}`, max: &high, want: []string{query, "parse error"}},
		"Overloaded":    {reason: "A server that is down is no refusal.", status: 503, body: "busy", max: &high, want: []string{"503"}},
		"NotPrometheus": {reason: "Something else listens there.", body: "<html>", max: &high, want: []string{"see whether the address"}},
		"Hangs":         {reason: "The controller does not wait forever.", hang: true, max: &high, want: []string{"no answer within"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &prometheus{t: t, query: query, getOnly: tc.getOnly, status: tc.status, body: tc.body, hang: tc.hang}
			if p.status == 0 {
				p.status = http.StatusOK
			}
			server := httptest.NewServer(p)
			t.Cleanup(server.Close)
			options := ramp.QueryOptions{Address: server.URL + "/prom/", Query: query, Min: tc.min, Max: tc.max, Transport: transport(t)}
			if tc.hang {
				options.Timeout = 50 * time.Millisecond
			}
			gate, err := ramp.NewQuery(options)
			if err != nil {
				t.Fatal(err)
			}
			for _, rising := range []bool{true, false} {
				checkRefusal(t, tc.reason, gate.Check(t.Context(), rising), tc.refused, tc.want...)
			}
		})
	}
}

func TestNewQuery(t *testing.T) {
	t.Parallel()
	one, two, nan := 1.0, 2.0, math.NaN()
	for _, tc := range []struct {
		reason  string
		options ramp.QueryOptions
		want    string
	}{
		{"An address is needed.", ramp.QueryOptions{Query: "up", Min: &one}, "http://prometheus:9090"},
		{"It is a URL.", ramp.QueryOptions{Address: "prometheus:9090", Query: "up", Min: &one}, "http://prometheus:9090"},
		{"What is no URL may still hold a password, which no error repeats.", ramp.QueryOptions{Address: "http://u:secret@h\x7f", Query: "up", Min: &one}, "not a URL"},
		{"A query is needed.", ramp.QueryOptions{Address: "http://u:secret@h", Query: " ", Min: &one}, "empty query"},
		{"Without a range nothing is refused.", ramp.QueryOptions{Address: "http://h", Query: "up"}, "no range"},
		{"No value is in the range.", ramp.QueryOptions{Address: "http://h", Query: "up", Min: &two, Max: &one}, "from 2 to 1"},
		{"NaN compares with nothing.", ramp.QueryOptions{Address: "http://h", Query: "up", Max: &nan}, "at most NaN"},
	} {
		_, err := ramp.NewQuery(tc.options)
		checkError(t, tc.reason, err, false, tc.want)
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s\n%v", tc.reason, err)
		}
	}
}

// observations is the documented answer: https://docs.aws.amazon.com/Route53/latest/APIReference/API_GetHealthCheckStatus.html
func observations(statuses ...string) string {
	var b strings.Builder
	b.WriteString(`<?xml version="1.0" encoding="UTF-8"?><GetHealthCheckStatusResponse xmlns="https://route53.amazonaws.com/doc/2013-04-01/"><HealthCheckObservations>`)
	for i, status := range statuses {
		fmt.Fprintf(&b, `<HealthCheckObservation><Region>us-east-1</Region><IPAddress>192.0.2.%d</IPAddress><StatusReport><Status>%s</Status>`+
			`<CheckedTime>2026-03-01T12:00:00.000Z</CheckedTime></StatusReport></HealthCheckObservation>`, i, status)
	}
	b.WriteString(`</HealthCheckObservations></GetHealthCheckStatusResponse>`)
	return b.String()
}

func apiError(code, text string) string {
	return `<?xml version="1.0"?><ErrorResponse xmlns="https://route53.amazonaws.com/doc/2013-04-01/"><Error><Type>Sender</Type><Code>` + code +
		`</Code><Message>` + text + `</Message></Error><RequestId>b25f48e8-84fd-11e6-80d9-574e0c4664cb</RequestId></ErrorResponse>`
}

func TestHealthCheck(t *testing.T) {
	t.Parallel()
	const id, ok, bad = "abcdef11-2222-3333-4444-555555fedcba", "Success: HTTP Status Code 200, OK", "Failure: Connection timed out."
	of := func(healthy, all int) string {
		statuses := make([]string, all)
		for i := range statuses {
			statuses[i] = bad
			if i < healthy {
				statuses[i] = ok
			}
		}
		return observations(statuses...)
	}
	cases := map[string]struct {
		reason  string
		id      string
		status  int
		body    string
		refused bool
		want    []string
	}{
		"Healthy":   {reason: "All report success.", id: id, body: of(16, 16)},
		"JustAbove": {reason: "More than 18 % is healthy.", id: id, body: of(3, 16)},
		"Exactly":   {reason: "18 % is not more than 18 %.", id: id, body: of(9, 50), refused: true, want: []string{id, "9 of 50", "18 %"}},
		"Below":     {reason: "12.5 % is unhealthy; people see why.", id: id, body: of(2, 16), refused: true, want: []string{id, "2 of 16", bad}},
		"None":      {reason: "Without an observation nothing is known.", id: id, body: of(0, 0), want: []string{id, "no checker reports"}},
		"NoStatus": {
			reason: "A checker that has not checked does not count.", id: id,
			body: strings.Replace(of(1, 1), "</HealthCheckObservations>", "<HealthCheckObservation><Region>eu-west-1</Region></HealthCheckObservation></HealthCheckObservations>", 1),
		},
		"NoID":      {reason: "No health check is a mistake of configuration.", want: []string{"HealthCheckID"}},
		"Gone":      {reason: "One that does not exist says nothing.", id: id, status: 404, body: apiError("NoSuchHealthCheck", "none"), want: []string{"GetHealthCheckStatus", id, "correct the cluster's HealthCheckID"}},
		"Invalid":   {reason: "One that is calculated cannot be asked about.", id: id, status: 400, body: apiError("InvalidInput", "calculated"), want: []string{"GetHealthCheckStatus", id, "calculated", "of an endpoint"}},
		"Throttled": {reason: "Route 53 has ten requests a second for an account.", id: id, status: 400, body: apiError("Throttling", "Rate exceeded"), want: []string{"GetHealthCheckStatus", id, "throttled", "longer"}},
		"Denied":    {reason: "The error names what to allow.", id: id, status: 403, body: apiError("AccessDenied", "no"), want: []string{"allow the IAM action route53:GetHealthCheckStatus on arn:aws:route53:::healthcheck/" + id}},
		"Down":      {reason: "A service that is down says nothing.", id: id, status: 503, body: apiError("ServiceUnavailable", "later"), want: []string{id, "asked again"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			calls := 0
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				calls++
				if want := "/2013-04-01/healthcheck/" + tc.id + "/status"; r.Method != http.MethodGet || r.URL.Path != want {
					t.Errorf("%s %s, want GET %s", r.Method, r.URL.Path, want)
				}
				if auth := r.Header.Get("Authorization"); !strings.Contains(auth, "/us-east-1/route53/aws4_request") {
					t.Errorf("signed for %q", auth)
				}
				w.Header().Set("Content-Type", "text/xml")
				if tc.status != 0 {
					w.WriteHeader(tc.status)
				}
				_, _ = io.WriteString(w, tc.body)
			}))
			t.Cleanup(server.Close)
			current := "one-of-before"
			gate := ramp.NewHealthCheck(route53.New(route53.Options{
				Region: "us-east-1", BaseEndpoint: &server.URL, Credentials: credentials.NewStaticCredentialsProvider("id", "secret", ""),
				HTTPClient: &http.Client{Transport: transport(t)}, Retryer: aws.NopRetryer{},
			}), func() string { return current })
			current = tc.id
			if err := gate.Check(t.Context(), false); err != nil || calls != 0 {
				t.Errorf("a sick cluster must never be kept from being drained: %v, %d calls", err, calls)
			}
			checkRefusal(t, tc.reason, gate.Check(t.Context(), true), tc.refused, tc.want...)
		})
	}
}

func TestHealthCheckUnreachable(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(nil)
	server.Close()
	gate := ramp.NewHealthCheck(route53.New(route53.Options{
		Region: "us-east-1", BaseEndpoint: &server.URL, Credentials: credentials.NewStaticCredentialsProvider("id", "secret", ""),
		HTTPClient: &http.Client{Transport: transport(t)}, Retryer: aws.NopRetryer{},
	}), func() string { return "check" })
	checkError(t, "Nobody is there.", gate.Check(t.Context(), true), false, "GetHealthCheckStatus", `"check"`, "can be reached")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	checkError(t, "The controller is ending.", gate.Check(ctx, true), false, "no answer in time")
}

func TestReady(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		reason     string
		ready, all int
		err        error
		refused    bool
		want       []string
	}{
		{"Enough are ready.", 3, 4, nil, false, nil},
		{"All are.", 4, 4, nil, false, nil},
		{"Too few are.", 2, 4, nil, true, []string{"2 of 4", "75 %"}},
		{"Nothing can serve.", 0, 0, nil, true, []string{"0 of 0"}},
		{"Who cannot count cannot refuse.", 0, 0, errors.New("cache is not filled"), false, []string{"cache is not filled"}},
		{"More than all is an error of the counter.", 5, 4, nil, false, []string{"5 of 4"}},
	} {
		gate, err := ramp.NewReady(func(ctx context.Context) (int, int, error) {
			if _, ok := ctx.Deadline(); !ok {
				t.Error("counting has no deadline")
			}
			return tc.ready, tc.all, tc.err
		}, 75)
		if err != nil {
			t.Fatal(err)
		}
		checkRefusal(t, tc.reason, gate.Check(t.Context(), true), tc.refused, tc.want...)
		checkError(t, "A sick cluster must never be kept from being drained.", gate.Check(t.Context(), false), false)
	}
	for _, least := range []int{-1, 0, 101} {
		_, err := ramp.NewReady(nil, least)
		checkError(t, "A percentage that is always, or never, met is a mistake.", err, false, fmt.Sprint(least))
	}
}
