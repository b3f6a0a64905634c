package measure_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-dev/penstock/examples/demo/internal/measure"
)

var (
	eastOld = measure.Cell{Cluster: "east", Version: "v1"}
	eastNew = measure.Cell{Cluster: "east", Version: "v2"}
	westOld = measure.Cell{Cluster: "west", Version: "v1"}
)

// clock is a time that a test moves.
type clock struct{ now time.Time }

func newLedger() (*measure.Ledger, *clock) {
	c := &clock{now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	return measure.New(time.Second, func() time.Time { return c.now }), c
}

func TestSamplesAreIndependentAndSteady(t *testing.T) {
	t.Parallel()
	l, _ := newLedger()
	l.Record(measure.Result{Cell: eastOld, Fresh: true}, nil) // before the first stage: belongs to nothing

	l.Begin("first", nil, measure.Shares{eastOld: 1})
	moving := l.Ticket()
	l.Record(measure.Result{Cell: eastOld, Fresh: true, Ticket: moving}, nil)
	l.Steady()
	l.Record(measure.Result{Cell: eastOld, Fresh: true, Ticket: moving}, nil) // was resolved before the weights were effective
	steady := l.Ticket()
	l.Record(measure.Result{Cell: eastOld, Fresh: true, Ticket: steady}, nil)
	l.Record(measure.Result{Cell: eastOld, Ticket: steady}, nil) // the same resolution again
	l.Begin("second", nil, measure.Shares{eastOld: 1})
	l.Record(measure.Result{Cell: eastOld, Fresh: true, Ticket: steady}, nil) // the stage is over
	l.Steady()
	l.End()
	l.Record(measure.Result{Cell: eastOld, Fresh: true, Ticket: l.Ticket()}, nil) // all is over

	var got []string
	for _, s := range l.Report().Stages {
		got = append(got, fmt.Sprintf("%s: %d samples of %d requests", s.Title, s.Trials(), s.Requests))
	}
	want := []string{"first: 1 samples of 4 requests", "second: 0 samples of 2 requests"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("only first requests after a resolution within the steady part count, -want +got:\n%s", diff)
	}
}

func TestReportCheck(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		reason string
		fill   func(l *measure.Ledger)
		want   []string // parts of the errors, in order
	}{
		"Good": {
			reason: "Shares as intended and no failure are right.",
			fill: func(l *measure.Ledger) {
				l.Begin("idle", nil, measure.Shares{eastOld: 0.5, westOld: 0.5})
				l.Steady()
				record(l, eastOld, 50)
				record(l, westOld, 50)
			},
		},
		"Shares are off": {
			reason: "A canary that takes twice its share is found, and so is what another gets less.",
			fill: func(l *measure.Ledger) {
				l.Begin("step", nil, measure.Shares{eastOld: 0.8, eastNew: 0.2})
				l.Steady()
				record(l, eastOld, 600)
				record(l, eastNew, 400)
			},
			want: []string{`"step": east v1: measured 60.00 %`, `"step": east v2: measured 40.00 %`},
		},
		"Where nothing should be": {
			reason: "A version that is not intended at all is found by a single request.",
			fill: func(l *measure.Ledger) {
				l.Begin("idle", nil, measure.Shares{eastOld: 1})
				l.Steady()
				record(l, eastOld, 999)
				record(l, eastNew, 1)
			},
			want: []string{"east v1: measured 99.90 %", "east v2: measured 0.10 %"},
		},
		"Failure while moving": {
			reason: "A request may not fail at any time, and the reason is told.",
			fill: func(l *measure.Ledger) {
				l.Begin("step", nil, measure.Shares{eastOld: 1})
				l.Record(measure.Result{Failed: true}, errors.New("status 502"))
				l.Steady()
				record(l, eastOld, 100)
			},
			want: []string{"1 of 101 requests failed that should not", "status 502"},
		},
		"Faults are no failures": {
			reason: "A canary that was told to fail may fail.",
			fill: func(l *measure.Ledger) {
				l.Begin("step", nil, measure.Shares{eastNew: 1})
				l.Steady()
				record(l, eastNew, 100)
				l.Record(measure.Result{Cell: eastNew, Fault: true}, nil)
			},
		},
		"Never effective": {
			reason: "A step that never came into force is not done.",
			fill: func(l *measure.Ledger) {
				l.Begin("step", nil, measure.Shares{eastOld: 1})
			},
			want: []string{"never became effective"},
		},
		"Too few": {
			reason: "A demo that measured nothing must not say that all is well.",
			fill: func(l *measure.Ledger) {
				l.Begin("step", nil, measure.Shares{eastOld: 1})
				l.Steady()
				record(l, eastOld, 99)
			},
			want: []string{"99 independent resolutions, at least 100"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, _ := newLedger()
			tc.fill(l)
			l.End()
			got := l.Report().Check(100)
			if len(got) != len(tc.want) {
				t.Fatalf("%s\n%d errors, want %d: %v", tc.reason, len(got), len(tc.want), got)
			}
			for i, want := range tc.want {
				if !strings.Contains(got[i].Error(), want) {
					t.Errorf("%s\nerror %d is %q, want it to say %q", tc.reason, i, got[i], want)
				}
			}
		})
	}
}

