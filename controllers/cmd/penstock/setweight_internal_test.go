package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	testclock "k8s.io/utils/clock/testing"

	"github.com/penstock-dev/penstock/controllers/store"
)

// script is a store whose row is another at each read after the wish; the last one stays.
type script struct {
	before  store.Row
	readErr error
	failing error // of Desire
	rows    []any // store.Row or error
	desired []int
	anew    []store.Row // what was acknowledged
	reads   int

	conflict bool // the controller writes first
	onRead   func(n int)
}

func (s *script) Read(context.Context) (store.Row, error) {
	if len(s.desired) == 0 {
		return s.before, s.readErr
	}
	s.reads++
	if s.onRead != nil {
		s.onRead(s.reads)
	}
	switch now := s.rows[min(s.reads, len(s.rows))-1].(type) {
	case store.Row:
		return now, nil
	case error:
		return store.Row{}, now
	}
	return store.Row{}, errors.New("the script is wrong")
}

func (s *script) Desire(_ context.Context, weight int) error {
	if s.failing == nil {
		s.desired = append(s.desired, weight)
	}
	return s.failing
}

func (s *script) Create(context.Context, store.Row) error {
	return errors.New("this command makes no row")
}

func (s *script) Acknowledge(_ context.Context, read, row store.Row) error {
	stands := s.before
	if len(s.desired) > 0 {
		stands.DesiredWeight = s.desired[len(s.desired)-1]
	}
	if read != stands || s.conflict {
		return store.ErrConflict
	}
	s.anew = append(s.anew, row)
	return nil
}

func moving(desired, current, weight int, phase store.Phase, message string) store.Row {
	return store.Row{ClusterName: "east", DesiredWeight: desired, CurrentWeight: current, Ramp: store.Ramp{Phase: phase, To: 80, Weight: weight, Message: message}}
}

