package flaggersim_test

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/penstock-dev/penstock/dns"
	"github.com/penstock-dev/penstock/internal/dnstest"
	"github.com/penstock-dev/penstock/internal/flaggersim"
	"github.com/penstock-dev/penstock/internal/vclock"
	"github.com/penstock-dev/penstock/router"
	"github.com/penstock-dev/penstock/weights"
)

const (
	namespace = "shop"
	host      = "app.example.com"
	primaryLB = "192.0.2.1"
	canaryLB  = "192.0.2.2"
	poll      = 3 * time.Second
)

func TestSkipper(t *testing.T) {
	t.Parallel()
	flaggersim.Run(t, flaggersim.Subject{
		Canary: func() *flaggerv1.Canary { return newCanary(nil) },
		NewWorld: func(t *testing.T, _ *flaggerv1.Canary) *flaggersim.World {
			t.Helper()
			w := newWorld(t)
			w.Start = func(p *flaggersim.Process) router.Interface {
				return router.NewSkipper(t.Context(), p.Client(w.Kube), nil, router.SkipperOptions{Clock: w.Clock})
			}
			proxy := watchProxy(t, w)
			w.MayReach, w.Share = proxy.mayReach, proxy.share
			return w
		},
	})
}

func TestDNSWeightedShared(t *testing.T) {
	t.Parallel()
	for name, controller := range map[string]bool{"PublisherInTheRouter": false, "PublisherInTheController": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			flaggersim.Run(t, flaggersim.Subject{
				Canary: func() *flaggerv1.Canary {
					return newCanary(map[string]string{router.ExposureAnnotation: "50"})
				},
				NewWorld: func(t *testing.T, _ *flaggerv1.Canary) *flaggersim.World {
					t.Helper()
					w := newWorld(t)
					dnsWorld(t, w, controller)
					proxy := watchProxy(t, w)
					w.MayReach, w.Share = proxy.mayReach, proxy.share
					return w
				},
			})
		})
	}
}

func TestDNSWeightedSplit(t *testing.T) {
	t.Parallel()
	for name, controller := range map[string]bool{"PublisherInTheRouter": false, "PublisherInTheController": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			flaggersim.Run(t, flaggersim.Subject{
				DNS: true,
				Canary: func() *flaggerv1.Canary {
					c := newCanary(map[string]string{router.CanaryIngressAnnotation: "app-new"})
					c.Spec.RevertOnDeletion = true
					return c
				},
				NewWorld: func(t *testing.T, _ *flaggerv1.Canary) *flaggersim.World {
					t.Helper()
					w := newWorld(t)
					backend := dnsWorld(t, w, controller)
					w.MayReach = func() bool { return slices.Contains(backend.MayAnswer(host), canaryLB) }
					w.Share = func() float64 { return backend.Shares(host)[canaryLB] }
					return w
				},
			})
		})
	}
}

func newCanary(annotations map[string]string) *flaggerv1.Canary {
	return &flaggerv1.Canary{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "app", UID: "uid-canary", Annotations: annotations},
		Spec: flaggerv1.CanarySpec{
			TargetRef:  flaggerv1.LocalObjectReference{Kind: "Deployment", Name: "app"},
			IngressRef: &flaggerv1.LocalObjectReference{Kind: "Ingress", Name: "app"},
			Service:    flaggerv1.CanaryService{Port: 80},
			Analysis:   &flaggerv1.CanaryAnalysis{Interval: "10s", StepWeight: 20, MaxWeight: 40, Threshold: 1},
		},
	}
}

func newWorld(t *testing.T) *flaggersim.World {
	t.Helper()
	w := &flaggersim.World{Clock: vclock.New(start), Kube: fake.NewClientset(), Written: func() int { return 0 }}
	for _, i := range []*networkingv1.Ingress{newIngress("app", "app", primaryLB), newIngress("app-new", "app-canary", canaryLB)} {
		if _, err := w.Kube.NetworkingV1().Ingresses(namespace).Create(t.Context(), i, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func newIngress(name, service, address string) *networkingv1.Ingress {
	prefix := networkingv1.PathTypePrefix
	return &networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID("uid-" + name), CreationTimestamp: metav1.NewTime(start)},
		Spec: networkingv1.IngressSpec{Rules: []networkingv1.IngressRule{{Host: host, IngressRuleValue: networkingv1.IngressRuleValue{
			HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{{
				Path: "/", PathType: &prefix,
				Backend: networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: service, Port: networkingv1.ServiceBackendPort{Number: 80}}},
			}}},
		}}}},
		Status: networkingv1.IngressStatus{LoadBalancer: networkingv1.IngressLoadBalancerStatus{
			Ingress: []networkingv1.IngressLoadBalancerIngress{{IP: address}},
		}},
	}
}

