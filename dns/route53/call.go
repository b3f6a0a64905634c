package route53

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	sdk "github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"
	"github.com/aws/smithy-go"

	"github.com/penstock-dev/penstock/internal/awserror"
)

// The operations of the API, as the SDK and IAM name them.
const (
	opListHostedZones          = "ListHostedZones"
	opListResourceRecordSets   = "ListResourceRecordSets"
	opChangeResourceRecordSets = "ChangeResourceRecordSets"
	opGetChange                = "GetChange"
)

// maxBackoff bounds the pause between two attempts of a call.
const maxBackoff = 5 * time.Second

// noRetries hands the repetition of calls to call.
func noRetries(o *sdk.Options) { o.Retryer = aws.NopRetryer{} }

// callError is a call that failed after all its attempts.
type callError struct {
	operation string
	zone      *hostedZone // nil if the call concerns none
	hint      string
	err       error
}

func (e *callError) Error() string {
	where := ""
	if e.zone != nil {
		where = fmt.Sprintf(" in hosted zone %s", e.zone)
	}
	return fmt.Sprintf("route 53 %s%s: %s: %s", e.operation, where, e.hint, awserror.Text(e.err))
}

func (e *callError) Unwrap() error { return e.err }

// failed returns the error of a call, and logs what its text leaves out because it differs from call to call.
func (b *Backend) failed(operation string, zone *hostedZone, err error) error {
	id := ""
	if zone != nil {
		id = zone.id
	}
	b.log.Infow("route 53 call failed", "operation", operation, "hosted_zone", id, "code", errorCode(err), "request_id", awserror.RequestID(err), "error", err.Error())
	return &callError{operation, zone, hint(operation, zone, err), err}
}

// call makes one call of the API. Each attempt takes a token of the request bucket. The SDK's standard retryer decides which
// errors are worth another attempt and how long to wait, exponentially and with jitter; the waiting is on the Backend's
// clock and ends with CallTimeout. A change is repeated only when it was certainly not applied: for any other
// error the caller must read again first.
func call[T any](ctx context.Context, b *Backend, operation string, zone *hostedZone, do func(context.Context) (T, error)) (T, error) {
	var none T
	if err := b.takeToken(ctx); err != nil {
		return none, &callError{operation, zone, "waiting for the client-side request rate", err}
	}
	bounded, cancel := context.WithTimeout(ctx, b.opts.CallTimeout)
	defer cancel()
	until := b.opts.Clock.Now().Add(b.opts.CallTimeout)
	for attempt := 0; ; attempt++ {
		out, err := do(bounded)
		b.metrics.called(operation, err)
		if err == nil {
			return out, nil
		}
		retryable := b.retryer.IsErrorRetryable(err)
		if operation == opChangeResourceRecordSets {
			retryable = notApplied(err)
		}
		if !retryable || ctx.Err() != nil {
			return none, b.failed(operation, zone, err)
		}
		delay, delayErr := b.retryer.RetryDelay(attempt, err)
		if delayErr != nil {
			return none, b.failed(operation, zone, errors.Join(err, delayErr))
		}
		if b.opts.Clock.Now().Add(delay).After(until) || b.wait(bounded, delay) != nil || b.takeToken(bounded) != nil {
			return none, b.failed(operation, zone, err)
		}
	}
}

// takeToken waits for a token of the request bucket.
func (b *Backend) takeToken(ctx context.Context) error {
	now := b.opts.Clock.Now()
	reservation := b.limiter.ReserveN(now, 1)
	delay := reservation.DelayFrom(now)
	if err := b.wait(ctx, delay); err != nil {
		reservation.CancelAt(now)
		return err
	}
	return nil
}

// wait returns after d on the Backend's clock, or at once with an error when ctx would end before.
func (b *Backend) wait(ctx context.Context, d time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err //nolint:wrapcheck // the callers say what was waited for
	}
	if d <= 0 {
		return nil
	}
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < d {
		return fmt.Errorf("no time left: %w", context.DeadlineExceeded)
	}
	select {
	case <-b.opts.Clock.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err() //nolint:wrapcheck // the callers say what was waited for
	}
}

// errorCode returns the API's code of an error; empty if the API did not answer.
func errorCode(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorCode()
	}
	return ""
}

func throttled(err error) bool {
	_, ok := retry.DefaultThrottleErrorCodes[errorCode(err)]
	return ok && !busy(err)
}

// busy reports whether an earlier change of the zone is still being processed.
func busy(err error) bool {
	_, ok := errors.AsType[*types.PriorRequestNotComplete](err)
	return ok
}

// notApplied reports whether a change was refused for a reason that passes, so that the same batch may be sent again.
func notApplied(err error) bool { return throttled(err) || busy(err) }

// denied reports whether the credentials may not do what was asked of Route 53.
func denied(err error) bool {
	if awserror.Elsewhere(err) {
		return false
	}
	switch errorCode(err) {
	case "AccessDenied", "AccessDeniedException":
		return true
	}
	return false
}

// credentials reports whether the credentials themselves were refused, or were not to be had.
// https://docs.aws.amazon.com/Route53/latest/APIReference/CommonErrors.html
func credentials(err error) bool {
	if awserror.Elsewhere(err) {
		return answered(err) && !throttled(err)
	}
	switch errorCode(err) {
	case "InvalidClientTokenId", "ExpiredToken", "ExpiredTokenException", "UnrecognizedClientException", "SignatureDoesNotMatch",
		"MissingAuthenticationToken", "IncompleteSignature", "NotAuthorized", "OptInRequired", "RequestExpired":
		return true
	}
	return false
}

// refused reports whether a batch was refused because of what is in it.
func refused(err error) bool {
	_, batch := errors.AsType[*types.InvalidChangeBatch](err)
	_, input := errors.AsType[*types.InvalidInput](err)
	_, check := errors.AsType[*types.NoSuchHealthCheck](err)
	return batch || input || check
}

// answered reports whether the API refused a call, so that nothing was applied; after a 5xx, or without an answer, that is unknown.
func answered(err error) bool {
	response, ok := errors.AsType[interface {
		error
		HTTPStatusCode() int
	}](err)
	return errorCode(err) != "" && (!ok || response.HTTPStatusCode() < 500)
}

func zoneGone(err error) bool {
	_, ok := errors.AsType[*types.NoSuchHostedZone](err)
	return ok
}

// hint says what an error means for the reader and what to do about it.
func hint(operation string, zone *hostedZone, err error) string {
	switch {
	case denied(err):
		resource := "*"
		if zone != nil {
			resource = "arn:aws:route53:::hostedzone/" + zone.id
		}
		if operation == opGetChange {
			resource = "arn:aws:route53:::change/*"
		}
		return fmt.Sprintf("the credentials may not do this: allow the IAM action route53:%s on %s", operation, resource)
	case credentials(err):
		return "the credentials were refused: renew or correct them"
	case throttled(err):
		return "throttled by Route 53, which takes ten requests a second from all users of an account"
	case busy(err):
		return "an earlier change of the zone is still being processed"
	case zoneGone(err):
		return "the hosted zone is gone: hosted zones are listed anew on the next call"
	case refused(err):
		return "refused"
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled):
		return "no answer in time"
	case errorCode(err) == "":
		return "no answer"
	case !answered(err):
		return "Route 53 is not available"
	}
	return "an answer that was not expected"
}
