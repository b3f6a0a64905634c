package dns_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-dev/penstock/dns"
	"github.com/penstock-dev/penstock/internal/state"
	"github.com/penstock-dev/penstock/weights"
)

func TestPublishesAHostWithoutACanary(t *testing.T) {
	t.Parallel()
	app := ingress("app", primaryLB)
	app.Annotations = map[string]string{"dns.adevinta.com/traffic-weight": "12.5"}
	r := newRig(t, app)

	results := r.sync()

	want := dns.Record{Name: host, Type: dns.A, SetIdentifier: "east", Weight: 8, Targets: []string{primaryLB}}
	if got := r.records(); len(got) != 1 || !got[0].Equal(want) {
		t.Errorf("records %+v, want %+v: 60 %% x 12.5 %% is 7.5 %%, rounded up", got, want)
	}
	if len(results) != 1 || results[0].Hosts[0].Weight != 8 || results[0].InSync() {
		t.Errorf("results %+v, want weight 8, not in sync yet", results)
	}
	r.clock.Sleep(syncDelay)
	if results = r.sync(); !results[0].InSync() {
		t.Errorf("results %+v, want in sync", results)
	}
	if r.backend.Writes() != 1 {
		t.Errorf("%d writes, want 1", r.backend.Writes())
	}
}

// A whole canary in DNS: at every moment, the versions that may get traffic are those that may, and the order of the steps is kept.
func TestSplitFromBeginningToEnd(t *testing.T) {
	t.Parallel()
	r := newRig(t, ingress("app", primaryLB), preparedIngress(canaryLB))
	r.sync()
	r.clock.Sleep(time.Hour)

	r.wish(split(1, 10))
	took := r.until(effective(1))
	// The inner set in sync, then the host; then the answers that named the load balancer itself, at the default TTL.
	if want := 2*syncDelay + dns.DefaultTTL; took < want || took > want+5*time.Second {
		t.Errorf("the first step took %v, want %v", took, want)
	}
	shares(t, r, map[string]float64{primaryLB: 0.9, canaryLB: 0.1})

	r.wish(split(2, 50))
	took = r.until(effective(2))
	if want := syncDelay + dns.DefaultInnerTTL; took < want || took > want+5*time.Second {
		t.Errorf("a step took %v, want %v", took, want)
	}
	shares(t, r, map[string]float64{primaryLB: 0.5, canaryLB: 0.5})

	r.wish(split(3, 0))
	r.until(effective(3))
	if got := r.backend.MayAnswer(host); !slices.Equal(got, []string{primaryLB}) {
		t.Errorf("drained and effective, a resolver may still answer %v", got)
	}
	if !r.observed().Attached {
		t.Error("drained, but the host does not point at the inner set any more: detaching is another step")
	}
	for _, record := range r.records() {
		if record.SetIdentifier == dns.Canary {
			t.Errorf("a member without traffic is still in the set: %+v", record)
		}
	}

	d := split(4, 0)
	d.Attached = false
	r.wish(d)
	r.sync()
	if got := r.records(); len(got) != 2 || got[0].Alias {
		t.Errorf("detaching: records %+v, want the host at its load balancer and the inner set still there", got)
	}
	r.until(effective(4))
	if got := r.records(); len(got) != 1 {
		t.Errorf("detached: records %+v, want the host alone", got)
	}
	if r.observed().Attached {
		t.Error("detached, but observed says attached")
	}
}

