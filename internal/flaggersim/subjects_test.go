package flaggersim_test

import (
	"context"
	"slices"
	"testing"
	"time"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/applyconfigurations"
	"k8s.io/client-go/kubernetes/fake"
	ktesting "k8s.io/client-go/testing"

	"github.com/penstock-dev/penstock/dns"
	"github.com/penstock-dev/penstock/internal/dnstest"
	"github.com/penstock-dev/penstock/internal/flaggersim"
	"github.com/penstock-dev/penstock/internal/vclock"
	"github.com/penstock-dev/penstock/router"
	"github.com/penstock-dev/penstock/weights"
)

const (
	namespace = "shop"
	primaryLB = "192.0.2.1"
	canaryLB  = "192.0.2.2"
)

func TestSkipper(t *testing.T) {
	t.Parallel()
	flaggersim.Run(t, flaggersim.Subject{
		Made:   []func(string) metav1.Object{foreignIngress},
		Canary: func(name string) *flaggerv1.Canary { return newCanary(name, nil) },
		NewWorld: func(t *testing.T, names ...string) *flaggersim.World {
			t.Helper()
			w := newWorld(t, names)
			w.Start = func(p *flaggersim.Process) func() router.Interface {
				r := router.NewSkipper(p.Context(), p.Client(w.Kube), nil, router.SkipperOptions{Clock: w.Clock})
				return func() router.Interface { return r }
			}
			watchProxy(t, w, names)
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
				Made: []func(string) metav1.Object{foreignIngress, foreignConfigMap},
				Canary: func(name string) *flaggerv1.Canary {
					c := newCanary(name, map[string]string{router.ExposureAnnotation: "50"})
					c.Spec.RevertOnDeletion = true
					return c
				},
				NewWorld: func(t *testing.T, names ...string) *flaggersim.World {
					t.Helper()
					w := newWorld(t, names)
					dnsWorld(t, w, names, controller)
					watchProxy(t, w, names)
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
				DNS:  true,
				Made: []func(string) metav1.Object{foreignConfigMap},
				Canary: func(name string) *flaggerv1.Canary {
					c := newCanary(name, map[string]string{router.CanaryIngressAnnotation: name + "-new"})
					c.Spec.RevertOnDeletion = true
					return c
				},
				NewWorld: func(t *testing.T, names ...string) *flaggersim.World {
					t.Helper()
					w := newWorld(t, names)
					backend := dnsWorld(t, w, names, controller)
					w.MayReach = func(name string) bool { return slices.Contains(backend.MayAnswer(hostOf(name)), canaryLB) }
					w.Shares = func(name string) flaggersim.Shares {
						share := backend.Shares(hostOf(name))[canaryLB]
						return flaggersim.Shares{Users: share, Matching: share}
					}
					return w
				},
			})
		})
	}
}

// foreignIngress has the name of the canary Ingress.
func foreignIngress(name string) metav1.Object {
	return newIngress(name+"-canary", "elsewhere", "elsewhere", primaryLB)
}

// foreignConfigMap has the name of the Canary's ConfigMap.
func foreignConfigMap(name string) metav1.Object {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name + "-penstock"}, Data: map[string]string{"desired": "peace"}}
}

func hostOf(name string) string { return name + ".example.com" }

func newCanary(name string, annotations map[string]string) *flaggerv1.Canary {
	return &flaggerv1.Canary{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID("uid-canary-" + name), Annotations: annotations},
		Spec: flaggerv1.CanarySpec{
			TargetRef:  flaggerv1.LocalObjectReference{Kind: "Deployment", Name: name},
			IngressRef: &flaggerv1.LocalObjectReference{Kind: "Ingress", Name: name},
			Service:    flaggerv1.CanaryService{Port: 80},
			Analysis:   &flaggerv1.CanaryAnalysis{Interval: "10s", StepWeight: 20, MaxWeight: 40, Threshold: 1},
		},
	}
}

func newWorld(t *testing.T, names []string) *flaggersim.World {
	t.Helper()
	w := &flaggersim.World{Clock: vclock.New(start), Kube: newKube(), Written: func() int { return 0 }}
	for _, name := range names {
		for _, i := range []*networkingv1.Ingress{newIngress(name, name, name, primaryLB), newIngress(name+"-new", name, name+"-canary", canaryLB)} {
			if _, err := w.Kube.NetworkingV1().Ingresses(namespace).Create(t.Context(), i, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	return w
}

// newKube is fake.NewClientset for the kinds in use alone: that one looks through every kind of Kubernetes on each write.
func newKube() *fake.Clientset {
	scheme := runtime.NewScheme()
	scheme.AddKnownTypes(corev1.SchemeGroupVersion, &corev1.ConfigMap{}, &corev1.ConfigMapList{}, &corev1.Event{}, &corev1.EventList{})
	scheme.AddKnownTypes(networkingv1.SchemeGroupVersion, &networkingv1.Ingress{}, &networkingv1.IngressList{})
	metav1.AddToGroupVersion(scheme, corev1.SchemeGroupVersion)
	metav1.AddToGroupVersion(scheme, networkingv1.SchemeGroupVersion)
	codecs := serializer.NewCodecFactory(scheme)
	tracker := ktesting.NewFieldManagedObjectTracker(scheme, codecs.UniversalDecoder(), applyconfigurations.NewTypeConverter(scheme))
	kube := &fake.Clientset{}
	kube.AddReactor("*", "*", ktesting.ObjectReaction(tracker))
	return kube
}

func newIngress(name, app, service, address string) *networkingv1.Ingress {
	prefix := networkingv1.PathTypePrefix
	return &networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID("uid-" + name), CreationTimestamp: metav1.NewTime(start)},
		Spec: networkingv1.IngressSpec{Rules: []networkingv1.IngressRule{{Host: hostOf(app), IngressRuleValue: networkingv1.IngressRuleValue{
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
func dnsWorld(t *testing.T, w *flaggersim.World, names []string, controller bool) *dnstest.Backend {
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
		var ingresses []types.NamespacedName
		for _, name := range names {
			ingresses = append(ingresses, types.NamespacedName{Namespace: namespace, Name: name})
		}
		pub := publisher(flaggersim.NewProcess(0, flaggersim.NoFault))
		stop := w.Clock.Every(5*time.Second, func() {
			_, _ = pub.Sync(context.WithoutCancel(t.Context()), ingresses...) // as a controller: it tries again
		})
		t.Cleanup(stop)
	}
	w.Start = func(p *flaggersim.Process) func() router.Interface {
		kube := p.Client(w.Kube)
		var local router.Publisher
		if !controller {
			local = publisher(p)
		}
		r := router.NewDNSWeighted(p.Context(), kube, local, nil, router.DNSWeightedOptions{Clock: w.Clock})
		return func() router.Interface { return r }
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
