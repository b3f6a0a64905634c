package externaldns_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"github.com/penstock-dev/penstock/dns"
	"github.com/penstock-dev/penstock/dns/externaldns"
	"github.com/penstock-dev/penstock/internal/vclock"
)

const (
	markerName = "east._penstock.www.example.com"
	inner      = "east._canary.www.example.com"
	window     = 30 * time.Second
)

// waits publishes once, advances the clock, and wants to be told what is waited for.
func (r *rig) waits(pub dns.Publication, reason string) {
	r.t.Helper()
	status := r.publish(pub)
	if status.Err != nil || status.InSync || !strings.Contains(status.Reason, reason) {
		r.t.Errorf("status %+v, want a reason that says %q", status, reason)
	}
	r.clock.Advance(5 * time.Second)
}

func TestInSyncIsWhatEveryServerAnswersForTheWholeWindow(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	second := newNameServer(t)
	r.opts.Resolvers = []string{r.server.address, second.address}
	r.restart()
	pub := publication(attached(95, 5)...)
	r.waits(pub, "resolvers are asked for new names from 2026-01-02T03:05:35Z on")
	if n := r.server.questions(markerName, "CNAME") + r.server.questions(inner, "NS"); n != 0 {
		t.Errorf("a resolver was asked %d times for what does not exist, and remembers that", n)
	}
	r.clock.Advance(85 * time.Second)
	r.waits(pub, "has no marker")
	r.externalDNS(false)
	r.waits(pub, second.address+") has no marker")
	second.set(func(s *nameServer) { s.records = r.server.records })
	r.waits(pub, "they must for 30s")
	r.waits(pub, "they must for 30s, so far 5s")

	// One that goes back begins the window anew.
	second.set(func(s *nameServer) { s.apart = map[string]string{markerName: "00.penstock.invalid"} })
	r.waits(pub, "answers with an earlier change of www.example.com")
	second.set(func(s *nameServer) { s.apart = nil })
	if took := r.settle(pub); took != window {
		t.Errorf("it took %s, want %s", took, window)
	}
	since := r.prior.InSyncSince
	r.clock.Advance(time.Hour)
	if status := r.publish(pub); !status.InSync || !status.InSyncSince.Equal(since) || status.Assumed {
		t.Errorf("an hour later: %+v, want in sync since %s", status, since)
	}
}

// Somebody makes the entries of the DNSEndpoint as they are to be, and leaves the markers. Those prove what was there before.
func TestWhatSomebodyElseMadeIsNotProven(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.publish(publication(attached(50, 50)...))
	r.externalDNS(false)
	r.settle(publication(attached(50, 50)...))
	r.clock.Advance(time.Hour)
	object := r.object()
	endpoints, _, err := unstructured.NestedSlice(object.Object, "spec", "endpoints") // of the host, of primary, of canary, and two markers
	if err != nil || len(endpoints) != 5 {
		t.Fatalf("endpoints %v, error %v", endpoints, err)
	}
	endpoints[1].(map[string]any)["providerSpecific"].([]any)[0].(map[string]any)["value"] = "100"
	if err := unstructured.SetNestedSlice(object.Object, slices.Delete(endpoints, 2, 3), "spec", "endpoints"); err != nil {
		t.Fatal(err)
	}
	r.put(object)
	r.prior = dns.Status{} // what a publisher remembers is of other records
	drained := publication(attached(100, 0)...)
	if s := r.publish(drained); s.InSync || s.Err != nil {
		t.Errorf("%+v, and name servers answer %v", s, r.server.records[inner+" A"])
	}
	r.clock.Advance(5 * time.Minute)
	r.waits(drained, "answers with an earlier change")
	r.externalDNS(false)
	r.settle(drained)
}

