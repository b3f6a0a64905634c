package route53emulator_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/google/go-cmp/cmp"

	"github.com/penstock-dev/penstock/internal/route53emulator"
)

func TestFaults(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason      string
		kind        route53emulator.FaultKind
		wantCode    string
		wantStatus  int
		wantApplied bool
	}{
		"Throttled":     {"Throttling comes with HTTP 400.", route53emulator.Throttled, "Throttling", 400, false},
		"Unavailable":   {"A failure of the service is 5xx.", route53emulator.Unavailable, "ServiceUnavailable", 503, false},
		"Denied":        {"Missing permissions are 403.", route53emulator.Denied, "AccessDenied", 403, false},
		"Busy":          {"An unfinished earlier request is HTTP 400.", route53emulator.Busy, "PriorRequestNotComplete", 400, false},
		"DroppedBefore": {"The request got lost.", route53emulator.DroppedBefore, "", 0, false},
		"DroppedAfter":  {"The answer got lost.", route53emulator.DroppedAfter, "", 0, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := start(t, route53emulator.Options{})
			f.Inject(route53emulator.Fault{Kind: tc.kind, Operation: route53emulator.ChangeResourceRecordSets})
			_, err := f.change(create(a("www.example.com", "192.0.2.1")))
			if err == nil {
				t.Fatalf("%s: no error", tc.reason)
			}
			if tc.wantCode == "" {
				if !unreachable(err) {
					t.Errorf("%s: got %v, want a connection that was cut", tc.reason, err)
				}
			} else if got := code(t, err); got != tc.wantCode || httpStatus(err) != tc.wantStatus {
				t.Errorf("%s: got %q with %d, want %q with %d", tc.reason, got, httpStatus(err), tc.wantCode, tc.wantStatus)
			}
			if got := len(f.listed()) == 1; got != tc.wantApplied {
				t.Errorf("%s: applied %t, want %t", tc.reason, got, tc.wantApplied)
			}
			_, err = f.change(create(a("next.example.com", "192.0.2.1")))
			if err != nil {
				t.Errorf("%s: the call after the fault: %v", tc.reason, err)
			}
		})
	}
}

func httpStatus(err error) int {
	var response *awshttp.ResponseError
	if !errors.As(err, &response) {
		return 0
	}
	return response.HTTPStatusCode()
}

func TestFaultsAreSelected(t *testing.T) {
	t.Parallel()
	f := start(t, route53emulator.Options{})
	f.Inject(
		route53emulator.Fault{Kind: route53emulator.Throttled, Operation: route53emulator.ListHostedZones, Skip: 1, Times: 2},
		route53emulator.Fault{Kind: route53emulator.Denied, Operation: route53emulator.ListHealthChecks, Times: -1},
	)
	var zones, checks []string
	for range 5 {
		_, err := f.sdk.ListHostedZones(t.Context(), &route53.ListHostedZonesInput{})
		zones = append(zones, code(t, err))
		_, err = f.sdk.ListHealthChecks(t.Context(), &route53.ListHealthChecksInput{})
		checks = append(checks, code(t, err))
	}
	if diff := cmp.Diff([]string{"", "Throttling", "Throttling", "", ""}, zones); diff != "" {
		t.Errorf("skip one, fail two -want +got:\n%s", diff)
	}
	if diff := cmp.Diff(strings.Fields(strings.Repeat("AccessDenied ", 5)), checks); diff != "" {
		t.Errorf("fail all -want +got:\n%s", diff)
	}
	f.ClearFaults()
	f.Inject(route53emulator.Fault{Kind: route53emulator.Unavailable})
	if _, err := f.sdk.ListHealthChecks(t.Context(), &route53.ListHealthChecksInput{}); code(t, err) != "ServiceUnavailable" {
		t.Errorf("a fault of any operation: %v", err)
	}
	if _, err := f.sdk.ListHealthChecks(t.Context(), &route53.ListHealthChecksInput{}); err != nil {
		t.Errorf("after it: %v", err)
	}
	if list, all := f.Calls(route53emulator.ListHealthChecks), f.Calls(""); list != 7 || all != 12 {
		t.Errorf("counted %d calls of 7, %d of 12 in all", list, all)
	}
	f.ResetCalls()
	if got := f.Calls(""); got != 0 {
		t.Errorf("%d calls after ResetCalls", got)
	}
}

