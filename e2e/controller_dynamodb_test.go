package e2e_test

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-dev/penstock/e2e/internal/table"
	"github.com/penstock-dev/penstock/e2e/internal/traffic"
)

// startTable starts a table for the weights of clusters, which ends after whatever the test starts from now on.
func startTable(t *testing.T) *table.Table {
	t.Helper()
	log, err := os.Create(filepath.Join(world.logs, strings.ToLower(t.Name())+"-dynamodb.log"))
	must(t, err)
	t.Cleanup(func() { _ = log.Close() }) // the tests read it no more
	weights, err := table.Start(t.Context(), program("dynoxide"), log)
	must(t, err)
	t.Cleanup(weights.Close)
	return weights
}

// way leads a cluster's controller to the table, and sees what it does to the row. It can be closed, as if DynamoDB were not available.
type way struct {
	site    *site
	url     string
	metrics string // the port of the controller's
	next    *httputil.ReverseProxy

	mu     sync.Mutex // guards the following
	closed bool
	seen   seen
}

// seen is what a controller has asked of the table.
type seen struct {
	reads, creations, refusals int
	// acknowledged is each CurrentWeight that the row had, and early are those of them that DNS did not have when they were written.
	acknowledged, early []int
}

// toTable returns what has the cluster's controller use the table. The first call makes the way.
func (s *site) toTable() (env, flags []string) {
	t := s.app.t
	t.Helper()
	if s.way == nil {
		target, err := url.Parse(s.app.setup.table.URL)
		must(t, err)
		transport := &http.Transport{}
		t.Cleanup(transport.CloseIdleConnections)
		s.way = &way{
			site: s, metrics: freePort(t),
			next: &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }, Transport: transport},
		}
		server := httptest.NewServer(s.way)
		t.Cleanup(server.Close)
		s.way.url = server.URL
	}
	return []string{"AWS_ENDPOINT_URL_DYNAMODB=" + s.way.url},
		[]string{"--backend-type=dynamodb", "--table-name=" + table.Name, "--poll-interval=1s", "--metrics-addr=127.0.0.1:" + s.way.metrics}
}

// ServeHTTP implements [http.Handler]. One request follows the other, so that a write is not mistaken for another.
func (w *way) ServeHTTP(answer http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		w.seen.refusals++
		text := []byte(`{"__type":"com.amazonaws.dynamodb.v20120810#ServiceUnavailable","message":"try again"}`)
		answer.Header().Set("X-Amz-Crc32", fmt.Sprint(crc32.ChecksumIEEE(text)))
		answer.Header().Set("X-Amzn-Requestid", fmt.Sprintf("request-%d", w.seen.refusals)) // no answer is like another
		answer.WriteHeader(http.StatusServiceUnavailable)
		_, _ = answer.Write(text) // the client may be gone
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client is gone
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	app, cluster := w.site.app, w.site.Name
	published := app.recordWeights(app.host)[cluster]
	w.next.ServeHTTP(answer, r)
	switch {
	case strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".GetItem"):
		w.seen.reads++
		return
	case bytes.Contains(body, []byte("attribute_not_exists(ClusterName)")):
		w.seen.creations++
		return
	}
	row, err := app.setup.table.Row(r.Context(), cluster)
	if r.Context().Err() != nil {
		return // the controller was ended
	}
	if _, found := row["CurrentWeight"]; !found && err == nil {
		return // what is about to be published is said in a new row, and nothing is served yet
	}
	weight, malformed := strconv.Atoi(row["CurrentWeight"])
	if err != nil || malformed != nil {
		app.t.Errorf("cluster %s: after a write the row is %v (%v)", cluster, row, err)
		return
	}
	if last := len(w.seen.acknowledged) - 1; last >= 0 && w.seen.acknowledged[last] == weight {
		return // it was not accepted, or is about something else
	}
	w.seen.acknowledged = append(w.seen.acknowledged, weight)
	if weight != published {
		w.seen.early = append(w.seen.early, weight)
	}
}

func (w *way) close(closed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = closed
}

func (w *way) all() seen {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := w.seen
	all.acknowledged, all.early = slices.Clone(all.acknowledged), slices.Clone(all.early)
	return all
}

// acknowledged returns a condition: the cluster's row in the table has a CurrentWeight.
func (s *site) acknowledged(weight int) func() bool {
	return func() bool { return s.rowInTable()["CurrentWeight"] == strconv.Itoa(weight) }
}

func (s *site) rowInTable() map[string]string {
	t := s.app.t
	t.Helper()
	row, err := s.app.setup.table.Row(t.Context(), s.Name)
	must(t, err)
	return row
}

// storeFailed returns how often the controller's events have said that the store failed.
func (s *site) storeFailed() (told int) {
	t := s.app.t
	t.Helper()
	list, err := s.Kube.EventsV1().Events(s.app.namespace).List(t.Context(), metav1.ListOptions{FieldSelector: "reason=StoreFailed"})
	must(t, err)
	for _, event := range list.Items {
		told++
		if event.Series != nil {
			told += int(event.Series.Count) - 1
		}
	}
	return told
}

