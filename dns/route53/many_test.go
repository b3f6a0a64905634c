package route53_test

import (
	"fmt"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	ktypes "k8s.io/apimachinery/pkg/types"

	"github.com/penstock-dev/penstock/dns/route53"
	"github.com/penstock-dev/penstock/internal/route53emulator"
)

// A new weight of the cluster, for 2,000 hosts in one zone, costs no more calls than Route 53's limits ask for: each page of the zone once, and batches that
// are full. The emulator refuses batches that are fuller.
func TestAClusterWeightForManyHosts(t *testing.T) {
	t.Parallel()
	const hosts = 2000
	for name, tc := range map[string]struct {
		balancer string
		sets     int // of a host, without its ownership record
	}{
		"Addresses": {"192.0.2.1", 1},
		"Aliases":   {balancer, 2}, // of type A and AAAA
	} {
		for _, perIngress := range []int{1, 4} {
			t.Run(fmt.Sprintf("%s,%dHostsEach", name, perIngress), func(t *testing.T) {
				t.Parallel()
				var ingresses []*networkingv1.Ingress
				var names []ktypes.NamespacedName
				for i := range hosts / perIngress {
					name := ktypes.NamespacedName{Namespace: "shop", Name: fmt.Sprintf("web-%04d", i)}
					var served []string
					for j := range perIngress {
						served = append(served, fmt.Sprintf("host-%d-%04d.example.com", j, i))
					}
					names = append(names, name)
					ingresses = append(ingresses, newIngress(name, 0, tc.balancer, served...))
				}
				c := newClusterRig(t, ingresses...)
				c.sync(names)
				for _, n := range []int{50, 0} {
					c.weight = percent(t, n)
					c.clock.Advance(time.Minute)
					c.aws.ResetCalls()
					c.sync(names)
					// An UPSERT counts twice, and what an Ingress has is not torn apart: https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/DNSLimitations.html
					together := 1000 / (2 * tc.sets * perIngress)
					if got, most := c.aws.Calls(route53emulator.ChangeResourceRecordSets), pages(len(names), together); got > most {
						t.Errorf("weight %d: %d batches, and %d Ingresses fit into each: want at most %d", n, got, together, most)
					}
					// A walk begins where the first Ingress has its names, the ownership records among them, and so may end in a page that was read.
					begins := 2 * perIngress
					all := hosts*(tc.sets+1) + 2 // with SOA and NS
					if got, most := c.aws.Calls(route53emulator.ListResourceRecordSets), pages(all, 300)+begins-1; got > most {
						t.Errorf("weight %d: %d pages of a zone with %d record sets, want at most %d", n, got, all, most)
					}
					if got := c.aws.Calls(route53emulator.ListHostedZones); got > 0 {
						t.Errorf("weight %d: hosted zones were listed %d times", n, got)
					}
				}
				for _, set := range c.aws.RecordSets(c.zone) {
					if set.Weight != nil && *set.Weight != 0 {
						t.Fatalf("the cluster's weight is 0, and a record has %d: %s", *set.Weight, line(set))
					}
				}
			})
		}
	}
}

// pages is how many groups of some size hold all.
func pages(all, size int) int { return (all + size - 1) / size }

// One call of the backend for 2,000 hosts knows all names beforehand, so it reads each page of the zone once.
func TestPublishingManyHostsReadsEachPageOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, route53.Options{}, route53emulator.Options{})
	publications := many(2000)
	r.must(publications...)
	for i := range publications {
		publications[i].Records[0].Weight = 20
	}
	r.clock.Advance(time.Minute)
	r.calls()
	r.must(publications...)
	r.expectCalls("zones 0, list 14, change 4, get 0", "4,002 record sets are 14 pages, and 4,000 elements four batches")
	// Without a change the pages are read, and nothing is written.
	r.clock.Advance(time.Minute)
	r.must(publications...)
	r.expectCalls("zones 0, list 14, change 0, get 4", "nothing differs: one GetChange for each of the changes")
}

// sync syncs Ingresses in one call, each of which must be published.
func (c *clusterRig) sync(names []ktypes.NamespacedName) {
	c.t.Helper()
	results, err := c.publisher.Sync(c.t.Context(), names...)
	if err != nil || len(results) != len(names) {
		c.t.Fatalf("%d results of %d, error %v", len(results), len(names), err)
	}
	for _, r := range results {
		for _, h := range r.Hosts {
			if r.Status.Err != nil || h.Err != nil {
				c.t.Fatalf("%s: %v, %v", r.Ingress, r.Status.Err, h.Err)
			}
		}
	}
}
