package traffic

import (
	"context"
	"fmt"
	"strings"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/penstock-dev/penstock/dns/externaldns"
)

// owner knows which Ingresses a cluster has records for, also those that do not exist any more, or are not the controller's.
type owner interface {
	Ingresses(ctx context.Context, cluster string) ([]types.NamespacedName, error)
}

// endpointOwner is the owner of the externaldns backend. A DNSEndpoint has the name of its Ingress.
type endpointOwner struct{ caches client.Reader }

// Ingresses implements owner.
func (o endpointOwner) Ingresses(ctx context.Context, cluster string) ([]types.NamespacedName, error) {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(externaldns.Resource.GroupVersion().WithKind("DNSEndpointList"))
	if err := o.caches.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil { // nobody changes them here
		return nil, fmt.Errorf("list dnsendpoints: %w", err)
	}
	var names []types.NamespacedName
	for i := range list.Items {
		object := &list.Items[i]
		if object.GetLabels()[externaldns.ManagedByLabel] != "" && object.GetAnnotations()[externaldns.ClusterAnnotation] == cluster {
			names = append(names, client.ObjectKeyFromObject(object))
		}
	}
	return names, nil
}

// isTheirs tells whether an Ingress exists that the flags leave out. Another publisher of the cluster may have written its records, so they must not be
// withdrawn, unless Options.SolePublisher says that there is none.
func (s *source) isTheirs(ctx context.Context, name types.NamespacedName) bool {
	ingress := &networkingv1.Ingress{}
	return !s.sole && s.caches.Get(ctx, name, ingress) == nil && !s.filter.mine(ingress)
}

// keptReason says what became of records, and what somebody can do who does not want that.
const keptReason = "the flags leave the Ingress out, and another publisher of the cluster may have written its records, so they stay: " +
	"where there is none, the flag sole-publisher withdraws them"

const (
	// lookAroundEvery is how often the records of a cluster are listed.
	lookAroundEvery = time.Hour
	// resyncEvery is that of the backend route53. Nothing tells the controller what somebody changes there, as the watches do of DNSEndpoints, so everything
	// is compared each time. That costs 14 to 24 calls for 2,000 hosts.
	resyncEvery = 5 * time.Minute
)

// lookAroundAlways looks around until ctx ends.
func (c *Controller) lookAroundAlways(ctx context.Context) {
	for {
		after := lookAroundEvery
		if c.opts.Backend == BackendRoute53 {
			after = resyncEvery
		}
		if err := c.lookAround(ctx); err != nil && ctx.Err() == nil {
			c.log.Warnw("records of ingresses that do not exist any more are not known", "error", err)
			after = c.opts.PollInterval
		}
		timer := c.opts.clock.NewTimer(after)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C():
		}
	}
}

// lookAround queues Ingresses that have records and went while nobody led, so that these are withdrawn, and tells which records stay although the flags
// leave their Ingress out. The watches bring those that are the controller's; with route53 they are queued too.
func (c *Controller) lookAround(ctx context.Context) error {
	names, err := c.owner.Ingresses(ctx, c.opts.ClusterName)
	if err != nil {
		return fmt.Errorf("list what cluster %s has records for: %w", c.opts.ClusterName, err)
	}
	var kept []string
	for _, name := range names {
		if c.isTheirs(ctx, name) {
			kept = append(kept, fmt.Sprintf("%s (%s)", name, strings.Join(c.source.hosts(ctx, name), ", ")))
		} else if _, err := c.source.Ingress(ctx, name); apierrors.IsNotFound(err) {
			c.queue.Add(name)
		}
	}
	if c.opts.Backend == BackendRoute53 {
		mine, err := c.ingresses(ctx)
		if err != nil {
			return err
		}
		for _, name := range mine {
			c.queue.Add(name)
		}
	}
	c.metrics.kept.Set(float64(len(kept)))
	if text := strings.Join(kept, ", "); text != "" && text != c.kept {
		c.log.Infow("records stay", "ingresses", kept, "reason", keptReason)
	}
	c.kept = strings.Join(kept, ", ")
	return nil
}

// isTheirs leaves aside what this process has published itself.
func (c *Controller) isTheirs(ctx context.Context, name types.NamespacedName) bool {
	return !c.served.knows(name) && c.source.isTheirs(ctx, name)
}

// hosts returns those of an Ingress, whether the flags leave it out or not.
func (s *source) hosts(ctx context.Context, name types.NamespacedName) []string {
	ingress := &networkingv1.Ingress{}
	if err := s.caches.Get(ctx, name, ingress); err != nil {
		return nil // it has just gone
	}
	return hostsOf(ingress)
}
