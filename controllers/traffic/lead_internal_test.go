package traffic

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/penstock-dev/penstock/controllers/store"
)

// A standby reads no row, publishes nothing and acknowledges nothing: the manager starts only on the leader what says that it needs to lead.
func TestOnlyTheLeaderWorks(t *testing.T) {
	t.Parallel()
	var runnable manager.Runnable = &leader{}
	if l, ok := runnable.(manager.LeaderElectionRunnable); !ok || !l.NeedLeaderElection() {
		t.Error("the controller runs on every replica")
	}
}

// watched is a store that says when it changes, at once and until the end.
type watchedRow struct {
	*row

	watching chan struct{}
}

func (w *watchedRow) Watch(ctx context.Context, changed func()) error {
	changed()
	close(w.watching)
	<-ctx.Done()
	return errors.New("the watch has ended")
}

// A leader publishes and acknowledges by itself, and leaves nothing behind when it is told to end, wherever it is: TestMain looks for goroutines.
func TestLead(t *testing.T) {
	t.Parallel()
	for label, until := range map[string]func(r *rig) bool{
		"AtOnce":        func(*rig) bool { return true },
		"Published":     func(r *rig) bool { return r.dns.Writes() > 0 },
		"Acknowledged":  func(r *rig) bool { return r.row.now().CurrentWeight == 40 },
		"StoreIsAway":   func(r *rig) bool { return r.storeError() != "" },
		"RecordsUnread": func(r *rig) bool { return r.dns.Publishes() > 0 },
	} {
		t.Run(label, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, nil, app("one", "one.example.com")...)
			r.desire(40)
			name := client.ObjectKeyFromObject(app("one")[0])
			r.owner = &owned{names: []types.NamespacedName{name}}
			switch label {
			case "StoreIsAway":
				r.row.readErr = errors.New("away")
			case "RecordsUnread":
				r.owner = &owned{fails: 1 << 30}
			}
			watched := &watchedRow{r.row, make(chan struct{})}
			r.store = watched
			ctx, end := context.WithCancel(t.Context())
			defer end()
			ended := make(chan error, 1)
			go func() { ended <- r.lead(ctx) }()
			<-watched.watching
			for !until(r) {
				r.clock.Sleep(100 * time.Millisecond)
				r.queue.Add(name) // an event: the queue's own timers are on a clock that runs
				select {
				case err := <-ended:
					t.Fatalf("it ended by itself: %v", err)
				default:
					runtime.Gosched()
				}
			}
			if !r.leads.Load() {
				t.Error("it does not say that it leads")
			}
			end()
			if err := <-ended; err != nil || r.leads.Load() {
				t.Errorf("error %v, leads %t", err, r.leads.Load())
			}
		})
	}
}

func (c *Controller) storeError() string {
	c.seenRow.Lock()
	defer c.seenRow.Unlock()
	return c.seenRow.err
}

// panicking is a store that has a bug.
type panicking struct{ *row }

func (panicking) Read(context.Context) (store.Row, error) { panic("a bug") }

// A panic ends the process, which is started again, instead of a leader that does nothing and renews its lease.
func TestAPanicIsNotHeldUp(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, app("one", "one.example.com")...)
	r.store, r.owner = panicking{r.row}, &owned{}
	ended := make(chan any, 1)
	go func() {
		defer func() { ended <- recover() }()
		_ = r.lead(context.WithoutCancel(t.Context()))
	}()
	select {
	case got := <-ended:
		if got != "a bug" {
			t.Errorf("it ended with %v", got)
		}
	case <-time.After(time.Minute):
		t.Fatal("the leader hangs")
	}
}

