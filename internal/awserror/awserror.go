// Package awserror tells what the AWS SDK returns as an error: in the same words whenever the same is the matter, because statuses and events, which people
// read, are told apart by their text.
package awserror

import (
	"errors"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"
	"github.com/aws/smithy-go"
)

// varying is what a text of the AWS SDK has that the next call with the same failure has not, and what to write in its place.
var varying = []struct {
	pattern *regexp.Regexp
	instead string
}{
	// https response error StatusCode: 503, RequestID: 5d1f9ae2-8b1c, HostID: abc=, request send failed
	{regexp.MustCompile(`,? ?\b(?:Request ?I[Dd]|Host ?I[Dd]): ?[^,;)\s]*`), ""},
	// Signature expired: 20260102T030405Z is now earlier than; current time 2026-01-02T03:04:05Z is after
	{regexp.MustCompile(`\b\d{4}-?\d\d-?\d\d[T ]\d\d:?\d\d:?\d\d(?:\.\d+)?(?: ?(?:Z|UTC|[+-]\d\d:?\d\d))*`), "<time>"},
	// read tcp 192.0.2.1:43210->198.51.100.1:443; lookup route53.amazonaws.com on 192.0.2.53:53
	{regexp.MustCompile(`(?: on)? (?:` + address + `->)?` + address), ""},
	// http2: server sent GOAWAY and closed the connection; LastStreamID=1999; stream error: stream ID 7
	{regexp.MustCompile(`(?i)(stream ?ID)[= ]\d+`), "$1"},
	// Get "https://route53.amazonaws.com/2013-04-01/hostedzone/Z1/rrset?name=www.example.com."
	{regexp.MustCompile(`\?[^"\s]*"`), `"`},
	// User: arn:aws:sts::123456789012:assumed-role/publisher/1767323045000000000 is not authorized: the SDK names sessions by the time
	{regexp.MustCompile(`(:assumed-role/[^/\s]+)/\S+`), "$1"},
}

// address is one of a connection: an IP address and a port.
const address = `(?:\d{1,3}(?:\.\d{1,3}){3}|\[[0-9A-Fa-f:.]+(?:%\w+)?\]):\d+`

// Text says why a call failed: the code and the message of the API, or, without an answer, what the SDK says. It leaves out what differs from call to
// call, such as the id of the request.
func Text(err error) string {
	text := err.Error()
	if op, ok := errors.AsType[*smithy.OperationError](err); ok {
		text = op.Err.Error()
	}
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		text = api.ErrorCode() + ": " + message(api)
		if Elsewhere(err) {
			op := innermost(err)
			text = op.ServiceID + " " + op.OperationName + ": " + text
		}
	}
	for _, v := range varying {
		text = v.pattern.ReplaceAllString(text, v.instead)
	}
	// The SDK asks the instance that it runs on after it has looked for credentials everywhere else, and its error names nothing but that.
	// https://docs.aws.amazon.com/sdk-for-go/v2/developer-guide/configure-gosdk.html#specifying-credentials
	if op := innermost(err); op != nil && op.ServiceID == imds.ServiceID {
		text += ": no AWS credentials elsewhere, and none of the instance: a Pod has them from the role of its service account, a person from AWS_PROFILE or AWS_ACCESS_KEY_ID"
	}
	return text
}

// message is what the API says; of a refused batch, about each change in it.
func message(api smithy.APIError) string {
	if batch, ok := errors.AsType[*types.InvalidChangeBatch](api); ok && len(batch.Messages) > 0 {
		return strings.Join(batch.Messages, "; ")
	}
	return api.ErrorMessage()
}

// innermost is the call that failed first, since getting credentials takes calls of other services; nil if err is of none.
func innermost(err error) (op *smithy.OperationError) {
	for next, ok := errors.AsType[*smithy.OperationError](err); ok; next, ok = errors.AsType[*smithy.OperationError](op.Err) {
		op = next
	}
	return op
}

// Elsewhere reports whether a call failed before its service was asked: where the credentials come from, such as STS.
func Elsewhere(err error) bool {
	first, ok := errors.AsType[*smithy.OperationError](err)
	return ok && innermost(err).ServiceID != first.ServiceID
}

// RequestID is what AWS' support asks for; empty if there was no answer.
func RequestID(err error) string {
	if response, ok := errors.AsType[interface {
		error
		ServiceRequestID() string
	}](err); ok {
		return response.ServiceRequestID()
	}
	return ""
}
