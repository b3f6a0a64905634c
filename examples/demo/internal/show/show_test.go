package show_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-dev/penstock/examples/demo/internal/measure"
	"github.com/penstock-dev/penstock/examples/demo/internal/show"
)

var update = flag.Bool("update", false, "rewrite the golden files")

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
		t.Errorf("%s, -want +got (go test -update rewrites it):\n%s", path, diff)
	}
}

var begin = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// report returns what a demo of 33 seconds measures: east runs a canary while west waits, then both are at it. The numbers wobble as
// real ones do, but the same on each call.
func report() measure.Report {
	cell := func(cluster, version string) measure.Cell { return measure.Cell{Cluster: cluster, Version: version} }
	stage := func(title string, at int, east, west measure.ClusterState) measure.Stage {
		s := measure.Stage{
			Title: title, Clusters: []measure.ClusterState{east, west},
			Start: begin.Add(time.Duration(at) * time.Second), Steady: begin.Add(time.Duration(at+2) * time.Second),
			Samples: map[measure.Cell]int{}, Requests: 4321,
		}
		s.Intended = measure.Intend(s.Clusters, func(cluster string) (primary, canary string) {
			if cluster == "east" && at >= 24 {
				return "v2", "v2"
			}
			return "v1", "v2"
		})
		return s
	}
	stages := []measure.Stage{
		stage("nothing moves", 0,
			measure.ClusterState{Name: "east", Phase: "Initialized", Primary: 100, Weight: 60, Exposure: 100, Record: 60},
			measure.ClusterState{Name: "west", Phase: "Initialized", Primary: 100, Weight: 40, Exposure: 100, Record: 40}),
		stage("east at 10 %", 8,
			measure.ClusterState{Name: "east", Phase: "Progressing", Primary: 90, Canary: 10, Weight: 60, Exposure: 30, Record: 18},
			measure.ClusterState{Name: "west", Phase: "Initialized", Primary: 100, Weight: 40, Exposure: 100, Record: 40}),
		stage("east at 60 %, west at 10 %", 16,
			measure.ClusterState{Name: "east", Phase: "Progressing", Primary: 40, Canary: 60, Weight: 60, Exposure: 100, Record: 60},
			measure.ClusterState{Name: "west", Phase: "Progressing", Primary: 90, Canary: 10, Weight: 40, Exposure: 30, Record: 12}),
		stage("east promoted, west rolled back", 24,
			measure.ClusterState{Name: "east", Phase: "Succeeded", Primary: 100, Weight: 60, Exposure: 100, Record: 60},
			measure.ClusterState{Name: "west", Phase: "Failed", Primary: 100, Weight: 40, Exposure: 100, Record: 40}),
	}
	stages[2].Faults = 17
	r := measure.Report{}
	for i := range stages {
		stages[i].End = begin.Add(33 * time.Second)
		if i+1 < len(stages) {
			stages[i].End = stages[i+1].Start
		}
		for c, share := range stages[i].Intended {
			stages[i].Samples[c] = int(math.Round(1000 * share))
		}
	}
	stages[1].Samples[cell("east", "v2")] += 90 // wrong
	r.Stages = stages
	for second := range 33 {
		b := measure.Bucket{Start: begin.Add(time.Duration(second) * time.Second), Requests: map[measure.Cell]int{}}
		i := min(max((second-1)/8, 0), 3)
		for c, share := range stages[i].Intended {
			wobble := 1 + 0.08*math.Sin(float64(second*len(c.Cluster+c.Version))+float64(len(c.Version)))
			if n := int(400 * share * wobble); n > 0 {
				b.Requests[c] = n
			}
		}
		r.Buckets = append(r.Buckets, b)
	}
	return r
}

func TestTable(t *testing.T) {
	t.Parallel()
	golden(t, "table.txt", show.Table(report()))
}

func TestChart(t *testing.T) {
	t.Parallel()
	svg := show.Chart(report(), `Two clusters & "one" canary`, "a subtitle with < and >")
	golden(t, "chart.svg", svg)

	decoder := xml.NewDecoder(strings.NewReader(svg))
	for {
		_, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("the picture is not well-formed XML: %v", err)
		}
	}
	if strings.Contains(svg, "NaN") || strings.Contains(svg, "Inf") {
		t.Error("the picture has coordinates that are no numbers")
	}
}

func TestChartOfNothing(t *testing.T) {
	t.Parallel()
	svg := show.Chart(measure.Report{}, "nothing", "")
	if err := xml.Unmarshal([]byte(svg), new(struct{})); err != nil {
		t.Errorf("a demo that was interrupted at once still gives a picture: %v", err)
	}
}

func TestFrame(t *testing.T) {
	t.Parallel()
	r := report()
	r.Stages = r.Stages[:3]
	r.Stages[2].End = time.Time{}
	golden(t, "frame.txt", show.Frame(r, begin.Add(20*time.Second)))
}

func TestLine(t *testing.T) {
	t.Parallel()
	moving, steady, done := report(), report(), report()
	for _, r := range []*measure.Report{&moving, &steady, &done} {
		r.Stages = r.Stages[:2]
	}
	moving.Stages[1].Steady, moving.Stages[1].End = time.Time{}, time.Time{}
	steady.Stages[1].End = time.Time{}
	if got := show.Line(moving, begin.Add(9*time.Second)); got != "" {
		t.Errorf("while weights are on their way there is nothing to say, got %q", got)
	}
	golden(t, "line.txt", show.Line(steady, begin.Add(10*time.Second))+show.Line(done, begin.Add(16*time.Second)))
}

func TestLiveDrawsOverItself(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	live := show.NewLive(&out, func() int { return 60 })
	r, now := report(), begin.Add(33*time.Second)
	for range 2 {
		if err := live.Draw(r, now); err != nil {
			t.Fatal(err)
		}
	}
	lines := strings.Count(show.Frame(r, now), "\n")
	up := strings.Index(out.String(), "\x1b[8A")
	if lines != 8 || up < 0 {
		t.Errorf("a frame has %d lines; the second of two goes up by that many first: %q", lines, out.String())
	}
	for line := range strings.Lines(out.String()) {
		if text := strings.ReplaceAll(line, "\x1b[2K", ""); len([]rune(text)) > 60+len("\x1b[8A") {
			t.Errorf("the line %q is longer than the terminal is wide", text)
		}
	}
	out.Reset()
	if err := live.Print("stays\n"); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), "\x1b[8A\x1b[Jstays\n"; got != want {
		t.Errorf("Print writes %q, want %q: it takes the place of the frame", got, want)
	}
}
