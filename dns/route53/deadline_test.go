package route53_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/route53"
	"go.uber.org/zap/zaptest"

	"github.com/penstock-dev/penstock/dns/route53"
	"github.com/penstock-dev/penstock/internal/route53emulator"
)

// watched notes how long each call may take.
type watched struct {
	*sdk.Client

	mu    sync.Mutex // guards the following
	calls map[string][]time.Duration
}

// note keeps the time that a call has left; -1 is for ever.
func (w *watched) note(ctx context.Context, operation string) {
	left := time.Duration(-1)
	if deadline, ok := ctx.Deadline(); ok {
		left = time.Until(deadline)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls[operation] = append(w.calls[operation], left)
}

func (w *watched) ListHostedZones(ctx context.Context, in *sdk.ListHostedZonesInput, o ...func(*sdk.Options)) (*sdk.ListHostedZonesOutput, error) {
	w.note(ctx, "ListHostedZones")
	return w.Client.ListHostedZones(ctx, in, o...)
}

func (w *watched) ListResourceRecordSets(ctx context.Context, in *sdk.ListResourceRecordSetsInput, o ...func(*sdk.Options)) (*sdk.ListResourceRecordSetsOutput, error) {
	w.note(ctx, "ListResourceRecordSets")
	return w.Client.ListResourceRecordSets(ctx, in, o...)
}

func (w *watched) ChangeResourceRecordSets(ctx context.Context, in *sdk.ChangeResourceRecordSetsInput, o ...func(*sdk.Options)) (*sdk.ChangeResourceRecordSetsOutput, error) {
	w.note(ctx, "ChangeResourceRecordSets")
	return w.Client.ChangeResourceRecordSets(ctx, in, o...)
}

func (w *watched) GetChange(ctx context.Context, in *sdk.GetChangeInput, o ...func(*sdk.Options)) (*sdk.GetChangeOutput, error) {
	w.note(ctx, "GetChange")
	return w.Client.GetChange(ctx, in, o...)
}

// Every call of the API, also one that is repeated, ends with CallTimeout, whatever the caller's context says.
func TestEveryCallHasADeadline(t *testing.T) {
	t.Parallel()
	for name, timeout := range map[string]time.Duration{"Default": 0, "Shorter": 7 * time.Second} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, route53.Options{CallTimeout: timeout}, route53emulator.Options{})
			client := &watched{Client: sdk.NewFromConfig(r.aws.Config(keyID)), calls: map[string][]time.Duration{}}
			r.Backend = route53.New(client, zaptest.NewLogger(t).Sugar(), r.opts)
			r.aws.Inject(route53emulator.Fault{Kind: route53emulator.Throttled, Times: 3})
			r.settled(publication(shop, split("www.example.com", 10, 90, 10)...))
			r.clock.Advance(time.Minute)
			if got := len(r.published("www.example.com")); got != 3 {
				t.Errorf("%d records, want 3", got)
			}
			r.aws.Inject(route53emulator.Fault{Kind: route53emulator.DroppedAfter, Operation: route53emulator.ChangeResourceRecordSets})
			r.settled(publication(shop, a("www.example.com", 10, "192.0.2.1")))
			r.clock.Advance(2 * time.Hour) // zones and ownership are read again
			if _, err := r.Ingresses(t.Context(), cluster); err != nil {
				t.Error(err)
			}
			r.settled(publication(shop))

			most := timeout
			if most == 0 {
				most = 20 * time.Second
			}
			for _, operation := range []string{"ListHostedZones", "ListResourceRecordSets", "ChangeResourceRecordSets", "GetChange"} {
				calls := client.calls[operation]
				if len(calls) < 2 {
					t.Errorf("%s was called %d times, want all kinds of its calls", operation, len(calls))
				}
				if slices.Min(append(calls, most)) <= 0 || slices.Max(append(calls, 0)) > most {
					t.Errorf("%s may take %v, want at most %v each", operation, calls, most)
				}
			}
		})
	}
}

var _ route53.API = (*watched)(nil)
