package router_test

import (
	"testing"
	"time"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/penstock-dev/penstock/internal/vclock"
)

const namespace = "shop"

// epoch is when the virtual clocks of tests start.
var epoch = time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)

// newCanary returns the Canary shop/app with the Ingress web, at the first tick; change it with the functions.
func newCanary(change ...func(*flaggerv1.Canary)) *flaggerv1.Canary {
	canary := &flaggerv1.Canary{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "app", UID: types.UID("uid-of-app")},
		Spec: flaggerv1.CanarySpec{
			TargetRef:  flaggerv1.LocalObjectReference{Kind: "Deployment", Name: "app"},
			IngressRef: &flaggerv1.LocalObjectReference{Kind: "Ingress", Name: "web"},
			Service:    flaggerv1.CanaryService{Port: 80},
			Analysis:   &flaggerv1.CanaryAnalysis{Interval: "10s", StepWeight: 10, MaxWeight: 50, Threshold: 1},
		},
	}
	for _, c := range change {
		c(canary)
	}
	return canary
}

// inPhase sets the phase of a Canary, and the weight in its status.
func inPhase(phase flaggerv1.CanaryPhase, weight int) func(*flaggerv1.Canary) {
	return func(c *flaggerv1.Canary) { c.Status.Phase, c.Status.CanaryWeight = phase, weight }
}

// withAnalysis changes spec.analysis.
func withAnalysis(change func(*flaggerv1.CanaryAnalysis)) func(*flaggerv1.Canary) {
	return func(c *flaggerv1.Canary) { change(c.Spec.Analysis) }
}

// newIngress returns the Ingress shop/web, whose host www.example.com leads to the Service app.
func newIngress(change ...func(*networkingv1.Ingress)) *networkingv1.Ingress {
	ingress := &networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "web", UID: types.UID("uid-of-web")},
		Spec: networkingv1.IngressSpec{
			Rules: []networkingv1.IngressRule{newRule("www.example.com", newPath("/", networkingv1.PathTypePrefix, "app"))},
		},
	}
	for _, c := range change {
		c(ingress)
	}
	return ingress
}

// annotated sets annotations, given as key, value, key, value.
func annotated(pairs ...string) func(*networkingv1.Ingress) {
	return func(i *networkingv1.Ingress) {
		if i.Annotations == nil {
			i.Annotations = map[string]string{}
		}
		for n := 0; n+1 < len(pairs); n += 2 {
			i.Annotations[pairs[n]] = pairs[n+1]
		}
	}
}

// withRules replaces the rules of an Ingress.
func withRules(rules ...networkingv1.IngressRule) func(*networkingv1.Ingress) {
	return func(i *networkingv1.Ingress) { i.Spec.Rules = rules }
}

func newRule(host string, paths ...networkingv1.HTTPIngressPath) networkingv1.IngressRule {
	rule := networkingv1.IngressRule{Host: host}
	rule.HTTP = &networkingv1.HTTPIngressRuleValue{Paths: paths}
	return rule
}

func newPath(path string, kind networkingv1.PathType, service string) networkingv1.HTTPIngressPath {
	return networkingv1.HTTPIngressPath{
		Path:     path,
		PathType: &kind,
		Backend: networkingv1.IngressBackend{
			Service: &networkingv1.IngressServiceBackend{Name: service, Port: networkingv1.ServiceBackendPort{Number: 80}},
		},
	}
}

// getIngress reads an Ingress of the namespace, which must be there.
func getIngress(t *testing.T, kube *fake.Clientset, name string) *networkingv1.Ingress {
	t.Helper()
	ingress, err := kube.NetworkingV1().Ingresses(namespace).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatalf("get ingress %s: %v", name, err)
	}
	return ingress
}

// ingressNames returns the names of all Ingresses of the namespace, sorted.
func ingressNames(t *testing.T, kube *fake.Clientset) []string {
	t.Helper()
	list, err := kube.NetworkingV1().Ingresses(namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatalf("list ingresses: %v", err)
	}
	names := make([]string, 0, len(list.Items))
	for _, i := range list.Items {
		names = append(names, i.Name)
	}
	return names
}

// requests counts what a fake clientset was asked since the last call, as "get", "list", "create", "update" and "delete".
func requests(kube *fake.Clientset) map[string]int {
	counts := map[string]int{}
	for _, action := range kube.Actions() {
		counts[action.GetVerb()]++
	}
	kube.ClearActions()
	return counts
}

func newClock() *vclock.Clock { return vclock.New(epoch) }
