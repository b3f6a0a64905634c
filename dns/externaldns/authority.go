package externaldns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	mdns "github.com/miekg/dns"
	"k8s.io/utils/clock"

	"github.com/penstock-dev/penstock/dns"
)

const (
	// zoneTTL is how long the name servers of a zone are remembered.
	zoneTTL = 5 * time.Minute
	// udpSize is the largest UDP answer: https://www.dnsflagday.net/2020/
	udpSize = 1232
	// attempts is how often a query is sent, since UDP may lose one.
	attempts = 2
	// resolvConf names the system's resolvers: https://man7.org/linux/man-pages/man5/resolv.conf.5.html
	resolvConf = "/etc/resolv.conf"
)

// errUnanswered is of a server that gave no usable answer.
var errUnanswered = errors.New("no usable answer")

// asker asks name servers.
type asker struct {
	clock   clock.PassiveClock
	timeout time.Duration
	// resolvers find zones; the system's if empty. With recursive they are those that are asked for markers, and zones are not looked for.
	resolvers []string
	recursive bool
	// port of authoritative servers; "53" if empty.
	port string

	mu     sync.Mutex // guards the following
	zones  map[string]knownZone
	pruned time.Time
}

// zone is a DNS zone and who answers for it.
type zone struct {
	name    string
	servers []server
}

type knownZone struct {
	zone
	until time.Time
}

// server is one that must have a change.
type server struct {
	name      string // for people
	address   string // host:port
	recursive bool   // a resolver, which need not be an authority
}

// serversOf returns those who must answer with a marker. A marker in another zone than what it vouches for proves nothing, and an alias
// cannot lead there.
func (a *asker) serversOf(ctx context.Context, m marker) ([]server, error) {
	marked, err := a.zone(ctx, m.of)
	if err != nil || a.recursive {
		return marked.servers, err
	}
	deeper, err := a.deeper(ctx, marked, m.name)
	if err != nil {
		return nil, err
	}
	if deeper != "" {
		return nil, fmt.Errorf("%s lies in zone %s, but %s in zone %s: what stands below a host must be in its zone; remove the deeper zone",
			m.name, deeper, m.of, marked.name)
	}
	return marked.servers, nil
}

// deeper returns the zone below z in which a name lies; empty when it lies in z. It asks the servers of z, since a resolver would remember that the name
// does not exist yet. Those that have the deeper zone as well refer nobody to it, but answer from it.
func (a *asker) deeper(ctx context.Context, z zone, name string) (string, error) {
	key := name + " in " + z.name
	if known, ok := a.knownZone(key); ok {
		return known.name, nil
	}
	errs := []error{fmt.Errorf("zone %s: %w: it has no servers", z.name, errUnanswered)}
	for i, s := range z.servers {
		if i == 0 {
			errs = nil
		}
		reply, err := a.exchange(ctx, s, name, mdns.TypeNS)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		found := ""
		switch _, parent, _ := strings.Cut(name, "."); {
		case !isAlias(reply, name):
			found = cut(reply, z, name)
		case parent != z.name: // a CNAME stands at no apex, so it is in its parent's zone
			if found, err = a.deeper(ctx, z, parent); err != nil {
				return "", err
			}
		}
		a.know(key, zone{name: found})
		return found, nil
	}
	return "", errors.Join(errs...)
}

// isAlias tells whether a name is a CNAME.
func isAlias(reply *mdns.Msg, name string) bool {
	return slices.ContainsFunc(reply.Answer, func(rr mdns.RR) bool {
		return rr.Header().Rrtype == mdns.TypeCNAME && strings.EqualFold(rr.Header().Name, mdns.Fqdn(name))
	})
}

// cut returns the zone below z in which a name lies, as a server of z says it: a referral and the apex have NS records, and what else there is to say about a
// name that has none comes with the SOA record of its zone. It is empty when the name lies in z.
func cut(reply *mdns.Msg, z zone, name string) string {
	found := ""
	for _, rr := range slices.Concat(reply.Ns, reply.Answer) {
		at, kind := plain(rr.Header().Name), rr.Header().Rrtype
		below := at != z.name && mdns.IsSubDomain(mdns.Fqdn(z.name), mdns.Fqdn(at)) && mdns.IsSubDomain(mdns.Fqdn(at), mdns.Fqdn(name))
		if below && (kind == mdns.TypeNS || kind == mdns.TypeSOA) {
			found = at
		}
	}
	return found
}

