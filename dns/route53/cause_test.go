package route53_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/smithy-go"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-dev/penstock/dns/route53"
	"github.com/penstock-dev/penstock/internal/route53emulator"
	"github.com/penstock-dev/penstock/internal/state"
)

// A failure that lasts is told in the same words each time, without the ids of requests and connections, which are in the log.
func TestAFailureIsToldInTheSameWords(t *testing.T) {
	t.Parallel()
	for name, kind := range map[string]route53emulator.FaultKind{
		"Throttled": route53emulator.Throttled, "Unavailable": route53emulator.Unavailable, "Denied": route53emulator.Denied,
		"Busy": route53emulator.Busy, "Dropped": route53emulator.DroppedBefore,
	} {
		for _, operation := range []route53emulator.Operation{
			route53emulator.ListHostedZones, route53emulator.ListResourceRecordSets, route53emulator.ChangeResourceRecordSets, route53emulator.GetChange,
		} {
			t.Run(name+string(operation), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, route53.Options{CallTimeout: time.Second}, route53emulator.Options{})
				core, logs := observer.New(zapcore.InfoLevel)
				r.Backend = route53.New(sdk.NewFromConfig(r.aws.Config(keyID)), zap.New(core).Sugar(), r.opts)
				p := publication(shop, a("www.example.com", 10, "192.0.2.1"))
				if operation == route53emulator.GetChange {
					p.Prior = r.must(p)[0]
				}
				r.aws.Inject(route53emulator.Fault{Kind: kind, Operation: operation, Times: -1})
				var texts []string
				for range 3 {
					r.clock.Advance(time.Minute)
					statuses, err := r.Publish(t.Context(), p)
					text := statuses[0].Reason
					if err := errors.Join(err, statuses[0].Err); err != nil {
						text = err.Error()
						if api, ok := errors.AsType[smithy.APIError](err); !ok && kind != route53emulator.DroppedBefore {
							t.Errorf("the SDK's error is lost: %v (%v)", err, api)
						}
					}
					texts = append(texts, text)
				}
				if texts = slices.Compact(texts); len(texts) != 1 || !strings.Contains(texts[0], string(operation)) {
					t.Errorf("told in %d ways:\n%s", len(texts), strings.Join(texts, "\n"))
				}
				ids := map[any]bool{}
				for _, entry := range logs.FilterMessage("route 53 call failed").All() {
					if id := entry.ContextMap()["request_id"]; id != "" {
						ids[id] = true
					}
				}
				for id := range ids {
					if strings.Contains(texts[0], id.(string)) {
						t.Errorf("%q has the request's id", texts[0])
					}
				}
				if kind != route53emulator.DroppedBefore && len(ids) < 3 {
					t.Errorf("the log has %d request ids, want one for each of 3 calls: %v", len(ids), logs.All())
				}
			})
		}
	}
}

// While nothing changes, nothing is written: neither DNS nor the answer to the canary.
func TestAFailureThatLastsIsAnsweredOnce(t *testing.T) {
	t.Parallel()
	c := newClusterRig(t,
		newIngress(shop, 0, "192.0.2.1", "www.example.com"),
		newIngress(next, 0, "192.0.2.2", "www.example.com"))
	c.until(state.Desired{Generation: 1, Attached: true, Weights: state.Weights{Primary: 50, Canary: 50}}, shop)
	c.aws.Inject(route53emulator.Fault{Kind: route53emulator.Throttled, Operation: route53emulator.ChangeResourceRecordSets, Times: -1})
	c.desire(state.Desired{Generation: 2, Attached: true, Weights: state.Weights{Primary: 100}})
	var answers []string
	for range 4 {
		c.clock.Advance(time.Minute)
		if _, err := c.publisher.Sync(t.Context(), shop); err != nil {
			t.Fatal(err)
		}
		cm, err := c.kube.CoreV1().ConfigMaps(shop.Namespace).Get(t.Context(), state.Name("app"), metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		answers = append(answers, cm.Data[state.ObservedKey])
	}
	if answers = slices.Compact(answers); len(answers) != 1 || !strings.Contains(answers[0], "Throttling: Rate exceeded") {
		t.Errorf("answered in %d ways:\n%s", len(answers), strings.Join(answers, "\n"))
	}
}
