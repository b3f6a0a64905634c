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

	mu        sync.Mutex                   // guards the following
	recorders map[string]*traffic.Recorder // by namespace
	unknown   []string                     // queries that could not be answered
}

// New returns a server on loopback. The caller must Close it.
func New(ctx context.Context) (*Server, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("prometheus: %w", err)
	}
	s := &Server{address: listener.Addr().String(), recorders: map[string]*traffic.Recorder{}}
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

// Register says what the clients of a namespace measure.
func (s *Server) Register(namespace string, r *traffic.Recorder) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.recorders[word(namespace)] = r
}

// Unknown returns the queries that were not understood.
func (s *Server) Unknown() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unknown
}

// word is how Skipper's routes and Flagger's queries write a name.
func word(name string) string { return strings.NewReplacer("-", "_", ".", "_").Replace(name) }

// The queries of Flagger v1.44.0: https://github.com/fluxcd/flagger/blob/v1.44.0/pkg/metrics/observers/skipper.go
var (
	route    = regexp.MustCompile(`kube\(ew\)\?_(\w+?)__\w+_canary__\.\*__(\w+)_canary\(_\[0-9\]\+\)\?`)
	interval = regexp.MustCompile(`\[(\w+)\]`)
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
	if query == "vector(1)" {
		return 1, true, nil
	}
	names, span := route.FindStringSubmatch(query), interval.FindStringSubmatch(query)
	s.mu.Lock()
	defer s.mu.Unlock()
	if names == nil || span == nil || s.recorders[names[1]] == nil {
		s.unknown = append(s.unknown, query)
		return 0, false, fmt.Errorf("nobody measures %q", query)
	}
	length, err := time.ParseDuration(span[1])
	if err != nil {
		return 0, false, fmt.Errorf("interval of %q: %w", query, err)
	}
	now := time.Now()
	var total, good int
	var took time.Duration
	for _, sample := range s.recorders[names[1]].Between(now.Add(-length), now) {
		if sample.Cell.Cluster != cluster || word(sample.Workload) != names[2] {
			continue
		}
		total++
		took += sample.End.Sub(sample.Start)
		if !sample.Fault && sample.Err == nil {
			good++
		}
	}
	switch {
	case total == 0:
		return 0, false, nil
	case strings.Contains(query, "skipper_response_duration_seconds_bucket"):
		return 100 * float64(good) / float64(total), true, nil
	case strings.Contains(query, "skipper_serve_route_duration_seconds_sum"):
		return float64(took.Milliseconds()) / float64(total), true, nil
	}
	s.unknown = append(s.unknown, query)
	return 0, false, fmt.Errorf("query %q is none of Flagger's", query)
}