// Who does not lead knows no weight: 0 would be a cluster that is drained.
func TestMetricsOfAStandby(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, app("one", "one.example.com")...)
	registry := prometheus.NewPedanticRegistry()
	m, err := newMetrics(registry)
	if err != nil {
		t.Fatal(err)
	}
	r.metrics = m
	gauges := func() (names []string) {
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if strings.HasSuffix(f.GetName(), "_total") {
				continue
			}
			names = append(names, f.GetName())
		}
		return names
	}
	if got := gauges(); len(got) > 0 {
		t.Errorf("a standby shows %q", got)
	}
	r.desire(40)
	r.moment()
	for _, name := range []string{"cluster_traffic_controller_ingress_weight_desired", "cluster_traffic_controller_ingress_weight_current"} {
		if got := gauges(); !slices.Contains(got, name) {
			t.Errorf("the leader shows %q, and not %s", got, name)
		}
	}
	if desired, current := valueOf(t, m.desired), valueOf(t, m.current); desired != 40 || current != 100 {
		t.Errorf("desired %v, current %v, want what is asked for and what is served", desired, current)
	}
}

// While the store is away a leader that has just started knows no weight, which is not 0.
func TestStatusBeforeTheRowWasRead(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, app("one", "one.example.com")...)
	r.row.readErr = errors.New("away")
	r.leads.Store(true)
	r.run(time.Minute)
	answer := httptest.NewRecorder()
	r.handleStatus(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, StatusPath, nil))
	if text := answer.Body.String(); strings.Contains(text, `"row"`) || !strings.Contains(text, `"storeError":"`) {
		t.Errorf("status %s", text)
	}
}

// The status tells what is known of each host, and a replica that does not lead says so.
func TestStatus(t *testing.T) {
	t.Parallel()
	objects := append(app("one", "one.example.com", "two.example.com"), app("bad", "no_name")...)
	r := newRig(t, nil, objects...)
	ask := func() (int, string) {
		answer := httptest.NewRecorder()
		r.handleStatus(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, StatusPath, nil))
		return answer.Code, answer.Body.String()
	}
	if code, text := ask(); code != http.StatusServiceUnavailable || !strings.Contains(text, LeaseID) {
		t.Errorf("a standby answers %d %s", code, text)
	}
	r.leads.Store(true)
	r.apply(endpoints("two", false))
	r.desire(40)
	r.run(5 * time.Second)
	code, text := ask()
	var got Status
	if err := json.Unmarshal([]byte(text), &got); err != nil || code != http.StatusOK {
		t.Fatalf("the leader answers %d %s (%v)", code, text, err)
	}
	weight := "40"
	row := r.row.now()
	if got.Cluster != cluster || got.Row == nil || *got.Row != row || row.DesiredWeight != 40 || row.CurrentWeight != 100 || row.Ramp.Weight != 40 || got.Weight == nil || *got.Weight != weight || got.Pending != 1 || got.StoreError != "" {
		t.Errorf("status %+v", got)
	}
	if len(got.Hosts) != 2 || got.Hosts[0].Host != "one.example.com" || got.Hosts[1].Host != "two.example.com" {
		t.Fatalf("hosts %+v", got.Hosts)
	}
	if h := got.Hosts[0]; h.Published != 40 || !h.Ready || h.InSyncSince != nil || h.Ingress != "one" || h.Namespace != namespace {
		t.Errorf("host %+v", h)
	}
	if h := got.Hosts[1]; h.Published != 0 || h.Ready {
		t.Errorf("host %+v", h)
	}
	r.run(time.Minute)
	if _, text := ask(); !strings.Contains(text, `"inSyncSince"`) || !strings.Contains(text, `"pending":0`) || !strings.Contains(text, `"currentWeight":40`) {
		t.Errorf("after a minute the status is %s", text)
	}
	r.row.readErr = errors.New("the table is away")
	r.steer = time.Time{}
	r.moment()
	if _, text := ask(); !strings.Contains(text, "the table is away") {
		t.Errorf("while the store is away the status is %s", text)
	}
}

