package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	testclock "k8s.io/utils/clock/testing"

	"github.com/penstock-dev/penstock/controllers/store"
	"github.com/penstock-dev/penstock/controllers/traffic"
)

const (
	leasePath = "/apis/coordination.k8s.io/v1/namespaces/penstock/leases/" + traffic.LeaseID
	podsPath  = "/api/v1/namespaces/penstock/pods"
	proxyPath = podsPath + "/penstock-1:8080/proxy/status"
)

func lease(holder string) map[string]any {
	return map[string]any{"kind": "Lease", "apiVersion": "coordination.k8s.io/v1", "spec": map[string]any{"holderIdentity": holder}}
}

func pods(names ...string) map[string]any {
	items := []any{}
	for _, name := range names {
		items = append(items, map[string]any{"metadata": map[string]any{"name": name}, "status": map[string]any{"phase": "Running"}})
	}
	return map[string]any{"kind": "PodList", "apiVersion": "v1", "items": items}
}

func east() traffic.Status {
	since, weight := start, "30"
	return traffic.Status{
		Cluster: "east", Weight: &weight, Pending: 1,
		Row: &store.Row{ClusterName: "east", DesiredWeight: 80, CurrentWeight: 20, Ramp: store.Ramp{
			Phase: store.Moving, From: 20, To: 80, Weight: 30, Message: "weight 30: the next step follows when this has been effective for 1m0s and no gate refuses",
		}},
		Hosts: []traffic.HostStatus{
			{Host: "api.example.com", Namespace: "shop", Ingress: "api", Published: 30, InSyncSince: &since, Ready: true, AtCanary: true, Canary: "api"},
			{Host: "old.example.com", Namespace: "shop", Ingress: "old", Published: -1, Error: "ingress shop/old has no load balancer address yet:\x1b[31m waiting\nfor its status"},
			{Host: "web.example.com", Namespace: "shop", Ingress: "web", Published: 0, InSyncSince: &since, Assumed: true},
		},
	}
}

func west() traffic.Status {
	weight := "50"
	return traffic.Status{
		Cluster: "west", Weight: &weight, StoreError: "table \"t\": throttled", Row: &store.Row{ClusterName: "west", DesiredWeight: 50, CurrentWeight: 50},
		Hosts: []traffic.HostStatus{
			{Host: "api.example.com", Namespace: "shop", Ingress: "api", Published: 50, Ready: true, Reason: "waiting for change C1 to be INSYNC"},
		},
	}
}

// What nobody knows yet is not shown as a weight.
func TestStatusOfWhatIsNotKnown(t *testing.T) {
	t.Parallel()
	s := west()
	s.Row.CurrentWeight = store.Unknown
	if text := summary(clusterStatus{Status: &s}); !strings.Contains(text, "desired 50, current -,") {
		t.Errorf("without CurrentWeight: %s", text)
	}
	s.Row = nil
	if text := summary(clusterStatus{Status: &s}); !strings.Contains(text, "desired -, current -,") || !strings.Contains(text, "the row was not read yet") {
		t.Errorf("without a row: %s", text)
	}
}

// A weight that changes at once goes through no steps, and what it waits for is said.
func TestStatusOfAChangeAtOnce(t *testing.T) {
	t.Parallel()
	s := west()
	s.Row.Ramp = store.Ramp{Phase: store.Moving, From: 80, To: 80, Weight: 80, Message: "weight 80 is acknowledged when every host is served with it"}
	text := summary(clusterStatus{Status: &s})
	if !strings.Contains(text, "\n  change: weight 80 is acknowledged when every host is served with it\n") || strings.Contains(text, "ramp") {
		t.Error(text)
	}
	s.Row.Ramp.Weight = 70
	if text := summary(clusterStatus{Status: &s}); !strings.Contains(text, ", ramp Moving 80 -> 80 at 70\n  ramp: weight 80") {
		t.Errorf("a step on the way: %s", text)
	}
}

// What is waited for is said whatever else is the matter.
func TestHealth(t *testing.T) {
	t.Parallel()
	later, past := start.Add(90*time.Second), start
	for want, host := range map[string]traffic.HostStatus{
		"ready":        {Ready: true, EffectiveAt: &past},
		"no endpoints": {},
		"refused: no address; not in sync: waiting for 192.0.2.53:53": {Error: "no address", Reason: "waiting for 192.0.2.53:53"},
		"tried again: throttled; held; not in sync: waiting":          {Error: "throttled", Passing: true, Warning: "held", Reason: "waiting"},
		"ready; pending: not published yet":                           {Ready: true, InSyncSince: &past, Reason: "not published yet"},
		"ready; effective at 03:05:35Z":                               {Ready: true, EffectiveAt: &later},
	} {
		if got := healthOf(host, start); got != want {
			t.Errorf("%+v: %q, want %q", host, got, want)
		}
	}
}

