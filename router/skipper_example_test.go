package router_test

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/penstock-dev/penstock/router"
)

// A step of a canary, and the end of it. SetRoutes(100, 0) returns when Skipper has settled; here time is virtual.
func ExampleSkipper_SetRoutes() {
	ctx := context.Background()
	kube := fake.NewClientset(newIngress()) // www.example.com leads to Service app
	canary := newCanary()
	s := router.NewSkipper(ctx, kube, nil, router.SkipperOptions{Clock: newClock()})

	show := func(err error) {
		if err != nil {
			fmt.Println(err)
			return
		}
		ingress, err := kube.NetworkingV1().Ingresses("shop").Get(ctx, "web-canary", metav1.GetOptions{})
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(ingress.Annotations["zalando.org/backend-weights"], ingress.Annotations["zalando.org/skipper-predicate"])
	}
	show(s.Reconcile(canary))
	show(s.SetRoutes(canary, 90, 10, false))
	show(s.SetRoutes(canary, 100, 0, false))
	// Output:
	// {"app-canary":0,"app-primary":100} False()
	// {"app-canary":10,"app-primary":90} Weight(1)
	// {"app-canary":0,"app-primary":100} False()
}

// A shape that Skipper cannot split is refused before anything is written.
func ExampleSkipper_Reconcile() {
	apex := newIngress(annotated("zalando.org/backend-weights", `{"app":"80"}`))
	s := router.NewSkipper(context.Background(), fake.NewClientset(apex), nil, router.SkipperOptions{})
	fmt.Println(s.Reconcile(newCanary()))
	// Output:
	// ingress shop/web: annotation zalando.org/backend-weights: "{\"app\":\"80\"}": the weight of "app" is "80": not a JSON object of non-negative weights by Service, such as {"app":80,"other":20}
}
