package users_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
	"go.uber.org/goleak"

	"github.com/penstock-dev/penstock/examples/demo/internal/measure"
	"github.com/penstock-dev/penstock/examples/demo/internal/users"
	"github.com/penstock-dev/penstock/examples/world"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// answers starts a DNS server that answers every question with what records returns.
func answers(t *testing.T, records func() string) *users.Resolver {
	t.Helper()
	conn, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{})
	server := &mdns.Server{
		PacketConn:        conn,
		NotifyStartedFunc: func() { close(started) },
		Handler: mdns.HandlerFunc(func(w mdns.ResponseWriter, query *mdns.Msg) {
			answer := new(mdns.Msg).SetReply(query)
			if text := records(); text != "" {
				record, err := mdns.NewRR(text)
				if err != nil {
					t.Error(err)
				}
				answer.Answer = []mdns.RR{record}
			}
			_ = w.WriteMsg(answer)
		}),
	}
	done := make(chan error, 1)
	go func() { done <- server.ActivateAndServe() }()
	<-started
	t.Cleanup(func() {
		if err := server.Shutdown(); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return &users.Resolver{Server: conn.LocalAddr().String()}
}

func TestLookup(t *testing.T) {
	t.Parallel()
	resolver := answers(t, func() string { return "app.example.com. 7 IN A 192.0.2.1" })
	addr, ttl, err := resolver.Lookup(t.Context(), "app.example.com")
	if err != nil || addr != netip.MustParseAddr("192.0.2.1") || ttl != 7*time.Second {
		t.Errorf("Lookup = %v, %v, %v; want 192.0.2.1 for 7 s", addr, ttl, err)
	}

	empty := answers(t, func() string { return "" })
	if _, _, err := empty.Lookup(t.Context(), "app.example.com"); err == nil || !strings.Contains(err.Error(), "NOERROR without an A record") {
		t.Errorf("Lookup of a name without records: %v, want an error that says so", err)
	}
}

func TestCrowdObeysTTL(t *testing.T) {
	t.Parallel()
	var queries, requests atomic.Int64
	resolver := answers(t, func() string {
		queries.Add(1)
		return "app.example.com. 3600 IN A 192.0.2.1"
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "app.example.com" {
			t.Errorf("a request for host %q", r.Host)
		}
		w.Header().Set(world.ClusterHeader, "east")
		w.Header().Set(world.VersionHeader, "v1")
		switch n := requests.Add(1); {
		case n == 50:
			cancel()
		case n == 20:
			w.WriteHeader(http.StatusBadGateway)
		case n%10 == 0:
			w.Header().Set(world.FaultHeader, "true")
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	defer server.Close()
	ledger := measure.New(time.Second, time.Now)
	ledger.Begin("all", nil, measure.Shares{{Cluster: "east", Version: "v1"}: 1})
	ledger.Steady()
	crowd := &users.Crowd{
		Users: 3, Pause: time.Millisecond, Host: "app.example.com", Resolver: resolver, Ledger: ledger,
		Dial: map[netip.Addr]string{netip.MustParseAddr("192.0.2.1"): server.Listener.Addr().String()},
	}
	crowd.Run(ctx)

	stage := ledger.Report().Stages[0]
	if queries.Load() != 3 || stage.Trials() != 3 {
		t.Errorf("%d queries and %d samples, want one for each of 3 users: the answer may be kept for an hour", queries.Load(), stage.Trials())
	}
	if stage.Failures != 1 || stage.Faults != 3 {
		t.Errorf("%d failures and %d faults, want the 502 as the only failure and the three faults that were made", stage.Failures, stage.Faults)
	}
	if stage.Requests < 45 {
		t.Errorf("%d requests were recorded, want all but those under way at the end of 50", stage.Requests)
	}
}

func TestCrowdReportsFailures(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		reason, record, want string
	}{
		"No answer":       {reason: "A name that does not resolve is a failed request.", want: "without an A record"},
		"Unknown address": {reason: "So is an address where nobody listens.", record: "app.example.com. 1 IN A 203.0.113.9", want: "no cluster has this address"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var queries atomic.Int64
			resolver := answers(t, func() string {
				if queries.Add(1) == 2 {
					cancel()
				}
				return tc.record
			})
			ledger := measure.New(time.Second, time.Now)
			ledger.Begin("all", nil, nil)
			// A pause beyond the TTL, so that each request needs a new answer.
			crowd := &users.Crowd{Users: 1, Pause: 700 * time.Millisecond, Host: "app.example.com", Resolver: resolver, Ledger: ledger}
			crowd.Run(ctx)
			r := ledger.Report()
			if r.Stages[0].Failures == 0 || len(r.Reasons) == 0 || !strings.Contains(r.Reasons[0].Error(), tc.want) {
				t.Errorf("%s\nfailures %d, reasons %v; want one that says %q", tc.reason, r.Stages[0].Failures, r.Reasons, tc.want)
			}
		})
	}
}
