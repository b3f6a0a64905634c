package show

import (
	"encoding/xml"
	"fmt"
	"strings"
	"time"

	"github.com/penstock-dev/penstock/examples/demo/internal/measure"
)

// The geometry of the picture, in its own units.
const (
	chartWidth  = 1000
	left, right = 62.0, 20.0 // margins beside the plot
	titleBottom = 62.0
	stripHeight = 40.0 // of a cluster's line of phases
	stripGap    = 6.0
	plotHeight  = 300.0
)

// palette gives each cluster a colour, light for the first version and strong for the second, in both themes. They can be told apart
// without red and green.
var palette = [][2]string{
	{"a1", "a2"}, // classes, see style
	{"b1", "b2"},
}

const style = `
  .paper { fill: #ffffff; stroke: #d0d7de; }
  text { font-family: system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1f2328; }
  .title { font-size: 17px; font-weight: 600; }
  .small { font-size: 12px; }
  .tiny { font-size: 11px; }
  .soft { fill: #59636e; }
  .strip { fill: #eaeef2; }
  .strip.on { fill: #fff1c2; }
  .strip.bad { fill: #ffd7d5; }
  .strip.good { fill: #d2f4dc; }
  .a1 { fill: #9ec9f5; } .a2 { fill: #1f6fc4; }
  .b1 { fill: #fbcf93; } .b2 { fill: #cf6a00; }
  .grid { stroke: #59636e; stroke-opacity: 0.25; }
  .axis { stroke: #59636e; }
  .intended { fill: none; stroke: #1f2328; stroke-width: 1.6; stroke-dasharray: 6 4; }
  .halo { fill: none; stroke: #ffffff; stroke-opacity: 0.6; stroke-width: 4; }
  .moving { fill: #1f2328; fill-opacity: 0.14; }
  .sample { fill: #1f2328; fill-opacity: 0.14; stroke: #59636e; }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #0d1117; stroke: #3d444d; }
    text { fill: #f0f6fc; }
    .soft { fill: #9198a1; }
    .strip { fill: #212830; }
    .strip.on { fill: #4b3a05; }
    .strip.bad { fill: #5d1e1c; }
    .strip.good { fill: #12401f; }
    .a1 { fill: #24507e; } .a2 { fill: #58a6ff; }
    .b1 { fill: #7a4710; } .b2 { fill: #f0a04b; }
    .grid { stroke: #9198a1; }
    .axis { stroke: #9198a1; }
    .intended { stroke: #f0f6fc; }
    .halo { stroke: #0d1117; }
    .moving { fill: #f0f6fc; }
    .sample { fill: #f0f6fc; stroke: #9198a1; }
  }
`

// Chart returns the picture of a finished demo as SVG: for each cluster a line of phases with its weights, below them the measured
// shares of all requests over time as stacked areas, and the intended ones as dashed lines over them. It follows the reader's light
// or dark theme.
func Chart(r measure.Report, title, subtitle string) string {
	c := newCanvas(r)
	height := c.bottom + 104
	c.printf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %.0f" role="img" aria-label="%s">`+"\n", chartWidth, height, escape(title))
	c.printf("<style>%s</style>\n", style)
	c.printf(`<rect class="paper" x="0.5" y="0.5" width="%d" height="%.0f" rx="8"/>`+"\n", chartWidth-1, height-1)
	c.text(left, 28, "title", "", title)
	c.text(left, 48, "small soft", "", subtitle)
	if len(r.Stages) > 0 {
		c.strips(r)
		c.areas(r)
		c.moving(r)
		c.axes()
		c.intended(r)
		c.legend()
	}
	c.printf("</svg>\n")
	return c.out.String()
}

// canvas maps time and shares to the picture.
type canvas struct {
	out        strings.Builder
	start, end time.Time
	cells      []measure.Cell
	clusters   []string
	top        float64 // of the plot
	bottom     float64
}

func newCanvas(r measure.Report) *canvas {
	c := &canvas{cells: r.Cells()}
	if n := len(r.Stages); n > 0 {
		c.start, c.end = r.Stages[0].Start, r.Stages[n-1].End
		if c.end.IsZero() && len(r.Buckets) > 0 {
			c.end = r.Buckets[len(r.Buckets)-1].Start
		}
		for _, cluster := range r.Stages[0].Clusters {
			c.clusters = append(c.clusters, cluster.Name)
		}
	}
	if !c.end.After(c.start) {
		c.end = c.start.Add(time.Second)
	}
	c.top = titleBottom + float64(len(c.clusters))*(stripHeight+stripGap) + stripGap
	c.bottom = c.top + plotHeight
	return c
}