// The inner set is never removed, nor pointed at, while an answer may lead to a name that is not there.
func TestNoAnswerNamesWhatIsNotThere(t *testing.T) {
	t.Parallel()
	for name, addresses := range map[string][2]string{
		"Addresses": {primaryLB, canaryLB},
		"AWS":       {elbHostname, "two-1234.eu-west-1.elb.amazonaws.com"},
		"Hostnames": {"lb-one.example.net", "lb-two.example.net"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, ingress("app", addresses[0]), preparedIngress(addresses[1]))
			r.sync()
			r.clock.Sleep(time.Hour)
			generation := int64(0)
			check := func() {
				t.Helper()
				got := r.backend.MayAnswer(host)
				if len(got) == 0 {
					t.Fatalf("generation %d: a resolver may be left without an answer", generation)
				}
			}
			for _, w := range []int{20, 60, 0, -1, 30, -1} {
				generation++
				d := split(generation, max(w, 0))
				d.Attached = w >= 0
				r.wish(d)
				for !effective(generation)(r.observed()) {
					r.sync()
					check()
					r.clock.Sleep(time.Second)
					check()
				}
				if got := r.backend.MayAnswer(host); w <= 0 && !slices.Equal(got, []string{addresses[0]}) {
					t.Errorf("generation %d is effective at canary 0, and a resolver may answer %v", generation, got)
				}
			}
		})
	}
}

// A process that dies after any call leaves a state from which a new one goes on.
func TestRestartAtEveryStep(t *testing.T) {
	t.Parallel()
	for _, lost := range []string{"nothing", "the answer", "the write"} {
		t.Run(lost, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, ingress("app", primaryLB), preparedIngress(canaryLB))
			r.sync()
			r.clock.Sleep(time.Hour)
			for i, w := range []int{20, 60, 0, -1} {
				d := split(int64(i+1), max(w, 0))
				d.Attached = w >= 0
				r.wish(d)
				for n := 0; !effective(int64(i + 1))(r.observed()); n++ {
					if n > 3000 {
						t.Fatalf("generation %d never becomes effective: %+v", i+1, r.observed())
					}
					killed := errors.New("killed")
					kill := func([]dns.Publication) error {
						r.backend.Intercept(nil, nil)
						return killed
					}
					if n%7 == 3 {
						switch lost {
						case "the answer":
							r.backend.Intercept(nil, kill)
						case "the write":
							r.backend.Intercept(kill, nil)
						}
					}
					if _, err := r.publisher.Sync(t.Context(), apex); err != nil && !errors.Is(err, killed) {
						t.Fatal(err)
					}
					r.restart()
					r.clock.Sleep(time.Second)
				}
				if got := r.backend.MayAnswer(host); w <= 0 && !slices.Equal(got, []string{primaryLB}) {
					t.Errorf("generation %d is effective at canary 0, and a resolver may answer %v", i+1, got)
				}
			}
		})
	}
}

// The newest wish wins at once: a drain does not wait for the attaching before it.
func TestDrainWhileAttaching(t *testing.T) {
	t.Parallel()
	for seconds := 0; seconds < 60; seconds += 7 {
		r := newRig(t, ingress("app", primaryLB), preparedIngress(canaryLB))
		r.sync()
		r.clock.Sleep(time.Hour)
		r.wish(split(1, 30))
		for range seconds {
			r.sync()
			r.clock.Sleep(time.Second)
		}
		d := split(2, 0)
		d.Attached = false
		r.wish(d)
		r.until(effective(2))
		if got := r.backend.MayAnswer(host); !slices.Equal(got, []string{primaryLB}) {
			t.Errorf("after %d s of attaching and a detach that is effective, a resolver may answer %v", seconds, got)
		}
	}
}

