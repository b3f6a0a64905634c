// Package prometheus answers the queries that Flagger makes for Skipper's routes, from what clients measured.
package prometheus

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/penstock-dev/penstock/e2e/internal/traffic"
)

// Server is a stub of Prometheus for several clusters. Use [New].
type Server struct {
	address string
	server  *http.Server
	ended   sync.WaitGroup

	mu        sync.Mutex // guards the following
	recorders map[*traffic.Recorder]bool
	unknown   []string // queries that could not be answered
}

// New returns a server on loopback. The caller must Close it.
func New(ctx context.Context) (*Server, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("prometheus: %w", err)
	}
	s := &Server{address: listener.Addr().String(), recorders: map[*traffic.Recorder]bool{}}
	s.server = &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	s.ended.Go(func() { _ = s.server.Serve(listener) }) // it ends with ErrServerClosed
	return s, nil
}

// Close ends the server.
func (s *Server) Close() {
	_ = s.server.Close() // connections that are closed twice are no harm
	s.ended.Wait()
}

// URL is where the Prometheus of a cluster is.
func (s *Server) URL(cluster string) string { return "http://" + s.address + "/" + cluster }

// Register adds what some clients measure, until the returned function is called.
func (s *Server) Register(r *traffic.Recorder) (forget func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.recorders[r] = true
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.recorders, r)
	}
}

// Unknown returns the queries that were not understood.
func (s *Server) Unknown() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unknown
}

// The queries of Flagger v1.44.0: https://github.com/fluxcd/flagger/blob/v1.44.0/pkg/metrics/observers/skipper.go
var (
	successRate = regexp.MustCompile(`^sum\(rate\(skipper_response_duration_seconds_bucket\{route=~"([^"]+)",code!~"5\.\.",le="\+Inf"\}\[(\w+)\]\)\)\s*/` +
		`\s*sum\(rate\(skipper_response_duration_seconds_bucket\{route=~"([^"]+)",le="\+Inf"\}\[(\w+)\]\)\)\s*\*\s*100$`)
	duration = regexp.MustCompile(`^sum\(rate\(skipper_serve_route_duration_seconds_sum\{route=~"([^"]+)"\}\[(\w+)\]\)\)\s*/` +
		`\s*sum\(rate\(skipper_serve_route_duration_seconds_count\{route=~"([^"]+)"\}\[(\w+)\]\)\)\s*\*\s*1000$`)
)

// ServeHTTP answers /<cluster>/api/v1/query.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	cluster, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if path != "api/v1/query" {
		http.NotFound(w, r)
		return
	}
	value, known, err := s.answer(cluster, r.URL.Query().Get("query"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	type sample struct {
		Metric map[string]string `json:"metric"`
		Value  [2]any            `json:"value"`
	}
	result := []sample{}
	if known {
		result = append(result, sample{map[string]string{}, [2]any{time.Now().Unix(), fmt.Sprint(value)}})
	}
	w.Header().Set("Content-Type", "application/json")
	// A client that went away is none of the server's business.
	_ = json.NewEncoder(w).Encode(map[string]any{"status": "success", "data": map[string]any{"resultType": "vector", "result": result}})
}

// answer returns the value of a query; known is false where nothing was measured.
func (s *Server) answer(cluster, query string) (value float64, known bool, err error) {
	query = strings.TrimSpace(query)
	if query == "vector(1)" { // Flagger's question whether there is a Prometheus
		return 1, true, nil
	}
	rate, took := successRate.FindStringSubmatch(query), duration.FindStringSubmatch(query)
	match := rate
	if match == nil {
		match = took
	}
	if match == nil || match[1] != match[3] || match[2] != match[4] {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.unknown = append(s.unknown, query)
		return 0, false, fmt.Errorf("query %q is none of Flagger's for Skipper", query)
	}
	routes, err := regexp.Compile("^(?:" + match[1] + ")$") // as Prometheus anchors it
	if err != nil {
		return 0, false, fmt.Errorf("routes of %q: %w", query, err)
	}
	interval, err := time.ParseDuration(match[2])
	if err != nil {
		return 0, false, fmt.Errorf("interval of %q: %w", query, err)
	}
	var total, good int
	var sum time.Duration
	for _, sample := range s.samples(interval) {
		if sample.Cell.Cluster != cluster || !routes.MatchString(sample.Route) {
			continue
		}
		total++
		sum += sample.End.Sub(sample.Start)
		if !sample.Fault && sample.Err == nil {
			good++
		}
	}
	switch {
	case total == 0:
		return 0, false, nil
	case rate != nil:
		return 100 * float64(good) / float64(total), true, nil
	default:
		return 1000 * sum.Seconds() / float64(total), true, nil
	}
}

// samples returns those of all clients within the last time.
func (s *Server) samples(within time.Duration) []traffic.Sample {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	var all []traffic.Sample
	for recorder := range s.recorders {
		all = append(all, recorder.Between(now.Add(-within), now)...)
	}
	return all
}
