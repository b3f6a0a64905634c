package traffic

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdkroute53 "github.com/aws/aws-sdk-go-v2/service/route53"
	route53types "github.com/aws/aws-sdk-go-v2/service/route53/types"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	testclock "k8s.io/utils/clock/testing"

	"github.com/penstock-dev/penstock/controllers/ramp"
	"github.com/penstock-dev/penstock/controllers/store"
	"github.com/penstock-dev/penstock/dns"
	"github.com/penstock-dev/penstock/dns/route53"
	"github.com/penstock-dev/penstock/internal/route53emulator"
	"github.com/penstock-dev/penstock/internal/state"
)

var planTime = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// getOnly fails the test at every request that could write, and counts the others.
type getOnly struct {
	t    *testing.T
	next http.RoundTripper

	mu    sync.Mutex // guards the following
	reads int
}

func (g *getOnly) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodGet {
		g.t.Errorf("A plan writes nothing.\n%s %s", r.Method, r.URL)
		return nil, errors.New("a write")
	}
	g.mu.Lock()
	g.reads++
	g.mu.Unlock()
	return g.next.RoundTrip(r)
}

// planned is a cluster that a plan is made for.
type plannedCluster struct {
	ingresses  []networkingv1.Ingress
	slices     []discoveryv1.EndpointSlice
	configMaps []corev1.ConfigMap
	endpoints  []map[string]any
	noCRD      bool
	broken     string // a path that fails
}

func (c *plannedCluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	list := func(kind, version string, items any) {
		_ = json.NewEncoder(w).Encode(map[string]any{"kind": kind, "apiVersion": version, "metadata": map[string]any{}, "items": items})
	}
	w.Header().Set("Content-Type", "application/json")
	switch {
	case r.URL.Path == c.broken:
		http.Error(w, "broken", http.StatusInternalServerError)
	case r.URL.Path == "/apis/networking.k8s.io/v1/ingresses":
		list("IngressList", "networking.k8s.io/v1", c.ingresses)
	case r.URL.Path == "/apis/discovery.k8s.io/v1/endpointslices":
		list("EndpointSliceList", "discovery.k8s.io/v1", c.slices)
	case r.URL.Path == "/api/v1/configmaps" && r.URL.Query().Get("labelSelector") == state.Label:
		list("ConfigMapList", "v1", c.configMaps)
	case r.URL.Path == "/apis/externaldns.k8s.io/v1alpha1/dnsendpoints" && !c.noCRD:
		list("DNSEndpointList", "externaldns.k8s.io/v1alpha1", c.endpoints)
	default:
		http.NotFound(w, r)
	}
}

// add puts an Ingress with hosts there, whose Services are ready.
func (c *plannedCluster) add(name string, hosts ...string) *networkingv1.Ingress {
	ingress := networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{
		Namespace: "shop", Name: name, UID: types.UID("uid-" + name), CreationTimestamp: metav1.NewTime(planTime), Annotations: map[string]string{},
	}}
	ingress.Status.LoadBalancer.Ingress = []networkingv1.IngressLoadBalancerIngress{{Hostname: "lb.example.net"}}
	for _, host := range hosts {
		backend := networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: name}}
		ingress.Spec.Rules = append(ingress.Spec.Rules, networkingv1.IngressRule{Host: host, IngressRuleValue: networkingv1.IngressRuleValue{
			HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{{Path: "/", Backend: backend}}},
		}})
	}
	c.slices = append(c.slices, discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "shop", Name: name + "-1", Labels: map[string]string{discoveryv1.LabelServiceName: name}},
		AddressType: discoveryv1.AddressTypeIPv4, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"192.0.2.1"}}},
	})
	c.ingresses = append(c.ingresses, ingress)
	return &c.ingresses[len(c.ingresses)-1]
}

