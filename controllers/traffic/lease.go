package traffic

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	sdkroute53 "github.com/aws/aws-sdk-go-v2/service/route53"
	"k8s.io/utils/clock"

	"github.com/penstock-dev/penstock/dns/route53"
)

// leaseDuration is how long others leave the lease to a leader that does not renew it.
const leaseDuration = 15 * time.Second

// lease knows until when nobody else can lead. A leader that was stopped for longer, with its machine perhaps, does not notice at first: it would go on to
// write what it knew, over what the next leader has written since. The lease is looked at right before each request that changes something.
// https://pkg.go.dev/k8s.io/client-go/tools/leaderelection
type lease struct {
	clock clock.PassiveClock

	mu      sync.Mutex // guards the following
	renewed time.Time  // when the request was sent by which it was renewed
}

// held returns an error if another one may lead.
func (l *lease) held() error {
	now := l.clock.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	// A monotonic clock may stand still while a machine is stopped, and the one on the wall may be set back.
	if ago := max(now.Sub(l.renewed), now.Round(0).Sub(l.renewed.Round(0))); ago >= leaseDuration {
		return leaseError{ago}
	}
	return nil
}

// leaseError says that nothing may be written. To repeat the request does not help.
type leaseError struct{ ago time.Duration }

func (e leaseError) Error() string {
	return fmt.Sprintf("nothing is written: lease %s was renewed %s ago, and another controller may lead since %s", LeaseID, e.ago.Round(time.Second), leaseDuration)
}

// RetryableError tells the AWS SDK.
// https://pkg.go.dev/github.com/aws/aws-sdk-go-v2/aws/retry#RetryableError
func (leaseError) RetryableError() bool { return false }

// kubernetes returns a way to the API server on which only a leader writes.
func (l *lease) kubernetes(next http.RoundTripper) http.RoundTripper { return leased{next, l} }

type leased struct {
	http.RoundTripper

	lease *lease
}

func (r leased) RoundTrip(request *http.Request) (*http.Response, error) {
	switch resource := resourceOf(request.URL.Path); {
	case request.Method == http.MethodGet, resource == "events": // which steer nothing
	case resource == "leases":
		return r.renew(request)
	default:
		if err := r.lease.held(); err != nil {
			return nil, err
		}
	}
	return r.RoundTripper.RoundTrip(request) //nolint:wrapcheck // it stands in for the transport
}

// renew sends a request that renews the lease if it succeeds: the resource versions of others that hold it differ.
func (r leased) renew(request *http.Request) (*http.Response, error) {
	sent := r.lease.clock.Now()
	response, err := r.RoundTripper.RoundTrip(request)
	if err == nil && response.StatusCode < http.StatusMultipleChoices {
		r.lease.mu.Lock()
		r.lease.renewed = sent
		r.lease.mu.Unlock()
	}
	return response, err //nolint:wrapcheck // it stands in for the transport
}

// resourceOf returns the resource of a path such as /apis/GROUP/VERSION/namespaces/NAMESPACE/RESOURCE/NAME.
// https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-uris
func resourceOf(path string) string {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	if i := slices.Index(parts, "namespaces"); i >= 0 && i+2 < len(parts) {
		return parts[i+2]
	}
	return ""
}

// whileLeading is Route 53, which only a leader changes.
type whileLeading struct {
	route53.API

	lease *lease
}

func (w whileLeading) ChangeResourceRecordSets(
	ctx context.Context, input *sdkroute53.ChangeResourceRecordSetsInput, options ...func(*sdkroute53.Options),
) (*sdkroute53.ChangeResourceRecordSetsOutput, error) {
	return w.API.ChangeResourceRecordSets(ctx, input, append(slices.Clip(options), func(o *sdkroute53.Options) {
		o.HTTPClient = leasedClient{o.HTTPClient, w.lease}
	})...)
}

// leasedClient looks at the lease at each of the SDK's attempts.
type leasedClient struct {
	sdkroute53.HTTPClient

	lease *lease
}

func (c leasedClient) Do(request *http.Request) (*http.Response, error) {
	if err := c.lease.held(); err != nil {
		return nil, err
	}
	return c.HTTPClient.Do(request) //nolint:wrapcheck // it stands in for the client
}