// A name goes, with all that is below it, and a wildcard answers for it from then on, with the same address.
func TestAWildcardAnswersWhatIsGone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	wildcard := dns.Record{Name: "*.example.com", Type: dns.A, SetIdentifier: cluster, Weight: 50, Targets: []string{"192.0.2.10"}}
	both, one := publication(append(slices.Clone(shapes["addresses"]), wildcard)...), publication(wildcard)
	r.publish(both)
	r.externalDNS(false)
	r.settle(both)
	object := r.object() // as one that was written before has it
	object.SetAnnotations(map[string]string{
		externaldns.ClusterAnnotation: cluster, "penstock.dev/deleted": "east._addresses.www.example.com A 192.0.2.10",
	})
	r.put(object)
	r.restart()
	r.prior = dns.Status{}
	r.publish(one)
	r.waits(one, "which was deleted")
	r.externalDNS(false)
	r.server.set(func(s *nameServer) { // https://www.rfc-editor.org/rfc/rfc4592
		s.records["east._addresses.www.example.com A"] = []string{"192.0.2.10"}
	})
	r.settle(one)
}

// A write that adds a name takes effect, and its answer is lost: the name is no older for that.
func TestANewNameWhoseWriteHadNoAnswer(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.opts.Resolvers = []string{r.server.address}
	r.restart()
	r.publish(publication(hostRecord(50)))
	r.clock.Advance(10 * time.Minute)
	lost := false
	r.kube.PrependReactor("update", "dnsendpoints", func(action clienttesting.Action) (bool, runtime.Object, error) {
		if lost {
			return false, nil, nil
		}
		lost = true
		if err := r.kube.Tracker().Update(externaldns.Resource, action.(clienttesting.UpdateAction).GetObject(), shop.Namespace); err != nil {
			t.Error(err)
		}
		return true, nil, context.DeadlineExceeded
	})
	pub := publication(attached(95, 5)...)
	if status := r.publish(pub); status.Err == nil || !lost {
		t.Fatalf("status %+v of a write without an answer", status)
	}
	r.waits(pub, "resolvers are asked for new names from")
	if n := r.server.questions("east._penstock."+inner, "CNAME") + r.server.questions(inner, "NS"); n != 0 {
		t.Errorf("a resolver was asked %d times for what does not exist, and remembers that", n)
	}
	r.clock.Advance(90 * time.Second)
	r.externalDNS(false)
	r.settle(pub)
}

func TestAuthoritativeServersAreFoundAndAsked(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	_, port, _ := strings.Cut(r.server.address, ":")
	pub := publication(hostRecord(50))
	r.waits(pub, "ns2.example.net (127.0.0.1:"+port+") has no marker")
	r.externalDNS(false)
	r.server.set(func(s *nameServer) { s.tcpOnly = true })
	r.waits(pub, "so far 0s")
	r.server.set(func(s *nameServer) { s.lame = true })
	r.waits(pub, "is not an authority")
	r.server.set(func(s *nameServer) { s.lame = false })
	if took := r.settle(pub); took != window {
		t.Errorf("it took %s, want %s", took, window)
	}
}

func TestWhoDoesNotAnswer(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		fault  func(s *nameServer)
		reason string
	}{
		"servfail":    {func(s *nameServer) { s.rcode = mdns.RcodeServerFailure }, "SERVFAIL"},
		"silence":     {func(s *nameServer) { s.silent = true }, "no usable answer from resolver"},
		"no zone":     {func(s *nameServer) { s.zones = nil }, "nothing above it has NS records"},
		"deeper zone": {func(s *nameServer) { s.zones = append(s.zones, "_penstock.www.example.com") }, "remove the deeper zone"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.opts.QueryTimeout = 20 * time.Millisecond
			r.restart()
			pub := publication(attached(95, 5)...)
			r.publish(publication(hostRecord(50)))
			r.restart()
			r.server.set(test.fault)
			r.waits(pub, test.reason)
		})
	}
}

func TestAChangeThatIsTakenBackIsANewChange(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	pub := publication(hostRecord(50))
	r.publish(pub)
	r.externalDNS(false)
	r.settle(pub)
	first := r.prior.Change

	// external-dns has read the change to 60 and is slow to submit it, while 50 is wanted again: the old marker proves nothing.
	r.publish(publication(hostRecord(60)))
	r.waits(pub, "answers with an earlier change")
	if r.prior.Change == first {
		t.Error("the change has the identity of the earlier one")
	}
	r.externalDNS(false)
	if took := r.settle(pub); took != window {
		t.Errorf("it took %s, want %s", took, window)
	}
}

