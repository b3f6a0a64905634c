package traffic

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	sdkroute53 "github.com/aws/aws-sdk-go-v2/service/route53"
	route53types "github.com/aws/aws-sdk-go-v2/service/route53/types"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap/zaptest"

	"github.com/penstock-dev/penstock/controllers/store"
	"github.com/penstock-dev/penstock/dns"
	"github.com/penstock-dev/penstock/dns/route53"
	"github.com/penstock-dev/penstock/internal/route53emulator"
)

// urgent fails the test at every request that could wait for ever.
type urgent struct {
	t    *testing.T
	next *http.Transport
}

func (u *urgent) RoundTrip(r *http.Request) (*http.Response, error) {
	if _, found := r.Context().Deadline(); !found {
		u.t.Errorf("a call of AWS without a deadline: %s %s", r.Method, r.URL)
	}
	return u.next.RoundTrip(r)
}

// onRoute53 is a rig whose controller publishes through the API of Route 53, to the hosted zone example.com.
type onRoute53 struct {
	*rig

	aws      *route53emulator.Server
	zone     string
	registry *prometheus.Registry
}

func newOnRoute53(t *testing.T, origin string) *onRoute53 {
	t.Helper()
	objects := append(app("one", "one.example.com"), app("two", "two.example.com")...)
	r := &onRoute53{rig: newRig(t, []string{"-dns-backend", BackendRoute53}, objects...), registry: prometheus.NewPedanticRegistry()}
	server, err := route53emulator.New(route53emulator.Options{Clock: r.clock, SyncDelay: syncDelay})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	r.aws = server
	if r.zone, err = server.AddZone("example.com"); err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	config := server.Config("AKIDEXAMPLE")
	config.HTTPClient = &http.Client{Transport: &urgent{t, transport}}
	r.opts.origin = origin
	o := r.opts.route53()
	o.Clock, o.Registerer = r.clock, r.registry
	backend := route53.New(sdkroute53.NewFromConfig(config), zaptest.NewLogger(t).Sugar(), o)
	r.owner = backend
	r.publisher, err = dns.NewPublisher(cluster, r.source, backend, r.weight, nil, dns.PublisherOptions{
		HealthCheck: r.weight.healthCheck, HostTTL: r.opts.HostTTL, Ready: r.source.ready, Prove: r.weight.wanted, Clock: r.clock, AnnotationPrefix: r.opts.AnnotationPrefix,
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// records returns those of the hosts, each as its name and weight.
func (r *onRoute53) records() []string {
	var all []string
	for _, set := range r.aws.RecordSets(r.zone) {
		if set.Weight != nil {
			all = append(all, fmt.Sprintf("%s %d", strings.TrimSuffix(*set.Name, "."), *set.Weight))
		}
	}
	return all
}

// Route 53 throttles every call for minutes: records stay, nothing is acknowledged, the status and a metric say so, and then it goes on.
func TestRoute53IsThrottledForMinutes(t *testing.T) {
	t.Parallel()
	r := newOnRoute53(t, "")
	r.until("all is published", func() bool { return len(r.records()) == 2 })
	if err := r.lookAround(t.Context()); err != nil {
		t.Error(err)
	}
	r.run(5 * time.Minute)
	before := r.records()
	r.aws.Inject(route53emulator.Fault{Kind: route53emulator.Throttled, Times: -1})
	r.desire(40)
	r.run(10 * time.Minute)
	if diff := cmp.Diff(before, r.records()); diff != "" {
		t.Errorf("while throttled, records -want +got:\n%s", diff)
	}
	if got := r.row.now().CurrentWeight; got != 100 {
		t.Errorf("while throttled, %d is acknowledged", got)
	}
	if len(r.notes.lines) > 2 {
		t.Errorf("people are told each time: %q", r.notes.lines)
	}
	status := r.status(httptest.NewRequestWithContext(t.Context(), http.MethodGet, StatusPath, nil))
	for _, h := range status.Hosts {
		if h.Published != 100 || !strings.Contains(h.Error, "throttled by Route 53") {
			t.Errorf("the status says %+v", h)
		}
	}
	if len(status.Hosts) != 2 {
		t.Errorf("the status has hosts %+v", status.Hosts)
	}
	families, err := r.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	throttles := 0.0
	for _, f := range families {
		if f.GetName() == "penstock_route53_throttles_total" {
			for _, m := range f.GetMetric() {
				throttles += m.GetCounter().GetValue()
			}
		}
	}
	if throttles == 0 {
		t.Error("the metric that the alert looks at does not count")
	}
	r.aws.ClearFaults()
	r.until("the weight is served", func() bool { return r.row.now().CurrentWeight == 40 })
	if diff := cmp.Diff([]string{"one.example.com 40", "two.example.com 40"}, r.records()); diff != "" {
		t.Errorf("records -want +got:\n%s", diff)
	}
}

// Records with our identifier belong to somebody else. Nothing of theirs is changed or withdrawn, and events on the Ingresses and the status say whose they are.
func TestOurIdentifierWithAnotherOwner(t *testing.T) {
	t.Parallel()
	text := func(name, value string) route53types.ResourceRecordSet {
		ttl, quoted := int64(300), `"`+value+`"`
		return route53types.ResourceRecordSet{Name: &name, Type: route53types.RRTypeTxt, TTL: &ttl, ResourceRecords: []route53types.ResourceRecord{{Value: &quoted}}}
	}
	ours := func(set route53types.ResourceRecordSet) route53types.ResourceRecordSet {
		weight, id := int64(7), cluster
		set.Weight, set.SetIdentifier = &weight, &id
		return set
	}
	claim := func(host, fields string) route53types.ResourceRecordSet {
		return text(strings.Replace(host, ".example.com", ".east._penstock.example.com", 1), "heritage=penstock,cluster=east,ingress=shop/"+fields+",records=CNAME/east")
	}
	for name, tc := range map[string]struct {
		reason string
		owners []route53types.ResourceRecordSet
		words  []string
	}{
		"ClusterOfOurName": {
			"Another Kubernetes cluster has the same name and the same Ingresses.",
			[]route53types.ResourceRecordSet{claim("one.example.com", "one,origin=uid-1"), claim("gone.example.com", "gone,origin=uid-1")},
			[]string{`another cluster that is called "east" too`, "uid-1"},
		},
		"ExternalDNS": {
			"An external-dns of another cluster has written them.",
			[]route53types.ResourceRecordSet{ours(text("cname-one.example.com", "heritage=external-dns,external-dns/owner=blue"))},
			[]string{`external-dns with the owner id "blue"`},
		},
		"Nobody": {"Nobody says whose they are.", nil, []string{"no record says whose it is"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newOnRoute53(t, "uid-2")
			sets := tc.owners
			for _, host := range []string{"one.example.com", "gone.example.com"} {
				ttl, target := int64(60), "lb.example.org"
				sets = append(sets, ours(route53types.ResourceRecordSet{
					Name: &host, Type: route53types.RRTypeCname, TTL: &ttl, ResourceRecords: []route53types.ResourceRecord{{Value: &target}},
				}))
			}
			if err := r.aws.Seed(r.zone, sets...); err != nil {
				t.Fatal(err)
			}
			before := r.records()
			if err := r.lookAround(t.Context()); err != nil {
				t.Fatal(err)
			}
			r.desire(40)
			r.run(10 * time.Minute)
			if diff := cmp.Diff(append(before, "two.example.com 40"), r.records()); diff != "" {
				t.Errorf("%s\nrecords -want +got:\n%s", tc.reason, diff)
			}
			if got := r.notes.with(append(tc.words, "Warning NotPublished", "shop/one", "one.example.com")...); got != 1 {
				t.Errorf("%s\n%d events, want 1 in %q", tc.reason, got, r.notes.lines)
			}
			if got := valueOf(t, r.metrics.refused); got != 1 {
				t.Errorf("%s\n%v refused hosts are counted, want 1", tc.reason, got)
			}
		})
	}
}

var errKilled = errors.New("killed")

// dying is a store whose process may die at a call.
type dying struct {
	*row

	call func() error
}

func (d *dying) Acknowledge(ctx context.Context, read, r store.Row) error {
	if err := d.call(); err != nil {
		return err
	}
	if err := d.row.Acknowledge(ctx, read, r); err != nil {
		return err
	}
	return d.call() // the answer may be lost
}

// The leader dies at any call that changes something, before it is applied or before it is answered, of a change or of a gradual move. The next one finishes
// it, and at no moment more is acknowledged than is served.
func TestALeaderDiesAtAnyCall(t *testing.T) {
	t.Parallel()
	for label, flags := range map[string][]string{"AtOnce": nil, "Gradually": {"-ramp-step", "30", "-ramp-interval", "10s"}} {
		t.Run(label, func(t *testing.T) {
			t.Parallel()
			for at := 0; ; at++ {
				if !dies(t, at, flags) {
					if at < 4 {
						t.Errorf("only %d calls change something", at)
					}
					return
				}
			}
		})
	}
}

// dies runs a change whose leader dies at a call, and tells whether there was such a call.
func dies(t *testing.T, at int, flags []string) bool {
	t.Helper()
	r := newRig(t, flags, app("one", "one.example.com")...)
	r.restart(flags...)
	r.run(5 * time.Minute)
	calls, dead := 0, false
	call := func() error {
		if calls == at {
			dead = true
		}
		calls++
		if dead {
			return errKilled // whatever it does from now on reaches nobody
		}
		return nil
	}
	publish := func([]dns.Publication) error { return call() }
	r.dns.Intercept(publish, publish)
	r.store = &dying{r.row, call}
	r.desire(40)
	published, since := 100, r.clock.Now()
	died := false
	for range 1200 {
		r.moment()
		if got := r.published("one")["one.example.com"]; got != published {
			published, since = got, r.clock.Now()
		}
		if row := r.row.now(); row.CurrentWeight != 100 && (row.CurrentWeight == published && r.clock.Since(since) < syncDelay || row.CurrentWeight < published) {
			t.Fatalf("call %d: %d is acknowledged, and %d is published for %s: %+v", at, row.CurrentWeight, published, r.clock.Since(since), row)
		}
		if dead && !died {
			died = true
			r.dns.Intercept(nil, nil)
			r.restart(flags...)
		}
		r.clock.Sleep(time.Second)
	}
	if row := r.row.now(); row.CurrentWeight != 40 || published != 40 {
		t.Errorf("call %d: the next leader has not finished the change: %+v, published %d", at, row, published)
	}
	return died
}

// The next leader has a clock that is wrong, in the middle of a change or of a gradual move. (In a process, times are compared on a clock that does not jump,
// https://pkg.go.dev/time#hdr-Monotonic_Clocks, so jumps matter where times are stored.) Nothing is acknowledged before DNS answers with it, a move does not jump, and ends.
func TestTheClockIsWrong(t *testing.T) {
	t.Parallel()
	for label, jump := range map[string]time.Duration{"Back": -48 * time.Hour, "ABitBack": -30 * time.Second, "Forward": 48 * time.Hour} {
		for kind, flags := range map[string][]string{"AtOnce": nil, "Gradually": {"-ramp-step", "20", "-ramp-interval", "1m"}} {
			t.Run(label+kind, func(t *testing.T) {
				t.Parallel()
				for seconds := 0; seconds < 300; seconds += 23 {
					r := newRig(t, flags, app("one", "one.example.com")...)
					r.run(5 * time.Minute)
					r.desire(0)
					last, since := 100, r.clock.Now()
					for second := range 5400 {
						if second == seconds {
							r.jumped.by(jump)
							r.restart(flags...)
						}
						r.moment()
						if got := r.published("one")["one.example.com"]; got != last {
							if step := last - got; len(flags) > 0 && step > 20 {
								t.Fatalf("after %d s: from %d to %d at once", second, last, got)
							}
							last, since = got, r.clock.Now()
						}
						row := r.row.now()
						if row.CurrentWeight < last || row.CurrentWeight == last && last != 100 && r.clock.Since(since) < syncDelay {
							t.Fatalf("after %d s %d is acknowledged, and %d is published for %s", second, row.CurrentWeight, last, r.clock.Since(since))
						}
						if row.CurrentWeight == 0 {
							break
						}
						r.clock.Sleep(time.Second)
					}
					if row := r.row.now(); row.CurrentWeight != 0 {
						t.Fatalf("a jump of %s after %d s: not finished: %+v", jump, seconds, row)
					}
				}
			})
		}
	}
}
