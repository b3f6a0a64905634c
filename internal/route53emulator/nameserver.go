package route53emulator

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	mdns "github.com/miekg/dns"
)

const (
	// dnsTimeout bounds reading and writing of one DNS message.
	dnsTimeout = 5 * time.Second
	// udpSize is the largest UDP answer: https://www.dnsflagday.net/2020/
	udpSize = 1232
	// portAttempts bounds the search for a port that is free in both UDP and TCP.
	portAttempts = 20
)

// nameServer is one authoritative DNS server, over UDP and TCP on one port.
type nameServer struct {
	address  string
	udp, tcp *mdns.Server
}

// startNameServer starts a DNS server that serves each change with the given lag.
func (s *Server) startNameServer(lag time.Duration) (*nameServer, error) {
	packets, listener, err := listenBoth()
	if err != nil {
		return nil, err
	}
	handler := mdns.HandlerFunc(func(w mdns.ResponseWriter, req *mdns.Msg) {
		_, tcp := w.RemoteAddr().(*net.TCPAddr)
		_ = w.WriteMsg(reply(s.view(lag), req, tcp)) // a client that has gone needs no answer
	})
	ns := &nameServer{
		address: listener.Addr().String(),
		udp:     &mdns.Server{PacketConn: packets, Handler: handler, ReadTimeout: dnsTimeout, WriteTimeout: dnsTimeout},
		tcp:     &mdns.Server{Listener: listener, Handler: handler, ReadTimeout: dnsTimeout, WriteTimeout: dnsTimeout},
	}
	for _, server := range []*mdns.Server{ns.udp, ns.tcp} {
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		s.running.Go(func() {
			// It returns when it is shut down, and with an error when its socket breaks, which clients notice.
			_ = server.ActivateAndServe()
		})
		<-started
	}
	return ns, nil
}

// listenBoth listens on one loopback port for UDP and TCP.
func listenBoth() (net.PacketConn, net.Listener, error) {
	var last error
	for range portAttempts {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, nil, fmt.Errorf("listen for DNS over TCP: %w", err)
		}
		packets, err := net.ListenPacket("udp", listener.Addr().String())
		if err == nil {
			return packets, listener, nil
		}
		last = errors.Join(err, listener.Close())
	}
	return nil, nil, fmt.Errorf("listen for DNS over UDP: no port was free in %d attempts: %w", portAttempts, last)
}

// close stops the server and waits for the answers that are being written.
func (ns *nameServer) close(ctx context.Context) error {
	if err := errors.Join(ns.udp.ShutdownContext(ctx), ns.tcp.ShutdownContext(ctx)); err != nil {
		return fmt.Errorf("stop name server %s: %w", ns.address, err)
	}
	return nil
}

// view returns what a name server with the given lag knows now.
func (s *Server) view(lag time.Duration) *view {
	s.mu.RLock()
	defer s.mu.RUnlock()
	v := &view{zones: make(map[name]servedZone, len(s.served)), healthChecks: s.healthChecks, balancers: s.balancers, pick: s.pick}
	now := s.opts.Clock.Now()
	for _, z := range s.served {
		if _, taken := v.zones[z.name]; taken {
			continue // of several zones of one name, the oldest is served: all share the name servers
		}
		if records := z.at(now, lag); records != nil {
			v.zones[z.name] = servedZone{z.id, z.name, records}
		}
	}
	return v
}

// pick returns a random number in [0, n).
func (s *Server) pick(n int) int {
	s.randomMu.Lock()
	defer s.randomMu.Unlock()
	return s.random.IntN(n)
}

// reply answers a DNS message from a view.
func reply(v *view, req *mdns.Msg, tcp bool) *mdns.Msg {
	m := new(mdns.Msg)
	m.SetReply(req)
	size := mdns.MinMsgSize
	if opt := req.IsEdns0(); opt != nil {
		size = min(max(size, int(opt.UDPSize())), udpSize)
		m.SetEdns0(udpSize, false)
		if opt.Version() != 0 {
			m.SetRcode(req, mdns.RcodeBadVers)
			return m
		}
	}
	switch {
	case req.Opcode != mdns.OpcodeQuery:
		m.Rcode = mdns.RcodeNotImplemented
	case len(req.Question) != 1:
		m.Rcode = mdns.RcodeFormatError
	default:
		v.answer(m, req.Question[0])
	}
	if tcp {
		size = mdns.MaxMsgSize
	}
	m.Truncate(size)
	return m
}
