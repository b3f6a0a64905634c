package externaldns_test

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	mdns "github.com/miekg/dns"

	"github.com/penstock-dev/penstock/dns"
)

// zoneServer answers from the deepest of its own zones, and refers to those below them. One that has none is a resolver.
type zoneServer struct {
	t         *testing.T
	own       []string
	delegated map[string][]string // the name servers of each zone
	addresses map[string]string   // of name servers

	mu     sync.Mutex // guards the following
	cnames map[string]string
}

func (s *zoneServer) ServeDNS(w mdns.ResponseWriter, req *mdns.Msg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	question := req.Question[0]
	name := strings.TrimSuffix(question.Name, ".")
	reply := new(mdns.Msg)
	reply.SetReply(req)
	zones := make([]string, 0, len(s.delegated))
	for zone := range s.delegated {
		zones = append(zones, zone)
	}
	below, own := deepest(zones, name), deepest(s.own, name)
	reply.Authoritative = own != "" && own == below
	atApex := question.Qtype == mdns.TypeNS && name == below
	head := func(kind uint16, owner string) mdns.RR_Header {
		return mdns.RR_Header{Name: mdns.Fqdn(owner), Rrtype: kind, Class: mdns.ClassINET, Ttl: 5}
	}
	var servers []mdns.RR
	for _, ns := range s.delegated[below] {
		servers = append(servers, &mdns.NS{Hdr: head(mdns.TypeNS, below), Ns: mdns.Fqdn(ns)})
	}
	switch {
	case s.addresses[name] != "" && question.Qtype == mdns.TypeA:
		reply.Answer = append(reply.Answer, &mdns.A{Hdr: head(mdns.TypeA, name), A: net.ParseIP(s.addresses[name])})
	case len(s.own) == 0 && atApex:
		reply.Answer = servers
	case len(s.own) == 0:
	case !reply.Authoritative:
		reply.Ns = servers
	case s.cnames[name] != "":
		reply.Answer = append(reply.Answer, answer(mdns.Question{Name: question.Name, Qtype: mdns.TypeCNAME, Qclass: mdns.ClassINET}, s.cnames[name]))
	case atApex:
		reply.Answer = servers
	default:
		reply.Ns = append(reply.Ns, &mdns.SOA{Hdr: head(mdns.TypeSOA, own), Ns: "ns.example.net.", Mbox: "hostmaster.example.net."})
	}
	if err := w.WriteMsg(reply); err != nil {
		s.t.Logf("answer %s: %v", name, err)
	}
}

func deepest(zones []string, name string) (found string) {
	for _, zone := range zones {
		if mdns.IsSubDomain(mdns.Fqdn(zone), mdns.Fqdn(name)) && len(zone) > len(found) {
			found = zone
		}
	}
	return found
}

// serve runs a server for each of some addresses, at one port, which it returns.
func serve(t *testing.T, hosts []string, handlers []*zoneServer) (port string) {
	t.Helper()
	var packets []net.PacketConn
	for range 20 { // another program may have the port at one of the addresses
		var err error
		packets, port = nil, "0"
		for _, host := range hosts {
			var conn net.PacketConn
			if conn, err = net.ListenPacket("udp", net.JoinHostPort(host, port)); err != nil {
				break
			}
			packets = append(packets, conn)
			_, port, _ = net.SplitHostPort(conn.LocalAddr().String()) // an address that was listened at has a port
		}
		if err == nil {
			break
		}
		for _, conn := range packets {
			_ = conn.Close() // another port is tried
		}
		packets = nil
	}
	if packets == nil {
		t.Fatal("no port is free at all addresses")
	}
	for i, conn := range packets {
		run(t, &mdns.Server{PacketConn: conn, Handler: handlers[i]})
	}
	return port
}

// Servers that have a zone and the one above it answer from the deeper one without a referral. All servers of that are asked, and no other.
func TestServersThatHaveTheZoneAboveToo(t *testing.T) {
	t.Parallel()
	for name, below := range map[string]string{"all of them and one more": "abc", "one of them": "ac"} {
		for _, kind := range []dns.RecordType{dns.A, dns.CNAME} {
			t.Run(fmt.Sprintf("%s/%s", name, kind), func(t *testing.T) {
				t.Parallel()
				r := newRig(t)
				var hosts []string
				var servers []*zoneServer
				addresses, delegated := map[string]string{}, map[string][]string{"example.com": {"a.example.net", "b.example.net"}}
				for i, label := range "abc" {
					s := &zoneServer{t: t, delegated: delegated, addresses: addresses}
					hosts, servers = append(hosts, fmt.Sprintf("127.0.0.%d", i+1)), append(servers, s)
					addresses[string(label)+".example.net"] = hosts[i]
					if label != 'c' {
						s.own = append(s.own, "example.com")
					}
					if strings.ContainsRune(below, label) {
						s.own = append(s.own, "shop.example.com")
						delegated["shop.example.com"] = append(delegated["shop.example.com"], string(label)+".example.net")
					}
				}
				resolver := &zoneServer{t: t, delegated: delegated, addresses: addresses}
				port := serve(t, append(hosts, "127.0.0.4"), append(servers, resolver))
				restart := func() {
					r.restart()
					r.backend.Authorities(port, "127.0.0.4:"+port)
				}
				restart()
				record := hostRecord(50)
				record.Name, record.Type = "www.shop.example.com", kind
				if kind == dns.CNAME {
					record.Targets = []string{"lb.example.net"}
				}
				pub := publication(record)
				r.publish(pub)
				for _, s := range servers[:2] {
					s.serve(r)
				}
				restart()
				for range 12 {
					r.waits(pub, "c.example.net (127.0.0.3:"+port+") has no marker")
				}
				servers[2].serve(r)
				r.settle(pub)
			})
		}
	}
}

// serve makes a server answer with what the DNSEndpoint holds.
func (s *zoneServer) serve(r *rig) {
	r.t.Helper()
	cnames := map[string]string{}
	for _, e := range r.ingest(r.object()) {
		if e.RecordType == string(dns.CNAME) {
			cnames[e.DNSName] = e.Targets[0]
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cnames = cnames
}