func TestConfigMapGone(t *testing.T) {
	t.Parallel()
	r := newRig(t, ingress("app", primaryLB), preparedIngress(canaryLB))
	r.wish(split(1, 30))
	r.until(effective(1))
	if err := r.kube.CoreV1().ConfigMaps(namespace).Delete(t.Context(), "app-penstock", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	r.restart()
	gone := r.clock.Now()
	for len(r.records()) != 1 {
		if r.clock.Since(gone) > time.Hour {
			t.Fatalf("the inner set is still there: %+v", r.records())
		}
		r.sync()
		r.clock.Sleep(time.Second)
		if len(r.records()) == 1 && slices.Contains(r.backend.MayAnswer(host), canaryLB) {
			t.Error("the inner set was removed while a resolver may still answer the canary")
		}
	}
}

func TestClusterWeightDoesNotDisturbACanary(t *testing.T) {
	t.Parallel()
	r := newRig(t, ingress("app", primaryLB), preparedIngress(canaryLB))
	r.wish(split(1, 30))
	r.until(effective(1))

	r.weight.percent = whole(t, 25)
	r.sync()
	if o := r.observed(); !o.Effective {
		t.Errorf("a new cluster weight made an effective generation pending: %+v", o)
	}
	if got := r.records()[0].Weight; got != 25 {
		t.Errorf("the host's weight is %d, want 25", got)
	}
	shares(t, r, map[string]float64{primaryLB: 0.7, canaryLB: 0.3})

	r.weight.err = errors.New("the table does not answer")
	r.sync()
	if got := r.records()[0].Weight; got != 25 {
		t.Errorf("the weight is unknown and was published as %d, want the last, 25", got)
	}
	if !strings.Contains(r.observed().Warning, "the table does not answer") {
		t.Errorf("warning %q does not say that the weight is unknown", r.observed().Warning)
	}
}

func TestExposure(t *testing.T) {
	t.Parallel()
	r := newRig(t, ingress("app", elbHostname))
	r.sync()
	r.clock.Sleep(time.Hour)
	r.wish(state.Desired{Generation: 1, Mode: state.Shared, Exposure: 20})
	took := r.until(effective(1))
	if want := syncDelay + dns.LoadBalancerTTL; took < want || took > want+3*time.Second {
		t.Errorf("exposure was effective after %v, want %v", took, want)
	}
	if got := r.records()[0].Weight; got != 12 {
		t.Errorf("weight %d, want 60 %% x 20 %% = 12", got)
	}
	r.wishFor("other", state.Desired{Generation: 1, Mode: state.Shared, Exposure: 50})
	r.sync()
	if got := r.records()[0].Weight; got != 12 {
		t.Errorf("weight %d with two Canaries on the host, want the lower exposure, 12", got)
	}
	r.wish(state.Desired{Generation: 2, Mode: state.Shared, Exposure: 100})
	r.sync()
	if got := r.records()[0].Weight; got != 30 {
		t.Errorf("weight %d, want the other Canary's 60 %% x 50 %% = 30", got)
	}
}

// Each wrong input is one clear error, and what is published stays.
func TestRefused(t *testing.T) {
	t.Parallel()
	other := ingress("other", "192.0.2.9")
	other.CreationTimestamp = metav1.NewTime(start.Add(time.Hour))
	several := ingress("app", primaryLB)
	several.Status.LoadBalancer.Ingress = append(several.Status.LoadBalancer.Ingress, loadBalancer("192.0.2.7"))
	elsewhere := preparedIngress(canaryLB)
	elsewhere.Spec.Rules[0].Host = "other.example.com"
	cases := map[string]struct {
		reason    string
		ingresses []*networkingv1.Ingress
		want      string
	}{
		"NoPreparedIngress": {"There is nothing to point at.", []*networkingv1.Ingress{ingress("app", primaryLB)}, "shop/app-new, which the annotation"},
		"NoAddress":         {"The load balancer is being made.", []*networkingv1.Ingress{ingress("app", primaryLB), preparedIngress("")}, "ingress shop/app-new has no load balancer address yet"},
		"SameAddress":       {"DNS could not tell them apart.", []*networkingv1.Ingress{ingress("app", primaryLB), preparedIngress(primaryLB)}, "the same load balancer address (192.0.2.1)"},
		"SharedAddress":     {"DNS would send clients of that address to both.", []*networkingv1.Ingress{dual("app", "2001:db8::1"), dual("app-new", "2001:db8::2")}, "the same load balancer address (192.0.2.1)"},
		"Types":             {"An A and a CNAME are no weighted set.", []*networkingv1.Ingress{ingress("app", primaryLB), preparedIngress("lb.example.net")}, "records of different types"},
		"Several":           {"A weighted record has one value.", []*networkingv1.Ingress{several, preparedIngress(canaryLB)}, "several load balancer addresses"},
		"AnotherIngress":    {"Its traffic would go along.", []*networkingv1.Ingress{ingress("app", primaryLB), preparedIngress(canaryLB), other}, "is served by ingress shop/other too"},
		"NotServed":         {"The canary's load balancer would answer 404.", []*networkingv1.Ingress{ingress("app", primaryLB), elsewhere}, "ingress shop/app-new has no rule for host \"app.example.com\""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, tc.ingresses...)
			r.sync()
			before := r.records()
			r.wish(split(1, 10))
			r.sync()
			r.clock.Sleep(time.Hour)
			r.sync()
			if o := r.observed(); !strings.Contains(o.Error, tc.want) || o.Effective || o.Attached || o.Generation != 1 {
				t.Errorf("%s\nobserved %+v, want an error with %q", tc.reason, o, tc.want)
			}
			if after := r.records(); !slices.EqualFunc(before, after, dns.Record.Equal) {
				t.Errorf("%s\nrecords changed from %+v to %+v", tc.reason, before, after)
			}
		})
	}
}

