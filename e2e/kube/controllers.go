package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/controller-manager/pkg/informerfactory"
	"k8s.io/kubernetes/pkg/controller/deployment"
	"k8s.io/kubernetes/pkg/controller/endpointslice"
	"k8s.io/kubernetes/pkg/controller/garbagecollector"
	"k8s.io/kubernetes/pkg/controller/namespace"
	"k8s.io/kubernetes/pkg/controller/replicaset"
)

const (
	workers              = 4
	endpointsPerSlice    = 100
	namespaceResync      = 5 * time.Minute
	collectorResync      = 2 * time.Second // so that the kinds of a CRD are collected soon after it was made
	collectorSyncTimeout = 10 * time.Second
)

// runControllers runs the controllers until ctx ends. It calls started when they work.
func runControllers(ctx context.Context, config *rest.Config, started func()) error {
	config.QPS, config.Burst = 500, 1000
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("client of the controllers: %w", err)
	}
	meta, err := metadata.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("metadata client of the controllers: %w", err)
	}
	objects := informers.NewSharedInformerFactory(kube, 0)
	metas := metadatainformer.NewSharedInformerFactory(meta, 0)

	deployments, err := deployment.NewDeploymentController(ctx,
		objects.Apps().V1().Deployments(), objects.Apps().V1().ReplicaSets(), objects.Core().V1().Pods(), kube)
	if err != nil {
		return fmt.Errorf("deployment controller: %w", err)
	}
	replicaSets := replicaset.NewReplicaSetController(ctx, objects.Apps().V1().ReplicaSets(), objects.Core().V1().Pods(), kube, replicaset.BurstReplicas)
	slices := endpointslice.NewController(ctx, objects.Core().V1().Pods(), objects.Core().V1().Services(), objects.Core().V1().Nodes(),
		objects.Discovery().V1().EndpointSlices(), endpointsPerSlice, kube, 0)
	namespaces := namespace.NewNamespaceController(ctx, kube, meta, kube.Discovery().ServerPreferredNamespacedResources,
		objects.Core().V1().Namespaces(), namespaceResync, corev1.FinalizerKubernetes)
	informersStarted := make(chan struct{})
	collector, err := garbagecollector.NewGarbageCollector(ctx, kube, meta,
		restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(kube.Discovery())),
		map[schema.GroupResource]struct{}{{Resource: "events"}: {}, {Group: "events.k8s.io", Resource: "events"}: {}},
		informerfactory.NewInformerFactory(objects, metas), informersStarted)
	if err != nil {
		return fmt.Errorf("garbage collector: %w", err)
	}

	objects.Start(ctx.Done())
	metas.Start(ctx.Done())
	close(informersStarted)
	objects.WaitForCacheSync(ctx.Done())

	var running sync.WaitGroup
	running.Go(func() { deployments.Run(ctx, workers) })
	running.Go(func() { replicaSets.Run(ctx, workers) })
	running.Go(func() { slices.Run(ctx, workers) })
	running.Go(func() { namespaces.Run(ctx, workers) })
	running.Go(func() { collector.Run(ctx, workers, collectorSyncTimeout) })
	running.Go(func() { collector.Sync(ctx, kube.Discovery(), collectorResync) })
	started()
	running.Wait()
	objects.Shutdown()
	metas.Shutdown()
	return ctx.Err() //nolint:wrapcheck // the caller's own
}