// What was not published with the weight yet is told by host, whether it was ever published or not.
func TestStatusOfWhatWaitsForItsTurn(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, app("one", "one.example.com")...)
	r.run(5 * time.Minute)
	r.apply(app("two", "two.example.com")...)
	r.desire(40)
	r.Controller.steer(t.Context())
	request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, StatusPath, nil)
	got := r.status(request)
	if len(got.Hosts) != 2 || got.Pending != 2 {
		t.Fatalf("status %+v", got)
	}
	for i, published := range []int{100, -1} {
		if h := got.Hosts[i]; h.Published != published || !h.Pending || !h.Ready || h.Reason != "not published with this weight yet" {
			t.Errorf("host %+v, want %d published and the rest to come", h, published)
		}
	}
	r.run(5 * time.Minute)
	got = r.status(request)
	for _, h := range got.Hosts {
		if h.Published != 40 || h.Pending || h.Reason != "" {
			t.Errorf("in the end, host %+v", h)
		}
	}
	if got.Pending != 0 || len(got.Hosts) != 2 {
		t.Errorf("in the end, status %+v", got)
	}
}

// pacedRow is a row that each reading waits for, and that says when somebody has changed it.
type pacedRow struct {
	*row

	reads   chan struct{}
	watched chan func() // what is to be called when the row has changed
}

func (p *pacedRow) Read(ctx context.Context) (store.Row, error) {
	select {
	case p.reads <- struct{}{}:
	case <-ctx.Done():
	}
	return p.row.Read(ctx)
}

func (p *pacedRow) Watch(ctx context.Context, changed func()) error {
	p.watched <- changed
	<-ctx.Done()
	return nil
}

// rest takes the readings until there are no more.
func (p *pacedRow) rest() {
	for {
		select {
		case <-p.reads:
		case <-time.After(200 * time.Millisecond):
			return
		}
	}
}

// A row that somebody changes takes effect at once, however long it is until the row would be read again.
func TestAChangedRow(t *testing.T) {
	t.Parallel()
	r := newRig(t, []string{"-poll-interval", "1h"}, app("one", "one.example.com")...)
	paced := &pacedRow{r.row, make(chan struct{}), make(chan func(), 1)}
	r.store, r.owner = paced, &owned{}
	ctx, end := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.lead(ctx) }()
	changed := <-paced.watched
	paced.rest()
	r.clock.Sleep(10 * time.Minute)
	r.queue.Add(client.ObjectKeyFromObject(app("one")[0])) // which finds it in sync, and has no reason to look again
	paced.rest()
	r.desire(40)
	if r.published("one")["one.example.com"] == 40 {
		t.Error("published before anybody could know")
	}
	changed()
	for deadline := time.Now().Add(30 * time.Second); r.published("one")["one.example.com"] != 40; {
		paced.rest()
		if time.Now().After(deadline) {
			t.Errorf("published %v, want weight 40 without a moment of the controller's clock", r.published("one"))
			break
		}
	}
	end()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// While neither the store nor DNS can be reached, everything stays as it is, for as long as that takes, and then goes on by itself.
func TestEverythingIsAwayForMinutes(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, app("one", "one.example.com")...)
	r.run(5 * time.Minute)
	away := errors.New("away")
	r.row.readErr, r.row.writeErr = away, away
	r.dns.Fail("one", away)
	r.desire(40)
	r.changedObject(app("one", "one.example.com")[0])
	r.run(10 * time.Minute)
	if got := r.published("one")["one.example.com"]; got != 100 || len(r.row.acknowledged) > 0 {
		t.Errorf("while everything is away %d is published, and acknowledged are %v", got, r.row.acknowledged)
	}
	for _, reason := range []string{"StoreFailed", "NotPublished"} {
		if n := r.notes.with(reason); n != 1 {
			t.Errorf("%d events %s, want one: %q", n, reason, r.notes.lines)
		}
	}
	r.row.readErr, r.row.writeErr = nil, nil
	r.dns.Fail("one", nil)
	r.until("the weight is served", func() bool { return r.row.now().CurrentWeight == 40 })
	if got := r.published("one")["one.example.com"]; got != 40 {
		t.Errorf("in the end %d is published", got)
	}
}