// dual is an Ingress at primaryLB and at another address.
func dual(name, address string) *networkingv1.Ingress {
	i := ingress(name, primaryLB)
	i.CreationTimestamp = metav1.NewTime(start.Add(time.Hour))
	i.Status.LoadBalancer.Ingress = append(i.Status.LoadBalancer.Ingress, networkingv1.IngressLoadBalancerIngress{IP: address})
	return i
}

func TestMalformedTrafficWeightKeepsTheLast(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"NaN", "-1", "101 %", "", "Inf"} {
		app := ingress("app", primaryLB)
		r := newRig(t, app)
		r.sync()
		app.Annotations = map[string]string{"dns.adevinta.com/traffic-weight": value}
		r.apply(app)
		r.sync()
		if got := r.records(); len(got) != 1 || got[0].Weight != 60 {
			t.Errorf("annotation %q: records %+v, want the last weight, 60", value, got)
		}
	}
	app := ingress("app", primaryLB)
	app.Annotations = map[string]string{"dns.adevinta.com/traffic-weight": "NaN"}
	r := newRig(t, app)
	results := r.sync()
	if len(r.records()) != 0 || results[0].Hosts[0].Err == nil || !strings.Contains(results[0].Hosts[0].Err.Error(), `"NaN"`) {
		t.Errorf("a first weight of NaN: records %+v, results %+v", r.records(), results)
	}
}

