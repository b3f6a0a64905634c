package route53emulator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"
	"k8s.io/utils/clock"
)

// Options configure a Server. The zero value is one name server that serves each change at once, no throttling.
type Options struct {
	// Clock tells when changes are in sync and when request buckets refill; nil means the real one.
	Clock clock.Clock
	// SyncDelay is how long a change is PENDING. Route 53 usually needs up to 60 s:
	// https://docs.aws.amazon.com/Route53/latest/APIReference/API_GetChange.html
	SyncDelay time.Duration
	// NameServers is the number of authoritative DNS servers; 0 means 1.
	NameServers int
	// Lag is the additional delay of each name server, by index; those that are missing have none. A change is INSYNC when
	// the last of them serves it.
	Lag []time.Duration
	// ProcessingTime is how long after a change to a zone another one gets PriorRequestNotComplete; 0 means never.
	// https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/DNSLimitations.html
	ProcessingTime time.Duration
	// ChangeRetention is how long after its submission a change is known to GetChange; 0 means for ever.
	ChangeRetention time.Duration
	// Throttle switches the request buckets of Route 53 on: 10 requests a second, bursts of 50, less for some operations.
	Throttle bool
	// Seed makes the choices among weighted records reproducible.
	Seed uint64
}

// Server is a running emulator. Use [New]. Its methods may be called from several goroutines.
type Server struct {
	opts     Options
	endpoint string
	http     *http.Server
	dns      []*nameServer
	running  sync.WaitGroup

	random   *rand.Rand // guarded by randomMu
	randomMu sync.Mutex

	mu           sync.RWMutex // guards what follows
	zones        map[string]*zone
	served       []*zone // those of zones, and deleted ones that a name server may still serve; in order of creation
	changes      map[string]*change
	healthChecks map[string]*healthCheck // copied on write: name servers read it without the lock
	balancers    map[name]*balancer      // copied on write
	syncDelay    time.Duration
	hold         bool
	sequence     int
	faults       faults
}

// New starts an emulator on loopback ports. The caller must Close it.
func New(opts Options) (*Server, error) {
	if opts.Clock == nil {
		opts.Clock = clock.RealClock{}
	}
	opts.NameServers = max(1, opts.NameServers)
	s := &Server{
		opts:         opts,
		random:       rand.New(rand.NewPCG(opts.Seed, opts.Seed)),
		zones:        map[string]*zone{},
		changes:      map[string]*change{},
		healthChecks: map[string]*healthCheck{},
		balancers:    map[name]*balancer{},
		syncDelay:    opts.SyncDelay,
		faults:       newFaults(),
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the route 53 API: %w", err)
	}
	s.endpoint = "http://" + listener.Addr().String()
	s.http = &http.Server{
		Handler: s.handler(), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 20 * time.Second,
		WriteTimeout: 20 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 64 << 10,
	}
	s.running.Go(func() {
		// Serve returns ErrServerClosed after Close, and an error only when the listener breaks, which clients notice.
		_ = s.http.Serve(listener)
	})
	for i := range opts.NameServers {
		var lag time.Duration
		if i < len(opts.Lag) {
			lag = opts.Lag[i]
		}
		ns, err := s.startNameServer(lag)
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		s.dns = append(s.dns, ns)
	}
	return s, nil
}

// Close stops all servers, cuts their connections, and waits until they have ended.
func (s *Server) Close() error {
	err := s.http.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for _, ns := range s.dns {
		err = errors.Join(err, ns.close(ctx))
	}
	s.running.Wait()
	if err != nil {
		return fmt.Errorf("close the route 53 emulator: %w", err)
	}
	return nil
}

// Endpoint is the URL of the API.
func (s *Server) Endpoint() string { return s.endpoint }

// NameServers are the addresses of the authoritative DNS servers, over UDP and TCP.
func (s *Server) NameServers() []string {
	addresses := make([]string, len(s.dns))
	for i, ns := range s.dns {
		addresses[i] = ns.address
	}
	return addresses
}

// Config configures an SDK client for the emulator: static credentials with the given access key id, no retries, and
// nothing read from files or the environment.
func (s *Server) Config(accessKeyID string) aws.Config {
	return aws.Config{
		Region:       "us-east-1",
		Credentials:  credentials.NewStaticCredentialsProvider(accessKeyID, "secret", ""),
		BaseEndpoint: aws.String(s.endpoint),
		Retryer:      func() aws.Retryer { return aws.NopRetryer{} },
	}
}