func ask(t *testing.T, width int, args ...string) (string, int, error) {
	t.Helper()
	var out output
	code, err := status(t.Context(), args, on(&out, width), testclock.NewFakeClock(start))
	return out.String(), code, err
}

func TestStatusOfSeveralClusters(t *testing.T) {
	t.Parallel()
	first := &api{t: t, at: map[string]any{leasePath: lease("penstock-1_5e0a"), proxyPath: east()}}
	second := &api{t: t, at: map[string]any{podsPath: pods("penstock-1"), proxyPath: west()}}
	third := &api{t: t, at: map[string]any{leasePath: lease(""), podsPath: pods()}}
	path := writeKubeconfig(t, "penstock", [2]string{"a", first.serve()}, [2]string{"b", second.serve()}, [2]string{"c", third.serve()})
	for name, tc := range map[string]struct {
		reason string
		width  int
		args   []string
		code   int
	}{
		"two.txt":    {reason: "Several clusters stand in one table, one found by its lease, one by its label.", args: []string{"--context", "a", "--context", "b"}},
		"narrow.txt": {reason: "Lines end where the terminal does.", width: 80, args: []string{"--context=a", "-context", "b"}},
		"error.txt":  {reason: "What one cluster cannot tell does not hide the other.", args: []string{"--context", "c", "--context", "b"}, code: failed},
		"two.json":   {reason: "Programs get all there is.", args: []string{"--context", "b", "-o", "json", "--context", "c"}, code: failed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, code, err := ask(t, tc.width, append(tc.args, "--kubeconfig", path)...)
			if err != nil || code != tc.code {
				t.Errorf("%s\ncode %d, error %v; want code %d", tc.reason, code, err, tc.code)
			}
			golden(t, "status-"+name, got)
		})
	}
}

// The API server is asked for the leader alone, through its proxy.
func TestStatusPaths(t *testing.T) {
	t.Parallel()
	server := &api{t: t, at: map[string]any{leasePath: lease("penstock-2_5e0a"), podsPath + "/penstock-2:9090/proxy/status": east()}}
	path := writeKubeconfig(t, "other", [2]string{"a", server.serve()})
	if _, code, err := ask(t, 0, "--kubeconfig", path, "--namespace", "penstock", "--metrics-port", "9090"); code != 0 || err != nil {
		t.Errorf("code %d, error %v", code, err)
	}
	if want := []string{leasePath, podsPath + "/penstock-2:9090/proxy/status"}; !slices.Equal(server.asked, want) {
		t.Errorf("asked %q, want %q", server.asked, want)
	}
}

// Without a lease any of the Pods may lead, and one that does not says so; so it is with one that was given back before leader election was switched off.
func TestStatusAsksEachPod(t *testing.T) {
	t.Parallel()
	for name, at := range map[string]map[string]any{"NoLease": {}, "LeaseOfBefore": {leasePath: lease("")}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			maps.Copy(at, map[string]any{
				podsPath:  pods("penstock-0", "penstock-1"),
				proxyPath: east(),
				podsPath + "/penstock-0:8080/proxy/status": http.HandlerFunc(notLeading),
			})
			server := &api{t: t, at: at}
			path := writeKubeconfig(t, "penstock", [2]string{"a", server.serve()})
			got, code, err := ask(t, 0, "--kubeconfig", path)
			if code != 0 || err != nil || !strings.Contains(got, "cluster east") {
				t.Errorf("code %d, error %v:\n%s", code, err, got)
			}
		})
	}
}