func TestARestartRemembersWhatTheCallerDoes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	pub := publication(hostRecord(50))
	r.publish(pub)
	r.externalDNS(false)
	r.settle(pub)
	remembered := r.prior

	r.restart()
	r.clock.Advance(time.Hour)
	if status := r.publish(pub); status != remembered {
		t.Errorf("%+v, want %+v", status, remembered)
	}
	r.restart()
	r.prior = dns.Status{}
	r.waits(pub, "so far 0s") // nothing is remembered, and somebody depends on it
	r.restart()
	r.prior = dns.Status{}
	pub.Prove = false
	if status := r.publish(pub); !status.InSync || !status.InSyncSince.Equal(r.clock.Now()) {
		t.Errorf("found as it should be, and nobody depends on it: %+v", status)
	}
	r.prior = dns.Status{Change: "of something else", InSync: true}
	pub.Prove = true
	r.restart()
	r.waits(pub, "so far 0s")
}

func TestWhatThisProcessWroteIsCheckedAlsoWhenNobodyAsksForProof(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	pub := publication(hostRecord(50))
	pub.Prove = false
	for range 3 {
		r.waits(pub, "has no marker")
	}
}

func TestChecksAreNotMadeMoreOftenThanAskedFor(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	pub := publication(hostRecord(50))
	for range 10 {
		r.publish(pub)
		r.clock.Advance(time.Second)
	}
	if got := r.server.questions(markerName, "CNAME"); got != 4 {
		t.Errorf("%d questions in 10 s, want one for each of two servers in two checks", got)
	}
	r.externalDNS(false)
	r.settle(pub)
	asked := r.server.questions(markerName, "CNAME")
	for range 10 {
		r.clock.Advance(time.Minute)
		r.publish(pub)
	}
	if got := r.server.questions(markerName, "CNAME"); got != asked {
		t.Errorf("%d more checks of what is in sync", got-asked)
	}
}

func TestAssumedSync(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.opts.AssumeSyncAfter = 2 * time.Minute
	r.restart()
	pub := publication(hostRecord(50))
	r.waits(pub, "assumed to need 2m0s")
	r.clock.Advance(2*time.Minute - 6*time.Second)
	r.waits(pub, "assumed")
	for range 2 {
		if status := r.publish(pub); !status.InSync || !status.Assumed {
			t.Errorf("%+v, want one that is assumed", status)
		}
		r.restart()
	}
	if got := r.server.questions(markerName, "CNAME"); got > 0 {
		t.Errorf("%d DNS questions", got)
	}
}

func TestUpsertOnlyIsFoundOut(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		before, after []dns.Record
		reason        string
	}{
		"a canary's address": {attached(90, 10), attached(100, 0), "still answers " + inner + " A 192.0.2.20"},
		"the inner set":      {attached(100, 0), []dns.Record{hostRecord(50)}, "still answers east._penstock." + inner + " CNAME"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			before, after := publication(test.before...), publication(test.after...)
			r.publish(before)
			r.externalDNS(true)
			r.settle(before)
			r.publish(after)
			r.externalDNS(true)
			seen := ""
			for range 6 { // the set has two members: one question may get the right one
				r.clock.Advance(5 * time.Second)
				if status := r.publish(after); status.InSync {
					t.Fatal("in sync, although what was deleted is still answered")
				}
				seen += r.prior.Reason
			}
			if !strings.Contains(seen, test.reason) || !strings.Contains(seen, "--policy=sync") {
				t.Errorf("reasons %q do not say %q", seen, test.reason)
			}
			r.externalDNS(false)
			if took := r.settle(after); took > window+5*time.Second {
				t.Errorf("once deleted it took %s", took)
			}
		})
	}
}

func TestWhatComesBackIsNotMissed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	drained, again := publication(attached(100, 0)...), publication(attached(90, 10)...)
	r.publish(again)
	r.publish(drained)
	r.publish(again)
	r.externalDNS(false)
	if took := r.settle(again); took > window+5*time.Second {
		t.Errorf("it took %s", took)
	}
}