// dnsWorld gives the world DNS, and a dns-weighted router whose publisher runs in its process or in another one.
func dnsWorld(t *testing.T, w *flaggersim.World, controller bool) *dnstest.Backend {
	t.Helper()
	backend := dnstest.NewBackend(w.Clock, 15*time.Second)
	w.Written = backend.Writes
	publisher := func(p *flaggersim.Process) *dns.Publisher {
		source := dns.NewKubeSource(p.Client(w.Kube), w.Clock)
		pub, err := dns.NewPublisher("east", source, processBackend{backend, p}, dns.StaticWeight(weights.Hundred), nil, dns.PublisherOptions{Clock: w.Clock})
		if err != nil {
			t.Fatal(err)
		}
		return pub
	}
	if controller {
		pub := publisher(flaggersim.NewProcess(0, flaggersim.NoFault))
		stop := w.Clock.Every(5*time.Second, func() {
			_, _ = pub.Sync(context.WithoutCancel(t.Context()), types.NamespacedName{Namespace: namespace, Name: "app"}) // as a controller: it tries again
		})
		t.Cleanup(stop)
	}
	w.Start = func(p *flaggersim.Process) router.Interface {
		var local router.Publisher
		if !controller {
			local = publisher(p)
		}
		return router.NewDNSWeighted(t.Context(), p.Client(w.Kube), local, nil, router.DNSWeightedOptions{Clock: w.Clock})
	}
	return backend
}

// processBackend is DNS as one process reaches it.
type processBackend struct {
	*dnstest.Backend
	process *flaggersim.Process
}

func (b processBackend) Published(ctx context.Context, cluster string, ingress types.NamespacedName, hosts []string) ([]dns.Record, error) {
	if b.process.Dead() {
		return nil, flaggersim.ErrKilled
	}
	return b.Backend.Published(ctx, cluster, ingress, hosts)
}

func (b processBackend) Publish(ctx context.Context, publications ...dns.Publication) (statuses []dns.Status, err error) {
	if b.process.Dead() {
		return nil, flaggersim.ErrKilled
	}
	for _, p := range publications {
		now, err := b.Backend.Published(ctx, p.Cluster, p.Ingress, nil)
		if err == nil && slices.EqualFunc(now, p.Records, dns.Record.Equal) {
			return b.Backend.Publish(ctx, publications...)
		}
	}
	err = b.process.Write(func() error {
		statuses, err = b.Backend.Publish(ctx, publications...)
		return err
	})
	return statuses, err
}

// proxy is a Skipper that polls: it may act on any state of the last poll interval.
type proxy struct {
	t      *testing.T
	world  *flaggersim.World
	states []proxyState
}

type proxyState struct {
	at    time.Time
	share float64
}

func watchProxy(t *testing.T, w *flaggersim.World) *proxy {
	t.Helper()
	p := &proxy{t: t, world: w}
	stop := w.Clock.Every(250*time.Millisecond, p.note)
	t.Cleanup(stop)
	return p
}

func (p *proxy) note() {
	now, share := p.world.Clock.Now(), p.share()
	if n := len(p.states); n == 0 || p.states[n-1].share != share {
		p.states = append(p.states, proxyState{now, share})
	}
}

// share reads the weights as Skipper does: a missing key is 0, and a route with False() does not exist.
func (p *proxy) share() float64 {
	ingress, err := p.world.Kube.NetworkingV1().Ingresses(namespace).Get(context.WithoutCancel(p.t.Context()), "app-canary", metav1.GetOptions{})
	if err != nil || strings.Contains(ingress.Annotations["zalando.org/skipper-predicate"], "False()") {
		return 0
	}
	var backends map[string]float64
	if err := json.Unmarshal([]byte(ingress.Annotations["zalando.org/backend-weights"]), &backends); err != nil {
		return 0.5
	}
	return backends["app-canary"] / (backends["app-canary"] + backends["app-primary"])
}

func (p *proxy) mayReach() bool {
	p.note()
	now := p.world.Clock.Now()
	for i, s := range p.states {
		ended := i+1 < len(p.states) && p.states[i+1].at.Add(poll).Before(now)
		if s.share > 0 && !ended {
			return true
		}
	}
	return false
}
