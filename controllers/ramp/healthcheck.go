package ramp

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"
	"github.com/aws/smithy-go"
)

// healthyAbove is the share of health checkers, in per cent, above which Route 53 holds an endpoint for healthy.
// https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/dns-failover-determining-health-of-endpoints.html
const healthyAbove = 18

// HealthCheckAPI is the call of Route 53 that a [HealthCheck] makes; *route53.Client has it. Route 53 is global: a client needs us-east-1 to sign with.
// https://docs.aws.amazon.com/general/latest/gr/r53.html
type HealthCheckAPI interface {
	GetHealthCheckStatus(ctx context.Context, in *route53.GetHealthCheckStatusInput, opts ...func(*route53.Options)) (*route53.GetHealthCheckStatusOutput, error)
}

// HealthCheck is a [Gate] that refuses to raise the weight of a cluster whose Route 53 health check is unhealthy. It has no objection to lowering it.
//
// It can ask about a health check of an endpoint that is not inverted. The API says nothing about calculated health checks, and how endpoints are,
// not what a health check makes of that: https://docs.aws.amazon.com/Route53/latest/APIReference/API_GetHealthCheckStatus.html
type HealthCheck struct {
	api HealthCheckAPI
	id  func() string
}

// NewHealthCheck returns a HealthCheck of the health check that id names when it is asked.
func NewHealthCheck(client HealthCheckAPI, id func() string) *HealthCheck {
	return &HealthCheck{client, id}
}

// Check implements [Gate].
func (h *HealthCheck) Check(ctx context.Context, rising bool) error {
	if !rising {
		return nil
	}
	id := h.id()
	if id == "" {
		return errors.New("route 53 health check: the cluster has none to ask about: set its HealthCheckID, or do without this gate")
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	out, err := h.api.GetHealthCheckStatus(ctx, &route53.GetHealthCheckStatusInput{HealthCheckId: &id})
	if err != nil {
		return fmt.Errorf("route 53 GetHealthCheckStatus of health check %q: %s: %w", id, remedy(id, err), err)
	}
	healthy, all, failure := 0, 0, ""
	for _, o := range out.HealthCheckObservations {
		if o.StatusReport == nil || o.StatusReport.Status == nil {
			continue
		}
		all++
		// The text goes on after the first word, for people: "Success: HTTP Status Code 200, OK".
		if status := aws.ToString(o.StatusReport.Status); strings.HasPrefix(status, "Success") {
			healthy++
		} else if failure == "" {
			failure = status
		}
	}
	if all == 0 {
		return fmt.Errorf("route 53 GetHealthCheckStatus of health check %q: no checker reports: it is too new, or calculated or of an alarm, which this call does not know; name one of an endpoint", id)
	}
	if healthy*100 > all*healthyAbove {
		return nil
	}
	return refused("route 53 health check %q: %d of %d checkers report success, where more than %d %% must, one says %q: see to the endpoint",
		id, healthy, all, healthyAbove, failure)
}

// remedy says what an error means for the reader and what to do about it.
func remedy(id string, err error) string {
	code := ""
	if e, ok := errors.AsType[smithy.APIError](err); ok {
		code = e.ErrorCode()
	}
	_, gone := errors.AsType[*types.NoSuchHealthCheck](err)
	_, invalid := errors.AsType[*types.InvalidInput](err)
	_, throttled := retry.DefaultThrottleErrorCodes[code]
	switch {
	case gone:
		return "it does not exist in this account: correct the cluster's HealthCheckID"
	case invalid:
		return "this call cannot tell about it: name the health check of an endpoint in the cluster's HealthCheckID"
	case throttled:
		return "throttled by Route 53, asked again after the interval of the ramp; make that longer if this goes on"
	case code == "AccessDenied" || code == "AccessDeniedException":
		return "the credentials may not do this: allow the IAM action route53:GetHealthCheckStatus on arn:aws:route53:::healthcheck/" + id
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled):
		return "no answer in time, asked again after the interval of the ramp"
	case code == "":
		return "no answer: see whether Route 53 can be reached, and whether there are credentials"
	}
	return "not answered, asked again after the interval of the ramp"
}
