package traffic

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/penstock-dev/penstock/dns"
	"github.com/penstock-dev/penstock/dns/externaldns"
	"github.com/penstock-dev/penstock/dns/route53"
)

var updateDocs = flag.Bool("update", false, "rewrite the tables in docs/traffic-controller.md")

const docsFile = "../../docs/traffic-controller.md"

// The tables of flags and metrics in the page of the controller are those of the code.
func TestDocs(t *testing.T) { //nolint:paralleltest // with -update it writes one file several times
	for name, table := range map[string]string{"flags": flagTable(), "metrics": metricTable(t)} {
		text, err := os.ReadFile(docsFile)
		if err != nil {
			t.Fatal(err)
		}
		begin, end := "<!-- "+name+" -->\n", "<!-- /"+name+" -->"
		before, rest, found := strings.Cut(string(text), begin)
		got, after, closed := strings.Cut(rest, end)
		if !found || !closed {
			t.Fatalf("%s has no %q ... %q", docsFile, begin, end)
		}
		want := "\n" + table + "\n" // a table ends where a comment stands
		if *updateDocs {
			if err := os.WriteFile(docsFile, []byte(before+begin+want+end+after), 0o600); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s, table of %s -want +got:\n%s\nrun go test ./traffic -run Docs -update", docsFile, name, diff)
		}
	}
}

func flagTable() string {
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	new(Options).AddFlags(flags)
	var table strings.Builder
	table.WriteString("| flag | default | meaning |\n|---|---|---|\n")
	flags.VisitAll(func(f *flag.Flag) {
		preset := "none"
		if f.DefValue != "" {
			preset = "`" + f.DefValue + "`"
		}
		_, usage := flag.UnquoteUsage(f)
		fmt.Fprintf(&table, "| `--%s` | %s | %s |\n", f.Name, preset, usage)
	})
	return table.String()
}

// described keeps what is registered.
type described struct {
	prometheus.Registerer

	rows []string
}

var description = regexp.MustCompile(`^Desc\{fqName: "(.*)", help: "(.*)", constLabels: \{\}, variableLabels: \{(.*)\}\}$`)

// Register implements prometheus.Registerer.
func (d *described) Register(c prometheus.Collector) error {
	descriptions := make(chan *prometheus.Desc, 1)
	go func() {
		defer close(descriptions)
		c.Describe(descriptions)
	}()
	for each := range descriptions {
		match := description.FindStringSubmatch(each.String())
		if match == nil {
			return fmt.Errorf("description %s", each)
		}
		labels := ""
		if match[3] != "" {
			labels = "{" + match[3] + "}"
		}
		d.rows = append(d.rows, fmt.Sprintf("| `%s%s` | %s |\n", match[1], labels, match[2]))
	}
	return nil
}

func metricTable(t *testing.T) string {
	t.Helper()
	all, log := &described{}, zap.NewNop().Sugar()
	if _, err := newMetrics(all); err != nil {
		t.Fatal(err)
	}
	backend := externaldns.New(nil, log, externaldns.Options{Registerer: all})
	route53.New(nil, log, route53.Options{Registerer: all})
	if _, err := dns.NewPublisher("east", &source{}, backend, &weight{}, log, dns.PublisherOptions{Registerer: all}); err != nil {
		t.Fatal(err)
	}
	slices.Sort(all.rows)
	return "| metric | what |\n|---|---|\n" + strings.Join(all.rows, "")
}
