package externaldns_test

import (
	"strings"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/penstock-dev/penstock/dns"
	"github.com/penstock-dev/penstock/dns/externaldns"
)

// canaryOf is a host at a load balancer that is not one of AWS, and the inner set of its canary.
func canaryOf(host string) []dns.Record {
	return []dns.Record{
		{Name: host, Type: dns.CNAME, SetIdentifier: cluster, Weight: 100, Targets: []string{"lb-1.example.net"}},
		{Name: "east._canary." + host, Type: dns.CNAME, SetIdentifier: dns.Primary, Weight: 100, TTL: 30 * time.Second, Targets: []string{"lb-1.example.net"}},
	}
}

// A resolver would remember that there is no such name, and tell it to clients that ask once there is.
func TestNoResolverIsAskedForWhatDoesNotExistYet(t *testing.T) {
	t.Parallel()
	for name, configured := range map[string]bool{"the system's": false, "configured": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			if configured {
				r.opts.Resolvers = []string{r.server.address}
				r.restart()
			}
			hosts := []string{"app.example.com", "www.app.example.com"} // the one stands above the other
			var records []dns.Record
			for _, host := range hosts {
				records = append(records, canaryOf(host)...)
			}
			for _, pub := range []dns.Publication{publication(records[0], records[2]), publication(records...)} {
				for range 10 { // external-dns is not there yet
					r.publish(pub)
					r.clock.Advance(5 * time.Second)
				}
			}
			for _, record := range records {
				marker := "east._penstock." + record.Name
				if n := r.server.resolved(record.Name) + r.server.resolved(marker); n > 0 {
					t.Errorf("a resolver was asked %d times for %s and its marker", n, record.Name)
				}
			}
			r.externalDNS(false)
			r.settle(publication(records...))
			r.publish(publication(records[0], records[2]))
			r.externalDNS(false)
			r.settle(publication(records[0], records[2]))
			if n := r.server.resolved("example.com"); !configured && n == 0 {
				t.Error("no resolver was asked for the zone")
			}
		})
	}
}

// A zone of its own that a host is, or lies in, is found by its delegation.
func TestTheZoneOfAHostIsFoundOnTheWayDown(t *testing.T) {
	t.Parallel()
	for host, apex := range map[string]bool{"example.com": true, "shop.example.com": true, "www.shop.example.com": false, "*.shop.example.com": false} {
		t.Run(host, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.server.set(func(s *nameServer) { s.zones = append(s.zones, "shop.example.com") })
			status := r.publish(publication(canaryOf(host)[0]))
			if refused := status.Err != nil && strings.Contains(status.Err.Error(), "is the apex of its zone"); refused != apex {
				t.Errorf("refused as an apex: %t, want %t: %v", refused, apex, status.Err)
			}
			below := strings.HasSuffix(host, "shop.example.com")
			if n := r.server.resolved("shop.example.com"); (n > 0) != below {
				t.Errorf("the zone below was sought %d times", n)
			}
		})
	}
}

func TestAZoneThatIsDelegatedToNobody(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	pub := publication(hostRecord(50))
	r.server.set(func(s *nameServer) { s.zones, s.dangling = append(s.zones, "www.example.com"), "www.example.com" })
	r.waits(pub, "zone www.example.com is delegated, but has no NS records")
}

func TestAnAnswerThatIsLostIsAskedForAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	pub := publication(hostRecord(50))
	r.publish(pub)
	r.externalDNS(false)
	r.restart()
	r.clock.Advance(5 * time.Second)
	r.server.set(func(s *nameServer) { s.garbled = map[string]bool{} })
	r.waits(pub, "all name servers answer with the change")
	if n := r.server.questions("east._penstock.www.example.com", mdns.TypeToString[mdns.TypeCNAME]); n < 3 {
		t.Errorf("%d questions for the marker, of which one was not answered", n)
	}
}

func TestNameServersWithoutIPv4(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.server.set(func(s *nameServer) { s.ipv6 = true })
	pub := publication(hostRecord(50))
	r.publish(pub)
	r.externalDNS(false)
	r.clock.Advance(5 * time.Second)
	r.waits(pub, "all name servers answer with the change")
}

// What this process has seen in sync proves nothing about a DNSEndpoint that somebody else has written since.
func TestWhatAnotherWroteIsNotProven(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	pub := publication(hostRecord(50))
	r.publish(pub)
	r.externalDNS(false)
	r.settle(pub)
	object := r.object()
	endpoints, _, err := unstructured.NestedSlice(object.Object, "spec", "endpoints")
	if err != nil {
		t.Fatal(err)
	}
	endpoints[1].(map[string]any)["targets"] = []any{strings.Repeat("0", 32) + ".penstock.invalid"}
	if err := unstructured.SetNestedSlice(object.Object, endpoints, "spec", "endpoints"); err != nil {
		t.Fatal(err)
	}
	const gone = "east._canary.www.example.com A 192.0.2.20"
	object.SetAnnotations(map[string]string{externaldns.ClusterAnnotation: cluster, externaldns.DeletedAnnotation: gone})
	r.put(object)
	r.publish(publication(hostRecord(60)))
	if got := r.object().GetAnnotations()[externaldns.DeletedAnnotation]; got != gone {
		t.Errorf("what must be gone is %q, want %q: nobody has seen that it is", got, gone)
	}
}