// AddZone creates a hosted zone that is in sync at once, and returns its id.
func (s *Server) AddZone(zoneName string) (id string, err error) {
	n, err := parseName(zoneName)
	if err != nil {
		return "", fmt.Errorf("add hosted zone: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	z := s.newZone(n, "")
	z.versions[0].change.held, z.versions[0].change.ready = false, time.Time{}
	return z.id, nil
}

// Seed upserts record sets that are in sync at once, as if they had been there for long. Route 53's rules apply. It must
// not be mixed with changes of the zone that are still PENDING: those become visible with it.
func (s *Server) Seed(zoneID string, sets ...types.ResourceRecordSet) error {
	batch := &xmlBatch{}
	for _, set := range sets {
		x := fromSDK(set)
		batch.Changes = append(batch.Changes, xmlChange{Action: actionUpsert, ResourceRecordSet: &x})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	z := s.zones[zoneID]
	if z == nil {
		return fmt.Errorf("seed: there is no hosted zone %q", zoneID)
	}
	next, refused := apply(z, batch, surroundings{s.healthChecks, s.balancers})
	if refused != nil {
		return fmt.Errorf("seed hosted zone %s: %s: %s", z.name, refused.code, strings.Join(append(refused.messages, refused.message), "; "))
	}
	z.versions = []version{{next, &change{}}}
	return nil
}

// RecordSets returns all record sets of a zone as the API would list them, without counting as a call; nil if there is no
// such zone.
func (s *Server) RecordSets(zoneID string) []types.ResourceRecordSet {
	s.mu.RLock()
	defer s.mu.RUnlock()
	z := s.zones[zoneID]
	if z == nil {
		return nil
	}
	var sets []types.ResourceRecordSet
	for _, set := range z.latest().sorted() {
		sets = append(sets, sdkRecordSet(set))
	}
	return sets
}

// SetSyncDelay changes how long changes that are submitted from now on are PENDING.
func (s *Server) SetSyncDelay(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.syncDelay = d
}

// HoldChanges keeps all changes that are submitted while it is on PENDING. When it is switched off, their delay begins.
func (s *Server) HoldChanges(hold bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hold = hold
	if hold {
		return
	}
	ready := s.opts.Clock.Now().Add(s.syncDelay)
	for _, z := range s.served {
		for _, v := range z.versions {
			if v.change.held {
				v.change.held, v.change.ready = false, ready
			}
		}
	}
}

// ForgetChanges makes all changes so far unknown to GetChange; they reach the name servers nevertheless.
func (s *Server) ForgetChanges() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changes = map[string]*change{}
}

// maxLag is the lag of the slowest name server.
func (s *Server) maxLag() time.Duration {
	return max(0, slices.Max(append(slices.Clone(s.opts.Lag), 0)))
}

// id makes the next identifier; s.mu is held.
func (s *Server) id(format string) string {
	s.sequence++
	return fmt.Sprintf(format, s.sequence)
}

// newChange registers a change that is submitted now; s.mu is held.
func (s *Server) newChange(comment string) *change {
	now := s.opts.Clock.Now()
	c := &change{id: s.id("C%013d"), comment: comment, submitted: now, ready: now.Add(s.syncDelay), held: s.hold}
	s.changes[c.id] = c
	return c
}

// newZone adds a zone with the record sets that each has from the start; s.mu is held.
// https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/SOA-NSrecords.html
func (s *Server) newZone(n name, comment string) *zone {
	z := &zone{id: s.id("Z%013d"), name: n, comment: comment, tags: map[string]string{}}
	apex := []*recordSet{
		{key: key{name: n, recordType: "NS"}, ttl: 172800, values: s.nameServerNames()},
		{key: key{name: n, recordType: "SOA"}, ttl: 900, values: []string{s.nameServerNames()[0] + " hostmaster.example.com. 1 7200 900 1209600 86400"}},
	}
	z.versions = []version{{newRecords(map[name][]*recordSet{n: apex}), s.newChange(comment)}}
	s.zones[z.id] = z
	s.served = append(slices.Clone(s.served), z)
	return z
}

// nameServerNames are the hostnames in NS records. They do not resolve: use NameServers.
func (s *Server) nameServerNames() []string {
	names := make([]string, s.opts.NameServers)
	for i := range names {
		names[i] = fmt.Sprintf("ns-%d.example.com.", i+1)
	}
	return names
}

// with returns a copy of m in which k has the value v.
func with[K comparable, V any](m map[K]V, k K, v V) map[K]V {
	next := maps.Clone(m)
	next[k] = v
	return next
}
