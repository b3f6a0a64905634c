// Package show renders what the demo has measured: live bars, the table of all steps, and a picture. It is pure, but for [Live], which
// writes to a terminal.
package show

import (
	"fmt"
	"strconv"
	"time"

	"github.com/penstock-dev/penstock/examples/demo/internal/measure"
)

// percent writes a share, 0 to 1, with one decimal.
func percent(share float64) string { return fmt.Sprintf("%.1f %%", 100*share) }

// thousands writes a number with commas.
func thousands(n int) string {
	text := strconv.Itoa(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// seconds writes a duration in whole seconds, as a stop watch does.
func seconds(d time.Duration) string {
	s := int(d.Seconds())
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}

// state writes what a cluster is at: "Progressing, route 70/30, record weight 12".
func state(c measure.ClusterState) string {
	text := fmt.Sprintf("%s, route weights %d/%d, record weight %d", c.Phase, c.Primary, c.Canary, c.Record)
	if c.Exposure != 100 {
		text += fmt.Sprintf(" (%d %% x exposure %d %%)", c.Weight, c.Exposure)
	}
	return text
}
