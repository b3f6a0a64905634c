package traffic

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/penstock-dev/penstock/dns"
	"github.com/penstock-dev/penstock/internal/state"
)

// What the traffic controller did wrong that this one replaces, each as a test. Those about foreign DNSEndpoints are with the externaldns backend, those
// about the table with the stores, and those about the arithmetic with package weights.

// A host without endpoints got weight 0, and so did every host after it.
func TestEachHostHasAWeightOfItsOwn(t *testing.T) {
	t.Parallel()
	orders := [][]string{
		{"up.example.com", "down.example.com", "also.example.com"},
		{"down.example.com", "up.example.com", "also.example.com"},
		{"up.example.com", "also.example.com", "down.example.com"},
	}
	for _, hosts := range orders {
		r := newRig(t, nil, app("one", hosts...)...)
		r.desire(80)
		r.apply(endpoints("down"))
		r.run(time.Minute)
		want := map[string]int{"up.example.com": 80, "also.example.com": 80, "down.example.com": 0}
		if diff := cmp.Diff(want, r.published("one")); diff != "" {
			t.Errorf("rules %v: -want +got:\n%s", hosts, diff)
		}
	}
}

// Who serves a host: any ready endpoint of each of its Services.
func TestReadiness(t *testing.T) {
	t.Parallel()
	unknown := endpoints("one", true)
	unknown.Endpoints[0].Conditions.Ready = nil
	second := endpoints("one", true)
	second.Name = "one-2"
	resource := networkingv1.IngressBackend{Resource: nil}
	cases := map[string]struct {
		reason string
		slices []*discoveryv1.EndpointSlice
		rule   networkingv1.IngressRule
		want   int
	}{
		"Ready":           {"One endpoint is enough.", []*discoveryv1.EndpointSlice{endpoints("one", true)}, rule("x.example.com", "one"), 100},
		"SomeNotReady":    {"Others may start or end meanwhile.", []*discoveryv1.EndpointSlice{endpoints("one", false, true, false)}, rule("x.example.com", "one"), 100},
		"AnotherSlice":    {"A Service may have several slices, one of which has nobody.", []*discoveryv1.EndpointSlice{endpoints("one", false), second}, rule("x.example.com", "one"), 100},
		"NoneReady":       {"Nobody would answer.", []*discoveryv1.EndpointSlice{endpoints("one", false, false)}, rule("x.example.com", "one"), 0},
		"NoEndpoints":     {"Nobody would answer.", []*discoveryv1.EndpointSlice{endpoints("one")}, rule("x.example.com", "one"), 0},
		"NoSlices":        {"The Service may not exist.", nil, rule("x.example.com", "one"), 0},
		"Unknown":         {"Ready is true when it is not said.", []*discoveryv1.EndpointSlice{unknown}, rule("x.example.com", "one"), 100},
		"OneOfTwo":        {"A path that nobody serves makes the host unusable.", []*discoveryv1.EndpointSlice{endpoints("one", true)}, rule("x.example.com", "one", "two"), 0},
		"BothOfTwo":       {"Every path is served.", []*discoveryv1.EndpointSlice{endpoints("one", true), endpoints("two", true)}, rule("x.example.com", "one", "two"), 100},
		"NoPaths":         {"A rule without paths names nobody.", nil, networkingv1.IngressRule{Host: "x.example.com"}, 0},
		"ResourceBackend": {"It has no endpoints to look at, and once made the controller panic.", []*discoveryv1.EndpointSlice{endpoints("one", true)}, withPath(rule("x.example.com", "one"), resource), 100},
		"OnlyAResource":   {"Nobody is known to serve it.", nil, withPath(rule("x.example.com"), resource), 0},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			objects := app("one")
			objects[0].(*networkingv1.Ingress).Spec.Rules = []networkingv1.IngressRule{tc.rule}
			for _, slice := range tc.slices {
				objects = append(objects, slice.DeepCopy())
			}
			r := newRig(t, nil, objects...)
			r.run(time.Minute)
			if got := r.published("one")["x.example.com"]; got != tc.want {
				t.Errorf("%s\nweight %d, want %d", tc.reason, got, tc.want)
			}
		})
	}
}