// zone finds the zone of a name. That may not exist yet, and a resolver that is asked for it then would remember that, and tell so those who ask for the name
// later. So resolvers are asked for what stands far above it, and then the servers of that for a zone on the way down. Where only resolvers may be asked,
// they are all that is known of the zone.
func (a *asker) zone(ctx context.Context, name string) (zone, error) {
	if a.recursive {
		return zone{servers: a.given()}, nil
	}
	name = strings.TrimPrefix(name, "*.")
	labels := strings.Split(name, ".")
	found, err := a.closest(ctx, strings.Join(labels[max(len(labels)-2, 0):], ".")) // nobody has hosts in a top-level domain
	for err == nil && found.name != name {
		var next string
		if next, err = a.deeper(ctx, found, name); err != nil || next == "" {
			break
		}
		if found, err = a.closest(ctx, next); err == nil && found.name != next {
			err = fmt.Errorf("%w: zone %s is delegated, but has no NS records: remove the delegation, or add the records", errUnanswered, next)
		}
	}
	if err != nil {
		return zone{}, fmt.Errorf("find the zone of %s: %w", name, err)
	}
	return found, nil
}

// closest finds the zone of a name that exists: the closest name at or above it that has NS records.
func (a *asker) closest(ctx context.Context, name string) (zone, error) {
	if known, ok := a.knownZone(name); ok {
		return known, nil
	}
	answer, err := a.resolve(ctx, name, mdns.TypeNS)
	if err != nil {
		return zone{}, err
	}
	var found zone
	for _, rr := range answer {
		if ns, ok := rr.(*mdns.NS); ok && strings.EqualFold(ns.Hdr.Name, mdns.Fqdn(name)) { // another owner's are those behind a CNAME
			found.name = name
			found.servers = append(found.servers, server{name: plain(ns.Ns)})
		}
	}
	_, parent, below := strings.Cut(name, ".")
	switch {
	case found.name != "":
		if found.servers, err = a.locate(ctx, found); err != nil {
			return zone{}, err
		}
	case !below:
		return zone{}, fmt.Errorf("%w: nothing above it has NS records", errUnanswered)
	default:
		if found, err = a.closest(ctx, parent); err != nil {
			return zone{}, err
		}
	}
	a.know(name, found)
	return found, nil
}

// given returns the configured resolvers.
func (a *asker) given() []server {
	servers := make([]server, 0, len(a.resolvers))
	for _, address := range a.resolvers {
		servers = append(servers, server{name: "resolver", address: address, recursive: true})
	}
	return servers
}

// locate returns whom to ask about a zone: each of its name servers at one of its addresses or more, IPv4 first, since IPv6 is often not routed where
// Pods run.
func (a *asker) locate(ctx context.Context, z zone) ([]server, error) {
	var servers []server
	port := a.port
	if port == "" {
		port = "53"
	}
	for _, ns := range z.servers {
		addresses, err := a.addresses(ctx, ns.name)
		if err != nil {
			return nil, fmt.Errorf("name server %s of zone %s: %w", ns.name, z.name, err)
		}
		for _, address := range addresses {
			servers = append(servers, server{name: ns.name, address: net.JoinHostPort(address, port)})
		}
	}
	slices.SortFunc(servers, func(s, t server) int { return strings.Compare(s.name+s.address, t.name+t.address) })
	return servers, nil
}

func (a *asker) addresses(ctx context.Context, host string) ([]string, error) {
	for _, kind := range []uint16{mdns.TypeA, mdns.TypeAAAA} {
		answer, err := a.resolve(ctx, host, kind)
		if err != nil {
			return nil, err
		}
		var found []string
		for _, rr := range answer {
			switch rr := rr.(type) {
			case *mdns.A:
				found = append(found, rr.A.String())
			case *mdns.AAAA:
				found = append(found, rr.AAAA.String())
			}
		}
		if len(found) > 0 {
			return found, nil
		}
	}
	return nil, fmt.Errorf("%w: it has no address", errUnanswered)
}