// failedRounds returns how often the controller could not read the store, or not write into it.
func (s *site) failedRounds() int {
	t := s.app.t
	t.Helper()
	_, text := metricsOf(t, s.way.metrics, "/metrics")
	_, rest, _ := strings.Cut(text, `penstock_traffic_store_rounds_total{outcome="error"} `)
	number, _, found := strings.Cut(rest, "\n")
	if !found {
		return 0 // there is a counter once there is something to count
	}
	rounds, err := strconv.Atoi(number)
	must(t, err)
	return rounds
}

// TestAStoreInDynamoDB: the weights of two clusters are rows of one table. Traffic follows what people write there, and it is acknowledged when DNS answers
// with it. While DynamoDB is not available weights stay, both controllers say so once, and then go on with what was written meanwhile.
func TestAStoreInDynamoDB(t *testing.T) {
	t.Parallel()
	weights := startTable(t)
	a := newApp(t, setup{
		provider: "dns-weighted", backend: "route53", publish: controller, weights: map[string]int{"east": 75, "west": 25}, table: weights,
	})
	east, west := a.sites["east"], a.sites["west"]
	stays := func(during string, published, acknowledged int) {
		t.Helper()
		if now := a.recordWeights(a.host)["east"]; now != published || !east.acknowledged(acknowledged)() {
			t.Errorf("%s: published %d, want %d; the row is %v, want CurrentWeight %d", during, now, published, east.rowInTable(), acknowledged)
		}
	}
	shares := func(when string, share float64) {
		t.Helper()
		<-time.After(ttl + time.Second) // users keep an answer that long
		a.sharesNow(when, map[traffic.Cell]float64{{Cluster: "east", Version: version}: share, {Cluster: "west", Version: version}: 1 - share})
	}
	for cluster, s := range a.sites {
		initial := a.setup.weights[cluster]
		s.wait("the initial weight is acknowledged", patience, s.acknowledged(initial))
		want := map[string]string{"ClusterName": cluster, "DesiredWeight": strconv.Itoa(initial), "CurrentWeight": strconv.Itoa(initial)}
		if row := s.rowInTable(); !maps.Equal(row, want) {
			t.Errorf("the row is %v, want %v", row, want)
		}
	}

	a.route53.HoldChanges(true)
	must(t, weights.Desire(t.Context(), "east", 25))
	east.wait("Route 53 has taken the weight", patience, func() bool { return a.recordWeights(a.host)["east"] == 25 })
	reads := east.way.all().reads
	east.wait("the controller looks again", patience, func() bool { return east.way.all().reads >= reads+3 })
	stays("Route 53 has not applied the weight", 25, 75)
	a.route53.HoldChanges(false)
	east.wait("the weight is acknowledged", patience, east.acknowledged(25))

	for _, s := range a.sites {
		s.way.close(true)
	}
	text, ended := east.setWeightInTable(0)
	shares("while DynamoDB is not available", 0.5)
	for _, s := range a.sites {
		s.wait("the controller has failed twice to read its row", patience, func() bool { return s.failedRounds() >= 2 })
	}
	stays("DynamoDB is not available", 25, 25)
	select {
	case err := <-ended:
		t.Fatalf("penstock set-weight did not wait: %v\n%s", err, text)
	default:
	}
	for _, s := range a.sites {
		s.way.close(false)
	}
	if err := <-ended; err != nil || !strings.Contains(text.String(), "DesiredWeight is 0, was 25") {
		t.Fatalf("penstock set-weight: %v\n%s", err, text)
	}
	stays("penstock set-weight has waited", 0, 0)
	shares("after DynamoDB was not available", 0)

	for s, want := range map[*site][]int{east: {75, 25, 0}, west: {25}} {
		if all := s.way.all(); all.creations != 1 || !slices.Equal(all.acknowledged, want) || len(all.early) > 0 {
			t.Errorf("cluster %s: %d rows were made, want 1; acknowledged %v, want %v; of these %v before they were in DNS", s.Name, all.creations, all.acknowledged, want, all.early)
		}
		if told := s.storeFailed(); told < 1 || told > 2 { // the last call may have no answer in time, where those before had a refusal
			t.Errorf("cluster %s: %d events say that the store failed, want 1, or one more in other words", s.Name, told)
		}
		select {
		case <-s.controllers[0].Ended():
			t.Errorf("cluster %s: the controller has ended", s.Name)
		default:
		}
	}
	a.failures()
}

// setWeightInTable runs penstock set-weight with --wait, past the way of the controller. The text is whole when the program has ended.
func (s *site) setWeightInTable(weight int) (text *bytes.Buffer, ended <-chan error) {
	t := s.app.t
	t.Helper()
	command := exec.CommandContext(t.Context(), program("penstock"), "set-weight", s.Name, strconv.Itoa(weight), "--wait", "--timeout="+patience.String(), "--table-name="+table.Name,
		"--backend-type=dynamodb")
	command.Env = slices.Concat(os.Environ(), s.awsEnv(), []string{"AWS_ENDPOINT_URL_DYNAMODB=" + s.app.setup.table.URL})
	text = &bytes.Buffer{}
	command.Stdout, command.Stderr = text, text
	must(t, command.Start())
	result := make(chan error, 1)
	go func() { result <- command.Wait() }()
	return text, result
}