func TestSetWeight(t *testing.T) {
	t.Parallel()
	arrives := []any{
		moving(80, 20, 30, store.Moving, "the next step follows"), moving(80, 20, 30, store.Moving, "the next step follows"),
		errors.New("throttled"), moving(80, 50, 60, store.Holding, "refusal 1 of 5"), moving(80, 80, 80, store.Arrived, ""),
	}
	before := store.Row{ClusterName: "east", DesiredWeight: 20, CurrentWeight: 20}
	for name, tc := range map[string]struct {
		reason  string
		script  script
		options setWeightOptions
		width   int
		code    int
		want    string // in the error
		golden  string
		anew    []store.Row
	}{
		"Set": {reason: "The wish is written, and what was before is said.", script: script{before: before}, golden: "set.txt"},
		"SetInAMove": {
			reason: "CurrentWeight alone would pass for what users get.", script: script{before: moving(20, 20, 80, store.Moving, "")}, golden: "set-in-a-move.txt",
		},
		"Mended": {
			reason: "A weight that nobody can read is mended by one that can.",
			script: script{readErr: store.ErrInvalid, rows: []any{store.Row{DesiredWeight: 80}}}, golden: "mended.txt",
		},
		"StillRefused": {
			reason: "What else is wrong with the row is not mended, and nobody goes away in the belief that it is.",
			script: script{readErr: store.ErrInvalid, rows: []any{fmt.Errorf("%w: CurrentWeight is half", store.ErrInvalid)}}, golden: "mended.txt",
			code: failed, want: "will refuse the row as it is: invalid row: CurrentWeight is half",
		},
		"NotSeen": {
			reason: "Nor that all is well where nobody could look.",
			script: script{readErr: store.ErrInvalid, rows: []any{errors.New("throttled")}}, golden: "mended.txt",
			code: failed, want: "could not be read again to see whether it is whole now: throttled",
		},
		"NoRow": {reason: "The controller makes rows.", script: script{readErr: store.ErrNotFound}, code: failed, want: "cluster east has no row"},
		"Unread": {
			reason: "A store that fails is left alone.", script: script{readErr: errors.New("throttled")}, code: failed, want: "nothing was changed",
		},
		"Unwritten": {reason: "A refusal is told.", script: script{before: before, failing: errors.New("denied")}, code: failed, want: "write DesiredWeight 80 of cluster east: denied"},
		"Arrives": {
			reason: "Elsewhere than on a terminal each change is a line.", script: script{before: before, rows: arrives},
			options: setWeightOptions{wait: true, timeout: time.Minute}, golden: "arrives.txt",
		},
		"ArrivesOnATerminal": {
			reason: "On a terminal one line is written over.", script: script{before: before, rows: arrives},
			options: setWeightOptions{wait: true, timeout: time.Minute}, width: 60, golden: "terminal.txt",
		},
		"AtOnce": {
			reason: "A weight that changes at once goes through no steps.",
			script: script{before: before, rows: []any{
				moving(80, 20, 80, store.Moving, "weight 80 is acknowledged when every host is served with it"),
				moving(80, 20, 80, store.Moving, ""), moving(80, 80, 80, store.Moving, "weight 80 is served; the move ends when no resolver can hold an earlier answer"),
				store.Row{DesiredWeight: 80, CurrentWeight: 80},
			}},
			options: setWeightOptions{wait: true, timeout: time.Minute}, golden: "atonce.txt",
		},
		"RolledBack": {
			reason:  "A move that went back will not arrive.",
			script:  script{before: before, rows: []any{moving(80, 40, 20, store.RolledBack, "went back from 40 to 20 after 5 refusals")}},
			options: setWeightOptions{wait: true, timeout: time.Minute}, code: failed, want: "rolled back: went back from 40 to 20", golden: "rolledback.txt",
		},
		"AnewAfterAnotherWish": {
			reason:  "No controller has seen the wish in between, so it would rest.",
			script:  script{before: moving(20, 20, 20, store.RolledBack, "went back"), rows: []any{moving(80, 30, 30, store.Moving, "held"), moving(80, 80, 80, store.Arrived, "")}},
			options: setWeightOptions{wait: true, timeout: time.Minute}, golden: "anotherwish.txt", anew: []store.Row{{ClusterName: "east", DesiredWeight: 80, CurrentWeight: 20}},
		},
		"SeenMeanwhile": {
			reason: "A controller has seen the wish in between, and goes on.",
			script: script{before: moving(20, 20, 20, store.RolledBack, "went back"), conflict: true, rows: []any{
				moving(80, 30, 30, store.Moving, "held"), moving(80, 80, 80, store.Arrived, ""),
			}},
			options: setWeightOptions{wait: true, timeout: time.Minute}, golden: "seen.txt",
		},
		"Conflict": {
			reason:  "Somebody writes all the time.",
			script:  script{before: moving(80, 20, 20, store.RolledBack, "went back"), conflict: true, rows: []any{moving(80, 20, 20, store.RolledBack, "went back")}},
			options: setWeightOptions{timeout: time.Minute}, code: failed, want: "begin the move of cluster east to 80 anew", golden: "conflict.txt",
		},
		"Anew": {
			reason:  "A move that went back and is wanted again begins where it came from.",
			script:  script{before: moving(80, 20, 20, store.RolledBack, "went back"), rows: []any{moving(80, 30, 30, store.Moving, "held"), moving(80, 80, 80, store.Arrived, "")}},
			options: setWeightOptions{wait: true, timeout: time.Minute}, golden: "anew.txt", anew: []store.Row{{ClusterName: "east", DesiredWeight: 80, CurrentWeight: 20}},
		},
		"StillGoingBack": {
			reason: "Where a move would begin is not known before the way back is served.",
			script: script{before: moving(80, 40, 20, store.RolledBack, "went back")}, code: failed, want: "try again when CurrentWeight is 20",
		},
		"EarlierRollBack": {
			reason: "The end of an earlier move is not that of this one.",
			script: script{before: before, rows: []any{
				store.Row{DesiredWeight: 80, CurrentWeight: 20, Ramp: store.Ramp{Phase: store.RolledBack, To: 50, Weight: 20}}, moving(80, 80, 80, store.Arrived, ""),
			}},
			options: setWeightOptions{wait: true, timeout: time.Minute}, golden: "earlier.txt",
		},
		"Timeout": {
			reason: "A weight that is not served in time is told, with what was seen last.", script: script{before: before, rows: []any{moving(80, 20, 30, store.Moving, "held")}},
			options: setWeightOptions{wait: true, timeout: 5 * time.Second}, code: failed, want: "ramp Moving at 30: held; penstock status says which hosts are waited for", golden: "timeout.txt",
		},
		"Somebody": {
			reason: "Another wish takes the place of this one.", script: script{before: before, rows: []any{store.Row{DesiredWeight: 10, CurrentWeight: 20}}},
			options: setWeightOptions{wait: true, timeout: time.Minute}, code: failed, want: "somebody has set DesiredWeight of cluster east to 10", golden: "somebody.txt",
		},
		"RowGone": {
			reason: "The leader makes a row again that is deleted, with the wish that it has read.",
			script: script{before: before, rows: append([]any{store.ErrNotFound}, arrives...)}, options: setWeightOptions{wait: true, timeout: time.Minute}, golden: "rowgone.txt",
		},
		"RowStaysGone": {
			reason: "Without a controller nobody makes it again.", script: script{before: before, rows: []any{store.ErrNotFound}},
			options: setWeightOptions{wait: true, timeout: 5 * time.Second}, code: failed, want: "is gone, and no controller has made it again in 5s",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out output
			tc.options.cluster, tc.options.weight = "east", 80
			code, err := setWeight(t.Context(), &tc.script, tc.options, on(&out, tc.width), &stepping{FakeClock: testclock.NewFakeClock(start)})
			if code != tc.code || (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s\ncode %d, error %v; want code %d and %q", tc.reason, code, err, tc.code, tc.want)
			}
			if diff := cmp.Diff(tc.anew, tc.script.anew); diff != "" {
				t.Errorf("%s\nacknowledged -want +got:\n%s", tc.reason, diff)
			}
			if tc.golden != "" {
				golden(t, "set-weight-"+tc.golden, out.String())
			}
		})
	}
}