// publish puts a DNSEndpoint there, of this project or, without ours, of an earlier controller.
func (c *plannedCluster) publish(name string, ours bool, host string, weight int, target string) map[string]any {
	metadata := map[string]any{"namespace": "shop", "name": name, "uid": "dns-" + name, "resourceVersion": "1", "ownerReferences": []any{
		map[string]any{"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "name": name, "uid": "uid-" + name, "controller": true},
	}}
	if ours {
		metadata["labels"] = map[string]any{"app.kubernetes.io/managed-by": "penstock"}
		metadata["annotations"] = map[string]any{"penstock.dev/cluster": "east"}
	}
	object := map[string]any{
		"apiVersion": "externaldns.k8s.io/v1alpha1", "kind": "DNSEndpoint", "metadata": metadata,
		"spec": map[string]any{"endpoints": []any{map[string]any{
			"dnsName": host, "recordType": "CNAME", "setIdentifier": "east", "targets": []any{target},
			"providerSpecific": []any{map[string]any{"name": "aws/weight", "value": fmt.Sprint(weight)}},
		}}},
	}
	c.endpoints = append(c.endpoints, object)
	return object
}

type fixedRow struct {
	row store.Row
	err error
}

func (r fixedRow) Read(context.Context) (store.Row, error) { return r.row, r.err }

func (c *plannedCluster) options(t *testing.T, change func(*Options)) Options {
	t.Helper()
	o := Options{
		ClusterName: "east", AnnotationPrefix: dns.DefaultAnnotationPrefix, Store: StoreConfigMap, ConfigMap: "w", PollInterval: time.Minute,
		Backend: BackendExternalDNS, InnerTTL: dns.DefaultInnerTTL, KubeAPIQPS: -1, KubeAPIBurst: 1, Ramp: ramp.Options{Interval: time.Minute, Failures: 5},
		Route53Rate: 100, clock: testclock.NewFakeClock(planTime),
	}
	if change != nil {
		change(&o)
	}
	if err := o.Complete(); err != nil {
		t.Fatal(err)
	}
	return o
}

// reality returns clients of the cluster that can only read.
func (c *plannedCluster) reality(t *testing.T, row rowReader) reality {
	t.Helper()
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	config := &rest.Config{Host: server.URL, QPS: -1, WrapTransport: func(next http.RoundTripper) http.RoundTripper { return &getOnly{t: t, next: next} }}
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return reality{kube: kube, objects: objects, row: row}
}

// lines returns a plan as text, for comparisons.
func (p Planned) lines() []string {
	var all []string
	for _, c := range p.Changes {
		of := func(r *PlannedRecord) string {
			if r == nil {
				return "nothing"
			}
			return fmt.Sprintf("%d %s", r.Weight, strings.Join(r.Targets, " "))
		}
		all = append(all, fmt.Sprintf("%s %s %s %s: %s -> %s: %s", c.Action, c.Ingress, c.Name, c.Type, of(c.From), of(c.To), strings.Join(c.Reasons, "; ")))
	}
	for _, problem := range p.Problems {
		message, _, _ := strings.Cut(problem.Message, ":")
		all = append(all, fmt.Sprintf("%s %s %s: %s", problem.Severity, problem.Ingress, problem.Host, message))
	}
	return all
}

func TestPlan(t *testing.T) {
	t.Parallel()
	row := func(desired, current int) fixedRow {
		return fixedRow{row: store.Row{ClusterName: "east", DesiredWeight: desired, CurrentWeight: current}}
	}
	for name, tc := range map[string]struct {
		reason  string
		cluster func(c *plannedCluster)
		opts    func(o *Options)
		row     fixedRow
		want    []string
		notes   []string
	}{
		"Nothing": {
			reason: "What stands as it should is not in a plan.",
			cluster: func(c *plannedCluster) {
				c.add("web", "web.example.com")
				c.publish("web", true, "web.example.com", 50, "lb.example.net")
			},
			row: row(50, 50),
		},
		"ClusterWeight": {
			reason: "A weight that the row alone explains is the cluster's.",
			cluster: func(c *plannedCluster) {
				c.add("web", "web.example.com")
				c.publish("web", true, "web.example.com", 100, "lb.example.net")
			},
			row:  row(50, 100),
			want: []string{"change web web.example.com CNAME: 100 lb.example.net -> 50 lb.example.net: cluster weight 100 -> 50"},
		},
		"Annotation": {
			reason: "A weight that was the whole of the cluster's is less because of the annotation.",
			cluster: func(c *plannedCluster) {
				c.add("web", "web.example.com").Annotations["dns.adevinta.com/traffic-weight"] = "50"
				c.publish("web", true, "web.example.com", 80, "lb.example.net")
			},
			row:  row(80, 80),
			want: []string{"change web web.example.com CNAME: 80 lb.example.net -> 40 lb.example.net: annotation dns.adevinta.com/traffic-weight: 50"},
		},
		"NotReady": {
			reason: "A host that nobody serves gets 0, whatever the weights are.",
			cluster: func(c *plannedCluster) {
				c.add("web", "web.example.com")
				c.slices = nil
				c.publish("web", true, "web.example.com", 80, "lb.example.net")
			},
			row:  row(80, 80),
			want: []string{"change web web.example.com CNAME: 80 lb.example.net -> 0 lb.example.net: no ready endpoints"},
		},
		"Target": {
			reason: "The load balancer has moved.",
			cluster: func(c *plannedCluster) {
				c.add("web", "web.example.com")
				c.publish("web", true, "web.example.com", 80, "old.example.net")
			},
			row:  row(80, 80),
			want: []string{"change web web.example.com CNAME: 80 old.example.net -> 80 lb.example.net: target changed"},
		},
		"TargetOfAnotherType": {
			reason: "A record of another type takes the place of the first one.",
			cluster: func(c *plannedCluster) {
				c.add("web", "web.example.com").Status.LoadBalancer.Ingress[0] = networkingv1.IngressLoadBalancerIngress{IP: "192.0.2.7"}
				c.publish("web", true, "web.example.com", 80, "old.example.net")
			},
			row: row(80, 80),
			want: []string{
				"delete web web.example.com CNAME: 80 old.example.net -> nothing: target changed",
				"create web web.example.com A: nothing -> 80 192.0.2.7: target changed",
			},
		},
		"TTLAndHealthCheck": {
			reason: "Flags change records too.",
			cluster: func(c *plannedCluster) {
				c.add("web", "web.example.com")
				c.publish("web", true, "web.example.com", 80, "lb.example.net")
			},
			opts: func(o *Options) { o.HostTTL, o.HealthCheckID = time.Minute, "check" },
			row:  row(80, 80),
			want: []string{"change web web.example.com CNAME: 80 lb.example.net -> 80 lb.example.net: TTL of the flag host-ttl; health check of the cluster"},
		},
		"New": {
			reason:  "A host that was never published gets all that the weights say.",
			cluster: func(c *plannedCluster) { c.add("web", "web.example.com") },
			row:     row(80, 80),
			want:    []string{"create web web.example.com CNAME: nothing -> 80 lb.example.net: new host; cluster weight 80"},
		},
		"Gone": {
			reason:  "What was published for an Ingress that is gone is withdrawn.",
			cluster: func(c *plannedCluster) { c.publish("web", true, "web.example.com", 80, "lb.example.net") },
			row:     row(80, 80),
			want:    []string{"delete web web.example.com CNAME: 80 lb.example.net -> nothing: Ingress gone"},
		},
		"LeftTheDomain": {
			reason: "A host outside of the domain has no rule for the controller.",
			cluster: func(c *plannedCluster) {
				c.add("web", "web.example.com")
				c.publish("web", true, "web.example.com", 80, "lb.example.net")
			},
			opts: func(o *Options) { o.BindingDomain, o.SolePublisher = "example.test", true },
			row:  row(80, 80),
			want: []string{"delete web web.example.com CNAME: 80 lb.example.net -> nothing: host left the filter: it is not in example.test of the flag binding-domain"},
		},
		"LeftTheAnnotationFilter": {
			reason: "An Ingress without the annotation does not exist for the controller.",
			cluster: func(c *plannedCluster) {
				c.add("web", "web.example.com")
				c.publish("web", true, "web.example.com", 80, "lb.example.net")
			},
			opts: func(o *Options) { o.AnnotationFilter, o.SolePublisher = "team=a", true },
			row:  row(80, 80),
			want: []string{"delete web web.example.com CNAME: 80 lb.example.net -> nothing: Ingress left the filter: it lacks the annotation team=a of the flag annotation-filter"},
		},
		"LeftOneOfTwoDomains": {
			reason: "An Ingress that has another host in the domain is the controller's, and so are all its records.",
			cluster: func(c *plannedCluster) {
				c.add("web", "web.example.com", "web.example.test")
				c.publish("web", true, "web.example.com", 80, "lb.example.net")
			},
			opts: func(o *Options) { o.BindingDomain = "example.test" },
			row:  row(80, 80),
			want: []string{
				"delete web web.example.com CNAME: 80 lb.example.net -> nothing: host left the filter: it is not in example.test of the flag binding-domain",
				"create web web.example.test CNAME: nothing -> 80 lb.example.net: new host; cluster weight 80",
			},
		},
		"KeptForAnother": {
			reason: "Another publisher of the cluster may have the annotation that this one leaves out. What is not ours is of no concern.",
			cluster: func(c *plannedCluster) {
				c.add("web", "web.example.com")
				c.publish("web", true, "web.example.com", 80, "lb.example.net")
				c.add("api", "api.example.com")
				c.publish("api", false, "api.example.com", 80, "lb.example.net")
				c.add("new", "new.example.com")
			},
			opts: func(o *Options) { o.AnnotationFilter = "team=a" },
			row:  row(20, 80),
			want: []string{"kept web : the flags leave the Ingress out, and another publisher of the cluster may have written its records, so they stay"},
		},
		"HostRemoved": {
			reason: "A rule was taken out of the Ingress.",
			cluster: func(c *plannedCluster) {
				c.add("web", "api.example.com")
				c.publish("web", true, "web.example.com", 80, "lb.example.net")
			},
			row: row(80, 80),
			want: []string{
				"create web api.example.com CNAME: nothing -> 80 lb.example.net: new host; cluster weight 80",
				"delete web web.example.com CNAME: 80 lb.example.net -> nothing: host removed from the Ingress",
			},
		},
		"Adopted": {
			reason: "What an earlier controller made becomes ours, even where the record stays.",
			cluster: func(c *plannedCluster) {
				c.add("web", "web.example.com")
				c.publish("web", false, "web.example.com", 80, "lb.example.net")
			},
			row:  row(80, 80),
			want: []string{"change web web.example.com CNAME: 80 lb.example.net -> 80 lb.example.net: adopted from an earlier controller"},
		},
		"AdoptedAndChanged": {
			reason: "An earlier controller's record may have another weight.",
			cluster: func(c *plannedCluster) {
				c.add("web", "web.example.com")
				c.publish("web", false, "web.example.com", 80, "lb.example.net")
			},
			row:  row(20, 80),
			want: []string{"change web web.example.com CNAME: 80 lb.example.net -> 20 lb.example.net: adopted from an earlier controller; cluster weight 80 -> 20"},
		},
		"OtherName": {
			reason: "What another cluster publishes is not to be deleted because of a wrong name.",
			cluster: func(c *plannedCluster) {
				c.add("web", "web.example.com")
				c.publish("web", false, "web.example.com", 80, "lb.example.net")
			},
			opts: func(o *Options) { o.ClusterName = "west" },
			row:  row(80, 80),
			want: []string{"refused web : dnsendpoint shop/web"},
		},
		"Foreign": {
			reason: "An object that somebody else made is not written over, and nothing is planned for it.",
			cluster: func(c *plannedCluster) {
				c.add("web", "web.example.com")
				c.publish("web", false, "web.example.com", 80, "lb.example.net")["metadata"].(map[string]any)["ownerReferences"] = []any{}
			},
			row:  row(80, 80),
			want: []string{"refused web : dnsendpoint shop/web exists and was not made by penstock"},
		},
		"NoAddress": {
			reason:  "A host without a load balancer is refused by itself.",
			cluster: func(c *plannedCluster) { c.add("web", "web.example.com").Status.LoadBalancer.Ingress = nil },
			row:     row(80, 80),
			want:    []string{"refused web web.example.com: ingress shop/web has no load balancer address yet"},
		},
		"BadAnnotation": {
			reason: "An annotation that cannot be read leaves the weight, and says so.",
			cluster: func(c *plannedCluster) {
				c.add("web", "web.example.com").Annotations["dns.adevinta.com/traffic-weight"] = "many"
				c.publish("web", true, "web.example.com", 80, "lb.example.net")
			},
			row:  row(50, 80),
			want: []string{"warning web web.example.com: ingress shop/web"},
		},
		"NoCRD": {
			reason: "A cluster without DNSEndpoints cannot be published to with this backend.",
			cluster: func(c *plannedCluster) {
				c.add("web", "web.example.com")
				c.add("api", "api.example.com")
				c.noCRD = true
			},
			row:  row(80, 80),
			want: []string{"unknown  : dnsendpoints.externaldns.k8s.io"},
		},
		"NoRow": {
			reason: "No row is made; the flag says what the controller would begin with.",
			cluster: func(c *plannedCluster) {
				c.add("web", "web.example.com")
			},
			opts:  func(o *Options) { o.InitialWeight, o.Namespace = 30, "traffic" },
			row:   fixedRow{err: store.ErrNotFound},
			want:  []string{"create web web.example.com CNAME: nothing -> 30 lb.example.net: new host; cluster weight 30"},
			notes: []string{"no ConfigMap traffic/w: the controller would make one with the flag initial-weight, 30; see the flags namespace and configmap"},
		},
		"NoRowInATable": {
			reason:  "A table has a row for each cluster.",
			cluster: func(*plannedCluster) {},
			opts: func(o *Options) {
				o.Store, o.TableName, o.AWSRegion, o.InitialWeight = StoreDynamoDB, "t", "eu-west-1", 30
			},
			row:   fixedRow{err: store.ErrNotFound},
			notes: []string{"the store has no row for cluster east: the controller would make one with the flag initial-weight, 30"},
		},
		"Ramp": {
			reason: "A gradual move begins with one step.",
			cluster: func(c *plannedCluster) {
				c.add("web", "web.example.com")
				c.publish("web", true, "web.example.com", 20, "lb.example.net")
			},
			opts: func(o *Options) { o.Ramp.Step, o.RampReady = 10, 50 },
			row:  row(80, 20),
			want: []string{"change web web.example.com CNAME: 20 lb.example.net -> 30 lb.example.net: cluster weight 20 -> 30"},
			notes: []string{
				"weight 30 is one step of a gradual move to 80",
				"the gates are not asked here, but taken to agree",
			},
		},
		"Above100": {
			reason:  "More than 100 counts as 100.",
			cluster: func(*plannedCluster) {},
			row:     row(300, 100),
			notes:   []string{"DesiredWeight 300 counts as 100: correct it in the store"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := &plannedCluster{ingresses: []networkingv1.Ingress{}, slices: []discoveryv1.EndpointSlice{}, configMaps: []corev1.ConfigMap{}, endpoints: []map[string]any{}}
			tc.cluster(c)
			p, err := plan(t.Context(), c.reality(t, tc.row), c.options(t, tc.opts))
			if err != nil {
				t.Fatalf("%s\nplan: %v", tc.reason, err)
			}
			if diff := cmp.Diff(tc.want, p.lines()); diff != "" {
				t.Errorf("%s\nplan -want +got:\n%s", tc.reason, diff)
			}
			if diff := cmp.Diff(tc.notes, p.Notes); diff != "" {
				t.Errorf("%s\nnotes -want +got:\n%s", tc.reason, diff)
			}
		})
	}
}

func TestPlanOfACanary(t *testing.T) {
	t.Parallel()
	c := &plannedCluster{endpoints: []map[string]any{}}
	c.add("web", "web.example.com")
	c.add("web-canary", "web.example.com").Status.LoadBalancer.Ingress[0].Hostname = "canary.example.net"
	c.ingresses[1].Labels = map[string]string{}
	desired, err := state.Encode(state.Desired{
		Generation: 1, Mode: state.Split, Ingress: "web", Service: "web", CanaryIngress: "web-canary", Attached: true, Weights: state.Weights{Primary: 90, Canary: 10},
	})
	if err != nil {
		t.Fatal(err)
	}
	c.configMaps = []corev1.ConfigMap{{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: state.Name("shop-web"), Labels: map[string]string{state.Label: "shop-web"}},
		Data:       map[string]string{state.DesiredKey: desired},
	}}
	c.publish("web", true, "web.example.com", 80, "lb.example.net")
	p, err := plan(t.Context(), c.reality(t, fixedRow{row: store.Row{DesiredWeight: 80, CurrentWeight: 80}}), c.options(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"create web east._canary.web.example.com CNAME: nothing -> 90 lb.example.net: canary shop-web splits the traffic here",
		"create web east._canary.web.example.com CNAME: nothing -> 10 canary.example.net: canary shop-web splits the traffic here",
	}
	if diff := cmp.Diff(want, p.lines()); diff != "" {
		t.Errorf("The inner set is prepared first, and the answer to the Canary is not written.\nplan -want +got:\n%s", diff)
	}
}

func TestPlanErrors(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		reason string
		broken string
		row    fixedRow
		want   string
	}{
		"Store":          {reason: "A weight that is not known must not be guessed.", row: fixedRow{err: store.ErrInvalid}, want: "read the row of cluster east"},
		"Ingresses":      {reason: "Without Ingresses everything would seem to be gone.", broken: "/apis/networking.k8s.io/v1/ingresses", want: "list ingresses"},
		"EndpointSlices": {reason: "Without endpoints every host would seem to be down.", broken: "/apis/discovery.k8s.io/v1/endpointslices", want: "list endpointslices"},
		"ConfigMaps":     {reason: "Without Canaries their records would seem to be left over.", broken: "/api/v1/configmaps", want: "list configmaps"},
		"DNSEndpoints":   {reason: "What is published must be known.", broken: "/apis/externaldns.k8s.io/v1alpha1/dnsendpoints", want: "list dnsendpoints"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := &plannedCluster{broken: tc.broken}
			_, err := plan(t.Context(), c.reality(t, tc.row), c.options(t, nil))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s\nplan: %v, want %q", tc.reason, err, tc.want)
			}
		})
	}
}

