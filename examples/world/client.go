package world

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Answer is what a client saw of one request.
type Answer struct {
	Status int
	// Cluster, Workload and Version are those of the workload that answered; empty if none did.
	Cluster, Workload, Version string
	// Fault says that the workload was told to fail.
	Fault bool
	// Header is that of the answer.
	Header http.Header
}

// Client sends requests to proxies as users do. It keeps connections, and must be closed.
type Client struct{ http *http.Client }

// NewClient returns a client that gives up on a request after timeout. It follows no redirects.
func NewClient(timeout time.Duration) *Client {
	return NewClientWith(timeout, &http.Transport{MaxIdleConnsPerHost: 64})
}

// NewClientWith is NewClient with a transport of the caller's, whose connections are the caller's to close as well.
func NewClientWith(timeout time.Duration, transport http.RoundTripper) *Client {
	return &Client{http: &http.Client{
		Timeout:       timeout,
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Close closes the connections that are not in use.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Get asks the proxy at address (host:port) for a path of a host.
func (c *Client) Get(ctx context.Context, address, host, path string, header http.Header) (Answer, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, http.NoBody)
	if err != nil {
		return Answer{}, fmt.Errorf("request to %s%s: %w", host, path, err)
	}
	r.Host = host
	if header != nil {
		r.Header = header
	}
	return c.Do(r)
}

// Do sends a request. An answer of any status is an answer, not an error.
func (c *Client) Do(r *http.Request) (Answer, error) {
	response, err := c.http.Do(r)
	if err != nil {
		return Answer{}, fmt.Errorf("request to %s: %w", r.Host, err)
	}
	defer func() { _ = response.Body.Close() }() // it was read
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return Answer{}, fmt.Errorf("answer from %s: %w", r.Host, err)
	}
	return Answer{
		Status:   response.StatusCode,
		Cluster:  response.Header.Get(ClusterHeader),
		Workload: response.Header.Get(WorkloadHeader),
		Version:  response.Header.Get(VersionHeader),
		Fault:    response.Header.Get(FaultHeader) != "",
		Header:   response.Header,
	}, nil
}

// parallel is how many requests are under way at once when many are sent.
const parallel = 8

// Count sends n requests made by request, several at once, and counts the answers by workload, or by status ("404") where no workload
// answered with 200.
func (c *Client) Count(n int, request func() (*http.Request, error)) (map[string]int, error) {
	var (
		mu     sync.Mutex
		counts = map[string]int{}
		first  error
		left   atomic.Int64
		group  sync.WaitGroup
	)
	left.Store(int64(n))
	one := func() error {
		r, err := request()
		if err != nil {
			return err
		}
		answer, err := c.Do(r)
		if err != nil {
			return err
		}
		key := answer.Workload
		if answer.Status != http.StatusOK {
			key = fmt.Sprint(answer.Status)
		}
		mu.Lock()
		counts[key]++
		mu.Unlock()
		return nil
	}
	for range parallel {
		group.Go(func() {
			for left.Add(-1) >= 0 {
				if err := one(); err != nil {
					mu.Lock()
					first = err
					mu.Unlock()
					left.Store(0)
				}
			}
		})
	}
	group.Wait()
	return counts, first
}