func withPath(rule networkingv1.IngressRule, backend networkingv1.IngressBackend) networkingv1.IngressRule {
	rule.HTTP.Paths = append(rule.HTTP.Paths, networkingv1.HTTPIngressPath{Path: "/files", Backend: backend})
	return rule
}

// Endpoints come and go, and the host follows.
func TestAHostFollowsItsEndpoints(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, append(app("one", "one.example.com"), app("two", "two.example.com")...)...)
	r.run(time.Minute)
	for _, ready := range []bool{false, true, false} {
		r.apply(endpoints("one", ready))
		r.moment()
		want := 0
		if ready {
			want = 100
		}
		if diff := cmp.Diff(map[string]int{"one.example.com": want, "two.example.com": 100}, r.published("one", "two")); diff != "" {
			t.Errorf("ready %t: -want +got:\n%s", ready, diff)
		}
	}
}

// A Service whose endpoints cannot be read was taken for ready, and it was chance whether another one that is not ready was looked at before.
func TestEndpointsThatCannotBeRead(t *testing.T) {
	t.Parallel()
	for _, services := range [][]string{{"one", "unread"}, {"unread", "one"}} {
		for _, up := range []bool{true, false} {
			objects := app("one", "one.example.com")
			objects[0].(*networkingv1.Ingress).Spec.Rules[0] = rule("one.example.com", services...)
			r := newRig(t, nil, append(objects, endpoints("unread", true))...)
			r.run(time.Minute)
			r.apply(endpoints("one", up))
			r.source.caches = interceptor.NewClient(r.kube, interceptor.Funcs{
				List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
					var o client.ListOptions
					if o.ApplyOptions(opts); o.FieldSelector != nil && o.FieldSelector.Matches(fields.Set{byService: "unread"}) {
						return errors.New("not there")
					}
					return c.List(ctx, list, opts...)
				},
			})
			r.desire(50)
			r.run(time.Minute)
			want := 100 // the last one that is known to be right
			if !up {
				want = 0
			}
			if got := r.published("one")["one.example.com"]; got != want {
				t.Errorf("services %v, the one that can be read is ready: %t: weight %d, want %d", services, up, got, want)
			}
		}
	}
}

// A rule without a host is one for all names, and was published as a record without a name.
func TestARuleWithoutAHost(t *testing.T) {
	t.Parallel()
	for _, flags := range [][]string{nil, {"-binding-domain", "example.com"}} {
		objects := app("one", "one.example.com")
		ingress := objects[0].(*networkingv1.Ingress)
		ingress.Spec.Rules = append([]networkingv1.IngressRule{rule("", "one")}, ingress.Spec.Rules...)
		only := app("only", "one.example.com")[0].(*networkingv1.Ingress)
		only.Spec.Rules = []networkingv1.IngressRule{rule("", "one")}
		r := newRig(t, flags, append(objects, only)...)
		r.restart(flags...)
		r.run(time.Minute)
		if diff := cmp.Diff(map[string]int{"one.example.com": 100}, r.published("one", "only")); diff != "" {
			t.Errorf("flags %v: -want +got:\n%s", flags, diff)
		}
		r.desire(40)
		r.until("nobody waits for it", func() bool { return r.row.now().CurrentWeight == 40 })
	}
}

// A fault is told once, whatever its words, until it has passed; what somebody has to mend, whenever that is something else.
func TestAFaultIsToldOnce(t *testing.T) {
	t.Parallel()
	r, one := newRig(t, nil, app("one", "one.example.com")...), types.NamespacedName{Namespace: namespace, Name: "one"}
	for _, fault := range []func(error) error{func(err error) error { return err }, dns.Refuse} {
		before, told := len(r.notes.lines), 1
		for i := range 3 {
			err := fault(fmt.Errorf("request %d", i))
			if errors.Is(err, dns.ErrRefused) {
				told = i + 1
			}
			r.dns.Fail("one", err)
			r.queue.Add(one)
			r.run(time.Minute)
			if got := len(r.notes.lines) - before; got != told {
				t.Errorf("%v: told %d times, want %d: %q", err, got, told, r.notes.lines[before:])
			}
		}
		r.dns.Fail("one", nil)
		r.queue.Add(one)
		r.run(time.Minute)
	}
}