func TestPlanRoute53(t *testing.T) {
	t.Parallel()
	server, err := route53emulator.New(route53emulator.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	zone, err := server.AddZone("example.com")
	if err != nil {
		t.Fatal(err)
	}
	set := func(name, id string, kind route53types.RRType, value string, weight *int64) route53types.ResourceRecordSet {
		s := route53types.ResourceRecordSet{Name: aws.String(name), Type: kind, TTL: aws.Int64(300), Weight: weight, ResourceRecords: []route53types.ResourceRecord{{Value: &value}}}
		if id != "" {
			s.SetIdentifier = &id
		}
		return s
	}
	txt := `"heritage=external-dns,external-dns/owner=k8s,external-dns/resource=ingress/shop/old"`
	seed := []route53types.ResourceRecordSet{
		set("old.example.com.", "east", route53types.RRTypeCname, "lb.example.net", aws.Int64(80)),
		set("cname-old.example.com.", "east", route53types.RRTypeTxt, txt, aws.Int64(80)),
		set("taken.example.com.", "", route53types.RRTypeA, "192.0.2.9", nil),
		set("gone.example.com.", "east", route53types.RRTypeCname, "lb.example.net", aws.Int64(80)),
		set("gone.east._penstock.example.com.", "", route53types.RRTypeTxt, `"heritage=penstock,cluster=east,ingress=shop/gone,records=CNAME/east"`, nil),
		set("theirs.example.com.", "east", route53types.RRTypeCname, "lb.example.net", aws.Int64(80)),
		set("theirs.east._penstock.example.com.", "", route53types.RRTypeTxt, `"heritage=penstock,cluster=east,ingress=shop/theirs,records=CNAME/east"`, nil),
	}
	if err := server.Seed(zone, seed...); err != nil {
		t.Fatal(err)
	}
	before := server.RecordSets(zone)
	guard := &getOnly{t: t, next: &http.Transport{}}
	t.Cleanup(guard.next.(*http.Transport).CloseIdleConnections)
	config := server.Config("AKIDEXAMPLE")
	config.HTTPClient = &http.Client{Transport: guard}

	c := &plannedCluster{configMaps: []corev1.ConfigMap{}}
	c.add("new", "new.example.com")
	c.add("old", "old.example.com")
	c.add("taken", "taken.example.com")
	for i := range c.ingresses {
		c.ingresses[i].Annotations["team"] = "a"
	}
	c.add("theirs", "theirs.example.com")
	clients := c.reality(t, fixedRow{row: store.Row{DesiredWeight: 80, CurrentWeight: 80}})
	clients.records = sdkroute53.NewFromConfig(config)
	p, err := plan(t.Context(), clients, c.options(t, func(o *Options) {
		o.Backend, o.Route53AdoptOwner, o.Route53Zones, o.AnnotationFilter, o.clock = BackendRoute53, "k8s", []string{zone}, "team=a", nil // requests wait for a clock that runs
	}))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"delete gone gone.example.com CNAME: 80 lb.example.net -> nothing: Ingress gone",
		"create new new.example.com CNAME: nothing -> 80 lb.example.net: new host; cluster weight 80",
		"change old old.example.com CNAME: nothing -> 80 lb.example.net: adopted from an earlier controller",
		"kept theirs : the flags leave the Ingress out, and another publisher of the cluster may have written its records, so they stay",
		"refused taken : record taken.example.com A in hosted zone",
	}
	got := p.lines()
	for i := range got {
		if strings.HasPrefix(got[i], "refused taken") {
			got[i] = got[i][:min(len(got[i]), len(want[4]))]
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("plan -want +got:\n%s", diff)
	}
	if guard.reads == 0 {
		t.Error("The plan has not read the hosted zone, so this test proves nothing.")
	}
	if diff := cmp.Diff(len(before), len(server.RecordSets(zone))); diff != "" {
		t.Errorf("The zone is as it was.\n-before +after:\n%s", diff)
	}
}

func TestExportedPlanReadsOnly(t *testing.T) {
	t.Parallel()
	c := &plannedCluster{endpoints: []map[string]any{}}
	c.add("web", "web.example.com")
	c.publish("api", true, "api.example.com", 80, "lb.example.net")
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	guard := &getOnly{t: t}
	config := &rest.Config{Host: server.URL, WrapTransport: func(next http.RoundTripper) http.RoundTripper {
		guard.next = next
		return guard
	}}
	opts := c.options(t, func(o *Options) { o.Store, o.InitialWeight, o.clock = StoreFake, 40, nil })
	p, err := Plan(t.Context(), config, opts)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"delete api api.example.com CNAME: 80 lb.example.net -> nothing: Ingress gone",
		"create web web.example.com CNAME: nothing -> 40 lb.example.net: new host; cluster weight 40",
	}
	if diff := cmp.Diff(want, p.lines()); diff != "" {
		t.Errorf("plan -want +got:\n%s", diff)
	}
	if p.Row != nil || !p.Fixed || len(p.Notes) > 0 || guard.reads == 0 {
		t.Errorf("The weight of a flag has no row, and the cluster is read.\nrow %v, fixed %t, notes %q, %d reads", p.Row, p.Fixed, p.Notes, guard.reads)
	}
}

