package router_test

import (
	"context"
	"fmt"
	"time"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	fakedynamic "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/penstock-dev/penstock/dns"
	"github.com/penstock-dev/penstock/dns/externaldns"
	"github.com/penstock-dev/penstock/router"
	clusterweights "github.com/penstock-dev/penstock/weights"
)

// A router of a backend and a publisher, and the first step of a canary with it. Here the clients are fake, time is virtual, and DNS is not asked.
func ExampleNewDNSWeighted() {
	ctx, clock := context.Background(), newClock()
	kube := fake.NewClientset(ingresses()...) // web and web-next, each with a load balancer of its own
	dynamic := fakedynamic.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(),
		map[schema.GroupVersionResource]string{externaldns.Resource: "DNSEndpointList"})

	backend := externaldns.New(dynamic, nil, externaldns.Options{AssumeSyncAfter: time.Minute, Clock: clock})
	publisher, err := dns.NewPublisher("eu-1", dns.NewKubeSource(kube, clock), backend, dns.StaticWeight(clusterweights.Hundred), nil, dns.PublisherOptions{Clock: clock})
	if err != nil {
		fmt.Println(err)
		return
	}
	r := router.NewDNSWeighted(ctx, kube, publisher, nil, router.DNSWeightedOptions{WaitMargin: 3 * time.Minute, Clock: clock})

	canary := newCanary(split) // with penstock.dev/canary-ingress: web-next
	fmt.Println("reconciled:", r.Reconcile(canary))
	canary.Status.Phase = flaggerv1.CanaryPhaseProgressing
	start := clock.Now()
	fmt.Println("first step:", r.SetRoutes(canary, 90, 10, false), "after", clock.Since(start))
	primaryWeight, canaryWeight, found, err := publisher.InnerWeights(ctx, types.NamespacedName{Namespace: "shop", Name: "web"}, "app")
	fmt.Println("published:", primaryWeight, canaryWeight, found, err)
	// Output:
	// reconciled: <nil>
	// first step: <nil> after 7m0s
	// published: 90 10 true <nil>
}
