package router

import (
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"

	"github.com/penstock-dev/penstock/dns"
)

func environment(values map[string]string) func(string) string {
	return func(name string) string { return values[name] }
}

//nolint:paralleltest // it counts goroutines
func TestForIsMemoised(t *testing.T) {
	config, kube := &rest.Config{Host: "192.0.2.1"}, fake.NewClientset()
	leaks := goleak.IgnoreCurrent()
	first := For(config, kube, nil, true)
	goleak.VerifyNone(t, leaks)
	if For(config, kube, zaptest.NewLogger(t).Sugar(), true) != first {
		t.Error("the same arguments gave another factory")
	}
	for name, other := range map[string]*Factory{
		"config": For(&rest.Config{Host: "192.0.2.1"}, kube, nil, true), "client": For(config, fake.NewClientset(), nil, true), "setOwnerRefs": For(config, kube, nil, false),
	} {
		if other == first {
			t.Errorf("another %s gave the same factory", name)
		}
	}
	if len(kube.Actions()) > 0 {
		t.Errorf("calls of the API: %v", kube.Actions())
	}
	// The environment of a test names no cluster: provider skipper works all the same, and dns-weighted says what is missing.
	canary := &flaggerv1.Canary{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}}
	r, ok := first.MeshRouter("skipper", "app")
	if _, is := r.(*takeover); !ok || !is {
		t.Errorf("skipper: %T, %v", r, ok)
	}
	r, ok = first.MeshRouter("dns-weighted", "app")
	if !ok {
		t.Fatal("no router for dns-weighted")
	}
	_, _, _, err := r.GetRoutes(canary)
	for _, err := range []error{err, r.Reconcile(canary), r.SetRoutes(canary, 100, 0, false), r.Finalize(canary)} {
		if err == nil || !strings.Contains(err.Error(), "PENSTOCK_CLUSTER_NAME") {
			t.Errorf("error %v does not name the variable", err)
		}
	}
	for _, provider := range []string{"", "istio", "skipper:service", "dns"} {
		if r, ok := first.MeshRouter(provider, "app"); ok || r != nil {
			t.Errorf("provider %q: %T, %v", provider, r, ok)
		}
	}
}

func TestFactoryChoosesPublisherAndBackend(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		env       map[string]string
		config    *rest.Config
		publishes bool
		err       string
	}{
		"external-dns":         {map[string]string{"PENSTOCK_CLUSTER_NAME": "east"}, &rest.Config{Host: "192.0.2.1"}, true, ""},
		"route 53":             {map[string]string{"PENSTOCK_CLUSTER_NAME": "east", "PENSTOCK_DNS_BACKEND": "route53"}, nil, true, ""},
		"controller":           {map[string]string{"PENSTOCK_CLUSTER_PUBLISHER": "controller"}, nil, false, ""},
		"no client":            {map[string]string{"PENSTOCK_CLUSTER_NAME": "east"}, nil, false, "needs the configuration of a Kubernetes client"},
		"client that is wrong": {map[string]string{"PENSTOCK_CLUSTER_NAME": "east"}, &rest.Config{Host: "::"}, false, "client of DNSEndpoints"},
		"long name":            {map[string]string{"PENSTOCK_CLUSTER_NAME": strings.Repeat("x", 129)}, &rest.Config{Host: "192.0.2.1"}, false, "128"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			registry := prometheus.NewRegistry()
			for range 2 { // setOwnerRefs may differ between factories, and metrics are registered once
				f := newFactory(test.config, fake.NewClientset(), nil, true, environment(test.env), registry)
				switch r := f.dnsWeighted.(type) {
				case *DNSWeighted:
					if test.err != "" || (r.publisher != nil) != test.publishes || !r.opts.SetOwnerRefs || !r.skipper.opts.SetOwnerRefs {
						t.Errorf("publisher %v, options %+v; error %q is wanted", r.publisher, r.opts, test.err)
					}
				case misconfigured:
					if test.err == "" || !strings.Contains(r.err.Error(), test.err) {
						t.Errorf("error %v, want %q", r.err, test.err)
					}
				default:
					t.Errorf("%T", r)
				}
			}
		})
	}
}