func TestAddressesThatChangeDuringACanary(t *testing.T) {
	t.Parallel()
	app, canary := ingress("app", primaryLB), preparedIngress(canaryLB)
	r := newRig(t, app, canary)
	r.wish(split(1, 30))
	r.until(effective(1))

	app.Status.LoadBalancer.Ingress[0] = loadBalancer("192.0.2.11")
	r.apply(app)
	r.sync()
	shares(t, r, map[string]float64{"192.0.2.11": 0.7, canaryLB: 0.3})

	app.Status.LoadBalancer.Ingress = nil
	r.apply(app)
	r.sync()
	shares(t, r, map[string]float64{"192.0.2.11": 0.7, canaryLB: 0.3})
	if !strings.Contains(r.observed().Warning, "its last address stays") {
		t.Errorf("warning %q", r.observed().Warning)
	}

	app.Status.LoadBalancer.Ingress = []networkingv1.IngressLoadBalancerIngress{loadBalancer(elbHostname)}
	r.apply(app)
	r.sync()
	shares(t, r, map[string]float64{"192.0.2.11": 0.7, canaryLB: 0.3})
	if !strings.Contains(r.observed().Warning, "followed when the canary has ended") {
		t.Errorf("warning %q", r.observed().Warning)
	}

	if err := r.kube.NetworkingV1().Ingresses(namespace).Delete(t.Context(), "app-new", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	r.wish(split(2, 0))
	r.until(effective(2))
	shares(t, r, map[string]float64{"192.0.2.11": 1})

	d := split(3, 0)
	d.Attached = false
	r.wish(d)
	r.until(effective(3))
	r.sync()
	shares(t, r, map[string]float64{elbHostname: 1})
}

func TestSeveralAddressesOfOneLoadBalancer(t *testing.T) {
	t.Parallel()
	app := ingress("app", primaryLB)
	app.Status.LoadBalancer.Ingress = append(app.Status.LoadBalancer.Ingress, loadBalancer("192.0.2.7"), loadBalancer("2001:db8::1"))
	r := newRig(t, app)
	r.sync()
	if err := dnstestCheck(r.records()); err != nil {
		t.Error(err)
	}
	if got := r.backend.MayAnswer(host); len(got) == 0 {
		t.Errorf("no answers: %+v", r.records())
	}
}

func TestIngressesOfACanaryAreNotPublished(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*networkingv1.Ingress){
		"ours": func(i *networkingv1.Ingress) { i.Labels = map[string]string{state.Label: "app"} },
		"Flagger's": func(i *networkingv1.Ingress) {
			i.OwnerReferences = []metav1.OwnerReference{{APIVersion: "flagger.app/v1beta1", Kind: "Canary", Name: "app", Controller: new(true)}}
		},
	} {
		generated := ingress("app", primaryLB)
		change(generated)
		r := newRig(t, generated)
		if results := r.sync(); len(results) != 0 || len(r.records()) != 0 {
			t.Errorf("an Ingress that is %s was published: %+v", name, results)
		}
	}

	r := newRig(t, ingress("app", primaryLB))
	r.wish(state.Desired{Generation: 1, Mode: state.Split, Ingress: "other", CanaryIngress: "app"})
	if results := r.sync(); len(results) != 0 || len(r.records()) != 0 {
		t.Errorf("a prepared Ingress was published: %+v", results)
	}
}

// People put the annotation that keeps external-dns away on what we publish, as our own generated Ingresses have it.
func TestAnIngressThatIsKeptFromExternalDNSIsPublished(t *testing.T) {
	t.Parallel()
	app := ingress("app", primaryLB)
	app.Annotations = map[string]string{"external-dns.alpha.kubernetes.io/controller": "penstock"}
	other := app.DeepCopy()
	other.Name, other.UID, other.CreationTimestamp = "other", "uid-other", metav1.NewTime(start.Add(-time.Hour))
	r := newRig(t, app)
	if results := r.sync(); len(results) != 1 || len(r.records()) != 1 {
		t.Errorf("results %+v, records %+v", results, r.records())
	}
	r = newRig(t, app, other)
	if results := r.sync(); results[0].Hosts[0].Err == nil {
		t.Errorf("results %+v: the host belongs to an older Ingress, which has the annotation too", results)
	}
}

func TestTheOldestIngressPublishesAHost(t *testing.T) {
	t.Parallel()
	older := ingress("older", "192.0.2.9")
	older.CreationTimestamp = metav1.NewTime(start.Add(-time.Hour))
	r := newRig(t, ingress("app", primaryLB), older)
	results := r.sync()
	if len(r.records()) != 0 || results[0].Hosts[0].Err == nil || !strings.Contains(results[0].Hosts[0].Err.Error(), "shop/older") {
		t.Errorf("the younger Ingress published: %+v, results %+v", r.records(), results)
	}
}