// A traffic-weight that cannot be read: no record with a guessed weight is written, the last good one stays, and people are told.
func TestAMalformedAnnotation(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"A", "", "NaN", "-1", "Inf", "1e2", "5%", " 5"} {
		t.Run(value, func(t *testing.T) {
			t.Parallel()
			objects := app("one", "one.example.com")
			objects[0].SetAnnotations(map[string]string{"dns.adevinta.com/traffic-weight": value})
			r := newRig(t, nil, objects...)
			r.run(time.Minute)
			if got := r.published("one"); len(got) > 0 {
				t.Errorf("published %v", got)
			}
			if r.notes.with("shop/one", "dns.adevinta.com/traffic-weight", fmt.Sprintf("%q", value)) != 1 {
				t.Errorf("events %q", r.notes.lines)
			}
			good := app("one", "one.example.com")[0]
			good.SetAnnotations(map[string]string{"dns.adevinta.com/traffic-weight": "30"})
			r.apply(good)
			r.run(time.Minute)
			bad := good.DeepCopyObject().(client.Object)
			bad.SetAnnotations(map[string]string{"dns.adevinta.com/traffic-weight": value})
			r.apply(bad)
			r.desire(50)
			r.run(time.Minute)
			if got := r.published("one")["one.example.com"]; got != 30 {
				t.Errorf("weight %d, want the last good one, 30", got)
			}
		})
	}
}