// Somebody wants back what is acknowledged, while another weight is published that is not: CurrentWeight tells nothing before the controller has seen that, and
// DNS has proved it.
func TestSetWeightWaitsForTheWayBack(t *testing.T) {
	t.Parallel()
	published := func(phase store.Phase, to, weight int) store.Row {
		return store.Row{ClusterName: "east", DesiredWeight: 20, CurrentWeight: 20, Ramp: store.Ramp{Phase: phase, From: 20, To: to, Weight: weight}}
	}
	arrived := store.Row{ClusterName: "east", DesiredWeight: 20, CurrentWeight: 20}
	for name, rows := range map[string][]any{
		"Moving":   {published(store.Moving, 80, 80), published(store.Moving, 20, 20), arrived},
		"Holding":  {published(store.Holding, 80, 50), published(store.Moving, 20, 20), published(store.Arrived, 20, 20)},
		"GoesBack": {published(store.RolledBack, 80, 0), published(store.Moving, 20, 20), arrived},
		"Unknown":  {store.Row{DesiredWeight: 20, CurrentWeight: store.Unknown}, published(store.Moving, 20, 20), arrived},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := rows[0].(store.Row)
			before.DesiredWeight = 80
			s := &script{before: before, rows: rows}
			var out output
			o := setWeightOptions{cluster: "east", weight: 20, wait: true, timeout: time.Minute}
			code, err := setWeight(t.Context(), s, o, on(&out, 0), &stepping{FakeClock: testclock.NewFakeClock(start)})
			if code != 0 || err != nil || s.reads != len(rows) {
				t.Errorf("code %d, error %v after %d reads, want the end at read %d\n%s", code, err, s.reads, len(rows), out.String())
			}
			if strings.Contains(out.String(), "-1") {
				t.Errorf("a weight that is not known is shown as a number:\n%s", out.String())
			}
		})
	}
}

func TestSetWeightInterrupted(t *testing.T) {
	t.Parallel()
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	s := &script{before: store.Row{DesiredWeight: 20}, rows: []any{moving(80, 20, 30, store.Moving, "")}}
	s.onRead = func(n int) {
		if n == 3 {
			interrupt()
		}
	}
	var out output
	o := setWeightOptions{cluster: "east", weight: 80, wait: true, timeout: time.Hour}
	code, err := setWeight(ctx, s, o, on(&out, 0), &stepping{FakeClock: testclock.NewFakeClock(start)})
	if code != interrupted || err == nil || !strings.Contains(err.Error(), "the wish stays: DesiredWeight of cluster east is 80") {
		t.Errorf("code %d, error %v", code, err)
	}
	if len(s.desired) != 1 {
		t.Errorf("An interrupt ends the waiting only; written: %v", s.desired)
	}
}