func TestAnErrorOfTheBackendIsToldToTheCanary(t *testing.T) {
	t.Parallel()
	r := newRig(t, ingress("app", primaryLB), preparedIngress(canaryLB))
	r.sync()
	r.backend.Intercept(func([]dns.Publication) error { return errors.New("throttled") }, nil)
	r.wish(split(1, 10))
	if _, err := r.publisher.Sync(t.Context(), apex); err == nil {
		t.Error("Sync hides that the backend failed")
	}
	if o := r.observed(); !strings.Contains(o.Error, "throttled") || o.Effective {
		t.Errorf("observed %+v, want the backend's error", o)
	}
	r.backend.Intercept(nil, nil)
	r.until(effective(1))
	if o := r.observed(); o.Error != "" {
		t.Errorf("observed %+v, want the error gone", o)
	}
}

func TestIngressGone(t *testing.T) {
	t.Parallel()
	r := newRig(t, ingress("app", primaryLB))
	r.sync()
	if err := r.kube.NetworkingV1().Ingresses(namespace).Delete(t.Context(), "app", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	r.sync()
	if len(r.records()) != 0 {
		t.Errorf("records %+v of an Ingress that is gone", r.records())
	}
}

func TestIdleSyncWritesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, ingress("app", primaryLB), preparedIngress(canaryLB))
	r.wish(split(1, 10))
	r.until(effective(1))
	r.sync()
	writes, actions := r.backend.Writes(), len(r.kube.Actions())
	r.sync()
	if r.backend.Writes() != writes {
		t.Error("an idle Sync wrote DNS")
	}
	for _, a := range r.kube.Actions()[actions:] {
		if a.GetVerb() != "get" && a.GetVerb() != "list" {
			t.Errorf("an idle Sync called %s %s", a.GetVerb(), a.GetResource().Resource)
		}
	}
}

func TestConcurrentSyncs(t *testing.T) {
	t.Parallel()
	r := newRig(t, ingress("app", primaryLB), preparedIngress(canaryLB))
	r.wish(split(1, 10))
	done := make(chan error)
	for range 8 {
		go func() {
			_, err := r.publisher.Sync(t.Context(), apex)
			done <- err
		}()
	}
	for range 8 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	r.until(effective(1))
}

func TestNewPublisherRefusesANamelessCluster(t *testing.T) {
	t.Parallel()
	for _, cluster := range []string{"", strings.Repeat("x", 129)} {
		if _, err := dns.NewPublisher(cluster, nil, nil, dns.StaticWeight(weights.Hundred), nil, dns.PublisherOptions{}); err == nil {
			t.Errorf("cluster name %q was accepted", cluster)
		}
	}
}

// An ingress controller that is installed anew takes the addresses out of the Ingresses' status. The last ones stay, also those of AWS, and the canary drains and ends.
func TestADrainWithoutALoadBalancersAddress(t *testing.T) {
	t.Parallel()
	for name, addresses := range map[string][2]string{"AWS": {elbHostname, "two-1234.eu-west-1.elb.amazonaws.com"}, "IP": {primaryLB, canaryLB}, "Hostname": {"one.example.net", "two.example.net"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, ingress("app", addresses[0]), preparedIngress(addresses[1]))
			r.wish(split(1, 50))
			r.until(effective(1))
			r.apply(ingress("app", ""))
			r.apply(preparedIngress(""))
			r.wish(split(2, 0))
			r.until(effective(2))
			shares(t, r, map[string]float64{addresses[0]: 1})
			d := split(3, 0)
			d.Attached = false
			r.wish(d)
			r.until(effective(3))
			shares(t, r, map[string]float64{addresses[0]: 1})
		})
	}
}

