package traffic

import (
	"strings"
	"testing"
	"time"

	sdkroute53 "github.com/aws/aws-sdk-go-v2/service/route53"
	route53types "github.com/aws/aws-sdk-go-v2/service/route53/types"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap/zaptest"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/penstock-dev/penstock/dns"
	"github.com/penstock-dev/penstock/dns/route53"
)

// resync lets time pass until the controller has looked around once more.
func (r *onRoute53) resync() {
	r.t.Helper()
	r.run(resyncEvery)
	if err := r.lookAround(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	r.run(time.Minute)
}

func (r *onRoute53) change(action route53types.ChangeAction, set route53types.ResourceRecordSet) {
	r.t.Helper()
	_, err := sdkroute53.NewFromConfig(r.aws.Config("AKIDEXAMPLE")).ChangeResourceRecordSets(r.t.Context(), &sdkroute53.ChangeResourceRecordSetsInput{
		HostedZoneId: &r.zone, ChangeBatch: &route53types.ChangeBatch{Changes: []route53types.Change{{Action: action, ResourceRecordSet: &set}}},
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

// Nothing tells the controller that somebody has changed or deleted a record in Route 53, or a record and who owns it. It finds out.
func TestWhatSomebodyChangesInRoute53IsPutRight(t *testing.T) {
	t.Parallel()
	weight := int64(7)
	for name, meddle := range map[string]func(r *onRoute53, set route53types.ResourceRecordSet){
		"Deleted": func(r *onRoute53, set route53types.ResourceRecordSet) {
			if set.Weight != nil {
				r.change(route53types.ChangeActionDelete, set)
			}
		},
		"DeletedWithItsOwner": func(r *onRoute53, set route53types.ResourceRecordSet) { r.change(route53types.ChangeActionDelete, set) },
		"Changed": func(r *onRoute53, set route53types.ResourceRecordSet) {
			if set.Weight != nil {
				set.Weight = &weight
				r.change(route53types.ChangeActionUpsert, set)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newOnRoute53(t, "uid-1")
			r.until("all is published", func() bool { return len(r.records()) == 2 })
			r.run(30 * time.Minute)
			before := r.records()
			for _, set := range r.aws.RecordSets(r.zone) {
				if strings.HasPrefix(*set.Name, "one.") {
					meddle(r, set)
				}
			}
			if cmp.Equal(before, r.records()) {
				t.Fatal("nothing is changed, so this test proves nothing")
			}
			r.resync()
			if diff := cmp.Diff(before, r.records()); diff != "" {
				t.Errorf("records -want +got:\n%s", diff)
			}
			if row := r.row.now(); row.CurrentWeight != 100 || len(r.row.acknowledged) != 0 {
				t.Errorf("row %+v", row)
			}
		})
	}
}

// Another cluster changes the set of a host. The metric of the critical alert follows.
func TestAllWeightsAreZeroNoMore(t *testing.T) {
	t.Parallel()
	r := newOnRoute53(t, "uid-1")
	west := func(weight int64) route53types.ResourceRecordSet {
		name, id, ttl, target := "one.example.com", "west", int64(60), "lb.example.org"
		return route53types.ResourceRecordSet{
			Name: &name, Type: route53types.RRTypeCname, SetIdentifier: &id, Weight: &weight, TTL: &ttl,
			ResourceRecords: []route53types.ResourceRecord{{Value: &target}},
		}
	}
	if err := r.aws.Seed(r.zone, west(0)); err != nil {
		t.Fatal(err)
	}
	zero := func() (sum float64) {
		families, err := r.registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				for _, l := range m.GetLabel() {
					if f.GetName() == "penstock_route53_all_weights_zero" && l.GetValue() == "one.example.com" {
						sum += m.GetGauge().GetValue()
					}
				}
			}
		}
		return sum
	}
	r.run(10 * time.Minute)
	r.desire(0)
	r.run(10 * time.Minute)
	for _, weight := range []int64{100, 0} {
		want := 1.0
		if weight > 0 {
			want = 0
		}
		if got := zero(); got == want {
			t.Fatalf("before west has %d the metric is %v already", weight, got)
		}
		r.change(route53types.ChangeActionUpsert, west(weight))
		r.resync()
		if got := zero(); got != want {
			t.Errorf("west has %d, and the metric is %v", weight, got)
		}
	}
}

// What stands as it should is read, and not written.
func TestALookAroundAtRestWritesNothing(t *testing.T) {
	t.Parallel()
	t.Run("Route53", func(t *testing.T) {
		t.Parallel()
		r := newOnRoute53(t, "uid-1")
		r.until("all is published", func() bool { return len(r.records()) == 2 })
		r.run(30 * time.Minute)
		calls := r.calls()
		r.resync()
		for operation, n := range r.calls() {
			if n -= calls[operation]; n > 0 && !strings.HasPrefix(operation, "List") {
				t.Errorf("%v calls of %s", n, operation)
			}
		}
	})
	t.Run("ExternalDNS", func(t *testing.T) {
		t.Parallel()
		objects := app("one", "one.example.com")
		r := newRig(t, nil, objects...)
		r.owner = &owned{names: []types.NamespacedName{client.ObjectKeyFromObject(objects[0])}}
		r.run(30 * time.Minute)
		before := r.dns.Publishes()
		for range 3 {
			if err := r.lookAround(t.Context()); err != nil {
				t.Fatal(err)
			}
			r.run(time.Minute)
		}
		if n := r.dns.Publishes() - before; n > 0 {
			t.Errorf("the backend is asked %d times, and watches tell of every change", n)
		}
	})
}

// calls returns how often each operation of Route 53 was called.
func (r *onRoute53) calls() map[string]float64 {
	r.t.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	calls := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if f.GetName() == "penstock_route53_api_calls_total" && l.GetName() == "operation" {
					calls[l.GetValue()] += m.GetCounter().GetValue()
				}
			}
		}
	}
	return calls
}