// podNotFound answers as an API server that has no such Pod.
func podNotFound(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusNotFound)
	_, _ = io.WriteString(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404,`+
		`"message":"pods \"penstock-1\" not found","details":{"name":"penstock-1","kind":"pods"}}`)
}

func notLeading(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, "this replica does not lead: ask the one that holds the lease", http.StatusServiceUnavailable)
}

func TestStatusErrors(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		reason string
		at     map[string]any
		args   []string
		want   []string
	}{
		"NotLeading": {
			reason: "A replica that does not lead knows nothing.",
			at:     map[string]any{leasePath: lease("penstock-1_x"), proxyPath: http.HandlerFunc(notLeading)},
			want:   []string{"pod penstock/penstock-1 at port 8080", "does not lead"},
		},
		"Malformed": {
			reason: "What is no JSON is no status.",
			at:     map[string]any{leasePath: lease("penstock-1_x"), proxyPath: `{"cluster":`},
			want:   []string{"penstock-1", "not the status of a controller"},
		},
		"OtherJSON": {
			reason: "What is JSON of something else is no status either.",
			at:     map[string]any{leasePath: lease("penstock-1_x"), proxyPath: `{}`},
			want:   []string{"cluster is empty"},
		},
		"PodGone": {
			reason: "A lease names a Pod that has gone until another one leads.",
			at:     map[string]any{leasePath: lease("penstock-1_x"), proxyPath: http.HandlerFunc(podNotFound)},
			want:   []string{"error: the lease names pod penstock/penstock-1, which is gone: wait until another one leads"},
		},
		"OtherPodGone": {
			reason: "Without a lease, nobody says that another one will lead.",
			at:     map[string]any{podsPath: pods("penstock-1"), proxyPath: http.HandlerFunc(podNotFound)},
			want:   []string{`ask pod penstock/penstock-1 at port 8080: pods "penstock-1" not found`},
		},
		"EarlierController": {
			reason: "A Pod that answers, and does not know what it is asked, is not gone.",
			at:     map[string]any{leasePath: lease("penstock-1_x"), proxyPath: http.NotFoundHandler()},
			want:   []string{"ask pod penstock/penstock-1 at port 8080", "no penstock controller"},
		},
		"CurrentContext": {reason: "The current context has a name.", at: map[string]any{leasePath: lease(""), podsPath: pods()}, want: []string{"cluster (a): error: "}},
		"Holder":         {reason: "A holder that is no Pod cannot be asked through the API server.", at: map[string]any{leasePath: lease("laptop")}, want: []string{"laptop", "flag url"}},
		"NoHolder":       {reason: "A lease that was given back names nobody.", at: map[string]any{leasePath: lease(""), podsPath: pods()}, want: []string{"nobody holds it"}},
		"Nobody":         {reason: "Neither a lease nor a Pod.", at: map[string]any{podsPath: pods()}, want: []string{"neither the lease", "flag namespace"}},
		"Forbidden":      {reason: "Missing permissions are named.", at: map[string]any{leasePath: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })}, want: []string{"get lease penstock/"}},
		"Slow": {
			reason: "Every cluster has a deadline.",
			at:     map[string]any{leasePath: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })},
			args:   []string{"--timeout", "50ms"},
			want:   []string{"no answer in 50ms"},
		},
		"Context": {reason: "A context that does not exist is named.", args: []string{"--context", "nowhere"}, want: []string{`context "nowhere"`, "flags kubeconfig and context"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := &api{t: t, at: tc.at}
			path := writeKubeconfig(t, "penstock", [2]string{"a", server.serve()})
			got, code, err := ask(t, 0, append(tc.args, "--kubeconfig", path)...)
			if err != nil || code != failed {
				t.Errorf("%s\ncode %d, error %v; want code %d", tc.reason, code, err, failed)
			}
			for _, want := range tc.want {
				if !strings.Contains(got, want) {
					t.Errorf("%s\nwant %q in:\n%s", tc.reason, want, got)
				}
			}
		})
	}
}

func TestStatusOfAURL(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		reason string
		answer any
		code   int
		want   string
	}{
		"Leader":     {reason: "The leader tells.", answer: east(), want: "cluster east"},
		"NotLeading": {reason: "Another replica says why not.", answer: http.HandlerFunc(notLeading), code: failed, want: "this replica does not lead"},
		"Malformed":  {reason: "Not JSON.", answer: "<html>", code: failed, want: "not the status of a controller"},
		"Metrics":    {reason: "Another server.", code: failed, want: "no penstock controller"},
		"TooLong": {
			reason: "An answer without an end must not fill the memory.",
			answer: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				for block := make([]byte, 1<<20); ; {
					if _, err := w.Write(block); err != nil {
						return
					}
				}
			}), code: failed, want: "longer than",
		},
		"Hostile": {
			reason: "What others wrote cannot steer the terminal.", answer: traffic.Status{Cluster: "e\x1b[2Jast\u202e"}, want: "cluster e [2Jast (http",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := &api{t: t, at: map[string]any{traffic.StatusPath: tc.answer}}
			got, code, err := ask(t, 0, "--url", server.serve()+"/")
			if err != nil || code != tc.code || !strings.Contains(got, tc.want) {
				t.Errorf("%s\ncode %d, error %v, want code %d and %q in:\n%s", tc.reason, code, err, tc.code, tc.want, got)
			}
		})
	}
}

func TestStatusUsage(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"Argument": {args: []string{"east"}, want: `argument "east"`},
		"Flag":     {args: []string{"--clusters"}, want: "--clusters"},
		"Output":   {args: []string{"-o", "yaml"}, want: `flag o "yaml"`},
		"Port":     {args: []string{"--metrics-port", "0"}, want: "flag metrics-port 0"},
		"Both":     {args: []string{"--url", "http://192.0.2.1", "--context", "a"}, want: "flags url and context"},
		"URL":      {args: []string{"--url", "192.0.2.1:8080"}, want: "flag url"},
		"Empty":    {args: []string{"--context", ""}, want: "write a value"},
		"Interval": {args: []string{"--interval", "1ms"}, want: "flag interval 1ms"},
		"Timeout":  {args: []string{"--timeout", "0s"}, want: "flag timeout 0s"},
		"NoValue":  {args: []string{"--url"}, want: "needs an argument"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, code, err := ask(t, 0, tc.args...); code != usageFailed || err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%q: code %d, error %v, want code %d and %q", tc.args, code, err, usageFailed, tc.want)
			}
		})
	}
}

// changing is a controller whose status changes at the third question, and that ends the watch at the fifth.
type changing struct {
	asked atomic.Int32
	end   context.CancelFunc
}

func (c *changing) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	s := west()
	n := c.asked.Add(1)
	if n > 2 {
		s.Row.CurrentWeight = 60
	}
	if n == 5 {
		c.end()
	}
	_ = json.NewEncoder(w).Encode(s)
}

func TestStatusWatch(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		reason string
		width  int
		args   []string
		count  string
		want   int
	}{
		"Terminal": {reason: "A terminal is cleared for each change, and only then.", width: 200, count: clearScreen, want: 2},
		"File":     {reason: "Elsewhere each change is a table more.", count: "cluster west", want: 2},
		"JSON":     {reason: "A document for each change.", args: []string{"-o", "json"}, count: `"clusters"`, want: 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, end := context.WithCancel(t.Context())
			defer end()
			server := httptest.NewServer(&changing{end: end})
			t.Cleanup(server.Close)
			clock := &stepping{FakeClock: testclock.NewFakeClock(start)}
			var out output
			code, err := status(ctx, append(tc.args, "--watch", "--url", server.URL), on(&out, tc.width), clock)
			if code != 0 || err != nil {
				t.Errorf("%s\nAn interrupt is how a watch ends: code %d, error %v", tc.reason, code, err)
			}
			if got := strings.Count(out.String(), tc.count); got != tc.want {
				t.Errorf("%s\n%d times %q, want %d, in:\n%s", tc.reason, got, tc.count, tc.want, out.String())
			}
		})
	}
}

// stepping is a clock on which waiting takes no time.
type stepping struct {
	*testclock.FakeClock
}

func (s *stepping) After(d time.Duration) <-chan time.Time {
	s.Step(d)
	done := make(chan time.Time, 1)
	done <- s.Now()
	return done
}

func TestHelp(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"status", "plan", "set-weight"} {
		for _, flagName := range []string{"-h", "--help"} {
			var out, errOut output
			if code := dispatch(t.Context(), []string{name, flagName}, &out, &errOut); code != 0 || errOut.String() != "" {
				t.Errorf("%s %s: code %d, %s", name, flagName, code, errOut.String())
			}
			help := out.String()
			if strings.Count(help, "\n  penstock "+name+" ") != 2 || !strings.Contains(help, "Exit codes:") || !strings.Contains(help, "Flags:") {
				t.Errorf("The help explains the command with two examples, its exit codes and its flags.\n%s", help)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("east\x00-5\x00--wait")
	f.Add("--timeout\x00--\x00x")
	f.Add("-\x00--=\x00-timeout=")
	f.Fuzz(func(t *testing.T, line string) {
		flags := flag.NewFlagSet("x", flag.ContinueOnError)
		flags.Bool("wait", false, "")
		flags.Duration("timeout", 0, "")
		args := strings.Split(line, "\x00")
		rest, err := parse(flags, "", args, io.Discard)
		if err == nil && len(rest) > len(args) {
			t.Errorf("%q became %q", args, rest)
		}
		if errors.Is(err, flag.ErrHelp) && !strings.Contains(line, "-h") {
			t.Errorf("%q asks for no help", args)
		}
	})
}