// What a load balancer is decides the record: addresses have been written as a CNAME to nothing.
func TestLoadBalancers(t *testing.T) {
	t.Parallel()
	address := func(entries ...networkingv1.IngressLoadBalancerIngress) []networkingv1.IngressLoadBalancerIngress {
		return entries
	}
	ip := func(a string) networkingv1.IngressLoadBalancerIngress {
		return networkingv1.IngressLoadBalancerIngress{IP: a}
	}
	name := func(h string) networkingv1.IngressLoadBalancerIngress {
		return networkingv1.IngressLoadBalancerIngress{Hostname: h}
	}
	for label, tc := range map[string]struct {
		status []networkingv1.IngressLoadBalancerIngress
		flags  []string
		want   []string
	}{
		"Hostname": {address(name("lb.example.net")), nil, []string{"CNAME lb.example.net"}},
		"IPv4":     {address(ip("192.0.2.1")), nil, []string{"A 192.0.2.1"}},
		"IPv6":     {address(ip("2001:db8::1")), nil, []string{"AAAA 2001:db8::1"}},
		"Both":     {address(ip("192.0.2.1"), ip("2001:db8::1")), nil, []string{"A 192.0.2.1", "AAAA 2001:db8::1"}},
		"Several":  {address(ip("192.0.2.2"), ip("192.0.2.1")), nil, []string{"A east._addresses.one.example.com", "A 192.0.2.1 192.0.2.2"}},
		"None":     {nil, nil, nil},
		"DevMode":  {nil, []string{"-dev-mode"}, []string{"CNAME devmode"}},
	} {
		t.Run(label, func(t *testing.T) {
			t.Parallel()
			objects := app("one", "one.example.com")
			objects[0].(*networkingv1.Ingress).Status.LoadBalancer.Ingress = tc.status
			r := newRig(t, tc.flags, objects...)
			r.run(time.Minute)
			records, err := r.dns.Published(t.Context(), cluster, types.NamespacedName{Namespace: namespace, Name: "one"}, nil)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, record := range records {
				got = append(got, string(record.Type)+" "+strings.Join(record.Targets, " "))
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// An Ingress that is not the controller's any more keeps no records; one whose load balancer is gone for a while keeps them.
func TestAnIngressLeaves(t *testing.T) {
	t.Parallel()
	mine := func() []client.Object {
		objects := app("one", "one.example.com", "one.example.org")
		objects[0].SetAnnotations(map[string]string{"team": "shop"})
		return objects
	}
	flags := []string{"-annotation-filter", "team=shop", "-binding-domain", "example.com"}
	both := map[string]int{"one.example.com": 100}
	cases := map[string]struct {
		reason string
		leave  func(r *rig)
		want   map[string]int
	}{
		"Deleted":   {"Nobody serves it.", func(r *rig) { r.remove(mine()[0]) }, map[string]int{}},
		"Annotated": {"It is another controller's.", func(r *rig) { o := mine()[0]; o.SetAnnotations(nil); r.apply(o) }, map[string]int{}},
		"NoHost": {
			"The host is gone.",
			func(r *rig) { o := mine()[0].(*networkingv1.Ingress); o.Spec.Rules = o.Spec.Rules[1:]; r.apply(o) },
			map[string]int{},
		},
		"NoAddress": {
			"The load balancer comes back, and its name stays until then.",
			func(r *rig) {
				o := mine()[0].(*networkingv1.Ingress)
				o.Status = networkingv1.IngressStatus{}
				r.apply(o)
			},
			both,
		},
		"FilterChanged": {"After a start, nobody knows whose records of an Ingress that is left out these are.", func(r *rig) { r.restart("-annotation-filter", "team=other") }, both},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, flags, mine()...)
			r.restart(flags...)
			r.run(time.Minute)
			if diff := cmp.Diff(both, r.published("one")); diff != "" {
				t.Fatalf("before: -want +got:\n%s", diff)
			}
			tc.leave(r)
			r.run(10 * time.Minute)
			if diff := cmp.Diff(tc.want, r.published("one")); diff != "" {
				t.Errorf("%s\n-want +got:\n%s", tc.reason, diff)
			}
			r.desire(40)
			r.until("the rest is served", func() bool { return r.row.now().CurrentWeight == 40 })
		})
	}
}

func TestFilters(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason             string
		annotation, domain string
		hosts              []string // that are published
		err                string
	}{
		"None":      {reason: "Everything is the controller's.", hosts: []string{"a.foo.example.com", "a.evilfoo.example.com", "foo.example.com"}},
		"Domain":    {reason: "A domain ends at a label.", domain: "foo.example.com", hosts: []string{"a.foo.example.com", "foo.example.com"}},
		"Dot":       {reason: "The dot was written to say that.", domain: ".foo.example.com", hosts: []string{"a.foo.example.com", "foo.example.com"}},
		"Case":      {reason: "DNS has none.", domain: "Foo.Example.COM.", hosts: []string{"a.foo.example.com", "foo.example.com"}},
		"Other":     {reason: "Nothing is in it.", domain: "example.org"},
		"NoDomain":  {reason: "It would match nothing, or everything.", domain: "foo..com", err: "binding-domain"},
		"Value":     {reason: "It has the value.", annotation: "team=shop", hosts: []string{"a.foo.example.com", "a.evilfoo.example.com", "foo.example.com"}},
		"Another":   {reason: "It has another value.", annotation: "team=other"},
		"Empty":     {reason: "It has not the empty value.", annotation: "team="},
		"Absent":    {reason: "It has no such annotation.", annotation: "absent="},
		"NoValue":   {reason: "Once it matched everything.", annotation: "team", err: `"team"`},
		"TwoValues": {reason: "Once it matched everything.", annotation: "a=b=c", err: "key=value"},
		"NoKey":     {reason: "It matched nothing.", annotation: "=b", err: "annotation-filter"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, err := newFilter(tc.annotation, tc.domain, false)
			if (err != nil) != (tc.err != "") || err != nil && !strings.Contains(err.Error(), tc.err) {
				t.Fatalf("%s\nerror %v, want one that says %q", tc.reason, err, tc.err)
			}
			if err != nil {
				return
			}
			ingress := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"team": "shop"}}}
			for _, host := range []string{"a.foo.example.com", "a.evilfoo.example.com", "foo.example.com"} {
				ingress.Spec.Rules = append(ingress.Spec.Rules, rule(host, "one"))
			}
			var got []string
			if ingress = f.ingress(ingress); ingress != nil {
				got, _ = dns.HostsOf(ingress, "")
			}
			if diff := cmp.Diff(tc.hosts, got); diff != "" {
				t.Errorf("%s\n-want +got:\n%s", tc.reason, diff)
			}
		})
	}
}