// Requests are limited per account, to 50 at once and 10 a second, and by operation.
// https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/throttling-api-requests.html
func TestThrottling(t *testing.T) {
	t.Parallel()
	f := start(t, route53emulator.Options{Throttle: true})
	admitted := func(n int, call func(context.Context) error) int {
		t.Helper()
		ok := 0
		for range n {
			err := call(t.Context())
			if got := code(t, err); got == "" {
				ok++
			} else if got != "Throttling" || httpStatus(err) != http.StatusBadRequest {
				t.Fatalf("got %v", err)
			}
		}
		return ok
	}
	check := f.createHealthCheck("one")
	status := func(ctx context.Context) error {
		_, err := f.sdk.GetHealthCheckStatus(ctx, &route53.GetHealthCheckStatusInput{HealthCheckId: &check})
		return err
	}
	list := func(ctx context.Context) error {
		_, err := f.sdk.ListHostedZones(ctx, &route53.ListHostedZonesInput{})
		return err
	}
	if got := admitted(6, status); got != 4 {
		t.Errorf("%d calls of GetHealthCheckStatus at once, want 4", got)
	}
	if got := admitted(60, list); got != 45 {
		t.Errorf("%d more calls at once, want 45 of the account's 50", got)
	}
	f.clock.Advance(time.Second)
	if got := admitted(12, status) + admitted(12, list); got != 10 {
		t.Errorf("%d calls after a second, want 10", got)
	}
	f.clock.Advance(time.Hour)
	if got := admitted(60, list); got != 50 {
		t.Errorf("%d calls after an hour, want no more than 50", got)
	}
}

func TestNoThrottlingByDefault(t *testing.T) {
	t.Parallel()
	f := start(t, route53emulator.Options{})
	for range 60 {
		if _, err := f.sdk.ListHostedZones(t.Context(), &route53.ListHostedZonesInput{}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDeny(t *testing.T) {
	t.Parallel()
	f := start(t, route53emulator.Options{})
	f.Deny("AKIDTEST", f.zone)
	set := create(a("www.example.com", "192.0.2.1"))
	if _, err := f.change(set); code(t, err) != "AccessDenied" || httpStatus(err) != http.StatusForbidden {
		t.Errorf("the denied hosted zone: %v", err)
	}
	if _, err := f.sdk.ListHostedZones(t.Context(), &route53.ListHostedZonesInput{}); err != nil {
		t.Errorf("a call about no hosted zone: %v", err)
	}
	f.Deny("AKIDTEST", "")
	if _, err := f.sdk.ListHostedZones(t.Context(), &route53.ListHostedZonesInput{}); code(t, err) != "AccessDenied" {
		t.Errorf("a denied call about no hosted zone: %v", err)
	}
	other := *f
	other.sdk = route53.NewFromConfig(f.Config("AKIDOTHER"))
	if _, err := other.change(set); err != nil {
		t.Errorf("another access key: %v", err)
	}
	f.Allow("AKIDTEST", f.zone)
	f.mustChange(remove(a("www.example.com", "192.0.2.1")))
}

func TestCredentialsMustBePresent(t *testing.T) {
	t.Parallel()
	f := start(t, route53emulator.Options{})
	config := f.Config("")
	config.Credentials = aws.AnonymousCredentials{}
	_, err := route53.NewFromConfig(config).ListHostedZones(t.Context(), &route53.ListHostedZonesInput{})
	if code(t, err) != "MissingAuthenticationToken" {
		t.Errorf("without credentials: %v", err)
	}
}

// Requests that no SDK sends are refused, and bounded.
func TestRawRequests(t *testing.T) {
	t.Parallel()
	f := start(t, route53emulator.Options{})
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 10 * time.Second}
	cases := map[string]struct {
		reason       string
		method, path string
		body         []byte
		wantStatus   int
		wantText     string
	}{
		"Unknown":  {"Unknown paths name what is not emulated.", "GET", "/2013-04-01/trafficpolicies", nil, 404, "not emulated"},
		"NoXML":    {"A body that is no XML is InvalidInput.", "POST", "/2013-04-01/hostedzone/" + f.zone + "/rrset", []byte("{}"), 400, "InvalidInput"},
		"OtherXML": {"So is another document.", "POST", "/2013-04-01/hostedzone/" + f.zone + "/rrset", []byte("<Other/>"), 400, "InvalidInput"},
		"TooLarge": {"A body is at most 4 MiB.", "POST", "/2013-04-01/hostedzone", bytes.Repeat([]byte("x"), 5<<20), 413, "RequestEntityTooLarge"},
		"MaxItems": {"MaxItems is a positive integer.", "GET", "/2013-04-01/hostedzone?maxitems=x", nil, 400, "InvalidInput"},
		"BadWeight": {
			"Numbers must be numbers.", "POST", "/2013-04-01/hostedzone/" + f.zone + "/rrset",
			[]byte("<ChangeResourceRecordSetsRequest><ChangeBatch><Changes><Change><Action>CREATE</Action><ResourceRecordSet><Weight>NaN</Weight></ResourceRecordSet></Change></Changes></ChangeBatch></ChangeResourceRecordSetsRequest>"),
			400, "InvalidInput",
		},
	}
	for name, tc := range cases {
		req, err := http.NewRequestWithContext(t.Context(), tc.method, f.Endpoint()+tc.path, bytes.NewReader(tc.body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKIDRAW/20260102/us-east-1/route53/aws4_request, SignedHeaders=host, Signature=0")
		resp, err := client.Do(req)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		body, err := io.ReadAll(resp.Body)
		if err = errors.Join(err, resp.Body.Close()); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if resp.StatusCode != tc.wantStatus || !bytes.Contains(body, []byte(tc.wantText)) {
			t.Errorf("%s: %s got %d %s, want %d with %q", name, tc.reason, resp.StatusCode, body, tc.wantStatus, tc.wantText)
		}
	}
}