func TestAMarkerThatNeverComesSaysWhatToLookAt(t *testing.T) {
	t.Parallel()
	for name, resolvers := range map[string]bool{"authoritative servers": false, "resolvers": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			if resolvers {
				r.opts.Resolvers = []string{r.server.address}
				r.restart()
			}
			pub := publication(hostRecord(50))
			r.publish(pub)
			r.clock.Advance(4 * time.Minute)
			r.waits(pub, "it is 4m0s old: look whether external-dns runs with --source=crd")
			if told := strings.Contains(r.prior.Reason, "set resolvers (PENSTOCK_DNS_RESOLVERS)"); told == resolvers {
				t.Errorf("told to set resolvers: %t, in %q", told, r.prior.Reason)
			}
		})
	}
}

// What is waited for is told anew when there is something new, not at each check.
func TestServersThatStaySilentAreToldInTheSameWords(t *testing.T) {
	t.Parallel()
	for name, silence := range map[string]func(r *rig){
		"nobody answers": func(r *rig) {
			r.server.set(func(s *nameServer) { s.silent = true })
			r.opts.QueryTimeout = 20 * time.Millisecond
		},
		"nobody listens": func(r *rig) { r.opts.Resolvers = []string{"127.0.0.1:1"} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			silence(r)
			r.restart()
			r.publish(publication(hostRecord(50)))
			r.clock.Advance(4 * time.Minute)
			said := map[string]bool{}
			for range 5 {
				said[r.publish(publication(hostRecord(50))).Reason] = true
				r.clock.Advance(6 * time.Second)
			}
			if len(said) != 1 {
				t.Errorf("one state is told in %d ways: %v", len(said), said)
			}
		})
	}
}

func TestNoCNAMEAtTheApex(t *testing.T) {
	t.Parallel()
	apex := func(target string) dns.Publication {
		return publication(dns.Record{Name: "example.com", Type: dns.CNAME, SetIdentifier: cluster, Weight: 50, Targets: []string{target}})
	}
	r := newRig(t)
	if status := r.publish(apex("lb.example.net")); status.Err == nil || !strings.Contains(status.Err.Error(), `host "example.com" is the apex`) {
		t.Errorf("error %v", status.Err)
	}
	if got := r.writes(); got > 0 {
		t.Errorf("%d writes", got)
	}
	if status := r.publish(apex("web-1234567890.eu-west-1.elb.amazonaws.com")); status.Err != nil {
		t.Errorf("an alias: %v", status.Err)
	}
}

func TestNoInnerSetInADeeperZone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.publish(publication(hostRecord(50)))
	r.writes()
	r.server.set(func(s *nameServer) { s.zones = append(s.zones, "_canary.www.example.com") })
	status := r.publish(publication(attached(90, 10)...))
	if status.Err == nil || !strings.Contains(status.Err.Error(), inner+" would lie in zone _canary.www.example.com") {
		t.Errorf("error %v", status.Err)
	}
	if got := r.writes(); got > 0 {
		t.Errorf("%d writes", got)
	}
}

func TestZeroOptions(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	backend := externaldns.New(r.kube, nil, externaldns.Options{Resolvers: []string{r.server.address}, Clock: vclock.New(begin)})
	statuses, err := backend.Publish(t.Context(), publication(hostRecord(50)))
	if err != nil || statuses[0].Err != nil || statuses[0].InSync {
		t.Errorf("%+v, error %v", statuses, err)
	}
	if statuses, err := backend.Publish(t.Context()); err != nil || len(statuses) > 0 {
		t.Errorf("nothing to publish: %v, error %v", statuses, err)
	}
}

func TestWhatIsGoneIsAskedForAfterTheNextChangeToo(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.publish(publication(attached(90, 10)...))
	r.externalDNS(true)
	r.settle(publication(attached(90, 10)...))
	r.publish(publication(attached(100, 0)...))
	heavier := attached(100, 0)
	heavier[0].Weight = 80
	r.publish(publication(heavier...))
	r.externalDNS(true)
	for range 20 {
		if r.publish(publication(heavier...)).InSync {
			t.Fatalf("in sync, although %v is still answered", r.server.records)
		}
		r.clock.Advance(5 * time.Second)
	}
}