func (c *canvas) printf(format string, args ...any) { fmt.Fprintf(&c.out, format, args...) }

func (c *canvas) x(t time.Time) float64 {
	share := float64(t.Sub(c.start)) / float64(c.end.Sub(c.start))
	return left + min(max(share, 0), 1)*(chartWidth-left-right)
}

func (c *canvas) y(share float64) float64 { return c.bottom - share*plotHeight }

func (c *canvas) text(x, y float64, class, anchor, text string) {
	if anchor != "" {
		anchor = fmt.Sprintf(` text-anchor=%q`, anchor)
	}
	c.printf(`<text x="%.1f" y="%.1f" class="%s"%s>%s</text>`+"\n", x, y, class, anchor, escape(text))
}

func (c *canvas) class(cell measure.Cell) string {
	cluster, version := 0, 0
	for i, name := range c.clusters {
		if name == cell.Cluster {
			cluster = i
		}
	}
	for _, other := range c.cells {
		if other.Cluster == cell.Cluster && other.Version < cell.Version {
			version++
		}
	}
	return palette[cluster%len(palette)][min(version, 1)]
}

// strips draws the phases of each cluster, with the weights below.
func (c *canvas) strips(r measure.Report) {
	for i, name := range c.clusters {
		y := titleBottom + float64(i)*(stripHeight+stripGap)
		c.text(left-8, y+17, "small", "end", name)
		for first := 0; first < len(r.Stages); {
			state := r.Stages[first].Clusters[i]
			next := first + 1
			for next < len(r.Stages) && r.Stages[next].Clusters[i] == state {
				next++
			}
			until := c.end
			if next < len(r.Stages) {
				until = r.Stages[next].Start
			}
			x, width := c.x(r.Stages[first].Start), c.x(until)-c.x(r.Stages[first].Start)
			c.printf(`<rect class="strip%s" x="%.1f" y="%.1f" width="%.1f" height="%.1f" rx="4"/>`+"\n", mood(state.Phase), x+1, y, max(width-2, 1), stripHeight)
			c.text(x+width/2, y+17, "small", "middle", fit(state.Phase, width))
			weights := fmt.Sprintf("%d/%d · DNS %d", state.Primary, state.Canary, state.Record)
			if fit(weights, width) != weights {
				weights = strings.Replace(weights, "DNS ", "", 1) // the legend says it too
			}
			c.text(x+width/2, y+33, "tiny soft", "middle", fit(weights, width))
			first = next
		}
	}
}

func mood(phase string) string {
	switch phase {
	case "Progressing", "Promoting", "Finalising", "Waiting", "WaitingPromotion":
		return " on"
	case "Failed":
		return " bad"
	case "Succeeded":
		return " good"
	}
	return ""
}

// fit returns text if it is likely to fit into width, else as much of it as does.
func fit(text string, width float64) string {
	const perRune = 6.3 // of a 12 px sans-serif font, on average
	runes := []rune(text)
	if room := int(width / perRune); len(runes) > room {
		if room < 4 {
			return ""
		}
		return string(runes[:room-1]) + "…"
	}
	return text
}

// areas draws the measured shares, stacked.
func (c *canvas) areas(r measure.Report) {
	type point struct {
		x      float64
		shares measure.Shares
	}
	var points []point
	for i, b := range r.Buckets {
		if i > 0 && b.Start.Add(2*bucketMiddle(r)).After(c.end) {
			break // it is not full, and a few requests say nothing
		}
		total := 0
		for _, n := range b.Requests {
			total += n
		}
		shares := measure.Shares{}
		for cell, n := range b.Requests {
			shares[cell] = float64(n) / float64(total)
		}
		if i == 0 {
			points = append(points, point{c.x(c.start), shares})
		}
		points = append(points, point{c.x(b.Start.Add(bucketMiddle(r))), shares})
	}
	if len(points) == 0 {
		return
	}
	points = append(points, point{c.x(c.end), points[len(points)-1].shares})
	below := make([]float64, len(points))
	for _, cell := range c.cells {
		c.printf(`<path class="%s" d="M`, c.class(cell))
		for i, p := range points {
			c.printf("%.1f,%.1f ", p.x, c.y(below[i]))
		}
		for i := len(points) - 1; i >= 0; i-- {
			p := points[i]
			below[i] += p.shares[cell]
			c.printf("%.1f,%.1f ", p.x, c.y(below[i]))
		}
		c.printf(`Z"/>` + "\n")
	}
}

