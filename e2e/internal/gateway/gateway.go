// Package gateway stands between a Kubernetes API and one of its clients. It adds the credentials, and lets requests go wrong as API
// servers do: refused, throttled, in conflict, without an answer, or applied with the answer lost.
package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// Fault is what happens to a request. The zero value lets it pass.
type Fault struct {
	// Status refuses the request with this HTTP status; 0 does not.
	Status int
	// Lost hands the request on, and answers as a gateway that got no answer in time: 504.
	Lost bool
	// Hold keeps the request until the channel is closed or the client gives up; nil does not.
	Hold <-chan struct{}
}

// Message is what every fault with an answer says.
const Message = "a fault that a test asked for"

// Gateway is a plain HTTP server on loopback. Use [New].
type Gateway struct {
	URL string

	server *http.Server
	proxy  *httputil.ReverseProxy
	ended  sync.WaitGroup

	mu     sync.Mutex // guards the following
	decide func(*http.Request) Fault
}

// New returns a gateway to the API of a configuration. The caller must Close it.
func New(ctx context.Context, config *rest.Config) (*Gateway, error) {
	target, err := url.Parse(config.Host)
	if err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	transport, err := rest.TransportFor(config)
	if err != nil {
		return nil, fmt.Errorf("gateway to %s: %w", config.Host, err)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("gateway to %s: %w", config.Host, err)
	}
	g := &Gateway{URL: "http://" + listener.Addr().String()}
	g.proxy = &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:     transport,
		FlushInterval: -1, // watches
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() == nil {
				refuse(w, http.StatusBadGateway, err.Error())
			}
		},
	}
	g.server = &http.Server{Handler: g, ReadHeaderTimeout: 10 * time.Second}
	g.ended.Go(func() { _ = g.server.Serve(listener) }) // it ends with ErrServerClosed
	return g, nil
}

// Close ends the server and its connections.
func (g *Gateway) Close() {
	_ = g.server.Close() // connections that are closed twice are no harm
	g.ended.Wait()
}

// Decide has a function say what happens to each request from now on; nil lets all pass.
func (g *Gateway) Decide(decide func(*http.Request) Fault) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.decide = decide
}

// ServeHTTP implements [http.Handler].
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	decide := g.decide
	g.mu.Unlock()
	var fault Fault
	if decide != nil {
		fault = decide(r)
	}
	if fault.Hold != nil {
		// The server notices that a client has gone only once the body has been read.
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the client went away
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		select {
		case <-fault.Hold:
		case <-r.Context().Done():
			return
		}
	}
	switch {
	case fault.Status != 0:
		refuse(w, fault.Status, Message)
	case fault.Lost:
		g.proxy.ServeHTTP(nowhere{http.Header{}}, r)
		refuse(w, http.StatusGatewayTimeout, Message+": the answer was lost")
	default:
		g.proxy.ServeHTTP(w, r)
	}
}

// nowhere takes an answer that nobody gets.
type nowhere struct{ header http.Header }

func (n nowhere) Header() http.Header             { return n.header }
func (nowhere) Write(content []byte) (int, error) { return len(content), nil }
func (nowhere) WriteHeader(int)                   {}

// reasons are those that an API server gives with a status, by which clients tell errors apart.
// https://kubernetes.io/docs/reference/using-api/api-concepts/#response-codes
var reasons = map[int]metav1.StatusReason{
	http.StatusConflict:            metav1.StatusReasonConflict,
	http.StatusTooManyRequests:     metav1.StatusReasonTooManyRequests,
	http.StatusInternalServerError: metav1.StatusReasonInternalError,
	http.StatusServiceUnavailable:  metav1.StatusReasonServiceUnavailable,
	http.StatusGatewayTimeout:      metav1.StatusReasonTimeout,
	http.StatusForbidden:           metav1.StatusReasonForbidden,
}

func refuse(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/json")
	if status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(status)
	// A client that went away is none of the gateway's business.
	_ = json.NewEncoder(w).Encode(metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"},
		Status:   metav1.StatusFailure, Code: int32(status), Reason: reasons[status], Message: message,
	})
}
