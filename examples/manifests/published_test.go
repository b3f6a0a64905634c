package manifests_test

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	"sigs.k8s.io/yaml"

	"github.com/penstock-dev/penstock/dns"
	"github.com/penstock-dev/penstock/internal/dnstest"
	"github.com/penstock-dev/penstock/internal/vclock"
	"github.com/penstock-dev/penstock/router"
	"github.com/penstock-dev/penstock/weights"
)

const (
	shared, split = "dns-weighted-shared.yaml", "dns-weighted-split.yaml"

	cluster, host = "east", "app.example.com"
)

// stage is a cluster to which a file with a Canary for dns-weighted was applied.
type stage struct {
	t         *testing.T
	kube      *fake.Clientset
	clock     *vclock.Clock
	backend   *dnstest.Backend
	canary    *flaggerv1.Canary
	publisher *dns.Publisher
	router    *router.DNSWeighted
}

// address is where the load balancer of an Ingress is, which the cluster's ingress controller would write into its status.
func address(ingress string) string { return ingress + "-0123456789.eu-central-1.elb.amazonaws.com" }

// apply puts what is in a file into a fresh cluster.
func apply(t *testing.T, file string) *stage {
	t.Helper()
	clock := vclock.New(epoch)
	s := &stage{t: t, kube: fake.NewClientset(), clock: clock, backend: dnstest.NewBackend(clock, 20*time.Second)}
	for _, o := range read(t, file) {
		switch o := o.(type) {
		case *flaggerv1.Canary:
			s.canary = o
			s.canary.UID = types.UID("uid-of-" + o.Name)
		case *networkingv1.Ingress:
			if o.Annotations["external-dns.alpha.kubernetes.io/controller"] != "penstock" {
				t.Errorf("%s: an external-dns that reads Ingresses would publish %s too", file, o.Name)
			}
			o.Status.LoadBalancer.Ingress = []networkingv1.IngressLoadBalancerIngress{{Hostname: address(o.Name)}}
			if _, err := s.kube.NetworkingV1().Ingresses(o.Namespace).Create(t.Context(), o, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	var err error
	s.publisher, err = dns.NewPublisher(cluster, dns.NewKubeSource(s.kube, clock), s.backend, dns.StaticWeight(weights.Hundred), nil, dns.PublisherOptions{Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	s.router = router.NewDNSWeighted(t.Context(), s.kube, s.publisher, nil, router.DNSWeightedOptions{Clock: clock})
	s.ticks(1)
	s.canary.Status.Phase = flaggerv1.CanaryPhaseInitialized
	s.ticks(5)
	s.canary.Status.Phase = flaggerv1.CanaryPhaseProgressing
	return s
}

// ticks lets Flagger look some times.
func (s *stage) ticks(n int) {
	s.t.Helper()
	for range n {
		if err := s.router.Reconcile(s.canary); err != nil {
			s.t.Fatalf("Reconcile in phase %q: %v", s.canary.Status.Phase, err)
		}
		s.clock.Advance(10 * time.Second)
	}
}

// set repeats SetRoutes, as Flagger does, until it is done, and lets the time pass in which a step is not judged.
func (s *stage) set(primary, canary int) {
	s.t.Helper()
	var err error
	for range 30 {
		if err = s.router.SetRoutes(s.canary, primary, canary, false); !errors.Is(err, router.ErrPending) && !errors.Is(err, router.ErrDraining) {
			break
		}
		s.ticks(1)
	}
	if err != nil {
		s.t.Fatalf("SetRoutes(%d, %d): %v", primary, canary, err)
	}
	s.ticks(3)
	p, c, _, err := s.router.GetRoutes(s.canary)
	if err != nil || p != primary || c != canary {
		s.t.Errorf("GetRoutes = %d, %d, %v; want %d and %d", p, c, err, primary, canary)
	}
}

// weight returns that of the host's record.
func (s *stage) weight() int {
	s.t.Helper()
	records, err := s.backend.Published(s.t.Context(), cluster, types.NamespacedName{Namespace: s.canary.Namespace, Name: s.canary.Spec.IngressRef.Name}, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, r := range records {
		if r.Name == host {
			return r.Weight
		}
	}
	s.t.Fatalf("no record of %s among %v", host, records)
	return 0
}

// noWarnings checks that nobody was told of anything that is wrong.
func (s *stage) noWarnings() {
	s.t.Helper()
	list, err := s.kube.CoreV1().Events(s.canary.Namespace).List(s.t.Context(), metav1.ListOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, e := range list.Items {
		s.t.Errorf("event %s: %s", e.Reason, e.Message)
	}
}

// The file for shared mode, as it is: Skipper's weights follow the steps, and the cluster's weight falls to a fifth and grows back.
func TestSharedIsPublished(t *testing.T) {
	t.Parallel()
	s := apply(t, shared)
	if got := s.weight(); got != 100 {
		t.Errorf("weight %d before the canary, want 100", got)
	}
	for _, step := range []struct{ canary, weight int }{{10, 20}, {30, 52}, {60, 100}} {
		s.set(100-step.canary, step.canary)
		if got := s.weight(); got != step.weight {
			t.Errorf("at canary weight %d the cluster's weight is %d, want %d", step.canary, got, step.weight)
		}
	}
	s.set(100, 0)
	s.noWarnings()
}

// The file for split mode, as it is: DNS splits between the load balancers of both Ingresses, and drains the canary's.
func TestSplitIsPublished(t *testing.T) {
	t.Parallel()
	s := apply(t, split)
	want := map[string]float64{address("app"): 1}
	if diff := cmp.Diff(want, s.backend.Shares(host)); diff != "" {
		t.Errorf("before the canary -want +got:\n%s", diff)
	}
	for _, weight := range []int{20, 40, 60} {
		s.set(100-weight, weight)
		want := map[string]float64{address("app"): float64(100-weight) / 100, address("app-next"): float64(weight) / 100}
		if diff := cmp.Diff(want, s.backend.Shares(host)); diff != "" {
			t.Errorf("at canary weight %d -want +got:\n%s", weight, diff)
		}
	}
	s.set(100, 0)
	if diff := cmp.Diff(want, s.backend.Shares(host)); diff != "" {
		t.Errorf("after the drain -want +got:\n%s", diff)
	}
	s.noWarnings()
}

// The ConfigMaps in the page for operators are those that these files lead to.
func TestThePageShowsTheConfigMap(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/dns-weighted.md")
	if err != nil {
		t.Fatal(err)
	}
	for file, canary := range map[string]int{shared: 10, split: 20} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			s := apply(t, file)
			s.set(100-canary, canary)
			cm, err := s.kube.CoreV1().ConfigMaps(s.canary.Namespace).Get(t.Context(), s.canary.Name+"-penstock", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			_, block, _ := strings.Cut(string(page), "<!-- "+file+" -->\n\n```yaml\n")
			block, _, found := strings.Cut(block, "\n```\n")
			if !found {
				t.Fatalf("the page has no ConfigMap of %s", file)
			}
			var shown corev1.ConfigMap
			if err := yaml.UnmarshalStrict([]byte(block), &shown); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(sides(t, cm), sides(t, &shown)); diff != "" {
				t.Errorf("docs/dns-weighted.md -want +got:\n%s", diff)
			}
		})
	}
}

// sides returns what both sides say, but for what stands for itself.
func sides(t *testing.T, cm *corev1.ConfigMap) map[string]map[string]any {
	t.Helper()
	read := map[string]map[string]any{}
	for key, text := range cm.Data {
		side := map[string]any{}
		if err := json.Unmarshal([]byte(text), &side); err != nil {
			t.Fatalf("%s: %v", key, err)
		}
		delete(side, "plan") // a hash
		delete(side, "change")
		read[key] = side
	}
	return read
}
