package awserror_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/penstock-dev/penstock/internal/awserror"
)

// operation is an error as the SDK's clients return it.
func operation(service, name string, status int, requestID string, err error) error {
	return &smithy.OperationError{ServiceID: service, OperationName: name, Err: &awshttp.ResponseError{
		RequestID:     requestID,
		ResponseError: &smithyhttp.ResponseError{Response: &smithyhttp.Response{Response: &http.Response{StatusCode: status}}, Err: err},
	}}
}

func api(code, message string) error { return &smithy.GenericAPIError{Code: code, Message: message} }

// What is said of a failure is the same for each call that fails of it, and keeps what people need.
func TestText(t *testing.T) {
	t.Parallel()
	const list, change = "ListHostedZones", "ChangeResourceRecordSets"
	check := "00000000-0000-4000-8000-00000000beef"
	for name, tc := range map[string]struct {
		first, second error
		want          string
	}{
		"Throttled": {
			operation("Route 53", list, 400, "5d1f9ae2-0001", api("Throttling", "Rate exceeded")),
			operation("Route 53", list, 400, "5d1f9ae2-0002", api("Throttling", "Rate exceeded")),
			"Throttling: Rate exceeded",
		},
		"RequestIDInTheMessage": {
			operation("Route 53", list, 503, "1", api("ServiceUnavailable", "Try again. (Request ID: 0a1b-1, HostID: abc/1=)")),
			operation("Route 53", list, 503, "2", api("ServiceUnavailable", "Try again. (Request ID: 0a1b-2, HostID: abc/2=)")),
			"ServiceUnavailable: Try again. ()",
		},
		"Expired": {
			operation("Route 53", list, 403, "1", api("SignatureDoesNotMatch", "Signature expired: 20260102T030405Z is now earlier than 20260102T031005Z (20260102T032505Z - 15 min.)")),
			operation("Route 53", list, 403, "2", api("SignatureDoesNotMatch", "Signature expired: 20260102T030410Z is now earlier than 20260102T031010Z (20260102T032510Z - 15 min.)")),
			"SignatureDoesNotMatch: Signature expired: <time> is now earlier than <time> (<time> - 15 min.)",
		},
		"Denied": {
			operation("Route 53", list, 403, "1", api("AccessDenied", "User: arn:aws:sts::123456789012:assumed-role/publisher/1767323045000000001 is not authorized to perform: route53:ListHostedZones")),
			operation("Route 53", list, 403, "2", api("AccessDenied", "User: arn:aws:sts::123456789012:assumed-role/publisher/1767326645000000002 is not authorized to perform: route53:ListHostedZones")),
			"AccessDenied: User: arn:aws:sts::123456789012:assumed-role/publisher is not authorized to perform: route53:ListHostedZones",
		},
		"Batch": {
			operation("Route 53", change, 400, "1", &types.InvalidChangeBatch{Messages: []string{"RRSet of type A is bad", "so is another"}}),
			operation("Route 53", change, 400, "2", &types.InvalidChangeBatch{Messages: []string{"RRSet of type A is bad", "so is another"}}),
			"InvalidChangeBatch: RRSet of type A is bad; so is another",
		},
		"HealthCheckStays": {
			operation("Route 53", change, 400, "1", api("NoSuchHealthCheck", "No health check with ID "+check)),
			operation("Route 53", change, 400, "2", api("NoSuchHealthCheck", "No health check with ID "+check)),
			"NoSuchHealthCheck: No health check with ID " + check,
		},
		"NoRole": {
			&smithy.OperationError{ServiceID: "Route 53", OperationName: list, Err: fmt.Errorf("get identity: get credentials: %w",
				operation("STS", "AssumeRoleWithWebIdentity", 403, "1", api("AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity")))},
			&smithy.OperationError{ServiceID: "Route 53", OperationName: list, Err: fmt.Errorf("get identity: get credentials: %w",
				operation("STS", "AssumeRoleWithWebIdentity", 403, "2", api("AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity")))},
			"STS AssumeRoleWithWebIdentity: AccessDenied: Not authorized to perform sts:AssumeRoleWithWebIdentity",
		},
		"NoCredentials": {
			&smithy.OperationError{ServiceID: "Route 53", OperationName: list, Err: fmt.Errorf("get identity: get credentials: no EC2 IMDS role found, %w",
				&smithy.OperationError{ServiceID: imds.ServiceID, OperationName: "GetMetadata", Err: context.DeadlineExceeded})},
			&smithy.OperationError{ServiceID: "Route 53", OperationName: list, Err: fmt.Errorf("get identity: get credentials: no EC2 IMDS role found, %w",
				&smithy.OperationError{ServiceID: imds.ServiceID, OperationName: "GetMetadata", Err: context.DeadlineExceeded})},
			"get identity: get credentials: no EC2 IMDS role found, operation error ec2imds: GetMetadata, context deadline exceeded" +
				": no AWS credentials elsewhere, and none of the instance: a Pod has them from the role of its service account, a person from AWS_PROFILE or AWS_ACCESS_KEY_ID",
		},
		"Reset": {
			operation("Route 53", list, 0, "", errors.New(`request send failed, Get "https://route53.amazonaws.com/2013-04-01/hostedzone?marker=Z1": read tcp 192.0.2.1:43210->198.51.100.1:443: read: connection reset by peer`)),
			operation("Route 53", list, 0, "", errors.New(`request send failed, Get "https://route53.amazonaws.com/2013-04-01/hostedzone?marker=Z2": read tcp 192.0.2.1:43211->198.51.100.2:443: read: connection reset by peer`)),
			`https response error StatusCode: 0, request send failed, Get "https://route53.amazonaws.com/2013-04-01/hostedzone": read tcp: read: connection reset by peer`,
		},
		"IPv6": {
			operation("Route 53", list, 0, "", errors.New(`dial tcp [2001:db8::1]:443: connect: network is unreachable`)),
			operation("Route 53", list, 0, "", errors.New(`dial tcp [2001:db8::2]:443: connect: network is unreachable`)),
			"https response error StatusCode: 0, dial tcp: connect: network is unreachable",
		},
		"NoResolver": {
			operation("Route 53", list, 0, "", errors.New(`dial tcp: lookup route53.amazonaws.com on 192.0.2.53:53: read udp 192.0.2.1:40001->192.0.2.53:53: i/o timeout`)),
			operation("Route 53", list, 0, "", errors.New(`dial tcp: lookup route53.amazonaws.com on 192.0.2.54:53: read udp 192.0.2.1:40002->192.0.2.54:53: i/o timeout`)),
			"https response error StatusCode: 0, dial tcp: lookup route53.amazonaws.com: read udp: i/o timeout",
		},
		"Certificate": {
			operation("Route 53", list, 0, "", errors.New(`x509: certificate has expired or is not yet valid: current time 2026-01-02T03:04:05Z is after 2025-01-02T00:00:00Z`)),
			operation("Route 53", list, 0, "", errors.New(`x509: certificate has expired or is not yet valid: current time 2026-01-02T03:04:25+01:00 is after 2025-01-02T00:00:00Z`)),
			"https response error StatusCode: 0, x509: certificate has expired or is not yet valid: current time <time> is after <time>",
		},
		"GoAway": {
			operation("Route 53", list, 0, "", errors.New(`http2: server sent GOAWAY and closed the connection; LastStreamID=1999, ErrCode=NO_ERROR`)),
			operation("Route 53", list, 0, "", errors.New(`http2: server sent GOAWAY and closed the connection; LastStreamID=2001, ErrCode=NO_ERROR`)),
			"https response error StatusCode: 0, http2: server sent GOAWAY and closed the connection; LastStreamID, ErrCode=NO_ERROR",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := awserror.Text(tc.first); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
			if first, second := awserror.Text(tc.first), awserror.Text(tc.second); first != second {
				t.Errorf("the next call says something else:\n%s\n%s", first, second)
			}
		})
	}
}