func TestVariablesThatMakeNoSense(t *testing.T) {
	t.Parallel()
	bad := map[string][]string{
		"PENSTOCK_CLUSTER_WEIGHT":    {"NaN", "-1", "101", "1e2", "50%", " 50"},
		"PENSTOCK_CLUSTER_PUBLISHER": {"both"},
		"PENSTOCK_DNS_BACKEND":       {"cloudflare", "Route53"},
		"PENSTOCK_HOST_TTL":          {"60", "-1s", "1500ms", "25h"},
		"PENSTOCK_INNER_TTL":         {"0s", "soon"},
		"PENSTOCK_DNS_RESOLVERS":     {"192.0.2.53", "192.0.2.53:0", ":53", "192.0.2.53:53;192.0.2.54:53", ",", "192.0.2.999:53", "foo bar:53"},
		"PENSTOCK_ASSUME_SYNC_AFTER": {"always"},
		"PENSTOCK_ANNOTATION_PREFIX": {"dns.example.com/", "dns example", "/"},
		"PENSTOCK_ROUTE53_ZONES":     {",", " , "},
		"PENSTOCK_ROUTE53_RATE":      {"0", "101", "NaN", "many"},
		"PENSTOCK_SKIPPER_POLL":      {"3", "0s"},
		"PENSTOCK_SETTLE":            {"-6s", "1s"},
		"PENSTOCK_SKIPPER_SYNC_KEYS": {","},
	}
	skippers := []string{"PENSTOCK_SKIPPER_POLL", "PENSTOCK_SETTLE", "PENSTOCK_SKIPPER_SYNC_KEYS"}
	for name, values := range bad {
		for _, value := range values {
			c := readConfig(environment(map[string]string{"PENSTOCK_CLUSTER_NAME": "east", name: value}))
			if c.dnsErr == nil || !strings.Contains(c.dnsErr.Error(), name) || !strings.Contains(c.dnsErr.Error(), `"`+value+`"`) {
				t.Errorf("%s=%q: error %v does not name both", name, value, c.dnsErr)
			}
			if concerned := slices.Contains(skippers, name); (c.skipperErr != nil) != concerned {
				t.Errorf("%s=%q: provider skipper gets the error %v", name, value, c.skipperErr)
			}
		}
	}
	for _, name := range []string{"east\n", " ", "east west"} {
		if c := readConfig(environment(map[string]string{"PENSTOCK_CLUSTER_NAME": name})); c.dnsErr == nil || !strings.Contains(c.dnsErr.Error(), "without spaces") {
			t.Errorf("cluster %q: error %v", name, c.dnsErr)
		}
	}
	both := map[string]string{"PENSTOCK_CLUSTER_NAME": "east", "PENSTOCK_DNS_RESOLVERS": "[2001:db8::53]:53", "PENSTOCK_ASSUME_SYNC_AFTER": "3m"}
	if c := readConfig(environment(both)); c.dnsErr == nil || !strings.Contains(c.dnsErr.Error(), "remove one") || c.skipperErr != nil {
		t.Errorf("errors %v and %v", c.dnsErr, c.skipperErr)
	}
	both = map[string]string{"PENSTOCK_SKIPPER_POLL": "10s", "PENSTOCK_SETTLE": "6s"}
	if c := readConfig(environment(both)); c.skipperErr == nil || !strings.Contains(c.skipperErr.Error(), "10s") {
		t.Errorf("error %v", c.skipperErr)
	}
	all := readConfig(environment(map[string]string{"PENSTOCK_DNS_BACKEND": "x", "PENSTOCK_SETTLE": "y"}))
	for _, part := range []string{"PENSTOCK_DNS_BACKEND", "PENSTOCK_SETTLE", "PENSTOCK_CLUSTER_NAME"} {
		if !strings.Contains(all.dnsErr.Error(), part) {
			t.Errorf("error %v does not name %s", all.dnsErr, part)
		}
	}
}