func TestSetWeightUsage(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		reason string
		args   []string
		want   string
	}{
		"Nothing":  {reason: "Both are needed.", args: nil, want: "arguments []"},
		"NoWeight": {reason: "Both are needed.", args: []string{"east"}, want: "write the cluster's name and its weight"},
		"Three":    {reason: "Nothing else is.", args: []string{"east", "5", "6"}, want: "write the cluster's name and its weight"},
		"NoName":   {reason: "A row needs a name.", args: []string{"", "5"}, want: `argument CLUSTER ""`},
		"Negative": {reason: "Below the range, and no flag.", args: []string{"east", "-5"}, want: `argument N "-5"`},
		"Above":    {reason: "Above the range.", args: []string{"east", "101"}, want: `argument N "101"`},
		"Fraction": {reason: "Weights are whole.", args: []string{"east", "5.5"}, want: `argument N "5.5"`},
		"Percent":  {reason: "No unit.", args: []string{"east", "50%"}, want: `argument N "50%"`},
		"Plus":     {reason: "No difference.", args: []string{"east", "+5"}, want: `argument N "+5"`},
		"Huge":     {reason: "No overflow.", args: []string{"east", "99999999999999999999"}, want: "argument N"},
		"NoStore":  {reason: "Nobody knows where the row is.", args: []string{"east", "5"}, want: "flag backend-type is missing: write configmap or dynamoDB"},
		"Fake":     {reason: "The weight of a flag cannot be set.", args: []string{"east", "5", "--backend-type", "fake"}, want: `flag backend-type "fake"`},
		"Store":    {reason: "Stores have names.", args: []string{"east", "5", "--backend-type", "etcd"}, want: `flag backend-type "etcd"`},
		"Table":    {reason: "A table has a name.", args: []string{"--backend-type=dynamodb", "east", "5", "--table-name", ""}, want: `flag table-name ""`},
		"Timeout":  {reason: "A time that has passed.", args: []string{"east", "5", "--timeout", "-1s"}, want: "flag timeout -1s"},
		"Cluster":  {reason: "No row has such a name.", args: []string{"--backend-type", "configmap", "e ast", "5"}, want: "cluster-name"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, err := runSetWeight(t.Context(), tc.args, io.Discard, io.Discard)
			if code != usageFailed || err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s\n%q: code %d, error %v, want code %d and %q", tc.reason, tc.args, code, err, usageFailed, tc.want)
			}
		})
	}
}

func TestSetWeightFlagsStandAnywhere(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		"east 50 --wait --timeout 5m", "--wait --timeout 5m east 50", "east --timeout=5m 50 --wait", "--wait east --timeout 5m -- 50",
	} {
		o, err := parseSetWeight(flag.NewFlagSet("x", flag.ContinueOnError), strings.Fields(line), io.Discard)
		if want := (setWeightOptions{cluster: "east", weight: 50, wait: true, timeout: 5 * time.Minute}); err != nil || o != want {
			t.Errorf("%q: %+v, %v; want %+v", line, o, err, want)
		}
	}
}

// The ConfigMap of the context's namespace gets the wish, and nothing else changes.
func TestSetWeightInAConfigMap(t *testing.T) {
	t.Parallel()
	var written string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/v1/namespaces/penstock/configmaps/penstock-traffic" {
			t.Errorf("%s %s", r.Method, r.URL.Path)
		}
		w.Header().Set("Content-Type", "application/json")
		if r.Method == http.MethodPut {
			body, _ := io.ReadAll(r.Body)
			written = string(body)
		}
		_, _ = io.WriteString(w, `{"kind":"ConfigMap","apiVersion":"v1","metadata":{"namespace":"penstock","name":"penstock-traffic"},`+
			`"data":{"ClusterName":"east","DesiredWeight":"20","CurrentWeight":"20"}}`)
	}))
	t.Cleanup(server.Close)
	path := writeKubeconfig(t, "penstock", [2]string{"a", server.URL})
	var out output
	code, err := runSetWeight(t.Context(), []string{"--backend-type", "configmap", "east", "80", "--kubeconfig", path}, &out, io.Discard)
	if code != 0 || err != nil {
		t.Fatalf("code %d, error %v", code, err)
	}
	if want := "cluster east: DesiredWeight is 80, was 20; CurrentWeight is 20\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
	for _, part := range []string{"DesiredWeight", "80", "CurrentWeight", "20"} { // whatever the encoding is
		if !strings.Contains(written, part) {
			t.Errorf("%q is not in what was written: %q", part, written)
		}
	}
}
