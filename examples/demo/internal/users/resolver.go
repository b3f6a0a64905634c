// Package users are the clients of the demo: they resolve a host by real DNS queries, keep the answer for its TTL and no longer, and
// send real requests to the address they got.
package users

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	mdns "github.com/miekg/dns"
)

// Resolver asks one authoritative server, and keeps nothing.
type Resolver struct {
	// Server is the host:port of the server.
	Server string
	client mdns.Client
}

// lookupTimeout bounds one query over UDP on loopback.
const lookupTimeout = 2 * time.Second

// Lookup returns an address of host, and how long it may be kept. Weighted record sets answer with one of their records.
func (r *Resolver) Lookup(ctx context.Context, host string) (netip.Addr, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	query := new(mdns.Msg).SetQuestion(mdns.Fqdn(host), mdns.TypeA)
	answer, _, err := r.client.ExchangeContext(ctx, query, r.Server)
	if err != nil {
		return netip.Addr{}, 0, fmt.Errorf("ask %s for %s: %w", r.Server, host, err)
	}
	for _, record := range answer.Answer {
		a, ok := record.(*mdns.A)
		if !ok {
			continue
		}
		addr, ok := netip.AddrFromSlice(a.A.To4())
		if !ok {
			return netip.Addr{}, 0, fmt.Errorf("ask %s for %s: the answer %s holds no address", r.Server, host, record)
		}
		return addr, time.Duration(a.Hdr.Ttl) * time.Second, nil
	}
	return netip.Addr{}, 0, fmt.Errorf("ask %s for %s: %s without an A record", r.Server, host, mdns.RcodeToString[answer.Rcode])
}