// What was taken for in sync because nobody asked is not proven: what should have gone is asked for after the next change.
func TestWhatIsGoneIsAskedForAfterARestartThatTookItForGranted(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.publish(publication(attached(90, 10)...))
	r.externalDNS(true)
	r.settle(publication(attached(90, 10)...))
	r.publish(publication(attached(100, 0)...))
	r.restart()
	r.prior = dns.Status{}
	unasked := publication(attached(100, 0)...)
	unasked.Prove = false
	if status := r.publish(unasked); !status.InSync {
		t.Fatalf("%+v, want it taken for granted", status)
	}
	heavier := attached(100, 0)
	heavier[0].Weight = 80
	r.publish(publication(heavier...))
	r.externalDNS(true)
	for range 20 {
		if r.publish(publication(heavier...)).InSync {
			t.Fatalf("in sync, although %v is still answered", r.server.records)
		}
		r.clock.Advance(5 * time.Second)
	}
}

// What is known to be gone is asked for no more.
func TestWhatIsProvenGoneIsForgotten(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for i, weight := range []int{50, 60, 0, 0} {
		records := attached(100-weight, weight)
		records[0].Weight = 10 + i
		r.publish(publication(records...))
		r.externalDNS(false)
		r.settle(publication(records...))
		gone := strings.Contains(r.object().GetAnnotations()[externaldns.DeletedAnnotation], "192.0.2.20")
		if want := i == 2; gone != want {
			t.Errorf("change %d, canary %d %%: its address is to be gone: %t, want %t", i, weight, gone, want)
		}
	}
}

func TestAddressesOfOtherClustersAreNotMissed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.publish(publication(hostRecord(50)))
	r.externalDNS(false)
	r.settle(publication(hostRecord(50)))
	moved := hostRecord(50)
	moved.Targets = []string{"192.0.2.11"}
	r.publish(publication(moved))
	r.externalDNS(false)
	r.server.set(func(s *nameServer) { // another cluster has the former address
		s.records["www.example.com A"] = append(s.records["www.example.com A"], "192.0.2.10")
	})
	if took := r.settle(publication(moved)); took > window+5*time.Second {
		t.Errorf("it took %s", took)
	}
}

func TestTheZoneOfAnAliasedHostIsItsOwn(t *testing.T) {
	t.Parallel()
	for _, target := range []string{"example.org", "shop.example.com"} { // the second zone is below that of the host
		r := newRig(t)
		r.server.set(func(s *nameServer) { s.cnames = map[string]string{"www.example.com": target} })
		cname := publication(dns.Record{Name: "www.example.com", Type: dns.CNAME, SetIdentifier: cluster, Weight: 50, Targets: []string{target}})
		if status := r.publish(cname); status.Err != nil {
			t.Fatalf("www.example.com is no apex: %v", status.Err)
		}
		r.externalDNS(false)
		if took := r.settle(cname); took > window+5*time.Second {
			t.Errorf("to %s: it took %s", target, took)
		}
	}
}

// collect deletes the DNSEndpoint, as Kubernetes does once its Ingress is gone, and what it published, as external-dns does then.
func (r *rig) collect(dnsToo bool) {
	r.t.Helper()
	if err := r.kube.Resource(externaldns.Resource).Namespace(shop.Namespace).Delete(r.t.Context(), shop.Name, metav1.DeleteOptions{}); err != nil {
		r.t.Fatal(err)
	}
	if dnsToo {
		r.server.serve(false, nil)
	}
}

func TestWithdrawnIsWhatNobodyAnswersAnyMore(t *testing.T) {
	t.Parallel()
	for name, collected := range map[string]bool{"the host was removed": false, "the ingress was deleted": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			before := publication(attached(50, 50)...)
			r.publish(before)
			r.externalDNS(false)
			r.settle(before)
			if collected {
				r.collect(false)
			}
			for range 10 {
				r.waits(publication(), "still answers")
			}
			r.server.serve(false, nil)
			if took := r.settle(publication()); took > window+5*time.Second {
				t.Errorf("it took %s", took)
			}
			since := r.prior
			for range 2 {
				if status := r.publish(publication()); status != since || r.backend.Remembered() > 0 {
					t.Errorf("once the caller remembers it: %+v, want %+v; %d Ingresses are kept", status, since, r.backend.Remembered())
				}
			}
			r.restart()
			r.clock.Advance(time.Hour)
			if status := r.publish(publication()); status != since {
				t.Errorf("after a restart: %+v, want %+v", status, since)
			}
		})
	}
}

