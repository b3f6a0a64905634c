package show

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/penstock-dev/penstock/examples/demo/internal/measure"
)

// barWidth is the length of a bar of 100 %, in columns.
const barWidth = 40

// window is how far the live bars look back: long enough for a steady bar, short enough to see weights move.
const window = 3 * time.Second

// Live draws the state of the demo over itself, again and again, on a terminal. It is not safe for concurrent use.
type Live struct {
	out   io.Writer
	width func() int
	lines int // drawn last time
}

// NewLive returns a Live that draws on out, a terminal that understands ANSI escape sequences. width tells how many columns the terminal has;
// a line that was wrapped would count as two.
func NewLive(out io.Writer, width func() int) *Live { return &Live{out: out, width: width} }

// Draw draws the report as of now.
func (l *Live) Draw(r measure.Report, now time.Time) error {
	frame := Frame(r, now)
	var text strings.Builder
	if l.lines > 0 {
		fmt.Fprintf(&text, "\x1b[%dA", l.lines) // up to the first line of the last frame
	}
	width := l.width()
	for line := range strings.Lines(frame) {
		text.WriteString("\x1b[2K") // clear the line first
		if runes := []rune(line); len(runes) > width {
			line = string(runes[:max(width-1, 0)]) + "\n"
		}
		text.WriteString(line)
	}
	text.WriteString("\x1b[J") // and what a longer frame left below
	l.lines = strings.Count(frame, "\n")
	if _, err := io.WriteString(l.out, text.String()); err != nil {
		return fmt.Errorf("draw on the terminal: %w", err)
	}
	return nil
}

// Print prints text above the frame, where it stays.
func (l *Live) Print(text string) error {
	if l.lines > 0 {
		text = fmt.Sprintf("\x1b[%dA\x1b[J%s", l.lines, text)
		l.lines = 0
	}
	if _, err := io.WriteString(l.out, text); err != nil {
		return fmt.Errorf("print on the terminal: %w", err)
	}
	return nil
}

// Frame returns the state of the demo as of now: for each cluster its phase and weights, for each version a bar of its measured share
// with a mark at the intended one.
func Frame(r measure.Report, now time.Time) string {
	if len(r.Stages) == 0 {
		return ""
	}
	stage := r.Stages[len(r.Stages)-1]
	var text strings.Builder
	fmt.Fprintf(&text, "%s  stage %d: %s, %s\n", seconds(now.Sub(r.Stages[0].Start)), len(r.Stages), stage.Title, progress(stage, now))
	measured := recent(r, now)
	for _, cluster := range stage.Clusters {
		fmt.Fprintf(&text, "%-8s %s\n", cluster.Name, state(cluster))
		for _, c := range r.Cells() {
			if c.Cluster != cluster.Name {
				continue
			}
			fmt.Fprintf(&text, "  %-6s %s  intended %7s  measured %7s\n", c.Version, bar(measured[c], stage.Intended[c]),
				percent(stage.Intended[c]), percent(measured[c]))
		}
	}
	requests, failed, faults := r.Totals()
	fmt.Fprintf(&text, "requests %s, failures %s", thousands(requests), thousands(failed))
	if faults > 0 {
		fmt.Fprintf(&text, ", errors of the bad version %s", thousands(faults))
	}
	fmt.Fprintf(&text, "; bars show the last %d s, | is what is intended\n", int(window.Seconds()))
	return text.String()
}

func progress(s measure.Stage, now time.Time) string {
	switch {
	case !s.End.IsZero():
		return "done"
	case s.Steady.IsZero():
		return fmt.Sprintf("on its way for %.0f s", now.Sub(s.Start).Seconds())
	default:
		return fmt.Sprintf("effective for %.0f s, %s resolutions measured", now.Sub(s.Steady).Seconds(), thousands(s.Trials()))
	}
}

// recent returns the shares of all requests within the last window.
func recent(r measure.Report, now time.Time) measure.Shares {
	total, counts := 0, map[measure.Cell]int{}
	for _, b := range r.Buckets {
		if now.Sub(b.Start) > window {
			continue
		}
		for c, n := range b.Requests {
			counts[c] += n
			total += n
		}
	}
	shares := measure.Shares{}
	for c, n := range counts {
		shares[c] = float64(n) / float64(total)
	}
	return shares
}

// bar draws a share as a bar with a mark at the intended share.
func bar(measured, intended float64) string {
	full := int(measured*barWidth + 0.5)
	mark := min(int(intended*barWidth+0.5), barWidth-1)
	cells := []rune(strings.Repeat("█", min(full, barWidth)) + strings.Repeat("·", max(barWidth-full, 0)))
	cells[mark] = '|'
	return string(cells)
}

// Line returns a line about the stage that has just become effective, or ended, for an output that is no terminal; nothing while weights
// are on their way.
func Line(r measure.Report, now time.Time) string {
	if len(r.Stages) == 0 {
		return ""
	}
	n := len(r.Stages)
	stage := r.Stages[n-1]
	var parts []string
	switch {
	case stage.Steady.IsZero():
		return ""
	case stage.End.IsZero():
		for _, c := range stage.Clusters {
			parts = append(parts, c.Name+" "+state(c))
		}
		return fmt.Sprintf("%s  %d. %s: effective after %.1f s: %s\n", seconds(now.Sub(r.Stages[0].Start)), n, stage.Title,
			stage.Steady.Sub(stage.Start).Seconds(), strings.Join(parts, "; "))
	default:
		for _, c := range shown(stage, r.Cells()) {
			parts = append(parts, fmt.Sprintf("%s %s (%s)", c, percent(stage.Sample(c).Share()), percent(stage.Intended[c])))
		}
		return fmt.Sprintf("%s     measured (intended): %s; resolutions %s, requests %s, failures %s\n", seconds(now.Sub(r.Stages[0].Start)),
			strings.Join(parts, ", "), thousands(stage.Trials()), thousands(stage.Requests), failures(stage))
	}
}