func record(l *measure.Ledger, c measure.Cell, n int) {
	for range n {
		l.Record(measure.Result{Cell: c, Fresh: true, Ticket: l.Ticket()}, nil)
	}
}

func TestBucketsAndCounts(t *testing.T) {
	t.Parallel()
	l, clock := newLedger()
	l.Begin("idle", nil, measure.Shares{eastOld: 1})
	start := clock.now
	record(l, eastOld, 2)
	clock.now = clock.now.Add(1500 * time.Millisecond)
	record(l, eastOld, 3)
	l.Record(measure.Result{Cell: eastOld, Fault: true}, nil)

	want := []measure.Bucket{
		{Start: start, Requests: map[measure.Cell]int{eastOld: 2}},
		{Start: start.Add(time.Second), Requests: map[measure.Cell]int{eastOld: 4}},
	}
	if diff := cmp.Diff(want, l.Report().Buckets); diff != "" {
		t.Errorf("buckets, -want +got:\n%s", diff)
	}
	if requests, bad := l.Counts(eastOld); requests != 6 || bad != 1 {
		t.Errorf("Counts = %d requests, %d bad; want 6 and 1", requests, bad)
	}
}

func TestIntend(t *testing.T) {
	t.Parallel()
	versions := func(cluster string) (primary, canary string) {
		if cluster == "done" {
			return "v2", "v2"
		}
		return "v1", "v2"
	}
	for name, tc := range map[string]struct {
		reason   string
		clusters []measure.ClusterState
		want     measure.Shares
	}{
		"Both axes": {
			reason: "The share of a version is that of its cluster times its route weight.",
			clusters: []measure.ClusterState{
				{Name: "east", Primary: 75, Canary: 25, Record: 60},
				{Name: "west", Primary: 100, Canary: 0, Record: 20},
			},
			want: measure.Shares{eastOld: 0.5625, eastNew: 0.1875, westOld: 0.25, {Cluster: "west", Version: "v2"}: 0},
		},
		"Promoted": {
			reason:   "Where primary and canary run the same version, it gets both shares.",
			clusters: []measure.ClusterState{{Name: "done", Primary: 40, Canary: 60, Record: 1}},
			want:     measure.Shares{{Cluster: "done", Version: "v2"}: 1},
		},
		"All zero": {
			reason:   "Route 53 serves all equally when every weight is zero.",
			clusters: []measure.ClusterState{{Name: "east", Primary: 100}, {Name: "west", Primary: 100}},
			want:     measure.Shares{eastOld: 0.5, eastNew: 0, westOld: 0.5, {Cluster: "west", Version: "v2"}: 0},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tc.want, measure.Intend(tc.clusters, versions)); diff != "" {
				t.Errorf("%s\nIntend -want +got:\n%s", tc.reason, diff)
			}
		})
	}
}