func TestWhatIsPutBackIsWithdrawnAnew(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	before := publication(attached(50, 50)...)
	r.publish(before)
	object := r.object()
	r.publish(publication())
	r.settle(publication())
	if _, err := r.kube.Resource(externaldns.Resource).Namespace(shop.Namespace).Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	r.externalDNS(false)
	r.waits(publication(), "still answers")
	r.server.serve(false, nil)
	if took := r.settle(publication()); took > window+5*time.Second {
		t.Errorf("it took %s", took)
	}
}

func TestWhatNobodyRemembersIsNotProven(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	before := publication(attached(50, 50)...)
	r.publish(before)
	r.externalDNS(false)
	r.settle(before)
	r.collect(false)
	r.restart()
	r.waits(publication(), "nobody remembers what it held")
	r.waits(publication(), "nobody remembers what it held")

	r.opts.AssumeSyncAfter = time.Minute
	r.restart()
	r.waits(publication(), "assumed to need 1m0s")
	r.clock.Advance(time.Minute)
	since := r.publish(publication())
	for range 2 {
		if status := r.publish(publication()); !status.InSync || !status.Assumed || status != since || r.backend.Remembered() > 0 {
			t.Errorf("%+v, want it assumed as in %+v; %d Ingresses are kept", status, since, r.backend.Remembered())
		}
	}
}

// That a change was begun to be waited for does not tell a new process what it was: nothing is asked, so nothing is proven.
func TestWhatWasWithdrawnBeforeARestartIsNotProven(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	before := publication(attached(50, 50)...)
	r.publish(before)
	r.externalDNS(false)
	r.settle(before)
	r.waits(publication(), "still answers")
	if r.prior.Change == "" {
		t.Fatal("the change has no name")
	}
	r.restart()
	for range 10 {
		r.waits(publication(), "nobody remembers what it held")
	}
}

func TestAnObjectWrittenAnewProvesItselfAnew(t *testing.T) {
	t.Parallel()
	for name, restart := range map[string]bool{"the same process": false, "another one": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			pub := publication(hostRecord(50))
			r.publish(pub)
			r.externalDNS(false)
			r.settle(pub)
			r.clock.Advance(time.Hour)
			r.collect(false) // external-dns has yet to see it
			if restart {
				r.restart()
			}
			r.waits(pub, "answers with an earlier change")
			r.externalDNS(false)
			if took := r.settle(pub); took > window+5*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}

func TestUpsertOnlyIsFoundOutEverywhere(t *testing.T) {
	t.Parallel()
	elsewhere := func(records []dns.Record) []dns.Record {
		for i := range records {
			records[i].Name = strings.Replace(records[i].Name, "www.", "shop.", 1)
			records[i].Targets = []string{strings.Replace(records[i].Targets[0], "www.", "shop.", 1)}
		}
		return records
	}
	hostname := func(canary int) []dns.Record {
		records := []dns.Record{
			{Name: "www.example.com", Type: dns.CNAME, SetIdentifier: cluster, Weight: 50, Targets: []string{inner}},
			{Name: inner, Type: dns.CNAME, SetIdentifier: dns.Primary, Weight: 50, Targets: []string{"one.example.org"}, TTL: 30 * time.Second},
		}
		if canary > 0 {
			records = append(records, dns.Record{Name: inner, Type: dns.CNAME, SetIdentifier: dns.Canary, Weight: canary, Targets: []string{"two.example.org"}, TTL: 30 * time.Second})
		}
		return records
	}
	named := func(records []dns.Record) []dns.Record { // the cluster is named as the canary's member is
		for i := range records {
			records[i].Name = strings.Replace(records[i].Name, "east.", "canary.", 1)
			records[i].Targets = []string{strings.Replace(records[i].Targets[0], "east.", "canary.", 1)}
		}
		records[0].SetIdentifier = "canary"
		return records
	}
	for name, tc := range map[string]struct {
		cluster       string
		restart       bool
		before, after []dns.Record
	}{
		"after a restart":                   {cluster, true, attached(50, 50), attached(100, 0)},
		"one load balancer for two hosts":   {cluster, false, append(attached(50, 50), elsewhere(attached(50, 50))...), append(attached(100, 0), elsewhere(attached(50, 50))...)},
		"hostnames":                         {cluster, false, hostname(50), hostname(0)},
		"a cluster with a member's name":    {"canary", false, named(attached(50, 50)), named(attached(100, 0))},
		"a restart and a change after it":   {cluster, true, attached(50, 50), attached(99, 0)},
		"a cluster's name, after a restart": {"canary", true, named(attached(50, 50)), named(attached(100, 0))},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			before, after := publication(tc.before...), publication(tc.after...)
			before.Cluster, after.Cluster = tc.cluster, tc.cluster
			r.publish(before)
			r.externalDNS(true)
			r.settle(before)
			r.publish(after)
			r.externalDNS(true)
			if tc.restart {
				r.restart()
				r.prior = dns.Status{}
			}
			for range 20 {
				if r.publish(after).InSync {
					t.Fatalf("in sync, although %v is still answered", r.server.records)
				}
				r.clock.Advance(5 * time.Second)
			}
			r.externalDNS(false)
			if took := r.settle(after); took > window+5*time.Second {
				t.Errorf("once deleted it took %s", took)
			}
		})
	}
}

