// Package measure keeps what the demo intends and what its users see, stage by stage.
//
// A stage is a time with one intention. While weights are on their way to Skipper and to resolvers the stage is moving, and only
// requests and failures are counted; once they are effective it is steady, and shares are measured too.
//
// Users keep an address for its TTL, so their requests are not independent of each other. What is judged is the first request
// after each resolution: a sample.
package measure

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/penstock-dev/penstock/examples/stats"
)

// Cell is where a request can end: a version in a cluster.
type Cell struct {
	Cluster, Version string
}

func (c Cell) String() string { return c.Cluster + " " + c.Version }

// Shares are the shares, 0 to 1, that cells get of all requests.
type Shares map[Cell]float64

// ClusterState is what is intended for one cluster during a stage.
type ClusterState struct {
	Name string
	// Phase is that of the cluster's Canary.
	Phase string
	// Primary and Canary are the route weights in per cent.
	Primary, Canary int
	// Weight is the cluster weight in per cent, Exposure the per cent of it that is in force.
	Weight, Exposure int
	// Record is the weight of the cluster's record set that follows from them.
	Record int
}

// Stage is a time with one intention.
type Stage struct {
	// Title says in a few words what the stage is about.
	Title    string
	Clusters []ClusterState
	Intended Shares
	// Start, Steady and End divide the stage; Steady and End are zero until they are reached.
	Start, Steady, End time.Time
	// Samples counts the judged requests of the steady part by where they ended.
	Samples map[Cell]int
	// Requests, Failures and Faults count all of the stage: failures are requests that should not have failed, faults those that a
	// failing canary was told to fail.
	Requests, Failures, Faults int
}

// Trials is how many samples the stage has.
func (s Stage) Trials() int {
	n := 0
	for _, hits := range s.Samples {
		n += hits
	}
	return n
}

// Sample returns the samples of a cell.
func (s Stage) Sample(c Cell) stats.Sample {
	return stats.Sample{Hits: s.Samples[c], Trials: s.Trials()}
}

// Check returns an error for each cell whose share was off, and for each place that should have got nothing.
func (s Stage) Check() []error {
	var errs []error
	cells := slices.Collect(maps.Keys(s.Intended))
	for c := range s.Samples {
		if _, ok := s.Intended[c]; !ok {
			cells = append(cells, c)
		}
	}
	slices.SortFunc(cells, compareCells)
	for _, c := range cells {
		if err := s.Sample(c).Check(s.Intended[c]); err != nil {
			errs = append(errs, fmt.Errorf("stage %q: %s: %w", s.Title, c, err))
		}
	}
	return errs
}

// Bucket is a short time of traffic, for pictures.
type Bucket struct {
	Start time.Time
	// Requests counts all requests by where they ended.
	Requests map[Cell]int
}

// Result is one request as a user saw it.
type Result struct {
	Cell Cell
	// Fresh says that this was the first request after a resolution, which had been made in the stage Ticket.
	Fresh  bool
	Ticket Ticket
	// Failed says that the request failed and should not have; Fault that it was told to.
	Failed, Fault bool
}

// Ticket tells in which part of which stage something began.
type Ticket struct {
	stage  int
	steady bool
}

// Ledger is written by many users and one director. Use [New].
type Ledger struct {
	now    func() time.Time
	bucket time.Duration

	mu      sync.Mutex // guards what follows
	stages  []Stage
	buckets []Bucket
	byCell  map[Cell]counts // of all time
	errs    []error         // the first few reasons of failures
}

type counts struct{ requests, bad int }

// New returns a ledger whose pictures have buckets of the given length.
func New(bucket time.Duration, now func() time.Time) *Ledger {
	return &Ledger{now: now, bucket: bucket, byCell: map[Cell]counts{}}
}

// Begin ends the stage before and begins one, which moves.
func (l *Ledger) Begin(title string, clusters []ClusterState, intended Shares) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	l.end(now)
	l.stages = append(l.stages, Stage{
		Title: title, Clusters: slices.Clone(clusters), Intended: maps.Clone(intended),
		Start: now, Samples: map[Cell]int{},
	})
}

// Update changes what is said of the current stage, once it is known what it is about.
func (l *Ledger) Update(title string, clusters []ClusterState, intended Shares) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.stages); n > 0 {
		stage := &l.stages[n-1]
		stage.Title, stage.Clusters, stage.Intended = title, slices.Clone(clusters), maps.Clone(intended)
	}
}

// Steady says that the intention of the current stage is effective from now on.
func (l *Ledger) Steady() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.stages); n > 0 {
		l.stages[n-1].Steady = l.now()
	}
}

// End ends the last stage.
func (l *Ledger) End() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.end(l.now())
}

func (l *Ledger) end(now time.Time) {
	if n := len(l.stages); n > 0 && l.stages[n-1].End.IsZero() {
		l.stages[n-1].End = now
	}
}

// Ticket returns the ticket of now. A user takes one before it resolves.
func (l *Ledger) Ticket() Ticket {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ticket()
}