// bucketMiddle is half the length of a bucket.
func bucketMiddle(r measure.Report) time.Duration {
	if len(r.Buckets) < 2 {
		return 0
	}
	return r.Buckets[1].Start.Sub(r.Buckets[0].Start) / 2
}

// moving shades the times in which weights are on their way.
func (c *canvas) moving(r measure.Report) {
	for _, s := range r.Stages {
		until := s.Steady
		if until.IsZero() {
			until = c.end
		}
		x := c.x(s.Start)
		c.printf(`<rect class="moving" x="%.1f" y="%.1f" width="%.1f" height="%.1f"/>`+"\n", x, c.top, c.x(until)-x, plotHeight)
	}
}

// intended draws the borders between cells as they should be, where weights are effective.
func (c *canvas) intended(r measure.Report) {
	for _, s := range r.Stages {
		if s.Steady.IsZero() {
			continue
		}
		until := s.End
		if until.IsZero() {
			until = c.end
		}
		sum, drawn := 0.0, 0.0
		for _, cell := range c.cells {
			sum += s.Intended[cell]
			if sum > drawn+1e-9 && sum < 1-1e-9 { // not the frame, and each border once
				for _, class := range []string{"halo", "intended"} { // or it were lost on some colour
					c.printf(`<path class="%s" d="M%.1f,%.1f H%.1f"/>`+"\n", class, c.x(s.Steady), c.y(sum), c.x(until))
				}
				drawn = sum
			}
		}
	}
}

func (c *canvas) axes() {
	for share := 0; share <= 100; share += 25 {
		y := c.y(float64(share) / 100)
		c.printf(`<path class="grid" d="M%.1f,%.1f H%d"/>`+"\n", left, y, chartWidth-int(right))
		c.text(left-8, y+4, "small soft", "end", fmt.Sprintf("%d %%", share))
	}
	c.printf(`<text class="small soft" text-anchor="middle" transform="translate(14,%.1f) rotate(-90)">share of all requests</text>`+"\n", (c.top+c.bottom)/2)
	c.printf(`<path class="axis" d="M%.1f,%.1f H%d"/>`+"\n", left, c.bottom, chartWidth-int(right))
	step := tick(c.end.Sub(c.start))
	for at := time.Duration(0); at <= c.end.Sub(c.start); at += step {
		x := c.x(c.start.Add(at))
		c.printf(`<path class="axis" d="M%.1f,%.1f v5"/>`+"\n", x, c.bottom)
		c.text(x, c.bottom+19, "small soft", "middle", fmt.Sprintf("%.0f", at.Seconds()))
	}
	c.text((left+chartWidth-right)/2, c.bottom+37, "small soft", "middle", "seconds since the start")
}

// tick returns the distance of marks on the axis of time: about ten of them.
func tick(all time.Duration) time.Duration {
	for _, d := range []time.Duration{time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 20 * time.Second, 30 * time.Second} {
		if all <= 12*d {
			return d
		}
	}
	return time.Minute
}

func (c *canvas) legend() {
	x, y := left, c.bottom+63
	item := func(draw string, text string) {
		c.printf("%s\n", draw)
		c.text(x+24, y, "small", "", text)
		x += 24 + 7.0*float64(len([]rune(text))) + 18
	}
	for _, cell := range c.cells {
		item(fmt.Sprintf(`<rect class="%s" x="%.1f" y="%.1f" width="16" height="12" rx="2"/>`, c.class(cell), x, y-10), cell.String())
	}
	item(fmt.Sprintf(`<path class="intended" d="M%.1f,%.1f h20"/>`, x-2, y-4), "intended")
	item(fmt.Sprintf(`<rect class="sample" x="%.1f" y="%.1f" width="16" height="12" rx="2"/>`, x, y-10), "weights on their way (settling, INSYNC, TTL)")
	c.text(left, y+22, "small soft", "", "Boxes: phase of the canary; route weights primary/canary · weight of the cluster's record in DNS")
}

func escape(text string) string {
	var out strings.Builder
	_ = xml.EscapeText(&out, []byte(text)) // a strings.Builder takes everything
	return out.String()
}
