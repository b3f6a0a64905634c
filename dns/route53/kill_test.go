package route53_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap/zaptest"

	"github.com/penstock-dev/penstock/dns"
	"github.com/penstock-dev/penstock/dns/route53"
	"github.com/penstock-dev/penstock/internal/route53emulator"
)

var errKilled = errors.New("the process was killed")

// mortal is an API whose process dies at its n-th call: before that is sent, or, if after, when it has been answered.
type mortal struct {
	*sdk.Client
	calls int
	after bool
}

func (m *mortal) lives() error {
	m.calls--
	if m.calls < 0 || m.calls == 0 && !m.after {
		m.calls = -1
		return errKilled
	}
	return nil
}

func die[T any](m *mortal, out T, err error) (T, error) {
	if m.calls == 0 && m.after {
		m.calls = -1
		var none T
		return none, errKilled
	}
	return out, err
}

func (m *mortal) ListHostedZones(ctx context.Context, in *sdk.ListHostedZonesInput, o ...func(*sdk.Options)) (*sdk.ListHostedZonesOutput, error) {
	if err := m.lives(); err != nil {
		return nil, err
	}
	out, err := m.Client.ListHostedZones(ctx, in, o...)
	return die(m, out, err)
}

func (m *mortal) ListResourceRecordSets(ctx context.Context, in *sdk.ListResourceRecordSetsInput, o ...func(*sdk.Options)) (*sdk.ListResourceRecordSetsOutput, error) {
	if err := m.lives(); err != nil {
		return nil, err
	}
	out, err := m.Client.ListResourceRecordSets(ctx, in, o...)
	return die(m, out, err)
}

func (m *mortal) ChangeResourceRecordSets(ctx context.Context, in *sdk.ChangeResourceRecordSetsInput, o ...func(*sdk.Options)) (*sdk.ChangeResourceRecordSetsOutput, error) {
	if err := m.lives(); err != nil {
		return nil, err
	}
	out, err := m.Client.ChangeResourceRecordSets(ctx, in, o...)
	return die(m, out, err)
}

func (m *mortal) GetChange(ctx context.Context, in *sdk.GetChangeInput, o ...func(*sdk.Options)) (*sdk.GetChangeOutput, error) {
	if err := m.lives(); err != nil {
		return nil, err
	}
	out, err := m.Client.GetChange(ctx, in, o...)
	return die(m, out, err)
}

// A process that dies before or after any of its calls, and its successor too, leaves records that the next one makes right,
// and none says in sync before the name servers have the records.
func TestKilledTwice(t *testing.T) {
	t.Parallel()
	from := split("www.example.com", 10, 90, 10)
	to := []dns.Record{elb("www.example.com", 10), a("api.example.com", 3, "192.0.2.1")}
	for at := 1; at <= 7; at++ {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d,%t", at, after), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, route53.Options{CallTimeout: time.Second}, route53emulator.Options{})
				r.settled(publication(shop, from...))
				r.clock.Advance(time.Minute)
				p := publication(shop, to...)
				p.Prove = true
				for range 2 { // lives
					process := &mortal{Client: sdk.NewFromConfig(r.aws.Config(keyID)), calls: at, after: after}
					backend := route53.New(process, zaptest.NewLogger(t).Sugar(), r.opts)
					for process.calls > 0 {
						statuses, err := backend.Publish(t.Context(), p)
						if err == nil && statuses[0].Err == nil && process.calls >= 0 {
							p.Prior = statuses[0] // a dying process writes nothing down
							r.inSyncIsTrue(p.Prior)
						}
						r.clock.Advance(4 * time.Second)
					}
				}
				r.restart()
				r.inSyncIsTrue(r.settled(p))
				if diff := cmp.Diff(to, r.published("www.example.com", "api.example.com")); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
				if got := len(r.zoneLines()); got != 5 {
					t.Errorf("left over: %v", r.zoneLines())
				}
			})
		}
	}
}

// inSyncIsTrue checks a Status against what the API says of every change so far: the emulator numbers them in their order.
func (r *rig) inSyncIsTrue(s dns.Status) {
	r.t.Helper()
	if !s.InSync {
		return
	}
	out, err := sdk.NewFromConfig(r.aws.Config(keyID)).GetChange(r.t.Context(), &sdk.GetChangeInput{Id: &s.Change})
	if err != nil || out.ChangeInfo.Status != "INSYNC" {
		r.t.Errorf("in sync by %q: %v, %v", s.Change, out, err)
		return
	}
	if since := s.InSyncSince.Sub(*out.ChangeInfo.SubmittedAt); since < syncDelay-time.Second {
		r.t.Errorf("in sync %s after %q was submitted", since, s.Change)
	}
}
