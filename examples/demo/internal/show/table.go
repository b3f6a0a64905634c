package show

import (
	"fmt"
	"strings"

	"github.com/penstock-dev/penstock/examples/demo/internal/measure"
	"github.com/penstock-dev/penstock/examples/stats"
)

// row is the layout of a line of the table.
const row = "   %-8s %-7s %9s %9s %18s  %-18s %11s %9s  %s\n"

// Table returns the table of every stage: where traffic was intended to go and where it went.
func Table(r measure.Report) string {
	var text strings.Builder
	line := func(columns ...any) {
		text.WriteString(strings.TrimRight(fmt.Sprintf(row, columns...), " \n") + "\n")
	}
	line("cluster", "version", "intended", "measured", "95 % interval", "off by", "resolutions", "requests", "failures")
	cells := r.Cells()
	for i, s := range r.Stages {
		fmt.Fprintf(&text, "\n%d. %s\n", i+1, s.Title)
		for _, c := range s.Clusters {
			fmt.Fprintf(&text, "   %s: %s\n", c.Name, state(c))
		}
		trials, requests, failed := thousands(s.Trials()), thousands(s.Requests), failures(s)
		for _, c := range shown(s, cells) {
			sample := s.Sample(c)
			low, high := sample.Interval()
			line(c.Cluster, c.Version, percent(s.Intended[c]), percent(sample.Share()),
				fmt.Sprintf("%.1f to %s", 100*low, percent(high)), verdict(sample, s.Intended[c]), trials, requests, failed)
			trials, requests, failed = "", "", "" // of the whole stage: said once
		}
	}
	return text.String()
}

// shown returns the cells that matter in a stage: those that should have got or did get something.
func shown(s measure.Stage, cells []measure.Cell) []measure.Cell {
	var out []measure.Cell
	for _, c := range cells {
		if s.Intended[c] > 0 || s.Samples[c] > 0 {
			out = append(out, c)
		}
	}
	return out
}

func verdict(sample stats.Sample, intended float64) string {
	if sample.Check(intended) != nil {
		return fmt.Sprintf("%.1f s.e.: WRONG", sample.StandardErrors(intended))
	}
	return fmt.Sprintf("%.1f s.e.", sample.StandardErrors(intended))
}

func failures(s measure.Stage) string {
	text := thousands(s.Failures)
	if s.Faults > 0 {
		text += fmt.Sprintf(" (+%s of the bad version)", thousands(s.Faults))
	}
	return text
}