// A host that stands in two rules is one record.
func TestAHostInTwoRules(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, app("one", "one.example.com", "one.example.com")...)
	r.run(time.Minute)
	records, err := r.dns.Published(t.Context(), cluster, types.NamespacedName{Namespace: namespace, Name: "one"}, nil)
	if err != nil || len(records) != 1 {
		t.Errorf("records %+v (%v), want one", records, err)
	}
}

// Of two Ingresses with one host the oldest publishes it; the other one follows when that is gone, and is told why it has to wait.
func TestTwoIngressesWithOneHost(t *testing.T) {
	t.Parallel()
	older, younger := app("older", "one.example.com"), app("younger", "one.example.com")
	younger[0].SetCreationTimestamp(metav1.NewTime(start.Add(time.Hour)))
	younger[0].SetAnnotations(map[string]string{"dns.adevinta.com/traffic-weight": "50"})
	r := newRig(t, nil, append(older, younger[0])...)
	r.run(time.Minute)
	if got := r.published("older")["one.example.com"]; got != 100 || len(r.published("younger")) > 0 {
		t.Errorf("published %v and %v", r.published("older"), r.published("younger"))
	}
	if r.notes.with("shop/younger", "shop/older") != 1 {
		t.Errorf("events %q", r.notes.lines)
	}
	r.desire(40)
	r.until("who waits for the host blocks nobody", func() bool { return r.row.now().CurrentWeight == 40 })
	r.remove(older[0])
	r.run(10 * time.Minute)
	if got := r.published("younger")["one.example.com"]; got != 20 {
		t.Errorf("published %v after the older one has gone", r.published("younger"))
	}
}

// Canaries' Ingresses are not published for themselves: generated ones, and prepared ones.
func TestIngressesOfCanariesAreSkipped(t *testing.T) {
	t.Parallel()
	generated := app("one-canary", "one.example.com")[0]
	generated.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: "flagger.app/v1beta1", Kind: "Canary", Name: "one", Controller: new(true)}})
	generated.SetUID("g")
	labelled := app("one-canary--1", "one.example.com")[0]
	labelled.SetLabels(map[string]string{state.Label: "one"})
	prepared := app("one-new", "one.example.com")[0]
	wish := canary("one", state.Desired{Generation: 1, Mode: state.Split, Ingress: "one", Service: "one", CanaryIngress: "one-new", Weights: state.Weights{Primary: 100}})
	for _, o := range []client.Object{generated, labelled, prepared} {
		o.SetCreationTimestamp(metav1.NewTime(start.Add(-time.Hour)))
	}
	r := newRig(t, nil, append(app("one", "one.example.com"), generated, labelled, prepared, wish)...)
	r.run(10 * time.Minute)
	if got := r.published("one")["one.example.com"]; got != 100 {
		t.Errorf("the apex has weight %d", got)
	}
	if got := r.published("one-canary", "one-canary--1", "one-new"); len(got) > 0 {
		t.Errorf("published %v", got)
	}
	r.desire(40)
	r.until("the weight is served", func() bool { return r.row.now().CurrentWeight == 40 })
}

// A change of the weight is one call for many Ingresses, not one for each.
func TestIngressesArePublishedTogether(t *testing.T) {
	t.Parallel()
	var objects []client.Object
	for i := range 100 {
		objects = append(objects, app(fmt.Sprintf("app-%d", i), fmt.Sprintf("app-%d.example.com", i))...)
	}
	r := newRig(t, nil, objects...)
	r.run(5 * time.Minute)
	publishes, writes := r.dns.Publishes(), r.dns.Writes()
	r.desire(40)
	r.moment()
	if got := r.dns.Writes() - writes; got != 100 {
		t.Errorf("%d writes, want one for each of 100 Ingresses", got)
	}
	if got := r.dns.Publishes() - publishes; got > 4 {
		t.Errorf("%d calls for 100 Ingresses", got)
	}
}

func TestRetries(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, app("one", "one.example.com")...)
	r.dns.Fail("one", errors.New("away"))
	r.run(time.Minute)
	r.dns.Fail("one", nil)
	r.until("it is published after all", func() bool { return r.published("one")["one.example.com"] == 100 })
}
