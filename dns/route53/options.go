package route53

import (
	"context"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
	"k8s.io/utils/clock"
)

// API is what the backend calls of Route 53; *route53.Client of the AWS SDK has it. The SDK's own retries are switched off
// in each call, because every attempt has to pass the backend's request bucket.
type API interface {
	ListHostedZones(context.Context, *sdk.ListHostedZonesInput, ...func(*sdk.Options)) (*sdk.ListHostedZonesOutput, error)
	ListResourceRecordSets(context.Context, *sdk.ListResourceRecordSetsInput, ...func(*sdk.Options)) (*sdk.ListResourceRecordSetsOutput, error)
	ChangeResourceRecordSets(context.Context, *sdk.ChangeResourceRecordSetsInput, ...func(*sdk.Options)) (*sdk.ChangeResourceRecordSetsOutput, error)
	GetChange(context.Context, *sdk.GetChangeInput, ...func(*sdk.Options)) (*sdk.GetChangeOutput, error)
}

// Options configure a Backend. The zero value writes to all public hosted zones that the credentials see.
type Options struct {
	// Zones are the ids of the hosted zones to use, public or private; empty means all public ones.
	Zones []string
	// PrivateZones adds the private hosted zones when Zones is empty.
	PrivateZones bool
	// ZoneCacheTTL is how long the list of hosted zones, and of the names that a cluster owns in them, is remembered;
	// an hour if zero.
	ZoneCacheTTL time.Duration

	// AdoptExternalDNS is the owner id (--txt-owner-id) of an external-dns whose records may be taken over where they are in
	// the way; empty means none. TXTPrefix, TXTSuffix and TXTWildcardReplacement are the settings of that external-dns
	// with the same names.
	AdoptExternalDNS       string
	TXTPrefix              string
	TXTSuffix              string
	TXTWildcardReplacement string

	// Origin tells the Kubernetes cluster from another one that has its name by mistake, such as the UID of its namespace kube-system. Ownership records
	// name it, and records of another origin are not ours. Empty takes those of every origin, and leaves what ownership records name.
	Origin string
	// AdoptOrigin is the origin of a cluster that had the name before and is gone, whose records may be taken over; empty means none.
	AdoptOrigin string

	// Rate is the number of requests a second that all calls of the Backend share, without bursts; 4 if zero. An account has
	// 10, and had 5 until 2026: https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/throttling-api-requests.html
	Rate rate.Limit
	// CallTimeout bounds one call of the API with its repetitions; 20 s if zero.
	CallTimeout time.Duration
	// PollInterval is how long an answer of GetChange that says PENDING is believed; 2 s if zero.
	PollInterval time.Duration

	// ReadTTL is how long the record sets that were read may be used again while this Backend changes nothing in their zone, so
	// that asking for many Ingresses, one by one, reads each page once; 5 s if zero.
	ReadTTL time.Duration

	// Clock is for tests; nil means the real one.
	Clock clock.Clock
	// Registerer gets the metrics; nil means none.
	Registerer prometheus.Registerer
}

func (o Options) withDefaults() Options {
	if o.ZoneCacheTTL == 0 {
		o.ZoneCacheTTL = time.Hour
	}
	if o.Rate == 0 {
		o.Rate = 4
	}
	if o.CallTimeout == 0 {
		o.CallTimeout = 20 * time.Second
	}
	if o.PollInterval == 0 {
		o.PollInterval = 2 * time.Second
	}
	if o.ReadTTL == 0 {
		o.ReadTTL = 5 * time.Second
	}
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	return o
}
