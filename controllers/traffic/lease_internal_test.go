package traffic

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsretry "github.com/aws/aws-sdk-go-v2/aws/retry"
	sdkroute53 "github.com/aws/aws-sdk-go-v2/service/route53"
	route53types "github.com/aws/aws-sdk-go-v2/service/route53/types"

	"github.com/penstock-dev/penstock/internal/vclock"
)

// server answers each request with a status.
func server(status int, requests *int) http.RoundTripper {
	return transportFunc(func(*http.Request) (*http.Response, error) {
		*requests++
		return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(""))}, nil
	})
}

// send sends a request by a transport, and returns whether it was sent.
func send(t *testing.T, way http.RoundTripper, method, path string) error {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, "https://192.0.2.1"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := way.RoundTrip(request)
	if err == nil {
		_ = response.Body.Close() // it is empty
	}
	return err
}

const (
	leasePath    = "/apis/coordination.k8s.io/v1/namespaces/traffic/leases/" + LeaseID
	endpointPath = "/apis/externaldns.k8s.io/v1alpha1/namespaces/shop/dnsendpoints/web"
)

// Who has not renewed the lease for as long as others leave it alone writes nothing, and reads.
func TestOnlyALeaderWrites(t *testing.T) {
	t.Parallel()
	clock, requests := vclock.New(start), 0
	l := &lease{clock: clock}
	way := l.kubernetes(server(http.StatusOK, &requests))
	writes := func(when string, want bool) {
		t.Helper()
		for method, path := range map[string]string{
			http.MethodPost: "/api/v1/namespaces/traffic/configmaps", http.MethodPut: endpointPath, http.MethodPatch: "/api/v1/namespaces/shop/configmaps/web-penstock",
			http.MethodDelete: "/apis/example.com/v1/things/leases",
		} {
			before := requests
			err := send(t, way, method, path)
			if sent := requests > before; sent != want || (err == nil) != want || err != nil && !errors.As(err, new(leaseError)) {
				t.Errorf("%s: %s %s: sent %t, error %v", when, method, path, sent, err)
			}
		}
		for _, always := range []string{http.MethodGet + " " + endpointPath, http.MethodPost + " /apis/events.k8s.io/v1/namespaces/shop/events"} {
			method, path, _ := strings.Cut(always, " ")
			if err := send(t, way, method, path); err != nil {
				t.Errorf("%s: %s: %v", when, always, err)
			}
		}
	}
	writes("before it leads", false)
	if err := send(t, l.kubernetes(server(http.StatusConflict, &requests)), http.MethodPut, leasePath); err != nil {
		t.Fatal(err)
	}
	writes("another one leads", false)
	if err := send(t, way, http.MethodPut, leasePath); err != nil {
		t.Fatal(err)
	}
	writes("it leads", true)
	clock.Advance(leaseDuration - time.Millisecond)
	writes("just before others may lead", true)
	clock.Advance(time.Millisecond)
	writes("others may lead", false)
}

// A machine's clock may stand still while it is stopped: the time of day tells.
func TestAStoppedMachine(t *testing.T) {
	t.Parallel()
	now := time.Now()
	stopped := &lease{clock: vclock.New(now.Round(0).Add(time.Minute)), renewed: now}
	if err := stopped.held(); err == nil || !strings.Contains(err.Error(), "was renewed 1m0s ago") {
		t.Errorf("error %v", err)
	}
}

// Route 53 is not changed by who does not lead, also if the SDK sends a request once more; it is read.
func TestOnlyALeaderChangesRoute53(t *testing.T) {
	t.Parallel()
	clock, requests := vclock.New(start), 0
	l := &lease{clock: clock, renewed: start}
	fails := server(http.StatusServiceUnavailable, &requests)
	atOnce := awsretry.NewStandard(func(o *awsretry.StandardOptions) {
		o.Backoff = awsretry.BackoffDelayerFunc(func(int, error) (time.Duration, error) { return 0, nil })
	})
	config := aws.Config{
		Region: "us-east-1", Retryer: func() aws.Retryer { return atOnce },
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "id", SecretAccessKey: "secret"}, nil
		}),
		HTTPClient: &http.Client{Transport: transportFunc(func(r *http.Request) (*http.Response, error) {
			clock.Advance(leaseDuration) // the process is stopped while it waits for the answer
			return fails.RoundTrip(r)
		})},
	}
	api := whileLeading{sdkroute53.NewFromConfig(config), l}
	change := func() error {
		_, err := api.ChangeResourceRecordSets(t.Context(), &sdkroute53.ChangeResourceRecordSetsInput{
			HostedZoneId: aws.String("Z1"), ChangeBatch: &route53types.ChangeBatch{Changes: []route53types.Change{{
				Action: route53types.ChangeActionUpsert, ResourceRecordSet: &route53types.ResourceRecordSet{Name: aws.String("www.example.com"), Type: route53types.RRTypeA},
			}}},
		})
		return err
	}
	for range 2 {
		if err := change(); !errors.As(err, new(leaseError)) || requests != 1 {
			t.Errorf("%d requests, error %v; want one while the lease was held", requests, err)
		}
	}
	if _, err := api.ListHostedZones(t.Context(), &sdkroute53.ListHostedZonesInput{}); errors.As(err, new(leaseError)) || requests == 1 {
		t.Errorf("read: %d requests, error %v", requests, err)
	}
}
