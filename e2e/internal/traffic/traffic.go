// Package traffic is what the tests' clients do and see.
//
// Samplers resolve the host anew for each request, so their requests are independent of each other: shares are judged by them. Users keep an
// answer for its TTL and a connection for as long as it lasts, as browsers do: they find out whether anybody is sent to what is gone.
package traffic

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/penstock-dev/penstock/e2e/internal/cluster"
	"github.com/penstock-dev/penstock/examples/stats"
	"github.com/penstock-dev/penstock/examples/world"
)

// Cell is where a request may end.
type Cell struct{ Cluster, Version string }

// Sample is one request and its answer.
type Sample struct {
	Start, End time.Time
	Cell       Cell
	Workload   string
	Route      string // of Skipper
	Fresh      bool   // resolved for this request alone
	Address    netip.Addr
	Fault      bool // the pod was told to fail
	ScaledDown bool // by a pod that should get no request any more
	Err        error
}

// Recorder keeps what clients saw. Its zero value is empty.
type Recorder struct {
	mu      sync.Mutex // guards the following
	samples []Sample
	answers map[netip.Addr][]answer // of DNS, by the address in them
}

// answer is when DNS was asked, and until when what it answered may be used.
type answer struct{ at, until time.Time }

// Add adds a sample.
func (r *Recorder) Add(s Sample) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.samples = append(r.samples, s)
}

func (r *Recorder) answered(address netip.Addr, at, until time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.answers == nil {
		r.answers = map[netip.Addr][]answer{}
	}
	r.answers[address] = append(r.answers[address], answer{at, until})
}

// UsableUntil returns until when a client that obeys the TTL may use an address that it was answered with before a time; zero if none was.
func (r *Recorder) UsableUntil(address netip.Addr, before time.Time) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	var until time.Time
	for _, a := range r.answers[address] {
		if a.at.Before(before) && a.until.After(until) {
			until = a.until
		}
	}
	return until
}

// Between returns the samples that began and ended within a time.
func (r *Recorder) Between(from, to time.Time) []Sample {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []Sample
	for _, s := range r.samples {
		if !s.Start.Before(from) && !s.End.After(to) {
			out = append(out, s)
		}
	}
	return out
}

// All returns all samples.
func (r *Recorder) All() []Sample {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.samples)
}

// Counts are fresh samples by where they ended.
func Counts(samples []Sample) map[Cell]int {
	counts := map[Cell]int{}
	for _, s := range samples {
		if s.Fresh && s.Err == nil {
			counts[s.Cell]++
		}
	}
	return counts
}

// Check compares counts with the shares that are intended, 0 to 1. What is not intended should get nothing. It returns the largest deviation,
// in standard errors.
func Check(counts map[Cell]int, intended map[Cell]float64) (largest float64, err error) {
	trials := 0
	cells := maps.Clone(intended)
	for cell, n := range counts {
		trials += n
		cells[cell] = intended[cell]
	}
	var errs []error
	for cell, share := range cells {
		sample := stats.Sample{Hits: counts[cell], Trials: trials}
		largest = max(largest, sample.StandardErrors(share))
		if err := sample.Check(share); err != nil {
			errs = append(errs, fmt.Errorf("%s %s: %w", cell.Cluster, cell.Version, err))
		}
	}
	return largest, errors.Join(errs...)
}

// Clients are samplers and users of one host.
type Clients struct {
	Host string
	// Server is the name server, host:port. Dial maps the addresses that it answers with to where load balancers really listen.
	Server   string
	Dial     map[netip.Addr]string
	Recorder *Recorder
	// Samplers and Users are how many there are; Pause is what each waits between two requests.
	Samplers, Users int
	Pause           time.Duration
}

const (
	requestTimeout = 5 * time.Second
	lookupTimeout  = 2 * time.Second
)

// Run lets them work until ctx ends.
func (c *Clients) Run(ctx context.Context) {
	var running sync.WaitGroup
	for range c.Samplers {
		running.Go(func() { c.work(ctx, true) })
	}
	for range c.Users {
		running.Go(func() { c.work(ctx, false) })
	}
	running.Wait()
}

func (c *Clients) work(ctx context.Context, fresh bool) {
	transport := &http.Transport{DisableKeepAlives: fresh, DialContext: c.dial}
	defer transport.CloseIdleConnections()
	client := world.NewClientWith(requestTimeout, transport)
	defer client.Close()
	ticker := time.NewTicker(c.Pause)
	defer ticker.Stop()
	var address netip.Addr
	var until time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		s := Sample{Start: time.Now(), Fresh: fresh}
		if fresh || !s.Start.Before(until) {
			var ttl time.Duration
			if address, ttl, s.Err = c.lookup(ctx); s.Err == nil {
				// The TTL counts from when the server answered, and that was after the question.
				until = s.Start.Add(ttl)
				c.Recorder.answered(address, s.Start, until)
			}
		}
		if s.Err == nil {
			s.Address = address
			c.request(ctx, client, &s)
		}
		if ctx.Err() != nil {
			return // what failed because the test ends did not fail
		}
		s.End = time.Now()
		c.Recorder.Add(s)
	}
}

func (c *Clients) request(ctx context.Context, client *world.Client, s *Sample) {
	answer, err := client.Get(ctx, net.JoinHostPort(s.Address.String(), "80"), c.Host, "/", nil)
	if err != nil {
		s.Err = err
		return
	}
	s.Cell = Cell{answer.Cluster, answer.Version}
	s.Workload, s.Fault = answer.Workload, answer.Fault
	s.Route = answer.Header.Get(world.RouteHeader)
	s.ScaledDown = answer.Header.Get(cluster.ScaledDownHeader) != ""
	if answer.Status != http.StatusOK && !answer.Fault {
		s.Err = fmt.Errorf("%s at %s: status %d", c.Host, s.Address, answer.Status)
	}
}

// Get resolves the host anew and asks for a path of it.
func (c *Clients) Get(ctx context.Context, path string) (world.Answer, error) {
	address, _, err := c.lookup(ctx)
	if err != nil {
		return world.Answer{}, err
	}
	client := world.NewClientWith(requestTimeout, &http.Transport{DisableKeepAlives: true, DialContext: c.dial})
	defer client.Close()
	return client.Get(ctx, net.JoinHostPort(address.String(), "80"), c.Host, path, nil)
}

func (c *Clients) dial(ctx context.Context, network, address string) (net.Conn, error) {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", address, err)
	}
	target, ok := c.Dial[at.Addr()]
	if !ok {
		return nil, fmt.Errorf("dial %s: no load balancer has this address", address)
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, network, target)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", address, err)
	}
	return conn, nil
}

// lookup asks for the host's address, and for how long it may be used.
func (c *Clients) lookup(ctx context.Context) (netip.Addr, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	client := mdns.Client{Timeout: lookupTimeout}
	reply, _, err := client.ExchangeContext(ctx, new(mdns.Msg).SetQuestion(mdns.Fqdn(c.Host), mdns.TypeA), c.Server)
	if err != nil {
		return netip.Addr{}, 0, fmt.Errorf("ask for %s: %w", c.Host, err)
	}
	for _, rr := range reply.Answer {
		if a, ok := rr.(*mdns.A); ok {
			address, _ := netip.AddrFromSlice(a.A.To4())
			return address, time.Duration(a.Hdr.Ttl) * time.Second, nil
		}
	}
	return netip.Addr{}, 0, fmt.Errorf("ask for %s: %s, without an address", c.Host, mdns.RcodeToString[reply.Rcode])
}