func TestVariablesAreUsed(t *testing.T) {
	t.Parallel()
	c := readConfig(environment(map[string]string{
		"PENSTOCK_CLUSTER_NAME": "east", "PENSTOCK_CLUSTER_WEIGHT": "12.5", "PENSTOCK_HEALTH_CHECK_ID": "an-id",
		"PENSTOCK_HOST_TTL": "60s", "PENSTOCK_INNER_TTL": "10s", "PENSTOCK_ANNOTATION_PREFIX": "dns.example.com",
		"PENSTOCK_DNS_RESOLVERS": "192.0.2.53:53, 192.0.2.54:5353",
		"PENSTOCK_ROUTE53_ZONES": "Z1,Z2", "PENSTOCK_ROUTE53_RATE": "0.5", "PENSTOCK_ROUTE53_ADOPT_OWNER": "legacy", "PENSTOCK_ROUTE53_ADOPT_TXT_PREFIX": "p-",
		"PENSTOCK_ROUTE53_ADOPT_TXT_SUFFIX": "-s", "PENSTOCK_ROUTE53_ADOPT_TXT_WILDCARD": "any",
		"PENSTOCK_SKIPPER_POLL": "1s", "PENSTOCK_SETTLE": "5s", "PENSTOCK_SKIPPER_SYNC_KEYS": "team/,stage",
	}))
	if err := errors.Join(c.dnsErr, c.skipperErr); err != nil {
		t.Fatal(err)
	}
	if c.cluster != "east" || c.weight.String() != "12.5" ||
		!reflect.DeepEqual(c.dns, dns.PublisherOptions{AnnotationPrefix: "dns.example.com", HealthCheckID: "an-id", HostTTL: time.Minute, InnerTTL: 10 * time.Second}) ||
		!slices.Equal(c.resolvers, []string{"192.0.2.53:53", "192.0.2.54:5353"}) {
		t.Errorf("%+v", c)
	}
	if c := readConfig(environment(map[string]string{"PENSTOCK_CLUSTER_NAME": "east", "PENSTOCK_ASSUME_SYNC_AFTER": "3m"})); c.assumeAfter != 3*time.Minute || c.dnsErr != nil {
		t.Errorf("%+v", c)
	}
	if r := c.route53; !slices.Equal(r.Zones, []string{"Z1", "Z2"}) || r.Rate != 0.5 || r.AdoptExternalDNS != "legacy" || r.TXTPrefix != "p-" || r.TXTSuffix != "-s" || r.TXTWildcardReplacement != "any" {
		t.Errorf("%+v", r)
	}
	if s := c.skipper; s.PollInterval != time.Second || s.Settle != 5*time.Second || !slices.Equal(s.SyncKeys, []string{"team/", "stage"}) {
		t.Errorf("%+v", s)
	}
	tested := map[string]bool{}
	for _, v := range Variables() {
		tested[v.Name] = true
	}
	if len(tested) != len(variables) {
		t.Errorf("a variable is there twice: %v", slices.Sorted(maps.Keys(tested)))
	}
}

// Provider skipper alone tells people by events, too, because Flagger shows nothing of a warning.
func TestSkipperOfTheFactoryTellsByEvents(t *testing.T) {
	t.Parallel()
	kube := fake.NewClientset()
	f := newFactory(nil, kube, nil, true, environment(nil), nil)
	canary := &flaggerv1.Canary{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}, Status: flaggerv1.CanaryStatus{Phase: flaggerv1.CanaryPhaseProgressing}}
	if err := f.skipper.Reconcile(canary); err != nil {
		t.Fatal(err)
	}
	list, err := kube.CoreV1().Events("shop").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(list.Items) != 1 || list.Items[0].Reason != "SkipperMisconfigured" || !strings.Contains(list.Items[0].Message, "spec.ingressRef") {
		t.Errorf("events %+v, want one that names the field", list.Items)
	}
}
