package externaldns_test

import (
	"strings"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

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
	r.opts.Resolvers = append(r.opts.Resolvers, second.address)
	r.restart()
	pub := publication(attached(95, 5)...)
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

func TestAuthoritativeServersAreFoundAndAsked(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.opts.Resolvers = nil
	r.restart()
	_, port, _ := strings.Cut(r.server.address, ":")
	r.backend.Authorities(port, r.server.address)
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
	if got := r.server.questions(markerName, "CNAME"); got != 2 {
		t.Errorf("%d checks in 10 s, want 2", got)
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
	r := newRig(t)
	pub := publication(hostRecord(50))
	r.publish(pub)
	r.clock.Advance(4 * time.Minute)
	r.waits(pub, "it is 4m0s old: look whether external-dns runs with --source=crd")
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
	r := newRig(t)
	r.server.set(func(s *nameServer) { s.cnames = map[string]string{"www.example.com": "example.org"} })
	cname := publication(dns.Record{Name: "www.example.com", Type: dns.CNAME, SetIdentifier: cluster, Weight: 50, Targets: []string{"example.org"}})
	if status := r.publish(cname); status.Err != nil {
		t.Fatalf("www.example.com is no apex: %v", status.Err)
	}
	r.externalDNS(false)
	if took := r.settle(cname); took > window+5*time.Second {
		t.Errorf("it took %s", took)
	}
}
