package externaldns_test

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/penstock-dev/penstock/dns"
)

// A host that another Ingress takes over is published with a marker of the same name. The one that had it is in sync all the same, once nobody answers with
// its own marker, and not before.
func TestAHostThatAnotherIngressTakesOver(t *testing.T) {
	t.Parallel()
	for name, whole := range map[string]bool{"OneOfTwo": false, "All": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			moved := hostRecord(50)
			stays := moved
			stays.Name = "stays.example.com"
			before, after := publication(moved, stays), publication(stays)
			if whole {
				before, after = publication(moved), publication()
			}
			r.publish(before)
			r.externalDNS(false)
			r.settle(before)

			taken := dns.Publication{Ingress: types.NamespacedName{Namespace: shop.Namespace, Name: "other"}, IngressUID: "2", Cluster: cluster, Records: []dns.Record{moved}, Prove: true}
			if statuses, err := r.backend.Publish(t.Context(), taken); err != nil || statuses[0].Err != nil {
				t.Fatal(err, statuses)
			}
			for range 10 { // external-dns has not looked yet
				if r.publish(after).InSync {
					t.Fatal("in sync, although name servers answer with its marker")
				}
				r.clock.Advance(5 * time.Second)
			}
			r.externalDNS(false)
			r.settle(after)
		})
	}
}
