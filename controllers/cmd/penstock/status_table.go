package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/penstock-dev/penstock/controllers/store"
	"github.com/penstock-dev/penstock/controllers/traffic"
)

// table has a line for each cluster, and one for each host of each.
func table(clusters []clusterStatus, now time.Time) string {
	var b strings.Builder
	type line struct {
		cluster *traffic.Status
		host    traffic.HostStatus
	}
	var lines []line
	for _, c := range clusters {
		b.WriteString(summary(c))
		if c.Status == nil {
			continue
		}
		for _, host := range c.Status.Hosts {
			lines = append(lines, line{c.Status, host})
		}
	}
	slices.SortStableFunc(lines, func(a, b line) int {
		return cmp.Or(cmp.Compare(a.host.Host, b.host.Host), cmp.Compare(a.cluster.Cluster, b.cluster.Cluster))
	})
	if len(lines) > 0 {
		b.WriteByte('\n')
		t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		_, _ = fmt.Fprintln(t, "HOST\tCLUSTER\tDESIRED\tCURRENT\tPUBLISHED\tIN SYNC\tCANARY\tHEALTH") // a strings.Builder takes everything
		for _, l := range lines {
			desired, current := weightsOf(l.cluster.Row, "%")
			_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", clean(l.host.Host), clean(l.cluster.Cluster), desired, current, publishedOf(l.host), syncOf(l.host),
				canaryOf(l.host), healthOf(l.host, now)) // as above
		}
		_ = t.Flush() // as above
	}
	return b.String()
}

// summary says what concerns all hosts of a cluster, with a line more for what is long.
func summary(c clusterStatus) string {
	from := ""
	if c.Source != "" {
		from = " (" + clean(c.Source) + ")"
	}
	if c.Status == nil {
		return fmt.Sprintf("cluster%s: error: %s\n", from, clean(c.Error))
	}
	s := c.Status
	weight := "not known"
	if s.Weight != nil {
		weight = clean(*s.Weight)
	}
	desired, current := weightsOf(s.Row, "")
	text := fmt.Sprintf("cluster %s%s: desired %s, current %s, to publish %s, pending %d", clean(s.Cluster), from, desired, current, weight, s.Pending)
	if s.Row == nil {
		text += ", the row was not read yet"
	} else if r := s.Row.Ramp; whole(r) {
		text += "\n  change: " + clean(cmp.Or(r.Message, "under way"))
	} else if r.Phase != "" {
		text += fmt.Sprintf(", ramp %s %d -> %d at %d", clean(string(r.Phase)), r.From, r.To, r.Weight)
		if r.Message != "" {
			text += "\n  ramp: " + clean(r.Message)
		}
	}
	if s.StoreError != "" {
		text += "\n  store: " + clean(s.StoreError)
	}
	return text + "\n"
}

// whole tells whether a weight changes at once, or for the last step: nothing follows that could be told of.
func whole(r store.Ramp) bool { return r.Phase == store.Moving && r.Weight == r.To }

// weightsOf returns the weights of a row, with a unit; a dash is one that is not known.
func weightsOf(row *store.Row, unit string) (desired, current string) {
	if row == nil {
		return "-", "-"
	}
	desired, current = strconv.Itoa(row.DesiredWeight)+unit, strconv.Itoa(row.CurrentWeight)+unit
	if row.CurrentWeight == store.Unknown {
		current = "-"
	}
	return desired, current
}

func publishedOf(h traffic.HostStatus) string {
	if h.Published < 0 {
		return "-"
	}
	return strconv.Itoa(h.Published)
}

func syncOf(h traffic.HostStatus) string {
	switch {
	case h.InSyncSince == nil:
		return "no"
	case h.Assumed:
		return "assumed " + h.InSyncSince.UTC().Format(time.RFC3339)
	}
	return h.InSyncSince.UTC().Format(time.RFC3339)
}

// canaryOf names the Canary that a host points at.
func canaryOf(h traffic.HostStatus) string {
	switch {
	case !h.AtCanary:
		return "-"
	case h.Canary == "":
		return "not known"
	}
	return clean(h.Namespace + "/" + h.Canary)
}

// healthOf says what is the matter with a host, and what is waited for.
func healthOf(h traffic.HostStatus, now time.Time) string {
	health := "ready"
	switch {
	case h.Passing:
		health = "tried again: " + clean(h.Error)
	case h.Error != "":
		health = "refused: " + clean(h.Error)
	case !h.Ready:
		health = "no endpoints"
	}
	if h.Warning != "" {
		health += "; " + clean(h.Warning)
	}
	switch {
	case h.Reason == "":
	case h.InSyncSince != nil: // with what was published before
		health += "; pending: " + clean(h.Reason)
	default:
		health += "; not in sync: " + clean(h.Reason)
	}
	if h.EffectiveAt != nil && h.EffectiveAt.After(now) {
		health += "; effective at " + h.EffectiveAt.UTC().Format("15:04:05Z")
	}
	return health
}