func TestAWildcardIsNoMarker(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	wildcard := dns.Record{Name: "*.example.com", Type: dns.CNAME, SetIdentifier: cluster, Weight: 50, Targets: []string{"lb.example.org"}}
	both, one := publication(hostRecord(50), wildcard), publication(wildcard)
	r.publish(both)
	r.externalDNS(false)
	r.settle(both)
	r.publish(one)
	r.externalDNS(false)
	r.server.set(func(s *nameServer) { // https://www.rfc-editor.org/rfc/rfc4592
		s.records[markerName+" CNAME"] = []string{"lb.example.org"}
	})
	if took := r.settle(one); took > window+5*time.Second {
		t.Errorf("it took %s", took)
	}
}

func TestAssumedIsNeverTakenForProven(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.opts.AssumeSyncAfter = time.Minute
	r.restart()
	pub := publication(hostRecord(50))
	r.publish(pub)
	r.clock.Advance(time.Minute)
	r.publish(pub)
	r.opts.AssumeSyncAfter = 0
	r.restart()
	r.waits(pub, "has no marker")

	// Nor is what nobody asked a proof of.
	r.restart()
	r.prior = dns.Status{}
	pub.Prove = false
	if status := r.publish(pub); !status.InSync || !status.Assumed {
		t.Errorf("%+v, want it taken for granted, and said so", status)
	}
	pub.Prove = true
	r.waits(pub, "has no marker")
	r.restart()
	r.waits(pub, "has no marker")
}

func TestServersThatAreSilentCostAFixedTime(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.opts.QueryTimeout = 50 * time.Millisecond
	r.restart()
	r.server.set(func(s *nameServer) { s.silent = true })
	records := make([]dns.Record, 0, 200)
	for i := range 200 {
		record := hostRecord(50)
		record.Name = fmt.Sprintf("www-%d.example.com", i)
		records = append(records, record)
	}
	// 200 hosts one after another would be two questions of two attempts of 50 ms each.
	ctx, cancel := context.WithTimeout(t.Context(), 200*2*2*50*time.Millisecond/2)
	defer cancel()
	pub := publication(records...)
	pub.Prior = r.prior
	statuses, err := r.backend.Publish(ctx, pub)
	if err != nil || statuses[0].Err != nil || statuses[0].InSync {
		t.Fatalf("%+v, error %v", statuses, err)
	}
	if ctx.Err() != nil {
		t.Error("nothing is left of the caller's time")
	}
}