func TestReadOnly(t *testing.T) {
	t.Parallel()
	reached := false
	transport := readOnly{transportFunc(func(*http.Request) (*http.Response, error) {
		reached = true
		return &http.Response{Body: http.NoBody}, nil
	})}
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodConnect} {
		request, err := http.NewRequestWithContext(t.Context(), method, "http://192.0.2.1/api", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		response, err := transport.RoundTrip(request)
		if response != nil {
			_ = response.Body.Close()
		}
		if err == nil || reached {
			t.Errorf("Whatever writes by mistake must not get out.\n%s: error %v, sent %t", method, err, reached)
		}
	}
}

type transportFunc func(*http.Request) (*http.Response, error)

func (f transportFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// The snapshot refuses what it cannot answer, since an empty list would be a wrong plan.
func TestSnapshotRefusesOtherQuestions(t *testing.T) {
	t.Parallel()
	s := &snapshot{}
	if err := s.Get(t.Context(), types.NamespacedName{Name: "x"}, &corev1.Pod{}); err == nil {
		t.Error("Get of a Pod: no error")
	}
	if err := errors.Join(s.List(t.Context(), &corev1.PodList{})); err == nil {
		t.Error("List of Pods: no error")
	}
	if err := s.List(t.Context(), &discoveryv1.EndpointSliceList{}); err == nil {
		t.Error("List of all EndpointSlices: no error")
	}
}

// A change of the API that dryRoute53 stands before would let a write through: every method that writes is overridden.
func TestDryRoute53(t *testing.T) {
	t.Parallel()
	dry := &dryRoute53{API: nil, created: map[dns.Key]bool{}}
	out, err := dry.ChangeResourceRecordSets(t.Context(), &sdkroute53.ChangeResourceRecordSetsInput{ChangeBatch: &route53types.ChangeBatch{Changes: []route53types.Change{{
		Action: route53types.ChangeActionCreate, ResourceRecordSet: &route53types.ResourceRecordSet{Name: aws.String(`\052.example.com.`), Type: route53types.RRTypeA},
	}}}})
	if err != nil {
		t.Fatal(err)
	}
	if dry.takenOver(dns.Record{Name: "*.example.com", Type: dns.A}) {
		t.Error("A wildcard that is created was not there before.")
	}
	change, err := dry.GetChange(t.Context(), &sdkroute53.GetChangeInput{Id: out.ChangeInfo.Id})
	if err != nil || change.ChangeInfo.Status != route53types.ChangeStatusPending {
		t.Errorf("A change that was never submitted is never in sync.\n%v %v", change, err)
	}
	var _ route53.API = dry
	if !slices.Contains([]string{"/change/PLANNED1"}, aws.ToString(out.ChangeInfo.Id)) {
		t.Errorf("id %q", aws.ToString(out.ChangeInfo.Id))
	}
}
