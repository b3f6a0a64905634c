package users

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/penstock-dev/penstock/examples/demo/internal/measure"
	"github.com/penstock-dev/penstock/examples/world"
)

// Crowd is a number of users of one host.
type Crowd struct {
	// Users is how many there are, and Pause how long each waits between two requests, on average.
	Users int
	Pause time.Duration
	Host  string
	// Resolver answers where the host is; Dial maps the addresses that it answers to where their proxies really listen, host:port.
	Resolver *Resolver
	Dial     map[netip.Addr]string
	Ledger   *measure.Ledger
	// Seed makes the pauses of the users the same on each run.
	Seed uint64
}

// requestTimeout is how patient a user is.
const requestTimeout = 5 * time.Second

// Run lets the users work until ctx ends, and returns when the last one has gone home.
func (c *Crowd) Run(ctx context.Context) {
	transport := &http.Transport{
		MaxIdleConnsPerHost: c.Users,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			target, err := c.target(address)
			if err != nil {
				return nil, err
			}
			var d net.Dialer
			conn, err := d.DialContext(ctx, network, target)
			if err != nil {
				return nil, fmt.Errorf("dial %s for %s: %w", target, address, err)
			}
			return conn, nil
		},
	}
	defer transport.CloseIdleConnections()
	client := world.NewClientWith(requestTimeout, transport)
	var group sync.WaitGroup
	for i := range c.Users {
		u := user{crowd: c, client: client, random: rand.New(rand.NewPCG(c.Seed, uint64(i)))}
		group.Go(func() { u.run(ctx) })
	}
	group.Wait()
}

func (c *Crowd) target(address string) (string, error) {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return "", fmt.Errorf("dial %s: %w", address, err)
	}
	target, ok := c.Dial[at.Addr()]
	if !ok {
		return "", fmt.Errorf("dial %s: no cluster has this address", address)
	}
	return target, nil
}

// user is one user with a cache of one name.
type user struct {
	crowd  *Crowd
	client *world.Client
	random *rand.Rand

	address netip.Addr
	expires time.Time
	ticket  measure.Ticket
}

func (u *user) run(ctx context.Context) {
	// They do not all come at once.
	timer := time.NewTimer(time.Duration(u.random.Float64() * float64(u.crowd.Pause)))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		result, err := u.request(ctx)
		if ctx.Err() != nil {
			return // what failed because the demo ends did not fail
		}
		u.crowd.Ledger.Record(result, err)
		timer.Reset(time.Duration((0.5 + u.random.Float64()) * float64(u.crowd.Pause)))
	}
}

// request sends one request, to the address at hand if it may still be used. The error says why the result is a failure.
func (u *user) request(ctx context.Context) (measure.Result, error) {
	fresh := false
	if now := time.Now(); !now.Before(u.expires) {
		u.ticket = u.crowd.Ledger.Ticket()
		address, ttl, err := u.crowd.Resolver.Lookup(ctx, u.crowd.Host)
		if err != nil {
			return measure.Result{Failed: true}, err
		}
		// The TTL counts from when the server sent its answer, and that was after now.
		u.address, u.expires, fresh = address, now.Add(ttl), true
	}
	answer, err := u.client.Get(ctx, netip.AddrPortFrom(u.address, world.ServicePort).String(), u.crowd.Host, "/", nil)
	if err != nil {
		return measure.Result{Failed: true}, err
	}
	result := measure.Result{
		Cell:   measure.Cell{Cluster: answer.Cluster, Version: answer.Version},
		Fresh:  fresh,
		Ticket: u.ticket,
		Fault:  answer.Fault,
		Failed: answer.Status != http.StatusOK && !answer.Fault,
	}
	if result.Failed {
		return result, fmt.Errorf("%s answered with status %d", u.address, answer.Status)
	}
	return result, nil
}
