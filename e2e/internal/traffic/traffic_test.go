package traffic_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/penstock-dev/penstock/e2e/internal/cluster"
	"github.com/penstock-dev/penstock/e2e/internal/traffic"
	"github.com/penstock-dev/penstock/examples/world"
)

const patience = time.Minute

var (
	first  = netip.MustParseAddr("192.0.2.1")
	second = netip.MustParseAddr("192.0.2.2")
)

// network is a name server, and two load balancers that say who they are.
type network struct {
	answer atomic.Pointer[netip.Addr] // nil refuses
	status atomic.Int64               // of the load balancers
}

// newClients returns clients of a network, which work until the test ends.
func newClients(t *testing.T, n *network, ttl time.Duration) *traffic.Clients {
	t.Helper()
	conn, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &mdns.Server{PacketConn: conn, Handler: mdns.HandlerFunc(func(w mdns.ResponseWriter, q *mdns.Msg) {
		reply := new(mdns.Msg).SetReply(q)
		if address := n.answer.Load(); address != nil {
			header := mdns.RR_Header{Name: q.Question[0].Name, Rrtype: mdns.TypeA, Class: mdns.ClassINET, Ttl: uint32(ttl / time.Second)}
			reply.Answer = append(reply.Answer, &mdns.A{Hdr: header, A: address.AsSlice()})
		} else {
			reply.Rcode = mdns.RcodeRefused
		}
		_ = w.WriteMsg(reply) // a client that went away
	})}
	var running sync.WaitGroup
	running.Go(func() { _ = server.ActivateAndServe() }) // it ends with the connection
	c := &traffic.Clients{
		Host: "www.example.com", Server: conn.LocalAddr().String(), Dial: map[netip.Addr]string{}, Recorder: &traffic.Recorder{},
		Samplers: 2, Users: 2, Pause: time.Millisecond,
	}
	for address, name := range map[netip.Addr]string{first: "first", second: "second"} {
		lb := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set(world.ClusterHeader, name)
			w.Header().Set(cluster.ScaledDownHeader, "true")
			w.WriteHeader(int(n.status.Load()))
		}))
		t.Cleanup(lb.Close)
		c.Dial[address] = lb.Listener.Addr().String()
	}
	ctx, stop := context.WithCancel(t.Context())
	running.Go(func() { c.Run(ctx) })
	t.Cleanup(func() {
		stop()
		_ = server.Shutdown() // it may not have begun
		_ = conn.Close()      // so that it ends in any case
		running.Wait()
	})
	return c
}

// until waits for a sample.
func until(t *testing.T, c *traffic.Clients, what string, is func(traffic.Sample) bool) {
	t.Helper()
	from := time.Now()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		if slices.ContainsFunc(c.Recorder.Between(from, time.Now()), is) {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("no sample %s", what)
		}
	}
}

// Users keep an answer for its TTL, samplers ask for each request.
func TestUsersObeyTheTTL(t *testing.T) {
	t.Parallel()
	n := &network{}
	n.answer.Store(&first)
	n.status.Store(http.StatusOK)
	begun := time.Now()
	c := newClients(t, n, time.Hour)
	for _, fresh := range []bool{true, false} {
		until(t, c, "at the first address", func(s traffic.Sample) bool { return s.Fresh == fresh && s.Cell.Cluster == "first" && s.Err == nil })
	}
	switched := time.Now()
	n.answer.Store(&second)
	until(t, c, "of a sampler at the second address", func(s traffic.Sample) bool { return s.Fresh && s.Cell.Cluster == "second" })
	until(t, c, "of a user", func(s traffic.Sample) bool { return !s.Fresh })
	for _, s := range c.Recorder.All() {
		if !s.Fresh && s.Cell.Cluster != "first" {
			t.Fatalf("a user went to %q before the TTL was over", s.Cell.Cluster)
		}
		if !s.ScaledDown {
			t.Fatal("what the pod said of itself is lost")
		}
	}
	if until := c.Recorder.UsableUntil(first, time.Now()); until.After(time.Now().Add(time.Hour)) || until.Before(switched.Add(time.Hour-patience)) {
		t.Errorf("the first address is usable until %s, want an hour from when it was answered last", until)
	}
	for _, address := range []netip.Addr{first, second} {
		if until := c.Recorder.UsableUntil(address, begun); !until.IsZero() {
			t.Errorf("%s is usable until %s before it was ever answered", address, until)
		}
	}
}

// With a TTL of zero a user asks for each request, too.
func TestUsersFollowDNS(t *testing.T) {
	t.Parallel()
	n := &network{}
	n.answer.Store(&first)
	n.status.Store(http.StatusOK)
	c := newClients(t, n, 0)
	until(t, c, "of a user at the first address", func(s traffic.Sample) bool { return !s.Fresh && s.Cell.Cluster == "first" })
	n.answer.Store(&second)
	until(t, c, "of a user at the second address", func(s traffic.Sample) bool { return !s.Fresh && s.Cell.Cluster == "second" })
}

// What fails is in the samples, whoever failed.
func TestFailures(t *testing.T) {
	t.Parallel()
	elsewhere := netip.MustParseAddr("192.0.2.3")
	for name, n := range map[string]func(*network){
		"DNSRefuses":     func(n *network) { n.answer.Store(nil) },
		"NoLoadBalancer": func(n *network) { n.answer.Store(&elsewhere) },
		"Status503":      func(n *network) { n.status.Store(http.StatusServiceUnavailable) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			network := &network{}
			network.answer.Store(&first)
			network.status.Store(http.StatusOK)
			n(network)
			c := newClients(t, network, 0)
			until(t, c, "with an error", func(s traffic.Sample) bool { return s.Err != nil })
			if counts := traffic.Counts(c.Recorder.All()); len(counts) > 0 {
				t.Errorf("counts %v of requests that failed", counts)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	a, b, c := traffic.Cell{Cluster: "a"}, traffic.Cell{Cluster: "b"}, traffic.Cell{Cluster: "c"}
	half := map[traffic.Cell]float64{a: 0.5, b: 0.5}
	for name, tc := range map[string]struct {
		counts map[traffic.Cell]int
		wrong  bool
	}{
		"Exact":         {map[traffic.Cell]int{a: 500, b: 500}, false},
		"Chance":        {map[traffic.Cell]int{a: 550, b: 450}, false}, // 3.2 standard errors
		"TooFar":        {map[traffic.Cell]int{a: 600, b: 400}, true},  // 6.3
		"NotIntended":   {map[traffic.Cell]int{a: 500, b: 499, c: 1}, true},
		"NothingThere":  {map[traffic.Cell]int{}, false},
		"OneOnly":       {map[traffic.Cell]int{a: 1000}, true},
		"OneOnlyOfFew":  {map[traffic.Cell]int{a: 10}, false}, // 3.2
		"OneOnlyOfMany": {map[traffic.Cell]int{a: 100}, true}, // 10
	} {
		deviation, err := traffic.Check(tc.counts, half)
		if (err != nil) != tc.wrong {
			t.Errorf("%s: %.1f standard errors, error %v", name, deviation, err)
		}
	}
}
