package traffic

import (
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/fake"

	"github.com/penstock-dev/penstock/dns/externaldns"
)

// An Ingress with nothing to publish, and of which nothing ever was, holds up no weight: DNSEndpoints are asked for nothing there.
func TestAnIngressWithNothingToPublishHoldsNothingUp(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*networkingv1.Ingress){
		"NoAddress":  func(i *networkingv1.Ingress) { i.Status.LoadBalancer.Ingress = nil },
		"NoRules":    func(i *networkingv1.Ingress) { i.Spec.Rules = nil },
		"NoHost":     func(i *networkingv1.Ingress) { i.Spec.Rules[0].Host = "" },
		"Annotation": func(i *networkingv1.Ingress) { i.Annotations["dns.adevinta.com/traffic-weight"] = "1e2" },
	} {
		for steps, flags := range map[string][]string{"AtOnce": nil, "BySteps": {"-ramp-step", "50", "-ramp-interval", "1m"}} {
			t.Run(name+"/"+steps, func(t *testing.T) {
				t.Parallel()
				objects := app("one", "one.example.com")
				ingress := objects[0].(*networkingv1.Ingress)
				if ingress.Annotations == nil {
					ingress.Annotations = map[string]string{}
				}
				change(ingress)
				r := newRig(t, flags, objects...)
				r.withEndpoints()
				for _, weight := range []int{60, 0} {
					r.run(2 * time.Minute)
					r.desire(weight)
					r.run(10 * time.Minute)
					if row := r.row.now(); row.CurrentWeight != weight {
						t.Errorf("row %+v, want weight %d acknowledged", row, weight)
					}
				}
			})
		}
	}
}

// So does the younger of two Ingresses with one host.
func TestAnIngressWhoseHostAnotherHasHoldsNothingUp(t *testing.T) {
	t.Parallel()
	older, younger := app("one", "one.example.com"), app("two", "one.example.com")[:1]
	older[0].(*networkingv1.Ingress).CreationTimestamp = metav1.NewTime(start.Add(-time.Hour))
	r := newRig(t, nil, append(older, younger...)...)
	r.withEndpoints()
	r.run(2 * time.Minute)
	r.desire(50)
	r.run(10 * time.Minute)
	generation, _ := r.weight.now()
	for _, result := range r.served.outcomes(generation, false) {
		if got, want := result.InSync(), result.Ingress.Name == "two"; got != want { // no name server answers about the other
			t.Errorf("%s: in sync %t, %s", result.Ingress, got, result.Status.Reason)
		}
	}
}

// withEndpoints has the rig publish DNSEndpoints, about which no name server answers.
func (r *rig) withEndpoints() {
	r.t.Helper()
	kube := fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{externaldns.Resource: "DNSEndpointList"})
	backend := externaldns.New(kube, nil, externaldns.Options{Resolvers: []string{"127.0.0.1:1"}, Clock: r.jumped})
	var err error
	if r.publisher, err = newPublisher(r.Controller, backend, nil); err != nil {
		r.t.Fatal(err)
	}
}
