package ramp

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/api"
	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
)

// maxSamples bounds the answer. Prometheus warns when it leaves samples out.
// https://prometheus.io/docs/prometheus/latest/querying/api/#instant-queries
const maxSamples = 1000

// QueryOptions are what a [Query] asks. Address, Query, and one of Min and Max are required.
type QueryOptions struct {
	// Address is the URL of Prometheus, or of what speaks its API, without /api/v1.
	Address string
	// Query is an instant query in PromQL, with a scalar or a vector for a result.
	Query string
	// Min and Max are the least and the greatest value that every sample may have.
	Min, Max *float64
	// Timeout is how long an answer may take; 10 s if zero.
	Timeout time.Duration
	// Transport makes the calls, for those who need credentials; nil is that of the Prometheus client.
	Transport http.RoundTripper
}

// Query is a [Gate] that refuses a step while a query of Prometheus has a value out of range. It is asked in both directions, because draining one
// cluster may overload another. No value, NaN, or a warning with it means that monitoring is not whole, which is no refusal.
type Query struct {
	opts QueryOptions
	api  promv1.API
	name string // the query and whom it asks, for errors
}

// NewQuery returns a Query. It calls nobody.
func NewQuery(o QueryOptions) (*Query, error) {
	address, err := url.Parse(o.Address)
	switch {
	case err != nil: // with the text left out, which may hold a password
		return nil, errors.New("prometheus address: not a URL: write it like http://prometheus:9090")
	case address.Scheme != "http" && address.Scheme != "https" || address.Host == "":
		return nil, fmt.Errorf("prometheus address %q: not the URL of a server: write it like http://prometheus:9090", address.Redacted())
	case strings.TrimSpace(o.Query) == "":
		return nil, fmt.Errorf("prometheus %s: empty query: write one in PromQL, with a scalar or a vector for a result", address.Redacted())
	case o.Min == nil && o.Max == nil:
		return nil, fmt.Errorf("prometheus query %#q: no range: set a least value, a greatest one, or both", o.Query)
	case isNaN(o.Min) || isNaN(o.Max) || o.Min != nil && o.Max != nil && *o.Min > *o.Max:
		return nil, fmt.Errorf("prometheus query %#q: no value is %s: correct the range", o.Query, o.allowed())
	}
	if o.Timeout <= 0 {
		o.Timeout = askTimeout
	}
	client, err := api.NewClient(api.Config{Address: o.Address, RoundTripper: o.Transport})
	if err != nil {
		return nil, fmt.Errorf("prometheus address %q: %w", address.Redacted(), err)
	}
	return &Query{opts: o, api: promv1.NewAPI(client), name: fmt.Sprintf("prometheus query %#q at %s", o.Query, address.Redacted())}, nil
}

// Check implements [Gate].
func (q *Query) Check(ctx context.Context, _ bool) error {
	ctx, cancel := context.WithTimeout(ctx, q.opts.Timeout)
	defer cancel()
	// Without a time Prometheus takes its own, so that the clock of this process does not matter.
	value, warnings, err := q.api.Query(ctx, q.opts.Query, time.Time{}, promv1.WithTimeout(q.opts.Timeout), promv1.WithLimit(maxSamples))
	switch {
	case err != nil && ctx.Err() != nil:
		return fmt.Errorf("%s: no answer within %s: %w; see whether the address is right, or make the query cheaper", q.name, q.opts.Timeout, ctx.Err())
	case err != nil:
		return fmt.Errorf("%s: %w; see whether the address and the query are right", q.name, err)
	case len(warnings) > 0:
		return fmt.Errorf("%s: the answer may not be whole: %s; correct what Prometheus warns of", q.name, strings.Join(warnings, "; "))
	}
	switch value := value.(type) {
	case *model.Scalar:
		return q.judge(model.Vector{{Value: value.Value}})
	case model.Vector:
		return q.judge(value)
	case nil:
		return fmt.Errorf("%s: an answer without a value", q.name)
	default:
		return fmt.Errorf("%s: the result is a %s, which is no value at one time: write a query for a vector or a scalar", q.name, value.Type())
	}
}

// judge says what samples mean. One that is out of range refuses the step, whatever the others are.
func (q *Query) judge(samples model.Vector) error {
	if len(samples) == 0 {
		return fmt.Errorf("%s: the result is empty, where every value must be %s: see whether the series exist, or write a query that always has a value, such as with \"or vector(0)\"",
			q.name, q.opts.allowed())
	}
	var unknown error
	for _, s := range samples {
		value := float64(s.Value)
		sample := ""
		if len(s.Metric) > 0 {
			sample = " of " + s.Metric.String()
		}
		switch {
		case s.Histogram != nil:
			unknown = fmt.Errorf("%s: the value%s is a histogram, where every value must be %s: take a quantile or a fraction of it", q.name, sample, q.opts.allowed())
		case math.IsNaN(value):
			unknown = fmt.Errorf("%s: the value%s is NaN, where every value must be %s: see whether it divides by zero", q.name, sample, q.opts.allowed())
		case q.opts.Min != nil && value < *q.opts.Min || q.opts.Max != nil && value > *q.opts.Max:
			return refused("%s: the value%s is %s, where every value must be %s", q.name, sample, number(value), q.opts.allowed())
		}
	}
	return unknown
}

// allowed is the range, for errors.
func (o QueryOptions) allowed() string {
	switch {
	case o.Max == nil:
		return "at least " + number(*o.Min)
	case o.Min == nil:
		return "at most " + number(*o.Max)
	}
	return "from " + number(*o.Min) + " to " + number(*o.Max)
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

func isNaN(v *float64) bool { return v != nil && math.IsNaN(*v) }