// Two controllers of one cluster, each with an annotation of its own. An Ingress goes from one to the other, and whichever of the two is the first to see
// that, it has its record again after the second has looked around. When the first one is stopped meanwhile, it never is without.
func TestAnIngressGoesToAnotherController(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		first   int // of the controllers to see a change
		stopped bool
		missing time.Duration
	}{
		"GiverFirst": {0, false, time.Minute},
		"TakerFirst": {1, false, resyncEvery + time.Minute},
		"Stopped":    {1, true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			of := newOnRoute53(t, "uid-1")
			class := func(name, class string) client.Object {
				o := app(name, name+".example.com")[0]
				o.SetAnnotations(map[string]string{"class": class})
				return o
			}
			for _, name := range []string{"one", "two"} {
				of.apply(class(name, "a"))
			}
			lead := func(class string) *onRoute53 {
				r := &onRoute53{rig: &rig{t: t, clock: of.clock, jumped: of.jumped, kube: of.kube, dns: of.dns, row: of.row, notes: &notes{}}, aws: of.aws, zone: of.zone}
				r.restart("-dns-backend", BackendRoute53, "-annotation-filter", "class="+class)
				r.opts.origin = "uid-1"
				o := r.opts.route53()
				o.Clock = r.clock
				backend := route53.New(sdkroute53.NewFromConfig(of.aws.Config("AKIDEXAMPLE")), zaptest.NewLogger(t).Sugar(), o)
				var err error
				r.owner = backend
				if r.publisher, err = dns.NewPublisher(cluster, r.source, backend, r.weight, nil, dns.PublisherOptions{
					HealthCheck: r.weight.healthCheck, HostTTL: r.opts.HostTTL, Ready: r.source.ready, Prove: r.weight.wanted, Clock: r.clock,
				}); err != nil {
					t.Fatal(err)
				}
				return r
			}
			both := []*onRoute53{lead("a"), lead("b")}
			missing := time.Duration(0)
			run := func(d time.Duration, running ...*onRoute53) {
				for end := of.clock.Now().Add(d); of.clock.Now().Before(end); of.clock.Sleep(time.Second) {
					for _, r := range running {
						if of.clock.Since(start)%resyncEvery == 0 {
							if err := r.lookAround(t.Context()); err != nil {
								t.Fatal(err)
							}
						}
						r.moment()
					}
					if len(of.records()) != 2 {
						missing += time.Second
					}
				}
			}
			ordered := []*onRoute53{both[tc.first], both[1-tc.first]}
			run(10*time.Minute, ordered...)
			missing = 0
			given := class("one", "b")
			if tc.stopped {
				ordered = []*onRoute53{both[1]}
			}
			of.apply(given)
			for _, r := range both {
				r.queue.Add(client.ObjectKeyFromObject(given))
			}
			run(10*time.Minute, ordered...)
			if tc.stopped {
				run(10*time.Minute, lead("a"), both[1])
			}
			if missing > tc.missing {
				t.Errorf("one.example.com has no record for %s, want at most %s", missing, tc.missing)
			}
			if diff := cmp.Diff([]string{"one.example.com 100", "two.example.com 100"}, of.records()); diff != "" {
				t.Errorf("records -want +got:\n%s", diff)
			}
		})
	}
}