// A host that comes in mid-canary, and may not be published here, is in nobody's way when the canary goes back and ends.
func TestAHostThatIsRefusedHoldsUpNoDrain(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*networkingv1.Ingress){
		"Added": func(i *networkingv1.Ingress) { i.Spec.Rules = append(i.Spec.Rules, rule("old.example.com", "app")) },
		"Instead": func(i *networkingv1.Ingress) {
			i.Spec.Rules = []networkingv1.IngressRule{rule("old.example.com", "app")}
		},
	} {
		for _, first := range []bool{true, false} { // the share that is taken back was never effective
			t.Run(fmt.Sprintf("%s,first=%t", name, first), func(t *testing.T) {
				t.Parallel()
				older := olderIngress()
				older.Spec.Rules = []networkingv1.IngressRule{rule("old.example.com", "old")}
				r := newRig(t, older, ingress("app", primaryLB), preparedIngress(canaryLB))
				r.wish(split(1, 50))
				if first {
					r.until(func(o state.Observed) bool { return o.Attached })
				} else {
					r.until(effective(1))
				}
				app := ingress("app", primaryLB)
				change(app)
				r.apply(app)
				r.wish(split(2, 0))
				r.until(effective(2))
				if got := r.backend.MayAnswer(host); slices.Contains(got, canaryLB) {
					t.Errorf("effective, and a resolver may answer %v", got)
				}
				if o := r.observed(); o.Error != "" || !strings.Contains(o.Warning, "old.example.com") {
					t.Errorf("observed %+v, want a warning of the host", o)
				}
				d := split(3, 0)
				d.Attached = false
				r.wish(d)
				r.until(effective(3))
				if r.observed().Attached {
					t.Error("attached, with nothing in DNS")
				}
			})
		}
	}
}

// An exposure of a host that another Ingress publishes is not effective, since all of the cluster's weight leads to the canary there.
func TestAnExposureOfARefusedHostIsNotEffective(t *testing.T) {
	t.Parallel()
	r := newRig(t, olderIngress(), ingress("app", primaryLB))
	r.wish(state.Desired{Generation: 1, Mode: state.Shared, Exposure: 20})
	for range 100 {
		r.sync()
		r.clock.Sleep(time.Minute)
	}
	if o := r.observed(); o.Effective || !strings.Contains(o.Error, host) {
		t.Errorf("observed %+v, want an error and nothing effective", o)
	}
}

func shares(t *testing.T, r *rig, want map[string]float64) {
	t.Helper()
	got := r.backend.Shares(host)
	if len(got) != len(want) {
		t.Errorf("shares %v, want %v", got, want)
		return
	}
	for target, w := range want {
		if math.Abs(got[target]-w) > 1e-9 {
			t.Errorf("shares %v, want %v", got, want)
			return
		}
	}
}

func dnstestCheck(records []dns.Record) error {
	if len(records) < 3 {
		return fmt.Errorf("records %+v, want the host's and a simple one for each kind of address", records)
	}
	return nil
}

// zeros is a backend that sees a name whose weights are all zero.
type zeros struct{ dns.Backend }

func (z zeros) Publish(ctx context.Context, publications ...dns.Publication) ([]dns.Status, error) {
	statuses, err := z.Backend.Publish(ctx, publications...)
	for i := range statuses {
		statuses[i].Warning = "all weights are zero"
	}
	return statuses, err
}

func TestWarningsOfTheBackendReachTheCanary(t *testing.T) {
	t.Parallel()
	r := newRig(t, ingress("app", primaryLB))
	r.wish(state.Desired{Generation: 1, Mode: state.Shared, Weights: state.Weights{Primary: 100}})
	p, err := dns.NewPublisher("east", dns.NewKubeSource(r.kube, r.clock), zeros{r.backend}, r.weight, nil, dns.PublisherOptions{Clock: r.clock})
	if err != nil {
		t.Fatal(err)
	}
	r.publisher = p
	if results := r.sync(); results[0].Status.Warning != "all weights are zero" {
		t.Errorf("result %+v", results[0])
	}
	if o := r.observed(); o.Warning != "all weights are zero" || o.Error != "" {
		t.Errorf("observed %+v", o)
	}
}
