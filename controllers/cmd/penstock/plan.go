package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/penstock-dev/penstock/controllers/traffic"
)

const planHelp = `Usage: penstock plan --cluster-name NAME [flags]

Shows what a controller with the same flags would change in DNS next, and why, and writes nothing: no object, no record
set and no row. It reads Ingresses, EndpointSlices, ConfigMaps, DNSEndpoints, the store and, with dns-backend route53,
the hosted zones. Gates, and name servers, are not asked.

  + is created, - is deleted, ~ changes, ! is refused, kept or not known, and stays as it is, ? is done in spite of something

Exit codes: 0 if nothing would change, 2 if something would, 1 if not all could be found out, 64 for wrong flags.

Examples:
  # before a controller starts with another weight in its flag
  penstock plan --cluster-name east --initial-weight 50

  # before a controller with the weight in DynamoDB takes over from external-dns
  penstock plan --cluster-name east --backend-type dynamoDB --dns-backend route53 --route53-adopt-owner k8s-east
`

// changesPlanned is the exit code of a plan that is not empty.
const changesPlanned = 2

func runPlan(ctx context.Context, args []string, out, _ io.Writer) (int, error) {
	var opts traffic.Options
	flags := flag.NewFlagSet("penstock plan", flag.ContinueOnError)
	opts.AddFlags(flags)
	flags.Lookup("namespace").Usage = namespaceUsage
	path := flags.String("kubeconfig", "", "`path` of the kubeconfig; empty is that of KUBECONFIG, of the home directory, or the Pod's own access")
	kubeContext := flags.String("context", "", "`name` of the kubeconfig context; empty is the current one")
	output := flags.String("o", "", "`format`: json, or empty for text")
	rest, err := parse(flags, planHelp, args, out)
	switch {
	case err != nil:
		return usageFailed, err
	case len(rest) > 0:
		return usageFailed, fmt.Errorf("argument %q is no flag: name the cluster with the flag cluster-name", rest[0])
	case *output != "" && *output != "json":
		return usageFailed, fmt.Errorf("flag o %q: write json, or leave it out for text", *output)
	}
	if err := opts.Complete(); err != nil { // before anything is asked
		return usageFailed, err
	}
	config, namespace, err := kubeconfig(*path, *kubeContext)
	if err != nil {
		return failed, err
	}
	if opts.Namespace == "" {
		opts.Namespace = namespace // people have a context where the controller has a Pod
	}
	planned, err := traffic.Plan(ctx, config, opts)
	if err != nil {
		return failed, err
	}
	if err := showPlan(newScreen(out), planned, *output); err != nil {
		return failed, err
	}
	switch {
	case planned.Incomplete():
		return failed, nil // the plan says what
	case len(planned.Changes) > 0:
		return changesPlanned, nil
	}
	return 0, nil
}

func showPlan(out screen, p traffic.Planned, output string) error {
	var b bytes.Buffer
	if output == "json" {
		encoder := json.NewEncoder(&b)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false) // it is read by people too
		if err := encoder.Encode(p); err != nil {
			return fmt.Errorf("encode the plan: %w", err)
		}
	} else {
		b.WriteString(fit(planText(p), out.width()))
	}
	if _, err := out.Write(b.Bytes()); err != nil {
		return fmt.Errorf("write the plan: %w", err)
	}
	return nil
}

