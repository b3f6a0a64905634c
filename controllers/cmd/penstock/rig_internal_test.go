package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var update = flag.Bool("update", false, "write the golden files")

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// golden compares a text with a file.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s -want +got:\n%s", path, diff)
	}
}

// output is a writer that may be read meanwhile.
type output struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// on is a screen of a width; 0 is no terminal.
func on(out *output, width int) screen {
	return screen{out, func() int { return width }, width > 0}
}

// api is an API server that answers GET with what is at a path, and fails the test at everything else.
type api struct {
	t *testing.T

	mu    sync.Mutex // guards the following
	at    map[string]any
	asked []string
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = append(a.asked, r.URL.Path)
	if r.Method != http.MethodGet {
		a.t.Errorf("This command only reads.\n%s %s", r.Method, r.URL)
	}
	switch answer := a.at[r.URL.Path].(type) {
	case nil:
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		_, _ = fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404,"message":"not found"}`)
	case http.HandlerFunc:
		answer(w, r)
	case string:
		_, _ = fmt.Fprint(w, answer)
	default:
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer)
	}
}

func (a *api) serve() string {
	server := httptest.NewServer(a)
	a.t.Cleanup(server.Close)
	return server.URL
}

// writeKubeconfig returns the path of a kubeconfig whose contexts lead to servers; the first is the current one.
func writeKubeconfig(t *testing.T, namespace string, contexts ...[2]string) string {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: v1\nkind: Config\ncurrent-context: %s\nusers: [{name: u, user: {}}]\nclusters:\n", contexts[0][0])
	for _, c := range contexts {
		fmt.Fprintf(&b, "- {name: %s, cluster: {server: %q}}\n", c[0], c[1])
	}
	b.WriteString("contexts:\n")
	for _, c := range contexts {
		fmt.Fprintf(&b, "- {name: %s, context: {cluster: %s, user: u, namespace: %s}}\n", c[0], c[0], namespace)
	}
	path := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
