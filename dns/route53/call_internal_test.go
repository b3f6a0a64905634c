package route53

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// operation is an error as the SDK's clients return it.
func operation(service, name string, status int, requestID string, err error) error {
	return &smithy.OperationError{ServiceID: service, OperationName: name, Err: &awshttp.ResponseError{
		RequestID:     requestID,
		ResponseError: &smithyhttp.ResponseError{Response: &smithyhttp.Response{Response: &http.Response{StatusCode: status}}, Err: err},
	}}
}

func api(code, message string) error { return &smithy.GenericAPIError{Code: code, Message: message} }

// Credentials that cannot be had are no lack of a right in Route 53: what cannot be read then may be the cluster's all the same.
func TestWhatSTSRefusesIsNotDenied(t *testing.T) {
	t.Parallel()
	sts := func(status int, err error) error {
		return &smithy.OperationError{ServiceID: "Route 53", OperationName: opListHostedZones, Err: operation("STS", "AssumeRole", status, "1", err)}
	}
	for name, tc := range map[string]struct {
		err                       error
		denied, credentials, slow bool
	}{
		"STS refuses":    {sts(403, api("AccessDenied", "no")), false, true, false},
		"STS throttles":  {sts(400, api("Throttling", "slow down")), false, false, true},
		"STS is down":    {sts(500, api("InternalFailure", "oh")), false, false, false},
		"STS is silent":  {sts(0, errors.New("EOF")), false, false, false},
		"no right":       {operation("Route 53", opListHostedZones, 403, "1", api("AccessDenied", "no")), true, false, false},
		"expired":        {operation("Route 53", opListHostedZones, 403, "1", api("ExpiredToken", "no")), false, true, false},
		"a plain answer": {api("AccessDenied", "no"), true, false, false},
	} {
		if denied(tc.err) != tc.denied || credentials(tc.err) != tc.credentials || throttled(tc.err) != tc.slow {
			t.Errorf("%s: denied %t, credentials %t, throttled %t; want %t, %t, %t", name,
				denied(tc.err), credentials(tc.err), throttled(tc.err), tc.denied, tc.credentials, tc.slow)
		}
	}
	if got := (&callError{opListHostedZones, nil, hint(opListHostedZones, nil, sts(403, api("AccessDenied", "no"))), sts(403, api("AccessDenied", "no"))}).Error(); strings.Contains(got, "IAM action route53") {
		t.Errorf("the remedy is not in Route 53: %s", got)
	}
}