func planText(p traffic.Planned) string {
	var b strings.Builder
	switch {
	case p.Fixed:
		fmt.Fprintf(&b, "cluster %s: weight %d (flag initial-weight)\n", clean(p.Cluster), p.Weight)
	case p.Row == nil:
		fmt.Fprintf(&b, "cluster %s: no row in a store, to publish %d\n", clean(p.Cluster), p.Weight)
	default:
		desired, current := weightsOf(p.Row, "")
		fmt.Fprintf(&b, "cluster %s: desired %s, current %s, to publish %d\n", clean(p.Cluster), desired, current, p.Weight)
	}
	for _, note := range p.Notes {
		fmt.Fprintf(&b, "  note: %s\n", clean(note))
	}
	counts := map[traffic.Action]int{}
	if len(p.Changes) > 0 {
		b.WriteByte('\n')
		t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		_, _ = fmt.Fprintln(t, " \tNAME\tTYPE\tSET\tINGRESS\tCHANGE\tREASON") // a strings.Builder takes everything
		for _, c := range p.Changes {
			counts[c.Action]++
			set := c.SetIdentifier
			if set == "" {
				set = "-"
			}
			_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", sign(c.Action), clean(c.Name), clean(string(c.Type)), clean(set), clean(c.Namespace+"/"+c.Ingress),
				clean(difference(c)), clean(strings.Join(c.Reasons, "; "))) // as above
		}
		_ = t.Flush() // as above
	}
	marks := map[traffic.Severity]int{}
	if len(p.Problems) > 0 {
		b.WriteByte('\n')
	}
	for _, problem := range p.Problems {
		marks[problem.Severity]++
		fmt.Fprintln(&b, problemText(problem))
	}
	switch {
	case len(p.Changes) == 0 && p.Incomplete():
		b.WriteString("\nno change found")
	case len(p.Changes) == 0:
		b.WriteString("\nnothing would change")
	default:
		fmt.Fprintf(&b, "\n%d to create, %d to change, %d to delete", counts[traffic.CreateRecord], counts[traffic.ChangeRecord], counts[traffic.DeleteRecord])
	}
	for _, s := range []struct {
		severity traffic.Severity
		text     string
	}{{traffic.Refused, "refused"}, {traffic.Kept, "kept"}, {traffic.Unknown, "not known"}} {
		if marks[s.severity] > 0 {
			fmt.Fprintf(&b, ", %d %s", marks[s.severity], s.text)
		}
	}
	if p.Incomplete() {
		b.WriteString(": not all could be found out")
	}
	b.WriteByte('\n')
	return b.String()
}

func problemText(p traffic.PlannedProblem) string {
	mark, about := "!", string(p.Severity)
	if p.Severity == traffic.Warned {
		mark = "?"
	}
	if p.Ingress != "" {
		about += " " + clean(p.Namespace+"/"+p.Ingress)
	}
	if p.Host != "" {
		about += " " + clean(p.Host)
	}
	if p.Canary != "" {
		about += " canary " + clean(p.Canary)
	}
	return fmt.Sprintf("%s %s: %s", mark, about, clean(p.Message))
}

func sign(a traffic.Action) string {
	switch a {
	case traffic.CreateRecord:
		return "+"
	case traffic.DeleteRecord:
		return "-"
	case traffic.ChangeRecord:
	}
	return "~"
}

// difference says what a record says, or what it said and would say.
func difference(c traffic.PlannedChange) string {
	switch {
	case c.From == nil && c.To == nil:
		return "-"
	case c.To == nil:
		return content(c.SetIdentifier, *c.From)
	case c.From == nil:
		return content(c.SetIdentifier, *c.To)
	}
	var parts []string
	differ := func(what, from, to string) {
		if from != to {
			parts = append(parts, fmt.Sprintf("%s %s -> %s", what, from, to))
		}
	}
	differ("weight", strconv.Itoa(c.From.Weight), strconv.Itoa(c.To.Weight))
	differ("target", targets(*c.From), targets(*c.To))
	differ("TTL", ttl(*c.From), ttl(*c.To))
	differ("health check", healthCheck(*c.From), healthCheck(*c.To))
	if len(parts) == 0 {
		return content(c.SetIdentifier, *c.To) + ", as before"
	}
	return strings.Join(parts, ", ")
}

func content(set string, r traffic.PlannedRecord) string {
	parts := []string{targets(r)}
	if set != "" {
		parts = append([]string{"weight " + strconv.Itoa(r.Weight)}, parts...)
	}
	if r.TTLSeconds > 0 {
		parts = append(parts, "TTL "+ttl(r))
	}
	if r.HealthCheckID != "" {
		parts = append(parts, "health check "+r.HealthCheckID)
	}
	return strings.Join(parts, ", ")
}

func targets(r traffic.PlannedRecord) string {
	text := strings.Join(r.Targets, " ")
	if r.Alias {
		return "alias of " + text
	}
	return text
}

func ttl(r traffic.PlannedRecord) string {
	if r.TTLSeconds == 0 {
		return "default"
	}
	return (time.Duration(r.TTLSeconds) * time.Second).String()
}

func healthCheck(r traffic.PlannedRecord) string {
	if r.HealthCheckID == "" {
		return "none"
	}
	return r.HealthCheckID
}
