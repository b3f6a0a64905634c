package externaldns_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic/fake"

	"github.com/penstock-dev/penstock/dns"
	"github.com/penstock-dev/penstock/dns/externaldns"
	"github.com/penstock-dev/penstock/internal/vclock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	begin = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	shop  = types.NamespacedName{Namespace: "shop", Name: "web"}
)

const (
	cluster = "east"
	uid     = types.UID("0a1b2c3d-0000-4000-8000-000000000001")
)

// rig is a Backend on a fake clientset and a name server.
type rig struct {
	t       *testing.T
	kube    *fake.FakeDynamicClient
	clock   *vclock.Clock
	server  *nameServer
	backend *externaldns.Backend
	opts    externaldns.Options
	prior   dns.Status
}

func newRig(t *testing.T, objects ...runtime.Object) *rig {
	t.Helper()
	r := &rig{t: t, clock: vclock.New(begin), server: newNameServer(t)}
	r.kube = fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(),
		map[schema.GroupVersionResource]string{externaldns.Resource: "DNSEndpointList"}, objects...)
	r.opts = externaldns.Options{Clock: r.clock}
	r.restart()
	return r
}

// restart is what a new process begins with: nothing but what it can read.
func (r *rig) restart() {
	r.backend = externaldns.New(r.kube, zaptest.NewLogger(r.t).Sugar(), r.opts)
	if len(r.opts.Resolvers) == 0 {
		_, port, _ := strings.Cut(r.server.address, ":")
		r.backend.Authorities(port, r.server.address)
	}
}

func publication(records ...dns.Record) dns.Publication {
	return dns.Publication{Ingress: shop, IngressUID: uid, Cluster: cluster, Records: records, Prove: true}
}

// publish publishes as a publisher does: with the Status that it remembers.
func (r *rig) publish(pub dns.Publication) dns.Status {
	r.t.Helper()
	pub.Prior = r.prior
	statuses, err := r.backend.Publish(r.t.Context(), pub)
	if err != nil || len(statuses) != 1 {
		r.t.Fatalf("Publish: %d statuses, error %v", len(statuses), err)
	}
	if statuses[0].Err == nil {
		r.prior = statuses[0]
	}
	return statuses[0]
}

// settle publishes every 5 s until the records are in sync, and returns how long that took.
func (r *rig) settle(pub dns.Publication) time.Duration {
	r.t.Helper()
	from := r.clock.Now()
	for range 100 {
		status := r.publish(pub)
		if status.Err != nil {
			r.t.Fatal(status.Err)
		}
		if status.InSync {
			return r.clock.Since(from)
		}
		r.clock.Advance(5 * time.Second)
	}
	r.t.Fatalf("still not in sync: %s", r.prior.Reason)
	return 0
}