func (l *Ledger) ticket() Ticket {
	n := len(l.stages)
	return Ticket{stage: n, steady: n > 0 && !l.stages[n-1].Steady.IsZero() && l.stages[n-1].End.IsZero()}
}

// reasons is how many reasons of failures are kept.
const reasons = 5

// Record counts a request. It is a sample if it is fresh and if the steady part in which it was resolved still goes on. err is why
// it failed, if it did.
func (l *Ledger) Record(r Result, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.stages)
	if n == 0 {
		return
	}
	stage := &l.stages[n-1]
	stage.Requests++
	if r.Fault {
		stage.Faults++
	}
	if r.Failed {
		stage.Failures++
		if err != nil && len(l.errs) < reasons {
			l.errs = append(l.errs, fmt.Errorf("stage %q: %w", stage.Title, err))
		}
	}
	if r.Cell == (Cell{}) {
		return // nobody answered
	}
	c := l.byCell[r.Cell]
	c.requests++
	if r.Failed || r.Fault {
		c.bad++
	}
	l.byCell[r.Cell] = c
	if now := l.ticket(); r.Fresh && r.Ticket == now && now.steady {
		stage.Samples[r.Cell]++
	}
	l.fill(r.Cell)
}

func (l *Ledger) fill(c Cell) {
	now := l.now()
	n := len(l.buckets)
	if n == 0 || now.Sub(l.buckets[n-1].Start) >= l.bucket {
		l.buckets = append(l.buckets, Bucket{Start: now.Truncate(l.bucket), Requests: map[Cell]int{}})
		n++
	}
	l.buckets[n-1].Requests[c]++
}

// Counts returns how many requests have ended in a cell since the beginning, and how many of them failed for whatever reason.
func (l *Ledger) Counts(c Cell) (requests, bad int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.byCell[c]
	return k.requests, k.bad
}

// Report is a copy of all that the ledger knows.
type Report struct {
	Stages  []Stage
	Buckets []Bucket
	// Reasons are the first few errors of failed requests.
	Reasons []error
}

// Report returns a copy of all that the ledger knows now.
func (l *Ledger) Report() Report {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := Report{Stages: slices.Clone(l.stages), Buckets: slices.Clone(l.buckets), Reasons: slices.Clone(l.errs)}
	for i := range r.Stages {
		r.Stages[i].Samples = maps.Clone(r.Stages[i].Samples)
	}
	for i := range r.Buckets {
		r.Buckets[i].Requests = maps.Clone(r.Buckets[i].Requests)
	}
	return r
}

// Totals returns the sums over all stages.
func (r Report) Totals() (requests, failures, faults int) {
	for _, s := range r.Stages {
		requests += s.Requests
		failures += s.Failures
		faults += s.Faults
	}
	return requests, failures, faults
}

// Check returns everything that is wrong with what was measured: shares that are off, failures, stages that never became steady or have
// too few samples to say anything.
func (r Report) Check(least int) []error {
	var errs []error
	for _, s := range r.Stages {
		switch {
		case s.Steady.IsZero():
			errs = append(errs, fmt.Errorf("stage %q: its weights never became effective", s.Title))
		case s.Trials() < least:
			errs = append(errs, fmt.Errorf("stage %q: %d independent resolutions, at least %d are needed to judge shares", s.Title, s.Trials(), least))
		default:
			errs = append(errs, s.Check()...)
		}
		if s.Failures > 0 {
			errs = append(errs, fmt.Errorf("stage %q: %d of %d requests failed that should not", s.Title, s.Failures, s.Requests))
		}
	}
	return append(errs, r.Reasons...)
}

// Cells returns the cells of all stages and buckets, by cluster and version.
func (r Report) Cells() []Cell {
	set := map[Cell]bool{}
	for _, s := range r.Stages {
		for c := range s.Intended {
			set[c] = true
		}
		for c := range s.Samples {
			set[c] = true
		}
	}
	for _, b := range r.Buckets {
		for c := range b.Requests {
			set[c] = true
		}
	}
	return slices.SortedFunc(maps.Keys(set), compareCells)
}

func compareCells(a, b Cell) int {
	return cmp.Or(strings.Compare(a.Cluster, b.Cluster), strings.Compare(a.Version, b.Version))
}

// Intend returns the intended shares: those of the clusters are as their record weights, which are relative to each other, and within a
// cluster the route weights rule. versions gives the versions that primary and canary run in a cluster.
func Intend(clusters []ClusterState, versions func(cluster string) (primary, canary string)) Shares {
	total := 0
	for _, c := range clusters {
		total += c.Record
	}
	shares := Shares{}
	for _, c := range clusters {
		ofAll := 1 / float64(len(clusters)) // all weights zero are served equally
		if total > 0 {
			ofAll = float64(c.Record) / float64(total)
		}
		primary, canary := versions(c.Name)
		shares[Cell{c.Name, primary}] += ofAll * float64(c.Primary) / 100
		shares[Cell{c.Name, canary}] += ofAll * float64(c.Canary) / 100
	}
	return shares
}
