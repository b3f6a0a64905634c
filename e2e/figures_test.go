package e2e_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

var figuresFile = flag.String("figures", "", "Markdown `file` whose table of figures is written anew when all tests have passed")

// figures are what a test measured.
type figures struct {
	test             string
	requests, failed int
	shares, fewest   int             // how many times shares were compared with what is intended, and by how many requests at least
	deviation        float64         // of these shares at most, in standard errors
	drains           []time.Duration // from when the last answer that leads to a canary had expired until it was scaled down
	notes            []string
}

// allFigures are those of the tests that have ended.
var allFigures struct {
	mu    sync.Mutex // guards the following
	tests map[string]*figures
}

// newFigures returns the figures of a test, which are kept if it passes.
func newFigures(t *testing.T) *figures {
	t.Helper()
	f := &figures{test: t.Name()}
	t.Cleanup(func() {
		if t.Failed() {
			return
		}
		allFigures.mu.Lock()
		defer allFigures.mu.Unlock()
		if allFigures.tests == nil {
			allFigures.tests = map[string]*figures{}
		}
		allFigures.tests[f.test] = f
	})
	return f
}

// judged notes that shares were judged by a number of requests.
func (f *figures) judged(requests int, deviation float64) {
	if f.shares == 0 {
		f.fewest = requests
	}
	f.shares++
	f.fewest, f.deviation = min(f.fewest, requests), max(f.deviation, deviation)
}

// note adds what fits no column.
func (f *figures) note(format string, args ...any) {
	f.notes = append(f.notes, fmt.Sprintf(format, args...))
}

func (f *figures) row() string {
	cells := []string{"`" + f.test + "`", "", "", "", "", "", strings.Join(f.notes, "; ")}
	if f.requests > 0 {
		cells[1] = fmt.Sprintf("%d, %d failed", f.requests, f.failed)
	}
	if f.shares > 0 {
		cells[2], cells[3], cells[4] = strconv.Itoa(f.shares), strconv.Itoa(f.fewest), fmt.Sprintf("%.1f", f.deviation)
	}
	if len(f.drains) > 0 {
		cells[5] = fmt.Sprintf("%.1f s", slices.Min(f.drains).Seconds())
	}
	return "| " + strings.Join(cells, " | ") + " |\n"
}

// What the table of figures stands between.
const (
	figuresBegin = "<!-- figures -->\n"
	figuresEnd   = "<!-- /figures -->\n"
)

// writeFigures writes the table of figures into a Markdown file, and what they were measured of.
func writeFigures(ctx context.Context, file string) error {
	commit, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return fmt.Errorf("which commit the figures are of: %w", err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, begun := bytes.Cut(text, []byte(figuresBegin))
	_, after, ended := bytes.Cut(rest, []byte(figuresEnd))
	if !begun || !ended {
		return fmt.Errorf("%s: no table between %q and %q", file, figuresBegin, figuresEnd)
	}
	out := bytes.NewBuffer(bytes.Clone(before))
	out.WriteString(figuresBegin)
	_, _ = fmt.Fprintf(out, "\nOne run of commit %s on %s, with %d processors and %d applications at a time.\n", bytes.TrimSpace(commit), time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), *atOnce)
	out.WriteString("\n| test | requests | shares judged | by at least | largest deviation | scaled down after | notes |\n|---|---|---|---|---|---|---|\n")
	allFigures.mu.Lock()
	defer allFigures.mu.Unlock()
	for _, test := range slices.Sorted(maps.Keys(allFigures.tests)) {
		out.WriteString(allFigures.tests[test].row())
	}
	out.WriteString("\n" + figuresEnd)
	out.Write(after)
	return os.WriteFile(file, out.Bytes(), 0o600)
}