func (r *rig) object() *unstructured.Unstructured {
	r.t.Helper()
	object, err := r.kube.Resource(externaldns.Resource).Namespace(shop.Namespace).Get(r.t.Context(), shop.Name, metav1.GetOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	return object
}

// writes counts what the clientset was asked to change since the last call.
func (r *rig) writes() int {
	n := 0
	for _, action := range r.kube.Actions() {
		if verb := action.GetVerb(); verb != "get" && verb != "list" && verb != "watch" {
			n++
		}
	}
	r.kube.ClearActions()
	return n
}

// ingested is an entry of spec.endpoints as external-dns would read it.
type ingested struct {
	DNSName    string
	RecordType string
	Targets    []string
}

// externalDNS does what external-dns does with the DNSEndpoints: it makes the name server answer with them. With upsertOnly it deletes nothing.
func (r *rig) externalDNS(upsertOnly bool) {
	r.t.Helper()
	list, err := r.kube.Resource(externaldns.Resource).Namespace(shop.Namespace).List(r.t.Context(), metav1.ListOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	var all []ingested
	for i := range list.Items {
		all = append(all, r.ingest(&list.Items[i])...)
	}
	r.server.serve(upsertOnly, all)
}

func (r *rig) ingest(object *unstructured.Unstructured) []ingested {
	r.t.Helper()
	text, err := json.Marshal(object.Object["spec"])
	if err != nil {
		r.t.Fatal(err)
	}
	var spec struct{ Endpoints []ingested }
	if err := json.Unmarshal(text, &spec); err != nil {
		r.t.Fatal(err)
	}
	return spec.Endpoints
}

// nameServer is both a resolver and the authority for example.com.
type nameServer struct {
	t       *testing.T
	address string

	mu       sync.Mutex // guards the following
	records  map[string][]string
	turns    map[string]int // by question
	zones    []string
	rcode    int
	lame     bool
	tcpOnly  bool
	silent   bool
	watch    func() // is called for each question; nil for nobody
	asked    map[string]int
	sought   map[string]int    // by name, of a resolver
	garbled  map[string]bool   // questions of which a first answer was no DNS; nil for none
	dangling string            // a delegated zone of which resolvers know nothing
	ipv6     bool              // name servers have no IPv4 address
	apart    map[string]string // answers that another server would give
	cnames   map[string]string // names that lead to the apex of another zone
}

func newNameServer(t *testing.T) *nameServer {
	t.Helper()
	s := &nameServer{t: t, records: map[string][]string{}, turns: map[string]int{}, zones: []string{"example.com"}, asked: map[string]int{}, sought: map[string]int{}}
	listener, packets := listen(t)
	s.address = listener.Addr().String()
	run(t, &mdns.Server{Listener: listener, Handler: s})
	run(t, &mdns.Server{PacketConn: packets, Handler: s})
	return s
}

// run serves until the end of the test.
func run(t *testing.T, server *mdns.Server) {
	t.Helper()
	var running sync.WaitGroup
	t.Cleanup(running.Wait)
	started := make(chan struct{})
	server.NotifyStartedFunc = func() { close(started) }
	running.Go(func() {
		if err := server.ActivateAndServe(); err != nil {
			t.Error(err)
		}
	})
	<-started
	t.Cleanup(func() {
		if err := server.ShutdownContext(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
}

// listen returns the same port for TCP and UDP. The one that the system gives for the first may be taken for the second.
func listen(t *testing.T) (net.Listener, net.PacketConn) {
	t.Helper()
	var err error
	for range 20 {
		var listener net.Listener
		if listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			break
		}
		var packets net.PacketConn
		if packets, err = net.ListenPacket("udp", listener.Addr().String()); err == nil {
			return listener, packets
		}
		_ = listener.Close() // another one is tried
	}
	t.Fatal(err)
	return nil, nil
}

// set changes what the server does.
func (s *nameServer) set(change func(s *nameServer)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

func (s *nameServer) serve(upsertOnly bool, endpoints []ingested) {
	s.mu.Lock()
	defer s.mu.Unlock()
	records := map[string][]string{}
	for _, e := range endpoints {
		key := e.DNSName + " " + e.RecordType
		records[key] = append(records[key], e.Targets...)
	}
	if upsertOnly {
		for key, values := range s.records {
			for _, value := range values {
				kept := strings.Contains(key, "._penstock.") && len(records[key]) > 0 // an update, not a deletion
				if !kept && !slices.Contains(records[key], value) {
					records[key] = append(records[key], value)
				}
			}
		}
	}
	s.records = records
}

func (s *nameServer) ServeDNS(w mdns.ResponseWriter, req *mdns.Msg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, tcp := w.RemoteAddr().(*net.TCPAddr)
	question := req.Question[0]
	name, kind := strings.TrimSuffix(question.Name, "."), mdns.TypeToString[question.Qtype]
	reply := new(mdns.Msg)
	reply.SetReply(req)
	reply.Authoritative = !s.lame
	s.asked[name+" "+kind]++
	if s.watch != nil {
		s.watch()
	}
	if req.RecursionDesired {
		s.sought[name]++
	}
	if key := fmt.Sprint(name, kind, req.RecursionDesired); s.garbled != nil && !tcp && !s.garbled[key] {
		s.garbled[key] = true
		if _, err := w.Write([]byte("?")); err != nil {
			s.t.Logf("answer %s: %v", name, err)
		}
		return
	}
	switch {
	case s.silent:
		return
	case s.rcode != 0:
		reply.Rcode = s.rcode
	case s.tcpOnly && !tcp:
		reply.Truncated = true
	case !req.RecursionDesired && s.delegated(name) != "":
		reply.Authoritative = false
		reply.Ns = append(reply.Ns, &mdns.NS{
			Hdr: mdns.RR_Header{Name: mdns.Fqdn(s.delegated(name)), Rrtype: mdns.TypeNS, Class: mdns.ClassINET, Ttl: 5}, Ns: "ns.example.org.",
		})
	case kind == "NS":
		owner := question.Name
		if target, ok := s.cnames[name]; ok {
			reply.Answer = append(reply.Answer, &mdns.CNAME{
				Hdr: mdns.RR_Header{Name: owner, Rrtype: mdns.TypeCNAME, Class: mdns.ClassINET, Ttl: 5}, Target: mdns.Fqdn(target),
			})
			owner = mdns.Fqdn(target)
		}
		if owner != question.Name || slices.Contains(s.zones, name) && name != s.dangling {
			for _, ns := range []string{"ns1.example.net.", "ns2.example.net."} {
				hdr := header(question)
				hdr.Name = owner
				reply.Answer = append(reply.Answer, &mdns.NS{Hdr: hdr, Ns: ns})
			}
		}
	case strings.HasSuffix(name, ".example.net") && s.ipv6:
		if kind == "AAAA" { // the same address, as IPv6 writes it
			reply.Answer = append(reply.Answer, &mdns.AAAA{Hdr: header(question), AAAA: net.IPv4(127, 0, 0, 1)})
		}
	case strings.HasSuffix(name, ".example.net") && kind == "A":
		reply.Answer = append(reply.Answer, &mdns.A{Hdr: header(question), A: net.IPv4(127, 0, 0, 1)})
	default:
		values := s.records[name+" "+kind]
		if other, ok := s.apart[name]; ok {
			values = []string{other}
		}
		if len(values) > 0 {
			s.turns[name+kind]++
			reply.Answer = append(reply.Answer, answer(question, values[s.turns[name+kind]%len(values)]))
		}
	}
	if err := w.WriteMsg(reply); err != nil {
		s.t.Logf("answer %s: %v", name, err)
	}
}

// delegated returns the zone below example.com in which a name lies; its own servers are others.
func (s *nameServer) delegated(name string) string {
	for _, zone := range s.zones {
		if zone != "example.com" && mdns.IsSubDomain(mdns.Fqdn(zone), mdns.Fqdn(name)) {
			return zone
		}
	}
	return ""
}

func header(q mdns.Question) mdns.RR_Header {
	return mdns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: mdns.ClassINET, Ttl: 5}
}

func answer(q mdns.Question, value string) mdns.RR {
	if q.Qtype == mdns.TypeCNAME {
		return &mdns.CNAME{Hdr: header(q), Target: mdns.Fqdn(value)}
	}
	ip := net.IP(netip.MustParseAddr(value).AsSlice())
	if q.Qtype == mdns.TypeA {
		return &mdns.A{Hdr: header(q), A: ip}
	}
	return &mdns.AAAA{Hdr: header(q), AAAA: ip}
}

// resolved returns how often a resolver was asked for a name, whatever of it.
func (s *nameServer) resolved(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sought[name]
}

// questions returns how often a name was asked for.
func (s *nameServer) questions(name, kind string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[name+" "+kind]
}
