package route53emulator_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"

	"github.com/penstock-dev/penstock/internal/route53emulator"
)

// healthCheckInput is the configuration of an HTTPS check.
func healthCheckInput(reference string) *route53.CreateHealthCheckInput {
	return &route53.CreateHealthCheckInput{CallerReference: &reference, HealthCheckConfig: &types.HealthCheckConfig{
		Type: types.HealthCheckTypeHttps, FullyQualifiedDomainName: aws.String("www.example.com"), ResourcePath: aws.String("/?a&b"), Port: aws.Int32(443),
	}}
}

// createHealthCheck returns the id of a new health check.
func (f *fixture) createHealthCheck(reference string) string {
	f.t.Helper()
	out, err := f.sdk.CreateHealthCheck(f.t.Context(), healthCheckInput(reference))
	if err != nil {
		f.t.Fatal(err)
	}
	return *out.HealthCheck.Id
}

// A caller reference gives the same health check again, unless the configuration differs or the health check was deleted.
// https://docs.aws.amazon.com/Route53/latest/APIReference/API_CreateHealthCheck.html
func TestHealthChecks(t *testing.T) {
	t.Parallel()
	f := start(t, route53emulator.Options{})
	id := f.createHealthCheck("one")
	if again := f.createHealthCheck("one"); again != id {
		t.Errorf("the same caller reference gave %s, then %s", id, again)
	}
	other := healthCheckInput("one")
	other.HealthCheckConfig.Port = aws.Int32(8443)
	if _, err := f.sdk.CreateHealthCheck(t.Context(), other); code(t, err) != "HealthCheckAlreadyExists" {
		t.Errorf("another configuration: %v", err)
	}
	got, err := f.sdk.GetHealthCheck(t.Context(), &route53.GetHealthCheckInput{HealthCheckId: &id})
	if err != nil {
		t.Fatal(err)
	}
	if c := got.HealthCheck.HealthCheckConfig; *c.ResourcePath != "/?a&b" || *c.Port != 443 || c.Type != types.HealthCheckTypeHttps || *got.HealthCheck.CallerReference != "one" {
		t.Errorf("GetHealthCheck returned %+v", c)
	}
	if _, err := f.sdk.DeleteHealthCheck(t.Context(), &route53.DeleteHealthCheckInput{HealthCheckId: &id}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.sdk.GetHealthCheck(t.Context(), &route53.GetHealthCheckInput{HealthCheckId: &id}); code(t, err) != "NoSuchHealthCheck" {
		t.Errorf("after the deletion: %v", err)
	}
	if _, err := f.sdk.CreateHealthCheck(t.Context(), healthCheckInput("one")); code(t, err) != "HealthCheckAlreadyExists" {
		t.Errorf("the caller reference of a deleted health check: %v", err)
	}
	if _, err := f.change(create(checked(weighted(a("www.example.com", "192.0.2.1"), "one", 1), id))); code(t, err) != "NoSuchHealthCheck" {
		t.Errorf("a record set with a deleted health check: %v", err)
	}
	bad := healthCheckInput("two")
	bad.HealthCheckConfig.Type = "PING"
	if _, err := f.sdk.CreateHealthCheck(t.Context(), bad); code(t, err) != "InvalidInput" {
		t.Errorf("an unknown type: %v", err)
	}
}

func TestListHealthChecks(t *testing.T) {
	t.Parallel()
	f := start(t, route53emulator.Options{})
	want := map[string]bool{}
	for i := range 5 {
		want[f.createHealthCheck(fmt.Sprint(i))] = true
	}
	pages := route53.NewListHealthChecksPaginator(f.sdk, &route53.ListHealthChecksInput{MaxItems: aws.Int32(2)})
	got := 0
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, check := range page.HealthChecks {
			got++
			delete(want, *check.Id)
		}
	}
	if got != 5 || len(want) != 0 {
		t.Errorf("%d health checks were listed, missing %v", got, want)
	}
}

// A new health check counts as healthy.
// https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/dns-failover-determining-health-of-endpoints.html
func TestHealthCheckStatus(t *testing.T) {
	t.Parallel()
	f := start(t, route53emulator.Options{})
	id := f.createHealthCheck("one")
	for _, healthy := range []bool{true, false, true} {
		out, err := f.sdk.GetHealthCheckStatus(t.Context(), &route53.GetHealthCheckStatusInput{HealthCheckId: &id})
		if err != nil {
			t.Fatal(err)
		}
		for _, observation := range out.HealthCheckObservations {
			if got := strings.HasPrefix(*observation.StatusReport.Status, "Success"); got != healthy {
				t.Errorf("status %q, want healthy %t", *observation.StatusReport.Status, healthy)
			}
		}
		if err := f.SetHealthCheck(id, !healthy); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.SetHealthCheck("other", true); err == nil || !strings.Contains(err.Error(), "other") {
		t.Errorf("an unknown health check: %v", err)
	}
}