// resolve asks the resolvers one after another, until one knows, or knows that there is nothing.
func (a *asker) resolve(ctx context.Context, name string, kind uint16) ([]mdns.RR, error) {
	resolvers := a.resolvers
	if len(resolvers) == 0 {
		config, err := mdns.ClientConfigFromFile(resolvConf)
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", errUnanswered, resolvConf, err)
		}
		for _, host := range config.Servers {
			resolvers = append(resolvers, net.JoinHostPort(host, config.Port))
		}
	}
	errs := []error{fmt.Errorf("%w: no resolver is configured", errUnanswered)}
	if len(resolvers) > 0 {
		errs = nil
	}
	for _, address := range resolvers {
		reply, err := a.query(ctx, server{name: "resolver", address: address, recursive: true}, name, kind)
		if err == nil {
			return reply.Answer, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// exchange sends one question, over TCP when the answer does not fit into UDP, and returns whatever is answered.
func (a *asker) exchange(ctx context.Context, s server, name string, kind uint16) (reply *mdns.Msg, err error) {
	question := new(mdns.Msg)
	question.SetQuestion(mdns.Fqdn(name), kind)
	question.RecursionDesired = s.recursive
	question.SetEdns0(udpSize, false)
	for range attempts {
		udp := &mdns.Client{Timeout: a.timeout, UDPSize: udpSize}
		reply, _, err = udp.ExchangeContext(ctx, question, s.address)
		if err == nil && reply.Truncated {
			tcp := &mdns.Client{Net: "tcp", Timeout: a.timeout}
			reply, _, err = tcp.ExchangeContext(ctx, question, s.address)
		}
		if err == nil || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w from %s (%s) for %s: %w", errUnanswered, s.name, s.address, name, withoutPorts(err))
	}
	if reply.Rcode != mdns.RcodeSuccess && reply.Rcode != mdns.RcodeNameError {
		return nil, fmt.Errorf("%w from %s (%s) for %s: %s", errUnanswered, s.name, s.address, name, mdns.RcodeToString[reply.Rcode])
	}
	return reply, nil
}

// withoutPorts is an error of the network without the addresses of its connection: our own port is another one each time, and people are told anew of what
// reads differently.
func withoutPorts(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return fmt.Errorf("%s: %w", op.Op, op.Err)
	}
	return err
}

// query is exchange with one who must know.
func (a *asker) query(ctx context.Context, s server, name string, kind uint16) (*mdns.Msg, error) {
	reply, err := a.exchange(ctx, s, name, kind)
	if err == nil && !s.recursive && !reply.Authoritative {
		return nil, fmt.Errorf("%w from %s (%s) for %s: it is not an authority for the zone", errUnanswered, s.name, s.address, name)
	}
	return reply, err
}

// hasMarker returns an error unless a server answers with the marker.
func (a *asker) hasMarker(ctx context.Context, s server, m marker) error {
	reply, err := a.query(ctx, s, m.name, mdns.TypeCNAME)
	if err != nil {
		return err
	}
	for _, rr := range reply.Answer {
		if cname, ok := rr.(*mdns.CNAME); ok && strings.EqualFold(cname.Hdr.Name, mdns.Fqdn(m.name)) {
			if plain(cname.Target) == m.target {
				return nil
			}
			return fmt.Errorf("%s (%s) answers with an earlier change of %s", s.name, s.address, m.of)
		}
	}
	return fmt.Errorf("%s (%s) has no marker %s of %s yet", s.name, s.address, m.name, m.of)
}

// lacks returns an error while a server gives an answer that should be gone. A marker with the target theirs, which may be empty, is another one.
func (a *asker) lacks(ctx context.Context, s server, gone absence, theirs string) error {
	reply, err := a.query(ctx, s, gone.name, mdns.StringToType[string(gone.kind)])
	if err != nil {
		return err
	}
	for _, rr := range reply.Answer {
		if strings.EqualFold(rr.Header().Name, mdns.Fqdn(gone.name)) && gone.is(rr, theirs) {
			return fmt.Errorf("%s (%s) still answers %s, which was deleted: external-dns must run with --policy=sync, since upsert-only keeps what should go",
				s.name, s.address, gone)
		}
	}
	return nil
}

// is tells whether a record is what should be gone. A wildcard may give other answers in its place, and so may the marker of another Ingress.
func (a absence) is(rr mdns.RR, theirs string) bool {
	switch rr := rr.(type) {
	case *mdns.CNAME:
		target := plain(rr.Target)
		return a.kind == dns.CNAME && (target == a.value || a.value == "" && target != theirs && markerTarget.MatchString(target))
	case *mdns.A:
		return a.kind == dns.A && rr.A.String() == a.value
	case *mdns.AAAA:
		return a.kind == dns.AAAA && rr.AAAA.String() == a.value
	}
	return false
}

func (a *asker) knownZone(name string) (zone, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	known, ok := a.zones[name]
	return known.zone, ok && a.clock.Now().Before(known.until)
}

// know remembers a zone, and now and then forgets those whose time is over.
func (a *asker) know(name string, z zone) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.clock.Now()
	if a.zones == nil {
		a.zones = map[string]knownZone{}
	}
	if now.Sub(a.pruned) >= zoneTTL {
		a.pruned = now
		for name, known := range a.zones {
			if !now.Before(known.until) {
				delete(a.zones, name)
			}
		}
	}
	a.zones[name] = knownZone{z, now.Add(zoneTTL)}
}

// plain is a name as records have it.
func plain(name string) string { return strings.TrimSuffix(strings.ToLower(name), ".") }
