package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"

	"github.com/penstock-dev/penstock/internal/awserror"
)

const (
	// firstBackoff and maxBackoff bound the pause before the second attempt of a call, of DynamoDB or of a ConfigMap, and before any.
	// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html#Programming.Errors.RetryAndBackoff
	firstBackoff = 50 * time.Millisecond
	maxBackoff   = 2 * time.Second
	// attemptShare is the part of CallTimeout that one attempt may take, so that an answer that never comes leaves time for another attempt.
	attemptShare = 3
)

// noRetries hands the repetition of calls to call.
func noRetries(o *dynamodb.Options) { o.Retryer = aws.NopRetryer{} }

// call makes one call of the API until it is answered or ctx ends. The SDK's standard retryer decides which errors are worth another attempt:
// throttling, 5xx and connections that break; an attempt that was not answered in its time is another. The error says what it means for the reader.
// unknown reports that an attempt before the last one may have been applied.
func call[T any](ctx context.Context, d *DynamoDB, operation string, do func(context.Context) (T, error)) (out T, unknown bool, err error) {
	for attempt := 0; ; attempt++ {
		if ctx.Err() != nil {
			if err == nil {
				err = d.failed(operation, ctx.Err())
			}
			return out, unknown, err
		}
		attemptCtx, cancel := context.WithTimeout(ctx, d.opts.CallTimeout/attemptShare)
		var cause error
		out, cause = do(attemptCtx)
		late := attemptCtx.Err() != nil && ctx.Err() == nil
		cancel()
		if cause == nil {
			return out, unknown, nil
		}
		err = d.failed(operation, cause)
		if !late && !d.passing(cause) || !pause(ctx, attempt) {
			if ended := ctx.Err(); ended != nil && !errors.Is(err, ended) {
				err = &endedError{err, ended}
			}
			return out, unknown, err
		}
		unknown = unknown || !answered(cause)
	}
}

// passing reports whether an error may be gone at the next attempt. The SDK counts neither half an answer among those, nor a transaction on the row, which
// the controllers before this one write with.
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis.html#transaction-conflict-handling
func (d *DynamoDB) passing(err error) bool {
	_, garbled := errors.AsType[*smithy.DeserializationError](err)
	_, locked := errors.AsType[*types.TransactionConflictException](err)
	return garbled || locked || d.retryer.IsErrorRetryable(err)
}

// pause waits before the attempt after the given one, with jitter. It returns false, at once, if ctx ends before.
func pause(ctx context.Context, attempt int) bool {
	most := min(firstBackoff<<min(attempt, 10), maxBackoff)
	delay := most/2 + rand.N(most/2)
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < delay {
		return false
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// errorCode returns the API's code of an error; empty if the API did not answer.
func errorCode(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorCode()
	}
	return ""
}

// answered reports whether the API refused a call, so that nothing was applied; after a 5xx, or without an answer, that is unknown.
func answered(err error) bool {
	response, ok := errors.AsType[interface {
		error
		HTTPStatusCode() int
	}](err)
	return errorCode(err) != "" && (!ok || response.HTTPStatusCode() < 500)
}

// callError is a call that failed after all its attempts.
type callError struct {
	text string
	err  error
}

func (e *callError) Error() string { return e.text + ": " + awserror.Text(e.err) }

func (e *callError) Unwrap() error { return e.err }

// endedError is the last error of a call whose time was over, or that somebody ended. It is told as what it is: whether the time was over in an attempt or in the
// pause after it is chance.
type endedError struct{ err, ended error }

func (e *endedError) Error() string { return e.err.Error() }

func (e *endedError) Unwrap() []error { return []error{e.err, e.ended} }

// failed wraps an error of the API with the row, the operation and what to do about it.
func (d *DynamoDB) failed(operation string, err error) error {
	if _, ok := errors.AsType[*types.ConditionalCheckFailedException](err); ok {
		return d.wrap(&callError{operation, err})
	}
	return d.wrap(&callError{operation + ": " + hint(operation, d.table, err), err})
}

// hint says what an error means for the reader and what to do about it.
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html
func hint(operation, table string, err error) string {
	code := errorCode(err)
	if _, throttled := retry.DefaultThrottleErrorCodes[code]; throttled {
		return "throttled by DynamoDB until the deadline: raise the capacity of the table, or make it on-demand"
	}
	switch code {
	case "ResourceNotFoundException":
		return fmt.Sprintf("the table does not exist: make it with the key %s (S) alone, or correct --table-name or --aws-region", clusterName)
	case "AccessDeniedException", "AccessDenied":
		return fmt.Sprintf("the credentials may not do this: allow the IAM action dynamodb:%s on arn:aws:dynamodb:*:*:table/%s", operation, table)
	case "UnrecognizedClientException", "IncompleteSignatureException", "InvalidSignatureException", "MissingAuthenticationTokenException",
		"MissingAuthenticationToken", "ExpiredTokenException", "ExpiredToken", "InvalidClientTokenId":
		return "the credentials were refused: renew or correct them"
	case "ValidationException":
		return fmt.Sprintf("refused: the key of the table must be %s (S) alone", clusterName)
	case "":
		if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
			return "no answer in time"
		}
		return "no answer"
	}
	if !answered(err) {
		return "DynamoDB is not available"
	}
	return "an answer that was not expected"
}
